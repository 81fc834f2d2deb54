//! A JSON object read field by field: every problem is collected and named, unknown fields are refused.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::error::{AdminError, FieldError};
use crate::keys::strict_json;

/// How deep a body may be nested.
const MAX_DEPTH: usize = 16;

/// An object being read.
#[derive(Debug)]
pub struct Fields {
    object: Map<String, Value>,
    problems: Vec<FieldError>,
}

impl Fields {
    /// Takes a body.
    ///
    /// # Errors
    /// When it is not a JSON object.
    pub fn parse(body: &[u8]) -> Result<Self, AdminError> {
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            AdminError::field("(body)", format!("not valid JSON, at line {line} column {column}"))
        })?;
        if !value.is_object() {
            return Err(AdminError::field("(body)", "expected a JSON object"));
        }
        match strict_json::parse_object(body, MAX_DEPTH) {
            Some(mut object) => {
                object.values_mut().for_each(whole);
                Ok(Self { object, problems: Vec::new() })
            }
            None => Err(AdminError::field(
                "(body)",
                format!("a member is there twice, or it is nested more than {MAX_DEPTH} levels deep"),
            )),
        }
    }

    /// Notes a problem.
    pub fn problem(&mut self, field: impl Into<String>, detail: impl Into<String>) {
        self.problems.push(FieldError { field: field.into(), detail: detail.into() });
    }

    /// Whether a field is there.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.object.contains_key(field)
    }

    /// Takes a field as it is. Outer `None`: not there. `Some(Null)` stays.
    pub fn take(&mut self, field: &str) -> Option<Value> {
        self.object.remove(field)
    }

    /// Takes a field through a rule. Outer `None`: not there (or wrong, and noted). Inner `None`: null.
    pub fn read<T>(&mut self, field: &str, rule: impl FnOnce(&Value) -> Result<T, String>) -> Option<Option<T>> {
        match self.object.remove(field)? {
            Value::Null => Some(None),
            value => match rule(&value) {
                Ok(read) => Some(Some(read)),
                Err(detail) => {
                    self.problem(field, detail);
                    None
                }
            },
        }
    }

    /// Takes a field that must be there through a rule. `None`: not there or wrong, and noted as the one of the two.
    pub fn require<T>(
        &mut self,
        field: &str,
        missing: &str,
        rule: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let absent = self.object.get(field).is_none_or(Value::is_null);
        let read = self.read(field, rule).flatten();
        if absent {
            self.problem(field, missing);
        }
        read
    }

    /// Takes a list of distinct texts, each through a rule; null is the empty list. `None`: not there, or wrong.
    pub fn read_set<T: Ord>(
        &mut self,
        field: &str,
        most: usize,
        rule: impl Fn(&str) -> Result<T, String>,
    ) -> Option<BTreeSet<T>> {
        let value = self.object.remove(field)?;
        let items = match value {
            Value::Null => Vec::new(),
            Value::Array(items) => items,
            _ => {
                self.problem(field, "expected a list of texts");
                return None;
            }
        };
        if items.len() > most {
            self.problem(field, format!("at most {most} entries"));
            return None;
        }
        let mut out = BTreeSet::new();
        let mut good = true;
        for (n, item) in items.iter().enumerate() {
            let read = item.as_str().ok_or_else(|| "expected a text".to_owned()).and_then(&rule);
            match read {
                Ok(read) => {
                    out.insert(read);
                }
                Err(detail) => {
                    self.problem(format!("{field}[{n}]"), detail);
                    good = false;
                }
            }
        }
        good.then_some(out)
    }

    /// Ends the reading: whatever is left is unknown.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] with every problem found.
    pub fn finish(mut self) -> Result<(), AdminError> {
        let unknown: Vec<String> = self.object.keys().cloned().collect();
        for field in unknown {
            // The name is the caller's own text, bounded by the body's limit; it is shown cut.
            let shown: String = field.chars().take(64).collect();
            self.problem(shown, "unknown field");
        }
        if self.problems.is_empty() { Ok(()) } else { Err(AdminError::Invalid(self.problems)) }
    }
}

/// Some programs write every number with a point: `10.0` is the whole number 10 (RFC 8259 §6 tells no two kinds).
fn whole(value: &mut Value) {
    let float = value.as_f64().filter(|_| value.as_i64().is_none() && value.as_u64().is_none());
    if let Some(float) = float.filter(|float| float.fract() == 0.0 && float.abs() < 1e15)
        && let Ok(number) = format!("{float:.0}").parse::<i64>()
    {
        *value = number.into();
    }
}

/// A text of at most `most` characters without control characters.
///
/// # Errors
/// Says what was expected.
pub fn text(value: &Value, most: usize) -> Result<String, String> {
    match value.as_str() {
        Some(text) if !text.is_empty() && text.chars().count() <= most && !text.chars().any(char::is_control) => {
            Ok(text.to_owned())
        }
        _ => Err(format!("expected a text of 1 to {most} characters without control characters")),
    }
}

/// A text through `parse`.
///
/// # Errors
/// What `parse` says, or that a text was expected.
pub fn parsed<T, E: std::fmt::Display>(value: &Value, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, String> {
    value.as_str().ok_or_else(|| "expected a text".to_owned()).and_then(|text| parse(text).map_err(|e| e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(fields: Fields) -> Vec<(String, String)> {
        match fields.finish() {
            Err(AdminError::Invalid(all)) => all.into_iter().map(|p| (p.field, p.detail)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let mut fields = Fields::parse(br#"{"a": 1, "b": ["x", 2], "extra": true, "c": "fine"}"#).unwrap();
        assert_eq!(fields.read("a", |v| text(v, 5)), None);
        assert_eq!(fields.read_set("b", 5, |t| Ok(t.to_owned())), None);
        assert_eq!(fields.read("c", |v| text(v, 5)), Some(Some("fine".into())));
        assert_eq!(fields.read("d", |v| text(v, 5)), None);
        let names: Vec<_> = problems(fields).into_iter().map(|(field, _)| field).collect();
        assert_eq!(names, ["a", "b[1]", "extra"]);
    }

    #[test]
    fn a_whole_number_may_have_a_point() {
        let mut fields = Fields::parse(br#"{"a": 10.0, "b": 10.5, "c": 1e300, "d": -2.0}"#).unwrap();
        assert_eq!(fields.take("a"), Some(10.into()));
        assert_eq!(fields.take("b"), Some(10.5.into()));
        assert_eq!(fields.take("c"), Some(1e300.into()));
        assert_eq!(fields.take("d"), Some((-2).into()));
    }

    #[test]
    fn null_is_told_from_absent() {
        let mut fields = Fields::parse(br#"{"a": null}"#).unwrap();
        assert_eq!(fields.read("a", |v| text(v, 5)), Some(None));
        assert_eq!(fields.read("b", |v| text(v, 5)), None);
        assert_eq!(fields.finish(), Ok(()));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in ["", "[]", "1", "{", "{\"a\":}", "\u{0}", "{\"a\":1,\"a\":1}", "{\"a\":{\"b\":1,\"b\":2}}"] {
            assert!(Fields::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(Fields::parse(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
        assert!(Fields::parse(nested(MAX_DEPTH).as_bytes()).is_err());
        assert!(Fields::parse(nested(100_000).as_bytes()).is_err());
    }
}
