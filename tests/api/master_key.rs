//! Changing the master key: everything survives, nobody waits, and whatever breaks off leaves something that starts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use edi::keys::master::MasterKey;
use edi::store::memory::Outcome;
use serde_json::{Value, json};

use crate::support::edi::{Setup, TestEdi};

fn id(file: &Path) -> String {
    MasterKey::load(file).unwrap().id().to_string()
}

fn names(setup: &Setup) -> Vec<String> {
    let entries = fs::read_dir(setup.path("keys")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn rotate(edi: &TestEdi) -> Value {
    edi.admin("POST", "keys/rotate-master", &json!({})).await.assert(200).json()
}

async fn jwks(edi: &TestEdi) -> String {
    edi.ask("GET", "/.well-known/jwks.json").send().await.assert(200).body
}

/// Everything in the store that is sealed, as text.
async fn sealed(edi: &TestEdi) -> String {
    let mut out = String::new();
    for prefix in ["keyring/", "sealed/", "installation"] {
        let page = edi.service().store.scan(prefix, None, 100).await.unwrap();
        assert!(!page.items.is_empty(), "{prefix}");
        for (_, found) in page.items {
            out.push_str(&String::from_utf8_lossy(&found.value));
        }
    }
    out
}

#[tokio::test]
async fn secrets_tokens_and_keys_survive_a_change_and_the_next_start() {
    let setup = Setup::on_disk().set("keys.algorithms", "ES256,EdDSA");
    let edi = setup.start().await;
    let svc = edi.register("svc", &["a"]).await;
    let chosen =
        edi.register_with("chosen", &json!({ "roles": ["a"], "client_secret": "correct horse battery" })).await;
    let token = edi.token(&svc, &[]).await;
    let (before, keys) = (id(&setup.path("keys/master.key")), jwks(&edi).await);
    let done = rotate(&edi).await;
    let now = id(&setup.path("keys/master.key"));
    assert_eq!((&done["old_master_key_id"], &done["master_key_id"]), (&json!(before), &json!(now)));
    assert_eq!((&done["keys"], done.get("misplaced")), (&json!(4), None));
    assert_eq!(id(Path::new(done["old_file"].as_str().unwrap())), before);
    assert_eq!(names(&setup).len(), 3, "the operator, the new one, the old one");
    assert_eq!(fs::metadata(setup.path("keys/master.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let all = sealed(&edi).await;
    assert!(all.contains(&now) && !all.contains(&before), "nothing is sealed under the old one");

    let check = async |edi: &TestEdi| {
        assert_eq!(jwks(edi).await, keys);
        assert!(edi.is_active(&svc, &token).await);
        edi.token(&svc, &[]).await;
        edi.token(&chosen, &[]).await;
    };
    check(&edi).await;
    // And it goes on: keys made from now on are sealed under the new one.
    edi.admin("POST", "keys/rotate", &json!({})).await.assert(200);
    let keys_now = jwks(&edi).await;
    edi.stop().await;
    let edi = setup.start().await;
    assert_eq!(jwks(&edi).await, keys_now);
    assert!(edi.is_active(&svc, &token).await);
    edi.token(&svc, &[]).await;
    edi.token(&chosen, &[]).await;
    rotate(&edi).await;
    rotate(&edi).await;
    assert_eq!(names(&setup).len(), 5, "each old one is kept: backups need them");
}

#[tokio::test]
async fn whatever_else_happens_meanwhile_nothing_stays_under_the_old_key() {
    for round in 0..4 {
        let setup = Setup::on_disk().set("keys.algorithms", "ES256,EdDSA");
        let edi = setup.start().await;
        let svc = edi.register("svc", &["a"]).await;
        let (a, b, none) = (json!({ "algorithm": "ES256" }), json!({ "algorithm": "EdDSA" }), json!({}));
        let token = edi.admin_token(&edi.operator(), "edi:admin").await;
        let (first, second, third, ..) = tokio::join!(
            edi.admin_with(&token, "POST", "keys/rotate", &a),
            edi.admin_with(&token, "POST", "keys/rotate-master", &none),
            edi.admin_with(&token, "POST", "keys/rotate", &b),
            edi.admin_with(&token, "POST", "keys/rotate-master", &none),
            edi.token(&svc, &[]),
        );
        assert_eq!((first.status, second.status, third.status), (200, 200, 200), "round {round}");
        let (now, all) = (id(&setup.path("keys/master.key")), sealed(&edi).await);
        let blobs = all.matches("\"v1.").count();
        assert!(blobs >= 7 && blobs == all.matches(&format!("\"v1.{now}.")).count(), "{blobs} sealed values");
        edi.stop().await;
        setup.start().await.token(&svc, &[]).await;
    }
}

#[tokio::test]
async fn a_crash_at_any_point_leaves_something_that_starts() {
    let setup = Setup::on_disk();
    let edi = setup.start().await;
    let svc = edi.register("svc", &["a"]).await;
    let file = setup.path("keys/master.key");
    let (waiting, first) = (setup.path("keys/master.key.new"), id(&file));
    edi.stop().await;

    // Before the commit: a whole new key, or half of one.
    for content in [format!("edi-master-key-v1:{}\n", "A".repeat(43)), "edi-master".into()] {
        fs::write(&waiting, content).unwrap();
        fs::set_permissions(&waiting, fs::Permissions::from_mode(0o600)).unwrap();
        let edi = setup.start().await;
        edi.token(&svc, &[]).await;
        assert_eq!((names(&setup), id(&file)), (vec!["master.key".into(), "operator.json".into()], first.clone()));
        edi.stop().await;
    }

    // After it: the files are in any state on their way.
    let edi = setup.start().await;
    let old = rotate(&edi).await["old_file"].as_str().unwrap().to_owned();
    let second = id(&file);
    edi.stop().await;
    for linked in [false, true] {
        fs::rename(&file, &waiting).unwrap();
        fs::copy(&old, &file).unwrap();
        if !linked {
            fs::remove_file(&old).unwrap();
        }
        let edi = setup.start().await;
        edi.token(&svc, &[]).await;
        assert_eq!((id(&file), id(Path::new(&old))), (second.clone(), first.clone()), "linked: {linked}");
        assert!(!waiting.exists());
        edi.stop().await;
    }
    // The old key's file is gone altogether.
    fs::rename(&file, &waiting).unwrap();
    setup.start().await.token(&svc, &[]).await;
    assert_eq!(id(&file), second);
}

#[tokio::test]
async fn a_change_of_unknown_outcome_is_found_out_by_the_next_try_or_the_next_start() {
    for outcome in [Outcome::Written, Outcome::NotWritten] {
        for restart in [true, false] {
            let setup = Setup::new();
            let mut edi = setup.start().await;
            let svc = edi.register("svc", &["a"]).await;
            let token = edi.token(&svc, &[]).await;
            let before = id(&setup.path("keys/master.key"));
            let bearer = edi.admin_token(&edi.operator(), "edi:admin").await;
            setup.memory().outcome_unknown(Some(outcome));
            edi.admin_with(&bearer, "POST", "keys/rotate-master", &json!({})).await.assert_problem(503);
            setup.memory().outcome_unknown(None);
            assert!(edi.is_active(&svc, &token).await, "serving goes on");
            let mut earlier = None;
            if restart {
                // The store in memory ends with whoever closes it: the first one stays.
                earlier = Some(std::mem::replace(&mut edi, setup.start().await));
                let changed = id(&setup.path("keys/master.key")) != before;
                assert_eq!(changed, outcome == Outcome::Written);
            }
            edi.admin("POST", "keys/rotate", &json!({})).await.assert(200);
            rotate(&edi).await;
            assert!(!setup.path("keys/master.key.new").exists());
            // What reads the store anew finds everything under the one key; who read it before has followed.
            for edi in [Some(setup.start().await), earlier, Some(edi)].iter().flatten() {
                assert!(edi.is_active(&svc, &token).await);
                edi.token(&svc, &[]).await;
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_was_put_there_to_be_the_next_one_is_taken() {
    let (other, setup) = (Setup::on_disk().set("keys.algorithms", "EdDSA"), Setup::on_disk());
    other.start().await.stop().await;
    let edi = setup.start().await;
    rotate(&edi).await;
    let next = setup.path("keys/master.key.next");
    fs::copy(other.path("keys/master.key"), &next).unwrap();
    let wanted = id(&next);
    assert_eq!(rotate(&edi).await["master_key_id"], json!(wanted));
    assert_eq!((id(&setup.path("keys/master.key")), next.exists()), (wanted, false));
    // One that is in use already is none.
    fs::copy(setup.path("keys/master.key"), &next).unwrap();
    edi.admin("POST", "keys/rotate-master", &json!({})).await.assert_problem(409);
    // One that is no key is told of, and nothing changes.
    fs::write(&next, "hunter2").unwrap();
    let refused = edi.admin("POST", "keys/rotate-master", &json!({})).await;
    assert!(refused.assert_problem(409)["detail"].as_str().unwrap().contains("is not a master key"), "{refused}");
    edi.admin("POST", "keys/rotate", &json!({})).await.assert(200);
}

#[tokio::test]
async fn a_wrong_master_key_stops_the_start_and_changes_nothing() {
    let setup = Setup::new();
    let edi = setup.start().await;
    let old = rotate(&edi).await["old_file"].as_str().unwrap().to_owned();
    let file = setup.path("keys/master.key");
    let right = fs::read(&file).unwrap();
    let revision = edi.revision().await;
    // The old one is one that sealed this store once.
    fs::copy(&old, &file).unwrap();
    let before = (names(&setup), fs::read(&file).unwrap());
    let refused = setup.try_start().await.err().unwrap();
    assert!(refused.message.contains("is not the master key that sealed this store"), "{}", refused.message);
    assert!(refused.message.contains("Nothing was changed"), "{}", refused.message);
    assert_eq!((names(&setup), fs::read(&file).unwrap()), before);
    assert_eq!(edi.revision().await, revision);
    fs::write(&file, right).unwrap();
    setup.start().await.admin("GET", "status", &Value::Null).await.assert(200);
}

#[tokio::test]
async fn an_earlier_store_with_the_newer_key_is_told_where_its_own_is() {
    let setup = Setup::on_disk();
    setup.start().await.stop().await;
    let copy = tempfile::tempdir().unwrap();
    let to = |from: &Path| copy.path().join(from.strip_prefix(setup.path("data")).unwrap());
    let mut left = vec![setup.path("data")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            fs::create_dir_all(to(&path)).unwrap();
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            fs::copy(&path, to(&path)).unwrap();
        }
    }
    let edi = setup.start().await;
    let old = rotate(&edi).await["old_file"].as_str().unwrap().to_owned();
    edi.stop().await;
    fs::remove_dir_all(setup.path("data")).unwrap();
    fs::rename(copy.path(), setup.path("data")).unwrap();
    let refused = setup.try_start().await.err().unwrap();
    assert!(refused.message.contains(&format!("which is in {old}")), "{}", refused.message);
}
