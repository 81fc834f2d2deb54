//! Every route of both listeners. The tables below are what is served and what `/openapi.json` describes; the operations
//! under `/admin/v1` have a table of their own in `super::admin::table`.

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Resource, guard};

use super::{admin, authz, cors, health, introspect, jwks, legion, metadata, metrics, openapi, revoke, swagger, token};

/// An endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Token,
    Introspect,
    Revoke,
    Named,
    Nginx,
    Forwarded,
    Envoy,
    LegionToken,
    LegionJwks,
    Jwks,
    ServerMetadata,
    OpenIdConfiguration,
    Live,
    Ready,
    OpenApi,
    Metrics,
    SwaggerHome,
    Swagger,
    SwaggerFile,
}

/// The methods that an endpoint takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// `POST`.
    Post,
    /// `GET` and `HEAD`.
    Get,
    /// The same from any origin, so `OPTIONS` too.
    Document,
    /// Whatever the proxy was asked with.
    Any,
}

impl Takes {
    /// The methods; of `Any`, those that have names.
    pub(super) const fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Post => &["POST"],
            Self::Get => &["GET", "HEAD"],
            Self::Document => &["GET", "HEAD", "OPTIONS"],
            Self::Any => &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"],
        }
    }
}

/// An endpoint and where it is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: &'static str,
    pub(super) takes: Takes,
    pub(super) endpoint: Endpoint,
}

const fn at(path: &'static str, takes: Takes, endpoint: Endpoint) -> Place {
    Place { path, takes, endpoint }
}

/// The public listener, below the issuer's path too.
pub(super) static PUBLIC: &[Place] = &[
    at("/oauth2/token", Takes::Post, Endpoint::Token), // RFC 6749 §3.2
    at("/oauth2/introspect", Takes::Post, Endpoint::Introspect), // RFC 7662 §2
    at("/oauth2/revoke", Takes::Post, Endpoint::Revoke), // RFC 7009 §2
    at("/authz", Takes::Any, Endpoint::Named),
    at("/authz/nginx", Takes::Any, Endpoint::Nginx),
    at("/authz/forwarded", Takes::Any, Endpoint::Forwarded),
    at("/authz/envoy{rest:.*}", Takes::Any, Endpoint::Envoy),
    at("/api/v1/model/token", Takes::Post, Endpoint::LegionToken),
    at("/api/v1/model/jwks", Takes::Document, Endpoint::LegionJwks),
    at("/.well-known/jwks.json", Takes::Document, Endpoint::Jwks), // RFC 7517 §5
    at("/.well-known/oauth-authorization-server", Takes::Document, Endpoint::ServerMetadata), // RFC 8414 §3
    at("/.well-known/openid-configuration", Takes::Document, Endpoint::OpenIdConfiguration), // OIDC Discovery §4
    at("/health/live", Takes::Get, Endpoint::Live),
    at("/health/ready", Takes::Get, Endpoint::Ready),
];

/// The admin listener beside `/admin/v1`; none of these needs a token.
pub(super) static ADMIN: &[Place] = &[
    at("/openapi.json", Takes::Get, Endpoint::OpenApi),
    at("/swagger", Takes::Get, Endpoint::SwaggerHome),
    at("/swagger/", Takes::Get, Endpoint::Swagger),
    at("/swagger/{file}", Takes::Get, Endpoint::SwaggerFile),
    at("/metrics", Takes::Get, Endpoint::Metrics),
    at("/health/live", Takes::Get, Endpoint::Live),
    at("/health/ready", Takes::Get, Endpoint::Ready),
];

/// The public listener. `issuer_path` is the issuer's path (`""` or `/tenant`): everything answers with and without it,
/// whether or not a proxy in front takes it away.
pub fn public(config: &mut ServiceConfig, issuer_path: &str) {
    let mut prefixes = vec![""];
    if !issuer_path.is_empty() {
        prefixes.push(issuer_path);
    }
    for prefix in prefixes {
        // Health is of the process, not of the issuer.
        let here = PUBLIC.iter().filter(|place| prefix.is_empty() || !place.path.starts_with("/health/"));
        for place in here {
            config.service(resource(&format!("{prefix}{}", place.path), place));
        }
    }
    if !issuer_path.is_empty() {
        // RFC 8414 §3.1: the well-known part goes before the issuer's path.
        for place in PUBLIC {
            if matches!(place.endpoint, Endpoint::ServerMetadata | Endpoint::OpenIdConfiguration) {
                config.service(resource(&format!("{}{issuer_path}", place.path), place));
            }
        }
    }
}

/// The admin listener.
pub fn admin(config: &mut ServiceConfig) {
    config.service(web::resource(["/admin/v1", "/admin/v1/{rest:.*}"]).route(web::route().to(admin::handle)));
    for place in ADMIN {
        config.service(resource(place.path, place));
    }
}

/// A place with its handler behind the methods that it takes.
fn resource(path: &str, place: &Place) -> Resource {
    let resource = web::resource(path.to_owned());
    let route = match place.takes {
        Takes::Post => web::post(),
        Takes::Get | Takes::Document => web::route().guard(guard::Any(guard::Get()).or(guard::Head())),
        Takes::Any => web::route(),
    };
    let resource = resource.route(match place.endpoint {
        Endpoint::Token => route.to(token::token),
        Endpoint::Introspect => route.to(introspect::introspect),
        Endpoint::Revoke => route.to(revoke::revoke),
        Endpoint::Named => route.to(authz::named),
        Endpoint::Nginx => route.to(authz::nginx),
        Endpoint::Forwarded => route.to(authz::forwarded),
        Endpoint::Envoy => route.to(authz::envoy),
        Endpoint::LegionToken => route.to(legion::token),
        Endpoint::LegionJwks | Endpoint::Jwks => route.to(jwks::jwks),
        Endpoint::ServerMetadata | Endpoint::OpenIdConfiguration => route.to(metadata::metadata),
        Endpoint::Live => route.to(health::live),
        Endpoint::Ready => route.to(health::ready),
        Endpoint::OpenApi => route.to(openapi::openapi),
        Endpoint::Metrics => route.to(metrics::metrics),
        Endpoint::SwaggerHome => route.to(swagger::home),
        Endpoint::Swagger | Endpoint::SwaggerFile => route.to(swagger::file),
    });
    let resource = if place.takes == Takes::Document {
        resource.route(web::method(Method::OPTIONS).to(cors::preflight))
    } else {
        resource
    };
    let allow = place.takes.methods().join(", ");
    resource.default_service(web::to(move || {
        let allow = allow.clone();
        async move { HttpResponse::MethodNotAllowed().insert_header(("allow", allow)).finish() }
    }))
}
