//! The decision endpoint's four doors.

use serde_json::{Value, json};

use super::build::{Op, in_header, in_query, schema};
use crate::http::routes::Endpoint;

/// The operation at a door; the same for every method.
pub(super) fn describe(endpoint: Endpoint) -> Op {
    let op = match endpoint {
        Endpoint::Nginx => Op::new("Decide for nginx")
            .says(
                "About the URL in `X-Original-URL` alone. `X-Original-URI` together with `Host` does as well, instead \
                 of it.",
            )
            .parameter(required(
                in_header(
                    "X-Original-URL",
                    "The URL that nginx was asked for.",
                    json!({ "type": "string", "pattern": "^https?://" }),
                ),
                "https://models.example.com/fraud",
            )),
        Endpoint::Forwarded => Op::new("Decide for Traefik or Caddy")
            .says("About what the three headers say, each once.")
            .parameter(required(
                in_header("X-Forwarded-Method", "The method they were asked with.", json!({ "type": "string" })),
                "POST",
            ))
            .parameter(required(
                in_header("X-Forwarded-Host", "The host they were asked for.", json!({ "type": "string" })),
                "models.example.com",
            ))
            .parameter(required(
                in_header("X-Forwarded-Uri", "The path and query.", json!({ "type": "string" })),
                "/fraud",
            )),
        Endpoint::Envoy => Op::new("Decide for Envoy").says(
            "About the method, the host and the path that follow the prefix, as Envoy's `ext_authz` passes them on.",
        ),
        _ => Op::new("Decide about a role or a deployment")
            .says(
                "`role` or `deployment`, one of them. Whatever follows `path=` is the caller's and decides nothing; it \
                 comes last.",
            )
            .parameter(in_query("role", "The role that is wanted.", schema("Role")))
            .parameter(in_query("deployment", "The deployment that is wanted.", schema("DeploymentId")))
            .parameter(in_query("path", "What the caller asked for.", json!({ "type": "string" }))),
    };
    let who = |what: &str| json!({ "description": what, "schema": { "type": "string" } });
    op.with("security", json!([{ "bearer": [] }]))
        .answers(
            200,
            "Let it through.",
            Value::Null,
            json!({
                "X-Auth-Request-User": who("The client."),
                "X-Auth-Request-Groups": who("Its roles, with commas."),
                "X-Edi-Client-Id": who("The client."),
                "X-Edi-Token-Id": who("The token's `jti`."),
            }),
        )
        .refuses(400, "BearerMalformed")
        .refuses(401, "BearerToken")
        .refuses(403, "BearerScope")
        .refuses(503, "OAuthUnavailable")
}

fn required(mut parameter: Value, example: &str) -> Value {
    parameter["required"] = json!(true);
    parameter["example"] = json!(example);
    parameter
}

/// Refusals in the manner of RFC 6750 §3.
pub(super) fn refusals() -> Vec<(&'static str, Value)> {
    let header = |name: &str| json!({ "$ref": format!("#/components/headers/{name}") });
    let make = |description: &str, code: &str, said: &str| {
        json!({
            "description": description,
            "headers": { "X-Request-Id": header("X-Request-Id"), "WWW-Authenticate": header("Challenge") },
            "content": { "application/json": {
                "schema": schema("OAuthError"), "example": { "error": code, "error_description": said },
            } },
        })
    };
    vec![
        (
            "BearerMalformed",
            make(
                "`invalid_request`: what is wanted is not said, or said twice.",
                "invalid_request",
                "name a role or a deployment, not both",
            ),
        ),
        (
            "BearerToken",
            make("No token, or `invalid_token`: for whatever reason.", "invalid_token", "the token is not valid here"),
        ),
        (
            "BearerScope",
            make(
                "`insufficient_scope`, naming the role; or nothing is deployed there.",
                "insufficient_scope",
                "the token does not carry the scope that is needed",
            ),
        ),
    ]
}
