//! Named operators: a login is kept without the secret, counts until it ends, and the audit says who.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use tempfile::TempDir;

use crate::support::edi::Setup;
use crate::support::program::{Program, run};

#[tokio::test]
async fn a_named_operator_logs_in_works_and_logs_out() {
    let (setup, edi, issuer) = Setup::new().reachable().await;
    let alice = edi.register_admin("alice", &["edi:read", "edi:clients"]).await;
    let home = TempDir::new().unwrap();
    let state = home.path().display().to_string();
    let at = || Program::new().env("XDG_STATE_HOME", &state);
    let server = edi.operator["admin"].as_str().unwrap().to_owned();
    let nobody = run(at(), "login").await;
    assert!(nobody.code == 2 && nobody.err.contains("there was no login before"), "{nobody:?}");
    let line = format!("login --client-id alice --issuer {issuer} --server {server}");
    let wrong = run(at().stdin("hunter2"), &line).await;
    assert!(wrong.code == 77 && !format!("{wrong:?}").contains("hunter2"), "{wrong:?}");
    let done = run(at().stdin(&alice.secret), &line).await;
    assert!(done.code == 0 && done.out.contains("as alice") && done.out.contains("edi:read, edi:clients"), "{done:?}");
    let kept: Vec<_> =
        std::fs::read_dir(home.path().join("edi/logins")).unwrap().map(|it| it.unwrap().path()).collect();
    for path in &kept {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
        assert!(!std::fs::read_to_string(path).unwrap().contains(&alice.secret), "the secret is not kept");
    }
    // From here on alice works, and what she does bears her name.
    let who = run(at(), "whoami --json").await;
    assert_eq!(
        (&who.json()["client_id"], &who.json()["scope"]),
        (&json!("alice"), &json!("edi:read edi:clients")),
        "{who:?}"
    );
    assert!(run(at(), "whoami").await.out.contains("ends"));
    assert_eq!(run(at(), "client create svc --role a --json").await.code, 0);
    assert!(run(at(), "client list").await.out.contains("svc"));
    let lacking = run(at(), "revoke --client svc --yes").await;
    assert!(lacking.code == 77 && lacking.err.contains("edi:revocations"), "{lacking:?}");
    // A file that is named wins.
    let file = setup.path("keys/operator.json").display().to_string();
    assert_eq!(run(at().env("EDI_CREDENTIALS", &file), "whoami --json").await.json()["client_id"], "operator");
    // Again, by who logged in last, with less.
    let again = run(at().stdin(&alice.secret), "login --scope edi:read").await;
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(run(at(), "client delete svc --yes").await.code, 77);
    // Its end is told, and nobody steps in.
    let login = kept.iter().find(|path| path.extension().is_some()).unwrap();
    let text = std::fs::read_to_string(login).unwrap();
    let mut session: serde_json::Value = serde_json::from_str(&text).unwrap();
    session["expires_at"] = "2020-01-01T00:00:00Z".into();
    std::fs::write(login, session.to_string()).unwrap();
    let ended = run(at(), "client list").await;
    assert!(ended.code == 77 && ended.err.contains("ended at 2020") && ended.err.contains("edi login"), "{ended:?}");
    assert_eq!(run(at(), "logout").await.code, 0);
    assert_eq!(run(at(), "logout").await.code, 1);
    assert_eq!(run(at(), "client list").await.code, 65, "back to the credentials file, of which there is none");
}

#[tokio::test]
async fn who_is_no_operator_is_told_so() {
    let (_setup, edi, issuer) = Setup::new().reachable().await;
    let svc = edi.register("svc", &["a"]).await;
    let home = TempDir::new().unwrap();
    let program = Program::new().env("XDG_STATE_HOME", &home.path().display().to_string()).stdin(&svc.secret);
    let server = edi.operator["admin"].as_str().unwrap();
    let refused = run(program, &format!("login --client-id svc --issuer {issuer} --server {server}")).await;
    assert!(refused.code == 77 && refused.err.contains("it is no operator"), "{refused:?}");
}
