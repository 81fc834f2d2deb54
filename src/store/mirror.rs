//! A mirror: what the hot path reads of one prefix, folded into memory and kept up to date by a watch.
//!
//! It scans, watches from the first page's revision, applies only what is newer than the page it comes from, and
//! counts as loaded once it is past the last page's revision. When the watch is lost, or a change cannot be folded, it
//! builds a new state aside and swaps; until then it keeps the old one and is no longer heard of, so that whoever
//! reads it can judge how stale it is. Knows nothing of what the values mean.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::progress::{Backoff, Progress};
use super::{Change, Changes, Event, Key, Page, Revision, Store, StoreError, Write};
use crate::model::time::Timestamp;

/// How many entries a page of the scan asks for.
const PAGE: usize = 4000;
/// How long the watch may take to pass the last page.
const CATCH_UP: Duration = Duration::from_secs(10);

/// A state that is made of the entries of one prefix.
pub trait Fold: Any + Send + Sync {
    /// An entry is there now: a new one or a changed one. Expiry is for the state to judge.
    ///
    /// # Errors
    /// When the value cannot be read; the state must then be as before. The mirror does not load, or counts as stale
    /// until the entry has been mended.
    fn put(&mut self, key: &Key, value: &[u8], expires_at: Option<Timestamp>) -> Result<(), StoreError>;

    /// An entry is gone. It may be one that was never put.
    fn delete(&mut self, key: &Key);
}

/// A state that an engine has folded while it opened, when it reads everything anyway, or can read it fastest.
pub struct Early {
    /// The state.
    pub state: Box<dyn Fold>,
    /// What it includes.
    pub at: Revision,
}

/// A state that follows the store. Dropping it stops following.
pub struct Mirror<F> {
    shared: Arc<Shared<F>>,
    follower: JoinHandle<()>,
}

struct Shared<F> {
    state: RwLock<F>,
    progress: Progress,
}

impl<F: Fold> Mirror<F> {
    /// Loads everything under `prefix` into what `make` makes, and follows it from then on, on the runtime of the
    /// caller.
    ///
    /// # Errors
    /// When the store does not answer, or a value cannot be folded.
    pub async fn load(
        store: Arc<dyn Store>,
        prefix: &str,
        make: impl Fn() -> F + Send + Sync + 'static,
    ) -> Result<Arc<Self>, StoreError> {
        let Loaded { state, revision, watch } = match early(&*store, prefix).await? {
            Some(early) => early,
            None => load(&*store, prefix, &make).await?,
        };
        let shared = Arc::new(Shared { state: RwLock::new(state), progress: Progress::at(revision) });
        let follower = tokio::spawn(follow_for_good(store, prefix.to_owned(), make, Arc::clone(&shared), watch));
        Ok(Arc::new(Self { shared, follower }))
    }

    /// The state. Cheap; hold it for a moment and not across an `await`.
    pub fn read(&self) -> RwLockReadGuard<'_, F> {
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the state includes the commit of this revision: what answers a change waits for it, so that the
    /// caller reads its own write.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] after 5 s.
    pub async fn passed(&self, revision: Revision) -> Result<(), StoreError> {
        self.shared.progress.passed(revision).await
    }

    /// The revision everything up to which is included.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.shared.progress.revision()
    }

    /// When the store was last heard of. A healthy one is heard of twice a second.
    #[must_use]
    pub fn last_heard(&self) -> Instant {
        self.shared.progress.last_heard()
    }
}

impl<F> Drop for Mirror<F> {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

struct Loaded<F> {
    state: F,
    revision: Revision,
    watch: Box<dyn Changes>,
}

/// What the engine has folded already, and the watch that continues from there.
async fn early<F: Fold>(store: &dyn Store, prefix: &str) -> Result<Option<Loaded<F>>, StoreError> {
    let Some(Early { state, at }) = store.take_early(prefix) else { return Ok(None) };
    let state: Box<dyn Any> = state;
    let Ok(state) = state.downcast::<F>() else { return Ok(None) };
    // A watch that is lost already makes the follower load it the other way.
    Ok(Some(Loaded { state: *state, revision: at, watch: store.watch(prefix, at).await? }))
}

/// Builds a state that includes everything up to some revision, and the watch that continues from there.
async fn load<F: Fold>(store: &dyn Store, prefix: &str, make: &impl Fn() -> F) -> Result<Loaded<F>, StoreError> {
    let mut state = make();
    // What the scanned entries include already of the changes to come; a change that is older than its page must not
    // undo it. Few: entries that were written since the first page.
    let mut scanned: HashMap<Key, Revision> = HashMap::new();
    let mut page = store.scan(prefix, None, PAGE).await?;
    let first = page.at;
    let mut watch = store.watch(prefix, first).await?;
    let last = loop {
        let Page { at, items, next } = page;
        let fold = async {
            for (key, entry) in items {
                state.put(&key, &entry.value, entry.expires_at)?;
                if entry.revision > first {
                    scanned.insert(key, entry.revision);
                }
            }
            Ok::<_, StoreError>(())
        };
        // The engine reads the next page while this one is folded.
        let Some(next) = next else {
            fold.await?;
            break at;
        };
        let (read, folded) = tokio::join!(store.scan(prefix, Some(&next), PAGE), fold);
        folded?;
        page = read?;
    };
    let mut revision = first;
    let catch_up = async {
        while revision < last {
            match watch.next().await {
                Event::Changes { revision: at, changes } => {
                    let newer = |change: &Change| scanned.get(&change.key).is_none_or(|included| *included < at);
                    apply(&mut state, changes.into_iter().filter(newer))?;
                    revision = at;
                }
                Event::UpTo(at) => revision = revision.max(at),
                Event::Lost => return Err(StoreError::Unavailable("changes were missed while loading".into())),
            }
        }
        Ok(())
    };
    timeout(CATCH_UP, catch_up)
        .await
        .unwrap_or_else(|_| Err(StoreError::Unavailable("its changes do not arrive".into())))?;
    Ok(Loaded { state, revision, watch })
}

fn apply<F: Fold>(state: &mut F, changes: impl IntoIterator<Item = Change>) -> Result<(), StoreError> {
    for Change { key, write } in changes {
        match write {
            Write::Put { value, expires_at } => state.put(&key, &value, expires_at)?,
            Write::Delete => state.delete(&key),
        }
    }
    Ok(())
}

async fn follow_for_good<F: Fold>(
    store: Arc<dyn Store>,
    prefix: String,
    make: impl Fn() -> F + Send + Sync + 'static,
    shared: Arc<Shared<F>>,
    mut watch: Box<dyn Changes>,
) {
    loop {
        match follow(&shared, &mut *watch).await {
            Ok(()) => tracing::info!(%prefix, "changes were missed; loading again"),
            Err(error) => tracing::error!(%prefix, %error, "a change cannot be read; the mirror is stale until it can"),
        }
        let mut backoff = Backoff::new();
        loop {
            match load(&*store, &prefix, &make).await {
                Ok(loaded) => {
                    *shared.state.write().unwrap_or_else(PoisonError::into_inner) = loaded.state;
                    shared.progress.reached(loaded.revision);
                    watch = loaded.watch;
                    break;
                }
                Err(error) => tracing::warn!(%prefix, %error, "the mirror cannot be loaded again yet"),
            }
            backoff.wait().await;
        }
    }
}

/// Applies what the watch reports until it is lost.
async fn follow<F: Fold>(shared: &Shared<F>, watch: &mut dyn Changes) -> Result<(), StoreError> {
    loop {
        let revision = match watch.next().await {
            Event::Changes { revision, changes } => {
                // One lock for the commit: readers see it as a whole.
                let mut state = shared.state.write().unwrap_or_else(PoisonError::into_inner);
                apply(&mut *state, changes)?;
                revision
            }
            Event::UpTo(revision) => revision,
            Event::Lost => return Ok(()),
        };
        shared.progress.reached(revision);
    }
}

#[cfg(test)]
mod tests;
