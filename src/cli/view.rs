//! Reads the admin API's answers for people. Lenient: what is missing shows as nothing, what is new is not lost.

use serde_json::Value;

/// `item[key]` in words: a list with commas, nothing for null.
pub(super) fn text(item: &Value, key: &str) -> String {
    item.get(key).map(words).unwrap_or_default()
}

/// A value in words.
pub(super) fn words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(", "),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        other => other.to_string(),
    }
}

/// The texts of the list `item[key]`.
pub(super) fn list(item: &Value, key: &str) -> Vec<String> {
    let texts = item.get(key).and_then(Value::as_array).into_iter().flatten();
    texts.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

/// Seconds in words.
pub(super) fn seconds(item: &Value, key: &str) -> String {
    item.get(key)
        .and_then(Value::as_u64)
        .map(|secs| crate::config::span(std::time::Duration::from_secs(secs)))
        .unwrap_or_default()
}
