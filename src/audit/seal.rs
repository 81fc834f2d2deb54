//! The chain that makes the trail tamper-evident: a seal names the entries of a stretch of the trail with their
//! digests, and its hash covers them, its number and the hash of the seal before. Whoever notes one hash outside of the
//! store can tell later whether anything up to there was edited, taken out, put in or reordered.
//!
//! ```text
//! hash = SHA-256( "edi audit seal 1" 0x00 ‖ prev (32) ‖ seq (8, big-endian) ‖ at (8, big-endian)
//!                 ‖ for each entry: length of its id (2, big-endian) ‖ id ‖ SHA-256 of its stored bytes (32) )
//! ```
//! Pure: knows neither store nor clock.

use std::fmt;

use ring::digest::{Context, SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::model::time::Timestamp;

/// The most entries of one seal: few enough that a seal, its entries and the anchor go in one commit.
pub const MAX_SEALED: usize = 96;

/// A SHA-256; as text 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// What stands where a first seal names the hash before it.
    pub const NONE: Self = Self([0; 32]);

    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_ring(&digest(&SHA256, bytes))
    }

    fn from_ring(digest: &ring::digest::Digest) -> Self {
        let mut out = [0; 32];
        out.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        Self(out)
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut out = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        for (to, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *to = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(out))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("expected 64 hexadecimal digits")
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// A place in the chain: a seal's number and hash. The chain's head, an anchor, or what an operator noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The seal's number; the first is 1.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
}

impl Link {
    /// Before the first seal.
    pub const START: Self = Self { seq: 0, hash: Digest::NONE };
}

/// An entry as a seal names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The entry's id.
    pub id: String,
    /// The digest of its stored bytes.
    pub sha256: Digest,
}

/// A link of the chain, with the entries it seals in the order of their commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Its number.
    pub seq: u64,
    /// The hash of the seal before.
    pub prev: Digest,
    /// Its own hash.
    pub hash: Digest,
    /// When it was made; never before the seal before.
    pub at: Timestamp,
    /// What it seals.
    pub entries: Vec<Sealed>,
}

impl Seal {
    /// The seal that follows `prev`.
    #[must_use]
    pub fn after(prev: Link, at: Timestamp, entries: Vec<Sealed>) -> Self {
        let mut seal = Self { seq: prev.seq.saturating_add(1), prev: prev.hash, hash: Digest::NONE, at, entries };
        seal.hash = seal.computed();
        seal
    }

    /// Its place in the chain.
    #[must_use]
    pub const fn link(&self) -> Link {
        Link { seq: self.seq, hash: self.hash }
    }

    /// The hash that belongs to what it says.
    #[must_use]
    pub fn computed(&self) -> Digest {
        let mut context = Context::new(&SHA256);
        context.update(b"edi audit seal 1\0");
        context.update(&self.prev.0);
        context.update(&self.seq.to_be_bytes());
        context.update(&self.at.millis().to_be_bytes());
        for Sealed { id, sha256 } in &self.entries {
            context.update(&u16::try_from(id.len()).unwrap_or(u16::MAX).to_be_bytes());
            context.update(id.as_bytes());
            context.update(&sha256.0);
        }
        Digest::from_ring(&context.finish())
    }

    /// Whether it follows `prev` and says what its hash covers.
    #[must_use]
    pub fn follows(&self, prev: Link) -> bool {
        self.seq == prev.seq.saturating_add(1) && self.prev == prev.hash && self.hash == self.computed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> Seal {
        let named = |id: &str| Sealed { id: id.into(), sha256: Digest::of(id.as_bytes()) };
        Seal::after(Link { seq: 6, hash: Digest::of(b"x") }, Timestamp::from_secs(9), vec![named("a"), named("b")])
    }

    #[test]
    fn a_seal_covers_all_that_it_says() {
        let link = Link { seq: 6, hash: Digest::of(b"x") };
        assert!(seal().follows(link));
        assert!(!seal().follows(Link { seq: 5, ..link }) && !seal().follows(Link { hash: Digest::NONE, ..link }));
        let changes: [fn(&mut Seal); 7] = [
            |seal| seal.at = Timestamp::from_secs(10),
            |seal| seal.entries.swap(0, 1),
            |seal| drop(seal.entries.pop()),
            |seal| seal.entries[0].sha256 = Digest::of(b"other"),
            |seal| seal.entries[0].id = "c".into(),
            |seal| seal.hash = Digest::of(b"other"),
            |seal| seal.prev = Digest::of(b"other"),
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut bad = seal();
            change(&mut bad);
            assert!(!bad.follows(link), "{index}");
        }
    }

    #[test]
    fn the_hash_is_the_documented_one() {
        let mut bytes = b"edi audit seal 1\0".to_vec();
        bytes.extend_from_slice(&Digest::of(b"x").0);
        bytes.extend_from_slice(&7_u64.to_be_bytes());
        bytes.extend_from_slice(&9_000_i64.to_be_bytes());
        for id in ["a", "b"] {
            bytes.extend_from_slice(&[0, 1]);
            bytes.extend_from_slice(id.as_bytes());
            bytes.extend_from_slice(&Digest::of(id.as_bytes()).0);
        }
        assert_eq!(seal().hash, Digest::of(&bytes));
    }

    #[test]
    fn digests_go_there_and_back() {
        let digest = Digest::of(b"");
        assert!(digest.to_string().starts_with("e3b0c44298fc1c14"));
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        for bad in ["", "e3", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(Digest::parse(bad), None, "{bad}");
        }
    }
}
