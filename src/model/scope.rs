//! Roles and admin scopes, and the grammar of a `scope` parameter (RFC 6749 §3.3, Appendix A.4).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names that OpenID Connect gives to scopes; no role may be called so, and requests that carry them mean nothing by
/// it (OIDC Core §5.4, §11).
pub const OIDC_SCOPES: [&str; 7] = ["openid", "profile", "email", "address", "phone", "groups", "offline_access"];

/// A model deployment access role name: a Kubernetes label value, not one of [`OIDC_SCOPES`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Role(Box<str>);

/// Why a text is no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRole {
    /// Not a Kubernetes label value.
    #[error(
        "a role has 1 to 63 letters, digits, hyphens, underscores and dots, and starts and ends with a letter or digit"
    )]
    Grammar,
    /// One of [`OIDC_SCOPES`].
    #[error("a role cannot be named like one of OpenID Connect's scopes (openid, profile, email, groups, …)")]
    Reserved,
}

impl Role {
    /// Checks the grammar `[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?` and the reserved names.
    ///
    /// # Errors
    /// [`InvalidRole`] says which rule is broken.
    pub fn parse(text: &str) -> Result<Self, InvalidRole> {
        let bytes = text.as_bytes();
        let ends = [bytes.first(), bytes.last()].iter().all(|b| b.is_some_and(u8::is_ascii_alphanumeric));
        if !ends
            || bytes.len() > 63
            || !bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        {
            Err(InvalidRole::Grammar)
        } else if OIDC_SCOPES.contains(&text) {
            Err(InvalidRole::Reserved)
        } else {
            Ok(Self(text.into()))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Role {
    type Error = InvalidRole;
    fn try_from(text: String) -> Result<Self, InvalidRole> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for Role {
    type Err = InvalidRole;
    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        Self::parse(text)
    }
}

impl From<Role> for String {
    fn from(role: Role) -> Self {
        role.0.into()
    }
}

impl std::borrow::Borrow<str> for Role {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A right over edi itself. Starts with `edi:`, which no role can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AdminScope {
    /// Everything below.
    Admin,
    /// Look at anything but secrets.
    Read,
    /// Register and change clients.
    Clients,
    /// Register and change deployments.
    Deployments,
    /// Rotate and revoke signing keys.
    Keys,
    /// Revoke tokens.
    Revocations,
    /// Read the audit trail.
    Audit,
    /// Introspect tokens of other clients.
    Introspect,
    /// Have tokens issued for any role through Legion's API.
    Issue,
}

impl AdminScope {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Admin,
        Self::Read,
        Self::Clients,
        Self::Deployments,
        Self::Keys,
        Self::Revocations,
        Self::Audit,
        Self::Introspect,
        Self::Issue,
    ];

    /// The scope on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "edi:admin",
            Self::Read => "edi:read",
            Self::Clients => "edi:clients",
            Self::Deployments => "edi:deployments",
            Self::Keys => "edi:keys",
            Self::Revocations => "edi:revocations",
            Self::Audit => "edi:audit",
            Self::Introspect => "edi:introspect",
            Self::Issue => "edi:issue",
        }
    }

    /// What it is for, in words.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Admin => "everything: includes all others",
            Self::Read => "look at anything but secrets",
            Self::Clients => "register and change clients",
            Self::Deployments => "register and change deployments",
            Self::Keys => "rotate and revoke signing keys",
            Self::Revocations => "revoke tokens",
            Self::Audit => "read the audit trail",
            Self::Introspect => "introspect tokens of other clients",
            Self::Issue => "have tokens issued for any role through Legion's API",
        }
    }

    /// Whether holding `self` means holding `wanted`: itself, or anything for `edi:admin`.
    #[must_use]
    pub fn includes(self, wanted: Self) -> bool {
        self == wanted || self == Self::Admin
    }
}

impl fmt::Display for AdminScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for AdminScope {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|scope| scope.name() == text).ok_or(
            "an admin scope is one of edi:admin, edi:read, edi:clients, edi:deployments, edi:keys, edi:revocations, \
             edi:audit, edi:introspect, edi:issue",
        )
    }
}

impl TryFrom<String> for AdminScope {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AdminScope> for String {
    fn from(scope: AdminScope) -> Self {
        scope.name().into()
    }
}

/// Splits a `scope` parameter into its names: `scope-token *( SP scope-token )`, RFC 6749 Appendix A.4. Nothing is
/// folded or trimmed; a name may be one that nobody holds.
///
/// # Errors
/// When the text does not follow the grammar.
pub fn split_scope(text: &str) -> Result<Vec<&str>, InvalidScope> {
    let token_byte = |b: u8| b == 0x21 || (0x23..=0x5b).contains(&b) || (0x5d..=0x7e).contains(&b);
    let names: Vec<&str> = text.split(' ').collect();
    if names.iter().all(|name| !name.is_empty() && name.bytes().all(token_byte)) {
        Ok(names)
    } else {
        Err(InvalidScope)
    }
}

/// A `scope` parameter that does not follow RFC 6749 Appendix A.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("scope is a list of names with single spaces between them")]
pub struct InvalidScope;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn roles_are_kubernetes_label_values_and_no_oidc_names() {
        for good in ["a", "A1", "fraud-scoring", "x_y.z", &"r".repeat(63)] {
            assert!(Role::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", ".a", "a.", "a b", "edi:admin", "ä", "a/b", &"r".repeat(64)] {
            assert_eq!(Role::parse(bad), Err(InvalidRole::Grammar), "{bad:?}");
        }
        for reserved in OIDC_SCOPES {
            assert_eq!(Role::parse(reserved), Err(InvalidRole::Reserved));
        }
    }

    #[test]
    fn admin_includes_every_scope_and_no_other_scope_does() {
        for held in AdminScope::ALL {
            for wanted in AdminScope::ALL {
                assert_eq!(held.includes(wanted), held == wanted || held == AdminScope::Admin);
            }
            assert_eq!(held.name().parse(), Ok(held));
            assert!(Role::parse(held.name()).is_err());
        }
    }

    #[test]
    fn scope_follows_appendix_a_4() {
        assert_eq!(split_scope("a b edi:read"), Ok(vec!["a", "b", "edi:read"]));
        for bad in ["", " ", "a ", " a", "a  b", "a\tb", "a\nb", "a\"b", "a\\b", "ä", "a\u{7f}"] {
            assert_eq!(split_scope(bad), Err(InvalidScope), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn splitting_loses_nothing(text in "\\PC{0,64}") {
            if let Ok(names) = split_scope(&text) {
                prop_assert_eq!(names.join(" "), text);
            }
        }

        #[test]
        fn every_role_is_a_scope_name(text in "[-A-Za-z0-9_.:]{0,70}") {
            if Role::parse(&text).is_ok() {
                prop_assert_eq!(split_scope(&text), Ok(vec![text.as_str()]));
            }
        }
    }
}
