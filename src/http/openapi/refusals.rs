//! Why a request was refused.

use serde_json::{Value, json};

use super::build::{Op, answer, count, instant, schema, text};

/// What asking brings along.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![(
        "Refusal",
        answer(
            &["request_id", "at", "status", "code", "reason", "method", "path"],
            json!({
                "request_id": text("The request."),
                "at": instant("When it was refused."),
                "status": count("The status of the answer."),
                "code": text("The code of the answer, or a word for its status."),
                "reason": text("Why, for the operator; more than the caller was told."),
                "method": text("How it was asked."),
                "path": text("What was asked, without its query."),
                "address": text("Where it came from."),
                "client_id": text("Who asked; absent for a caller that did not prove itself."),
            }),
        ),
    )]
}

pub(super) fn show() -> Op {
    Op::new("Say why a request was refused")
        .says(
            "From memory: the last 4096 refusals of callers that proved themselves and as many of others, since this \
             process started. 404 when it is not, or no more, among them: the access log still has it.",
        )
        .gives(
            200,
            "What became of it.",
            schema("Refusal"),
            json!({
                "request_id": "898aa590fb980de5c9b3e719", "at": "2026-11-22T08:00:00Z", "status": 401,
                "code": "invalid_client", "reason": "the secret is wrong", "method": "POST", "path": "/oauth2/token",
                "address": "192.0.2.9",
            }),
        )
}
