//! An issuer moves in: a private key that signed elsewhere goes on signing here, and nobody notices.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edi::keys::master::MasterKey;
use serde_json::{Value, json};

use crate::support::edi::{Setup, TestEdi};
use crate::support::jwt::{parts, verified};

/// The key that signs with ES256, as PEM, taken out of a store with its master key; and its id.
pub(crate) fn signing_key(edi: &TestEdi, setup: &Setup) -> (String, String) {
    let master = MasterKey::load(&setup.path("keys/master.key")).unwrap();
    let keys = edi.service().keys.read();
    let ring = keys.rings().find(|ring| ring.algorithm.name() == "ES256").unwrap();
    let key = ring.signer(edi.service().now()).unwrap();
    let pkcs8 = master.open(&format!("signing-key/ES256/{}", key.kid), &key.sealed).unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&*pkcs8));
    (pem, key.kid.to_string())
}

async fn decided(edi: &TestEdi, token: &str) -> u16 {
    edi.ask("GET", "/authz?role=a").bearer(token).send().await.status
}

async fn jwks(edi: &TestEdi) -> Value {
    edi.ask("GET", "/.well-known/jwks.json").send().await.assert(200).json()
}

#[tokio::test]
async fn an_issuer_moves_in_unnoticed() {
    let (there, here) = (Setup::new(), Setup::new().set("tokens.max_ttl", "2h"));
    let (old, new) = (there.start().await, here.start().await);
    let svc = old.register("svc", &["a"]).await;
    let before = old.token(&svc, &[]).await;
    let (pem, kid) = signing_key(&old, &there);
    assert_eq!(decided(&new, &before).await, 401, "nobody knows that key here");

    // Two keys never start in the same millisecond.
    new.advance(1);
    let body = json!({ "key": pem, "kid": "the-old-name" });
    let done = new.admin("POST", "keys", &body).await.assert(201);
    assert!(!done.body.contains(&pem[40..80]), "the private half is shown to nobody");
    let done = done.json();
    assert_eq!(
        (&done["kid"], &done["state"], &done["algorithm"]),
        (&json!("the-old-name"), &json!("active"), &json!("ES256"))
    );
    assert!(done["old"].is_string() && done["old_trusted_until"].is_string(), "{done}");
    // Once more, under the id that verifiers know: the very key is there.
    let again = new.admin("POST", "keys", &json!({ "key": pem })).await;
    assert!(again.assert_problem(409)["detail"].as_str().unwrap().contains("the-old-name"));

    // In earnest: as it was.
    let new = Setup::new().start().await;
    new.advance(1);
    let done = new.admin("POST", "keys", &json!({ "key": pem })).await.assert(201).json();
    assert_eq!(done["kid"], kid.as_str(), "the thumbprint is the id it had");
    assert_eq!(decided(&new, &before).await, 200, "tokens from there pass here");
    let svc = new.register("svc", &["a"]).await;
    let after = new.token(&svc, &[]).await;
    assert_eq!(parts(&after).0["kid"], kid.as_str(), "and it signs from now on");
    verified(&after, &jwks(&old).await);
    verified(&before, &jwks(&new).await);
    let trail = new.admin("GET", "keys", &Value::Null).await.assert(200);
    assert!(!trail.body.contains("\"d\""), "{trail}");
}

#[tokio::test]
async fn a_key_that_only_verifies_is_published_until_its_tokens_have_expired() {
    let there = Setup::new();
    let (old, new) = (there.start().await, TestEdi::new().await);
    let svc = old.register("svc", &["a"]).await;
    let token = old.token(&svc, &[]).await;
    let (pem, kid) = signing_key(&old, &there);
    let body = json!({ "key": pem, "verify_only": true, "lifetime": 900 });
    let done = new.admin("POST", "keys", &body).await.assert(201).json();
    assert_eq!((&done["state"], &done["verifies_only"]), (&json!("retiring"), &json!(true)), "{done}");
    assert_eq!(decided(&new, &token).await, 200);
    let own = new.register("svc", &["a"]).await;
    assert_ne!(parts(&new.token(&own, &[]).await).0["kid"], kid.as_str(), "it never signs here");
    let risks = new.admin("GET", "keys/plan", &Value::Null).await.assert(200).json()["risks"].to_string();
    assert!(risks.contains("signed elsewhere"), "{risks}");
    new.advance(900 + 60);
    assert!(!jwks(&new).await.to_string().contains(&kid));
}

#[tokio::test]
async fn what_cannot_be_imported_is_refused_and_nothing_is_written() {
    let edi = TestEdi::new().await;
    let active = edi.admin("GET", "keys?state=active", &Value::Null).await.json()["items"][0].clone();
    let token = edi.admin_token(&edi.operator(), "edi:admin").await;
    let before = edi.revision().await;
    let ed = json!({
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    });
    let ec = json!({
        "kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM", "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
    });
    for (body, status, told) in [
        (json!({}), 422, "there is no key"),
        (json!({ "key": 7 }), 422, "PEM as a text"),
        (json!({ "key": "hunter2" }), 422, "expected a private key"),
        (json!({ "key": active["jwk"] }), 422, "public key"),
        (json!({ "key": ec, "kid": "with space" }), 422, "key id has 1 to 128"),
        (json!({ "key": ec, "algorithm": "RS256" }), 422, "cannot sign with RS256"),
        (json!({ "key": ec, "lifetime": 0 }), 422, "whole seconds"),
        (json!({ "key": ec, "surprise": 1 }), 422, "unknown field"),
        (json!({ "key": ec, "kid": active["kid"] }), 409, "there already"),
        (json!({ "key": ed }), 409, "not among keys.algorithms"),
    ] {
        let answer = edi.admin_with(&token, "POST", "keys", &body).await;
        answer.assert_problem(status);
        assert!(answer.body.contains(told), "{told}: {answer}");
        for private in ["hunter2", "870MB6gf", "nWGxne_9"] {
            assert!(!answer.body.contains(private), "{answer}");
        }
    }
    assert_eq!(edi.revision().await, before, "nothing was written");
    // Who may rotate keys may not bring one along: its owner could write an operator's token.
    let keeper = edi.register_admin("keeper", &["edi:keys"]).await;
    let token = edi.admin_token(&keeper, "edi:keys").await;
    edi.admin_with(&token, "POST", "keys", &json!({ "key": ec })).await.assert_problem(403);
}
