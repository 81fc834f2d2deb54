//! Legion EDI's own contract: `POST /api/v1/model/token`, `GET /api/v1/model/jwks`.

use serde_json::{Value, json};

use crate::support::edi::TestEdi;
use crate::support::http::{Answer, Ask};
use crate::support::jwt::claims;

fn ask(edi: &TestEdi) -> Ask {
    edi.ask("POST", "/api/v1/model/token")
}

fn token(answer: &Answer) -> String {
    let answer = answer.json();
    assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
    answer["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_gets_a_token_for_a_role_it_holds() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a", "b", "default"]).await;
    let by_basic = |body: Value| ask(&edi).basic(&svc.id, &svc.secret).json(&body).send();
    let made = claims(&token(&by_basic(json!({ "role_name": "a" })).await.assert(201)));
    assert_eq!((&made["sub"], &made["scope"], &made["roles"]), (&json!("svc"), &json!("a"), &json!(["a"])));
    assert_eq!(made["exp"].as_i64().unwrap() - made["iat"].as_i64().unwrap(), 900);
    // Both fields are optional, and so is the body.
    let made = claims(&token(&by_basic(json!({})).await.assert(201)));
    assert_eq!(made["scope"], "default");
    let bare = ask(&edi).basic(&svc.id, &svc.secret).send().await.assert(201);
    assert_eq!(claims(&token(&bare))["scope"], "default");
}

#[tokio::test]
async fn refusals_are_a_message_with_the_right_status() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    for (body, status, rule) in [
        (json!({ "role_name": "b" }), 403, "a role not held"),
        (json!({ "role_name": "not a role" }), 400, "no role name"),
        (json!({ "role_name": "a", "expiration_date": "2001-01-01T00:00:00" }), 400, "a past date"),
        (json!({ "role_name": "a", "expiration_date": "tomorrow" }), 400, "an unreadable date"),
        (json!({ "role_name": 7 }), 400, "not a text"),
        (json!([]), 400, "not an object"),
        (json!({}), 403, "the default role is not held"),
    ] {
        let answer = ask(&edi).basic(&svc.id, &svc.secret).json(&body).send().await;
        assert_eq!(answer.status, status, "{rule}: {answer}");
        let message = answer.json();
        assert!(message["message"].is_string() && message.as_object().unwrap().len() == 1, "{rule}: {message}");
    }
    for (ask, rule) in [
        (ask(&edi), "nothing presented"),
        (ask(&edi).basic(&svc.id, "wrong"), "a wrong secret"),
        (ask(&edi).bearer("nonsense"), "no token of ours"),
    ] {
        let answer = ask.json(&json!({ "role_name": "a" })).send().await.assert(401);
        assert!(answer.json()["message"].is_string(), "{rule}");
        let challenges = answer.to_string().to_lowercase();
        assert!(challenges.contains("basic realm") && challenges.contains("bearer realm"), "{rule}: {challenges}");
    }
    edi.ask("GET", "/api/v1/model/token").send().await.assert(405);
}

#[tokio::test]
async fn a_stolen_bearer_gains_neither_role_nor_time_nor_survival() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a", "b"]).await;
    let stolen = edi.token(&svc, &[("scope", "a")]).await;
    let end = claims(&stolen)["exp"].clone();
    edi.advance(600);
    let by_bearer = |token: &str, body: Value| ask(&edi).bearer(token).json(&body).send();
    by_bearer(&stolen, json!({ "role_name": "b" })).await.assert(403);
    let wanted = json!({ "role_name": "a", "expiration_date": "2999-01-01T00:00:00" });
    let made = token(&by_bearer(&stolen, wanted).await.assert(201));
    assert_eq!(claims(&made)["exp"], end, "never outlives the bearer");
    assert_eq!(claims(&made)["scope"], "a");
    let again = token(&by_bearer(&made, json!({ "role_name": "a" })).await.assert(201));
    assert!(edi.is_active(&svc, &again).await);
    // It falls with the bearer, however often it was passed on.
    edi.revoke(&svc, &stolen).await.assert(200);
    for token in [&stolen, &made, &again] {
        assert!(!edi.is_active(&svc, token).await);
        edi.ask("GET", "/authz?role=a").bearer(token).send().await.assert(401);
        by_bearer(token, json!({ "role_name": "a" })).await.assert(401);
    }
}

#[tokio::test]
async fn a_line_of_bearers_has_an_end() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let mut bearer = edi.token(&svc, &[]).await;
    let mut passed_on = 0;
    loop {
        let answer = ask(&edi).bearer(&bearer).json(&json!({ "role_name": "a" })).send().await;
        if answer.status == 403 {
            break;
        }
        bearer = token(&answer.assert(201));
        passed_on += 1;
        assert!(passed_on < 10, "without end");
    }
    assert!(passed_on > 0);
}

#[tokio::test]
async fn edi_issue_makes_tokens_for_any_role() {
    let edi = TestEdi::new().await;
    let issuer = edi.register_admin("gateway", &["edi:issue"]).await;
    let bearer = edi.admin_token(&issuer, "edi:issue").await;
    let wanted = json!({ "role_name": "any-role-at-all", "expiration_date": "2999-01-01T00:00:00" });
    let made = claims(&token(&ask(&edi).bearer(&bearer).json(&wanted).send().await.assert(201)));
    assert_eq!((&made["sub"], &made["scope"]), (&json!("gateway"), &json!("any-role-at-all")));
    assert_eq!(made["aud"], "model-prediction-api", "never the admin API's audience");
    // A date past the allowed lifetime is shortened to it.
    assert_eq!(made["exp"].as_i64().unwrap() - made["iat"].as_i64().unwrap(), 86_400);
    // An operator without that right issues nothing.
    let reader = edi.register_admin("reader", &["edi:read"]).await;
    let bearer = edi.admin_token(&reader, "edi:read").await;
    ask(&edi).bearer(&bearer).json(&json!({ "role_name": "a" })).send().await.assert(403);
}

#[tokio::test]
async fn the_jwks_is_the_jwks() {
    let edi = TestEdi::new().await;
    let theirs = edi.ask("GET", "/api/v1/model/jwks").send().await.assert(200).json();
    assert_eq!(theirs, edi.ask("GET", "/.well-known/jwks.json").send().await.assert(200).json());
}
