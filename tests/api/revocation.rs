//! Revocation: by the token's own client (RFC 7009), and in bulk by an operator (design §8).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::edi::{Setup, TestEdi};
use crate::support::jwt::claims;

#[tokio::test]
async fn a_client_revokes_its_own_token_at_once() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let (token, other) = (edi.token(&svc, &[]).await, edi.token(&svc, &[]).await);
    let answer = edi.revoke(&svc, &token).await.assert(200);
    assert_eq!((answer.body.as_str(), answer.header("cache-control")), ("", "no-store"), "RFC 7009 §2.2: {answer}");
    TestEdi::assert_inactive(edi.introspect(&svc, &token).await, "RFC 7009 §2.1: immediately");
    assert!(edi.is_active(&svc, &other).await, "no other token");
    assert!(edi.is_active(&svc, &edi.token(&svc, &[]).await).await, "nor the next one");
    let listed = edi.admin("GET", "revocations?kind=jti", &Value::Null).await.assert(200).json();
    let item = &listed["items"][0];
    assert_eq!((&item["id"], &item["actor"]), (&claims(&token)["jti"], &json!("svc")), "{listed}");
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_there_is_nothing_to_revoke_of_is_200_and_writes_nothing() {
    let edi = TestEdi::new().await;
    let (svc, other) = (edi.register("svc", &["a"]).await, edi.register("other", &["a"]).await);
    let short = edi.register_with("short", &json!({ "roles": ["a"], "access_token_lifetime": 10 })).await;
    let proxy = edi.register_admin("proxy", &["edi:introspect", "edi:revocations"]).await;
    let (token, revoked, expired) =
        (edi.token(&svc, &[]).await, edi.token(&svc, &[]).await, edi.token(&short, &[]).await);
    let stranger = TestEdi::new().await;
    let twin = stranger.register("svc", &["a"]).await;
    let elsewhere = stranger.token(&twin, &[]).await;
    edi.revoke(&svc, &revoked).await.assert(200);
    edi.advance(10);
    let before = edi.revision().await;
    for (by, token, rule) in [
        (&svc, "garbage", "RFC 7009 §2.2: an invalid token is no error"),
        (&svc, "\u{0}\u{1}", "RFC 7009 §2.2: an invalid token is no error"),
        (&svc, elsewhere.as_str(), "RFC 7009 §2.2: another issuer's"),
        (&short, expired.as_str(), "RFC 7009 §2.2: expired"),
        (&svc, revoked.as_str(), "RFC 7009 §2.2: revoked before"),
        (&other, token.as_str(), "RFC 7009 §2.1: issued to another client"),
        (&proxy, token.as_str(), "RFC 7009 §2.1: issued to another client, whatever scopes the caller holds"),
    ] {
        let answer = edi.revoke(by, token).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{rule}: {answer}");
    }
    assert_eq!(edi.revision().await, before, "nothing was written");
    assert!(edi.is_active(&svc, &token).await, "nothing was revoked");
}

#[tokio::test]
async fn a_revocation_that_was_not_stored_is_not_claimed() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let token = edi.token(&svc, &[]).await;
    edi.memory().fail_writes(true);
    let answer = edi.revoke(&svc, &token).await.assert_refused(503, "temporarily_unavailable");
    assert_eq!(answer.header("retry-after"), "1", "RFC 7009 §2.2.1");
    assert!(edi.is_active(&svc, &token).await, "nothing was revoked");
    edi.revoke(&svc, "garbage").await.assert(200);
    edi.memory().fail_writes(false);
    edi.revoke(&svc, &token).await.assert(200);
    TestEdi::assert_inactive(edi.introspect(&svc, &token).await, "asking again is safe");
}

/// Bulk revocations: what is posted, and whether `svc` gets tokens again once it is over.
fn bulk_kinds(kid: &Value) -> [(Value, &'static str); 3] {
    [
        (json!({ "kind": "client", "id": "svc" }), "client"),
        (json!({ "kind": "role", "id": "a" }), "role"),
        (json!({ "kind": "key", "id": kid }), "key"),
    ]
}

#[tokio::test]
async fn a_bulk_revocation_covers_two_more_seconds_in_which_nothing_is_issued() {
    for n in 0..3 {
        let edi = TestEdi::new().await;
        let svc = edi.register("svc", &["a"]).await;
        let unconcerned = edi.register("unconcerned", &["b"]).await;
        let before = edi.token(&svc, &[]).await;
        let kid = edi.ask("GET", "/.well-known/jwks.json").send().await.json()["keys"][0]["kid"].clone();
        let (body, kind) = bulk_kinds(&kid)[n].clone();
        let made = edi.admin("POST", "revocations", &body).await.assert(201).json();
        // The clock stands at a quarter past a second: rounded up, plus 2 s.
        let covered = edi::model::time::Timestamp::from_secs(edi.now() + 3).rfc3339();
        assert_eq!((&made["kind"], &made["covers_issued_until"]), (&json!(kind), &json!(covered)), "{made}");
        TestEdi::assert_inactive(edi.introspect(&svc, &before).await, kind);
        for (millis, retry_after) in [(0, "4"), (750, "3"), (2_000, "1"), (999, "1")] {
            edi.clock.advance(Duration::from_millis(millis));
            let answer = edi.request_token(&svc, &[]).await.assert_refused(503, "temporarily_unavailable");
            assert_eq!(answer.header("retry-after"), retry_after, "{kind} after another {millis} ms");
        }
        if kind != "key" {
            edi.token(&unconcerned, &[]).await;
        }
        edi.clock.advance(Duration::from_millis(1));
        let after = edi.token(&svc, &[]).await;
        assert!(edi.is_active(&svc, &after).await, "{kind}: what is issued afterwards counts");
        TestEdi::assert_inactive(edi.introspect(&svc, &before).await, kind);
    }
}

#[tokio::test]
async fn revoking_a_role_stops_only_tokens_that_would_hold_it() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a", "b"]).await;
    let (a, b) = (edi.token(&svc, &[("scope", "a")]).await, edi.token(&svc, &[("scope", "b")]).await);
    edi.admin("POST", "revocations", &json!({ "kind": "role", "id": "a" })).await.assert(201);
    assert!(!edi.is_active(&svc, &a).await && edi.is_active(&svc, &b).await);
    edi.request_token(&svc, &[("scope", "a")]).await.assert_refused(503, "temporarily_unavailable");
    edi.request_token(&svc, &[]).await.assert_refused(503, "temporarily_unavailable");
    edi.token(&svc, &[("scope", "b")]).await;
}

#[tokio::test]
async fn retry_after_is_long_enough() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    for millis in [0, 1, 250, 999] {
        edi.clock.advance(Duration::from_millis(millis));
        edi.admin("POST", "revocations", &json!({ "kind": "client", "id": "svc" })).await.assert(201);
        let answer = edi.request_token(&svc, &[]).await.assert_refused(503, "temporarily_unavailable");
        edi.advance(answer.header("retry-after").parse().unwrap());
        edi.token(&svc, &[]).await;
    }
}

#[tokio::test]
async fn a_revocation_ends_with_the_last_token_it_can_concern() {
    let edi = Setup::new().set("tokens.max_ttl", "1h").start().await;
    let svc = edi.register_with("svc", &json!({ "roles": ["a"], "access_token_lifetime": 3600 })).await;
    let token = edi.token(&svc, &[]).await;
    edi.admin("POST", "revocations", &json!({ "kind": "client", "id": "svc" })).await.assert(201);
    let exp = claims(&token)["exp"].as_i64().unwrap();
    edi.advance(3599);
    assert!(edi.now() < exp);
    TestEdi::assert_inactive(edi.introspect(&svc, &token).await, "to the last second");
    let live = edi.admin("GET", "revocations", &Value::Null).await.json();
    assert_eq!(live["items"].as_array().unwrap().len(), 1);
    edi.advance(6);
    let live = edi.admin("GET", "revocations", &Value::Null).await.json();
    assert_eq!(live["items"], json!([]), "expired with it");
}

#[tokio::test]
async fn an_operator_revokes_what_was_pasted_or_is_told_why_not() {
    let edi = TestEdi::new().await;
    let svc = edi.register_with("svc", &json!({ "roles": ["a"], "access_token_lifetime": 10 })).await;
    let token = edi.token(&svc, &[]).await;
    let pasted = json!({ "kind": "token", "token": format!(" {token}\n"), "reason": "leaked in a ticket" });
    let made = edi.admin("POST", "revocations", &pasted).await.assert(201);
    assert!(!made.body.contains(&token), "a token is never shown: {made}");
    let made = made.json();
    assert_eq!((&made["kind"], &made["id"]), (&json!("jti"), &claims(&token)["jti"]));
    assert_eq!((&made["reason"], &made["actor"]), (&json!("leaked in a ticket"), &json!("operator")));
    let again = edi.admin("POST", "revocations", &pasted).await.assert_problem(409);
    assert!(again["detail"].as_str().unwrap().contains("revoked already"), "{again}");
    let expiring = edi.token(&svc, &[]).await;
    edi.advance(10);
    let expired = json!({ "kind": "token", "token": expiring });
    let problem = edi.admin("POST", "revocations", &expired).await.assert_problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("expired"), "{problem}");
    for (body, field) in [
        (json!({ "kind": "token", "token": "garbage" }), "token"),
        (json!({ "kind": "token", "token": "garbage", "id": "x" }), "token"),
        (json!({ "kind": "token" }), "token"),
        (json!({ "kind": "client" }), "id"),
        (json!({ "kind": "client", "id": "no such!" }), "id"),
        (json!({ "kind": "jti", "id": "short" }), "id"),
        (json!({ "kind": "role", "id": "openid" }), "id"),
        (json!({ "kind": "grant", "id": "svc/a" }), "kind"),
        (json!({ "kind": "everything", "id": "x" }), "kind"),
        (json!({}), "kind"),
        (json!({ "kind": "client", "id": "svc", "reason": "x".repeat(501) }), "reason"),
        (json!({ "kind": "client", "id": "svc", "until": 5 }), "until"),
    ] {
        let problem = edi.admin("POST", "revocations", &body).await.assert_problem(422);
        assert!(problem["errors"].as_array().unwrap().iter().any(|it| it["field"] == field), "{body}: {problem}");
        assert!(!problem.to_string().contains("garbage"), "{problem}");
    }
}
