//! `edi client keygen`, `edi client key` and `edi token get --key` against the real thing: a client without a secret, from
//! its first key to its last.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use edi::ambient::{Clock as _, ManualClock, SystemClock};
use serde_json::{Value, json};

use crate::support::edi::Setup;
use crate::support::program::run;
use crate::support::program::{Program, Run};

/// An operator's command line, and a service's.
struct World {
    credentials: String,
    issuer: String,
    clock: Arc<ManualClock>,
}

impl World {
    async fn operator(&self, line: &str) -> Run {
        run(Program::new().env("EDI_CREDENTIALS", &self.credentials), line).await
    }

    async fn done(&self, line: &str) -> Run {
        let run = self.operator(line).await;
        assert_eq!(run.code, 0, "edi {line}: {run:?}");
        run
    }

    async fn get(&self, id: &str, key: &str, more: &str) -> Run {
        // Assertions carry the program's time of day, and ten seconds ahead of the server's is too much.
        self.clock.set(SystemClock.now());
        let service =
            Program::new().env("EDI_ISSUER", &self.issuer).env("EDI_CLIENT_ID", id).env("EDI_CLIENT_KEY", key);
        run(service, &format!("token get {more}")).await
    }

    async fn gets(&self, id: &str, key: &str, more: &str) {
        for again in 0..2 {
            let run = self.get(id, key, more).await;
            assert!(run.code == 0 && run.out.trim().split('.').count() == 3, "{key} {again}: {run:?}");
        }
    }
}

fn mode(path: &str) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_client_lives_by_keys_that_roll() {
    let (setup, edi, issuer) = Setup::new().reachable().await;
    let world = World {
        credentials: setup.path("keys/operator.json").display().to_string(),
        issuer,
        clock: Arc::clone(&edi.clock),
    };
    let path = |name: &str| setup.path(name).display().to_string();
    let (first, second, third) = (path("first.jwk"), path("second.pem"), path("third.jwk"));
    let made = world.done(&format!("client keygen svc --create --role fraud --out {first} --json")).await.json();
    assert_eq!((&made["alg"], &made["private_key"]), (&json!("ES256"), &json!(first)));
    assert!(made["jwks"]["keys"][0].get("d").is_none(), "nothing private was sent: {made}");
    assert_eq!(mode(&first), 0o600);
    let private: Value = serde_json::from_slice(&std::fs::read(&first).unwrap()).unwrap();
    assert!(private["d"].is_string() && private["kid"] == made["kid"], "the private half is here alone");
    world.gets("svc", &first, "--role fraud").await;
    world.gets("svc", &first, &format!("--key {first}")).await;
    let denied = world.get("svc", &first, "--assertion-audience https://other.example").await;
    assert_eq!(denied.code, 77, "{denied:?}");

    // One more, of another kind, and the first one goes.
    world.done(&format!("client keygen svc --alg EdDSA --format pem --out {second}")).await;
    assert_eq!(mode(&second), 0o600);
    world.gets("svc", &second, "").await;
    world.gets("svc", &first, "").await;
    let listed = world.done("client key list svc").await.out;
    assert!(listed.contains("ES256") && listed.contains("EdDSA") && listed.contains("Ed25519"), "{listed}");
    let kid = made["kid"].as_str().unwrap();
    let unsure = world.operator(&format!("client key remove svc {kid}")).await;
    assert_eq!(unsure.code, 2, "it asks: {unsure:?}");
    world.done(&format!("client key remove svc {kid} --yes")).await;
    assert_eq!(world.get("svc", &first, "").await.code, 77, "removed");
    world.gets("svc", &second, "").await;
    let gone = world.operator(&format!("client key remove svc {kid} --yes")).await;
    assert!(gone.code == 1 && gone.err.contains("no such key"), "{gone:?}");
    let last = world.done("client key list svc --json").await.json()["keys"][0]["kid"].as_str().unwrap().to_owned();
    let last = world.operator(&format!("client key remove svc {last} --yes")).await;
    assert!(last.code == 1 && last.err.contains("only key"), "{last:?}");

    // Whoever may not register it hands over the public half.
    let offline = world.operator(&format!("client keygen svc --alg PS256 --offline --out {third}")).await;
    assert_eq!(offline.code, 0, "{offline:?}");
    assert!(offline.json()["keys"][0].get("d").is_none() && !offline.err.contains("\"d\""), "{offline:?}");
    let handed = Program::new().env("EDI_CREDENTIALS", &world.credentials).stdin(&offline.out);
    let added = run(handed, "client key add svc --jwks -").await;
    assert_eq!(added.code, 0, "{added:?}");
    world.gets("svc", &third, "").await;
    let shown = world.done("client show svc").await.out;
    assert!(shown.contains("private_key_jwt") && shown.contains("PS256") && shown.contains("issuer"), "{shown}");

    // What would be lost, or is not meant for it, is refused.
    let taken = world.operator(&format!("client keygen svc --out {third}")).await;
    assert!(taken.code == 1 && taken.err.contains("exists already"), "{taken:?}");
    let unknown = world.operator(&format!("client keygen nobody --out {}", path("nobody.jwk"))).await;
    assert!(unknown.code == 1 && unknown.err.contains("--create"), "{unknown:?}");
    assert!(!Path::new(&path("nobody.jwk")).exists() && !Path::new(&path("nobody.jwk.new")).exists(), "nothing stays");
    let private = world.operator(&format!("client key add svc --jwks {first}")).await;
    assert!(private.code == 65 && private.err.contains("private"), "{private:?}");
    std::fs::set_permissions(&third, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = world.get("svc", &third, "").await;
    assert!(open.code == 65 && open.err.contains("chmod 600"), "{open:?}");
}

#[tokio::test]
async fn a_client_moves_from_a_secret_to_keys_and_back() {
    let (setup, edi, issuer) = Setup::new().reachable().await;
    let world = World {
        credentials: setup.path("keys/operator.json").display().to_string(),
        issuer,
        clock: Arc::clone(&edi.clock),
    };
    let path = |name: &str| setup.path(name).display().to_string();
    let (private, public) = (path("svc.jwk"), path("public.json"));
    world.done("client create svc --role fraud").await;
    let jwks = world.done(&format!("client keygen svc --offline --out {private}")).await.out;
    std::fs::write(&public, jwks).unwrap();
    let kept = world.operator(&format!("client update svc --jwks {public}")).await;
    assert!(kept.code == 1 && kept.err.contains("remove them first"), "{kept:?}");
    let not_yet = world.operator(&format!("client keygen svc --out {}", path("x.jwk"))).await;
    assert!(not_yet.code == 1 && not_yet.err.contains("--remove-secrets"), "{not_yet:?}");
    world.done(&format!("client update svc --jwks {public} --remove-secrets")).await;
    world.gets("svc", &private, "").await;
    // An older library addresses the token endpoint.
    world.done("client update svc --assertion-audience token_endpoint").await;
    assert_eq!(world.get("svc", &private, "").await.code, 77);
    world.gets("svc", &private, &format!("--assertion-audience {}/oauth2/token", world.issuer)).await;
    let kept = world.operator("client update svc --auth-method basic").await;
    assert_eq!(kept.code, 1, "nothing is thrown away unnamed: {kept:?}");
    world.done("client update svc --auth-method basic --remove-keys").await;
    assert_eq!(world.get("svc", &private, "").await.code, 77);
    world.done("client secret add svc").await;

    for (line, why) in [
        (format!("client create other --auth-method basic --jwks {public}"), "never both"),
        ("client create other --auth-method private_key_jwt".to_owned(), "--jwks FILE"),
        (format!("client create other --secret-stdin --jwks {public}"), "cannot be used with"),
        (format!("client keygen other --offline --create --out {}", path("y.jwk")), "cannot be used with"),
    ] {
        let refused = world.operator(&line).await;
        assert!(refused.code == 2 && refused.err.contains(why), "{line}: {refused:?}");
    }
    world.done(&format!("client create other --auth-method private_key_jwt --role fraud --jwks {public}")).await;
    world.gets("other", &private, "").await;
}
