//! Revocations by operators.

use serde_json::{Value, json};

use super::build::{Op, answer, closed, instant, or_null, page, schema, text};

/// The kinds that are kept.
pub(super) const KINDS: [&str; 5] = ["jti", "client", "role", "key", "grant"];

/// What revocations bring along.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let reason = || or_null(schema("Reason"));
    let one = |kind: &str, id: Value| {
        closed(&["kind", "id"], json!({ "kind": { "const": kind }, "id": id, "reason": reason() }))
    };
    let pasted = closed(
        &["kind", "token"],
        json!({
            "kind": { "const": "token" },
            "token": { "type": "string", "writeOnly": true, "description": "The token itself." },
            "reason": reason(),
        }),
    );
    vec![
        (
            "Reason",
            json!({
                "type": "string", "minLength": 1, "maxLength": 500, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$",
                "description": "Why, in the operator's words.",
            }),
        ),
        (
            "TokenId",
            json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{21}[AQgw]$", "description": "A token's `jti`." }),
        ),
        (
            "RevocationNew",
            json!({
                "oneOf": [
                    one("jti", schema("TokenId")),
                    one("client", schema("ClientId")),
                    one("role", schema("Role")),
                    one("key", schema("Kid")),
                    pasted,
                ],
            }),
        ),
        (
            "Revocation",
            answer(
                &["kind", "id", "at", "ends_at", "actor"],
                json!({
                    "kind": { "enum": KINDS },
                    "id": text("What is revoked: a `jti`, a client, a role, a key, or a client's grant of a role."),
                    "at": instant("When it was made."),
                    "covers_issued_until": instant("Bulk: the last instant of issue that it covers."),
                    "ends_at": instant("When the last token it can concern has expired."),
                    "reason": schema("Reason"),
                    "actor": schema("ClientId"),
                }),
            ),
        ),
    ]
}

fn example() -> Value {
    json!({
        "kind": "client", "id": "fraud-caller", "at": "2026-11-22T08:00:00Z",
        "covers_issued_until": "2026-11-22T08:00:03Z", "ends_at": "2026-11-23T08:01:03Z", "reason": "laptop stolen",
        "actor": "operator",
    })
}

pub(super) fn lists() -> Op {
    Op::new("List revocations in force").gives(
        200,
        "One page.",
        page(schema("Revocation")),
        json!({ "items": [example()] }),
    )
}

pub(super) fn create() -> Op {
    Op::new("Revoke a token, or all of a client, a role or a key")
        .says(
            "Of a client, a role or a key: everything issued up to now. A pasted token is revoked by its `jti`; 409 when \
             it no longer counts anyway.",
        )
        .takes_json(
            schema("RevocationNew"),
            &[
                ("client", json!({ "kind": "client", "id": "fraud-caller", "reason": "laptop stolen" })),
                ("jti", json!({ "kind": "jti", "id": "5YQ6uVdUq1h0c3mTtR2yJw" })),
            ],
        )
        .gives(201, "It is revoked, on disk and in effect.", schema("Revocation"), example())
        .refuses(409, "Conflict")
}
