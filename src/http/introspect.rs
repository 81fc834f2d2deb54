//! `POST /oauth2/introspect` (RFC 7662).

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::caller::authenticate;
use super::error::{OAuthHttpError, Refusal};
use super::form;
use crate::oauth::error::OAuthError;
use crate::oauth::introspection;
use crate::oauth::service::Service;

/// Answers what a token says, if it counts and the caller may know.
///
/// # Errors
/// RFC 6749 §5.2 for the caller's own faults; never for the token's.
pub async fn introspect(
    request: HttpRequest,
    payload: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, OAuthHttpError> {
    form::refuse_query(request.query_string())?;
    let form = form::read(&request, payload).await?;
    let caller = authenticate(&request, &form, &service).await?;
    let token = form.get("token").ok_or_else(|| OAuthError::invalid_request("token is missing"))?;
    match introspection::introspect(&service, &caller, token)? {
        Ok(active) => Ok(HttpResponse::Ok().json(active)),
        Err(why) => {
            let mut response = HttpResponse::Ok().json(json!({ "active": false }));
            response.extensions_mut().insert(Refusal(why.into()));
            Ok(response)
        }
    }
}
