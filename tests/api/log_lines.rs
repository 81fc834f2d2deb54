//! The access log of the built program: every line fits the published schema, whatever callers send.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::support::serve::Serve;

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/log-line.schema.json");

/// What is wrong with a value. Knows the words that the schema uses, and no others.
fn misfits(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (word, said) in schema.as_object().unwrap() {
        let fits = match word.as_str() {
            "$schema" | "title" | "description" => true,
            "type" => match said.as_str().unwrap() {
                "object" => value.is_object(),
                "string" => value.is_string(),
                "integer" => value.is_u64() || value.is_i64(),
                other => panic!("the test does not know the type {other}"),
            },
            "enum" => said.as_array().unwrap().contains(value),
            "const" => said == value,
            "minimum" => value.as_i64() >= said.as_i64(),
            "maximum" => value.as_i64() <= said.as_i64(),
            "maxLength" => value.as_str().is_some_and(|text| text.chars().count() as u64 <= said.as_u64().unwrap()),
            "pattern" => value.as_str().is_some_and(|text| matches(said.as_str().unwrap(), text)),
            "format" => value.as_str().is_some_and(|text| edi::model::time::Timestamp::parse_rfc3339(text).is_some()),
            "required" => said.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
            "additionalProperties" => {
                assert_eq!(said, &Value::Bool(false));
                value.as_object().is_some_and(|held| held.keys().all(|name| schema["properties"].get(name).is_some()))
            }
            "properties" => {
                for (name, inner) in said.as_object().unwrap() {
                    if let Some(held) = value.get(name) {
                        wrong.extend(misfits(inner, held, &format!("{at}/{name}")));
                    }
                }
                true
            }
            other => panic!("the test does not know the word {other}"),
        };
        if !fits {
            wrong.push(format!("{at} breaks {word}: {value}"));
        }
    }
    wrong
}

/// `^[set]{least,most}$`, the one form that the schema uses.
fn matches(pattern: &str, text: &str) -> bool {
    let (set, counts) = pattern.strip_prefix("^[").and_then(|rest| rest.split_once("]{")).unwrap();
    let (least, most) = counts.strip_suffix("}$").and_then(|rest| rest.split_once(',')).unwrap();
    let set: Vec<char> = set.chars().collect();
    let within = |c: char| {
        set.contains(&c) && !(c == '-' && set.last() != Some(&'-'))
            || set.windows(3).any(|range| range[1] == '-' && (range[0]..=range[2]).contains(&c))
    };
    (least.parse().unwrap()..=most.parse::<usize>().unwrap()).contains(&text.len()) && text.chars().all(within)
}

fn send(at: &str, request: &[u8]) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = stream.write_all(request);
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn every_line_fits_the_schema_whatever_callers_send() {
    let folder = tempfile::TempDir::new().unwrap();
    let addresses = Serve::free_addresses();
    let edi = Serve::start(folder.path(), &addresses);
    let [public, admin] = &addresses;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let forged = "\"}\\n{\"timestamp\":\"2026-01-01T00:00:00Z\",\"level\":\"INFO\",\"target\":\"edi::audit\"";
    for headers in [
        String::new(),
        format!("traceparent: 00-{trace}-b7ad6b7169203331-01\r\nX-Request-Id: seen-1\r\n"),
        format!("traceparent: 00-{forged}-b7ad6b7169203331-01\r\n"),
        format!("X-Request-Id: {forged}\r\n"),
        format!("X-Forwarded-For: {forged}\r\nUser-Agent: {forged}\r\n"),
        format!("Authorization: Bearer {forged}\r\n"),
        "Authorization: Basic eDo=\r\n".into(),
    ] {
        for start in [
            "GET /health/live".to_owned(),
            "POST /oauth2/token?client_secret=s3cret".into(),
            "GET /.well-known/jwks.json".into(),
            format!("GET /{}", "p".repeat(5000)),
            "GET /%0a%22%7d/eyJhbGciOiJub25lIn0.e30.x".into(),
            "FORGED /authz?role=a".into(),
            "GET /authz/nginx".into(),
        ] {
            let request =
                format!("{start} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n");
            send(public, request.as_bytes());
        }
    }
    send(public, b"\x01\x02 garbage \r\n\r\n");
    send(public, "GET /ä\u{2028}\" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".as_bytes());
    send(admin, b"GET /admin/v1/clients HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    send(admin, b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    edi.stop();

    let schema: Value = serde_json::from_str(&std::fs::read_to_string(SCHEMA).unwrap()).unwrap();
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    let mut traced = 0;
    // What the command itself says at its first start is for people.
    for line in log.lines().filter(|line| !line.starts_with("first start: ")) {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_ne!(line["target"], "edi::audit::forged");
        if line["target"] != "edi::access" {
            continue;
        }
        let wrong = misfits(&schema, &line, "");
        assert!(wrong.is_empty(), "{wrong:?} in {line}");
        if line["trace_id"] == trace {
            traced += 1;
            assert_eq!(line["request_id"], "seen-1");
        }
        seen.extend(line.as_object().unwrap().keys().cloned());
    }
    assert!(log.lines().count() > 50 && traced == 7, "{traced} of {}", log.lines().count());
    assert!(!log.contains("s3cret"), "{log}");
    // What the callers sent calls itself an audit line of that day.
    assert!(log.lines().all(|line| !line.contains("2026-01-01T00:00:00Z")), "{log}");
    for name in ["bytes", "address", "reason", "trace_id"] {
        assert!(seen.contains(name), "{name} of {seen:?}");
    }
}

#[test]
fn a_line_that_does_not_fit_is_found() {
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(SCHEMA).unwrap()).unwrap();
    let good = serde_json::json!({
        "timestamp": "2026-11-21T23:32:59.363896Z", "level": "INFO", "method": "POST", "path": "/x", "status": 200,
        "micros": 1, "request_id": "a-b", "target": "edi::access", "client_id": "svc", "address": "::1",
    });
    assert_eq!(misfits(&schema, &good, ""), Vec::<String>::new());
    for (name, value) in [
        ("status", Value::from(99)),
        ("status", "200".into()),
        ("method", "FORGED".into()),
        ("request_id", "a b".into()),
        ("request_id", "".into()),
        ("trace_id", "0AF7651916CD43DD8448EB211C80319C".into()),
        ("address", "localhost!".into()),
        ("timestamp", "yesterday".into()),
        ("extra", 1.into()),
        ("target", "edi::audit".into()),
    ] {
        let mut line = good.clone();
        line[name] = value;
        assert!(!misfits(&schema, &line, "").is_empty(), "{line}");
    }
}
