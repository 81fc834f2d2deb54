//! Taking in a key pair that signed elsewhere: verifiers hold its public half already, so it may sign at once.

use std::time::Duration;

use super::{FreshKey, Kid, MAX_LIVE_KEYS, Ring, RingKey, SKEW, Timestamp};

/// What an imported key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adoption {
    /// It signs from now on, and retires like any other key.
    Signs,
    /// It is published until the tokens that it signed elsewhere have expired, and never signs here.
    Verifies,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// The imported key.
    pub kid: Kid,
    /// From when it signs; absent for one that only verifies.
    pub signs_from: Option<Timestamp>,
    /// When it leaves the JWKS, as far as that is decided.
    pub leaves_at: Option<Timestamp>,
    /// The key that signed until now, and until when it stays trusted.
    pub old: Option<(Kid, Timestamp)>,
    /// A key whose planned turn was called off: it waits as a standby again.
    pub called_off: Option<Kid>,
}

/// Why a key was not taken in; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdoptRefusal {
    /// A key of that id is in the ring.
    #[error("there is a key {0} already")]
    KnownKey(Kid),
    /// Too many keys are still trusted.
    #[error("{} keys of this algorithm are still trusted, and a rotation needs room for one more", MAX_LIVE_KEYS - 1)]
    TooManyKeys,
    /// The ring has no signer: not a ring that edi made.
    #[error("the ring has no active key; revoke the key that signs to start anew")]
    Broken,
}

impl Ring {
    /// Takes in a key that signed elsewhere tokens of up to `lifetime` seconds. It never waits to be published: who
    /// imports a key does so because verifiers know it. A planned rotation is called off by a key that signs.
    ///
    /// # Errors
    /// [`AdoptRefusal`]; the ring is as before.
    pub fn adopt(
        &mut self,
        key: FreshKey,
        adoption: Adoption,
        lifetime: u32,
        now: Timestamp,
    ) -> Result<Adopted, AdoptRefusal> {
        if self.key(&key.kid).is_some() {
            return Err(AdoptRefusal::KnownKey(key.kid));
        }
        // Room for the successor that the next rotation publishes.
        if self.published(now).count() >= MAX_LIVE_KEYS - 1 {
            return Err(AdoptRefusal::TooManyKeys);
        }
        let signer = self.signer(now).ok_or(AdoptRefusal::Broken)?;
        let (old, since) = (signer.kid.clone(), signer.signs_from.unwrap_or(now));
        self.raise_lifetime(now, lifetime);
        let kid = key.kid.clone();
        let mut key = RingKey::new(key, self.longest_lifetime, now);
        let mut called_off = None;
        match adoption {
            Adoption::Verifies => {
                key.trusted_until = Some(now.plus(Duration::from_secs(lifetime.into())).plus(SKEW));
            }
            Adoption::Signs => {
                for ahead in self.keys.iter_mut().filter(|key| key.signs_from.is_some_and(|at| at > now.max(since))) {
                    ahead.signs_from = None;
                    called_off = Some(ahead.kid.clone()).filter(|_| !ahead.is_revoked()).or(called_off);
                }
                key.signs_from = Some(now.max(since.plus(Duration::from_millis(1))));
            }
        }
        let signs_from = key.signs_from;
        self.keys.push(key);
        let old = signs_from.and_then(|_| Some((old.clone(), self.retires_at(&old)?)));
        let leaves_at = self.retires_at(&kid);
        self.drop_ended(now);
        Ok(Adopted { kid, signs_from, leaves_at, old, called_off })
    }
}
