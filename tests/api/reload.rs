//! What can change while edi serves, and what waits for the next start.

use edi::config::Sources;
use serde_json::{Value, json};

use crate::support::edi::{Registered, Setup, TestEdi};

/// An edi that follows a file.
async fn following(setup: &Setup, text: &str) -> TestEdi {
    let edi = setup.start().await;
    let file = setup.path("live.toml");
    std::fs::write(&file, text).unwrap();
    edi.follow(Sources { file: Some(file), ..Sources::default() });
    edi
}

fn say(setup: &Setup, text: &str) {
    std::fs::write(setup.path("live.toml"), text).unwrap();
}

async fn reload(edi: &TestEdi) -> Value {
    edi.admin("POST", "reload", &json!({})).await.assert(200).json()
}

async fn lifetime(edi: &TestEdi, client: &Registered) -> Value {
    edi.request_token(client, &[]).await.assert(200).json()["expires_in"].clone()
}

#[tokio::test]
async fn lifetimes_and_limits_change_at_once_and_the_rest_is_named() {
    let setup = Setup::new();
    let edi = following(&setup, "").await;
    let client = edi.register("svc", &["r"]).await;
    assert_eq!(lifetime(&edi, &client).await, 900);
    assert_eq!(reload(&edi).await, json!({ "applied": [], "needs_restart": [], "certificates_taken_in": false }));
    say(
        &setup,
        "[tokens]\nttl = \"26h\"\nmax_ttl = \"48h\"\naudience = \"other\"\n[limits]\noauth_body_bytes = 20000\n",
    );
    let report = reload(&edi).await;
    let keys = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|it| it["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(&report["applied"]), ["limits.oauth_body_bytes", "tokens.max_ttl", "tokens.ttl"]);
    assert_eq!(
        report["needs_restart"],
        json!([{ "key": "tokens.audience", "from": "model-prediction-api", "to": "other" }])
    );
    assert_eq!(lifetime(&edi, &client).await, 26 * 3600);
    // Before such a token is issued, its key is to stay published that long.
    assert!(edi.service().longest_lifetime().as_secs() >= 48 * 3600);
    let body = "x=".to_owned() + &"y".repeat(18_000);
    let answer = edi.ask("POST", "/oauth2/introspect").body("application/x-www-form-urlencoded", body).send().await;
    assert_ne!(answer.status, 413, "the new limit counts");
    let again = reload(&edi).await;
    assert_eq!(
        (keys(&again["applied"]).len(), keys(&again["needs_restart"]).len()),
        (0, 1),
        "what waits is named again"
    );
}

#[tokio::test]
async fn a_configuration_with_a_problem_changes_nothing() {
    let setup = Setup::new();
    let edi = following(&setup, "").await;
    let client = edi.register("svc", &["r"]).await;
    say(&setup, "[tokens]\nttl = \"5m\"\nmax_tll = \"1h\"\n");
    let refused = edi.admin("POST", "reload", &json!({})).await.assert(422).json();
    assert_eq!(refused["errors"][0]["field"], "tokens.max_tll");
    assert_eq!(lifetime(&edi, &client).await, 900);
}

#[tokio::test]
async fn it_takes_an_administrator_and_the_trail_tells_who() {
    let setup = Setup::new();
    let edi = following(&setup, "").await;
    let keeper = edi.register_admin("keeper", &["edi:read", "edi:keys"]).await;
    let reader = edi.admin_token(&keeper, "edi:keys").await;
    edi.admin_with(&reader, "POST", "reload", &json!({})).await.assert(403);
    edi.admin("GET", "reload", &Value::Null).await.assert(405);
}
