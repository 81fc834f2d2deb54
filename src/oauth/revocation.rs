//! Token revocation by the token's own client (RFC 7009): durable, and effective, before the 200.

use super::client_auth::Authenticated;
use super::error::OAuthError;
use super::service::Service;
use super::verify;
use crate::model::revocation::{Revocation, Subject};
use crate::model::time::Timestamp;
use crate::store::collections::{By, Origin, revocations};

/// Revokes the caller's token. Says whether something was written: an unknown, expired or foreign token is no error and
/// writes nothing (RFC 7009 §2.2).
///
/// # Errors
/// 503 when the store does not take the write; its outcome is unknown then, and asking again is safe.
pub async fn revoke(
    service: &Service,
    caller: &Authenticated,
    token: &str,
    origin: Origin,
) -> Result<bool, OAuthError> {
    let client = &caller.client().client_id;
    let Ok(claims) = verify::active(service, token) else { return Ok(false) };
    if claims.client_id != *client {
        return Ok(false);
    }
    let expires = Timestamp::from_secs(claims.exp);
    let now = service.now();
    let revocation = Revocation::of_token(now, expires, client.clone(), None);
    let by = By { actor: client.clone(), origin, ..By::edi(now, "token.revoke", "") };
    let subject = Subject::Token(claims.jti);
    let (_, revision) = revocations::add(&*service.store, &service.ambient, &subject, &revocation, &by).await?;
    service.settled_revocations(revision).await?;
    Ok(true)
}
