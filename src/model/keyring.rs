//! The life of signing keys: one ring per algorithm, whose states are a function of the ring and the clock alone.
//!
//! A key is made `pending` (published, does not sign), becomes `active` when its time comes, `retiring` when its
//! successor starts, and `retired` once every token it signed has expired; `revoked` can happen at any moment. Replicas
//! that hold the same ring and whose clocks agree within [`SKEW`] need no message to switch: every window includes it.
//!
//! Pure data and rules: knows no cryptography, no store and no clock. The private halves pass through as sealed text.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::algorithm::Algorithm;
use super::id::Kid;
use super::time::Timestamp;

mod adopt;
mod change;
mod schedule;

pub use adopt::{AdoptRefusal, Adopted, Adoption};
pub use change::{Emergency, Promotion, Reach, RevokeRefusal, RotateRefusal};
pub use schedule::{Forecast, KNOWN_CACHES, KnownCache, Schedule, ScheduleProblem};

/// How far apart the clocks of two replicas, or of edi and a verifier, may be.
pub const SKEW: Duration = Duration::from_mins(1);
/// The longest a JWKS may be cached, in seconds.
pub const MAX_JWKS_AGE: u32 = 300;
/// The most keys of one ring that are pending, active or retiring. Keeps the record far below the store's limit.
pub const MAX_LIVE_KEYS: usize = 12;
/// How long a retired or revoked key is still listed for people.
pub const KEPT_AFTER_END: Duration = Duration::from_hours(7 * 24);
/// The most retired and revoked keys that are listed for people.
pub const MAX_ENDED_KEYS: usize = 4;

/// The state of a key at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Published, does not sign yet.
    Pending,
    /// The one that signs.
    Active,
    /// Published, no longer signs.
    Retiring,
    /// No longer published: all its tokens have expired.
    Retired,
    /// Withdrawn; its tokens are inactive.
    Revoked,
}

impl KeyState {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Active, Self::Retiring, Self::Retired, Self::Revoked];

    /// Whether a key in this state is in the JWKS.
    #[must_use]
    pub const fn is_published(self) -> bool {
        matches!(self, Self::Pending | Self::Active | Self::Retiring)
    }

    /// The word for it in answers and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key pair that is in no ring yet: its private half is sealed already.
#[derive(Clone, PartialEq, Eq)]
pub struct FreshKey {
    /// Its id.
    pub kid: Kid,
    /// Its public JWK with `kid`, `use` and `alg`.
    pub public: serde_json::Value,
    /// Its private half, sealed.
    pub sealed: String,
}

impl fmt::Debug for FreshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreshKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// A key of a ring.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingKey {
    /// Its id.
    pub kid: Kid,
    /// Its public JWK with `kid`, `use` and `alg`.
    pub public: serde_json::Value,
    /// Its private half, sealed under the master key; empty once revoked.
    pub sealed: String,
    /// The longest lifetime, in seconds, of a token it may have signed.
    pub longest_lifetime: u32,
    /// Since when it is in the JWKS.
    pub published_at: Timestamp,
    /// From when it signs; absent until it is promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs_from: Option<Timestamp>,
    /// When it was revoked. A revoked key is so for every clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// Until when it stays published: of a key that was imported for verification alone and never signs here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_until: Option<Timestamp>,
}

impl RingKey {
    fn new(fresh: FreshKey, longest_lifetime: u32, now: Timestamp) -> Self {
        let FreshKey { kid, public, sealed } = fresh;
        Self {
            kid,
            public,
            sealed,
            longest_lifetime,
            published_at: now,
            signs_from: None,
            revoked_at: None,
            trusted_until: None,
        }
    }

    /// Whether it was revoked.
    #[must_use]
    pub const fn is_revoked(&self) -> bool {
        self.revoked_at.is_some()
    }
}

impl fmt::Debug for RingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingKey")
            .field("kid", &self.kid)
            .field("published_at", &self.published_at)
            .field("signs_from", &self.signs_from)
            .field("revoked_at", &self.revoked_at)
            .field("trusted_until", &self.trusted_until)
            .finish_non_exhaustive()
    }
}

/// A coming change of a key's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// When.
    pub at: Timestamp,
    /// Which key.
    pub kid: Kid,
    /// What it is then.
    pub to: KeyState,
}

/// The keys of one algorithm, in the order they were published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    /// What its keys sign with.
    pub algorithm: Algorithm,
    /// The longest lifetime of a token, in seconds, ever allowed under it.
    pub longest_lifetime: u32,
    /// The keys.
    pub keys: Vec<RingKey>,
}

impl Ring {
    /// A new ring: `first` signs at once, `standby` is its pending successor.
    #[must_use]
    pub fn start(
        algorithm: Algorithm,
        longest_lifetime: u32,
        first: FreshKey,
        standby: FreshKey,
        now: Timestamp,
    ) -> Self {
        let first = RingKey { signs_from: Some(now), ..RingKey::new(first, longest_lifetime, now) };
        Self { algorithm, longest_lifetime, keys: vec![first, RingKey::new(standby, longest_lifetime, now)] }
    }

    /// The key with this id.
    #[must_use]
    pub fn key(&self, kid: &Kid) -> Option<&RingKey> {
        self.keys.iter().find(|key| key.kid == *kid)
    }

    /// The key that signs at `now`: the one that started last. Should that one be revoked, or none have started on a
    /// clock that lags, it is the next in line; a key that stopped never signs again.
    #[must_use]
    pub fn signer(&self, now: Timestamp) -> Option<&RingKey> {
        let started = self.keys.iter().filter(|key| key.signs_from.is_some_and(|from| from <= now));
        let last = started.max_by_key(|key| key.signs_from);
        if last.is_some_and(|key| !key.is_revoked()) {
            return last;
        }
        let coming = self.keys.iter().filter(|key| !key.is_revoked() && key.signs_from.is_some_and(|from| from > now));
        coming.min_by_key(|key| key.signs_from)
    }

    /// When the key stops signing: when its successor starts. `None` while it has no successor or does not sign.
    #[must_use]
    pub fn stops_at(&self, key: &RingKey) -> Option<Timestamp> {
        let from = key.signs_from?;
        self.keys.iter().filter_map(|other| other.signs_from).filter(|&start| start > from).min()
    }

    /// When the key leaves the JWKS: the longest lifetime allowed under it after it stopped, plus skew; or when its time
    /// is up, if it only verifies.
    #[must_use]
    pub fn leaves_at(&self, key: &RingKey) -> Option<Timestamp> {
        if key.trusted_until.is_some() {
            return key.trusted_until;
        }
        let stops = self.stops_at(key)?;
        Some(stops.plus(Duration::from_secs(key.longest_lifetime.into())).plus(SKEW))
    }

    /// When the key with this id leaves the JWKS; `None` for an unknown or revoked one and while no successor is
    /// planned.
    #[must_use]
    pub fn retires_at(&self, kid: &Kid) -> Option<Timestamp> {
        self.key(kid).filter(|key| !key.is_revoked()).and_then(|key| self.leaves_at(key))
    }

    /// The state of a key of this ring at `now`.
    #[must_use]
    pub fn state_of(&self, key: &RingKey, now: Timestamp) -> KeyState {
        if key.is_revoked() {
            KeyState::Revoked
        } else if let Some(until) = key.trusted_until {
            if now < until { KeyState::Retiring } else { KeyState::Retired }
        } else if self.signer(now).is_some_and(|signer| signer.kid == key.kid) {
            KeyState::Active
        } else if key.signs_from.is_none_or(|from| from > now) {
            KeyState::Pending
        } else if self.leaves_at(key).is_none_or(|end| now < end) {
            KeyState::Retiring
        } else {
            KeyState::Retired
        }
    }

    /// The state of the key with this id at `now`.
    #[must_use]
    pub fn state(&self, kid: &Kid, now: Timestamp) -> Option<KeyState> {
        self.key(kid).map(|key| self.state_of(key, now))
    }

    /// The keys in the JWKS at `now` (pending, active, retiring), in the order they were published.
    pub fn published(&self, now: Timestamp) -> impl Iterator<Item = &RingKey> {
        self.keys.iter().filter(move |key| self.state_of(key, now).is_published())
    }

    /// The standing successor: the pending key that was published first and has no start yet.
    #[must_use]
    pub fn standby(&self) -> Option<&RingKey> {
        let waits = |key: &&RingKey| key.signs_from.is_none() && !key.is_revoked() && key.trusted_until.is_none();
        self.keys.iter().filter(waits).min_by_key(|key| key.published_at)
    }

    /// The successor whose start is set and lies ahead of `now`.
    #[must_use]
    pub fn planned(&self, now: Timestamp) -> Option<(&RingKey, Timestamp)> {
        let signer = self.signer(now)?.signs_from?;
        let ahead = |key: &&RingKey| !key.is_revoked() && key.signs_from.is_some_and(|from| from > now.max(signer));
        let key = self.keys.iter().filter(ahead).min_by_key(|key| key.signs_from)?;
        Some((key, key.signs_from?))
    }

    /// All state changes after `now` that are already decided, in order of time.
    #[must_use]
    pub fn transitions(&self, now: Timestamp) -> Vec<Transition> {
        let mut all: Vec<Transition> = self
            .keys
            .iter()
            .filter(|key| !key.is_revoked())
            .flat_map(|key| {
                [
                    (key.signs_from, KeyState::Active),
                    (self.stops_at(key), KeyState::Retiring),
                    (self.leaves_at(key), KeyState::Retired),
                ]
                .into_iter()
                .filter_map(|(at, to)| Some(Transition { at: at?, kid: key.kid.clone(), to }))
            })
            .filter(|transition| transition.at > now)
            .collect();
        all.sort_by_key(|transition| transition.at);
        all
    }

    /// The first instant after `now` at which a key's state changes by itself.
    #[must_use]
    pub fn next_transition(&self, now: Timestamp) -> Option<Timestamp> {
        let live = self.keys.iter().filter(|key| !key.is_revoked());
        live.flat_map(|key| [key.signs_from, self.leaves_at(key)]).flatten().filter(|&at| at > now).min()
    }

    /// For how many seconds the JWKS read at `now` may be cached: at most [`MAX_JWKS_AGE`], never past the next
    /// transition.
    #[must_use]
    pub fn max_age(&self, now: Timestamp) -> u32 {
        let until = self.next_transition(now).map_or(u64::MAX, |at| at.since(now).as_secs());
        u32::try_from(until).unwrap_or(MAX_JWKS_AGE).min(MAX_JWKS_AGE)
    }
}

#[cfg(test)]
mod tests;
