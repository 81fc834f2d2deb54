//! Judging a backup whole: that it is as it was written, that every record in it can be read, and what it holds.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use super::{BackupError, Footer, Header, Reader};
use crate::store::collections::{self, installation};
use crate::store::record::decode;
use crate::store::{Key, Write};

/// What a sound backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// What it says of itself.
    pub header: Header,
    /// How it ends.
    pub footer: Footer,
    /// Its SHA-256, without the one at its end.
    pub sha256: [u8; 32],
    /// How many records of each collection there are once it is restored.
    pub collections: BTreeMap<String, u64>,
    /// The installation as of its last revision.
    pub installation: Option<installation::Installation>,
}

/// Reads all of it, twice: `open` gives the file from its beginning each time. The first time finds whether it is whole,
/// the second one what is in it.
///
/// # Errors
/// [`BackupError`] says what is wrong.
pub fn inspect<R: Read>(mut open: impl FnMut() -> std::io::Result<R>) -> Result<Summary, BackupError> {
    let mut whole = Reader::new(open()?)?;
    // Whether the keys that changed meanwhile are there at the end: all others are as the scan found them.
    let mut changed: HashMap<Key, bool> = HashMap::new();
    while let Some(entry) = whole.entry()? {
        if entry.change {
            changed.insert(entry.key, false);
        }
    }
    let first = whole.end().cloned().ok_or_else(|| BackupError::Damaged("it has no end".into()))?;

    let mut reader = Reader::new(open()?)?;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut found = None;
    while let Some(entry) = reader.entry()? {
        let there = match &entry.write {
            Write::Put { value, .. } => {
                collections::check(&entry.key, value)?;
                if entry.key == installation::key() {
                    found = Some(decode(&entry.key, value)?);
                }
                true
            }
            Write::Delete => false,
        };
        match changed.get_mut(&entry.key) {
            Some(state) => *state = there,
            None => count(&mut counts, &entry.key),
        }
    }
    for (key, _) in changed.iter().filter(|(_, there)| **there) {
        count(&mut counts, key);
    }
    let second = reader.end().cloned();
    if second.as_ref() != Some(&first) {
        return Err(BackupError::Damaged("it changed while it was read".into()));
    }
    let (footer, sha256) = first;
    Ok(Summary { header: reader.header().clone(), footer, sha256, collections: counts, installation: found })
}

fn count(counts: &mut BTreeMap<String, u64>, key: &Key) {
    match counts.get_mut(key.collection()) {
        Some(count) => *count += 1,
        None => drop(counts.insert(key.collection().to_owned(), 1)),
    }
}
