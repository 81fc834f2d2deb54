//! The token endpoint (RFC 6749 §4.4, 5): an authenticated client asks, a signed token comes out. No store write, no
//! store read beyond memory.

use std::time::Duration;

use super::access_token::{Life, Lineage, write_claims};
use super::client_auth::Authenticated;
use super::error::{Code, OAuthError};
use super::grant::{Granted, decide};
use super::service::Service;
use crate::model::client::Client;
use crate::model::id::TokenId;
use crate::model::time::Timestamp;
use crate::store::collections::revocations::Facts;

/// The one grant offered (RFC 6749 §4.4).
pub const CLIENT_CREDENTIALS: &str = "client_credentials";

/// What a token request asks for, beside the proof.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenRequest<'a> {
    /// `grant_type`.
    pub grant_type: Option<&'a str>,
    /// `scope`.
    pub scope: Option<&'a str>,
    /// `resource` (RFC 8707).
    pub resource: Option<&'a str>,
}

/// The answer (RFC 6749 §5.1).
#[derive(Debug)]
pub struct TokenAnswer {
    /// The token.
    pub access_token: String,
    /// Its id, for the log.
    pub jti: TokenId,
    /// Its lifetime in seconds.
    pub expires_in: u32,
    /// What it holds.
    pub scope: String,
}

/// Refuses any grant but the one offered. Comes before authentication: it costs nothing and tells nothing.
///
/// # Errors
/// `invalid_request` when missing, `unsupported_grant_type` otherwise.
pub fn check_grant_type(request: TokenRequest<'_>) -> Result<(), OAuthError> {
    match request.grant_type {
        Some(CLIENT_CREDENTIALS) => Ok(()),
        Some(_) => Err(OAuthError::new(Code::UnsupportedGrantType, "the one grant offered is client_credentials")),
        None => Err(OAuthError::invalid_request("grant_type is missing; send grant_type=client_credentials")),
    }
}

/// Issues a token.
///
/// # Errors
/// `invalid_scope`, `invalid_target`; 503 while a bulk revocation still covers new tokens, or when the store has been
/// silent for too long.
pub fn issue(service: &Service, caller: &Authenticated, request: TokenRequest<'_>) -> Result<TokenAnswer, OAuthError> {
    check_grant_type(request)?;
    service.fresh_enough_to_issue()?;
    let client = caller.client();
    let settings = &service.settings;
    let granted = decide(client, request.scope, request.resource, &settings.issuer, &settings.audience, service)?;
    mint(service, client, &granted, settings.lifetime(client), service.now(), &Lineage::default())
}

/// Signs a token for what was granted.
///
/// # Errors
/// 503 while a bulk revocation still covers it; a fault of ours when there is no key to sign with.
pub fn mint(
    service: &Service,
    client: &Client,
    granted: &Granted,
    lifetime: u32,
    now: Timestamp,
    lineage: &Lineage,
) -> Result<TokenAnswer, OAuthError> {
    let keys = service.key_set();
    let algorithm = service.settings.algorithm(client);
    let signer = keys
        .signer(algorithm, now)
        .ok_or_else(|| OAuthError::new(Code::ServerError, "no signing key").because("the ring has no active key"))?;
    let facts = Facts { client: &client.client_id, roles: &granted.roles, kid: signer.kid().as_str(), iat: now.secs() };
    if let Some(until) = service.revocations.read().covered_until(facts) {
        let wait = Timestamp::from_secs(until).plus(Duration::from_secs(1)).since(now).as_millis().div_ceil(1000);
        let wait = u32::try_from(wait).unwrap_or(u32::MAX).max(1);
        return Err(OAuthError::unavailable(wait, "a revocation made just now still covers new tokens"));
    }
    let jti = TokenId::from_bytes(service.token_ids.take());
    let life = Life { issued: now, lifetime, lineage };
    let claims = write_claims(&service.issuer_json, &client.client_id, granted, jti, life, service.settings.claims);
    let access_token = signer.sign(claims.as_bytes()).map_err(|error| {
        OAuthError::new(Code::ServerError, "the token could not be signed").because(error.to_string())
    })?;
    service.pulse.note_issued(algorithm);
    service.last_issued.note(&granted.roles, now);
    Ok(TokenAnswer { access_token, jti, expires_in: lifetime, scope: granted.scope() })
}
