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

#[cfg(test)]
mod tests {
    use super::*;

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
