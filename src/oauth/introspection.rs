//! Token introspection (RFC 7662): what a token says, if it counts and the caller may know.

use serde::Serialize;

use super::access_token::Claims;
use super::client_auth::Authenticated;
use super::error::OAuthError;
use super::service::Service;
use super::verify;
use crate::model::scope::{AdminScope, Role};

/// The answer about an active token (RFC 7662 §2.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ActiveToken {
    active: bool,
    scope: String,
    client_id: String,
    sub: String,
    aud: String,
    iss: String,
    exp: i64,
    iat: i64,
    jti: String,
    token_type: &'static str,
    roles: Vec<Role>,
}

impl From<Claims> for ActiveToken {
    fn from(claims: Claims) -> Self {
        Self {
            active: true,
            scope: claims.scope(),
            client_id: claims.client_id.to_string(),
            sub: claims.client_id.to_string(),
            aud: claims.audience,
            iss: claims.issuer,
            exp: claims.exp,
            iat: claims.iat,
            jti: claims.jti.to_string(),
            token_type: "Bearer",
            roles: claims.roles,
        }
    }
}

/// Answers about a token. `Err` inside is why it is `{"active": false}`, for the log alone: to the caller every cause
/// looks the same.
///
/// # Errors
/// 503 when the store has been silent for too long to know of every revocation.
pub fn introspect(
    service: &Service,
    caller: &Authenticated,
    token: &str,
) -> Result<Result<ActiveToken, String>, OAuthError> {
    service.fresh_enough_to_decide()?;
    let claims = match verify::active(service, token) {
        Ok(claims) => claims,
        Err(why) => return Ok(Err(why.to_string())),
    };
    let client = caller.client();
    // RFC 7662 §2.1, §4: a client learns of its own tokens; others' need a right granted for that.
    if claims.client_id != client.client_id && !client.holds(AdminScope::Introspect) {
        return Ok(Err("the token of another client".into()));
    }
    Ok(Ok(claims.into()))
}
