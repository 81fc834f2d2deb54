//! A store that says how long its commits take and what came of them. Passes everything else through.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use super::mirror::Early;
use super::{Changes, Commit, CommitError, Figures, Health, Key, Page, Read, Revision, Store, StoreError};
use crate::metrics::{Counter, Histogram};

/// What was measured.
#[derive(Debug, Default)]
pub struct StoreFigures {
    /// How long commits took, whatever came of them.
    pub commits: Histogram,
    /// Commits that are durable.
    pub committed: Counter,
    /// Commits whose conditions did not hold; they were tried again.
    pub conflicts: Counter,
    /// Commits that may or may not have been written.
    pub unknown: Counter,
    /// Commits that were not taken.
    pub unavailable: Counter,
    /// Commits that break a limit of the contract.
    pub invalid: Counter,
    /// Reads by key: what was not in memory.
    pub reads: Counter,
    /// Reads, scans and watches that failed.
    pub failed_reads: Counter,
}

/// The store and its figures.
pub struct Measured {
    store: Arc<dyn Store>,
    figures: Arc<StoreFigures>,
}

impl Measured {
    /// Measures `store` from now on.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, figures: Arc::default() }
    }

    /// What was measured; stays after the store is gone.
    #[must_use]
    pub fn figures(&self) -> Arc<StoreFigures> {
        Arc::clone(&self.figures)
    }

    fn noted<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        outcome.inspect_err(|_| self.figures.failed_reads.one())
    }

    fn counted(&self, started: Instant, outcome: Result<Revision, CommitError>) -> Result<Revision, CommitError> {
        self.figures.commits.observe(started.elapsed());
        match &outcome {
            Ok(_) => &self.figures.committed,
            Err(CommitError::Conflict) => &self.figures.conflicts,
            Err(CommitError::Unknown(_)) => &self.figures.unknown,
            Err(CommitError::Unavailable(_) | CommitError::Full(_)) => &self.figures.unavailable,
            Err(CommitError::Invalid(_)) => &self.figures.invalid,
        }
        .one();
        outcome
    }
}

#[async_trait]
impl Store for Measured {
    async fn get(&self, key: &Key) -> Result<Read, StoreError> {
        self.figures.reads.one();
        self.noted(self.store.get(key).await)
    }

    async fn scan(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.noted(self.store.scan(prefix, after, limit).await)
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        let started = Instant::now();
        self.counted(started, self.store.commit(commit).await)
    }

    async fn commit_urgent(&self, commit: Commit) -> Result<Revision, CommitError> {
        let started = Instant::now();
        self.counted(started, self.store.commit_urgent(commit).await)
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Changes>, StoreError> {
        self.noted(self.store.watch(prefix, after).await)
    }

    async fn sweep(&self, limit: usize) -> Result<usize, CommitError> {
        self.store.sweep(limit).await
    }

    async fn figures(&self) -> Result<Figures, StoreError> {
        self.noted(self.store.figures().await)
    }

    fn take_early(&self, prefix: &str) -> Option<Early> {
        self.store.take_early(prefix)
    }

    fn health(&self) -> Health {
        self.store.health()
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SystemClock;
    use crate::store::memory::MemoryStore;

    fn open_empty() -> Measured {
        Measured::new(Arc::new(MemoryStore::new(Arc::new(SystemClock))))
    }

    #[tokio::test]
    async fn outcomes_are_told_apart() {
        use crate::store::{Condition, Write};
        let store = open_empty();
        let key = Key::new("a");
        let put = |conditions| Commit {
            conditions,
            writes: vec![(key.clone(), Write::Put { value: b"x".to_vec(), expires_at: None })],
        };
        store.commit(put(vec![(key.clone(), Condition::Absent)])).await.unwrap();
        store.commit(put(vec![(key.clone(), Condition::Absent)])).await.unwrap_err();
        store.commit(Commit::default()).await.unwrap_err();
        store.get(&key).await.unwrap();
        let figures = store.figures();
        let counted = [&figures.committed, &figures.conflicts, &figures.invalid, &figures.unknown, &figures.reads];
        assert_eq!(counted.map(Counter::get), [1, 1, 1, 0, 1]);
        assert_eq!(figures.commits.snapshot().count(), 3);
    }
}
