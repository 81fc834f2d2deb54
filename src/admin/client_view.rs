//! Clients and their secrets as operators see them: everything but what a secret is checked with.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::model::algorithm::Algorithm;
use crate::model::client::{AssertionAudience, AuthMethod, Client, SecretCheck, StoredSecret};
use crate::model::id::{ClientId, SecretId};
use crate::model::scope::{AdminScope, Role};
use crate::model::time::{self, Timestamp};
use crate::secret::Secret;

/// A client as operators see it: everything but what its secrets are checked with.
#[derive(Debug, Serialize)]
pub struct ClientView {
    pub(super) client_id: ClientId,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<String>,
    /// Absent: a secret by Basic or form, as the client likes.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_endpoint_auth_method: Option<AuthMethod>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks: Option<Value>,
    /// Only beside keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    assertion_audience: Option<AssertionAudience>,
    roles: BTreeSet<Role>,
    admin_scopes: BTreeSet<AdminScope>,
    audiences: BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token_lifetime: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token_signing_alg: Option<Algorithm>,
    state: &'static str,
    secrets: Vec<SecretView>,
    #[serde(with = "time::rfc3339")]
    created_at: Timestamp,
    #[serde(with = "time::rfc3339")]
    updated_at: Timestamp,
}

/// A secret as operators see it.
#[derive(Debug, Serialize)]
pub struct SecretView {
    id: SecretId,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// `generated` by edi or `chosen` by someone.
    kind: &'static str,
    #[serde(with = "time::rfc3339")]
    created_at: Timestamp,
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// To the second, and some minutes behind what other processes saw. Absent: never, or not looked up here.
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
}

impl SecretView {
    /// The same with its last use.
    pub(super) fn last_used(self, at: Option<Timestamp>) -> Self {
        Self { last_used_at: at, ..self }
    }
}

impl ClientView {
    /// The same with other views of its secrets.
    pub(super) fn with_secrets(self, secrets: Vec<SecretView>) -> Self {
        Self { secrets, ..self }
    }
}

impl From<&StoredSecret> for SecretView {
    fn from(secret: &StoredSecret) -> Self {
        Self {
            id: secret.id.clone(),
            name: secret.name.clone(),
            kind: match secret.check {
                SecretCheck::Generated(_) => "generated",
                SecretCheck::Chosen(_) => "chosen",
            },
            created_at: secret.created_at,
            expires_at: secret.expires_at,
            last_used_at: None,
        }
    }
}

impl From<Client> for ClientView {
    fn from(client: Client) -> Self {
        Self {
            secrets: client.secrets.iter().map(SecretView::from).collect(),
            client_id: client.client_id,
            client_name: client.client_name,
            token_endpoint_auth_method: Some(client.auth_method).filter(|method| *method != AuthMethod::AnySecret),
            assertion_audience: client.jwks.is_some().then_some(client.assertion_audience),
            jwks: client.jwks,
            roles: client.roles,
            admin_scopes: client.admin_scopes,
            audiences: client.audiences,
            access_token_lifetime: client.access_token_lifetime,
            access_token_signing_alg: client.access_token_signing_alg,
            state: if client.enabled { "enabled" } else { "disabled" },
            created_at: client.created_at,
            updated_at: client.updated_at,
        }
    }
}

/// A view together with a secret that is shown this once.
#[derive(Debug, Serialize)]
pub struct Created<V> {
    #[serde(flatten)]
    pub(super) view: V,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "once")]
    pub(super) client_secret: Option<Secret>,
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn once<S: serde::Serializer>(secret: &Option<Secret>, to: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => to.serialize_str(secret.expose()),
        None => to.serialize_none(),
    }
}
