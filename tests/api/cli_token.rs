//! `edi token` against an issuer that answers as told.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::support::fake::Fake;
use crate::support::program::Program;

const METADATA: &str = "GET /.well-known/oauth-authorization-server";

fn issuer() -> Fake {
    let fake = Fake::start();
    let metadata = json!({
        "issuer": fake.url, "token_endpoint": format!("{}/oauth2/token", fake.url),
        "jwks_uri": format!("{}/keys", fake.url),
    });
    fake.on(METADATA, 200, metadata)
}

fn service(fake: &Fake) -> Program {
    Program::new().env("EDI_ISSUER", &fake.url).env("EDI_CLIENT_ID", "operator").env("EDI_CLIENT_SECRET", "s3cret/+ %")
}

/// A key and a token of `fake` signed with it, good for the year 2100.
fn key_and_token(fake: &Fake, change: impl Fn(&mut Value)) -> (Value, String) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
    let jwk = json!({
        "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(pair.public_key()), "kid": "k1", "alg": "EdDSA",
    });
    let mut claims = json!({
        "iss": fake.url, "sub": "svc", "client_id": "svc", "aud": "models", "jti": "j", "iat": 1_700_000_000,
        "exp": 4_102_444_800_u32,
    });
    change(&mut claims);
    let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "k1" });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes())));
    (jwk, token)
}

#[actix_web::test]
async fn a_token_is_printed_and_nothing_else() {
    let fake = issuer();
    let run = fake.run(service(&fake), "token get --role a --role b --resource https://m.example").await;
    assert_eq!((run.out.as_str(), run.err.as_str(), run.code), ("token-for-a+b\n", "", 0), "{run:?}");
    let form = "grant_type=client_credentials&scope=a+b&resource=https%3A%2F%2Fm.example";
    assert_eq!(fake.token_forms(), [form]);
}

#[actix_web::test]
async fn a_secret_can_be_piped_in() {
    let fake = issuer();
    let program = Program::new().stdin("s3cret/+ %\n");
    let line = format!("token get --issuer {} --client-id operator --client-secret-stdin --json", fake.url);
    let run = fake.run(program, &line).await;
    assert_eq!(run.json()["token_type"], "Bearer");
}

#[actix_web::test]
async fn refusals_of_the_issuer_are_explained() {
    let fake = issuer();
    let run = fake.run(service(&fake).env("EDI_CLIENT_SECRET", "wrong"), "token get").await;
    assert!(run.code == 77 && run.err.contains("check client id and secret"), "{run:?}");
    let fake = fake.granting(&["edi:read"]);
    let run = fake.run(service(&fake), "token get --role fraud").await;
    assert!(run.code == 77 && run.err.contains("--add-role"), "{run:?}");
}

#[actix_web::test]
async fn an_issuer_that_calls_itself_otherwise_is_not_trusted_with_the_secret() {
    let fake = Fake::start().on(METADATA, 200, json!({ "issuer": "https://evil.example", "token_endpoint": "x" }));
    let run = fake.run(service(&fake), "token get").await;
    assert!(run.code == 1 && run.err.contains("it calls itself https://evil.example"), "{run:?}");
    assert_eq!(fake.token_forms().len(), 0);
}

#[actix_web::test]
async fn neither_proxies_nor_redirects_nor_missing_authorities_get_in_the_way_of_loopback() {
    let fake = issuer();
    let program = service(&fake)
        .env("http_proxy", "http://127.0.0.1:1")
        .env("SSL_CERT_FILE", "/nonexistent")
        .env("SSL_CERT_DIR", "/nonexistent");
    let run = fake.run(program, "token get").await;
    assert_eq!((run.code, run.out.as_str()), (0, "token-for-edi:admin\n"), "{run:?}");

    let elsewhere = Fake::start();
    let location = format!("{}/oauth2/token", elsewhere.url);
    let fake = fake.once("POST /oauth2/token", 307, &[("location", &location)], json!({}));
    let run = fake.run(service(&fake), "token get").await;
    assert!(run.code == 1 && run.err.contains("it answers 307, not as an issuer does"), "{run:?}");
    assert!(elsewhere.token_forms().is_empty(), "the secret went where a redirect pointed");
}

#[actix_web::test]
async fn openid_discovery_will_do() {
    let fake = Fake::start();
    let metadata = json!({ "issuer": fake.url, "token_endpoint": format!("{}/oauth2/token", fake.url) });
    let fake = fake.on("GET /.well-known/openid-configuration", 200, metadata);
    let run = fake.run(service(&fake), "token get").await;
    assert_eq!((run.code, run.out.as_str()), (0, "token-for-edi:admin\n"), "{run:?}");
}

#[actix_web::test]
async fn inspection_gives_the_verdict_of_a_verifier() {
    let fake = issuer();
    let (jwk, good) = key_and_token(&fake, |_| {});
    let (_, old) = key_and_token(&fake, |claims| claims["exp"] = json!(1_700_000_900));
    let (_, foreign) = key_and_token(&fake, |claims| claims["iss"] = json!("https://evil.example"));
    // Other claims under the good token's signature.
    let (_, another) = key_and_token(&fake, |claims| claims["jti"] = json!("k"));
    let forged = format!("{}.{}", another.rsplit_once('.').unwrap().0, good.rsplit_once('.').unwrap().1);
    let fake = fake.on("GET /keys", 200, json!({ "keys": [jwk] }));
    let line = format!("token inspect - --issuer {} --audience", fake.url);
    for (token, audience, code, text) in [
        (good.clone(), "models", 0, "accepted: a verifier lets it pass"),
        (format!("Bearer {good}\n"), "models", 0, "accepted"),
        (good.clone(), "other", 1, "  - its audience (aud) is models, not other"),
        (old, "models", 1, "  - it expired "),
        (foreign, "models", 1, "  - its issuer (iss) is https://evil.example, not http://127.0.0.1"),
        (forged, "models", 1, "  - its signature is wrong"),
    ] {
        let run = fake.run(Program::new().stdin(&token), &format!("{line} {audience}")).await;
        assert_eq!(run.code, code, "{text}: {run:?}");
        assert!(run.out.contains(text), "{text}: {run:?}");
    }
    let run = fake.run(Program::new().stdin(&good), &format!("{line} other --json")).await;
    let json = run.json();
    assert_eq!((&json["verdict"], &json["signature_verified"], run.code), (&json!("refused"), &json!(true), 1));
}

#[actix_web::test]
async fn nobody_is_asked_for_keys_because_a_token_says_so() {
    let fake = issuer();
    let (_, token) = key_and_token(&fake, |_| {});
    let run = fake.run(Program::new().stdin(&token), "token inspect -").await;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.out.contains("unverified") && run.err.contains("nothing above is proven"), "{run:?}");
    assert!(fake.asked().is_empty());
}

#[actix_web::test]
async fn keys_can_come_from_a_file() {
    let fake = issuer();
    let (jwk, token) = key_and_token(&fake, |_| {});
    let keys = json!({ "keys": [jwk] }).to_string();
    let program = Program::new().stdin(&token).file("jwks.json", &keys, 0o644).file("odd.json", "[]", 0o644);
    let run = program.run("token inspect - --jwks-file jwks.json");
    assert!(run.code == 0 && run.err.contains("the issuer was not judged"), "{run:?}");
    assert_eq!(program.run("token inspect - --jwks-file odd.json").code, 65);
    assert!(fake.asked().is_empty());
}
