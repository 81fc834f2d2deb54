//! The decision endpoint's four doors. Each reads its own description of the request and nothing else, because proxies
//! pass on what callers send.
//!
//! | door | reads |
//! |---|---|
//! | `/authz` | its query: `role=` or `deployment=`, up to `path=`, after which everything is the caller's |
//! | `/authz/nginx` | `X-Original-URL`, or `X-Original-URI` with `Host` |
//! | `/authz/forwarded` | `X-Forwarded-Method`, `-Host` and `-Uri` (Traefik, Caddy), each once |
//! | `/authz/envoy/…` | the method, host and path that follow |

use actix_web::http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, web};

use super::bearer::BearerRefusal;
use super::credentials::bearer_token;
use super::error::OAuthHttpError;
use super::exchange::Exchange;
use super::form;
use crate::model::scope::Role;
use crate::oauth::access_token::Claims;
use crate::oauth::decision::{self, Denied, Wanted};
use crate::oauth::service::Service;

// Made once: a name that is looked up as text is checked and copied each time.
static X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
static X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
static X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
static USER: HeaderName = HeaderName::from_static("x-auth-request-user");
static GROUPS: HeaderName = HeaderName::from_static("x-auth-request-groups");
static CLIENT_ID: HeaderName = HeaderName::from_static("x-edi-client-id");
static TOKEN_ID: HeaderName = HeaderName::from_static("x-edi-token-id");

/// `/authz`: decides about a role or a deployment named in the query. The proxy's configuration writes the query, so
/// what the caller sent may only come last, after `path=`.
pub async fn named(request: HttpRequest, service: web::Data<Service>) -> HttpResponse {
    match parse_query(request.query_string()) {
        Ok(Named::Role(role)) => answer(&request, &service, Wanted::Role(&role)),
        Ok(Named::Deployment(id)) => answer(&request, &service, Wanted::Deployment(&id)),
        Err(why) => malformed(&request, why),
    }
}

/// `/authz/nginx`: decides about the URL that nginx says it was asked for.
pub async fn nginx(request: HttpRequest, service: web::Data<Service>) -> HttpResponse {
    match nginx_target(request.headers()) {
        Ok((host, path)) => answer(&request, &service, Wanted::Request { host, path }),
        Err(why) => malformed(&request, why),
    }
}

/// `/authz/forwarded`: decides about what Traefik or Caddy say they were asked for.
pub async fn forwarded(request: HttpRequest, service: web::Data<Service>) -> HttpResponse {
    let headers = request.headers();
    let read = || -> Result<(&str, &str), &'static str> {
        once(headers, &X_FORWARDED_METHOD)?.ok_or("X-Forwarded-Method is missing")?;
        let host = once(headers, &X_FORWARDED_HOST)?.ok_or("X-Forwarded-Host is missing")?;
        let path = once(headers, &X_FORWARDED_URI)?.ok_or("X-Forwarded-Uri is missing")?;
        Ok((host, path))
    };
    match read() {
        Ok((host, path)) => answer(&request, &service, Wanted::Request { host, path }),
        Err(why) => malformed(&request, why),
    }
}

/// `/authz/envoy/…`: decides about the request as Envoy passes it on under this prefix.
pub async fn envoy(request: HttpRequest, service: web::Data<Service>) -> HttpResponse {
    // The path as it came: routing has decoded nothing of it.
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let Some(path) = target.split_once("/authz/envoy").map(|(_, path)| path) else {
        return malformed(&request, "the path does not follow the prefix");
    };
    let path = if path.is_empty() { "/" } else { path };
    match once(request.headers(), &HOST) {
        Ok(Some(host)) => answer(&request, &service, Wanted::Request { host, path }),
        Ok(None) => malformed(&request, "Host is missing"),
        Err(why) => malformed(&request, why),
    }
}

enum Named {
    Role(String),
    Deployment(String),
}

/// The query up to `path=`. Unknown names before it are ignored; repeats of known ones are refused.
fn parse_query(query: &str) -> Result<Named, &'static str> {
    let (mut role, mut deployment) = (None, None);
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match name {
            "path" => break,
            "role" => &mut role,
            "deployment" => &mut deployment,
            _ => continue,
        };
        let value = form::decode(value.as_bytes()).map_err(|_| "the query is malformed")?;
        if slot.replace(value).is_some() {
            return Err("role or deployment is repeated");
        }
    }
    match (role.filter(|text| !text.is_empty()), deployment.filter(|text| !text.is_empty())) {
        (Some(role), None) => Ok(Named::Role(role)),
        (None, Some(id)) => Ok(Named::Deployment(id)),
        (Some(_), Some(_)) => Err("name a role or a deployment, not both"),
        (None, None) => Err("name a role or a deployment in the query"),
    }
}

/// Host and path from `X-Original-URL`, or from `X-Original-URI` and `Host`.
fn nginx_target(headers: &HeaderMap) -> Result<(&str, &str), &'static str> {
    match (once(headers, &X_ORIGINAL_URL)?, once(headers, &X_ORIGINAL_URI)?) {
        (Some(_), Some(_)) => Err("X-Original-URL and X-Original-URI exclude each other"),
        (Some(url), None) => {
            let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            let rest = rest.ok_or("X-Original-URL is no http or https URL")?;
            let start = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (host, path) = rest.split_at_checked(start).unwrap_or((rest, ""));
            Ok((host, if path.is_empty() { "/" } else { path }))
        }
        (None, Some(path)) => Ok((once(headers, &HOST)?.ok_or("Host is missing")?, path)),
        (None, None) => Err("X-Original-URL is missing"),
    }
}

/// A header that may come once.
fn once<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, &'static str> {
    let mut all = headers.get_all(name);
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| "a header that describes the request is malformed"),
        (Some(_), Some(_)) => Err("a header that describes the request is repeated"),
    }
}

fn answer(request: &HttpRequest, service: &Service, wanted: Wanted<'_>) -> HttpResponse {
    let Ok(bearer) = bearer_token(request.headers()) else {
        return BearerRefusal::Token("the Authorization header holds no usable bearer token".into()).error_response();
    };
    match decision::decide(service, bearer, wanted) {
        Ok(claims) => {
            Exchange::of(request).note_client(claims.client_id.as_str());
            allowed(&claims)
        }
        Err(Denied::NoToken) => BearerRefusal::Missing.error_response(),
        Err(Denied::Token(why)) => BearerRefusal::Token(why.into()).error_response(),
        Err(Denied::Role(role)) => forbidden(Some(&role), format!("the token lacks the role {role}")),
        Err(Denied::Nowhere(why)) => forbidden(None, why.to_string()),
        Err(Denied::Stale(error)) => OAuthHttpError::from(error).error_response(),
    }
}

fn forbidden(role: Option<&Role>, reason: String) -> HttpResponse {
    BearerRefusal::Scope { wanted: role.map(ToString::to_string), reason: reason.into() }.error_response()
}

/// What the proxy said makes no sense. Whoever shows no token at all learns of the token first (RFC 6750 §3.1).
fn malformed(request: &HttpRequest, why: &'static str) -> HttpResponse {
    if bearer_token(request.headers()) == Ok(None) {
        return BearerRefusal::Missing.error_response();
    }
    BearerRefusal::Request(why.into()).error_response()
}

fn allowed(claims: &Claims) -> HttpResponse {
    let mut groups = String::new();
    for role in &claims.roles {
        if !groups.is_empty() {
            groups.push(',');
        }
        groups.push_str(role.as_str());
    }
    let client = claims.client_id.as_str();
    // Ids and roles are printable ASCII by their grammar.
    let value = |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    let mut response = HttpResponse::Ok().finish();
    let headers = response.headers_mut();
    headers.insert(USER.clone(), value(client));
    headers.insert(GROUPS.clone(), value(&groups));
    headers.insert(CLIENT_ID.clone(), value(client));
    headers.insert(TOKEN_ID.clone(), value(&claims.jti.to_string()));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn the_query_is_the_proxys_up_to_path() {
        let read = |query| {
            parse_query(query).map(|named| match named {
                Named::Role(role) => format!("role {role}"),
                Named::Deployment(id) => format!("deployment {id}"),
            })
        };
        for (query, wanted) in [
            ("role=a", "role a"),
            ("deployment=d", "deployment d"),
            ("x=1&role=a", "role a"),
            ("role=a&path=/x?role=b&role=c&deployment=d", "role a"),
            ("role=a&deployment=", "role a"),
            ("role=a%2Db", "role a-b"),
        ] {
            assert_eq!(read(query).as_deref(), Ok(wanted), "{query}");
        }
        for query in ["", "role=", "path=/&role=a", "role=a&role=a", "role=a&role=b", "role=a&deployment=d", "role=%"] {
            assert!(read(query).is_err(), "{query}");
        }
    }

    #[test]
    fn nginx_names_the_url_in_one_way() {
        for (all, wanted) in [
            (vec![("x-original-url", "https://m.example:8443/a?b=c")], Ok(("m.example:8443", "/a?b=c"))),
            (vec![("x-original-url", "http://m.example")], Ok(("m.example", "/"))),
            (vec![("x-original-uri", "/a"), ("host", "m.example")], Ok(("m.example", "/a"))),
            (vec![("x-original-url", "ftp://m.example/a")], Err(())),
            (vec![("x-original-uri", "/a")], Err(())),
            (vec![("x-original-url", "http://m/a"), ("x-original-uri", "/a"), ("host", "m")], Err(())),
            (vec![("x-original-url", "http://m/a"), ("x-original-url", "http://m/b")], Err(())),
            (vec![("host", "m.example")], Err(())),
            (vec![("x-forwarded-host", "m"), ("x-forwarded-uri", "/a")], Err(())),
        ] {
            let map = headers(&all);
            assert_eq!(nginx_target(&map).map_err(drop), wanted, "{all:?}");
        }
    }
}
