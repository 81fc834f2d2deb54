//! What changes a ring: a rotation, a revocation, a longer lifetime, the sweep of what has ended. Each is one commit.

use std::time::Duration;

use super::{FreshKey, KEPT_AFTER_END, KeyState, Kid, MAX_ENDED_KEYS, MAX_LIVE_KEYS, Ring, RingKey, Timestamp};

/// What a rotation decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    /// The key that signs next.
    pub kid: Kid,
    /// From when it signs.
    pub signs_from: Timestamp,
    /// The key that signs until then.
    pub old: Kid,
    /// Until when the old key stays trusted.
    pub old_trusted_until: Timestamp,
    /// The new pending successor.
    pub pending: Kid,
}

/// Why a rotation was refused; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotateRefusal {
    /// One is planned already.
    #[error("a rotation is planned already: {kid} signs from {at}")]
    AlreadyPlanned {
        /// The key that signs next.
        kid: Kid,
        /// From when.
        at: Timestamp,
    },
    /// Too many keys are still trusted.
    #[error("{MAX_LIVE_KEYS} keys of this algorithm are still trusted; the next one leaves at {until}")]
    TooManyKeys {
        /// When there is room again.
        until: Timestamp,
    },
    /// The ring has no signer or no pending key: not a ring that edi made.
    #[error("the ring has no {0} key; revoke the key that signs to start anew")]
    Broken(&'static str),
    /// The new key is in the ring already.
    #[error("key {0} is in the ring already")]
    KnownKey(Kid),
}

/// How far a revocation reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The named key alone.
    Key,
    /// The named key and every pending one: whoever stole the one may hold the others.
    KeyAndPending,
}

/// What an emergency decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emergency {
    /// The keys that were revoked, the named one first.
    pub revoked: Vec<Kid>,
    /// The key that signs from now on; `None` when the signer did not change.
    pub promoted: Option<Kid>,
    /// How long the promoted key had been published: below `publish_before`, proxies may not know it yet and refuse
    /// its tokens until they fetch the JWKS again.
    pub published_for: Option<Duration>,
    /// Fresh keys that were taken into the ring, in the order they were given.
    pub added: Vec<Kid>,
}

/// Why a revocation was refused; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevokeRefusal {
    /// No key of that id.
    #[error("the ring has no key {0}")]
    UnknownKey(Kid),
    /// It was revoked before.
    #[error("key {kid} was revoked at {at} already")]
    AlreadyRevoked {
        /// Which.
        kid: Kid,
        /// When.
        at: Timestamp,
    },
    /// The caller brought fewer fresh keys than it takes: see [`Ring::fresh_keys_for`].
    #[error("this revocation takes more fresh keys than were brought along")]
    NeedsFreshKeys,
    /// A fresh key is in the ring already.
    #[error("key {0} is in the ring already")]
    KnownKey(Kid),
}

impl Ring {
    /// Promotes the standby: it signs once it has been published for `publish_before`, at the earliest now. `fresh`
    /// becomes the new standby.
    ///
    /// # Errors
    /// [`RotateRefusal`]; the ring is as before.
    pub fn rotate(
        &mut self,
        now: Timestamp,
        publish_before: Duration,
        fresh: FreshKey,
    ) -> Result<Promotion, RotateRefusal> {
        if let Some((planned, at)) = self.planned(now) {
            return Err(RotateRefusal::AlreadyPlanned { kid: planned.kid.clone(), at });
        }
        if self.key(&fresh.kid).is_some() {
            return Err(RotateRefusal::KnownKey(fresh.kid));
        }
        let old = self.signer(now).ok_or(RotateRefusal::Broken("active"))?.kid.clone();
        let standby = self.standby().ok_or(RotateRefusal::Broken("pending"))?;
        if self.published(now).count() >= MAX_LIVE_KEYS {
            let room = self.keys.iter().filter_map(|key| self.retires_at(&key.kid)).filter(|&at| at > now).min();
            return Err(RotateRefusal::TooManyKeys { until: room.unwrap_or(now) });
        }
        let (kid, pending) = (standby.kid.clone(), fresh.kid.clone());
        let signs_from = self.after_all_starts(now.max(standby.published_at.plus(publish_before)));
        self.set_start(&kid, Some(signs_from));
        self.keys.push(RingKey::new(fresh, self.longest_lifetime, now));
        let old_trusted_until = self.retires_at(&old).unwrap_or(signs_from);
        self.drop_ended(now);
        Ok(Promotion { kid, signs_from, old, old_trusted_until, pending })
    }

    /// How many fresh keys [`Ring::revoke`] will take at most, for a caller that makes them beforehand.
    #[must_use]
    pub const fn fresh_keys_for(reach: Reach) -> usize {
        match reach {
            Reach::Key => 1,
            Reach::KeyAndPending => 2,
        }
    }

    /// Revokes a key at once. If no key signs then, the one that was to sign next does from now, or else the standby,
    /// or else a fresh one; if no standby is left, a fresh key becomes it. A planned rotation to a revoked key is off.
    ///
    /// # Errors
    /// [`RevokeRefusal`]; the ring is as before.
    pub fn revoke(
        &mut self,
        kid: &Kid,
        reach: Reach,
        now: Timestamp,
        fresh: &[FreshKey],
    ) -> Result<Emergency, RevokeRefusal> {
        let named = self.key(kid).ok_or_else(|| RevokeRefusal::UnknownKey(kid.clone()))?;
        if let Some(at) = named.revoked_at {
            return Err(RevokeRefusal::AlreadyRevoked { kid: kid.clone(), at });
        }
        if let Some(known) = fresh.iter().find(|key| self.key(&key.kid).is_some()) {
            return Err(RevokeRefusal::KnownKey(known.kid.clone()));
        }
        let mut next = self.clone();
        let mut fresh = fresh.iter();
        let mut done = Emergency { revoked: vec![kid.clone()], promoted: None, published_for: None, added: Vec::new() };
        if reach == Reach::KeyAndPending {
            let pending = self.keys.iter().filter(|key| self.state_of(key, now) == KeyState::Pending);
            done.revoked.extend(pending.map(|key| &key.kid).filter(|other| *other != kid).cloned());
        }
        let signer = self.signer(now);
        for key in next.keys.iter_mut().filter(|key| done.revoked.contains(&key.kid)) {
            // A start that lies ahead will not happen, and so it ends nobody's turn.
            key.signs_from =
                key.signs_from.filter(|&from| signer.is_some_and(|signer| signer.signs_from >= Some(from)));
            key.revoked_at = Some(now);
            key.sealed.clear();
        }
        if signer.is_none_or(|signer| done.revoked.contains(&signer.kid)) {
            let promoted = match next.signer(now).or_else(|| next.standby()) {
                Some(in_line) => in_line.kid.clone(),
                None => next.take_in(&mut fresh, now, &mut done.added)?,
            };
            next.set_start(&promoted, None);
            let start = next.after_all_starts(now);
            next.set_start(&promoted, Some(start));
            done.published_for = next.key(&promoted).map(|key| now.since(key.published_at));
            done.promoted = Some(promoted);
        }
        if next.standby().is_none() {
            next.take_in(&mut fresh, now, &mut done.added)?;
        }
        next.drop_ended(now);
        *self = next;
        Ok(done)
    }

    /// Allows tokens of this lifetime, in seconds, under this ring; says whether anything changed. To be committed
    /// before the first such token is issued. Never shortens.
    pub fn raise_lifetime(&mut self, now: Timestamp, seconds: u32) -> bool {
        if seconds <= self.longest_lifetime {
            return false;
        }
        // Keys that have left the JWKS stay out of it.
        let live: Vec<Kid> = self.published(now).map(|key| key.kid.clone()).collect();
        self.longest_lifetime = seconds;
        for key in self.keys.iter_mut().filter(|key| live.contains(&key.kid)) {
            key.longest_lifetime = key.longest_lifetime.max(seconds);
        }
        true
    }

    /// Drops keys that ended long ago, or that are too many; says whether anything changed. Every change of the ring
    /// does it on its way.
    pub fn drop_ended(&mut self, now: Timestamp) -> bool {
        let before = self.keys.len();
        while let Some(kid) = self.droppable(now) {
            self.keys.retain(|key| key.kid != kid);
        }
        self.keys.len() != before
    }

    /// The next key to drop. A started key marks where its predecessor stopped, so that it goes only after that one,
    /// or when that one is revoked and its stop no longer matters.
    fn droppable(&self, now: Timestamp) -> Option<Kid> {
        let end = |key: &RingKey| match self.state_of(key, now) {
            KeyState::Revoked => key.revoked_at,
            KeyState::Retired => self.leaves_at(key),
            KeyState::Pending | KeyState::Active | KeyState::Retiring => None,
        };
        let ended: Vec<(&RingKey, Timestamp)> =
            self.keys.iter().filter_map(|key| end(key).map(|at| (key, at))).collect();
        let predecessor = |key: &RingKey| {
            let before =
                self.keys.iter().filter(|other| other.signs_from.is_some() && other.signs_from < key.signs_from);
            before.max_by_key(|other| other.signs_from)
        };
        let free = ended.iter().filter(|(key, _)| predecessor(key).is_none_or(RingKey::is_revoked));
        let too_many = ended.len() > MAX_ENDED_KEYS;
        let due = |at: Timestamp| too_many || now >= at.plus(KEPT_AFTER_END);
        free.filter(|(_, at)| due(*at)).min_by_key(|(_, at)| *at).map(|(key, _)| key.kid.clone())
    }

    fn take_in<'a>(
        &mut self,
        fresh: &mut impl Iterator<Item = &'a FreshKey>,
        now: Timestamp,
        added: &mut Vec<Kid>,
    ) -> Result<Kid, RevokeRefusal> {
        let key = fresh.next().ok_or(RevokeRefusal::NeedsFreshKeys)?.clone();
        let kid = key.kid.clone();
        added.push(kid.clone());
        self.keys.push(RingKey::new(key, self.longest_lifetime, now));
        Ok(kid)
    }

    /// `at`, or just past the last start in the ring: no two keys start at the same instant.
    fn after_all_starts(&self, at: Timestamp) -> Timestamp {
        let last = self.keys.iter().filter_map(|key| key.signs_from).max();
        last.map_or(at, |last| at.max(last.plus(Duration::from_millis(1))))
    }

    fn set_start(&mut self, kid: &Kid, at: Option<Timestamp>) {
        for key in self.keys.iter_mut().filter(|key| key.kid == *kid) {
            key.signs_from = at;
        }
    }
}
