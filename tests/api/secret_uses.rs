//! When a secret was last used: noted per use, written down now and then, and never part of the client's version.

use edi::model::time::Timestamp;
use edi::oauth::last_used;
use serde_json::{Value, json};

use crate::metrics::{Exposition, scrape};
use crate::support::edi::{Setup, TestEdi};
use crate::support::program::Program;
use crate::support::serve::Serve;

async fn last_use(edi: &TestEdi, id: &str) -> Vec<Option<String>> {
    let text = |secret: &Value| secret["last_used_at"].as_str().map(ToOwned::to_owned);
    let listed = edi.admin("GET", &format!("clients/{id}/secrets"), &Value::Null).await.assert(200).json();
    let shown = edi.admin("GET", &format!("clients/{id}"), &Value::Null).await.assert(200).json();
    assert_eq!(listed["items"], shown["secrets"]);
    listed["items"].as_array().unwrap().iter().map(text).collect()
}

#[tokio::test]
async fn each_secret_has_its_own_last_use_on_every_endpoint_that_takes_it() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let made = edi.admin("POST", "clients/svc/secrets", &json!({})).await.assert(201).json();
    assert_eq!(last_use(&edi, "svc").await, [None, None]);
    let tag = edi.admin("GET", "clients/svc", &Value::Null).await.header("etag").to_owned();
    let revision = edi.revision().await;
    let first = Timestamp::from_secs(edi.now()).rfc3339();
    let token = edi.token(&svc, &[]).await;
    edi.advance(100);
    let second =
        crate::support::edi::Registered { secret: made["client_secret"].as_str().unwrap().into(), ..svc.clone() };
    edi.introspect(&second, &token).await.assert(200);
    let then = Timestamp::from_secs(edi.now()).rfc3339();
    assert_eq!(last_use(&edi, "svc").await, [Some(first), Some(then)]);
    let wrong = crate::support::edi::Registered { secret: format!("{}x", second.secret), ..second.clone() };
    edi.advance(100);
    edi.request_token(&wrong, &[]).await.assert(401);
    assert_eq!(
        last_use(&edi, "svc").await[1],
        Some(Timestamp::from_secs(edi.now() - 100).rfc3339()),
        "a guess is no use"
    );
    assert_eq!(edi.revision().await, revision, "a use writes nothing");
    assert_eq!(edi.admin("GET", "clients/svc", &Value::Null).await.header("etag"), tag);
}

#[tokio::test]
async fn it_is_written_down_in_batches_beside_the_client() {
    let edi = TestEdi::new().await;
    let mut clients = Vec::new();
    for n in 0..7 {
        clients.push(edi.register(&format!("svc{n}"), &["a"]).await);
    }
    for client in &clients {
        edi.token(client, &[]).await;
    }
    let tag = edi.admin("GET", "clients/svc3", &Value::Null).await.header("etag").to_owned();
    // The operator's use is one of them.
    let before = edi.revision().await.0;
    assert_eq!(last_used::write_down(edi.service()).await, Ok(8));
    let commits = edi.revision().await.0 - before;
    assert!((1..=2).contains(&commits), "one commit, and perhaps a seal of the trail beside it: {commits}");
    assert_eq!(last_used::write_down(edi.service()).await, Ok(0), "written down once");
    assert_eq!(edi.admin("GET", "clients/svc3", &Value::Null).await.header("etag"), tag);
}

#[tokio::test]
async fn what_could_not_be_written_down_stays_due() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    edi.token(&svc, &[]).await;
    edi.memory().fail_writes(true);
    assert!(last_used::write_down(edi.service()).await.is_err());
    edi.memory().fail_writes(false);
    assert_eq!(last_used::write_down(edi.service()).await, Ok(2));
}

#[tokio::test]
async fn it_survives_a_restart() {
    let setup = Setup::on_disk();
    let edi = setup.start().await;
    let svc = edi.register("svc", &["a"]).await;
    edi.token(&svc, &[]).await;
    let used = Timestamp::from_secs(edi.now()).rfc3339();
    edi.stop().await;
    let edi = setup.start().await;
    edi.advance(5);
    assert_eq!(last_use(&edi, "svc").await, [Some(used)]);
}

#[tokio::test]
async fn a_chosen_secret_has_one_too_also_when_it_is_remembered() {
    let edi = TestEdi::new().await;
    let svc = edi.register_with("svc", &json!({ "roles": ["a"], "client_secret": "correct horse battery" })).await;
    for _ in 0..2 {
        edi.advance(10);
        edi.token(&svc, &[]).await;
        assert_eq!(last_use(&edi, "svc").await, [Some(Timestamp::from_secs(edi.now()).rfc3339())]);
    }
}

#[tokio::test]
async fn status_tells_which_secrets_end_soon_and_which_of_them_lock_a_client_out() {
    let edi = TestEdi::new().await;
    edi.register("svc", &["a"]).await;
    let only = edi.register("only", &["a"]).await;
    let end = |days: i64| Timestamp::from_secs(edi.now() + days * 86_400).rfc3339();
    let add = async |id: &str, days| {
        let body = json!({ "expires_at": end(days), "name": "n" });
        edi.admin("POST", &format!("clients/{id}/secrets"), &body).await.assert(201).json()
    };
    add("svc", 5).await;
    let last = add("only", 13).await;
    let status = || async { edi.admin("GET", "status", &Value::Null).await.assert(200).json() };
    let told = |status: &Value| -> Vec<(Value, Value)> {
        let all = status["secrets_expiring"].as_array().unwrap();
        all.iter().map(|it| (it["client_id"].clone(), it["last"].clone())).collect()
    };
    let before = status().await;
    assert_eq!(told(&before), [(json!("svc"), json!(false)), (json!("only"), json!(false))]);
    assert!(!before["attention"].to_string().contains("only"), "it has another: {}", before["attention"]);
    let first = only.view["secrets"][0]["id"].as_str().unwrap();
    edi.admin("DELETE", &format!("clients/only/secrets/{first}"), &Value::Null).await.assert(204);
    let after = status().await;
    assert_eq!(told(&after)[1], (json!("only"), json!(true)));
    let attention = after["attention"].to_string();
    assert!(attention.contains(last["id"].as_str().unwrap()), "{attention}");
    assert!(attention.contains("`edi client secret rotate only`"), "{attention}");
    edi.advance(5 * 86_400);
    assert_eq!(told(&status().await).len(), 1, "what has ended ends no more");
}

#[tokio::test]
async fn metrics_tell_how_many_secrets_end_within_a_week_and_when_the_next_one_does() {
    const NEXT: &str = "edi_client_secret_next_expiry_timestamp_seconds";
    let edi = TestEdi::new().await;
    edi.register("svc", &["a"]).await;
    let before = scrape(&edi).await;
    assert!(!before.samples.contains_key(NEXT) && before.families.contains_key(NEXT));
    let end = |days: i64| Timestamp::from_secs(edi.now() + days * 86_400);
    let body = json!({ "expires_at": end(20).rfc3339() });
    edi.admin("POST", "clients/svc/secrets", &body).await.assert(201);
    let value = |page: &Exposition, series: &str| page.value(series).to_string();
    let expiring = |page: &Exposition, last: bool| {
        let series = format!("edi_client_secrets_expiring{{last=\"{last}\"}}");
        value(page, &series)
    };
    let mut after = scrape(&edi).await;
    for _ in 0..400 {
        if after.samples.contains_key(NEXT) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        after = scrape(&edi).await;
    }
    // From here on a page takes no walk through the store.
    edi.memory().fail_reads(true);
    assert_eq!([expiring(&after, false), expiring(&after, true)], ["0", "0"], "not within a week");
    assert_eq!(value(&after, NEXT), end(20).secs().to_string());
    edi.advance(14 * 86_400);
    assert_eq!(expiring(&scrape(&edi).await, false), "1");
    edi.advance(6 * 86_400);
    let ended = scrape(&edi).await;
    assert_eq!(expiring(&ended, false), "0");
    assert!(!ended.samples.contains_key(NEXT));
}

#[test]
fn a_start_says_in_the_log_which_secrets_end_soon() {
    let folder = tempfile::TempDir::new().unwrap();
    let here = folder.path();
    let edi = Serve::start(here, &Serve::free_addresses());
    let done = |line: &str| {
        let run = Program::new().run_in(here, line);
        assert_eq!(run.code, 0, "{line}: {run:?}");
        run.json()
    };
    done("client create svc --role a --json");
    let soon = done("client secret add svc --expires 5d --json");
    done("client create later --role a --json");
    done("client secret add later --expires 15d --json");
    let first = done("client create only --role a --json");
    let alone = done("client secret add only --expires 9d --json");
    let first = first["secrets"][0]["id"].as_str().unwrap();
    let removed = Program::new().run_in(here, &format!("client secret remove only {first} --yes"));
    assert_eq!(removed.code, 0, "{removed:?}");
    edi.stop();
    let before = std::fs::read_to_string(here.join("log")).unwrap();
    assert!(!before.contains("edi::clients"), "at the first start there are none: {before}");
    let edi = Serve::start(here, &Serve::free_addresses());
    let lines = || -> Vec<Value> {
        let log = std::fs::read_to_string(here.join("log")).unwrap();
        let json = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        json.filter(|line| line["target"] == "edi::clients").collect()
    };
    let patience = std::time::Instant::now();
    while lines().len() < 2 && patience.elapsed().as_secs() < 20 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    edi.stop();
    let said: Vec<_> = lines()
        .iter()
        .map(|line| {
            assert_eq!(line["level"], "WARN");
            (line["client_id"].clone(), line["secret_id"].clone(), line["days"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(said, [(json!("only"), alone["id"].clone(), 8), (json!("svc"), soon["id"].clone(), 4)]);
    assert!(lines()[0]["message"].as_str().unwrap().contains("nothing else lets its client in"));
}
