//! Client secrets (design §5): made by edi or chosen by someone, two at a time, one face for every failure.

use serde_json::{Value, json};

use crate::support::edi::{Registered, Setup, TestEdi};

/// argon2id of "correct horse battery staple", at the least cost that is taken over.
const PHC: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$";

pub(crate) fn phc_of(secret: &str) -> String {
    phc_at(secret, (8, 1, 1))
}

fn phc_at(secret: &str, (m, t, p): (u32, u32, u32)) -> String {
    use argon2::{Algorithm, Argon2, Params, Version};
    use base64::Engine as _;
    let mut out = [0; 32];
    let params = Params::new(m, t, p, Some(32)).unwrap();
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into(secret.as_bytes(), b"somesaltsomesalt", &mut out).unwrap();
    let head = PHC.replace("m=8,t=1,p=1", &format!("m={m},t={t},p={p}"));
    format!("{head}{}", base64::engine::general_purpose::STANDARD_NO_PAD.encode(out))
}

fn with_secret(of: &Registered, secret: &str) -> Registered {
    Registered { secret: secret.into(), ..of.clone() }
}

async fn works(edi: &TestEdi, by: &Registered) -> bool {
    let answer = edi.request_token(by, &[]).await;
    if answer.status == 200 {
        return true;
    }
    answer.assert_refused(401, "invalid_client");
    false
}

#[tokio::test]
async fn a_made_secret_is_shown_once_and_needs_no_escape() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let id = svc.view["secrets"][0]["id"].as_str().unwrap();
    assert!(svc.secret.starts_with(&format!("edi_{id}_")), "the public id stands in it");
    assert_eq!(svc.secret.len(), "edi_".len() + id.len() + 1 + 43 + 11, "256 random bits and a tag of 64");
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    assert!(svc.secret.bytes().all(unreserved), "RFC 3986 §2.3: the same, form-encoded or not");
    for path in ["clients/svc", "clients", "clients/svc/secrets", "status"] {
        let answer = edi.admin("GET", path, &Value::Null).await.assert(200);
        assert!(!answer.body.contains("edi_") && !answer.body.contains("client_secret\""), "shown once: {answer}");
        assert!(!answer.body.contains("hmac") && !answer.body.contains("sealed"), "nor what it is checked with");
    }
}

#[tokio::test]
async fn two_secrets_live_side_by_side_and_a_third_is_refused() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let made = edi.admin("POST", "clients/svc/secrets", &json!({ "name": "next" })).await.assert(201).json();
    assert_eq!((&made["name"], &made["kind"]), (&json!("next"), &json!("generated")));
    let second = with_secret(&svc, made["client_secret"].as_str().unwrap());
    assert!(works(&edi, &svc).await && works(&edi, &second).await);
    let before = edi.revision().await;
    let refused = edi.admin("POST", "clients/svc/secrets", &Value::Null).await.assert_problem(409);
    assert!(refused["detail"].as_str().unwrap().contains("two live secrets"), "{refused}");
    assert_eq!(edi.revision().await, before);
    let first = svc.view["secrets"][0]["id"].as_str().unwrap();
    edi.admin("DELETE", &format!("clients/svc/secrets/{first}"), &Value::Null).await.assert(204);
    assert!(!works(&edi, &svc).await && works(&edi, &second).await, "removed at once");
    edi.admin("DELETE", &format!("clients/svc/secrets/{first}"), &Value::Null).await.assert_problem(404);
    edi.admin("POST", "clients/svc/secrets", &Value::Null).await.assert(201);
    let listed = edi.admin("GET", "clients/svc/secrets", &Value::Null).await.assert(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn of_many_secrets_added_at_once_one_fits() {
    let edi = TestEdi::new().await;
    edi.register("svc", &["a"]).await;
    let token = edi.admin_token(&edi.operator(), "edi:admin").await;
    let body = json!({});
    let adds = (0..6).map(|_| edi.admin_with(&token, "POST", "clients/svc/secrets", &body));
    let mut statuses: Vec<u16> =
        futures_util::future::join_all(adds).await.into_iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn a_secret_expires_and_makes_room() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let end = edi::model::time::Timestamp::from_secs(edi.now() + 60).rfc3339();
    let made = edi.admin("POST", "clients/svc/secrets", &json!({ "expires_at": end })).await.assert(201).json();
    assert_eq!(made["expires_at"], *end);
    let second = with_secret(&svc, made["client_secret"].as_str().unwrap());
    edi.advance(59);
    assert!(works(&edi, &second).await);
    edi.advance(1);
    assert!(!works(&edi, &second).await && works(&edi, &svc).await);
    edi.admin("POST", "clients/svc/secrets", &Value::Null).await.assert(201);
    for (body, field) in [
        (json!({ "expires_at": "2020-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "expires_at": "tomorrow" }), "expires_at"),
        (json!({ "expires_at": 5 }), "expires_at"),
        (json!({ "name": "" }), "name"),
        (json!({ "label": "x" }), "label"),
    ] {
        let problem = edi.admin("POST", "clients/svc/secrets", &body).await.assert_problem(422);
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
}

#[tokio::test]
async fn a_chosen_secret_works_as_it_was_chosen() {
    let edi = TestEdi::new().await;
    let chosen = "correct horse+battery %staple";
    let svc = edi.register_with("svc", &json!({ "roles": ["a"], "client_secret": chosen })).await;
    assert_eq!(svc.view["secrets"][0]["kind"], "chosen");
    assert!(svc.view.get("client_secret").is_none(), "not shown: {}", svc.view);
    assert!(works(&edi, &svc).await, "RFC 6749 §2.3.1: form-encoded in Basic");
    let fields = [("grant_type", "client_credentials"), ("client_id", "svc"), ("client_secret", chosen)];
    edi.ask("POST", "/oauth2/token").form(&fields).send().await.assert(200);
    for wrong in ["correct horse+battery %stapl", "correct horse+battery %staple ", "Correct horse+battery %staple"] {
        assert!(!works(&edi, &with_secret(&svc, wrong)).await, "{wrong}");
    }
    // Remembered once verified, and still judged each time.
    assert!(works(&edi, &svc).await);
    edi.admin("PATCH", "clients/svc", &json!({ "state": "disabled" })).await.assert(200);
    assert!(!works(&edi, &svc).await, "disabled");
    edi.admin("PATCH", "clients/svc", &json!({ "state": "enabled" })).await.assert(200);
    edi.advance(4);
    assert!(works(&edi, &svc).await);
    let id = svc.view["secrets"][0]["id"].as_str().unwrap();
    edi.admin("DELETE", &format!("clients/svc/secrets/{id}"), &Value::Null).await.assert(204);
    assert!(!works(&edi, &svc).await, "removed");
    let end = edi::model::time::Timestamp::from_secs(edi.now() + 60).rfc3339();
    let again = json!({ "client_secret": chosen, "expires_at": end });
    edi.admin("POST", "clients/svc/secrets", &again).await.assert(201);
    assert!(works(&edi, &svc).await);
    edi.advance(60);
    assert!(!works(&edi, &svc).await, "expired");
}

#[tokio::test]
async fn a_hash_of_another_system_is_taken_over_within_bounds() {
    let edi = TestEdi::new().await;
    let phc = phc_of("sixteen characters or more");
    let svc = edi.register_with("svc", &json!({ "roles": ["a"], "client_secret": phc })).await;
    assert!(works(&edi, &with_secret(&svc, "sixteen characters or more")).await);
    assert!(!works(&edi, &svc).await, "the hash itself is no secret");
    let shown = edi.admin("GET", "clients/svc", &Value::Null).await.assert(200);
    assert!(!shown.body.contains("argon2"), "{shown}");
    for (secret, rule) in [
        ("short".to_owned(), "16 characters at least"),
        ("x".repeat(1025), "1024 characters at most"),
        ("sixteen characters or m\u{f6}re".to_owned(), "RFC 6749 Appendix A.2: printable ASCII"),
        (phc.replace("m=8,", "m=1048576,"), "bounded memory"),
        (phc.replace("t=1,", "t=1000,"), "bounded passes"),
        (phc.replace("argon2id", "argon2i"), "argon2id alone"),
        (format!("edi_abc_{}", "x".repeat(54)), "edi's own form is edi's to make"),
    ] {
        let body = json!({ "client_id": "other", "client_secret": secret });
        let answer = edi.admin("POST", "clients", &body).await;
        assert_eq!(answer.status, 422, "{rule}: {answer}");
        assert_eq!(answer.assert_problem(422)["errors"][0]["field"], "client_secret", "{rule}");
        assert!(!answer.body.contains(&secret), "{rule}: input is never echoed: {answer}");
    }
}

#[tokio::test]
async fn every_guess_takes_the_hashes_of_the_most_expensive_client() {
    use edi::model::hash_cost::{HashCost, HashPlan};
    let edi = TestEdi::new().await;
    let plan = || edi.service().chosen.read().plan(edi.service().now());
    let cost = |m, t, p| HashCost { m, t, p };
    let made = HashCost::default();
    let registered =
        async |id: &str, secret: &str| edi.register_with(id, &json!({ "roles": ["a"], "client_secret": secret })).await;
    edi.register("tagged", &["a"]).await;
    assert_eq!(plan(), None, "edi's own secrets need none");
    let one = registered("one", "correct horse battery").await;
    assert_eq!(plan(), Some(HashPlan::of([made])));
    let more = json!({ "client_secret": "another horse battery" });
    edi.admin("POST", "clients/one/secrets", &more).await.assert(201);
    assert_eq!(plan(), Some(HashPlan::of([made, made])), "two at one client");
    let costly = registered("costly", &phc_at("a horse from elsewhere", (65_536, 2, 4))).await;
    assert_eq!(plan(), Some(HashPlan::of([cost(65_536, 2, 4)])), "a hash from elsewhere");
    let costly = with_secret(&costly, "a horse from elsewhere");
    edi.admin("PATCH", "clients/costly", &json!({ "state": "disabled" })).await.assert(200);
    let guess = "a horse from nowhere";
    for id in ["one", "costly", "tagged", "nobody"] {
        let guess = Registered { id: id.into(), secret: guess.into(), view: Value::Null };
        assert!(!works(&edi, &guess).await, "{id}");
    }
    assert!(works(&edi, &one).await && works(&edi, &with_secret(&one, "another horse battery")).await);
    assert!(!works(&edi, &costly).await, "disabled");
    edi.admin("PATCH", "clients/costly", &json!({ "state": "enabled" })).await.assert(200);
    // Past the revocation that came with the disabling.
    edi.advance(4);
    assert!(works(&edi, &costly).await);
    edi.admin("DELETE", "clients/costly", &Value::Null).await.assert(204);
    assert_eq!(plan(), Some(HashPlan::of([made, made])), "it went with its client");
    edi.admin("DELETE", "clients/one", &Value::Null).await.assert(204);
    assert_eq!(plan(), None);
}

#[tokio::test]
async fn unknown_disabled_and_wrong_look_alike_and_cost_alike() {
    let edi = Setup::new().set("limits.hashing_queue", "1").start().await;
    let made = edi.register("made", &["a"]).await;
    let chosen = json!({ "roles": ["a"], "client_secret": "correct horse battery" });
    let chosen = edi.register_with("chosen", &chosen).await;
    let off = edi.register("off", &["a"]).await;
    edi.admin("PATCH", "clients/off", &json!({ "state": "disabled" })).await.assert(200);
    let gone = edi.register("gone", &["a"]).await;
    edi.admin("DELETE", "clients/gone", &Value::Null).await.assert(204);
    let nobody = Registered { id: "nobody".into(), ..made.clone() };
    let flipped = |of: &Registered| {
        let last = if of.secret.ends_with('A') { "B" } else { "A" };
        with_secret(of, &format!("{}{last}", &of.secret[..of.secret.len() - 1]))
    };
    let mut faces = Vec::new();
    for by in [&flipped(&made), &off, &gone, &nobody, &with_secret(&chosen, "wrong horse battery")] {
        let answer = edi.request_token(by, &[]).await.assert_refused(401, "invalid_client");
        faces.push((answer.body.clone(), answer.header("www-authenticate").to_owned()));
    }
    faces.dedup();
    assert_eq!(faces.len(), 1, "{faces:?}");
    // A guess without a tag costs one slot of the hashing queue for whomever it is meant: sixteen at once overflow a
    // queue of one, and those that overflow are told to come back.
    for id in ["made", "off", "gone", "nobody", "chosen", "no client id!"] {
        let guess = Registered { id: id.into(), secret: "a guess of someone".into(), view: Value::Null };
        let all = futures_util::future::join_all((0..16).map(|_| edi.request_token(&guess, &[]))).await;
        let busy = all.iter().filter(|answer| answer.status == 503).count();
        assert!((1..16).contains(&busy), "{id}: {busy} of 16 found the queue full");
        for answer in all {
            match answer.status {
                503 => assert_eq!(answer.assert_refused(503, "temporarily_unavailable").header("retry-after"), "1"),
                _ => drop(answer.assert_refused(401, "invalid_client")),
            }
        }
    }
    // A guess with a tag that does not hold, and a right secret of edi's, never wait for that queue.
    let tagged = flipped(&made);
    let guesses = futures_util::future::join_all((0..16).map(|_| edi.request_token(&tagged, &[])));
    assert!(guesses.await.iter().all(|answer| answer.status == 401));
    let good = futures_util::future::join_all((0..16).map(|_| edi.request_token(&made, &[])));
    assert!(good.await.iter().all(|answer| answer.status == 200));
}

#[tokio::test]
async fn a_disabled_client_comes_back_with_its_secret_but_not_its_tokens() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let token = edi.token(&svc, &[]).await;
    edi.admin("PATCH", "clients/svc", &json!({ "state": "disabled" })).await.assert(200);
    assert!(!works(&edi, &svc).await);
    edi.introspect(&svc, &token).await.assert_refused(401, "invalid_client");
    edi.admin("PATCH", "clients/svc", &json!({ "state": "enabled" })).await.assert(200);
    edi.advance(4);
    assert!(works(&edi, &svc).await);
    assert!(!edi.is_active(&svc, &token).await);
}

#[tokio::test]
async fn a_client_registered_anew_has_nothing_of_the_old_one() {
    let edi = TestEdi::new().await;
    let old = edi.register("svc", &["a"]).await;
    let token = edi.token(&old, &[]).await;
    edi.admin("DELETE", "clients/svc", &Value::Null).await.assert(204);
    let new = edi.register("svc", &["a"]).await;
    edi.advance(4);
    assert!(!works(&edi, &old).await && works(&edi, &new).await);
    assert!(!edi.is_active(&new, &token).await);
}
