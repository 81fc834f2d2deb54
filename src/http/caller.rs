//! From a request's header and form to the client that proved itself.

use actix_web::HttpRequest;

use super::credentials::{Basic, Presented};
use super::error::OAuthHttpError;
use super::exchange::Exchange;
use super::form::Form;
use crate::oauth::client_auth::{self, Authenticated};
use crate::oauth::service::Service;

/// Authenticates the client of a form request (RFC 6749 §2.3) and notes it for the log.
///
/// # Errors
/// Those of [`client_auth::authenticate`].
pub async fn authenticate(
    request: &HttpRequest,
    form: &Form,
    service: &Service,
) -> Result<Authenticated, OAuthHttpError> {
    let exchange = Exchange::of(request);
    let basic = Presented::read(request.headers()).into_basic()?;
    let presented = client_auth::Presented {
        basic: basic.as_ref().map(Basic::pair),
        client_id: form.get("client_id"),
        client_secret: form.get("client_secret"),
        assertion: form.get("client_assertion"),
        assertion_type: form.get("client_assertion_type"),
        address: exchange.address(),
    };
    let caller = client_auth::authenticate(service, presented).await?;
    exchange.note_client(caller.client().client_id.as_str());
    Ok(caller)
}
