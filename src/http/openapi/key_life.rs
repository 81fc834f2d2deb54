//! The plan of signing keys, their import, and the master key.

use serde_json::{Value, json};

use super::build::{Op, answer, closed, count, flag, instant, list, schema, text};
use super::keys::{KID, NEXT, example};

/// What they bring along.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let cache = json!({
        "name": text("Whose."), "keeps": count("For how many seconds it keeps the key set without asking."),
    });
    let life = answer(
        &["kid", "state", "published_at"],
        json!({
            "kid": schema("Kid"),
            "state": schema("KeyState"),
            "published_at": instant("Since when it is in the JWKS."),
            "signs_from": instant("From when it signs."),
            "stops_at": instant("When its successor starts."),
            "unpublished_at": instant("When it leaves the JWKS."),
            "revoked_at": instant("When it was revoked."),
            "verifies_only": flag("It was imported for verification alone."),
            "foreseen": list(json!({ "enum": ["signs_from", "stops_at", "unpublished_at"] })),
        }),
    );
    let ring = answer(
        &["algorithm", "configured", "longest_lifetime", "keys"],
        json!({
            "algorithm": schema("Algorithm"),
            "configured": flag("New tokens are signed with it, and it rotates by itself."),
            "longest_lifetime": count("The longest lifetime of its tokens ever allowed, in seconds."),
            "next_rotation_at": instant("When it rotates next by itself."),
            "keys": list(life),
        }),
    );
    let step = answer(
        &["at", "algorithm", "to", "decided"],
        json!({
            "at": instant("When."),
            "algorithm": schema("Algorithm"),
            "kid": schema("Kid"),
            "to": schema("KeyState"),
            "decided": flag("The clock alone brings it about; otherwise the next automatic rotation does."),
        }),
    );
    let risk = answer(
        &["risk", "level", "detail"],
        json!({
            "risk": text("One word for programs."),
            "level": { "enum": ["warning", "note"] },
            "algorithm": schema("Algorithm"),
            "kid": schema("Kid"),
            "until": instant("Until when."),
            "detail": text("What it is."),
        }),
    );
    vec![
        ("KeyCache", answer(&["name", "keeps"], cache)),
        (
            "KeyPlan",
            answer(
                &["now", "rotate_every", "publish_before", "rings", "transitions", "risks"],
                json!({
                    "now": instant("The time by edi's clock."),
                    "rotate_every": count("In seconds."),
                    "publish_before": count("In seconds."),
                    "jwks_max_age": count("In seconds."),
                    "skew": count("In seconds."),
                    "caches": list(schema("KeyCache")),
                    "rings": list(ring),
                    "transitions": list(step),
                    "risks": list(risk),
                }),
            ),
        ),
        ("KeyImportRequest", import_request()),
        ("KeyImport", imported()),
        (
            "KeyImpact",
            answer(
                &["algorithm", "state", "clients", "publish_before", "caches"],
                json!({
                    "algorithm": schema("Algorithm"),
                    "state": schema("KeyState"),
                    "active_since": instant("Since when it signs, or signed."),
                    "tokens_until": instant("When the last token that it may have signed expires."),
                    "clients": count("Clients that get tokens of its algorithm."),
                    "clients_more": flag("There are more than were counted."),
                    "publish_before": count("In seconds."),
                    "caches": list(schema("KeyCache")),
                }),
            ),
        ),
        ("MasterKeyRotationRequest", closed(&[], json!({}))),
        (
            "MasterKeyRotation",
            answer(
                &["master_key_id", "old_master_key_id", "file", "keys"],
                json!({
                    "master_key_id": text("The id of the new one."),
                    "old_master_key_id": text("The id of the old one."),
                    "file": text("Where the new one is, on the server."),
                    "old_file": text("Where the old one is kept, on the server."),
                    "misplaced": text("Why the new one is not in its place: it must be put there before the next start."),
                    "keys": count("Private keys that were sealed anew."),
                }),
            ),
        ),
    ]
}

fn import_request() -> Value {
    closed(
        &["key"],
        json!({
            "key": {
                "description": "PKCS#8, SEC1 or PKCS#1 in PEM, or a private JWK.",
                "anyOf": [{ "type": "string" }, { "type": "object" }],
            },
            "kid": { "anyOf": [schema("Kid"), { "type": "null" }] },
            "algorithm": { "anyOf": [schema("Algorithm"), { "type": "null" }] },
            "verify_only": { "type": ["boolean", "null"], "description": "Publish it, and never sign with it." },
            "lifetime": {
                "type": ["integer", "null"], "minimum": 1, "maximum": 2_592_000,
                "description": "The longest lifetime in seconds of tokens that it signed elsewhere.",
            },
        }),
    )
}

fn imported() -> Value {
    json!({ "allOf": [schema("Key"), {
        "type": "object",
        "properties": {
            "old": schema("Kid"),
            "old_trusted_until": instant("When the last token of the key that signed until now has expired."),
            "called_off": schema("Kid"),
        },
    }] })
}

pub(super) fn plan() -> Op {
    let example = json!({
        "now": "2026-11-22T08:00:00Z", "rotate_every": 2_592_000, "publish_before": 3600, "jwks_max_age": 300, "skew": 60,
        "caches": [{ "name": "Istio", "keeps": 1200 }],
        "rings": [{
            "algorithm": "ES256", "configured": true, "longest_lifetime": 86400,
            "next_rotation_at": "2026-12-19T08:00:00Z",
            "keys": [{
                "kid": KID, "state": "active", "published_at": "2026-10-20T08:00:00Z",
                "signs_from": "2026-11-19T08:00:00Z", "stops_at": "2026-12-19T08:00:00Z", "foreseen": ["stops_at"],
            }],
        }],
        "transitions": [
            { "at": "2026-12-19T08:00:00Z", "algorithm": "ES256", "kid": NEXT, "to": "active", "decided": false },
        ],
        "risks": [],
    });
    Op::new("Show what will happen to the signing keys, and what is at risk")
        .says("Everything here follows from the keys, the settings and the clock; asking changes nothing.")
        .gives(200, "The plan.", schema("KeyPlan"), example)
}

pub(super) fn import() -> Op {
    let pem = "-----BEGIN PRIVATE KEY-----\n…\n-----END PRIVATE KEY-----\n";
    let mut done = example();
    if let Some(members) = done.as_object_mut() {
        members.insert("old".into(), json!(NEXT));
        members.insert("old_trusted_until".into(), json!("2026-11-23T09:01:00Z"));
    }
    Op::new("Import a private key that signed elsewhere")
        .says(
            "It signs from now on, as verifiers know it already; with `verify_only` it is published until its tokens have \
             expired. It is sealed at once and never shown. Whoever knows a signing key can write an operator's token, so \
             this asks for `edi:admin`.",
        )
        .takes_json(schema("KeyImportRequest"), &[("PEM", json!({ "key": pem, "kid": "old-name" }))])
        .gives(201, "It is imported, on disk and in effect.", schema("KeyImport"), done)
        .locates()
        .refuses(409, "Conflict")
}

pub(super) fn rotate_master() -> Op {
    Op::new("Make a new master key and seal everything under it")
        .says(
            "In one commit, while edi serves. Secrets, tokens and keys stay as they are; backups made before need the old \
             master key, which is kept.",
        )
        .may_take(super::build::content(
            "application/json",
            schema("MasterKeyRotationRequest"),
            &[("nothing", json!({}))],
        ))
        .gives(
            200,
            "Everything is sealed under the new key.",
            schema("MasterKeyRotation"),
            json!({
                "master_key_id": "AbCdEfGhIjK", "old_master_key_id": "LmNoPqRsTuV", "file": "keys/master.key",
                "old_file": "keys/master.key.LmNoPqRsTuV.old", "keys": 2,
            }),
        )
        .refuses(409, "Conflict")
}
