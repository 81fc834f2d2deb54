//! `/admin/v1/…`: from a request to an operation, from its outcome to an answer.
//!
//! The order is fixed: bearer, scope, path and method, media type, body. A stranger learns nothing but 401.

use actix_web::http::header::{ALLOW, CONTENT_TYPE, ETAG, HeaderMap, IF_MATCH};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::bearer::BearerRefusal;
use super::body::{self, BodyLimit};
use super::credentials::Presented;
use super::exchange::Exchange;
use super::problem::Problem;
use crate::admin::access::{Operator, authenticate};
use crate::admin::error::AdminError;
use crate::admin::page::PageRequest;
use crate::admin::version::{At, IfMatch};
use crate::admin::{clients, deployments, explain, keys, reach, revocations, roles, status};
use crate::model::scope::AdminScope;
use crate::oauth::service::Service;
use crate::secret::Secret;

/// One thing an operator can do. The texts are path segments as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation<'a> {
    ClientList,
    ClientCreate,
    ClientShow(&'a str),
    ClientUpdate(&'a str),
    ClientDelete(&'a str),
    SecretList(&'a str),
    SecretAdd(&'a str),
    SecretRemove(&'a str, &'a str),
    DeploymentList,
    DeploymentCreate,
    DeploymentShow(&'a str),
    DeploymentUpdate(&'a str),
    DeploymentDelete(&'a str),
    DeploymentAccess(&'a str),
    RoleList,
    RoleShow(&'a str),
    Explain,
    KeyList,
    KeyRotate,
    KeyRevoke(&'a str),
    RevocationList,
    RevocationCreate,
    Status,
}

use Operation::{
    ClientCreate, ClientDelete, ClientList, ClientShow, ClientUpdate, DeploymentAccess, DeploymentCreate,
    DeploymentDelete, DeploymentList, DeploymentShow, DeploymentUpdate, Explain, KeyList, KeyRevoke, KeyRotate,
    RevocationCreate, RevocationList, RoleList, RoleShow, SecretAdd, SecretList, SecretRemove, Status,
};

/// Every scope that reaches something here; `edi:admin` includes them all.
const SCOPES: [AdminScope; 6] = [
    AdminScope::Read,
    AdminScope::Clients,
    AdminScope::Deployments,
    AdminScope::Keys,
    AdminScope::Revocations,
    AdminScope::Audit,
];

/// What a path offers: its operations by method. `None` for a path that does not exist.
fn offered<'a>(segments: &[&'a str]) -> Option<Vec<(Method, Operation<'a>)>> {
    use Method as M;
    Some(match *segments {
        ["clients"] => vec![(M::GET, ClientList), (M::POST, ClientCreate)],
        ["clients", id] => vec![(M::GET, ClientShow(id)), (M::PATCH, ClientUpdate(id)), (M::DELETE, ClientDelete(id))],
        ["clients", id, "secrets"] => vec![(M::GET, SecretList(id)), (M::POST, SecretAdd(id))],
        ["clients", id, "secrets", secret] => vec![(M::DELETE, SecretRemove(id, secret))],
        ["deployments"] => vec![(M::GET, DeploymentList), (M::POST, DeploymentCreate)],
        ["deployments", id] => {
            vec![(M::GET, DeploymentShow(id)), (M::PATCH, DeploymentUpdate(id)), (M::DELETE, DeploymentDelete(id))]
        }
        ["deployments", id, "access"] => vec![(M::GET, DeploymentAccess(id))],
        ["roles"] => vec![(M::GET, RoleList)],
        ["roles", role] => vec![(M::GET, RoleShow(role))],
        ["explain"] => vec![(M::POST, Explain)],
        ["keys"] => vec![(M::GET, KeyList)],
        ["keys", "rotate"] => vec![(M::POST, KeyRotate)],
        ["keys", kid, "revoke"] => vec![(M::POST, KeyRevoke(kid))],
        ["revocations"] => vec![(M::GET, RevocationList), (M::POST, RevocationCreate)],
        ["status"] => vec![(M::GET, Status)],
        _ => return None,
    })
}

impl Operation<'_> {
    /// The scope that changes such things, and whether `edi:read` is enough.
    fn scope(self) -> (AdminScope, bool) {
        match self {
            ClientList | ClientShow(_) | SecretList(_) => (AdminScope::Clients, true),
            ClientCreate | ClientUpdate(_) | ClientDelete(_) | SecretAdd(_) | SecretRemove(..) => {
                (AdminScope::Clients, false)
            }
            DeploymentList | DeploymentShow(_) => (AdminScope::Deployments, true),
            DeploymentCreate | DeploymentUpdate(_) | DeploymentDelete(_) => (AdminScope::Deployments, false),
            KeyList => (AdminScope::Keys, true),
            KeyRotate | KeyRevoke(_) => (AdminScope::Keys, false),
            RevocationList => (AdminScope::Revocations, true),
            RevocationCreate => (AdminScope::Revocations, false),
            // These tell of clients and deployments alike.
            DeploymentAccess(_) | RoleList | RoleShow(_) | Explain | Status => (AdminScope::Read, true),
        }
    }

    /// Demands its scope.
    fn permitted(self, operator: &Operator) -> Result<(), AdminError> {
        let (scope, read_is_enough) = self.scope();
        if read_is_enough { operator.demand_read(scope) } else { operator.demand(scope) }
    }

    fn takes_body(self) -> bool {
        matches!(
            self,
            ClientCreate
                | ClientUpdate(_)
                | SecretAdd(_)
                | DeploymentCreate
                | DeploymentUpdate(_)
                | KeyRotate
                | KeyRevoke(_)
                | Explain
                | RevocationCreate
        )
    }

    async fn perform(
        self,
        service: &Service,
        operator: &Operator,
        query: &Query,
        version: &IfMatch,
        body: &[u8],
    ) -> Result<HttpResponse, AdminError> {
        let page = || PageRequest::parse(query.limit.as_deref(), query.cursor.as_deref());
        Ok(match self {
            ClientList => ok(&clients::list(service, operator, &page()?).await?),
            ClientCreate => created(&clients::create(service, operator, body).await?),
            ClientShow(id) => versioned(&clients::show(service, operator, id).await?),
            ClientUpdate(id) => versioned(&clients::update(service, operator, id, version, body).await?),
            ClientDelete(id) => {
                clients::delete(service, operator, id, version).await?;
                HttpResponse::NoContent().finish()
            }
            SecretList(id) => ok(&clients::list_secrets(service, operator, id).await?),
            SecretAdd(id) => created(&clients::add_secret(service, operator, id, body).await?),
            SecretRemove(id, secret) => {
                clients::remove_secret(service, operator, id, secret).await?;
                HttpResponse::NoContent().finish()
            }
            DeploymentList => ok(&deployments::list(service, operator, &page()?).await?),
            DeploymentCreate => created(&deployments::create(service, operator, body).await?),
            DeploymentShow(id) => versioned(&deployments::show(service, operator, id).await?),
            DeploymentUpdate(id) => versioned(&deployments::update(service, operator, id, version, body).await?),
            DeploymentDelete(id) => {
                deployments::delete(service, operator, id, version).await?;
                HttpResponse::NoContent().finish()
            }
            DeploymentAccess(id) => ok(&reach::list(service, operator, id, &page()?).await?),
            RoleList => ok(&roles::list(service, operator, &page()?).await?),
            RoleShow(role) => ok(&roles::show(service, operator, role).await?),
            Explain => ok(&explain::judge(service, operator, body).await?),
            KeyList => ok(&keys::list(service, operator)?),
            KeyRotate => ok(&keys::rotate(service, operator, body).await?),
            KeyRevoke(kid) => ok(&keys::revoke(service, operator, kid, body).await?),
            RevocationList => ok(&revocations::list(service, operator, query.kind.as_deref(), &page()?).await?),
            RevocationCreate => created(&revocations::create(service, operator, body).await?),
            Status => ok(&status::show(service, operator).await?),
        })
    }
}

fn ok(view: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().json(view)
}

/// With its version, to make changes on condition of.
fn versioned(at: &At<impl Serialize>) -> HttpResponse {
    HttpResponse::Ok().insert_header((ETAG, at.tag())).json(&at.view)
}

/// The tags of all `If-Match` headers. One that is no text names no version there is.
fn if_match(headers: &HeaderMap) -> IfMatch {
    let tags: Vec<&str> = headers.get_all(IF_MATCH).map(|tags| tags.to_str().unwrap_or_default()).collect();
    IfMatch((!tags.is_empty()).then(|| tags.join(",")))
}

fn created(view: &impl Serialize) -> HttpResponse {
    HttpResponse::Created().json(view)
}

/// The query parameters that lists take; others are ignored.
#[derive(Debug, Default)]
struct Query {
    limit: Option<String>,
    cursor: Option<String>,
    kind: Option<String>,
}

impl Query {
    fn parse(text: &str) -> Result<Self, AdminError> {
        let mut out = Self::default();
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match name {
                "limit" => &mut out.limit,
                "cursor" => &mut out.cursor,
                "kind" => &mut out.kind,
                _ => continue,
            };
            if slot.replace(value.to_owned()).is_some() {
                return Err(AdminError::field(name, "given twice"));
            }
        }
        // An empty parameter counts as omitted.
        for slot in [&mut out.limit, &mut out.cursor, &mut out.kind] {
            slot.take_if(|value| value.is_empty());
        }
        Ok(out)
    }
}

/// Everything under `/admin/v1`.
///
/// # Errors
/// RFC 9457 problem details.
pub async fn handle(
    request: HttpRequest,
    payload: web::Payload,
    service: web::Data<Service>,
    limit: web::Data<BodyLimit>,
) -> Result<HttpResponse, Problem> {
    let bearer = match Presented::read(request.headers()) {
        Presented::Bearer(token) => Some(token),
        Presented::None => None,
        _ => return Err(BearerRefusal::Token("the Authorization header holds no usable bearer token".into()).into()),
    };
    let operator = authenticate(&service, bearer.as_ref().map(Secret::expose))?;
    Exchange::of(&request).note_client(operator.client_id.as_str());
    let path = request.path().strip_prefix("/admin/v1/").unwrap_or_default();
    let segments: Vec<&str> = path.split('/').collect();
    let Some(offered) = offered(&segments) else {
        // A token with no right to anything here learns not even what there is.
        if !SCOPES.iter().any(|scope| operator.holds(*scope)) {
            operator.demand(AdminScope::Read)?;
        }
        return Err(Problem::new(StatusCode::NOT_FOUND));
    };
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    let Some((_, operation)) = offered.iter().find(|(offered, _)| offered == method) else {
        // The scope before the method: one that reaches anything at this path.
        let reached = offered.iter().map(|(_, other)| other.permitted(&operator)).reduce(Result::or);
        reached.transpose()?;
        return Ok(method_not_allowed(&offered));
    };
    operation.permitted(&operator)?;
    let query = Query::parse(request.query_string())?;
    let mut operator = operator;
    let body = if operation.takes_body() {
        let body = body::read(request.headers(), payload, limit.0).await?;
        // Once more: a body can take its time, and a token that was revoked meanwhile changes nothing.
        operator = authenticate(&service, bearer.as_ref().map(Secret::expose))?;
        if !body.is_empty() && !media_type_fits(&request) {
            let wrong = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            return Err(wrong.detail("send JSON, with Content-Type: application/json"));
        }
        body
    } else {
        zeroize::Zeroizing::default()
    };
    let version = if_match(request.headers());
    Ok(operation.perform(&service, &operator, &query, &version, &body).await?)
}

fn method_not_allowed(offered: &[(Method, Operation<'_>)]) -> HttpResponse {
    let allowed: Vec<&str> = offered.iter().map(|(method, _)| method.as_str()).collect();
    HttpResponse::MethodNotAllowed().insert_header((ALLOW, allowed.join(", "))).finish()
}

fn media_type_fits(request: &HttpRequest) -> bool {
    let value = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    let merge_patch = request.method() == Method::PATCH && essence.eq_ignore_ascii_case("application/merge-patch+json");
    essence.eq_ignore_ascii_case("application/json") || merge_patch
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Unauthorized { presented: false, .. } => BearerRefusal::Missing.into(),
            AdminError::Unauthorized { presented: true, reason } => BearerRefusal::Token(reason).into(),
            AdminError::Forbidden { scope, detail } => {
                let reason = detail.clone();
                let refusal = BearerRefusal::Scope { wanted: Some(scope.name().to_owned()), reason };
                Self::from(refusal).detail(format!("{detail}: {scope}"))
            }
            AdminError::NotFound(detail) => Self::new(StatusCode::NOT_FOUND).detail(detail),
            AdminError::Conflict(detail) => Self::new(StatusCode::CONFLICT).detail(detail),
            AdminError::Changed => Self::new(StatusCode::PRECONDITION_FAILED)
                .detail("it is no longer the version that If-Match names: look at it again"),
            AdminError::Invalid(problems) => {
                let all = Self::new(StatusCode::UNPROCESSABLE_ENTITY).detail("the request has invalid fields");
                problems.into_iter().fold(all, |all, problem| all.error(problem.field, problem.detail))
            }
            AdminError::Unavailable { unknown, reason } => Self::new(StatusCode::SERVICE_UNAVAILABLE)
                .detail(if unknown {
                    "it is unknown whether the change happened: look before you try again"
                } else {
                    "nothing was changed; try again shortly"
                })
                .because(reason)
                .retry_after(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_says_what_it_offers_and_the_reference_lists_it() {
        let reference =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/endpoints.md")).unwrap();
        for (path, methods) in [
            ("clients", "GET POST"),
            ("clients/{id}", "GET PATCH DELETE"),
            ("clients/{id}/secrets", "GET POST"),
            ("clients/{id}/secrets/{secret}", "DELETE"),
            ("deployments", "GET POST"),
            ("deployments/{id}", "GET PATCH DELETE"),
            ("deployments/{id}/access", "GET"),
            ("roles", "GET"),
            ("roles/{role}", "GET"),
            ("explain", "POST"),
            ("keys", "GET"),
            ("keys/rotate", "POST"),
            ("keys/{kid}/revoke", "POST"),
            ("revocations", "GET POST"),
            ("status", "GET"),
        ] {
            let segments: Vec<&str> = path.split('/').collect();
            let offered = offered(&segments).unwrap();
            let found: Vec<&str> = offered.iter().map(|(method, _)| method.as_str()).collect();
            assert_eq!(found.join(" "), methods, "{path}");
            for method in found {
                let row = format!("| `{method} /admin/v1/{path}` |");
                assert!(reference.contains(&row), "missing in the reference: {row}");
            }
        }
        for path in ["", "client", "clients/", "clients/a/b", "clients/a/secrets/b/c", "keys/a"] {
            let segments: Vec<&str> = path.split('/').collect();
            // An empty id reaches the operation, which knows no such client.
            assert!(offered(&segments).is_none() || path == "clients/", "{path}");
        }
    }
}
