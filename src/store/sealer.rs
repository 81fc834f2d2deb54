//! Seals the audit trail: follows its entries in the order of their commits and names them in a chain of seals
//! ([`crate::audit::seal`]). Apart from the changes themselves, so that no change waits for the chain's head.
//!
//! Several may run on one store: each seal is conditional on the head, so that the chain never forks, and whoever loses
//! leaves out what the winner has sealed. After a restart, or when changes were missed, what a crash left unsealed is
//! found among the entries since shortly before the last seal.
//!
//! [`retire`] takes the oldest seals away together with their entries, one commit each, and keeps the hash of the last
//! one gone, so that the rest still verifies.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::collections::audit::{self, Mark};
use super::progress::Backoff;
use super::tx::{Audited, Tx, TxError};
use super::{Changes, CommitError, Event, Key, Revision, Store, StoreError, Write};
use crate::ambient::Ambient;
use crate::audit::seal::{Digest, Link, MAX_SEALED, Seal, Sealed};
use crate::model::time::Timestamp;

/// How long entries are gathered before they are sealed.
const GATHER: Duration = Duration::from_millis(250);
/// How far before the last seal unsealed entries are looked for after a restart: longer than any change takes to be
/// committed, and than clocks are apart.
const LOOK_BACK: Duration = Duration::from_hours(1);
/// The same when changes were missed while running.
const LOOK_BACK_RUNNING: Duration = Duration::from_mins(5);
/// How many entries a page of that search has.
const PAGE: usize = 500;
/// How often the age of the oldest seals is looked at.
const RETIRE_EVERY: Duration = Duration::from_mins(10);
/// How many seals are retired at most before others get a turn.
const RETIRED_AT_ONCE: usize = 100;

/// Why following stopped.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    /// Changes were missed: look for them.
    #[error("changes were missed")]
    Lost,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A write failed.
    #[error(transparent)]
    Write(#[from] TxError),
    /// The chain cannot be continued without hiding what happened to it.
    #[error("the chain's head is missing or older than it was; `edi audit verify` says more")]
    Damaged,
}

/// Seals for good.
pub async fn keep_sealing(store: Arc<dyn Store>, ambient: Ambient) {
    let mut backoff = Backoff::new();
    let mut look_back = LOOK_BACK;
    loop {
        let started = Instant::now();
        let stopped = match seal_on(&*store, &ambient, look_back).await {
            Ok(never) => match never {},
            Err(stopped) => stopped,
        };
        match stopped {
            Stopped::Lost => {
                look_back = LOOK_BACK_RUNNING;
                tracing::info!("the audit trail's sealer missed changes; looking for them");
            }
            // Known to whoever watches the store's health; no write of anybody else succeeds now either.
            Stopped::Write(TxError::Commit(CommitError::Unavailable(_)))
            | Stopped::Store(StoreError::Unavailable(_)) => {}
            error @ Stopped::Damaged => tracing::error!(target: "edi::audit", %error, "the audit trail is not sealed"),
            error => tracing::warn!(target: "edi::audit", %error, "the audit trail cannot be sealed at present"),
        }
        if started.elapsed() > Duration::from_mins(1) {
            backoff = Backoff::new();
        }
        backoff.wait().await;
    }
}

/// Retires for good what is older than `keep`.
pub async fn keep_retiring(store: Arc<dyn Store>, ambient: Ambient, keep: Duration) {
    loop {
        loop {
            match retire(&*store, ambient.now().minus(keep), RETIRED_AT_ONCE).await {
                Ok(count) if count == RETIRED_AT_ONCE => tokio::task::yield_now().await,
                Ok(_) | Err(TxError::Commit(CommitError::Unavailable(_))) => break,
                Err(error) => {
                    tracing::warn!(target: "edi::audit", %error, "old audit entries cannot be retired at present");
                    break;
                }
            }
        }
        tokio::time::sleep(RETIRE_EVERY).await;
    }
}

/// Entries that wait for their seal, in the order of their commits.
#[derive(Default)]
struct Waiting {
    entries: BTreeMap<(Revision, Key), Digest>,
    /// What others have sealed before the watch told of it here.
    ahead: HashSet<Key>,
}

impl Waiting {
    fn add(&mut self, revision: Revision, key: Key, value: &[u8]) {
        if !self.ahead.remove(&key) {
            self.entries.insert((revision, key), Digest::of(value));
        }
    }

    /// The next ones, as many as a seal takes, up to this revision.
    fn next(&self, up_to: Revision) -> Vec<Sealed> {
        let known = self.entries.iter().take_while(|((revision, _), _)| *revision <= up_to);
        known
            .take(MAX_SEALED)
            .map(|((_, key), sha256)| Sealed { id: audit::id(key).to_owned(), sha256: *sha256 })
            .collect()
    }

    /// Leaves out what a seal of somebody else's names.
    fn leave_out(&mut self, seal: &Seal) {
        let mut named: HashSet<Key> = seal.entries.iter().map(|sealed| audit::key(&sealed.id)).collect();
        self.entries.retain(|(_, key), _| !named.remove(key));
        self.ahead.extend(named);
    }

    /// Leaves out the first ones.
    fn remove_first(&mut self, count: usize) {
        for _ in 0..count {
            self.entries.pop_first();
        }
    }
}

/// Follows the trail and seals it until it cannot.
async fn seal_on(store: &dyn Store, ambient: &Ambient, look_back: Duration) -> Result<Infallible, Stopped> {
    let mut sealer = Sealer::open(store, ambient, look_back).await?;
    let mut due: Option<Instant> = None;
    loop {
        let event = match due {
            None => sealer.watch.next().await,
            Some(at) => tokio::select! {
                event = sealer.watch.next() => event,
                () = sleep_until(at) => {
                    sealer.seal().await?;
                    due = None;
                    continue;
                }
            },
        };
        sealer.take(event)?;
        if sealer.waiting.entries.len() >= MAX_SEALED && sealer.knows_all() {
            sealer.seal().await?;
        }
        due = (!sealer.waiting.entries.is_empty()).then(|| due.unwrap_or_else(|| Instant::now() + GATHER));
    }
}

struct Sealer<'s> {
    store: &'s dyn Store,
    ambient: &'s Ambient,
    /// The last link known, with when it was made.
    head: Option<Mark>,
    waiting: Waiting,
    watch: Box<dyn Changes>,
    /// Everything up to here that was written after the search began is known.
    known: Revision,
    /// The revision of the search's last page.
    searched: Revision,
}

impl<'s> Sealer<'s> {
    /// Finds what is unsealed, and the watch that continues from there.
    async fn open(store: &'s dyn Store, ambient: &'s Ambient, look_back: Duration) -> Result<Self, Stopped> {
        let head = audit::mark(store, &audit::head_key()).await?.map(|(mark, _)| mark);
        if head.is_none() && !store.scan(audit::SEALS, None, 1).await?.items.is_empty() {
            return Err(Stopped::Damaged);
        }
        let from = head.map(|mark| mark.at.minus(look_back));
        let mut found: HashMap<Key, (Revision, Digest)> = HashMap::new();
        let mut after = from.map(audit::before);
        let mut page = store.scan(audit::PREFIX, after.as_ref(), PAGE).await?;
        let first = page.at;
        let watch = store.watch(audit::PREFIX, first).await?;
        let searched = loop {
            for (key, entry) in page.items {
                found.insert(key, (entry.revision, Digest::of(&entry.value)));
            }
            let Some(next) = page.next else { break page.at };
            after = Some(next);
            page = store.scan(audit::PREFIX, after.as_ref(), PAGE).await?;
        };
        leave_out_what_is_sealed(store, &mut found, head, from).await?;
        let entries = found.into_iter().map(|(key, (revision, digest))| ((revision, key), digest)).collect();
        Ok(Self {
            store,
            ambient,
            head,
            waiting: Waiting { entries, ahead: HashSet::new() },
            watch,
            known: first,
            searched,
        })
    }

    fn take(&mut self, event: Event) -> Result<(), Stopped> {
        match event {
            Event::Lost => return Err(Stopped::Lost),
            Event::UpTo(revision) => self.known = self.known.max(revision),
            Event::Changes { revision, changes } => {
                for change in changes {
                    if let Write::Put { value, .. } = change.write {
                        self.waiting.add(revision, change.key, &value);
                    }
                }
                self.known = revision;
            }
        }
        Ok(())
    }

    /// Whether the watch has passed the search, so that nothing older than what is known can turn up.
    fn knows_all(&self) -> bool {
        self.known >= self.searched
    }

    /// Seals all that is known.
    async fn seal(&mut self) -> Result<(), Stopped> {
        while self.knows_all() {
            let entries = self.waiting.next(self.known);
            if entries.is_empty() {
                break;
            }
            let mut tx = Tx::new(self.store);
            let there = tx.get::<Mark>(&audit::head_key()).await?.map(|(mark, _)| mark);
            if there != self.head {
                self.catch_up(there).await?;
                continue;
            }
            let prev = there.map_or(Link::START, |mark| mark.link);
            // Never before the seal before, so that seals can be searched by time.
            let at = there.map_or(self.ambient.now(), |mark| mark.at.max(self.ambient.now()));
            let seal = Seal::after(prev, at, entries);
            let head = Mark { link: seal.link(), at };
            tx.put(&audit::seal_key(seal.seq), &seal, None)?;
            tx.put(&audit::head_key(), &head, None)?;
            match tx.commit(Audited::not_a_change("it seals what was told")).await {
                Ok(_) => {
                    crate::audit::sealed(&seal);
                    self.waiting.remove_first(seal.entries.len());
                    self.head = Some(head);
                }
                // Another replica was first: what it sealed is left out above.
                Err(TxError::Commit(CommitError::Conflict)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Leaves out what others have sealed since.
    async fn catch_up(&mut self, there: Option<Mark>) -> Result<(), Stopped> {
        let known = self.head.map_or(0, |mark| mark.link.seq);
        let now = there.map_or(0, |mark| mark.link.seq);
        if now < known {
            return Err(Stopped::Damaged);
        }
        for seq in known + 1..=now {
            if let Some(seal) = audit::seal(self.store, seq).await? {
                self.waiting.leave_out(&seal);
            }
        }
        self.head = there;
        Ok(())
    }
}

/// Goes through the seals newest first, as far back as they can name what was found, which is no older than `from`.
async fn leave_out_what_is_sealed(
    store: &dyn Store,
    found: &mut HashMap<Key, (Revision, Digest)>,
    head: Option<Mark>,
    from: Option<Timestamp>,
) -> Result<(), Stopped> {
    let mut seq = head.map_or(0, |mark| mark.link.seq);
    while seq > 0 && !found.is_empty() {
        let Some(seal) = audit::seal(store, seq).await? else { break };
        for sealed in &seal.entries {
            found.remove(&audit::key(&sealed.id));
        }
        if from.is_some_and(|from| seal.at < from) {
            break;
        }
        seq -= 1;
    }
    Ok(())
}

/// Takes the oldest seals away that were made before `before`, with their entries, at most `limit`. Says how many. The
/// newest one stays.
///
/// # Errors
/// Those of the store.
pub async fn retire(store: &dyn Store, before: Timestamp, limit: usize) -> Result<usize, TxError> {
    let head = audit::mark(store, &audit::head_key()).await?.map_or(0, |(mark, _)| mark.link.seq);
    let mut last = None;
    for count in 0..limit {
        let mut tx = Tx::new(store);
        let anchor = tx.get::<Mark>(&audit::anchor_key()).await?.map_or(Link::START, |(mark, _)| mark.link);
        let oldest = anchor.seq.saturating_add(1);
        let seal = if oldest < head { tx.get::<Seal>(&audit::seal_key(oldest)).await? } else { None };
        let Some((seal, _)) = seal.filter(|(seal, _)| seal.at < before) else {
            last.into_iter().for_each(crate::audit::retired);
            return Ok(count);
        };
        tx.put(&audit::anchor_key(), &Mark { link: seal.link(), at: seal.at }, None)?;
        tx.delete(&audit::seal_key(seal.seq));
        for sealed in &seal.entries {
            tx.delete(&audit::key(&sealed.id));
        }
        match tx.commit(Audited::not_a_change("what is too old to be kept goes, as configured")).await {
            Ok(_) => last = Some(seal.link()),
            // Another replica retires as well: it gets on with it.
            Err(TxError::Commit(CommitError::Conflict)) => return Ok(count),
            Err(error) => return Err(error),
        }
    }
    last.into_iter().for_each(crate::audit::retired);
    Ok(limit)
}

#[cfg(test)]
mod tests;
