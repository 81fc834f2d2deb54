//! Looking at revocations, and taking a mistaken one back.
//!
//! What an operator asked for can be undone: tokens it covered that have not expired count again. What followed from a
//! change (a client that was disabled or deleted, a role that was taken away, a secret that leaked) stands, and an undo
//! never goes behind it. A single token stays revoked: its client gets another for the asking.

use super::access::Operator;
use super::error::AdminError;
use super::page::{Page, PageRequest};
use super::revocations::RevocationView;
use crate::model::id::ClientId;
use crate::model::revocation::{Revocation, Subject};
use crate::model::scope::AdminScope;
use crate::model::time::Timestamp;
use crate::oauth::service::Service;
use crate::store::collections::{clients, revocations};

/// The kinds there are.
const KINDS: [&str; 5] = ["jti", "client", "role", "key", "grant"];
/// How many one request looks at; a page may be shorter than asked for, with more to come.
const LOOKED_AT: usize = 5_000;

/// Which revocations are wanted; those that fit all of it.
#[derive(Debug, Default)]
pub struct Filter {
    kind: Option<String>,
    id: Option<String>,
    client: Option<ClientId>,
    actor: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    reason: Option<String>,
    settling: Option<bool>,
}

impl Filter {
    /// Reads it from a query.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] naming the parameter.
    pub fn parse<'q>(get: impl Fn(&str) -> Option<&'q str>) -> Result<Self, AdminError> {
        let instant = |name: &'static str| {
            let read = |text| Timestamp::parse_rfc3339(text).ok_or("expected an RFC 3339 date and time");
            get(name).map(read).transpose().map_err(|why| AdminError::field(name, why))
        };
        let kind = get("kind").map(ToOwned::to_owned);
        if kind.as_deref().is_some_and(|kind| !KINDS.contains(&kind)) {
            return Err(AdminError::field("kind", "expected jti, client, role, key or grant"));
        }
        let client = get("client").map(|id| ClientId::parse(id).map_err(|why| AdminError::field("client", why.0)));
        let settling = match get("state") {
            None => None,
            Some("settling") => Some(true),
            Some("in_force") => Some(false),
            Some(_) => return Err(AdminError::field("state", "expected settling or in_force")),
        };
        Ok(Self {
            kind,
            id: get("id").map(ToOwned::to_owned),
            client: client.transpose()?,
            actor: get("actor").map(ToOwned::to_owned),
            since: instant("since")?,
            until: instant("until")?,
            reason: get("reason").map(str::to_lowercase),
            settling,
        })
    }

    fn takes(&self, subject: &Subject, revocation: &Revocation, now: Timestamp) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let of_client = |wanted: &ClientId| match subject {
            Subject::Client(id) | Subject::Grant(id, _) => id == wanted,
            Subject::Token(_) | Subject::Role(_) | Subject::Key(_) => false,
        };
        // Until its end, tokens that it would cover are not issued.
        let settles = revocation.covers_iat.is_some_and(|covers| now.secs() <= covers);
        is(&self.kind, subject.kind())
            && self.id.as_ref().is_none_or(|id| *id == subject.id())
            && self.client.as_ref().is_none_or(of_client)
            && is(&self.actor, revocation.actor.as_str())
            && self.since.is_none_or(|since| revocation.at >= since)
            // Instants are told to the second: one that was told is within itself.
            && self.until.is_none_or(|until| revocation.at.secs() <= until.secs())
            && self.settling.is_none_or(|settling| settling == settles)
            && self.reason.as_ref().is_none_or(|part| {
                revocation.reason.as_ref().is_some_and(|reason| reason.to_lowercase().contains(part))
            })
    }

    /// Where they can lie, in the order of keys.
    fn prefixes(&self) -> Vec<String> {
        let all = revocations::PREFIX;
        match (&self.kind, &self.id, &self.client) {
            (Some(kind), Some(id), _) => vec![format!("{all}{kind}/{id}")],
            (None, Some(id), _) => {
                let mut kinds = KINDS;
                kinds.sort_unstable();
                kinds.map(|kind| format!("{all}{kind}/{id}")).to_vec()
            }
            (_, None, Some(client)) => vec![format!("{all}client/{client}"), format!("{all}grant/{client}/")],
            (Some(kind), None, None) => vec![format!("{all}{kind}/")],
            (None, None, None) => vec![all.to_owned()],
        }
    }
}

/// One page of revocations in force.
///
/// # Errors
/// [`AdminError`].
pub async fn list(
    service: &Service,
    operator: &Operator,
    filter: &Filter,
    page: &PageRequest,
) -> Result<Page<RevocationView>, AdminError> {
    operator.demand_read(AdminScope::Revocations)?;
    let now = service.now();
    let mut items = Vec::new();
    let mut left = LOOKED_AT;
    for prefix in filter.prefixes() {
        let mut after = page.after.clone();
        if let Some(cursor) = &after {
            if cursor.as_str() > prefix.as_str() && !cursor.as_str().starts_with(&prefix) {
                continue;
            }
            after.take_if(|cursor| !cursor.as_str().starts_with(&prefix));
        }
        loop {
            let want = (page.limit - items.len()).min(left);
            let (found, next) = revocations::list(&*service.store, &prefix, after.as_ref(), want).await?;
            left = left.saturating_sub(want);
            let fitting = found.into_iter().filter(|(subject, it)| filter.takes(subject, it, now));
            items.extend(fitting.map(RevocationView::from));
            let Some(next) = next else { break };
            if items.len() >= page.limit || left == 0 {
                return Ok(Page::new(items, page.cursor(Some(&next))));
            }
            after = Some(next);
        }
        if items.len() >= page.limit || left == 0 {
            // The next prefix begins behind this one.
            let last = crate::store::Key::new(format!("{prefix}\u{7f}"));
            return Ok(Page::new(items, page.cursor(Some(&last))));
        }
    }
    Ok(Page::new(items, None))
}

fn not_found() -> AdminError {
    AdminError::NotFound("there is no such revocation in force".into())
}

/// One revocation.
///
/// # Errors
/// [`AdminError`].
pub async fn show(service: &Service, operator: &Operator, kind: &str, id: &str) -> Result<RevocationView, AdminError> {
    operator.demand_read(AdminScope::Revocations)?;
    let subject = Subject::parse(kind, id).ok_or_else(not_found)?;
    let found = revocations::get(&*service.store, &subject).await?.ok_or_else(not_found)?;
    Ok((subject, found).into())
}

/// Takes the last revocation of a subject back.
///
/// # Errors
/// [`AdminError`]; a conflict for what followed from a change and for a single token.
pub async fn undo(service: &Service, operator: &Operator, kind: &str, id: &str) -> Result<(), AdminError> {
    operator.demand(AdminScope::Revocations)?;
    let subject = Subject::parse(kind, id).ok_or_else(not_found)?;
    revocations::get(&*service.store, &subject).await?.ok_or_else(not_found)?;
    may_revive(service, operator, &subject).await?;
    let rule = |there: &Revocation| match &subject {
        _ if there.follows => Err(AdminError::Conflict(
            "it followed from a change (disabling, deleting, taking away, a leak): it stands until the last token it \
             covers has expired"
                .into(),
        )),
        Subject::Token(_) => {
            Err(AdminError::Conflict("a single token stays revoked: its client gets another one for the asking".into()))
        }
        _ => Ok(()),
    };
    let by = operator.by(service, subject.to_string());
    let undone = revocations::undo(&*service.store, &service.ambient, &subject, &by, rule).await;
    let (_, revision) = undone.map_err(|error| match AdminError::from(error) {
        AdminError::NotFound(_) => not_found(),
        other => other,
    })?;
    service.settled(revision).await?;
    Ok(())
}

/// Whoever brings tokens back grants what they hold: those with admin scopes take `edi:admin`.
async fn may_revive(service: &Service, operator: &Operator, subject: &Subject) -> Result<(), AdminError> {
    let detail = match subject {
        Subject::Key(kid) if service.key_set().revoked(kid.as_str()) => {
            return Err(AdminError::Conflict("the key itself is revoked, and stays so".into()));
        }
        Subject::Key(_) => "tokens of any client come back with a key's",
        Subject::Client(id) => match clients::get(&*service.store, id).await? {
            Some((client, _)) if !client.enabled => {
                return Err(AdminError::Conflict("the client is disabled: its tokens stay revoked".into()));
            }
            Some((client, _)) if client.admin_scopes.is_empty() => return Ok(()),
            Some(_) => "the client holds an edi: scope",
            None => return Err(AdminError::Conflict("the client is deleted: its tokens stay revoked".into())),
        },
        Subject::Token(_) | Subject::Role(_) | Subject::Grant(..) => return Ok(()),
    };
    if operator.holds(AdminScope::Admin) {
        return Ok(());
    }
    Err(AdminError::Forbidden { scope: AdminScope::Admin, detail: detail.into() })
}
