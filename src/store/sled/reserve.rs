//! Room that is kept for when the disk is full: a file of real blocks beside the database. It is given up to let through
//! what takes rights away, and taken again, by itself, once there is room for it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::folder::{self, NEW_RESERVE, RESERVE};

/// Room beyond the reserve itself that there must be before it is taken again, so that the two states do not alternate.
const MARGIN: u64 = 1024 * 1024;
/// The least that reopening the database wants: its log, and a snapshot of its page table.
const TO_REOPEN: u64 = 512 * 1024;
/// A disk with less than this free is full, whatever the error said.
const FULL: u64 = 256 * 1024;
/// A small disk gives at most this part of itself.
const PART_OF_DISK: u64 = 4;

pub(super) struct Reserve {
    folder: PathBuf,
    /// Zero: there is none.
    bytes: u64,
    /// Stands in for a disk without room.
    #[cfg(test)]
    pub(super) pretend_full: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Reserve {
    /// The reserve of the store in `folder`: `wanted` bytes, less on a small disk.
    pub(super) fn new(folder: &Path, wanted: u64) -> Self {
        let disk = rustix::fs::statvfs(folder).map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
        Self {
            folder: folder.into(),
            bytes: wanted.min(disk / PART_OF_DISK),
            #[cfg(test)]
            pretend_full: std::sync::Arc::default(),
        }
    }

    fn free(&self) -> u64 {
        #[cfg(test)]
        if self.pretend_full.load(std::sync::atomic::Ordering::SeqCst) {
            return if self.in_place() || self.bytes == 0 { 0 } else { self.bytes };
        }
        rustix::fs::statvfs(&self.folder).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Whether the disk is as good as full.
    pub(super) fn disk_is_full(&self) -> bool {
        self.free() < FULL
    }

    /// Whether the database can be opened again.
    pub(super) fn can_reopen(&self) -> bool {
        self.free() >= TO_REOPEN
    }

    /// Whether it lies there.
    pub(super) fn in_place(&self) -> bool {
        self.bytes > 0 && self.folder.join(RESERVE).metadata().is_ok_and(|found| found.len() >= self.bytes)
    }

    /// Whether the disk has room for it again, and some more.
    pub(super) fn fits(&self) -> bool {
        self.free() >= self.bytes.saturating_add(MARGIN)
    }

    /// Puts it in place, whole or not at all.
    pub(super) fn build(&self) -> io::Result<()> {
        if self.bytes == 0 {
            return self.release().map(drop);
        }
        if self.in_place() {
            return Ok(());
        }
        if !self.fits() {
            return Err(ErrorKind::StorageFull.into());
        }
        let new = self.folder.join(NEW_RESERVE);
        let made = self.fill(&new).and_then(|()| std::fs::rename(&new, self.folder.join(RESERVE)));
        if made.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        made?;
        folder::sync(&self.folder)
    }

    fn fill(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        // File systems that cannot set blocks aside get them by writing; what compresses must not compress this.
        if rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, self.bytes).is_err() {
            let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
            let mut left = self.bytes;
            while left > 0 {
                let block: Vec<u8> = std::iter::repeat_with(|| {
                    noise ^= noise << 13;
                    noise ^= noise >> 7;
                    noise ^= noise << 17;
                    noise.to_ne_bytes()
                })
                .take(8192)
                .flatten()
                .collect();
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
                file.write_all(block.get(..length).unwrap_or_default())?;
                left -= length as u64;
            }
        }
        file.sync_all()
    }

    /// Gives it up. Says whether there was one.
    pub(super) fn release(&self) -> io::Result<bool> {
        let _ = std::fs::remove_file(self.folder.join(NEW_RESERVE));
        match std::fs::remove_file(self.folder.join(RESERVE)) {
            Ok(()) => folder::sync(&self.folder).map(|()| true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// In words: what has to be free before everything is written again.
    pub(super) fn wanted(&self) -> String {
        let bytes = self.bytes.max(TO_REOPEN).saturating_add(MARGIN);
        format!("{} MiB", bytes.div_ceil(1024 * 1024))
    }
}

/// Whether the system said that there is no room.
pub(super) fn says_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Whether anything can be written into the folder at all: a new file, on the disk.
pub(super) fn is_writable(folder: &Path) -> io::Result<()> {
    let path = folder.join(folder::PROBE);
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(b"edi")?;
        file.sync_all()
    });
    // Gone again either way; the next one takes its place.
    let removed = std::fs::remove_file(&path);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn it_takes_real_blocks_and_gives_them_back() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(folder.path(), 3 * 1024 * 1024);
        assert!(!reserve.in_place());
        for _ in 0..2 {
            reserve.build().unwrap();
            let found = folder.path().join(RESERVE).metadata().unwrap();
            assert!(found.blocks() * 512 >= 3 * 1024 * 1024, "no holes");
            assert_eq!(found.mode() & 0o777, 0o600);
        }
        assert!(reserve.in_place() && reserve.release().unwrap());
        assert!(!reserve.in_place() && !reserve.release().unwrap());
        // Another size: the old one does not count, and none at all clears it away.
        reserve.build().unwrap();
        assert!(!Reserve::new(folder.path(), 4 * 1024 * 1024).in_place());
        Reserve::new(folder.path(), 0).build().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn writing_fills_it_where_blocks_cannot_be_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        is_writable(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(is_writable(&folder.path().join("missing")).is_err());
    }
}
