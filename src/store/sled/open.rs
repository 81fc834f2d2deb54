//! Opening: makes a new database whole or not at all, and checks an old one before anything is served from it.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::Revision;
use super::acknowledged::Acknowledged;
use super::closed;
use super::engine::Engine;
use super::entry::{FORMAT, FORMAT_KEY, META_KEY, Meta, OLDEST};
use super::folder::{self, ACKNOWLEDGED, NEW_ACKNOWLEDGED, NEW_DATA};
use super::journal::{Found, Journal};
use super::reading::{self, Readers};
use super::reserve::{Reserve, says_full};

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the store in {} is in use by another process; stop that one first", folder.display())]
    Locked {
        /// The store's folder.
        folder: PathBuf,
    },
    /// The folder is not a store's and not empty.
    #[error("the folder {} holds {}, which is no part of a store; give edi a folder of its own", folder.display(), file.display())]
    NotAStore {
        /// The folder.
        folder: PathBuf,
        /// What lies in it.
        file: PathBuf,
    },
    /// A newer edi wrote it.
    #[error("the store in {} was written by a newer version of edi (format {found}); upgrade edi", folder.display())]
    Newer {
        /// The store's folder.
        folder: PathBuf,
        /// The format found.
        found: u32,
    },
    /// It lost something or does not parse. Opening it again will not help.
    #[error("the store in {} is damaged: {what}; move it away and restore a backup", folder.display())]
    Damaged {
        /// The store's folder.
        folder: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The file system refused something.
    #[error("cannot open the store in {}: {what}: {source}{}", folder.display(), Self::next(source))]
    Io {
        /// The store's folder.
        folder: PathBuf,
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(folder: &Path, what: &'static str, source: io::Error) -> Self {
        Self::Io { folder: folder.into(), what, source }
    }

    pub(super) fn damaged(folder: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { folder: folder.into(), what: what.into() }
    }

    /// Whether there was no room on the disk.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if says_full(source))
    }

    /// What to do about what the system refused.
    fn next(source: &io::Error) -> &'static str {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room on its disk and start again",
            io::ErrorKind::ReadOnlyFilesystem => "; mount its disk for writing and start again",
            io::ErrorKind::PermissionDenied => {
                "; let the user that edi runs as write there (chown), or name another folder with store.path"
            }
            _ => "; mend its disk, or move the store to another one with store.path",
        }
    }

    /// Whether trying again later may help.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Locked { .. })
    }
}

/// Larger pages go to files that nothing syncs. Leaves hold at most 16 entries of 64 KiB: an eighth of this.
const SEGMENT: usize = 8 * 1024 * 1024;
/// The least that is safe. sled divides it by 256; a page that a batch changed, lost from its share and wants again before
/// its end waits for a buffer that the batch itself holds back. That takes a share to be filled within one batch: with
/// 128 KiB, dozens of pages, of which a batch of 100 writes meets two.
pub(super) const CACHE: u64 = 32 * 1024 * 1024;
/// More revisions than can ever be applied and not yet durable: what a reader saw of commits that a power cut undid
/// must not be taken for other commits later.
const GAP: u64 = 1 << 20;

/// Opens the database in a folder whose lock we hold, with everything that was ever acknowledged: `at_least` is what
/// this process itself knows of that. What `readers` wait for is read on the way.
pub(super) fn open(folder: &Path, cache: u64, at_least: Revision, readers: &Readers) -> Result<Engine, OpenError> {
    let io = |what| move |source| OpenError::io(folder, what, source);
    let (data, sidecar) = (folder.join(folder::DATA), folder.join(ACKNOWLEDGED));
    let new_data = folder.join(NEW_DATA);
    if new_data.exists() {
        std::fs::remove_dir_all(&new_data).map_err(io("clearing away an unfinished database"))?;
    }
    finish_restore(&data, &sidecar, &folder.join(NEW_ACKNOWLEDGED)).map_err(io("finishing a restore"))?;
    match (data.exists(), sidecar.exists()) {
        (false, true) => return Err(OpenError::damaged(folder, "its database is missing")),
        (false, false) => create(folder)?,
        (true, _) => {}
    }
    let as_closed = closed::take(folder).map_err(io("removing the mark of the last clean end"))?;
    refuse_hollow(folder, &data)?;
    discard_unfinished_snapshots(&data).map_err(io("clearing away an unfinished snapshot"))?;
    let db = open_sled(folder, &data, cache)?;
    if !db.was_recovered() {
        return Err(OpenError::damaged(folder, "its database is empty"));
    }
    let (journal, found) = Journal::open(folder)
        .map_err(io("reading the journal"))?
        .ok_or_else(|| OpenError::damaged(folder, "its journal is cut short"))?;
    let replayed = || {
        refuse_format(folder, &db)?;
        replay(folder, &db, &found)?;
        verify(folder, &db, as_closed, readers)
    };
    let mut meta = catch_unwind(AssertUnwindSafe(replayed))
        .unwrap_or_else(|_| Err(OpenError::damaged(folder, "reading it failed")))?;

    let known = if sidecar.exists() {
        Some(Acknowledged::open(&sidecar).map_err(io("reading the acknowledged revision"))?)
    } else {
        None
    };
    let nothing = Revision::default();
    let acknowledged = match known {
        Some((file, Some(revision))) => {
            let wanted = revision.max(at_least).max(found.durable);
            if meta.revision < wanted.0 {
                let what = format!("it ends at revision {}, but {wanted} was acknowledged", meta.revision);
                return Err(OpenError::damaged(folder, what));
            }
            file
        }
        // Its making was cut short after the database and before this file was whole; nothing was ever served from it.
        _ if meta == Meta::default() && (at_least, found.durable) == (nothing, nothing) => {
            Acknowledged::create(&sidecar, nothing).map_err(io("making the file of the acknowledged revision"))?
        }
        Some((_, None)) => {
            return Err(OpenError::damaged(folder, "the file with the acknowledged revision is unreadable"));
        }
        None => return Err(OpenError::damaged(folder, "the file with the acknowledged revision is missing")),
    };

    for file in ["conf", "db"] {
        File::open(data.join(file)).and_then(|file| file.sync_all()).map_err(io("syncing the database"))?;
    }
    folder::sync(&data).map_err(io("syncing the folder"))?;
    folder::sync(folder).map_err(io("syncing the folder"))?;
    folder::sync_parent(folder).map_err(io("syncing the folder's parent"))?;

    meta.revision = meta.revision.saturating_add(GAP);
    let file = File::options().read(true).write(true).open(data.join("db")).map_err(io("opening the database"))?;
    let mut batch = sled::Batch::default();
    batch.insert(META_KEY, meta.encode());
    batch.insert(FORMAT_KEY, FORMAT.to_string().as_bytes());
    db.apply_batch(batch).map_err(|error| from_sled(folder, error))?;
    let mut engine = Engine::new(db, meta, file, journal, acknowledged);
    engine.settle().map_err(io("writing the first revision"))?;
    Ok(engine)
}

/// Gives the database what only the journal holds: all of it again, as some of a group may be there already. Where it does
/// not continue the database, what is missing is told by whoever compares revisions.
fn replay(folder: &Path, db: &sled::Db, found: &Found) -> Result<(), OpenError> {
    let at = Revision(stored_meta(folder, db)?.revision);
    let (Some(first), Some(last)) = (found.records.first(), found.records.last()) else { return Ok(()) };
    // The book-keeping is the last of a group: a database that is further has everything, and later things too.
    if at >= last.after || at < first.before {
        return Ok(());
    }
    for (key, value) in found.records.iter().flat_map(|record| &record.writes) {
        match value {
            Some(value) => db.insert(key, value.as_slice()),
            None => db.remove(key),
        }
        .map_err(|error| from_sled(folder, error))?;
    }
    Ok(())
}

/// A restore gives the database its name first and the sidecar second; before that it is nothing yet.
fn finish_restore(data: &Path, sidecar: &Path, new_sidecar: &Path) -> io::Result<()> {
    match (new_sidecar.exists(), data.exists(), sidecar.exists()) {
        (false, ..) => Ok(()),
        (true, true, false) => std::fs::rename(new_sidecar, sidecar),
        (true, ..) => std::fs::remove_file(new_sidecar),
    }
}

/// Makes an empty database under another name and gives it its own when it is whole and durable.
pub(super) fn create(folder: &Path) -> Result<(), OpenError> {
    let io = |what| move |source| OpenError::io(folder, what, source);
    let new_data = folder.join(NEW_DATA);
    DirBuilder::new().mode(0o700).create(&new_data).map_err(io("making the database's folder"))?;
    let db = open_sled(folder, &new_data, CACHE)?;
    let mut batch = sled::Batch::default();
    batch.insert(FORMAT_KEY, FORMAT.to_string().as_bytes());
    batch.insert(META_KEY, Meta::default().encode());
    db.apply_batch(batch).and_then(|()| db.flush()).map_err(|error| from_sled(folder, error))?;
    drop(db);
    for item in std::fs::read_dir(&new_data).map_err(io("listing the new database"))? {
        let path = item.map_err(io("listing the new database"))?.path();
        File::open(path).and_then(|file| file.sync_all()).map_err(io("syncing the new database"))?;
    }
    folder::sync(&new_data).map_err(io("syncing the new database"))?;
    std::fs::rename(&new_data, folder.join(folder::DATA)).map_err(io("naming the new database"))?;
    folder::sync(folder).map_err(io("syncing the folder"))?;
    folder::sync_parent(folder).map_err(io("syncing the folder's parent"))
}

/// sled fills what it finds empty without a word; we do not let it.
fn refuse_hollow(folder: &Path, data: &Path) -> Result<(), OpenError> {
    for name in ["db", "conf"] {
        if !data.join(name).metadata().is_ok_and(|metadata| metadata.len() > 0) {
            return Err(OpenError::damaged(folder, format!("the file data/{name} is missing or empty")));
        }
    }
    // Nothing syncs those files, and values this small never make any.
    let blobs = std::fs::read_dir(data.join("blobs")).map(|mut files| files.next().is_some());
    if blobs.unwrap_or(false) {
        return Err(OpenError::damaged(folder, "the folder data/blobs is not empty"));
    }
    Ok(())
}

/// sled writes a snapshot of its page table under a temporary name, syncs it, renames it and only then drops the old
/// one; when opening it takes the last of them by name, temporary ones included, and calls one that a crash cut short
/// a corruption. Such a file holds nothing: the log has everything, and the older snapshot is still there.
fn discard_unfinished_snapshots(data: &Path) -> io::Result<()> {
    for item in std::fs::read_dir(data)? {
        let item = item?;
        let name = item.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            std::fs::remove_file(item.path())?;
        }
    }
    Ok(())
}

pub(super) fn open_sled(folder: &Path, data: &Path, cache: u64) -> Result<sled::Db, OpenError> {
    let config = sled::Config::new().path(data).segment_size(SEGMENT).cache_capacity(cache);
    let mut patience = 40;
    loop {
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(db),
            // Our own lock says that nobody else is there: it is this process's last handle that is not yet gone.
            Ok(Err(sled::Error::Io(error))) if patience > 0 && error.to_string().contains("acquire lock") => {
                patience -= 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(Err(error)) => return Err(from_sled(folder, error)),
            Err(_) if Reserve::new(folder, 0).disk_is_full() => {
                return Err(OpenError::io(folder, "the database", io::ErrorKind::StorageFull.into()));
            }
            Err(_) => return Err(OpenError::damaged(folder, "its database does not open")),
        }
    }
}

pub(super) fn from_sled(folder: &Path, error: sled::Error) -> OpenError {
    match error {
        sled::Error::Io(source) => OpenError::io(folder, "the database", source),
        other => OpenError::damaged(folder, other.to_string()),
    }
}

fn record(folder: &Path, db: &sled::Db, key: &[u8], name: &str) -> Result<sled::IVec, OpenError> {
    let stored = db.get(key).map_err(|error| from_sled(folder, error))?;
    stored.ok_or_else(|| OpenError::damaged(folder, format!("its {name} record is missing")))
}

fn refuse_format(folder: &Path, db: &sled::Db) -> Result<(), OpenError> {
    let format = record(folder, db, FORMAT_KEY, "format")?;
    match std::str::from_utf8(&format).ok().and_then(|text| text.parse::<u32>().ok()) {
        Some(OLDEST..=FORMAT) => Ok(()),
        Some(found) if found > FORMAT => Err(OpenError::Newer { folder: folder.into(), found }),
        _ => Err(OpenError::damaged(folder, "its format record is unreadable")),
    }
}

fn stored_meta(folder: &Path, db: &sled::Db) -> Result<Meta, OpenError> {
    Meta::decode(&record(folder, db, META_KEY, "meta")?).map_err(|what| OpenError::damaged(folder, what))
}

/// Reads everything and compares it with the book-keeping, unless the files are to the bit as they were closed.
fn verify(folder: &Path, db: &sled::Db, as_closed: bool, readers: &Readers) -> Result<Meta, OpenError> {
    let meta = stored_meta(folder, db)?;
    if as_closed {
        reading::prefixes(folder, db, readers)?;
        return Ok(meta);
    }
    let found = reading::everything(folder, db, meta.revision, readers)?;
    meta.difference(&found).map_or(Ok(meta), |what| Err(OpenError::damaged(folder, what)))
}
