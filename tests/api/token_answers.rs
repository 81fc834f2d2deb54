//! What the token endpoint gives: the answer of RFC 6749 §5.1, the token of RFC 9068, scope and audience rules.

use serde_json::{Value, json};

use crate::support::edi::{ISSUER, Registered, Setup, TestEdi};
use crate::support::jwt::{claims, parts, verified};

const DEFAULT: &str = "model-prediction-api";

async fn jwks(edi: &TestEdi) -> Value {
    edi.ask("GET", "/.well-known/jwks.json").send().await.assert(200).json()
}

#[tokio::test]
async fn the_answer_is_that_of_rfc_6749_and_is_never_cached() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a", "b"]).await;
    let answer = edi.request_token(&svc, &[]).await.assert(200);
    let body = answer.json();
    let names: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(names, ["access_token", "expires_in", "scope", "token_type"], "RFC 6749 §5.1, no refresh token: §4.4.3");
    assert_eq!(
        (&body["token_type"], &body["expires_in"], &body["scope"]),
        (&json!("Bearer"), &json!(900), &json!("a b"))
    );
    assert_eq!(answer.header("content-type"), "application/json", "RFC 6749 §5.1");
    assert_eq!(answer.header("cache-control"), "no-store", "RFC 6749 §5.1");
    assert_eq!(answer.header("pragma"), "no-cache", "RFC 6749 §5.1");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn a_token_is_rfc_9068s_to_the_claim() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["b", "a"]).await;
    let token = edi.token(&svc, &[]).await;
    let keys = jwks(&edi).await;
    let (header, claims) = verified(&token, &keys);
    assert_eq!(header, json!({ "alg": "ES256", "kid": keys["keys"][0]["kid"], "typ": "at+jwt" }), "RFC 9068 §2.1");
    let jti = claims["jti"].clone();
    let now = edi.now();
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER, "sub": "svc", "aud": DEFAULT, "exp": now + 900, "iat": now, "jti": jti,
            "client_id": "svc", "scope": "a b", "roles": ["a", "b"], "groups": ["a", "b"],
        }),
        "RFC 9068 §2.2, 2.2.3; no nbf"
    );
    assert_eq!(jti.as_str().unwrap().len(), 22, "128 bits");
    let again = crate::support::jwt::claims(&edi.token(&svc, &[]).await);
    assert_ne!(again["jti"], jti, "RFC 9068 §2.2: jti is unique");
    let admin = crate::support::jwt::claims(&edi.admin_token(&edi.operator(), "edi:read edi:keys").await);
    assert_eq!((&admin["aud"], &admin["scope"]), (&json!(ISSUER), &json!("edi:read edi:keys")));
    assert_eq!((&admin["roles"], &admin["groups"]), (&json!([]), &json!([])), "an admin token holds no role");
}

#[tokio::test]
async fn role_claims_follow_the_configuration() {
    for (groups, keycloak) in [("false", "false"), ("true", "true"), ("false", "true")] {
        let setup = Setup::new().set("claims.groups", groups).set("claims.keycloak_roles", keycloak);
        let edi = setup.start().await;
        let svc = edi.register("svc", &["a"]).await;
        let claims = claims(&edi.token(&svc, &[]).await);
        assert_eq!(claims.get("groups"), (groups == "true").then_some(&json!(["a"])));
        assert_eq!(claims.get("realm_access"), (keycloak == "true").then_some(&json!({ "roles": ["a"] })));
        assert_eq!(claims["roles"], json!(["a"]));
    }
}

#[tokio::test]
async fn lifetimes_are_the_clients_and_at_most_max_ttl() {
    let setup = Setup::new().set("tokens.ttl", "5m").set("tokens.max_ttl", "1h");
    let edi = setup.start().await;
    for (lifetime, answer) in [(json!(null), 300), (json!(10), 10), (json!(3600), 3600)] {
        let more = json!({ "roles": ["a"], "access_token_lifetime": lifetime });
        let svc = edi.register_with(&format!("svc{answer}"), &more).await;
        let body = edi.request_token(&svc, &[]).await.assert(200).json();
        assert_eq!(body["expires_in"], answer);
        let claims = claims(body["access_token"].as_str().unwrap());
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), answer);
    }
    for lifetime in [json!(3601), json!(9), json!(0), json!(-1), json!("300"), json!(60.5)] {
        let body = json!({ "client_id": "svc", "access_token_lifetime": lifetime });
        let problem = edi.admin("POST", "clients", &body).await.assert_problem(422);
        assert_eq!(problem["errors"][0]["field"], "access_token_lifetime", "{lifetime}");
    }
}

#[tokio::test]
async fn a_lower_max_ttl_binds_clients_that_were_registered_before() {
    let setup = Setup::on_disk();
    let edi = setup.start().await;
    let svc = edi.register_with("svc", &json!({ "roles": ["a"], "access_token_lifetime": 7200 })).await;
    edi.stop().await;
    let edi = setup.set("tokens.max_ttl", "1h").start().await;
    assert_eq!(edi.request_token(&svc, &[]).await.assert(200).json()["expires_in"], 3600);
}

#[tokio::test]
async fn each_client_has_its_tokens_signed_with_its_algorithm() {
    let edi = Setup::new().set("keys.algorithms", "ES256,EdDSA,RS256,PS256").start().await;
    let keys = jwks(&edi).await;
    for (wanted, signed) in
        [("", "ES256"), ("ES256", "ES256"), ("EdDSA", "EdDSA"), ("RS256", "RS256"), ("PS256", "PS256")]
    {
        let mut more = json!({ "roles": ["a"] });
        if !wanted.is_empty() {
            more["access_token_signing_alg"] = wanted.into();
        }
        let svc = edi.register_with(&format!("svc-{wanted}"), &more).await;
        let token = edi.token(&svc, &[]).await;
        let (header, _) = verified(&token, &keys);
        assert_eq!((&header["alg"], &header["typ"]), (&json!(signed), &json!("at+jwt")));
        assert!(edi.is_active(&svc, &token).await, "{signed}");
    }
    let edi = TestEdi::new().await;
    let body = json!({ "client_id": "svc", "access_token_signing_alg": "RS256" });
    let problem = edi.admin("POST", "clients", &body).await.assert_problem(422);
    assert_eq!(problem["errors"][0]["field"], "access_token_signing_alg", "an algorithm without keys");
}

/// A client, what it asks for, and the scope and audience of its token or the code of its refusal.
type Row<'a> = (&'a Registered, Option<&'a str>, Option<&'a str>, Result<(&'a str, &'a str), &'a str>, &'a str);

async fn check(edi: &TestEdi, rows: &[Row<'_>]) {
    for (by, scope, resource, outcome, rule) in rows {
        let mut fields = Vec::new();
        fields.extend(scope.map(|scope| ("scope", scope)));
        fields.extend(resource.map(|resource| ("resource", resource)));
        let answer = edi.request_token(by, &fields).await;
        match outcome {
            Ok((scope, audience)) => {
                assert_eq!(answer.status, 200, "{rule}: {answer}");
                let body = answer.json();
                let claims = claims(body["access_token"].as_str().unwrap());
                let got = [&body["scope"], &claims["scope"], &claims["aud"]].map(|it| it.as_str().unwrap());
                assert_eq!(got, [*scope, *scope, *audience], "{rule}: aud is a string");
            }
            Err(code) => {
                assert_eq!(answer.status, 400, "{rule}: {answer}");
                let answer = answer.assert_refused(400, code);
                let described = answer.json()["error_description"].as_str().unwrap().to_owned();
                for sent in fields.iter().map(|(_, sent)| *sent).filter(|sent| sent.contains("planet")) {
                    assert!(!described.contains(sent), "{rule}: input is never echoed: {answer}");
                }
            }
        }
    }
}

#[tokio::test]
async fn scopes_are_granted_roles_or_admin_scopes() {
    let edi = TestEdi::new().await;
    let svc = edi.register_with("svc", &json!({ "roles": ["a", "b"], "admin_scopes": ["edi:read"] })).await;
    let nobody = edi.register_with("nobody", &json!({ "roles": [] })).await;
    check(
        &edi,
        &[
            (&svc, None, None, Ok(("a b", DEFAULT)), "RFC 6749 §3.3: left out: all roles, never an admin scope"),
            (&svc, Some("b"), None, Ok(("b", DEFAULT)), "RFC 6749 §3.3"),
            (&svc, Some("b a"), None, Ok(("b a", DEFAULT)), "RFC 6749 §3.3: the order asked for"),
            (&svc, Some("a a"), None, Ok(("a", DEFAULT)), "RFC 6749 §3.3: a set"),
            (&svc, Some("openid"), None, Ok(("a b", DEFAULT)), "OIDC's names alone count as left out"),
            (
                &svc,
                Some("openid profile email groups offline_access"),
                None,
                Ok(("a b", DEFAULT)),
                "OIDC's names alone count as left out",
            ),
            (&svc, Some("openid a"), None, Ok(("a", DEFAULT)), "OIDC's names beside others are ignored"),
            (&svc, Some("edi:read"), None, Ok(("edi:read", ISSUER)), "the issuer is the admin API's audience"),
            (&svc, Some("edi:read"), Some(ISSUER), Ok(("edi:read", ISSUER)), "RFC 8707 §2: named"),
            (&svc, Some("edi:read"), Some(DEFAULT), Err("invalid_target"), "RFC 8707 §2: another audience"),
            (&svc, Some("planet"), None, Err("invalid_scope"), "RFC 6749 §5.2: not granted"),
            (&svc, Some("a planet"), None, Err("invalid_scope"), "RFC 6749 §5.2: one of them not granted"),
            (&svc, Some("edi:clients"), None, Err("invalid_scope"), "an admin scope that was not granted"),
            (&svc, Some("edi:admin"), None, Err("invalid_scope"), "an admin scope that was not granted"),
            (&svc, Some("a edi:read"), None, Err("invalid_scope"), "roles or admin scopes, never both"),
            (&svc, None, Some(ISSUER), Err("invalid_target"), "no role reaches the admin API"),
            (&svc, None, Some("https://planet.example"), Err("invalid_target"), "RFC 8707 §2: unknown"),
            (&svc, None, Some("planet nonsense"), Err("invalid_target"), "RFC 8707 §2: malformed"),
            (&nobody, None, None, Err("invalid_scope"), "RFC 6749 §3.3: nothing granted"),
            (&nobody, Some("openid"), None, Err("invalid_scope"), "RFC 6749 §3.3: nothing granted"),
        ],
    )
    .await;
    let answer = edi.request_token(&svc, &[("scope", "planet")]).await;
    let description = answer.json()["error_description"].as_str().unwrap().to_owned();
    assert_eq!(description, "this client holds: a b edi:read", "what it could ask for instead");
}

#[tokio::test]
async fn deployments_decide_the_audience() {
    let (fraud_api, credit_api) = ("https://fraud.example", "https://credit.example/api?v=1");
    let edi = TestEdi::new().await;
    for (id, role, audience) in [
        ("fraud", "fraud", Some(fraud_api)),
        ("credit", "credit", Some(credit_api)),
        ("both-1", "both", Some(fraud_api)),
        ("both-2", "both", Some(credit_api)),
        ("plain", "plain", None),
    ] {
        edi.deploy(id, role, audience).await;
    }
    let all = edi.register("all", &["fraud", "credit", "both", "plain", "free"]).await;
    let one = edi.register("one", &["credit"]).await;
    let bound = json!({ "roles": ["fraud", "free"], "audiences": ["https://own.example"] });
    let bound = edi.register_with("bound", &bound).await;
    check(
        &edi,
        &[
            (&one, None, None, Ok(("credit", credit_api)), "RFC 9068 §3: the default for this client"),
            (&all, Some("fraud"), None, Ok(("fraud", fraud_api)), "RFC 9068 §3: the audience of the role's deployment"),
            (&all, Some("free"), None, Ok(("free", DEFAULT)), "a role without a deployment"),
            (&all, Some("plain free"), None, Ok(("plain free", DEFAULT)), "a deployment without an audience"),
            (&all, Some("fraud both"), None, Ok(("fraud both", fraud_api)), "the one that the named roles share"),
            (&all, Some("fraud credit"), None, Err("invalid_scope"), "RFC 9068 §3: several resources"),
            (&all, Some("both"), None, Err("invalid_target"), "several in common: one is to be named"),
            (&all, Some("both"), Some(credit_api), Ok(("both", credit_api)), "RFC 8707 §2"),
            (&all, Some("fraud"), Some(fraud_api), Ok(("fraud", fraud_api)), "RFC 8707 §2"),
            (&all, Some("fraud"), Some(credit_api), Err("invalid_target"), "RFC 8707 §2: not the role's"),
            (&all, Some("fraud both"), Some(credit_api), Err("invalid_target"), "RFC 8707 §2: not every role's"),
            (&all, Some("fraud"), Some("HTTPS://fraud.example"), Err("invalid_target"), "byte for byte"),
            (&all, Some("fraud"), Some("https://fraud.example/#x"), Err("invalid_target"), "RFC 8707 §2: no fragment"),
            (&all, None, Some(fraud_api), Ok(("both fraud", fraud_api)), "left out: the roles valid there"),
            (&all, None, None, Ok(("free plain", DEFAULT)), "left out: the default audience's roles"),
            (&bound, Some("free"), Some("https://own.example"), Ok(("free", "https://own.example")), "registered"),
            (&bound, Some("free"), None, Ok(("free", DEFAULT)), "registered, but not asked for"),
            (&bound, Some("fraud"), Some("https://own.example"), Err("invalid_target"), "the client's, not the role's"),
        ],
    )
    .await;
    let twice = edi.ask("POST", "/oauth2/token").basic(&all.id, &all.secret).form(&[
        ("grant_type", "client_credentials"),
        ("resource", fraud_api),
        ("resource", fraud_api),
    ]);
    twice.send().await.assert_refused(400, "invalid_target");
    // A deployment that goes away takes its audience along.
    edi.admin("DELETE", "deployments/credit", &Value::Null).await.assert(204);
    edi.admin("DELETE", "deployments/both-2", &Value::Null).await.assert(204);
    check(&edi, &[(&one, None, None, Ok(("credit", DEFAULT)), "no deployment left")]).await;
}

#[tokio::test]
async fn the_default_role_is_granted_at_creation_and_never_at_issuing() {
    let edi = TestEdi::new().await;
    let unsaid = edi.register_with("unsaid", &json!({})).await;
    let none = edi.register_with("none", &json!({ "roles": [] })).await;
    let other = edi.register("other", &["a"]).await;
    let admin = edi.register_admin("admin", &["edi:read"]).await;
    assert_eq!(unsaid.view["roles"], json!(["default"]));
    assert_eq!((&none.view["roles"], &admin.view["roles"]), (&json!([]), &json!([])));
    assert_eq!(claims(&edi.token(&unsaid, &[]).await)["roles"], json!(["default"]));
    for by in [&none, &admin] {
        edi.request_token(by, &[]).await.assert_refused(400, "invalid_scope");
    }
    edi.request_token(&other, &[("scope", "default")]).await.assert_refused(400, "invalid_scope");
    let made = edi.admin("POST", "deployments", &json!({ "id": "m" })).await.assert(201).json();
    assert_eq!(made["role"], "default", "a deployment without a role gets it as well");

    let edi = Setup::new().set("tokens.default_role", "").start().await;
    let unsaid = edi.register_with("unsaid", &json!({})).await;
    edi.request_token(&unsaid, &[]).await.assert_refused(400, "invalid_scope");
    let problem = edi.admin("POST", "deployments", &json!({ "id": "m" })).await.assert_problem(422);
    assert_eq!(problem["errors"][0]["field"], "role");
}

#[tokio::test]
async fn issuing_writes_nothing_to_the_store() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let before = edi.revision().await;
    let token = edi.token(&svc, &[]).await;
    assert!(edi.is_active(&svc, &token).await);
    edi.memory().fail_reads(true);
    assert_ne!(parts(&edi.token(&svc, &[]).await).1["jti"], parts(&token).1["jti"], "a client in use: from memory");
    edi.memory().fail_reads(false);
    assert_eq!(edi.revision().await, before);
}
