//! The signals that a serving program minds. They are caught before it is ready: one that came in the instant between would
//! end it with nothing finished.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT and SIGTERM, caught from its making on.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Catches them.
    ///
    /// # Errors
    /// When the system does not let it.
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for either.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// SIGHUP, caught from here on.
///
/// # Errors
/// When the system does not let it.
pub(super) fn hangup() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}
