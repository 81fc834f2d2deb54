//! Why an operator's request was refused, before it becomes RFC 9457 problem details.

use std::borrow::Cow;

use serde::Serialize;

use crate::model::scope::AdminScope;
use crate::oauth::error::OAuthError;
use crate::oauth::service::Unsettled;
use crate::store::collections::clients::ChangeError;
use crate::store::tx::TxError;
use crate::store::{CommitError, StoreError};

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Its name, e.g. `roles[1]`.
    pub field: String,
    /// What is wrong with it, in words.
    pub detail: String,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminError {
    /// No bearer, or one that does not count; the flag says whether one was presented (RFC 6750 §3.1).
    Unauthorized {
        /// Whether a credential was presented.
        presented: bool,
        /// For the log.
        reason: Cow<'static, str>,
    },
    /// The bearer's scope does not reach.
    Forbidden {
        /// The scope that would.
        scope: AdminScope,
        /// What for.
        detail: Cow<'static, str>,
    },
    /// No such thing.
    NotFound(Cow<'static, str>),
    /// It clashes with what is there.
    Conflict(Cow<'static, str>),
    /// It is no longer the version that the caller named.
    Changed,
    /// The body or query is wrong, field by field.
    Invalid(Vec<FieldError>),
    /// The store's disk has no room for it; in words.
    Full(String),
    /// Try again later; the flag says whether the change may have happened.
    Unavailable {
        /// Whether the outcome is unknown.
        unknown: bool,
        /// For the log.
        reason: String,
    },
}

impl AdminError {
    /// One wrong field.
    #[must_use]
    pub fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError { field: field.into(), detail: detail.into() }])
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable { unknown: false, reason: error.to_string() }
    }
}

impl From<TxError> for AdminError {
    fn from(error: TxError) -> Self {
        if let TxError::Commit(CommitError::Full(why)) = error {
            return Self::Full(why);
        }
        Self::Unavailable {
            unknown: matches!(error, TxError::Commit(CommitError::Unknown(_))),
            reason: error.to_string(),
        }
    }
}

impl From<OAuthError> for AdminError {
    fn from(error: OAuthError) -> Self {
        Self::Unavailable { unknown: false, reason: error.reason.into_owned() }
    }
}

impl From<Unsettled> for AdminError {
    fn from(unsettled: Unsettled) -> Self {
        Self::Unavailable { unknown: true, reason: unsettled.to_string() }
    }
}

impl<R: Into<AdminError>> From<ChangeError<R>> for AdminError {
    fn from(error: ChangeError<R>) -> Self {
        match error {
            ChangeError::Exists => Self::Conflict("one with this id exists already".into()),
            ChangeError::NotFound => Self::NotFound("there is none with this id".into()),
            ChangeError::LastAdmin => Self::Conflict(
                "the last client with edi:admin cannot be disabled, deleted or stripped; give edi:admin to another first"
                    .into(),
            ),
            ChangeError::Refused(refusal) => refusal.into(),
            ChangeError::Store(error) => error.into(),
        }
    }
}

impl From<std::convert::Infallible> for AdminError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
