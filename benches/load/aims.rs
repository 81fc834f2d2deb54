//! What is aimed at, and whether it is met.

use super::args::{Over, Work};

/// A figure of one server beside that of another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Aim {
    /// At least this much of the other's rate.
    Rate(f64),
    /// At most this much of the other's processor time per request.
    Cpu(f64),
    /// At most so many microseconds of processor time per request more than the other.
    CpuMore(f64),
    /// At most this much of the time in which the other answers 99 of 100.
    P99(f64),
}

impl Aim {
    /// In words.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Rate(least) => format!("rate >= {least:.2}"),
            Self::Cpu(most) => format!("CPU <= {most:.2}"),
            Self::CpuMore(most) => format!("CPU <= +{most:.0} us"),
            Self::P99(most) => format!("p99 <= {most:.1}"),
        }
    }
}

/// What each kind of work aims at, beside the limit server.
pub(crate) const fn of(work: Work, over: Over) -> &'static [Aim] {
    match (work, over) {
        (Work::Issue, Over::KeepAlive) => &[Aim::Rate(0.90), Aim::Cpu(1.10)],
        (Work::Issue, Over::Tls) => &[Aim::Rate(0.85)],
        (Work::Introspect, Over::KeepAlive) => &[Aim::Rate(0.90)],
        (Work::AuthzHot, Over::KeepAlive) => &[Aim::CpuMore(4.0)],
        (Work::Revoke, Over::KeepAlive) => &[Aim::Rate(0.7)],
        _ => &[],
    }
}

/// Of a store with a million clients and revocations beside a small one.
pub(crate) const fn of_big_store(work: Work) -> &'static [Aim] {
    match work {
        Work::Issue => &[Aim::Rate(0.97)],
        _ => &[],
    }
}

/// Of two workers beside one.
pub(crate) const TWO_WORKERS: &[Aim] = &[Aim::Cpu(1.10)];
/// Of edi beside oidc-provider.
pub(crate) const PEER: &[Aim] = &[Aim::Rate(10.0)];
/// At 70 % of saturation.
pub(crate) const PACED: &[Aim] = &[Aim::P99(1.3)];
