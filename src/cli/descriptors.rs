//! File descriptors: as many as the system gives, no more connections than they allow, and a word when none is left.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::metrics::Counter;
use crate::metrics::process::{is_out_of_descriptors, most_descriptors};

/// What everything but connections needs: the store, logs, key files, the runtimes.
const RESERVE: u64 = 64;
/// What each worker needs for itself.
const PER_WORKER: u64 = 8;
/// The fewest connections edi serves with.
const FEWEST: usize = 8;
/// How often it is looked whether a descriptor is left.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Raises this process's own limit as far as the system allows, and says what it is.
pub(super) fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        // Where it is not allowed the old limit stands.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    getrlimit(Resource::Nofile).current
}

/// How many connections of the public listener fit beside everything else; the admin listener takes a tenth besides.
pub(super) fn affordable(wanted: usize, limit: Option<u64>, workers: usize) -> usize {
    let Some(limit) = limit else { return wanted };
    let workers = u64::try_from(workers).unwrap_or(u64::MAX);
    let left = limit.saturating_sub(RESERVE).saturating_sub(workers.saturating_mul(PER_WORKER));
    let fits = usize::try_from(left.saturating_mul(10) / 11).unwrap_or(usize::MAX);
    wanted.min(fits.max(FEWEST))
}

/// Says when there is no descriptor left and when there is one again, and counts how often that happened. Who is connected
/// goes on meanwhile, who is not waits in the system's queue: accepting pauses and tries again by itself.
pub(super) async fn watch(exhausted: Arc<Counter>) {
    let mut was_out = false;
    loop {
        let is_out = is_out_of_descriptors();
        match (was_out, is_out) {
            (false, true) => {
                exhausted.one();
                tracing::error!(
                    target: "edi::serve",
                    limit = most_descriptors(),
                    "no file descriptor is left: new connections wait until one is; raise the limit (ulimit -n, LimitNOFILE=)"
                );
            }
            (true, false) => tracing::warn!(target: "edi::serve", "there are file descriptors again"),
            _ => {}
        }
        was_out = is_out;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_into_the_descriptors() {
        assert_eq!(affordable(10_000, None, 2), 10_000);
        assert_eq!(affordable(10_000, Some(1_000_000), 2), 10_000);
        assert_eq!(affordable(10_000, Some(1024), 2), 858);
        assert_eq!(affordable(100, Some(1024), 2), 100);
        assert_eq!(affordable(10_000, Some(20), 64), 8);
    }
}
