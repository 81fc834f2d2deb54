//! Why a token is refused: each check on its own, in agreement with the decision itself.

use edi::oauth::verify;
use serde_json::{Value, json};

use crate::support::edi::{Setup, TestEdi};
use crate::support::jwt::{Thief, parts};

async fn explain(edi: &TestEdi, token: &str, deployment: &str) -> Value {
    let answer = edi.admin("POST", "explain", &json!({ "token": token, "deployment": deployment })).await.assert(200);
    assert!(token.is_empty() || !answer.body.contains(token), "the token is in the answer");
    answer.json()
}

/// The checks that failed and those that were skipped.
fn odd(explanation: &Value) -> (Vec<String>, Vec<String>) {
    let checks = explanation["checks"].as_array().unwrap();
    let named = |wanted: &dyn Fn(&Value) -> bool| {
        checks.iter().filter(|it| wanted(it)).map(|it| it["check"].as_str().unwrap().to_owned()).collect()
    };
    (named(&|it| it["ok"] == json!(false)), named(&|it| it["skipped"] == json!(true)))
}

fn detail<'a>(explanation: &'a Value, check: &str) -> &'a str {
    let checks = explanation["checks"].as_array().unwrap();
    checks.iter().find(|it| it["check"] == check).unwrap()["detail"].as_str().unwrap()
}

#[actix_web::test]
async fn a_good_token_passes_every_check() {
    let edi = TestEdi::new().await;
    edi.deploy("m", "r", None).await;
    let svc = edi.register("svc", &["r"]).await;
    let token = edi.token(&svc, &[]).await;
    let explanation = explain(&edi, &token, "m").await;
    assert_eq!((&explanation["allowed"], &explanation["proven"]), (&json!(true), &json!(true)), "{explanation}");
    let names: Vec<&str> =
        explanation["checks"].as_array().unwrap().iter().map(|it| it["check"].as_str().unwrap()).collect();
    assert_eq!(names, edi::oauth::explain::CHECKS);
    assert_eq!(odd(&explanation), (vec![], vec![]));
    edi.ask("GET", "/authz?deployment=m").bearer(&token).send().await.assert(200);

    // Without a deployment, audience and role count for nothing.
    let answer = edi.admin("POST", "explain", &json!({ "token": token })).await.assert(200).json();
    assert_eq!(answer["allowed"], true);
    assert_eq!(odd(&answer), (vec![], vec!["audience".to_owned(), "role".to_owned()]));
}

#[actix_web::test]
async fn every_failure_is_found_beside_the_others() {
    let setup = Setup::new().set("keys.algorithms", "EdDSA");
    let edi = setup.start().await;
    edi.deploy("m", "r", None).await;
    edi.deploy("other", "o", Some("https://o.example")).await;
    let svc = edi.register("svc", &["r"]).await;
    let token = edi.token(&svc, &[]).await;
    let (header, claims) = parts(&token);
    let thief = Thief::of(&edi, &setup.path("keys/master.key"));
    let with = |base: &Value, changes: &Value| {
        let mut out = base.clone();
        for (name, value) in changes.as_object().unwrap() {
            out[name] = value.clone();
        }
        out
    };
    let forged = |head: &Value, body: &Value| thief.sign(&with(&header, head), &with(&claims, body));
    let stranger = Thief::stranger();
    let none = json!({});
    let rows: [(String, &str, &[&str], &[&str]); 11] = [
        (token.clone(), "other", &["audience", "role"], &[]),
        (forged(&json!({ "typ": "JWT" }), &none), "m", &["type"], &[]),
        (forged(&json!({ "alg": "HS256" }), &none), "m", &["algorithm"], &["signature"]),
        (forged(&json!({ "kid": "unknown" }), &none), "m", &["key"], &["signature"]),
        (stranger.sign(&header, &claims), "m", &["signature"], &[]),
        (forged(&none, &json!({ "iss": "https://evil.example" })), "m", &["issuer"], &[]),
        (forged(&none, &json!({ "exp": 1 })), "m", &["expiry"], &[]),
        (forged(&none, &json!({ "aud": ["model-prediction-api"] })), "m", &["claims", "audience"], &["revocations"]),
        (forged(&none, &json!({ "sub": "another" })), "m", &["claims"], &["revocations"]),
        (
            forged(&json!({ "kid": "unknown", "typ": "JWT" }), &json!({ "iss": "x", "exp": 1, "scope": "s" })),
            "m",
            &["type", "key", "issuer", "expiry", "role"],
            &["signature"],
        ),
        (
            "junk".into(),
            "m",
            &["shape"],
            &["type", "algorithm", "key", "signature", "claims", "issuer", "expiry", "revocations", "audience", "role"],
        ),
    ];
    for (token, deployment, failed, skipped) in rows {
        let explanation = explain(&edi, &token, deployment).await;
        let (found, left) = odd(&explanation);
        assert_eq!(found, failed, "{explanation}");
        assert_eq!(left, skipped, "{explanation}");
        assert_eq!(explanation["allowed"], false, "{explanation}");
        // The decision itself says the same.
        let decided = edi.ask("GET", &format!("/authz?deployment={deployment}")).bearer(&token).send().await;
        assert!(matches!(decided.status, 401 | 403), "{decided}");
        // What needs no deployment agrees with what every endpoint goes by.
        let by_itself = failed.iter().all(|check| matches!(*check, "audience" | "role"));
        assert_eq!(verify::active(edi.service(), &token).is_ok(), by_itself, "{explanation}");
    }
}

#[actix_web::test]
async fn expiry_and_each_kind_of_revocation_are_named() {
    let edi = TestEdi::new().await;
    edi.deploy("m", "r", None).await;
    let svc = edi.register("svc", &["r"]).await;
    let token = edi.token(&svc, &[]).await;
    let (header, claims) = parts(&token);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for (kind, id) in [
        ("jti", text(&claims["jti"])),
        ("client", "svc".to_owned()),
        ("role", "r".to_owned()),
        ("key", text(&header["kid"])),
    ] {
        edi.admin("POST", "revocations", &json!({ "kind": kind, "id": id })).await.assert(201);
        // Revoking the key itself is another thing: this ends the tokens it has signed, the operator's too.
        edi.advance(5);
        let explanation = explain(&edi, &token, "m").await;
        assert!(detail(&explanation, "revocations").contains(&format!("{kind} {id}")), "{explanation}");
        assert_eq!(odd(&explanation).0, ["revocations"]);
    }
    edi.advance(900);
    let explanation = explain(&edi, &token, "m").await;
    assert!(detail(&explanation, "expiry").starts_with("expired at 2027-01-15T08:15:00Z"), "{explanation}");
}

#[actix_web::test]
async fn what_is_no_question_is_refused_field_by_field() {
    let edi = TestEdi::new().await;
    for (body, field) in [
        (json!({}), "token"),
        (json!({ "token": 1 }), "token"),
        (json!({ "token": " " }), "token"),
        (json!({ "token": "a", "deployment": "none" }), "deployment"),
        (json!({ "token": "a", "role": "r" }), "role"),
    ] {
        let problem = edi.admin("POST", "explain", &body).await.assert_problem(422);
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
}
