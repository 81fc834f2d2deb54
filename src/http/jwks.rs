//! `GET /.well-known/jwks.json` (RFC 7517): the published keys, with an entity tag and a lifetime that never reaches
//! past the next change.

use actix_web::{HttpRequest, HttpResponse, web};

use super::document::Document;
use crate::oauth::service::Service;

/// Serves the key set.
pub async fn jwks(request: HttpRequest, service: web::Data<Service>) -> HttpResponse {
    let jwks = service.key_set().jwks(service.now());
    let max_age = jwks.max_age.min(service.settings.schedule.jwks_max_age());
    let cache_control = format!("public, max-age={max_age}");
    // The key set made body and tag once, when a key last changed its state.
    let body = web::Bytes::from_owner(jwks.body);
    Document::tagged(body, &jwks.etag, "application/json").answer(&request, &cache_control)
}
