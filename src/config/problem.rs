//! What is wrong with a configuration, said so that it can be mended: the key, the value, where it came from, why.

use std::fmt;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origin {
    /// Nobody set it.
    #[default]
    Default,
    /// This file.
    File(String),
    /// An `EDI__…` variable.
    Environment,
    /// A flag of the command.
    Flag,
}

/// One problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key with its section, such as `listen.public`.
    pub key: String,
    /// The refused value, unless it was none or may be a secret.
    pub value: Option<String>,
    /// Why it is refused: a sentence that says what would be accepted.
    pub reason: String,
    /// Where the value came from.
    pub origin: Origin,
}

impl Problem {
    /// A problem with `value` at `key`. The value is left out when it may be a secret.
    #[must_use]
    pub fn new(key: &str, value: impl Into<String>, reason: impl Into<String>) -> Self {
        let value = value.into();
        Self {
            key: key.into(),
            value: (!may_be_secret(key, &value)).then_some(value),
            reason: reason.into(),
            origin: Origin::Default,
        }
    }

    /// A problem with the key itself, or with a source as a whole.
    #[must_use]
    pub fn of_key(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), value: None, reason: reason.into(), origin: Origin::Default }
    }

    /// The same with its origin.
    #[must_use]
    pub fn from_origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value:?}")?;
        }
        match &self.origin {
            Origin::Default => {}
            Origin::File(path) => write!(f, " in {path}")?,
            Origin::Environment => write!(f, " from {}", variable(&self.key))?,
            Origin::Flag => f.write_str(" from a flag")?,
        }
        write!(f, ": {}", self.reason)
    }
}

/// The environment variable that sets `key`.
pub(super) fn variable(key: &str) -> String {
    format!("EDI__{}", key.to_uppercase().replace('.', "__"))
}

/// No key of edi's holds a secret; people paste them anyway, into URLs above all.
fn may_be_secret(key: &str, value: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key);
    ["secret", "password", "passphrase", "credential"].iter().any(|word| name.contains(word))
        || value.contains('@')
        || value.starts_with("edi_")
        || value.contains("-----BEGIN")
}

/// The known name that `wrong` most looks like, if any is close.
pub(super) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    known
        .map(|key| {
            let whole = strsim::damerau_levenshtein(wrong, key);
            // The right name in the wrong section is closer than any misspelling.
            let tail = strsim::damerau_levenshtein(&last(wrong), &last(key)) + 1;
            (whole.min(tail), key)
        })
        .min_by_key(|(distance, key)| (*distance, strsim::damerau_levenshtein(wrong, key)))
        .filter(|(distance, key)| *distance <= 3.min(1 + last(key).len() / 3))
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_may_be_secrets_are_not_shown() {
        for (key, value) in [
            ("issuer", "https://user:hunter2@example.com"),
            ("tokens.audience", "edi_ab12_hunter2"),
            ("keys.master_key_file", "-----BEGIN PRIVATE KEY-----hunter2"),
            ("store.password", "hunter2"),
        ] {
            let text = Problem::new(key, value, "no").to_string();
            assert!(!text.contains("hunter2"), "{text}");
            assert!(text.starts_with(key));
        }
    }

    #[test]
    fn a_misspelt_or_misplaced_key_finds_its_neighbour() {
        let known = ["issuer", "listen.public", "listen.admin", "tokens.ttl", "tokens.max_ttl", "log.level"];
        for (wrong, right) in [
            ("tokens.tll", Some("tokens.ttl")),
            ("token.ttl", Some("tokens.ttl")),
            ("isuer", Some("issuer")),
            ("listen.level", Some("log.level")),
            ("public", Some("listen.public")),
            ("database.host", None),
            ("x", None),
        ] {
            assert_eq!(nearest(wrong, known.into_iter()), right, "{wrong}");
        }
    }
}
