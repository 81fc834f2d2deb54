//! What was refused and why (design §15): `edi why` from a bounded memory, and what of it the audit trail tells.

use std::time::Duration;

use edi::store::Store as _;
use serde_json::{Value, json};

use crate::audit::verdict;
use crate::support::edi::{Setup, TestEdi};
use crate::support::http::Answer;
use crate::support::program::{Program, run};

/// The trail's refusals under a query, once there are so many; the flusher looks about once a second.
async fn refusals(edi: &TestEdi, query: &str, wanted: usize) -> Vec<Value> {
    let mut found = Vec::new();
    for _ in 0..200 {
        let path = format!("audit?outcome=refused&{query}");
        let page = edi.admin("GET", &path, &Value::Null).await.assert(200).json();
        found = page["items"].as_array().unwrap().clone();
        if found.len() >= wanted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(found.len(), wanted, "{found:?}");
    found
}

fn id(answer: &Answer) -> String {
    answer.header("x-request-id").to_owned()
}

/// What is remembered of an answer.
async fn why(edi: &TestEdi, answer: &Answer) -> Value {
    edi.admin("GET", &format!("refusals/{}", id(answer)), &Value::Null).await.assert(200).json()
}

#[tokio::test]
async fn an_operators_refusals_are_in_the_trail_sealed_with_their_code_and_target() {
    let edi = TestEdi::new().await;
    let reader = edi.register_admin("reader", &["edi:read"]).await;
    let reader = edi.admin_token(&reader, "edi:read").await;
    let forbidden = edi.admin_with(&reader, "DELETE", "clients/operator", &Value::Null).await.assert(403);
    let last = edi.admin("PATCH", "clients/operator", &json!({ "state": "disabled" })).await.assert(409);
    edi.admin("GET", "clients/nobodys", &Value::Null).await.assert(404);
    edi.ask_admin("GET", "clients").bearer("edi_forged_token").send().await.assert(401);

    let told = refusals(&edi, "", 2).await;
    let of = |actor: &str| told.iter().find(|it| it["actor"] == actor).unwrap();
    let first = of("reader");
    assert_eq!((&first["action"], &first["code"]), (&json!("client.delete"), &json!("insufficient_scope")));
    assert_eq!((&first["target"], &first["address"]), (&json!("operator"), &json!("127.0.0.1")));
    assert_eq!((&first["request_id"], &first["count"]), (&json!(id(&forbidden)), &json!(1)));
    let second = of("operator");
    assert_eq!((&second["action"], &second["code"]), (&json!("client.update"), &json!("conflict")));
    assert_eq!(second["request_id"], id(&last));
    assert!(second["reason"].as_str().unwrap().contains("last client with edi:admin"), "{second}");
    let verdict = verdict(&edi).await;
    let entries = edi.memory().scan("audit/", None, 1000).await.unwrap().items.len();
    assert_eq!(
        (&verdict["state"], &verdict["entries"]),
        (&json!("intact"), &json!(entries)),
        "sealed like all entries"
    );
}

#[tokio::test]
async fn a_clients_refusals_are_counted_together_and_a_strangers_are_not_stored() {
    let edi = TestEdi::new().await;
    let client = edi.register("svc", &["a"]).await;
    edi.request_token(&client, &[("scope", "nobodys")]).await.assert_refused(400, "invalid_scope");
    let told = refusals(&edi, "actor=svc", 1).await;
    assert_eq!((&told[0]["action"], &told[0]["code"]), (&json!("token.issue"), &json!("invalid_scope")));
    for _ in 0..5 {
        edi.request_token(&client, &[("scope", "nobodys")]).await.assert_refused(400, "invalid_scope");
    }
    let wrong = edi.ask("POST", "/oauth2/token").basic("svc", "s3cret-guess");
    let wrong = wrong.form(&[("grant_type", "client_credentials")]).send().await.assert_refused(401, "invalid_client");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(refusals(&edi, "", 1).await.len(), 1, "within a minute they are only counted");
    edi.advance(61);
    let told = refusals(&edi, "actor=svc", 2).await;
    assert_eq!(told[1]["count"], 5, "{told:?}");

    let known = why(&edi, &wrong).await;
    assert_eq!((&known["status"], &known["code"]), (&json!(401), &json!("invalid_client")));
    assert!(known.get("client_id").is_none() && known["address"] == "127.0.0.1", "{known}");
    assert!(!known["reason"].as_str().unwrap().is_empty() && known["reason"] != wrong.json()["error_description"]);
    assert!(!known.to_string().contains("s3cret"), "{known}");
    let all = edi.memory().scan("audit", None, 1000).await.unwrap().items;
    assert!(all.iter().all(|(_, it)| !String::from_utf8_lossy(&it.value).contains(&id(&wrong))));
}

#[tokio::test]
async fn what_waits_is_written_at_the_end() {
    let setup = Setup::on_disk();
    let edi = setup.start().await;
    let client = edi.register("svc", &["a"]).await;
    edi.request_token(&client, &[("scope", "nobodys")]).await.assert(400);
    refusals(&edi, "actor=svc", 1).await;
    edi.request_token(&client, &[("scope", "nobodys")]).await.assert(400);
    edi.stop().await;
    let edi = setup.start().await;
    assert_eq!(refusals(&edi, "actor=svc", 2).await[1]["count"], 1);
}

#[tokio::test]
async fn only_edi_read_learns_why() {
    let edi = TestEdi::new().await;
    let auditor = edi.register_admin("auditor", &["edi:clients"]).await;
    let auditor = edi.admin_token(&auditor, "edi:clients").await;
    let refused = edi.admin_with(&auditor, "GET", "status", &Value::Null).await.assert(403);
    let path = format!("refusals/{}", id(&refused));
    edi.admin_with(&auditor, "GET", &path, &Value::Null).await.assert(403);
    edi.ask_admin("GET", &path).send().await.assert(401);
    let known = why(&edi, &refused).await;
    assert_eq!((&known["client_id"], &known["code"]), (&json!("auditor"), &json!("insufficient_scope")));
    assert_eq!((&known["method"], &known["path"]), (&json!("GET"), &json!("/admin/v1/status")));
    edi.admin("GET", "refusals/never-asked", &Value::Null).await.assert_problem(404);
}

#[tokio::test]
async fn the_command_says_why() {
    let (setup, edi, _) = Setup::new().reachable().await;
    let credentials = setup.path("keys/operator.json").display().to_string();
    let program = || Program::new().env("EDI_CREDENTIALS", &credentials);
    let wrong = edi.ask("POST", "/oauth2/token").basic("operator", "s3cret-guess");
    let wrong = wrong.form(&[("grant_type", "client_credentials")]).send().await.assert(401);
    let reason = why(&edi, &wrong).await["reason"].as_str().unwrap().to_owned();
    let said = run(program(), &format!("why {}", id(&wrong))).await;
    assert_eq!(said.code, 0, "{said:?}");
    for part in [reason.as_str(), "401 invalid_client", "POST /oauth2/token", "nobody that proved itself", "127.0.0.1"]
    {
        assert!(said.out.contains(part), "{part}: {said:?}");
    }
    let said = run(program(), &format!("why urn:edi:request:{} --json", id(&wrong))).await;
    assert_eq!(said.json()["reason"], reason);
    let none = run(program(), "why never-asked").await;
    assert!(none.code == 1 && none.err.contains("not any more") && none.err.contains("log"), "{none:?}");
}
