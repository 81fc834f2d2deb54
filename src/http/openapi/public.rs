//! The public listener: OAuth endpoints, documents, Legion's API, health.

use serde_json::{Value, json};

use super::build::{Op, answer, closed, content, count, list, schema, text};
use super::keys::jwk;
use crate::http::routes::Endpoint;
use crate::http::swagger;
use crate::keys::client_keys::ALGORITHMS;
use crate::model::algorithm::Algorithm;
use crate::model::scope::OIDC_SCOPES;
use crate::oauth::error::Code;
use crate::oauth::service::Settings;

/// What parameters other than `token` may hold.
const NO_CONTROL: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";
const FORM: &str = "application/x-www-form-urlencoded";

/// What the public listener brings along.
pub(super) fn schemas(settings: &Settings) -> Vec<(&'static str, Value)> {
    vec![
        (
            "TokenRequest",
            form(
                &["grant_type"],
                json!({
                    "grant_type": { "const": "client_credentials" },
                    "scope": { "type": "string", "pattern": r"^[!#-\[\]-~]+( [!#-\[\]-~]+)*$", "maxLength": 8192,
                               "description": "Role names, or admin scopes, with spaces between; left out: all granted roles." },
                    "resource": { "type": "string", "format": "uri", "description": "The audience (RFC 8707)." },
                }),
            ),
        ),
        (
            "TokenAnswer",
            answer(
                &["access_token", "token_type", "expires_in", "scope"],
                json!({
                    "access_token": text("A JWT (RFC 9068)."),
                    "token_type": { "const": "Bearer" },
                    "expires_in": { "type": "integer", "minimum": 1, "maximum": settings.lifetimes.max() },
                    "scope": text("What it holds."),
                }),
            ),
        ),
        (
            "TokenForm",
            json!({
                "type": "object", "required": ["token"],
                "properties": {
                    "token": { "type": "string", "minLength": 1, "description": "The token; any text." },
                    "token_type_hint": { "type": "string", "pattern": NO_CONTROL, "description": "Ignored." },
                },
            }),
        ),
        (
            "Introspection",
            json!({
                "oneOf": [
                    { "type": "object", "properties": { "active": { "const": false } }, "required": ["active"],
                      "additionalProperties": false },
                    answer(&["active", "scope", "client_id", "sub", "aud", "iss", "exp", "iat", "jti", "token_type", "roles"], json!({
                        "active": { "const": true },
                        "scope": text("What it holds."),
                        "client_id": schema("ClientId"),
                        "sub": schema("ClientId"),
                        "aud": text("Its audience."),
                        "iss": text("The issuer."),
                        "exp": { "type": "integer" },
                        "iat": { "type": "integer" },
                        "jti": schema("TokenId"),
                        "token_type": { "const": "Bearer" },
                        "roles": list(schema("Role")),
                    })),
                ],
            }),
        ),
        ("Metadata", metadata()),
        (
            "OAuthError",
            answer(
                &["error", "error_description"],
                json!({
                    "error": { "enum": Code::ALL.iter().map(|code| code.wire().0).chain(["unauthorized", "invalid_token",
                               "insufficient_scope", "not_found", "method_not_allowed", "request_timeout"]).collect::<Vec<_>>() },
                    "error_description": { "type": "string", "pattern": r"^[ !#-\[\]-~]+$" },
                }),
            ),
        ),
        (
            "LegionRequest",
            json!({
                "type": "object",
                "properties": {
                    "role_name": { "description": "The role; left out: the default role.",
                                   "anyOf": [schema("Role"), { "const": "" }, { "type": "null" }] },
                    "expiration_date": { "type": ["string", "null"],
                                         "description": "When it expires, in UTC, as `2006-01-02T15:04:05`; in the future. \
                                                         Past the allowed lifetime it is shortened to that." },
                },
            }),
        ),
        ("LegionToken", answer(&["token"], json!({ "token": text("A JWT (RFC 9068).") }))),
        ("LegionError", answer(&["message"], json!({ "message": text("What is wrong.") }))),
        (
            "Health",
            answer(
                &["status"],
                json!({
                    "status": { "enum": ["ok", "unavailable"] },
                    "store": { "enum": ["ok", "stale"] },
                }),
            ),
        ),
    ]
}

/// A form that may also carry the client's credentials. Unknown parameters are ignored (RFC 6749 §3.2).
fn form(required: &[&str], mut properties: Value) -> Value {
    properties["client_id"] = schema("ClientId");
    properties["client_secret"] = json!({
        "type": "string", "format": "password", "writeOnly": true,
        "description": "The client's secret, if it is not sent by Basic.",
    });
    properties["client_assertion_type"] = json!({
        "const": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "description": "For `private_key_jwt` (RFC 7523).",
    });
    properties["client_assertion"] = json!({ "type": "string", "writeOnly": true, "description": "The assertion." });
    json!({ "type": "object", "required": required, "properties": properties })
}

fn metadata() -> Value {
    let texts = || list(json!({ "type": "string" }));
    let url = |what: &str| json!({ "type": "string", "format": "uri", "description": what });
    let algorithms = || list(json!({ "enum": Algorithm::ALL.map(Algorithm::name) }));
    let assertions = || list(json!({ "enum": ALGORITHMS }));
    answer(
        &["issuer", "token_endpoint", "jwks_uri", "grant_types_supported", "response_types_supported"],
        json!({
            "issuer": url("The issuer, exactly as tokens carry it."),
            "token_endpoint": url("RFC 6749."),
            "jwks_uri": url("RFC 7517."),
            "introspection_endpoint": url("RFC 7662."),
            "revocation_endpoint": url("RFC 7009."),
            "grant_types_supported": texts(),
            "response_types_supported": texts(),
            "subject_types_supported": texts(),
            "token_endpoint_auth_methods_supported": texts(),
            "token_endpoint_auth_signing_alg_values_supported": assertions(),
            "introspection_endpoint_auth_methods_supported": texts(),
            "introspection_endpoint_auth_signing_alg_values_supported": assertions(),
            "revocation_endpoint_auth_methods_supported": texts(),
            "revocation_endpoint_auth_signing_alg_values_supported": assertions(),
            "id_token_signing_alg_values_supported": algorithms(),
        }),
    )
}

/// The operation at an endpoint that is no door.
pub(super) fn describe(endpoint: Endpoint, settings: &Settings) -> Op {
    match endpoint {
        Endpoint::Token => token(settings),
        Endpoint::Introspect => introspect(),
        Endpoint::Revoke => revoke(),
        Endpoint::Jwks => document("The published keys", "RFC 7517.", schema("Jwks"), json!({ "keys": [jwk()] })),
        Endpoint::LegionJwks => {
            document("The published keys", "As Legion's EDI offers them.", schema("Jwks"), json!({ "keys": [jwk()] }))
        }
        Endpoint::ServerMetadata => {
            document("The metadata", "RFC 8414.", schema("Metadata"), metadata_example(settings))
        }
        Endpoint::OpenIdConfiguration => {
            document("The same metadata", "OpenID Connect Discovery.", schema("Metadata"), metadata_example(settings))
        }
        Endpoint::LegionToken => legion(),
        Endpoint::Live => {
            Op::new("Whether it lives").gives(200, "The process runs.", schema("Health"), json!({ "status": "ok" }))
        }
        Endpoint::Ready => Op::new("Whether it serves")
            .says("Stays 200 while tokens are served from memory, and says `stale` then.")
            .gives(200, "Tokens can be served.", schema("Health"), json!({ "status": "ok", "store": "ok" }))
            .gives(503, "They cannot.", schema("Health"), json!({ "status": "unavailable", "store": "stale" })),
        Endpoint::Metrics => Op::new("Figures for Prometheus")
            .says("Holds counts, and never the name of a client or a role; needs no token.")
            .answers(200, "Every figure.", content("text/plain", json!({ "type": "string" }), &[]), Value::Null),
        Endpoint::SwaggerHome => Op::new("The way to `/swagger/`").answers(
            308,
            "It is at `/swagger/`.",
            Value::Null,
            json!({ "Location": { "schema": { "const": "/swagger/" } } }),
        ),
        Endpoint::Swagger => Op::new("This document, to read and to try out")
            .says("Self-contained: nothing is loaded from elsewhere. Needs no token.")
            .answers(200, "The page.", content("text/html", json!({ "type": "string" }), &[]), page_headers()),
        Endpoint::SwaggerFile => {
            let name = json!({ "type": "string", "enum": swagger::files() });
            let text = |kind: &str| (kind.to_owned(), json!({ "schema": { "type": "string" } }));
            let media = [text("text/javascript"), text("text/css")].into_iter().collect();
            Op::new("A file of that page")
                .parameter(
                    json!({ "name": "file", "in": "path", "required": true, "description": "Which.", "schema": name }),
                )
                .answers(200, "The file.", Value::Object(media), page_headers())
                .refuses(404, "NotFound")
                .refuses(406, "NotAcceptable")
        }
        Endpoint::OpenApi => Op::new("This document")
            .says("Holds no data but the issuer and configured limits, and needs no token.")
            .gives(200, "OpenAPI 3.1.", json!({ "type": "object" }), Value::Null),
        Endpoint::Named | Endpoint::Nginx | Endpoint::Forwarded | Endpoint::Envoy => {
            super::decision::describe(endpoint)
        }
    }
}

fn page_headers() -> Value {
    json!({ "Content-Security-Policy": { "required": true, "schema": { "type": "string" } } })
}

/// Credentials by Basic; without them, by the form.
fn by_client(op: Op) -> Op {
    op.with("security", json!([{ "clientBasic": [] }, {}]))
        .refuses(400, "OAuthMalformed")
        .refuses(401, "OAuthClient")
        .refuses(408, "OAuthTimeout")
        .refuses(413, "OAuthTooLarge")
        .refuses(415, "OAuthMediaType")
        .refuses(429, "OAuthSlowDown")
        .refuses(503, "OAuthUnavailable")
}

fn token(settings: &Settings) -> Op {
    let example = json!({
        "access_token": "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFUzI1NiJ9…", "token_type": "Bearer",
        "expires_in": settings.lifetimes.ttl(), "scope": "fraud-scoring",
    });
    let op = Op::new("Get an access token")
        .says(
            "RFC 6749 §4.4. The client proves itself by Basic or in the form, by one of them. No parameter belongs \
             into the query. `curl -u ID:SECRET -d grant_type=client_credentials`",
        )
        .takes(content(
            FORM,
            schema("TokenRequest"),
            &[
                ("roles", json!({ "grant_type": "client_credentials", "scope": "fraud-scoring" })),
                ("admin", json!({ "grant_type": "client_credentials", "scope": "edi:read edi:clients" })),
            ],
        ))
        .gives(200, "A token.", schema("TokenAnswer"), example);
    by_client(op)
}

fn introspect() -> Op {
    let op = Op::new("Ask whether a token counts, and what it holds")
        .says(
            "RFC 7662. A client sees its own tokens; one that was granted `edi:introspect` sees all. The caller proves itself \
             as at the token endpoint: by Basic, or by the same fields of the form.",
        )
        .takes(content(FORM, schema("TokenForm"), &[("token", json!({ "token": "eyJ…" }))]))
        .answers(
            200,
            "What is known of it.",
            content(
                "application/json",
                schema("Introspection"),
                &[
                    ("inactive", json!({ "active": false })),
                    ("active", json!({
                        "active": true, "scope": "fraud-scoring", "client_id": "fraud-caller", "sub": "fraud-caller",
                        "aud": "model-prediction-api", "iss": "https://edi.example.com", "exp": 1_795_341_600,
                        "iat": 1_795_340_700, "jti": "5YQ6uVdUq1h0c3mTtR2yJw", "token_type": "Bearer",
                        "roles": ["fraud-scoring"],
                    })),
                ],
            ),
            Value::Null,
        );
    by_client(op)
}

fn revoke() -> Op {
    let op = Op::new("Revoke a token of one's own")
        .says(
            "RFC 7009. What is unknown, expired or another's: 200 all the same, and nothing happens. The caller proves itself \
             as at the token endpoint: by Basic, or by the same fields of the form.",
        )
        .takes(content(FORM, schema("TokenForm"), &[("token", json!({ "token": "eyJ…" }))]))
        .gives_nothing(200, "It does not count any more, on disk and in effect.");
    by_client(op)
}

/// A document that anybody may read, from any origin.
fn document(summary: &str, standard: &str, schema: Value, example: Value) -> Op {
    let headers = json!({
        "ETag": { "$ref": "#/components/headers/ETag" },
        "Cache-Control": { "schema": { "type": "string" } },
        "Access-Control-Allow-Origin": { "schema": { "const": "*" } },
    });
    Op::new(summary)
        .says(standard)
        .parameter(super::build::in_header(
            "If-None-Match",
            "304 when it is this version.",
            json!({ "type": "string" }),
        ))
        .answers(200, "The document.", content("application/json", schema, &[("example", example)]), headers.clone())
        .answers(304, "It is the version that `If-None-Match` names.", Value::Null, headers)
        .refuses(400, "OAuthMalformed")
}

/// `OPTIONS` on such a document.
pub(super) fn preflight() -> Op {
    let headers = json!({
        "Access-Control-Allow-Origin": { "schema": { "const": "*" } },
        "Access-Control-Allow-Methods": { "schema": { "type": "string" } },
        "Access-Control-Allow-Headers": { "schema": { "type": "string" } },
        "Access-Control-Max-Age": { "schema": { "type": "string" } },
    });
    Op::new("What pages of other origins may do")
        .answers(204, "They may read it.", Value::Null, headers)
        .refuses(400, "OAuthMalformed")
}

fn legion() -> Op {
    Op::new("Get a token for a role name")
        .says(
            "The contract of the Legion platform's EDI. By Basic: a client, for its own roles. By Bearer: `edi:issue` \
             for any role; a role for itself, and the new token never outlives the Bearer.",
        )
        .with("security", json!([{ "clientBasic": [] }, { "bearer": [] }]))
        .may_take(content(
            "application/json",
            schema("LegionRequest"),
            &[("both", json!({ "role_name": "fraud-scoring", "expiration_date": "2027-01-31T12:00:00" }))],
        ))
        .gives(201, "A token.", schema("LegionToken"), json!({ "token": "eyJ…" }))
        .refuses(400, "LegionMalformed")
        .refuses(401, "LegionUnauthorized")
        .refuses(403, "LegionForbidden")
        .refuses(408, "LegionTimeout")
        .refuses(413, "LegionTooLarge")
        .refuses(415, "LegionMediaType")
        .refuses(429, "LegionSlowDown")
        .refuses(503, "LegionUnavailable")
}

fn metadata_example(settings: &Settings) -> Value {
    let url = |path: &str| format!("{}{path}", settings.issuer);
    json!({
        "issuer": settings.issuer, "token_endpoint": url("/oauth2/token"), "jwks_uri": url("/.well-known/jwks.json"),
        "introspection_endpoint": url("/oauth2/introspect"), "revocation_endpoint": url("/oauth2/revoke"),
        "grant_types_supported": ["client_credentials"], "response_types_supported": ["token"],
    })
}

/// Refusals in the manner of RFC 6749 §5.2 and of Legion.
pub(super) fn refusals() -> Vec<(&'static str, Value)> {
    let header = |name: &str| json!({ "$ref": format!("#/components/headers/{name}") });
    let make = |description: &str, of: &str, example: Value, more: &[&str]| {
        let mut headers = json!({ "X-Request-Id": header("X-Request-Id") });
        for name in more {
            headers[*name] = header(name);
        }
        json!({
            "description": description, "headers": headers,
            "content": content("application/json", schema(of), &[("example", example)]),
        })
    };
    let oauth = |code: Code, said: &str| json!({ "error": code.wire().0, "error_description": said });
    let said = |message: &str| json!({ "message": message });
    let mut malformed = make(
        "`invalid_request`, `unsupported_grant_type`, `invalid_scope`, `invalid_target` or \
        `unauthorized_client` (RFC 6749 §5.2, RFC 8707 §2).",
        "OAuthError",
        oauth(Code::InvalidScope, "a named scope is not granted"),
        &[],
    );
    malformed["content"]["application/json"]["examples"] = Value::Object(
        [
            Code::InvalidRequest,
            Code::UnsupportedGrantType,
            Code::InvalidScope,
            Code::InvalidTarget,
            Code::UnauthorizedClient,
        ]
        .into_iter()
        .map(|code| (code.wire().0.to_owned(), json!({ "value": oauth(code, "what would be right") })))
        .collect(),
    );
    vec![
        ("OAuthMalformed", malformed),
        (
            "OAuthClient",
            make(
                "`invalid_client`: for whatever reason.",
                "OAuthError",
                oauth(Code::InvalidClient, "client authentication failed"),
                &["WWW-Authenticate"],
            ),
        ),
        (
            "OAuthTimeout",
            make(
                "The body did not arrive in time.",
                "OAuthError",
                oauth(Code::InvalidRequest, "the body did not arrive in time"),
                &[],
            ),
        ),
        (
            "OAuthTooLarge",
            make("The body is too large.", "OAuthError", oauth(Code::InvalidRequest, "the body is too large"), &[]),
        ),
        (
            "OAuthMediaType",
            make(
                "Not a form, or compressed.",
                "OAuthError",
                oauth(Code::InvalidRequest, "send form fields, not JSON"),
                &[],
            ),
        ),
        (
            "OAuthSlowDown",
            make(
                "Too many failed attempts.",
                "OAuthError",
                oauth(Code::SlowDown, "too many failed attempts"),
                &["Retry-After"],
            ),
        ),
        (
            "OAuthUnavailable",
            make(
                "Try again shortly.",
                "OAuthError",
                oauth(Code::TemporarilyUnavailable, "try again shortly"),
                &["Retry-After"],
            ),
        ),
        (
            "LegionMalformed",
            make(
                "The body is malformed, or the date is past.",
                "LegionError",
                said("expiration_date lies in the past"),
                &[],
            ),
        ),
        (
            "LegionUnauthorized",
            make(
                "No credentials, or none that count.",
                "LegionError",
                said("client authentication failed"),
                &["WWW-Authenticate"],
            ),
        ),
        (
            "LegionForbidden",
            make(
                "The caller does not hold the role.",
                "LegionError",
                said("this client was not granted this role"),
                &[],
            ),
        ),
        (
            "LegionTimeout",
            make("The body did not arrive in time.", "LegionError", said("the body did not arrive in time"), &[]),
        ),
        ("LegionTooLarge", make("The body is too large.", "LegionError", said("the body is too large"), &[])),
        (
            "LegionMediaType",
            make("The body is compressed.", "LegionError", said("send the body without compression"), &[]),
        ),
        (
            "LegionSlowDown",
            make("Too many failed attempts.", "LegionError", said("too many failed attempts"), &["Retry-After"]),
        ),
        ("LegionUnavailable", make("Try again shortly.", "LegionError", said("try again shortly"), &["Retry-After"])),
    ]
}

/// What every text schema of the model looks like.
pub(super) fn model() -> Vec<(&'static str, Value)> {
    let id =
        |what: &str| json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", "description": what });
    vec![
        ("ClientId", id("A client's id.")),
        ("DeploymentId", id("A deployment's id.")),
        ("SecretId", json!({ "type": "string", "pattern": "^[a-z0-9]{1,32}$", "description": "Names a secret." })),
        (
            "Kid",
            json!({ "type": "string", "pattern": r"^[!#-.0-\[\]-~]{1,128}$", "description": "A signing key's id." }),
        ),
        (
            "Role",
            json!({
                "type": "string", "pattern": "^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$",
                "not": { "enum": OIDC_SCOPES }, "description": "A model deployment access role name: a Kubernetes label value.",
            }),
        ),
        (
            "AdminScope",
            json!({
                "type": "string", "enum": crate::model::scope::AdminScope::ALL.map(crate::model::scope::AdminScope::name),
            }),
        ),
        (
            "Audience",
            json!({ "type": "string", "pattern": r"^[!$-\[\]-~]{1,512}$", "description": "An audience; not the issuer." }),
        ),
        ("Algorithm", json!({ "type": "string", "enum": Algorithm::ALL.map(Algorithm::name) })),
        (
            "Problem",
            answer(
                &["type", "title", "status"],
                json!({
                    "type": { "type": "string", "format": "uri-reference", "description": "The kind of problem." },
                    "title": text("The same for every problem of this kind."),
                    "status": count("The HTTP status."),
                    "detail": text("What happened this time, and what to do about it."),
                    "instance": text("The request, by its id."),
                    "errors": list(schema("FieldError")),
                }),
            ),
        ),
        (
            "FieldError",
            closed(
                &["field", "detail"],
                json!({
                    "field": text("Which: a member of the body (`roles[0]`), or a query parameter."),
                    "detail": text("What is wrong and what would be right."),
                }),
            ),
        ),
    ]
}
