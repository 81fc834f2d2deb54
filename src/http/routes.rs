//! Every route of both listeners.

use actix_web::guard;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Resource};

use super::{admin, authz, cors, health, introspect, jwks, legion, metadata, metrics, revoke, token};

/// The public listener. `issuer_path` is the issuer's path (`""` or `/tenant`): everything answers with and without it,
/// whether or not a proxy in front takes it away.
pub fn public(config: &mut ServiceConfig, issuer_path: &str) {
    let mut prefixes = vec![""];
    if !issuer_path.is_empty() {
        prefixes.push(issuer_path);
    }
    for prefix in prefixes {
        let at = |path: &str| web::resource(format!("{prefix}{path}"));
        config
            .service(at("/oauth2/token").route(web::post().to(token::token)).default_service(not_allowed("POST"))) // RFC 6749 §3.2
            .service(
                at("/oauth2/introspect")
                    .route(web::post().to(introspect::introspect))
                    .default_service(not_allowed("POST")),
            ) // RFC 7662 §2
            .service(at("/oauth2/revoke").route(web::post().to(revoke::revoke)).default_service(not_allowed("POST"))) // RFC 7009 §2
            .service(at("/authz").route(web::route().to(authz::named)))
            .service(at("/authz/nginx").route(web::route().to(authz::nginx)))
            .service(at("/authz/forwarded").route(web::route().to(authz::forwarded)))
            .service(at("/authz/envoy{rest:.*}").route(web::route().to(authz::envoy)))
            .service(
                at("/api/v1/model/token").route(web::post().to(legion::token)).default_service(not_allowed("POST")),
            )
            .service(document(at("/api/v1/model/jwks")).route(get().to(jwks::jwks)))
            .service(document(at("/.well-known/jwks.json")).route(get().to(jwks::jwks))) // RFC 7517 §5
            .service(document(at("/.well-known/oauth-authorization-server")).route(get().to(metadata::metadata))) // RFC 8414 §3
            .service(document(at("/.well-known/openid-configuration")).route(get().to(metadata::metadata))); // OIDC Discovery §4
    }
    if !issuer_path.is_empty() {
        // RFC 8414 §3.1: the well-known part goes before the issuer's path.
        for name in ["oauth-authorization-server", "openid-configuration"] {
            let inserted = web::resource(format!("/.well-known/{name}{issuer_path}"));
            config.service(document(inserted).route(get().to(metadata::metadata)));
        }
    }
    both(config);
}

/// The admin listener.
pub fn admin(config: &mut ServiceConfig) {
    config.service(web::resource(["/admin/v1", "/admin/v1/{rest:.*}"]).route(web::route().to(admin::handle)));
    let at = |path: &str| web::resource(path.to_owned()).default_service(not_allowed("GET, HEAD"));
    config.service(at("/metrics").route(get().to(metrics::metrics)));
    both(config);
}

fn both(config: &mut ServiceConfig) {
    let at = |path: &str| web::resource(path.to_owned()).default_service(not_allowed("GET, HEAD"));
    config
        .service(at("/health/live").route(get().to(health::live)))
        .service(at("/health/ready").route(get().to(health::ready)));
}

/// GET and HEAD.
fn get() -> actix_web::Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A public document: readable from any origin.
fn document(resource: Resource) -> Resource {
    resource
        .route(web::method(actix_web::http::Method::OPTIONS).to(cors::preflight))
        .default_service(not_allowed("GET, HEAD, OPTIONS"))
}

fn not_allowed(allow: &'static str) -> actix_web::Route {
    web::to(move || async move { HttpResponse::MethodNotAllowed().insert_header(("allow", allow)).finish() })
}
