//! What the body of a create or of a merge patch says about a client.

use std::collections::BTreeSet;

use serde_json::Value;

use super::error::AdminError;
use super::fields::{Fields, parsed, text};
use crate::keys::client_keys;
use crate::model::algorithm::Algorithm;
use crate::model::client::{AssertionAudience, AuthMethod, Client, MAX_AUDIENCES, MAX_NAME, MAX_ROLES};
use crate::model::deployment::is_audience;
use crate::model::scope::{AdminScope, Role};
use crate::model::time::Timestamp;
use crate::oauth::service::Service;

/// The shortest lifetime a client may ask for, in seconds.
const MIN_LIFETIME: u32 = 10;

/// What a body says about a client; outer `None`: nothing.
#[derive(Debug, Default)]
#[expect(clippy::option_option, reason = "a merge patch tells absent from null (RFC 7396)")]
pub(super) struct Draft {
    name: Option<Option<String>>,
    auth_method: Option<AuthMethod>,
    jwks: Option<Option<Value>>,
    assertion_audience: Option<AssertionAudience>,
    /// The body says that no secret shall be left.
    no_secrets: bool,
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
                Some("private_key_jwt") => Ok(AuthMethod::PrivateKeyJwt),
                _ => Err("expected client_secret_basic, client_secret_post or private_key_jwt".to_owned()),
            })
            .map(Option::unwrap_or_default);
        self.read_keys(fields);
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
            let most = settings.lifetimes.max();
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

    fn read_keys(&mut self, fields: &mut Fields) {
        self.jwks = match fields.take("jwks") {
            None => None,
            Some(Value::Null) => Some(None),
            Some(given) => match client_keys::register(&given) {
                Ok(registration) => Some(Some(registration.jwks)),
                Err(error) => {
                    let field = error.index.map_or_else(|| "jwks".to_owned(), |index| format!("jwks.keys[{index}]"));
                    fields.problem(field, error.to_string());
                    None
                }
            },
        };
        self.assertion_audience = fields
            .read("assertion_audience", |value| match value.as_str() {
                Some("issuer") => Ok(AssertionAudience::Issuer),
                Some("token_endpoint") => Ok(AssertionAudience::TokenEndpoint),
                _ => Err("expected issuer or token_endpoint".to_owned()),
            })
            .map(Option::unwrap_or_default);
        let emptied = fields.read("secrets", |value| match value.as_array() {
            Some(list) if list.is_empty() => Ok(()),
            _ => Err("only the empty list, which removes them all; secrets are made at …/secrets".to_owned()),
        });
        self.no_secrets = emptied.is_some();
    }

    /// Whether the body makes it a client of `private_key_jwt`.
    pub(super) fn is_for_keys(&self) -> bool {
        self.auth_method == Some(AuthMethod::PrivateKeyJwt)
    }

    /// A client has secrets or keys, never both (design §4): what the body made of it is one or the other, and nothing is
    /// thrown away that the body does not name.
    pub(super) fn judge_family(&self, client: &Client, now: Timestamp) -> Result<(), AdminError> {
        if client.auth_method.uses_secrets() {
            if client.jwks.is_some() {
                let detail = "keys go with token_endpoint_auth_method private_key_jwt; null takes them away";
                return Err(AdminError::field("jwks", detail));
            }
            if client.assertion_audience != AssertionAudience::default() {
                let detail = "only a client of private_key_jwt signs assertions; null takes it away";
                return Err(AdminError::field("assertion_audience", detail));
            }
            if self.no_secrets {
                let detail = "they are all removed only beside token_endpoint_auth_method private_key_jwt";
                return Err(AdminError::field("secrets", detail));
            }
            return Ok(());
        }
        if client.jwks.is_none() {
            let detail = "a client of private_key_jwt has its public keys here: {\"keys\": [ … ]}";
            return Err(AdminError::field("jwks", detail));
        }
        if client.live_secrets(now).next().is_some() {
            let detail = "a client of private_key_jwt has no secrets; remove them first, or say \"secrets\": []";
            return Err(AdminError::Conflict(detail.into()));
        }
        Ok(())
    }

    /// Brings a client to what the body says.
    pub(super) fn apply(&self, client: &mut Client) {
        if let Some(name) = &self.name {
            client.client_name.clone_from(name);
        }
        if let Some(method) = self.auth_method {
            client.auth_method = method;
        }
        if let Some(jwks) = &self.jwks {
            client.jwks.clone_from(jwks);
        }
        if let Some(audience) = self.assertion_audience {
            client.assertion_audience = audience;
        }
        if self.no_secrets {
            client.secrets.clear();
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
