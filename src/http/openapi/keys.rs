//! Signing keys.

use serde_json::{Value, json};

use super::build::{Op, answer, closed, content, count, flag, instant, list, or_null, page, schema, text};
use crate::model::keyring::KeyState;

/// What signing keys bring along.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("KeyState", json!({ "type": "string", "enum": KeyState::ALL.map(KeyState::name) })),
        (
            "Key",
            answer(
                &["kid", "algorithm", "state", "published_at", "jwk"],
                json!({
                    "kid": schema("Kid"),
                    "algorithm": schema("Algorithm"),
                    "state": schema("KeyState"),
                    "published_at": instant("Since when it is in the JWKS."),
                    "signs_from": instant("From when it signs; absent while that is open."),
                    "stops_at": instant("When its successor starts."),
                    "unpublished_at": instant("When it leaves the JWKS: its last token has expired."),
                    "revoked_at": instant("When it was revoked."),
                    "verifies_only": flag("It was imported for verification alone."),
                    "jwk": schema("Jwk"),
                }),
            ),
        ),
        (
            "Jwk",
            answer(
                &["kty", "kid", "use", "alg"],
                json!({
                    "kty": { "enum": ["EC", "RSA", "OKP"] },
                    "kid": schema("Kid"),
                    "use": { "const": "sig" },
                    "alg": schema("Algorithm"),
                    "crv": text("Its curve."), "x": text("Its point."), "y": text("Its point."),
                    "n": text("Its modulus."), "e": text("Its exponent."),
                }),
            ),
        ),
        ("Jwks", answer(&["keys"], json!({ "keys": list(schema("Jwk")) }))),
        ("RotationRequest", closed(&[], json!({ "algorithm": or_null(schema("Algorithm")) }))),
        (
            "Rotation",
            answer(
                &["kid", "algorithm", "signs_from", "old", "old_trusted_until", "pending"],
                json!({
                    "kid": schema("Kid"),
                    "algorithm": schema("Algorithm"),
                    "signs_from": instant("From when it signs."),
                    "old": schema("Kid"),
                    "old_trusted_until": instant("When the last token of the old key has expired."),
                    "pending": schema("Kid"),
                }),
            ),
        ),
        (
            "KeyRevocationRequest",
            closed(
                &[],
                json!({
                    "all": { "type": ["boolean", "null"], "description": "Its pending successors too." },
                    "dry_run": { "type": ["boolean", "null"], "description": "Say what would happen; change nothing." },
                }),
            ),
        ),
        (
            "KeyRevocation",
            answer(
                &["revoked", "added", "believed_offline_until", "impact"],
                json!({
                    "revoked": list(schema("Kid")),
                    "promoted": schema("Kid"),
                    "published_for": count("For how many seconds the promoted key had been published."),
                    "added": list(schema("Kid")),
                    "believed_offline_until": instant("Until when verifiers that do not ask edi may believe its tokens."),
                    "impact": schema("KeyImpact"),
                    "dry_run": flag("Nothing was changed."),
                }),
            ),
        ),
    ]
}

pub(super) const KID: &str = "vYxwDkAUyrVRtqFqCcVgI0BpXt2OpI1wNYcQhEUvNLg";
pub(super) const NEXT: &str = "5xLwjVG0gXQ8KkT1cUq2rJ9sY7bWf3eNn4Zp6aMhDdo";
const STANDBY: &str = "qN2sVb8mJ0yTz4Xc6Rf1Lk3Hg5Dd7Wp9Aa-Ee_IiOoU";

/// A public key as it is shown in examples.
pub(super) fn jwk() -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "kid": KID, "use": "sig", "alg": "ES256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

/// A key as it is shown in examples.
pub(super) fn example() -> Value {
    json!({
        "kid": KID, "algorithm": "ES256", "state": "active", "published_at": "2026-10-20T08:00:00Z",
        "signs_from": "2026-11-19T08:00:00Z", "jwk": jwk(),
    })
}

pub(super) fn lists() -> Op {
    Op::new("List signing keys")
        .says("By algorithm, then by the time from which they sign; standbys last. Public halves alone.")
        .gives(200, "One page.", page(schema("Key")), json!({ "items": [example()] }))
        .refuses(409, "Conflict")
}

pub(super) fn show() -> Op {
    Op::new("Show a signing key").gives(200, "Its public half and its life.", schema("Key"), example())
}

pub(super) fn rotate() -> Op {
    Op::new("Let a key's successor take over")
        .says(
            "Planned: the standby signs once it has been published for `keys.publish_before`; the old key stays trusted \
             until its last token has expired. A leaked key wants the emergency instead.",
        )
        .may_take(content("application/json", schema("RotationRequest"), &[("one", json!({ "algorithm": "ES256" }))]))
        .gives(
            200,
            "It is planned.",
            schema("Rotation"),
            json!({
                "kid": NEXT, "algorithm": "ES256", "signs_from": "2026-11-22T09:00:00Z", "old": KID,
                "old_trusted_until": "2026-11-23T09:01:00Z", "pending": STANDBY,
            }),
        )
        .refuses(409, "Conflict")
}

pub(super) fn revoke() -> Op {
    Op::new("Revoke a signing key")
        .says("The emergency: out of the JWKS and its tokens inactive at once.")
        .may_take(content("application/json", schema("KeyRevocationRequest"), &[("all", json!({ "all": true }))]))
        .gives(
            200,
            "It is revoked, on disk and in effect.",
            schema("KeyRevocation"),
            json!({
                "revoked": [KID], "promoted": NEXT, "published_for": 86400, "added": [STANDBY],
                "believed_offline_until": "2026-11-23T08:00:00Z",
                "impact": {
                    "algorithm": "ES256", "state": "active", "active_since": "2026-11-19T08:00:00Z",
                    "tokens_until": "2026-11-23T08:00:00Z", "clients": 3, "publish_before": 3600,
                    "caches": [{ "name": "Istio", "keeps": 1200 }],
                },
            }),
        )
        .refuses(409, "Conflict")
}
