//! Reading a backup, entry by entry. Nothing is to be believed before the end was reached.

use std::io::{self, Read};

use ring::digest::{Context, SHA256};

use super::{BackupError, DELETED, END, Entry, FORMAT, Footer, Header, MAGIC, PUT, SCANNED};
use crate::model::time::Timestamp;
use crate::store::{Key, MAX_KEY, MAX_VALUE, Revision, Write};

/// The longest header or footer that is read.
const MAX_LINE: usize = 64 * 1024;

/// A backup that is being read. Give it something buffered.
pub struct Reader<R> {
    from: R,
    digest: Context,
    header: Header,
    entries: u64,
    changes: u64,
    end: Option<(Footer, [u8; 32])>,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When it is no backup, or one of a newer edi.
    pub fn new(mut from: R) -> Result<Self, BackupError> {
        let mut digest = Context::new(&SHA256);
        let mut magic = [0; MAGIC.len()];
        match from.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC.as_bytes() => digest.update(&magic),
            Ok(()) => return Err(BackupError::Foreign),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(BackupError::Foreign),
            Err(error) => return Err(error.into()),
        }
        let format = line(&mut from, &mut digest)?;
        match std::str::from_utf8(&format).ok().and_then(|text| text.parse().ok()) {
            Some(FORMAT) => {}
            Some(newer) if newer > FORMAT => return Err(BackupError::Newer(newer)),
            _ => return Err(BackupError::Foreign),
        }
        let header = line(&mut from, &mut digest)?;
        let header = serde_json::from_slice(&header).map_err(|_| damaged("its header does not parse"))?;
        Ok(Self { from, digest, header, entries: 0, changes: 0, end: None })
    }

    /// What it says of itself at the beginning.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How it ends and the SHA-256 of it, once [`Self::entry`] has given `None`.
    pub fn end(&self) -> Option<&(Footer, [u8; 32])> {
        self.end.as_ref()
    }

    /// The next entry; `None` once the end was reached and all of it is as it was written.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] for anything else. What was read before is then not to be used either.
    pub fn entry(&mut self) -> Result<Option<Entry>, BackupError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let [kind] = self.bytes()?;
        let change = kind != SCANNED;
        match kind {
            SCANNED | PUT | DELETED => {}
            END => return self.finish().map(|()| None),
            _ => return Err(damaged("it holds an entry of an unknown kind")),
        }
        let revision = Revision(u64::from_be_bytes(self.bytes()?));
        let end = if kind == DELETED {
            None
        } else {
            let [has_end] = self.bytes()?;
            let end = Timestamp::from_millis(i64::from_be_bytes(self.bytes()?));
            (has_end != 0).then_some(end)
        };
        let length = usize::from(u16::from_be_bytes(self.bytes()?));
        let key = self.block(length, MAX_KEY)?;
        let key = String::from_utf8(key).map_err(|_| damaged("a key is not text"))?;
        let write = if kind == DELETED {
            Write::Delete
        } else {
            let length = u32::from_be_bytes(self.bytes()?) as usize;
            Write::Put { value: self.block(length, MAX_VALUE)?, expires_at: end }
        };
        *(if change { &mut self.changes } else { &mut self.entries }) += 1;
        Ok(Some(Entry { key: Key::new(key), write, revision, change }))
    }

    fn finish(&mut self) -> Result<(), BackupError> {
        let length = u32::from_be_bytes(self.bytes()?) as usize;
        let footer = self.block(length, MAX_LINE)?;
        let found = self.digest.clone().finish();
        let mut sum = [0; 32];
        self.from.read_exact(&mut sum)?;
        if found.as_ref() != sum {
            return Err(damaged("its checksum does not match"));
        }
        if self.from.read(&mut [0])? != 0 {
            return Err(damaged("something follows its end"));
        }
        let footer: Footer = serde_json::from_slice(&footer).map_err(|_| damaged("its footer does not parse"))?;
        if (footer.entries, footer.changes) != (self.entries, self.changes) {
            return Err(damaged("it holds another number of entries than it says"));
        }
        self.end = Some((footer, sum));
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        self.digest.update(&bytes);
        Ok(bytes)
    }

    fn block(&mut self, length: usize, at_most: usize) -> Result<Vec<u8>, BackupError> {
        if length > at_most {
            return Err(damaged("it holds a length that no store has"));
        }
        let mut block = vec![0; length];
        self.from.read_exact(&mut block)?;
        self.digest.update(&block);
        Ok(block)
    }
}

/// A line without its end.
fn line(from: &mut impl Read, digest: &mut Context) -> Result<Vec<u8>, BackupError> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        from.read_exact(&mut byte)?;
        digest.update(&byte);
        match byte {
            [b'\n'] => return Ok(line),
            _ if line.len() >= MAX_LINE => return Err(damaged("its header does not end")),
            [byte] => line.push(byte),
        }
    }
}

fn damaged(what: &str) -> BackupError {
    BackupError::Damaged(what.into())
}
