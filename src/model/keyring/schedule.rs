//! When rings rotate by themselves, and which settings cannot work.

use std::time::Duration;

use super::{FreshKey, MAX_JWKS_AGE, MAX_LIVE_KEYS, Ring, SKEW, Timestamp};

/// A verifier that keeps the key set for a while without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownCache {
    /// Whose.
    pub name: &'static str,
    /// For how long at most, as it comes or as `config/proxies` sets it up.
    pub keeps: Duration,
}

/// The caches of verifiers that edi is used with, the slowest first. What fetches again at an unknown `kid`
/// (oauth2-proxy, most libraries) is not among them.
pub const KNOWN_CACHES: [KnownCache; 5] = [
    KnownCache { name: "Istio", keeps: Duration::from_mins(20) },
    KnownCache { name: "HAProxy with take-keys", keeps: Duration::from_mins(10) },
    KnownCache { name: "Envoy", keeps: Duration::from_mins(5) },
    KnownCache { name: "Apache mod_auth_openidc", keeps: Duration::from_mins(5) },
    KnownCache { name: "nginx and whoever heeds Cache-Control", keeps: Duration::from_mins(5) },
];

/// The settings of automatic rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// How long a key signs before its successor takes over.
    pub rotate_every: Duration,
    /// How long a key is published before it signs: longer than any verifier's JWKS cache.
    pub publish_before: Duration,
}

/// The next rotation that will happen by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// When.
    pub due: Timestamp,
    /// The ring as it will be; `None` when the rotation would be refused, as too many keys are still trusted.
    pub ring: Option<Ring>,
}

/// Settings that cannot work, with the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleProblem {
    /// A successor would have to sign before it was published long enough.
    #[error(
        "keys.rotate_every ({} s) is shorter than keys.publish_before ({} s): a successor could never start in time; \
         raise the one or lower the other", .0.rotate_every.as_secs(), .0.publish_before.as_secs()
    )]
    RotatesTooEarly(Schedule),
    /// More keys would have to stay trusted than a ring holds.
    #[error(
        "with tokens of up to {longest_lifetime} s and keys.rotate_every of {rotate_every} s, {keys} keys of each \
         algorithm would have to stay trusted at once, and {MAX_LIVE_KEYS} are allowed; rotate less often or shorten \
         the tokens"
    )]
    TooManyKeys {
        /// The longest token lifetime, in seconds.
        longest_lifetime: u32,
        /// The period, in seconds.
        rotate_every: u64,
        /// How many keys would be published.
        keys: u64,
    },
}

impl Schedule {
    /// Whether rings that rotate like this work with tokens of up to `longest_lifetime` seconds.
    ///
    /// # Errors
    /// What cannot work, with the numbers.
    pub fn check(&self, longest_lifetime: u32) -> Result<(), ScheduleProblem> {
        if self.rotate_every < self.publish_before || self.rotate_every.is_zero() {
            return Err(ScheduleProblem::RotatesTooEarly(*self));
        }
        let trusted = Duration::from_secs(longest_lifetime.into()) + SKEW;
        let retiring = trusted.as_millis().div_ceil(self.rotate_every.as_millis().max(1));
        // Beside them: the active one, the pending one, and room for one rotation by hand.
        let keys = u64::try_from(retiring).unwrap_or(u64::MAX).saturating_add(3);
        if keys > MAX_LIVE_KEYS as u64 {
            let rotate_every = self.rotate_every.as_secs();
            return Err(ScheduleProblem::TooManyKeys { longest_lifetime, rotate_every, keys });
        }
        Ok(())
    }

    /// For how many seconds a JWKS may be cached at most. A rotation by hand is no transition that an earlier copy could
    /// know of: one older than `publish_before` could lack the key that signs now.
    #[must_use]
    pub fn jwks_max_age(&self) -> u32 {
        u32::try_from(self.publish_before.as_secs()).unwrap_or(MAX_JWKS_AGE).min(MAX_JWKS_AGE)
    }

    /// When the ring is due for its next automatic rotation; `None` while one is planned already.
    #[must_use]
    pub fn due(&self, ring: &Ring, now: Timestamp) -> Option<Timestamp> {
        if ring.planned(now).is_some() {
            return None;
        }
        Some(ring.signer(now)?.signs_from?.plus(self.rotate_every))
    }

    /// What the next automatic rotation will do, if nobody interferes. `fresh` stands for the key that it will make.
    #[must_use]
    pub fn forecast(&self, ring: &Ring, now: Timestamp, fresh: FreshKey) -> Option<Forecast> {
        let after = ring.planned(now).map_or(now, |(_, starts)| starts);
        let due = self.due(ring, after)?.max(now);
        let mut next = ring.clone();
        let rotated = next.rotate(due, self.publish_before, fresh).is_ok();
        Some(Forecast { due, ring: rotated.then_some(next) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::algorithm::Algorithm;
    use crate::model::id::Kid;

    const DAY: u64 = 24 * 3600;

    fn schedule(rotate_every: u64, publish_before: u64) -> Schedule {
        Schedule {
            rotate_every: Duration::from_secs(rotate_every),
            publish_before: Duration::from_secs(publish_before),
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused_with_their_numbers() {
        assert_eq!(schedule(30 * DAY, 3600).check(86_400), Ok(()));
        assert_eq!(schedule(DAY, DAY).check(86_400), Ok(()));
        let early = schedule(600, 3600).check(900).unwrap_err().to_string();
        assert!(early.contains("600 s") && early.contains("3600 s"), "{early}");
        let many = schedule(3600, 3600).check(86_400).unwrap_err().to_string();
        assert!(many.contains("86400 s") && many.contains("3600 s") && many.contains("28 keys"), "{many}");
        assert!(schedule(0, 0).check(60).is_err());
    }

    #[test]
    fn the_forecast_is_what_the_rotation_then_does() {
        let fresh = |name: &str| FreshKey {
            kid: Kid::parse(name).unwrap(),
            public: serde_json::Value::Null,
            sealed: "sealed".into(),
        };
        let at = |secs: u64| Timestamp::from_millis(i64::try_from(secs * 1000).unwrap());
        let schedule = schedule(30 * DAY, 3600);
        let mut ring = Ring::start(Algorithm::Es256, 900, fresh("a"), fresh("b"), at(0));
        let foreseen = schedule.forecast(&ring, at(60), fresh("c")).unwrap();
        assert_eq!(foreseen.due, at(30 * DAY));
        ring.rotate(foreseen.due, schedule.publish_before, fresh("c")).unwrap();
        assert_eq!(foreseen.ring, Some(ring.clone()));
        // While one is planned, the one after it.
        ring.rotate(at(30 * DAY + 60), Duration::from_hours(1), fresh("d")).unwrap();
        let planned = ring.planned(at(30 * DAY + 60)).unwrap().1;
        let foreseen = schedule.forecast(&ring, at(30 * DAY + 60), fresh("e")).unwrap();
        assert_eq!(foreseen.due, planned.plus(schedule.rotate_every));
        // One that is overdue happens now.
        assert_eq!(schedule.forecast(&ring, at(300 * DAY), fresh("e")).unwrap().due, at(300 * DAY));
    }

    #[test]
    fn a_cached_key_set_holds_the_signer_however_often_somebody_rotates() {
        let fresh = |n: u64| FreshKey {
            kid: Kid::parse(&format!("k{n}")).unwrap(),
            public: serde_json::Value::Null,
            sealed: "sealed".into(),
        };
        let at = |millis: u64| Timestamp::from_millis(i64::try_from(millis).unwrap());
        let schedule = schedule(600, 2);
        let mut ring = Ring::start(Algorithm::Es256, 10, fresh(0), fresh(1), at(0));
        let mut copies: Vec<(Timestamp, Vec<Kid>)> = Vec::new();
        let mut rotations = 0;
        for step in 0..3_000 {
            let now = at(step * 100);
            // As often as it is let: whenever none is planned and there is room.
            if ring.planned(now).is_none() && ring.rotate(now, schedule.publish_before, fresh(step + 2)).is_ok() {
                rotations += 1;
            }
            let signer = &ring.signer(now).unwrap().kid;
            copies.retain(|(until, _)| now < *until);
            assert!(copies.iter().all(|(_, kids)| kids.contains(signer)), "at {now}");
            let age = ring.max_age(now).min(schedule.jwks_max_age());
            let kids = ring.published(now).map(|key| key.kid.clone()).collect();
            copies.push((now.plus(Duration::from_secs(age.into())), kids));
        }
        assert!(rotations > 10, "{rotations}");
    }

    #[test]
    fn the_slowest_cache_comes_first() {
        assert!(KNOWN_CACHES.is_sorted_by(|a, b| a.keeps >= b.keeps));
    }
}
