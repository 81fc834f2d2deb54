//! The open database: reading a snapshot, applying a commit, and making what was applied durable.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use super::super::{Commit, CommitError, Condition, Key, Page, Read, Revision, StoreError, Versioned, Write};
use super::acknowledged::Acknowledged;
use super::entry::{self, META_KEY, Meta};
use super::journal::Journal;
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
    journal: Journal,
    acknowledged: Acknowledged,
    group: Group,
}

/// Commits that are in the journal's record and not in the tree yet.
#[derive(Default)]
struct Group {
    /// What the tree is at.
    before: Revision,
    /// What it makes of the tree's keys; `None` where it deletes. In their order: the tree finds neighbours faster.
    changes: BTreeMap<Vec<u8>, Option<sled::IVec>>,
}

impl Group {
    fn at(before: Revision) -> Self {
        Self { before, changes: BTreeMap::new() }
    }
}

impl Engine {
    pub(super) fn new(db: sled::Db, meta: Meta, file: File, journal: Journal, acknowledged: Acknowledged) -> Self {
        let group = Group::at(Revision(meta.revision));
        Self { db, meta, file, journal, acknowledged, group }
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
        match self.group.changes.get(data_key) {
            Some(changed) => Ok(changed.clone()),
            None => self.db.get(data_key).map_err(|error| unwritable(&error)),
        }
    }

    /// Whether commits were added since the last [`Self::make_durable`].
    pub(super) fn has_group(&self) -> bool {
        !self.group.changes.is_empty()
    }

    /// The deletions of at most `limit` entries that are due. It looks into the tree, where the group is not.
    pub(super) fn due(&self, limit: usize, now: Timestamp) -> Result<Vec<(Key, Write)>, CommitError> {
        let range = vec![entry::EXPIRY]..entry::due_until(now);
        let keys = self.db.range(range).keys().take(limit);
        keys.map(|raw| {
            let raw = raw.map_err(|error| unwritable(&error))?;
            Ok((entry::key_of_expiry(&raw).map_err(CommitError::Unavailable)?, Write::Delete))
        })
        .collect()
    }

    /// Adds a commit to the group. After an error the engine is not to be trusted any more.
    pub(super) fn add(&mut self, writes: &[(Key, Write)]) -> Result<Revision, CommitError> {
        self.meta.revision += 1;
        let revision = self.revision();
        for (key, write) in writes {
            let data_key = entry::data_key(key.as_str());
            if let Some(before) = self.stored(&data_key)? {
                let (_, end, _) = entry::parts(key.as_str(), &before).map_err(CommitError::Unavailable)?;
                self.meta.remove(key.as_str(), &before);
                if let Some(end) = end {
                    self.meta.expiring = self.meta.expiring.wrapping_sub(1);
                    self.change(entry::expiry_key(end, key.as_str()), None);
                }
            }
            let after = match write {
                Write::Put { value, expires_at } => {
                    let stored = sled::IVec::from(entry::encode(key.as_str(), revision, *expires_at, value));
                    self.meta.add(key.as_str(), &stored);
                    if let Some(end) = expires_at {
                        self.meta.expiring += 1;
                        self.change(entry::expiry_key(*end, key.as_str()), Some(sled::IVec::default()));
                    }
                    Some(stored)
                }
                Write::Delete => None,
            };
            self.change(data_key, after);
        }
        Ok(revision)
    }

    fn change(&mut self, key: Vec<u8>, after: Option<sled::IVec>) {
        match &after {
            Some(stored) => self.journal.put(&key, stored),
            None => self.journal.delete(&key),
        }
        self.group.changes.insert(key, after);
    }

    /// Returns once the group survives a power cut and is in the tree, with the book-keeping. First the one and then the
    /// other: sled may write what it holds at any time, and half of a group that is not in the journal would stay half.
    pub(super) fn make_durable(&mut self, view: &RwLock<Option<View>>) -> io::Result<()> {
        let revision = self.revision();
        let Group { before, changes } = std::mem::replace(&mut self.group, Group::at(revision));
        let meta = self.meta.encode();
        self.journal.put(META_KEY, &meta);
        self.journal.end_record(before, revision);
        if !self.journal.has_room() {
            self.checkpoint(before)?;
        }
        self.journal.make_durable()?;
        self.acknowledged.note(revision)?;
        let mut view = view.write().unwrap_or_else(PoisonError::into_inner);
        for (key, after) in changes {
            match after {
                Some(stored) => self.db.insert(key, stored),
                None => self.db.remove(key),
            }
            .map_err(into_io)?;
        }
        // Last: with it, all of the group is there.
        self.db.insert(META_KEY, meta).map_err(into_io)?;
        if let Some(view) = view.as_mut() {
            view.applied = revision;
        }
        Ok(())
    }

    /// Makes everything in the tree durable in sled's own file, records it as acknowledged and begins the journal anew.
    fn checkpoint(&mut self, revision: Revision) -> io::Result<()> {
        self.db.flush().map_err(into_io)?;
        self.file.sync_data()?;
        self.acknowledged.record(revision)?;
        self.journal.begin_anew();
        Ok(())
    }

    /// The same when nothing is under way: after opening, and before closing.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        self.checkpoint(self.group.before)
    }

    /// Forgets what the system believes of files whose sync failed: after that its cache may differ from the disk.
    pub(super) fn distrust_cache(&self) {
        #[cfg(target_os = "linux")]
        for file in [&self.file, self.journal.file()] {
            let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }
}

fn unwritable(error: &sled::Error) -> CommitError {
    CommitError::Unavailable(format!("reading failed: {error}"))
}

fn into_io(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}
