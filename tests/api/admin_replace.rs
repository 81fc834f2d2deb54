//! `PUT`: a thing made what the body says, whether or not it is there; and lists with filters.

use serde_json::{Value, json};

use crate::support::edi::TestEdi;
use crate::support::http::Answer;

async fn put(edi: &TestEdi, path: &str, body: &Value, condition: Option<(&str, &str)>) -> Answer {
    let token = edi.admin_token(&edi.operator(), "edi:admin").await;
    let ask = edi.ask_admin("PUT", path).bearer(&token).json(body);
    let ask = condition.into_iter().fold(ask, |ask, (name, value)| ask.header(name, value));
    ask.send().await
}

#[tokio::test]
async fn a_client_is_made_once_and_its_secret_shown_once() {
    let edi = TestEdi::new().await;
    let body = json!({ "client_name": "One", "roles": ["a", "b"], "access_token_lifetime": 60 });
    let made = put(&edi, "clients/svc", &body, None).await.assert(201);
    let view = made.json();
    let secret = view["client_secret"].as_str().unwrap().to_owned();
    assert!(!made.header("etag").is_empty(), "{made}");
    let again = put(&edi, "clients/svc", &body, None).await.assert(200);
    assert!(!again.body.contains("client_secret"), "sent again, it shows no secret: {again}");
    assert_eq!(again.json()["secrets"], view["secrets"], "and the secret stays");
    let svc = crate::support::edi::Registered { id: "svc".into(), secret, view };
    edi.token(&svc, &[("scope", "a b")]).await;

    let token = edi.token(&svc, &[]).await;
    edi.admin("PATCH", "clients/svc", &json!({ "state": "disabled" })).await.assert(200);
    edi.advance(5);
    let bare = put(&edi, "clients/svc", &json!({}), None).await.assert(200).json();
    assert_eq!((&bare["roles"], &bare["state"]), (&json!(["default"]), &json!("enabled")), "defaults, state included");
    assert!(bare.get("client_name").is_none() && bare.get("access_token_lifetime").is_none(), "{bare}");
    assert!(!edi.is_active(&svc, &token).await, "roles that went took their tokens along");
}

#[tokio::test]
async fn conditions_tell_making_from_replacing() {
    let edi = TestEdi::new().await;
    for (path, body) in [("clients/x", json!({ "roles": ["a"] })), ("deployments/x", json!({ "role": "a" }))] {
        put(&edi, path, &body, Some(("if-match", "*"))).await.assert_problem(412);
        let made = put(&edi, path, &body, Some(("if-none-match", "*"))).await.assert(201);
        put(&edi, path, &body, Some(("if-none-match", "*"))).await.assert_problem(412);
        let tag = made.header("etag").to_owned();
        let now = put(&edi, path, &body, Some(("if-match", &tag))).await.assert(200);
        put(&edi, path, &body, Some(("if-match", &tag))).await.assert_problem(412);
        let there = edi.admin("GET", path, &Value::Null).await.assert(200);
        assert_eq!(there.header("etag"), now.header("etag"));
    }
}

#[tokio::test]
async fn a_replacement_is_judged_like_a_registration() {
    let edi = TestEdi::new().await;
    edi.register("svc", &["a"]).await;
    edi.deploy("model", "a", None).await;
    for (path, body, field) in [
        ("clients/-bad", json!({}), "client_id"),
        ("clients/svc", json!({ "client_id": "other" }), "client_id"),
        ("clients/svc", json!({ "roles": ["a b"] }), "roles[0]"),
        ("clients/svc", json!({ "created_at": "2026-11-22T00:00:00Z" }), "created_at"),
        ("clients/svc", json!({ "client_secret": "a secret of mine that is long" }), "client_secret"),
        ("clients/new", json!({ "state": "disabled" }), "state"),
        ("deployments/model", json!({ "id": "other" }), "id"),
        ("deployments/model", json!({ "hosts": ["a:80"] }), "hosts[0]"),
        ("deployments/-bad", json!({}), "id"),
    ] {
        let before = edi.revision().await;
        let problem = put(&edi, path, &body, None).await.assert_problem(422);
        assert_eq!(problem["errors"][0]["field"], field, "{path} {body}: {problem}");
        assert_eq!(edi.revision().await, before, "nothing was changed: {path} {body}");
    }
    // The last administrator stays one, and rights are judged as everywhere.
    let operator = format!("clients/{}", edi.operator().id);
    put(&edi, &operator, &json!({ "roles": ["a"] }), None).await.assert_problem(409);
    let clerk = edi.register_admin("clerk", &["edi:clients"]).await;
    let token = edi.admin_token(&clerk, "edi:clients").await;
    for (path, body) in [
        (operator.as_str(), json!({ "admin_scopes": ["edi:clients"] })),
        ("clients/clerk", json!({})),
        ("clients/svc", json!({ "admin_scopes": ["edi:keys"] })),
        ("clients/new", json!({ "admin_scopes": ["edi:admin"] })),
    ] {
        edi.admin_with(&token, "PUT", path, &body).await.assert_problem(403);
    }
    edi.admin_with(&token, "PUT", "clients/svc", &json!({ "roles": ["c"] })).await.assert(200);
}

#[tokio::test]
async fn a_deployments_place_is_its_own_when_replaced_too() {
    let edi = TestEdi::new().await;
    let at = |path: &str| json!({ "role": "a", "hosts": ["m.example"], "paths": [path] });
    put(&edi, "deployments/one", &at("/one"), None).await.assert(201);
    put(&edi, "deployments/two", &at("/one"), None).await.assert_problem(409);
    put(&edi, "deployments/two", &at("/two"), None).await.assert(201);
    put(&edi, "deployments/two", &at("/one"), None).await.assert_problem(409);
    put(&edi, "deployments/one", &at("/one"), None).await.assert(200);
    let bare = put(&edi, "deployments/one", &json!({}), None).await.assert(200).json();
    assert_eq!((&bare["role"], &bare["hosts"], &bare["paths"]), (&json!("default"), &json!([]), &json!([])));
}

/// The ids on all pages of a list.
async fn ids(edi: &TestEdi, list: &str, query: &str, id: &str) -> Vec<String> {
    let token = edi.admin_token(&edi.operator(), "edi:admin").await;
    let mut all = Vec::new();
    let mut cursor = String::new();
    for _ in 0..50 {
        let path = format!("{list}?limit=2&{query}&cursor={cursor}");
        let page = edi.admin_with(&token, "GET", &path, &Value::Null).await.assert(200).json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2, "{page}");
        all.extend(items.iter().map(|item| item[id].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return all,
        }
    }
    panic!("{list}?{query} has no end");
}

#[tokio::test]
async fn lists_are_filtered_and_every_page_is_right() {
    let edi = TestEdi::new().await;
    for n in 0..7 {
        let role = if n % 3 == 0 { "fraud" } else { "spam" };
        edi.register_with(&format!("svc-{n}"), &json!({ "roles": [role], "client_name": format!("Team {}", n % 2) }))
            .await;
        let host = if n == 6 { "*.m.example".to_owned() } else { format!("h{n}.m.example") };
        edi.admin("POST", "deployments", &json!({ "id": format!("d{n}"), "role": role, "hosts": [host] }))
            .await
            .assert(201);
    }
    edi.admin("PATCH", "clients/svc-3", &json!({ "state": "disabled" })).await.assert(200);
    edi.register_admin("reader", &["edi:read"]).await;
    for (list, query, wanted) in [
        ("clients", "role=fraud", "svc-0 svc-3 svc-6"),
        ("clients", "role=fraud&state=enabled", "svc-0 svc-6"),
        ("clients", "state=disabled", "svc-3"),
        ("clients", "q=team%201", "svc-1 svc-3 svc-5"),
        ("clients", "q=svc-&role=spam", "svc-1 svc-2 svc-4 svc-5"),
        ("clients", "admin_scope=edi:read", "reader"),
        ("clients", "auth_method=private_key_jwt", ""),
        ("clients", "role=nobodys", ""),
        ("deployments", "role=fraud", "d0 d3 d6"),
        ("deployments", "host=h3.m.example", "d3 d6"),
        ("deployments", "host=a.b.m.example", ""),
    ] {
        let id = if list == "clients" { "client_id" } else { "id" };
        let found = ids(&edi, list, query, id).await;
        assert_eq!(found.join(" "), wanted, "{list}?{query}");
    }
    assert_eq!(ids(&edi, "clients", "", "client_id").await.len(), 9);
    assert_eq!(ids(&edi, "roles", "", "role").await, ["fraud", "spam"]);
    assert_eq!(ids(&edi, "roles", "client=svc-1", "role").await, ["spam"]);
    assert_eq!(ids(&edi, "roles", "client=nobody", "role").await, Vec::<String>::new());
    let keys = ids(&edi, "keys", "", "kid").await;
    assert_eq!(
        ids(&edi, "keys", "state=active", "kid").await.len() + ids(&edi, "keys", "state=pending", "kid").await.len(),
        keys.len()
    );
    for kid in keys {
        assert_eq!(edi.admin("GET", &format!("keys/{kid}"), &Value::Null).await.assert(200).json()["kid"], *kid);
    }
    edi.admin("GET", "keys/none", &Value::Null).await.assert_problem(404);
    for (path, field) in [
        ("clients?state=on", "state"),
        ("clients?rolle=fraud", "rolle"),
        ("clients?role=a&role=b", "role"),
        ("clients/svc-0?q=a", "q"),
        ("deployments?host=a:1", "host"),
        ("keys?state=dead", "state"),
        ("keys?algorithm=none", "algorithm"),
        ("roles?client=-", "client"),
        ("clients?limit=0", "limit"),
        ("clients?cursor=%00", "cursor"),
        // The key `client/a` without more, which no list gives.
        ("clients?cursor=Y2xpZW50L2E", "cursor"),
        ("deployments?cursor=Y2xpZW50L2E", "cursor"),
        ("roles?cursor=Y2xpZW50L2E", "cursor"),
        ("keys?cursor=Y2xpZW50L2E", "cursor"),
        ("revocations?cursor=Y2xpZW50L2E", "cursor"),
        ("audit?cursor=Y2xpZW50L2E", "cursor"),
        ("audit/verify?cursor=e30", "cursor"),
    ] {
        let problem = edi.admin("GET", path, &Value::Null).await.assert_problem(422);
        assert_eq!(problem["errors"][0]["field"], field, "{path}: {problem}");
    }
}

#[tokio::test]
async fn a_body_is_read_in_one_way_alone() {
    let edi = TestEdi::new().await;
    let token = edi.admin_token(&edi.operator(), "edi:admin").await;
    let deep = format!(r#"{{"client_id":"a","jwks":{}{}}}"#, "[".repeat(50), "]".repeat(50));
    for body in [
        r#"{"client_id":"a","client_id":"b"}"#,
        r#"{"client_id":"a","jwks":{"keys":[],"keys":[]}}"#,
        deep.as_str(),
        "{}x",
    ] {
        let answer = edi.ask_admin("POST", "clients").bearer(&token).body("application/json", body).send().await;
        let problem = answer.assert_problem(422);
        assert_eq!(problem["errors"][0]["field"], "(body)", "{body}: {problem}");
    }
}
