//! What a change changed: names of fields, and ids that came and went. A value is told only where it is named as
//! harmless; anything else, a field of a later version included, is told by its name alone.

use std::collections::BTreeSet;
use std::fmt::Display;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most ids that one list tells, and the most characters of one id. More are counted.
const MAX_TOLD: usize = 64;
const MAX_CHARS: usize = 256;

/// What became different of one field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Its name.
    pub field: String,
    /// What it holds now and did not before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// What it held before and does not now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// How many more there are of either, beside the ones named.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What became different altogether, field by field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Differences(pub Vec<Difference>);

impl Differences {
    /// Whether nothing did.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells that a field changed, without saying how.
    pub fn field(&mut self, name: &str) {
        self.ids(name, std::iter::empty::<&str>(), std::iter::empty::<&str>());
    }

    /// Tells which ids a field gained and lost. They are safe to show, or they have no place here.
    pub fn ids<A: Display, R: Display>(
        &mut self,
        name: &str,
        added: impl IntoIterator<Item = A>,
        removed: impl IntoIterator<Item = R>,
    ) {
        let mut difference = Difference { field: name.to_owned(), ..Difference::default() };
        let short = |text: String| text.chars().take(MAX_CHARS).collect::<String>();
        for (index, id) in added.into_iter().enumerate() {
            if index < MAX_TOLD { difference.added.push(short(id.to_string())) } else { difference.more += 1 }
        }
        for (index, id) in removed.into_iter().enumerate() {
            if index < MAX_TOLD { difference.removed.push(short(id.to_string())) } else { difference.more += 1 }
        }
        self.0.push(difference);
    }

    /// The same, unless nothing came and nothing went.
    pub fn ids_if_any<T: Display>(&mut self, name: &str, added: &[T], removed: &[T]) {
        if !added.is_empty() || !removed.is_empty() {
            self.ids(name, added, removed);
        }
    }

    /// Compares two records by their JSON, field by field. Of the fields `told` the values are told: of a list what came
    /// and went, else the old one and the new one. Of all others the name. Those in `silent` are left out.
    pub fn of_records<T: Serialize>(before: Option<&T>, after: Option<&T>, told: &[&str], silent: &[&str]) -> Self {
        let json = |record: Option<&T>| record.and_then(|record| serde_json::to_value(record).ok());
        let (before, after) = (json(before), json(after));
        let names: BTreeSet<&String> =
            [&before, &after].into_iter().flatten().filter_map(Value::as_object).flat_map(|map| map.keys()).collect();
        let mut out = Self::default();
        for name in names.into_iter().filter(|name| !silent.contains(&name.as_str())) {
            let of = |record: &Option<Value>| record.as_ref().and_then(|map| map.get(name)).cloned();
            let (old, new) = (of(&before), of(&after));
            let empty = |value: &Option<Value>| match value {
                None | Some(Value::Null) => true,
                Some(Value::Array(items)) => items.is_empty(),
                Some(_) => false,
            };
            if old == new || (empty(&old) && empty(&new)) {
                continue;
            }
            if told.contains(&name.as_str()) {
                let (old, new) = (texts(old), texts(new));
                out.ids(name, new.difference(&old), old.difference(&new));
            } else {
                out.field(name);
            }
        }
        out
    }
}

/// The texts in a value: those of a list, or its own.
fn texts(value: Option<Value>) -> BTreeSet<String> {
    let text = |value: Value| match value {
        Value::String(text) => Some(text),
        Value::Null => None,
        other => Some(other.to_string()),
    };
    match value {
        Some(Value::Array(items)) => items.into_iter().filter_map(text).collect(),
        other => other.and_then(text).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_told_only_of_the_fields_named_harmless() {
        let before = json!({ "id": "a", "roles": ["x", "y"], "hash": "hunter2", "ttl": 5, "at": 1, "none": null });
        let after = json!({ "id": "a", "roles": ["y", "z"], "hash": "hunter3", "ttl": 9, "at": 2, "tags": [] });
        let found = Differences::of_records(Some(&before), Some(&after), &["roles", "ttl"], &["at"]);
        let want = json!([
            { "field": "hash" },
            { "field": "roles", "added": ["z"], "removed": ["x"] },
            { "field": "ttl", "added": ["9"], "removed": ["5"] },
        ]);
        assert_eq!(serde_json::to_value(&found).unwrap(), want);
        assert!(Differences::of_records(Some(&before), Some(&before), &[], &[]).is_empty());
        let made = Differences::of_records(None, Some(&after), &["roles"], &[]);
        assert_eq!(made.0.iter().map(|it| it.field.as_str()).collect::<Vec<_>>(), ["at", "hash", "id", "roles", "ttl"]);
    }

    #[test]
    fn a_long_list_is_cut_and_says_by_how_much() {
        let mut found = Differences::default();
        found.ids("hosts", (0..100).map(|n| format!("{n}{}", "x".repeat(1000))), std::iter::once("old"));
        let told = &found.0[0];
        assert_eq!((told.added.len(), told.removed.len(), told.more), (64, 1, 36));
        assert!(serde_json::to_vec(&found).unwrap().len() < 20_000);
    }
}
