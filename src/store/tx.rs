//! Optimistic transactions for the typed collections: read, decide, write on condition that nothing read has changed.
//!
//! ```text
//! let mut retry = Retry::new(&ambient);
//! loop {
//!     let mut tx = Tx::new(&*store);
//!     let (client, _) = tx.get::<Client>(&key).await?.ok_or(NotFound)?;
//!     tx.put(&key, &client.disabled(), None)?;
//!     let audited = audit::record(&mut tx, &ambient, &by, changes)?;
//!     match tx.commit(audited).await {
//!         Ok(revision) => return Ok(revision),
//!         Err(error) => retry.after(error).await?,
//!     }
//! }
//! ```
//! Knows nothing of what is read or written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::record::{Record, decode, encode};
use super::{Commit, CommitError, Condition, Key, Revision, Store, StoreError, Versioned, Write};
use crate::ambient::{Ambient, Entropy};
use crate::audit::{self, Entry};
use crate::model::time::Timestamp;

/// How long conflicts are retried altogether.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Why a transaction did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TxError {
    /// A read failed, or a record could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The commit failed. [`CommitError::Conflict`] is what [`Retry::after`] retries.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Others kept winning for [`PATIENCE`]; nothing was written. Try again later.
    #[error("the store is busy: others kept changing the same records")]
    Busy,
}

/// Says that a transaction holds the audit entry of what it does, or that it needs none.
#[must_use = "pass it to the commit"]
#[derive(Debug)]
pub struct Audited(Option<Entry>);

impl Audited {
    /// The entry is among the writes; its log line follows the commit.
    pub(super) const fn told_by(entry: Entry) -> Self {
        Self(Some(entry))
    }

    /// Nothing that an operator would ask about changes: say why not.
    pub const fn not_a_change(_why: &'static str) -> Self {
        Self(None)
    }
}

/// One attempt.
pub struct Tx<'s> {
    store: &'s dyn Store,
    reads: BTreeMap<Key, Option<Versioned>>,
    conditions: BTreeMap<Key, Condition>,
    writes: BTreeMap<Key, Write>,
    seen: Revision,
    urgent: bool,
}

impl<'s> Tx<'s> {
    /// An empty transaction.
    #[must_use]
    pub fn new(store: &'s dyn Store) -> Self {
        Self {
            store,
            reads: BTreeMap::new(),
            conditions: BTreeMap::new(),
            writes: BTreeMap::new(),
            seen: Revision::default(),
            urgent: false,
        }
    }

    /// The record at `key` with the revision of its last put, and the condition that it stays so until the commit.
    /// Sees this transaction's own writes, whose revision is not known yet: it counts as zero.
    ///
    /// # Errors
    /// [`TxError::Store`] when the store does not answer or the record cannot be read.
    pub async fn get<R: Record>(&mut self, key: &Key) -> Result<Option<(R, Revision)>, TxError> {
        match self.writes.get(key) {
            Some(Write::Put { value, .. }) => return Ok(Some((decode(key, value)?, Revision::default()))),
            Some(Write::Delete) => return Ok(None),
            None => {}
        }
        if !self.reads.contains_key(key) {
            let read = self.store.get(key).await?;
            self.seen = self.seen.max(read.at);
            let condition = read.value.as_ref().map_or(Condition::Absent, |value| Condition::At(value.revision));
            self.conditions.entry(key.clone()).or_insert(condition);
            self.reads.insert(key.clone(), read.value);
        }
        match self.reads.get(key).and_then(Option::as_ref) {
            Some(found) => Ok(Some((decode(key, &found.value)?, found.revision))),
            None => Ok(None),
        }
    }

    /// Adds a condition without reading, such as [`Condition::Absent`] for a key that was just drawn at random. The
    /// last one given for a key counts.
    pub fn require(&mut self, key: &Key, condition: Condition) {
        self.conditions.insert(key.clone(), condition);
    }

    /// Writes `record` at `key`, in place of an earlier write of this transaction there.
    ///
    /// # Errors
    /// [`TxError::Store`] when the record has no JSON form.
    pub fn put<R: Record>(&mut self, key: &Key, record: &R, expires_at: Option<Timestamp>) -> Result<(), TxError> {
        let value = encode(key, record)?;
        self.writes.insert(key.clone(), Write::Put { value, expires_at });
        Ok(())
    }

    /// Removes whatever is at `key`.
    pub fn delete(&mut self, key: &Key) {
        self.writes.insert(key.clone(), Write::Delete);
    }

    /// Says that it takes rights away: it may have the room that is kept for that when the disk is full.
    pub fn takes_rights_away(&mut self) {
        self.urgent = true;
    }

    /// Commits, and logs what was changed. A transaction without writes commits nothing and answers with the latest
    /// revision it read at; what it read is then no snapshot.
    ///
    /// # Errors
    /// [`TxError::Commit`], as the store says.
    pub async fn commit(self, audited: Audited) -> Result<Revision, TxError> {
        if self.writes.is_empty() {
            return Ok(self.seen);
        }
        let commit =
            Commit { conditions: self.conditions.into_iter().collect(), writes: self.writes.into_iter().collect() };
        let revision =
            if self.urgent { self.store.commit_urgent(commit).await? } else { self.store.commit(commit).await? };
        if let Audited(Some(entry)) = audited {
            audit::changed(&entry);
        }
        Ok(revision)
    }
}

/// The one place that retries: conflicts, jittered, at most [`PATIENCE`] altogether.
pub struct Retry {
    entropy: Arc<dyn Entropy>,
    deadline: Instant,
    /// The next wait is drawn from between zero and this.
    ceiling: Duration,
}

impl Retry {
    /// Starts the clock.
    #[must_use]
    pub fn new(ambient: &Ambient) -> Self {
        Self {
            entropy: Arc::clone(&ambient.entropy),
            deadline: Instant::now() + PATIENCE,
            ceiling: Duration::from_millis(4),
        }
    }

    /// Waits a little after a conflict.
    ///
    /// # Errors
    /// Any other error at once, unchanged, and [`TxError::Busy`] when the time is up.
    pub async fn after(&mut self, error: TxError) -> Result<(), TxError> {
        if error != TxError::Commit(CommitError::Conflict) {
            return Err(error);
        }
        let mut random = [0; 4];
        self.entropy.fill(&mut random);
        let wait = self.ceiling.mul_f64(f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX));
        self.ceiling = (self.ceiling * 2).min(Duration::from_millis(128));
        let until = Instant::now() + wait;
        if until > self.deadline {
            return Err(TxError::Busy);
        }
        tokio::time::sleep_until(until).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::super::memory::{MemoryStore, Outcome};
    use super::*;
    use crate::ambient::{ManualClock, SeededEntropy};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Count(u64);

    impl Record for Count {
        const VERSION: u32 = 1;
    }

    fn untold() -> Audited {
        Audited::not_a_change("a test")
    }

    fn ambient() -> Ambient {
        Ambient { clock: ManualClock::at(Timestamp::from_secs(1)), entropy: SeededEntropy::new(1) }
    }

    fn store() -> Arc<MemoryStore> {
        Arc::new(MemoryStore::new(ambient().clock))
    }

    async fn add_one(store: &dyn Store, ambient: &Ambient, key: &Key) -> Result<Revision, TxError> {
        let mut retry = Retry::new(ambient);
        loop {
            let mut tx = Tx::new(store);
            let count = tx.get::<Count>(key).await?.map_or(0, |(count, _)| count.0);
            tokio::task::yield_now().await;
            tx.put(key, &Count(count + 1), None)?;
            match tx.commit(untold()).await {
                Ok(revision) => return Ok(revision),
                Err(error) => retry.after(error).await?,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_success_of_racing_transactions_counts_once() {
        let (store, ambient, key) = (store(), ambient(), Key::new("n/1"));
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let (store, ambient, key) = (Arc::clone(&store), ambient.clone(), key.clone());
                tokio::spawn(async move { add_one(&*store, &ambient, &key).await.is_ok() })
            })
            .collect();
        let mut wins = 0;
        for task in tasks {
            wins += u64::from(task.await.unwrap());
        }
        assert!(wins > 0);
        assert_eq!(Tx::new(&*store).get::<Count>(&key).await.unwrap().unwrap().0, Count(wins));
    }

    #[tokio::test(start_paused = true)]
    async fn conflicts_are_retried_for_two_seconds_and_then_it_is_busy() {
        let (ambient, started) = (ambient(), Instant::now());
        let mut retry = Retry::new(&ambient);
        let mut rounds = 0;
        while retry.after(CommitError::Conflict.into()).await.is_ok() {
            rounds += 1;
        }
        assert!(rounds > 10 && started.elapsed() <= PATIENCE, "{rounds} {:?}", started.elapsed());
        assert_eq!(retry.after(CommitError::Conflict.into()).await, Err(TxError::Busy));
    }

    #[tokio::test]
    async fn nothing_but_a_conflict_is_retried() {
        for error in [
            TxError::Commit(CommitError::Unknown("x".into())),
            TxError::Commit(CommitError::Unavailable("x".into())),
            TxError::Store(StoreError::Unavailable("x".into())),
            TxError::Busy,
        ] {
            assert_eq!(Retry::new(&ambient()).after(error.clone()).await, Err(error));
        }
    }

    #[tokio::test]
    async fn a_transaction_sees_its_own_writes() {
        let (store, key) = (store(), Key::new("n/1"));
        let mut tx = Tx::new(&*store);
        assert_eq!(tx.get::<Count>(&key).await.unwrap(), None);
        tx.put(&key, &Count(5), None).unwrap();
        assert_eq!(tx.get::<Count>(&key).await.unwrap(), Some((Count(5), Revision(0))));
        tx.delete(&key);
        assert_eq!(tx.get::<Count>(&key).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_was_read_must_not_change_before_the_commit() {
        let (store, a, b) = (store(), Key::new("n/a"), Key::new("n/b"));
        for seen_before in [false, true] {
            if seen_before {
                add_one(&*store, &ambient(), &a).await.unwrap();
            }
            let mut tx = Tx::new(&*store);
            tx.get::<Count>(&a).await.unwrap();
            tx.put(&b, &Count(1), None).unwrap();
            add_one(&*store, &ambient(), &a).await.unwrap();
            assert_eq!(tx.commit(untold()).await, Err(TxError::Commit(CommitError::Conflict)));
        }
        let mut tx = Tx::new(&*store);
        tx.require(&a, Condition::Absent);
        tx.put(&b, &Count(1), None).unwrap();
        assert_eq!(tx.commit(untold()).await, Err(TxError::Commit(CommitError::Conflict)));
    }

    #[tokio::test]
    async fn a_transaction_without_writes_answers_with_the_revision_it_read_at() {
        let (store, key) = (store(), Key::new("n/1"));
        let revision = add_one(&*store, &ambient(), &key).await.unwrap();
        let mut tx = Tx::new(&*store);
        tx.get::<Count>(&key).await.unwrap();
        assert_eq!(tx.commit(untold()).await, Ok(revision));
    }

    #[tokio::test]
    async fn an_unknown_outcome_reaches_the_caller() {
        let (store, key) = (store(), Key::new("n/1"));
        store.outcome_unknown(Some(Outcome::Written));
        assert!(matches!(add_one(&*store, &ambient(), &key).await, Err(TxError::Commit(CommitError::Unknown(_)))));
    }

    #[test]
    fn its_futures_cross_threads() {
        fn send<T: Send>(_: T) {}
        let (store, ambient, key) = (store(), ambient(), Key::new("n/1"));
        send(add_one(&*store, &ambient, &key));
    }
}
