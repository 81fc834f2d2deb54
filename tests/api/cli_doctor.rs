//! `edi doctor` against issuers with faults, one row for each; and against edi itself, in which it finds none.

use serde_json::{Value, json};

use crate::support::edi::Setup;
use crate::support::fake::Fake;
use crate::support::program::{Program, Run, run};

const OAUTH: &str = "GET /.well-known/oauth-authorization-server";
const OIDC: &str = "GET /.well-known/openid-configuration";
const JWKS: &str = "GET /.well-known/jwks.json";

fn metadata(url: &str) -> Value {
    json!({
        "issuer": url, "jwks_uri": format!("{url}/.well-known/jwks.json"), "token_endpoint": format!("{url}/oauth2/token"),
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

fn key(kid: &str) -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid,
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

fn with(mut value: Value, name: &str, new: Value) -> Value {
    value[name] = new;
    value
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name);
    value
}

const CACHED: &[(&str, &str)] = &[("cache-control", "public, max-age=300")];

/// What a row says instead of what is right.
enum Fault {
    Document(fn(Value) -> Value),
    OnlyOne(fn(Value) -> Value),
    Answer(u16, &'static [(&'static str, &'static str)]),
    Missing,
    Keys(fn() -> Value),
    KeysAnswer(u16, &'static [(&'static str, &'static str)]),
    Date(&'static str),
}

async fn judged(fault: &Fault) -> Run {
    let fake = Fake::start();
    let right = metadata(&fake.url);
    let keys = json!({ "keys": [key("k1"), key("k2")] });
    let (mut first, mut second, mut set) = (right.clone(), right.clone(), keys);
    let (mut status, mut headers): (u16, &[(&str, &str)]) = (200, &[]);
    let (mut keys_status, mut keys_headers) = (200, CACHED);
    match fault {
        Fault::Document(change) => (first, second) = (change(right.clone()), change(right)),
        Fault::OnlyOne(change) => second = change(right),
        Fault::Answer(wrong, more) => (status, headers) = (*wrong, more),
        Fault::Missing => status = 404,
        Fault::Keys(make) => set = make(),
        Fault::KeysAnswer(wrong, more) => (keys_status, keys_headers) = (*wrong, more),
        Fault::Date(_) => {}
    }
    let dated: Vec<(&'static str, &str)> = match fault {
        Fault::Date(date) => vec![("date", *date)],
        _ => headers.to_vec(),
    };
    let fake = fake
        .with(OAUTH, status, &dated, first)
        .with(OIDC, if matches!(fault, Fault::Missing) { 404 } else { 200 }, &dated, second)
        .with(JWKS, keys_status, keys_headers, set);
    fake.run(Program::new(), &format!("doctor --json --issuer {}", fake.url)).await
}

#[actix_web::test]
async fn each_fault_is_found_with_its_fix() {
    use Fault::{Answer, Date, Document, Keys, KeysAnswer, Missing, OnlyOne};
    // Faults by whether they fail.
    let rows: Vec<(Fault, bool, &str)> = vec![
        (Document(|it| with(it, "issuer", json!("https://other.example"))), true, "compare byte for byte"),
        (
            Document(|it| with(it.clone(), "issuer", json!(format!("{}/", it["issuer"].as_str().unwrap())))),
            true,
            "byte for byte",
        ),
        (OnlyOne(|it| with(it, "token_endpoint", json!("http://127.0.0.1:1/t"))), true, "differ in token_endpoint"),
        (Document(|it| without(it, "jwks_uri")), true, "jwks_uri is"),
        (Document(|it| with(it, "jwks_uri", json!("http://edi.svc.invalid:1/jwks"))), true, "at another host"),
        (Document(|it| with(it, "grant_types_supported", json!(["implicit"]))), false, "client_credentials"),
        (Answer(302, &[("location", "https://elsewhere.example/")]), true, "redirects to https://elsewhere"),
        (Answer(200, &[("content-encoding", "gzip")]), true, "comes compressed"),
        (Answer(502, &[]), true, "answers 502"),
        (Answer(404, &[]), false, "answers 404"),
        (Missing, true, "there is none"),
        (Keys(|| json!({ "keys": [] })), true, "holds no key"),
        (Keys(|| json!({ "keys": [key("k"), key("k")] })), true, "2 keys share the kid k"),
        (Keys(|| json!({ "keys": [with(key("k"), "d", json!("hunter2"))] })), true, "with its private part"),
        (
            Keys(|| json!({ "keys": [json!({ "kty": "oct", "k": "hunter2", "kid": "k" })] })),
            true,
            "with its private part",
        ),
        (Keys(|| json!({ "keys": [with(key("k"), "use", json!("enc"))] })), true, "not sig"),
        (Keys(|| json!({ "keys": [without(key("k"), "kid"), without(key("k"), "kid")] })), true, "2 keys have no kid"),
        (Keys(|| json!({ "keys": [without(key("k"), "kid")] })), false, "a key has no kid"),
        (Keys(|| json!({ "keys": [with(key("k"), "kid", json!(""))] })), false, "a key has no kid"),
        (Keys(|| json!({ "keys": [key("k"), without(key("k"), "kid")] })), false, "a key has no kid"),
        (Keys(|| json!({ "keys": [without(key("k"), "use")] })), false, "has no use"),
        (Keys(|| json!({ "keys": [without(key("k"), "alg")] })), false, "has no alg"),
        (Keys(|| json!({ "keys": [with(key("k"), "alg", json!("RS256"))] })), true, "is EC and says alg"),
        (Keys(|| json!({ "keys": [with(key("k"), "alg", json!("ES384"))] })), true, "supported lacks ES384"),
        (
            Keys(|| json!({ "keys": [json!({ "kty": "RSA", "kid": "k", "use": "sig", "n": "AQAB", "e": "AQAB" })] })),
            true,
            "RSA of",
        ),
        (KeysAnswer(301, &[("location", "https://elsewhere.example/")]), true, "redirects to"),
        (KeysAnswer(500, &[]), true, "without a key set"),
        (KeysAnswer(200, &[("cache-control", "public, max-age=86400")]), false, "for 86400 s"),
        (KeysAnswer(200, &[("cache-control", "no-store")]), false, "no-store"),
        (KeysAnswer(200, &[]), false, "no max-age"),
        (KeysAnswer(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]), false, "ETag is not honoured"),
        (Date("Sun, 22 Nov 2020 01:02:03 GMT"), true, "behind this machine's"),
    ];
    for (fault, fails, words) in rows {
        let run = judged(&fault).await;
        let report = run.json();
        let found: Vec<&Value> = report["findings"].as_array().unwrap().iter().collect();
        let named = found.iter().find(|it| it["found"].as_str().unwrap().contains(words));
        let named = named.unwrap_or_else(|| panic!("{words}: {report:#}"));
        assert!(named["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{words}: {named}");
        assert_eq!((run.code, report["ok"].as_bool()), (i32::from(fails), Some(!fails)), "{words}: {report:#}");
        assert!(!run.out.contains("hunter2"));
    }
    let run = judged(&Document(|it| it)).await;
    assert_eq!((run.code, &run.json()["warnings"]), (0, &json!(0)), "{run:?}");
}

#[tokio::test]
async fn edi_itself_is_in_order_from_end_to_end() {
    let (_setup, edi, issuer) = Setup::new().reachable().await;
    let svc = edi.register("svc", &["a"]).await;
    let doctor = |secret: &str, line: &str| {
        let (program, line) =
            (Program::new().env("EDI_CLIENT_SECRET", secret), format!("doctor --issuer {issuer} {line}"));
        async move { tokio::task::spawn_blocking(move || program.run(&line)).await.unwrap() }
    };
    let run = doctor(&svc.secret, "--client-id svc --audience model-prediction-api").await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.out.contains("verified with the key set: ES256") && run.out.contains("nothing is wrong"), "{run:?}");
    let run = doctor(&svc.secret, "--client-id svc --audience elsewhere").await;
    assert!(run.code == 1 && run.out.contains("not elsewhere"), "{run:?}");
    let run = doctor("wrong", "--client-id svc").await;
    assert!(run.code == 1 && run.out.contains("invalid_client") && !run.out.contains(&svc.secret), "{run:?}");
    let run = Program::new().run("doctor --issuer http://127.0.0.1:1");
    assert_eq!(run.code, 1, "nobody there: {run:?}");
}

#[tokio::test]
async fn without_an_issuer_it_goes_by_the_operators_own() {
    let (setup, _edi, issuer) = Setup::new().reachable().await;
    let credentials = setup.path("keys/operator.json").display().to_string();
    let own = run(Program::new().env("EDI_CREDENTIALS", &credentials), "doctor --json").await;
    assert_eq!((own.code, own.json()["issuer"].as_str()), (0, Some(issuer.as_str())), "{own:?}");
    let nobodys = Program::new().run("doctor");
    assert!(nobodys.code == 2, "{nobodys:?}");
    assert!(nobodys.err.contains("no issuer is named") && nobodys.err.contains("--issuer"), "{nobodys:?}");
}
