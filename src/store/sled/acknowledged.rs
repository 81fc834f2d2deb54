//! The sidecar: a small file that holds the last revision whose commit was answered, so that a database that came
//! back with less is refused instead of served.
//!
//! It is synced with sled's file. In between, each commit is noted without a sync: that outlives the process, and is on the
//! disk soon. Two slots are written in turn, so that a write cut short by a power failure leaves the other one whole.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::super::Revision;

const MAGIC: &[u8; 8] = b"edi ack1";
/// magic (8) · revision (8) · checksum (4)
const SLOT: usize = 20;
/// Slots lie in blocks of their own.
const SLOTS: [u64; 2] = [0, 4096];

pub(super) struct Acknowledged {
    file: File,
    next: usize,
}

impl Acknowledged {
    /// Makes the file; the caller syncs its folder.
    pub(super) fn create(path: &Path, revision: Revision) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut this = Self { file, next: 0 };
        this.record(revision)?;
        this.record(revision)?;
        this.file.sync_all()?;
        Ok(this)
    }

    /// Opens it and reads the later of its whole slots; `None` when neither is whole.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<Revision>)> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut best: Option<(Revision, usize)> = None;
        for (index, offset) in SLOTS.into_iter().enumerate() {
            let mut slot = [0; SLOT];
            let whole = file.read_exact_at(&mut slot, offset).is_ok();
            if let Some(revision) = whole.then(|| parse(&slot)).flatten()
                && best.is_none_or(|(known, _)| revision > known)
            {
                best = Some((revision, index));
            }
        }
        let next = best.map_or(0, |(_, index)| 1 - index);
        Ok((Self { file, next }, best.map(|(revision, _)| revision)))
    }

    /// Writes the revision and waits until it is on the disk.
    pub(super) fn record(&mut self, revision: Revision) -> io::Result<()> {
        self.note(revision)?;
        self.file.sync_data()?;
        self.next = 1 - self.next;
        Ok(())
    }

    /// Writes the revision and does not wait: until the next [`Self::record`] always to the same slot, while the other one
    /// is whole on the disk.
    pub(super) fn note(&self, revision: Revision) -> io::Result<()> {
        let mut slot = [0; SLOT];
        let body = [MAGIC.as_slice(), &revision.0.to_be_bytes()].concat();
        let sum = crc32fast::hash(&body).to_be_bytes();
        slot.iter_mut().zip(body.iter().chain(&sum)).for_each(|(to, from)| *to = *from);
        let offset = SLOTS.get(self.next).copied().unwrap_or_default();
        self.file.write_all_at(&slot, offset)
    }
}

fn parse(slot: &[u8; SLOT]) -> Option<Revision> {
    let (body, sum) = slot.split_last_chunk::<4>()?;
    let (magic, revision) = body.split_first_chunk::<8>()?;
    let whole = magic == MAGIC && u32::from_be_bytes(*sum) == crc32fast::hash(body);
    whole.then(|| revision.first_chunk().map(|bytes| Revision(u64::from_be_bytes(*bytes))))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_revision_comes_back_and_a_torn_write_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acknowledged");
        let mut file = Acknowledged::create(&path, Revision(0)).unwrap();
        for revision in 1..8 {
            file.record(Revision(revision)).unwrap();
            assert_eq!(Acknowledged::open(&path).unwrap().1, Some(Revision(revision)));
        }
        let whole = std::fs::read(&path).unwrap();
        let (_, best) = Acknowledged::open(&path).unwrap();
        assert_eq!(best, Some(Revision(7)));
        let last = if parse(whole[..SLOT].try_into().unwrap()) == Some(Revision(7)) { 0 } else { 4096 };
        for torn in 0..SLOT {
            let mut bytes = whole.clone();
            bytes[last + torn] ^= 0x40;
            std::fs::write(&path, &bytes).unwrap();
            let (mut reopened, best) = Acknowledged::open(&path).unwrap();
            assert_eq!(best, Some(Revision(6)));
            reopened.record(Revision(9)).unwrap();
            assert_eq!(Acknowledged::open(&path).unwrap().1, Some(Revision(9)));
        }
    }

    #[test]
    fn a_file_without_a_whole_slot_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acknowledged");
        for bytes in [b"".as_slice(), b"short", &[0; 8192]] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Acknowledged::open(&path).unwrap().1, None);
        }
    }
}
