//! The query of an admin request: each parameter once, and only those that the operation takes.

use crate::admin::error::{AdminError, FieldError};
use crate::http::form;

/// The parameters as they were sent, decoded.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query. An empty parameter counts as omitted. An unknown one is refused: ignoring a misspelt filter would
    /// answer with everything.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] naming every parameter that is wrong.
    pub(super) fn parse(text: &str, taken: &[&str]) -> Result<Self, AdminError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut problems = Vec::new();
        let mut problem = |name: &str, detail: String| {
            problems.push(FieldError { field: name.chars().take(64).collect(), detail });
        };
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Ok(name), Ok(value)) = (form::decode(name.as_bytes()), form::decode(value.as_bytes())) else {
                problem("(query)", "it is not percent-encoded UTF-8".into());
                continue;
            };
            if !taken.contains(&name.as_str()) {
                let takes = if taken.is_empty() { "none".to_owned() } else { taken.join(", ") };
                problem(&name, format!("unknown query parameter; taken here: {takes}"));
            } else if pairs.iter().any(|(held, _)| *held == name) {
                problem(&name, "given twice".into());
            } else {
                pairs.push((name, value));
            }
        }
        if problems.is_empty() { Ok(Self(pairs)) } else { Err(AdminError::Invalid(problems)) }
    }

    /// A parameter's value, unless it is absent or empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_strictly() {
        let query = Query::parse("limit=5&cursor=&kind=a%2Db", &["limit", "cursor", "kind"]).unwrap();
        assert_eq!((query.get("limit"), query.get("cursor"), query.get("kind")), (Some("5"), None, Some("a-b")));
        for (text, field) in
            [("limt=5", "limt"), ("limit=1&limit=2", "limit"), ("limit=&limit=2", "limit"), ("%ff=1", "(query)")]
        {
            let Err(AdminError::Invalid(problems)) = Query::parse(text, &["limit"]) else { panic!("{text}") };
            assert_eq!(problems[0].field, field);
        }
        assert!(Query::parse("", &[]).is_ok());
    }
}
