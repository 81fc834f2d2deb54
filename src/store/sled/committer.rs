//! The one thread that writes. It takes what waits as a batch, so that all of it shares one sync, and it never goes on
//! after an error: it drops the engine and opens it again with every check, or stays down.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::super::changelog::Pace;
use super::super::{Change, Commit, CommitError, Health, Key, Revision, Write};
use super::closed;
use super::engine::Engine;
use super::reading::Readers;
use super::reserve::{self, Reserve};
use super::{Shared, full, open};

/// How many commits share one sync at most.
const BATCH: usize = 256;
/// …and how many bytes, the last of them aside: the journal takes it whole.
const BATCH_BYTES: usize = 512 * 1024;
/// Waits between attempts to reopen.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often a full disk is looked at for room.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(1);

/// What the thread is asked for.
pub(super) enum Job {
    Commit { commit: Commit, urgent: bool, answer: oneshot::Sender<Result<Revision, CommitError>> },
    Sweep { limit: usize, answer: oneshot::Sender<Result<usize, CommitError>> },
    Close { answer: oneshot::Sender<()> },
}

impl Job {
    fn bytes(&self) -> usize {
        let value = |write: &Write| if let Write::Put { value, .. } = write { value.len() } else { 0 };
        // The key is in the index of what expires too, before and after.
        let bytes = |(key, write): &(Key, Write)| 64 + 3 * key.as_str().len() + value(write);
        if let Self::Commit { commit, .. } = self { commit.writes.iter().map(bytes).sum() } else { 0 }
    }
}

/// Whom to answer once the batch is durable.
enum Answer {
    Commit(oneshot::Sender<Result<Revision, CommitError>>),
    Sweep(oneshot::Sender<Result<usize, CommitError>>),
}

impl Answer {
    // A caller who no longer waits is no error.
    fn refuse(self, error: CommitError) {
        match self {
            Self::Commit(answer) => drop(answer.send(Err(error))),
            Self::Sweep(answer) => drop(answer.send(Err(error))),
        }
    }

    fn accept(self, revision: Revision, writes: usize) {
        match self {
            Self::Commit(answer) => drop(answer.send(Ok(revision))),
            Self::Sweep(answer) => drop(answer.send(Ok(writes))),
        }
    }
}

/// A commit that was taken and is not durable yet.
struct Taken {
    answer: Answer,
    revision: Revision,
    writes: Vec<(Key, Write)>,
}

pub(super) struct Committer {
    folder: PathBuf,
    reserve: Reserve,
    shared: Arc<Shared>,
    engine: Option<Engine>,
    /// The last revision that was answered or served.
    acknowledged: Revision,
    /// Held as long as the thread lives.
    lock: File,
}

impl Committer {
    pub(super) fn new(folder: &Path, shared: Arc<Shared>, engine: Engine, reserve: Reserve, lock: File) -> Self {
        let acknowledged = engine.revision();
        Self { folder: folder.into(), reserve, shared, engine: Some(engine), acknowledged, lock }
    }

    /// Starts the thread; it ends with [`Job::Close`] or when nobody can send any more.
    pub(super) fn start(self, queue: mpsc::Receiver<Job>) -> std::io::Result<()> {
        std::thread::Builder::new().name("edi-store".into()).spawn(move || self.run(queue)).map(drop)
    }

    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        // Whether the database can be trusted to the last.
        let mut sound = true;
        let closing = loop {
            let Some(first) = self.next(&mut queue) else { break None };
            let (batch, close) = gather(first, &mut queue);
            self.shared.writing();
            let failed = match catch_unwind(AssertUnwindSafe(|| self.write(batch))) {
                Ok(outcome) => outcome.err(),
                Err(_) => Some("the engine panicked while writing".into()),
            };
            self.shared.written();
            if close.is_some() {
                sound = failed.is_none();
                break close;
            }
            if let Some(why) = failed {
                tracing::error!(folder = %self.folder.display(), reason = %why, "the store failed; opening it again");
                match self.mend(why, &mut queue) {
                    Reopened::Yes => {}
                    Reopened::Closed(answer) => {
                        sound = false;
                        break answer;
                    }
                }
            }
        };
        sound &= self.shared.health() == Health::Writable
            && self.engine.as_mut().is_some_and(|engine| engine.settle().is_ok());
        let whole = self.go_down("it is closed");
        if sound && whole {
            self.shared.writing();
            self.leave_mark();
            self.shared.written();
        }
        queue.close();
        while let Ok(job) = queue.try_recv() {
            refuse(job, "it is closed", false);
        }
        drop(self.lock);
        self.shared.log.lose(self.acknowledged);
        if let Some(answer) = closing {
            let _ = answer.send(());
        }
    }

    /// Waits for what comes next. While the disk is full it looks out for room on the way.
    fn next(&self, queue: &mut mpsc::Receiver<Job>) -> Option<Job> {
        let mut looked = Instant::now();
        while matches!(self.shared.health(), Health::Full(_)) {
            match queue.try_recv() {
                Ok(job) => return Some(job),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => std::thread::sleep(Duration::from_millis(5)),
            }
            if looked.elapsed() >= LOOK_FOR_ROOM {
                looked = Instant::now();
                self.take_reserve();
            }
        }
        queue.blocking_recv()
    }

    /// Everything is written again once the reserve is in place.
    fn take_reserve(&self) {
        if self.reserve.fits() && self.reserve.build().is_ok() {
            self.shared.set_health(Health::Writable);
            tracing::warn!(folder = %self.folder.display(), "there is room on the disk again; everything is written");
        }
    }

    /// Judges a batch, makes it durable, publishes it and answers. An error means that the engine is not to be
    /// trusted any more; everybody has been answered all the same.
    fn write(&mut self, batch: Vec<Job>) -> Result<(), String> {
        let is_full = matches!(self.shared.health(), Health::Full(_));
        let Some(engine) = self.engine.as_mut() else { return Err("the engine is down".into()) };
        let now = self.shared.clock.now();
        let mut taken: Vec<Taken> = Vec::with_capacity(batch.len());
        let mut failed: Option<String> = None;
        for job in batch {
            let (answer, writes) = match job {
                Job::Commit { urgent: false, answer, .. } if is_full => {
                    drop(answer.send(Err(CommitError::Full(full(&self.reserve)))));
                    continue;
                }
                Job::Sweep { answer, .. } if is_full => {
                    drop(answer.send(Err(CommitError::Full(full(&self.reserve)))));
                    continue;
                }
                Job::Commit { answer, .. } if failed.is_some() => (Answer::Commit(answer), Ok(Vec::new())),
                Job::Sweep { answer, .. } if failed.is_some() => (Answer::Sweep(answer), Ok(Vec::new())),
                Job::Commit { commit, answer, .. } => {
                    (Answer::Commit(answer), engine.judge(&commit, now).map(|()| commit.writes))
                }
                Job::Sweep { limit, answer } => {
                    // What is due is looked up in the tree, where the group is not yet.
                    let due = make_durable(engine, &self.shared, &self.reserve)
                        .map_err(|error| CommitError::Unavailable(error.to_string()))
                        .and_then(|()| engine.due(limit, now));
                    (Answer::Sweep(answer), due)
                }
                Job::Close { .. } => continue,
            };
            if let Some(why) = &failed {
                answer.refuse(CommitError::Unavailable(why.clone()));
                continue;
            }
            match writes {
                Ok(writes) if writes.is_empty() => answer.accept(engine.revision(), 0),
                Ok(writes) => match engine.add(&writes) {
                    Ok(revision) => taken.push(Taken { answer, revision, writes }),
                    Err(error) => {
                        failed = Some(error.to_string());
                        answer.refuse(error);
                    }
                },
                Err(CommitError::Conflict) => answer.refuse(CommitError::Conflict),
                Err(error) => {
                    failed = Some(error.to_string());
                    answer.refuse(error);
                }
            }
        }
        if failed.is_none() {
            failed = make_durable(engine, &self.shared, &self.reserve).err().map(|error| error.to_string());
        }
        if let Some(why) = failed {
            for commit in taken {
                commit.answer.refuse(CommitError::Unknown(why.clone()));
            }
            return Err(why);
        }
        self.publish(taken);
        Ok(())
    }

    /// First the log, then the answers: who waits for a mirror to pass its own commit must find it on its way.
    fn publish(&mut self, taken: Vec<Taken>) {
        let mut answers = Vec::with_capacity(taken.len());
        let mut commits = Vec::with_capacity(taken.len());
        for Taken { answer, revision, writes } in taken {
            self.acknowledged = revision;
            answers.push((answer, revision, writes.len()));
            commits.push((revision, writes.into_iter().map(|(key, write)| Change { key, write }).collect()));
        }
        self.shared.log.publish(commits);
        for (answer, revision, writes) in answers {
            answer.accept(revision, writes);
        }
    }

    /// Spares the next opening the reading of every record. Nothing depends on it.
    fn leave_mark(&self) {
        match closed::mark(&self.folder) {
            Ok(true) => {}
            Ok(false) => tracing::info!("the store is large: the next start reads all of it"),
            Err(error) => {
                tracing::warn!(%error, "the store could not be marked as closed: the next start reads all of it");
            }
        }
    }

    /// Says whether the engine went without trouble.
    fn go_down(&mut self, why: &str) -> bool {
        self.shared.set_health(Health::Down(why.into()));
        self.shared.log.set_pace(Pace::Silent);
        self.close_engine()
    }

    /// Brings the engine back after a fault. Reads go on from what is there until something can be written again: only
    /// then is the database closed and opened anew, with every check.
    fn mend(&mut self, why: String, queue: &mut mpsc::Receiver<Job>) -> Reopened {
        let is_full = self.reserve.disk_is_full() || says_no_room(&why);
        let why = if is_full {
            // From here on its room is for what takes rights away.
            if let Err(error) = self.reserve.release() {
                tracing::error!(%error, "the room kept for a full disk cannot be given up");
            }
            full(&self.reserve)
        } else {
            why
        };
        self.shared.set_health(if is_full { Health::Full(why.clone()) } else { Health::ReadOnly(why.clone()) });
        // With the reserve given up there is room at once, and what is urgent waits in the queue until it is open again.
        let mut wait = if is_full && self.reserve.can_reopen() { Duration::ZERO } else { FIRST_WAIT };
        loop {
            if !wait.is_zero()
                && let Some(closed) = refuse_for(wait, &why, is_full, queue)
            {
                return closed;
            }
            let ready = if is_full {
                self.reserve.can_reopen()
            } else {
                reserve::is_writable(&self.folder)
                    .inspect_err(|error| tracing::error!(%error, "the store's folder takes no writes yet"))
                    .is_ok()
            };
            if !ready {
                wait = (wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
                continue;
            }
            match self.reopen() {
                Ok(()) if is_full && !(self.reserve.fits() && self.reserve.build().is_ok()) => {
                    self.announce(Health::Full(why));
                    tracing::warn!(folder = %self.folder.display(), "the store is open again; its disk is full");
                    return Reopened::Yes;
                }
                Ok(()) => {
                    self.announce(Health::Writable);
                    tracing::warn!(folder = %self.folder.display(), "the store is open again");
                    return Reopened::Yes;
                }
                Err(error) => {
                    let lasting = !error.may_pass();
                    let error = error.to_string();
                    tracing::error!(reason = %error, lasting, "the store does not open again");
                    self.go_down(&error);
                    // What lost acknowledged commits is not served, however long we wait.
                    wait = if lasting { Duration::MAX } else { (wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT) };
                }
            }
        }
    }

    fn reopen(&mut self) -> Result<(), open::OpenError> {
        if let Some(engine) = &self.engine {
            engine.distrust_cache();
        }
        self.shared.is_opening.store(true, Ordering::SeqCst);
        self.close_engine();
        let opened = open::open(&self.folder, self.shared.cache, self.acknowledged, &Readers::default());
        if let Ok(engine) = &opened {
            self.acknowledged = engine.revision();
            self.shared.set_view(Some(engine.view()));
        }
        self.shared.is_opening.store(false, Ordering::SeqCst);
        self.engine = Some(opened?);
        Ok(())
    }

    /// The watches last: who hears that it missed something scans and watches again at once.
    fn announce(&self, health: Health) {
        self.shared.set_health(health);
        self.shared.log.lose(self.acknowledged);
    }

    fn close_engine(&mut self) -> bool {
        self.shared.set_view(None);
        // sled writes what it still holds when its last handle goes, and it may panic on the way.
        let engine = self.engine.take();
        catch_unwind(AssertUnwindSafe(|| drop(engine))).is_ok()
    }
}

/// Brings what was taken to the disk and into the tree.
#[cfg_attr(not(test), expect(unused_variables, reason = "stands in for a full disk"))]
fn make_durable(engine: &mut Engine, shared: &Shared, reserve: &Reserve) -> std::io::Result<()> {
    if !engine.has_group() {
        return Ok(());
    }
    #[cfg(test)]
    while shared.stick_syncs.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(5));
    }
    #[cfg(test)]
    if shared.fail_syncs.load(Ordering::SeqCst) {
        return Err(std::io::Error::other("as the test asked"));
    }
    #[cfg(test)]
    if reserve.disk_is_full() {
        return Err(std::io::ErrorKind::StorageFull.into());
    }
    engine.make_durable(&shared.view)
}

/// What sled makes of a full disk is text by the time it gets here.
fn says_no_room(why: &str) -> bool {
    ["No space left on device", "StorageFull", "Disk quota exceeded", "no storage space"]
        .iter()
        .any(|said| why.contains(said))
}

enum Reopened {
    Yes,
    /// The store was closed meanwhile.
    Closed(Option<oneshot::Sender<()>>),
}

/// What waits already, up to the bounds, and the wish to close, which ends a batch.
fn gather(first: Job, queue: &mut mpsc::Receiver<Job>) -> (Vec<Job>, Option<oneshot::Sender<()>>) {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let mut next = Some(first);
    while let Some(job) = next {
        if let Job::Close { answer } = job {
            return (batch, Some(answer));
        }
        bytes += job.bytes();
        batch.push(job);
        next = if batch.len() < BATCH && bytes < BATCH_BYTES { queue.try_recv().ok() } else { None };
    }
    (batch, None)
}

fn refuse(job: Job, why: &str, is_full: bool) {
    let error = if is_full { CommitError::Full(why.into()) } else { CommitError::Unavailable(why.into()) };
    match job {
        Job::Commit { answer, .. } => drop(answer.send(Err(error))),
        Job::Sweep { answer, .. } => drop(answer.send(Err(error))),
        Job::Close { answer } => drop(answer.send(())),
    }
}

/// Refuses whatever comes for so long. Answers when the store is to be closed.
fn refuse_for(wait: Duration, why: &str, is_full: bool, queue: &mut mpsc::Receiver<Job>) -> Option<Reopened> {
    let started = Instant::now();
    loop {
        match queue.try_recv() {
            Ok(Job::Close { answer }) => return Some(Reopened::Closed(Some(answer))),
            Ok(job) => refuse(job, why, is_full),
            Err(TryRecvError::Disconnected) => return Some(Reopened::Closed(None)),
            Err(TryRecvError::Empty) if started.elapsed() >= wait => return None,
            Err(TryRecvError::Empty) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
