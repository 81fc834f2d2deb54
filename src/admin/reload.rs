//! Taking in what the configuration says now, as far as that is possible while edi serves.
//!
//! Knows that there are settings and that somebody can take them in; not which, nor from where.

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;

use super::access::Operator;
use super::error::{AdminError, FieldError};
use super::fields::Fields;
use crate::audit::Differences;
use crate::model::scope::AdminScope;
use crate::oauth::service::Service;
use crate::store::collections::{By, audit};
use crate::store::tx::{Tx, TxError};

/// A setting that differs from what was in force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// Its key, such as `tokens.ttl`.
    pub key: String,
    /// What was in force.
    pub from: Value,
    /// What the configuration says now.
    pub to: Value,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// In force from now on.
    pub applied: Vec<Setting>,
    /// Said by the configuration, and in force after the next start.
    pub needs_restart: Vec<Setting>,
    /// Whether the certificates on disk had changed and were taken in.
    pub certificates_taken_in: bool,
}

/// Why nothing was taken in.
#[derive(Debug)]
pub enum ReloadError {
    /// The configuration has problems, by key.
    Invalid(Vec<FieldError>),
    /// What must be on disk before it comes into force could not be written.
    Store(TxError),
}

/// Who can do it.
#[async_trait]
pub trait Reload: Send + Sync + 'static {
    /// Reads the configuration anew and takes in what can change. All of it is judged before any of it is in force.
    ///
    /// # Errors
    /// [`ReloadError`]; everything is as it was.
    async fn reload(&self) -> Result<Report, ReloadError>;
}

/// Reloads for an operator.
///
/// # Errors
/// [`AdminError`]; problems of the configuration by their keys.
pub async fn reload(
    service: &Service,
    operator: &Operator,
    live: &dyn Reload,
    body: &[u8],
) -> Result<Report, AdminError> {
    operator.demand(AdminScope::Admin)?;
    Fields::parse(if body.is_empty() { b"{}" } else { body })?.finish()?;
    let report = live.reload().await.map_err(|error| match error {
        ReloadError::Invalid(problems) => AdminError::Invalid(problems),
        ReloadError::Store(error) => error.into(),
    })?;
    tell(service, &operator.by(service, "configuration"), &report).await;
    Ok(report)
}

/// Writes down what came into force. It is so already: a store that takes no writes does not undo it.
pub async fn tell(service: &Service, by: &By, report: &Report) {
    if report.applied.is_empty() {
        return;
    }
    let mut changes = Differences::default();
    report.applied.iter().for_each(|setting| changes.field(&setting.key));
    let written = async {
        let mut tx = Tx::new(&*service.store);
        let audited = audit::record(&mut tx, &service.ambient, by, changes)?;
        tx.commit(audited).await
    };
    if let Err(error) = written.await {
        tracing::warn!(target: "edi::audit", actor = %by.actor, %error, "a reload that the trail does not hold");
    }
}
