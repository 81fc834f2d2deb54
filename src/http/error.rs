//! Refusals of the OAuth endpoints (RFC 6749 §5.2) and of Legion's API as HTTP answers.
//!
//! The codes and their statuses come from [`crate::oauth::error`]; this adds headers. The operator-side reason travels
//! to the access log as a [`Refusal`] in the answer's extensions and never to the client.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;

use super::bearer::BearerRefusal;
use super::traffic::ErrorCode;
use crate::oauth::error::{Code, OAuthError};

/// The challenge of every `invalid_client` (RFC 6749 §5.2, RFC 7617 §2.1).
pub const BASIC_CHALLENGE: &str = r#"Basic realm="edi", charset="UTF-8""#;

/// The operator-side reason of a refusal, in an answer's extensions. Never a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub Cow<'static, str>);

/// An [`OAuthError`] on its way to the wire; the error type of the OAuth endpoints' handlers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthHttpError {
    error: OAuthError,
    status: Option<StatusCode>,
}

impl OAuthHttpError {
    /// The error under another status than its code's, for what is HTTP's alone (408, 413, 415).
    #[must_use]
    pub fn with_status(error: OAuthError, status: StatusCode) -> Self {
        Self { error, status: Some(status) }
    }

    /// What is refused and why.
    #[must_use]
    pub fn error(&self) -> &OAuthError {
        &self.error
    }
}

impl From<OAuthError> for OAuthHttpError {
    fn from(error: OAuthError) -> Self {
        Self { error, status: None }
    }
}

impl fmt::Display for OAuthHttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error.code.wire().0, self.error.description)
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    error_description: Cow<'a, str>,
}

/// The JSON of RFC 6749 §5.2.
#[must_use]
pub fn oauth_body(error: &str, description: &str) -> String {
    serde_json::to_string(&Body { error, error_description: clean(description) }).unwrap_or_default()
}

/// Leaves only what RFC 6749 §5.2 allows in a description: %x20-21 / %x23-5B / %x5D-7E.
#[must_use]
pub fn clean(description: &str) -> Cow<'_, str> {
    let fits = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
    if description.chars().all(fits) {
        return Cow::Borrowed(description);
    }
    let replace = |c| match c {
        fine if fits(fine) => fine,
        '"' => '\'',
        '\\' => '/',
        _ => '?',
    };
    Cow::Owned(description.chars().map(replace).collect())
}

impl ResponseError for OAuthHttpError {
    fn status_code(&self) -> StatusCode {
        self.status.unwrap_or_else(|| status(self.error.code))
    }

    fn error_response(&self) -> HttpResponse {
        let OAuthError { code, description, reason, retry_after } = &self.error;
        let mut builder = HttpResponse::build(self.status_code());
        // RFC 6749 §5.1 asks for both.
        builder.insert_header((CACHE_CONTROL, "no-store")).insert_header((PRAGMA, "no-cache"));
        if *code == Code::InvalidClient {
            builder.insert_header((WWW_AUTHENTICATE, BASIC_CHALLENGE));
        }
        retry(&mut builder, *retry_after);
        let reason = if reason.is_empty() { description } else { reason };
        let body = oauth_body(code.wire().0, description);
        let mut response = refused(builder, reason.clone(), "application/json", body);
        response.extensions_mut().insert(ErrorCode(code.wire().0));
        response
    }
}

/// The status of a code.
#[must_use]
pub fn status(code: Code) -> StatusCode {
    StatusCode::from_u16(code.wire().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Finishes a refusal: its body, and the reason for the log.
pub(super) fn refused(
    mut builder: HttpResponseBuilder,
    reason: Cow<'static, str>,
    content_type: &'static str,
    body: String,
) -> HttpResponse {
    let mut response = builder.insert_header((CONTENT_TYPE, HeaderValue::from_static(content_type))).body(body);
    response.extensions_mut().insert(Refusal(reason));
    response
}

/// Adds `Retry-After`.
pub(super) fn retry(builder: &mut HttpResponseBuilder, seconds: Option<u32>) {
    if let Some(seconds) = seconds {
        builder.insert_header((RETRY_AFTER, seconds));
    }
}

/// A refusal of Legion's API: `{"message": …}`. A 401 carries both challenges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegionError {
    status: StatusCode,
    message: Cow<'static, str>,
    reason: Cow<'static, str>,
    retry_after: Option<u32>,
    /// Whether a Bearer was presented and refused: its challenge says so then (RFC 6750 §3.1).
    bearer: bool,
}

impl LegionError {
    /// A refusal whose message is all there is to say.
    #[must_use]
    pub fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), reason: Cow::Borrowed(""), retry_after: None, bearer: false }
    }

    /// 401 for a Bearer that does not count; the cause is for the log.
    #[must_use]
    pub fn invalid_token(reason: impl Into<Cow<'static, str>>) -> Self {
        let refused = Self::new(StatusCode::UNAUTHORIZED, "the token is not valid here").because(reason);
        Self { bearer: true, ..refused }
    }

    /// The same with an operator-side reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = reason.into();
        self
    }
}

impl From<OAuthError> for LegionError {
    fn from(error: OAuthError) -> Self {
        let OAuthError { code, description, reason, retry_after } = error;
        Self { status: status(code), message: description, reason, retry_after, bearer: false }
    }
}

impl fmt::Display for LegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The JSON of Legion's API.
#[must_use]
pub fn legion_body(message: &str) -> String {
    serde_json::json!({ "message": message }).to_string()
}

impl ResponseError for LegionError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut builder = HttpResponse::build(self.status);
        if self.status == StatusCode::UNAUTHORIZED {
            builder.append_header((WWW_AUTHENTICATE, BASIC_CHALLENGE));
            let refusal = if self.bearer { BearerRefusal::Token(Cow::Borrowed("")) } else { BearerRefusal::Missing };
            builder.append_header((WWW_AUTHENTICATE, refusal.challenge()));
        }
        retry(&mut builder, self.retry_after);
        let reason = if self.reason.is_empty() { &self.message } else { &self.reason };
        refused(builder, reason.clone(), "application/json", legion_body(&self.message))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::MessageBody as _;

    use super::*;

    fn header<'a>(response: &'a HttpResponse, name: &str) -> Option<&'a str> {
        response.headers().get(name).map(|value| value.to_str().unwrap())
    }

    fn text(response: HttpResponse) -> String {
        String::from_utf8(response.into_body().try_into_bytes().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn every_code_has_its_status_and_only_invalid_client_a_challenge() {
        for code in Code::ALL {
            let response = OAuthHttpError::from(OAuthError::new(code, "d")).error_response();
            assert_eq!(response.status().as_u16(), code.wire().1);
            assert_eq!(header(&response, "cache-control"), Some("no-store"));
            assert_eq!(header(&response, "pragma"), Some("no-cache"));
            let challenge = (code == Code::InvalidClient).then_some(r#"Basic realm="edi", charset="UTF-8""#);
            assert_eq!(header(&response, "www-authenticate"), challenge);
            let want = format!(r#"{{"error":"{}","error_description":"d"}}"#, code.wire().0);
            assert_eq!(text(response), want);
        }
    }

    #[test]
    fn the_reason_reaches_the_log_and_not_the_client() {
        let response = OAuthHttpError::from(OAuthError::unavailable(3, "the disk is full")).error_response();
        assert_eq!(header(&response, "retry-after"), Some("3"));
        assert_eq!(response.extensions().get::<Refusal>(), Some(&Refusal("the disk is full".into())));
        assert!(!text(response).contains("disk"));
        let response = OAuthHttpError::from(OAuthError::invalid_request("no scope")).error_response();
        assert_eq!(response.extensions().get::<Refusal>(), Some(&Refusal("no scope".into())));
    }

    #[test]
    fn descriptions_keep_to_the_characters_of_rfc_6749() {
        assert_eq!(clean("plain text!"), "plain text!");
        assert_eq!(clean("say \"x\" \\ é\n"), "say 'x' / ??");
    }

    #[test]
    fn legion_has_messages_and_both_challenges() {
        let response = LegionError::from(OAuthError::invalid_client("wrong secret")).error_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers().get_all("www-authenticate").count(), 2);
        assert_eq!(text(response), r#"{"message":"client authentication failed"}"#);
    }
}
