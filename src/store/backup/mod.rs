//! A backup: everything a store holds at one revision, in one file, whatever the engine.
//!
//! It is a scan and a log. [`Backup`] reads page after page while the store goes on taking commits, and writes down every
//! change since the first page until it is past the last one. Replayed in order, that is exactly the store at one
//! revision: an entry that changed after its page was read is mended by the change that follows, one that changed
//! before is in the page as it was left. [`Reader`] gives the file back entry by entry; [`inspect`] judges it whole.
//! Values are copied as they are: what is sealed stays sealed. Memory is bounded on both sides.
//!
//! ```text
//! edi-backup 1 LF
//! header, JSON in one line (Header) LF
//! e revision(8) has an end(1) end in ms(8) length(2) key length(4) value     an entry of the scan
//! p revision(8) has an end(1) end in ms(8) length(2) key length(4) value     a later put
//! d revision(8)                            length(2) key                     a later deletion
//! z length(4) footer, JSON (Footer)
//! SHA-256 of all of the above (32)
//! ```
//! Numbers are big-endian. Knows nothing of engines, of HTTP, or of where the file lies.

mod inspect;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

use std::io;

use serde::{Deserialize, Serialize};

pub use inspect::{Summary, inspect};
pub use reader::Reader;
pub use writer::Backup;

use super::{Key, Revision, Write};
use crate::model::time::{self, Timestamp};

/// The version of the layout above.
pub const FORMAT: u32 = 1;
/// The first line up to the version.
const MAGIC: &str = "edi-backup ";
const SCANNED: u8 = b'e';
const PUT: u8 = b'p';
const DELETED: u8 = b'd';
const END: u8 = b'z';

/// What a backup is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of edi that made it.
    pub edi: String,
    /// When.
    #[serde(with = "time::rfc3339")]
    pub created_at: Timestamp,
    /// The issuer it served at that time.
    pub issuer: String,
    /// Which installation: [`Installation::id`](super::collections::installation::Installation::id).
    pub installation: String,
    /// The master key that sealed it when the backup began.
    pub master_key_id: String,
}

/// How a backup ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// The revision at which it is the store's state.
    pub revision: u64,
    /// Entries of the scan.
    pub entries: u64,
    /// Changes written down since.
    pub changes: u64,
}

/// One entry of a backup: put it, or take it away, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub key: Key,
    /// What.
    pub write: Write,
    /// The revision of that put or deletion.
    pub revision: Revision,
    /// Whether it was written down as a change, and not read by the scan.
    pub change: bool,
}

/// Why a file is not used as a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is something else.
    #[error("it is no backup of edi's")]
    Foreign,
    /// A newer edi made it.
    #[error("it was made by a newer version of edi (backup format {0}); upgrade edi")]
    Newer(u32),
    /// It is not what was written.
    #[error("it is damaged: {0}; use another backup")]
    Damaged(String),
    /// A record in it cannot be used.
    #[error(transparent)]
    Record(#[from] super::StoreError),
    /// The file system refused something.
    #[error("it cannot be read: {0}")]
    Io(io::Error),
}

impl From<io::Error> for BackupError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged("it is cut short".into()),
            _ => Self::Io(error),
        }
    }
}
