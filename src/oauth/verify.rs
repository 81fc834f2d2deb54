//! Whether a token is one of ours and counts now: signature, claims, key state, expiry, revocation. Used wherever edi
//! itself takes a token: introspection, revocation, the admin API.

use std::sync::Arc;

use super::access_token::{Ancestor, Claims};
use super::remembered::{Known, digest_of};
use super::service::Service;
use crate::keys::jws::Jws;
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

/// The longest token that is remembered, in bytes: what is remembered stays within some tens of MiB, however many roles
/// tokens hold.
const MAX_REMEMBERED: usize = 4 * 1024;

/// Checks everything about a token but its audience and what it may do.
///
/// # Errors
/// [`NotActive`] says which check failed.
pub fn active(service: &Service, token: &str) -> Result<Claims, NotActive> {
    let now = service.now();
    let (claims, _) = authentic(service, token, now)?;
    counts(service, &claims, now)?;
    Ok(claims)
}

/// Whose an authentic token is, and apart from that whether it counts.
///
/// # Errors
/// [`NotActive`] when it is not proven that edi signed it.
pub fn judged(service: &Service, token: &str) -> Result<(Claims, Result<(), NotActive>), NotActive> {
    let now = service.now();
    let (claims, _) = authentic(service, token, now)?;
    let verdict = counts(service, &claims, now);
    Ok((claims, verdict))
}

/// Like [`active`], for a path that sees the same tokens again and again: signature and claims are checked once and remembered,
/// everything that can change is judged every time.
///
/// # Errors
/// As [`active`].
pub fn active_remembered(service: &Service, token: &str) -> Result<Arc<Claims>, NotActive> {
    let now = service.now();
    let digest = digest_of(token);
    if let Some(Known { claims, algorithm }) = service.remembered.recall(&digest) {
        service.key_set().verifier(claims.kid.as_str(), algorithm, now).ok_or(NotActive::Key)?;
        counts(service, &claims, now)?;
        return Ok(claims);
    }
    let (claims, algorithm) = authentic(service, token, now)?;
    let claims = Arc::new(claims);
    counts(service, &claims, now)?;
    if token.len() <= MAX_REMEMBERED {
        service.remembered.remember(digest, Known { claims: Arc::clone(&claims), algorithm });
    }
    Ok(claims)
}

/// Whether an authentic token has neither expired nor been revoked.
fn counts(service: &Service, claims: &Claims, now: Timestamp) -> Result<(), NotActive> {
    if now.secs() >= claims.exp {
        return Err(NotActive::Expired);
    }
    let facts = Facts { client: &claims.client_id, roles: &claims.roles, kid: claims.kid.as_str(), iat: claims.iat };
    let revocations = service.revocations.read();
    if revocations.revokes(claims.jti, facts) {
        return Err(NotActive::Revoked);
    }
    // A token made from another falls with it: with its id, and with the key that signed it.
    for Ancestor { jti, kid } in &claims.lineage.0 {
        let facts = Facts { kid: kid.as_str(), ..facts };
        if revocations.revokes(*jti, facts) || service.key_set().revoked(kid.as_str()) {
            return Err(NotActive::Revoked);
        }
    }
    Ok(())
}

/// Checks that edi signed the token with a key that still counts.
fn authentic(service: &Service, token: &str, now: Timestamp) -> Result<(Claims, Algorithm), NotActive> {
    let parsed = Jws::parse(token).map_err(|_| NotActive::Foreign)?;
    // RFC 9068 §2.1: the type keeps every other JWT signed by the same key from passing as an access token.
    if !parsed.header.is_type("at+jwt") {
        return Err(NotActive::Foreign);
    }
    let algorithm: Algorithm = parsed.header.alg.parse().map_err(|_| NotActive::Foreign)?;
    let kid = parsed.header.kid.as_deref().and_then(|kid| Kid::parse(kid).ok()).ok_or(NotActive::Foreign)?;
    let keys = service.key_set();
    let verifier = keys.verifier(kid.as_str(), algorithm, now).ok_or(NotActive::Key)?;
    if !verifier.verify(parsed.signing_input, &parsed.signature) {
        return Err(NotActive::Signature);
    }
    let claims = Claims::read(&parsed.payload, kid).ok_or(NotActive::Claims)?;
    if claims.issuer != service.settings.issuer {
        return Err(NotActive::Claims);
    }
    Ok((claims, algorithm))
}
