//! How edi is doing, on one page.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::access::Operator;
use super::error::AdminError;
use super::keys::{KeyView, views};
use crate::model::scope::AdminScope;
use crate::model::time::{self, Timestamp};
use crate::oauth::service::Service;
use crate::store::Health;

/// The page.
#[derive(Debug, Serialize)]
pub struct Status {
    version: &'static str,
    issuer: String,
    /// The audience of deployments that name none.
    audience: String,
    #[serde(with = "time::rfc3339")]
    started_at: Timestamp,
    #[serde(with = "time::rfc3339")]
    now: Timestamp,
    store: StoreStatus,
    keys: Vec<KeyView>,
    deployments: usize,
    revocations: usize,
    tokens_issued: u64,
    attention: Vec<String>,
}

#[derive(Debug, Serialize)]
struct StoreStatus {
    health: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// Milliseconds since the mirrors last heard of the store.
    silence_ms: u64,
}

/// The page as of now.
///
/// # Errors
/// [`AdminError`].
pub fn show(service: &Service, operator: &Operator) -> Result<Status, AdminError> {
    operator.demand(AdminScope::Read)?;
    let (health, problem) = match service.store.health() {
        Health::Writable => ("ok", None),
        Health::ReadOnly(why) => ("read-only", Some(why)),
        Health::Down(why) => ("down", Some(why)),
    };
    let mut attention: Vec<String> = problem.iter().map(|why| format!("the store takes no writes: {why}")).collect();
    if service.is_stale() {
        attention.push("the mirrors have not heard of the store for more than 5 s".into());
    }
    Ok(Status {
        version: env!("CARGO_PKG_VERSION"),
        issuer: service.settings.issuer.clone(),
        audience: service.settings.audience.clone(),
        started_at: service.started_at,
        now: service.now(),
        store: StoreStatus {
            health,
            problem,
            silence_ms: u64::try_from(service.silence().as_millis()).unwrap_or(u64::MAX),
        },
        keys: views(service),
        deployments: service.deployments.read().len(),
        revocations: service.revocations.read().len(),
        tokens_issued: service.issued.load(Ordering::Relaxed),
        attention,
    })
}
