//! The first start (design §6): what is made, how a crash in its midst is mended, and what stops a later start.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use edi::store::memory::Outcome;
use serde_json::{Value, json};

use crate::support::edi::{ISSUER, Setup};
use crate::support::jwt::verified;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_first_start_makes_private_files_and_one_operator() {
    let setup = Setup::on_disk();
    let edi = setup.start().await;
    assert_eq!(names(&setup.path("keys")), ["master.key", "operator.json"]);
    for file in ["keys/master.key", "keys/operator.json"] {
        assert_eq!(mode(&setup.path(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&setup.path("data")), 0o700, "the store's folder");
    let operator = edi.operator.as_object().unwrap();
    assert_eq!(operator.keys().collect::<Vec<_>>(), ["admin", "client_id", "client_secret", "issuer"]);
    assert_eq!(operator["issuer"], ISSUER);
    assert_eq!(operator["admin"], format!("http://{}", edi.admin));
    let clients = edi.admin("GET", "clients", &Value::Null).await.assert(200).json();
    let items = clients["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["client_id"]), (1, &json!("operator")));
    assert_eq!((&items[0]["admin_scopes"], &items[0]["roles"]), (&json!(["edi:admin"]), &json!([])));
}

#[tokio::test]
async fn nothing_secret_lies_in_the_store_in_the_clear() {
    let setup = Setup::on_disk();
    let edi = setup.start().await;
    let svc = edi.register("svc", &["a"]).await;
    let chosen = edi.register_with("chosen", &json!({ "client_secret": "correct horse battery" })).await;
    let operator = edi.operator();
    let token = edi.token(&svc, &[]).await;
    edi.revoke(&svc, &token).await.assert(200);
    edi.stop().await;
    let master = fs::read_to_string(setup.path("keys/master.key")).unwrap();
    let master = master.trim().rsplit(':').next().unwrap().to_owned();
    let mut read = 0;
    let mut left = vec![setup.path("data")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        read += bytes.len();
        for secret in [&svc.secret, &chosen.secret, &operator.secret, &token, &master] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "a secret in {}", path.display());
        }
    }
    assert!(read > 0);
}

#[tokio::test]
async fn a_later_start_keeps_clients_keys_and_revocations() {
    let setup = Setup::on_disk();
    let edi = setup.start().await;
    let svc = edi.register("svc", &["a"]).await;
    edi.deploy("model", "a", Some("https://model.example")).await;
    let (kept, revoked) = (edi.token(&svc, &[]).await, edi.token(&svc, &[]).await);
    edi.revoke(&svc, &revoked).await.assert(200);
    let other = edi.register("other", &["a"]).await;
    let of_other = edi.token(&other, &[]).await;
    edi.admin("POST", "revocations", &json!({ "kind": "client", "id": "other" })).await.assert(201);
    let chosen = json!({ "roles": ["a"], "client_secret": "correct horse battery" });
    let chosen = edi.register_with("chosen", &chosen).await;
    let jwks = edi.ask("GET", "/.well-known/jwks.json").send().await.assert(200);
    let clients = edi.admin("GET", "clients", &Value::Null).await.assert(200).json();
    let files = [fs::read(setup.path("keys/master.key")).unwrap(), fs::read(setup.path("keys/operator.json")).unwrap()];
    edi.stop().await;

    let edi = setup.start().await;
    let again = [fs::read(setup.path("keys/master.key")).unwrap(), fs::read(setup.path("keys/operator.json")).unwrap()];
    assert_eq!(again, files, "the files are as they were");
    let jwks_again = edi.ask("GET", "/.well-known/jwks.json").send().await.assert(200);
    assert_eq!((&jwks_again.body, jwks_again.header("etag")), (&jwks.body, jwks.header("etag")));
    edi.admin("GET", "clients", &Value::Null).await.assert_json(200, &clients);
    assert!(edi.is_active(&svc, &kept).await, "tokens outlive a restart");
    assert!(!edi.is_active(&svc, &revoked).await, "and so does their revocation");
    edi.request_token(&other, &[]).await.assert_refused(503, "temporarily_unavailable");
    edi.advance(4);
    edi.token(&other, &[]).await;
    assert!(!edi.is_active(&other, &of_other).await);
    edi.token(&chosen, &[]).await;
    let token = edi.token(&svc, &[]).await;
    assert_eq!(crate::support::jwt::claims(&token)["aud"], "https://model.example");
}

#[tokio::test]
async fn a_new_algorithm_gets_its_keys_at_the_next_start() {
    let setup = Setup::on_disk();
    setup.start().await.stop().await;
    let setup = setup.set("keys.algorithms", "EdDSA,ES256");
    let edi = setup.start().await;
    let keys = edi.admin("GET", "keys", &Value::Null).await.assert(200).json();
    let of = |name: &str| keys["items"].as_array().unwrap().iter().filter(|key| key["algorithm"] == name).count();
    assert_eq!((of("ES256"), of("EdDSA")), (2, 2));
}

#[tokio::test]
async fn a_crash_before_the_commit_leaves_nothing_that_counts() {
    let setup = Setup::on_disk();
    fs::create_dir(setup.path("keys")).unwrap();
    for name in ["keys/master.key.new", "keys/operator.json.new"] {
        fs::write(setup.path(name), "half a").unwrap();
        fs::set_permissions(setup.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let edi = setup.start().await;
    assert_eq!(names(&setup.path("keys")), ["master.key", "operator.json"]);
    edi.admin("GET", "status", &Value::Null).await.assert(200);
}

#[tokio::test]
async fn a_crash_after_the_commit_is_finished_by_the_next_start() {
    for waiting in [&["master.key", "operator.json"][..], &["operator.json"], &["master.key"]] {
        let setup = Setup::on_disk();
        setup.start().await.stop().await;
        for name in waiting {
            let file = setup.path("keys").join(name);
            fs::rename(&file, setup.path("keys").join(format!("{name}.new"))).unwrap();
        }
        let edi = setup.start().await;
        assert_eq!(names(&setup.path("keys")), ["master.key", "operator.json"], "{waiting:?}");
        assert_eq!(mode(&setup.path("keys/master.key")), 0o600);
        edi.admin("GET", "status", &Value::Null).await.assert(200);
    }
}

#[tokio::test]
async fn a_first_commit_of_unknown_outcome_is_finished_or_forgotten_by_the_next_start() {
    for outcome in [Outcome::Written, Outcome::NotWritten] {
        let setup = Setup::new();
        setup.memory().outcome_unknown(Some(outcome));
        assert!(setup.try_start().await.is_err());
        assert_eq!(names(&setup.path("keys")), ["master.key.new", "operator.json.new"], "nothing is claimed yet");
        let waiting = fs::read(setup.path("keys/master.key.new")).unwrap();
        setup.memory().outcome_unknown(None);
        let edi = setup.start().await;
        assert_eq!(names(&setup.path("keys")), ["master.key", "operator.json"]);
        let key = fs::read(setup.path("keys/master.key")).unwrap();
        assert_eq!(key == waiting, outcome == Outcome::Written, "{outcome:?}: what was committed counts, else nothing");
        edi.admin("GET", "status", &Value::Null).await.assert(200);
    }
}

#[tokio::test]
async fn an_algorithm_that_is_no_longer_used_still_verifies() {
    let setup = Setup::on_disk();
    let edi = setup.start().await;
    let svc = edi.register_with("svc", &json!({ "roles": ["a"], "access_token_signing_alg": "ES256" })).await;
    let old = edi.token(&svc, &[]).await;
    edi.stop().await;
    let edi = setup.set("keys.algorithms", "EdDSA").start().await;
    let new = edi.token(&svc, &[]).await;
    let jwks = edi.ask("GET", "/.well-known/jwks.json").send().await.json();
    for (token, algorithm) in [(&old, "ES256"), (&new, "EdDSA")] {
        assert_eq!(verified(token, &jwks).0["alg"], algorithm);
        assert!(edi.is_active(&svc, token).await, "{algorithm}");
    }
}

#[tokio::test]
async fn leftovers_of_another_store_are_not_taken_for_this_ones() {
    let (ours, theirs) = (Setup::on_disk(), Setup::on_disk());
    ours.start().await.stop().await;
    theirs.start().await.stop().await;
    // Seeded alike, both made the same key; theirs becomes another one.
    let mut other = fs::read_to_string(theirs.path("keys/master.key")).unwrap();
    let at = other.find(':').unwrap() + 1;
    let swapped = if &other[at..=at] == "A" { "B" } else { "A" };
    other.replace_range(at..=at, swapped);
    fs::write(ours.path("keys/master.key.new"), &other).unwrap();
    fs::set_permissions(ours.path("keys/master.key.new"), fs::Permissions::from_mode(0o600)).unwrap();
    let before = fs::read(ours.path("keys/master.key")).unwrap();
    ours.start().await.stop().await;
    assert_eq!(fs::read(ours.path("keys/master.key")).unwrap(), before);
    assert_eq!(names(&ours.path("keys")), ["master.key", "operator.json"]);
    // In place of the right one, it does not do either.
    fs::write(ours.path("keys/master.key"), &other).unwrap();
    let refused = ours.try_start().await.err().unwrap();
    assert!(refused.message.contains("is not the master key that sealed this store"), "{}", refused.message);
    assert!(refused.message.contains("Nothing was changed"), "{}", refused.message);
    assert_eq!(fs::read_to_string(ours.path("keys/master.key")).unwrap(), other, "nothing was changed");
    assert!(!refused.message.contains(&other[at..at + 20]), "and no key is printed");
    fs::write(ours.path("keys/master.key"), &before).unwrap();
    ours.start().await.admin("GET", "status", &Value::Null).await.assert(200);
}

#[tokio::test]
async fn a_missing_master_key_is_asked_for_and_never_made_anew() {
    let setup = Setup::on_disk();
    setup.start().await.stop().await;
    let key = fs::read(setup.path("keys/master.key")).unwrap();
    fs::remove_file(setup.path("keys/master.key")).unwrap();
    let refused = setup.try_start().await.err().unwrap();
    assert!(refused.message.contains("its master key is missing"), "{}", refused.message);
    assert!(!setup.path("keys/master.key").exists());
    fs::write(setup.path("keys/master.key"), key).unwrap();
    fs::set_permissions(setup.path("keys/master.key"), fs::Permissions::from_mode(0o600)).unwrap();
    setup.start().await;
}

#[tokio::test]
async fn a_key_file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let setup = Setup::on_disk();
    setup.start().await.stop().await;
    let file = setup.path("keys/master.key");
    for (mode, starts) in [(0o644, false), (0o604, false), (0o666, false), (0o620, false), (0o640, true), (0o400, true)]
    {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        match setup.try_start().await {
            Ok(edi) => {
                assert!(starts, "{mode:o}");
                edi.stop().await;
            }
            Err(refused) => {
                assert!(!starts, "{mode:o}: {}", refused.message);
                let command = format!("chmod 600 {}", file.display());
                assert!(refused.message.contains(&command), "{mode:o}: {}", refused.message);
            }
        }
    }
}

#[tokio::test]
async fn a_master_key_put_there_beforehand_is_used() {
    let (source, setup) = (Setup::on_disk(), Setup::on_disk());
    source.start().await.stop().await;
    fs::create_dir(setup.path("keys")).unwrap();
    fs::copy(source.path("keys/master.key"), setup.path("keys/master.key")).unwrap();
    let edi = setup.start().await;
    assert_eq!(fs::read(source.path("keys/master.key")).unwrap(), fs::read(setup.path("keys/master.key")).unwrap());
    edi.admin("GET", "status", &Value::Null).await.assert(200);
}

#[tokio::test]
async fn credentials_of_an_earlier_store_are_set_aside() {
    let setup = Setup::on_disk();
    setup.start().await.stop().await;
    let old = fs::read(setup.path("keys/operator.json")).unwrap();
    fs::remove_dir_all(setup.path("data")).unwrap();
    let edi = setup.start().await;
    assert_eq!(names(&setup.path("keys")), ["master.key", "operator.json", "operator.json.old"]);
    assert_eq!(fs::read(setup.path("keys/operator.json.old")).unwrap(), old);
    edi.admin("GET", "status", &Value::Null).await.assert(200);
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_before_anything_is_touched() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let setup = Setup::on_disk().set("listen.public", &address);
    let refused = setup.try_start().await.err().unwrap();
    assert!(refused.message.contains(&address), "{}", refused.message);
    assert!(!setup.path("keys").exists() && !setup.path("data").exists());
}
