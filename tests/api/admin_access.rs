//! Who may use the admin API: the order of judgement, which scope reaches what, and which tokens count there at all.

use serde_json::{Value, json};

use crate::support::edi::{Setup, TestEdi};
use crate::support::http::{Answer, Ask};
use crate::support::jwt::{Thief, parts};

const SCOPES: [&str; 9] = [
    "edi:admin",
    "edi:read",
    "edi:clients",
    "edi:deployments",
    "edi:keys",
    "edi:revocations",
    "edi:audit",
    "edi:introspect",
    "edi:issue",
];

/// Method, path, a good body, and the scopes beside `edi:admin` that reach it.
const OPERATIONS: [(&str, &str, &str, &[&str]); 19] = [
    ("GET", "clients", "", &["edi:read", "edi:clients"]),
    ("POST", "clients", r#"{"client_id":"NEW"}"#, &["edi:clients"]),
    ("GET", "clients/svc", "", &["edi:read", "edi:clients"]),
    ("PATCH", "clients/svc", r#"{"client_name":"NEW"}"#, &["edi:clients"]),
    ("GET", "clients/svc/secrets", "", &["edi:read", "edi:clients"]),
    ("POST", "clients/spare/secrets", "{}", &["edi:clients"]),
    ("DELETE", "clients/spare/secrets/OLD", "", &["edi:clients"]),
    ("DELETE", "clients/spare", "", &["edi:clients"]),
    ("GET", "deployments", "", &["edi:read", "edi:deployments"]),
    ("POST", "deployments", r#"{"id":"NEW","role":"a"}"#, &["edi:deployments"]),
    ("GET", "deployments/model", "", &["edi:read", "edi:deployments"]),
    ("PATCH", "deployments/model", r#"{"role":"a"}"#, &["edi:deployments"]),
    ("DELETE", "deployments/spare", "", &["edi:deployments"]),
    ("GET", "keys", "", &["edi:read", "edi:keys"]),
    ("GET", "keys/plan", "", &["edi:read", "edi:keys"]),
    ("POST", "keys/rotate-master", "{}", &["edi:admin"]),
    ("GET", "revocations", "", &["edi:read", "edi:revocations"]),
    ("POST", "revocations", r#"{"kind":"role","id":"nobodys"}"#, &["edi:revocations"]),
    ("GET", "status", "", &["edi:read"]),
];

/// Makes what an operation takes away, and fills in its ids.
async fn ready(edi: &TestEdi, n: usize, scope: &str, path: &str, body: &str) -> (String, String) {
    let new = format!("new-{n}-{}", scope.replace(':', "-"));
    let mut path = path.to_owned();
    if path.contains("spare") {
        path = path.replace("spare", &new);
        edi.deploy(&new, "a", None).await;
        let spare = edi.register(&new, &["a"]).await;
        path = path.replace("OLD", spare.view["secrets"][0]["id"].as_str().unwrap());
    }
    (path, body.replace("NEW", &new))
}

#[tokio::test]
async fn each_scope_reaches_what_it_names_and_no_more() {
    // Its folder outlives the start: the master key changes in it.
    let setup = Setup::new();
    let edi = setup.start().await;
    edi.register("svc", &["a"]).await;
    edi.deploy("model", "a", None).await;
    for scope in SCOPES {
        let by = edi.register_admin(&scope.replace(':', "-"), &[scope]).await;
        let token = edi.admin_token(&by, scope).await;
        for (n, (method, path, body, reached)) in OPERATIONS.iter().enumerate() {
            let may = scope == "edi:admin" || reached.contains(&scope);
            let (path, body) = ready(&edi, n, scope, path, body).await;
            let body = if body.is_empty() { Value::Null } else { serde_json::from_str(&body).unwrap() };
            let before = edi.revision().await;
            let answer = edi.admin_with(&token, method, &path, &body).await;
            assert_eq!((200..300).contains(&answer.status), may, "{scope} at {method} {path}: {answer}");
            if !may {
                let problem = answer.assert_problem(403);
                let challenge = answer.header("www-authenticate");
                assert!(challenge.contains("error=\"insufficient_scope\""), "RFC 6750 §3.1: {answer}");
                let named = challenge.split("scope=\"").nth(1).unwrap().trim_end_matches('"');
                assert!(reached.contains(&named), "RFC 6750 §3: a scope that would do: {answer}");
                assert!(problem["detail"].as_str().unwrap().contains(named), "{answer}");
                assert_eq!(edi.revision().await, before, "nothing was changed");
            }
        }
    }
}

/// Every kind of token that does not count at the admin API, with why.
async fn useless_tokens(edi: &TestEdi, setup: &Setup) -> Vec<(String, &'static str)> {
    let svc = edi.register("svc", &["a"]).await;
    let short = edi.register_with("short", &json!({ "admin_scopes": ["edi:read"], "access_token_lifetime": 10 })).await;
    let expired = edi.admin_token(&short, "edi:read").await;
    let revoked = edi.admin_token(&edi.operator(), "edi:admin").await;
    edi.revoke(&edi.operator(), &revoked).await.assert(200);
    edi.advance(10);
    let thief = Thief::of(edi, &setup.path("keys/master.key"));
    let (header, claims) = parts(&edi.admin_token(&edi.operator(), "edi:admin").await);
    let mut assertion = header.clone();
    assertion["typ"] = json!("JWT");
    let mut elsewhere = claims.clone();
    elsewhere["aud"] = json!("model-prediction-api");
    vec![
        ("garbage".into(), "no token"),
        (edi.token(&svc, &[]).await, "a role token: RFC 9068 §4: its audience is another one"),
        (expired, "RFC 6750 §3.1: expired"),
        (revoked, "RFC 6750 §3.1: revoked"),
        (thief.sign(&assertion, &claims), "RFC 9068 §4: another type of JWT"),
        (thief.sign(&header, &elsewhere), "RFC 9068 §4: an admin scope at another audience"),
        (svc.secret, "a client secret"),
    ]
}

#[tokio::test]
async fn who_is_not_known_learns_nothing_but_401() {
    let setup = Setup::new().set("keys.algorithms", "EdDSA");
    let edi = setup.start().await;
    let tokens = useless_tokens(&edi, &setup).await;
    let before = edi.revision().await;
    let large = "x".repeat(300 * 1024);
    let asks = || {
        let at = |method: &str, path: &str| edi.ask_admin(method, path);
        [
            (at("GET", "clients"), "what there is"),
            (at("GET", "nowhere"), "before 404"),
            (at("GET", "clients/a/b/c/d"), "before 404"),
            (at("GET", "clients/nobody"), "before 404 of a thing"),
            (at("PUT", "clients"), "before 405"),
            (at("OPTIONS", "clients"), "before 405"),
            (at("BREW", "clients"), "before 405"),
            (at("POST", "clients").body("text/plain", "x"), "before 415"),
            (at("POST", "clients").header("content-encoding", "gzip").body("application/json", "x"), "before 415"),
            (at("POST", "clients").body("application/json", "{"), "before the body"),
            (at("POST", "clients").body("application/json", large.clone()), "before 413"),
            (at("GET", "clients?limit=0"), "before the query"),
            (at("GET", "clients?access_token=x"), "RFC 6750 §2.3: never from the query"),
            (at("POST", "clients").form(&[("access_token", "x")]), "RFC 6750 §2.2: never from the body"),
        ]
    };
    for (ask, rule) in asks() {
        let answer = ask.send().await;
        answer.assert_problem(401);
        assert_eq!(answer.header("www-authenticate"), r#"Bearer realm="edi""#, "RFC 6750 §3.1, {rule}: {answer}");
    }
    for (token, why) in &tokens {
        for (ask, rule) in asks() {
            let answer = ask.bearer(token).send().await;
            assert_eq!(answer.status, 401, "{why}, {rule}: {answer}");
            answer.assert_problem(401);
            let challenge =
                r#"Bearer realm="edi", error="invalid_token", error_description="the token is not valid here""#;
            assert_eq!(answer.header("www-authenticate"), challenge, "RFC 6750 §3.1, one face, {why}: {answer}");
        }
    }
    let operator = edi.operator();
    let token = edi.admin_token(&operator, "edi:admin").await;
    let at = || edi.ask_admin("GET", "clients");
    for (ask, rule) in [
        (at().basic(&operator.id, &operator.secret), "client credentials are no bearer"),
        (at().bearer(&token).bearer(&token), "two Authorization headers"),
        (at().header("authorization", format!("Bearer  {token} x")), "RFC 6750 §2.1: outside the grammar"),
        (at().header("authorization", token.clone()), "no scheme"),
    ] {
        let answer = ask.send().await;
        assert_eq!(answer.status, 401, "{rule}: {answer}");
    }
    assert_eq!(edi.revision().await, before, "nothing was written");
    at().header("authorization", format!("bEARER {token}")).send().await.assert(200);
}

async fn judged(ask: Ask, token: &str) -> Answer {
    ask.bearer(token).send().await
}

#[tokio::test]
async fn the_scope_is_judged_before_the_body_and_what_is_there() {
    let edi = TestEdi::new().await;
    let reader = edi.register_admin("reader", &["edi:read"]).await;
    let token = edi.admin_token(&reader, "edi:read").await;
    for (ask, rule) in [
        (edi.ask_admin("POST", "clients").body("application/json", "{"), "before the body"),
        (edi.ask_admin("POST", "clients").body("text/plain", "x"), "before 415"),
        (edi.ask_admin("POST", "clients").header("content-encoding", "br").body("application/json", "x"), "before 415"),
        (edi.ask_admin("POST", "clients").body("application/json", "x".repeat(300 * 1024)), "before 413"),
        (edi.ask_admin("PATCH", "clients/nobody").json(&json!({})), "before 404"),
        (edi.ask_admin("DELETE", "clients/nobody"), "before 404"),
        (edi.ask_admin("DELETE", "clients/not%20an%20id"), "before 404"),
        (edi.ask_admin("DELETE", "deployments/nothing"), "before 404"),
        (edi.ask_admin("POST", "clients").json(&json!({ "client_id": "reader" })), "before 409"),
    ] {
        let answer = judged(ask, &token).await;
        assert_eq!(answer.status, 403, "{rule}: {answer}");
        answer.assert_problem(403);
    }
    let token = edi.admin_token(&edi.operator(), "edi:admin").await;
    for (ask, status, rule) in [
        (edi.ask_admin("GET", "nowhere"), 404, "no such path"),
        (edi.ask_admin("GET", "clients/nobody"), 404, "no such client"),
        (edi.ask_admin("PATCH", "clients/not%20an%20id").json(&json!({})), 404, "no such client"),
        (edi.ask_admin("GET", "clients/../status"), 404, "paths are not normalised"),
        (edi.ask_admin("POST", "clients").body("text/plain", "{}"), 415, "JSON alone"),
        (edi.ask_admin("POST", "clients").form(&[("client_id", "x")]), 415, "JSON alone"),
        (
            edi.ask_admin("POST", "clients").header("content-encoding", "gzip").body("application/json", "{}"),
            415,
            "RFC",
        ),
        (edi.ask_admin("POST", "clients").body("application/json", " ".repeat(256 * 1024 + 1)), 413, "256 KiB at most"),
        (edi.ask_admin("POST", "clients").body("application/json", ""), 422, "an empty body"),
        (edi.ask_admin("POST", "clients").body("application/json", "[]"), 422, "no object"),
        (edi.ask_admin("POST", "clients").body("application/json", "[".repeat(1000)), 422, "bounded depth"),
        (
            edi.ask_admin("POST", "clients").body("application/json", vec![b'"', 0xff, b'"']),
            422,
            "RFC 8259 §8.1: UTF-8",
        ),
        (edi.ask_admin("GET", "clients?limit=1&limit=2"), 422, "twice"),
    ] {
        let answer = judged(ask, &token).await;
        assert_eq!(answer.status, status, "{rule}: {answer}");
        answer.assert_problem(status);
    }
    for (method, path, allow) in [
        ("PUT", "clients", "GET, POST, HEAD"),
        ("POST", "clients/reader", "GET, PUT, PATCH, DELETE, HEAD"),
        ("DELETE", "clients/reader/secrets", "GET, POST, HEAD"),
        ("GET", "clients/reader/secrets/x", "DELETE"),
        ("PUT", "keys", "GET, POST, HEAD"),
        ("POST", "status", "GET, HEAD"),
        ("OPTIONS", "status", "GET, HEAD"),
    ] {
        let answer = judged(edi.ask_admin(method, path), &token).await;
        answer.assert_problem(405);
        assert_eq!(answer.header("allow"), allow, "RFC 9110 §15.5.6: {answer}");
    }
    let head = judged(edi.ask_admin("HEAD", "status"), &token).await.assert(200);
    assert_eq!(head.body, "");
    let patch = edi.ask_admin("PATCH", "clients/reader").body("application/merge-patch+json", r#"{"client_name":"R"}"#);
    judged(patch, &token).await.assert(200);
}

#[tokio::test]
async fn a_token_holds_the_scopes_it_was_asked_for_and_no_other() {
    let edi = TestEdi::new().await;
    let token = edi.admin_token(&edi.operator(), "edi:read").await;
    edi.admin_with(&token, "GET", "clients", &Value::Null).await.assert(200);
    edi.admin_with(&token, "POST", "clients", &json!({ "client_id": "x" })).await.assert_problem(403);
    let both = edi.admin_token(&edi.operator(), "edi:clients edi:keys").await;
    edi.admin_with(&both, "POST", "clients", &json!({ "client_id": "x" })).await.assert(201);
    edi.admin_with(&both, "GET", "keys", &Value::Null).await.assert(200);
    edi.admin_with(&both, "GET", "deployments", &Value::Null).await.assert_problem(403);
}
