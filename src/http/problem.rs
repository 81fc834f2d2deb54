//! Refusals of the admin API: `application/problem+json` (RFC 9457).

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::WWW_AUTHENTICATE;
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use super::bearer::BearerRefusal;
use super::error::{refused, retry, status};
use crate::oauth::error::OAuthError;

/// The media type.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// One thing wrong with the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InputError {
    /// Which: a member of the body (`roles[0]`), or a query parameter.
    pub field: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// A refusal; the error type of the admin API's handlers. The request id is added as `instance` on the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: Cow<'static, str>,
    detail: Cow<'static, str>,
    errors: Vec<InputError>,
    bearer: Option<BearerRefusal>,
    reason: Cow<'static, str>,
    retry_after: Option<u32>,
}

impl Problem {
    /// A problem that its status says all about.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self {
            status,
            kind: "about:blank",
            title: Cow::Borrowed(status.canonical_reason().unwrap_or("Error")),
            detail: Cow::Borrowed(""),
            errors: Vec::new(),
            bearer: None,
            reason: Cow::Borrowed(""),
            retry_after: None,
        }
    }

    /// Gives it a `type` (a URI reference that programs may rely on) and the title that belongs to it.
    #[must_use]
    pub fn kind(mut self, kind: &'static str, title: &'static str) -> Self {
        self.kind = kind;
        self.title = Cow::Borrowed(title);
        self
    }

    /// Says what happened this time and what to do about it.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Adds one thing that is wrong with the input.
    #[must_use]
    pub fn error(mut self, field: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(InputError { field: field.into(), detail: detail.into() });
        self
    }

    /// Adds an operator-side reason; never a secret.
    #[must_use]
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Asks the caller to come back after so many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The JSON, with the request id as `instance`.
    #[must_use]
    pub fn body(&self, request_id: Option<&str>) -> String {
        let wire = Wire {
            kind: self.kind,
            title: &self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            instance: request_id.map(|id| format!("urn:edi:request:{id}")),
            errors: &self.errors,
        };
        serde_json::to_string(&wire).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "<[InputError]>::is_empty")]
    errors: &'a [InputError],
}

impl From<BearerRefusal> for Problem {
    fn from(refusal: BearerRefusal) -> Self {
        let detail = refusal.description().to_owned();
        let reason = refusal.reason();
        Self { bearer: Some(refusal.clone()), ..Self::new(refusal.status()).detail(detail).because(reason) }
    }
}

impl From<OAuthError> for Problem {
    fn from(error: OAuthError) -> Self {
        let OAuthError { code, description, reason, retry_after } = error;
        Self { retry_after, ..Self::new(status(code)).detail(description).because(reason) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut builder = HttpResponse::build(self.status);
        if let Some(refusal) = &self.bearer {
            builder.insert_header((WWW_AUTHENTICATE, refusal.challenge()));
        }
        retry(&mut builder, self.retry_after);
        let reason = [&self.reason, &self.detail, &self.title].into_iter().find(|text| !text.is_empty());
        let mut response = refused(builder, reason.cloned().unwrap_or_default(), CONTENT_TYPE, self.body(None));
        if let Some(refusal) = &self.bearer {
            response.extensions_mut().insert(refusal.error_code());
        }
        // `manners` knows the request id and writes the body again with it.
        response.extensions_mut().insert(self.clone());
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_follows_rfc_9457() {
        let problem = Problem::new(StatusCode::BAD_REQUEST)
            .kind("/problems/invalid-input", "The input is not valid")
            .detail("two fields are wrong")
            .error("roles[0]", "a role has 1 to 63 letters");
        let want = serde_json::json!({
            "type": "/problems/invalid-input", "title": "The input is not valid", "status": 400,
            "detail": "two fields are wrong", "instance": "urn:edi:request:r-1",
            "errors": [{"field": "roles[0]", "detail": "a role has 1 to 63 letters"}],
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&problem.body(Some("r-1"))).unwrap(), want);
        let bare = Problem::new(StatusCode::NOT_FOUND).body(None);
        assert_eq!(bare, r#"{"type":"about:blank","title":"Not Found","status":404}"#);
    }

    #[test]
    fn a_refused_bearer_keeps_its_challenge_and_its_reason() {
        let response = Problem::from(BearerRefusal::Token("expired".into())).error_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers().get(WWW_AUTHENTICATE).unwrap().to_str().unwrap().contains("invalid_token"));
        assert_eq!(response.extensions().get(), Some(&super::super::error::Refusal("expired".into())));
    }
}
