//! Clients and deployments as records: what is read, what is refused and by which name, pages, patches.

use serde_json::{Value, json};

use crate::support::edi::{ISSUER, Registered, Setup, TestEdi};

fn wrong_fields(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_wrong_field_of_a_client_is_named() {
    let edi = TestEdi::new().await;
    let before = edi.revision().await;
    let many: Vec<String> = (0..257).map(|n| format!("r{n}")).collect();
    for (body, wanted) in [
        (json!({}), &["client_id"][..]),
        (json!({ "client_id": null }), &["client_id"]),
        (json!({ "client_id": "no spaces" }), &["client_id"]),
        (json!({ "client_id": 5 }), &["client_id"]),
        (json!({ "client_id": "x".repeat(129) }), &["client_id"]),
        (json!({ "client_id": "x", "roles": "a" }), &["roles"]),
        (
            json!({ "client_id": "x", "roles": ["a", "-b", 5, "openid", "c:d"] }),
            &["roles[1]", "roles[2]", "roles[3]", "roles[4]"],
        ),
        (json!({ "client_id": "x", "roles": many }), &["roles"]),
        (json!({ "client_id": "x", "roles": ["x".repeat(64)] }), &["roles[0]"]),
        (json!({ "client_id": "x", "admin_scopes": ["edi:planet", "a"] }), &["admin_scopes[0]", "admin_scopes[1]"]),
        (
            json!({ "client_id": "x", "audiences": ["a b", ISSUER, "https://x#y"] }),
            &["audiences[0]", "audiences[1]", "audiences[2]"],
        ),
        (json!({ "client_id": "x", "client_name": "" }), &["client_name"]),
        (json!({ "client_id": "x", "client_name": "a\nb" }), &["client_name"]),
        (json!({ "client_id": "x", "client_name": "x".repeat(201) }), &["client_name"]),
        (json!({ "client_id": "x", "token_endpoint_auth_method": "none" }), &["token_endpoint_auth_method"]),
        (json!({ "client_id": "x", "access_token_signing_alg": "HS256" }), &["access_token_signing_alg"]),
        (json!({ "client_id": "x", "access_token_lifetime": "15m" }), &["access_token_lifetime"]),
        (json!({ "client_id": "x", "state": "asleep" }), &["state"]),
        (json!({ "client_id": "x", "state": "disabled" }), &["state"]),
        (json!({ "client_id": "x", "secrets": [] }), &["secrets"]),
        (json!({ "client_id": "x", "created_at": "2020-01-01T00:00:00Z" }), &["created_at"]),
        (json!({ "client_id": "x", "role": "a", "scope": "b" }), &["role", "scope"]),
        (json!({ "client_id": "x", "roles": 1, "client_name": 2, "zz": 3 }), &["client_name", "roles", "zz"]),
    ] {
        let answer = edi.admin("POST", "clients", &body).await;
        assert_eq!(answer.status, 422, "{body}: {answer}");
        assert_eq!(wrong_fields(&answer.assert_problem(422)), wanted, "{body}: {answer}");
    }
    assert_eq!(edi.revision().await, before, "nothing was written");
    edi.register("svc", &["a"]).await;
    edi.admin("POST", "clients", &json!({ "client_id": "svc" })).await.assert_problem(409);
}

#[tokio::test]
async fn a_client_is_shown_as_it_was_registered() {
    let edi = TestEdi::new().await;
    let body = json!({
        "client_name": "Fraud scoring", "token_endpoint_auth_method": "client_secret_basic", "roles": ["b", "a", "b"],
        "admin_scopes": ["edi:introspect"], "audiences": ["https://own.example"], "access_token_lifetime": 600,
        "access_token_signing_alg": "ES256", "state": "enabled",
    });
    let svc = edi.register_with("svc", &body).await;
    let shown = edi.admin("GET", "clients/svc", &Value::Null).await.assert(200).json();
    let at = edi.service().now().rfc3339();
    assert_eq!(
        shown,
        json!({
            "client_id": "svc", "client_name": "Fraud scoring", "token_endpoint_auth_method": "client_secret_basic",
            "roles": ["a", "b"], "admin_scopes": ["edi:introspect"], "audiences": ["https://own.example"],
            "access_token_lifetime": 600, "access_token_signing_alg": "ES256", "state": "enabled",
            "secrets": [{ "id": svc.view["secrets"][0]["id"], "kind": "generated", "created_at": at }],
            "created_at": at, "updated_at": at,
        })
    );
    let mut created = svc.view.clone();
    created.as_object_mut().unwrap().remove("client_secret").unwrap();
    assert_eq!(created, shown, "the same, and the secret this once");
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_null_puts_the_default_back() {
    let edi = TestEdi::new().await;
    let body = json!({
        "client_name": "Fraud", "token_endpoint_auth_method": "client_secret_post", "roles": ["a"],
        "audiences": ["https://own.example"], "access_token_lifetime": 600, "access_token_signing_alg": "ES256",
    });
    edi.register_with("svc", &body).await;
    let before = edi.admin("GET", "clients/svc", &Value::Null).await.json();
    edi.advance(60);
    let at = edi.service().now().rfc3339();
    let mut expected = before.clone();
    for (patch, changes) in [
        (json!({}), json!({})),
        (json!({ "client_id": "svc" }), json!({})),
        (json!({ "client_name": "Risk" }), json!({ "client_name": "Risk" })),
        (json!({ "roles": ["b", "c"] }), json!({ "roles": ["b", "c"] })),
        (
            json!({ "client_name": null, "access_token_lifetime": null }),
            json!({ "client_name": null, "access_token_lifetime": null }),
        ),
        (json!({ "access_token_signing_alg": null }), json!({ "access_token_signing_alg": null })),
        (json!({ "token_endpoint_auth_method": null }), json!({ "token_endpoint_auth_method": null })),
        (json!({ "roles": null, "audiences": null }), json!({ "roles": [], "audiences": [] })),
    ] {
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                expected.as_object_mut().unwrap().remove(name);
            } else {
                expected[name] = value.clone();
            }
        }
        expected["updated_at"] = json!(at);
        let answer = edi.admin("PATCH", "clients/svc", &patch).await;
        answer.assert_json(200, &expected);
        edi.admin("GET", "clients/svc", &Value::Null).await.assert_json(200, &expected);
    }
    let revision = edi.revision().await;
    for (patch, wanted) in [
        (json!({ "client_id": "other" }), &["client_id"][..]),
        (json!({ "client_secret": "chosen by someone" }), &["client_secret"]),
        (json!({ "rolls": ["a"] }), &["rolls"]),
        (json!({ "roles": ["good", "b d"], "client_name": "kept?" }), &["roles[1]"]),
    ] {
        let answer = edi.admin("PATCH", "clients/svc", &patch).await;
        assert_eq!(wrong_fields(&answer.assert_problem(422)), wanted, "{answer}");
    }
    assert_eq!(edi.revision().await, revision, "nothing was changed by halves");
    edi.admin("PATCH", "clients/nobody", &json!({})).await.assert_problem(404);
}

#[tokio::test]
async fn lists_come_in_pages_that_miss_and_repeat_nothing() {
    let edi = TestEdi::new().await;
    let mut ids: Vec<String> = (0..7).map(|n| format!("svc-{n}")).collect();
    for id in &ids {
        edi.register(id, &["a"]).await;
        edi.deploy(id, "a", None).await;
    }
    for (list, name) in [("clients", "client_id"), ("deployments", "id")] {
        if list == "clients" {
            ids.insert(0, "operator".into());
        } else {
            ids.remove(0);
        }
        for limit in [1, 2, 3, 7, 8, 1000] {
            let (mut found, mut cursor) = (Vec::new(), String::new());
            loop {
                let path = format!("{list}?limit={limit}&cursor={cursor}");
                let page = edi.admin("GET", &path, &Value::Null).await.assert(200).json();
                let items = page["items"].as_array().unwrap();
                assert!(items.len() <= limit, "{page}");
                found.extend(items.iter().map(|item| item[name].as_str().unwrap().to_owned()));
                match page.get("next_cursor") {
                    Some(next) => next.as_str().unwrap().clone_into(&mut cursor),
                    None => break,
                }
                let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
                assert!(cursor.bytes().all(unreserved), "a cursor needs no escape: {cursor}");
            }
            assert_eq!(found, ids, "{list} by {limit}");
        }
        // One of another list, one that lost a character, and a key as the store has it.
        let other = if list == "clients" { "deployments" } else { "clients" };
        let theirs = edi.admin("GET", &format!("{other}?limit=1"), &Value::Null).await.assert(200).json();
        let theirs = theirs["next_cursor"].as_str().unwrap();
        let elsewhere = crate::support::jwt::encode("keyring/");
        for (query, wanted) in [
            ("limit=0".to_owned(), "limit"),
            ("limit=1001".to_owned(), "limit"),
            ("limit=many".to_owned(), "limit"),
            ("cursor=!".to_owned(), "cursor"),
            ("cursor=%00".to_owned(), "cursor"),
            (format!("cursor={theirs}"), "cursor"),
            (format!("cursor={}", &theirs[..theirs.len() - 1]), "cursor"),
            (format!("cursor={elsewhere}"), "cursor"),
        ] {
            let answer = edi.admin("GET", &format!("{list}?{query}"), &Value::Null).await;
            assert_eq!(wrong_fields(&answer.assert_problem(422)), [wanted], "{answer}");
        }
    }
}

#[tokio::test]
async fn every_wrong_field_of_a_deployment_is_named() {
    let edi = TestEdi::new().await;
    let before = edi.revision().await;
    for (body, wanted) in [
        (json!({}), &["id"][..]),
        (json!({ "id": "a b" }), &["id"]),
        (json!({ "id": "m", "role": "a b" }), &["role"]),
        (json!({ "id": "m", "role": "groups" }), &["role"]),
        (json!({ "id": "m", "hosts": ["a", "a:80", "*.*.b", "http://x"] }), &["hosts[1]", "hosts[2]", "hosts[3]"]),
        (
            json!({ "id": "m", "paths": ["/a", "b", "/a//b", "/../x", "/%2e"] }),
            &["paths[1]", "paths[2]", "paths[3]", "paths[4]"],
        ),
        (json!({ "id": "m", "audience": "" }), &["audience"]),
        (json!({ "id": "m", "audience": ISSUER }), &["audience"]),
        (json!({ "id": "m", "host": "a" }), &["host"]),
    ] {
        let answer = edi.admin("POST", "deployments", &body).await;
        assert_eq!(answer.status, 422, "{body}: {answer}");
        assert_eq!(wrong_fields(&answer.assert_problem(422)), wanted, "{body}: {answer}");
    }
    assert_eq!(edi.revision().await, before, "nothing was written");
}

#[tokio::test]
async fn a_deployment_lives() {
    let edi = TestEdi::new().await;
    let body = json!({ "id": "fraud", "role": "fraud", "hosts": ["Fraud.Example", "*.m.example"], "paths": ["/v1/"], "audience": "m" });
    let at = edi.service().now().rfc3339();
    let mut view = json!({
        "id": "fraud", "role": "fraud", "hosts": ["*.m.example", "fraud.example"], "paths": ["/v1/"], "audience": "m",
        "created_at": at, "updated_at": at,
    });
    edi.admin("POST", "deployments", &body).await.assert_json(201, &view);
    edi.admin("POST", "deployments", &body).await.assert_problem(409);
    edi.admin("GET", "deployments/fraud", &Value::Null).await.assert_json(200, &view);
    edi.advance(60);
    view["updated_at"] = json!(edi.service().now().rfc3339());
    view["role"] = json!("risk");
    view["hosts"] = json!([]);
    view.as_object_mut().unwrap().remove("audience");
    let patch = json!({ "role": "risk", "hosts": null, "audience": null });
    edi.admin("PATCH", "deployments/fraud", &patch).await.assert_json(200, &view);
    edi.admin("PATCH", "deployments/fraud", &json!({ "id": "other" })).await.assert_problem(422);
    view["role"] = json!("default");
    edi.admin("PATCH", "deployments/fraud", &json!({ "role": null })).await.assert_json(200, &view);
    edi.admin("DELETE", "deployments/fraud", &Value::Null).await.assert(204);
    for (method, body) in [("GET", Value::Null), ("PATCH", json!({})), ("DELETE", Value::Null)] {
        edi.admin(method, "deployments/fraud", &body).await.assert_problem(404);
    }
}

#[tokio::test]
async fn what_was_made_is_found_where_the_answer_says() {
    let edi = TestEdi::new().await;
    let elsewhere = Setup::new();
    let (key, _) = crate::key_import::signing_key(&elsewhere.start().await, &elsewhere);
    for (method, path, body, place) in [
        ("POST", "clients", json!({ "client_id": "svc" }), "clients/svc"),
        ("PUT", "clients/other", json!({}), "clients/other"),
        ("POST", "deployments", json!({ "id": "fraud", "role": "fraud" }), "deployments/fraud"),
        ("PUT", "deployments/spam", json!({ "role": "spam" }), "deployments/spam"),
        ("POST", "revocations", json!({ "kind": "client", "id": "svc" }), "revocations/client/svc"),
        ("POST", "keys", json!({ "key": key, "kid": "old?key" }), "keys/old%3Fkey"),
    ] {
        let answer = edi.admin(method, path, &body).await;
        assert_eq!(answer.status, 201, "{path}: {answer}");
        assert_eq!(answer.header("location"), format!("/admin/v1/{place}"), "{answer}");
        edi.admin("GET", place, &Value::Null).await.assert(200);
    }
    let again = edi.admin("PUT", "clients/other", &json!({})).await;
    assert_eq!((again.status, again.header("location")), (200, ""), "{again}");
}

#[tokio::test]
async fn status_tells_how_edi_is_doing() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    edi.deploy("m", "a", None).await;
    let before = edi.admin("GET", "status", &Value::Null).await.assert(200).json();
    edi.token(&svc, &[]).await;
    let now = edi.admin("GET", "status", &Value::Null).await.assert(200).json();
    // The operator's own token counts as well.
    assert_eq!(now["tokens_issued"].as_u64().unwrap() - before["tokens_issued"].as_u64().unwrap(), 2);
    assert_eq!((&now["issuer"], &now["deployments"]), (&json!(ISSUER), &json!(1)));
    assert_eq!((&now["store"]["health"], &now["attention"]), (&json!("ok"), &json!([])));
    edi.memory().fail_writes(true);
    let now = edi.admin("GET", "status", &Value::Null).await.assert(200).json();
    assert_eq!(now["store"]["health"], "read-only");
    assert!(now["attention"][0]["what"].as_str().unwrap().contains("takes no writes"), "{now}");
    assert!(!now["attention"][0]["next"].as_str().unwrap().is_empty(), "{now}");
}

#[tokio::test]
async fn status_counts_what_there_is_and_what_happened_lately() {
    let setup = Setup::on_disk();
    let edi = setup.start().await;
    let svc = edi.register("svc", &["a"]).await;
    edi.token(&svc, &[]).await;
    let wrong = Registered { secret: "wrong".into(), ..svc };
    edi.request_token(&wrong, &[]).await.assert(401);
    edi.advance(90);
    let status = edi.admin("GET", "status", &Value::Null).await.assert(200).json();
    assert_eq!((&status["clients"], &status["uptime_seconds"]), (&json!(2), &json!(90)), "{status}");
    assert_eq!(status["token_requests_refused"], 1);
    assert_eq!((&status["lately"]["issued"], &status["lately"]["refused"]), (&status["tokens_issued"], &json!(1)));
    assert_eq!(status["listeners"]["public"], edi.public.to_string());
    assert_eq!(status["listeners"]["admin"], edi.admin.to_string());
    let store = &status["store"];
    assert_eq!((&store["engine"], &store["path"]), (&json!("sled"), &json!(setup.path("data").display().to_string())));
    assert!(store["used_bytes"].as_u64().unwrap() > 0 && store["free_bytes"].as_u64().unwrap() > 0, "{store}");
    assert!(status["next_rotation_at"].as_str().is_some(), "{status}");
}
