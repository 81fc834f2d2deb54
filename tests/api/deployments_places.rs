//! Registering deployments: the role of those that name none, and hosts and paths that belong to one alone.

use serde_json::{Value, json};

use crate::support::edi::{Setup, TestEdi};

async fn with_default_role(role: &str) -> TestEdi {
    Setup::new().set("tokens.default_role", role).start().await
}

async fn role_of(edi: &TestEdi, id: &str) -> Value {
    edi.admin("POST", "deployments", &json!({ "id": id })).await.assert(201).json()["role"].clone()
}

#[actix_web::test]
async fn a_template_gives_each_deployment_a_role_of_its_own_and_clients_none() {
    let edi = with_default_role("role-{id}").await;
    assert_eq!(role_of(&edi, "fraud").await, "role-fraud");
    assert_eq!(role_of(&edi, "spam.v1").await, "role-spam.v1");
    assert_eq!(edi.register_with("svc", &json!({})).await.view["roles"], json!([]));
    let named = edi.admin("POST", "deployments", &json!({ "id": "c", "role": "own" })).await.assert(201);
    assert_eq!(named.json()["role"], "own");
    // An id that makes no role of the template has to be given one.
    for id in ["ends-", &"x".repeat(60)] {
        let problem = edi.admin("POST", "deployments", &json!({ "id": id })).await.assert_problem(422);
        assert_eq!(problem["errors"][0]["field"], "role", "{problem}");
    }
}

#[actix_web::test]
async fn a_plain_default_role_is_everybodys_and_none_is_none() {
    let edi = with_default_role("all").await;
    assert_eq!(role_of(&edi, "fraud").await, "all");
    assert_eq!(edi.register_with("svc", &json!({})).await.view["roles"], json!(["all"]));
    let edi = with_default_role("").await;
    edi.admin("POST", "deployments", &json!({ "id": "fraud" })).await.assert_problem(422);
    assert_eq!(edi.register_with("svc", &json!({})).await.view["roles"], json!([]));
}

#[actix_web::test]
async fn a_place_that_another_deployment_holds_is_refused_with_its_name() {
    let edi = TestEdi::new().await;
    let create = async |id: &str, hosts: Value, paths: Value| {
        let body = json!({ "id": id, "role": "r", "hosts": hosts, "paths": paths });
        edi.admin("POST", "deployments", &body).await
    };
    create("one", json!(["m.example", "*.w.example"]), json!(["/a", "/b"])).await.assert(201);
    create("any", json!([]), json!(["/a"])).await.assert(201);
    for (hosts, paths, what) in [
        (json!(["M.example"]), json!(["/q", "/a/"]), "one answers at m.example /a/ already"),
        (json!(["*.w.example"]), json!(["/b"]), "one answers at *.w.example /b already"),
        (json!([]), json!(["/a"]), "any answers at any host /a already"),
    ] {
        let problem = create("two", hosts, paths).await.assert_problem(409);
        assert_eq!(problem["detail"], what);
    }
    // Longer prefixes, exact hosts below a wildcard and other hosts are other places.
    create("two", json!(["m.example"]), json!(["/a/deeper", "/"])).await.assert(201);
    create("three", json!(["x.w.example"]), json!(["/a"])).await.assert(201);

    let update = async |id: &str, patch: Value| edi.admin("PATCH", &format!("deployments/{id}"), &patch).await;
    let problem = update("two", json!({ "paths": ["/a/deeper", "/b"] })).await.assert_problem(409);
    assert_eq!(problem["detail"], "one answers at m.example /b already");
    update("one", json!({ "paths": ["/a", "/b", "/c"] })).await.assert(200);
    update("one", json!({ "paths": ["/a"] })).await.assert(200);
    update("two", json!({ "paths": ["/a/deeper", "/b"] })).await.assert(200);
    edi.admin("DELETE", "deployments/one", &Value::Null).await.assert(204);
    create("four", json!(["m.example"]), json!(["/a"])).await.assert(201);
}

#[actix_web::test]
async fn of_many_that_want_one_place_at_once_one_gets_it() {
    let edi = TestEdi::new().await;
    let token = edi.admin_token(&edi.operator(), "edi:deployments").await;
    let racers = (0..8).map(|n| {
        let body = json!({ "id": format!("d{n}"), "role": "r", "hosts": ["m"], "paths": ["/a"] });
        let (edi, token) = (&edi, &token);
        async move { edi.admin_with(token, "POST", "deployments", &body).await.status }
    });
    let mut statuses = futures_util::future::join_all(racers).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}
