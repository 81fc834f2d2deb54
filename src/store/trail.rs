//! Reading the audit trail: newest first, and verifying it. Each call does a bounded amount of work and says where the
//! next one goes on, however long the trail is.

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::collections::audit::{self, Mark};
use super::{Key, Store, StoreError};
use crate::audit::Entry;
use crate::audit::seal::{Digest, Link, Seal};
use crate::model::time::Timestamp;

/// How many entries one call looks at when it searches.
const LOOKED_AT: usize = 10_000;
/// How many entries a page of that has.
const PAGE: usize = 500;
/// The first stretch of time that is read backwards.
const FIRST_STRETCH: Duration = Duration::from_mins(10);
/// The most entries of a stretch; a fuller one is read in parts.
const STRETCH: usize = 2_000;
/// How many seals one call verifies.
const SEALS_AT_ONCE: u64 = 20;
/// How many seals are searched for the entries of one page.
const SEARCHED: u64 = 2_000;
/// How long an entry may wait for its seal.
const SEALED_WITHIN: Duration = Duration::from_mins(1);
/// How far clocks may be apart.
const SKEW: Duration = Duration::from_mins(2);

/// Entries that were found, and the key to go on from, unless that was all.
pub type Found = (Vec<(Key, Entry)>, Option<Key>);

/// The next entries after a key, up to an instant, that a rule holds for.
///
/// # Errors
/// Those of the store.
pub async fn oldest_first(
    store: &dyn Store,
    after: Option<&Key>,
    until: Option<Timestamp>,
    limit: usize,
    fits: impl Fn(&Entry) -> bool,
) -> Result<Found, StoreError> {
    let end = until.map(audit::before);
    let mut found = Vec::new();
    let mut after = after.cloned();
    let mut looked_at = 0;
    loop {
        let (entries, next) = audit::list(store, after.as_ref(), PAGE).await?;
        for (key, entry) in entries {
            if end.as_ref().is_some_and(|end| key >= *end) {
                return Ok((found, None));
            }
            looked_at += 1;
            if fits(&entry) {
                found.push((key.clone(), entry));
                if found.len() == limit {
                    return Ok((found, Some(key)));
                }
            }
        }
        after = next;
        if after.is_none() || looked_at >= LOOKED_AT {
            return Ok((found, after));
        }
    }
}

/// The last entries before a key, down to an instant, that a rule holds for: newest first. The store only reads
/// forwards, so it goes back by stretches of time: longer ones where there is little, shorter ones where there is much.
///
/// # Errors
/// Those of the store.
pub async fn newest_first(
    store: &dyn Store,
    before: &Key,
    since: Option<Timestamp>,
    limit: usize,
    fits: impl Fn(&Entry) -> bool,
) -> Result<Found, StoreError> {
    let (oldest, _) = audit::list(store, None, 1).await?;
    let Some(oldest) = oldest.first().map(|(key, _)| time_of(key)) else { return Ok((Vec::new(), None)) };
    let floor = since.map_or(oldest, |since| since.max(oldest));
    let (mut end, mut found, mut looked_at, mut stretch) = (before.clone(), Vec::new(), 0, FIRST_STRETCH);
    loop {
        // The instant of the end itself may be in the middle of a millisecond.
        let start = time_of(&end).minus(stretch).max(floor);
        if audit::before(start) >= end {
            return Ok((found, None));
        }
        let (mut entries, whole) = stretch_of(store, start, &end).await?;
        if !whole && stretch > Duration::from_millis(1) {
            stretch /= 8;
            continue;
        }
        looked_at += entries.len();
        let sparse = entries.len() < STRETCH / 8;
        entries.reverse();
        for (key, entry) in entries {
            if fits(&entry) {
                found.push((key.clone(), entry));
                if found.len() == limit {
                    return Ok((found, Some(key)));
                }
            }
        }
        end = audit::before(start);
        if start <= floor {
            return Ok((found, None));
        }
        if looked_at >= LOOKED_AT {
            return Ok((found, Some(end)));
        }
        if sparse {
            stretch = stretch.saturating_mul(4);
        }
    }
}

/// The entries from an instant up to a key, and whether those are all.
async fn stretch_of(store: &dyn Store, start: Timestamp, end: &Key) -> Result<(Vec<(Key, Entry)>, bool), StoreError> {
    let mut entries = Vec::new();
    let mut after = audit::before(start);
    loop {
        let (page, next) = audit::list(store, Some(&after), PAGE).await?;
        let wanted = page.len();
        entries.extend(page.into_iter().take_while(|(key, _)| key < end));
        let Some(next) = next.filter(|next| next < end && wanted > 0) else { return Ok((entries, true)) };
        if entries.len() >= STRETCH {
            return Ok((entries, false));
        }
        after = next;
    }
}

/// The instant in an entry's key; the beginning of time for a key that holds none.
fn time_of(key: &Key) -> Timestamp {
    let digits = audit::id(key).get(..13).and_then(|digits| digits.parse().ok());
    Timestamp::from_millis(digits.unwrap_or(0))
}

/// Where a verification stands between two calls. What it says is taken at its word: whoever forges it fools nobody
/// else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// The last seal that was found to be right.
    link: Option<Link>,
    /// Once all seals are: the last entry that was found to be sealed.
    after: Option<String>,
    /// How many seals were found to be right.
    pub seals: u64,
    /// How many entries they name.
    pub entries: u64,
}

/// What a step of the verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// All right so far; go on from here.
    Onward(Walk),
    /// The whole trail is as it was written.
    Intact(Walk),
    /// It is not.
    Broken(Walk, Break),
}

/// Where the trail is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Break {
    /// The seal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// What is wrong with it.
    pub what: &'static str,
}

impl Break {
    fn seal(seq: u64, what: &'static str) -> Self {
        Self { seq: Some(seq), entry: None, what }
    }

    fn entry(seq: Option<u64>, id: &str, what: &'static str) -> Self {
        Self { seq, entry: Some(id.to_owned()), what }
    }
}

impl Walk {
    /// At the chain's beginning.
    #[must_use]
    pub const fn start() -> Self {
        Self { link: None, after: None, seals: 0, entries: 0 }
    }

    /// Takes a step: some seals with their entries, or, when those are all, some entries.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn step(mut self, store: &dyn Store, now: Timestamp) -> Result<Step, StoreError> {
        let outcome =
            if self.after.is_some() { self.entries_are_sealed(store, now).await } else { self.seals_hold(store).await };
        match outcome {
            Ok(true) => Ok(Step::Intact(self)),
            Ok(false) => Ok(Step::Onward(self)),
            Err(Wrong::Broken(found)) => Ok(Step::Broken(self, found)),
            Err(Wrong::Store(error)) => Err(error),
        }
    }

    /// Walks along the chain.
    async fn seals_hold(&mut self, store: &dyn Store) -> Result<bool, Wrong> {
        let mut link = match self.link {
            Some(link) => link,
            None => anchor(store).await?,
        };
        for _ in 0..SEALS_AT_ONCE {
            let head = head(store).await?;
            if link.seq >= head.seq {
                return self.end_of_chain(store, link, head).await;
            }
            let seq = link.seq + 1;
            let seal = match audit::seal(store, seq).await {
                Ok(Some(seal)) => seal,
                Ok(None) => {
                    link = retired_meanwhile(store, link, || Break::seal(seq, "the seal is missing")).await?;
                    continue;
                }
                Err(error) => return Err(damaged(error, || Break::seal(seq, "the seal is damaged"))),
            };
            if seal.hash != seal.computed() {
                return Err(Break::seal(seq, "the seal was edited").into());
            }
            if !seal.follows(link) {
                return Err(Break::seal(seq, "the seal does not follow the one before it").into());
            }
            match entries_hold(store, &seal).await {
                Ok(()) => {}
                Err(Wrong::Broken(found)) => {
                    link = retired_meanwhile(store, link, || found).await?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            self.seals += 1;
            self.entries += seal.entries.len() as u64;
            link = seal.link();
            self.link = Some(link);
        }
        Ok(false)
    }

    /// The last seal must be the head, and nothing may lie beyond it.
    async fn end_of_chain(&mut self, store: &dyn Store, link: Link, head: Link) -> Result<bool, Wrong> {
        if link != head {
            return Err(Break::seal(link.seq, "the chain's head names another seal").into());
        }
        let beyond = store.scan(audit::SEALS, Some(&audit::seal_key(head.seq)), 1).await?.items;
        if !beyond.is_empty() && self::head(store).await? == head {
            return Err(Break::seal(head.seq + 1, "there is a seal beyond the chain's head").into());
        }
        self.link = Some(link);
        self.after = Some(String::new());
        Ok(false)
    }

    /// Every entry must be named by a seal, but the newest.
    async fn entries_are_sealed(&mut self, store: &dyn Store, now: Timestamp) -> Result<bool, Wrong> {
        let after = self.after.clone().unwrap_or_default();
        let page = store.scan(audit::PREFIX, Some(&audit::key(&after)), PAGE).await?;
        let mut open: HashSet<String> = page.items.iter().map(|(key, _)| audit::id(key).to_owned()).collect();
        let first = page.items.first().map_or(now, |(key, _)| time_of(key));
        let head = head(store).await?;
        let mut seq = first_seal_since(store, first.minus(SKEW), head).await?;
        let last = head.seq.min(seq.saturating_add(SEARCHED));
        while seq <= last && !open.is_empty() {
            if let Ok(Some(seal)) = audit::seal(store, seq).await {
                for sealed in &seal.entries {
                    open.remove(&sealed.id);
                }
            }
            seq += 1;
        }
        let fresh = audit::before(now.minus(SEALED_WITHIN));
        let strange = page.items.iter().map(|(key, _)| key).find(|key| **key < fresh && open.contains(audit::id(key)));
        if let Some(key) = strange
            && store.get(key).await?.value.is_some()
        {
            return Err(Break::entry(None, audit::id(key), "no seal names the entry: it was put in").into());
        }
        match page.next {
            Some(next) => {
                self.after = Some(audit::id(&next).to_owned());
                Ok(false)
            }
            None => Ok(true),
        }
    }
}

/// Why a step went no further.
enum Wrong {
    Broken(Break),
    Store(StoreError),
}

impl From<Break> for Wrong {
    fn from(found: Break) -> Self {
        Self::Broken(found)
    }
}

impl From<StoreError> for Wrong {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A record that cannot be read is a break, a store that does not answer is none.
fn damaged(error: StoreError, found: impl FnOnce() -> Break) -> Wrong {
    match error {
        StoreError::Corrupt { .. } => found().into(),
        error => error.into(),
    }
}

/// Where the chain ends.
///
/// # Errors
/// Those of the store.
pub async fn ends(store: &dyn Store) -> Result<(Option<Mark>, Option<Mark>), StoreError> {
    let anchor = audit::mark(store, &audit::anchor_key()).await?.map(|(mark, _)| mark);
    let head = audit::mark(store, &audit::head_key()).await?.map(|(mark, _)| mark);
    Ok((anchor, head))
}

async fn anchor(store: &dyn Store) -> Result<Link, Wrong> {
    match audit::mark(store, &audit::anchor_key()).await {
        Ok(mark) => Ok(mark.map_or(Link::START, |(mark, _)| mark.link)),
        Err(error) => Err(damaged(error, || Break::seal(0, "the chain's anchor is damaged"))),
    }
}

async fn head(store: &dyn Store) -> Result<Link, Wrong> {
    let broken = |what| Break { seq: None, entry: None, what };
    let look = async || {
        let mark = audit::mark(store, &audit::head_key()).await;
        mark.map_err(|error| damaged(error, || broken("the chain's head is damaged")))
    };
    if let Some((mark, _)) = look().await? {
        return Ok(mark.link);
    }
    if store.scan(audit::SEALS, None, 1).await?.items.is_empty() {
        let anchor = anchor(store).await?;
        return if anchor == Link::START {
            Ok(anchor)
        } else {
            Err(Break::seal(anchor.seq, "all seals are gone").into())
        };
    }
    // A seal and its head are one commit. Where the first came after the look at the head, the head is there by now.
    look().await?.map(|(mark, _)| mark.link).ok_or_else(|| broken("the chain's head is missing").into())
}

/// Something is missing after `link`: that is right if it was retired while the walk was on its way.
async fn retired_meanwhile(store: &dyn Store, link: Link, found: impl FnOnce() -> Break) -> Result<Link, Wrong> {
    let anchor = anchor(store).await?;
    if anchor.seq > link.seq { Ok(anchor) } else { Err(found().into()) }
}

/// Every entry of a seal must be there as it was.
async fn entries_hold(store: &dyn Store, seal: &Seal) -> Result<(), Wrong> {
    for sealed in &seal.entries {
        let what = match store.get(&audit::key(&sealed.id)).await?.value {
            None => "the entry is missing",
            Some(there) if Digest::of(&there.value) != sealed.sha256 => "the entry was edited",
            Some(_) => continue,
        };
        return Err(Break::entry(Some(seal.seq), &sealed.id, what).into());
    }
    Ok(())
}

/// The number of the first seal made at an instant or later: seals are in the order of time.
async fn first_seal_since(store: &dyn Store, at: Timestamp, head: Link) -> Result<u64, Wrong> {
    let (mut low, mut high) = (anchor(store).await?.seq.saturating_add(1), head.seq.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        match audit::seal(store, middle).await {
            Ok(Some(seal)) if seal.at >= at => high = middle,
            _ => low = middle + 1,
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests;
