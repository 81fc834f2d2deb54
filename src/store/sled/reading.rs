//! Reading all of an open database, or what lies under some prefixes: in parts at the same time, as one thread alone is
//! slower than the disk.

use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

use super::super::mirror::Fold;
use super::super::{Key, StoreError};
use super::entry::{self, DATA, EXPIRY, FORMAT_KEY, META_KEY, Meta};
use super::open::{OpenError, from_sled};
use crate::model::time::Timestamp;

/// Where the tree is cut. Of a large store clients are about the first third, revoked tokens the second and the index of
/// what expires the last. Token ids are random: in the alphabet of base64url these cuts make four equal parts.
const CUTS: [&[u8]; 6] = [
    b"drevocation/",
    b"drevocation/token/E",
    b"drevocation/token/U",
    b"drevocation/token/j",
    b"drevocation0",
    &[EXPIRY],
];
/// How many threads read at most; more of them wait for each other.
const THREADS: usize = 4;
/// How many entries a thread gathers before it hands them over.
const HANDED: usize = 256;

/// States that are folded from what is read, each with its prefix.
#[derive(Default)]
pub(super) struct Readers {
    states: Vec<(String, Mutex<State>)>,
    now: Timestamp,
}

struct State {
    fold: Box<dyn Fold>,
    /// An entry could not be folded. Whoever loads the state in the ordinary way hears of it.
    failed: bool,
}

impl Readers {
    pub(super) fn new(states: Vec<(String, Box<dyn Fold>)>, now: Timestamp) -> Self {
        let state = |(prefix, fold)| (prefix, Mutex::new(State { fold, failed: false }));
        Self { states: states.into_iter().map(state).collect(), now }
    }

    /// What could be folded.
    pub(super) fn into_states(self) -> Vec<(String, Box<dyn Fold>)> {
        let state = |(prefix, state): (String, Mutex<State>)| {
            let State { fold, failed } = state.into_inner().unwrap_or_else(PoisonError::into_inner);
            (!failed).then_some((prefix, fold))
        };
        self.states.into_iter().filter_map(state).collect()
    }

    fn of(&self, key: &str) -> Option<&Mutex<State>> {
        self.states.iter().find(|(prefix, _)| key.starts_with(&**prefix)).map(|(_, state)| state)
    }
}

/// What one thread has read and not handed over yet.
struct Gathered<'a> {
    readers: &'a Readers,
    state: Option<&'a Mutex<State>>,
    entries: Vec<(Key, sled::IVec)>,
}

impl<'a> Gathered<'a> {
    fn new(readers: &'a Readers) -> Self {
        Self { readers, state: None, entries: Vec::with_capacity(HANDED) }
    }

    /// Takes an entry that someone waits for.
    fn take(&mut self, key: &str, end: Option<Timestamp>, stored: sled::IVec) {
        let Some(state) = self.readers.of(key) else { return };
        if end.is_some_and(|end| end <= self.readers.now) {
            return;
        }
        if self.entries.len() >= HANDED || self.state.is_some_and(|before| !std::ptr::eq(before, state)) {
            self.hand_over();
        }
        self.state = Some(state);
        self.entries.push((Key::new(key), stored));
    }

    fn hand_over(&mut self) {
        let Some(state) = self.state.take() else { return };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, stored) in self.entries.drain(..) {
            let folded = entry::parts(key.as_str(), &stored)
                .map_err(|what| StoreError::Corrupt { key: key.to_string(), what })
                .and_then(|(_, end, value)| state.fold.put(&key, value, end));
            state.failed |= folded.is_err();
        }
    }
}

/// Reads everything and counts it; nothing may be newer than `newest`.
pub(super) fn everything(folder: &Path, db: &sled::Db, newest: u64, readers: &Readers) -> Result<Meta, OpenError> {
    let mut found = Meta { revision: newest, ..Meta::default() };
    for part in in_parts(folder, &parts(b"", &[]), |range| count(folder, db, range, newest, readers))? {
        found.merge(&part);
    }
    Ok(found)
}

/// Reads what is waited for and nothing else.
pub(super) fn prefixes(folder: &Path, db: &sled::Db, readers: &Readers) -> Result<(), OpenError> {
    for (prefix, _) in &readers.states {
        let from = entry::data_key(prefix);
        let to = after_all(&from);
        in_parts(folder, &parts(&from, &to), |range| {
            let mut gathered = Gathered::new(readers);
            for item in db.range(range) {
                let (raw, stored) = item.map_err(|error| from_sled(folder, error))?;
                let key = entry::key_of_data(&raw).map_err(|what| OpenError::damaged(folder, what))?;
                let (_, end, _) = entry::parts(key, &stored).map_err(|what| OpenError::damaged(folder, what))?;
                gathered.take(key, end, stored);
            }
            gathered.hand_over();
            Ok(())
        })?;
    }
    Ok(())
}

type Part = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// The stretch from one key to before another, cut where large stores are; to the end without another.
fn parts(from: &[u8], to: &[u8]) -> Vec<Part> {
    let inside = |cut: &&[u8]| *cut > from && (to.is_empty() || *cut < to);
    let mut starts = vec![from.to_vec()];
    starts.extend(CUTS.into_iter().filter(inside).map(<[u8]>::to_vec));
    let end = if to.is_empty() { Bound::Unbounded } else { Bound::Excluded(to.to_vec()) };
    let ends = starts.iter().skip(1).cloned().map(Bound::Excluded).chain([end]);
    starts.iter().cloned().map(Bound::Included).zip(ends).collect()
}

/// The first key after all that start with `prefix`; empty when there is none.
fn after_all(prefix: &[u8]) -> Vec<u8> {
    let mut out = prefix.to_vec();
    while let Some(last) = out.pop() {
        if last < u8::MAX {
            out.push(last + 1);
            break;
        }
    }
    out
}

/// Does the work of every part, a few at the same time.
fn in_parts<T: Send>(
    folder: &Path,
    parts: &[Part],
    work: impl Fn(Part) -> Result<T, OpenError> + Sync,
) -> Result<Vec<T>, OpenError> {
    let threads = available_parallelism().map_or(1, usize::from).clamp(2, THREADS).min(parts.len());
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(work(part.clone())?);
        }
        Ok(done)
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        // This thread is one of them: what it reads goes where its opening of the database has left room in memory.
        let mut all = run()?;
        for thread in running {
            let lost = |_| Err(OpenError::damaged(folder, "reading it failed"));
            all.extend(thread.join().unwrap_or_else(lost)?);
        }
        Ok(all)
    })
}

/// Reads a part of the tree and counts what is in it.
fn count(folder: &Path, db: &sled::Db, range: Part, newest: u64, readers: &Readers) -> Result<Meta, OpenError> {
    let damaged = |what: String| OpenError::damaged(folder, what);
    let mut found = Meta::default();
    let mut gathered = Gathered::new(readers);
    for item in db.range(range) {
        let (raw, stored) = item.map_err(|error| from_sled(folder, error))?;
        match raw.first() {
            Some(&DATA) => {
                let key = entry::key_of_data(&raw).map_err(damaged)?;
                let (revision, end, _) = entry::parts(key, &stored).map_err(damaged)?;
                if revision.0 > newest {
                    return Err(damaged(format!("the entry at {key} is newer than the store")));
                }
                found.add(key, &stored);
                gathered.take(key, end, stored);
            }
            Some(&EXPIRY) => found.expiring += 1,
            _ if *raw == *META_KEY || *raw == *FORMAT_KEY => {}
            _ => return Err(damaged("it holds an entry of an unknown kind".into())),
        }
    }
    gathered.hand_over();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_leave_nothing_out_and_overlap_nowhere() {
        for (from, to) in [
            (b"".as_slice(), b"".as_slice()),
            (b"drevocation/", b"drevocation0"),
            (b"drevocation/token/F", b"drevocation/token/G"),
            (b"a", b"z"),
        ] {
            let parts = parts(from, to);
            assert_eq!(parts.first().unwrap().0, Bound::Included(from.to_vec()));
            let end = if to.is_empty() { Bound::Unbounded } else { Bound::Excluded(to.to_vec()) };
            assert_eq!(parts.last().unwrap().1, end);
            for pair in parts.windows(2) {
                let (Bound::Excluded(end), Bound::Included(start)) = (&pair[0].1, &pair[1].0) else { panic!() };
                assert_eq!(end, start);
                assert!(pair[0].0 != Bound::Included(start.clone()));
            }
        }
        assert_eq!(after_all(b"da/"), b"da0");
        assert_eq!(after_all(&[1, 255]), [2]);
        assert!(after_all(&[255]).is_empty());
    }
}
