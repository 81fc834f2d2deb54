//! The mark of a clean end: what the files of the database held when it was closed. A database whose files still hold
//! exactly that is the one that was closed, and need not be read record by record.
//!
//! It is written last, after everything else is on the disk, and removed before the database is opened: whatever writes
//! afterwards, or is cut short, leaves no mark, and then everything is read. So does any difference, be it a bit.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::entry::{seal, unseal};
use super::folder::{self, CLOSED, NEW_CLOSED};

/// How much of a file one sum covers.
const PIECE: u64 = 1024 * 1024;
/// How many threads read: a disk answers several at a time.
const READERS: usize = 4;
/// How long the end of a process may take for its mark. A store too large for that is read record by record.
const PATIENCE: Duration = Duration::from_secs(4);

/// What lies in the database's folder.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Closed {
    files: BTreeMap<String, Sums>,
}

/// A file's length and the CRC-32 of each of its pieces.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sums {
    length: u64,
    pieces: Vec<u32>,
}

/// Syncs the files of a database that was just closed and leaves the mark. Says whether there was time for it.
pub(super) fn mark(store: &Path) -> io::Result<bool> {
    let data = store.join(folder::DATA);
    for item in std::fs::read_dir(&data)? {
        let item = item?;
        if item.file_type()?.is_file() {
            File::open(item.path())?.sync_all()?;
        }
    }
    folder::sync(&data)?;
    let Some(found) = sums(&data, Some(Instant::now() + PATIENCE))? else { return Ok(false) };
    let mut out = vec![0; 4];
    serde_json::to_writer(&mut out, &found)?;
    seal(CLOSED, &mut out);
    let new = store.join(NEW_CLOSED);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&out)?;
    file.sync_all()?;
    std::fs::rename(&new, store.join(CLOSED))?;
    folder::sync(store)?;
    Ok(true)
}

/// Takes the mark away, durably, and says whether the files are as it tells. Without one, or with one that cannot be
/// read, they are not.
pub(super) fn take(store: &Path) -> io::Result<bool> {
    let path = store.join(CLOSED);
    let stored = match std::fs::read(&path) {
        Ok(stored) => stored,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    std::fs::remove_file(&path)?;
    folder::sync(store)?;
    let told: Option<Closed> = unseal(CLOSED, &stored).ok().and_then(|body| serde_json::from_slice(body).ok());
    // What cannot be read now is met again by the reading of every record, which says so.
    Ok(told.is_some() && sums(&store.join(folder::DATA), None).is_ok_and(|found| found == told))
}

/// Reads all files, folders apart: sled keeps one of its own, which is empty. `None` when the time is up.
fn sums(data: &Path, until: Option<Instant>) -> io::Result<Option<Closed>> {
    let mut files = BTreeMap::new();
    for item in std::fs::read_dir(data)? {
        let item = item?;
        if !item.file_type()?.is_file() {
            continue;
        }
        let file = File::open(item.path())?;
        let length = file.metadata()?.len();
        let Some(pieces) = pieces(&file, length, until)? else { return Ok(None) };
        files.insert(item.file_name().to_string_lossy().into_owned(), Sums { length, pieces });
    }
    Ok(Some(Closed { files }))
}

fn pieces(file: &File, length: u64, until: Option<Instant>) -> io::Result<Option<Vec<u32>>> {
    let count = usize::try_from(length.div_ceil(PIECE)).unwrap_or(usize::MAX);
    let sums = Mutex::new(vec![0; count]);
    let (next, late) = (AtomicUsize::new(0), AtomicBool::new(false));
    let read = || -> io::Result<()> {
        let mut buffer = vec![0; usize::try_from(PIECE.min(length)).unwrap_or_default()];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let start = index as u64 * PIECE;
            if start >= length {
                return Ok(());
            }
            if until.is_some_and(|until| Instant::now() > until) {
                late.store(true, Ordering::Relaxed);
                return Ok(());
            }
            let wanted = usize::try_from(PIECE.min(length - start)).unwrap_or_default();
            let piece = buffer.get_mut(..wanted).unwrap_or_default();
            file.read_exact_at(piece, start)?;
            let sum = crc32fast::hash(piece);
            if let Some(place) = sums.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
                *place = sum;
            }
        }
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS.min(count)).map(|_| scope.spawn(read)).collect();
        readers
            .into_iter()
            .try_for_each(|reader| reader.join().unwrap_or_else(|_| Err(io::Error::other("reading failed"))))
    })?;
    let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((!late.into_inner()).then_some(sums))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join(folder::DATA);
        std::fs::create_dir_all(data.join("blobs")).unwrap();
        std::fs::write(data.join("db"), vec![7; 2_500_000]).unwrap();
        std::fs::write(data.join("conf"), "x").unwrap();
        folder
    }

    #[test]
    fn a_mark_holds_once() {
        let store = store();
        assert!(!take(store.path()).unwrap(), "there is none yet");
        assert!(mark(store.path()).unwrap());
        assert!(take(store.path()).unwrap());
        assert!(!take(store.path()).unwrap());
    }

    #[test]
    fn any_difference_shows() {
        let changes: [fn(&Path); 6] = [
            |data| {
                let mut bytes = std::fs::read(data.join("db")).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                std::fs::write(data.join("db"), bytes).unwrap();
            },
            |data| {
                let file = File::options().write(true).open(data.join("db")).unwrap();
                file.write_all_at(&[8], 1_048_576).unwrap();
            },
            |data| File::options().write(true).open(data.join("db")).unwrap().set_len(2_500_001).unwrap(),
            |data| File::options().write(true).open(data.join("db")).unwrap().set_len(2_499_999).unwrap(),
            |data| std::fs::remove_file(data.join("conf")).unwrap(),
            |data| std::fs::write(data.join("snap.1"), "").unwrap(),
        ];
        for (index, change) in changes.iter().enumerate() {
            let store = store();
            assert!(mark(store.path()).unwrap());
            change(&store.path().join(folder::DATA));
            assert!(!take(store.path()).unwrap(), "{index}");
            assert!(!store.path().join(CLOSED).exists());
        }
    }

    #[test]
    fn a_mark_that_was_damaged_says_nothing() {
        let store = store();
        assert!(mark(store.path()).unwrap());
        let path = store.path().join(CLOSED);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[9] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(!take(store.path()).unwrap());
    }

    #[test]
    fn without_time_there_is_no_mark() {
        let store = store();
        let data = store.path().join(folder::DATA);
        let past = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(sums(&data, Some(past)).unwrap(), None);
    }
}
