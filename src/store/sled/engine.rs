//! The open database: reading a snapshot, applying a commit, and making what was applied durable.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use super::super::{
    Commit, CommitError, Condition, Key, MAX_COMMIT_ENTRIES, Page, Read, Revision, StoreError, Versioned, Write,
};
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
    group: Group,
}

/// Commits that are on their way into the tree, as one batch with the book-keeping: that is written once for all of them.
#[derive(Default)]
struct Group {
    batch: sled::Batch,
    /// What it makes of the tree's keys that hold entries; `None` where it deletes.
    entries: HashMap<Vec<u8>, Option<sled::IVec>>,
    writes: usize,
}

impl Engine {
    pub(super) fn new(db: sled::Db, meta: Meta, file: File, acknowledged: Acknowledged) -> Self {
        Self { db, meta, file, acknowledged, group: Group::default() }
    }

    /// The last revision that was given out.
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
            let live = match self.stored(&entry::data_key(key.as_str()))? {
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

    /// What is at a key of the tree, the group included.
    fn stored(&self, data_key: &[u8]) -> Result<Option<sled::IVec>, CommitError> {
        match self.group.entries.get(data_key) {
            Some(changed) => Ok(changed.clone()),
            None => self.db.get(data_key).map_err(|error| unwritable(&error)),
        }
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

    /// Adds a commit to the group; one that is full goes into the tree before. After an error the engine is not to be
    /// trusted any more.
    pub(super) fn add(
        &mut self,
        writes: &[(Key, Write)],
        view: &RwLock<Option<View>>,
    ) -> Result<Revision, CommitError> {
        // No larger than a single commit can be: see the bounds of the cache.
        if self.group.writes + writes.len() > MAX_COMMIT_ENTRIES {
            self.apply(view)?;
        }
        self.meta.revision += 1;
        let revision = self.revision();
        for (key, write) in writes {
            let data_key = entry::data_key(key.as_str());
            let before = self.stored(&data_key)?;
            let batch = &mut self.group.batch;
            if let Some(before) = before {
                let (_, end, _) = entry::parts(key.as_str(), &before).map_err(CommitError::Unavailable)?;
                self.meta.remove(key.as_str(), &before);
                if let Some(end) = end {
                    self.meta.expiring = self.meta.expiring.wrapping_sub(1);
                    batch.remove(entry::expiry_key(end, key.as_str()));
                }
            }
            let after = match write {
                Write::Put { value, expires_at } => {
                    let new = Versioned { value: value.clone(), revision, expires_at: *expires_at };
                    let stored = sled::IVec::from(entry::encode(key.as_str(), &new));
                    self.meta.add(key.as_str(), &stored);
                    if let Some(end) = expires_at {
                        self.meta.expiring += 1;
                        batch.insert(entry::expiry_key(*end, key.as_str()), &[]);
                    }
                    batch.insert(data_key.as_slice(), stored.clone());
                    Some(stored)
                }
                Write::Delete => {
                    batch.remove(data_key.as_slice());
                    None
                }
            };
            self.group.entries.insert(data_key, after);
        }
        self.group.writes += writes.len();
        Ok(revision)
    }

    /// Puts the group into the tree, with the book-keeping. It is not durable yet.
    pub(super) fn apply(&mut self, view: &RwLock<Option<View>>) -> Result<(), CommitError> {
        if self.group.writes == 0 {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.group).batch;
        batch.insert(META_KEY, self.meta.encode());
        let mut view = view.write().unwrap_or_else(PoisonError::into_inner);
        self.db.apply_batch(batch).map_err(|error| CommitError::Unknown(error.to_string()))?;
        if let Some(view) = view.as_mut() {
            view.applied = Revision(self.meta.revision);
        }
        Ok(())
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
