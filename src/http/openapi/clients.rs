//! Clients and their secrets.

use serde_json::{Value, json};

use super::build::{Op, answer, closed, content, instant, list, or_null, page, schema, text};
use crate::keys::client_keys::{ALGORITHMS, MAX_KEYS};
use crate::model::client::{MAX_AUDIENCES, MAX_NAME, MAX_ROLES};
use crate::model::scope::AdminScope;
use crate::oauth::chosen_secret::{MAX_CHOSEN, MIN_CHOSEN};
use crate::oauth::service::Settings;

/// The fields of a client that an operator sets. `null` counts as left out, or puts the default back.
fn settable(settings: &Settings) -> Value {
    let algorithms: Vec<&str> = settings.algorithms.iter().map(|algorithm| algorithm.name()).collect();
    json!({
        "client_name": or_null(schema("Name")),
        "token_endpoint_auth_method": {
            "description": "How it proves itself; absent: a secret by Basic or form, as it likes.",
            "enum": ["client_secret_basic", "client_secret_post", "private_key_jwt", null],
        },
        "jwks": or_null(schema("ClientJwks")),
        "assertion_audience": {
            "description": "What its assertions name as their audience; absent: the issuer. Only beside `jwks`.",
            "enum": ["issuer", "token_endpoint", null],
        },
        "roles": {
            "description": "The roles it may ask for.", "type": ["array", "null"],
            "items": schema("Role"), "maxItems": MAX_ROLES,
        },
        "admin_scopes": {
            "description": "Rights over edi itself; nobody grants one they lack.", "type": ["array", "null"],
            "items": schema("AdminScope"), "maxItems": AdminScope::ALL.len(),
        },
        "audiences": {
            "description": "Audiences it may ask for beside those of its roles.", "type": ["array", "null"],
            "items": schema("Audience"), "maxItems": MAX_AUDIENCES,
        },
        "access_token_lifetime": {
            "description": "Seconds that its tokens live; absent: tokens.ttl.",
            "type": ["integer", "null"], "minimum": 10, "maximum": settings.lifetimes.max(),
        },
        "access_token_signing_alg": {
            "description": "The algorithm its tokens are signed with; absent: the first of keys.algorithms.",
            "enum": algorithms.into_iter().map(Value::from).chain([Value::Null]).collect::<Vec<_>>(),
        },
    })
}

fn with(mut properties: Value, more: &[(&str, Value)]) -> Value {
    for (name, value) in more {
        properties[*name] = value.clone();
    }
    properties
}

fn chosen_secret() -> Value {
    or_null(json!({
        "type": "string", "writeOnly": true, "format": "password",
        "minLength": MIN_CHOSEN, "maxLength": MAX_CHOSEN, "pattern": "^[ -~]+$",
        "description": "A secret that was chosen elsewhere, or its argon2id hash in PHC form. Left out: edi makes one \
                        and shows it this once.",
    }))
}

/// The empty list, beside `private_key_jwt`: a client has secrets or keys, never both.
fn no_secrets() -> Value {
    json!({
        "type": ["array", "null"], "maxItems": 0, "items": schema("Secret"),
        "description": "Empty, beside `private_key_jwt`: takes all its secrets away.",
    })
}

/// The public keys of a client (RFC 7517 §5, RFC 7591 §2).
fn client_jwks() -> Value {
    let key = json!({
        "type": "object", "required": ["kty"], "description": "A public key (RFC 7517 §4); never a private one.",
        "properties": {
            "kty": { "enum": ["EC", "RSA", "OKP"] },
            "kid": text("Its id."), "alg": { "enum": ALGORITHMS }, "use": { "const": "sig" },
            "crv": text("Its curve."), "x": text("Its point."), "y": text("Its point."),
            "n": text("Its modulus."), "e": text("Its exponent."),
        },
    });
    json!({
        "type": "object", "required": ["keys"], "description": "Its public keys (RFC 7517 §5), for `private_key_jwt`.",
        "properties": { "keys": { "type": "array", "minItems": 1, "maxItems": MAX_KEYS, "items": key } },
    })
}

/// How a secret is replaced: as planned, or because it leaked.
fn rotation(compromised: bool) -> Value {
    let nothing = || json!({ "type": "null" });
    let common = json!({
        "name": or_null(schema("Name")),
        "expires_at": or_null(instant("When the new one stops working; in the future.")),
        "client_secret": chosen_secret(),
        "reason": or_null(schema("Reason")),
        "dry_run": { "type": ["boolean", "null"], "description": "Say what would happen; change nothing." },
    });
    if compromised {
        let leaked = json!({ "const": true, "description": "The old secret leaked: it stops at once." });
        let which = "The id or name of the one that leaked; all without it.";
        let which = json!({ "type": "string", "minLength": 1, "maxLength": MAX_NAME, "description": which });
        let fields = [
            ("compromised", leaked),
            ("secret", or_null(which)),
            ("overlap_seconds", nothing()),
            ("remove_older", json!({ "enum": [false, null] })),
        ];
        return closed(&["compromised"], with(common, &fields));
    }
    let overlap = json!({
        "type": ["integer", "null"], "minimum": 0, "maximum": 7_776_000,
        "description": "How long the old secret works beside the new one; 86400 unless said.",
    });
    let older = json!({ "type": ["boolean", "null"], "description": "Of two live secrets, take the older away." });
    let fields = [
        ("overlap_seconds", overlap),
        ("remove_older", older),
        ("compromised", json!({ "enum": [false, null] })),
        ("secret", nothing()),
    ];
    closed(&[], with(common, &fields))
}

/// What clients bring along.
pub(super) fn schemas(settings: &Settings) -> Vec<(&'static str, Value)> {
    let state = json!({ "enum": ["enabled", "disabled", null], "description": "Disabling revokes its tokens." });
    let view = [
        ("client_id", schema("ClientId")),
        ("client_name", schema("Name")),
        (
            "token_endpoint_auth_method",
            json!({ "enum": ["client_secret_basic", "client_secret_post", "private_key_jwt"] }),
        ),
        ("jwks", schema("ClientJwks")),
        ("assertion_audience", json!({ "enum": ["issuer", "token_endpoint"] })),
        ("roles", list(schema("Role"))),
        ("admin_scopes", list(schema("AdminScope"))),
        ("audiences", list(schema("Audience"))),
        ("access_token_lifetime", json!({ "type": "integer" })),
        ("access_token_signing_alg", schema("Algorithm")),
        ("state", json!({ "enum": ["enabled", "disabled"] })),
        ("secrets", list(schema("Secret"))),
        ("created_at", instant("When it was registered.")),
        ("updated_at", instant("When it was last changed.")),
    ];
    let always = ["client_id", "roles", "admin_scopes", "audiences", "state", "secrets", "created_at", "updated_at"];
    let secret = [
        ("id", schema("SecretId")),
        ("name", schema("Name")),
        ("kind", json!({ "enum": ["generated", "chosen"], "description": "Made by edi, or chosen elsewhere." })),
        ("created_at", instant("When it was made.")),
        ("expires_at", instant("When it stops working; absent: never.")),
        ("last_used_at", instant("When it was last used, some minutes behind; only where one client is shown.")),
    ];
    let once = ("client_secret", text("The secret, shown this once. Absent when it was chosen elsewhere."));
    let object = || json!({});
    vec![
        ("Client", answer(&always, with(object(), &view))),
        ("ClientCreated", answer(&always, with(with(object(), &view), std::slice::from_ref(&once)))),
        (
            "ClientNew",
            closed(
                &["client_id"],
                with(
                    settable(settings),
                    &[
                        ("client_id", schema("ClientId")),
                        ("client_secret", chosen_secret()),
                        ("state", json!({ "enum": ["enabled", null], "description": "A new client is enabled." })),
                    ],
                ),
            ),
        ),
        ("ClientReplacement", {
            let id =
                json!({ "allOf": [schema("ClientId")], "description": "The one in the path, if it is here at all." });
            let secret = chosen_secret();
            let more =
                [("client_id", id), ("client_secret", secret), ("state", state.clone()), ("secrets", no_secrets())];
            closed(&[], with(settable(settings), &more))
        }),
        ("ClientPatch", closed(&[], with(settable(settings), &[("state", state), ("secrets", no_secrets())]))),
        ("ClientJwks", client_jwks()),
        ("Secret", answer(&["id", "kind", "created_at"], with(object(), &secret))),
        ("SecretCreated", answer(&["id", "kind", "created_at"], with(with(object(), &secret), &[once]))),
        (
            "SecretNew",
            closed(
                &[],
                json!({
                    "name": or_null(schema("Name")),
                    "expires_at": or_null(instant("When it stops working; in the future.")),
                    "client_secret": chosen_secret(),
                }),
            ),
        ),
        ("SecretRotation", json!({ "oneOf": [rotation(false), rotation(true)] })),
        (
            "SecretRotated",
            answer(
                &["client_id", "removed", "overlapping"],
                with(
                    with(object(), &secret),
                    &[
                        ("client_secret", text("The new secret, shown this once.")),
                        ("client_id", schema("ClientId")),
                        ("dry_run", json!({ "type": "boolean" })),
                        ("removed", list(schema("Secret"))),
                        ("overlapping", list(schema("Secret"))),
                        ("revocation", schema("Revocation")),
                        (
                            "offline_verifiers",
                            answer(
                                &["accept_until", "mostly_until"],
                                json!({
                                    "accept_until": instant("Until when verifiers that do not ask edi take revoked tokens at the latest."),
                                    "mostly_until": instant("Until when most of them do."),
                                }),
                            ),
                        ),
                    ],
                ),
            ),
        ),
        (
            "Name",
            json!({
                "type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$",
                "description": "What people call it.",
            }),
        ),
    ]
}

/// A client as it is shown in examples.
fn example() -> Value {
    json!({
        "client_id": "fraud-caller", "client_name": "Fraud scoring, batch", "roles": ["fraud-scoring"],
        "admin_scopes": [], "audiences": [], "access_token_lifetime": 900, "state": "enabled",
        "secrets": [secret_example()],
        "created_at": "2026-11-20T08:00:00Z", "updated_at": "2026-11-20T08:00:00Z",
    })
}

fn secret_example() -> Value {
    json!({ "id": "k3v9x1q7", "name": "2026-11", "kind": "generated", "created_at": "2026-11-20T08:00:00Z" })
}

const SHOWN_ONCE: &str = "edi_k3v9x1q7_8Zt2qVQ3n1d0c5mT7yWxK4uJ9aLr6eHbGfPoSiDkNhM0Qw8EzRjAvT5Y";

fn shown_once(mut view: Value) -> Value {
    view["client_secret"] = json!(SHOWN_ONCE);
    view
}

pub(super) fn lists() -> Op {
    Op::new("List clients").gives(200, "One page.", page(schema("Client")), json!({ "items": [example()] }))
}

pub(super) fn create() -> Op {
    Op::new("Register a client")
        .says(
            "edi makes its secret and shows it in this answer alone, unless one is given. With neither `roles` nor \
             `admin_scopes` it gets the default role, if there is one.",
        )
        .takes_json(
            schema("ClientNew"),
            &[
                ("caller", json!({ "client_id": "fraud-caller", "roles": ["fraud-scoring"] })),
                ("operator", json!({ "client_id": "night-shift", "admin_scopes": ["edi:read", "edi:revocations"] })),
            ],
        )
        .gives_version(201, "It is registered, on disk and in effect.", schema("ClientCreated"), shown_once(example()))
        .locates()
        .refuses(409, "Conflict")
}

pub(super) fn show() -> Op {
    Op::new("Show a client").gives_version(200, "The client.", schema("Client"), example())
}

pub(super) fn replace() -> Op {
    Op::new("Make a client what the body says")
        .says(
            "Whether or not it is there. What the body does not name is at its default afterwards, `state` included. A new \
             one gets its secret as with `POST`, shown this once; one that is there keeps its secrets, and they are not \
             shown. `If-None-Match: *` only makes one; `If-Match` only replaces one.",
        )
        .parameter(super::build::in_header("If-None-Match", "`*`: only if there is none.", json!({ "type": "string" })))
        .takes_json(schema("ClientReplacement"), &[("caller", json!({ "roles": ["fraud-scoring"] }))])
        .gives_version(200, "It is replaced, on disk and in effect.", schema("Client"), example())
        .gives_version(201, "It is registered, on disk and in effect.", schema("ClientCreated"), shown_once(example()))
        .locates()
        .refuses(409, "Conflict")
}

pub(super) fn update() -> Op {
    let body = schema("ClientPatch");
    let examples =
        [("roles", json!({ "roles": ["fraud-scoring", "spam"] })), ("disable", json!({ "state": "disabled" }))];
    let mut media = content("application/json", body.clone(), &examples);
    media["application/merge-patch+json"] = json!({ "schema": body });
    Op::new("Change a client")
        .says(
            "A JSON merge patch (RFC 7396): what is left out stays, `null` puts the default back. Disabling it or \
             taking a role away revokes the tokens concerned in the same commit.",
        )
        .takes(media)
        .gives_version(200, "It is changed, on disk and in effect.", schema("Client"), example())
        .refuses(409, "Conflict")
}

pub(super) fn delete() -> Op {
    Op::new("Delete a client")
        .says("Revokes its tokens in the same commit.")
        .gives_nothing(204, "It is gone.")
        .refuses(409, "Conflict")
}

pub(super) fn secrets() -> Op {
    let items = json!({ "items": [secret_example()] });
    Op::new("List a client's secrets").gives(
        200,
        "What is known of them; never the secrets.",
        page(schema("Secret")),
        items,
    )
}

pub(super) fn add_secret() -> Op {
    Op::new("Give a client another secret")
        .says("Two may be live at once; a third is refused. Both work until one is removed or expires.")
        .may_take(content(
            "application/json",
            schema("SecretNew"),
            &[("named", json!({ "name": "2026-12", "expires_at": "2027-12-01T00:00:00Z" }))],
        ))
        .gives(201, "It works from now on; shown this once.", schema("SecretCreated"), shown_once(secret_example()))
        .refuses(409, "Conflict")
}

pub(super) fn rotate_secret() -> Op {
    let removed = json!({ "id": "a1", "kind": "generated", "created_at": "2026-08-20T08:00:00Z" });
    Op::new("Replace a client's secret")
        .says(
            "Planned: the old one works beside the new one for `overlap_seconds`. Compromised: it stops at once, and \
             every token of the client is revoked in the same commit.",
        )
        .may_take(content(
            "application/json",
            schema("SecretRotation"),
            &[
                ("planned", json!({ "overlap_seconds": 86400, "name": "2026-12" })),
                ("leaked", json!({ "compromised": true, "reason": "in a public repository" })),
                ("look first", json!({ "compromised": true, "dry_run": true })),
            ],
        ))
        .gives(200, "A dry run: what would happen.", schema("SecretRotated"), json!({
            "client_id": "fraud-caller", "dry_run": true, "removed": [removed.clone()], "overlapping": [],
        }))
        .gives(201, "The new secret works; shown this once.", schema("SecretRotated"), json!({
            "client_id": "fraud-caller", "id": "k3v9x1q7", "kind": "generated", "created_at": "2026-11-20T08:00:00Z",
            "client_secret": SHOWN_ONCE, "removed": [removed], "overlapping": [],
        }))
        .refuses(409, "Conflict")
}

pub(super) fn remove_secret() -> Op {
    Op::new("Take a secret away")
        .says("Tokens that were got with it stay what they are; revoke the client's tokens if it leaked.")
        .gives_nothing(204, "It no longer works.")
        .refuses(409, "Conflict")
}
