//! The operator's commands against a server that answers as told: what is asked, what is printed, what is explained.

use serde_json::{Value, json};

use crate::support::fake::Fake;

fn client(id: &str) -> Value {
    json!({
        "client_id": id, "client_name": "Fraud", "roles": ["fraud", "spam"], "admin_scopes": [], "audiences": [],
        "access_token_lifetime": 600, "state": "enabled", "created_at": "2026-11-21T20:00:00Z",
        "updated_at": "2026-11-21T20:00:00Z",
        "secrets": [{ "id": "a1", "kind": "generated", "created_at": "2026-11-21T20:00:00Z" }],
    })
}

#[actix_web::test]
async fn creating_a_client_prints_its_secret_once_with_a_line_to_use_it() {
    let mut made = client("svc");
    made["client_secret"] = "edi_a1_xyz".into();
    let fake = Fake::start().on("POST /admin/v1/clients", 201, made);
    let run = fake.operator("client create svc --name Fraud --role fraud --role spam --lifetime 10m --alg RS256").await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.out.contains("client_secret  edi_a1_xyz\n"), "{run:?}");
    let curl = format!("curl -u 'svc:edi_a1_xyz' -d grant_type=client_credentials {}/oauth2/token", fake.url);
    assert!(run.err.contains("shown once") && run.err.contains(&curl), "{run:?}");
    let asked = &fake.asked()[0];
    assert_eq!(
        asked.json(),
        json!({
            "client_id": "svc", "client_name": "Fraud", "roles": ["fraud", "spam"], "access_token_lifetime": 600,
            "access_token_signing_alg": "RS256",
        })
    );
    assert_eq!(asked.authorization, "Bearer token-for-edi:clients");
    assert_eq!(fake.token_forms(), ["grant_type=client_credentials&scope=edi%3Aclients"]);
}

#[actix_web::test]
async fn json_is_the_answer_and_nothing_else() {
    let mut made = client("svc");
    made["client_secret"] = "edi_a1_xyz".into();
    let fake = Fake::start().on("POST /admin/v1/clients", 201, made.clone());
    let run = fake.operator("client create svc --json").await;
    assert_eq!((run.json(), run.err.as_str()), (made, ""));
    assert_eq!(fake.asked()[0].json(), json!({ "client_id": "svc" }));
}

#[actix_web::test]
async fn a_chosen_secret_comes_from_standard_input_and_is_printed_nowhere() {
    let fake = Fake::start().on("POST /admin/v1/clients", 201, client("svc"));
    let run = fake.run(fake.program().stdin("hunter2 with space\n"), "client create svc --secret-stdin").await;
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(fake.asked()[0].json()["client_secret"], "hunter2 with space");
    assert!(!format!("{run:?}").contains("hunter2"));
    let run = fake.operator("client create svc --secret-stdin").await;
    assert_eq!((run.code, run.err.contains("standard input is empty")), (65, true), "{run:?}");
}

#[actix_web::test]
async fn lists_are_read_to_their_end() {
    let fake = Fake::start()
        .on("GET /admin/v1/clients?limit=100", 200, json!({ "items": [client("a")], "next_cursor": "c/1" }))
        .on("GET /admin/v1/clients?limit=100&cursor=c%2F1", 200, json!({ "items": [client("b")] }));
    let run = fake.operator("client list").await;
    assert_eq!(
        run.out,
        "CLIENT  NAME   STATE    ROLES        SCOPES  SECRETS  UPDATED\n\
         a       Fraud  enabled  fraud, spam  -       1        2026-11-21T20:00:00Z\n\
         b       Fraud  enabled  fraud, spam  -       1        2026-11-21T20:00:00Z\n"
    );
    let run = fake.operator("clients list --json").await;
    assert_eq!(run.json().as_array().unwrap().len(), 2);
}

#[actix_web::test]
async fn adding_a_role_changes_the_version_that_was_read() {
    let fake = Fake::start().once("GET /admin/v1/clients/svc", 200, &[("etag", "\"7\"")], client("svc")).on(
        "PATCH /admin/v1/clients/svc",
        200,
        client("svc"),
    );
    let run = fake.operator("client update svc --add-role new --remove-role spam --remove-role none --name Risk").await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.err.contains("svc does not hold none"), "{run:?}");
    let patch = &fake.asked()[1];
    assert_eq!(patch.json(), json!({ "roles": ["fraud", "new"], "client_name": "Risk" }));
    assert_eq!((patch.content_type.as_str(), patch.if_match.as_str()), ("application/merge-patch+json", "\"7\""));
    let run = fake.operator("client update svc").await;
    assert_eq!(run.code, 2, "{run:?}");
}

#[actix_web::test]
async fn resetting_to_the_default_sends_null() {
    let fake = Fake::start().on("PATCH /admin/v1/clients/svc", 200, client("svc"));
    fake.operator("client update svc --lifetime default --alg default").await;
    assert_eq!(fake.asked()[0].json(), json!({ "access_token_lifetime": null, "access_token_signing_alg": null }));
}

#[actix_web::test]
async fn a_client_is_disabled_enabled_and_deleted_only_when_meant() {
    let fake = Fake::start()
        .on("GET /admin/v1/clients/svc", 200, client("svc"))
        .on("PATCH /admin/v1/clients/svc", 200, client("svc"))
        .on("DELETE /admin/v1/clients/svc", 204, Value::Null);
    assert_eq!(fake.operator("client delete svc").await.code, 2);
    assert!(fake.operator("client delete svc --dry-run").await.out.contains("nothing was changed"));
    assert!(fake.asked().iter().all(|asked| asked.line.starts_with("GET")));
    assert_eq!(fake.operator("client delete svc --yes").await.code, 0);
    assert_eq!(fake.operator("client disable svc --yes").await.code, 0);
    assert_eq!(fake.operator("client enable svc").await.code, 0);
    let asked: Vec<(String, String)> = fake.asked()[1..].iter().map(|it| (it.line.clone(), it.body.clone())).collect();
    assert_eq!(asked[0].0, "DELETE /admin/v1/clients/svc");
    assert_eq!(asked[1].1, r#"{"state":"disabled"}"#);
    assert_eq!(asked[2].1, r#"{"state":"enabled"}"#);
}

#[actix_web::test]
async fn secrets_are_added_listed_and_removed() {
    let made = json!({ "id": "b2", "name": "next", "kind": "generated", "client_secret": "edi_b2_q" });
    let fake = Fake::start()
        .on("POST /admin/v1/clients/svc/secrets", 201, made)
        .on("GET /admin/v1/clients/svc", 200, client("svc"))
        .on("DELETE /admin/v1/clients/svc/secrets/a1", 204, Value::Null);
    let run = fake.operator("client secret add svc --name next --expires 2027-01-31T00:00:00Z").await;
    assert!(run.out.contains("client_secret  edi_b2_q"), "{run:?}");
    assert_eq!(fake.asked()[0].json(), json!({ "name": "next", "expires_at": "2027-01-31T00:00:00Z" }));
    assert!(fake.operator("client secret list svc").await.out.contains("a1      -     generated"));
    assert_eq!(fake.operator("client secret remove svc a1 --yes").await.code, 0);
    assert_eq!(fake.asked().last().unwrap().line, "DELETE /admin/v1/clients/svc/secrets/a1");
    let run = fake.operator("client secret remove svc zz --yes").await;
    assert!(run.code == 1 && run.err.contains("`edi client secret list svc` shows ids and names"), "{run:?}");
}

#[actix_web::test]
async fn deployments_are_managed() {
    let view = json!({ "id": "fraud", "role": "fraud", "hosts": ["fraud.example"], "paths": ["/a"] });
    let fake = Fake::start()
        .on("POST /admin/v1/deployments", 201, view.clone())
        .on("GET /admin/v1/deployments/fraud", 200, view.clone())
        .on("PATCH /admin/v1/deployments/fraud", 200, view.clone())
        .on("GET /admin/v1/deployments?limit=100", 200, json!({ "items": [view] }))
        .on("DELETE /admin/v1/deployments/fraud", 204, Value::Null);
    let run = fake.operator("deployment create fraud --role fraud --host fraud.example --path /a --audience m").await;
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(
        fake.asked()[0].json(),
        json!({ "id": "fraud", "role": "fraud", "hosts": ["fraud.example"], "paths": ["/a"], "audience": "m" })
    );
    assert!(fake.operator("deployment list").await.out.contains("fraud       fraud  fraud.example  /a"));
    fake.run(fake.program(), "deployment update fraud --add-path /b --audience=").await;
    assert_eq!(fake.asked().last().unwrap().json(), json!({ "paths": ["/a", "/b"], "audience": null }));
    assert_eq!(fake.operator("deployment delete fraud --yes --json").await.json()["deleted"], true);
}

#[actix_web::test]
async fn a_role_shows_who_may_call_what() {
    let fraud = json!({
        "role": "fraud", "deployments": ["m1"], "clients": ["a", "b"], "deployment_count": 1, "client_count": 7,
        "last_issued_at": "2026-11-21T20:00:00Z", "watched_since": "2026-11-20T20:00:00Z", "remarks": [],
    });
    let spam = json!({
        "role": "spam", "deployments": [], "clients": [], "deployment_count": 0, "client_count": 0,
        "watched_since": "2026-11-20T20:00:00Z", "remarks": ["no deployment uses it", "nobody may call it"],
    });
    let fake = Fake::start().on("GET /admin/v1/roles?limit=100", 200, json!({ "items": [fraud, spam] })).on(
        "GET /admin/v1/roles/spam",
        200,
        spam,
    );
    let run = fake.operator("role list").await;
    assert_eq!(
        run.out,
        "ROLE   DEPLOYMENTS  CLIENTS          LAST ISSUED           REMARKS\n\
         fraud  m1           a, b and 5 more  2026-11-21T20:00:00Z  -\n\
         spam   -            -                -                     no deployment uses it, nobody may call it\n"
    );
    assert!(fake.operator("role show spam").await.out.contains("not since 2026-11-20T20:00:00Z"));
    assert_eq!(fake.operator("role show spam --json").await.json()["role"], "spam");
    assert_eq!(fake.operator("role show nobody").await.code, 1);
}

#[actix_web::test]
async fn revoking_says_what_it_covers() {
    let item = json!({
        "kind": "client", "id": "svc", "at": "2026-11-21T20:00:00Z", "covers_issued_until": "2026-11-21T20:00:02Z",
        "ends_at": "2026-11-22T20:00:02Z", "reason": "left", "actor": "operator",
    });
    let fake = Fake::start()
        .on("POST /admin/v1/revocations", 201, item.clone())
        .on("GET /admin/v1/revocations?kind=client&limit=100", 200, json!({ "items": [item] }))
        .on("GET /admin/v1/clients/svc", 200, client("svc"));
    assert_eq!(fake.operator("revoke --client svc").await.code, 2, "nobody is there to ask");
    assert_eq!(fake.asked().len(), 0);
    let run = fake.operator("revoke --client svc --reason left --yes").await;
    assert!(run.out.contains("covers issued until  2026-11-21T20:00:02Z"), "{run:?}");
    let asked = fake.asked();
    assert_eq!(asked[0].json(), json!({ "kind": "client", "id": "svc", "reason": "left" }), "first what was asked for");
    assert_eq!(asked[1].json(), json!({ "kind": "client", "id": "svc", "dry_run": true }), "then whether it was meant");
    assert!(!run.err.contains("mistyped"), "{run:?}");
    assert!(fake.operator("revocations list --kind client").await.out.contains("operator  left"));
}

#[actix_web::test]
async fn revoking_what_nobody_is_or_holds_is_done_and_doubted() {
    for (line, doubt) in [
        ("revoke --client fraud-calller --yes", "there is no client with this id now"),
        ("revoke --role fruad --yes", "no client holds this role now"),
    ] {
        let fake = Fake::start().on("POST /admin/v1/revocations", 201, json!({ "kind": "client", "client_count": 0 }));
        let run = fake.operator(line).await;
        assert!(run.code == 0 && run.err.contains(doubt), "{run:?}");
    }
}

#[actix_web::test]
async fn taking_a_role_away_can_be_rehearsed() {
    let fake = Fake::start().on("GET /admin/v1/clients/svc", 200, client("svc"));
    let run = fake.operator("client update svc --remove-role spam --name Risk --dry-run").await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.out.contains("nothing was changed") && run.out.contains("fraud, spam → fraud"), "{run:?}");
    assert!(run.out.contains("take spam away and revoke the tokens that hold it"), "{run:?}");
    let json = fake.operator("client update svc --role other --dry-run --json").await.json();
    assert_eq!(json["changes"], json!({ "roles": ["other"] }));
    assert!(json["consequences"][0].as_str().unwrap().contains("fraud, spam"), "{json}");
    assert!(fake.asked().iter().all(|asked| asked.line.starts_with("GET")), "{:?}", fake.asked());
}

#[actix_web::test]
async fn a_dry_run_says_who_is_concerned_and_until_when_others_believe() {
    let radius = json!({
        "dry_run": true, "kind": "role", "id": "fraud", "clients": ["a", "b"], "client_count": 7, "longest_lifetime": 600,
        "covers_issued_until": "2026-11-21T20:00:02Z", "accept_until": "2026-11-22T20:00:00Z",
    });
    let fake = Fake::start().on("POST /admin/v1/revocations", 200, radius);
    let run = fake.operator("revoke --role fraud --dry-run").await;
    assert_eq!(run.code, 0, "{run:?}");
    for text in [
        "would revoke every token with role fraud issued up to now; nothing was changed",
        "a, b and 5 more",
        "10m",
        "2026-11-22T20:00:00Z",
    ] {
        assert!(run.out.contains(text), "{text}: {run:?}");
    }
    assert_eq!(fake.asked()[0].json(), json!({ "kind": "role", "id": "fraud", "dry_run": true }));
}

#[actix_web::test]
async fn a_revocation_is_undone_only_when_meant_and_found_by_filters() {
    let item =
        json!({ "kind": "client", "id": "svc", "covers_issued_until": "2026-11-21T20:00:02Z", "origin": "request" });
    let list = "GET /admin/v1/revocations?client=svc&actor=op&since=2026-11-21T00%3A00%3A00Z&reason=ab&limit=100";
    let fake = Fake::start()
        .on("GET /admin/v1/revocations/client/svc", 200, item.clone())
        .on("DELETE /admin/v1/revocations/client/svc", 204, Value::Null)
        .on(list, 200, json!({ "items": [item] }));
    let run = fake.operator("revoke undo client svc").await;
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.err.contains("counts again") && run.err.contains("2026-11-21T20:00:02Z"), "{run:?}");
    assert!(fake.asked().iter().all(|asked| asked.line.starts_with("GET")));
    let run = fake.operator("revoke undo client svc --yes --json").await;
    assert_eq!((run.code, &run.json()["undone"]), (0, &json!(true)), "{run:?}");
    assert_eq!(fake.asked().last().unwrap().line, "DELETE /admin/v1/revocations/client/svc");
    let run =
        fake.run(fake.program(), "revoke list --client svc --actor op --since 2026-11-21T00:00:00Z --reason ab").await;
    assert_eq!(run.code, 0, "{run:?}");
}

#[actix_web::test]
async fn a_pasted_token_is_revoked_from_standard_input() {
    let fake = Fake::start().on("POST /admin/v1/revocations", 201, json!({ "kind": "jti", "id": "j" }));
    // {"alg":"none"} . {"jti":"j"}
    let token = "eyJhbGciOiJub25lIn0.eyJqdGkiOiJqIn0.c2ln";
    let run = fake.run(fake.program().stdin(token), "revoke --token -").await;
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(fake.asked()[0].json(), json!({ "kind": "token", "token": token }));
    assert!(!format!("{run:?}").contains(token));
    let header = format!("Authorization: Bearer {token}");
    assert_eq!(fake.run(fake.program().stdin(&header), "revoke --token -").await.code, 0);
    assert_eq!(fake.asked()[1].json()["token"], token);
    let run = fake.run(fake.program().stdin("rubbish"), "revoke --token -").await;
    assert_eq!((run.code, fake.asked().len()), (65, 2), "{run:?}");
}

#[actix_web::test]
async fn status_shows_what_it_does_not_know_yet() {
    let fake = Fake::start().on(
        "GET /admin/v1/status",
        200,
        json!({
            "version": "0.1.0", "issuer": "http://x", "store": { "engine": "sled", "health": "writable" },
            "keys": [{ "kid": "k1", "algorithm": "ES256", "state": "active" }], "clients": 2,
            "replicas": { "seen": 3 },
            "attention": [{ "what": "the master key is old", "next": "`edi key rotate-master`" }],
        }),
    );
    let run = fake.operator("status").await;
    for text in [
        "store     sled, writable",
        "replicas  seen 3",
        "k1   ES256  active",
        "attention: the master key is old\n  next: `edi key rotate-master`",
    ] {
        assert!(run.out.contains(text), "{text}: {}", run.out);
    }
}

#[actix_web::test]
async fn the_narrowest_scope_is_asked_for_and_the_next_when_it_is_not_held() {
    let fake =
        Fake::start().granting(&["edi:clients"]).on("GET /admin/v1/clients?limit=100", 200, json!({ "items": [] }));
    let run = fake.operator("client list").await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.err.contains("no clients"), "{run:?}");
    assert_eq!(fake.asked()[0].authorization, "Bearer token-for-edi:clients");
    assert_eq!(fake.token_forms().len(), 2);
}

#[actix_web::test]
async fn a_refusal_that_names_a_scope_is_answered_with_that_scope() {
    let challenge = r#"Bearer error="insufficient_scope", scope="edi:admin""#;
    let fake = Fake::start()
        .once("POST /admin/v1/clients", 403, &[("www-authenticate", challenge)], json!({ "title": "Forbidden" }))
        .on("POST /admin/v1/clients", 201, client("svc"));
    let run = fake.operator("client create svc --scope edi:admin").await;
    assert_eq!(run.code, 0, "{run:?}");
    let authorizations: Vec<String> = fake.asked().iter().map(|asked| asked.authorization.clone()).collect();
    assert_eq!(authorizations, ["Bearer token-for-edi:clients+edi:admin", "Bearer token-for-edi:admin"]);
}

#[actix_web::test]
async fn a_missing_right_is_named() {
    let fake = Fake::start().granting(&["edi:read"]);
    let run = fake.operator("client create svc").await;
    assert_eq!(
        (run.code, run.err),
        (
            77,
            format!(
                "error: no token from {} for operator: the client does not hold that scope (invalid_scope)\n  next: \
                 operator lacks edi:clients; an operator with edi:admin grants it: `edi client update operator \
                 --add-scope SCOPE`\n",
                fake.url
            )
        )
    );
    let challenge = r#"Bearer error="insufficient_scope", scope="edi:keys""#;
    let fake = fake.once(
        "GET /admin/v1/clients/svc",
        403,
        &[("www-authenticate", challenge)],
        json!({ "title": "Forbidden", "detail": "this needs edi:keys" }),
    );
    let run = fake.operator("client show svc").await;
    assert_eq!(run.code, 77);
    assert!(run.err.starts_with("error: Forbidden: this needs edi:keys\n  request id: req-1\n"), "{run:?}");
    assert!(run.err.contains("operator lacks edi:keys"), "{run:?}");
}

#[actix_web::test]
async fn every_refusal_says_what_to_do_next() {
    let problem = json!({
        "title": "Invalid", "status": 422, "errors": [{ "field": "roles[0]", "detail": "no such grammar" }],
    });
    for (status, body, code, text) in [
        (422, problem, 1, "error: Invalid\n  roles[0]: no such grammar\n  request id: req-1\n"),
        (409, json!({ "title": "Conflict", "detail": "svc exists" }), 1, "next: see how it stands: `edi client list`"),
        (401, json!({ "title": "Unauthorized" }), 77, "do EDI_SERVER and the credentials at keys/operator.json belong"),
        (500, json!({ "title": "Internal" }), 1, "the server's log says why under the request id"),
        (503, json!({ "title": "Busy" }), 69, "try again in 3 s"),
        (404, Value::Null, 1, "not as edi's admin API does"),
        (200, json!("not a page"), 1, "not as edi's admin API does"),
    ] {
        let fake = Fake::start().once("GET /admin/v1/clients?limit=100", status, &[("retry-after", "3")], body);
        let run = fake.operator("client list").await;
        assert_eq!(run.code, code, "{status}: {run:?}");
        assert!(run.err.contains(text), "{status}: {}", run.err);
    }
}

#[actix_web::test]
async fn wrong_credentials_say_how_to_get_back_in() {
    let fake = Fake::start();
    let other = json!({ "issuer": fake.url, "admin": fake.url, "client_id": "operator", "client_secret": "hunter2" });
    let program = fake.program().file("keys/operator.json", &other.to_string(), 0o600);
    let run = fake.run(program, "status").await;
    assert_eq!(run.code, 77, "{run:?}");
    assert!(run.err.contains("`edi recover`") && !run.err.contains("hunter2"), "{run:?}");
}

#[actix_web::test]
async fn the_server_may_be_elsewhere() {
    let issuer = Fake::start();
    let admin = Fake::start().on("GET /edge/admin/v1/keys?limit=100", 200, json!({ "items": [{ "kid": "k1" }] }));
    let run = issuer.run(issuer.program().env("EDI_SERVER", &format!("{}/edge/", admin.url)), "key list").await;
    assert!(run.out.contains("k1"), "{run:?}");
}

#[actix_web::test]
async fn a_secret_is_rotated_with_an_overlap_and_without_a_question() {
    let done = json!({
        "client_id": "svc", "id": "b2", "kind": "generated", "client_secret": "edi_b2_q", "removed": [],
        "overlapping": [{ "id": "a1", "expires_at": "2026-11-23T20:00:00Z" }],
    });
    let fake = Fake::start().on("POST /admin/v1/clients/svc/secrets/rotate", 201, done);
    let run = fake.operator("client secret rotate svc --overlap 24h --name next").await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.out.contains("client_secret  edi_b2_q"), "{run:?}");
    assert!(run.out.contains("a1 works until 2026-11-23T20:00:00Z"), "{run:?}");
    assert_eq!(fake.asked().len(), 1);
    assert_eq!(fake.asked()[0].json(), json!({ "overlap_seconds": 86_400, "name": "next" }));
}

#[actix_web::test]
async fn a_compromised_secret_is_replaced_only_when_meant_and_says_who_still_believes() {
    let plan = |more: Value| {
        let mut plan = json!({
            "client_id": "operator", "removed": [{ "id": "a1", "name": "old" }], "overlapping": [],
            "offline_verifiers": { "mostly_until": "2026-11-22T20:15:00Z", "accept_until": "2026-11-23T20:00:00Z" },
        });
        plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        plan
    };
    let line = "POST /admin/v1/clients/operator/secrets/rotate";
    let fake = Fake::start()
        .once(line, 200, &[], plan(json!({ "dry_run": true })))
        .once(line, 200, &[], plan(json!({ "dry_run": true })))
        .on(line, 201, plan(json!({ "id": "b2", "client_secret": "edi_b2_q" })));
    let run = fake.operator("client secret rotate operator --compromised old --dry-run").await;
    assert!(run.out.contains("a1      old   -        -          stops working at once"), "{run:?}");
    assert!(run.out.contains("until 2026-11-22T20:15:00Z, the last until 2026-11-23T20:00:00Z"), "{run:?}");
    assert!(run.out.ends_with("nothing was changed\n"), "{run:?}");
    let run = fake.operator("client secret rotate operator --compromised").await;
    assert_eq!(run.code, 2, "nobody is there to ask: {run:?}");
    assert!(fake.asked().iter().all(|asked| asked.json()["dry_run"] == true));
    let run = fake.operator("client secret rotate operator --compromised --reason wiki --yes").await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.err.contains("put the new secret in their place") && run.err.contains("the last until"), "{run:?}");
    assert_eq!(fake.asked()[2].json(), json!({ "compromised": true, "reason": "wiki" }));
}

#[actix_web::test]
async fn what_leaked_comes_from_standard_input_and_the_search_goes_to_its_end() {
    let found = json!({
        "kind": "client_secret", "found": true, "proven": true, "client_id": "svc", "client_state": "enabled",
        "secret_id": "a1", "state": "live", "detail": "a secret that works: replace it",
    });
    let fake = Fake::start()
        .once("POST /admin/v1/whose", 200, &[], json!({ "kind": "client_secret", "found": false, "next_cursor": "c" }))
        .once("POST /admin/v1/whose", 200, &[], found)
        .on("POST /admin/v1/whose", 200, json!({ "kind": "unknown", "found": false, "detail": "no" }));
    let run = fake.run(fake.program().stdin("edi_a1_xyz\n"), "client whose -").await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.out.contains("client secret of svc") && run.out.contains("secret id  a1"), "{run:?}");
    assert!(run.err.contains("`edi client secret rotate svc --compromised a1`"), "{run:?}");
    assert_eq!(fake.asked()[0].json(), json!({ "value": "edi_a1_xyz" }));
    assert_eq!(fake.asked()[1].json(), json!({ "value": "edi_a1_xyz", "cursor": "c" }));
    assert!(!format!("{run:?}").contains("edi_a1_xyz"));
    let run = fake.run(fake.program().stdin("hunter2"), "client whose - --client svc --json").await;
    assert_eq!((run.code, &run.json()["found"]), (1, &json!(false)), "{run:?}");
    assert_eq!(fake.asked()[2].json(), json!({ "value": "hunter2", "client_id": "svc" }));
}
