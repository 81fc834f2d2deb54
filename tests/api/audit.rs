//! The audit trail (design §15): every change is told, who may look, what the chain finds.

use std::collections::BTreeSet;
use std::time::Duration;

use edi::store::{Commit, Key, Store as _, Write};
use serde_json::{Value, json};

use crate::key_import::signing_key;
use crate::support::edi::{Setup, TestEdi};
use crate::support::program::{Program, run};

/// What the trail says under a query.
async fn entries(edi: &TestEdi, query: &str) -> Vec<Value> {
    let answer = edi.admin("GET", &format!("audit?{query}"), &Value::Null).await.assert(200);
    answer.json()["items"].as_array().unwrap().clone()
}

/// Waits until the whole trail is sealed and verified, and gives the verdict.
pub(crate) async fn verdict(edi: &TestEdi) -> Value {
    let waiting = async |edi: &TestEdi| {
        let sealed = edi.memory().scan("audit-seal/", None, 1000).await.unwrap().items;
        let sealed: usize = sealed
            .iter()
            .map(|(_, seal)| {
                let seal: Value = serde_json::from_slice(&seal.value[4..]).unwrap();
                seal["data"]["entries"].as_array().unwrap().len()
            })
            .sum();
        edi.memory().scan("audit/", None, 1000).await.unwrap().items.len() > sealed
    };
    for _ in 0..400 {
        if !waiting(edi).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut path = "audit/verify".to_owned();
    loop {
        let verdict = edi.admin("GET", &path, &Value::Null).await.assert(200).json();
        match verdict["next_cursor"].as_str() {
            Some(cursor) => path = format!("audit/verify?cursor={cursor}"),
            None => return verdict,
        }
    }
}

/// What only looks, with a body for what no path may hold; and `reload`, which needs files that these servers lack.
const LOOKS: [&str; 3] = ["POST /admin/v1/explain", "POST /admin/v1/whose", "POST /admin/v1/reload"];

#[tokio::test]
async fn every_change_is_told_with_who_what_and_from_where() {
    let setup = Setup::new();
    let edi = setup.start().await;
    edi.register("other", &["a"]).await;
    let kid = edi.admin("GET", "keys?state=active", &Value::Null).await.json()["items"][0]["kid"].clone();
    let revoke_key = format!("POST /admin/v1/keys/{}/revoke", kid.as_str().unwrap());
    let secrets = edi.admin("GET", "clients/other/secrets", &Value::Null).await.json();
    let remove = format!("DELETE /admin/v1/clients/other/secrets/{}", secrets["items"][0]["id"].as_str().unwrap());
    let elsewhere = Setup::new();
    let (imported, _) = signing_key(&elsewhere.start().await, &elsewhere);
    // An operation that changes something and is not here fails below: every row of the reference is looked for.
    let changes = [
        ("POST /admin/v1/clients", "", json!({ "client_id": "svc", "roles": ["a"] }), "client.create", "svc"),
        (
            "PATCH /admin/v1/clients/{id}",
            "PATCH /admin/v1/clients/svc",
            json!({ "roles": ["b"] }),
            "client.update",
            "svc",
        ),
        (
            "POST /admin/v1/clients/{id}/secrets",
            "POST /admin/v1/clients/svc/secrets",
            json!({}),
            "client.secret.add",
            "svc",
        ),
        ("DELETE /admin/v1/clients/{id}/secrets/{secret}", &remove, Value::Null, "client.secret.remove", "other"),
        (
            "POST /admin/v1/clients/{id}/secrets/rotate",
            "POST /admin/v1/clients/other/secrets/rotate",
            json!({}),
            "client.secret.rotate",
            "other",
        ),
        ("PUT /admin/v1/clients/{id}", "PUT /admin/v1/clients/svc", json!({ "roles": ["c"] }), "client.replace", "svc"),
        ("DELETE /admin/v1/clients/{id}", "DELETE /admin/v1/clients/svc", Value::Null, "client.delete", "svc"),
        ("POST /admin/v1/deployments", "", json!({ "id": "d", "role": "a" }), "deployment.create", "d"),
        (
            "PATCH /admin/v1/deployments/{id}",
            "PATCH /admin/v1/deployments/d",
            json!({ "role": "b" }),
            "deployment.update",
            "d",
        ),
        (
            "PUT /admin/v1/deployments/{id}",
            "PUT /admin/v1/deployments/d",
            json!({ "role": "c" }),
            "deployment.replace",
            "d",
        ),
        ("DELETE /admin/v1/deployments/{id}", "DELETE /admin/v1/deployments/d", Value::Null, "deployment.delete", "d"),
        ("POST /admin/v1/keys/rotate", "", json!({}), "key.rotate", ""),
        ("POST /admin/v1/keys/{kid}/revoke", &revoke_key, json!({}), "key.revoke", kid.as_str().unwrap()),
        ("POST /admin/v1/keys", "", json!({ "key": imported, "kid": "moved-in" }), "key.import", "moved-in"),
        ("POST /admin/v1/keys/rotate-master", "", json!({}), "master_key.rotate", ""),
        (
            "POST /admin/v1/revocations",
            "",
            json!({ "kind": "client", "id": "other", "reason": "left" }),
            "revocation.create",
            "client/other",
        ),
        (
            "DELETE /admin/v1/revocations/{kind}/{id}",
            "DELETE /admin/v1/revocations/client/other",
            Value::Null,
            "revocation.undo",
            "client/other",
        ),
    ];
    for (n, (row, call, body, action, target)) in changes.iter().enumerate() {
        let (method, path) = if call.is_empty() { row } else { call }.split_once(' ').unwrap();
        let token = edi.admin_token(&edi.operator(), "edi:admin").await;
        let id = format!("change-{n}");
        let ask = edi.ask_admin(method, path.strip_prefix("/admin/v1/").unwrap()).bearer(&token);
        let ask = ask.header("x-request-id", id.as_str());
        let answer = if body.is_null() { ask.send().await } else { ask.json(body).send().await };
        assert!(answer.status < 300, "{row}: {answer}");
        let found = entries(&edi, &format!("request_id={id}")).await;
        assert_eq!(found.len(), 1, "{row}: {found:?}");
        let told = &found[0];
        assert_eq!((&told["action"], &told["actor"]), (&json!(action), &json!("operator")), "{row}");
        assert_eq!((&told["address"], &told["outcome"]), (&json!("127.0.0.1"), &json!("done")), "{row}");
        assert!(target.is_empty() || told["target"] == *target, "{row}: {told}");
        // What the change showed once is nowhere in the trail.
        let shown: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        if let Some(secret) = shown["client_secret"].as_str() {
            let all = edi.memory().scan("audit", None, 10_000).await.unwrap().items;
            assert!(all.iter().all(|(_, it)| !String::from_utf8_lossy(&it.value).contains(secret)), "{row}");
        }
        // A step on, so that a bulk revocation stands in nobody's way.
        edi.advance(4000);
    }
    let reference =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/endpoints.md")).unwrap();
    let rows: BTreeSet<&str> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(row, _)| row)
        .filter(|row| row.contains(" /admin/v1/") && !row.starts_with("GET ") && !LOOKS.contains(row))
        .collect();
    let covered: BTreeSet<&str> = changes.iter().map(|(row, ..)| *row).collect();
    assert_eq!(rows, covered, "every operation that changes something is tried here");
}

#[tokio::test]
async fn what_no_operator_asked_for_is_told_too() {
    let edi = TestEdi::new().await;
    let first = entries(&edi, "").await;
    assert_eq!((&first[0]["action"], &first[0]["actor"]), (&json!("installation.create"), &json!("edi")));
    assert!(first[0].get("address").is_none());
    let client = edi.register("svc", &["a"]).await;
    let token = edi.token(&client, &[]).await;
    edi.revoke(&client, &token).await.assert(200);
    edi.revoke(&client, "no token at all").await.assert(200);
    let told = entries(&edi, "action=token.revoke").await;
    assert_eq!(told.len(), 1, "what revoked nothing is no change: {told:?}");
    assert_eq!((&told[0]["actor"], &told[0]["address"]), (&json!("svc"), &json!("127.0.0.1")));
    assert!(told[0]["target"].as_str().unwrap().starts_with("jti/"));
    let reserved = edi.admin("POST", "clients", &json!({ "client_id": "edi" })).await;
    reserved.assert_problem(422);
}

#[tokio::test]
async fn the_trail_is_read_filtered_and_page_by_page_either_way() {
    let edi = TestEdi::new().await;
    for n in 0..7 {
        edi.register(&format!("c{n}"), &["a"]).await;
        edi.advance(60);
    }
    let ids = |items: &[Value]| items.iter().map(|it| it["target"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let mut want: Vec<String> = (0..7).map(|n| format!("c{n}")).collect();
    for order in ["asc", "desc"] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let query = format!("audit?action=client.*&order={order}&limit=2&cursor={cursor}");
            let page = edi.admin("GET", &query, &Value::Null).await.assert(200).json();
            found.extend(ids(page["items"].as_array().unwrap()));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = next.to_owned();
        }
        assert_eq!(found, want, "{order}");
        want.reverse();
    }
    let at = entries(&edi, "target=c3").await[0]["at"].as_str().unwrap().to_owned();
    assert_eq!(ids(&entries(&edi, &format!("since={at}&action=client.create")).await), ["c3", "c4", "c5", "c6"]);
    assert_eq!(ids(&entries(&edi, &format!("until={at}&actor=operator&order=desc")).await), ["c2", "c1", "c0"]);
    assert!(entries(&edi, "outcome=refused").await.is_empty() && entries(&edi, "actor=nobody").await.is_empty());
    for bad in ["since=yesterday", "outcome=maybe", "order=up", "cursor=%21", "limit=0", "actr=x"] {
        edi.admin("GET", &format!("audit?{bad}"), &Value::Null).await.assert_problem(422);
    }
    for bad in ["audit/verify?cursor=e30", "audit/verify?cursor=eyJzZWFscyI6MX0"] {
        edi.admin("GET", bad, &Value::Null).await.assert_problem(422);
    }
    edi.admin("GET", "audit/seals/99", &Value::Null).await.assert_problem(404);
    edi.admin("GET", "audit/seals/x", &Value::Null).await.assert_problem(404);
}

#[tokio::test]
async fn only_edi_audit_reads_the_trail() {
    let edi = TestEdi::new().await;
    let auditor = edi.register_admin("auditor", &["edi:audit"]).await;
    let reader = edi.register_admin("reader", &["edi:read", "edi:clients", "edi:keys"]).await;
    let auditor = edi.admin_token(&auditor, "edi:audit").await;
    let reader = edi.admin_token(&reader, "edi:read edi:clients edi:keys").await;
    verdict(&edi).await;
    for path in ["audit", "audit/verify", "audit/seals/1"] {
        edi.admin_with(&auditor, "GET", path, &Value::Null).await.assert(200);
        let refused = edi.admin_with(&reader, "GET", path, &Value::Null).await;
        refused.assert_problem(403);
        assert!(refused.header("www-authenticate").contains("scope=\"edi:audit\""), "{refused}");
        edi.ask_admin("GET", path).send().await.assert(401);
        edi.admin_with(&auditor, "DELETE", path, &Value::Null).await.assert(405);
    }
    edi.admin_with(&auditor, "GET", "clients", &Value::Null).await.assert(403);
}

#[tokio::test]
async fn the_command_finds_what_was_tampered_with_and_a_chain_made_anew() {
    let (setup, edi, _) = Setup::new().reachable().await;
    let credentials = setup.path("keys/operator.json").display().to_string();
    let program = || Program::new().env("EDI_CREDENTIALS", &credentials);
    for n in 0..3 {
        edi.register(&format!("c{n}"), &["a"]).await;
        edi.advance(1);
    }
    assert_eq!(verdict(&edi).await["state"], "intact");
    let listed = run(program(), "audit list --action client.*").await;
    assert_eq!(listed.code, 0, "{listed:?}");
    let places: Vec<usize> = ["c2", "c1", "c0"].iter().map(|id| listed.out.find(id).unwrap()).collect();
    assert!(places.is_sorted() && listed.out.contains("127.0.0.1"), "newest first: {listed:?}");
    let listed = run(program(), "audit list --oldest-first --limit 1 --actor operator --json").await.json();
    assert_eq!(listed[0]["target"], "c0");

    let good = run(program(), "audit verify").await;
    assert_eq!(good.code, 0, "{good:?}");
    let head = good.out.lines().find_map(|line| line.strip_prefix("head   ")).unwrap().to_owned();
    let again = run(program(), &format!("audit verify --head {head}")).await;
    assert_eq!(again.code, 0, "{again:?}");
    let (hash, seq) = head.split_once('/').unwrap();
    let other = format!("{}{}", if hash.starts_with('0') { "1" } else { "0" }, &hash[1..]);
    let rewritten = run(program(), &format!("audit verify --head {other}/{seq}")).await;
    assert!(rewritten.code == 1 && rewritten.err.contains("it was rewritten"), "{rewritten:?}");
    let cut = run(program(), &format!("audit verify --head {hash}/99999 --json")).await;
    assert!(cut.code == 1 && cut.json()["state"] == "broken", "{cut:?}");

    let told = entries(&edi, "target=c1").await[0]["id"].as_str().unwrap().to_owned();
    let gone = vec![(Key::new(format!("audit/{told}")), Write::Delete)];
    edi.memory().commit(Commit { conditions: Vec::new(), writes: gone }).await.unwrap();
    let broken = run(program(), "audit verify").await;
    assert_eq!(broken.code, 1, "{broken:?}");
    assert!(broken.err.contains(&told) && broken.err.contains("the entry is missing"), "{broken:?}");
}
