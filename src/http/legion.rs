//! `POST /api/v1/model/token`: the token service of the Legion platform's EDI. `GET /api/v1/model/jwks` is the JWKS.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::body;
use super::credentials::{Basic, Presented};
use super::error::LegionError;
use super::exchange::Exchange;
use crate::oauth::client_auth::{self, authenticate};
use crate::oauth::error::Code;
use crate::oauth::legion::{Caller, LegionRefusal, LegionRequest, issue};
use crate::oauth::service::Service;
use crate::oauth::verify;

#[derive(Debug, Default, Deserialize)]
struct Body {
    role_name: Option<String>,
    expiration_date: Option<String>,
}

/// Issues a JWT for a role name.
///
/// # Errors
/// `{"message"}` with 400, 401, 403 or 503.
pub async fn token(
    request: HttpRequest,
    payload: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, LegionError> {
    // The body first: whoever takes his time over it must not be judged by what held when he began.
    let body = body::read(request.headers(), payload, body::oauth_limit(&request)).await?;
    let caller = caller(&request, &service).await?;
    let malformed = |message: &'static str| LegionError::new(StatusCode::BAD_REQUEST, message);
    let Body { role_name, expiration_date } = if body.iter().all(u8::is_ascii_whitespace) {
        Body::default()
    } else {
        serde_json::from_slice(&body)
            .map_err(|_| malformed("send a JSON object with role_name and expiration_date, both optional texts"))?
    };
    // An empty text counts as omitted.
    let present = |text: Option<String>| text.filter(|text| !text.is_empty());
    let wanted = LegionRequest { role_name: present(role_name), expiration_date: present(expiration_date) };
    match issue(&service, &caller, &wanted).await {
        Ok(answer) => Ok(HttpResponse::Created().json(json!({ "token": answer.access_token }))),
        Err(LegionRefusal::Malformed(message)) => Err(malformed(message)),
        Err(LegionRefusal::Forbidden(message)) => Err(LegionError::new(StatusCode::FORBIDDEN, message)),
        Err(LegionRefusal::Other(error)) if error.code == Code::InvalidClient => {
            Err(LegionError::invalid_token(error.reason))
        }
        Err(LegionRefusal::Other(error)) => Err(error.into()),
    }
}

/// By Basic, or by a Bearer of this issuer.
async fn caller(request: &HttpRequest, service: &Service) -> Result<Caller, LegionError> {
    let exchange = Exchange::of(request);
    match Presented::read(request.headers()) {
        Presented::Bearer(token) => {
            service.fresh_enough_to_decide()?;
            let claims =
                verify::active(service, token.expose()).map_err(|why| LegionError::invalid_token(why.to_string()))?;
            exchange.note_client(claims.client_id.as_str());
            Ok(Caller::Bearer(Box::new(claims)))
        }
        presented => {
            let basic = presented.into_basic()?;
            let basic = basic.as_ref().map(Basic::pair);
            let presented =
                client_auth::Presented { basic, address: exchange.address(), ..client_auth::Presented::default() };
            let caller = authenticate(service, presented).await?;
            exchange.note_client(caller.client().client_id.as_str());
            Ok(Caller::Client(caller))
        }
    }
}
