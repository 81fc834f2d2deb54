//! Changes to a list that an update names by flags: replace it, add to it, take from it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::view;

/// What the flags say about one list.
#[derive(Debug)]
pub(super) struct Change<'a, T> {
    /// The member's name on the wire.
    pub(super) key: &'static str,
    /// Replaces the list, unless empty.
    pub(super) set: &'a [T],
    /// Added to it.
    pub(super) add: &'a [T],
    /// Taken from it.
    pub(super) remove: &'a [T],
}

impl<T: ToString> Change<'_, T> {
    /// Whether the flags say nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// The list as it shall be, given the thing as it is; with what was to be removed and is not there.
    pub(super) fn apply(&self, current: &Value) -> (Value, Vec<String>) {
        let texts = |items: &[T]| items.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut list: BTreeSet<String> =
            if self.set.is_empty() { view::list(current, self.key) } else { texts(self.set) }.into_iter().collect();
        list.extend(texts(self.add));
        let missing = texts(self.remove).into_iter().filter(|item| !list.remove(item)).collect();
        (list.into_iter().collect(), missing)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_replaced_or_changed() {
        let current = json!({ "roles": ["a", "b"] });
        let apply =
            |set: &[&str], add: &[&str], remove: &[&str]| Change { key: "roles", set, add, remove }.apply(&current);
        assert_eq!(apply(&["x"], &[], &[]).0, json!(["x"]));
        assert_eq!(apply(&[], &["c", "a"], &["b"]).0, json!(["a", "c"]));
        assert_eq!(apply(&[], &[], &["z"]), (json!(["a", "b"]), vec!["z".to_owned()]));
        assert!(Change::<&str> { key: "roles", set: &[], add: &[], remove: &[] }.is_empty());
    }
}
