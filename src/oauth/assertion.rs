//! `private_key_jwt`: a client proves itself by a JWT that it signed (RFC 7523 §3, RFC 7521 §4.2, §5, RFC 8725, and
//! draft-ietf-oauth-rfc7523bis for the audience).
//!
//! Nothing in it is believed before its signature holds under a key that the client registered, and nothing in its
//! header is believed at all: it only chooses among those keys. An assertion works once, on all endpoints together; it is
//! used up by the request it lets in and by no other.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::error::OAuthError;
use super::service::Service;
use crate::keys::client_keys::AssertionAlgorithm;
use crate::keys::jws::Jws;
use crate::keys::strict_json::parse_object;
use crate::model::client::{AssertionAudience, AuthMethod, Client};
use crate::model::id::{ClientId, Kid};
use crate::model::time::Timestamp;
use crate::store::collections::assertions;

/// The one `client_assertion_type` (RFC 7523 §2.2).
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The longest assertion, in bytes.
pub const MAX_ASSERTION: usize = 8 * 1024;
/// The farthest `exp` may lie ahead: an hour and a minute.
const MAX_AHEAD: Duration = Duration::from_mins(61);
/// How far `iat` and `nbf` may lie in the future: clocks differ.
const FORGIVEN: Duration = Duration::from_secs(10);
/// A used assertion is remembered so long past its `exp`: the clocks of replicas differ.
const SKEW: Duration = Duration::from_mins(1);
/// How deeply the claims may be nested.
const MAX_DEPTH: usize = 8;

/// What an assertion claims.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claims {
    /// `iss` and `sub`, which are the same.
    client_id: String,
    audience: String,
    expires_at: Timestamp,
    issued_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    jti: String,
}

/// Why claims do not count; for the log.
type Why = &'static str;

impl Claims {
    fn read(payload: &[u8]) -> Result<Self, Why> {
        let claims =
            parse_object(payload, MAX_DEPTH).ok_or("its claims are not a JSON object with each member once")?;
        let client_id = text(&claims, "iss").ok_or("it has no iss, or one that is no text")?;
        if text(&claims, "sub") != Some(client_id) {
            return Err("its sub is not its iss");
        }
        let audience = match claims.get("aud") {
            Some(Value::String(one)) => one,
            Some(Value::Array(several)) => match several.as_slice() {
                [Value::String(one)] => one,
                _ => return Err("its aud is not one audience"),
            },
            _ => return Err("it has no aud, or one that is no text"),
        };
        let jti = text(&claims, "jti").filter(|jti| !jti.is_empty()).ok_or("it has no jti, or one that is no text")?;
        Ok(Self {
            client_id: client_id.to_owned(),
            audience: audience.clone(),
            expires_at: instant(&claims, "exp")?.ok_or("it has no exp")?,
            issued_at: instant(&claims, "iat")?,
            not_before: instant(&claims, "nbf")?,
            jti: jti.to_owned(),
        })
    }

    /// Whether they count now, for this audience.
    fn judge(&self, audience: &str, now: Timestamp) -> Result<(), Why> {
        let latest = now.plus(FORGIVEN);
        if self.audience != audience {
            Err("its aud is not the one this client was registered for")
        } else if self.expires_at <= now {
            Err("it has expired")
        } else if self.expires_at > now.plus(MAX_AHEAD) {
            Err("its exp lies more than 3660 s ahead")
        } else if self.issued_at.is_some_and(|at| at > latest) {
            Err("its iat lies in the future")
        } else if self.not_before.is_some_and(|at| at > latest) {
            Err("its nbf lies in the future")
        } else {
            Ok(())
        }
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// A `NumericDate` (RFC 7519 §2): a number, fractions allowed; never a text.
fn instant(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Why> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(secs), _) => Ok(Some(Timestamp::from_secs(secs))),
            (None, Some(secs)) => Ok(Some(from_fraction(secs))),
            (None, None) => Err("a time that is no number"),
        },
        Some(_) => Err("a time that is no number"),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "saturates, and what is past all bounds is refused by them")]
fn from_fraction(secs: f64) -> Timestamp {
    Timestamp::from_millis((secs * 1000.0) as i64)
}

/// What an assertion says before any of it is believed.
struct Parsed<'a> {
    text: &'a str,
    jws: Jws<'a>,
    algorithm: AssertionAlgorithm,
    claims: Claims,
}

fn parse(text: &str) -> Result<Parsed<'_>, Why> {
    if text.len() > MAX_ASSERTION {
        return Err("it is longer than 8 KiB");
    }
    let jws = Jws::parse(text).map_err(|_| "it is no compact JWS, repeats a member, or names critical extensions")?;
    // RFC 8725 §3.11: whatever else somebody signed, an access token above all, is no assertion.
    if jws.header.typ.is_some() && !jws.header.is_type("JWT") && !jws.header.is_type("client-authentication+jwt") {
        return Err("its typ is that of something else");
    }
    let algorithm = AssertionAlgorithm::parse(&jws.header.alg).ok_or("its alg is none that is accepted")?;
    let claims = Claims::read(&jws.payload)?;
    Ok(Parsed { text, jws, algorithm, claims })
}

/// Whose an assertion says it is, for counting failures; nothing about it is verified.
#[must_use]
pub fn claimed(text: &str) -> Option<String> {
    parse(text).ok().map(|parsed| parsed.claims.client_id)
}

fn refused(why: Why) -> OAuthError {
    OAuthError::invalid_client(format!("client assertion: {why}"))
}

/// The client that signed the assertion, which is used up by this.
///
/// # Errors
/// `invalid_client` whatever is wrong with it, `invalid_request` when `client_id` names another client, 503 when the
/// store has been silent for 5 s or does not take the `jti`.
pub async fn authenticate(service: &Service, text: &str, client_id: Option<&str>) -> Result<Arc<Client>, OAuthError> {
    // Another replica may have used it up, or the client may have lost the key.
    service.fresh_enough_to_decide()?;
    let assertion = parse(text).map_err(refused)?;
    let claims = &assertion.claims;
    if client_id.is_some_and(|id| id != claims.client_id) {
        return Err(OAuthError::invalid_request("client_id differs from the one in the client assertion"));
    }
    let client = registered(service, &claims.client_id).await?;
    let signed_by = signer(service, client.as_ref(), &assertion);
    let (client, key) = client.zip(signed_by).ok_or_else(|| {
        refused("unknown client, one that is registered for no key, or the signature is by none of its keys")
    })?;
    let audience = match client.assertion_audience {
        AssertionAudience::Issuer => service.settings.issuer.clone(),
        AssertionAudience::TokenEndpoint => format!("{}/oauth2/token", service.settings.issuer),
    };
    claims.judge(&audience, service.now()).map_err(refused)?;
    let until = claims.expires_at.plus(SKEW);
    if !assertions::spend(&*service.store, &client.client_id, &claims.jti, until).await? {
        return Err(refused("it was used before (its jti is spent)"));
    }
    // Writing takes its time. Whatever was changed meanwhile counts, as the revocation that came with it covers no token
    // issued this late.
    let client = registered(service, &claims.client_id).await?;
    let still = client.filter(|client| service.registered_keys.of(client).has(&key));
    still.ok_or_else(|| refused("the client or its key is gone meanwhile"))
}

/// The client if it exists, is enabled and proves itself by keys.
async fn registered(service: &Service, id: &str) -> Result<Option<Arc<Client>>, OAuthError> {
    let Ok(id) = ClientId::parse(id) else { return Ok(None) };
    let client = service.client(&id).await?;
    Ok(client.filter(|client| client.enabled && client.auth_method == AuthMethod::PrivateKeyJwt))
}

/// Which of the client's keys signed. Takes as long for a client that there is not.
fn signer(service: &Service, client: Option<&Arc<Client>>, assertion: &Parsed<'_>) -> Option<Kid> {
    let keys = client.map(|client| service.registered_keys.of(client)).unwrap_or_default();
    keys.signer(assertion.text, &assertion.jws.header, assertion.algorithm).cloned()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const ISSUER: &str = "https://edi.example";

    fn b64(text: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn unsigned(header: &str, claims: &str) -> String {
        format!("{}.{}.{}", b64(header), b64(claims), b64("signature"))
    }

    fn good() -> Value {
        json!({ "iss": "svc", "sub": "svc", "aud": ISSUER, "exp": NOW + 60, "iat": NOW, "jti": "1" })
    }

    fn judged(header: &str, claims: &str) -> Result<(), Why> {
        parse(&unsigned(header, claims))?.claims.judge(ISSUER, Timestamp::from_millis(NOW * 1000 + 250))
    }

    #[test]
    fn the_header_only_chooses_and_must_be_one_of_ours() {
        let claims = good().to_string();
        for (header, fine, rule) in [
            (r#"{"alg":"ES256"}"#, true, "RFC 7523 §3: typ may be absent"),
            (r#"{"alg":"ES384","typ":"JWT"}"#, true, "RFC 7519 §5.1"),
            (r#"{"alg":"EdDSA","typ":"jwt"}"#, true, "RFC 7515 §4.1.9: without regard to case"),
            (r#"{"alg":"PS256","typ":"client-authentication+jwt"}"#, true, "rfc7523bis"),
            (r#"{"alg":"RS256","typ":"application/Client-Authentication+JWT"}"#, true, "RFC 7515 §4.1.9"),
            (
                r#"{"alg":"ES256","kid":"k","jku":"https://evil","x5c":[],"jwk":{},"x5u":1}"#,
                true,
                "RFC 8725 §3.10: not looked at",
            ),
            (r#"{"alg":"ES256","typ":"at+jwt"}"#, false, "RFC 9068 §2.1: an access token"),
            (r#"{"alg":"ES256","typ":"application/at+jwt"}"#, false, "RFC 9068 §2.1"),
            (r#"{"alg":"ES256","typ":"dpop+jwt"}"#, false, "RFC 8725 §3.11"),
            (r#"{"alg":"ES256","typ":""}"#, false, "RFC 8725 §3.11"),
            (r#"{"alg":"ES256","typ":null}"#, false, "RFC 7515 §4.1.9: a text"),
            (r#"{"alg":"none"}"#, false, "RFC 8725 §3.2"),
            (r#"{"alg":"None"}"#, false, "RFC 7515 §4.1.1: case counts"),
            (r#"{"alg":"HS256"}"#, false, "RFC 8725 §2.1"),
            (r#"{"alg":"RS512"}"#, false, "not published"),
            ("{}", false, "RFC 7515 §4.1.1: alg is required"),
            (r#"{"alg":"ES256","crit":["exp"]}"#, false, "RFC 7515 §4.1.11"),
            (r#"{"alg":"ES256","crit":[]}"#, false, "RFC 7515 §4.1.11: never empty"),
            (r#"{"alg":"ES256","b64":false,"crit":["b64"]}"#, false, "RFC 7797 §6"),
            (r#"{"alg":"ES256","alg":"none"}"#, false, "RFC 7515 §4: each member once"),
        ] {
            assert_eq!(judged(header, &claims).is_ok(), fine, "{rule}: {header}");
        }
    }

    #[test]
    fn each_claim_is_judged() {
        let rows = [
            (json!({}), true, "as it should be"),
            (json!({ "aud": [ISSUER] }), true, "rfc7523bis: an array of one"),
            (json!({ "exp": NOW + 3660 }), true, "3,660 s ahead"),
            (json!({ "exp": 1_800_000_000.5 }), true, "RFC 7519 §2: a NumericDate may have a fraction"),
            (json!({ "iat": NOW + 10, "nbf": NOW + 10 }), true, "10 s of the future forgiven"),
            (json!({ "iat": NOW - 99_999 }), true, "age is bounded by exp"),
            (json!({ "iat": null }), false, "RFC 7519 §4.1.6: a number"),
            (json!({ "nonce": "x", "more": { "a": [1] } }), true, "RFC 7523 §3: other claims may be there"),
            (json!({ "iss": "other" }), false, "RFC 7523 §3 item 1, 2B: iss and sub are the client"),
            (json!({ "sub": "other" }), false, "RFC 7523 §3 item 2B"),
            (json!({ "iss": ["svc"], "sub": ["svc"] }), false, "RFC 7519 §4.1.1: a text"),
            (json!({ "aud": "https://edi.example/" }), false, "RFC 7523 §3 item 3: compared byte for byte"),
            (json!({ "aud": "https://edi.example/oauth2/token" }), false, "rfc7523bis: the issuer alone"),
            (json!({ "aud": [ISSUER, "https://other.example"] }), false, "rfc7523bis: the sole value"),
            (json!({ "aud": [ISSUER, ISSUER] }), false, "rfc7523bis: the sole value"),
            (json!({ "aud": [] }), false, "RFC 7523 §3 item 3"),
            (json!({ "aud": [[ISSUER]] }), false, "RFC 7519 §4.1.3"),
            (json!({ "aud": 1 }), false, "RFC 7519 §4.1.3"),
            (json!({ "exp": NOW }), false, "RFC 7523 §3 item 4: expired"),
            (json!({ "exp": 1_800_000_000.2 }), false, "RFC 7523 §3 item 4: expired"),
            (json!({ "exp": NOW + 3661 }), false, "RFC 7523 §3 item 4: unreasonably far"),
            (json!({ "exp": 1e300 }), false, "unreasonably far"),
            (json!({ "exp": u64::MAX }), false, "unreasonably far"),
            (json!({ "exp": -1 }), false, "expired"),
            (json!({ "exp": "1800000060" }), false, "RFC 7519 §2: a number, no text"),
            (json!({ "exp": true }), false, "RFC 7519 §2"),
            (json!({ "nbf": NOW + 11 }), false, "RFC 7523 §3 item 5"),
            (json!({ "nbf": "0" }), false, "RFC 7519 §2"),
            (json!({ "nbf": "9999999999" }), false, "RFC 7519 §2"),
            (json!({ "iat": NOW + 11 }), false, "RFC 7523 §3 item 6"),
            (json!({ "iat": "0" }), false, "RFC 7519 §2"),
            (json!({ "jti": "" }), false, "RFC 7523 §3 item 7"),
            (json!({ "jti": 1 }), false, "RFC 7519 §4.1.7: a text"),
        ];
        for (change, fine, rule) in rows {
            let mut claims = good();
            claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            assert_eq!(judged(r#"{"alg":"ES256"}"#, &claims.to_string()).is_ok(), fine, "{rule}: {change}");
        }
        for missing in ["iss", "sub", "aud", "exp", "jti"] {
            let mut claims = good();
            claims.as_object_mut().unwrap().remove(missing);
            assert!(judged(r#"{"alg":"ES256"}"#, &claims.to_string()).is_err(), "{missing} is required");
        }
        let mut claims = good();
        claims.as_object_mut().unwrap().remove("iat");
        assert_eq!(judged(r#"{"alg":"ES256"}"#, &claims.to_string()), Ok(()), "RFC 7523 §3 item 6: iat may be absent");
    }

    #[test]
    fn claims_are_one_strict_object() {
        let text = good().to_string();
        for bad in [
            "[]".to_owned(),
            "null".into(),
            String::new(),
            format!("{text}{text}"),
            text.replacen('{', r#"{"iss":"other","#, 1),
            text.replacen('{', r#"{"x":{"a":1,"a":2},"#, 1),
            text.replacen('{', &format!(r#"{{"x":{}{},"#, "[".repeat(9), "]".repeat(9)), 1),
        ] {
            assert!(judged(r#"{"alg":"ES256"}"#, &bad).is_err(), "RFC 7519 §4: {bad}");
        }
    }

    #[test]
    fn a_long_assertion_is_not_read() {
        let mut claims = good();
        claims["jti"] = "x".repeat(5800).into();
        let fits = unsigned(r#"{"alg":"ES256"}"#, &claims.to_string());
        assert!(fits.len() <= MAX_ASSERTION && parse(&fits).is_ok(), "{}", fits.len());
        claims["jti"] = "x".repeat(6200).into();
        assert!(parse(&unsigned(r#"{"alg":"ES256"}"#, &claims.to_string())).is_err());
    }

    #[test]
    fn the_example_of_rfc_7523_is_read() {
        // RFC 7523 §3.1 and §4: header, then claims; its sub is a person's, so as client authentication it is refused.
        let claims = r#"{"iss":"https://jwt-idp.example.com","sub":"mailto:mike@example.com","nbf":1300815780,
            "exp":1300819380,"http://claims.example.com/member":true}"#;
        assert_eq!(Claims::read(claims.as_bytes()), Err("its sub is not its iss"));
        // RFC 7523 §2.2's request carries this header and these first claims.
        let header = URL_SAFE_NO_PAD.decode("eyJhbGciOiJSUzI1NiIsImtpZCI6IjIyIn0").unwrap();
        let token = unsigned(std::str::from_utf8(&header).unwrap(), &good().to_string());
        let parsed = parse(&token).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(parsed.jws.header.kid.as_deref(), Some("22"));
        assert_eq!(parsed.claims.client_id, "svc");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(
            text in ".{0,200}", header in "\\PC{0,60}", claims in "\\PC{0,120}",
        ) {
            let _ = parse(&text);
            let _ = parse(&unsigned(&header, &claims));
        }

        #[test]
        fn any_numbers_and_texts_in_claims_are_judged_without_panic(
            exp in any::<f64>(), iat in any::<i64>(), nbf in any::<u64>(), aud in "\\PC{0,20}", jti in "\\PC{0,40}",
        ) {
            let mut claims = good();
            claims["exp"] = json!(exp);
            claims["iat"] = json!(iat);
            claims["nbf"] = json!(nbf);
            claims["aud"] = json!([aud]);
            claims["jti"] = json!(jti);
            prop_assert!(judged(r#"{"alg":"ES256"}"#, &claims.to_string()).is_err(), "{claims}");
        }

        #[test]
        fn what_is_within_the_bounds_passes(ahead in 1_i64..=3660, late in -1000_i64..=10, jti in "\\PC{1,40}") {
            let mut claims = good();
            claims["exp"] = json!(NOW + ahead);
            claims["iat"] = json!(NOW + late);
            claims["nbf"] = json!(NOW + late);
            claims["jti"] = json!(jti);
            prop_assert_eq!(judged(r#"{"alg":"ES256","typ":"JWT"}"#, &claims.to_string()), Ok(()));
        }
    }
}
