//! Introspection (RFC 7662): what an active token answers, and that everything else is `{"active":false}` to the byte.

use serde_json::{Value, json};

use crate::support::edi::{ISSUER, Registered, Setup, TestEdi};
use crate::support::jwt::{Thief, claims, encode, parts, signing_input};

#[tokio::test]
async fn an_active_token_says_exactly_this() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a", "b"]).await;
    let token = edi.token(&svc, &[]).await;
    let answer = edi.introspect(&svc, &token).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("content-type"), "application/json", "RFC 7662 §2.2");
    let now = edi.now();
    let active = json!({
        "active": true, "scope": "a b", "client_id": "svc", "sub": "svc", "aud": "model-prediction-api",
        "iss": ISSUER, "exp": now + 900, "iat": now, "jti": claims(&token)["jti"], "token_type": "Bearer",
        "roles": ["a", "b"],
    });
    answer.assert_json(200, &active);
    for hint in ["access_token", "refresh_token", "nonsense"] {
        let form = [("token", token.as_str()), ("token_type_hint", hint)];
        let answer = edi.ask("POST", "/oauth2/introspect").basic(&svc.id, &svc.secret).form(&form).send().await;
        answer.assert_json(200, &active); // RFC 7662 §2.1: a hint may be ignored
    }
    let admin = edi.admin_token(&edi.operator(), "edi:keys").await;
    let said = edi.introspect(&edi.operator(), &admin).await.assert(200).json();
    assert_eq!((&said["aud"], &said["scope"], &said["roles"]), (&json!(ISSUER), &json!("edi:keys"), &json!([])));
}

#[tokio::test]
async fn the_callers_own_faults_are_refused() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let token = edi.token(&svc, &[]).await;
    for endpoint in ["/oauth2/introspect", "/oauth2/revoke"] {
        let by_svc = || edi.ask("POST", endpoint).basic(&svc.id, &svc.secret);
        let in_query = format!("{endpoint}?token={token}");
        for (ask, status, code, rule) in [
            (by_svc().form(&[]), 400, "invalid_request", "RFC 7662 §2.1, 7009 §2.1: token is REQUIRED"),
            (by_svc().form(&[("token", "")]), 400, "invalid_request", "empty: as if omitted"),
            (by_svc().form(&[("token", "x"), ("token", "x")]), 400, "invalid_request", "RFC 6749 §3.2: repeated"),
            (by_svc().json(&json!({ "token": token })), 400, "invalid_request", "RFC 7662 §2.1: a form"),
            (edi.ask("POST", endpoint).form(&[("token", &token)]), 401, "invalid_client", "RFC 7662 §2.1, 4"),
            (edi.ask("POST", endpoint).bearer(&token).form(&[("token", &token)]), 401, "invalid_client", "no Bearer"),
            (edi.ask("POST", &in_query).basic(&svc.id, &svc.secret).form(&[]), 400, "invalid_request", "in the query"),
        ] {
            let answer = ask.send().await;
            assert_eq!(answer.status, status, "{rule}: {answer}");
            answer.assert_refused(status, code);
        }
        let answer = edi.ask("GET", endpoint).basic(&svc.id, &svc.secret).send().await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "RFC 7662 §2.1, RFC 7009 §2: {answer}");
    }
    assert!(edi.is_active(&svc, &token).await, "none of it revoked anything");
}

#[tokio::test]
async fn a_token_goes_inactive_the_second_it_expires() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let token = edi.token(&svc, &[]).await;
    // The clock starts at a quarter past a second; exp lies 900 whole seconds after iat.
    edi.clock.advance(std::time::Duration::from_millis(899_749));
    assert!(edi.is_active(&svc, &token).await, "a millisecond before");
    edi.clock.advance(std::time::Duration::from_millis(1));
    TestEdi::assert_inactive(edi.introspect(&svc, &token).await, "RFC 7519 §4.1.4: on or after exp");
}

#[tokio::test]
async fn a_client_sees_its_own_tokens_and_edi_introspect_sees_all() {
    let edi = TestEdi::new().await;
    let (a, b) = (edi.register("a", &["r"]).await, edi.register("b", &["r"]).await);
    let proxy = edi.register_admin("proxy", &["edi:introspect"]).await;
    let reader = edi.register_admin("reader", &["edi:read", "edi:revocations", "edi:issue"]).await;
    let token = edi.token(&a, &[]).await;
    for (by, sees) in [(&a, true), (&b, false), (&proxy, true), (&reader, false), (&edi.operator(), true)] {
        assert_eq!(edi.is_active(by, &token).await, sees, "RFC 7662 §4: {}", by.id);
    }
}

#[tokio::test]
async fn what_is_no_token_is_inactive_and_no_error() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let token = edi.token(&svc, &[]).await;
    let [header, payload, signature] = *token.split('.').collect::<Vec<_>>() else { panic!("{token}") };
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let other = edi.token(&svc, &[]).await;
    let other_payload = other.split('.').nth(1).unwrap();
    let long = "x".repeat(8 * 1024);
    for garbage in [
        "x".to_owned(),
        "...".to_owned(),
        "\u{0}\r\n".to_owned(),
        "é€".to_owned(),
        long,
        svc.secret.clone(),
        format!("{token} "),
        format!(" {token}"),
        format!("{token}."),
        format!("{token}="),
        format!("Bearer {token}"),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("{header}.{payload}.{flipped}{}", &signature[1..]),
        format!("{header}.{payload}.{}", &signature[..signature.len() - 2]),
        format!("{header}.{other_payload}.{signature}"),
        token.to_uppercase(),
        token.replace('.', "%2E"),
    ] {
        TestEdi::assert_inactive(edi.introspect(&svc, &garbage).await, &garbage);
    }
    assert!(edi.is_active(&svc, &token).await);
}

/// An edi that signs with EdDSA beside ES256, and whoever stole its key.
async fn robbed() -> (TestEdi, Registered, Thief) {
    let setup = Setup::new().set("keys.algorithms", "EdDSA,ES256");
    let edi = setup.start().await;
    let svc = edi.register("svc", &["a"]).await;
    let thief = Thief::of(&edi, &setup.path("keys/master.key"));
    (edi, svc, thief)
}

fn with(value: &Value, changes: &[(&str, Value)]) -> Value {
    let mut changed = value.clone();
    for (name, to) in changes {
        match to {
            Value::Null => drop(changed.as_object_mut().unwrap().remove(*name)),
            to => changed[name] = to.clone(),
        }
    }
    changed
}

#[tokio::test]
async fn even_with_edis_own_key_nothing_but_an_access_token_passes() {
    let (edi, svc, thief) = robbed().await;
    let (header, claims) = parts(&edi.token(&svc, &[]).await);
    assert_eq!(header["alg"], "EdDSA");
    assert!(edi.is_active(&svc, &thief.sign(&header, &claims)).await, "the thief's copy is as good as the original");
    let good = json!("application/at+jwt");
    assert!(edi.is_active(&svc, &thief.sign(&with(&header, &[("typ", good)]), &claims)).await, "RFC 9068 §4");
    let headers = [
        (with(&header, &[("typ", json!("JWT"))]), "RFC 9068 §4: an ID token or any other JWT"),
        (with(&header, &[("typ", Value::Null)]), "RFC 9068 §4: no typ"),
        (with(&header, &[("typ", json!("client-authentication+jwt"))]), "an assertion is no access token"),
        (with(&header, &[("typ", json!("logout+jwt"))]), "RFC 9068 §4"),
        (with(&header, &[("typ", json!(["at+jwt"]))]), "typ is a text"),
        (with(&header, &[("alg", json!("none"))]), "RFC 9068 §2.1: MUST NOT be none"),
        (with(&header, &[("alg", json!("HS256"))]), "RFC 8725 §2.1: another algorithm under our kid"),
        (with(&header, &[("alg", json!("ES256"))]), "RFC 8725 §3.1: an alg that is not the key's"),
        (with(&header, &[("alg", json!("eddsa"))]), "RFC 7515 §4.1.1: case-sensitive"),
        (with(&header, &[("kid", Value::Null)]), "no kid"),
        (with(&header, &[("kid", json!("unknown"))]), "an unknown kid"),
        (with(&header, &[("crit", json!(["exp"]))]), "RFC 7515 §4.1.11: crit that is not understood"),
        (with(&header, &[("crit", json!([]))]), "RFC 7515 §4.1.11: MUST NOT be empty"),
        (with(&header, &[("b64", json!(false)), ("crit", json!(["b64"]))]), "RFC 7797"),
    ];
    for (header, rule) in headers {
        TestEdi::assert_inactive(edi.introspect(&svc, &thief.sign(&header, &claims)).await, rule);
    }
    let now = edi.now();
    let changes: [(&[(&str, Value)], &str); 19] = [
        (&[("iss", json!("https://edi.example/"))], "RFC 9068 §4: exactly the issuer"),
        (&[("iss", Value::Null)], "RFC 9068 §2.2: iss is REQUIRED"),
        (&[("aud", Value::Null)], "RFC 9068 §2.2: aud is REQUIRED"),
        (&[("sub", Value::Null)], "RFC 9068 §2.2: sub is REQUIRED"),
        (&[("sub", json!("other"))], "RFC 9068 §2.2: sub is the client"),
        (&[("client_id", Value::Null)], "RFC 9068 §2.2: client_id is REQUIRED"),
        (&[("jti", Value::Null)], "RFC 9068 §2.2: jti is REQUIRED"),
        (&[("jti", json!("short"))], "a jti that edi would not write"),
        (&[("iat", Value::Null)], "RFC 9068 §2.2: iat is REQUIRED"),
        (&[("exp", Value::Null)], "RFC 9068 §2.2: exp is REQUIRED"),
        (&[("exp", json!(now))], "RFC 7519 §4.1.4: on exp"),
        (&[("exp", json!(now - 1))], "RFC 7519 §4.1.4: past exp"),
        (&[("exp", json!((now + 60).to_string()))], "RFC 7519 §2: a NumericDate is a number"),
        (&[("exp", json!(1e300))], "a number beyond time"),
        (&[("scope", Value::Null)], "a token without scope"),
        (&[("scope", json!(""))], "an empty scope"),
        (&[("scope", json!(["a"]))], "scope is a text"),
        (&[("scope", json!("edi:planet"))], "no such scope"),
        (&[("aud", json!(["model-prediction-api", "other"]))], "edi writes one audience"),
    ];
    for (changes, rule) in changes {
        TestEdi::assert_inactive(edi.introspect(&svc, &thief.sign(&header, &with(&claims, changes))).await, rule);
    }
    let doubled = claims.to_string().replacen('{', r#"{"client_id":"other","#, 1);
    let input = format!("{}.{}", encode(header.to_string()), encode(doubled));
    let signed = thief.sign_text(&input);
    TestEdi::assert_inactive(edi.introspect(&svc, &signed).await, "RFC 7519 §4: a claim twice");
}

#[tokio::test]
async fn tokens_that_others_signed_are_inactive() {
    let (edi, svc, thief) = robbed().await;
    let (header, claims) = parts(&edi.token(&svc, &[]).await);
    let keys = edi.ask("GET", "/.well-known/jwks.json").send().await.json();
    let input = |header: &Value| signing_input(header, &claims);
    // "none" (RFC 8725 §2.1), with an empty and with a borrowed signature.
    for alg in ["none", "None", "NONE"] {
        let unsigned = input(&with(&header, &[("alg", json!(alg))]));
        let borrowed = thief.sign(&header, &claims);
        let borrowed = borrowed.rsplit_once('.').unwrap().1;
        for token in [format!("{unsigned}."), format!("{unsigned}.{borrowed}")] {
            TestEdi::assert_inactive(edi.introspect(&svc, &token).await, alg);
        }
    }
    // HMAC with what is public (RFC 8725 §2.1): the JWK's text, its members, the whole set.
    let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap();
    let public = key["x"].as_str().unwrap().to_owned();
    for secret in [String::new(), public, key.to_string(), keys.to_string(), "secret".into(), svc.secret.clone()] {
        for alg in ["HS256", "EdDSA"] {
            let input = input(&with(&header, &[("alg", json!(alg))]));
            let hmac =
                ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes()), input.as_bytes());
            let token = format!("{input}.{}", encode(hmac));
            TestEdi::assert_inactive(edi.introspect(&svc, &token).await, "HMAC with what is public");
        }
    }
    // A stranger's key: under our kid, brought along, or fetched from where the stranger says.
    let stranger = Thief::stranger();
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": stranger.public(), "alg": "EdDSA", "kid": thief.kid });
    for (changes, rule) in [
        (vec![], "the wrong key under our kid"),
        (vec![("jwk", jwk.clone())], "RFC 8725 §3.5: jwk in the header is not trusted"),
        (vec![("jku", json!("https://evil.example/jwks"))], "RFC 8725 §3.10: jku is not followed"),
        (vec![("x5u", json!("https://evil.example/x"))], "RFC 8725 §3.10: x5u is not followed"),
        (vec![("kid", jwk["x"].clone()), ("jwk", jwk.clone())], "a kid of the stranger's own"),
    ] {
        let token = stranger.sign(&with(&header, &changes), &claims);
        TestEdi::assert_inactive(edi.introspect(&svc, &token).await, rule);
    }
    // Our own signature under our other keys' ids: the pending one, and the one of another algorithm.
    for key in keys["keys"].as_array().unwrap().iter().filter(|key| key["kid"] != header["kid"]) {
        let swapped = with(&header, &[("kid", key["kid"].clone())]);
        TestEdi::assert_inactive(edi.introspect(&svc, &thief.sign(&swapped, &claims)).await, "another of our kids");
        let swapped = with(&swapped, &[("alg", key["alg"].clone())]);
        TestEdi::assert_inactive(
            edi.introspect(&svc, &thief.sign(&swapped, &claims)).await,
            "another kid with its alg",
        );
    }
    // The same issuer name, another installation.
    let other = Setup::new().set("keys.algorithms", "EdDSA").start().await;
    let foreign = other.register("svc", &["a"]).await;
    let token = other.token(&foreign, &[]).await;
    TestEdi::assert_inactive(edi.introspect(&svc, &token).await, "another installation's token");
}

#[tokio::test]
async fn whatever_an_operator_takes_away_makes_tokens_inactive_at_once() {
    let edi = TestEdi::new().await;
    let all = edi.operator();
    let kid = edi.ask("GET", "/.well-known/jwks.json").send().await.json()["keys"][0]["kid"].clone();
    let null = Value::Null;
    for (n, (method, path, body, survives, rule)) in [
        ("POST", "revocations", json!({ "kind": "jti", "id": "JTI" }), true, "its jti"),
        ("POST", "revocations", json!({ "kind": "token", "token": "TOKEN" }), true, "the token, pasted"),
        ("POST", "revocations", json!({ "kind": "client", "id": "CLIENT" }), false, "its client"),
        ("POST", "revocations", json!({ "kind": "role", "id": "ROLE" }), false, "one of its roles"),
        ("PATCH", "clients/CLIENT", json!({ "state": "disabled" }), false, "its client disabled"),
        ("DELETE", "clients/CLIENT", null, false, "its client deleted"),
        ("PATCH", "clients/CLIENT", json!({ "roles": ["other"] }), false, "a role taken away"),
        ("PATCH", "clients/CLIENT", json!({ "roles": null }), false, "all roles taken away"),
        ("POST", "revocations", json!({ "kind": "key", "id": kid }), false, "the key that signed it"),
    ]
    .into_iter()
    .enumerate()
    {
        let (client, role) = (format!("svc{n}"), format!("role{n}"));
        let svc = edi.register(&client, &[&role, "other"]).await;
        let (token, sibling) = (edi.token(&svc, &[]).await, edi.token(&svc, &[]).await);
        assert!(edi.is_active(&all, &token).await && edi.is_active(&all, &sibling).await);
        let fill = |text: &str| {
            let text = text.replace("CLIENT", &client).replace("ROLE", &role).replace("TOKEN", &token);
            text.replace("JTI", claims(&token)["jti"].as_str().unwrap())
        };
        let body = serde_json::from_str(&fill(&body.to_string())).unwrap();
        let answer = edi.admin(method, &fill(path), &body).await;
        assert!((200..300).contains(&answer.status), "{rule}: {answer}");
        TestEdi::assert_inactive(edi.introspect(&all, &token).await, rule);
        assert_eq!(edi.is_active(&all, &sibling).await, survives, "{rule}: another token of the same client");
        // Past the two seconds for which a bulk revocation covers new tokens, the operator's own included.
        edi.advance(4);
    }
}

#[tokio::test]
async fn a_role_taken_away_leaves_tokens_without_it() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a", "b"]).await;
    let (a, b, both) = (
        edi.token(&svc, &[("scope", "a")]).await,
        edi.token(&svc, &[("scope", "b")]).await,
        edi.token(&svc, &[]).await,
    );
    edi.admin("PATCH", "clients/svc", &json!({ "roles": ["b"] })).await.assert(200);
    assert_eq!(
        [edi.is_active(&svc, &a).await, edi.is_active(&svc, &b).await, edi.is_active(&svc, &both).await],
        [false, true, false]
    );
    edi.request_token(&svc, &[("scope", "a")]).await.assert_refused(400, "invalid_scope");
    edi.token(&svc, &[("scope", "b")]).await;
    edi.admin("PATCH", "clients/svc", &json!({ "roles": ["a", "b"] })).await.assert(200);
    edi.request_token(&svc, &[("scope", "a")]).await.assert_refused(503, "temporarily_unavailable");
    edi.advance(4);
    assert!(edi.is_active(&svc, &edi.token(&svc, &[("scope", "a")]).await).await, "granted again");
    assert!(!edi.is_active(&svc, &a).await, "what was issued before stays inactive");
}
