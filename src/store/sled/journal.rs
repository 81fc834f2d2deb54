//! The journal: makes groups of commits durable with one write and one sync, before sled has any of it.
//!
//! A file of fixed size, all of it written when it is made, so that a sync has nothing but data to bring to the disk. Each
//! group is a record, at a multiple of 4,096 bytes: no write touches what was durable before. When the file is full,
//! sled's own file is made durable up to now, and the journal begins anew at its start. Opening gives sled all of it again,
//! in order, if anything of it is missing. Knows nothing of what it holds.
//!
//! Record: checksum (4) · length of what follows the head (4) · revision before (8) · revision after (8), then the
//! writes: length of the key (4) · length of the value (4), all ones for a deletion · key · value. Big-endian; the
//! CRC-32 covers all but itself.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::super::Revision;
use super::folder::{JOURNAL, NEW_JOURNAL};

/// How large the file is: larger than a group can be. A larger one would leave more to be written on a disk that is full.
const SIZE: usize = 2 * 1024 * 1024;
/// Where records begin: at multiples of this.
const GRAIN: usize = 4096;
const HEAD: usize = 24;
const DELETED: u32 = u32::MAX;

pub(super) struct Journal {
    file: File,
    /// Where the next record goes.
    at: usize,
    /// The record that is being made.
    record: Vec<u8>,
}

/// A group that was read back.
pub(super) struct Record {
    pub(super) before: Revision,
    pub(super) after: Revision,
    pub(super) writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Journal {
    /// Opens the one in a folder, or makes it, and reads what it holds; `None` when it is not as it was made. The caller
    /// syncs the folder.
    pub(super) fn open(folder: &Path) -> io::Result<Option<(Self, Found)>> {
        let path = folder.join(JOURNAL);
        if !path.exists() {
            make(folder)?;
        }
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if file.metadata()?.len() != SIZE as u64 {
            return Ok(None);
        }
        let mut bytes = vec![0; SIZE];
        file.read_exact_at(&mut bytes, 0)?;
        let this = Self { file, at: 0, record: Vec::new() };
        Ok(Some((this, Found::read(&bytes))))
    }

    /// Adds a put to the record that is being made.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.write(key, length(value), value);
    }

    /// Adds a deletion to it.
    pub(super) fn delete(&mut self, key: &[u8]) {
        self.write(key, DELETED, &[]);
    }

    fn write(&mut self, key: &[u8], length_of_value: u32, value: &[u8]) {
        if self.record.is_empty() {
            self.record.extend_from_slice(&[0; HEAD]);
        }
        self.record.extend_from_slice(&length(key).to_be_bytes());
        self.record.extend_from_slice(&length_of_value.to_be_bytes());
        self.record.extend_from_slice(key);
        self.record.extend_from_slice(value);
    }

    /// Ends the record: it leads from one revision to another.
    pub(super) fn end_record(&mut self, before: Revision, after: Revision) {
        let Some((head, body)) = self.record.split_first_chunk_mut::<HEAD>() else { return };
        let (_, fields) = head.split_at_mut(4);
        let revisions = [before, after].map(|revision| revision.0.to_be_bytes());
        let told = [length(body).to_be_bytes().as_slice(), revisions.as_flattened()].concat();
        fields.copy_from_slice(&told);
        let sum = checksum(fields, body).to_be_bytes();
        head.iter_mut().zip(sum).for_each(|(to, from)| *to = from);
        self.record.resize(self.record.len().next_multiple_of(GRAIN), 0);
    }

    /// Whether the record fits in behind the others.
    pub(super) const fn has_room(&self) -> bool {
        self.at + self.record.len() <= SIZE
    }

    /// Writes the record and waits until it is on the disk.
    pub(super) fn make_durable(&mut self) -> io::Result<()> {
        if !self.has_room() {
            return Err(io::Error::other("the group is larger than the journal"));
        }
        self.file.write_all_at(&self.record, self.at as u64)?;
        self.file.sync_data()?;
        self.at += self.record.len();
        self.record.clear();
        Ok(())
    }

    /// Nothing in it is needed any more: everything before the record that is being made is on the disk in sled's file.
    pub(super) const fn begin_anew(&mut self) {
        self.at = 0;
    }

    /// The file, for what is to be said of it to the system.
    pub(super) const fn file(&self) -> &File {
        &self.file
    }
}

/// Under another name first, so that the file is whole or not there.
fn make(folder: &Path) -> io::Result<()> {
    let new = folder.join(NEW_JOURNAL);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all_at(&vec![0; SIZE], 0)?;
    file.sync_all()?;
    std::fs::rename(&new, folder.join(JOURNAL))
}

/// What a journal holds.
#[derive(Default)]
pub(super) struct Found {
    /// Each continues the one before.
    pub(super) records: Vec<Record>,
    /// What was durable before the last whole record was written, be that behind one that is damaged.
    pub(super) durable: Revision,
}

impl Found {
    fn read(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        let (mut at, mut unbroken) = (0, true);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let Some((record, length)) = Record::read(rest) else {
                unbroken = false;
                at += GRAIN;
                continue;
            };
            // What was there before it began anew has earlier revisions.
            unbroken &= found.records.last().is_none_or(|last| last.after == record.before);
            found.durable = found.durable.max(record.before);
            if unbroken {
                found.records.push(record);
            }
            at += length.next_multiple_of(GRAIN);
        }
        found
    }
}

impl Record {
    /// The record at the start of these bytes and its length, if a whole one is there.
    fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let (sum, fields) = head.split_first_chunk::<4>()?;
        let (length, revisions) = fields.split_first_chunk::<4>()?;
        let (before, after) = revisions.split_first_chunk::<8>()?;
        let body = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        if u32::from_be_bytes(*sum) != checksum(fields, body) {
            return None;
        }
        let revision = |bytes: &[u8; 8]| Revision(u64::from_be_bytes(*bytes));
        let (before, after) = (revision(before), revision(after.first_chunk()?));
        let (mut writes, mut left) = (Vec::new(), body);
        while !left.is_empty() {
            writes.push(one_write(&mut left)?);
        }
        Some((Self { before, after, writes }, HEAD + body.len()))
    }
}

fn one_write(left: &mut &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let (key, rest) = left.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_first_chunk::<4>()?;
    let value = u32::from_be_bytes(*value);
    let (key, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*key)).ok()?)?;
    let length = if value == DELETED { 0 } else { usize::try_from(value).ok()? };
    let (stored, rest) = rest.split_at_checked(length)?;
    *left = rest;
    Some((key.to_vec(), (value != DELETED).then(|| stored.to_vec())))
}

/// Far less than four gibibytes: a batch ends long before.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(DELETED)
}

fn checksum(fields: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(fields);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found: the records' revisions, and what was durable.
    fn found(folder: &Path) -> (Vec<(u64, u64)>, u64) {
        let (_, found) = Journal::open(folder).unwrap().unwrap();
        (found.records.iter().map(|record| (record.before.0, record.after.0)).collect(), found.durable.0)
    }

    fn opened(folder: &Path) -> Journal {
        Journal::open(folder).unwrap().unwrap().0
    }

    fn make(journal: &mut Journal, before: u64, after: u64, size: usize) {
        journal.put(b"key", &vec![7; size]);
        journal.delete(b"gone");
        journal.put(b"", b"");
        journal.end_record(Revision(before), Revision(after));
    }

    fn write(journal: &mut Journal, before: u64, after: u64, size: usize) {
        make(journal, before, after, size);
        journal.make_durable().unwrap();
    }

    #[test]
    fn what_was_written_comes_back_in_order_and_what_was_before_does_not() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(found(folder.path()), (vec![], 0));
        let mut journal = opened(folder.path());
        for n in 0..5 {
            write(&mut journal, n * 10, n * 10 + 5, 100);
            write(&mut journal, n * 10 + 5, n * 10 + 10, 5000);
        }
        let (_, all) = Journal::open(folder.path()).unwrap().unwrap();
        assert_eq!((all.records.len(), all.durable), (10, Revision(45)));
        let (key, empty) = (b"key".to_vec(), Vec::new());
        let expected = [(key, Some(vec![7; 5000])), (b"gone".to_vec(), None), (empty.clone(), Some(empty))];
        assert_eq!(all.records[1].writes, expected);
        // Begun anew: where the second record goes is an old one, and so is what lies behind.
        journal.begin_anew();
        write(&mut journal, 50, 60, 100);
        assert_eq!(found(folder.path()), (vec![(50, 60)], 50));
        write(&mut journal, 60, 70, 5000);
        assert_eq!(found(folder.path()), (vec![(50, 60), (60, 70)], 60));
    }

    #[test]
    fn a_full_one_takes_nothing_more_until_it_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = opened(folder.path());
        for n in 0..30 {
            write(&mut journal, n, n + 1, 64 * 1024);
        }
        make(&mut journal, 30, 31, 64 * 1024);
        assert!(!journal.has_room());
        assert!(journal.make_durable().is_err());
        journal.begin_anew();
        assert!(journal.has_room());
        journal.make_durable().unwrap();
        assert_eq!(found(folder.path()), (vec![(30, 31)], 30));
    }

    #[test]
    fn damage_ends_it_and_what_was_written_later_tells_that_something_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = opened(folder.path());
        for n in 0..4 {
            write(&mut journal, n, n + 1, 6000);
        }
        let path = folder.path().join(JOURNAL);
        let whole = std::fs::read(&path).unwrap();
        for at in (0..4 * 8192).step_by(97).filter(|at| at % 8192 < 6000) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let (records, durable) = found(folder.path());
            let hit = at / 8192;
            assert_eq!(records.len(), hit, "{at}");
            assert_eq!(durable, if hit == 3 { 2 } else { 3 }, "{at}");
        }
        std::fs::write(&path, &whole[..SIZE - 1]).unwrap();
        assert!(Journal::open(folder.path()).unwrap().is_none());
    }

    #[test]
    fn any_bytes_are_read_without_harm() {
        let mut noise = 1_u32;
        for _ in 0..200 {
            let bytes: Vec<u8> = std::iter::repeat_with(|| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                noise.to_be_bytes()
            })
            .take(3000)
            .flatten()
            .collect();
            assert!(Found::read(&bytes).records.is_empty());
        }
    }
}
