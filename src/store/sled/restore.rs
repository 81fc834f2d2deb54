//! Filling a store that does not exist yet from a backup. It is made under another name and gets its own when it is
//! whole and durable, so that a restore that is cut short leaves nothing.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::super::backup::{BackupError, Entry};
use super::super::{Revision, Write};
use super::acknowledged::Acknowledged;
use super::entry::{self, FORMAT, FORMAT_KEY, META_KEY, Meta};
use super::folder::{self, ACKNOWLEDGED, NEW_ACKNOWLEDGED, NEW_DATA};
use super::open::{CACHE, OpenError, from_sled, open_sled};

/// How many entries are written as one batch.
const BATCH: usize = 500;
/// How far the revisions of a restored store are past the backup's: past everything that the store it was made of could
/// have given out since, so that no revision means two things.
const RESTORE_GAP: u64 = 1 << 40;

/// Why a backup was not restored. Whatever was begun is cleared away, now or by the next opening.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The folder cannot take a store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// There is a store already.
    #[error(
        "there is a store in {} already; a backup is restored into an empty folder: move that store away, or name \
         another folder with store.path", .0.display()
    )]
    InUse(std::path::PathBuf),
    /// The backup is not what it was when it was judged.
    #[error("the backup cannot be restored: {0}")]
    Backup(#[from] BackupError),
}

/// Makes the store in `path`, which must be missing or empty, of `entries` in their order. Each value keeps its
/// revision; the store goes on far above `revision`, the backup's.
pub(super) fn restore(
    path: &Path,
    entries: impl Iterator<Item = Result<Entry, BackupError>>,
    revision: Revision,
) -> Result<(), RestoreError> {
    // Looked at first: a store that is there is not even locked.
    refuse_used(path)?;
    let lock = folder::claim(path)?;
    refuse_used(path)?;
    let made = fill(path, entries, revision);
    if made.is_err() {
        // The next opening would do the same.
        let _ = std::fs::remove_dir_all(path.join(NEW_DATA));
        let _ = std::fs::remove_file(path.join(NEW_ACKNOWLEDGED));
    }
    drop(lock);
    made
}

fn refuse_used(path: &Path) -> Result<(), RestoreError> {
    let used = path.join(folder::DATA).exists() || path.join(ACKNOWLEDGED).exists();
    if used { Err(RestoreError::InUse(path.into())) } else { Ok(()) }
}

fn fill(
    path: &Path,
    entries: impl Iterator<Item = Result<Entry, BackupError>>,
    revision: Revision,
) -> Result<(), RestoreError> {
    let io = |what| move |source| OpenError::io(path, what, source);
    let new_data = path.join(NEW_DATA);
    if new_data.exists() {
        std::fs::remove_dir_all(&new_data).map_err(io("clearing away an unfinished database"))?;
    }
    DirBuilder::new().mode(0o700).create(&new_data).map_err(io("making the database's folder"))?;
    let db = open_sled(path, &new_data, CACHE)?;
    let sled = |error| from_sled(path, error);
    let mut meta = Meta::default();
    let mut batch = Vec::with_capacity(BATCH);
    for entry in entries {
        batch.push(entry?);
        if batch.len() == BATCH {
            write(&db, std::mem::take(&mut batch), &mut meta).map_err(sled)?;
        }
    }
    write(&db, batch, &mut meta).map_err(sled)?;
    meta.revision = revision.0.saturating_add(RESTORE_GAP);
    db.insert(FORMAT_KEY, FORMAT.to_string().as_bytes()).map_err(sled)?;
    db.insert(META_KEY, meta.encode()).map_err(sled)?;
    db.flush().map_err(sled)?;
    drop(db);
    for item in std::fs::read_dir(&new_data).map_err(io("listing the new database"))? {
        let file = item.map_err(io("listing the new database"))?.path();
        File::open(file).and_then(|file| file.sync_all()).map_err(io("syncing the new database"))?;
    }
    folder::sync(&new_data).map_err(io("syncing the new database"))?;
    let (new_sidecar, sidecar) = (path.join(NEW_ACKNOWLEDGED), path.join(ACKNOWLEDGED));
    Acknowledged::create(&new_sidecar, Revision(meta.revision))
        .map_err(io("making the file of the acknowledged revision"))?;
    folder::sync(path).map_err(io("syncing the folder"))?;
    // From here on it is a store: an opening that finds the one name and not the other gives the other.
    std::fs::rename(&new_data, path.join(folder::DATA)).map_err(io("naming the new database"))?;
    folder::sync(path).map_err(io("syncing the folder"))?;
    std::fs::rename(&new_sidecar, sidecar).map_err(io("naming the file of the acknowledged revision"))?;
    folder::sync(path).map_err(io("syncing the folder"))?;
    folder::sync_parent(path).map_err(io("syncing the folder's parent"))?;
    Ok(())
}

/// Writes entries in their order; a later one of the same key replaces an earlier one.
fn write(db: &sled::Db, entries: Vec<Entry>, meta: &mut Meta) -> sled::Result<()> {
    for Entry { key, write, revision, .. } in entries {
        let (key, data_key) = (key.as_str(), entry::data_key(key.as_str()));
        let before = match write {
            Write::Put { value, expires_at } => {
                let stored = entry::encode(key, revision, expires_at, &value);
                meta.add(key, &stored);
                if let Some(end) = expires_at {
                    meta.expiring += 1;
                    db.insert(entry::expiry_key(end, key), &[])?;
                }
                db.insert(data_key, stored.as_slice())?.map(|before| (before, expires_at))
            }
            Write::Delete => db.remove(data_key)?.map(|before| (before, None)),
        };
        let Some((before, end)) = before else { continue };
        meta.remove(key, &before);
        // What was written a moment ago parses.
        if let Ok((_, Some(old_end), _)) = entry::parts(key, &before) {
            meta.expiring = meta.expiring.wrapping_sub(1);
            if end != Some(old_end) {
                db.remove(entry::expiry_key(old_end, key))?;
            }
        }
    }
    Ok(())
}
