//! The store's folder: its mode, its lock, and the syncing of folders. Knows nothing of what the files hold.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::super::Room;
use super::open::OpenError;

pub(super) const DATA: &str = "data";
/// A database that is being made; it becomes [`DATA`] once it is whole.
pub(super) const NEW_DATA: &str = "data.new";
pub(super) const ACKNOWLEDGED: &str = "acknowledged";
/// The same of a store that is being restored; it becomes [`ACKNOWLEDGED`] once the database has its name.
pub(super) const NEW_ACKNOWLEDGED: &str = "acknowledged.new";
/// What the database's files held when it was closed.
pub(super) const CLOSED: &str = "closed";
pub(super) const NEW_CLOSED: &str = "closed.new";
/// Commits that sled's file may not hold yet.
pub(super) const JOURNAL: &str = "journal";
pub(super) const NEW_JOURNAL: &str = "journal.new";
/// Room kept for a full disk.
pub(super) const RESERVE: &str = "reserve";
pub(super) const NEW_RESERVE: &str = "reserve.new";
/// Written and removed to see whether anything can be.
pub(super) const PROBE: &str = "probe";
const LOCK: &str = "lock";
/// What a freshly formatted volume holds.
const HARMLESS: &str = "lost+found";

/// Makes the folder if need be, for its owner alone, and takes the lock; it is free again when the file is dropped.
pub(super) fn claim(folder: &Path) -> Result<File, OpenError> {
    let io = |what| move |source| OpenError::io(folder, what, source);
    if !folder.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io("making the folder"))?;
    }
    refuse_foreign(folder)?;
    let metadata = folder.metadata().map_err(io("looking at the folder"))?;
    // A volume's root may belong to root; sled's files then lie in our own 0700 folder inside it all the same.
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if ours && metadata.mode() & 0o077 != 0 {
        std::fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(io("closing the folder to others"))?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let lock = options.open(folder.join(LOCK)).map_err(io("opening the lock file"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { folder: folder.into() }),
        Err(TryLockError::Error(source)) => Err(OpenError::io(folder, "locking", source)),
    }
}

/// A folder that holds other things is refused before its mode is touched or anything is put into it.
fn refuse_foreign(folder: &Path) -> Result<(), OpenError> {
    let io = |source| OpenError::io(folder, "listing the folder", source);
    let mut foreign: Option<PathBuf> = None;
    for item in std::fs::read_dir(folder).map_err(io)? {
        let item = item.map_err(io)?;
        match item.file_name().to_str() {
            Some(DATA | NEW_DATA | ACKNOWLEDGED | NEW_ACKNOWLEDGED | JOURNAL | LOCK) => return Ok(()),
            Some(HARMLESS | RESERVE | NEW_RESERVE | PROBE | CLOSED | NEW_CLOSED | NEW_JOURNAL) => {}
            _ => foreign = Some(item.path()),
        }
    }
    foreign.map_or(Ok(()), |file| Err(OpenError::NotAStore { folder: folder.into(), file }))
}

/// What the files take, and what the disk has left for us.
pub(super) fn room(folder: &Path) -> io::Result<Room> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(Room { used: used(folder)?, free: disk.f_bavail.saturating_mul(disk.f_frsize) })
}

/// Blocks that are really taken: files can have holes.
fn used(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0_u64;
    for item in std::fs::read_dir(folder)? {
        let item = item?;
        match item.metadata() {
            Ok(found) if found.is_dir() => bytes = bytes.saturating_add(used(&item.path())?),
            Ok(found) => bytes = bytes.saturating_add(found.blocks().saturating_mul(512)),
            // The engine cleared it away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// Makes the names in a folder durable.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes the folder's own name durable.
pub(super) fn sync_parent(folder: &Path) -> io::Result<()> {
    match folder.canonicalize()?.parent() {
        Some(parent) => sync(parent),
        None => Ok(()),
    }
}
