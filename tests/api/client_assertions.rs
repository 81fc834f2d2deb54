//! `private_key_jwt` (RFC 7523, RFC 7521 §4.2, draft-ietf-oauth-rfc7523bis, RFC 8725; design §4): what lets a client in,
//! what does not, and that each assertion works once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use edi::ambient::SystemEntropy;
use edi::keys::generate::NewKey;
use edi::keys::provider;
use edi::model::algorithm::Algorithm;
use edi::store::memory::Outcome;
use futures_util::future::join_all;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::support::edi::{ISSUER, Registered, Setup, TestEdi};
use crate::support::http::Answer;
use crate::support::jwt::{Thief, encode, signing_input};

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ENDPOINTS: [&str; 3] = ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"];

/// A client's Ed25519 key pair.
struct Pair(Ed25519KeyPair);

impl Pair {
    fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    fn jwk(&self, kid: Option<&str>) -> Value {
        let mut jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(self.0.public_key()) });
        if let Some(kid) = kid {
            jwk["kid"] = kid.into();
        }
        jwk
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&signing_input(header, claims))
    }

    fn sign_text(&self, input: &str) -> String {
        format!("{input}.{}", encode(self.0.sign(input.as_bytes())))
    }

    /// A fresh assertion as any library would make it.
    fn assertion(&self, edi: &TestEdi, id: &str) -> String {
        self.sign(&json!({ "alg": "EdDSA", "typ": "JWT" }), &claims(edi, id))
    }
}

fn claims(edi: &TestEdi, id: &str) -> Value {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let jti = format!("jti-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    json!({ "iss": id, "sub": id, "aud": ISSUER, "exp": edi.now() + 60, "iat": edi.now(), "jti": jti })
}

fn keyed(jwks: &[Value]) -> Value {
    json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": jwks }, "roles": ["a"] })
}

async fn registered(edi: &TestEdi, id: &str, pair: &Pair) -> Registered {
    edi.register_with(id, &keyed(&[pair.jwk(None)])).await
}

async fn present(edi: &TestEdi, endpoint: &str, assertion: &str, more: &[(&str, &str)]) -> Answer {
    let fields = [("client_assertion_type", TYPE), ("client_assertion", assertion)];
    let own = match endpoint {
        "/oauth2/token" => ("grant_type", "client_credentials"),
        _ => ("token", "no-token"),
    };
    edi.ask("POST", endpoint).form(&[&fields[..], &[own], more].concat()).send().await
}

async fn request(edi: &TestEdi, assertion: &str) -> Answer {
    present(edi, "/oauth2/token", assertion, &[]).await
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "the answer ends here")]
fn refused(answer: Answer, why: &str) {
    assert_eq!(answer.status, 401, "{why}: {answer}");
    assert_eq!(answer.header("www-authenticate"), r#"Basic realm="edi", charset="UTF-8""#, "{why}");
    assert_eq!(
        answer.json(),
        json!({ "error": "invalid_client", "error_description": "client authentication failed" }),
        "one face for every failure: {why}"
    );
}

#[tokio::test]
async fn an_assertion_lets_its_client_in_at_all_three_endpoints() {
    let edi = TestEdi::new().await;
    let pair = Pair::new(1);
    let svc = registered(&edi, "svc", &pair).await;
    assert!(svc.view.get("client_secret").is_none() && svc.view["secrets"] == json!([]), "{}", svc.view);
    let token = request(&edi, &pair.assertion(&edi, "svc")).await.assert(200).json();
    assert_eq!((&token["scope"], &token["token_type"]), (&json!("a"), &json!("Bearer")));
    let token = token["access_token"].as_str().unwrap();
    let ask = |endpoint, assertion: String| {
        let fields =
            [("client_assertion_type", TYPE.to_owned()), ("client_assertion", assertion), ("token", token.to_owned())];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        edi.ask("POST", endpoint).form(&fields).send()
    };
    let answer = ask("/oauth2/introspect", pair.assertion(&edi, "svc")).await.assert(200).json();
    assert_eq!((&answer["active"], &answer["client_id"]), (&json!(true), &json!("svc")));
    ask("/oauth2/revoke", pair.assertion(&edi, "svc")).await.assert(200);
    TestEdi::assert_inactive(ask("/oauth2/introspect", pair.assertion(&edi, "svc")).await, "revoked");
    // RFC 7521 §4.2: client_id is optional, and the same.
    let fields = [("client_id", "svc")];
    present(&edi, "/oauth2/token", &pair.assertion(&edi, "svc"), &fields).await.assert(200);
    let other = present(&edi, "/oauth2/token", &pair.assertion(&edi, "svc"), &[("client_id", "other")]).await;
    other.assert_refused(400, "invalid_request");
}

#[tokio::test]
async fn every_published_algorithm_lets_in() {
    let edi = TestEdi::new().await;
    provider::install();
    for (name, algorithm) in [("e", Algorithm::Es256), ("r", Algorithm::Rs256), ("p", Algorithm::Ps256)] {
        let key = NewKey::generate(algorithm, &SystemEntropy::new()).unwrap();
        edi.register_with(name, &keyed(std::slice::from_ref(&key.public))).await;
        let private = match algorithm {
            Algorithm::Es256 => jsonwebtoken::EncodingKey::from_ec_der(&key.pkcs8),
            _ => jsonwebtoken::EncodingKey::from_rsa_der(&key.pkcs8),
        };
        let mut header = jsonwebtoken::Header::new(algorithm.name().parse().unwrap());
        header.kid = Some(key.kid.to_string());
        let signed = |header| jsonwebtoken::encode(header, &claims(&edi, name), &private).unwrap();
        request(&edi, &signed(&header)).await.assert(200);
        if algorithm == Algorithm::Es256 {
            p384_lets_in(&edi).await;
        }
        let other = match algorithm {
            Algorithm::Rs256 => jsonwebtoken::Algorithm::PS256,
            Algorithm::Ps256 => jsonwebtoken::Algorithm::RS256,
            _ => continue,
        };
        refused(
            request(&edi, &signed(&jsonwebtoken::Header::new(other))).await,
            "RFC 8725 §3.1: the key's own algorithm",
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "ring's own key generation takes no other source")]
async fn p384_lets_in(edi: &TestEdi) {
    use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
    let random = ring::rand::SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
    let private = jsonwebtoken::EncodingKey::from_ec_der(pkcs8.as_ref());
    let public = jsonwebtoken::jwk::Jwk::from_encoding_key(&private, jsonwebtoken::Algorithm::ES384).unwrap();
    edi.register_with("p384", &keyed(&[serde_json::to_value(public).unwrap()])).await;
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES384);
    request(edi, &jsonwebtoken::encode(&header, &claims(edi, "p384"), &private).unwrap()).await.assert(200);
}

#[tokio::test]
async fn whatever_is_wrong_is_the_same_refusal_and_spends_nothing() {
    let edi = TestEdi::new().await;
    let (pair, other) = (Pair::new(1), Pair::new(2));
    registered(&edi, "svc", &pair).await;
    registered(&edi, "other", &other).await;
    edi.register("secretive", &["a"]).await;
    let header = json!({ "alg": "EdDSA" });
    let good = claims(&edi, "svc");
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        pair.sign(&header, &claims)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        pair.sign(&header, &claims)
    };
    let headed = |header: Value| pair.sign(&header, &good);
    let now = edi.now();
    let public = encode(pair.0.public_key());
    let hmac = {
        let input = signing_input(&json!({ "alg": "HS256" }), &good);
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, pair.0.public_key().as_ref());
        format!("{input}.{}", encode(ring::hmac::sign(&key, input.as_bytes())))
    };
    let right = pair.sign(&header, &good);
    let twice =
        format!("{}.{}", encode(r#"{"alg":"EdDSA"}"#), encode(good.to_string().replacen('{', r#"{"sub":"svc","#, 1)));
    let cut = &right[..right.len() - 2];
    let rows = [
        (String::from("x"), "not a JWS"),
        ("a.b.c".into(), "not a JWS"),
        (cut.to_owned(), "a cut signature"),
        (format!("{right}A"), "a longer signature"),
        (format!("{}.", right.rsplit_once('.').unwrap().0), "no signature"),
        (format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(good.to_string())), "RFC 8725 §3.2: alg none"),
        (hmac, "RFC 8725 §2.1: HS256 with the public key"),
        (other.sign(&header, &good), "RFC 7523 §3 item 9: another's key"),
        (Pair::new(3).sign(&header, &good), "RFC 7523 §3 item 9: nobody's key"),
        (pair.sign(&header, &claims(&edi, "other")), "another client"),
        (pair.sign(&header, &claims(&edi, "nobody")), "an unknown client"),
        (pair.sign(&header, &claims(&edi, "secretive")), "a client of secrets"),
        (pair.sign(&header, &claims(&edi, "no such/id")), "no client id at all"),
        (headed(json!({ "alg": "EdDSA", "kid": "unknown", "typ": "at+jwt" })), "RFC 9068: an access token's type"),
        (headed(json!({ "alg": "ES256" })), "RFC 8725 §3.1: another algorithm"),
        (headed(json!({ "alg": "EdDSA", "crit": ["exp"] })), "RFC 7515 §4.1.11: crit"),
        (headed(json!({ "alg": "EdDSA", "typ": "JOSE" })), "RFC 8725 §3.11: typ"),
        (
            Pair::new(3).sign(&json!({ "alg": "EdDSA", "jwk": Pair::new(3).jwk(None) }), &good),
            "RFC 8725 §3.10: a key that it brings along",
        ),
        (
            Pair::new(3)
                .sign(&json!({ "alg": "EdDSA", "jku": format!("{ISSUER}/jwks"), "x5u": "x", "kid": public }), &good),
            "RFC 8725 §3.10: a key that it points to",
        ),
        (pair.sign_text(&twice), "RFC 7519 §4: a claim twice"),
        (with("iss", json!("other")), "RFC 7523 §3 item 1"),
        (with("sub", json!("other")), "RFC 7523 §3 item 2"),
        (with("aud", json!(format!("{ISSUER}/oauth2/token"))), "rfc7523bis: the issuer alone"),
        (with("aud", json!([ISSUER, "https://other.example"])), "rfc7523bis: the issuer alone"),
        (with("aud", json!("model-prediction-api")), "RFC 7523 §3 item 3"),
        (with("exp", json!(now - 1)), "RFC 7523 §3 item 4"),
        (with("exp", json!(now + 3661 + 1)), "RFC 7523 §3 item 4: unreasonably far"),
        (with("exp", json!((now + 60).to_string())), "RFC 7519 §2: a text"),
        (with("nbf", json!(now + 11)), "RFC 7523 §3 item 5"),
        (with("nbf", json!("99999999999")), "RFC 7519 §2: a text"),
        (with("iat", json!(now + 11)), "RFC 7523 §3 item 6"),
        (with("jti", json!("")), "RFC 7523 §3 item 7"),
        (without("jti"), "design §4: jti is required"),
        (without("exp"), "RFC 7523 §3 item 4"),
        (without("aud"), "RFC 7523 §3 item 3"),
        (without("iss"), "RFC 7523 §3 item 1"),
        (without("sub"), "RFC 7523 §3 item 2"),
        (with("padding", "x".repeat(6000).into()), "longer than 8 KiB"),
    ];
    let before = edi.revision().await;
    for (assertion, why) in &rows {
        for endpoint in ENDPOINTS {
            refused(present(&edi, endpoint, assertion, &[]).await, why);
        }
    }
    let typed = |of: &'static str| {
        let fields =
            [("grant_type", "client_credentials"), ("client_assertion", &right), ("client_assertion_type", of)];
        edi.ask("POST", "/oauth2/token").form(&fields).send()
    };
    refused(typed("urn:ietf:params:oauth:client-assertion-type:saml2-bearer").await, "RFC 7523 §2.2: the type");
    refused(typed("jwt-bearer").await, "RFC 7523 §2.2: the type");
    typed("").await.assert_refused(400, "invalid_request");
    assert_eq!(edi.revision().await, before, "nothing was written");
    // The same jti all along: none of the refusals spent it.
    request(&edi, &right).await.assert(200);
    refused(request(&edi, &right).await, "and now it is spent");
}

#[tokio::test]
async fn one_way_of_authentication_per_request() {
    let edi = TestEdi::new().await;
    let pair = Pair::new(1);
    registered(&edi, "svc", &pair).await;
    let secretive = edi.register("secretive", &["a"]).await;
    let assertion = pair.assertion(&edi, "svc");
    for endpoint in ENDPOINTS {
        let form = [
            ("grant_type", "client_credentials"),
            ("token", "t"),
            ("client_assertion_type", TYPE),
            ("client_assertion", &assertion),
        ];
        let basic = edi.ask("POST", endpoint).basic(&secretive.id, &secretive.secret).form(&form).send().await;
        basic.assert_refused(400, "invalid_request");
        let post = [&form[..], &[("client_id", "secretive"), ("client_secret", &secretive.secret)]].concat();
        edi.ask("POST", endpoint).form(&post).send().await.assert_refused(400, "invalid_request");
        let twice = [&form[..], &[("client_assertion", assertion.as_str())]].concat();
        edi.ask("POST", endpoint).form(&twice).send().await.assert_refused(400, "invalid_request");
        let query = format!("{endpoint}?client_assertion=x");
        edi.ask("POST", &query).form(&form).send().await.assert_refused(400, "invalid_request");
    }
    // A client of keys has no secret that could be right, and a client of secrets no key.
    let guess = Registered { id: "svc".into(), secret: secretive.secret.clone(), view: Value::Null };
    refused(edi.request_token(&guess, &[]).await, "a client of keys");
    request(&edi, &assertion).await.assert(200);
    // Empty parameters count as left out.
    let empty = [("grant_type", "client_credentials"), ("client_assertion", ""), ("client_assertion_type", "")];
    edi.ask("POST", "/oauth2/token").basic(&secretive.id, &secretive.secret).form(&empty).send().await.assert(200);
}

#[tokio::test]
async fn of_many_uses_at_once_exactly_one_succeeds() {
    let edi = TestEdi::new().await;
    let pair = Pair::new(1);
    registered(&edi, "svc", &pair).await;
    for _ in 0..3 {
        let assertion = pair.assertion(&edi, "svc");
        let answers = join_all((0..32).map(|n| present(&edi, ENDPOINTS[n % 3], &assertion, &[]))).await;
        let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!((good.len(), bad.len()), (1, 31));
        for answer in bad {
            refused(answer, "used before");
        }
    }
    // Different ones do not stand in each other's way.
    let fresh: Vec<String> = (0..32).map(|_| pair.assertion(&edi, "svc")).collect();
    for answer in join_all(fresh.iter().map(|assertion| request(&edi, assertion))).await {
        answer.assert(200);
    }
}

#[tokio::test]
async fn what_was_used_stays_used_across_a_restart_and_until_it_has_expired() {
    let setup = Setup::on_disk();
    let edi = setup.start().await;
    let pair = Pair::new(1);
    registered(&edi, "svc", &pair).await;
    let mut claims = claims(&edi, "svc");
    claims["exp"] = json!(edi.now() + 3660);
    let long = pair.sign(&json!({ "alg": "EdDSA" }), &claims);
    request(&edi, &long).await.assert(200);
    // The jti counts, whatever else is new in it.
    claims["exp"] = json!(edi.now() + 30);
    refused(request(&edi, &pair.sign(&json!({ "alg": "EdDSA" }), &claims)).await, "the same jti");
    edi.stop().await;
    let edi = setup.start().await;
    for endpoint in ENDPOINTS {
        refused(present(&edi, endpoint, &long, &[]).await, "used before the restart");
    }
    edi.advance(3659);
    refused(request(&edi, &long).await, "used an hour ago");
    request(&edi, &pair.assertion(&edi, "svc")).await.assert(200);
    edi.stop().await;
}

#[tokio::test]
async fn times_are_judged_at_their_bounds() {
    let edi = TestEdi::new().await;
    let pair = Pair::new(1);
    registered(&edi, "svc", &pair).await;
    let now = edi.now();
    for change in [
        json!({ "exp": now + 3660 }),
        json!({ "exp": now + 1 }),
        json!({ "iat": now + 10, "nbf": now + 10 }),
        json!({ "iat": 0, "nbf": 0 }),
        json!({ "exp": 1_800_000_059.75, "iat": 1_800_000_000.25 }),
        json!({ "aud": [ISSUER] }),
    ] {
        let mut claims = claims(&edi, "svc");
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        claims.as_object_mut().unwrap().entry("more").or_insert(json!({ "a": [1, "b"] }));
        let header = json!({ "alg": "EdDSA", "typ": "client-authentication+jwt" });
        let answer = request(&edi, &pair.sign(&header, &claims)).await;
        assert_eq!(answer.status, 200, "{change}: {answer}");
    }
}

#[tokio::test]
async fn a_client_of_an_older_library_addresses_the_token_endpoint_instead() {
    let edi = TestEdi::new().await;
    let pair = Pair::new(1);
    let mut body = keyed(&[pair.jwk(None)]);
    body["assertion_audience"] = "token_endpoint".into();
    let old = edi.register_with("old", &body).await;
    assert_eq!(old.view["assertion_audience"], "token_endpoint");
    let to = |audience: Value| {
        let mut claims = claims(&edi, "old");
        claims["aud"] = audience;
        pair.sign(&json!({ "alg": "EdDSA" }), &claims)
    };
    let endpoint = format!("{ISSUER}/oauth2/token");
    for at in ENDPOINTS {
        present(&edi, at, &to(json!(endpoint)), &[]).await.assert(200);
        refused(present(&edi, at, &to(json!(ISSUER)), &[]).await, "instead, not besides");
    }
    refused(request(&edi, &to(json!([endpoint, ISSUER]))).await, "one audience");
    edi.admin("PATCH", "clients/old", &json!({ "assertion_audience": null })).await.assert(200);
    request(&edi, &to(json!(ISSUER))).await.assert(200);
}

#[tokio::test]
async fn keys_roll_and_a_removed_one_lets_nobody_in() {
    let edi = TestEdi::new().await;
    let (first, second) = (Pair::new(1), Pair::new(2));
    edi.register_with("svc", &keyed(&[first.jwk(Some("one"))])).await;
    let named = |pair: &Pair, kid: &str| pair.sign(&json!({ "alg": "EdDSA", "kid": kid }), &claims(&edi, "svc"));
    request(&edi, &named(&first, "one")).await.assert(200);
    let both = json!({ "jwks": { "keys": [first.jwk(Some("one")), second.jwk(Some("two"))] } });
    edi.admin("PATCH", "clients/svc", &both).await.assert(200);
    request(&edi, &named(&first, "one")).await.assert(200);
    request(&edi, &named(&second, "two")).await.assert(200);
    request(&edi, &second.assertion(&edi, "svc")).await.assert(200);
    refused(request(&edi, &named(&second, "one")).await, "the named key is the one that counts");
    refused(request(&edi, &named(&second, "three")).await, "no key of this name");
    let only = json!({ "jwks": { "keys": [second.jwk(Some("two"))] } });
    edi.admin("PATCH", "clients/svc", &only).await.assert(200);
    refused(request(&edi, &named(&first, "one")).await, "removed, at once");
    request(&edi, &named(&second, "two")).await.assert(200);
    edi.admin("PATCH", "clients/svc", &json!({ "state": "disabled" })).await.assert(200);
    refused(request(&edi, &named(&second, "two")).await, "disabled, at once");
    edi.admin("DELETE", "clients/svc", &Value::Null).await.assert(204);
    refused(request(&edi, &named(&second, "two")).await, "deleted, at once");
}

#[tokio::test]
async fn an_access_token_is_no_assertion_and_an_assertion_no_access_token() {
    let setup = Setup::new().set("keys.algorithms", "EdDSA");
    let edi = setup.start().await;
    // The hardest case: the client registered edi's own signing key, and edi's keys sign the assertion.
    let thief = Thief::of(&edi, &setup.path("keys/master.key"));
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": thief.public() });
    edi.register_with("svc", &keyed(&[jwk])).await;
    let mut claims = claims(&edi, "svc");
    claims["client_id"] = "svc".into();
    claims["scope"] = "a".into();
    refused(request(&edi, &thief.sign(&json!({ "alg": "EdDSA", "typ": "at+jwt" }), &claims)).await, "an access token");
    let assertion = thief.sign(&json!({ "alg": "EdDSA", "typ": "JWT", "kid": thief.kid }), &claims);
    let watcher = edi.register_admin("watcher", &["edi:introspect"]).await;
    TestEdi::assert_inactive(edi.introspect(&watcher, &assertion).await, "an assertion");
    let issued = request(&edi, &assertion).await.assert(200).json();
    refused(request(&edi, issued["access_token"].as_str().unwrap()).await, "an issued access token");
    let answer = edi.ask_admin("GET", "clients").bearer(&assertion).send().await;
    assert_eq!(answer.status, 401, "nor at the admin API: {answer}");
}

#[tokio::test]
async fn without_a_store_that_writes_no_assertion_lets_in() {
    let setup = Setup::new();
    let edi = setup.start().await;
    let pair = Pair::new(1);
    registered(&edi, "svc", &pair).await;
    request(&edi, &pair.assertion(&edi, "svc")).await.assert(200);
    let assertion = pair.assertion(&edi, "svc");
    edi.memory().fail_writes(true);
    for endpoint in ENDPOINTS {
        let answer = present(&edi, endpoint, &assertion, &[]).await;
        answer.assert_refused(503, "temporarily_unavailable");
    }
    refused(request(&edi, "x").await, "a wrong one is wrong all the same");
    edi.memory().fail_writes(false);
    request(&edi, &assertion).await.assert(200);
    let assertion = pair.assertion(&edi, "svc");
    edi.memory().outcome_unknown(Some(Outcome::Written));
    request(&edi, &assertion).await.assert_refused(503, "temporarily_unavailable");
    edi.memory().outcome_unknown(None);
    refused(request(&edi, &assertion).await, "it was written after all");
    // Silence for 5 s: another replica could have heard of it.
    let assertion = pair.assertion(&edi, "svc");
    edi.memory().stall_watches(true);
    tokio::time::sleep(Duration::from_millis(5600)).await;
    let answer = request(&edi, &assertion).await;
    assert!(!answer.header("retry-after").is_empty(), "{answer}");
    answer.assert_refused(503, "temporarily_unavailable");
    edi.memory().stall_watches(false);
}

#[tokio::test]
async fn a_key_set_is_judged_when_it_is_registered() {
    let edi = TestEdi::new().await;
    let pair = Pair::new(1);
    let good = pair.jwk(Some("k"));
    let with = |name: &str, value: Value| {
        let mut jwk = good.clone();
        jwk[name] = value;
        jwk
    };
    let rsa = json!({ "kty": "RSA", "n": encode([0xff; 128]), "e": "AQAB" });
    let private = with("d", "c2VjcmV0LXByaXZhdGUtcGFydA".into());
    for (keys, field) in [
        (json!([private]), "jwks.keys[0]"),
        (json!([good, { "kty": "oct", "k": "c2VjcmV0" }]), "jwks.keys[1]"),
        (json!([good, rsa]), "jwks.keys[1]"),
        (json!([good, good]), "jwks.keys[1]"),
        (json!([good, with("x", encode(Pair::new(2).0.public_key()).into())]), "jwks.keys[1]"),
        (json!([{ "kty": "none" }]), "jwks.keys[0]"),
        (json!([with("alg", "HS256".into())]), "jwks.keys[0]"),
        (json!([with("use", "enc".into())]), "jwks.keys[0]"),
        (json!([1]), "jwks.keys[0]"),
        (json!([]), "jwks"),
        (json!(vec![good.clone(); 9]), "jwks"),
        (json!("x"), "jwks"),
    ] {
        let mut body = keyed(&[]);
        body["client_id"] = "svc".into();
        body["jwks"]["keys"] = keys.clone();
        let answer = edi.admin("POST", "clients", &body).await;
        assert!(!answer.body.contains("c2VjcmV0"), "never echoed: {answer}");
        let problem = answer.assert_problem(422);
        assert_eq!(problem["errors"][0]["field"], *field, "{keys}: {problem}");
    }
    // What is kept and shown is public, and complete.
    let mut given = with("key_ops", json!(["verify"]));
    given["x5c"] = json!(["x"]);
    let svc = edi.register_with("svc", &keyed(&[given])).await;
    let expected = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": good["x"], "kid": "k", "use": "sig", "alg": "EdDSA" }] });
    assert_eq!(svc.view["jwks"], expected);
    assert_eq!(svc.view["assertion_audience"], "issuer");
    let shown = edi.admin("GET", "clients/svc", &Value::Null).await.assert(200).json();
    assert_eq!((&shown["jwks"], &shown["token_endpoint_auth_method"]), (&expected, &json!("private_key_jwt")));
}

#[tokio::test]
async fn a_client_has_secrets_or_keys_and_never_both() {
    let edi = TestEdi::new().await;
    let pair = Pair::new(1);
    let jwks = json!({ "keys": [pair.jwk(None)] });
    let key = json!("private_key_jwt");
    for (body, field) in [
        (json!({ "token_endpoint_auth_method": key }), "jwks"),
        (json!({ "token_endpoint_auth_method": key, "jwks": null }), "jwks"),
        (json!({ "jwks": jwks }), "jwks"),
        (json!({ "token_endpoint_auth_method": "client_secret_basic", "jwks": jwks }), "jwks"),
        (
            json!({ "token_endpoint_auth_method": key, "jwks": jwks, "client_secret": "sixteen characters and more" }),
            "client_secret",
        ),
        (json!({ "assertion_audience": "token_endpoint" }), "assertion_audience"),
        (
            json!({ "token_endpoint_auth_method": key, "jwks": jwks, "assertion_audience": "both" }),
            "assertion_audience",
        ),
        (json!({ "token_endpoint_auth_method": "client_secret_jwt" }), "token_endpoint_auth_method"),
    ] {
        let mut body = body;
        body["client_id"] = "svc".into();
        let problem = edi.admin("POST", "clients", &body).await.assert_problem(422);
        assert_eq!(problem["errors"][0]["field"], *field, "{body}: {problem}");
    }
    // From a secret to keys: the secret goes first, or by name in the same change.
    let svc = edi.register("svc", &["a"]).await;
    let moving = json!({ "token_endpoint_auth_method": key, "jwks": jwks });
    let problem = edi.admin("PATCH", "clients/svc", &moving).await.assert_problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("remove them first"), "{problem}");
    edi.request_token(&svc, &[]).await.assert(200);
    let mut whole = moving.clone();
    whole["secrets"] = json!([{}]);
    let problem = edi.admin("PATCH", "clients/svc", &whole).await.assert_problem(422);
    assert_eq!(problem["errors"][0]["field"], "secrets");
    whole["secrets"] = json!([]);
    let moved = edi.admin("PATCH", "clients/svc", &whole).await.assert(200).json();
    assert_eq!(moved["secrets"], json!([]));
    refused(edi.request_token(&svc, &[]).await, "its secret is gone");
    request(&edi, &pair.assertion(&edi, "svc")).await.assert(200);
    edi.admin("POST", "clients/svc/secrets", &Value::Null).await.assert_problem(409);
    // And back.
    for body in [json!({ "token_endpoint_auth_method": "client_secret_basic" }), json!({ "jwks": null })] {
        let problem = edi.admin("PATCH", "clients/svc", &body).await.assert_problem(422);
        assert_eq!(problem["errors"][0]["field"], "jwks", "nothing is thrown away unnamed: {body}");
    }
    let back = json!({ "token_endpoint_auth_method": "client_secret_basic", "jwks": null });
    let back = edi.admin("PATCH", "clients/svc", &back).await.assert(200).json();
    assert!(back.get("jwks").is_none() && back.get("assertion_audience").is_none(), "{back}");
    refused(request(&edi, &pair.assertion(&edi, "svc")).await, "its keys are gone");
    let problem = edi.admin("PATCH", "clients/svc", &json!({ "secrets": [] })).await.assert_problem(422);
    assert_eq!(problem["errors"][0]["field"], "secrets");
    let made = edi.admin("POST", "clients/svc/secrets", &Value::Null).await.assert(201).json();
    let again = Registered { secret: made["client_secret"].as_str().unwrap().into(), ..svc };
    edi.request_token(&again, &[]).await.assert(200);
}

#[tokio::test]
async fn a_keyed_operator_counts_as_the_last_one() {
    let edi = TestEdi::new().await;
    let pair = Pair::new(1);
    let operator = edi.operator();
    let mut body = keyed(&[pair.jwk(None)]);
    body["roles"] = json!([]);
    body["admin_scopes"] = json!(["edi:admin"]);
    edi.register_with("keyed-operator", &body).await;
    edi.admin("DELETE", &format!("clients/{}", operator.id), &Value::Null).await.assert(204);
    let scope = [("scope", "edi:admin")];
    let answer = present(&edi, "/oauth2/token", &pair.assertion(&edi, "keyed-operator"), &scope).await.assert(200);
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let patch = json!({ "state": "disabled" });
    let problem = edi.admin_with(&token, "PATCH", "clients/keyed-operator", &patch).await.assert_problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("last client"), "{problem}");
}
