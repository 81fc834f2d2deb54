//! How entries and the store's own book-keeping lie in the one tree.
//!
//! | key | value |
//! |---|---|
//! | `d` key | checksum (4) · revision (8) · has an end (1) · end in ms (8) · value |
//! | `e` end (8, order-preserving) key | empty: the expiry index |
//! | NUL `meta` | checksum (4) · JSON of [`Meta`] |
//! | NUL `format` | the version of this layout, as text |
//!
//! Numbers are big-endian. Checksums are CRC-32 and cover the key too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::{Key, Revision, Versioned};
use crate::model::time::Timestamp;

/// The version of the layout above, and of what lies beside sled's files. Version 1 had no journal: whoever knows only that
/// would lose what is in it.
pub(super) const FORMAT: u32 = 2;
/// The earliest that can be read.
pub(super) const OLDEST: u32 = 1;
pub(super) const FORMAT_KEY: &[u8] = b"\0format";
pub(super) const META_KEY: &[u8] = b"\0meta";
pub(super) const DATA: u8 = b'd';
pub(super) const EXPIRY: u8 = b'e';

/// The tree's key of an entry, or of a prefix of entries.
pub(super) fn data_key(key: &str) -> Vec<u8> {
    [&[DATA], key.as_bytes()].concat()
}

/// The tree's key of an entry in the expiry index.
pub(super) fn expiry_key(end: Timestamp, key: &str) -> Vec<u8> {
    [&[EXPIRY], ordered(end).as_slice(), key.as_bytes()].concat()
}

/// Where the part of the expiry index that is due at `now` ends.
pub(super) fn due_until(now: Timestamp) -> Vec<u8> {
    [&[EXPIRY], ordered(Timestamp::from_millis(now.millis().saturating_add(1))).as_slice()].concat()
}

/// The entry's key inside a key of the tree that starts with [`DATA`].
pub(super) fn key_of_data(raw: &[u8]) -> Result<&str, String> {
    text(raw.get(1..))
}

/// The entry's key inside a key of the expiry index.
pub(super) fn key_of_expiry(raw: &[u8]) -> Result<Key, String> {
    text(raw.get(9..)).map(Key::new)
}

fn text(bytes: Option<&[u8]>) -> Result<&str, String> {
    bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or_else(|| "a key is not text".into())
}

fn ordered(at: Timestamp) -> [u8; 8] {
    (at.millis().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// An entry as it is stored.
pub(super) fn encode(key: &str, revision: Revision, expires_at: Option<Timestamp>, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(21 + value.len());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&revision.0.to_be_bytes());
    out.push(u8::from(expires_at.is_some()));
    out.extend_from_slice(&expires_at.unwrap_or_default().millis().to_be_bytes());
    out.extend_from_slice(value);
    seal(key, &mut out);
    out
}

/// Reads what [`encode`] wrote; the error says what is wrong and never the content.
pub(super) fn decode(key: &str, stored: &[u8]) -> Result<Versioned, String> {
    let (revision, expires_at, value) = parts(key, stored)?;
    Ok(Versioned { value: value.to_vec(), revision, expires_at })
}

/// The same without copying the value.
pub(super) fn parts<'a>(key: &str, stored: &'a [u8]) -> Result<(Revision, Option<Timestamp>, &'a [u8]), String> {
    let body = unseal(key, stored)?;
    let short = || format!("the entry at {key} is cut short");
    let (revision, rest) = body.split_first_chunk::<8>().ok_or_else(short)?;
    let ([has_end], rest) = rest.split_first_chunk::<1>().ok_or_else(short)?;
    let (end, value) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let expires_at = (*has_end != 0).then(|| Timestamp::from_millis(i64::from_be_bytes(*end)));
    Ok((Revision(u64::from_be_bytes(*revision)), expires_at, value))
}

/// Writes the checksum of the rest into the first four bytes.
pub(super) fn seal(key: &str, out: &mut [u8]) {
    if let Some((frame, body)) = out.split_first_chunk_mut::<4>() {
        *frame = checksum(key, body).to_be_bytes();
    }
}

/// What [`seal`] covered, if it still is that.
pub(super) fn unseal<'a>(key: &str, stored: &'a [u8]) -> Result<&'a [u8], String> {
    match stored.split_first_chunk::<4>() {
        Some((frame, body)) if u32::from_be_bytes(*frame) == checksum(key, body) => Ok(body),
        _ => Err(format!("the entry at {key} fails its checksum")),
    }
}

fn checksum(key: &str, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// What every commit writes besides its entries, so that a store that came back with less is noticed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// The last revision.
    pub(super) revision: u64,
    /// Entries of each collection; none is left out.
    pub(super) collections: BTreeMap<String, Tally>,
    /// Entries of the expiry index.
    pub(super) expiring: u64,
}

/// How many entries, and which: the sum changes when any of them is another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    count: u64,
    sum: u64,
}

impl Meta {
    /// Counts an entry that is there now; `stored` is what [`encode`] wrote.
    pub(super) fn add(&mut self, key: &str, stored: &[u8]) {
        // No `entry`: this runs for every entry of the store, and the collection is nearly always known.
        if let Some(tally) = self.collections.get_mut(collection(key)) {
            tally.count = tally.count.wrapping_add(1);
            tally.sum = tally.sum.wrapping_add(mark(key, stored));
        } else {
            self.collections.insert(collection(key).into(), Tally { count: 1, sum: mark(key, stored) });
        }
    }

    /// Counts all that another one counted.
    pub(super) fn merge(&mut self, other: &Self) {
        for (name, more) in &other.collections {
            let tally = self.collections.entry(name.clone()).or_default();
            tally.count = tally.count.wrapping_add(more.count);
            tally.sum = tally.sum.wrapping_add(more.sum);
        }
        self.expiring = self.expiring.wrapping_add(other.expiring);
    }

    /// Counts out an entry that was there.
    pub(super) fn remove(&mut self, key: &str, stored: &[u8]) {
        if let Some(tally) = self.collections.get_mut(collection(key)) {
            tally.count = tally.count.wrapping_sub(1);
            tally.sum = tally.sum.wrapping_sub(mark(key, stored));
            if tally.count == 0 {
                self.collections.remove(collection(key));
            }
        }
    }

    /// How many entries each collection holds.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        self.collections.iter().map(|(name, tally)| (name.clone(), tally.count)).collect()
    }

    /// What differs between what was `found` and what this record says should be there.
    pub(super) fn difference(&self, found: &Self) -> Option<String> {
        let names = self.collections.keys().chain(found.collections.keys());
        for name in names {
            let tally = |meta: &Self| meta.collections.get(name).copied().unwrap_or_default();
            let (want, have) = (tally(self), tally(found));
            if want.count != have.count {
                return Some(format!("the collection {name:?} has {} entries instead of {}", have.count, want.count));
            }
            if want.sum != have.sum {
                return Some(format!("the collection {name:?} holds entries that are not the last ones written"));
            }
        }
        (self.expiring != found.expiring)
            .then(|| format!("the expiry index has {} entries instead of {}", found.expiring, self.expiring))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 4];
        // Maps with text keys and numbers always have a JSON form, and a `Vec` takes every write.
        let _ = serde_json::to_writer(&mut out, self);
        seal("meta", &mut out);
        out
    }

    pub(super) fn decode(stored: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(unseal("meta", stored)?).map_err(|_| "the meta record does not parse".into())
    }
}

fn collection(key: &str) -> &str {
    key.split('/').next().unwrap_or_default()
}

/// A number that stands for this very entry.
fn mark(key: &str, stored: &[u8]) -> u64 {
    let sealed = stored.first_chunk::<4>().copied().unwrap_or_default();
    let mut z = (u64::from(crc32fast::hash(key.as_bytes())) << 32) | u64::from(u32::from_be_bytes(sealed));
    // SplitMix64's finaliser: sums of these do not cancel out.
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entries_go_there_and_back_and_every_flipped_bit_shows(
            key in ".{1,20}", value in proptest::collection::vec(any::<u8>(), 0..60), revision: u64, end: Option<i64>, bit: usize
        ) {
            let entry = Versioned { value, revision: Revision(revision), expires_at: end.map(Timestamp::from_millis) };
            let mut stored = encode(&key, entry.revision, entry.expires_at, &entry.value);
            prop_assert_eq!(decode(&key, &stored), Ok(entry));
            let bit = bit % (stored.len() * 8);
            stored[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&key, &stored).is_err());
        }

        #[test]
        fn the_expiry_index_is_in_order_of_time(a: i64, b: i64) {
            let (earlier, later) = (Timestamp::from_millis(a.min(b)), Timestamp::from_millis(a.max(b)));
            prop_assert!(expiry_key(earlier, "") <= expiry_key(later, ""));
            let due = expiry_key(earlier, "k") < due_until(later);
            prop_assert!(due || later.millis() == i64::MAX);
            prop_assert_eq!(key_of_expiry(&expiry_key(earlier, "k/1")), Ok(Key::new("k/1")));
        }
    }

    #[test]
    fn a_missing_a_stale_and_a_foreign_entry_show() {
        let stored = |name: &str, value: &[u8]| (name.to_owned(), encode(name, Revision(1), None, value));
        let tally = |entries: &[(String, Vec<u8>)]| {
            let mut meta = Meta::default();
            for (key, stored) in entries {
                meta.add(key, stored);
            }
            meta
        };
        let good = tally(&[stored("a/1", b"new"), stored("b/1", b"x")]);
        assert_eq!(good.difference(&tally(&[stored("b/1", b"x"), stored("a/1", b"new")])), None);
        for bad in [
            tally(&[stored("a/1", b"new")]),
            tally(&[stored("a/1", b"old"), stored("b/1", b"x")]),
            tally(&[stored("a/2", b"new"), stored("b/1", b"x")]),
            tally(&[stored("a/1", b"new"), stored("b/1", b"x"), stored("c/1", b"x")]),
        ] {
            assert!(good.difference(&bad).is_some());
        }
        let mut counted_out = good.clone();
        let (key, bytes) = stored("b/1", b"x");
        counted_out.remove(&key, &bytes);
        assert_eq!(counted_out, tally(&[stored("a/1", b"new")]));
        assert_eq!(Meta::decode(&good.encode()), Ok(good));
    }
}
