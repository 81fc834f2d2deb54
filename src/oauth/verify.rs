//! Whether a token is one of ours and counts now: signature, claims, key state, expiry, revocation. Used wherever edi
//! itself takes a token: introspection, revocation, the admin API.

use super::access_token::Claims;
use super::service::Service;
use crate::keys::jws;
use crate::model::algorithm::Algorithm;
use crate::model::id::Kid;
use crate::model::time::Timestamp;
use crate::store::collections::revocations::Facts;

/// Why a token does not count; for the log, never for a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotActive {
    /// No compact JWS, or its header is not one edi writes.
    #[error("not a token of this issuer")]
    Foreign,
    /// The key is unknown, no longer published, or revoked.
    #[error("signed by a key that is unknown, retired or revoked")]
    Key,
    /// The signature is wrong.
    #[error("the signature does not hold")]
    Signature,
    /// The claims are not ones edi writes for this issuer.
    #[error("the claims are not of this issuer")]
    Claims,
    /// Past its `exp`.
    #[error("expired")]
    Expired,
    /// Revoked, itself or in bulk.
    #[error("revoked")]
    Revoked,
}

/// Checks everything about a token but its audience and what it may do.
///
/// # Errors
/// [`NotActive`] says which check failed.
pub fn active(service: &Service, token: &str) -> Result<Claims, NotActive> {
    let now = service.now();
    let claims = authentic(service, token, now)?;
    if now.secs() >= claims.exp {
        return Err(NotActive::Expired);
    }
    let facts =
        Facts { client: &claims.client_id, roles: &claims.roles, kid: claims.kid.as_str(), iat: claims.iat };
    if service.revocations.read().revokes(claims.jti, facts) {
        return Err(NotActive::Revoked);
    }
    Ok(claims)
}

/// Checks that edi signed the token with a key that still counts.
fn authentic(service: &Service, token: &str, now: Timestamp) -> Result<Claims, NotActive> {
    let parsed = jws::parse(token).map_err(|_| NotActive::Foreign)?;
    // RFC 9068 §2.1: the type keeps every other JWT signed by the same key from passing as an access token.
    if !parsed.header.typ.as_deref().is_some_and(|typ| typ.eq_ignore_ascii_case("at+jwt")) {
        return Err(NotActive::Foreign);
    }
    let algorithm: Algorithm = parsed.header.alg.parse().map_err(|_| NotActive::Foreign)?;
    let kid = parsed.header.kid.as_deref().and_then(|kid| Kid::parse(kid).ok()).ok_or(NotActive::Foreign)?;
    let keys = service.key_set();
    let verifier = keys.verifier(&kid, algorithm, now).ok_or(NotActive::Key)?;
    if !verifier.verify(parsed.signing_input, &parsed.signature) {
        return Err(NotActive::Signature);
    }
    let claims = Claims::read(&parsed.payload, kid).ok_or(NotActive::Claims)?;
    if claims.issuer != service.settings.issuer {
        return Err(NotActive::Claims);
    }
    Ok(claims)
}
