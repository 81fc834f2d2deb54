//! What was refused lately and why: a bounded memory that `edi why` asks, and what of it the audit trail has to tell
//! ([`super::refusal_trail`]).
//!
//! It holds what the access log's line holds and nothing more: no credential, no body, no query. Callers that proved
//! themselves have a ring of their own, so that no flood of strangers pushes out what became of them.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::refusal_trail::Pending;
use crate::ambient::{Ambient, Clock};
use crate::model::time::Timestamp;

/// How many refusals of each sort are remembered.
pub const REMEMBERED: usize = 4096;
/// The longest reason that is kept, in bytes.
const LONGEST_REASON: usize = 512;

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The request.
    pub request_id: Box<str>,
    /// The status of the answer.
    pub status: u16,
    /// The code of the answer, or a word for its status.
    pub code: &'static str,
    /// Why, for the operator.
    pub reason: Box<str>,
    /// How it was asked.
    pub method: Box<str>,
    /// What was asked, as the access log shows it.
    pub path: Box<str>,
    /// Where from.
    pub address: Option<IpAddr>,
    /// Who, once proved.
    pub client_id: Option<Box<str>>,
    /// `thing.verb`, for what the audit trail tells.
    pub action: Option<&'static str>,
    /// The id of what it would have been done to, where there is one.
    pub target: Box<str>,
}

/// A refusal, when it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// When.
    pub at: Timestamp,
    /// What.
    pub refused: Refused,
}

#[derive(Debug, Default)]
struct Ring(Mutex<VecDeque<Remembered>>);

impl Ring {
    fn push(&self, one: Remembered) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() >= REMEMBERED {
            ring.pop_front();
        }
        ring.push_back(one);
    }

    fn find(&self, request_id: &str) -> Option<Remembered> {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.iter().rev().find(|one| &*one.refused.request_id == request_id).cloned()
    }
}

/// The memory.
pub struct Refusals {
    clock: Arc<dyn Clock>,
    known: Ring,
    strangers: Ring,
    /// What is to be told in the audit trail.
    pub pending: Pending,
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals").finish_non_exhaustive()
    }
}

impl Refusals {
    /// An empty one.
    #[must_use]
    pub fn new(ambient: &Ambient) -> Self {
        Self {
            clock: Arc::clone(&ambient.clock),
            known: Ring::default(),
            strangers: Ring::default(),
            pending: Pending::default(),
        }
    }

    /// Notes a refusal that happened now.
    pub fn note(&self, mut refused: Refused) {
        if refused.reason.len() > LONGEST_REASON {
            let end = refused.reason.floor_char_boundary(LONGEST_REASON);
            refused.reason = format!("{}…", refused.reason.get(..end).unwrap_or_default()).into();
        }
        let at = self.clock.now();
        self.pending.note(at, &refused);
        let ring = if refused.client_id.is_some() { &self.known } else { &self.strangers };
        ring.push(Remembered { at, refused });
    }

    /// What is remembered of a request. Callers may bring ids of their own: where two share one, that of a caller who
    /// proved himself counts before a stranger's, and a later one before an earlier.
    #[must_use]
    pub fn find(&self, request_id: &str) -> Option<Remembered> {
        self.known.find(request_id).or_else(|| self.strangers.find(request_id))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ambient::{ManualClock, SeededEntropy};

    pub(in crate::oauth) fn refused(id: &str, client: Option<&str>) -> Refused {
        Refused {
            request_id: id.into(),
            status: 400,
            code: "invalid_scope",
            reason: "no such role".into(),
            method: "POST".into(),
            path: "/oauth2/token".into(),
            address: Some([192, 0, 2, 9].into()),
            client_id: client.map(Into::into),
            action: Some("token.issue"),
            target: "".into(),
        }
    }

    fn memory() -> Refusals {
        let clock = ManualClock::at(Timestamp::from_secs(1_795_000_000));
        Refusals::new(&Ambient { clock, entropy: SeededEntropy::new(1) })
    }

    #[test]
    fn strangers_push_out_strangers_alone() {
        let memory = memory();
        memory.note(refused("known", Some("svc")));
        for n in 0..=REMEMBERED {
            memory.note(refused(&format!("s{n}"), None));
        }
        assert!(memory.find("known").is_some());
        assert!(memory.find("s0").is_none() && memory.find("s1").is_some());
        assert!(memory.find(&format!("s{REMEMBERED}")).is_some());
    }

    #[test]
    fn a_stranger_cannot_hide_what_became_of_a_caller_under_the_same_id() {
        let memory = memory();
        memory.note(refused("r", Some("svc")));
        memory.note(refused("r", None));
        assert_eq!(memory.find("r").unwrap().refused.client_id.as_deref(), Some("svc"));
    }

    #[test]
    fn reasons_are_kept_short() {
        let memory = memory();
        memory.note(Refused { reason: "ä".repeat(5000).into(), ..refused("long", None) });
        let kept = memory.find("long").unwrap().refused.reason;
        assert!(kept.len() <= LONGEST_REASON + '…'.len_utf8() && kept.ends_with('…'));
    }
}
