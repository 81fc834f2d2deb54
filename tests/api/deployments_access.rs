//! Looking at who may call what: the roles, and the callers of one deployment.

use serde_json::{Value, json};

use crate::support::edi::TestEdi;

async fn roles(edi: &TestEdi) -> Vec<Value> {
    edi.admin("GET", "roles", &Value::Null).await.assert(200).json()["items"].as_array().unwrap().clone()
}

async fn callers(edi: &TestEdi, deployment: &str) -> Vec<Value> {
    let path = format!("deployments/{deployment}/access");
    edi.admin("GET", &path, &Value::Null).await.assert(200).json()["items"].as_array().unwrap().clone()
}

#[actix_web::test]
async fn roles_show_who_wants_and_who_holds_them_and_what_is_odd_about_it() {
    let edi = TestEdi::new().await;
    edi.deploy("m2", "used", None).await;
    edi.deploy("m1", "used", None).await;
    edi.deploy("m3", "wanted", None).await;
    edi.deploy("m4", "asleep", None).await;
    let svc = edi.register("svc", &["used", "held"]).await;
    edi.register_with("off", &json!({ "roles": ["asleep"] })).await;
    edi.admin("PATCH", "clients/off", &json!({ "state": "disabled" })).await.assert(200);

    let found = roles(&edi).await;
    let rows: Vec<Value> =
        found.iter().map(|role| json!([role["role"], role["deployments"], role["clients"], role["remarks"]])).collect();
    assert_eq!(
        rows,
        [
            json!(["asleep", ["m4"], ["off"], ["nobody may call it"]]),
            json!(["held", [], ["svc"], ["no deployment uses it"]]),
            json!(["used", ["m1", "m2"], ["svc"], []]),
            json!(["wanted", ["m3"], [], ["nobody may call it"]]),
        ]
    );
    assert!(found.iter().all(|role| role["watched_since"].is_string() && role.get("last_issued_at").is_none()));

    edi.advance(60);
    edi.token(&svc, &[("scope", "used")]).await;
    let used = edi.admin("GET", "roles/used", &Value::Null).await.assert(200).json();
    assert_eq!(used["last_issued_at"], "2027-01-15T08:01:00Z");
    assert!(edi.admin("GET", "roles/held", &Value::Null).await.json().get("last_issued_at").is_none());
    for unknown in ["roles/none", "roles/edi:admin", "roles/"] {
        edi.admin("GET", unknown, &Value::Null).await.assert_problem(404);
    }
}

#[actix_web::test]
async fn pages_of_roles_lose_none_and_repeat_none() {
    let edi = TestEdi::new().await;
    let names: Vec<String> = (0..23).map(|n| format!("r{n:02}")).collect();
    for (n, chunk) in names.chunks(5).enumerate() {
        // Out of order, and each role held twice.
        for who in ["a", "b"] {
            edi.register_with(&format!("{who}{}", 9 - n), &json!({ "roles": chunk })).await;
        }
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("roles?limit=4&cursor={cursor}");
        let page = edi.admin("GET", &path, &Value::Null).await.assert(200).json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 4);
        for item in items {
            assert_eq!(item["client_count"], 2, "{item}");
            seen.push(item["role"].as_str().unwrap().to_owned());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, names);
}

#[actix_web::test]
async fn callers_of_a_deployment_are_those_that_get_tokens_for_it() {
    let edi = TestEdi::new().await;
    edi.deploy("m", "r", Some("https://m.example")).await;
    edi.register("fine", &["r"]).await;
    edi.register("stranger", &["s"]).await;
    edi.register("off", &["r"]).await;
    edi.admin("PATCH", "clients/off", &json!({ "state": "disabled" })).await.assert(200);
    // One secret that never ends is taken away; the one that stays ends in an hour.
    let brief = edi.register_with("brief", &json!({ "roles": ["r"], "access_token_lifetime": 600 })).await;
    let first = brief.view["secrets"][0]["id"].as_str().unwrap();
    edi.admin("POST", "clients/brief/secrets", &json!({ "expires_at": "2027-01-15T09:00:00Z" })).await.assert(201);
    edi.admin("DELETE", &format!("clients/brief/secrets/{first}"), &Value::Null).await.assert(204);

    let found = callers(&edi, "m").await;
    let rows: Vec<Value> =
        found.iter().map(|it| json!([it["client_id"], it["may_call"], it["until"], it["remarks"]])).collect();
    assert_eq!(
        rows,
        [
            // Tokens got in the last second of the secret live ten minutes on.
            json!(["brief", true, "2027-01-15T09:10:00Z", []]),
            json!(["fine", true, null, []]),
            json!(["off", false, null, ["disabled"]]),
        ]
    );
    edi.advance(3600);
    let brief = &callers(&edi, "m").await[0];
    assert_eq!((&brief["may_call"], &brief["remarks"]), (&json!(false), &json!(["it has no live secret and no key"])));
    edi.admin("GET", "deployments/none/access", &Value::Null).await.assert_problem(404);
}

#[actix_web::test]
async fn audiences_are_judged_as_the_token_endpoint_does() {
    let edi = TestEdi::new().await;
    edi.deploy("a", "r", Some("https://a.example")).await;
    edi.deploy("b", "r", Some("https://b.example")).await;
    let bound = edi.register_with("bound", &json!({ "roles": ["r"], "audiences": ["https://a.example"] })).await;
    for (deployment, allowed) in [("a", true), ("b", false)] {
        let caller = &callers(&edi, deployment).await[0];
        assert_eq!((&caller["audience_allowed"], &caller["may_call"]), (&json!(allowed), &json!(allowed)), "{caller}");
        let resource = format!("https://{deployment}.example");
        let asked = edi.request_token(&bound, &[("scope", "r"), ("resource", &resource)]).await;
        assert_eq!(asked.status == 200, allowed, "{asked}");
    }
}

#[actix_web::test]
async fn revocations_that_concern_callers_are_shown() {
    let edi = TestEdi::new().await;
    edi.deploy("m", "r", None).await;
    edi.register("a", &["r"]).await;
    edi.register("b", &["r"]).await;
    for body in [json!({ "kind": "client", "id": "a", "reason": "left" }), json!({ "kind": "role", "id": "r" })] {
        edi.admin("POST", "revocations", &body).await.assert(201);
    }
    let operator_roles = json!({ "roles": [] });
    edi.admin("PATCH", "clients/b", &operator_roles).await.assert(200);
    edi.admin("PATCH", "clients/b", &json!({ "roles": ["r"] })).await.assert(200);
    let all = edi.admin("GET", "deployments/m/access", &Value::Null).await.assert(200).json();
    assert_eq!((&all["role_revocation"]["kind"], &all["role_revocation"]["id"]), (&json!("role"), &json!("r")));
    let of = |n: usize| &all["items"][n]["revocations"];
    assert_eq!((&of(0)[0]["kind"], &of(0)[0]["reason"]), (&json!("client"), &json!("left")));
    assert_eq!((&of(1)[0]["kind"], &of(1)[0]["id"]), (&json!("grant"), &json!("b/r")));
}

#[actix_web::test]
async fn looking_takes_edi_read_and_that_is_judged_first() {
    let edi = TestEdi::new().await;
    let reader = edi.register_admin("reader", &["edi:read"]).await;
    let clerk = edi.register_admin("clerk", &["edi:clients", "edi:deployments"]).await;
    edi.deploy("m", "r", None).await;
    let reads = edi.admin_token(&reader, "edi:read").await;
    let writes = edi.admin_token(&clerk, "edi:clients edi:deployments").await;
    for path in ["roles", "roles/r", "deployments/m/access"] {
        edi.admin_with(&reads, "GET", path, &Value::Null).await.assert(200);
        edi.admin_with(&reads, "POST", path, &json!({})).await.assert(405);
        let refused = edi.admin_with(&writes, "GET", path, &Value::Null).await;
        assert!(refused.header("www-authenticate").contains("scope=\"edi:read\""), "{path}: {refused}");
        refused.assert_problem(403);
        edi.ask_admin("GET", path).send().await.assert_problem(401);
    }
    for path in ["deployments/none/access", "roles/none"] {
        edi.admin_with(&writes, "GET", path, &Value::Null).await.assert_problem(403);
    }
    // Before the body, however wrong that is.
    edi.ask_admin("POST", "explain").bearer(&writes).body("text/plain", "{").send().await.assert_problem(403);
    edi.ask_admin("POST", "explain").bearer(&reads).body("text/plain", "{}").send().await.assert_problem(415);
}
