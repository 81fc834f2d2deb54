//! What can change while edi serves, and what waits for the next start.

use edi::config::Sources;
use serde_json::{Value, json};

use crate::metrics::scrape;
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
async fn limits_on_floods_change_at_once_and_those_of_listeners_and_threads_are_named() {
    let setup = Setup::new();
    let edi = following(&setup, "").await;
    let client = edi.register("svc", &["r"]).await;
    let wrong = Registered { secret: "wrong".into(), ..client.clone() };
    edi.request_token(&wrong, &[]).await.assert(401);
    say(
        &setup,
        "[limits]\nfailures_burst = 1\nfailures_per_second = 1\nclient_cache = 123\nhashing_queue = 45\nrequest_timeout = \"1s\"\n\
         max_connections = 99\nkeep_alive = \"9s\"\ndrain = \"9s\"\nhashing_threads = 2\n",
    );
    let report = reload(&edi).await;
    let keys = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|it| it["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        keys(&report["applied"]),
        [
            "limits.client_cache",
            "limits.failures_burst",
            "limits.failures_per_second",
            "limits.hashing_queue",
            "limits.request_timeout"
        ]
    );
    assert_eq!(
        keys(&report["needs_restart"]),
        ["limits.drain", "limits.hashing_threads", "limits.keep_alive", "limits.max_connections"]
    );
    // Made of nothing but failures that come faster than one a second: of so many the budget of one has to run out.
    let mut refused = 0;
    for _ in 0..20 {
        refused += u32::from(edi.request_token(&wrong, &[]).await.status == 429);
    }
    assert!(refused > 0, "the new budget counts");
    edi.request_token(&client, &[]).await.assert(200);
    let page = scrape(&edi).await;
    assert!((page.value("edi_client_cache_limit") - 123.0).abs() < 0.1);
    assert!((page.value("edi_hashing_queue_limit") - 45.0).abs() < 0.1);
    // A head that is complete and a body that is not: cut off after the second that is now the limit.
    let started = std::time::Instant::now();
    let mut stalled = tokio::net::TcpStream::connect(edi.public).await.unwrap();
    let head = "POST /oauth2/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Content-Length: 9\r\n\r\nx";
    tokio::io::AsyncWriteExt::write_all(&mut stalled, head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stalled, &mut answer).await;
    assert!(started.elapsed().as_secs() < 10, "not the 15 s that a body has otherwise: {:?}", started.elapsed());
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
