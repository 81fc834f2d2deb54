//! A deployed model: the role that may call it and where it answers.

use serde::{Deserialize, Serialize};

use super::id::DeploymentId;
use super::scope::Role;
use super::time::Timestamp;

/// A deployed model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// The role a caller needs.
    pub role: Role,
    /// Hosts it answers on: exact, or with one leading wildcard label (`*.models.example.com`). Lower case, no port.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Path prefixes it answers on, matched on whole segments.
    #[serde(default)]
    pub paths: Vec<String>,
    /// The audience its callers' tokens carry; the configured default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The longest audience, in bytes.
pub const MAX_AUDIENCE: usize = 512;

/// Whether `text` may be an audience: 1 to [`MAX_AUDIENCE`] printable ASCII characters without space, `"` and `\`, and
/// no fragment (RFC 8707 §2).
#[must_use]
pub fn is_audience(text: &str) -> bool {
    (1..=MAX_AUDIENCE).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'#'))
}
