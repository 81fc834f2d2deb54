//! A cache: the entries of one prefix that are in use, bounded, and kept up to date by a watch.
//!
//! A fill registers its key, reads, and reads again if a change arrived meanwhile, so that what is kept is never older
//! than what the watch has already reported. That a key is absent is remembered too, in a share of its own: whoever
//! asks for made-up names does not push out the entries in use. When the watch is lost nothing more is kept, and once
//! a new one stands everything is dropped; until then the cache answers with what it holds and is no longer heard of,
//! so that whoever reads it can judge how stale it is. Knows nothing of what the values mean.

mod clock;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::clock::Shelf;
use super::progress::{Backoff, Progress};
use super::{Change, Changes, Event, Key, Revision, Store, StoreError, Versioned, Write};
use crate::ambient::Clock;
use crate::model::time::Timestamp;

/// Of so many entries, one may be an absence.
const ABSENCES: usize = 4;

type Decode<T> = Box<dyn Fn(&Key, &[u8]) -> Result<T, StoreError> + Send + Sync>;

/// Entries in use, as `T`. Dropping it stops following.
pub struct Cache<T> {
    shared: Arc<Shared<T>>,
    follower: JoinHandle<()>,
}

struct Shared<T> {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    decode: Decode<T>,
    table: RwLock<Table<T>>,
    fills: Mutex<HashMap<Key, Arc<Fill>>>,
    progress: Progress,
}

struct Table<T> {
    present: Shelf<Found<T>>,
    absent: Shelf<Revision>,
    /// The watch reports every change after this revision; `None` while there is no watch.
    since: Option<Revision>,
}

struct Found<T> {
    value: Arc<T>,
    expires_at: Option<Timestamp>,
    /// It is the last one put up to this revision.
    at: Revision,
}

impl<T> Clone for Found<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), expires_at: self.expires_at, at: self.at }
    }
}

/// A key that is being read.
#[derive(Default)]
struct Fill {
    /// One reads, the others wait for what it finds.
    turn: tokio::sync::Mutex<()>,
    /// The last change that the watch reported meanwhile.
    changed: Mutex<Revision>,
}

impl<T: Send + Sync + 'static> Cache<T> {
    /// An empty cache of at most `capacity` entries under `prefix`, and a quarter as many absences. `decode` reads a
    /// value; `clock` judges expiry. Follows the store on the runtime of the caller.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn open(
        store: Arc<dyn Store>,
        prefix: &str,
        capacity: usize,
        clock: Arc<dyn Clock>,
        decode: impl Fn(&Key, &[u8]) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, StoreError> {
        let (since, watch) = watch(&*store, prefix).await?;
        let capacity = capacity.max(1);
        let table = Table {
            present: Shelf::new(capacity),
            absent: Shelf::new(capacity.div_ceil(ABSENCES)),
            since: Some(since),
        };
        let shared = Arc::new(Shared {
            store,
            clock,
            decode: Box::new(decode),
            table: RwLock::new(table),
            fills: Mutex::default(),
            progress: Progress::at(since),
        });
        let follower = tokio::spawn(Arc::clone(&shared).follow_for_good(prefix.to_owned(), watch));
        Ok(Arc::new(Self { shared, follower }))
    }

    /// What is known of `key` without asking the store: nothing, that it is absent, or its value.
    #[must_use]
    pub fn hit(&self, key: &Key) -> Option<Option<Arc<T>>> {
        self.shared.hit(key)
    }

    /// The value at `key`, from memory if it is there.
    ///
    /// # Errors
    /// When the store does not answer, or the value cannot be read.
    pub async fn get(&self, key: &Key) -> Result<Option<Arc<T>>, StoreError> {
        match self.shared.hit(key) {
            Some(known) => Ok(known),
            // Boxed, as a hit needs none of the room that this takes.
            None => Box::pin(self.shared.fill(key)).await,
        }
    }

    /// Waits until what [`Self::hit`] answers includes the commit of this revision.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] after 5 s.
    pub async fn passed(&self, revision: Revision) -> Result<(), StoreError> {
        self.shared.progress.passed(revision).await
    }

    /// How many entries and how many absences are held.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        let table = self.shared.table();
        (table.present.len(), table.absent.len())
    }

    /// The most entries that are held.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.table().present.capacity()
    }

    /// Changes the most entries that are held, and a quarter of it for absences.
    pub fn set_capacity(&self, capacity: usize) {
        // The same again would only hold readers up.
        if capacity != self.capacity() {
            let mut table = self.shared.table_mut();
            table.present.set_capacity(capacity);
            table.absent.set_capacity(capacity.max(1).div_ceil(ABSENCES));
        }
    }

    /// When the store was last heard of. A healthy one is heard of twice a second.
    #[must_use]
    pub fn last_heard(&self) -> Instant {
        self.shared.progress.last_heard()
    }
}

impl<T> Drop for Cache<T> {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

/// A watch, and the revision it starts from.
async fn watch(store: &dyn Store, prefix: &str) -> Result<(Revision, Box<dyn Changes>), StoreError> {
    let at = store.scan(prefix, None, 1).await?.at;
    Ok((at, store.watch(prefix, at).await?))
}

impl<T: Send + Sync + 'static> Shared<T> {
    fn table(&self) -> RwLockReadGuard<'_, Table<T>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn table_mut(&self) -> RwLockWriteGuard<'_, Table<T>> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn fills(&self) -> MutexGuard<'_, HashMap<Key, Arc<Fill>>> {
        self.fills.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::option_option, reason = "unknown, absent and present are three answers")]
    fn hit(&self, key: &Key) -> Option<Option<Arc<T>>> {
        let table = self.table();
        if let Some(found) = table.present.get(key) {
            // The clock is asked only about what has an end.
            let live = found.expires_at.is_none_or(|end| self.clock.now() < end);
            return Some(live.then(|| Arc::clone(&found.value)));
        }
        table.absent.get(key).map(|_| None)
    }

    async fn fill(&self, key: &Key) -> Result<Option<Arc<T>>, StoreError> {
        let registered = Registered::new(self, key);
        let fill = &registered.fill;
        let _turn = fill.turn.lock().await;
        if let Some(known) = self.hit(key) {
            return Ok(known);
        }
        loop {
            let read = self.store.get(key).await?;
            let found = read.value.map(|found| self.found(key, &found, read.at)).transpose()?;
            let value = found.as_ref().map(|found| Arc::clone(&found.value));
            let mut table = self.table_mut();
            // Asked under the table's lock, as changes are reported under it.
            if *fill.changed.lock().unwrap_or_else(PoisonError::into_inner) > read.at {
                continue;
            }
            // Without a watch, or before its start, the answer is right and not to be kept.
            if table.since.is_some_and(|since| read.at >= since) {
                table.keep(key, found, read.at);
            }
            return Ok(value);
        }
    }

    fn found(&self, key: &Key, found: &Versioned, at: Revision) -> Result<Found<T>, StoreError> {
        let value = Arc::new((self.decode)(key, &found.value)?);
        Ok(Found { value, expires_at: found.expires_at, at })
    }

    async fn follow_for_good(self: Arc<Self>, prefix: String, mut changes: Box<dyn Changes>) {
        loop {
            self.follow(&mut *changes).await;
            tracing::info!(%prefix, "changes were missed; the cache starts anew");
            self.table_mut().since = None;
            let mut backoff = Backoff::new();
            loop {
                match watch(&*self.store, &prefix).await {
                    Ok((since, watch)) => {
                        changes = watch;
                        self.table_mut().start_anew(since);
                        self.progress.reached(since);
                        break;
                    }
                    Err(error) => tracing::warn!(%prefix, %error, "the cache cannot follow the store yet"),
                }
                backoff.wait().await;
            }
        }
    }

    /// Applies what the watch reports until it is lost.
    async fn follow(&self, changes: &mut dyn Changes) {
        loop {
            let revision = match changes.next().await {
                Event::Changes { revision, changes } => {
                    self.apply(revision, changes);
                    revision
                }
                Event::UpTo(revision) => revision,
                Event::Lost => return,
            };
            self.progress.reached(revision);
        }
    }

    fn apply(&self, revision: Revision, changes: Vec<Change>) {
        // Decoded before locking: readers do not wait for it.
        let changes: Vec<_> = changes.into_iter().map(|change| self.prepare(change, revision)).collect();
        let mut table = self.table_mut();
        for (key, news) in changes {
            if let Some(fill) = self.fills().get(&key) {
                *fill.changed.lock().unwrap_or_else(PoisonError::into_inner) = revision;
            }
            table.update(&key, news, revision);
        }
    }

    fn prepare(&self, Change { key, write }: Change, at: Revision) -> (Key, News<T>) {
        let news = match write {
            Write::Delete => News::Absent,
            Write::Put { value, expires_at } => match (self.decode)(&key, &value) {
                Ok(value) => News::Present(Found { value: Arc::new(value), expires_at, at }),
                Err(error) => {
                    // The next reader asks the store and gets the error.
                    tracing::error!(%error, "a changed value cannot be read");
                    News::Unreadable
                }
            },
        };
        (key, news)
    }
}

/// What a change says of a key.
enum News<T> {
    Present(Found<T>),
    Absent,
    Unreadable,
}

impl<T> Table<T> {
    /// Drops everything: it may be older than where the new watch starts.
    fn start_anew(&mut self, since: Revision) {
        self.present.clear();
        self.absent.clear();
        self.since = Some(since);
    }

    /// Puts what a fill found.
    fn keep(&mut self, key: &Key, found: Option<Found<T>>, at: Revision) {
        if let Some(found) = found {
            self.absent.remove(key);
            self.present.put(key, found);
        } else {
            self.present.remove(key);
            self.absent.put(key, at);
        }
    }

    /// Applies a change to a key that is held; others are of no interest. What a fill read may be ahead of the watch.
    fn update(&mut self, key: &Key, news: News<T>, revision: Revision) {
        let held = self.present.peek(key).map(|found| found.at).or_else(|| self.absent.peek(key).copied());
        if held.is_none_or(|at| at >= revision) {
            return;
        }
        match news {
            News::Present(found) => self.keep(key, Some(found), revision),
            News::Absent => self.keep(key, None, revision),
            News::Unreadable => {
                self.present.remove(key);
                self.absent.remove(key);
            }
        }
    }
}

/// A key registered as being read, until dropped: a caller may go away while waiting.
struct Registered<'a, T: Send + Sync + 'static> {
    shared: &'a Shared<T>,
    key: &'a Key,
    fill: Arc<Fill>,
}

impl<'a, T: Send + Sync + 'static> Registered<'a, T> {
    fn new(shared: &'a Shared<T>, key: &'a Key) -> Self {
        let fill = Arc::clone(shared.fills().entry(key.clone()).or_default());
        Self { shared, key, fill }
    }
}

impl<T: Send + Sync + 'static> Drop for Registered<'_, T> {
    fn drop(&mut self) {
        let mut fills = self.shared.fills();
        // The map's and this one: nobody else is filling.
        if Arc::strong_count(&self.fill) <= 2 {
            fills.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests;
