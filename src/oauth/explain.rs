//! Why a token is or is not let through: every check in the order in which a decision makes them, each judged on its
//! own as far as it can be. For operators; a caller only ever learns that its token is invalid.
//!
//! The rules are those of [`super::verify`]; here they do not stop at the first failure.

use std::time::Duration;

use serde_json::{Map, Value};

use super::access_token::{Ancestor, Claims};
use super::service::Service;
use crate::keys::jws::Jws;
use crate::keys::verifier::Verifier;
use crate::model::algorithm::Algorithm;
use crate::model::deployment::Deployment;
use crate::model::id::Kid;
use crate::model::keyring::KeyState;
use crate::model::revocation::Subject;
use crate::model::scope::Role;
use crate::model::time::Timestamp;
use crate::store::collections::revocations::Facts;

/// The longest text of a token that is shown, in characters.
const SHOWN: usize = 100;

/// The checks, in order.
pub const CHECKS: [&str; 11] =
    ["shape", "type", "algorithm", "key", "signature", "claims", "issuer", "expiry", "revocations", "audience", "role"];

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Holds,
    /// It does not.
    Fails,
    /// It could not be judged.
    Skipped,
}

/// One check of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which: one of [`CHECKS`].
    pub check: &'static str,
    /// How it went.
    pub outcome: Outcome,
    /// What was found, in words. May show parts of the claims, never the token.
    pub detail: String,
}

type Judged = (Outcome, String);

fn holds(detail: impl Into<String>) -> Judged {
    (Outcome::Holds, detail.into())
}

fn fails(detail: impl Into<String>) -> Judged {
    (Outcome::Fails, detail.into())
}

fn skipped(detail: impl Into<String>) -> Judged {
    (Outcome::Skipped, detail.into())
}

/// Judges a token, for a deployment if one is named.
#[must_use]
pub fn explain(service: &Service, token: &str, deployment: Option<&Deployment>) -> Vec<Check> {
    let judged = match Jws::parse(token) {
        Err(error) => {
            let mut all = CHECKS.map(|_| skipped("the token cannot be read"));
            if let Some(shape) = all.first_mut() {
                *shape = fails(error.to_string());
            }
            all
        }
        Ok(jws) => {
            let read = Reading::of(service, &jws);
            [
                holds("a compact JWS"),
                read.token_type(),
                read.algorithm(),
                read.key(),
                read.signature(),
                read.claims(),
                read.issuer(),
                read.expiry(),
                read.revocations(),
                read.audience(deployment),
                read.role(deployment),
            ]
        }
    };
    CHECKS.into_iter().zip(judged).map(|(check, (outcome, detail))| Check { check, outcome, detail }).collect()
}

/// The key that a token names, as its ring has it.
struct Named {
    algorithm: Algorithm,
    state: KeyState,
    public: Value,
    since: Option<Timestamp>,
}

/// A token taken apart; nothing in it is proven.
struct Reading<'a> {
    service: &'a Service,
    now: Timestamp,
    jws: &'a Jws<'a>,
    algorithm: Option<Algorithm>,
    kid: Option<Kid>,
    key: Option<Named>,
    payload: Map<String, Value>,
    claims: Option<Claims>,
}

impl<'a> Reading<'a> {
    fn of(service: &'a Service, jws: &'a Jws<'a>) -> Self {
        let now = service.now();
        let kid = jws.header.kid.as_deref().and_then(|kid| Kid::parse(kid).ok());
        let key = kid.as_ref().and_then(|kid| {
            let keys = service.keys.read();
            keys.rings().find_map(|ring| {
                let key = ring.key(kid)?;
                let state = ring.state_of(key, now);
                let since = if state == KeyState::Revoked { key.revoked_at } else { ring.leaves_at(key) };
                Some(Named { algorithm: ring.algorithm, state, public: key.public.clone(), since })
            })
        });
        Self {
            service,
            now,
            jws,
            algorithm: jws.header.alg.parse().ok(),
            key,
            payload: serde_json::from_slice(&jws.payload).unwrap_or_default(),
            claims: kid.clone().and_then(|kid| Claims::read(&jws.payload, kid)),
            kid,
        }
    }

    /// RFC 9068 §2.1.
    fn token_type(&self) -> Judged {
        match self.jws.header.typ.as_deref() {
            _ if self.jws.header.is_type("at+jwt") => holds("at+jwt"),
            None => fails("typ is missing: it is no access token (RFC 9068 section 2.1)"),
            Some(typ) => fails(format!("typ is {}, not at+jwt: it is no access token", shown(typ))),
        }
    }

    fn algorithm(&self) -> Judged {
        match self.algorithm {
            Some(algorithm) => holds(algorithm.name()),
            None => fails(format!("{} is none that edi signs with", shown(&self.jws.header.alg))),
        }
    }

    fn key(&self) -> Judged {
        let Some(kid) = &self.kid else { return fails("the header names no key (kid)") };
        let Some(key) = &self.key else {
            return fails(format!("{kid} is unknown here: of another issuer, or gone long ago"));
        };
        let since = key.since.map(|at| format!(" since {at}")).unwrap_or_default();
        match key.state {
            KeyState::Revoked => fails(format!("{kid} is revoked{since}")),
            KeyState::Retired => fails(format!("{kid} is retired{since}: every token it signed has expired")),
            _ if self.algorithm.is_some_and(|named| named != key.algorithm) => {
                fails(format!("{kid} is for {}", key.algorithm))
            }
            state => holds(format!("{kid} is published ({state})")),
        }
    }

    fn signature(&self) -> Judged {
        let Some(key) = &self.key else { return skipped("there is no key to check it with") };
        if self.algorithm != Some(key.algorithm) {
            return skipped("the algorithm is not the key's");
        }
        match Verifier::from_jwk_for(&key.public, key.algorithm) {
            Ok(verifier) if verifier.verify(self.jws.signing_input, &self.jws.signature) => holds("made by this key"),
            Ok(_) => fails("not made by this key over this content"),
            Err(error) => skipped(error.to_string()),
        }
    }

    fn claims(&self) -> Judged {
        match &self.claims {
            Some(claims) => holds(format!(
                "client {}, jti {}, scope {}, issued {}",
                claims.client_id,
                claims.jti,
                claims.scope(),
                Timestamp::from_secs(claims.iat)
            )),
            None if self.kid.is_none() => skipped("the header names no key (kid)"),
            None => fails("not the claims of a token of edi"),
        }
    }

    fn issuer(&self) -> Judged {
        let wanted = &self.service.settings.issuer;
        match self.text("iss") {
            Some(found) if found == wanted => holds(wanted),
            Some(found) => fails(format!("{}, not {wanted}", shown(found))),
            None => fails("iss is missing"),
        }
    }

    fn expiry(&self) -> Judged {
        let Some(exp) = self.payload.get("exp").and_then(Value::as_i64) else {
            return fails("exp is missing or no whole number");
        };
        let (at, now) = (Timestamp::from_secs(exp), self.now);
        if now.secs() >= exp {
            fails(format!("expired at {at}, {} ago", words(now.since(at))))
        } else {
            holds(format!("expires at {at}, in {}", words(at.since(now))))
        }
    }

    fn revocations(&self) -> Judged {
        let Some(claims) = &self.claims else { return skipped("the claims cannot be read") };
        let Claims { client_id, roles, kid, iat, jti, lineage, .. } = claims;
        let facts = Facts { client: client_id, roles, kid: kid.as_str(), iat: *iat };
        let revocations = self.service.revocations.read();
        let mut causes: Vec<String> = Vec::new();
        let mut add = |cause: String| {
            if !causes.contains(&cause) {
                causes.push(cause);
            }
        };
        let named = |subject: &Subject| format!("{} {}", subject.kind(), subject.id());
        revocations.causes(*jti, facts).iter().map(named).for_each(&mut add);
        // It falls with every token that it was made from, and with the keys that signed those.
        for Ancestor { jti, kid } in &lineage.0 {
            let made_from = |subject: &Subject| match subject {
                Subject::Token(_) => format!("{}, which it was made from", named(subject)),
                _ => named(subject),
            };
            revocations.causes(*jti, Facts { kid: kid.as_str(), ..facts }).iter().map(made_from).for_each(&mut add);
            if self.service.key_set().revoked(kid.as_str()) {
                add(format!("key {kid}, which signed a token it was made from"));
            }
        }
        if causes.is_empty() { holds("nothing revokes it") } else { fails(format!("revoked: {}", causes.join(", "))) }
    }

    fn audience(&self, deployment: Option<&Deployment>) -> Judged {
        let Some(deployment) = deployment else { return skipped("no deployment was named") };
        let wanted = deployment.audience.as_ref().unwrap_or(&self.service.settings.audience);
        match self.text("aud") {
            Some(found) if found == wanted => holds(wanted),
            Some(found) => fails(format!("{}; {} wants {wanted}", shown(found), deployment.id)),
            None => fails("aud is missing or no text"),
        }
    }

    fn role(&self, deployment: Option<&Deployment>) -> Judged {
        let Some(deployment) = deployment else { return skipped("no deployment was named") };
        let wanted = &deployment.role;
        let Some(scope) = self.text("scope") else { return fails("scope is missing or no text") };
        if scope.split(' ').any(|name| name == wanted.as_str()) {
            return holds(wanted.as_str());
        }
        let held: Vec<&str> = scope.split(' ').filter(|name| Role::parse(name).is_ok()).collect();
        let held = if held.is_empty() { "no role".into() } else { shown(&held.join(" ")) };
        fails(format!("{} wants {wanted}; the token holds {held}", deployment.id))
    }

    fn text(&self, claim: &str) -> Option<&str> {
        self.payload.get(claim)?.as_str()
    }
}

/// A span in words, in whole seconds.
fn words(span: Duration) -> String {
    humantime::format_duration(Duration::from_secs(span.as_secs())).to_string()
}

/// A text of the token, cut.
fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(SHOWN).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}
