//! Revocations by operators: filtered, looked at, foreseen, and taken back when they were a mistake (design §8).

use serde_json::{Value, json};

use crate::support::edi::{Setup, TestEdi};

async fn listed(edi: &TestEdi, query: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    for _ in 0..50 {
        let page =
            edi.admin("GET", &format!("revocations?limit=2&{query}{cursor}"), &Value::Null).await.assert(200).json();
        let items = page["items"].as_array().unwrap();
        found.extend(items.iter().map(|it| format!("{}/{}", it["kind"].as_str().unwrap(), it["id"].as_str().unwrap())));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
    panic!("no end");
}

async fn revoke(edi: &TestEdi, kind: &str, id: &str, reason: &str) -> Value {
    let body = json!({ "kind": kind, "id": id, "reason": reason });
    edi.admin("POST", "revocations", &body).await.assert(201).json()
}

async fn undo(edi: &TestEdi, path: &str) -> crate::support::http::Answer {
    edi.admin("DELETE", &format!("revocations/{path}"), &Value::Null).await
}

#[tokio::test]
async fn lists_are_filtered_by_everything_that_is_told() {
    let edi = TestEdi::new().await;
    let other = edi.register_admin("other", &["edi:revocations"]).await;
    edi.register("svc", &["a", "b"]).await;
    edi.register("svc2", &["a"]).await;
    edi.admin("PATCH", "clients/svc", &json!({ "roles": ["b"] })).await.assert(200);
    let start = edi.service().now().rfc3339();
    edi.advance(10);
    revoke(&edi, "client", "svc", "Laptop Stolen").await;
    revoke(&edi, "client", "svc2", "other").await;
    let token = edi.admin_token(&other, "edi:revocations").await;
    edi.admin_with(&token, "POST", "revocations", &json!({ "kind": "role", "id": "svc" })).await.assert(201);
    let all = ["client/svc", "client/svc2", "grant/svc/a", "role/svc"];
    assert_eq!(listed(&edi, "").await, all);
    for (query, wanted) in [
        ("kind=client", &["client/svc", "client/svc2"][..]),
        ("id=svc", &["client/svc", "role/svc"]),
        ("kind=role&id=svc", &["role/svc"]),
        ("client=svc", &["client/svc", "grant/svc/a"]),
        ("client=svc&kind=grant", &["grant/svc/a"]),
        ("actor=other", &["role/svc"]),
        ("reason=laptop%20s", &["client/svc"]),
        (&format!("until={start}"), &["grant/svc/a"]),
        ("state=settling", &["client/svc", "client/svc2", "role/svc"]),
        ("state=in_force", &["grant/svc/a"]),
        ("actor=nobody", &[]),
        ("client=nobody", &[]),
    ] {
        assert_eq!(listed(&edi, query).await, wanted, "{query}");
    }
    edi.advance(1);
    let later = edi.service().now().rfc3339();
    assert_eq!(listed(&edi, &format!("since={later}")).await, [""; 0]);
    assert_eq!(listed(&edi, &format!("since={start}&kind=role")).await, ["role/svc"]);
    for (query, field) in [
        ("kind=planet", "kind"),
        ("client=no%20id", "client"),
        ("since=yesterday", "since"),
        ("state=odd", "state"),
        ("role=a", "role"),
    ] {
        let problem = edi.admin("GET", &format!("revocations?{query}"), &Value::Null).await.assert_problem(422);
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
}

#[tokio::test]
async fn one_is_shown_by_kind_and_id() {
    let edi = TestEdi::new().await;
    edi.register("svc", &["a", "b"]).await;
    edi.admin("PATCH", "clients/svc", &json!({ "roles": ["b"] })).await.assert(200);
    let made = revoke(&edi, "client", "svc", "x").await;
    assert_eq!(made["origin"], "request");
    let shown = edi.admin("GET", "revocations/client/svc", &Value::Null).await.assert(200).json();
    assert_eq!(shown, made);
    let grant = edi.admin("GET", "revocations/grant/svc%2Fa", &Value::Null).await.assert(200).json();
    assert_eq!((&grant["id"], &grant["origin"]), (&json!("svc/a"), &json!("change")));
    for nowhere in ["client/nobody", "planet/x", "grant/svc", "jti/x"] {
        edi.admin("GET", &format!("revocations/{nowhere}"), &Value::Null).await.assert_problem(404);
        undo(&edi, nowhere).await.assert(404);
    }
}

#[tokio::test]
async fn undoing_a_mistake_lets_its_tokens_count_again_at_once_and_for_good() {
    for (kind, id) in [("client", "svc"), ("role", "a"), ("key", "")] {
        let edi = TestEdi::new().await;
        let svc = edi.register("svc", &["a"]).await;
        let token = edi.token(&svc, &[]).await;
        let kid = edi.ask("GET", "/.well-known/jwks.json").send().await.json()["keys"][0]["kid"].clone();
        let id = if id.is_empty() { kid.as_str().unwrap() } else { id };
        revoke(&edi, kind, id, "oops").await;
        edi.advance(4);
        assert!(!edi.is_active(&svc, &token).await, "{kind}");
        undo(&edi, &format!("{kind}/{id}")).await.assert(204);
        assert!(edi.is_active(&svc, &token).await, "{kind}: in effect with the answer");
        edi.token(&svc, &[]).await;
        undo(&edi, &format!("{kind}/{id}")).await.assert(404);
        assert_eq!(listed(&edi, "").await, [""; 0]);
    }
}

#[tokio::test]
async fn an_undo_goes_back_one_step_and_never_behind_an_earlier_one() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let old = edi.token(&svc, &[]).await;
    revoke(&edi, "client", "svc", "a leak").await;
    edi.advance(10);
    let new = edi.token(&svc, &[]).await;
    revoke(&edi, "client", "svc", "the wrong one").await;
    edi.advance(4);
    undo(&edi, "client/svc").await.assert(204);
    let shown = edi.admin("GET", "revocations/client/svc", &Value::Null).await.assert(200).json();
    assert_eq!(shown["reason"], "a leak");
    assert!(edi.is_active(&svc, &new).await && !edi.is_active(&svc, &old).await);
}

#[tokio::test]
async fn what_followed_from_a_change_cannot_be_undone() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a", "b"]).await;
    let conflict = async |path: &str| undo(&edi, path).await.assert_problem(409)["detail"].as_str().unwrap().to_owned();
    let token = edi.token(&svc, &[]).await;
    edi.admin("PATCH", "clients/svc", &json!({ "roles": ["b"] })).await.assert(200);
    conflict("grant/svc%2Fa").await;
    // A request below a change stays below it; one above it is undone down to it.
    revoke(&edi, "client", "svc", "x").await;
    edi.admin("PATCH", "clients/svc", &json!({ "state": "disabled" })).await.assert(200);
    assert!(conflict("client/svc").await.contains("disabled"));
    edi.admin("PATCH", "clients/svc", &json!({ "state": "enabled" })).await.assert(200);
    assert!(conflict("client/svc").await.contains("followed from a change"));
    edi.advance(4);
    revoke(&edi, "client", "svc", "y").await;
    undo(&edi, "client/svc").await.assert(204);
    assert!(conflict("client/svc").await.contains("followed from a change"));
    edi.advance(4);
    assert!(!edi.is_active(&svc, &token).await);
    // A leak is such a change as well.
    edi.register("leaky", &["a"]).await;
    edi.admin("POST", "clients/leaky/secrets/rotate", &json!({ "compromised": true })).await.assert(201);
    conflict("client/leaky").await;
    edi.admin("DELETE", "clients/svc", &Value::Null).await.assert(204);
    assert!(conflict("client/svc").await.contains("deleted"));
    edi.advance(4);
    let one = edi.register("one", &["a"]).await;
    let single = json!({ "kind": "token", "token": edi.token(&one, &[]).await });
    let made = edi.admin("POST", "revocations", &single).await.assert(201).json();
    assert!(conflict(&format!("jti/{}", made["id"].as_str().unwrap())).await.contains("single token"));
}

#[tokio::test]
async fn bringing_back_admin_tokens_takes_edi_admin() {
    let edi = TestEdi::new().await;
    let by = edi.register_admin("by", &["edi:revocations"]).await;
    edi.register_admin("admin2", &["edi:admin"]).await;
    edi.register("svc", &["a"]).await;
    let kid = edi.ask("GET", "/.well-known/jwks.json").send().await.json()["keys"][0]["kid"].clone();
    revoke(&edi, "client", "admin2", "x").await;
    revoke(&edi, "client", "svc", "x").await;
    revoke(&edi, "key", kid.as_str().unwrap(), "x").await;
    edi.advance(4);
    let token = edi.admin_token(&by, "edi:revocations").await;
    let key = format!("revocations/key/{}", kid.as_str().unwrap());
    for path in ["revocations/client/admin2", &key] {
        let answer = edi.admin_with(&token, "DELETE", path, &Value::Null).await;
        answer.assert_problem(403);
        assert!(answer.header("www-authenticate").contains("scope=\"edi:admin\""), "{answer}");
    }
    edi.admin_with(&token, "DELETE", "revocations/client/svc", &Value::Null).await.assert(204);
    let reader = edi.register_admin("reader", &["edi:read"]).await;
    let token = edi.admin_token(&reader, "edi:read").await;
    edi.admin_with(&token, "GET", "revocations/client/admin2", &Value::Null).await.assert(200);
    edi.admin_with(&token, "DELETE", "revocations/client/admin2", &Value::Null).await.assert_problem(403);
    undo(&edi, "client/admin2").await.assert(204);
}

#[tokio::test]
async fn a_dry_run_tells_whom_it_would_reach_and_changes_nothing() {
    let edi = TestEdi::new().await;
    let svc = edi.register_with("svc", &json!({ "roles": ["a"], "access_token_lifetime": 7200 })).await;
    edi.register("svc2", &["a", "b"]).await;
    edi.register("svc3", &["b"]).await;
    let token = edi.token(&svc, &[]).await;
    let before = edi.revision().await;
    let dry = async |body: Value| edi.admin("POST", "revocations", &body).await.assert(200).json();
    let role = dry(json!({ "kind": "role", "id": "a", "dry_run": true })).await;
    assert_eq!(
        (&role["dry_run"], &role["clients"], &role["client_count"]),
        (&json!(true), &json!(["svc", "svc2"]), &json!(2))
    );
    assert_eq!(role["longest_lifetime"], 7200);
    let latest = edi::model::time::Timestamp::from_millis(edi.service().now().millis() + 86_400_000).rfc3339();
    assert_eq!(role["accept_until"], *latest);
    let client = dry(json!({ "kind": "client", "id": "svc3", "dry_run": true })).await;
    assert_eq!((&client["client_count"], &client["longest_lifetime"]), (&json!(1), &json!(900)));
    let nobody = dry(json!({ "kind": "client", "id": "nobody", "dry_run": true })).await;
    assert_eq!(nobody["client_count"], 0);
    let single = dry(json!({ "kind": "token", "token": token, "dry_run": true })).await;
    assert_eq!((&single["kind"], single.get("clients")), (&json!("jti"), None));
    assert_eq!(edi.revision().await, before);
    assert!(edi.is_active(&svc, &token).await);
    let problem = edi.admin("POST", "revocations", &json!({ "kind": "role", "id": "a", "dry_run": 1 })).await;
    assert_eq!(problem.assert_problem(422)["errors"][0]["field"], "dry_run");
}

#[tokio::test]
async fn an_undo_survives_a_restart() {
    let setup = Setup::on_disk();
    let edi = setup.start().await;
    let svc = edi.register("svc", &["a"]).await;
    let token = edi.token(&svc, &[]).await;
    revoke(&edi, "client", "svc", "oops").await;
    undo(&edi, "client/svc").await.assert(204);
    edi.stop().await;
    let edi = setup.start().await;
    assert!(edi.is_active(&svc, &token).await);
}
