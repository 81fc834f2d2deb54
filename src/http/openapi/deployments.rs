//! Deployments, who can call them, and roles.

use serde_json::{Value, json};

use super::build::{Op, answer, closed, content, count, flag, instant, list, or_null, page, schema, text};
use crate::model::default_role::DefaultRole;
use crate::model::deployment::{MAX_HOSTS, MAX_PATHS};
use crate::oauth::service::Settings;

/// A path segment that proxies cannot read in two ways, neither empty nor `.` nor `..`.
const SEGMENT: &str = r"(\.{0,2}[!$&-\-0-9:=@A-Z\[\]_a-z~][!$&-.0-9:=@A-Z\[\]_a-z~]*|\.{3}[!$&-.0-9:=@A-Z\[\]_a-z~]*)";
const LABEL: &str = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?";

/// A host, exact or with one leading wildcard label.
pub(super) fn host() -> String {
    format!(r"^(\*\.)?{LABEL}(\.{LABEL})*$")
}

fn settable() -> Value {
    json!({
        "role": or_null(schema("Role")),
        "hosts": {
            "description": "Hosts it answers on, exact or with one leading wildcard label; none: any that no other names.",
            "type": ["array", "null"], "maxItems": MAX_HOSTS,
            "items": { "type": "string", "maxLength": 253, "pattern": host() },
        },
        "paths": {
            "description": "Path prefixes it answers on, matched on whole segments.",
            "type": ["array", "null"], "maxItems": MAX_PATHS,
            "items": { "type": "string", "maxLength": 1024, "pattern": format!("^/({SEGMENT}(/{SEGMENT})*/?)?$") },
        },
        "audience": or_null(schema("Audience")),
    })
}

/// The fields of a new one, with another word about its id.
fn with_role_of(new: &Value, about_id: &str) -> Value {
    let mut it = new.clone();
    it["id"] = json!({ "allOf": [schema("DeploymentId")], "description": about_id });
    it
}

/// What deployments bring along.
pub(super) fn schemas(settings: &Settings) -> Vec<(&'static str, Value)> {
    let mut new = settable();
    new["id"] = schema("DeploymentId");
    // A template may make no role of an id; without a default none is given at all.
    let required: &[&str] =
        if matches!(settings.default_role, Some(DefaultRole::Plain(_))) { &["id"] } else { &["id", "role"] };
    if required.len() == 2 {
        new["role"] = schema("Role");
    }
    vec![
        (
            "DeploymentReplacement",
            closed(
                required.get(1..).unwrap_or_default(),
                with_role_of(&new, "The one in the path, if it is here at all."),
            ),
        ),
        ("DeploymentNew", closed(required, new)),
        ("DeploymentPatch", closed(&[], settable())),
        (
            "Deployment",
            answer(
                &["id", "role", "hosts", "paths", "created_at", "updated_at"],
                json!({
                    "id": schema("DeploymentId"),
                    "role": schema("Role"),
                    "hosts": list(json!({ "type": "string" })),
                    "paths": list(json!({ "type": "string" })),
                    "audience": schema("Audience"),
                    "created_at": instant("When it was registered."),
                    "updated_at": instant("When it was last changed."),
                }),
            ),
        ),
        ("Caller", caller()),
        ("Reach", reach()),
        (
            "RoleUse",
            answer(
                &["role", "deployments", "clients", "deployment_count", "client_count", "watched_since", "remarks"],
                json!({
                    "role": schema("Role"),
                    "deployments": list(schema("DeploymentId")),
                    "clients": list(schema("ClientId")),
                    "deployment_count": count("How many deployments want it; the first hundred are named."),
                    "client_count": count("How many clients hold it; the first hundred are named."),
                    "last_issued_at": instant("When this process last issued a token with it; absent: not since `watched_since`."),
                    "watched_since": instant("Since when this process has been watching."),
                    "remarks": list(json!({ "enum": ["no deployment uses it", "nobody may call it"] })),
                }),
            ),
        ),
    ]
}

fn caller() -> Value {
    answer(
        &["client_id", "state", "may_call", "audience_allowed", "secrets", "registered_key", "revocations", "remarks"],
        json!({
            "client_id": schema("ClientId"),
            "client_name": schema("Name"),
            "state": { "enum": ["enabled", "disabled"] },
            "may_call": flag("Whether it gets tokens that the deployment's door lets through."),
            "until": instant("When the last token it can get has expired; absent: there is no end."),
            "audience_allowed": flag("Whether it may have tokens for the deployment's audience."),
            "secrets": list(schema("Secret")),
            "registered_key": flag("Whether it proves itself with a registered key."),
            "revocations": list(schema("Revocation")),
            "remarks": list(text("What stands in its way.")),
        }),
    )
}

fn reach() -> Value {
    let mut it = page(schema("Caller"));
    it["properties"]["deployment"] = schema("DeploymentId");
    it["properties"]["role"] = schema("Role");
    it["properties"]["audience"] = schema("Audience");
    it["properties"]["role_revocation"] = schema("Revocation");
    it["required"] = json!(["deployment", "role", "audience", "items"]);
    it
}

fn example() -> Value {
    json!({
        "id": "fraud", "role": "fraud-scoring", "hosts": ["models.example.com"], "paths": ["/fraud"],
        "created_at": "2026-11-20T08:00:00Z", "updated_at": "2026-11-20T08:00:00Z",
    })
}

fn role_example() -> Value {
    json!({
        "role": "fraud-scoring", "deployments": ["fraud"], "clients": ["fraud-caller"], "deployment_count": 1,
        "client_count": 1, "last_issued_at": "2026-11-21T23:43:44Z", "watched_since": "2026-11-20T08:00:00Z",
        "remarks": [],
    })
}

pub(super) fn lists() -> Op {
    Op::new("List deployments").gives(200, "One page.", page(schema("Deployment")), json!({ "items": [example()] }))
}

pub(super) fn create() -> Op {
    Op::new("Register a deployment")
        .says("Without `role` it gets the default role. No two deployments answer at the same host and path.")
        .takes_json(
            schema("DeploymentNew"),
            &[(
                "fraud",
                json!({ "id": "fraud", "role": "fraud-scoring", "hosts": ["models.example.com"], "paths": ["/fraud"] }),
            )],
        )
        .gives_version(201, "It is registered, on disk and in effect.", schema("Deployment"), example())
        .locates()
        .refuses(409, "Conflict")
}

pub(super) fn show() -> Op {
    Op::new("Show a deployment").gives_version(200, "The deployment.", schema("Deployment"), example())
}

pub(super) fn replace() -> Op {
    Op::new("Make a deployment what the body says")
        .says(
            "Whether or not it is there. What the body does not name is at its default afterwards. `If-None-Match: *` only \
             makes one; `If-Match` only replaces one.",
        )
        .parameter(super::build::in_header("If-None-Match", "`*`: only if there is none.", json!({ "type": "string" })))
        .takes_json(
            schema("DeploymentReplacement"),
            &[("fraud", json!({ "role": "fraud-scoring", "hosts": ["models.example.com"], "paths": ["/fraud"] }))],
        )
        .gives_version(200, "It is replaced, on disk and in effect.", schema("Deployment"), example())
        .gives_version(201, "It is registered, on disk and in effect.", schema("Deployment"), example())
        .locates()
        .refuses(409, "Conflict")
}

pub(super) fn update() -> Op {
    let body = schema("DeploymentPatch");
    let mut media = content("application/json", body.clone(), &[("move", json!({ "paths": ["/v2/fraud"] }))]);
    media["application/merge-patch+json"] = json!({ "schema": body });
    Op::new("Change a deployment")
        .says("A JSON merge patch (RFC 7396): what is left out stays, `null` takes it away; `role` always stays.")
        .takes(media)
        .gives_version(200, "It is changed, on disk and in effect.", schema("Deployment"), example())
        .refuses(409, "Conflict")
}

pub(super) fn delete() -> Op {
    Op::new("Delete a deployment").says("Tokens with its role stay what they are.").gives_nothing(204, "It is gone.")
}

pub(super) fn access() -> Op {
    Op::new("List who can call a deployment, and until when")
        .says("A page may be short, even empty, with more to come.")
        .gives(
            200,
            "Clients that hold its role, one page.",
            schema("Reach"),
            json!({
                "deployment": "fraud", "role": "fraud-scoring", "audience": "model-prediction-api",
                "items": [{
                    "client_id": "fraud-caller", "state": "enabled", "may_call": true, "until": "2027-01-31T00:15:00Z",
                    "audience_allowed": true, "registered_key": false, "remarks": [], "revocations": [],
                    "secrets": [{ "id": "a1", "kind": "generated", "created_at": "2026-11-21T20:00:00Z",
                                  "expires_at": "2027-01-31T00:00:00Z" }],
                }],
            }),
        )
}

pub(super) fn roles() -> Op {
    Op::new("List roles")
        .says("A role is only a name: it exists where a deployment wants it or a client holds it.")
        .gives(200, "One page.", page(schema("RoleUse")), json!({ "items": [role_example()] }))
}

pub(super) fn role() -> Op {
    Op::new("Show a role").gives(200, "Who wants it and who holds it.", schema("RoleUse"), role_example())
}
