//! The embedded store: sled behind the store's contract.
//!
//! sled's own `flush` does not reach the disk on Linux, and it wants three writes for a batch, so durability is ours: one
//! committer thread takes the waiting commits as a group, writes them with the book-keeping to a journal, syncs that, gives
//! them to sled, and only then publishes and answers. What a commit costs is shared by all that wait. When the journal is full,
//! sled's file is flushed and synced through a handle of our own, and the acknowledged revision recorded in a sidecar
//! file. On opening, sled is given what only the journal holds, and the book-keeping is compared with what is there,
//! unless the files are as a clean end left them; a store that lost anything is refused.
//!
//! ```text
//! <folder>/lock          held while a process uses the store
//! <folder>/acknowledged  the last revision that was answered
//! <folder>/journal       commits that sled's files may not hold yet
//! <folder>/data/         sled's files
//! <folder>/closed        what they held at a clean end
//! <folder>/reserve       room for what takes rights away when the disk is full
//! ```
//! No sled type leaves this module.

mod acknowledged;
mod closed;
mod committer;
mod engine;
mod entry;
mod folder;
mod journal;
mod open;
mod reading;
mod reserve;
mod restore;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use self::committer::{Committer, Job};
use self::engine::View;
pub use self::open::OpenError;
use self::reading::Readers;
use self::reserve::Reserve;
pub use self::restore::RestoreError;
use super::backup::{BackupError, Entry};
use super::changelog::ChangeLog;
use super::mirror::{self, Fold};
use super::{
    Changes, Commit, CommitError, Figures, Health, Key, MAX_COMMIT_ENTRIES, Page, Read, Revision, Store, StoreError,
};
use crate::ambient::Clock;

/// How long a caller waits for its commit before the outcome counts as unknown, and for what it reads: for the disk, or for
/// a database that is being opened again.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a write may take before the disk counts as stuck: others are refused at once then, with nothing changed,
/// where waiting behind it would leave them not knowing.
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// How often a stop looks whether the disk it waits for is stuck.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a read looks whether the database is open again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How many commits may wait for the committer.
const QUEUE: usize = 1024;

/// A store in a folder of its own, used by one process at a time. Close it with [`Store::close`]: dropping it stops
/// it too, but does not wait until the folder is free.
pub struct SledStore {
    folder: PathBuf,
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    early: Mutex<Early>,
}

/// What was folded while opening.
struct Early {
    at: Revision,
    states: Vec<(String, Box<dyn Fold>)>,
}

/// How a store is opened.
pub struct Options {
    /// Bytes of the disk kept for [`Store::commit_urgent`]; fewer on a small disk.
    pub reserve: u64,
    /// Bytes of memory for pages read from the disk. The engine counts them as they lie on the disk, and late: it may hold
    /// twice that.
    pub cache: u64,
    /// States to fold while opening, each with its prefix; [`Store::take_early`] gives them to the mirrors.
    pub early: Vec<(String, Box<dyn Fold>)>,
}

impl Default for Options {
    fn default() -> Self {
        Self { reserve: 0, cache: open::CACHE, early: Vec::new() }
    }
}

/// What the committer thread shares with the readers.
struct Shared {
    clock: Arc<dyn Clock>,
    /// Bytes for the engine's cache.
    cache: u64,
    /// `None` while the engine is down. The committer writes under the same lock, which makes a page a snapshot.
    view: RwLock<Option<View>>,
    health: Mutex<Health>,
    log: Arc<ChangeLog>,
    /// Set while the database is closed only to be opened again.
    is_opening: AtomicBool,
    /// Since when the committer waits for the disk.
    writing_since: Mutex<Option<std::time::Instant>>,
    /// Whether it was said that the disk is stuck.
    said_stuck: AtomicBool,
    #[cfg(test)]
    fail_syncs: std::sync::atomic::AtomicBool,
    /// While on, syncs do not return.
    #[cfg(test)]
    stick_syncs: std::sync::atomic::AtomicBool,
    /// Stands in for a full disk.
    #[cfg(test)]
    pretend_full: Arc<std::sync::atomic::AtomicBool>,
}

impl Shared {
    fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_health(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// Its health as callers are to see it: with the disk stuck no write comes through, whatever else is well.
    fn health_now(&self) -> Health {
        match (self.health(), self.stuck()) {
            (Health::Writable | Health::Full(_), Some(why)) => Health::ReadOnly(why),
            (health, _) => health,
        }
    }

    /// Says that a write has begun.
    fn writing(&self) {
        *self.writing_since.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::time::Instant::now());
    }

    /// Says that a write has come to its end, well or not.
    fn written(&self) {
        *self.writing_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if self.said_stuck.swap(false, Ordering::SeqCst) {
            tracing::warn!("the disk answers again");
        }
    }

    /// Why no write comes through, when one has been waiting for the disk for too long.
    fn stuck(&self) -> Option<String> {
        let since = *self.writing_since.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = since.map(|since| since.elapsed()).filter(|waited| *waited >= STUCK_AFTER)?;
        let why = format!("the disk has not answered a write for {} s", waited.as_secs());
        if !self.said_stuck.swap(true, Ordering::SeqCst) {
            tracing::error!(reason = %why, "the disk is stuck: changes are refused until it answers");
        }
        Some(why)
    }

    fn set_view(&self, view: Option<View>) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
    }

    fn down(&self) -> StoreError {
        StoreError::Unavailable(match self.health() {
            Health::Down(why) | Health::ReadOnly(why) => why,
            Health::Writable | Health::Full(_) => "it is opening".into(),
        })
    }
}

impl SledStore {
    /// Opens the store in `path`, or makes one if the folder is missing or empty; blocking. Everything is read and
    /// compared with the book-keeping, unless the files are to the bit as this store's last process closed them. Expiry is
    /// judged by `clock`.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do about it. Nothing is ever reset or repaired silently.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Self::open_with(path, clock, Options::default())
    }

    /// The same with options. A store whose disk is full opens too, and is [`Health::Full`].
    ///
    /// # Errors
    /// As [`SledStore::open`].
    pub fn open_with(path: &Path, clock: Arc<dyn Clock>, options: Options) -> Result<Self, OpenError> {
        let Options { reserve, cache, early } = options;
        let lock = folder::claim(path)?;
        let reserve = Reserve::new(path, reserve);
        let readers = Readers::new(early, clock.now());
        let engine = match open::open(path, cache, Revision::default(), &readers) {
            Err(error) if error.is_full() && reserve.release().unwrap_or(false) => {
                // What was folded before is folded again: an entry that is there already changes nothing.
                open::open(path, cache, Revision::default(), &readers)?
            }
            opened => opened?,
        };
        let early = Early { at: engine.revision(), states: readers.into_states() };
        let health = match reserve.build() {
            Ok(()) => Health::Writable,
            Err(error) if reserve::says_full(&error) => Health::Full(full(&reserve)),
            Err(error) => return Err(OpenError::io(path, "keeping room for a full disk", error)),
        };
        let shared = Arc::new(Shared {
            clock,
            cache,
            health: Mutex::new(health),
            log: ChangeLog::new(engine.revision()),
            view: RwLock::new(Some(engine.view())),
            is_opening: AtomicBool::new(false),
            writing_since: Mutex::default(),
            said_stuck: AtomicBool::new(false),
            #[cfg(test)]
            fail_syncs: std::sync::atomic::AtomicBool::new(false),
            #[cfg(test)]
            stick_syncs: std::sync::atomic::AtomicBool::new(false),
            #[cfg(test)]
            pretend_full: Arc::clone(&reserve.pretend_full),
        });
        let (jobs, queue) = mpsc::channel(QUEUE);
        Committer::new(path, Arc::clone(&shared), engine, reserve, lock)
            .start(queue)
            .map_err(|source| OpenError::io(path, "starting the writing thread", source))?;
        Ok(Self { folder: path.to_owned(), shared, jobs, early: Mutex::new(early) })
    }

    /// Makes the store in `path`, which must be missing or empty, of a backup's `entries` in their order; blocking. Each
    /// value keeps its revision, and the store goes on far above `revision`, the backup's. Cut short, it leaves nothing.
    ///
    /// # Errors
    /// [`RestoreError`]; there is no store then.
    pub fn restore(
        path: &Path,
        entries: impl Iterator<Item = Result<Entry, BackupError>>,
        revision: Revision,
    ) -> Result<(), RestoreError> {
        restore::restore(path, entries, revision)
    }

    /// Runs a read off the async threads.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&View, &dyn Clock) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // An opening after a fault is over in a moment; whoever reads in it need not hear of it.
        let until = Instant::now() + PATIENCE;
        let may_wait = || !matches!(self.shared.health(), Health::Down(_)) && Instant::now() < until;
        let mut read = read;
        loop {
            while self.shared.is_opening.load(Ordering::SeqCst) && may_wait() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            let shared = Arc::clone(&self.shared);
            let reading = tokio::task::spawn_blocking(move || {
                let guard = shared.view.read().unwrap_or_else(PoisonError::into_inner);
                match guard.as_ref() {
                    Some(view) => Ok(read(view, &*shared.clock)),
                    None => Err(read),
                }
            });
            match timeout(PATIENCE, reading).await {
                Ok(Ok(Ok(found))) => return found,
                // It began to open meanwhile.
                Ok(Ok(Err(unused))) if may_wait() => read = unused,
                Ok(Ok(Err(_))) => return Err(self.shared.down()),
                // A panic of sled's while reading, or a runtime that shuts down.
                Ok(Err(_)) => return Err(StoreError::Unavailable("a read failed".into())),
                Err(_) => return Err(StoreError::Unavailable("the disk does not answer".into())),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn submit<T>(
        &self,
        urgent: bool,
        job: impl FnOnce(oneshot::Sender<Result<T, CommitError>>) -> Job,
    ) -> Result<T, CommitError> {
        match self.shared.health_now() {
            Health::Writable => {}
            Health::Full(_) if urgent => {}
            Health::Full(why) => return Err(CommitError::Full(why)),
            Health::ReadOnly(why) | Health::Down(why) => return Err(CommitError::Unavailable(why)),
        }
        let until = Instant::now() + PATIENCE;
        let (answer, answered) = oneshot::channel();
        match timeout_at(until, self.jobs.send(job(answer))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(CommitError::Unavailable("it is closed".into())),
            Err(_) => return Err(CommitError::Unavailable("too many writes are waiting".into())),
        }
        match timeout_at(until, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(CommitError::Unknown("the engine failed while writing".into())),
            Err(_) => Err(CommitError::Unknown("the disk does not answer".into())),
        }
    }
}

#[async_trait]
impl Store for SledStore {
    async fn get(&self, key: &Key) -> Result<Read, StoreError> {
        let key = key.clone();
        self.read(move |view, clock| view.get(&key, clock.now())).await
    }

    async fn scan(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        self.read(move |view, clock| view.scan(&prefix, after.as_ref(), limit, clock.now())).await
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        commit.check()?;
        self.submit(false, |answer| Job::Commit { commit, urgent: false, answer }).await
    }

    async fn commit_urgent(&self, commit: Commit) -> Result<Revision, CommitError> {
        commit.check()?;
        self.submit(true, |answer| Job::Commit { commit, urgent: true, answer }).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Changes>, StoreError> {
        match self.shared.health() {
            Health::Down(why) => Err(StoreError::Unavailable(why)),
            Health::Writable | Health::Full(_) | Health::ReadOnly(_) => Ok(self.shared.log.watch(prefix, after)),
        }
    }

    async fn sweep(&self, limit: usize) -> Result<usize, CommitError> {
        self.submit(false, |answer| Job::Sweep { limit: limit.min(MAX_COMMIT_ENTRIES), answer }).await
    }

    async fn figures(&self) -> Result<Figures, StoreError> {
        let folder = self.folder.clone();
        self.read(move |view, _| Ok(Figures { entries: view.counts()?, room: folder::room(&folder).ok() })).await
    }

    fn take_early(&self, prefix: &str) -> Option<mirror::Early> {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        let index = early.states.iter().position(|(of, _)| of == prefix)?;
        let (_, state) = early.states.swap_remove(index);
        Some(mirror::Early { state, at: early.at })
    }

    fn health(&self) -> Health {
        self.shared.health_now()
    }

    async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        let closing = async {
            if self.jobs.send(Job::Close { answer }).await.is_ok() {
                // An error means that another caller closed it meanwhile.
                let _ = answered.await;
            }
        };
        let stuck = async {
            while self.shared.stuck().is_none() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = closing => {}
            // All that was answered is on the disk already; what hangs is as after a power cut.
            () = stuck => tracing::error!(folder = %self.folder.display(), "not closed: the disk is stuck"),
        }
    }
}

/// What is said of a full disk.
fn full(reserve: &Reserve) -> String {
    format!(
        "the disk is full: only what takes rights away is written until {} are free; tokens and decisions go on",
        reserve.wanted()
    )
}

#[cfg(test)]
mod tests;
