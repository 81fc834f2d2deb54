//! Revocations by operators.

use serde_json::{Value, json};

use super::build::{Op, answer, closed, count, flag, instant, list, or_null, page, schema, text};

/// The kinds that are kept.
pub(super) const KINDS: [&str; 5] = ["jti", "client", "role", "key", "grant"];

/// The parameters of lists and of single ones.
pub(super) fn parameter(name: &str) -> Option<(&'static str, Value)> {
    Some(match name {
        "kind" => ("The kind of revocation.", json!({ "type": "string", "enum": KINDS })),
        "id" => ("What is revoked.", json!({ "type": "string", "minLength": 1, "maxLength": 200 })),
        "client" => ("Only those of this client and of its grants.", schema("ClientId")),
        "actor" => ("Only those that this client made.", schema("ClientId")),
        "since" => ("Only those made at or after this instant.", instant("An instant.")),
        "until" => ("Only those made at or before this instant.", instant("An instant.")),
        "reason" => ("Only those whose reason holds this, in any case.", json!({ "type": "string" })),
        "state" => (
            "`settling`: tokens it would cover are not issued yet, for a few seconds; `in_force`: past that.",
            json!({ "type": "string", "enum": ["settling", "in_force"] }),
        ),
        _ => return None,
    })
}

/// What revocations bring along.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let reason = || or_null(schema("Reason"));
    let dry_run = || or_null(flag("Say whom it would reach, and change nothing."));
    let one = |kind: &str, id: Value| {
        closed(
            &["kind", "id"],
            json!({ "kind": { "const": kind }, "id": id, "reason": reason(), "dry_run": dry_run() }),
        )
    };
    let pasted = closed(
        &["kind", "token"],
        json!({
            "kind": { "const": "token" },
            "token": { "type": "string", "writeOnly": true, "description": "The token itself." },
            "reason": reason(),
            "dry_run": dry_run(),
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
                    "origin": { "enum": ["request", "change"], "description": "What followed from a change cannot be undone." },
                }),
            ),
        ),
        (
            "RevocationRadius",
            answer(
                &["dry_run", "kind", "id", "at", "ends_at", "actor", "accept_until"],
                json!({
                    "dry_run": { "const": true },
                    "kind": { "enum": KINDS },
                    "id": text("What would be revoked."),
                    "at": instant("Now."),
                    "covers_issued_until": instant("Bulk: the last instant of issue that it would cover."),
                    "ends_at": instant("When the last token it could concern has expired."),
                    "reason": schema("Reason"),
                    "actor": schema("ClientId"),
                    "origin": { "enum": ["request"] },
                    "clients": list(schema("ClientId")),
                    "client_count": count("How many clients may hold such tokens."),
                    "longest_lifetime": count("The longest lifetime of those clients' tokens, in seconds."),
                    "accept_until": instant("Until when verifiers that do not ask edi take such a token at the latest."),
                }),
            ),
        ),
    ]
}

fn example() -> Value {
    json!({
        "kind": "client", "id": "fraud-caller", "at": "2026-11-22T08:00:00Z",
        "covers_issued_until": "2026-11-22T08:00:03Z", "ends_at": "2026-11-23T08:01:03Z", "reason": "laptop stolen",
        "actor": "operator", "origin": "request",
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
        .gives(
            200,
            "A dry run: whom it would reach.",
            schema("RevocationRadius"),
            json!({
                "dry_run": true, "kind": "role", "id": "fraud-scoring", "at": "2026-11-22T08:00:00Z",
                "covers_issued_until": "2026-11-22T08:00:03Z", "ends_at": "2026-11-23T08:01:03Z", "actor": "operator",
                "origin": "request", "clients": ["fraud-caller"], "client_count": 1, "longest_lifetime": 900,
                "accept_until": "2026-11-23T08:00:00Z",
            }),
        )
        .gives(201, "It is revoked, on disk and in effect.", schema("Revocation"), example())
        .locates()
        .refuses(409, "Conflict")
}

pub(super) fn show() -> Op {
    Op::new("Look at one revocation").gives(200, "It is in force.", schema("Revocation"), example())
}

pub(super) fn undo() -> Op {
    Op::new("Take a mistaken revocation back")
        .says(
            "Tokens that it covered and that have not expired count again; an earlier one of the same thing stands again. \
             409 for a single token, and for what followed from a change. A key's, and those of a client with admin \
             scopes, take `edi:admin`.",
        )
        .gives_nothing(204, "It is undone, on disk and in effect.")
        .refuses(409, "Conflict")
}
