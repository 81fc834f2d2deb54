//! `GET /health/live` and `GET /health/ready`, on both listeners.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::oauth::service::Service;

/// The process runs.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

/// Tokens can be served. Stays 200 while they are served from memory, and says so; 503 once they are not.
pub async fn ready(service: web::Data<Service>) -> HttpResponse {
    let able = service.fresh_enough_to_issue().is_ok()
        && service.key_set().signer(service.settings.default_algorithm(), service.now()).is_some();
    let store = if service.is_stale() { "stale" } else { "ok" };
    if able {
        HttpResponse::Ok().json(json!({ "status": "ok", "store": store }))
    } else {
        HttpResponse::ServiceUnavailable().json(json!({ "status": "unavailable", "store": store }))
    }
}
