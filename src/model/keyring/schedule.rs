//! When rings rotate by themselves, and which settings cannot work.

use std::time::Duration;

use super::{MAX_LIVE_KEYS, Ring, SKEW, Timestamp};

/// The settings of automatic rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// How long a key signs before its successor takes over.
    pub rotate_every: Duration,
    /// How long a key is published before it signs: longer than any verifier's JWKS cache.
    pub publish_before: Duration,
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

    /// When the ring is due for its next automatic rotation; `None` while one is planned already.
    #[must_use]
    pub fn due(&self, ring: &Ring, now: Timestamp) -> Option<Timestamp> {
        if ring.planned(now).is_some() {
            return None;
        }
        Some(ring.signer(now)?.signs_from?.plus(self.rotate_every))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
