//! Files as truth against the real thing: what is shown, what is changed, what is left alone, where secrets go.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::edi::{Setup, TestEdi};
use crate::support::program::{Program, Run};

/// A running edi and a folder for files.
struct Desk {
    edi: TestEdi,
    issuer: String,
    credentials: String,
    folder: TempDir,
    _setup: Setup,
}

impl Desk {
    async fn new() -> Self {
        let (setup, edi, issuer) = Setup::new().reachable().await;
        let credentials = setup.path("keys/operator.json").display().to_string();
        Self { edi, issuer, credentials, folder: TempDir::new().unwrap(), _setup: setup }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Runs a command as the operator; `%` stands for the folder.
    async fn run(&self, line: &str) -> Run {
        self.run_with(Program::new().env("EDI_CREDENTIALS", &self.credentials), line).await
    }

    async fn run_with(&self, program: Program, line: &str) -> Run {
        let line = line.replace('%', &self.folder.path().display().to_string());
        tokio::task::spawn_blocking(move || program.run(&line)).await.unwrap()
    }

    async fn done(&self, line: &str) -> Run {
        let run = self.run(line).await;
        assert_eq!(run.code, 0, "edi {line}: {run:?}");
        run
    }

    async fn client(&self, id: &str) -> Value {
        self.edi.admin("GET", &format!("clients/{id}"), &Value::Null).await.json()
    }

    async fn token(&self, id: &str, secret: &str) -> Run {
        let service =
            Program::new().env("EDI_ISSUER", &self.issuer).env("EDI_CLIENT_ID", id).env("EDI_CLIENT_SECRET", secret);
        self.run_with(service, "token get").await
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

const FRAUD: &str = "\
kind: Deployment
id: fraud
role: fraud-scoring
hosts: [fraud.example]
---
kind: Client
client_id: caller   # scores payments
client_name: \"Caller: of fraud\"
roles:
  - fraud-scoring
access_token_lifetime: 600
";

#[tokio::test]
async fn files_become_true_and_the_second_run_finds_nothing_to_do() {
    let desk = Desk::new().await;
    desk.file("edi.d/team/fraud.yaml", FRAUD);
    let seen = desk.run("diff -f %/edi.d").await;
    assert_eq!(seen.code, 1, "there is a difference: {seen:?}");
    for text in ["+ deployment fraud", "fraud.yaml:1)", "+ client caller", "roles: fraud-scoring", "2 to create"] {
        assert!(seen.out.contains(text), "{text}: {seen:?}");
    }
    assert_eq!(desk.run("apply -f %/edi.d --yes").await.code, 2, "a secret has nowhere to go");
    assert_eq!(desk.run("apply -f %/edi.d --secrets-dir %/secrets").await.code, 2, "nobody is there to ask");
    assert_eq!(desk.edi.admin("GET", "clients/caller", &Value::Null).await.status, 404, "nothing was changed");
    let done = desk.done("apply -f %/edi.d --secrets-dir %/secrets --yes").await;
    assert!(done.out.contains("client caller is registered; its secret is in"), "{done:?}");
    let secret = std::fs::read_to_string(desk.path("secrets/caller.json")).unwrap();
    assert_eq!((mode(&desk.path("secrets/caller.json")), mode(&desk.path("secrets"))), (0o600, 0o700));
    let secret: Value = serde_json::from_str(&secret).unwrap();
    let text = secret["client_secret"].as_str().unwrap();
    assert!(!format!("{done:?}").contains(text), "a secret is never printed");
    assert_eq!(desk.token("caller", text).await.code, 0);
    let again = desk.done("apply -f %/edi.d --secrets-dir %/secrets").await;
    assert!(again.out.starts_with("no changes: 2 as they should be"), "{again:?}");
    let none = desk.done("diff -f %/edi.d --json").await.json();
    assert_eq!((&none["changes"], &none["unchanged"]), (&json!([]), &json!(2)));
}

#[tokio::test]
async fn a_change_is_shown_field_by_field_and_made_alone() {
    let desk = Desk::new().await;
    desk.file("a.yaml", FRAUD);
    desk.done("apply -f %/a.yaml --secrets-dir %/s --yes").await;
    desk.edi.admin("PATCH", "clients/caller", &json!({ "state": "disabled" })).await.assert(200);
    desk.file("a.yaml", &FRAUD.replace("  - fraud-scoring\n", "  - spam\n").replace("client_name", "# client_name"));
    let seen = desk.run("diff -f %/a.yaml").await;
    for text in
        ["~ client caller", "roles: -fraud-scoring +spam", "client_name: Caller: of fraud → (none)", "are revoked"]
    {
        assert!(seen.out.contains(text), "{text}: {seen:?}");
    }
    let applied = desk.done("apply -f %/a.yaml --yes --json").await.json();
    assert_eq!((&applied["changes"][0]["done"], &applied["changes"][0]["ends_tokens"]), (&json!(true), &json!(true)));
    let client = desk.client("caller").await;
    assert_eq!((&client["roles"], client.get("client_name")), (&json!(["spam"]), None), "{client}");
    assert_eq!(client["state"], "disabled", "whom an emergency kept out stays out: no file says otherwise");
    desk.file("b.yaml", "kind: Client\nclient_id: caller\nroles: [spam]\naccess_token_lifetime: 600\nstate: enabled\n");
    desk.done("apply -f %/b.yaml --yes").await;
    assert_eq!(desk.client("caller").await["state"], "enabled", "said, it is done");
}

#[tokio::test]
async fn every_problem_of_every_file_is_told_before_anything_is_changed() {
    let desk = Desk::new().await;
    let before = desk.edi.revision().await;
    desk.file("d/a.yaml", "kind: Client\nclient_id: fine\n---\nkind: Client\nclient_id: bad one\nrolls: [a]\n");
    desk.file("d/b.yml", "kind: Deployment\nid: one\nhosts: [h]\n---\nkind: Deployment\nid: two\nhosts: [H]\n---\nkind: Client\nclient_id: fine\n");
    desk.file("d/c.yaml", "a: &x [1, 2]\nb: *x\n");
    desk.file("d/ignored.txt", "kind: nonsense");
    for command in ["apply --yes --secrets-dir %/s", "diff"] {
        let run = desk.run(&format!("{command} -f %/d")).await;
        assert_eq!((run.code, run.out.as_str()), (65, ""), "{run:?}");
        for text in [
            "5 problems",
            "d/a.yaml:5: client_id: ",
            "d/a.yaml:6: rolls: unknown field of a client; did you mean roles?",
            "d/b.yml:5: one answers at h / already",
            "d/b.yml:9: client fine is in ",
            "d/c.yaml:1: anchors and aliases",
        ] {
            assert!(run.err.contains(text), "{text}: {run:?}");
        }
    }
    // What only the server's settings tell comes before the first change, too.
    desk.file(
        "e.yaml",
        "kind: Client\nclient_id: early\n---\nkind: Client\nclient_id: long\naccess_token_lifetime: 999999\n",
    );
    let run = desk.run("apply --yes --secrets-dir %/s -f %/e.yaml").await;
    assert!(run.code == 65 && run.err.contains("more than tokens.max_ttl"), "{run:?}");
    assert_eq!(desk.edi.revision().await, before);
}

#[tokio::test]
async fn what_is_in_no_file_goes_only_when_told_and_never_who_runs_it() {
    let desk = Desk::new().await;
    desk.edi.register("extra", &["a"]).await;
    desk.edi.register_admin("second", &["edi:admin"]).await;
    desk.edi.deploy("model", "a", None).await;
    desk.file("c.yaml", "kind: Client\nclient_id: kept\nroles: []\n");
    let run = desk.done("apply -f %/c.yaml --secrets-dir %/s --yes").await;
    assert!(run.err.contains("left alone without --prune: client extra, client operator, client second"), "{run:?}");
    let seen = desk.run("diff -f %/c.yaml --prune").await;
    assert!(
        seen.code == 1 && seen.out.contains("- client extra\n") && seen.out.contains("- client second\n"),
        "{seen:?}"
    );
    assert!(
        !seen.out.contains("operator") && seen.err.contains("client operator is in no file, and stays"),
        "{seen:?}"
    );
    assert!(seen.err.contains("deployments are left alone"), "{seen:?}");
    desk.done("apply -f %/c.yaml --prune --yes").await;
    let left = desk.done("client list --json").await.json();
    let ids: Vec<&str> = left.as_array().unwrap().iter().map(|it| it["client_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["kept", "operator"]);
    assert_eq!(desk.edi.admin("GET", "deployments/model", &Value::Null).await.status, 200);
}

#[tokio::test]
async fn a_dump_applied_again_changes_nothing() {
    let desk = Desk::new().await;
    desk.edi.register_with("a", &json!({ "client_name": "no", "roles": [], "audiences": ["urn:x"] })).await;
    desk.edi
        .register_with("b", &json!({ "roles": ["1", "true"], "token_endpoint_auth_method": "client_secret_post" }))
        .await;
    desk.edi.admin("PATCH", "clients/b", &json!({ "state": "disabled" })).await.assert(200);
    let place = json!({ "id": "m", "role": "r", "hosts": ["*.m.example"], "paths": ["/x", "/y"], "audience": "m" });
    desk.edi.admin("POST", "deployments", &place).await.assert(201);
    let text = desk.done("dump").await.out;
    assert!(text.starts_with("---\nkind: Deployment\nid: m\n"), "{text}");
    assert!(!text.contains("edi_") && !text.contains("secrets"), "{text}");
    let operator = || Program::new().env("EDI_CREDENTIALS", &desk.credentials).stdin(&text);
    let diff = desk.run_with(operator(), "diff --prune -f -").await;
    assert_eq!((diff.code, diff.out.as_str()), (0, "no changes: 4 as they should be\n"), "{diff:?}");
    assert_eq!(desk.run_with(operator(), "apply -f - --prune --yes").await.code, 0);
    desk.done("dump -o %/edi.d").await;
    assert_eq!(desk.done("diff -f %/edi.d").await.out, "no changes: 4 as they should be\n");
    assert!(desk.done("dump -o %/edi.d").await.out.contains("0 files are written"));
    desk.file("edi.d/clients/a.yaml", "# mine\n");
    assert_eq!(desk.run("dump -o %/edi.d").await.code, 2, "a file that differs is not replaced unasked");
    desk.done("dump -o %/edi.d --yes").await;
    assert!(std::fs::read_to_string(desk.path("edi.d/clients/a.yaml")).unwrap().contains("client_name: \"no\""));
    // Elsewhere, the same files make the same things.
    let other = Desk::new().await;
    std::fs::rename(desk.path("edi.d"), other.path("edi.d")).unwrap();
    other.done("apply -f %/edi.d --secrets-dir %/s --yes").await;
    let strip = |text: String| text.lines().map(ToOwned::to_owned).collect::<Vec<_>>();
    assert_eq!(strip(other.done("dump").await.out), strip(text.clone()), "state included");
}

#[tokio::test]
async fn secrets_become_kubernetes_manifests_or_variables() {
    let desk = Desk::new().await;
    desk.file("c.yaml", "kind: Client\nclient_id: Fraud_Caller\nroles: [a]\n");
    desk.done("apply -f %/c.yaml --yes --secrets-dir %/k --secrets-format kubernetes --secrets-namespace models").await;
    let manifest = std::fs::read_to_string(desk.path("k/Fraud_Caller.yaml")).unwrap();
    for text in ["kind: Secret", "name: edi-fraud-caller", "namespace: \"models\"", "  client_secret: \"edi_"] {
        assert!(manifest.contains(text), "{text}: {manifest}");
    }
    desk.file("d.yaml", "kind: Client\nclient_id: next\nroles: [a]\n");
    desk.done("apply -f %/d.yaml --yes --secrets-dir %/e --secrets-format env").await;
    let variables = std::fs::read_to_string(desk.path("e/next.env")).unwrap();
    let secret = variables.lines().find_map(|line| line.strip_prefix("EDI_CLIENT_SECRET=")).unwrap();
    assert_eq!(desk.token("next", secret).await.code, 0);
    // Another client's file is never written over.
    desk.file("e/third.env", "precious");
    desk.file("f.yaml", "kind: Client\nclient_id: third\n");
    let run = desk.run("apply -f %/f.yaml --yes --secrets-dir %/e --secrets-format env").await;
    assert!(run.code == 1 && run.err.contains("third.env is there already"), "{run:?}");
    assert_eq!(desk.edi.admin("GET", "clients/third", &Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_secret_lost_between_making_and_keeping_is_made_again() {
    let desk = Desk::new().await;
    desk.file("c.yaml", "kind: Client\nclient_id: svc\nroles: [a]\n");
    // As a run leaves it that broke off right after edi had made the client.
    let lost = desk.edi.register("svc", &["a"]).await;
    desk.file("s/svc.json.pending", "{}");
    let run = desk.done("apply -f %/c.yaml --yes --secrets-dir %/s").await;
    assert!(run.out.contains("lost when an earlier run broke off"), "{run:?}");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(desk.path("s/svc.json")).unwrap()).unwrap();
    assert_eq!(desk.token("svc", kept["client_secret"].as_str().unwrap()).await.code, 0);
    assert_eq!(desk.token("svc", &lost.secret).await.code, 77, "the lost one no longer works");
    assert_eq!(desk.client("svc").await["secrets"].as_array().unwrap().len(), 1);
    assert!(!desk.path("s/svc.json.pending").exists());
    assert!(desk.done("apply -f %/c.yaml --yes --secrets-dir %/s").await.out.starts_with("no changes"));
}

#[tokio::test]
async fn clients_that_hold_keys_are_made_without_a_secret() {
    let desk = Desk::new().await;
    let jwk = "{kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo, kid: k1}";
    let file = |method: &str| {
        format!(
            "kind: Client\nclient_id: svc\nroles: [a]\ntoken_endpoint_auth_method: {method}\njwks:\n  keys: [{jwk}]\n"
        )
    };
    desk.file("c.yaml", &file("client_secret_basic"));
    let run = desk.run("apply -f %/c.yaml --yes --secrets-dir %/s").await;
    assert!(run.code == 65 && run.err.contains("keys go with"), "{run:?}");
    desk.file("c.yaml", &file("private_key_jwt"));
    desk.done("apply -f %/c.yaml --yes").await;
    assert_eq!(desk.done("diff -f %/c.yaml").await.out, "no changes: 1 as they should be\n");
    let text = desk.done("dump").await.out;
    let same = desk.run_with(Program::new().env("EDI_CREDENTIALS", &desk.credentials).stdin(&text), "diff -f -").await;
    assert_eq!(same.code, 0, "{same:?}");
    // From secrets to keys: the secrets go, and that is shown.
    desk.edi.register("old", &["a"]).await;
    desk.file("d.yaml", &file("private_key_jwt").replace("client_id: svc", "client_id: old"));
    let seen = desk.run("diff -f %/d.yaml").await;
    assert!(seen.out.contains("secrets: -") && seen.out.contains("jwks: (none) → 1 keys (k1)"), "{seen:?}");
    desk.done("apply -f %/d.yaml --yes").await;
    assert_eq!(desk.client("old").await["secrets"], json!([]));
}

#[tokio::test]
async fn a_lesser_operator_is_stopped_before_the_first_change() {
    let desk = Desk::new().await;
    let reader = desk.edi.register_admin("alice", &["edi:read", "edi:clients"]).await;
    let credentials = json!({
        "issuer": desk.issuer, "admin": desk.edi.operator["admin"], "client_id": reader.id, "client_secret": reader.secret,
    });
    let alice = || Program::new().file("keys/operator.json", &credentials.to_string(), 0o600);
    desk.file(
        "c.yaml",
        "kind: Client\nclient_id: one\nroles: [a]\n---\nkind: Client\nclient_id: two\nadmin_scopes: [edi:read]\n",
    );
    let refused = desk.run_with(alice(), "apply -f %/c.yaml --yes --secrets-dir %/s").await;
    assert!(refused.code == 77 && refused.err.contains("alice lacks edi:admin"), "{refused:?}");
    assert_eq!(desk.edi.admin("GET", "clients/one", &Value::Null).await.status, 404);
    desk.file("c.yaml", "kind: Client\nclient_id: one\nroles: [a]\n");
    assert_eq!(desk.run_with(alice(), "apply -f %/c.yaml --yes --secrets-dir %/s").await.code, 0);
}

#[tokio::test]
async fn deployments_can_follow_each_other_around() {
    let desk = Desk::new().await;
    let file = |a: &str, b: &str| {
        format!("kind: Deployment\nid: a\nrole: r\nhosts: [{a}]\n---\nkind: Deployment\nid: b\nrole: r\nhosts: [{b}]\n")
    };
    desk.file("d.yaml", &file("one", "two"));
    desk.done("apply -f %/d.yaml --yes").await;
    // `a` takes the place that `b` is about to leave.
    desk.file("d.yaml", &file("two", "three"));
    desk.done("apply -f %/d.yaml --yes").await;
    // Each wants the other's: nobody can begin.
    desk.file("d.yaml", &file("three", "two"));
    let stuck = desk.run("apply -f %/d.yaml --yes").await;
    assert!(stuck.code == 1 && stuck.err.contains("answers at") && stuck.err.contains("0 of 2"), "{stuck:?}");
}
