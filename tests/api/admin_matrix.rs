//! Who may do what, in full: every operation of the admin API, as `/openapi.json` declares it from the one table of
//! operations, against every scope there is and every kind of token that does not count.

use serde_json::Value;

use crate::support::edi::TestEdi;
use crate::support::http::{Answer, Ask};

/// An operation: its method, its path with a stranger's ids, and the scopes of which one is enough.
struct Declared {
    method: String,
    path: String,
    scopes: Vec<String>,
}

async fn declared(edi: &TestEdi) -> Vec<Declared> {
    let document = crate::support::http::Ask::new(edi.admin, "GET", "/openapi.json").send().await.assert(200).json();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(path) = path.strip_prefix("/admin/v1/") else { continue };
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "servers") {
            let scopes = operation["x-edi-scopes"].as_array().unwrap().iter();
            all.push(Declared {
                method: method.to_uppercase(),
                path: path
                    .split('/')
                    .map(|part| if part.starts_with('{') { "nobodys" } else { part })
                    .collect::<Vec<_>>()
                    .join("/"),
                scopes: scopes.map(|scope| scope.as_str().unwrap().to_owned()).collect(),
            });
        }
    }
    // Backups, emergencies and the like end what others stand on: looks first, changes of nothing next.
    all.sort_by_key(|it| (it.method != "GET", it.path.clone()));
    all
}

async fn ask(edi: &TestEdi, operation: &Declared, token: Option<&str>) -> Answer {
    let ask = edi.ask_admin(&operation.method, &operation.path);
    let ask = token.into_iter().fold(ask, Ask::bearer);
    // A member that is known nowhere: rights are judged before it, and nothing is changed by it.
    let body = if operation.method == "GET" || operation.method == "DELETE" { "" } else { r#"{"nobodys":1}"# };
    if body.is_empty() { ask.send().await } else { ask.body("application/json", body).send().await }
}

#[tokio::test]
async fn every_scope_reaches_the_operations_that_name_it_and_no_others() {
    let edi = TestEdi::new().await;
    let operations = declared(&edi).await;
    assert!(operations.len() >= 26, "the document declares the admin API");
    let scopes = [
        "edi:read",
        "edi:clients",
        "edi:deployments",
        "edi:keys",
        "edi:revocations",
        "edi:audit",
        "edi:introspect",
        "edi:issue",
        "edi:admin",
    ];
    let mut judged = 0;
    for scope in scopes {
        let by = edi.register_admin(&scope.replace(':', "-"), &[scope]).await;
        let token = edi.admin_token(&by, scope).await;
        for operation in &operations {
            let Declared { method, path, scopes } = operation;
            let may = scope == "edi:admin" || scopes.iter().any(|enough| enough == scope);
            let answer = ask(&edi, operation, Some(&token)).await;
            judged += 1;
            if may {
                assert!(!matches!(answer.status, 401 | 403 | 500..), "{scope} at {method} {path}: {answer}");
                continue;
            }
            answer.assert_problem(403);
            let challenge = answer.header("www-authenticate");
            let named = challenge.split("scope=\"").nth(1).unwrap_or_default().trim_end_matches('"');
            assert!(scopes.iter().any(|enough| enough == named), "it names one that would do: {answer}");
        }
    }
    assert_eq!(judged, scopes.len() * operations.len());
}

#[tokio::test]
async fn no_other_token_reaches_any_operation() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let short = serde_json::json!({ "admin_scopes": ["edi:admin"], "access_token_lifetime": 10 });
    let short = edi.register_with("short", &short).await;
    let expired = edi.admin_token(&short, "edi:admin").await;
    let revoked = edi.admin_token(&edi.operator(), "edi:admin").await;
    edi.revoke(&edi.operator(), &revoked).await.assert(200);
    edi.advance(10);
    // A role's token is for another audience.
    let role = edi.token(&svc, &[]).await;
    for operation in declared(&edi).await {
        for (token, why) in [
            (None, "none"),
            (Some(&role), "of a role"),
            (Some(&expired), "expired"),
            (Some(&revoked), "revoked"),
            (Some(&svc.secret), "a secret"),
        ] {
            let answer = ask(&edi, &operation, token.map(String::as_str)).await;
            let problem: Value = answer.assert_problem(401);
            let challenge = answer.header("www-authenticate");
            assert!(challenge.starts_with("Bearer "), "{why} at {} {}: {problem}", operation.method, operation.path);
            assert_eq!(challenge.contains("invalid_token"), token.is_some(), "RFC 6750 §3.1: {why}: {answer}");
        }
    }
}
