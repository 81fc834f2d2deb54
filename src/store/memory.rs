//! The store in memory, for tests: the whole contract but durability, with switches that make it fail.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::changelog::{ChangeLog, Pace};
use super::{
    Change, Changes, Commit, CommitError, Condition, Figures, Health, Key, MAX_COMMIT_ENTRIES, Page, Read, Revision,
    Store, StoreError, Versioned, Write,
};
use crate::ambient::Clock;
use crate::model::time::Timestamp;

/// A store that forgets everything when dropped.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    log: Arc<ChangeLog>,
    fail_writes: AtomicBool,
    fail_reads: AtomicBool,
    unknown: AtomicU8,
    closed: AtomicBool,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Key, Versioned>,
    expiring: BTreeSet<(Timestamp, Key)>,
    revision: Revision,
}

/// What became of a commit whose outcome the caller is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It happened.
    Written,
    /// It did not.
    NotWritten,
}

const KNOWN: u8 = 0;
const UNKNOWN_WRITTEN: u8 = 1;
const UNKNOWN_NOT_WRITTEN: u8 = 2;

impl MemoryStore {
    /// An empty store that judges expiry by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::default(),
            log: ChangeLog::new(Revision(0)),
            fail_writes: AtomicBool::new(false),
            fail_reads: AtomicBool::new(false),
            unknown: AtomicU8::new(KNOWN),
            closed: AtomicBool::new(false),
        }
    }

    /// While on, every commit and sweep is [`CommitError::Unavailable`].
    pub fn fail_writes(&self, on: bool) {
        self.fail_writes.store(on, Ordering::SeqCst);
    }

    /// While on, every read and every new watch is [`StoreError::Unavailable`].
    pub fn fail_reads(&self, on: bool) {
        self.fail_reads.store(on, Ordering::SeqCst);
    }

    /// While on, watches report nothing: neither changes nor beats. Switched off, they catch up.
    pub fn stall_watches(&self, on: bool) {
        self.log.set_pace(if on { Pace::Stalled } else { Pace::Healthy });
    }

    /// Every present watch is lost, as after a reopened engine.
    pub fn lose_watches(&self) {
        let state = self.lock();
        self.log.lose(state.revision);
    }

    /// While set, a commit that would have succeeded answers [`CommitError::Unknown`], after this outcome.
    pub fn outcome_unknown(&self, outcome: Option<Outcome>) {
        let code = match outcome {
            None => KNOWN,
            Some(Outcome::Written) => UNKNOWN_WRITTEN,
            Some(Outcome::NotWritten) => UNKNOWN_NOT_WRITTEN,
        };
        self.unknown.store(code, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readable(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::SeqCst) {
            Err(StoreError::Unavailable("it is closed".into()))
        } else if self.fail_reads.load(Ordering::SeqCst) {
            Err(StoreError::Unavailable("reads were switched off".into()))
        } else {
            Ok(())
        }
    }

    fn writable(&self) -> Result<(), CommitError> {
        if self.closed.load(Ordering::SeqCst) {
            Err(CommitError::Unavailable("it is closed".into()))
        } else if self.fail_writes.load(Ordering::SeqCst) {
            Err(CommitError::Unavailable("writes were switched off".into()))
        } else {
            Ok(())
        }
    }

    /// Writes and publishes; the lock makes the log's order the commits' order.
    fn write(&self, state: &mut State, writes: Vec<(Key, Write)>) -> Result<Revision, CommitError> {
        let unknown = self.unknown.load(Ordering::SeqCst);
        if unknown == UNKNOWN_NOT_WRITTEN {
            return Err(CommitError::Unknown("as the test asked".into()));
        }
        state.revision.0 += 1;
        let revision = state.revision;
        for (key, write) in &writes {
            if let Some(Versioned { expires_at: Some(end), .. }) = state.entries.remove(key) {
                state.expiring.remove(&(end, key.clone()));
            }
            if let Write::Put { value, expires_at } = write {
                let entry = Versioned { value: value.clone(), revision, expires_at: *expires_at };
                state.entries.insert(key.clone(), entry);
                if let Some(end) = expires_at {
                    state.expiring.insert((*end, key.clone()));
                }
            }
        }
        self.log.publish([(revision, writes.into_iter().map(|(key, write)| Change { key, write }).collect())]);
        if unknown == UNKNOWN_WRITTEN { Err(CommitError::Unknown("as the test asked".into())) } else { Ok(revision) }
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        let revision = self.lock().revision;
        self.log.lose(revision);
    }
}

impl State {
    fn holds(&self, key: &Key, condition: Condition, now: Timestamp) -> bool {
        let live = self.entries.get(key).filter(|entry| entry.is_live(now));
        match condition {
            Condition::Absent => live.is_none(),
            Condition::At(revision) => live.is_some_and(|entry| entry.revision == revision),
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &Key) -> Result<Read, StoreError> {
        self.readable()?;
        let now = self.clock.now();
        let state = self.lock();
        let value = state.entries.get(key).filter(|entry| entry.is_live(now)).cloned();
        Ok(Read { at: state.revision, value })
    }

    async fn scan(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.readable()?;
        let now = self.clock.now();
        let start = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.clone()),
            _ => Bound::Included(Key::new(prefix)),
        };
        let state = self.lock();
        let mut page = Page { at: state.revision, items: Vec::new(), next: None };
        let inside = |(key, _): &(&Key, &Versioned)| key.as_str().starts_with(prefix);
        let live = |(_, entry): &(&Key, &Versioned)| entry.is_live(now);
        for (key, entry) in state.entries.range((start, Bound::Unbounded)).take_while(inside).filter(live) {
            if page.items.len() == limit.max(1) {
                page.next = page.items.last().map(|(key, _)| key.clone());
                break;
            }
            page.items.push((key.clone(), entry.clone()));
        }
        Ok(page)
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        commit.check()?;
        self.writable()?;
        let now = self.clock.now();
        let mut state = self.lock();
        if !commit.conditions.iter().all(|(key, condition)| state.holds(key, *condition, now)) {
            return Err(CommitError::Conflict);
        }
        self.write(&mut state, commit.writes)
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Changes>, StoreError> {
        self.readable()?;
        Ok(self.log.watch(prefix, after))
    }

    async fn sweep(&self, limit: usize) -> Result<usize, CommitError> {
        self.writable()?;
        let now = self.clock.now();
        let mut state = self.lock();
        let due = state.expiring.iter().take_while(|(end, _)| *end <= now).take(limit.min(MAX_COMMIT_ENTRIES));
        let writes: Vec<_> = due.map(|(_, key)| (key.clone(), Write::Delete)).collect();
        let count = writes.len();
        if count > 0 {
            self.write(&mut state, writes)?;
        }
        Ok(count)
    }

    async fn figures(&self) -> Result<Figures, StoreError> {
        self.readable()?;
        let mut figures = Figures::default();
        for key in self.lock().entries.keys() {
            *figures.entries.entry(key.collection().to_owned()).or_default() += 1;
        }
        Ok(figures)
    }

    fn health(&self) -> Health {
        match (self.readable(), self.writable()) {
            (Err(problem), _) => Health::Down(problem.to_string()),
            (Ok(()), Err(problem)) => Health::ReadOnly(problem.to_string()),
            (Ok(()), Ok(())) => Health::Writable,
        }
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.lose_watches();
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{Rig, store_conformance};
    use super::*;
    use crate::ambient::ManualClock;

    fn open() -> Rig {
        let clock = ManualClock::at(Timestamp::from_secs(1_000_000));
        Rig { store: Arc::new(MemoryStore::new(Arc::clone(&clock) as _)), clock, folder: None }
    }

    store_conformance!(open);

    #[tokio::test]
    async fn the_switches_do_what_they_say() {
        let store = MemoryStore::new(ManualClock::at(Timestamp::from_secs(1)));
        let key = Key::new("a/b");
        let put = || Commit {
            conditions: Vec::new(),
            writes: vec![(key.clone(), Write::Put { value: vec![1], expires_at: None })],
        };
        store.fail_writes(true);
        assert!(matches!(store.commit(put()).await, Err(CommitError::Unavailable(_))));
        assert!(matches!(store.health(), Health::ReadOnly(_)));
        store.fail_writes(false);
        store.outcome_unknown(Some(Outcome::NotWritten));
        assert!(matches!(store.commit(put()).await, Err(CommitError::Unknown(_))));
        assert_eq!(store.get(&key).await.unwrap().value, None);
        store.outcome_unknown(Some(Outcome::Written));
        assert!(matches!(store.commit(put()).await, Err(CommitError::Unknown(_))));
        assert!(store.get(&key).await.unwrap().value.is_some());
        store.fail_reads(true);
        assert!(store.get(&key).await.is_err());
        assert!(matches!(store.health(), Health::Down(_)));
    }
}
