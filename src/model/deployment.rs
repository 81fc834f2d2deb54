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

/// How many hosts one deployment may name.
pub const MAX_HOSTS: usize = 32;
/// How many path prefixes one deployment may name.
pub const MAX_PATHS: usize = 32;

/// Reads a host: exact, or with one leading wildcard label; brought to lower case. No port.
///
/// # Errors
/// Says the grammar in words.
pub fn parse_host(text: &str) -> Result<String, &'static str> {
    let host = text.to_ascii_lowercase();
    let name = host.strip_prefix("*.").unwrap_or(&host);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() <= 253 && name.split('.').all(label) {
        Ok(host)
    } else {
        Err("a host is a DNS name without port, exact or with one leading wildcard label (*.models.example.com)")
    }
}

/// Reads a path prefix: starts with `/`, whole segments, nothing that a proxy could read in two ways.
///
/// # Errors
/// Says the grammar in words.
pub fn parse_path(text: &str) -> Result<String, &'static str> {
    let segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|b| b.is_ascii_graphic() && !b"\\;%?#\"<>^`{|}".contains(&b))
    };
    let Some(rest) = text.strip_prefix('/') else { return Err("a path prefix starts with /") };
    let whole = rest.strip_suffix('/').unwrap_or(rest);
    if text.len() <= 1024 && (whole.is_empty() && rest.is_empty() || whole.split('/').all(segment)) {
        Ok(text.to_owned())
    } else {
        Err(
            "a path prefix has whole segments of printable ASCII without \\ ; % ? # \" < > ^ ` { | } and no empty or dot segments",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_exact_or_have_one_leading_wildcard_label() {
        for (text, host) in [
            ("a", "a"),
            ("Models.Example.com", "models.example.com"),
            ("*.m.example", "*.m.example"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(parse_host(text).as_deref(), Ok(host));
        }
        for bad in ["", "*", "*.", "a.*.b", "*.*.a", "a..b", ".a", "a.", "a:80", "a/b", "-a", "a-", "ä.example", "a b"]
        {
            assert!(parse_host(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn path_prefixes_have_one_reading() {
        for good in ["/", "/a", "/a/", "/model/fraud/", "/a.b/c_d/~e/@f:1"] {
            assert_eq!(parse_path(good).as_deref(), Ok(good));
        }
        for bad in [
            "", "a", "//", "/a//b", "/./a", "/a/..", "/a;b", "/a\\b", "/a%2fb", "/a?b", "/a#b", "/ä", "/a b", "/a{b}",
            "/a|b", "/a`",
        ] {
            assert!(parse_path(bad).is_err(), "{bad:?}");
        }
    }
}
