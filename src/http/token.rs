//! `POST /oauth2/token` (RFC 6749 §4.4, 5).

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA};
use actix_web::{HttpRequest, HttpResponse, web};

use super::caller::authenticate;
use super::error::OAuthHttpError;
use super::form;
use crate::model::ascii;
use crate::oauth::service::Service;
use crate::oauth::token_endpoint::{TokenAnswer, TokenRequest, check_grant_type, issue};

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
    let mut response = HttpResponse::Ok().body(body(&answer));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // RFC 6749 §5.1: no-store and no-cache on every answer that holds a token.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// RFC 6749 §5.1. Nothing in it needs a JSON escape: a token is base64url and dots, a scope is names that the client was
/// granted, whose grammar has neither quotes nor backslashes nor anything beyond ASCII.
fn body(answer: &TokenAnswer) -> String {
    let TokenAnswer { access_token, expires_in, scope, .. } = answer;
    let mut lifetime = String::with_capacity(10);
    ascii::push_number(&mut lifetime, *expires_in);
    // In one go: a text with room to spare would be given another owner on its way out.
    [
        "{\"access_token\":\"",
        access_token,
        "\",\"token_type\":\"Bearer\",\"expires_in\":",
        &lifetime,
        ",\"scope\":\"",
        scope,
        "\"}",
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::TokenId;
    use crate::model::scope::{AdminScope, Role};

    #[test]
    fn the_answer_is_json_whatever_was_granted() {
        let roles = ["a", "A.b-c_d", "x".repeat(63).as_str()].map(|role| Role::parse(role).unwrap().to_string());
        let admin = AdminScope::ALL.map(|scope| scope.name().to_owned());
        for scope in [roles.join(" "), admin.join(" "), String::new()] {
            let answer = TokenAnswer {
                access_token: "a-_.b.c".into(),
                jti: TokenId(1),
                expires_in: 86_400,
                scope: scope.clone(),
            };
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&body(&answer)).unwrap(),
                serde_json::json!({
                    "access_token": "a-_.b.c", "token_type": "Bearer", "expires_in": 86_400, "scope": scope,
                })
            );
        }
    }
}
