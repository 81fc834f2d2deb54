//! `POST /oauth2/revoke` (RFC 7009).

use actix_web::{HttpRequest, HttpResponse, web};

use super::caller::authenticate;
use super::error::OAuthHttpError;
use super::exchange::Exchange;
use super::form;
use crate::oauth::error::OAuthError;
use crate::oauth::revocation;
use crate::oauth::service::Service;

/// Revokes the caller's own token. 200 whether there was anything to revoke or not (RFC 7009 §2.2).
///
/// # Errors
/// RFC 6749 §5.2, and 503 when the revocation could not be made durable.
pub async fn revoke(
    request: HttpRequest,
    payload: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, OAuthHttpError> {
    form::refuse_query(request.query_string())?;
    let form = form::read(&request, payload).await?;
    let caller = authenticate(&request, &form, &service).await?;
    let token = form.get("token").ok_or_else(|| OAuthError::invalid_request("token is missing"))?;
    revocation::revoke(&service, &caller, token, Exchange::of(&request).origin()).await?;
    Ok(HttpResponse::Ok().finish())
}
