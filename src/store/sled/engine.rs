//! The open database: reading a snapshot, applying a commit, and making what was applied durable.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use super::super::{Commit, CommitError, Condition, Key, Page, Read, Revision, StoreError, Versioned, Write};
use super::acknowledged::Acknowledged;
use super::entry::{self, META_KEY, Meta};
use crate::model::time::Timestamp;

/// A page ends when it holds this many bytes of values…
const PAGE_BYTES: usize = 1024 * 1024;
/// …or when this many expired entries were passed over: the committer waits while a page is read.
const PAGE_SKIPPED: usize = 1000;

/// What readers see: the tree, and the last revision that was applied to it.
pub(super) struct View {
    tree: sled::Db,
    applied: Revision,
}

impl View {
    pub(super) fn get(&self, key: &Key, now: Timestamp) -> Result<Read, StoreError> {
        let stored = self.tree.get(entry::data_key(key.as_str())).map_err(unreadable)?;
        let value = stored.map(|stored| decode(key, &stored)).transpose()?.filter(|entry| entry.is_live(now));
        Ok(Read { at: self.applied, value })
    }

    pub(super) fn scan(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page, StoreError> {
        let all = entry::data_key(prefix);
        let start = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(entry::data_key(after.as_str())),
            _ => Bound::Included(all.clone()),
        };
        let mut page = Page { at: self.applied, items: Vec::new(), next: None };
        let (mut bytes, mut skipped) = (0, 0);
        let mut last = None;
        for item in self.tree.range((start, Bound::Unbounded)) {
            let (raw, stored) = item.map_err(unreadable)?;
            if !raw.starts_with(&all) {
                break;
            }
            if page.items.len() >= limit.max(1) || bytes >= PAGE_BYTES || skipped >= PAGE_SKIPPED {
                page.next = last;
                break;
            }
            let key = Key::new(entry::key_of_data(&raw).map_err(StoreError::Unavailable)?);
            let found = decode(&key, &stored)?;
            last = Some(key.clone());
            if found.is_live(now) {
                bytes += found.value.len();
                page.items.push((key, found));
            } else {
                skipped += 1;
            }
        }
        Ok(page)
    }
}

impl View {
    /// How many entries each collection holds, from the book-keeping.
    pub(super) fn counts(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let corrupt = |what| StoreError::Corrupt { key: "meta".into(), what };
        let stored = self.tree.get(META_KEY).map_err(unreadable)?;
        let stored = stored.ok_or_else(|| corrupt("the meta record is missing".into()))?;
        Ok(Meta::decode(&stored).map_err(corrupt)?.counts())
    }
}

fn decode(key: &Key, stored: &[u8]) -> Result<Versioned, StoreError> {
    entry::decode(key.as_str(), stored).map_err(|what| StoreError::Corrupt { key: key.to_string(), what })
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn unreadable(error: sled::Error) -> StoreError {
    StoreError::Unavailable(format!("reading failed: {error}"))
}

/// The committer's side of the database.
pub(super) struct Engine {
    db: sled::Db,
    meta: Meta,
    /// Our own handle to sled's file. It was opened before the first write, so that no error of writing back what was
    /// written can pass it by.
    file: File,
    acknowledged: Acknowledged,
}

impl Engine {
    pub(super) fn new(db: sled::Db, meta: Meta, file: File, acknowledged: Acknowledged) -> Self {
        Self { db, meta, file, acknowledged }
    }

    /// The last revision that was applied.
    pub(super) fn revision(&self) -> Revision {
        Revision(self.meta.revision)
    }

    /// What readers may see from now on.
    pub(super) fn view(&self) -> View {
        View { tree: self.db.clone(), applied: self.revision() }
    }

    /// Whether the commit's conditions hold: [`CommitError::Conflict`] if not.
    pub(super) fn judge(&self, commit: &Commit, now: Timestamp) -> Result<(), CommitError> {
        for (key, condition) in &commit.conditions {
            let stored = self.db.get(entry::data_key(key.as_str())).map_err(|error| unwritable(&error))?;
            let live = match stored {
                Some(stored) => {
                    let found = entry::decode(key.as_str(), &stored).map_err(CommitError::Unavailable)?;
                    found.is_live(now).then_some(found.revision)
                }
                None => None,
            };
            let holds = match condition {
                Condition::Absent => live.is_none(),
                Condition::At(revision) => live == Some(*revision),
            };
            if !holds {
                return Err(CommitError::Conflict);
            }
        }
        Ok(())
    }

    /// The deletions of at most `limit` entries that are due.
    pub(super) fn due(&self, limit: usize, now: Timestamp) -> Result<Vec<(Key, Write)>, CommitError> {
        let range = vec![entry::EXPIRY]..entry::due_until(now);
        let keys = self.db.range(range).keys().take(limit);
        keys.map(|raw| {
            let raw = raw.map_err(|error| unwritable(&error))?;
            Ok((entry::key_of_expiry(&raw).map_err(CommitError::Unavailable)?, Write::Delete))
        })
        .collect()
    }

    /// Applies the writes as one, with the book-keeping. They are not durable yet.
    pub(super) fn apply(
        &mut self,
        writes: &[(Key, Write)],
        view: &RwLock<Option<View>>,
    ) -> Result<Revision, CommitError> {
        let mut meta = self.meta.clone();
        meta.revision += 1;
        let revision = Revision(meta.revision);
        let mut batch = sled::Batch::default();
        for (key, write) in writes {
            let data_key = entry::data_key(key.as_str());
            if let Some(stored) = self.db.get(&data_key).map_err(|error| unwritable(&error))? {
                let (_, end, _) = entry::parts(key.as_str(), &stored).map_err(CommitError::Unavailable)?;
                meta.remove(key.as_str(), &stored);
                if let Some(end) = end {
                    meta.expiring = meta.expiring.wrapping_sub(1);
                    batch.remove(entry::expiry_key(end, key.as_str()));
                }
            }
            match write {
                Write::Put { value, expires_at } => {
                    let new = Versioned { value: value.clone(), revision, expires_at: *expires_at };
                    let stored = entry::encode(key.as_str(), &new);
                    meta.add(key.as_str(), &stored);
                    if let Some(end) = expires_at {
                        meta.expiring += 1;
                        batch.insert(entry::expiry_key(*end, key.as_str()), &[]);
                    }
                    batch.insert(data_key, stored);
                }
                Write::Delete => batch.remove(data_key),
            }
        }
        batch.insert(META_KEY, meta.encode());
        let mut view = view.write().unwrap_or_else(PoisonError::into_inner);
        self.db.apply_batch(batch).map_err(|error| CommitError::Unknown(error.to_string()))?;
        if let Some(view) = view.as_mut() {
            view.applied = revision;
        }
        drop(view);
        self.meta = meta;
        Ok(revision)
    }

    /// Returns once everything applied survives a power cut, and is recorded as acknowledged.
    pub(super) fn make_durable(&mut self) -> io::Result<()> {
        self.db.flush().map_err(|error| match error {
            sled::Error::Io(error) => error,
            other => io::Error::other(other),
        })?;
        self.file.sync_data()?;
        self.acknowledged.record(self.revision())
    }

    /// Forgets what the system believes of a file whose sync failed: after that its cache may differ from the disk.
    pub(super) fn distrust_cache(&self) {
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
    }
}

fn unwritable(error: &sled::Error) -> CommitError {
    CommitError::Unavailable(format!("reading failed: {error}"))
}
