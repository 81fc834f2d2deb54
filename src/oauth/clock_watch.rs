//! Notices when the machine's clock jumps: wall time and monotonic time are compared every few seconds.
//!
//! Lifetimes are judged on wall time, so a jump matters: forward it ends tokens and starts keys early, backward it revives
//! what had expired. Timeouts run on monotonic time and do not notice. A machine that was suspended shows as a jump forward.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::service::Service;
use crate::model::time::Timestamp;

/// How often the two are compared.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How far they may drift apart between two looks: a clock that is being slewed stays far below.
const TOLERATED: Duration = Duration::from_secs(1);

/// What was noticed so far.
#[derive(Debug, Default)]
pub struct ClockWatch {
    jumps: AtomicU64,
    last_at: AtomicI64,
    last_by: AtomicI64,
}

/// A jump of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// The time after it.
    pub at: Timestamp,
    /// By how many milliseconds; negative is backward.
    pub by_millis: i64,
}

impl ClockWatch {
    /// How many jumps there were since this process started.
    #[must_use]
    pub fn jumps(&self) -> u64 {
        self.jumps.load(Ordering::Relaxed)
    }

    /// The last one.
    #[must_use]
    pub fn last(&self) -> Option<Jump> {
        let jump = || Jump {
            at: Timestamp::from_millis(self.last_at.load(Ordering::Relaxed)),
            by_millis: self.last_by.load(Ordering::Relaxed),
        };
        (self.jumps() > 0).then(jump)
    }

    fn note(&self, jump: Jump) {
        self.last_at.store(jump.at.millis(), Ordering::Relaxed);
        self.last_by.store(jump.by_millis, Ordering::Relaxed);
        self.jumps.fetch_add(1, Ordering::Relaxed);
    }
}

/// The jump between two looks, if there was one: wall time passed by more than the monotonic clock says, or by less.
#[must_use]
pub fn jump(before: Timestamp, now: Timestamp, passed: Duration) -> Option<Jump> {
    let expected = before.plus(passed);
    let by_millis = now.millis().saturating_sub(expected.millis());
    let off = Duration::from_millis(by_millis.unsigned_abs());
    (off > TOLERATED).then_some(Jump { at: now, by_millis })
}

/// Compares the clocks for as long as the service lives.
pub async fn watch(service: Arc<Service>) {
    let mut before = (service.now(), Instant::now());
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = (service.now(), Instant::now());
        if let Some(jump) = jump(before.0, now.0, now.1.duration_since(before.1)) {
            service.clock.note(jump);
            tracing::warn!(
                target: "edi::clock",
                direction = if jump.by_millis < 0 { "backward" } else { "forward" },
                by_ms = jump.by_millis.unsigned_abs(),
                now = %jump.at,
                "the clock jumped: tokens and keys start and end by it"
            );
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_told_from_time_that_passed() {
        let at = Timestamp::from_millis;
        let passed = Duration::from_secs(5);
        for (wall, by) in [
            (5_000, None),
            (5_999, None),
            (4_001, None),
            (6_001, Some(1_001)),
            (3_605_000, Some(3_600_000)),
            (0, Some(-5_000)),
            (-3_600_000, Some(-3_605_000)),
        ] {
            let found = jump(at(0), at(wall), passed);
            assert_eq!(found.map(|jump| (jump.at, jump.by_millis)), by.map(|by| (at(wall), by)), "{wall}");
        }
        assert!(jump(at(i64::MIN), at(i64::MAX), passed).is_some(), "no overflow");
    }

    #[test]
    fn jumps_are_counted_and_the_last_is_kept() {
        let watch = ClockWatch::default();
        assert_eq!((watch.jumps(), watch.last()), (0, None));
        for by_millis in [5_000, -7_000] {
            watch.note(Jump { at: Timestamp::from_secs(9), by_millis });
        }
        assert_eq!(watch.jumps(), 2);
        assert_eq!(watch.last().map(|jump| jump.by_millis), Some(-7_000));
    }
}
