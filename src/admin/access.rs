//! Who the operator is: the admin API is itself a protected resource, with the issuer as its one audience.

use super::error::AdminError;
use crate::model::id::ClientId;
use crate::model::scope::AdminScope;
use crate::oauth::service::Service;
use crate::oauth::verify;
use crate::store::collections::{By, Origin};

/// A caller whose bearer token counts, and what that token holds.
#[derive(Debug, Clone)]
pub struct Operator {
    /// The client behind the token.
    pub client_id: ClientId,
    scopes: Vec<AdminScope>,
    origin: Origin,
    action: &'static str,
}

/// Finds out who is calling from the bearer token, with a request to do `action`.
///
/// # Errors
/// [`AdminError::Unauthorized`] when there is none or it does not count; 503 when revocations may have been missed.
pub fn authenticate(
    service: &Service,
    bearer: Option<&str>,
    action: &'static str,
    origin: &Origin,
) -> Result<Operator, AdminError> {
    let Some(token) = bearer else {
        return Err(AdminError::Unauthorized { presented: false, reason: "no bearer token".into() });
    };
    service.fresh_enough_to_decide()?;
    let refused = |reason: String| AdminError::Unauthorized { presented: true, reason: reason.into() };
    let claims = verify::active(service, token).map_err(|why| refused(why.to_string()))?;
    if claims.audience != service.settings.issuer {
        return Err(refused("the token is for another audience".into()));
    }
    Ok(Operator { client_id: claims.client_id, scopes: claims.admin_scopes, origin: origin.clone(), action })
}

impl Operator {
    /// Notes what is asked for: `thing.verb`, as the audit trail calls it.
    pub fn asks_for(&mut self, action: &'static str) {
        self.action = action;
    }

    /// Whether the token holds `wanted`.
    #[must_use]
    pub fn holds(&self, wanted: AdminScope) -> bool {
        self.scopes.iter().any(|held| held.includes(wanted))
    }

    /// Demands a scope.
    ///
    /// # Errors
    /// [`AdminError::Forbidden`] naming it.
    pub fn demand(&self, wanted: AdminScope) -> Result<(), AdminError> {
        if self.holds(wanted) {
            return Ok(());
        }
        Err(AdminError::Forbidden { scope: wanted, detail: "the token lacks the scope for this".into() })
    }

    /// Demands `edi:read` or the scope that also changes such things.
    ///
    /// # Errors
    /// [`AdminError::Forbidden`] naming `edi:read`.
    pub fn demand_read(&self, or: AdminScope) -> Result<(), AdminError> {
        if self.holds(or) { Ok(()) } else { self.demand(AdminScope::Read) }
    }

    /// This operator as the author of a change made now to the thing with this id. What is done is what was asked for.
    #[must_use]
    pub fn by(&self, service: &Service, target: impl Into<String>) -> By {
        By {
            actor: self.client_id.clone(),
            now: service.now(),
            longest_lifetime: service.longest_lifetime(),
            reason: None,
            action: self.action,
            target: target.into(),
            origin: self.origin.clone(),
        }
    }
}
