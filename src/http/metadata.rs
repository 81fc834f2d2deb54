//! `GET /.well-known/oauth-authorization-server` (RFC 8414) and `GET /.well-known/openid-configuration` (OpenID Connect
//! Discovery): one document under both names.

use actix_web::{HttpRequest, HttpResponse, web};

use super::document::Document;
use crate::oauth::metadata;
use crate::oauth::service::Service;

/// Serves the metadata.
pub async fn metadata(request: HttpRequest, service: web::Data<Service>) -> HttpResponse {
    Document::json(metadata::document(&service).to_string()).answer(&request, "public, max-age=300")
}
