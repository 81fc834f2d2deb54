//! The operator's commands around deployments, against the real thing: who can call them, why not, and what a proxy
//! needs to guard them.

use actix_web::web;
use serde_json::{Value, json};

use crate::support::edi::TestEdi;
use crate::support::program::{Program, Run};

/// Runs the program as the first operator of `edi`, whose issuer nobody reaches under its name.
async fn run(edi: &TestEdi, stdin: &str, line: &str) -> Run {
    let issuer = format!("http://{}", edi.public);
    let mut credentials = edi.operator.clone();
    credentials["issuer"] = issuer.into();
    credentials["admin"] = format!("http://{}", edi.admin).into();
    let program = Program::new().file("keys/operator.json", &credentials.to_string(), 0o600).stdin(stdin);
    let line = line.to_owned();
    web::block(move || program.run(&line)).await.unwrap()
}

async fn world() -> TestEdi {
    let edi = TestEdi::new().await;
    let fraud = json!({ "id": "fraud", "role": "fraud-scoring", "hosts": ["m.example"], "paths": ["/model/fraud/"] });
    edi.admin("POST", "deployments", &fraud).await.assert(201);
    edi
}

#[actix_web::test]
async fn access_shows_who_gets_in() {
    let edi = world().await;
    let run_it = async |line: &str| run(&edi, "", line).await;
    let nobody = run_it("deployment access fraud").await;
    assert!(nobody.code == 0 && nobody.err.contains("no client holds the role"), "{nobody:?}");
    edi.register("svc", &["fraud-scoring"]).await;
    edi.register("off", &["fraud-scoring"]).await;
    edi.admin("PATCH", "clients/off", &json!({ "state": "disabled" })).await.assert(200);
    let shown = run_it("deployment access fraud").await;
    assert!(shown.out.contains("svc     yes       no end  enabled   never"), "{shown:?}");
    assert!(shown.out.contains("off     no        -       disabled  never"), "{shown:?}");
    let json = run_it("deployment access fraud --json").await.json();
    assert_eq!((&json["role"], json["items"].as_array().unwrap().len()), (&json!("fraud-scoring"), 2));
    assert_eq!(run_it("deployment access none").await.code, 1);
    assert!(run_it("role list").await.out.contains("fraud-scoring  fraud        off, svc"));
}

#[actix_web::test]
async fn a_token_is_explained_and_printed_nowhere() {
    let edi = world().await;
    let svc = edi.register("svc", &["fraud-scoring", "spam"]).await;
    let good = edi.token(&svc, &[("scope", "fraud-scoring")]).await;
    let other = edi.token(&svc, &[("scope", "spam")]).await;
    for (token, code, text) in [
        (good.clone(), 0, "let through at fraud"),
        (format!("Bearer {good}\n"), 0, "let through at fraud"),
        (other, 1, "role         FAILS  fraud wants fraud-scoring; the token holds spam"),
        ("junk".into(), 1, "signature    skipped  the token cannot be read"),
    ] {
        let said = run(&edi, &token, "token explain - --deployment fraud").await;
        assert!(said.code == code && said.out.contains(text), "{said:?}");
        assert!(!format!("{said:?}").contains(&token));
    }
    let json = run(&edi, &good, "token explain - --deployment fraud --json").await.json();
    assert_eq!((&json["allowed"], &json["proven"]), (&json!(true), &json!(true)));
    assert_eq!(run(&edi, "", "token explain -").await.code, 65);
}

#[actix_web::test]
async fn public_keys_are_exported() {
    let edi = world().await;
    let published = edi.ask("GET", "/.well-known/jwks.json").send().await.assert(200).json();
    let set = run(&edi, "", "key export").await.json();
    let kids = |set: &Value| {
        let keys = set["keys"].as_array().unwrap().iter();
        keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(kids(&set), kids(&published));
    let pem = run(&edi, "", "key export --pem").await;
    assert_eq!(pem.out.matches("-----BEGIN PUBLIC KEY-----\n").count(), kids(&set).len(), "{pem:?}");
    assert!(pem.out.lines().all(|line| line.len() <= 64), "{pem:?}");
    let kid = kids(&set).pop_first().unwrap();
    let one = run(&edi, "", &format!("key export --pem --json --kid={kid}")).await.json();
    assert_eq!((one.as_array().unwrap().len(), &one[0]["kid"]), (1, &json!(kid)));
    assert!(pem.out.contains(one[0]["pem"].as_str().unwrap()));
    assert_eq!(run(&edi, "", "key export --kid none").await.code, 1);
}

#[actix_web::test]
async fn a_proxys_configuration_names_what_is_registered() {
    let edi = world().await;
    let written = run(&edi, "", "proxy-config haproxy --issuer https://edi.example --upstream http://10.0.0.1:9").await;
    for text in
        ["https://edi.example", "fraud-scoring", "model-prediction-api", "m.example", "server model 10.0.0.1:9\n"]
    {
        assert!(written.out.contains(text), "{text}: {written:?}");
    }
    let said = run(&edi, "", "proxy-config nginx --deployment none").await;
    assert!(said.code == 1 && said.err.contains("there is no deployment none"), "{said:?}");
    edi.admin("PATCH", "deployments/fraud", &json!({ "paths": ["/a$b"] })).await.assert(200);
    let said = run(&edi, "", "proxy-config nginx").await;
    assert!(said.code == 1 && said.out.is_empty() && said.err.contains("the path of fraud"), "{said:?}");
}
