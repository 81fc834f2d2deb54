//! `POST /oauth2/token` (RFC 6749 §4.4, 5).

use actix_web::http::header::{CACHE_CONTROL, PRAGMA};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::caller::authenticate;
use super::error::OAuthHttpError;
use super::form;
use crate::oauth::service::Service;
use crate::oauth::token_endpoint::{TokenRequest, check_grant_type, issue};

#[derive(Serialize)]
struct Answer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u32,
    scope: &'a str,
}

/// Issues a token to an authenticated client.
///
/// # Errors
/// RFC 6749 §5.2.
pub async fn token(
    request: HttpRequest,
    payload: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, OAuthHttpError> {
    answer(&request, payload, &service).await.inspect_err(|_| service.pulse.note_refused())
}

async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    service: &Service,
) -> Result<HttpResponse, OAuthHttpError> {
    form::refuse_query(request.query_string())?;
    let form = form::read(request, payload).await?;
    let wanted =
        TokenRequest { grant_type: form.get("grant_type"), scope: form.get("scope"), resource: form.get("resource") };
    check_grant_type(wanted)?;
    let caller = authenticate(request, &form, service).await?;
    let answer = issue(service, &caller, wanted)?;
    // RFC 6749 §5.1: no-store and no-cache on every answer that holds a token.
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).insert_header((PRAGMA, "no-cache")).json(Answer {
        access_token: &answer.access_token,
        token_type: "Bearer",
        expires_in: answer.expires_in,
        scope: &answer.scope,
    }))
}
