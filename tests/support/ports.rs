//! Ports for programs that are told where to listen.
//!
//! Below those that systems lend to whoever asks for any: one of these can be lent again, to a connection of another
//! test, between the moment it was found free and the moment a program listens there, or while one restarts.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

static GIVEN: AtomicU16 = AtomicU16::new(0);

/// A free loopback address that this process gives to nobody else.
///
/// # Panics
///
/// When none is free.
#[must_use]
#[expect(clippy::expect_used, reason = "whoever asks cannot go on without one")]
pub(crate) fn free_address() -> SocketAddr {
    // Processes that run side by side start far apart.
    let start = std::process::id().wrapping_mul(7_919) % u32::from(COUNT);
    let start = u16::try_from(start).unwrap_or_default();
    let next = || (start + GIVEN.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
    let mut places = (0..COUNT).map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + next())));
    places.find(|place| TcpListener::bind(place).is_ok()).expect("a free loopback port")
}
