//! Whose is what leaked (design §5: the public id in a secret lets an operator ask).

use edi::store::Key;
use edi::store::tx::{Audited, Tx};
use serde_json::{Value, json};

use crate::support::edi::{Setup, TestEdi};

async fn whose(edi: &TestEdi, value: &str) -> Value {
    let answer = edi.admin("POST", "whose", &json!({ "value": value })).await.assert(200);
    assert!(value.len() < 12 || !answer.body.contains(value), "never echoed: {answer}");
    answer.json()
}

#[tokio::test]
async fn a_secret_leads_to_its_client_as_long_as_it_works_and_long_after() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    edi.request_token(&svc, &[]).await.assert(200);
    let used = edi.service().now().secs();
    let id = &svc.view["secrets"][0]["id"];
    for text in [svc.secret.clone(), format!("client_secret={}&x=y", svc.secret), format!(" \"{}\",\n", svc.secret)] {
        let found = whose(&edi, &text).await;
        assert_eq!(
            (&found["kind"], &found["found"], &found["proven"]),
            (&json!("client_secret"), &json!(true), &json!(true))
        );
        assert_eq!(
            (&found["client_id"], &found["client_state"], &found["secret_id"]),
            (&json!("svc"), &json!("enabled"), id)
        );
        assert_eq!((&found["state"], found.get("removed_at")), (&json!("live"), None));
        let at = edi::model::time::Timestamp::from_secs(used).rfc3339();
        assert_eq!(found["last_used_at"], *at, "{found}");
    }
    edi.admin("PATCH", "clients/svc", &json!({ "state": "disabled" })).await.assert(200);
    assert_eq!(whose(&edi, &svc.secret).await["client_state"], "disabled");
    edi.admin("PATCH", "clients/svc", &json!({ "state": "enabled" })).await.assert(200);
    edi.admin("POST", "clients/svc/secrets/rotate", &json!({ "overlap_seconds": 60, "name": "n" })).await.assert(201);
    assert_eq!(whose(&edi, &svc.secret).await["state"], "live");
    edi.advance(60);
    assert_eq!(whose(&edi, &svc.secret).await["state"], "expired");
    edi.admin("POST", "clients/svc/secrets/rotate", &json!({ "compromised": true })).await.assert(201);
    let found = whose(&edi, &svc.secret).await;
    assert_eq!((&found["state"], &found["client_id"]), (&json!("removed"), &json!("svc")), "{found}");
    edi.admin("DELETE", "clients/svc", &Value::Null).await.assert(204);
    let found = whose(&edi, &svc.secret).await;
    assert_eq!(
        (&found["client_state"], &found["client_id"], &found["proven"]),
        (&json!("deleted"), &json!("svc"), &json!(true))
    );
    edi.advance(400 * 86_400);
    let found = whose(&edi, &svc.secret).await;
    assert_eq!((&found["found"], found.get("client_id")), (&json!(false), None), "forgotten in the end");
}

#[tokio::test]
async fn a_forgery_with_a_known_id_is_not_taken_for_the_secret() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let last = if svc.secret.ends_with('A') { "B" } else { "A" };
    let forged = format!("{}{last}", &svc.secret[..svc.secret.len() - 1]);
    let found = whose(&edi, &forged).await;
    assert_eq!(
        (&found["client_id"], &found["proven"], found.get("state")),
        (&json!("svc"), &json!(false), None),
        "{found}"
    );
    let stranger = format!("edi_zzzzzzzzzzzz_{}", "A".repeat(54));
    assert_eq!(whose(&edi, &stranger).await["found"], false);
}

#[tokio::test]
async fn a_secret_from_before_there_were_records_is_found_by_its_tag() {
    let edi = TestEdi::new().await;
    for n in 0..30 {
        edi.register(&format!("other{n}"), &["a"]).await;
    }
    let svc = edi.register("svc", &["a"]).await;
    let id = svc.view["secrets"][0]["id"].as_str().unwrap();
    let mut tx = Tx::new(&*edi.service().store);
    tx.delete(&Key::new(format!("secret/{id}")));
    tx.commit(Audited::not_a_change("as if from before")).await.unwrap();
    let found = whose(&edi, &svc.secret).await;
    assert_eq!((&found["client_id"], &found["state"], &found["proven"]), (&json!("svc"), &json!("live"), &json!(true)));
    assert_eq!(found["secret_id"], *id);
}

#[tokio::test]
async fn a_token_leads_to_its_client_and_says_whether_it_counts() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let token = edi.token(&svc, &[]).await;
    let found = whose(&edi, &format!("Authorization: Bearer {token}")).await;
    assert_eq!(
        (&found["kind"], &found["client_id"], &found["state"]),
        (&json!("access_token"), &json!("svc"), &json!("active"))
    );
    assert_eq!((&found["scope"], &found["proven"]), (&json!("a"), &json!(true)));
    assert_eq!(found["jti"].as_str().unwrap().len(), 22);
    edi.revoke(&svc, &token).await.assert(200);
    assert_eq!(whose(&edi, &token).await["state"], "revoked");
    edi.advance(901);
    assert_eq!(whose(&edi, &token).await["state"], "expired");
    let (head, _) = token.rsplit_once('.').unwrap();
    let forged = whose(&edi, &format!("{head}.{}", "A".repeat(86))).await;
    assert_eq!((&forged["client_id"], &forged["proven"], forged.get("state")), (&json!("svc"), &json!(false), None));
    // {"alg":"none"}.{"sub":"svc"}
    assert_eq!(whose(&edi, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzdmMifQ.c2ln").await["found"], false);
    // {"alg":"ES256"}.{"iss":"svc","sub":"svc"}
    let found = whose(&edi, "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJzdmMiLCJzdWIiOiJzdmMifQ.c2ln").await;
    assert_eq!(
        (&found["kind"], &found["client_id"], &found["proven"]),
        (&json!("client_assertion"), &json!("svc"), &json!(false))
    );
}

#[tokio::test]
async fn a_chosen_secret_is_tried_against_the_client_that_is_named() {
    let edi = TestEdi::new().await;
    let chosen = "correct horse battery";
    edi.register_with("svc", &json!({ "roles": ["a"], "client_secret": chosen })).await;
    edi.register("made", &["a"]).await;
    let found = whose(&edi, chosen).await;
    assert_eq!((&found["kind"], &found["found"]), (&json!("unknown"), &json!(false)));
    assert!(found["detail"].as_str().unwrap().contains("name it"), "{found}");
    let try_at = |id: &str, value: &str| json!({ "value": value, "client_id": id });
    let found = edi.admin("POST", "whose", &try_at("svc", chosen)).await.assert(200).json();
    assert_eq!(
        (&found["kind"], &found["client_id"], &found["state"]),
        (&json!("chosen_secret"), &json!("svc"), &json!("live"))
    );
    for (id, value) in [("svc", "correct horse batterz"), ("made", chosen), ("nobody", chosen)] {
        let found = edi.admin("POST", "whose", &try_at(id, value)).await.assert(200).json();
        assert_eq!(found["found"], false, "{found}");
    }
    let reader = edi.register_admin("reader", &["edi:read"]).await;
    let token = edi.admin_token(&reader, "edi:read").await;
    edi.admin_with(&token, "POST", "whose", &json!({ "value": chosen })).await.assert(200);
    edi.admin_with(&token, "POST", "whose", &try_at("svc", chosen)).await.assert_problem(403);
}

#[tokio::test]
async fn nonsense_is_refused_and_nothing_is_written() {
    let edi = Setup::new().start().await;
    edi.admin("GET", "whose", &Value::Null).await.assert_problem(405);
    let before = edi.revision().await;
    for (body, field) in [
        (json!({}), "value"),
        (json!({ "value": "" }), "value"),
        (json!({ "value": "  \n" }), "value"),
        (json!({ "value": 5 }), "value"),
        (json!({ "value": "x".repeat(128 * 1024 + 1) }), "value"),
        (json!({ "value": "x", "client_id": "no id!" }), "client_id"),
        (json!({ "value": "x", "cursor": "?" }), "cursor"),
        (json!({ "value": "x", "secret": "y" }), "secret"),
    ] {
        let problem = edi.admin("POST", "whose", &body).await.assert_problem(422);
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    for text in ["edi_", "edi__", "...", "a.b.c", "\u{1F980}", "edi_abc_", "%00", &"edi_a_".repeat(2000)] {
        assert_eq!(whose(&edi, text).await["found"], false, "{text}");
    }
    assert_eq!(edi.revision().await, before);
}
