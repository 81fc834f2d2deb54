//! The last changes of an embedded engine, kept in memory for watchers that pull.
//!
//! Only durable commits enter it. Knows nothing of the engine: it is told what became durable and whether to beat.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::{Change, Changes, Event, KEPT_CHANGES, Revision, Write};

/// The longest silence of a healthy watch.
const BEAT: Duration = Duration::from_millis(450);
/// The shortest distance between two beats: other collections' commits must not wake every watcher each time.
const BEAT_AT_MOST: Duration = Duration::from_millis(20);
/// The most bytes of values kept; [`KEPT_CHANGES`] of the largest values would be 640 MiB.
const KEPT_BYTES: usize = 64 * 1024 * 1024;

/// What watchers get at present.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Changes and beats.
    Healthy,
    /// Changes that are already known, no beats.
    Silent,
    /// Nothing at all; for tests of what lies above.
    Stalled,
}

struct Logged {
    revision: Revision,
    changes: Vec<Change>,
    bytes: usize,
}

struct State {
    commits: VecDeque<Logged>,
    kept: usize,
    bytes: usize,
    /// A watcher that stands before this revision has missed something.
    floor: Revision,
    durable: Revision,
    pace: Pace,
    /// Counts the losses; a watcher of an earlier era is lost.
    era: u64,
}

/// The log. Engines publish, watchers pull.
pub(super) struct ChangeLog {
    state: Mutex<State>,
    wake: watch::Sender<()>,
}

impl ChangeLog {
    /// An empty log of an engine whose last durable revision is `at`.
    pub(super) fn new(at: Revision) -> Arc<Self> {
        let state =
            State { commits: VecDeque::new(), kept: 0, bytes: 0, floor: at, durable: at, pace: Pace::Healthy, era: 0 };
        Arc::new(Self { state: Mutex::new(state), wake: watch::Sender::new(()) })
    }

    /// Adds commits that have become durable, in order.
    pub(super) fn publish(&self, commits: impl IntoIterator<Item = (Revision, Vec<Change>)>) {
        let mut state = self.lock();
        for (revision, changes) in commits {
            let bytes = changes.iter().map(size).sum();
            state.kept += changes.len();
            state.bytes += bytes;
            state.durable = revision;
            state.commits.push_back(Logged { revision, changes, bytes });
        }
        while state.kept > KEPT_CHANGES || state.bytes > KEPT_BYTES {
            let Some(oldest) = state.commits.pop_front() else { break };
            state.kept -= oldest.changes.len();
            state.bytes -= oldest.bytes;
            state.floor = oldest.revision;
        }
        drop(state);
        self.wake.send_replace(());
    }

    /// Changes what watchers get.
    pub(super) fn set_pace(&self, pace: Pace) {
        self.lock().pace = pace;
        self.wake.send_replace(());
    }

    /// Every present watcher is lost; the engine continues at `at` and is healthy.
    pub(super) fn lose(&self, at: Revision) {
        let mut state = self.lock();
        state.commits.clear();
        (state.kept, state.bytes) = (0, 0);
        (state.floor, state.durable) = (at, at);
        state.pace = Pace::Healthy;
        state.era += 1;
        drop(state);
        self.wake.send_replace(());
    }

    /// A watcher of the keys that start with `prefix`, from after `after`.
    pub(super) fn watch(self: &Arc<Self>, prefix: &str, after: Revision) -> Box<dyn Changes> {
        let era = self.lock().era;
        Box::new(Watcher {
            log: Arc::clone(self),
            wake: self.wake.subscribe(),
            prefix: prefix.into(),
            cursor: after,
            era,
            lost: false,
            beat: None,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(change: &Change) -> usize {
    change.key.as_str().len() + if let Write::Put { value, .. } = &change.write { value.len() } else { 0 }
}

struct Watcher {
    log: Arc<ChangeLog>,
    wake: watch::Receiver<()>,
    prefix: Box<str>,
    /// Everything up to here was reported or does not concern the prefix.
    cursor: Revision,
    era: u64,
    lost: bool,
    /// When the last beat went out, and with which revision.
    beat: Option<(Instant, Revision)>,
}

enum Pulled {
    Event(Event),
    /// Nothing yet; look again when woken, or at this instant.
    Wait(Option<Instant>),
}

impl Watcher {
    fn pull(&mut self) -> Pulled {
        if self.lost {
            return Pulled::Wait(None);
        }
        let state = self.log.lock();
        if state.pace == Pace::Stalled {
            return Pulled::Wait(None);
        }
        if state.era != self.era || self.cursor < state.floor {
            self.lost = true;
            return Pulled::Event(Event::Lost);
        }
        let unseen = state.commits.partition_point(|commit| commit.revision <= self.cursor);
        for commit in state.commits.range(unseen..) {
            self.cursor = commit.revision;
            let concerned = |change: &&Change| change.key.as_str().starts_with(&*self.prefix);
            let changes: Vec<Change> = commit.changes.iter().filter(concerned).cloned().collect();
            if !changes.is_empty() {
                return Pulled::Event(Event::Changes { revision: commit.revision, changes });
            }
        }
        if state.pace == Pace::Silent {
            return Pulled::Wait(None);
        }
        let now = Instant::now();
        let due = match self.beat {
            None => now,
            Some((at, reported)) => at + if reported < state.durable { BEAT_AT_MOST } else { BEAT },
        };
        if now < due {
            return Pulled::Wait(Some(due));
        }
        self.beat = Some((now, state.durable));
        Pulled::Event(Event::UpTo(state.durable))
    }
}

#[async_trait]
impl Changes for Watcher {
    async fn next(&mut self) -> Event {
        loop {
            // Marked as seen before looking, so that no wake between the look and the wait is missed.
            self.wake.borrow_and_update();
            match self.pull() {
                Pulled::Event(event) => return event,
                // The sender lives in the log that this watcher holds: `changed` cannot fail.
                Pulled::Wait(None) => drop(self.wake.changed().await),
                Pulled::Wait(Some(until)) => drop(timeout_at(until, self.wake.changed()).await),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Key;
    use super::*;

    fn put(key: &str, bytes: usize) -> Change {
        Change { key: Key::new(key), write: Write::Put { value: vec![0; bytes], expires_at: None } }
    }

    #[tokio::test(start_paused = true)]
    async fn a_healthy_watch_is_never_silent_for_500_ms_and_an_unhealthy_one_never_beats() {
        let log = ChangeLog::new(Revision(7));
        let mut watch = log.watch("a/", Revision(7));
        for _ in 0..5 {
            let before = Instant::now();
            assert_eq!(watch.next().await, Event::UpTo(Revision(7)));
            assert!(before.elapsed() < Duration::from_millis(500));
        }
        log.set_pace(Pace::Silent);
        assert!(tokio::time::timeout(Duration::from_hours(1), watch.next()).await.is_err());
        log.set_pace(Pace::Healthy);
        assert_eq!(watch.next().await, Event::UpTo(Revision(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn commits_to_other_collections_advance_the_watch_within_20_ms() {
        let log = ChangeLog::new(Revision(0));
        let mut watch = log.watch("a/", Revision(0));
        assert_eq!(watch.next().await, Event::UpTo(Revision(0)));
        log.publish([(Revision(1), vec![put("b/1", 1)])]);
        let before = Instant::now();
        assert_eq!(watch.next().await, Event::UpTo(Revision(1)));
        assert!(before.elapsed() <= Duration::from_millis(21));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_that_lags_past_the_kept_changes_is_lost_and_hears_nothing_after_it() {
        let log = ChangeLog::new(Revision(0));
        let (mut late, mut just) = (log.watch("a/", Revision(0)), log.watch("a/", Revision(1)));
        log.publish((1..=KEPT_CHANGES as u64 + 1).map(|n| (Revision(n), vec![put("a/x", 1)])));
        assert_eq!(late.next().await, Event::Lost);
        assert!(tokio::time::timeout(Duration::from_mins(1), late.next()).await.is_err());
        assert!(matches!(just.next().await, Event::Changes { revision: Revision(2), .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn large_values_do_not_fill_the_memory() {
        let log = ChangeLog::new(Revision(0));
        log.publish((1..=2000).map(|n| (Revision(n), vec![put("a/x", 64 * 1024)])));
        assert!(log.lock().bytes <= KEPT_BYTES);
        assert_eq!(log.watch("a/", Revision(1)).next().await, Event::Lost);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reopened_engine_loses_every_watcher_and_beats_for_new_ones() {
        let log = ChangeLog::new(Revision(0));
        let mut old = log.watch("", Revision(0));
        log.publish([(Revision(1), vec![put("a", 1)])]);
        log.lose(Revision(100));
        assert_eq!(old.next().await, Event::Lost);
        assert_eq!(log.watch("", Revision(1)).next().await, Event::Lost);
        assert_eq!(log.watch("", Revision(100)).next().await, Event::UpTo(Revision(100)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_wait_loses_no_event() {
        let log = ChangeLog::new(Revision(0));
        let mut watch = log.watch("", Revision(0));
        watch.next().await;
        assert!(tokio::time::timeout(Duration::from_millis(1), watch.next()).await.is_err());
        log.publish([(Revision(1), vec![put("a", 1)])]);
        assert!(matches!(watch.next().await, Event::Changes { revision: Revision(1), .. }));
    }
}
