//! A registered service and what it may ask for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::algorithm::Algorithm;
use super::id::{ClientId, SecretId};
use super::scope::{AdminScope, Role};
use super::time::Timestamp;

/// How a client proves itself (RFC 7591 §2 `token_endpoint_auth_method`). The secret family and the key family never
/// mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub enum AuthMethod {
    /// A secret, by HTTP Basic or in the form, as the client likes.
    #[default]
    #[serde(rename = "client_secret")]
    AnySecret,
    /// A secret, by HTTP Basic alone.
    #[serde(rename = "client_secret_basic")]
    SecretBasic,
    /// A secret, in the form alone.
    #[serde(rename = "client_secret_post")]
    SecretPost,
    /// A signed assertion (RFC 7523), checked with the client's registered keys.
    #[serde(rename = "private_key_jwt")]
    PrivateKeyJwt,
}

impl AuthMethod {
    /// Whether the client may have secrets at all.
    #[must_use]
    pub const fn uses_secrets(self) -> bool {
        !matches!(self, Self::PrivateKeyJwt)
    }
}

/// What `aud` of a client's assertions must be (RFC 7523 §3 item 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum AssertionAudience {
    /// The issuer identifier alone.
    #[default]
    Issuer,
    /// The token endpoint's URL instead, at every endpoint: what older libraries send.
    TokenEndpoint,
}

/// How many secrets may be live at once.
pub const MAX_SECRETS: usize = 2;
/// How many roles one client may hold.
pub const MAX_ROLES: usize = 256;
/// How many audiences one client may name.
pub const MAX_AUDIENCES: usize = 32;
/// The longest `client_name`, in characters.
pub const MAX_NAME: usize = 200;

/// What is kept of one secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSecret {
    /// Names the secret; for one that edi made it is part of the secret itself.
    pub id: SecretId,
    /// What the operator calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How it is checked.
    pub check: SecretCheck,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// What a presented secret is compared with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretCheck {
    /// HMAC-SHA-256 of the whole secret, base64url: edi made it, 256 bits of it are random.
    #[serde(rename = "hmac")]
    Generated(String),
    /// An argon2id hash in PHC form: a person chose it, or it came from another system.
    #[serde(rename = "phc")]
    Chosen(String),
}

impl StoredSecret {
    /// Whether it still works at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

impl std::fmt::Debug for StoredSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredSecret").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A registered client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its id, also the `sub` of its tokens.
    pub client_id: ClientId,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// How it proves itself.
    #[serde(default)]
    pub auth_method: AuthMethod,
    /// Its secrets; expired ones may linger until the next change.
    #[serde(default)]
    pub secrets: Vec<StoredSecret>,
    /// Its public keys, for [`AuthMethod::PrivateKeyJwt`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<serde_json::Value>,
    /// What its assertions are addressed to, for [`AuthMethod::PrivateKeyJwt`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub assertion_audience: AssertionAudience,
    /// The roles it was granted.
    #[serde(default)]
    pub roles: BTreeSet<Role>,
    /// The rights over edi it was granted.
    #[serde(default)]
    pub admin_scopes: BTreeSet<AdminScope>,
    /// Audiences it may name in `resource` beside those its roles' deployments bring along.
    #[serde(default)]
    pub audiences: BTreeSet<String>,
    /// Lifetime of its tokens in seconds; the configured default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token_lifetime: Option<u32>,
    /// The algorithm its tokens are signed with; the first configured one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token_signing_alg: Option<Algorithm>,
    /// Whether it may authenticate.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn enabled() -> bool {
    true
}

impl Client {
    /// An enabled client that holds nothing and cannot prove itself yet.
    #[must_use]
    pub fn new(client_id: ClientId, now: Timestamp) -> Self {
        Self {
            client_id,
            client_name: None,
            auth_method: AuthMethod::default(),
            secrets: Vec::new(),
            jwks: None,
            assertion_audience: AssertionAudience::default(),
            roles: BTreeSet::new(),
            admin_scopes: BTreeSet::new(),
            audiences: BTreeSet::new(),
            access_token_lifetime: None,
            access_token_signing_alg: None,
            enabled: true,
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether it was granted `wanted`, directly or through `edi:admin`.
    #[must_use]
    pub fn holds(&self, wanted: AdminScope) -> bool {
        self.admin_scopes.iter().any(|held| held.includes(wanted))
    }

    /// Its secrets that still work at `now`.
    pub fn live_secrets(&self, now: Timestamp) -> impl Iterator<Item = &StoredSecret> {
        self.secrets.iter().filter(move |secret| secret.is_live(now))
    }
}
