//! Why a request was refused, for as long as it is remembered.

use std::net::IpAddr;

use serde::Serialize;

use super::access::Operator;
use super::error::AdminError;
use crate::model::scope::AdminScope;
use crate::model::time::{self, Timestamp};
use crate::oauth::refusals::{Refused, Remembered};
use crate::oauth::service::Service;

/// A refusal as operators see it.
#[derive(Debug, Serialize)]
pub struct RefusalView {
    request_id: String,
    #[serde(with = "time::rfc3339")]
    at: Timestamp,
    status: u16,
    code: &'static str,
    reason: String,
    method: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
}

impl From<Remembered> for RefusalView {
    fn from(Remembered { at, refused }: Remembered) -> Self {
        let Refused { request_id, status, code, reason, method, path, address, client_id, .. } = refused;
        Self {
            request_id: request_id.into(),
            at,
            status,
            code,
            reason: reason.into(),
            method: method.into(),
            path: path.into(),
            address,
            client_id: client_id.map(Into::into),
        }
    }
}

/// The refusal of the request with this id.
///
/// # Errors
/// [`AdminError`].
pub fn show(service: &Service, operator: &Operator, request_id: &str) -> Result<RefusalView, AdminError> {
    operator.demand(AdminScope::Read)?;
    let gone = "no refusal of this request is remembered, or not any more: look for it in the log";
    service.refusals.find(request_id).map(Into::into).ok_or_else(|| AdminError::NotFound(gone.into()))
}
