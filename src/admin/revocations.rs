//! Revoking as an operator: a token by its id or pasted whole, or everything of a client, a role or a key.

use serde::Serialize;

use super::access::Operator;
use super::error::AdminError;
use super::fields::{Fields, text};
use super::revocation_radius::{self as radius, Radius};
use crate::model::id::ClientId;
use crate::model::revocation::{Revocation, Subject};
use crate::model::scope::AdminScope;
use crate::model::time::{self, Timestamp};
use crate::oauth::service::Service;
use crate::oauth::verify::{self, NotActive};
use crate::secret::Secret;
use crate::store::collections::revocations;

/// The longest reason, in characters.
pub(super) const MAX_REASON: usize = 500;

/// A revocation as operators see it.
#[derive(Debug, Serialize)]
pub struct RevocationView {
    pub(super) kind: &'static str,
    pub(super) id: String,
    #[serde(with = "time::rfc3339")]
    at: Timestamp,
    /// Bulk: the last instant of issue that it covers.
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    covers_issued_until: Option<Timestamp>,
    #[serde(with = "time::rfc3339")]
    ends_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    actor: ClientId,
    /// `request`, or `change` for what followed from one: that cannot be undone.
    origin: &'static str,
}

impl From<(Subject, Revocation)> for RevocationView {
    fn from((subject, revocation): (Subject, Revocation)) -> Self {
        Self {
            kind: subject.kind(),
            id: subject.id(),
            at: revocation.at,
            covers_issued_until: revocation.covers_iat.map(Timestamp::from_secs),
            ends_at: revocation.ends_at,
            reason: revocation.reason,
            actor: revocation.actor,
            origin: if revocation.follows { "change" } else { "request" },
        }
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// It is revoked.
    Done(RevocationView),
    /// A dry run: what would be.
    Would(Radius),
}

/// Revokes; with `dry_run` it says who would be concerned and changes nothing.
///
/// # Errors
/// [`AdminError`]; a pasted token that does not count any more is a conflict that says why.
pub async fn create(service: &Service, operator: &Operator, body: &[u8]) -> Result<Outcome, AdminError> {
    operator.demand(AdminScope::Revocations)?;
    let now = service.now();
    let mut fields = Fields::parse(body)?;
    let kind = fields.read("kind", |value| match value.as_str() {
        Some(kind @ ("jti" | "client" | "role" | "key" | "token")) => Ok(kind.to_owned()),
        _ => Err("expected jti, client, role, key or token".to_owned()),
    });
    let id = fields.read("id", |value| text(value, 200)).flatten();
    let token = fields
        .read("token", |value| value.as_str().map(|t| Secret::new(t.trim().into())).ok_or("expected a text".into()))
        .flatten();
    let reason = fields.read("reason", |value| text(value, MAX_REASON)).flatten();
    let kind = kind.flatten();
    let subject = match (kind.as_deref(), &id, &token) {
        (Some("token"), None, Some(_)) => None,
        (Some("token"), ..) => {
            fields.problem("token", "kind token takes the token itself, and no id");
            None
        }
        (Some(kind), Some(id), None) => {
            let subject = Subject::parse(kind, id);
            if subject.is_none() {
                fields.problem("id", "not the id of such a thing");
            }
            subject
        }
        (Some(_), ..) => {
            fields.problem("id", "say which one, by its id");
            None
        }
        (None, ..) => {
            fields.problem("kind", "say what to revoke: jti, client, role, key or token");
            None
        }
    };
    let dry_run = fields.read("dry_run", |value| value.as_bool().ok_or_else(|| "expected true or false".to_owned()));
    fields.finish()?;
    let longest = service.longest_lifetime();
    let actor = operator.client_id.clone();
    let (subject, revocation) = match (subject, token) {
        (Some(subject @ Subject::Token(_)), _) => {
            (subject, Revocation::of_token(now, now.plus(longest), actor, reason))
        }
        (Some(subject), _) => (subject, Revocation::bulk(now, longest, actor, reason)),
        (None, Some(token)) => {
            let claims = verify::active(service, token.expose()).map_err(not_revocable)?;
            let expires = Timestamp::from_secs(claims.exp);
            (Subject::Token(claims.jti), Revocation::of_token(now, expires, actor, reason))
        }
        (None, None) => return Err(AdminError::field("kind", "say what to revoke")),
    };
    if dry_run.flatten() == Some(true) {
        return Ok(Outcome::Would(radius::of(service, subject, revocation).await?));
    }
    let by = operator.by(service, "").because(revocation.reason.clone());
    let (written, revision) = revocations::add(&*service.store, &service.ambient, &subject, &revocation, &by).await?;
    service.settled(revision).await?;
    Ok(Outcome::Done((subject, written).into()))
}

fn not_revocable(why: NotActive) -> AdminError {
    match why {
        NotActive::Expired | NotActive::Revoked | NotActive::Key => {
            AdminError::Conflict(format!("nothing to revoke: the token is {why} already").into())
        }
        NotActive::Foreign | NotActive::Signature | NotActive::Claims => {
            AdminError::field("token", "not a token of this issuer")
        }
    }
}
