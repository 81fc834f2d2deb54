//! The version of what an operator looked at: a change made on condition of it undoes nobody else's (RFC 9110 §13.1.1).

use super::error::AdminError;
use crate::store::Revision;

/// Something with its version.
#[derive(Debug)]
pub struct At<V> {
    /// What it is.
    pub view: V,
    /// The revision it was written at.
    pub revision: Revision,
}

impl<V> At<V> {
    /// Its entity tag, quotes included.
    #[must_use]
    pub fn tag(&self) -> String {
        tag(self.revision)
    }
}

fn tag(revision: Revision) -> String {
    format!("\"{revision}\"")
}

/// The `If-Match` of a request, if there was one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IfMatch(pub Option<String>);

impl IfMatch {
    /// Demands that one of the tags is the version that is there. Weak tags never match.
    ///
    /// # Errors
    /// [`AdminError::Changed`].
    pub fn demand(&self, there: Revision) -> Result<(), AdminError> {
        let Some(tags) = &self.0 else { return Ok(()) };
        let there = tag(there);
        let holds = tags.split(',').map(str::trim).any(|given| given == "*" || given == there);
        if holds { Ok(()) } else { Err(AdminError::Changed) }
    }
}

/// The conditions of a request that makes a thing or replaces it (RFC 9110 §13.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// `If-Match`.
    pub only: IfMatch,
    /// `If-None-Match`: the tags that must not be there, `*` for any.
    pub none: Option<String>,
}

impl Condition {
    /// Demands both of the version that is there, or of nothing.
    ///
    /// # Errors
    /// [`AdminError::Changed`].
    pub fn demand(&self, there: Option<Revision>) -> Result<(), AdminError> {
        let Some(there) = there else {
            return if self.only.0.is_some() { Err(AdminError::Changed) } else { Ok(()) };
        };
        self.only.demand(there)?;
        let there = tag(there);
        let mut none = self.none.iter().flat_map(|tags| tags.split(',')).map(str::trim);
        let named = none.any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == there);
        if named { Err(AdminError::Changed) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_be_there_is_not() {
        for (only, none, there, holds) in [
            (None, None, None, true),
            (None, Some("*"), None, true),
            (None, Some("*"), Some(7), false),
            (None, Some("\"7\""), Some(7), false),
            (None, Some("\"6\", W/\"7\""), Some(7), false),
            (None, Some("\"6\""), Some(7), true),
            (Some("*"), None, None, false),
            (Some("*"), None, Some(7), true),
            (Some("\"6\""), None, Some(7), false),
        ] {
            let text = |it: Option<&str>| it.map(ToOwned::to_owned);
            let condition = Condition { only: IfMatch(text(only)), none: text(none) };
            assert_eq!(condition.demand(there.map(Revision)).is_ok(), holds, "{only:?} {none:?} {there:?}");
        }
    }

    #[test]
    fn a_condition_holds_for_the_version_it_names_alone() {
        for (given, holds) in [
            (None, true),
            (Some("\"7\""), true),
            (Some("*"), true),
            (Some("\"6\", \"7\""), true),
            (Some("\"6\""), false),
            (Some("7"), false),
            (Some("W/\"7\""), false),
            (Some("\"77\""), false),
            (Some(""), false),
        ] {
            let condition = IfMatch(given.map(ToOwned::to_owned));
            let outcome = condition.demand(Revision(7));
            assert_eq!(outcome, if holds { Ok(()) } else { Err(AdminError::Changed) }, "{given:?}");
        }
    }
}
