//! The audit trail as operators see it: filtered and page by page, verified, and asked what changed since an instant.

use std::net::IpAddr;

use serde::Serialize;

use super::access::Operator;
use super::error::{AdminError, FieldError};
use super::page::{Page, PageRequest};
use crate::audit::seal::{Link, Seal, Sealed};
use crate::audit::{Differences, Entry, Outcome};
use crate::model::id::ClientId;
use crate::model::scope::AdminScope;
use crate::model::time::{self, Timestamp};
use crate::oauth::service::Service;
use crate::store::collections::audit::{self, Mark};
use crate::store::trail::{self, Break, Step, Walk};
use crate::store::{Key, StoreError};

/// The longest text of a filter.
const MAX_FILTER: usize = 200;
/// How far ahead of this clock an entry's may be.
const AHEAD: std::time::Duration = std::time::Duration::from_hours(24);

/// An entry as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct EntryView {
    /// Names it in a seal.
    pub id: String,
    /// When.
    #[serde(with = "time::rfc3339")]
    pub at: Timestamp,
    /// Who.
    pub actor: ClientId,
    /// `thing.verb`.
    pub action: String,
    /// To what.
    pub target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    count: u64,
    #[serde(skip_serializing_if = "Differences::is_empty")]
    changes: Differences,
}

impl From<(Key, Entry)> for EntryView {
    fn from((key, entry): (Key, Entry)) -> Self {
        let Entry { at, actor, action, target, request_id, address, reason, outcome, code, count, changes } = entry;
        Self {
            id: audit::id(&key).to_owned(),
            at,
            actor,
            action: action.into_owned(),
            target,
            request_id,
            address,
            reason,
            outcome,
            code: code.map(Into::into),
            count,
            changes,
        }
    }
}

/// Which entries are wanted.
#[derive(Debug, Default)]
pub struct Filter {
    actor: Option<String>,
    action: Option<String>,
    target: Option<String>,
    request_id: Option<String>,
    outcome: Option<Outcome>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    newest_first: bool,
}

impl Filter {
    /// Reads it from the parameters of a query.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] naming every parameter that is wrong.
    pub fn parse<'q>(get: impl Fn(&str) -> Option<&'q str>) -> Result<Self, AdminError> {
        let mut problems = Vec::new();
        let mut problem =
            |field: &str, detail: &str| problems.push(FieldError { field: field.into(), detail: detail.into() });
        let mut out = Self::default();
        for (name, slot) in [
            ("actor", &mut out.actor),
            ("action", &mut out.action),
            ("target", &mut out.target),
            ("request_id", &mut out.request_id),
        ] {
            *slot = get(name).map(ToOwned::to_owned);
            if slot.as_ref().is_some_and(|text| text.len() > MAX_FILTER) {
                problem(name, "expected at most 200 bytes");
            }
        }
        for (name, slot) in [("since", &mut out.since), ("until", &mut out.until)] {
            *slot = get(name).and_then(Timestamp::parse_rfc3339);
            if get(name).is_some() && slot.is_none() {
                problem(name, "expected an RFC 3339 date and time");
            }
        }
        match get("outcome") {
            None => {}
            Some("done") => out.outcome = Some(Outcome::Done),
            Some("refused") => out.outcome = Some(Outcome::Refused),
            Some(_) => problem("outcome", "expected done or refused"),
        }
        match get("order") {
            None | Some("asc") => {}
            Some("desc") => out.newest_first = true,
            Some(_) => problem("order", "expected asc or desc"),
        }
        if problems.is_empty() { Ok(out) } else { Err(AdminError::Invalid(problems)) }
    }

    fn fits(&self, entry: &Entry) -> bool {
        let equal = |wanted: &Option<String>, there: &str| wanted.as_ref().is_none_or(|wanted| wanted == there);
        // `client.*` takes every action on clients.
        let acts = |wanted: &str| match wanted.strip_suffix('*') {
            Some(begins) => entry.action.starts_with(begins),
            None => entry.action == wanted,
        };
        equal(&self.actor, entry.actor.as_str())
            && self.action.as_deref().is_none_or(acts)
            && equal(&self.target, &entry.target)
            && equal(&self.request_id, entry.request_id.as_deref().unwrap_or_default())
            && self.outcome.is_none_or(|wanted| wanted == entry.outcome)
    }
}

/// One page of the trail. A page may be short, even empty, with more to come: each looks at a bounded stretch.
///
/// # Errors
/// [`AdminError`].
pub async fn list(
    service: &Service,
    operator: &Operator,
    filter: &Filter,
    page: &PageRequest,
) -> Result<Page<EntryView>, AdminError> {
    operator.demand(AdminScope::Audit)?;
    let store = &*service.store;
    let fits = |entry: &Entry| filter.fits(entry);
    let (found, next) = if filter.newest_first {
        let before = match (&page.after, filter.until) {
            (Some(key), _) => key.clone(),
            (None, Some(until)) => audit::before(until),
            (None, None) => audit::before(newest(service).await?),
        };
        trail::newest_first(store, &before, filter.since, page.limit, fits).await?
    } else {
        let since = filter.since.map(audit::before);
        trail::oldest_first(store, page.after.as_ref().or(since.as_ref()), filter.until, page.limit, fits).await?
    };
    Ok(Page::new(found.into_iter().map(Into::into).collect(), page.cursor(next.as_ref())))
}

/// After every entry, whatever clocks did meanwhile.
async fn newest(service: &Service) -> Result<Timestamp, StoreError> {
    let (_, head) = trail::ends(&*service.store).await?;
    Ok(head.map_or(service.now(), |mark| mark.at.max(service.now())).plus(AHEAD))
}

/// Every management change since an instant, oldest first, at most `limit`, and whether there were more: what a stolen
/// key could have been used for. What clients did with their own tokens and what edi does by itself is left out.
///
/// # Errors
/// Those of the store.
pub async fn changes_since(
    service: &Service,
    since: Timestamp,
    limit: usize,
) -> Result<(Vec<EntryView>, bool), AdminError> {
    let managed = |entry: &Entry| {
        entry.outcome == Outcome::Done && entry.action != "token.revoke" && entry.actor != ClientId::edi()
    };
    let mut after = Some(audit::before(since));
    let mut found = Vec::new();
    while let Some(from) = after {
        let wanted = limit + 1 - found.len();
        let (more, next) = trail::oldest_first(&*service.store, Some(&from), None, wanted, managed).await?;
        found.extend(more.into_iter().map(EntryView::from));
        after = next.filter(|_| found.len() <= limit);
    }
    let more = found.len() > limit;
    found.truncate(limit);
    Ok((found, more))
}

/// A place in the chain as operators see it.
#[derive(Debug, Serialize)]
pub struct LinkView {
    seq: u64,
    hash: String,
    #[serde(with = "time::rfc3339")]
    at: Timestamp,
}

impl From<Mark> for LinkView {
    fn from(Mark { link: Link { seq, hash }, at }: Mark) -> Self {
        Self { seq, hash: hash.to_string(), at }
    }
}

/// How a verification stands.
#[derive(Debug, Serialize)]
pub struct VerifyView {
    /// `unfinished` (go on with `next_cursor`), `intact` or `broken`.
    state: &'static str,
    seals: u64,
    entries: u64,
    /// The newest seal: note it outside of edi.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<LinkView>,
    /// The last seal that was retired: the chain begins after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    anchor: Option<LinkView>,
    #[serde(rename = "break", skip_serializing_if = "Option::is_none")]
    found: Option<Break>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Takes one step of a verification, from the beginning or from where the last one ended.
///
/// # Errors
/// [`AdminError`].
pub async fn verify(service: &Service, operator: &Operator, page: &PageRequest) -> Result<VerifyView, AdminError> {
    operator.demand(AdminScope::Audit)?;
    let walk = match &page.after {
        None => Walk::start(),
        Some(cursor) => serde_json::from_str(cursor.as_str())
            .map_err(|_| AdminError::field("cursor", "expected the next_cursor of an earlier answer"))?,
    };
    let store = &*service.store;
    let (state, walk, found) = match walk.step(store, service.now()).await? {
        Step::Onward(walk) => ("unfinished", walk, None),
        Step::Intact(walk) => ("intact", walk, None),
        Step::Broken(walk, found) => ("broken", walk, Some(found)),
    };
    // A damaged mark is what the step has told.
    let (anchor, head) = match trail::ends(store).await {
        Err(StoreError::Corrupt { .. }) => (None, None),
        ends => ends?,
    };
    let next = (state == "unfinished").then(|| Key::new(serde_json::to_string(&walk).unwrap_or_default()));
    Ok(VerifyView {
        state,
        seals: walk.seals,
        entries: walk.entries,
        head: head.map(Into::into),
        anchor: anchor.map(Into::into),
        found,
        next_cursor: page.cursor(next.as_ref()),
    })
}

/// A seal as operators see it.
#[derive(Debug, Serialize)]
pub struct SealView {
    seq: u64,
    prev: String,
    hash: String,
    #[serde(with = "time::rfc3339")]
    at: Timestamp,
    /// The instant as the hash covers it.
    at_millis: i64,
    entries: Vec<Sealed>,
}

/// One seal.
///
/// # Errors
/// [`AdminError`].
pub async fn seal(service: &Service, operator: &Operator, seq: &str) -> Result<SealView, AdminError> {
    operator.demand(AdminScope::Audit)?;
    let not_found = || AdminError::NotFound("there is no seal with this number".into());
    let number = seq.parse::<u64>().map_err(|_| not_found())?;
    let seal = audit::seal(&*service.store, number).await?.ok_or_else(not_found)?;
    let Seal { seq, prev, hash, at, entries } = seal;
    Ok(SealView { seq, prev: prev.to_string(), hash: hash.to_string(), at, at_millis: at.millis(), entries })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_parameter_is_named() {
        let wrong = |name: &str| match name {
            "since" | "until" => Some("yesterday"),
            "outcome" | "order" => Some("maybe"),
            _ => None,
        };
        let Err(AdminError::Invalid(problems)) = Filter::parse(wrong) else { panic!("taken") };
        let named: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(named, ["since", "until", "outcome", "order"]);
    }
}
