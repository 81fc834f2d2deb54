//! The audit trail.

use serde_json::{Value, json};

use super::build::{Op, answer, count, instant, list, page, schema, text};

/// What the audit trail brings along.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let change = answer(
        &["field"],
        json!({
            "field": text("Its name."),
            "added": list(text("What it holds now and did not before.")),
            "removed": list(text("What it held before and does not now.")),
            "more": count("How many more of either."),
        }),
    );
    let link = |description: &str| {
        let mut it = answer(
            &["seq", "hash", "at"],
            json!({ "seq": count("Its number."), "hash": schema("Digest"), "at": instant("When it was made.") }),
        );
        it["description"] = json!(description);
        it
    };
    let found = answer(
        &["what"],
        json!({ "seq": count("The seal."), "entry": text("The entry."), "what": text("What is wrong with it.") }),
    );
    vec![
        ("Digest", json!({ "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "A SHA-256." })),
        (
            "AuditEntry",
            answer(
                &["id", "at", "actor", "action", "target", "outcome", "count"],
                json!({
                    "id": text("Names it in a seal."),
                    "at": instant("When; of refusals counted together: when the first happened."),
                    "actor": schema("ClientId"),
                    "action": text("`thing.verb`."),
                    "target": text("The id of what it was done to."),
                    "request_id": text("The request it came with."),
                    "address": text("Where that request came from."),
                    "reason": text("Why, in the operator's words; of a refusal: why edi refused."),
                    "outcome": { "enum": ["done", "refused"] },
                    "code": text("Of a refusal: the code of the answer."),
                    "count": count("How many refusals of the same kind this stands for."),
                    "changes": list(change),
                }),
            ),
        ),
        (
            "AuditVerdict",
            answer(
                &["state", "seals", "entries"],
                json!({
                    "state": { "enum": ["unfinished", "intact", "broken"] },
                    "seals": count("How many seals were found to be right."),
                    "entries": count("How many entries they name."),
                    "head": link("The newest seal: note it outside of edi."),
                    "anchor": link("The last seal that was retired: the chain begins after it."),
                    "break": found,
                    "next_cursor": text("Pass as `cursor` to go on; absent when it is over."),
                }),
            ),
        ),
        (
            "AuditSeal",
            answer(
                &["seq", "prev", "hash", "at", "at_millis", "entries"],
                json!({
                    "seq": count("Its number."),
                    "prev": schema("Digest"),
                    "hash": schema("Digest"),
                    "at": instant("When it was made."),
                    "at_millis": count("The same in milliseconds, as the hash covers it."),
                    "entries": list(answer(&["id", "sha256"], json!({ "id": text("The entry."), "sha256": schema("Digest") }))),
                }),
            ),
        ),
    ]
}

const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

pub(super) fn lists() -> Op {
    Op::new("List what was changed and refused")
        .says(
            "Oldest first, or newest first with `order=desc`. A page may be shorter than the limit, even empty, with more \
             to come.",
        )
        .gives(
            200,
            "One page.",
            page(schema("AuditEntry")),
            json!({ "items": [{
                "id": "1795334400000-5f3c09a1b2d4e6f8", "at": "2026-11-22T08:00:00Z", "actor": "operator",
                "action": "client.update", "target": "fraud-caller", "request_id": "898aa590fb980de5c9b3e719",
                "address": "127.0.0.1", "outcome": "done", "count": 1,
                "changes": [{ "field": "roles", "added": ["fraud"] }],
            }] }),
        )
}

pub(super) fn verify() -> Op {
    Op::new("Verify the chain over the audit trail")
        .says("A bounded step each time: while it is `unfinished`, ask again with `next_cursor`.")
        .gives(
            200,
            "How it stands.",
            schema("AuditVerdict"),
            json!({ "state": "intact", "seals": 1042, "entries": 5120,
                    "head": { "seq": 1042, "hash": HASH, "at": "2026-11-22T08:00:01Z" } }),
        )
}

pub(super) fn seal() -> Op {
    Op::new("Show one seal of the chain").gives(
        200,
        "The seal.",
        schema("AuditSeal"),
        json!({
            "seq": 1042, "prev": HASH, "hash": HASH, "at": "2026-11-22T08:00:01Z", "at_millis": 1_795_334_401_000_i64,
            "entries": [{ "id": "1795334400000-5f3c09a1b2d4e6f8", "sha256": HASH }],
        }),
    )
}
