//! `/admin/v1/…`: from a request to an operation, from its outcome to an answer.
//!
//! The order is fixed: bearer, scope, path and method, media type, body. A stranger learns nothing but 401.

mod query;
pub(in crate::http) mod table;

use std::borrow::Cow;
use std::fmt::Write as _;

use actix_web::http::header::{ALLOW, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH, LOCATION};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use serde::Serialize;

use super::access_log::as_target;
use super::backup::answer;
use super::bearer::BearerRefusal;
use super::body::{self, BodyLimit};
use super::credentials::Presented;
use super::exchange::Exchange;
use super::problem::Problem;
use crate::admin::access::{Operator, authenticate};
use crate::admin::client_filter::ClientFilter;
use crate::admin::client_put::{self, Put};
use crate::admin::deployments::DeploymentFilter;
use crate::admin::error::AdminError;
use crate::admin::page::PageRequest;
use crate::admin::place::Placed;
use crate::admin::reload::Reload;
use crate::admin::version::{At, Condition, IfMatch};
use crate::admin::{
    audit, backup, clients, deployments, explain, key_import, key_plan, keys, master_key, reach, refusals, reload,
    revocation_list, revocations, roles, secret_rotation, status, whose,
};
use crate::model::scope::AdminScope;
use crate::oauth::service::Service;
use crate::secret::{Secret, Wiped};
use query::Query;
use table::{Found, Operation, Row};

/// Every scope that reaches something here; `edi:admin` includes them all.
const SCOPES: [AdminScope; 6] = [
    AdminScope::Read,
    AdminScope::Clients,
    AdminScope::Deployments,
    AdminScope::Keys,
    AdminScope::Revocations,
    AdminScope::Audit,
];

/// What a request asks for as long as its path has not been read.
const UNKNOWN: &str = "request";

/// A request that may be performed.
struct Call<'a> {
    service: &'a Service,
    operator: &'a Operator,
    /// What stands in the path where its row has names, in order.
    names: &'a [Cow<'a, str>],
    query: &'a Query,
    version: &'a IfMatch,
    /// The tags of all `If-None-Match` headers.
    none_match: Option<String>,
    body: &'a [u8],
    reload: Option<&'a dyn Reload>,
}

impl Call<'_> {
    fn name(&self, n: usize) -> &str {
        self.names.get(n).map_or("", |name| &**name)
    }

    fn condition(&self) -> Condition {
        Condition { only: self.version.clone(), none: self.none_match.clone() }
    }

    fn page(&self, list: &'static str) -> Result<PageRequest, AdminError> {
        PageRequest::parse(list, self.query.get("limit"), self.query.get("cursor"))
    }
}

impl Operation {
    async fn perform(self, call: &Call<'_>) -> Result<HttpResponse, AdminError> {
        let Call { service, operator, query, version, body, .. } = *call;
        let id = call.name(0);
        Ok(match self {
            Self::ClientList => {
                let filter = ClientFilter::parse(|name| query.get(name))?;
                ok(&clients::list(service, operator, &filter, &call.page("clients")?).await?)
            }
            Self::ClientCreate => created_version(&clients::create(service, operator, body).await?),
            Self::ClientShow => versioned(&clients::show(service, operator, id).await?),
            Self::ClientReplace => put(&client_put::put(service, operator, id, &call.condition(), body).await?),
            Self::ClientUpdate => versioned(&clients::update(service, operator, id, version, body).await?),
            Self::ClientDelete => {
                clients::delete(service, operator, id, version).await?;
                HttpResponse::NoContent().finish()
            }
            Self::SecretList => ok(&clients::list_secrets(service, operator, id).await?),
            Self::SecretAdd => created(&clients::add_secret(service, operator, id, body).await?),
            Self::SecretRemove => {
                clients::remove_secret(service, operator, id, call.name(1)).await?;
                HttpResponse::NoContent().finish()
            }
            Self::SecretRotate => {
                let rotation = secret_rotation::rotate(service, operator, id, version, body).await?;
                if rotation.made_something() { created(&rotation) } else { ok(&rotation) }
            }
            Self::Whose => ok(&whose::ask(service, operator, body).await?),
            Self::DeploymentList => {
                let filter = DeploymentFilter::parse(query.get("role"), query.get("host"))?;
                ok(&deployments::list(service, operator, &filter, &call.page("deployments")?).await?)
            }
            Self::DeploymentCreate => created_version(&deployments::create(service, operator, body).await?),
            Self::DeploymentShow => versioned(&deployments::show(service, operator, id).await?),
            Self::DeploymentReplace => put(&deployments::put(service, operator, id, &call.condition(), body).await?),
            Self::DeploymentUpdate => versioned(&deployments::update(service, operator, id, version, body).await?),
            Self::DeploymentDelete => {
                deployments::delete(service, operator, id, version).await?;
                HttpResponse::NoContent().finish()
            }
            Self::DeploymentAccess => ok(&reach::list(service, operator, id, &call.page("access")?).await?),
            Self::RoleList => ok(&roles::list(service, operator, query.get("client"), &call.page("roles")?).await?),
            Self::RoleShow => ok(&roles::show(service, operator, id).await?),
            Self::Explain => ok(&explain::judge(service, operator, body).await?),
            Self::KeyList => {
                let filter = keys::KeyFilter::parse(query.get("state"), query.get("algorithm"))?;
                ok(&keys::list(service, operator, &filter, &call.page("keys")?)?)
            }
            Self::KeyImport => {
                let key = key_import::import(service, operator, body).await?;
                made(&key).json(&key)
            }
            Self::KeyPlan => ok(&key_plan::show(service, operator)?),
            Self::MasterKeyRotate => ok(&master_key::change(service, operator, body).await?),
            Self::KeyShow => ok(&keys::show(service, operator, id)?),
            Self::KeyRotate => ok(&keys::rotate(service, operator, body).await?),
            Self::KeyRevoke => ok(&keys::revoke(service, operator, id, body).await?),
            Self::RevocationList => {
                let filter = revocation_list::Filter::parse(|name| query.get(name))?;
                ok(&revocation_list::list(service, operator, &filter, &call.page("revocations")?).await?)
            }
            Self::RevocationCreate => match revocations::create(service, operator, body).await? {
                revocations::Outcome::Done(done) => made(&done).json(&done),
                would @ revocations::Outcome::Would(_) => ok(&would),
            },
            Self::RevocationShow => ok(&revocation_list::show(service, operator, id, call.name(1)).await?),
            Self::RevocationUndo => {
                revocation_list::undo(service, operator, id, call.name(1)).await?;
                HttpResponse::NoContent().finish()
            }
            Self::AuditList => {
                let filter = audit::Filter::parse(|name| query.get(name))?;
                ok(&audit::list(service, operator, &filter, &call.page("audit")?).await?)
            }
            Self::AuditVerify => ok(&audit::verify(service, operator, &call.page("verify")?).await?),
            Self::AuditSeal => ok(&audit::seal(service, operator, id).await?),
            Self::Backup => answer(backup::begin(service, operator).await?),
            Self::Reload => match call.reload {
                Some(live) => ok(&reload::reload(service, operator, live, body).await?),
                None => return Err(AdminError::NotFound("nothing can be reloaded here".into())),
            },
            Self::RefusalShow => ok(&refusals::show(service, operator, id)?),
            Self::Status => ok(&status::show(service, operator).await?),
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

/// The tags of all headers of this name. One that is no text names no version there is.
fn tags(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let tags: Vec<&str> = headers.get_all(name).map(|tags| tags.to_str().unwrap_or_default()).collect();
    (!tags.is_empty()).then(|| tags.join(","))
}

/// The same for what was made.
fn created_version(at: &At<impl Placed + Serialize>) -> HttpResponse {
    made(&at.view).insert_header((ETAG, at.tag())).json(&at.view)
}

/// An answer that names where it is found from now on.
fn made(view: &impl Placed) -> HttpResponseBuilder {
    let mut place = "/admin/v1".to_owned();
    for segment in view.place() {
        place.push('/');
        for &byte in segment.as_bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                place.push(byte.into());
            } else {
                let _ = write!(place, "%{byte:02X}");
            }
        }
    }
    let mut answer = HttpResponse::Created();
    answer.insert_header((LOCATION, place));
    answer
}

/// What a `PUT` made of it.
fn put(outcome: &Put<impl Placed + Serialize, impl Serialize>) -> HttpResponse {
    match outcome {
        Put::Created(at) => created_version(at),
        Put::Replaced(at) => versioned(at),
    }
}

fn created(view: &impl Serialize) -> HttpResponse {
    HttpResponse::Created().json(view)
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
    let exchange = Exchange::of(&request);
    let origin = exchange.origin();
    let mut operator = authenticate(&service, bearer.as_ref().map(Secret::expose), UNKNOWN, &origin)?;
    exchange.note_client(operator.client_id.as_str());
    exchange.note_asked(UNKNOWN, "".into());
    let path = request.path().strip_prefix("/admin/v1/").unwrap_or_default();
    let Some(Found { rows, names }) = table::find(path) else {
        // A token with no right to anything here learns not even what there is.
        if !SCOPES.iter().any(|scope| operator.holds(*scope)) {
            operator.demand(AdminScope::Read)?;
        }
        return Err(Problem::new(StatusCode::NOT_FOUND).detail("there is nothing at this path"));
    };
    let method = if request.method() == Method::HEAD { "GET" } else { request.method().as_str() };
    let Some(row) = rows.iter().find(|row| row.method == method) else {
        // The scope before the method: one that reaches anything at this path.
        let reached = rows.iter().map(|row| row.right.demand(&operator)).reduce(Result::or);
        reached.transpose()?;
        return Ok(method_not_allowed(&rows));
    };
    exchange.note_asked(row.operation.name(), as_target(&names));
    row.right.demand(&operator)?;
    let query = Query::parse(request.query_string(), row.query)?;
    operator.asks_for(row.operation.name());
    let body = if row.takes_body() {
        let body = body::read(request.headers(), payload, limit.get()).await?;
        // Once more: a body can take its time, and a token that was revoked meanwhile changes nothing.
        operator = authenticate(&service, bearer.as_ref().map(Secret::expose), row.operation.name(), &origin)?;
        if !body.is_empty() && !media_type_fits(&request) {
            let wrong = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            return Err(wrong.detail("send JSON, with Content-Type: application/json"));
        }
        body
    } else {
        Wiped::default()
    };
    let version = IfMatch(tags(request.headers(), IF_MATCH));
    let none_match = tags(request.headers(), IF_NONE_MATCH);
    let call = Call {
        service: &service,
        operator: &operator,
        names: &names,
        query: &query,
        version: &version,
        body: &body,
        reload: request.app_data::<web::Data<dyn Reload>>().map(|live| &***live),
        none_match,
    };
    Ok(row.operation.perform(&call).await?)
}

fn method_not_allowed(rows: &[&Row]) -> HttpResponse {
    let mut allowed: Vec<&str> = rows.iter().map(|row| row.method).collect();
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
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
                .detail("If-Match or If-None-Match does not hold of what is there: look at it again"),
            AdminError::Invalid(problems) => {
                let all = Self::new(StatusCode::UNPROCESSABLE_ENTITY).detail("the request has invalid fields");
                problems.into_iter().fold(all, |all, problem| all.error(problem.field, problem.detail))
            }
            AdminError::Full(why) => Self::new(StatusCode::SERVICE_UNAVAILABLE)
                .detail(format!("nothing was changed: {why}"))
                .because(why)
                .retry_after(10),
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
