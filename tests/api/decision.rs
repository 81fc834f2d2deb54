//! The decision endpoint's four doors: 200, 401 and 403 by RFC 6750 §3.1, each door by its own description of the
//! request alone.

use serde_json::json;

use crate::support::edi::{Registered, TestEdi};
use crate::support::http::{Answer, Ask};

/// A deployment at models.example.com/model/fraud/ for the role `fraud`, one for `other` beside it, a client for each.
async fn world() -> (TestEdi, Registered, Registered) {
    let edi = TestEdi::new().await;
    for (id, path) in [("fraud", "/model/fraud/"), ("other", "/model/other/")] {
        let body = json!({ "id": id, "role": id, "hosts": ["models.example.com"], "paths": [path] });
        edi.admin("POST", "deployments", &body).await.assert(201);
    }
    let fraud = edi.register("fraud-caller", &["fraud"]).await;
    let other = edi.register("other-caller", &["other"]).await;
    (edi, fraud, other)
}

/// The four ways to ask about one request.
fn doors(edi: &TestEdi, method: &str, host: &str, path: &str) -> Vec<(&'static str, Ask)> {
    vec![
        ("nginx, URL", edi.ask(method, "/authz/nginx").header("x-original-url", format!("https://{host}{path}"))),
        ("nginx, URI", edi.ask(method, "/authz/nginx").header("host", host).header("x-original-uri", path)),
        (
            "forwarded",
            edi.ask(method, "/authz/forwarded")
                .header("x-forwarded-method", "POST")
                .header("x-forwarded-host", host)
                .header("x-forwarded-uri", path),
        ),
        ("envoy", edi.ask(method, &format!("/authz/envoy{path}")).header("host", host)),
    ]
}

fn assert_challenge(answer: &Answer, wanted: &[&str], why: &str) {
    let challenge = answer.header("www-authenticate");
    assert!(wanted.iter().all(|part| challenge.contains(part)), "{why}: {challenge}");
}

#[tokio::test]
async fn every_door_says_who_may_pass() {
    let (edi, fraud, other) = world().await;
    let (good, wrong) = (edi.token(&fraud, &[]).await, edi.token(&other, &[]).await);
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        for (door, ask) in doors(&edi, method, "models.example.com", "/model/fraud/predict?x=1&role=other") {
            let answer = ask.bearer(&good).send().await.assert(200);
            for (header, value) in [
                ("x-auth-request-user", "fraud-caller"),
                ("x-auth-request-groups", "fraud"),
                ("x-edi-client-id", "fraud-caller"),
                ("cache-control", "no-store"),
            ] {
                assert_eq!(answer.header(header), value, "{method} {door} {header}");
            }
            assert_eq!(answer.header("x-edi-token-id").len(), 22, "{method} {door}");
        }
    }
    for (door, ask) in doors(&edi, "GET", "models.example.com", "/model/fraud/predict") {
        let answer = ask.bearer(&wrong).send().await.assert(403);
        assert_challenge(&answer, &[r#"error="insufficient_scope""#, r#"scope="fraud""#], door);
    }
    for (door, ask) in doors(&edi, "GET", "models.example.com", "/model/fraud/predict") {
        let answer = ask.send().await.assert(401);
        assert_eq!(answer.header("www-authenticate"), r#"Bearer realm="edi""#, "{door}: no error, nothing presented");
    }
    for (door, ask) in doors(&edi, "GET", "models.example.com", "/model/fraud/predict") {
        let answer = ask.header("authorization", "Basic YTpi").send().await.assert(401);
        assert_challenge(&answer, &["Bearer", r#"error="invalid_token""#], door);
    }
    for (host, path) in [
        ("elsewhere.example.com", "/model/fraud/predict"),
        ("models.example.com", "/model/fraudulent"),
        ("models.example.com", "/"),
        ("models.example.com", "/model/fraud/../other/predict"),
        ("models.example.com", "/model//fraud/predict"),
        ("models.example.com", "/model/fraud%2fpredict"),
        ("models.example.com", "/model/%66raud/predict"),
        ("models.example.com", "/model/fraud;x/predict"),
        ("models.example.com", "/model/fraud/%c0%ae%c0%ae/other/predict"),
        ("models.example.com", "/model/fraud/x#/../../other/predict"),
    ] {
        for (door, ask) in doors(&edi, "GET", host, path) {
            // In a path of edi's own a fragment is no path at all.
            let unreadable = door == "envoy" && path.contains('#');
            ask.bearer(&good).send().await.assert(if unreadable { 400 } else { 403 });
        }
    }
}

#[tokio::test]
async fn the_query_door_reads_only_its_query_up_to_path() {
    let (edi, fraud, _) = world().await;
    let good = edi.token(&fraud, &[]).await;
    for (query, status, rule) in [
        ("role=fraud", 200, "a role"),
        ("deployment=fraud", 200, "a deployment"),
        ("role=fraud&path=/x?role=other&role=third&deployment=other", 200, "after path= everything is the caller's"),
        ("role=other", 403, "a role that is not held"),
        ("deployment=other", 403, "a deployment whose role is not held"),
        ("deployment=none", 403, "no such deployment"),
        ("role=not%20a%20role", 403, "no such role"),
        ("", 400, "nothing named"),
        ("path=/&role=fraud", 400, "named behind path="),
        ("role=fraud&role=fraud", 400, "repeated"),
        ("role=fraud&deployment=fraud", 400, "both"),
        ("role=%zz", 400, "malformed"),
    ] {
        let answer = edi.ask("GET", &format!("/authz?{query}")).bearer(&good).send().await;
        assert_eq!(answer.status, status, "{rule}: {answer}");
    }
}

#[tokio::test]
async fn a_callers_own_copies_of_the_other_doors_headers_change_nothing() {
    let (edi, fraud, other) = world().await;
    let (good, wrong) = (edi.token(&fraud, &[]).await, edi.token(&other, &[]).await);
    let target = "/model/fraud/predict";
    let lie = |ask: Ask, door: &str| {
        let mut ask = ask.header("x-auth-request-user", "root").header("x-auth-request-groups", "fraud");
        if !door.starts_with("nginx") {
            ask = ask.header("x-original-url", "https://models.example.com/model/other/x");
            ask = ask.header("x-original-uri", "/model/other/x");
        }
        if door != "forwarded" {
            ask = ask.header("x-forwarded-host", "elsewhere.example.com").header("x-forwarded-uri", "/model/other/x");
            ask = ask.header("x-forwarded-method", "GET");
        }
        ask.header("x-forwarded-prefix", "/model/other").header("x-envoy-original-path", "/model/other/x")
    };
    for (door, ask) in doors(&edi, "GET", "models.example.com", target) {
        let answer = lie(ask, door).bearer(&good).send().await.assert(200);
        assert_eq!(answer.header("x-auth-request-user"), "fraud-caller", "{door}");
    }
    for (door, ask) in doors(&edi, "GET", "models.example.com", target) {
        lie(ask, door).bearer(&wrong).send().await.assert(403);
    }
    let named = lie(edi.ask("GET", "/authz?role=fraud"), "named");
    named.bearer(&wrong).send().await.assert(403);
    for repeated in ["x-forwarded-host", "x-forwarded-uri", "x-forwarded-method"] {
        let ask = edi
            .ask("GET", "/authz/forwarded")
            .header("x-forwarded-method", "GET")
            .header("x-forwarded-host", "models.example.com")
            .header("x-forwarded-uri", target)
            .header(repeated, "models.example.com");
        ask.bearer(&good).send().await.assert(400);
    }
}

#[tokio::test]
async fn audience_expiry_and_revocation_are_judged_every_time() {
    let edi = TestEdi::new().await;
    edi.deploy("credit", "credit", Some("https://credit.example")).await;
    let svc = edi.register("svc", &["credit", "plain"]).await;
    let credit = edi.token(&svc, &[("scope", "credit")]).await;
    let plain = edi.token(&svc, &[("scope", "plain")]).await;
    let ask = |query: &str, token: &str| edi.ask("GET", &format!("/authz?{query}")).bearer(token).send();
    ask("deployment=credit", &credit).await.assert(200);
    ask("role=credit", &credit).await.assert(200);
    ask("deployment=credit", &plain).await.assert(401);
    ask("role=plain", &plain).await.assert(200);
    // Remembered by now, and judged all the same.
    edi.revoke(&svc, &plain).await.assert(200);
    ask("role=plain", &plain).await.assert(401);
    edi.advance(899);
    ask("role=credit", &credit).await.assert(200);
    edi.advance(1);
    ask("role=credit", &credit).await.assert(401);
    let fresh = edi.token(&svc, &[("scope", "credit")]).await;
    ask("role=credit", &fresh).await.assert(200);
    edi.admin("PATCH", "clients/svc", &json!({ "state": "disabled" })).await.assert(200);
    ask("role=credit", &fresh).await.assert(401);
}

#[tokio::test]
async fn a_revoked_keys_tokens_and_an_operators_token_do_not_pass() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let token = edi.token(&svc, &[]).await;
    let ask = |token: &str| edi.ask("GET", "/authz?role=a").bearer(token).send();
    ask(&token).await.assert(200);
    ask(&edi.admin_token(&edi.operator(), "edi:admin").await).await.assert(401);
    let keys = edi.admin("GET", "keys", &json!(null)).await.json();
    let active = keys["items"].as_array().unwrap().iter().find(|key| key["state"] == "active").unwrap();
    let path = format!("keys/{}/revoke", active["kid"].as_str().unwrap());
    edi.admin("POST", &path, &json!({})).await.assert(200);
    ask(&token).await.assert(401);
    edi.is_active(&svc, &token).await.then(|| panic!("introspection agrees"));
    let fresh = edi.token(&svc, &[]).await;
    ask(&fresh).await.assert(200);
}
