//! Client authentication (RFC 6749 §2.3): one proof per request, one face for every failure.
//!
//! A signed assertion is judged in [`super::assertion`]. An edi-made secret carries a tag, so a guess is refused for the
//! price of one HMAC, before any lookup. A secret that someone chose costs a slot of the hashing queue, and in it the same
//! hashes for every client, unknown ones as well.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::assertion::{self, ASSERTION_TYPE};
use super::chosen_secret::ChosenHash;
use super::error::{Code, OAuthError};
use super::service::Service;
use crate::keys::secrets::{Tagged, parse as parse_tagged};
use crate::model::client::{AuthMethod, Client, SecretCheck, StoredSecret};
use crate::model::id::SecretId;
use crate::model::time::Timestamp;
use crate::secret::Secret;

/// What a request presents, as `http` found it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Presented<'a> {
    /// From the `Authorization` header, form-decoded (RFC 6749 §2.3.1).
    pub basic: Option<Pair<'a>>,
    /// The `client_id` parameter.
    pub client_id: Option<&'a str>,
    /// The `client_secret` parameter.
    pub client_secret: Option<&'a str>,
    /// The `client_assertion` parameter.
    pub assertion: Option<&'a str>,
    /// The `client_assertion_type` parameter.
    pub assertion_type: Option<&'a str>,
    /// Where the request comes from: failures are budgeted by it.
    pub address: Option<IpAddr>,
}

/// An id and a secret.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    /// Any text.
    pub id: &'a str,
    /// Any text.
    pub secret: &'a str,
}

impl fmt::Debug for Pair<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A client that proved itself. Only this module makes one.
#[derive(Debug, Clone)]
pub struct Authenticated(Arc<Client>);

impl Authenticated {
    /// Who it is.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0
    }
}

enum Proof<'a> {
    Secret(SecretProof<'a>),
    Assertion { assertion: &'a str, client_id: Option<&'a str> },
}

impl Proof<'_> {
    /// The client id that is claimed; empty where it cannot be read.
    fn claimed(&self) -> Cow<'_, str> {
        match self {
            Self::Secret(proof) => proof.client_id.into(),
            Self::Assertion { assertion, .. } => assertion::claimed(assertion).unwrap_or_default().into(),
        }
    }
}

struct SecretProof<'a> {
    client_id: &'a str,
    secret: &'a str,
    method: AuthMethod,
}

/// One method per request (RFC 6749 §2.3); an equal `client_id` in the body beside a header is no second method.
fn choose(presented: Presented<'_>) -> Result<Proof<'_>, OAuthError> {
    let Presented { basic, client_id, client_secret, assertion, assertion_type, address: _ } = presented;
    let asserts = assertion.is_some() || assertion_type.is_some();
    let methods = usize::from(basic.is_some()) + usize::from(client_secret.is_some()) + usize::from(asserts);
    if methods > 1 {
        return Err(OAuthError::invalid_request("use one way of client authentication, not several"));
    }
    if asserts {
        return match (assertion, assertion_type) {
            (Some(assertion), Some(ASSERTION_TYPE)) => Ok(Proof::Assertion { assertion, client_id }),
            (None, _) => Err(OAuthError::invalid_request("client_assertion_type came without client_assertion")),
            (_, None) => Err(OAuthError::invalid_request("client_assertion came without client_assertion_type")),
            (_, Some(_)) => Err(OAuthError::invalid_client("a client_assertion_type that is not offered")),
        };
    }
    let secret = |client_id, secret, method| Ok(Proof::Secret(SecretProof { client_id, secret, method }));
    match (basic, client_id, client_secret) {
        (Some(Pair { id, .. }), Some(other), _) if id != other => {
            Err(OAuthError::invalid_request("client_id differs from the one in the Authorization header"))
        }
        (Some(Pair { id, secret: given }), _, _) => secret(id, given, AuthMethod::SecretBasic),
        (None, Some(id), Some(given)) => secret(id, given, AuthMethod::SecretPost),
        (None, None, Some(_)) => Err(OAuthError::invalid_request("client_secret came without client_id")),
        (None, Some(_), None) => Err(OAuthError::invalid_client("client_id without a proof")),
        (None, None, None) => Err(OAuthError::invalid_client("no client authentication")),
    }
}

/// Finds out who is calling. The ways that are not the usual one are boxed, so that the future of the usual one is small:
/// each request allocates it. What fails spends a budget ([`super::failures`]), which no right proof ever looks at.
///
/// # Errors
/// `invalid_client` whatever is wrong with the credentials, 429 in its place past a budget, `invalid_request` for several
/// methods at once, 503 when the hashing queue is full, the store does not answer, or it does not take what an assertion
/// needs written.
pub async fn authenticate(service: &Service, presented: Presented<'_>) -> Result<Authenticated, OAuthError> {
    let address = presented.address;
    let proof = choose(presented)?;
    match prove(service, &proof, address).await {
        Err(refusal) if refusal.code == Code::InvalidClient => {
            let suspect = service.failures.suspect(&proof.claimed(), address);
            Err(Box::pin(service.failures.refuse(refusal, &suspect)).await)
        }
        judged => judged,
    }
}

async fn prove(service: &Service, proof: &Proof<'_>, address: Option<IpAddr>) -> Result<Authenticated, OAuthError> {
    let proof = match proof {
        Proof::Secret(proof) => proof,
        Proof::Assertion { assertion, client_id } => {
            return Box::pin(assertion::authenticate(service, assertion, *client_id)).await.map(Authenticated);
        }
    };
    let Proven { client, by, at } = match parse_tagged(proof.secret) {
        Some(tagged) => tagged_secret(service, proof, &tagged).await?,
        None => Box::pin(chosen_secret(service, proof, address)).await?,
    };
    if client.auth_method != AuthMethod::AnySecret && client.auth_method != proof.method {
        return Err(OAuthError::invalid_client("the client is registered for another authentication method"));
    }
    service.last_used.note(&client.client_id, &by, at);
    Ok(Authenticated(client))
}

/// Who it is, by which of its secrets, and when that was live.
struct Proven {
    client: Arc<Client>,
    by: SecretId,
    at: Timestamp,
}

async fn tagged_secret(service: &Service, proof: &SecretProof<'_>, tagged: &Tagged<'_>) -> Result<Proven, OAuthError> {
    if !service.secret_keys.tag_holds(proof.client_id, tagged) {
        return Err(OAuthError::invalid_client("unknown client or wrong secret (its tag does not hold)"));
    }
    let client = enabled(service, proof.client_id).await?;
    let client = client.ok_or_else(|| OAuthError::invalid_client("the client is deleted or disabled"))?;
    let found = client.secrets.iter().find(|secret| secret.id.as_str() == tagged.id);
    let at = service.now();
    let secret = live(found, at)?;
    let SecretCheck::Generated(at_rest) = &secret.check else {
        return Err(OAuthError::invalid_client("no such secret"));
    };
    if service.secret_keys.matches(proof.secret, at_rest) {
        let by = secret.id.clone();
        Ok(Proven { client, by, at })
    } else {
        Err(OAuthError::invalid_client("no such secret"))
    }
}

async fn chosen_secret(
    service: &Service,
    proof: &SecretProof<'_>,
    address: Option<IpAddr>,
) -> Result<Proven, OAuthError> {
    let wrong = || OAuthError::invalid_client("unknown client or wrong secret");
    let plan = service.chosen.read().plan(service.now());
    let Some(plan) = plan else { return Err(wrong()) };
    let client = enabled(service, proof.client_id).await?;
    let hashes: Vec<(SecretId, &str, ChosenHash)> = client
        .iter()
        .flat_map(|client| client.live_secrets(service.now()))
        .filter_map(|secret| match &secret.check {
            SecretCheck::Chosen(phc) => Some((secret.id.clone(), phc.as_str(), ChosenHash::parse(phc).ok()?)),
            SecretCheck::Generated(_) => None,
        })
        .collect();
    let joined: String = hashes.iter().map(|(_, phc, _)| *phc).collect();
    if let Some(client) = &client {
        let known = service.verified.recall(&client.client_id, proof.secret, &joined);
        if let Some(known) = known.filter(|known| hashes.iter().any(|(id, ..)| id == known)) {
            return Ok(Proven { client: Arc::clone(client), by: known, at: service.now() });
        }
    }
    let against = hashes.iter().map(|(_, _, hash)| hash.clone()).collect();
    let secret = Secret::new(proof.secret.to_owned());
    let turn = service.failures.lane(&service.failures.suspect(proof.client_id, address));
    let verdict = service.hasher.check(against, plan, secret, turn).await;
    let index = verdict.map_err(|busy| OAuthError::unavailable(1, busy.to_string()))?.ok_or_else(wrong)?;
    let (client, (id, ..)) = client.as_ref().zip(hashes.get(index)).ok_or_else(wrong)?;
    service.verified.remember(&client.client_id, proof.secret, &joined, id.clone());
    // The queue takes its time. Whatever was changed meanwhile counts, as the revocation that came with it covers no
    // token issued this late.
    let client = enabled(service, proof.client_id).await?;
    let client = client.ok_or_else(|| OAuthError::invalid_client("the client was deleted or disabled meanwhile"))?;
    let at = service.now();
    let still = client.live_secrets(at).any(|secret| secret.id == *id);
    let gone = || OAuthError::invalid_client("the secret is gone meanwhile");
    still.then(|| Proven { client, by: id.clone(), at }).ok_or_else(gone)
}

/// The client if it exists and is enabled.
async fn enabled(service: &Service, id: &str) -> Result<Option<Arc<Client>>, OAuthError> {
    Ok(service.client_named(id).await?.filter(|client| client.enabled))
}

fn live(secret: Option<&StoredSecret>, now: Timestamp) -> Result<&StoredSecret, OAuthError> {
    match secret {
        Some(secret) if secret.is_live(now) => Ok(secret),
        Some(_) => Err(OAuthError::invalid_client("the secret has expired")),
        None => Err(OAuthError::invalid_client("no such secret")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(id: &str) -> Pair<'_> {
        Pair { id, secret: "hunter2" }
    }

    #[test]
    fn a_pair_does_not_show_its_secret() {
        assert!(!format!("{:?}", basic("svc")).contains("hunter2"));
    }

    #[test]
    fn one_method_per_request() {
        let method = |proof: Proof<'_>| match proof {
            Proof::Secret(proof) => proof.method,
            Proof::Assertion { .. } => AuthMethod::PrivateKeyJwt,
        };
        let code = |presented| choose(presented).map(method).map_err(|error| error.code.wire().0);
        let signed =
            || Presented { assertion: Some("x"), assertion_type: Some(ASSERTION_TYPE), ..Presented::default() };
        let none = Presented::default;
        for (presented, answer, rule) in [
            (Presented { basic: Some(basic("a")), ..none() }, Ok(AuthMethod::SecretBasic), "§2.3.1 Basic"),
            (
                Presented { client_id: Some("a"), client_secret: Some("s"), ..none() },
                Ok(AuthMethod::SecretPost),
                "§2.3.1 form",
            ),
            (
                Presented { basic: Some(basic("a")), client_id: Some("a"), ..none() },
                Ok(AuthMethod::SecretBasic),
                "an equal client_id is no second method",
            ),
            (
                Presented { basic: Some(basic("a")), client_id: Some("b"), ..none() },
                Err("invalid_request"),
                "another client_id",
            ),
            (
                Presented { basic: Some(basic("a")), client_secret: Some("s"), ..none() },
                Err("invalid_request"),
                "§2.3: not more than one",
            ),
            (
                Presented { client_id: Some("a"), client_secret: Some("s"), ..signed() },
                Err("invalid_request"),
                "§2.3: not more than one",
            ),
            (Presented { basic: Some(basic("a")), ..signed() }, Err("invalid_request"), "§2.3: not more than one"),
            (
                Presented { basic: Some(basic("a")), assertion_type: Some(ASSERTION_TYPE), ..none() },
                Err("invalid_request"),
                "§2.3: not more than one",
            ),
            (signed(), Ok(AuthMethod::PrivateKeyJwt), "RFC 7521 §4.2: client_id is optional"),
            (Presented { client_id: Some("a"), ..signed() }, Ok(AuthMethod::PrivateKeyJwt), "RFC 7521 §4.2"),
            (Presented { assertion_type: None, ..signed() }, Err("invalid_request"), "RFC 7521 §4.2: REQUIRED"),
            (Presented { assertion: None, ..signed() }, Err("invalid_request"), "RFC 7521 §4.2: REQUIRED"),
            (
                Presented {
                    assertion_type: Some("urn:ietf:params:oauth:client-assertion-type:saml2-bearer"),
                    ..signed()
                },
                Err("invalid_client"),
                "RFC 7523 §2.2: the one type",
            ),
            (
                Presented {
                    assertion_type: Some("URN:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                    ..signed()
                },
                Err("invalid_client"),
                "RFC 7523 §2.2: byte for byte",
            ),
            (Presented { client_secret: Some("s"), ..none() }, Err("invalid_request"), "a secret of nobody"),
            (Presented { client_id: Some("a"), ..none() }, Err("invalid_client"), "§3.2.1: must authenticate"),
            (none(), Err("invalid_client"), "§3.2.1: must authenticate"),
        ] {
            assert_eq!(code(presented), answer, "{rule}");
        }
    }
}
