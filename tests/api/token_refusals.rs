//! What the token endpoint refuses, one row per MUST, with the RFC and section in the row.

use crate::support::edi::{Registered, TestEdi};
use crate::support::http::{Answer, Ask};

const TOKEN: &str = "/oauth2/token";
const GRANT: (&str, &str) = ("grant_type", "client_credentials");

async fn edi_with_svc() -> (TestEdi, Registered) {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a", "b"]).await;
    (edi, svc)
}

/// A form with the client's credentials by Basic.
async fn with_form(edi: &TestEdi, svc: &Registered, form: &str) -> Answer {
    let ask = edi.ask("POST", TOKEN).basic(&svc.id, &svc.secret);
    ask.body("application/x-www-form-urlencoded", form).send().await
}

#[tokio::test]
async fn a_malformed_request_is_refused() {
    let (edi, svc) = edi_with_svc().await;
    let long_scope = format!("grant_type=client_credentials&scope={}", "a".repeat(8 * 1024));
    let many = format!("grant_type=client_credentials{}", "&x=1".repeat(64));
    for (form, code, rule) in [
        ("", "invalid_request", "RFC 6749 §4.4.2: grant_type is required"),
        ("grant_type=", "invalid_request", "RFC 6749 §3.2: an empty parameter counts as omitted"),
        ("scope=a", "invalid_request", "RFC 6749 §5.2: a required parameter is missing"),
        ("grant_type=password&username=u&password=p", "unsupported_grant_type", "RFC 6749 §5.2"),
        ("grant_type=authorization_code&code=c", "unsupported_grant_type", "RFC 6749 §5.2"),
        ("grant_type=refresh_token&refresh_token=r", "unsupported_grant_type", "RFC 6749 §5.2"),
        ("grant_type=Client_Credentials", "unsupported_grant_type", "RFC 6749 §3.1, 5.2: values are case-sensitive"),
        ("grant_type=client_credentials+", "unsupported_grant_type", "RFC 6749 §5.2: nothing is trimmed"),
        (
            "grant_type=client_credentials&grant_type=client_credentials",
            "invalid_request",
            "RFC 6749 §3.2: parameters MUST NOT be included more than once",
        ),
        ("grant_type=client_credentials&scope=a&scope=a", "invalid_request", "RFC 6749 §3.2: repeated"),
        ("grant_type=client_credentials&scope=&scope=a", "invalid_request", "RFC 6749 §3.2: repeated, once empty"),
        ("grant_type=client_credentials&s%63ope=a&scope=a", "invalid_request", "RFC 6749 §3.2: repeated in disguise"),
        ("grant_type=client_credentials&client_id=svc&client_id=svc", "invalid_request", "RFC 6749 §3.2: repeated"),
        ("grant_type=client_credentials&resource=x&resource=y", "invalid_target", "RFC 8707 §2: edi takes one"),
        ("grant_type=client_credentials&scope=%", "invalid_request", "RFC 6749 Appendix B: a broken escape"),
        ("grant_type=client_credentials&scope=%ff", "invalid_request", "RFC 6749 Appendix B: not UTF-8"),
        ("grant_type=client_credentials&scope=a%00", "invalid_request", "RFC 6749 Appendix A: a control character"),
        (&many, "invalid_request", "a bounded number of parameters"),
        ("grant_type=client_credentials&scope=c", "invalid_scope", "RFC 6749 §5.2: exceeds what was granted"),
        ("grant_type=client_credentials&scope=A", "invalid_scope", "RFC 6749 §3.3: case-sensitive"),
        ("grant_type=client_credentials&scope=a++b", "invalid_scope", "RFC 6749 §3.3: malformed"),
        ("grant_type=client_credentials&scope=+a", "invalid_scope", "RFC 6749 §3.3: malformed"),
        ("grant_type=client_credentials&scope=a%22", "invalid_scope", "RFC 6749 §3.3: outside the grammar"),
        ("grant_type=client_credentials&scope=a%C3%A4", "invalid_scope", "RFC 6749 §3.3: outside the grammar"),
        (&long_scope, "invalid_scope", "a value of 8 KiB is judged, not refused for its size"),
    ] {
        let answer = with_form(&edi, &svc, form).await.assert_refused(400, code);
        assert!(!answer.body.contains("Client_Credentials"), "{rule}: input is never echoed: {answer}");
    }
}

#[tokio::test]
async fn what_is_unknown_or_empty_is_ignored() {
    let (edi, svc) = edi_with_svc().await;
    for (form, rule) in [
        ("grant_type=client_credentials&flavour=x&flavour=y", "RFC 6749 §3.2: unrecognised parameters MUST be ignored"),
        ("grant_type=client_credentials&scope=&resource=", "RFC 6749 §3.2: without a value, as if omitted"),
        ("grant_type=client_credentials&client_id=&client_secret=", "RFC 6749 §3.2: an empty secret is no method"),
        ("grant_type=client_credentials&username=u&password=p", "another grant's parameters"),
        ("&grant_type=client_credentials&&", "empty pairs"),
        ("grant_type=client_credentials&client_id=svc", "RFC 6749 §3.2.1: an equal client_id is no second method"),
    ] {
        let answer = with_form(&edi, &svc, form).await;
        assert_eq!(answer.status, 200, "{rule}: {answer}");
        assert_eq!(answer.json()["scope"], "a b", "{rule}");
    }
    let padded = format!("grant_type=client_credentials&x={}", "y".repeat(8 * 1024));
    with_form(&edi, &svc, &padded).await.assert(200);
}

#[tokio::test]
async fn a_request_that_is_no_form_is_refused() {
    let (edi, svc) = edi_with_svc().await;
    let form = "grant_type=client_credentials";
    let urlencoded = "application/x-www-form-urlencoded";
    let ask = || edi.ask("POST", TOKEN).basic(&svc.id, &svc.secret);
    for (ask, status, hint, rule) in [
        (
            ask().body("application/json", r#"{"grant_type":"client_credentials"}"#),
            400,
            "not JSON",
            "RFC 6749 §3.2, Appendix B: a form",
        ),
        (ask().body("text/plain", form), 400, "send form fields", "RFC 6749 §3.2, Appendix B: a form"),
        (ask().body("multipart/form-data; boundary=x", form), 400, "send form fields", "RFC 6749 Appendix B"),
        (ask().body(&format!("{urlencoded}; charset=utf-16"), form), 400, "utf-8", "RFC 6749 Appendix B: UTF-8"),
        (ask().header("content-type", urlencoded).body(urlencoded, form), 400, "send form fields", "one type"),
        (
            ask().header("content-encoding", "gzip").body(urlencoded, form),
            415,
            "without compression",
            "compressed bodies are refused",
        ),
        (ask().body(urlencoded, format!("{form}&x={}", "y".repeat(16 * 1024))), 413, "too large", "16 KiB at most"),
    ] {
        let answer = ask.send().await.assert_refused(status, "invalid_request");
        assert!(answer.body.contains(hint), "{rule}: {answer}");
    }
    ask().body(&format!("{urlencoded};charset=UTF-8"), form).send().await.assert(200);
}

#[tokio::test]
async fn the_token_endpoint_takes_post_alone() {
    let (edi, svc) = edi_with_svc().await;
    for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
        let answer = edi.ask(method, TOKEN).basic(&svc.id, &svc.secret).send().await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "RFC 6749 §3.2: MUST use POST: {answer}");
        assert_eq!(answer.header("cache-control"), "no-store", "{answer}");
        assert_eq!(answer.json()["error"], "method_not_allowed", "{answer}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "CORS is for documents alone: {answer}");
    }
    let head = edi.ask("HEAD", TOKEN).send().await;
    assert_eq!((head.status, head.header("allow"), head.body.as_str()), (405, "POST", ""), "{head}");
}

#[tokio::test]
async fn nothing_is_taken_from_the_query() {
    let (edi, svc) = edi_with_svc().await;
    let in_query = format!("{TOKEN}?client_id=svc&client_secret={}", svc.secret);
    for (target, rule) in [
        (in_query.as_str(), "RFC 6749 §2.3.1: credentials MUST NOT be in the request URI"),
        ("/oauth2/token?client_secret=x", "RFC 6749 §2.3.1"),
        ("/oauth2/token?client%5Fsecret=x", "RFC 6749 §2.3.1: in disguise"),
        ("/oauth2/token?grant_type=client_credentials", "RFC 6749 §3.2: parameters come in the body"),
        ("/oauth2/token?scope=a", "RFC 6749 §3.2"),
        ("/oauth2/token?access_token=x", "RFC 9700 §4.3.2"),
        ("/oauth2/token?password=x", "another protocol's credentials"),
    ] {
        let answer = edi.ask("POST", target).basic(&svc.id, &svc.secret).form(&[GRANT]).send().await;
        let answer = answer.assert_refused(400, "invalid_request");
        assert!(answer.body.contains("never in the query string"), "{rule}: {answer}");
        assert!(!answer.body.contains(&svc.secret), "{rule}: {answer}");
    }
    edi.ask("POST", "/oauth2/token?trace=1").basic(&svc.id, &svc.secret).form(&[GRANT]).send().await.assert(200);
}

/// One row: how the client presents itself beyond `grant_type`, and what comes of it.
struct Row<'a> {
    /// `Authorization`; empty for none.
    header: String,
    form: Vec<(&'a str, &'a str)>,
    outcome: Result<(), (u16, &'a str)>,
    rule: &'a str,
}

fn basic(plain: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain))
}

#[tokio::test]
async fn clients_authenticate_in_one_way() {
    let (edi, svc) = edi_with_svc().await;
    let other = edi.register("other", &["a"]).await;
    let secret = svc.secret.as_str();
    let right = basic(&format!("svc:{secret}"));
    let escaped = basic(&format!("s%76c:{}", secret.replace('_', "%5F")));
    let wrong_secret = format!("{}x", &secret[..secret.len() - 1]);
    let failed = Err((401, "invalid_client"));
    let malformed = Err((400, "invalid_request"));
    let rows = [
        Row { header: right.clone(), form: vec![], outcome: Ok(()), rule: "RFC 6749 §2.3.1: Basic" },
        Row { header: escaped, form: vec![], outcome: Ok(()), rule: "RFC 6749 §2.3.1: form-encoded inside Basic" },
        Row {
            header: String::new(),
            form: vec![("client_id", "svc"), ("client_secret", secret)],
            outcome: Ok(()),
            rule: "RFC 6749 §2.3.1: in the body",
        },
        Row {
            header: right.clone(),
            form: vec![("client_id", "svc")],
            outcome: Ok(()),
            rule: "RFC 6749 §3.2.1: client_id beside the header",
        },
        Row { header: String::new(), form: vec![], outcome: failed, rule: "RFC 6749 §3.2.1: MUST authenticate" },
        Row {
            header: String::new(),
            form: vec![("client_id", "svc")],
            outcome: failed,
            rule: "RFC 6749 §3.2.1: no proof",
        },
        Row {
            header: right.clone(),
            form: vec![("client_id", "svc"), ("client_secret", secret)],
            outcome: malformed,
            rule: "RFC 6749 §2.3: MUST NOT use more than one method",
        },
        Row {
            header: right.clone(),
            form: vec![("client_secret", secret)],
            outcome: malformed,
            rule: "RFC 6749 §2.3: MUST NOT use more than one method",
        },
        Row {
            header: right.clone(),
            form: vec![("client_id", "other")],
            outcome: malformed,
            rule: "RFC 6749 §2.3: two identities",
        },
        Row {
            header: right.clone(),
            form: vec![("client_assertion", "x")],
            outcome: malformed,
            rule: "RFC 6749 §2.3, RFC 7521 §4.2: more than one method",
        },
        Row {
            header: String::new(),
            form: vec![("client_id", "svc"), ("client_secret", secret), ("client_assertion_type", "x")],
            outcome: malformed,
            rule: "RFC 6749 §2.3, RFC 7521 §4.2: more than one method",
        },
        Row {
            header: String::new(),
            form: vec![("client_secret", secret)],
            outcome: malformed,
            rule: "a secret of nobody",
        },
        Row {
            header: basic(&format!("svc:{wrong_secret}")),
            form: vec![],
            outcome: failed,
            rule: "RFC 6749 §5.2: wrong secret",
        },
        Row {
            header: basic(&format!("svc:{}", secret.to_uppercase())),
            form: vec![],
            outcome: failed,
            rule: "RFC 6749 §1.9: case-sensitive",
        },
        Row { header: basic(&format!("SVC:{secret}")), form: vec![], outcome: failed, rule: "ids: byte for byte" },
        Row {
            header: basic(&format!("other:{secret}")),
            form: vec![],
            outcome: failed,
            rule: "the secret of another client",
        },
        Row { header: basic(&format!("nobody:{secret}")), form: vec![], outcome: failed, rule: "unknown client" },
        Row { header: basic("svc:hunter2"), form: vec![], outcome: failed, rule: "a guess" },
        Row { header: basic("svc:"), form: vec![], outcome: failed, rule: "RFC 6749 §2.3.1: an empty password" },
        Row { header: basic(":x"), form: vec![], outcome: failed, rule: "an empty id" },
        Row { header: basic("svc"), form: vec![], outcome: failed, rule: "RFC 7617 §2: no colon" },
        Row { header: "Basic ???".into(), form: vec![], outcome: failed, rule: "RFC 7617 §2: no base64" },
        Row { header: "Bearer abc".into(), form: vec![], outcome: failed, rule: "RFC 6749 §5.2: unsupported" },
        Row { header: "Digest abc".into(), form: vec![], outcome: failed, rule: "RFC 6749 §5.2: unsupported" },
        Row {
            header: String::new(),
            form: vec![("client_id", "svc"), ("client_secret", &wrong_secret)],
            outcome: failed,
            rule: "RFC 6749 §5.2: wrong secret in the body",
        },
        Row {
            header: String::new(),
            form: vec![("client_assertion_type", "x"), ("client_assertion", "y")],
            outcome: failed,
            rule: "RFC 6749 §5.2: a method that is not offered",
        },
    ];
    let mut faces = Vec::new();
    for Row { header, form, outcome, rule } in rows {
        for endpoint in [TOKEN, "/oauth2/introspect", "/oauth2/revoke"] {
            let fields = [&[GRANT, ("token", "x")], &*form].concat();
            let mut ask = edi.ask("POST", endpoint);
            if !header.is_empty() {
                ask = ask.header("authorization", &header);
            }
            let answer = ask.form(&fields).send().await;
            match outcome {
                Ok(()) => assert_eq!(answer.status, 200, "{rule}: {answer}"),
                Err((status, code)) => {
                    assert_eq!(answer.status, status, "{rule}: {answer}");
                    let answer = answer.assert_refused(status, code);
                    if status == 401 {
                        faces.push(answer.body);
                    }
                }
            }
        }
    }
    faces.dedup();
    assert_eq!(faces.len(), 1, "one face for every failure: {faces:?}");
    // The header twice is neither of the two.
    let twice = edi.ask("POST", TOKEN).basic("svc", secret).basic("other", &other.secret);
    twice.form(&[GRANT]).send().await.assert_refused(401, "invalid_client");
}

#[tokio::test]
async fn a_pinned_method_is_the_only_one() {
    let edi = TestEdi::new().await;
    for (pinned, by_basic, by_form) in [("client_secret_basic", 200, 401), ("client_secret_post", 401, 200)] {
        let more = serde_json::json!({ "roles": ["a"], "token_endpoint_auth_method": pinned });
        let svc = edi.register_with(pinned, &more).await;
        let basic = edi.request_token(&svc, &[]).await;
        assert_eq!(basic.status, by_basic, "RFC 7591 §2, {pinned} by Basic: {basic}");
        let fields = [GRANT, ("client_id", pinned), ("client_secret", svc.secret.as_str())];
        let form: Answer = Ask::new(edi.public, "POST", TOKEN).form(&fields).send().await;
        assert_eq!(form.status, by_form, "RFC 7591 §2, {pinned} in the body: {form}");
        let refused = if by_basic == 401 { basic } else { form };
        refused.assert_refused(401, "invalid_client");
    }
}
