//! A backup, from the running program to another machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::edi::TestEdi;
use crate::support::http::Ask;
use crate::support::program::{Program, Run};
use crate::support::serve::Serve;

/// Runs the program in `folder`, which may hold its keys and store.
fn edi(folder: &Path, line: &str) -> Run {
    Program::new().run_in(folder, line)
}

fn done(folder: &Path, line: &str) -> Run {
    let run = edi(folder, line);
    assert_eq!(run.code, 0, "edi {line}: {run:?}");
    run
}

async fn jwks(serve: &Serve) -> Value {
    let address = serve.issuer.strip_prefix("http://").unwrap().parse().unwrap();
    Ask::new(address, "GET", "/.well-known/jwks.json").send().await.assert(200).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn on_another_machine_it_serves_the_same_keys_and_remembers_every_revocation() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (here, there) = (here.path(), there.path());
    let addresses = Serve::free_addresses();
    let serve = Serve::start(here, &addresses);
    let made = done(here, "client create svc --role fraud --json").json();
    let issuer = serve.issuer.clone();
    let get = |folder: &Path| {
        let secret = made["client_secret"].as_str().unwrap();
        let program = Program::new().env("EDI_ISSUER", &issuer).env("EDI_CLIENT_ID", "svc");
        program.env("EDI_CLIENT_SECRET", secret).run_in(folder, "token get")
    };
    let (good, bad) = (get(here).out, get(here).out);
    let revoked = Program::new().stdin(&bad).run_in(here, "revoke --token - --reason leaked");
    assert_eq!(revoked.code, 0, "{revoked:?}");
    done(here, "client create gone --role fraud");
    done(here, "client delete gone --yes");
    let before = done(here, "backup edi.backup --json").json();
    assert_eq!(here.join("edi.backup").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!((&before["collections"]["client"], &before["issuer"]), (&json!(2), &json!(serve.issuer)));
    let verified = done(here, "backup verify edi.backup --json").json();
    assert_eq!(verified, before);
    assert!(done(here, "backup verify edi.backup").out.contains("sound"));
    // Once more, over the old one.
    done(here, "backup edi.backup");
    let keys = jwks(&serve).await;
    let names = std::fs::read_dir(here).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.starts_with(".edi-backup")), "nothing is left lying about");

    std::fs::copy(here.join("edi.backup"), there.join("edi.backup")).unwrap();
    let in_use = edi(here, "restore edi.backup");
    assert_eq!(in_use.code, 1, "{in_use:?}");
    assert!(in_use.err.contains("move that store away"), "{in_use:?}");
    serve.stop();

    // Without its master key it is restored, and cannot start; with a wrong one neither.
    std::fs::create_dir(there.join("keys")).unwrap();
    let strange = tempfile::tempdir().unwrap();
    let other = Serve::start(strange.path(), &Serve::free_addresses());
    other.stop();
    std::fs::copy(strange.path().join("keys/master.key"), there.join("keys/master.key")).unwrap();
    let wrong = edi(there, "restore edi.backup");
    assert_eq!(wrong.code, 1, "{wrong:?}");
    assert!(wrong.err.contains("not the master key") && !there.join("data").exists(), "{wrong:?}");
    std::fs::remove_file(there.join("keys/master.key")).unwrap();
    let restored = done(there, "restore edi.backup");
    assert!(restored.err.contains("put the master key with the id"), "{restored:?}");
    let keyless = edi(there, "serve --listen-public 127.0.0.1:0 --listen-admin 127.0.0.1:0");
    assert!(keyless.code == 1 && keyless.err.contains("master key is missing"), "{keyless:?}");
    std::fs::copy(strange.path().join("keys/master.key"), there.join("keys/master.key")).unwrap();
    let wrong = edi(there, "serve --listen-public 127.0.0.1:0 --listen-admin 127.0.0.1:0");
    assert!(wrong.code == 1 && wrong.err.contains("is not the master key"), "{wrong:?}");
    std::fs::copy(here.join("keys/master.key"), there.join("keys/master.key")).unwrap();
    std::fs::copy(here.join("keys/operator.json"), there.join("keys/operator.json")).unwrap();

    let serve = Serve::start(there, &addresses);
    assert_eq!(jwks(&serve).await, keys);
    let explain = |token: &str| Program::new().stdin(token).run_in(there, "token explain - --json");
    assert_eq!((explain(&good).code, explain(&bad).code), (0, 1), "{:?}", explain(&bad));
    assert!(explain(&bad).out.contains("revoked"), "{:?}", explain(&bad));
    assert_eq!(get(there).code, 0, "its clients get tokens");
    // And it is backed up like any other, at a later revision.
    let after = done(there, "backup again.backup --json").json();
    assert!(after["revision"].as_u64() > before["revision"].as_u64());
    assert_eq!(after["collections"]["client"], before["collections"]["client"]);
    serve.stop();
}

#[tokio::test]
async fn it_takes_edi_admin_and_no_less() {
    let edi = TestEdi::new().await;
    let all = ["edi:read", "edi:clients", "edi:deployments", "edi:keys", "edi:revocations", "edi:audit"];
    let reader = edi.register_admin("reader", &all).await;
    for scope in all {
        let token = edi.admin_token(&reader, scope).await;
        let refused = edi.admin_with(&token, "GET", "backup", &Value::Null).await.assert(403);
        assert!(refused.header("www-authenticate").contains("edi:admin"), "{refused}");
    }
    edi.ask_admin("GET", "backup").send().await.assert(401);
    edi.admin("POST", "backup", &json!({})).await.assert(405);
}

#[test]
fn what_is_no_sound_backup_is_told() {
    let program = Program::new().file("foreign", "hello\n", 0o600).file("newer", "edi-backup 9\n{}\n", 0o600);
    for (line, told) in [
        ("backup verify foreign", "no backup"),
        ("backup verify newer", "upgrade edi"),
        ("backup verify missing", "No such file"),
        ("restore foreign", "no backup"),
        ("restore missing", "No such file"),
    ] {
        let run = program.run(line);
        assert_eq!(run.code, 65, "edi {line}: {run:?}");
        assert!(run.err.contains(told), "edi {line}: {run:?}");
    }
}

#[test]
fn a_backup_that_was_altered_is_refused_before_anything_is_made() {
    let (here, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join(name);
    let serve = Serve::start(here.path(), &Serve::free_addresses());
    done(here.path(), &format!("backup {}", at("good").display()));
    serve.stop();
    let bytes = std::fs::read(at("good")).unwrap();
    for (name, altered) in [
        ("cut", bytes[..bytes.len() / 2].to_vec()),
        ("flipped", bytes.iter().enumerate().map(|(i, b)| if i == bytes.len() / 2 { b ^ 1 } else { *b }).collect()),
    ] {
        std::fs::write(at(name), altered).unwrap();
        for line in [format!("backup verify {name}"), format!("restore {name}")] {
            let run = edi(folder.path(), &line);
            assert!(run.code == 65 && run.err.contains("damaged"), "edi {line}: {run:?}");
            assert!(!at("data").exists(), "{line}");
        }
    }
    done(folder.path(), "backup verify good");
    done(folder.path(), "restore good");
}
