//! The role of what is registered without one: a plain role, or a template that names each deployment's own.

use std::fmt;
use std::str::FromStr;

use super::id::DeploymentId;
use super::scope::{InvalidRole, Role};

/// What stands for the deployment's id in a template.
pub const PLACEHOLDER: &str = "{id}";

/// The role of deployments and clients that are created without one.
///
/// A template such as `role-{id}` gives each deployment a role of its own, and no client any: a client has no
/// deployment whose id could be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefaultRole {
    /// The same role for all.
    Plain(Role),
    /// A role with [`PLACEHOLDER`] in it.
    Template(Box<str>),
}

/// Why a text is no default role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDefaultRole {
    /// Neither a role nor a template of one.
    #[error(transparent)]
    Role(#[from] InvalidRole),
    /// A brace that belongs to no placeholder.
    #[error("the one placeholder is {{id}}, for the deployment's id, as in role-{{id}}")]
    Placeholder,
}

impl DefaultRole {
    /// The role of a client created without roles: the plain one, none from a template.
    #[must_use]
    pub const fn for_client(&self) -> Option<&Role> {
        match self {
            Self::Plain(role) => Some(role),
            Self::Template(_) => None,
        }
    }

    /// The role of a deployment created without one.
    ///
    /// # Errors
    /// When this id makes no role of the template: too long, or at an end where a role has a letter or digit.
    pub fn for_deployment(&self, id: &DeploymentId) -> Result<Role, InvalidRole> {
        match self {
            Self::Plain(role) => Ok(role.clone()),
            Self::Template(text) => Role::parse(&text.replace(PLACEHOLDER, id.as_str())),
        }
    }
}

impl FromStr for DefaultRole {
    type Err = InvalidDefaultRole;

    /// Reads a role, or a text that is one once an id of a single letter stands for `{id}`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let filled = text.replace(PLACEHOLDER, "x");
        if filled.contains(['{', '}']) {
            return Err(InvalidDefaultRole::Placeholder);
        }
        let role = Role::parse(&filled)?;
        Ok(if filled == text { Self::Plain(role) } else { Self::Template(text.into()) })
    }
}

impl fmt::Display for DefaultRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(role) => role.fmt(f),
            Self::Template(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn deployment(template: &str, id: &str) -> Result<String, InvalidRole> {
        let role = template.parse::<DefaultRole>().unwrap().for_deployment(&DeploymentId::parse(id).unwrap());
        role.map(|role| role.to_string())
    }

    #[test]
    fn a_template_names_each_deployments_own_role() {
        for (template, id, role) in [
            ("default", "fraud", "default"),
            ("role-{id}", "fraud", "role-fraud"),
            ("{id}", "fraud", "fraud"),
            ("{id}.{id}", "a", "a.a"),
            ("m-{id}-user", "v1.2_x", "m-v1.2_x-user"),
        ] {
            assert_eq!(deployment(template, id).as_deref(), Ok(role), "{template} {id}");
        }
    }

    #[test]
    fn an_id_that_makes_no_role_is_refused() {
        for (template, id, why) in [
            ("role-{id}", "fraud-", InvalidRole::Grammar),
            ("role-{id}", &*"x".repeat(59), InvalidRole::Grammar),
            ("{id}", "openid", InvalidRole::Reserved),
        ] {
            assert_eq!(deployment(template, id), Err(why), "{template} {id}");
        }
    }

    #[test]
    fn only_a_plain_role_is_a_clients() {
        let client = |text: &str| text.parse::<DefaultRole>().unwrap().for_client().map(ToString::to_string);
        assert_eq!(client("default").as_deref(), Some("default"));
        assert_eq!(client("role-{id}"), None);
        assert_eq!(client("{id}x"), None);
    }

    #[test]
    fn what_is_neither_is_refused() {
        for (text, why) in [
            ("", InvalidDefaultRole::Role(InvalidRole::Grammar)),
            ("-{id}", InvalidDefaultRole::Role(InvalidRole::Grammar)),
            ("role:{id}", InvalidDefaultRole::Role(InvalidRole::Grammar)),
            ("openid", InvalidDefaultRole::Role(InvalidRole::Reserved)),
            ("role-{name}", InvalidDefaultRole::Placeholder),
            ("role-{id", InvalidDefaultRole::Placeholder),
            ("{{id}}", InvalidDefaultRole::Placeholder),
        ] {
            assert_eq!(text.parse::<DefaultRole>(), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_again(text in "[-A-Za-z0-9_.{}id]{0,20}") {
            if let Ok(read) = text.parse::<DefaultRole>() {
                prop_assert_eq!(read.to_string(), text);
            }
        }
    }
}
