//! Replacing a client's secret (design §5): with an overlap, or at once after a leak, always in one commit.

use std::collections::BTreeSet;

use edi::store::Store as _;
use serde_json::{Value, json};

use crate::support::edi::{Registered, Setup, TestEdi};
use crate::support::http::Answer;

fn with_secret(of: &Registered, made: &Value) -> Registered {
    Registered { secret: made["client_secret"].as_str().unwrap().into(), ..of.clone() }
}

async fn works(edi: &TestEdi, by: &Registered) -> bool {
    match edi.request_token(by, &[]).await {
        answer if answer.status == 200 => true,
        answer => {
            answer.assert_refused(401, "invalid_client");
            false
        }
    }
}

async fn rotate(edi: &TestEdi, body: &Value) -> Answer {
    edi.admin("POST", "clients/svc/secrets/rotate", body).await
}

fn ids(view: &Value, key: &str) -> Vec<String> {
    view[key].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn both_secrets_work_during_the_overlap_and_the_new_one_after_it() {
    let edi = TestEdi::new().await;
    let old = edi.register("svc", &["a"]).await;
    let token = edi.token(&old, &[]).await;
    let made = rotate(&edi, &json!({ "overlap_seconds": 3600, "name": "next" })).await.assert(201).json();
    assert_eq!(
        (&made["client_id"], &made["name"], &made["kind"]),
        (&json!("svc"), &json!("next"), &json!("generated"))
    );
    let end = edi::model::time::Timestamp::from_millis(edi.service().now().millis() + 3_600_000).rfc3339();
    assert_eq!(made["overlapping"][0]["expires_at"], *end, "{made}");
    assert_eq!(ids(&made, "overlapping"), [old.view["secrets"][0]["id"].as_str().unwrap()]);
    assert!(made.get("revocation").is_none() && made.get("dry_run").is_none(), "{made}");
    let new = with_secret(&old, &made);
    edi.advance(3599);
    assert!(works(&edi, &old).await && works(&edi, &new).await);
    edi.advance(1);
    assert!(!works(&edi, &old).await && works(&edi, &new).await);
    assert!(!edi.is_active(&new, &token).await, "expired by now");
    let token = edi.token(&new, &[]).await;
    rotate(&edi, &Value::Null).await.assert(201);
    assert!(edi.is_active(&new, &token).await, "a planned rotation ends no token");
    assert!(works(&edi, &new).await, "a day unless said");
    edi.advance(24 * 3600);
    assert!(!works(&edi, &new).await);
}

#[tokio::test]
async fn a_third_live_secret_is_refused_unless_the_older_may_go() {
    let edi = TestEdi::new().await;
    let first = edi.register("svc", &["a"]).await;
    edi.advance(10);
    let second = with_secret(&first, &rotate(&edi, &json!({})).await.assert(201).json());
    let before = edi.revision().await;
    for body in [json!({}), json!({ "dry_run": true }), json!({ "overlap_seconds": 0 })] {
        let refused = rotate(&edi, &body).await.assert_problem(409);
        assert!(refused["detail"].as_str().unwrap().contains("remove_older"), "{refused}");
    }
    assert_eq!(edi.revision().await, before, "nothing was changed");
    let made = rotate(&edi, &json!({ "remove_older": true, "overlap_seconds": 60 })).await.assert(201).json();
    assert_eq!(ids(&made, "removed"), [first.view["secrets"][0]["id"].as_str().unwrap()]);
    let third = with_secret(&first, &made);
    assert!(!works(&edi, &first).await && works(&edi, &second).await && works(&edi, &third).await);
    edi.advance(60);
    assert!(!works(&edi, &second).await && works(&edi, &third).await);
}

#[tokio::test]
async fn after_a_leak_one_commit_drops_the_secret_makes_one_and_revokes_the_tokens() {
    let setup = Setup::new();
    let edi = setup.start().await;
    let first = edi.register("svc", &["a"]).await;
    let made = edi.admin("POST", "clients/svc/secrets", &json!({ "name": "leaky" })).await.assert(201).json();
    let leaked = with_secret(&first, &made);
    let token = edi.token(&leaked, &[]).await;
    edi.admin_token(&edi.operator(), "edi:admin").await;

    let before = edi.revision().await;
    let body = json!({ "compromised": true, "secret": "leaky", "reason": "on a wiki" });
    let mut dry = body.clone();
    dry["dry_run"] = true.into();
    let plan = rotate(&edi, &dry).await.assert(200).json();
    assert_eq!((&plan["dry_run"], plan.get("client_secret")), (&json!(true), None));
    assert_eq!(edi.revision().await, before, "a dry run changes nothing");
    assert!(works(&edi, &leaked).await && edi.is_active(&first, &token).await);

    let done = rotate(&edi, &body).await.assert(201).json();
    // The trail's seals are commits too, and come when they come.
    let items = edi.memory().scan("", None, 1000).await.unwrap().items;
    let since = items.iter().filter(|(key, it)| it.revision > before && !key.as_str().starts_with("audit-"));
    let commits: BTreeSet<_> = since.map(|(_, it)| it.revision).collect();
    assert_eq!(commits.len(), 1, "one commit");
    assert_eq!(
        (ids(&done, "removed"), ids(&plan, "removed")),
        (vec![made["id"].as_str().unwrap().to_owned()], ids(&done, "removed"))
    );
    let revocation = &done["revocation"];
    assert_eq!(
        (&revocation["kind"], &revocation["id"], &revocation["reason"], &revocation["actor"]),
        (&json!("client"), &json!("svc"), &json!("on a wiki"), &json!("operator"))
    );
    let now = edi.service().now();
    let offline = &done["offline_verifiers"];
    let lifetime = |secs: i64| json!(edi::model::time::Timestamp::from_millis(now.millis() + secs * 1000).rfc3339());
    assert_eq!((&offline["mostly_until"], &offline["accept_until"]), (&lifetime(900), &lifetime(86_400)), "{offline}");
    assert_eq!(plan["offline_verifiers"], done["offline_verifiers"]);

    assert!(!works(&edi, &leaked).await, "dropped");
    edi.advance(4);
    let new = with_secret(&first, &done);
    assert!(works(&edi, &first).await && works(&edi, &new).await, "the other one stays");
    assert!(!edi.is_active(&new, &token).await, "its tokens are revoked");
    assert!(edi.is_active(&new, &edi.token(&new, &[]).await).await, "new ones are not");
}

#[tokio::test]
async fn without_a_name_every_secret_is_dropped() {
    let edi = TestEdi::new().await;
    let first = edi.register("svc", &["a"]).await;
    let second = with_secret(&first, &rotate(&edi, &json!({})).await.assert(201).json());
    let done = rotate(&edi, &json!({ "compromised": true })).await.assert(201).json();
    assert_eq!(ids(&done, "removed").len(), 2);
    edi.advance(4);
    assert!(
        !works(&edi, &first).await && !works(&edi, &second).await && works(&edi, &with_secret(&first, &done)).await
    );
    let listed = edi.admin("GET", "clients/svc/secrets", &Value::Null).await.assert(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn nonsense_is_refused_field_by_field_and_changes_nothing() {
    let edi = TestEdi::new().await;
    edi.register("svc", &["a"]).await;
    let before = edi.revision().await;
    for (body, field) in [
        (json!({ "overlap_seconds": -1 }), "overlap_seconds"),
        (json!({ "overlap_seconds": 7_776_001 }), "overlap_seconds"),
        (json!({ "overlap_seconds": "24h" }), "overlap_seconds"),
        (json!({ "overlap_seconds": 5, "compromised": true }), "overlap_seconds"),
        (json!({ "remove_older": true, "compromised": true }), "remove_older"),
        (json!({ "secret": "x" }), "secret"),
        (json!({ "compromised": "yes" }), "compromised"),
        (json!({ "dry_run": 1 }), "dry_run"),
        (json!({ "client_secret": "short" }), "client_secret"),
        (json!({ "expires_at": "2020-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "overlap": 5 }), "overlap"),
    ] {
        let problem = rotate(&edi, &body).await.assert_problem(422);
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    rotate(&edi, &json!({ "compromised": true, "secret": "nosuch" })).await.assert_problem(404);
    edi.admin("POST", "clients/nobody/secrets/rotate", &json!({})).await.assert_problem(404);
    edi.admin("GET", "clients/svc/secrets/rotate", &Value::Null).await.assert_problem(405);
    assert_eq!(edi.revision().await, before);
}

#[tokio::test]
async fn a_rotation_is_made_on_condition_of_the_version_that_was_seen() {
    let edi = TestEdi::new().await;
    edi.register("svc", &["a"]).await;
    let token = edi.admin_token(&edi.operator(), "edi:admin").await;
    let ask = |tag: &str| {
        let ask = edi.ask_admin("POST", "clients/svc/secrets/rotate").bearer(&token);
        ask.header("if-match", tag.to_owned()).json(&json!({})).send()
    };
    ask("\"1\"").await.assert_problem(412);
    let tag = edi.admin("GET", "clients/svc", &Value::Null).await.assert(200).header("etag").to_owned();
    ask(&tag).await.assert(201);
    ask(&tag).await.assert_problem(412);
}

#[tokio::test]
async fn rights_hold_for_rotations_too() {
    let edi = TestEdi::new().await;
    let registrar = edi.register_admin("registrar", &["edi:clients"]).await;
    let reader = edi.register_admin("reader", &["edi:read"]).await;
    edi.register("svc", &["a"]).await;
    let token = edi.admin_token(&registrar, "edi:clients").await;
    for (body, id) in
        [(json!({}), "reader"), (json!({ "compromised": true }), "operator"), (json!({ "dry_run": true }), "reader")]
    {
        let answer = edi.admin_with(&token, "POST", &format!("clients/{id}/secrets/rotate"), &body).await;
        answer.assert_problem(403);
        assert!(answer.header("www-authenticate").contains("scope=\"edi:admin\""), "{answer}");
    }
    edi.admin_with(&token, "POST", "clients/svc/secrets/rotate", &json!({})).await.assert(201);
    let token = edi.admin_token(&reader, "edi:read").await;
    edi.admin_with(&token, "POST", "clients/svc/secrets/rotate", &json!({ "dry_run": true })).await.assert_problem(403);
}

#[tokio::test]
async fn an_operator_can_replace_its_own_secret_and_the_last_one_is_not_locked_out() {
    let edi = TestEdi::new().await;
    let old = edi.operator();
    let end = edi::model::time::Timestamp::from_secs(edi.now() + 3600).rfc3339();
    let refused = edi.admin("POST", "clients/operator/secrets/rotate", &json!({ "expires_at": end })).await;
    let refused = refused.assert_problem(409);
    assert!(refused["detail"].as_str().unwrap().contains("the last client with edi:admin"), "{refused}");
    let made = edi.admin("POST", "clients/operator/secrets/rotate", &json!({ "compromised": true })).await.assert(201);
    let new = with_secret(&old, &made.json());
    edi.advance(4);
    edi.request_token(&old, &[("scope", "edi:read")]).await.assert_refused(401, "invalid_client");
    edi.admin_token(&new, "edi:admin").await;
}

#[tokio::test]
async fn of_many_rotations_at_once_one_is_done() {
    let edi = TestEdi::new().await;
    edi.register("svc", &["a"]).await;
    let token = edi.admin_token(&edi.operator(), "edi:admin").await;
    let body = json!({});
    let all = (0..6).map(|_| edi.admin_with(&token, "POST", "clients/svc/secrets/rotate", &body));
    let mut statuses: Vec<u16> = futures_util::future::join_all(all).await.into_iter().map(|it| it.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409]);
}
