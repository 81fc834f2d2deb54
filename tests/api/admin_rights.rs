//! Who may change whom (design §5): nobody grants what they lack, only `edi:admin` touches a client with admin scopes,
//! and somebody can always get in.

use serde_json::{Value, json};

use crate::support::edi::TestEdi;

#[tokio::test]
async fn nobody_grants_an_admin_scope_they_lack() {
    let edi = TestEdi::new().await;
    let registrar = edi.register_admin("registrar", &["edi:clients", "edi:read"]).await;
    edi.register("svc", &["a"]).await;
    let clients_alone = edi.admin_token(&registrar, "edi:clients").await;
    let both = edi.admin_token(&registrar, "edi:clients edi:read").await;
    let before = edi.revision().await;
    for (token, scopes, lacked) in [
        (&both, json!(["edi:admin"]), "edi:admin"),
        (&both, json!(["edi:keys"]), "edi:keys"),
        (&both, json!(["edi:clients", "edi:read", "edi:issue"]), "edi:issue"),
        (&clients_alone, json!(["edi:read"]), "edi:read"),
    ] {
        for (method, path, id) in [("POST", "clients", "new"), ("PATCH", "clients/svc", "svc")] {
            let body = json!({ "client_id": id, "admin_scopes": scopes });
            let answer = edi.admin_with(token, method, path, &body).await;
            let problem = answer.assert_problem(403);
            let detail = problem["detail"].as_str().unwrap();
            assert_eq!(detail, format!("nobody grants an edi: scope they lack: {lacked}"), "{answer}");
        }
    }
    assert_eq!(edi.revision().await, before, "nothing was changed");
    let held = json!({ "client_id": "reader", "admin_scopes": ["edi:read"] });
    edi.admin_with(&both, "POST", "clients", &held).await.assert(201);
}

#[tokio::test]
async fn only_edi_admin_changes_a_client_that_holds_an_admin_scope() {
    let edi = TestEdi::new().await;
    let registrar = edi.register_admin("registrar", &["edi:clients"]).await;
    let peer = edi.register_admin("peer", &["edi:clients"]).await;
    let token = edi.admin_token(&registrar, "edi:clients").await;
    let secret = peer.view["secrets"][0]["id"].as_str().unwrap().to_owned();
    let before = edi.revision().await;
    let refusals = |id: &str| {
        [
            ("PATCH", format!("clients/{id}"), json!({ "client_name": "x" }), "its name"),
            ("PATCH", format!("clients/{id}"), json!({ "roles": ["a"] }), "its roles"),
            ("PATCH", format!("clients/{id}"), json!({ "admin_scopes": [] }), "its scopes, downwards too"),
            ("PATCH", format!("clients/{id}"), json!({ "state": "disabled" }), "its state"),
            ("POST", format!("clients/{id}/secrets"), json!({}), "a new secret would be a way in"),
            (
                "POST",
                format!("clients/{id}/secrets"),
                json!({ "client_secret": "chosen by an attacker" }),
                "a chosen secret would be a way in",
            ),
            ("DELETE", format!("clients/{id}/secrets/{secret}"), Value::Null, "taking a secret away locks it out"),
            ("DELETE", format!("clients/{id}/secrets/nosuch"), Value::Null, "nor does it learn which there are"),
            ("DELETE", format!("clients/{id}"), Value::Null, "its life"),
        ]
    };
    for id in ["peer", "registrar", "operator"] {
        for (method, path, body, rule) in refusals(id) {
            let answer = edi.admin_with(&token, method, &path, &body).await;
            assert_eq!(answer.status, 403, "{rule}: {answer}");
            assert!(answer.header("www-authenticate").contains("scope=\"edi:admin\""), "{rule}: {answer}");
        }
    }
    assert_eq!(edi.revision().await, before, "nothing was changed");
    edi.admin("PATCH", "clients/peer", &json!({ "client_name": "x" })).await.assert(200);
    edi.admin("DELETE", &format!("clients/peer/secrets/{secret}"), &Value::Null).await.assert(204);
}

#[tokio::test]
async fn the_last_way_in_cannot_be_closed() {
    let edi = TestEdi::new().await;
    let listed = edi.admin("GET", "clients/operator/secrets", &Value::Null).await.assert(200).json();
    let secret = format!("clients/operator/secrets/{}", listed["items"][0]["id"].as_str().unwrap());
    let closings = || {
        [
            ("PATCH", "clients/operator".to_owned(), json!({ "state": "disabled" }), "disabled"),
            ("DELETE", "clients/operator".to_owned(), Value::Null, "deleted"),
            ("PATCH", "clients/operator".to_owned(), json!({ "admin_scopes": ["edi:read"] }), "stripped"),
            ("PATCH", "clients/operator".to_owned(), json!({ "admin_scopes": null }), "stripped"),
            ("DELETE", secret.clone(), Value::Null, "without a secret"),
        ]
    };
    let refused = |what: &'static str| {
        let edi = &edi;
        let closings = closings();
        async move {
            let before = edi.revision().await;
            for (method, path, body, how) in closings {
                let answer = edi.admin(method, &path, &body).await;
                assert_eq!(answer.status, 409, "{what}: {how}: {answer}");
                let detail = answer.assert_problem(409)["detail"].as_str().unwrap().to_owned();
                assert!(detail.contains("the last client with edi:admin"), "{answer}");
            }
            assert_eq!(edi.revision().await, before, "{what}: nothing was changed");
        }
    };
    refused("alone").await;
    // Another administrator that cannot come in, now or before long, is none.
    let other = edi.register_admin("other", &["edi:admin"]).await;
    edi.admin("PATCH", "clients/other", &json!({ "state": "disabled" })).await.assert(200);
    refused("beside a disabled one").await;
    edi.admin("PATCH", "clients/other", &json!({ "state": "enabled" })).await.assert(200);
    let end = edi::model::time::Timestamp::from_secs(edi.now() + 3600).rfc3339();
    edi.admin("POST", "clients/other/secrets", &json!({ "expires_at": end })).await.assert(201);
    let first = other.view["secrets"][0]["id"].as_str().unwrap();
    edi.admin("DELETE", &format!("clients/other/secrets/{first}"), &Value::Null).await.assert(204);
    refused("beside one whose secret ends").await;
    // A second secret lets go of the first.
    edi.admin("POST", "clients/operator/secrets", &Value::Null).await.assert(201);
    edi.admin("DELETE", &secret, &Value::Null).await.assert(204);
}

#[tokio::test]
async fn an_administrator_can_leave_once_another_is_there() {
    let edi = TestEdi::new().await;
    let other = edi.register_admin("other", &["edi:admin"]).await;
    let token = edi.admin_token(&other, "edi:admin").await;
    edi.admin_with(&token, "DELETE", "clients/operator", &Value::Null).await.assert(204);
    edi.request_token(&edi.operator(), &[("scope", "edi:read")]).await.assert_refused(401, "invalid_client");
    edi.admin_with(&token, "DELETE", "clients/other", &Value::Null).await.assert_problem(409);
}

#[tokio::test]
async fn of_two_administrators_that_leave_at_once_one_stays() {
    for _ in 0..5 {
        let edi = TestEdi::new().await;
        let other = edi.register_admin("other", &["edi:admin"]).await;
        let tokens = [edi.admin_token(&edi.operator(), "edi:admin").await, edi.admin_token(&other, "edi:admin").await];
        let (a, b) = tokio::join!(
            edi.admin_with(&tokens[0], "DELETE", "clients/other", &Value::Null),
            edi.admin_with(&tokens[1], "DELETE", "clients/operator", &Value::Null),
        );
        let mut statuses = [a.status, b.status];
        statuses.sort_unstable();
        // The loser is told 401 when its own client went first.
        assert!([[204, 401], [204, 409]].contains(&statuses), "{a}{b}");
    }
}

#[tokio::test]
async fn losing_an_admin_scope_ends_the_tokens_that_hold_it() {
    let edi = TestEdi::new().await;
    let by = edi.register_admin("by", &["edi:clients", "edi:keys"]).await;
    let token = edi.admin_token(&by, "edi:clients").await;
    edi.admin_with(&token, "GET", "clients", &Value::Null).await.assert(200);
    edi.admin("PATCH", "clients/by", &json!({ "admin_scopes": ["edi:keys"] })).await.assert(200);
    edi.admin_with(&token, "GET", "clients", &Value::Null).await.assert_problem(401);
    edi.advance(4);
    edi.request_token(&by, &[("scope", "edi:clients")]).await.assert_refused(400, "invalid_scope");
    let token = edi.admin_token(&by, "edi:keys").await;
    edi.admin_with(&token, "GET", "keys", &Value::Null).await.assert(200);
}
