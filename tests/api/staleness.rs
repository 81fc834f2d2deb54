//! When the store falls silent or takes no writes (design §11): what goes on, what stops, and that nothing is claimed.

use std::time::Duration;

use edi::store::memory::Outcome;
use serde_json::{Value, json};

use crate::support::edi::TestEdi;

async fn readiness(edi: &TestEdi) -> (u16, Value) {
    let answer = edi.ask("GET", "/health/ready").send().await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn a_silent_store_stops_decisions_after_five_seconds_and_issuing_much_later() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let token = edi.token(&svc, &[]).await;
    let admin = edi.admin_token(&edi.operator(), "edi:admin").await;
    edi.memory().stall_watches(true);
    edi.memory().fail_reads(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(edi.is_active(&svc, &token).await, "a second is forgiven");
    tokio::time::sleep(Duration::from_millis(4_600)).await;
    let refused = edi.introspect(&svc, &token).await.assert_refused(503, "temporarily_unavailable");
    assert_eq!(refused.header("retry-after"), "1");
    let refused = edi.admin_with(&admin, "GET", "clients", &Value::Null).await;
    refused.assert_problem(503);
    assert_eq!(refused.header("retry-after"), "1");
    edi.request_token(&svc, &[]).await.assert(200);
    edi.ask("GET", "/.well-known/jwks.json").send().await.assert(200);
    edi.ask("GET", "/.well-known/openid-configuration").send().await.assert(200);
    assert_eq!(readiness(&edi).await, (200, json!({ "status": "ok", "store": "stale" })));
    // A client that is not in memory cannot be looked up; it is not told that it is wrong.
    let stranger = edi.operator();
    edi.request_token(&stranger, &[("scope", "edi:read")]).await.assert(200);
    edi.memory().fail_reads(false);
    edi.memory().stall_watches(false);
    for _ in 0..500 {
        if readiness(&edi).await.1["store"] == "ok" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(edi.is_active(&svc, &token).await, "back once the store is heard of");
    edi.admin_with(&admin, "GET", "clients", &Value::Null).await.assert(200);
}

#[tokio::test]
async fn a_change_that_memory_did_not_hear_of_is_not_called_done() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let token = edi.token(&svc, &[]).await;
    edi.memory().stall_watches(true);
    let answer = edi.revoke(&svc, &token).await.assert_refused(503, "temporarily_unavailable");
    assert!(!answer.header("retry-after").is_empty());
    edi.memory().stall_watches(false);
    for _ in 0..500 {
        if edi.introspect(&svc, &token).await.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!edi.is_active(&svc, &token).await, "written it was, and it takes effect with the store's next word");
}

#[tokio::test]
async fn an_operators_change_that_memory_did_not_hear_of_is_not_called_undone_either() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let admin = edi.admin_token(&edi.operator(), "edi:admin").await;
    let before = edi.revision().await;
    edi.memory().stall_watches(true);
    let body = json!({ "state": "disabled" });
    let answer = edi.admin_with(&admin, "PATCH", "clients/svc", &body).await;
    let problem = answer.assert_problem(503);
    assert_ne!(edi.revision().await, before, "it was written");
    assert!(problem["detail"].as_str().unwrap().contains("unknown whether"), "RFC 9110 §15.6.4: {answer}");
    edi.memory().stall_watches(false);
    for _ in 0..500 {
        if edi.request_token(&svc, &[]).await.status == 401 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    edi.request_token(&svc, &[]).await.assert_refused(401, "invalid_client");
}

#[tokio::test]
async fn a_store_that_takes_no_writes_changes_nothing_and_says_so() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let token = edi.token(&svc, &[]).await;
    edi.deploy("model", "a", None).await;
    edi.memory().fail_writes(true);
    let before = edi.revision().await;
    for (method, path, body) in [
        ("POST", "clients", json!({ "client_id": "new" })),
        ("PATCH", "clients/svc", json!({ "roles": [] })),
        ("PATCH", "clients/svc", json!({ "state": "disabled" })),
        ("DELETE", "clients/svc", Value::Null),
        ("POST", "clients/svc/secrets", json!({})),
        ("DELETE", &format!("clients/svc/secrets/{}", svc.view["secrets"][0]["id"].as_str().unwrap()), Value::Null),
        ("POST", "deployments", json!({ "id": "new" })),
        ("PATCH", "deployments/model", json!({ "role": "b" })),
        ("DELETE", "deployments/model", Value::Null),
        ("POST", "revocations", json!({ "kind": "client", "id": "svc" })),
    ] {
        let answer = edi.admin(method, path, &body).await;
        assert_eq!(answer.status, 503, "{method} {path}: {answer}");
        let problem = answer.assert_problem(503);
        assert_eq!(problem["detail"], "nothing was changed; try again shortly", "{answer}");
        assert_eq!(answer.header("retry-after"), "1", "{answer}");
        assert!(problem.get("client_secret").is_none(), "{answer}");
    }
    assert_eq!(edi.revision().await, before);
    assert!(edi.is_active(&svc, &token).await, "nothing was revoked");
    edi.token(&svc, &[]).await;
    assert_eq!(readiness(&edi).await.0, 200);
}

#[tokio::test]
async fn a_write_of_unknown_outcome_is_said_to_be_so() {
    for outcome in [Outcome::Written, Outcome::NotWritten] {
        let edi = TestEdi::new().await;
        edi.memory().outcome_unknown(Some(outcome));
        let answer = edi.admin("POST", "clients", &json!({ "client_id": "new" })).await;
        let problem = answer.assert_problem(503);
        assert!(problem["detail"].as_str().unwrap().contains("it is unknown whether the change happened"), "{answer}");
        assert!(!answer.body.contains("edi_"), "no secret of a client that may not exist: {answer}");
        edi.memory().outcome_unknown(None);
        let there = edi.admin("GET", "clients/new", &Value::Null).await.status;
        assert_eq!(there, if outcome == Outcome::Written { 200 } else { 404 });
    }
}

#[tokio::test]
async fn watches_that_were_lost_are_taken_up_again() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let token = edi.token(&svc, &[]).await;
    edi.memory().lose_watches();
    edi.revoke(&svc, &token).await.assert(200);
    assert!(!edi.is_active(&svc, &token).await);
    edi.memory().lose_watches();
    edi.admin("PATCH", "clients/svc", &json!({ "state": "disabled" })).await.assert(200);
    edi.request_token(&svc, &[]).await.assert_refused(401, "invalid_client");
}
