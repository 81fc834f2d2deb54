//! The store's contract: an ordered key-value store with revisions. A backend is a page of code ([`memory`], [`sled`]);
//! everything typed is written once above it ([`record`], [`tx`], [`mirror`], [`cache`]).
//!
//! # What every backend promises
//! - Revisions are store-wide, strictly increasing and never reused, restarts and power cuts included. A commit has
//!   one, shared by its writes; a value carries the revision of its last put.
//! - [`Store::get`] and each page of [`Store::scan`] name the revision they were read at. One page is a snapshot,
//!   successive pages are not.
//! - Reads may see a commit before it is durable. [`Store::commit`] and [`Store::watch`] never report one that is not.
//! - A commit is all or nothing and returns once its writes survive a power cut.
//! - Expiry is a stored instant judged by the clock the backend was opened with: reads hide an expired value, the
//!   condition "absent" accepts it, "at revision" does not, and only [`Store::sweep`] deletes.
//! - After a write or sync error the engine takes no writes and never retries a sync: once something can be written
//!   again it reopens and checks itself, and watches are [`Event::Lost`]. Until then reads go on where they can, and
//!   watches too: who alone writes misses nothing.
//!
//! Knows nothing of HTTP, OAuth, or what the values mean.

pub mod backup;
pub mod cache;
mod changelog;
pub mod collections;
#[cfg(test)]
pub mod conformance;
pub mod measured;
pub mod memory;
pub mod mirror;
mod progress;
pub mod record;
pub mod sealer;
pub mod sled;
pub mod trail;
pub mod tx;

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;

use self::mirror::Early;
use crate::model::time::Timestamp;

/// The most conditions, and the most writes, of one commit.
pub const MAX_COMMIT_ENTRIES: usize = 100;
/// The largest value, in bytes.
pub const MAX_VALUE: usize = 64 * 1024;
/// The most bytes of keys and values in one commit.
pub const MAX_COMMIT_BYTES: usize = 1024 * 1024;
/// The longest key, in bytes.
pub const MAX_KEY: usize = 512;
/// How many changes an embedded engine keeps for watchers that lag.
pub const KEPT_CHANGES: usize = 10_000;

/// A key: a path such as `client/fraud-caller`. Its first segment names the collection. Ordered by bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<str>);

impl Key {
    /// From text of at most [`MAX_KEY`] bytes; a longer one is refused by the commit that uses it.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first segment.
    #[must_use]
    pub fn collection(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A store-wide revision. Zero is before the first commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A live value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// What was put.
    pub value: Vec<u8>,
    /// The revision of that put.
    pub revision: Revision,
    /// When it expires, if ever.
    pub expires_at: Option<Timestamp>,
}

impl Versioned {
    /// Whether it has not expired at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// The answer of [`Store::get`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The revision read at.
    pub at: Revision,
    /// The value, unless absent or expired.
    pub value: Option<Versioned>,
}

/// One page of a scan: a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The revision read at.
    pub at: Revision,
    /// Live entries in key order.
    pub items: Vec<(Key, Versioned)>,
    /// Where the next page starts (pass it as `after`); `None` when this was the last. It may name a key that holds
    /// no live value.
    pub next: Option<Key>,
}

/// What must hold for a commit to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The key holds a live value that was put at this revision.
    At(Revision),
    /// The key holds no live value.
    Absent,
}

/// One write of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Store this value.
    Put {
        /// At most [`MAX_VALUE`] bytes.
        value: Vec<u8>,
        /// When it expires, if ever.
        expires_at: Option<Timestamp>,
    },
    /// Remove whatever is there; removing nothing is no error.
    Delete,
}

/// Conditions and writes that happen together or not at all. Each key once among the conditions, once among the writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// What must hold.
    pub conditions: Vec<(Key, Condition)>,
    /// What is written.
    pub writes: Vec<(Key, Write)>,
}

impl Commit {
    /// Checks the limits every backend keeps.
    ///
    /// # Errors
    /// [`CommitError::Invalid`] naming the limit that is broken. An empty list of writes is one of them.
    pub fn check(&self) -> Result<(), CommitError> {
        let twice = |keys: &mut Vec<&Key>| {
            keys.sort_unstable();
            keys.windows(2).any(|pair| pair.first() == pair.last())
        };
        let bytes: usize = self
            .writes
            .iter()
            .map(|(key, write)| key.as_str().len() + if let Write::Put { value, .. } = write { value.len() } else { 0 })
            .sum();
        let too_big = |(_, write): &(Key, Write)| matches!(write, Write::Put { value, .. } if value.len() > MAX_VALUE);
        let problem = if self.writes.is_empty() {
            "a commit writes something"
        } else if self.conditions.len() > MAX_COMMIT_ENTRIES || self.writes.len() > MAX_COMMIT_ENTRIES {
            "a commit has at most 100 conditions and 100 writes"
        } else if self.writes.iter().any(too_big) {
            "a value has at most 64 KiB"
        } else if bytes > MAX_COMMIT_BYTES {
            "a commit has at most 1 MiB"
        } else if self.keys().any(|key| key.as_str().is_empty() || key.as_str().len() > MAX_KEY) {
            "a key has 1 to 512 bytes"
        } else if twice(&mut self.conditions.iter().map(|(key, _)| key).collect())
            || twice(&mut self.writes.iter().map(|(key, _)| key).collect())
        {
            "a commit names each key once"
        } else {
            return Ok(());
        };
        Err(CommitError::Invalid(problem))
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.conditions.iter().map(|(key, _)| key).chain(self.writes.iter().map(|(key, _)| key))
    }
}

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The engine does not answer.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// A value fails its checksum or does not parse.
    #[error("the store holds a damaged record at {key}: {what}")]
    Corrupt {
        /// Where.
        key: String,
        /// What is wrong with it; never its content.
        what: String,
    },
    /// A value was written by a newer edi.
    #[error("the record at {key} was written by a newer version of edi (format {found}); upgrade edi")]
    Newer {
        /// Where.
        key: String,
        /// The version found.
        found: u32,
    },
}

/// Why a commit failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A condition did not hold; nothing was written.
    #[error("the store changed meanwhile")]
    Conflict,
    /// It may or may not have been written (time-out, I/O error): read again.
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(String),
    /// The engine takes no writes; nothing was written.
    #[error("the store takes no writes: {0}")]
    Unavailable(String),
    /// There is no room for this one; nothing was written. [`Store::commit_urgent`] may still pass.
    #[error("{0}")]
    Full(String),
    /// The commit breaks a limit; nothing was written.
    #[error("{0}")]
    Invalid(&'static str),
}

/// One change as a watcher sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub key: Key,
    /// What happened.
    pub write: Write,
}

/// What a watch reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The changes of one commit that concern the watched prefix, together. Commits come in order.
    Changes {
        /// The commit's revision.
        revision: Revision,
        /// At least one change.
        changes: Vec<Change>,
    },
    /// Everything durable up to this revision has been reported. Comes at least every 500 ms while the engine answers.
    UpTo(Revision),
    /// Changes were missed (the watcher lagged, the engine was reopened): scan again. Nothing comes after it.
    Lost,
}

/// An ordered stream of changes.
#[async_trait]
pub trait Changes: Send {
    /// The next event. Waits while the engine does not answer. Cancel-safe.
    async fn next(&mut self) -> Event;
}

/// How the engine is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Reads and writes work.
    Writable,
    /// The disk is full, in these words. Reads work; [`Store::commit_urgent`] passes as long as the room kept for it
    /// lasts, and no other write. The engine writes again by itself once there is room.
    Full(String),
    /// Reads work, writes do not, for this reason; the engine tries to reopen.
    ReadOnly(String),
    /// Nothing works, for this reason; the engine tries to reopen.
    Down(String),
}

/// What a store holds, for people who look after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// How many entries each collection holds; expired ones count until they are swept.
    pub entries: BTreeMap<String, u64>,
    /// The room on disk, of an engine that takes any.
    pub room: Option<Room>,
}

/// Room on disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What the store's files take.
    pub used: u64,
    /// What is left to it.
    pub free: u64,
}

/// The contract; see the module's page for what it promises.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The live value at `key`.
    async fn get(&self, key: &Key) -> Result<Read, StoreError>;

    /// At most `limit` live entries whose key starts with `prefix`, in order, after the key `after`. A page may hold
    /// fewer and still not be the last: [`Page::next`] tells. A `limit` of zero counts as one.
    async fn scan(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError>;

    /// Writes all or nothing; returns once the writes survive a power cut.
    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError>;

    /// The same for what takes rights away (revoking, disabling, deleting): an engine that keeps room for a full disk
    /// lets it have that.
    async fn commit_urgent(&self, commit: Commit) -> Result<Revision, CommitError> {
        self.commit(commit).await
    }

    /// Every durable commit after `after` that touches a key with this prefix. A watch that starts too far back is
    /// [`Event::Lost`] at once.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Changes>, StoreError>;

    /// Deletes at most `limit` expired values (and at most [`MAX_COMMIT_ENTRIES`]), in one commit that watchers see;
    /// says how many. Zero: nothing is due.
    async fn sweep(&self, limit: usize) -> Result<usize, CommitError>;

    /// The state of this prefix that was folded while the engine opened, once, if it was asked for then.
    fn take_early(&self, _prefix: &str) -> Option<Early> {
        None
    }

    /// How the engine is doing, without asking it.
    fn health(&self) -> Health;

    /// What it holds. An engine on disk knows it from its book-keeping; nothing is counted.
    async fn figures(&self) -> Result<Figures, StoreError>;

    /// Makes everything durable, stops the engine and frees its files. Later calls are refused.
    async fn close(&self);
}
