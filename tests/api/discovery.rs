//! What verifiers discover: metadata (RFC 8414, OIDC Discovery) and the key set (RFC 7517), to the byte where it counts.

use serde_json::{Value, json};

use crate::support::edi::{ISSUER, Setup, TestEdi};
use crate::support::jwt::{parts, verified};

const DOCUMENTS: [&str; 3] =
    ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/.well-known/jwks.json"];

fn metadata(issuer: &str, signing: &[&str]) -> Value {
    let algorithms = json!(["ES256", "ES384", "RS256", "PS256", "EdDSA"]);
    let methods = json!(["client_secret_basic", "client_secret_post", "private_key_jwt"]);
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth2/token"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "introspection_endpoint": format!("{issuer}/oauth2/introspect"),
        "revocation_endpoint": format!("{issuer}/oauth2/revoke"),
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "id_token_signing_alg_values_supported": signing,
    })
}

#[tokio::test]
async fn both_metadata_documents_say_exactly_the_same() {
    let edi = Setup::new().set("keys.algorithms", "ES256,EdDSA").start().await;
    edi.register("svc", &["a-secret-model"]).await;
    for path in &DOCUMENTS[..2] {
        let answer = edi.ask("GET", path).send().await;
        assert_eq!(answer.header("content-type"), "application/json", "RFC 8414 §3.2");
        assert_eq!(answer.header("cache-control"), "public, max-age=300");
        assert!(!answer.body.contains("a-secret-model") && !answer.body.contains("edi:"), "no scope leaks: {answer}");
        answer.assert_json(200, &metadata(ISSUER, &["ES256", "EdDSA"]));
    }
}

#[tokio::test]
async fn an_issuer_with_a_path_answers_with_and_without_it() {
    let issuer = "https://models.example/auth/edi";
    let edi = Setup::new().set("issuer", issuer).start().await;
    let svc = edi.register("svc", &["a"]).await;
    for path in [
        // RFC 8414 §3.1: the well-known part goes between host and path.
        "/.well-known/oauth-authorization-server/auth/edi",
        "/.well-known/openid-configuration/auth/edi",
        // OIDC Discovery §4: the well-known part comes after the path.
        "/auth/edi/.well-known/openid-configuration",
        "/auth/edi/.well-known/oauth-authorization-server",
        // A proxy in front took the path away.
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
    ] {
        edi.ask("GET", path).send().await.assert_json(200, &metadata(issuer, &["ES256"]));
    }
    for prefix in ["", "/auth/edi"] {
        let form = [("grant_type", "client_credentials")];
        let ask = edi.ask("POST", &format!("{prefix}/oauth2/token")).basic(&svc.id, &svc.secret).form(&form);
        let token = ask.send().await.assert(200).json()["access_token"].as_str().unwrap().to_owned();
        let jwks = edi.ask("GET", &format!("{prefix}/.well-known/jwks.json")).send().await.assert(200).json();
        assert_eq!(verified(&token, &jwks).1["iss"], issuer);
        for (endpoint, ends) in [("introspect", "\"sub\":\"svc\""), ("revoke", "")] {
            let ask = edi.ask("POST", &format!("{prefix}/oauth2/{endpoint}")).basic(&svc.id, &svc.secret);
            let answer = ask.form(&[("token", &token)]).send().await.assert(200);
            assert!(answer.body.contains(ends), "{answer}");
        }
    }
    let admin = edi.admin_token(&edi.operator(), "edi:read").await;
    assert_eq!(parts(&admin).1["aud"], issuer);
    edi.admin_with(&admin, "GET", "status", &Value::Null).await.assert(200);
    for path in ["/auth/.well-known/openid-configuration", "/auth/edi/", "/auth/edi/health/live", "/other/oauth2/token"]
    {
        assert_eq!(edi.ask("GET", path).send().await.json()["error"], "not_found", "{path}");
    }
}

#[tokio::test]
async fn no_url_is_ever_taken_from_a_request() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    for path in DOCUMENTS {
        let plain = edi.ask("GET", path).send().await.assert(200);
        let hostile = edi.ask("GET", path).header("host", "evil.example").header("x-forwarded-host", "evil.example");
        let hostile = hostile.header("x-forwarded-proto", "gopher").header("forwarded", "host=evil.example;proto=x");
        let hostile = hostile.header("x-original-url", "https://evil.example/").send().await.assert(200);
        assert_eq!(hostile.body, plain.body, "{path}");
        let absolute = edi.ask("GET", &format!("http://evil.example{path}")).send().await.assert(200);
        assert_eq!(absolute.body, plain.body, "RFC 9112 §3.2.2: absolute form, {path}");
    }
    let form = [("grant_type", "client_credentials")];
    let ask = edi.ask("POST", "/oauth2/token").header("host", "evil.example").basic(&svc.id, &svc.secret).form(&form);
    let token = ask.send().await.assert(200).json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(parts(&token).1["iss"], ISSUER);
}

#[tokio::test]
async fn documents_are_cached_by_entity_tag_and_open_to_every_origin() {
    let edi = TestEdi::new().await;
    for path in DOCUMENTS {
        let full = edi.ask("GET", path).send().await.assert(200);
        let etag = full.header("etag").to_owned();
        assert!(etag.len() > 20 && etag.starts_with('"') && etag.ends_with('"'), "strong: {full}");
        assert_eq!(full.header("access-control-allow-origin"), "*", "{full}");
        assert_eq!(full.header("x-content-type-options"), "nosniff", "{full}");
        for (sent, status) in [
            (etag.clone(), 304),
            (format!("W/{etag}"), 304),
            (format!("\"x\", {etag}"), 304),
            ("*".to_owned(), 304),
            ("\"x\"".to_owned(), 200),
        ] {
            let answer = edi.ask("GET", path).header("if-none-match", &sent).send().await;
            assert_eq!(answer.status, status, "RFC 9110 §13.1.2: {sent}: {answer}");
            assert_eq!(answer.body.is_empty(), status == 304, "{answer}");
            for name in ["etag", "cache-control", "access-control-allow-origin"] {
                assert_eq!(answer.header(name), full.header(name), "RFC 9110 §15.4.5: {answer}");
            }
        }
        let head = edi.ask("HEAD", path).send().await.assert(200);
        assert_eq!(head.body, "", "RFC 9110 §9.3.2");
        for name in ["etag", "cache-control", "content-type", "content-length"] {
            assert_eq!(head.header(name), full.header(name), "RFC 9110 §9.3.2: {head}");
        }
        let preflight = edi.ask("OPTIONS", path).header("origin", "https://app.example");
        let preflight = preflight.header("access-control-request-method", "GET").send().await.assert(204);
        assert_eq!(preflight.header("access-control-allow-origin"), "*", "{preflight}");
        assert_eq!(preflight.header("access-control-allow-methods"), "GET, HEAD", "{preflight}");
        assert_eq!(preflight.header("access-control-allow-credentials"), "", "{preflight}");
        let post = edi.ask("POST", path).send().await.assert(405);
        assert_eq!(post.header("allow"), "GET, HEAD, OPTIONS", "{post}");
    }
}

#[tokio::test]
async fn the_key_set_holds_signer_and_standby_of_each_algorithm_and_nothing_private() {
    let edi = Setup::new().set("keys.algorithms", "ES256,EdDSA,RS256").start().await;
    let answer = edi.ask("GET", "/.well-known/jwks.json").send().await.assert(200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    let keys = answer.json()["keys"].as_array().unwrap().clone();
    assert_eq!(answer.json().as_object().unwrap().len(), 1);
    let shape = |key: &Value| {
        let names: Vec<String> = key.as_object().unwrap().keys().cloned().collect();
        format!("{} {} {}", key["alg"].as_str().unwrap(), key["use"].as_str().unwrap(), names.join(" "))
    };
    let shapes: Vec<String> = keys.iter().map(shape).collect();
    let (ec, okp, rsa) =
        ("ES256 sig alg crv kid kty use x y", "EdDSA sig alg crv kid kty use x", "RS256 sig alg e kid kty n use");
    let mut wanted = [ec, ec, okp, okp, rsa, rsa];
    wanted.sort_unstable();
    let mut sorted = shapes.clone();
    sorted.sort();
    assert_eq!(sorted, wanted, "RFC 7517 §4, 9.2: public members alone");
    let listed = edi.admin("GET", "keys", &Value::Null).await.assert(200).json();
    let states: Vec<(&Value, &Value)> =
        listed["items"].as_array().unwrap().iter().map(|key| (&key["kid"], &key["state"])).collect();
    for key in &keys {
        let state = states.iter().find(|(kid, _)| **kid == key["kid"]).map(|(_, state)| *state).unwrap();
        assert!(["active", "pending"].contains(&state.as_str().unwrap()), "{listed}");
    }
    let pending = states.iter().filter(|(_, state)| *state == "pending").count();
    assert_eq!((states.len(), pending), (6, 3), "a standby is always published: {listed}");
    for view in listed["items"].as_array().unwrap() {
        assert!(!view.to_string().contains("sealed") && view["jwk"].get("d").is_none(), "{view}");
    }
}

#[tokio::test]
async fn a_thumbprint_names_each_key() {
    let edi = TestEdi::new().await;
    let jwks = edi.ask("GET", "/.well-known/jwks.json").send().await.json();
    for key in jwks["keys"].as_array().unwrap() {
        // RFC 7638 §3.2: the required members of an EC key in lexicographic order.
        let (x, y) = (key["x"].as_str().unwrap(), key["y"].as_str().unwrap());
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        assert_eq!(key["kid"], crate::support::jwt::encode(digest));
    }
}

#[tokio::test]
async fn health_is_on_both_listeners_and_unknown_paths_are_404() {
    let edi = TestEdi::new().await;
    for at in [edi.public, edi.admin] {
        use crate::support::http::Ask;
        Ask::new(at, "GET", "/health/live").send().await.assert_json(200, &json!({ "status": "ok" }));
        let ready = Ask::new(at, "GET", "/health/ready").send().await;
        assert_eq!(ready.header("cache-control"), "no-store");
        ready.assert_json(200, &json!({ "status": "ok", "store": "ok" }));
        let post = Ask::new(at, "POST", "/health/live").send().await.assert(405);
        assert_eq!(post.header("allow"), "GET, HEAD");
    }
    for path in ["/", "/admin/v1/clients", "/admin/v1/status", "/oauth2", "/oauth2/authorize", "/oauth2/token/"] {
        let answer = edi.ask("GET", path).send().await.assert(404);
        assert_eq!(answer.json()["error"], "not_found", "nothing of the admin API is public: {answer}");
    }
    for path in ["/oauth2/token", "/.well-known/jwks.json"] {
        let answer = crate::support::http::Ask::new(edi.admin, "GET", path).send().await;
        assert_eq!(answer.status, 404, "{answer}");
    }
}
