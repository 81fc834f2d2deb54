//! When each role was last put into a token by this process. Kept in memory alone: a token costs no store write.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::model::scope::Role;
use crate::model::time::Timestamp;

/// How many roles are remembered; later ones are not. Roles are registered by operators, so this is never met by a
/// caller's doing.
const CAPACITY: usize = 100_000;

/// The last instant, in seconds, by role.
#[derive(Debug, Default)]
pub struct LastIssued {
    by_role: RwLock<HashMap<Role, AtomicI64>>,
}

impl LastIssued {
    /// Notes that a token with these roles was issued.
    pub fn note(&self, roles: &[Role], now: Timestamp) {
        let now = now.secs();
        let by_role = self.by_role.read().unwrap_or_else(PoisonError::into_inner);
        let mut unknown = false;
        for role in roles {
            match by_role.get(role) {
                // Within one second there is nothing to write, so that cores do not fight for the line.
                Some(last) if last.load(Ordering::Relaxed) < now => drop(last.fetch_max(now, Ordering::Relaxed)),
                Some(_) => {}
                None => unknown = true,
            }
        }
        let room = by_role.len() < CAPACITY;
        drop(by_role);
        if unknown && room {
            self.meet(roles, now);
        }
    }

    /// When a token with this role was last issued.
    #[must_use]
    pub fn of(&self, role: &Role) -> Option<Timestamp> {
        let by_role = self.by_role.read().unwrap_or_else(PoisonError::into_inner);
        by_role.get(role).map(|last| Timestamp::from_secs(last.load(Ordering::Relaxed)))
    }

    #[cold]
    fn meet(&self, roles: &[Role], now: i64) {
        let mut by_role = self.by_role.write().unwrap_or_else(PoisonError::into_inner);
        for role in roles {
            if by_role.len() < CAPACITY || by_role.contains_key(role) {
                by_role.entry(role.clone()).or_default().fetch_max(now, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_instant_of_each_role_is_kept() {
        let issued = LastIssued::default();
        let [a, b, c] = ["a", "b", "c"].map(|name| Role::parse(name).unwrap());
        issued.note(std::slice::from_ref(&a), Timestamp::from_millis(5_900));
        issued.note(&[a.clone(), b.clone()], Timestamp::from_secs(9));
        issued.note(&[b.clone(), a.clone()], Timestamp::from_secs(7));
        let of = |role| issued.of(role).map(Timestamp::secs);
        assert_eq!((of(&a), of(&b), of(&c)), (Some(9), Some(9), None));
        issued.note(&[a.clone(), c.clone()], Timestamp::from_secs(11));
        assert_eq!((of(&a), of(&b), of(&c)), (Some(11), Some(9), Some(11)));
    }
}
