//! Whose is it? Something leaked, and somebody has to know which client to turn to.
//!
//! Takes the leaked text whole, a line of a log or a header around it as well. A secret that edi made is known by its
//! public id and proven by its tag, long after it was removed; a token by its signature. A secret that a person chose
//! cannot be looked up: it can be tried against one client. Nothing of the text is answered, logged or kept.

use serde::Serialize;

use super::access::Operator;
use super::error::AdminError;
use super::fields::{Fields, parsed};
use super::page::PageRequest;
use crate::keys::jws::Jws;
use crate::keys::secrets::{Tagged, parse as parse_tagged};
use crate::model::client::{Client, SecretCheck, StoredSecret};
use crate::model::hash_cost::HashPlan;
use crate::model::id::{ClientId, Kid, SecretId};
use crate::model::scope::AdminScope;
use crate::model::time::{self, Timestamp};
use crate::oauth::access_token::Claims;
use crate::oauth::chosen_secret::ChosenHash;
use crate::oauth::hashing_queue::Lane;
use crate::oauth::last_used::later;
use crate::oauth::service::Service;
use crate::oauth::verify::{self, NotActive};
use crate::secret::Secret;
use crate::store::collections::{clients, secrets};

/// The longest text that is looked at, in bytes.
const MAX_TEXT: usize = 128 * 1024;
/// How many clients one request looks through for a secret that no record names.
const LOOKED_THROUGH: usize = 10_000;
const PAGE: usize = 1000;

/// What a text turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// A secret that edi made.
    ClientSecret,
    /// A secret that a person chose or another system made.
    ChosenSecret,
    /// A token of this issuer.
    AccessToken,
    /// A signed assertion by which a client proves itself.
    ClientAssertion,
    /// None of these.
    Unknown,
}

/// Whose it is. What is not known is absent.
#[derive(Debug, Serialize)]
pub struct Whose {
    kind: Kind,
    /// Whether it was found whose it is.
    found: bool,
    /// Whether that is proven, by the secret's tag or the token's signature, and not only what the text claims.
    proven: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<ClientId>,
    /// `enabled`, `disabled` or `deleted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_id: Option<SecretId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<Kid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// `live`, `expired` or `removed` for a secret; `active`, `expired` or `revoked` for a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// Of a token: when it was issued.
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    removed_at: Option<Timestamp>,
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
    /// In words.
    detail: String,
    /// The search is not over: ask again with this as `cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

impl Whose {
    fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            found: false,
            proven: false,
            client_id: None,
            client_state: None,
            secret_id: None,
            name: None,
            jti: None,
            kid: None,
            scope: None,
            state: None,
            created_at: None,
            expires_at: None,
            removed_at: None,
            last_used_at: None,
            detail: detail.into(),
            next_cursor: None,
        }
    }

    /// Its client, as it is now.
    fn of(mut self, id: &ClientId, client: Option<&Client>) -> Self {
        self.found = true;
        self.client_id = Some(id.clone());
        self.client_state = Some(match client {
            None => "deleted",
            Some(client) if client.enabled => "enabled",
            Some(_) => "disabled",
        });
        self
    }
}

/// Says whose the `value` of the body is.
///
/// # Errors
/// [`AdminError`].
pub async fn ask(service: &Service, operator: &Operator, body: &[u8]) -> Result<Whose, AdminError> {
    operator.demand_read(AdminScope::Clients)?;
    let mut fields = Fields::parse(body)?;
    let value = fields.require("value", "pass what leaked", |value| match value.as_str().map(str::trim) {
        Some(text) if !text.is_empty() && text.len() <= MAX_TEXT => Ok(Secret::new(text.to_owned())),
        _ => Err(format!("expected a text of 1 to {MAX_TEXT} bytes")),
    });
    let client = fields.read("client_id", |value| parsed(value, ClientId::parse)).flatten();
    let cursor = fields.read("cursor", |value| parsed(value, |text| Ok::<_, String>(text.to_owned()))).flatten();
    fields.finish()?;
    let page = PageRequest::parse("whose", None, cursor.as_deref())?;
    let Some(value) = value else { return Err(AdminError::field("value", "pass what leaked")) };
    if let Some(tagged) = pieces(value.expose()).find_map(parse_tagged) {
        return made_secret(service, &tagged, &page).await;
    }
    if let Some((text, parsed)) = pieces(value.expose()).find_map(|text| Some((text, Jws::parse(text).ok()?))) {
        return token(service, text, &parsed).await;
    }
    let Some(client) = client else {
        return Ok(Whose::new(
            Kind::Unknown,
            "there is neither a secret that edi made in it, nor a token. A secret that a person chose can only be \
             tried against a client: name it",
        ));
    };
    // A guess at a secret, after all: not for those who may only look.
    operator.demand(AdminScope::Clients)?;
    chosen_secret(service, &client, &value).await
}

/// The text, then the parts of it that could be a secret or a token.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    std::iter::once(text).chain(text.split(move |c| !inside(c))).filter(|piece| !piece.is_empty())
}

async fn made_secret(service: &Service, tagged: &Tagged<'_>, page: &PageRequest) -> Result<Whose, AdminError> {
    let nobodys = "it looks like a secret that edi makes, but none of this installation: mistyped, cut, made up, of a \
                   client deleted long ago, or of another edi";
    let Some(id) = tagged.secret_id() else { return Ok(Whose::new(Kind::ClientSecret, nobodys)) };
    if let Some(record) = secrets::get(&*service.store, &id).await? {
        let client = clients::get(&*service.store, &record.client_id).await?.map(|(client, _)| client);
        if !service.secret_keys.tag_holds(record.client_id.as_str(), tagged) {
            let detail = "it bears the id of a secret of this client, but the rest was not made by edi for it: \
                          mistyped, cut, or made up";
            let whose = Whose::new(Kind::ClientSecret, detail).of(&record.client_id, client.as_ref());
            return Ok(Whose { secret_id: Some(id), name: record.name, ..whose });
        }
        let mut whose = described(service, &record.client_id, client.as_ref(), &id);
        whose.name = record.name;
        whose.created_at = Some(record.created_at);
        whose.expires_at = record.expires_at;
        whose.removed_at = record.removed_at;
        whose.last_used_at = later(service.last_used.of(&id), record.last_used_at);
        return Ok(whose);
    }
    // From before there were records: its tag tells which client it was made for, whichever that is.
    let mut after = page.after.clone();
    for _ in 0..LOOKED_THROUGH / PAGE {
        let found = service.store.scan(clients::PREFIX, after.as_ref(), PAGE).await?;
        let owner = found.items.iter().find_map(|(key, _)| {
            let name = key.as_str().strip_prefix(clients::PREFIX)?;
            service.secret_keys.tag_holds(name, tagged).then(|| ClientId::parse(name).ok())?
        });
        if let Some(owner) = owner {
            let client = clients::get(&*service.store, &owner).await?.map(|(client, _)| client);
            return Ok(described(service, &owner, client.as_ref(), &id));
        }
        let Some(next) = found.next else { return Ok(Whose::new(Kind::ClientSecret, nobodys)) };
        after = Some(next);
    }
    Ok(Whose { next_cursor: page.cursor(after.as_ref()), ..Whose::new(Kind::ClientSecret, "the search is not over") })
}

/// A secret that was made for this client: its tag says so.
fn described(service: &Service, owner: &ClientId, client: Option<&Client>, id: &SecretId) -> Whose {
    let secret = client.and_then(|client| client.secrets.iter().find(|secret| secret.id == *id));
    let whose = match secret {
        Some(secret) => {
            let (state, detail) = state_of(secret, service.now());
            with_dates(Whose { state: Some(state), ..Whose::new(Kind::ClientSecret, detail) }, secret)
        }
        None => Whose {
            state: Some("removed"),
            ..Whose::new(Kind::ClientSecret, "a secret that was taken away: it works no more")
        },
    };
    Whose { proven: true, secret_id: Some(id.clone()), ..whose.of(owner, client) }
}

fn state_of(secret: &StoredSecret, now: Timestamp) -> (&'static str, &'static str) {
    if secret.is_live(now) {
        ("live", "a secret that works: replace it")
    } else {
        ("expired", "a secret that has expired: it works no more")
    }
}

fn with_dates(whose: Whose, secret: &StoredSecret) -> Whose {
    Whose { name: secret.name.clone(), created_at: Some(secret.created_at), expires_at: secret.expires_at, ..whose }
}

async fn chosen_secret(service: &Service, id: &ClientId, value: &Secret) -> Result<Whose, AdminError> {
    let Some((client, _)) = clients::get(&*service.store, id).await? else {
        return Ok(Whose::new(Kind::Unknown, "there is no client with this id"));
    };
    let chosen: Vec<(&StoredSecret, ChosenHash)> = client
        .secrets
        .iter()
        .filter_map(|secret| match &secret.check {
            SecretCheck::Chosen(phc) => Some((secret, ChosenHash::parse(phc).ok()?)),
            SecretCheck::Generated(_) => None,
        })
        .collect();
    let none = Whose::new(Kind::Unknown, "it is no chosen secret of this client");
    if chosen.is_empty() {
        return Ok(none);
    }
    let against = chosen.iter().map(|(_, hash)| hash.clone()).collect();
    let value = Secret::new(value.expose().to_owned());
    // An operator may see from the time whether there is anything to compare with.
    let verdict = service.hasher.check(against, HashPlan::default(), value, (Lane::Operator, 0)).await;
    let verdict = verdict.map_err(|busy| AdminError::Unavailable { unknown: false, reason: busy.to_string() })?;
    let Some((secret, _)) = verdict.and_then(|index| chosen.get(index)) else { return Ok(none) };
    let (state, detail) = state_of(secret, service.now());
    let record = secrets::get(&*service.store, &secret.id).await?;
    let whose = with_dates(Whose { state: Some(state), ..Whose::new(Kind::ChosenSecret, detail) }, secret);
    Ok(Whose {
        proven: true,
        secret_id: Some(secret.id.clone()),
        last_used_at: later(service.last_used.of(&secret.id), record.and_then(|record| record.last_used_at)),
        ..whose.of(id, Some(&client))
    })
}

async fn token(service: &Service, text: &str, parsed: &Jws<'_>) -> Result<Whose, AdminError> {
    let (claims, proven, state, detail) = match verify::judged(service, text) {
        Ok((claims, Ok(()))) => (claims, true, Some("active"), "a token that counts: revoke it".to_owned()),
        Ok((claims, Err(NotActive::Expired))) => {
            (claims, true, Some("expired"), "a token that has expired: it counts no more".to_owned())
        }
        Ok((claims, Err(_))) => {
            (claims, true, Some("revoked"), "a token that is revoked: it counts no more where edi is asked".to_owned())
        }
        Err(why) => match claimed(service, parsed) {
            Some(claims) => {
                let detail = format!("it says that it is a token of this issuer, which is not proven: {why}");
                (claims, false, None, detail)
            }
            None => return assertion(service, parsed).await,
        },
    };
    let client = clients::get(&*service.store, &claims.client_id).await?.map(|(client, _)| client);
    let whose = Whose::new(Kind::AccessToken, detail).of(&claims.client_id, client.as_ref());
    Ok(Whose {
        proven,
        jti: Some(claims.jti.to_string()),
        scope: Some(claims.scope()),
        kid: Some(claims.kid),
        state,
        created_at: Some(Timestamp::from_secs(claims.iat)),
        expires_at: Some(Timestamp::from_secs(claims.exp)),
        ..whose
    })
}

/// What a token says of itself, when it says that it is of this issuer.
fn claimed(service: &Service, parsed: &Jws<'_>) -> Option<Claims> {
    let kid = Kid::parse(parsed.header.kid.as_deref()?).ok()?;
    let claims = Claims::read(&parsed.payload, kid)?;
    (parsed.header.is_type("at+jwt") && claims.issuer == service.settings.issuer).then_some(claims)
}

/// A client's assertion (RFC 7523) names its client as issuer and subject.
async fn assertion(service: &Service, parsed: &Jws<'_>) -> Result<Whose, AdminError> {
    let payload: serde_json::Value = serde_json::from_slice(&parsed.payload).unwrap_or_default();
    let text = |name: &str| payload.get(name).and_then(serde_json::Value::as_str);
    let named = text("iss").filter(|issuer| text("sub") == Some(issuer)).and_then(|id| ClientId::parse(id).ok());
    if let Some(id) = named
        && let Some((client, _)) = clients::get(&*service.store, &id).await?
    {
        let detail = "it says that it is an assertion by which this client proves itself, which is not proven: it \
                      works once, and not past its end; if it got out of the client, its key may have";
        let expires_at = payload.get("exp").and_then(serde_json::Value::as_i64).map(Timestamp::from_secs);
        return Ok(Whose { expires_at, ..Whose::new(Kind::ClientAssertion, detail).of(&id, Some(&client)) });
    }
    Ok(Whose::new(Kind::Unknown, "a signed token, but not of this issuer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_or_token_is_found_inside_of_what_was_pasted() {
        for text in [
            "a.b-c_d",
            "Authorization: Bearer a.b-c_d",
            "{\"client_secret\":\"a.b-c_d\"}",
            "curl -u svc:a.b-c_d https://x/",
            "grant_type=x&client_secret=a.b-c_d&y=z",
            "\u{a0}a.b-c_d\u{201d}",
        ] {
            assert!(pieces(text).any(|piece| piece == "a.b-c_d"), "{text}");
        }
        assert!(pieces("").next().is_none());
    }
}
