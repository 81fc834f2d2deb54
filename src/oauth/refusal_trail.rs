//! Refusals of authenticated callers on their way into the audit trail: counted in memory by who, what and code, and
//! written down lazily, many in a commit, so that no caller can make edi write as often as it asks.
//!
//! The first of a kind is written within a second or so, what follows once a minute with its count. Refusals of
//! strangers never come here. A crash loses what was not written yet.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::refusals::Refused;
use super::service::Service;
use crate::audit::{Differences, Entry, Outcome};
use crate::model::id::ClientId;
use crate::model::time::Timestamp;
use crate::store::collections::audit;
use crate::store::tx::TxError;

/// How often it is looked whether there is something to write.
const LOOK_EVERY: Duration = Duration::from_millis(900);
/// How long refusals of one kind are counted together.
const TOGETHER: Duration = Duration::from_mins(1);
/// How many kinds are counted at once; refusals of more are only counted as dropped.
const KINDS: usize = 1024;
/// How many entries are written in one commit.
const WRITTEN_AT_ONCE: usize = 50;

/// Refusals that one entry stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kind {
    actor: Box<str>,
    action: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone)]
struct First {
    at: Timestamp,
    target: Box<str>,
    request_id: Box<str>,
    address: Option<IpAddr>,
    reason: Box<str>,
}

#[derive(Debug)]
struct Counted {
    /// The first that is not written.
    first: Option<First>,
    /// How many are not written.
    count: u64,
    /// When this kind was written last.
    told_at: Option<Timestamp>,
}

/// What is to be told.
#[derive(Debug, Default)]
pub struct Pending {
    kinds: Mutex<HashMap<Kind, Counted>>,
    dropped: AtomicU64,
}

/// Whether the trail tells of it: a caller that proved itself asked for something and was refused. Who is not
/// authenticated (401), what is not there (404) and what edi could not do (5xx) is no such thing.
fn is_told(refused: &Refused) -> bool {
    matches!(refused.status, 400..500) && !matches!(refused.status, 401 | 404)
}

impl Pending {
    /// Counts a refusal, if the trail tells of such.
    pub(super) fn note(&self, at: Timestamp, refused: &Refused) {
        let (Some(actor), Some(action), true) = (&refused.client_id, refused.action, is_told(refused)) else { return };
        let first = || First {
            at,
            target: refused.target.clone(),
            request_id: refused.request_id.clone(),
            address: refused.address,
            reason: refused.reason.clone(),
        };
        let mut kinds = self.kinds();
        let room = kinds.len() < KINDS;
        let kind = Kind { actor: actor.clone(), action, code: refused.code };
        if let Some(counted) = kinds.get_mut(&kind) {
            counted.count += 1;
            counted.first.get_or_insert_with(first);
        } else if room {
            kinds.insert(kind, Counted { first: Some(first()), count: 1, told_at: None });
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes what is due, or all there is, and forgets kinds that have become quiet.
    fn take(&self, now: Timestamp, all: bool) -> Vec<(Kind, Entry)> {
        let mut due = Vec::new();
        self.kinds().retain(|kind, counted| {
            // A clock that was set back must not silence anybody.
            let over = counted.told_at.is_none_or(|told| now < told || now >= told.plus(TOGETHER));
            if !over && !all {
                return true;
            }
            let Some(first) = counted.first.take() else { return false };
            let count = std::mem::take(&mut counted.count);
            counted.told_at = Some(now);
            let Ok(actor) = ClientId::parse(&kind.actor) else { return false };
            due.push((kind.clone(), entry(actor, kind, first, count)));
            true
        });
        due
    }

    /// Takes back what could not be written.
    fn give_back(&self, unwritten: Vec<(Kind, Entry)>) {
        let mut kinds = self.kinds();
        for (kind, entry) in unwritten {
            let first = First {
                at: entry.at,
                target: entry.target.into(),
                request_id: entry.request_id.unwrap_or_default().into(),
                address: entry.address,
                reason: entry.reason.unwrap_or_default().into(),
            };
            let counted = kinds.entry(kind).or_insert(Counted { first: None, count: 0, told_at: None });
            counted.first = Some(first);
            counted.count += entry.count;
            counted.told_at = None;
        }
    }

    fn kinds(&self) -> MutexGuard<'_, HashMap<Kind, Counted>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(actor: ClientId, kind: &Kind, first: First, count: u64) -> Entry {
    Entry {
        at: first.at,
        actor,
        action: kind.action.into(),
        target: first.target.into(),
        request_id: Some(first.request_id.into()).filter(|id: &String| !id.is_empty()),
        address: first.address,
        reason: Some(first.reason.into()),
        outcome: Outcome::Refused,
        code: Some(kind.code.into()),
        count,
        changes: Differences::default(),
    }
}

/// Writes down what is due, or `all` there is.
///
/// # Errors
/// Those of the store. What was not written stays counted; where it is unknown whether it was, it is told again.
pub async fn write_down(service: &Service, all: bool) -> Result<(), TxError> {
    let mut due = service.refusals.pending.take(service.now(), all);
    while !due.is_empty() {
        let later = due.split_off(due.len().min(WRITTEN_AT_ONCE));
        let entries: Vec<&Entry> = due.iter().map(|(_, entry)| entry).collect();
        let written = audit::record_refusals(&*service.store, &service.ambient, &entries).await;
        if let Err(error) = written {
            due.extend(later);
            service.refusals.pending.give_back(due);
            return Err(error);
        }
        due = later;
    }
    Ok(())
}

/// Writes it down all the time, for as long as the service lives.
pub async fn keep_writing(service: Arc<Service>) {
    let mut failing = false;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let written = write_down(&service, false).await;
        match &written {
            Err(error) if !failing => {
                tracing::warn!(target: "edi::audit", %error, "refusals cannot be written down at present");
            }
            _ => {}
        }
        failing = written.is_err();
        let dropped = service.refusals.pending.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(target: "edi::audit", dropped, "more kinds of refusals than the trail counts at once");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::refusals::tests::refused;
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

    fn told(due: &[(Kind, Entry)]) -> Vec<(String, u64, Option<String>)> {
        due.iter().map(|(_, it)| (it.actor.to_string(), it.count, it.request_id.clone())).collect()
    }

    #[test]
    fn the_first_is_told_at_once_and_the_rest_by_the_minute_with_their_count() {
        let pending = Pending::default();
        let note = |id: &str, at| pending.note(at, &refused(id, Some("svc")));
        note("a", NOW);
        assert_eq!(told(&pending.take(NOW, false)), [("svc".into(), 1, Some("a".into()))]);
        for id in ["b", "c", "d"] {
            note(id, NOW);
        }
        assert!(pending.take(NOW.plus(TOGETHER / 2), false).is_empty());
        assert_eq!(told(&pending.take(NOW.plus(TOGETHER), false)), [("svc".into(), 3, Some("b".into()))]);
        assert!(pending.take(NOW.plus(TOGETHER * 2), false).is_empty());
        assert!(pending.kinds().is_empty(), "what has become quiet is forgotten");
        note("e", NOW);
        assert_eq!(pending.take(NOW, true).len(), 1);
        note("f", NOW);
        assert_eq!(pending.take(NOW, true).len(), 1, "at the end nothing waits");
    }

    #[test]
    fn strangers_and_what_is_no_refusal_are_not_told() {
        let pending = Pending::default();
        pending.note(NOW, &refused("a", None));
        pending.note(NOW, &Refused { action: None, ..refused("a", Some("svc")) });
        for status in [401, 404, 499 + 1, 503] {
            pending.note(NOW, &Refused { status, ..refused("a", Some("svc")) });
        }
        assert!(pending.take(NOW, true).is_empty());
    }

    #[test]
    fn what_could_not_be_written_is_told_with_what_came_meanwhile() {
        let pending = Pending::default();
        pending.note(NOW, &refused("a", Some("svc")));
        let taken = pending.take(NOW, false);
        pending.note(NOW, &refused("b", Some("svc")));
        pending.give_back(taken);
        assert_eq!(told(&pending.take(NOW, false)), [("svc".into(), 2, Some("a".into()))]);
    }

    #[test]
    fn no_more_kinds_are_counted_than_there_is_room_for() {
        let pending = Pending::default();
        for n in 0..KINDS + 3 {
            pending.note(NOW, &refused("a", Some(&format!("c{n}"))));
        }
        pending.note(NOW, &refused("a", Some("c0")));
        assert_eq!((pending.kinds().len(), pending.dropped.load(Ordering::Relaxed)), (KINDS, 3));
    }
}
