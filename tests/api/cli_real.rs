//! The program against the real thing: what an operator and a service do on their first day.

use serde_json::json;

use crate::client_secrets::phc_of;
use crate::support::edi::Setup;
use crate::support::program::{Program, run};

#[tokio::test]
async fn an_operators_first_day() {
    let (setup, _edi, issuer) = Setup::new().reachable().await;
    let credentials = setup.path("keys/operator.json").display().to_string();
    let operator = || Program::new().env("EDI_CREDENTIALS", &credentials);
    let done = async |program: Program, line: &str| {
        let run = run(program, line).await;
        assert_eq!(run.code, 0, "edi {line}: {run:?}");
        run
    };
    done(operator(), "deployment create fraud --role fraud --host fraud.example").await;
    let made = done(operator(), "client create svc --role fraud --lifetime 10m --json").await.json();
    let secret = made["client_secret"].as_str().unwrap();
    let service =
        || Program::new().env("EDI_ISSUER", &issuer).env("EDI_CLIENT_ID", "svc").env("EDI_CLIENT_SECRET", secret);
    let token = done(service(), "token get").await.out.trim().to_owned();
    let inspected = done(Program::new().env("EDI_ISSUER", &issuer).stdin(&token), "token inspect -").await;
    assert!(inspected.out.contains("fraud"), "{inspected:?}");
    let listed = done(operator(), "client list --json").await.json();
    let ids: Vec<&str> = listed.as_array().unwrap().iter().map(|it| it["client_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["operator", "svc"]);
    done(operator(), "client update svc --add-role spam --name Fraud").await;
    let shown = done(operator(), "client show svc --json").await.json();
    assert_eq!((&shown["roles"], &shown["client_name"]), (&json!(["fraud", "spam"]), &json!("Fraud")));
    let second = done(operator(), "client secret add svc --name next --json").await.json();
    let first = made["secrets"][0]["id"].as_str().unwrap();
    done(operator(), &format!("client secret remove svc {first} --yes")).await;
    assert_eq!(run(service(), "token get").await.code, 77, "the first secret is gone");
    let service = || {
        let secret = second["client_secret"].as_str().unwrap();
        Program::new().env("EDI_ISSUER", &issuer).env("EDI_CLIENT_ID", "svc").env("EDI_CLIENT_SECRET", secret)
    };
    done(service(), "token get --role spam").await;
    done(operator().stdin(&token), "revoke --token - --reason leaked").await;
    let refused = run(Program::new().stdin(&token), "revoke --token -").await;
    assert_ne!(refused.code, 0, "without credentials: {refused:?}");
    assert!(done(operator(), "revocations list").await.out.contains("leaked"));
    let roles = done(operator(), "role list --json").await.json();
    assert!(roles.to_string().contains("fraud"), "{roles}");
    assert!(done(operator(), "key list").await.out.contains("pending"));
    let status = done(operator(), "status").await;
    assert!(status.out.contains(&issuer), "{status:?}");
    done(operator(), "client disable svc --yes").await;
    assert_eq!(run(service(), "token get").await.code, 77, "disabled");
    done(operator(), "client delete svc --yes").await;
    done(operator(), "deployment delete fraud --yes").await;
    let wrong = run(operator(), "client create bad! --role x").await;
    assert_ne!(wrong.code, 0, "{wrong:?}");
    assert!(wrong.err.contains("client id"), "the field is explained: {wrong:?}");
}

#[tokio::test]
async fn a_lesser_operator_is_told_what_is_lacking() {
    let (_setup, edi, issuer) = Setup::new().reachable().await;
    let reader = edi.register_admin("reader", &["edi:read"]).await;
    let credentials = json!({
        "issuer": issuer, "admin": edi.operator["admin"], "client_id": reader.id, "client_secret": reader.secret,
    });
    let program = || Program::new().file("keys/operator.json", &credentials.to_string(), 0o600);
    let listed = run(program(), "client list").await;
    assert_eq!((listed.code, listed.out.contains("reader")), (0, true), "{listed:?}");
    let refused = run(program(), "client create svc").await;
    assert_eq!(refused.code, 77, "{refused:?}");
    assert!(refused.err.contains("reader lacks edi:clients"), "{refused:?}");
}

#[tokio::test]
async fn a_secret_of_another_system_is_taken_over_as_text_and_as_a_hash() {
    let (setup, _edi, issuer) = Setup::new().reachable().await;
    let credentials = setup.path("keys/operator.json").display().to_string();
    let given = async |line: &str, stdin: &str| {
        run(Program::new().env("EDI_CREDENTIALS", &credentials).stdin(&format!("{stdin}\n")), line).await
    };
    let token = async |secret: &str| {
        let service = Program::new().env("EDI_ISSUER", &issuer).env("EDI_CLIENT_ID", "svc");
        run(service.env("EDI_CLIENT_SECRET", secret), "token get").await.code
    };
    let (first, second) = (phc_of("what the old system knew"), "a person's own choice");
    let made = given("client create svc --role fraud --secret-stdin --json", &first).await;
    assert_eq!(made.code, 0, "{made:?}");
    assert_eq!(made.json()["secrets"][0]["kind"], "chosen");
    let added = given("client secret add svc --secret-stdin", second).await;
    assert_eq!(added.code, 0, "{added:?}");
    for shown in [&made.out, &made.err, &added.out, &added.err] {
        assert!(!shown.contains("argon2id$") && !shown.contains(second), "it is not shown again: {shown}");
    }
    assert_eq!([token("what the old system knew").await, token(second).await], [0, 0]);
    assert_eq!([token(&first).await, token("what no system ever knew").await], [77, 77]);
    let id = made.json()["secrets"][0]["id"].as_str().unwrap().to_owned();
    given(&format!("client secret remove svc {id} --yes"), "").await;
    assert_eq!(token("what the old system knew").await, 77);
    let third = phc_of("and what another one knew");
    assert_eq!(given("client secret add svc --secret-stdin", &third).await.code, 0);
    assert_eq!(token("and what another one knew").await, 0);
    let refused = given("client create other --secret-stdin", &first.replace("m=8,", "m=1048576,")).await;
    assert!(refused.code != 0 && refused.err.contains("argon2id costs"), "{refused:?}");
}
