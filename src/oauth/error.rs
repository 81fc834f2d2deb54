//! The one table from a refusal to the wire (RFC 6749 §5.2, RFC 8707 §2). `http` adds headers, nothing else decides.

use std::borrow::Cow;

use crate::store::tx::TxError;
use crate::store::{CommitError, StoreError};

/// An OAuth error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Malformed, a missing or repeated parameter (RFC 6749 §5.2).
    InvalidRequest,
    /// Client authentication failed (RFC 6749 §5.2).
    InvalidClient,
    /// The client may not use this grant (RFC 6749 §5.2).
    UnauthorizedClient,
    /// A grant type edi does not offer (RFC 6749 §5.2).
    UnsupportedGrantType,
    /// An unknown, malformed or ungranted scope (RFC 6749 §5.2).
    InvalidScope,
    /// An unknown or ungranted `resource` (RFC 8707 §2).
    InvalidTarget,
    /// Try again later; not the client's fault.
    TemporarilyUnavailable,
    /// Too many failed attempts.
    SlowDown,
    /// A fault of edi's own.
    ServerError,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::InvalidRequest,
        Self::InvalidClient,
        Self::UnauthorizedClient,
        Self::UnsupportedGrantType,
        Self::InvalidScope,
        Self::InvalidTarget,
        Self::TemporarilyUnavailable,
        Self::SlowDown,
        Self::ServerError,
    ];

    /// The `error` value and the HTTP status.
    #[must_use]
    pub const fn wire(self) -> (&'static str, u16) {
        match self {
            Self::InvalidRequest => ("invalid_request", 400),
            Self::InvalidClient => ("invalid_client", 401),
            Self::UnauthorizedClient => ("unauthorized_client", 400),
            Self::UnsupportedGrantType => ("unsupported_grant_type", 400),
            Self::InvalidScope => ("invalid_scope", 400),
            Self::InvalidTarget => ("invalid_target", 400),
            Self::TemporarilyUnavailable => ("temporarily_unavailable", 503),
            Self::SlowDown => ("slow_down", 429),
            Self::ServerError => ("server_error", 500),
        }
    }
}

/// A refusal: what the client is told, and what the operator's log says besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthError {
    /// The code, which fixes the status.
    pub code: Code,
    /// `error_description`: helps the honest caller, never echoes input, RFC 6749's characters only.
    pub description: Cow<'static, str>,
    /// The operator-side reason, for the log line; never a secret. Same as the description when empty.
    pub reason: Cow<'static, str>,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u32>,
}

impl OAuthError {
    /// A refusal whose reason is no secret from the client.
    #[must_use]
    pub fn new(code: Code, description: impl Into<Cow<'static, str>>) -> Self {
        Self { code, description: description.into(), reason: Cow::Borrowed(""), retry_after: None }
    }

    /// The same with an operator-side reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = reason.into();
        self
    }

    /// `invalid_request` with a description.
    #[must_use]
    pub fn invalid_request(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, description)
    }

    /// `invalid_client`: one face for every cause; only the log learns which.
    #[must_use]
    pub fn invalid_client(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidClient, "client authentication failed").because(reason)
    }

    /// 503 with `Retry-After`.
    #[must_use]
    pub fn unavailable(retry_after: u32, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: Code::TemporarilyUnavailable,
            description: Cow::Borrowed("try again shortly"),
            reason: reason.into(),
            retry_after: Some(retry_after),
        }
    }
}

impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        Self::unavailable(1, error.to_string())
    }
}

impl From<TxError> for OAuthError {
    fn from(error: TxError) -> Self {
        Self::unavailable(1, error.to_string())
    }
}

impl From<CommitError> for OAuthError {
    fn from(error: CommitError) -> Self {
        Self::unavailable(1, error.to_string())
    }
}
