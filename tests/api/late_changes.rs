//! What changes while a request is under way counts for it: taking one's time saves no right that was lost meanwhile.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::edi::{Registered, TestEdi};
use crate::support::jwt::claims;

/// A request for a token of Legion's, its head sent, its body held back.
struct Held(TcpStream);

const BODY: &str = r#"{"role_name":"a"}"#;

impl Held {
    async fn begin(edi: &TestEdi, authorization: &str) -> Self {
        let mut stream = TcpStream::connect(edi.public).await.unwrap();
        let head = format!(
            "POST /api/v1/model/token HTTP/1.1\r\nhost: edi.test\r\nconnection: close\r\nauthorization: {authorization}\
             \r\ncontent-length: {}\r\n\r\n",
            BODY.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // Long enough for the head to be read.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Self(stream)
    }

    async fn end(mut self) -> String {
        self.0.write_all(BODY.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn basic(by: &Registered) -> String {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", by.id, by.secret));
    format!("Basic {pair}")
}

#[tokio::test]
async fn a_client_that_is_disabled_while_its_body_is_awaited_gets_no_token() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let held = Held::begin(&edi, &basic(&svc)).await;
    edi.admin("PATCH", "clients/svc", &json!({ "state": "disabled" })).await.assert(200);
    // Past what the revocation covers.
    edi.advance(10);
    let answer = held.end().await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn a_token_is_never_made_from_one_that_expired_while_its_body_was_awaited() {
    let edi = TestEdi::new().await;
    let svc = edi.register_with("svc", &json!({ "roles": ["a"], "access_token_lifetime": 10 })).await;
    let token = edi.token(&svc, &[]).await;
    let held = Held::begin(&edi, &format!("Bearer {token}")).await;
    edi.advance(12);
    let answer = held.end().await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let challenge = answer.to_lowercase();
    assert!(
        challenge.contains(r#"www-authenticate: bearer realm="edi", error="invalid_token""#),
        "RFC 6750 §3: {answer}"
    );
}

#[tokio::test]
async fn legions_tokens_live_as_long_as_asked_and_allowed() {
    let edi = TestEdi::new().await;
    let (free, own) = (
        edi.register("free", &["a"]).await,
        edi.register_with("own", &json!({ "roles": ["a"], "access_token_lifetime": 60 })).await,
    );
    let at = |seconds: i64| {
        let end = edi::model::time::Timestamp::from_secs(edi.now() + seconds).rfc3339();
        json!({ "role_name": "a", "expiration_date": end.trim_end_matches('Z') })
    };
    for (by, body, lifetime) in [
        (&free, json!({ "role_name": "a" }), 900),
        (&free, at(30), 30),
        (&free, at(7200), 7200),
        (&free, at(1_000_000_000), 86_400),
        (&own, json!({ "role_name": "a" }), 60),
        (&own, at(7200), 60),
    ] {
        let answer =
            edi.ask("POST", "/api/v1/model/token").basic(&by.id, &by.secret).json(&body).send().await.assert(201);
        let claims = claims(answer.json()["token"].as_str().unwrap());
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), lifetime, "{} {body}", by.id);
    }
}

#[tokio::test]
async fn an_operator_who_is_disabled_while_the_body_is_awaited_changes_nothing() {
    let edi = TestEdi::new().await;
    let other = edi.register_admin("other", &["edi:admin"]).await;
    let token = edi.admin_token(&other, "edi:admin").await;
    let body = r#"{"client_id":"mine","admin_scopes":["edi:admin"]}"#;
    let mut stream = TcpStream::connect(edi.admin).await.unwrap();
    let head = format!(
        "POST /admin/v1/clients HTTP/1.1\r\nhost: edi.test\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    edi.admin("PATCH", "clients/other", &json!({ "state": "disabled" })).await.assert(200);
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    edi.admin("GET", "clients/mine", &Value::Null).await.assert(404);
}

#[tokio::test]
async fn what_is_issued_while_a_slow_disk_writes_the_end_of_a_right_is_revoked_with_it() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a", "b"]).await;
    let reader = edi.register_admin("reader", &["edi:introspect"]).await;
    for change in [json!({ "roles": ["b"] }), json!({ "state": "disabled" })] {
        edi.token(&svc, &[("scope", "b")]).await;
        let operator = edi.admin_token(&edi.operator(), "edi:admin").await;
        edi.memory().stall_watches(true);
        let changed = edi.admin_with(&operator, "PATCH", "clients/svc", &change);
        let meanwhile = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            // Past what the revocation covers; its effect does not show yet.
            edi.advance(10);
            let role = if change.get("roles").is_some() { "a" } else { "b" };
            let token = edi.token(&svc, &[("scope", role)]).await;
            edi.memory().stall_watches(false);
            token
        };
        let (changed, token) = tokio::join!(changed, meanwhile);
        changed.assert(200);
        assert!(!edi.is_active(&reader, &token).await, "{change}");
        edi.advance(10);
    }
}

#[tokio::test]
async fn an_offer_of_another_protocol_is_ignored_with_manners() {
    let edi = TestEdi::new().await;
    let mut stream = TcpStream::connect(edi.public).await.unwrap();
    let head = "GET /.well-known/jwks.json HTTP/1.1\r\nhost: edi.test\r\nconnection: Upgrade, HTTP2-Settings\r\n\
                upgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("\r\nconnection: close"), "RFC 9110 §7.8: {answer}");
    assert!(serde_json::from_str::<Value>(body).is_ok(), "{answer}");
}

#[tokio::test]
async fn a_change_that_was_written_and_not_seen_in_time_is_not_called_undone() {
    let edi = TestEdi::new().await;
    let token = edi.admin_token(&edi.operator(), "edi:admin").await;
    edi.memory().stall_watches(true);
    let answer = edi.admin_with(&token, "POST", "clients", &json!({ "client_id": "svc", "roles": ["a"] })).await;
    let problem = answer.assert_problem(503);
    assert!(problem["detail"].as_str().unwrap().contains("unknown"), "{problem}");
    edi.memory().stall_watches(false);
    for _ in 0..500 {
        // 503 as long as the store was not heard of again.
        if edi.admin_with(&token, "GET", "clients/svc", &Value::Null).await.status != 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    edi.admin_with(&token, "GET", "clients/svc", &Value::Null).await.assert(200);
}

#[tokio::test]
async fn the_admin_api_judges_the_scope_before_the_path_and_the_method() {
    let edi = TestEdi::new().await;
    let introspector = edi.register_admin("proxy", &["edi:introspect"]).await;
    let reader = edi.register_admin("reader", &["edi:read"]).await;
    let (none, read) =
        (edi.admin_token(&introspector, "edi:introspect").await, edi.admin_token(&reader, "edi:read").await);
    for (token, method, path, status) in [
        (&none, "GET", "nothing/here", 403),
        (&none, "PUT", "clients", 403),
        (&none, "DELETE", "status", 403),
        (&read, "GET", "nothing/here", 404),
        (&read, "PUT", "clients", 405),
        (&read, "POST", "clients", 403),
        (&read, "GET", "keys/rotate", 403),
    ] {
        let answer = edi.admin_with(token, method, path, &Value::Null).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer}");
    }
    for target in ["/admin/v1", "/admin/v1/", "/admin/v1/x"] {
        let stranger = crate::support::http::Ask::new(edi.admin, "GET", target).send().await;
        assert_eq!((stranger.status, stranger.header("www-authenticate")), (401, r#"Bearer realm="edi""#), "{target}");
    }
}

#[tokio::test]
async fn an_explanation_names_the_revocation_of_a_token_it_was_made_from() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let first = edi.token(&svc, &[]).await;
    let answer = edi.ask("POST", "/api/v1/model/token").bearer(&first).json(&json!({ "role_name": "a" })).send().await;
    let second = answer.assert(201).json()["token"].as_str().unwrap().to_owned();
    let explain = || async {
        let answer = edi.admin("POST", "explain", &json!({ "token": second })).await.assert(200).json();
        let checks = answer["checks"].as_array().unwrap().clone();
        let check = checks.into_iter().find(|check| check["check"] == "revocations").unwrap();
        (answer["allowed"].as_bool().unwrap(), check["detail"].as_str().unwrap().to_owned())
    };
    assert_eq!(explain().await, (true, "nothing revokes it".into()));
    edi.revoke(&svc, &first).await.assert(200);
    assert!(!edi.is_active(&svc, &second).await);
    let (allowed, detail) = explain().await;
    assert!(!allowed && detail.contains("which it was made from"), "{detail}");
}

#[tokio::test]
async fn a_change_on_condition_of_a_version_undoes_nobody_elses() {
    let edi = TestEdi::new().await;
    edi.register("svc", &["a", "b"]).await;
    edi.deploy("d", "a", None).await;
    let operator = edi.admin_token(&edi.operator(), "edi:admin").await;
    let patch = |path: &'static str, tag: String, body: Value| {
        edi.ask_admin("PATCH", path).bearer(&operator).header("if-match", tag).json(&body).send()
    };
    for (path, first, second) in [
        ("clients/svc", json!({ "roles": ["a"] }), json!({ "roles": ["a", "b", "c"] })),
        ("deployments/d", json!({ "role": "b" }), json!({ "role": "c" })),
    ] {
        let seen = edi.admin("GET", path, &Value::Null).await.assert(200).header("etag").to_owned();
        let now = patch(path, seen.clone(), first.clone()).await.assert(200).header("etag").to_owned();
        assert_ne!(now, seen, "{path}");
        patch(path, seen.clone(), second).await.assert_problem(412);
        let there = edi.admin("GET", path, &Value::Null).await;
        assert_eq!(there.header("etag"), now, "RFC 9110 §13.1.1: {path}");
        let (name, value) = first.as_object().unwrap().iter().next().unwrap();
        assert_eq!(&there.json()[name], value, "{path}");
        let delete = |tag: String| edi.ask_admin("DELETE", path).bearer(&operator).header("if-match", tag).send();
        delete(seen).await.assert_problem(412);
        delete(now).await.assert(204);
    }
}
