//! The decision for a proxy: may this bearer call that deployment now? (design: 200, 401 or 403 by RFC 6750 §3.1.)
//!
//! Signature and claims of a token seen before are remembered under the SHA-256 of the whole token; expiry, key state,
//! revocation, audience and role are judged every time.

use std::sync::Arc;

use super::access_token::Claims;
use super::error::OAuthError;
use super::service::Service;
use super::verify::{self, NotActive};
use crate::model::id::DeploymentId;
use crate::model::route::NoRoute;
use crate::model::scope::Role;
use crate::store::collections::deployments;

/// What the proxy wants to know about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// A role by its name, at the audiences it is valid at.
    Role(&'a str),
    /// A deployment by its id.
    Deployment(&'a str),
    /// Whatever answers at this host and path.
    Request {
        /// Host, perhaps with a port.
        host: &'a str,
        /// Path, perhaps with a query.
        path: &'a str,
    },
}

/// Why the answer is no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// 401 without an error code: nothing was presented.
    NoToken,
    /// 401 `invalid_token`; the cause is for the log.
    Token(&'static str),
    /// 403: nothing to allow there; the cause is for the log.
    Nowhere(NoRoute),
    /// 403 `insufficient_scope`, naming the role that would do.
    Role(Role),
    /// 503: revocations may have been missed.
    Stale(OAuthError),
}

/// Decides about a bearer.
///
/// # Errors
/// [`Denied`] says why not.
pub fn decide(service: &Service, bearer: Option<&str>, wanted: Wanted<'_>) -> Result<Arc<Claims>, Denied> {
    let token = bearer.ok_or(Denied::NoToken)?;
    service.fresh_enough_to_decide().map_err(Denied::Stale)?;
    let claims = verify::active_remembered(service, token).map_err(|why| {
        Denied::Token(match why {
            NotActive::Foreign => "not a token of this issuer",
            NotActive::Key => "signed by a key that is unknown, retired or revoked",
            NotActive::Signature => "the signature does not hold",
            NotActive::Claims => "the claims are not of this issuer",
            NotActive::Expired => "expired",
            NotActive::Revoked => "revoked",
        })
    })?;
    let Need { role, audience_fits } = need(service, wanted, &claims.audience)?;
    if !audience_fits {
        return Err(Denied::Token("the token is for another audience"));
    }
    if claims.roles.contains(&role) { Ok(claims) } else { Err(Denied::Role(role)) }
}

struct Need {
    role: Role,
    audience_fits: bool,
}

fn need(service: &Service, wanted: Wanted<'_>, audience: &str) -> Result<Need, Denied> {
    let deployments = service.deployments.read();
    let default = service.settings.audience.as_str();
    let found = match wanted {
        Wanted::Role(role) => {
            let role = Role::parse(role).map_err(|_| Denied::Nowhere(NoRoute::Unknown))?;
            let own = deployments.audiences(role.as_str(), default);
            let audience_fits = own.map_or(audience == default, |own| own.contains(audience));
            return Ok(Need { role, audience_fits });
        }
        Wanted::Deployment(id) => {
            let id = DeploymentId::parse(id).map_err(|_| Denied::Nowhere(NoRoute::Unknown))?;
            deployments.get(&deployments::key(&id)).ok_or(Denied::Nowhere(NoRoute::Unknown))?
        }
        Wanted::Request { host, path } => deployments.at(host, path).map_err(Denied::Nowhere)?,
    };
    let audience_fits = found.audience.as_deref().unwrap_or(default) == audience;
    Ok(Need { role: found.role.clone(), audience_fits })
}
