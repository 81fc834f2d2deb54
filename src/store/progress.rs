//! How far a follower of the store has come, and when it last heard of it. Shared by mirrors and caches.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::{Revision, StoreError};

/// How long a caller waits for a follower to pass a revision.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a follower stands.
#[derive(Clone, Copy)]
struct Standing {
    revision: Revision,
    heard: Instant,
}

pub(super) struct Progress(watch::Sender<Standing>);

impl Progress {
    /// Stands at `revision`, heard of just now.
    pub(super) fn at(revision: Revision) -> Self {
        Self(watch::Sender::new(Standing { revision, heard: Instant::now() }))
    }

    /// Everything up to `revision` is included; called after it is.
    pub(super) fn reached(&self, revision: Revision) {
        self.0.send_modify(|standing| {
            standing.revision = standing.revision.max(revision);
            standing.heard = Instant::now();
        });
    }

    /// When the store was last heard of.
    pub(super) fn last_heard(&self) -> Instant {
        self.0.borrow().heard
    }

    /// The revision everything up to which is included.
    pub(super) fn revision(&self) -> Revision {
        self.0.borrow().revision
    }

    /// Waits until `revision` is included, at most [`PATIENCE`].
    pub(super) async fn passed(&self, revision: Revision) -> Result<(), StoreError> {
        let mut standing = self.0.subscribe();
        match timeout(PATIENCE, standing.wait_for(|standing| standing.revision >= revision)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                Err(StoreError::Unavailable(format!("revision {revision} was not heard of in time")))
            }
        }
    }
}

/// Waits between attempts to follow again: longer each time, until one succeeds.
pub(super) struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(2);

    pub(super) fn new() -> Self {
        Self(Self::FIRST)
    }

    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Self::LONGEST);
    }
}
