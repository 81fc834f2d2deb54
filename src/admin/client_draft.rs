//! What the body of a create or of a merge patch says about a client.

use std::collections::BTreeSet;

use super::fields::{Fields, parsed, text};
use crate::model::algorithm::Algorithm;
use crate::model::client::{AuthMethod, Client, MAX_AUDIENCES, MAX_NAME, MAX_ROLES};
use crate::model::deployment::is_audience;
use crate::model::scope::{AdminScope, Role};
use crate::oauth::service::Service;

/// The shortest lifetime a client may ask for, in seconds.
const MIN_LIFETIME: u32 = 10;

/// What a body says about a client; outer `None`: nothing.
#[derive(Debug, Default)]
#[expect(clippy::option_option, reason = "a merge patch tells absent from null (RFC 7396)")]
pub(super) struct Draft {
    name: Option<Option<String>>,
    auth_method: Option<AuthMethod>,
    roles: Option<BTreeSet<Role>>,
    admin_scopes: Option<BTreeSet<AdminScope>>,
    audiences: Option<BTreeSet<String>>,
    lifetime: Option<Option<u32>>,
    algorithm: Option<Option<Algorithm>>,
    pub(super) state: Option<bool>,
}

impl Draft {
    /// Takes every field that says something about a client; what is wrong is noted.
    pub(super) fn read(&mut self, service: &Service, fields: &mut Fields) {
        let settings = &service.settings;
        self.name = fields.read("client_name", |value| text(value, MAX_NAME));
        self.auth_method = fields
            .read("token_endpoint_auth_method", |value| match value.as_str() {
                Some("client_secret_basic") => Ok(AuthMethod::SecretBasic),
                Some("client_secret_post") => Ok(AuthMethod::SecretPost),
                _ => Err("expected client_secret_basic or client_secret_post".to_owned()),
            })
            .map(Option::unwrap_or_default);
        self.roles = fields.read_set("roles", MAX_ROLES, |text| Role::parse(text).map_err(|error| error.to_string()));
        self.admin_scopes =
            fields.read_set("admin_scopes", AdminScope::ALL.len(), |text| text.parse().map_err(str::to_owned));
        self.audiences = fields.read_set("audiences", MAX_AUDIENCES, |text| {
            if !is_audience(text) {
                Err("an audience has 1 to 512 printable ASCII characters without space, quote, backslash and #".into())
            } else if text == settings.issuer {
                Err("the issuer is the admin API's audience; no role reaches it".into())
            } else {
                Ok(text.to_owned())
            }
        });
        self.lifetime = fields.read("access_token_lifetime", |value| {
            let most = settings.max_ttl;
            let seconds = value.as_u64().and_then(|seconds| u32::try_from(seconds).ok());
            seconds
                .filter(|seconds| (MIN_LIFETIME..=most).contains(seconds))
                .ok_or_else(|| format!("expected whole seconds from {MIN_LIFETIME} to {most} (tokens.max_ttl)"))
        });
        self.algorithm = fields.read("access_token_signing_alg", |value| {
            let algorithm: Algorithm = parsed(value, str::parse)?;
            if settings.algorithms.contains(&algorithm) {
                Ok(algorithm)
            } else {
                Err("this algorithm is not among keys.algorithms".into())
            }
        });
        self.state = fields
            .read("state", |value| match value.as_str() {
                Some("enabled") => Ok(true),
                Some("disabled") => Ok(false),
                _ => Err("expected enabled or disabled".to_owned()),
            })
            .flatten();
    }

    /// Brings a client to what the body says.
    pub(super) fn apply(&self, client: &mut Client) {
        if let Some(name) = &self.name {
            client.client_name.clone_from(name);
        }
        if let Some(method) = self.auth_method {
            client.auth_method = method;
        }
        if let Some(roles) = &self.roles {
            client.roles.clone_from(roles);
        }
        if let Some(scopes) = &self.admin_scopes {
            client.admin_scopes.clone_from(scopes);
        }
        if let Some(audiences) = &self.audiences {
            client.audiences.clone_from(audiences);
        }
        if let Some(lifetime) = self.lifetime {
            client.access_token_lifetime = lifetime;
        }
        if let Some(algorithm) = self.algorithm {
            client.access_token_signing_alg = algorithm;
        }
        if let Some(enabled) = self.state {
            client.enabled = enabled;
        }
    }
}
