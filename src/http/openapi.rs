//! `/openapi.json`: every endpoint of both listeners as OpenAPI 3.1, made from the tables that route them.
//!
//! Paths, methods, scopes, path and query parameters come from [`super::routes`] and `super::admin::table`, limits and
//! names from the model; what is written here is what no table can say: summaries, bodies, examples.
//!
//! **A new endpoint of the admin API** needs its words in `describe` below (the compiler asks for them) and, in the file of
//! its area, a function that gives its `build::Op`: a summary, the body it takes, what it answers. Refusals that follow
//! from its row (400, 401, 403, 404 for paths with names, 412 for changes on condition, 408, 413, 415 and 422 for bodies,
//! 503) are added here; 409 is said by the operation. Schemas go into the `schemas` of its area. Then
//! - a new query parameter, or a name in its path, gets a line in `parameter`;
//! - `tests/api/openapi.rs` holds answers of the running program to their schemas: give the operation a call there.
//!
//! **A new endpoint elsewhere** gets its description in `public::describe`.

#![expect(
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "a JSON object literal is indexed by its own names, whatever callers send; parts move into their whole"
)]

mod audit;
mod build;
mod clients;
mod decision;
mod deployments;
mod key_life;
mod keys;
mod public;
mod refusals;
mod revocations;
mod status;
mod whose;

use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};

use super::admin::table::{Operation, Row, TABLE};
use super::routes::{ADMIN, Endpoint, PUBLIC, Place, Takes};
use crate::model::scope::AdminScope;
use crate::oauth::service::{Service, Settings};
use build::{Op, in_header, in_query, schema};

/// `GET /openapi.json`.
pub async fn openapi(service: web::Data<Service>) -> HttpResponse {
    HttpResponse::Ok().json(document(&service.settings))
}

/// What an operation does, in words.
fn describe(operation: Operation) -> Op {
    match operation {
        Operation::ClientList => clients::lists(),
        Operation::ClientCreate => clients::create(),
        Operation::ClientShow => clients::show(),
        Operation::ClientReplace => clients::replace(),
        Operation::ClientUpdate => clients::update(),
        Operation::ClientDelete => clients::delete(),
        Operation::SecretList => clients::secrets(),
        Operation::SecretAdd => clients::add_secret(),
        Operation::SecretRemove => clients::remove_secret(),
        Operation::SecretRotate => clients::rotate_secret(),
        Operation::DeploymentList => deployments::lists(),
        Operation::DeploymentCreate => deployments::create(),
        Operation::DeploymentShow => deployments::show(),
        Operation::DeploymentReplace => deployments::replace(),
        Operation::DeploymentUpdate => deployments::update(),
        Operation::DeploymentDelete => deployments::delete(),
        Operation::DeploymentAccess => deployments::access(),
        Operation::RoleList => deployments::roles(),
        Operation::RoleShow => deployments::role(),
        Operation::Explain => status::explain(),
        Operation::Whose => whose::ask(),
        Operation::KeyList => keys::lists(),
        Operation::KeyShow => keys::show(),
        Operation::KeyImport => key_life::import(),
        Operation::KeyPlan => key_life::plan(),
        Operation::MasterKeyRotate => key_life::rotate_master(),
        Operation::KeyRotate => keys::rotate(),
        Operation::KeyRevoke => keys::revoke(),
        Operation::RevocationList => revocations::lists(),
        Operation::RevocationCreate => revocations::create(),
        Operation::RevocationShow => revocations::show(),
        Operation::RevocationUndo => revocations::undo(),
        Operation::AuditList => audit::lists(),
        Operation::AuditVerify => audit::verify(),
        Operation::AuditSeal => audit::seal(),
        Operation::RefusalShow => refusals::show(),
        Operation::Status => status::show(),
        Operation::Backup => status::backup(),
        Operation::Reload => status::reload(),
    }
}

/// Whether a change can be made on condition of a version.
fn on_condition(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::ClientReplace
            | Operation::DeploymentReplace
            | Operation::ClientUpdate
            | Operation::ClientDelete
            | Operation::SecretRotate
            | Operation::DeploymentUpdate
            | Operation::DeploymentDelete
    )
}

/// A parameter by its name, at the paths that begin so: its meaning and its schema.
fn parameter(begins: &str, name: &str) -> Option<(&'static str, Value)> {
    Some(match (begins, name) {
        ("clients", "id") => ("The client.", schema("ClientId")),
        ("clients", "secret") => ("The secret.", schema("SecretId")),
        ("deployments", "id") => ("The deployment.", schema("DeploymentId")),
        ("roles", "role") => ("The role.", schema("Role")),
        ("keys", "kid") => ("The key.", schema("Kid")),
        ("clients" | "deployments", "role") => ("Only those with this role.", schema("Role")),
        ("clients", "admin_scope") => ("Only clients that were granted this one by name.", schema("AdminScope")),
        ("clients", "state") => {
            ("Only clients in this state.", json!({ "type": "string", "enum": ["enabled", "disabled"] }))
        }
        ("clients", "auth_method") => (
            "Only clients registered for this method; `client_secret`: by Basic or form, as they like.",
            json!({ "type": "string", "enum": crate::admin::client_filter::AUTH_METHODS }),
        ),
        ("clients", "q") => ("Only clients whose id or name begins so.", json!({ "type": "string" })),
        ("deployments", "host") => (
            "Only deployments that answer on this host by naming it, or by a wildcard.",
            json!({ "type": "string", "maxLength": 253, "pattern": deployments::host() }),
        ),
        ("roles", "client") => ("Only roles of this client.", schema("ClientId")),
        ("keys", "state") => ("Only keys in this state.", schema("KeyState")),
        ("keys", "algorithm") => ("Only keys of this algorithm.", schema("Algorithm")),
        ("revocations", name) if revocations::parameter(name).is_some() => return revocations::parameter(name),
        ("audit", "actor") => (
            "Only what this client did; `edi` for what edi does by itself.",
            json!({ "type": "string", "maxLength": 200 }),
        ),
        ("audit", "action") => {
            ("Only this action; `client.*` takes all on clients.", json!({ "type": "string", "maxLength": 200 }))
        }
        ("audit", "target") => ("Only what was done to this.", json!({ "type": "string", "maxLength": 200 })),
        ("audit", "request_id") => ("Only what came with this request.", json!({ "type": "string", "maxLength": 200 })),
        ("audit", "since") => ("From this instant on.", json!({ "type": "string", "format": "date-time" })),
        ("audit", "until") => ("Before this instant.", json!({ "type": "string", "format": "date-time" })),
        ("audit", "outcome") => {
            ("Only changes, or only refusals.", json!({ "type": "string", "enum": ["done", "refused"] }))
        }
        ("audit", "order") => {
            ("`desc`: newest first.", json!({ "type": "string", "enum": ["asc", "desc"], "default": "asc" }))
        }
        ("audit", "seq") => ("The seal's number.", json!({ "type": "integer", "minimum": 1 })),
        ("refusals", "request_id") => (
            "The id of the request, as `X-Request-Id` and the log have it.",
            json!({ "type": "string", "maxLength": 64, "pattern": "^[A-Za-z0-9._-]+$" }),
        ),
        (_, "limit") => (
            "How many items at most.",
            json!({ "type": "integer", "minimum": 1, "maximum": crate::admin::page::MAX_LIMIT,
                    "default": crate::admin::page::DEFAULT_LIMIT }),
        ),
        (_, "cursor") => ("The `next_cursor` of an earlier answer.", schema("Cursor")),
        _ => return None,
    })
}

/// The whole document.
#[must_use]
pub fn document(settings: &Settings) -> Value {
    let mut paths = Map::new();
    let public = || json!([{ "url": settings.issuer, "description": "The public listener." }]);
    let admin = || json!([{ "url": "/", "description": "The admin listener." }]);
    for (places, servers) in [(PUBLIC, public()), (ADMIN, admin())] {
        for place in places {
            let item = paths.entry(documented(place.path)).or_insert_with(|| json!({ "servers": [] }));
            for (method, operation) in operations(place, settings) {
                item[method] = operation;
            }
            append(&mut item["servers"], &servers);
        }
    }
    for row in TABLE {
        let item = paths.entry(format!("/admin/v1/{}", row.path)).or_insert_with(|| json!({ "servers": admin() }));
        item[row.method.to_ascii_lowercase()] = operation(row);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "edi",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "OAuth2 token issuer for model prediction APIs",
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [public()[0], admin()[0]],
        "tags": TAGS.map(|(name, description)| json!({ "name": name, "description": description })),
        "paths": paths,
        "components": {
            "schemas": schemas(settings),
            "responses": refusals(),
            "headers": headers(),
            "securitySchemes": security_schemes(settings),
        },
    })
}

const ABOUT: &str = "edi issues short-lived, signed JWT access tokens, scoped to the role names of model deployments. \
    This describes both listeners; each path says which. `HEAD` goes wherever `GET` does.\n\n\
    To try out the admin API here, get a token with `edi token get --scope edi:admin` (or any narrower scope) and paste \
    it under *Authorize*, `bearer`. Of the public listener a browser may read the metadata and the JWKS alone; for the \
    rest copy the curl line.\n\n\
    `edi:admin` includes all other scopes; where an operation names two, either will do.";

const TAGS: [(&str, &str); 12] = [
    ("tokens", "What services use. Public listener."),
    ("discovery", "What verifiers read. Public listener, open to any origin."),
    ("decisions", "What proxies ask. Public listener, any method."),
    ("legion", "The token API of the Legion platform's EDI. Public listener."),
    ("clients", "Registered services and their secrets."),
    ("deployments", "Deployed models and who can call them."),
    ("roles", "Role names, as they are used."),
    ("keys", "Signing keys."),
    ("revocations", "What no longer counts."),
    ("audit", "Who changed what, and what was refused."),
    ("status", "How edi is doing, and why a token is refused."),
    ("health", "Both listeners."),
];

fn append(list: &mut Value, more: &Value) {
    if let (Value::Array(list), Value::Array(more)) = (list, more) {
        list.extend(more.iter().cloned());
    }
}

/// A route's path as OpenAPI writes it.
fn documented(path: &str) -> String {
    path.replace("{rest:.*}", "/{path}")
}

/// The operations at a place that is not the admin API's.
fn operations(place: &Place, settings: &Settings) -> Vec<(String, Value)> {
    let base = public::describe(place.endpoint, settings);
    let tag = match place.endpoint {
        Endpoint::Token | Endpoint::Introspect | Endpoint::Revoke => "tokens",
        Endpoint::Jwks | Endpoint::ServerMetadata | Endpoint::OpenIdConfiguration => "discovery",
        Endpoint::Named | Endpoint::Nginx | Endpoint::Forwarded | Endpoint::Envoy => "decisions",
        Endpoint::LegionToken | Endpoint::LegionJwks => "legion",
        Endpoint::Live | Endpoint::Ready => "health",
        Endpoint::OpenApi | Endpoint::Metrics | Endpoint::SwaggerHome | Endpoint::Swagger | Endpoint::SwaggerFile => {
            "status"
        }
    };
    let mut base = base.with("tags", json!([tag]));
    if place.endpoint == Endpoint::Envoy {
        base = base.parameter(json!({
            "name": "path", "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 },
            "description": "The path that Envoy was asked for; it may have any number of segments.",
        }));
    }
    if tag == "health" || tag == "status" {
        base = base.refuses(400, if tag == "health" { "Malformed" } else { "ProblemMalformed" });
    }
    let named = |op: Op, method: &str| {
        let name = camel(&format!("{:?}", place.endpoint));
        let id = if place.takes.methods().len() > 1 { format!("{name}{}", capital(method)) } else { name };
        (method.to_owned(), op.with("operationId", json!(id)).build())
    };
    let methods = place.takes.methods();
    methods
        .iter()
        .filter(|method| **method != "HEAD" || place.takes == Takes::Any)
        .map(|method| {
            let method = method.to_ascii_lowercase();
            let preflight = place.takes == Takes::Document && method == "options";
            let op = if preflight { public::preflight().with("tags", json!([tag])) } else { base.clone() };
            named(op, &method)
        })
        .collect()
}

/// The operation of a row of the admin API.
fn operation(row: &Row) -> Value {
    let begins = row.path.split('/').next().unwrap_or_default();
    let scopes: Vec<&str> = row.right.scopes().into_iter().map(AdminScope::name).collect();
    let tag = match begins {
        "explain" | "backup" | "reload" => "status",
        "whose" => "clients",
        "refusals" => "audit",
        begins => begins,
    };
    let mut op = describe(row.operation)
        .with("operationId", json!(camel(&format!("{:?}", row.operation))))
        .with("tags", json!([tag]))
        // OpenAPI 3.1 §4.8.30: for schemes other than OAuth2 the list names the roles that are needed.
        .with("security", scopes.iter().map(|scope| json!({ "bearer": [scope] })).collect())
        .with("x-edi-scopes", json!(scopes));
    for name in row.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let (description, schema) = parameter(begins, name).unwrap_or(("", json!({ "type": "string" })));
        let it = json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema });
        op = op.parameter(it).refuses(404, "NotFound");
    }
    for name in row.query {
        let (description, schema) = parameter(begins, name).unwrap_or(("", json!({ "type": "string" })));
        op = op.parameter(in_query(name, description, schema));
    }
    if on_condition(row.operation) {
        let tag = json!({ "type": "string" });
        op = op
            .parameter(in_header(
                "If-Match",
                "The `ETag` of what was looked at: the change is made on condition of it.",
                tag,
            ))
            .refuses(412, "Changed");
    }
    if row.takes_body() {
        op = op.refuses(408, "Timeout").refuses(413, "TooLarge").refuses(415, "MediaType");
    }
    op = op.refuses(400, "ProblemMalformed").refuses(401, "Unauthorized").refuses(403, "Forbidden");
    op.refuses(422, "Invalid").refuses(503, "Unavailable").build()
}

fn schemas(settings: &Settings) -> Value {
    let cursor = (
        "Cursor",
        json!({
            "type": "string", "description": "Where a page starts; opaque. It is good for the list that gave it, unchanged; any other is refused.",
            "pattern": crate::admin::page::CURSOR_PATTERN, "maxLength": crate::admin::page::MAX_CURSOR,
        }),
    );
    let mut all = vec![cursor];
    all.extend(public::model());
    all.extend(public::schemas(settings));
    all.extend(clients::schemas(settings));
    all.extend(deployments::schemas(settings));
    all.extend(keys::schemas());
    all.extend(key_life::schemas());
    all.extend(revocations::schemas());
    all.extend(audit::schemas());
    all.extend(refusals::schemas());
    all.extend(status::schemas());
    all.extend(whose::schemas());
    Value::Object(all.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect())
}

fn headers() -> Value {
    json!({
        "X-Request-Id": {
            "description": "The caller's own, or one that edi made; it is in the log line too.", "required": true,
            "schema": { "type": "string" },
        },
        "ETag": {
            "description": "The version, for `If-Match` and `If-None-Match`.", "required": true,
            "schema": { "type": "string", "pattern": "^\"[!#-~]+\"$" },
        },
        "Location": {
            "description": "The path of what was made.", "required": true,
            "schema": { "type": "string", "format": "uri-reference", "pattern": "^/admin/v1/" },
        },
        "Retry-After": { "description": "Seconds to wait.", "schema": { "type": "integer", "minimum": 1 } },
        "WWW-Authenticate": {
            "description": "How to prove oneself (RFC 7617, RFC 6750).", "required": true, "schema": { "type": "string" },
        },
        "Challenge": {
            "description": "`Bearer` (RFC 6750 §3); with an error code unless no credentials were sent.", "required": true,
            "schema": { "type": "string", "pattern": "^Bearer " },
        },
    })
}

/// The shared refusals: of the admin API (RFC 9457), and those of the public listener's dialects.
fn refusals() -> Value {
    let header = |name: &str| json!({ "$ref": format!("#/components/headers/{name}") });
    let problem = |description: &str, status: u16, title: &str, detail: &str, more: &[(&str, &str)]| {
        let mut headers = json!({ "X-Request-Id": header("X-Request-Id") });
        for (name, component) in more {
            headers[*name] = header(component);
        }
        let mut example = json!({
            "type": "about:blank", "title": title, "status": status, "detail": detail,
            "instance": "urn:edi:request:4f7d1c0e9a2b8c6d5e3f1a0b",
        });
        if status == 422 {
            example["errors"] = json!([{ "field": "roles[0]", "detail": "a role has 1 to 63 letters, digits, …" }]);
        }
        json!({
            "description": description, "headers": headers,
            "content": { "application/problem+json": { "schema": schema("Problem"), "example": example } },
        })
    };
    let mut all = vec![
        (
            "ProblemMalformed",
            problem(
                "The request is no good HTTP: a bad `Host`, a broken body.",
                400,
                "Bad Request",
                "the request is malformed",
                &[],
            ),
        ),
        (
            "Unauthorized",
            problem(
                "No token, or none that counts here.",
                401,
                "Unauthorized",
                "the token is not valid here",
                &[("WWW-Authenticate", "Challenge")],
            ),
        ),
        (
            "Forbidden",
            problem(
                "The token lacks the scope; the challenge names one that would do. Also: nobody grants an \
            `edi:` scope they lack, and only `edi:admin` changes a client that holds one.",
                403,
                "Forbidden",
                "the token lacks the scope for this: edi:clients",
                &[("WWW-Authenticate", "Challenge")],
            ),
        ),
        (
            "NotAcceptable",
            problem("The file is kept compressed: take gzip.", 406, "Not Acceptable", "the request is refused", &[]),
        ),
        ("NotFound", problem("There is no such thing.", 404, "Not Found", "there is no client with this id", &[])),
        (
            "Timeout",
            problem("The body did not arrive in time.", 408, "Request Timeout", "the body did not arrive in time", &[]),
        ),
        (
            "Conflict",
            problem(
                "It clashes with what is there; `detail` says how.",
                409,
                "Conflict",
                "one with this id exists already",
                &[],
            ),
        ),
        (
            "Changed",
            problem(
                "It is no longer the version that `If-Match` names.",
                412,
                "Precondition Failed",
                "it is no longer the version that If-Match names: look at it again",
                &[],
            ),
        ),
        ("TooLarge", problem("The body is too large.", 413, "Payload Too Large", "the body is too large", &[])),
        (
            "MediaType",
            problem(
                "Not JSON, or compressed.",
                415,
                "Unsupported Media Type",
                "send JSON, with Content-Type: application/json",
                &[],
            ),
        ),
        (
            "Invalid",
            problem(
                "Fields or query parameters are wrong; `errors` names each.",
                422,
                "Unprocessable Entity",
                "the request has invalid fields",
                &[],
            ),
        ),
        (
            "Unavailable",
            problem(
                "Try again shortly; `detail` says whether the change may have happened.",
                503,
                "Service Unavailable",
                "nothing was changed; try again shortly",
                &[("Retry-After", "Retry-After")],
            ),
        ),
    ];
    all.push((
        "Malformed",
        json!({
            "description": "The request is no good HTTP.", "headers": { "X-Request-Id": header("X-Request-Id") },
            "content": {
                "application/json": { "schema": schema("OAuthError") },
                "application/problem+json": { "schema": schema("Problem") },
            },
        }),
    ));
    all.extend(public::refusals());
    all.extend(decision::refusals());
    Value::Object(all.into_iter().map(|(name, refusal)| (name.to_owned(), refusal)).collect())
}

fn security_schemes(settings: &Settings) -> Value {
    let scopes: Map<String, Value> =
        AdminScope::ALL.into_iter().map(|scope| (scope.name().to_owned(), json!(scope.meaning()))).collect();
    json!({
        "clientBasic": {
            "type": "http", "scheme": "basic",
            "description": "`client_id` and `client_secret`, form-encoded first (RFC 6749 §2.3.1). Instead of it, both may \
                            be fields of the form.",
        },
        "bearer": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "An access token: at the admin API one with `edi:` scopes, whose audience is the issuer; at the \
                            doors and at Legion's API one with roles.",
        },
        "clientCredentials": {
            "type": "oauth2",
            "description": "Where such tokens come from. A browser cannot ask there from another page, on purpose: get one by \
                            `edi token get` and paste it at `bearer`.",
            "flows": { "clientCredentials": {
                "tokenUrl": format!("{}/oauth2/token", settings.issuer), "scopes": scopes,
            } },
        },
    })
}

fn camel(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests;
