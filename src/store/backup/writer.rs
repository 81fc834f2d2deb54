//! Making a backup of a store that goes on working, piece by piece: whoever takes the pieces sets the pace.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use ring::digest::{Context, SHA256};
use tokio::time::timeout;

use super::{DELETED, END, FORMAT, Footer, Header, MAGIC, PUT, SCANNED};
use crate::model::time::Timestamp;
use crate::store::{Change, Changes, Event, Key, Page, Revision, Store, StoreError, Write};

/// How many entries a page asks for; the engine bounds its bytes.
const PAGE: usize = 1000;
/// How long the watch may take to pass the last page.
const CATCH_UP: Duration = Duration::from_secs(10);

/// A backup that is being made.
pub struct Backup {
    store: Arc<dyn Store>,
    watch: Box<dyn Changes>,
    digest: Context,
    next: Next,
    /// Everything up to here has been written down.
    reached: Revision,
    entries: u64,
    changes: u64,
}

enum Next {
    /// The beginning, and the first page, which was read before the watch began.
    First(Vec<u8>, Page),
    PageAfter(Key),
    /// Past the last page, which was read at this revision.
    CatchUp(Revision),
    Nothing,
}

impl Backup {
    /// Begins: the watch starts at the first page.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn begin(store: Arc<dyn Store>, header: &Header) -> Result<Self, StoreError> {
        let first = store.scan("", None, PAGE).await?;
        let watch = store.watch("", first.at).await?;
        let json = serde_json::to_string(header).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let head = format!("{MAGIC}{FORMAT}\n{json}\n").into_bytes();
        let reached = first.at;
        let digest = Context::new(&SHA256);
        Ok(Self { store, watch, digest, next: Next::First(head, first), reached, entries: 0, changes: 0 })
    }

    /// The next piece of the file, about a megabyte; `None` after the last.
    ///
    /// # Errors
    /// Those of the store, and when more changes came than it remembers since the last piece was taken. What was written
    /// so far is then no backup, and says so by lacking its end.
    pub async fn piece(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut out = Vec::new();
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Nothing => return Ok(None),
            Next::First(head, page) => {
                out = head;
                self.page(page, &mut out);
            }
            Next::PageAfter(after) => {
                // Changes on the way, so that the store need not remember them until the end.
                while let Some(event) = self.watch.next().now_or_never() {
                    self.event(event, &mut out)?;
                }
                let page = self.store.scan("", Some(&after), PAGE).await?;
                self.page(page, &mut out);
            }
            Next::CatchUp(last) => {
                let late = |_| StoreError::Unavailable("its changes do not arrive".into());
                timeout(CATCH_UP, self.catch_up(last, &mut out)).await.map_err(late)??;
                self.end(&mut out)?;
                return Ok(Some(out));
            }
        }
        self.digest.update(&out);
        Ok(Some(out))
    }

    fn page(&mut self, page: Page, out: &mut Vec<u8>) {
        for (key, found) in page.items {
            put(out, SCANNED, found.revision, found.expires_at, &key, &found.value);
            self.entries += 1;
        }
        self.next = page.next.map_or(Next::CatchUp(page.at), Next::PageAfter);
    }

    async fn catch_up(&mut self, last: Revision, out: &mut Vec<u8>) -> Result<(), StoreError> {
        while self.reached < last {
            let event = self.watch.next().await;
            self.event(event, out)?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event, out: &mut Vec<u8>) -> Result<(), StoreError> {
        match event {
            Event::Changes { revision, changes } => {
                for Change { key, write } in changes {
                    match write {
                        Write::Put { value, expires_at } => put(out, PUT, revision, expires_at, &key, &value),
                        Write::Delete => {
                            out.push(DELETED);
                            out.extend_from_slice(&revision.0.to_be_bytes());
                            text(out, &key);
                        }
                    }
                    self.changes += 1;
                }
                self.reached = revision;
            }
            Event::UpTo(revision) => self.reached = self.reached.max(revision),
            Event::Lost => {
                return Err(StoreError::Unavailable("more changes came than a backup this slow can follow".into()));
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let footer = Footer { revision: self.reached.0, entries: self.entries, changes: self.changes };
        let json = serde_json::to_vec(&footer).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        out.push(END);
        out.extend_from_slice(&length(json.len()).to_be_bytes());
        out.extend_from_slice(&json);
        self.digest.update(out);
        out.extend_from_slice(self.digest.clone().finish().as_ref());
        Ok(())
    }
}

fn put(out: &mut Vec<u8>, kind: u8, revision: Revision, expires_at: Option<Timestamp>, key: &Key, value: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&revision.0.to_be_bytes());
    out.push(u8::from(expires_at.is_some()));
    out.extend_from_slice(&expires_at.unwrap_or_default().millis().to_be_bytes());
    text(out, key);
    out.extend_from_slice(&length(value.len()).to_be_bytes());
    out.extend_from_slice(value);
}

/// A key; the store's limits keep it far below what two bytes can say.
fn text(out: &mut Vec<u8>, key: &Key) {
    let bytes = key.as_str().as_bytes();
    out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// A length; the store's limits keep it far below what four bytes can say.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
