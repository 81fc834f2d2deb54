//! Registering and changing clients (names as in RFC 7591 where it has them).
//!
//! Nobody grants an admin scope they lack, and only `edi:admin` changes a client that holds one, its secrets included.

use super::access::Operator;
use super::client_draft::Draft;
use super::client_filter::ClientFilter;
use super::client_put::Whole;
use super::client_view::{ClientView, Created, SecretView};
use super::error::AdminError;
use super::fields::{Fields, parsed, text};
use super::page::{Page, PageRequest, sift};
use super::secret_uses;
use super::version::{At, IfMatch};
use crate::keys::secrets::parse as parse_tagged;
use crate::model::client::{Client, MAX_NAME, MAX_SECRETS, SecretCheck, StoredSecret};
use crate::model::id::ClientId;
use crate::model::revocation::{Revocation, Subject};
use crate::model::scope::AdminScope;
use crate::model::time::Timestamp;
use crate::oauth::chosen_secret::{ChosenHash, MAX_CHOSEN, MIN_CHOSEN, is_foreign_hash};
use crate::oauth::service::Service;
use crate::secret::Secret;
use crate::store::Revision;
use crate::store::collections::{By, clients, revocations};
use crate::store::tx::TxError;

/// Registers a client; edi makes its secret unless one is given, or none for a client that brings its keys.
///
/// # Errors
/// [`AdminError`].
pub async fn create(
    service: &Service,
    operator: &Operator,
    body: &[u8],
) -> Result<At<Created<ClientView>>, AdminError> {
    operator.demand(AdminScope::Clients)?;
    let mut fields = Fields::parse(body)?;
    let id = fields.require("client_id", "a client needs an id", |value| {
        let id = parsed(value, ClientId::parse)?;
        if id == ClientId::edi() {
            return Err("edi itself stands under this name in the audit trail; choose another".into());
        }
        Ok(id)
    });
    let mut whole = Whole::read(service, &mut fields);
    if whole.disables() {
        fields.problem("state", "a new client is enabled");
    }
    fields.finish()?;
    let Some(id) = id else { return Err(AdminError::field("client_id", "a client needs an id")) };
    let made = whole.register(service, operator, id).await?;
    made.ok_or_else(|| AdminError::Conflict("one with this id exists already".into()))
}

/// One page of the clients that are wanted.
///
/// # Errors
/// [`AdminError`].
pub async fn list(
    service: &Service,
    operator: &Operator,
    filter: &ClientFilter,
    page: &PageRequest,
) -> Result<Page<ClientView>, AdminError> {
    operator.demand_read(AdminScope::Clients)?;
    let takes = |client: &Client| filter.takes(client);
    let key = |client: &Client| clients::key(&client.client_id);
    let (found, next) = sift(page, takes, key, async |after, limit| {
        let (found, next) = clients::list(&*service.store, after.as_ref(), limit).await?;
        Ok((found.into_iter().map(|(client, _)| client).collect(), next))
    })
    .await?;
    Ok(Page::new(found.into_iter().map(Into::into).collect(), page.cursor(next.as_ref())))
}

/// One client.
///
/// # Errors
/// [`AdminError`].
pub async fn show(service: &Service, operator: &Operator, id: &str) -> Result<At<ClientView>, AdminError> {
    operator.demand_read(AdminScope::Clients)?;
    match clients::get(&*service.store, &known(id)?).await? {
        Some((client, revision)) => Ok(At { view: secret_uses::client_view(service, client).await?, revision }),
        None => Err(not_found()),
    }
}

/// Changes a client by a JSON merge patch (RFC 7396).
///
/// # Errors
/// [`AdminError`].
pub async fn update(
    service: &Service,
    operator: &Operator,
    id: &str,
    version: &IfMatch,
    body: &[u8],
) -> Result<At<ClientView>, AdminError> {
    operator.demand(AdminScope::Clients)?;
    let id = known(id)?;
    let mut fields = Fields::parse(body)?;
    if let Some(other) = fields.take("client_id")
        && other != id.as_str()
    {
        fields.problem("client_id", "an id cannot be changed");
    }
    let mut draft = Draft::default();
    draft.read(service, &mut fields);
    fields.finish()?;
    let now = service.now();
    let (client, revision) = change(service, operator, &id, |before, there| {
        version.demand(there)?;
        let mut after = before.clone();
        draft.apply(&mut after);
        draft.judge_family(&after, now)?;
        after.updated_at = now;
        Ok(Some(after))
    })
    .await?;
    Ok(At { view: client.into(), revision })
}

/// Deletes a client; its tokens are revoked in the same commit.
///
/// # Errors
/// [`AdminError`].
pub async fn delete(service: &Service, operator: &Operator, id: &str, version: &IfMatch) -> Result<(), AdminError> {
    operator.demand(AdminScope::Clients)?;
    change(service, operator, &known(id)?, |_, there| version.demand(there).map(|()| None)).await?;
    Ok(())
}

/// Gives a client another secret; a third live one is refused.
///
/// # Errors
/// [`AdminError`].
pub async fn add_secret(
    service: &Service,
    operator: &Operator,
    id: &str,
    body: &[u8],
) -> Result<Created<SecretView>, AdminError> {
    operator.demand(AdminScope::Clients)?;
    let id = known(id)?;
    let now = service.now();
    let mut fields = Fields::parse(if body.is_empty() { b"{}" } else { body })?;
    let name = fields.read("name", |value| text(value, MAX_NAME)).flatten();
    let expires = take_end(&mut fields, now);
    let chosen = take_chosen_secret(&mut fields);
    fields.finish()?;
    // Before any hash is paid for; the commit checks again.
    let (before, _) = clients::get(&*service.store, &id).await?.ok_or_else(not_found)?;
    may_change(operator, Some(&before), Some(&before))?;
    let (secret, shown) = make_secret(service, &id, name, expires, chosen).await?;
    change(service, operator, &id, |before, _| {
        if !before.auth_method.uses_secrets() {
            return Err(AdminError::Conflict("a client of private_key_jwt has no secrets".into()));
        }
        let mut after = before.clone();
        after.secrets.retain(|secret| secret.is_live(now));
        if after.secrets.len() >= MAX_SECRETS {
            return Err(AdminError::Conflict("the client has two live secrets; remove one first".into()));
        }
        after.secrets.push(secret.clone());
        after.updated_at = now;
        Ok(Some(after))
    })
    .await?;
    Ok(Created { view: SecretView::from(&secret), client_secret: shown })
}

/// A client's secrets.
///
/// # Errors
/// [`AdminError`].
pub async fn list_secrets(service: &Service, operator: &Operator, id: &str) -> Result<Page<SecretView>, AdminError> {
    operator.demand_read(AdminScope::Clients)?;
    let (client, _) = clients::get(&*service.store, &known(id)?).await?.ok_or_else(not_found)?;
    Ok(Page::new(secret_uses::views(service, &client.secrets).await?, None))
}

/// Takes a secret away.
///
/// # Errors
/// [`AdminError`].
pub async fn remove_secret(
    service: &Service,
    operator: &Operator,
    id: &str,
    secret_id: &str,
) -> Result<(), AdminError> {
    operator.demand(AdminScope::Clients)?;
    let now = service.now();
    change(service, operator, &known(id)?, |before, _| {
        let mut after = before.clone();
        after.secrets.retain(|secret| secret.id.as_str() != secret_id);
        if after.secrets.len() == before.secrets.len() {
            return Err(AdminError::NotFound("the client has no such secret".into()));
        }
        after.updated_at = now;
        Ok(Some(after))
    })
    .await?;
    Ok(())
}

pub(super) async fn change(
    service: &Service,
    operator: &Operator,
    id: &ClientId,
    rule: impl FnMut(&Client, Revision) -> Result<Option<Client>, AdminError>,
) -> Result<(Client, Revision), AdminError> {
    change_revoking(service, operator, id, (operator.by(service, id.as_str()), &[]), rule).await
}

/// Changes a client by a rule, with all that follows from it, and revokes what is named beside in the same commit.
pub(super) async fn change_revoking(
    service: &Service,
    operator: &Operator,
    id: &ClientId,
    (by, also): (By, &[Subject]),
    mut rule: impl FnMut(&Client, Revision) -> Result<Option<Client>, AdminError>,
) -> Result<(Client, Revision), AdminError> {
    let mut taken_away = Vec::new();
    let (client, revision): (Client, Revision) =
        clients::change_revoking(&*service.store, &service.ambient, id, &by, also, |before, there| {
            // Rights before content: a refusal tells nothing about what is there.
            may_change(operator, Some(before), Some(before))?;
            let after = rule(before, there)?;
            may_change(operator, Some(before), after.as_ref())?;
            taken_away = clients::taken_away(before, after.as_ref());
            Ok::<_, AdminError>(after)
        })
        .await?;
    taken_away.extend(also.iter().filter(|subject| !taken_away.contains(subject)).cloned().collect::<Vec<_>>());
    service.settled(revision).await?;
    revoke_what_was_issued_meanwhile(service, operator, &by, &taken_away).await?;
    Ok((client, revision))
}

/// Until a change shows its effect, tokens are issued by what held before. The revocation that came with it reaches a
/// little into the future; when the disk took longer, what was issued after that is revoked now.
async fn revoke_what_was_issued_meanwhile(
    service: &Service,
    operator: &Operator,
    by: &By,
    taken_away: &[Subject],
) -> Result<(), AdminError> {
    let revocation = |by: &By| Revocation::bulk(by.now, by.longest_lifetime, by.actor.clone(), by.reason.clone());
    let now = By {
        action: "revocation.create",
        reason: Some("tokens were issued while the change was being written".into()),
        ..operator.by(service, "")
    };
    if taken_away.is_empty() || revocation(by).covers_iat >= Some(now.now.secs()) {
        return Ok(());
    }
    for subject in taken_away {
        let again = revocation(&now).following();
        // The change itself stands: a failure from here on is an outcome to be looked at, never "nothing was changed".
        let added = revocations::add(&*service.store, &service.ambient, subject, &again, &now).await;
        let unknown = |error: TxError| AdminError::Unavailable { unknown: true, reason: error.to_string() };
        let (_, revision) = added.map_err(unknown)?;
        service.settled(revision).await?;
    }
    Ok(())
}

/// Nobody grants an admin scope they lack; only `edi:admin` changes a client that holds one.
pub(super) fn may_change(
    operator: &Operator,
    before: Option<&Client>,
    after: Option<&Client>,
) -> Result<(), AdminError> {
    if before.is_some_and(|client| !client.admin_scopes.is_empty()) && !operator.holds(AdminScope::Admin) {
        return Err(AdminError::Forbidden {
            scope: AdminScope::Admin,
            detail: "only edi:admin changes a client that holds an edi: scope".into(),
        });
    }
    match after.and_then(|client| client.admin_scopes.iter().find(|scope| !operator.holds(**scope))) {
        Some(lacked) => {
            Err(AdminError::Forbidden { scope: *lacked, detail: "nobody grants an edi: scope they lack".into() })
        }
        None => Ok(()),
    }
}

pub(super) fn known(id: &str) -> Result<ClientId, AdminError> {
    ClientId::parse(id).map_err(|_| not_found())
}

pub(super) fn not_found() -> AdminError {
    AdminError::NotFound("there is no client with this id".into())
}

/// When a secret is to stop working.
pub(super) fn take_end(fields: &mut Fields, now: Timestamp) -> Option<Timestamp> {
    fields
        .read("expires_at", |value| {
            let at = parsed(value, |text| Timestamp::parse_rfc3339(text).ok_or("expected an RFC 3339 date and time"))?;
            if at > now { Ok(at) } else { Err("it lies in the past".into()) }
        })
        .flatten()
}

pub(super) fn take_chosen_secret(fields: &mut Fields) -> Option<Secret> {
    fields
        .read("client_secret", |value| {
            let secret = Secret::new(value.as_str().ok_or("expected a text")?.to_owned());
            let text = secret.expose();
            if text.starts_with("$argon2") {
                ChosenHash::parse(text).map_err(|error| error.to_string())?;
            } else if !(MIN_CHOSEN..=MAX_CHOSEN).contains(&text.len())
                || !text.bytes().all(|b| (0x20..=0x7e).contains(&b))
            {
                return Err(format!(
                    "a chosen secret has {MIN_CHOSEN} to {MAX_CHOSEN} printable ASCII characters (RFC 6749 A.2)"
                ));
            } else if parse_tagged(text).is_some() {
                return Err("a secret in edi's own form can only be made by edi".into());
            } else if is_foreign_hash(text) {
                return Err("this is the hash of a secret by another function: edi takes the secret itself, or its \
                            argon2id hash in PHC form"
                    .into());
            }
            Ok(secret)
        })
        .flatten()
}

pub(super) async fn make_secret(
    service: &Service,
    client: &ClientId,
    name: Option<String>,
    expires_at: Option<Timestamp>,
    chosen: Option<Secret>,
) -> Result<(StoredSecret, Option<Secret>), AdminError> {
    let created_at = service.now();
    let (id, secret, at_rest) = service.secret_keys.make(client, &*service.ambient.entropy);
    let (check, shown) = match chosen {
        None => (SecretCheck::Generated(at_rest), Some(secret)),
        Some(phc) if phc.expose().starts_with("$argon2") => (SecretCheck::Chosen(phc.expose().to_owned()), None),
        Some(text) => {
            let phc = service.hasher.make(text, &*service.ambient.entropy).await;
            let phc = phc.map_err(|busy| AdminError::Unavailable { unknown: false, reason: busy.to_string() })?;
            (SecretCheck::Chosen(phc), None)
        }
    };
    Ok((StoredSecret { id, name, check, created_at, expires_at }, shown))
}
