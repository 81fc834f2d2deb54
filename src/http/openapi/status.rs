//! Status, and why a token is refused.

use serde_json::{Value, json};

use super::build::{Op, answer, closed, content, count, flag, instant, list, or_null, schema, text};

/// What looking at edi brings along.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let check = answer(
        &["check", "detail"],
        json!({
            "check": { "enum": ["shape", "type", "algorithm", "key", "signature", "claims", "issuer", "expiry",
                                "revocations", "audience", "role"] },
            "ok": flag("Whether it holds; absent when it could not be judged."),
            "skipped": flag("It could not be judged."),
            "detail": text("In words; never the token."),
        }),
    );
    vec![
        (
            "ExplainRequest",
            closed(
                &["token"],
                json!({
                    "token": { "type": "string", "minLength": 1, "pattern": "\\S", "writeOnly": true, "description": "The token." },
                    "deployment": or_null(schema("DeploymentId")),
                }),
            ),
        ),
        (
            "Explanation",
            answer(
                &["allowed", "proven", "checks"],
                json!({
                    "allowed": flag("Whether every check holds; without a deployment, audience and role count for nothing."),
                    "proven": flag("Whether key and signature hold; else the other checks tell what the token claims."),
                    "deployment": schema("DeploymentId"),
                    "checks": list(check),
                }),
            ),
        ),
        ("Status", status()),
        (
            "Reloaded",
            answer(
                &["applied", "needs_restart", "certificates_taken_in"],
                json!({
                    "applied": list(schema("Setting")),
                    "needs_restart": list(schema("Setting")),
                    "certificates_taken_in": flag("Whether the certificates on disk had changed and are used now."),
                }),
            ),
        ),
        (
            "Setting",
            answer(
                &["key", "from", "to"],
                json!({
                    "key": text("Its key in the configuration."),
                    "from": { "description": "What was in force." },
                    "to": { "description": "What the configuration says now." },
                }),
            ),
        ),
    ]
}

fn status() -> Value {
    let attention =
        answer(&["what", "next"], json!({ "what": text("What is wrong."), "next": text("What mends it.") }));
    let listeners = answer(
        &["public", "admin", "tls"],
        json!({
            "public": text("Where the public listener is."),
            "admin": text("Where the admin listener is."),
            "tls": text("How TLS is done."),
        }),
    );
    let store = answer(
        &["health", "silence_ms"],
        json!({
            "engine": text("Its kind."),
            "path": text("Its folder."),
            "health": { "enum": ["ok", "read-only", "down"] },
            "problem": text("Why it takes no writes."),
            "silence_ms": count("Milliseconds since the mirrors last heard of it."),
            "used_bytes": count("What its files take."),
            "free_bytes": count("What its disk has left."),
        }),
    );
    let ending = answer(
        &["client_id", "id", "expires_at", "last"],
        json!({
            "client_id": schema("ClientId"),
            "id": schema("SecretId"),
            "name": schema("Name"),
            "expires_at": instant("When it stops working: within 14 days."),
            "last": flag("Nothing else lets its client in after that."),
        }),
    );
    let transition = answer(
        &["at", "kid", "to"],
        json!({
            "at": instant("When."), "kid": schema("Kid"), "to": schema("KeyState"),
        }),
    );
    answer(
        &[
            "version",
            "issuer",
            "audience",
            "started_at",
            "now",
            "store",
            "keys",
            "deployments",
            "revocations",
            "tokens_issued",
            "attention",
        ],
        json!({
            "version": text("edi's version."),
            "issuer": text("The issuer."),
            "audience": text("The audience of deployments that name none."),
            "started_at": instant("When this process started."),
            "now": instant("Its clock."),
            "uptime_seconds": count("How long it has been running."),
            "listeners": listeners,
            "store": store,
            "keys": list(schema("Key")),
            "next_transition": transition,
            "next_rotation_at": instant("When the next rotation begins by itself."),
            "clients": count("Registered clients."),
            "deployments": count("Registered deployments."),
            "revocations": count("Revocations in force."),
            "tokens_issued": count("Tokens issued by this process."),
            "token_requests_refused": count("Token requests refused by this process."),
            "lately": { "type": "object", "description": "The last minute of this process." },
            "clock": { "type": "object", "description": "Jumps of the machine's clock that this process noticed." },
            "secrets_expiring": list(ending),
            "limits": answer(
                &["max_ttl", "algorithms"],
                json!({
                    "max_ttl": count("The longest lifetime of a token, in seconds."),
                    "algorithms": list(text("An algorithm that tokens may be signed with.")),
                }),
            ),
            "attention": list(attention),
        }),
    )
}

pub(super) fn show() -> Op {
    Op::new("One look at all of it").gives(
        200,
        "How edi is doing.",
        schema("Status"),
        json!({
            "version": env!("CARGO_PKG_VERSION"), "issuer": "https://edi.example.com", "audience": "model-prediction-api",
            "started_at": "2026-11-20T08:00:00Z", "now": "2026-11-22T08:00:00Z",
            "store": { "health": "ok", "silence_ms": 120 }, "keys": [super::keys::example()], "deployments": 1,
            "revocations": 0, "tokens_issued": 52341, "attention": [],
        }),
    )
}

pub(super) fn backup() -> Op {
    Op::new("Take a backup")
        .says(
            "One consistent, checksummed snapshot of the running store, made while it is sent; sealed things stay \
             sealed. When it breaks off, so does the connection. `edi backup FILE` checks what it got.",
        )
        .answers(
            200,
            "The backup.",
            json!({ "application/octet-stream": { "schema": { "type": "string", "format": "binary" } } }),
            Value::Null,
        )
}

pub(super) fn reload() -> Op {
    Op::new("Take in what the configuration says now")
        .says(
            "The file is read anew; environment and flags are those of the start. All of it is judged first: with a \
             problem anywhere nothing changes, and 422 names the keys.",
        )
        .may_take(content("application/json", closed(&[], json!({})), &[("nothing", json!({}))]))
        .gives(
            200,
            "What is in force now, and what needs a start.",
            schema("Reloaded"),
            json!({
                "applied": [{ "key": "tokens.ttl", "from": "15m", "to": "10m" }],
                "needs_restart": [{ "key": "listen.workers", "from": 0, "to": 4 }],
                "certificates_taken_in": false,
            }),
        )
}

pub(super) fn explain() -> Op {
    Op::new("Say why a token is let through or not")
        .says("Check by check; at a deployment if one is named. The token is never part of the answer.")
        .takes_json(schema("ExplainRequest"), &[("at a deployment", json!({ "token": "eyJ…", "deployment": "fraud" }))])
        .gives(
            200,
            "What each check says.",
            schema("Explanation"),
            json!({
                "allowed": false, "proven": true, "deployment": "fraud",
                "checks": [
                    { "check": "shape", "ok": true, "detail": "a compact JWS" },
                    { "check": "role", "ok": false, "detail": "fraud wants fraud-scoring; the token holds spam" },
                ],
            }),
        )
}
