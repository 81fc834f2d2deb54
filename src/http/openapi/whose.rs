//! Whose is what leaked.

use serde_json::{Value, json};

use super::build::{Op, answer, closed, flag, instant, or_null, schema, text};

/// What asking brings along.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        (
            "WhoseRequest",
            closed(
                &["value"],
                json!({
                    "value": { "type": "string", "minLength": 1, "maxLength": 131_072, "pattern": "\\S", "writeOnly": true,
                               "description": "What leaked, or a line that holds it." },
                    "client_id": or_null(schema("ClientId")),
                    "cursor": or_null(json!({ "allOf": [schema("Cursor"), { "minLength": 1 }] })),
                }),
            ),
        ),
        (
            "Whose",
            answer(
                &["kind", "found", "proven", "detail"],
                json!({
                    "kind": { "enum": ["client_secret", "chosen_secret", "access_token", "client_assertion", "unknown"] },
                    "found": flag("Whether it is known whose it is."),
                    "proven": flag("Whether tag or signature say so, and not only the text."),
                    "client_id": schema("ClientId"),
                    "client_state": { "enum": ["enabled", "disabled", "deleted"] },
                    "secret_id": schema("SecretId"),
                    "name": schema("Name"),
                    "jti": schema("TokenId"),
                    "kid": schema("Kid"),
                    "scope": text("What the token holds."),
                    "state": { "enum": ["live", "expired", "removed", "active", "revoked"] },
                    "created_at": instant("When it was made."),
                    "expires_at": instant("When it stops working; absent: never."),
                    "removed_at": instant("When it was taken away."),
                    "last_used_at": instant("When it was last used, some minutes behind."),
                    "detail": text("In words; never what leaked."),
                    "next_cursor": schema("Cursor"),
                }),
            ),
        ),
    ]
}

pub(super) fn ask() -> Op {
    Op::new("Say whose a leaked secret or token is")
        .says(
            "By the public id and the tag of a secret that edi made, also after it was removed; by the signature of a \
             token. A secret that a person chose is only tried against the client named by `client_id`, which takes \
             `edi:clients`. With `next_cursor` the search is not over: ask again with it as `cursor`.",
        )
        .takes_json(
            schema("WhoseRequest"),
            &[
                ("a secret", json!({ "value": "client_secret=edi_k3v9x1q7abcd_…" })),
                ("chosen", json!({ "value": "correct horse battery", "client_id": "old-service" })),
            ],
        )
        .gives(
            200,
            "Whose it is, as far as it is known.",
            schema("Whose"),
            json!({
                "kind": "client_secret", "found": true, "proven": true, "client_id": "fraud-caller",
                "client_state": "enabled", "secret_id": "k3v9x1q7abcd", "state": "live",
                "created_at": "2026-11-20T08:00:00Z", "detail": "a secret that works: replace it",
            }),
        )
}
