//! Refusals of a protected resource: the challenges of RFC 6750 §3.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};

use super::error::{clean, oauth_body, refused};
use super::traffic::ErrorCode;

/// The challenge when nothing was presented: no error code (RFC 6750 §3.1).
pub const CHALLENGE: &str = r#"Bearer realm="edi""#;

/// Why a bearer was refused. An answer of its own, and what [`super::problem::Problem`] takes its challenge from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BearerRefusal {
    /// Nothing was presented: 401 without an error code.
    Missing,
    /// The request is malformed: 400 `invalid_request`.
    Request(Cow<'static, str>),
    /// Malformed, expired, revoked, for another audience: 401 `invalid_token`, one face for all; the text is for the
    /// log alone.
    Token(Cow<'static, str>),
    /// A good token without the right: 403 `insufficient_scope`.
    Scope {
        /// The scope that would do; `None` when there is none to name.
        wanted: Option<String>,
        /// For the log alone.
        reason: Cow<'static, str>,
    },
}

impl BearerRefusal {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Missing | Self::Token(_) => StatusCode::UNAUTHORIZED,
            Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::Scope { .. } => StatusCode::FORBIDDEN,
        }
    }

    /// The `WWW-Authenticate` value.
    #[must_use]
    pub fn challenge(&self) -> HeaderValue {
        let Some(code) = self.code() else { return HeaderValue::from_static(CHALLENGE) };
        let scope = match self {
            Self::Scope { wanted: Some(scope), .. } => format!(r#", scope="{}""#, clean(scope)),
            _ => String::new(),
        };
        let description = clean(self.description());
        let value = format!(r#"{CHALLENGE}, error="{code}", error_description="{description}"{scope}"#);
        HeaderValue::from_str(&value).unwrap_or_else(|_| HeaderValue::from_static(CHALLENGE))
    }

    /// What the caller is told.
    #[must_use]
    pub fn description(&self) -> &str {
        match self {
            Self::Missing => "present a bearer token in the Authorization header",
            Self::Request(description) => description,
            Self::Token(_) => "the token is not valid here",
            Self::Scope { .. } => "the token does not carry the scope that is needed",
        }
    }

    /// What the operator is told.
    #[must_use]
    pub fn reason(&self) -> Cow<'static, str> {
        match self {
            Self::Missing => Cow::Borrowed("no bearer token"),
            Self::Request(reason) | Self::Token(reason) | Self::Scope { reason, .. } => reason.clone(),
        }
    }

    /// For the figures.
    pub(super) fn error_code(&self) -> ErrorCode {
        ErrorCode(self.code().unwrap_or("no_token"))
    }

    fn code(&self) -> Option<&'static str> {
        match self {
            Self::Missing => None,
            Self::Request(_) => Some("invalid_request"),
            Self::Token(_) => Some("invalid_token"),
            Self::Scope { .. } => Some("insufficient_scope"),
        }
    }
}

impl fmt::Display for BearerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

impl ResponseError for BearerRefusal {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut builder = HttpResponse::build(self.status());
        builder.insert_header((WWW_AUTHENTICATE, self.challenge()));
        // Without credentials there is no error to name in the challenge; the body still helps whoever reads it.
        let body = oauth_body(self.code().unwrap_or("unauthorized"), self.description());
        let mut response = refused(builder, self.reason(), "application/json", body);
        response.extensions_mut().insert(self.error_code());
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_follow_rfc_6750() {
        for (refusal, status, challenge) in [
            (BearerRefusal::Missing, 401, r#"Bearer realm="edi""#),
            (
                BearerRefusal::Token("expired".into()),
                401,
                r#"Bearer realm="edi", error="invalid_token", error_description="the token is not valid here""#,
            ),
            (
                BearerRefusal::Request("role is repeated".into()),
                400,
                r#"Bearer realm="edi", error="invalid_request", error_description="role is repeated""#,
            ),
            (
                BearerRefusal::Scope { wanted: Some("fraud\"\r\n".into()), reason: "role".into() },
                403,
                "Bearer realm=\"edi\", error=\"insufficient_scope\", error_description=\"the token does not carry the \
                 scope that is needed\", scope=\"fraud'??\"",
            ),
        ] {
            let response = refusal.error_response();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers().get(WWW_AUTHENTICATE).unwrap(), challenge);
        }
    }
}
