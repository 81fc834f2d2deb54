//! Legion EDI's "issue a JWT for a role name": what a caller that proved itself may have made.
//!
//! A token made from a Bearer that holds a role never outlives that Bearer and falls with it: it carries the Bearer's
//! lineage, so revoking any token of the line revokes what was made from it.

use std::sync::Arc;

use chrono::NaiveDateTime;

use super::access_token::{Claims, Lineage};
use super::client_auth::Authenticated;
use super::error::{Code, OAuthError};
use super::grant::{Granted, decide};
use super::service::Service;
use super::token_endpoint::{TokenAnswer, mint};
use crate::model::client::Client;
use crate::model::default_role::DefaultRole;
use crate::model::id::ClientId;
use crate::model::scope::{AdminScope, Role};
use crate::model::time::Timestamp;

/// How the caller proved itself.
#[derive(Debug)]
pub enum Caller {
    /// By its own id and secret.
    Client(Authenticated),
    /// By a token of this issuer that counts now.
    Bearer(Box<Claims>),
}

/// What is asked for; both optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LegionRequest {
    /// The role; the default role when absent.
    pub role_name: Option<String>,
    /// The end of the token's life.
    pub expiration_date: Option<String>,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegionRefusal {
    /// 400, with what would be right.
    Malformed(&'static str),
    /// 403: the role is not the caller's to ask for.
    Forbidden(&'static str),
    /// Whatever the token endpoint would say.
    Other(OAuthError),
}

impl From<OAuthError> for LegionRefusal {
    fn from(error: OAuthError) -> Self {
        Self::Other(error)
    }
}

/// Issues a token for a role name.
///
/// # Errors
/// [`LegionRefusal`].
pub async fn issue(service: &Service, caller: &Caller, request: &LegionRequest) -> Result<TokenAnswer, LegionRefusal> {
    service.fresh_enough_to_issue()?;
    let now = service.now();
    let role = wanted_role(service, request)?;
    let until = request.expiration_date.as_deref().map(|text| expiration(text, now)).transpose()?;
    let (client, bearer) = match caller {
        Caller::Client(caller) => (Arc::new(caller.client().clone()), None),
        Caller::Bearer(claims) => (current(service, &claims.client_id).await?, Some(claims)),
    };
    let settings = &service.settings;
    let (longest, lineage) = match bearer {
        Some(bearer) if holds_issue(bearer) => (settings.lifetimes.max(), Lineage::default()),
        Some(bearer) => {
            if !bearer.roles.contains(&role) {
                return Err(LegionRefusal::Forbidden("the token does not hold this role"));
            }
            let left = u32::try_from(bearer.exp.saturating_sub(now.secs())).unwrap_or(0);
            if left == 0 {
                return Err(not_valid("it expired meanwhile").into());
            }
            let lineage = bearer.descend().ok_or(LegionRefusal::Forbidden("this token was passed on too often"))?;
            (allowed(service, &client).min(left), lineage)
        }
        None => (allowed(service, &client), Lineage::default()),
    };
    let asked = until.map(|until| u32::try_from(until.secs().saturating_sub(now.secs())).unwrap_or(u32::MAX));
    let lifetime = asked.unwrap_or_else(|| settings.lifetime(&client)).min(longest);
    let granted = match bearer {
        Some(bearer) if holds_issue(bearer) => any_role(service, &client, &role)?,
        // The audience of a token that is passed on stays what it was.
        Some(bearer) => Granted { roles: vec![role], admin_scopes: Vec::new(), audience: bearer.audience.clone() },
        None if client.holds(AdminScope::Issue) => any_role(service, &client, &role)?,
        None if client.roles.contains(&role) => {
            decide(&client, Some(role.as_str()), None, &settings.issuer, &settings.audience, service)?
        }
        None => return Err(LegionRefusal::Forbidden("this client was not granted this role")),
    };
    Ok(mint(service, &client, &granted, lifetime, now, &lineage)?)
}

fn holds_issue(bearer: &Claims) -> bool {
    bearer.admin_scopes.iter().any(|held| held.includes(AdminScope::Issue))
}

/// The longest lifetime that a client may ask for, in seconds: its own, else the longest of all.
fn allowed(service: &Service, client: &Client) -> u32 {
    let longest = service.settings.lifetimes.max();
    client.access_token_lifetime.unwrap_or(longest).min(longest)
}

fn not_valid(reason: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidClient, "the token is not valid here").because(reason)
}

fn wanted_role(service: &Service, request: &LegionRequest) -> Result<Role, LegionRefusal> {
    if let Some(name) = request.role_name.as_deref() {
        return Role::parse(name).map_err(|_| LegionRefusal::Malformed("role_name is not a role name"));
    }
    let default = service.settings.default_role.as_ref().and_then(DefaultRole::for_client);
    default.cloned().ok_or(LegionRefusal::Malformed("role_name is missing, and there is no default role"))
}

/// Any role, at the audience its deployments name.
fn any_role(service: &Service, client: &Client, role: &Role) -> Result<Granted, OAuthError> {
    let settings = &service.settings;
    let holder = Client { roles: std::collections::BTreeSet::from([role.clone()]), ..client.clone() };
    decide(&holder, Some(role.as_str()), None, &settings.issuer, &settings.audience, service)
}

/// The client behind a bearer, as it is now.
async fn current(service: &Service, id: &ClientId) -> Result<Arc<Client>, LegionRefusal> {
    let found = service.client(id).await.map_err(OAuthError::from)?;
    Ok(found.filter(|client| client.enabled).ok_or_else(|| not_valid("its client is gone"))?)
}

/// Legion's dates: `2006-01-02T15:04:05`, in UTC; RFC 3339 in UTC is read as well.
fn expiration(text: &str, now: Timestamp) -> Result<Timestamp, LegionRefusal> {
    const WRONG: LegionRefusal =
        LegionRefusal::Malformed("expiration_date is a UTC date and time: 2006-01-02T15:04:05");
    let plain = text.strip_suffix('Z').unwrap_or(text);
    let at = NaiveDateTime::parse_from_str(plain, "%Y-%m-%dT%H:%M:%S").map_err(|_| WRONG)?;
    let at = Timestamp::from_secs(at.and_utc().timestamp());
    if at.secs() > now.secs() { Ok(at) } else { Err(LegionRefusal::Malformed("expiration_date lies in the past")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_legions() {
        let now = Timestamp::parse_rfc3339("2026-11-21T12:00:00Z").unwrap();
        for good in ["2026-11-21T12:00:01", "2027-01-01T00:00:00", "2027-01-01T00:00:00Z"] {
            assert!(expiration(good, now).is_ok(), "{good}");
        }
        for bad in [
            "",
            "tomorrow",
            "2026-11-21",
            "2026-11-21 13:00:00",
            "2026-13-01T00:00:00",
            "2026-11-21T12:00:00",
            "2001-01-01T00:00:00",
            "2027-01-01T00:00:00+02:00",
            "99999999-01-01T00:00:00",
        ] {
            assert!(expiration(bad, now).is_err(), "{bad}");
        }
    }
}
