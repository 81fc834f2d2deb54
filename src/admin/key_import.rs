//! Taking over a private key that signed elsewhere, so that an issuer can move in unnoticed.
//!
//! Whoever knows a signing key can write any token, an operator's included: this asks for `edi:admin`.

use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::access::Operator;
use super::error::AdminError;
use super::fields::{Fields, parsed};
use super::keys::{KeyView, view};
use crate::keys::import::{self, ImportError};
use crate::model::algorithm::Algorithm;
use crate::model::id::Kid;
use crate::model::keyring::Adoption;
use crate::model::scope::AdminScope;
use crate::model::time::{self, Timestamp};
use crate::oauth::rotation;
use crate::oauth::service::Service;

/// The longest lifetime of tokens that were signed elsewhere: 30 days, in seconds.
const MAX_LIFETIME: u32 = 30 * 24 * 3600;

/// What an import did.
#[derive(Debug, Serialize)]
pub struct ImportView {
    #[serde(flatten)]
    key: KeyView,
    /// The key that signed until now.
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<Kid>,
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    old_trusted_until: Option<Timestamp>,
    /// A key whose planned turn was called off; it is a standby again.
    #[serde(skip_serializing_if = "Option::is_none")]
    called_off: Option<Kid>,
}

impl ImportView {
    /// The id it has here.
    pub(super) const fn kid(&self) -> &Kid {
        &self.key.life.kid
    }
}

/// Imports a private key: sealed at once, and shown to nobody again.
///
/// # Errors
/// [`AdminError`]; none repeats anything of the key.
pub async fn import(service: &Service, operator: &Operator, body: &[u8]) -> Result<ImportView, AdminError> {
    operator.demand(AdminScope::Admin)?;
    let mut fields = Fields::parse(body)?;
    let text = match fields.take("key") {
        Some(Value::String(text)) => Some(Zeroizing::new(text)),
        // A JWK as it is.
        Some(jwk @ Value::Object(_)) => {
            let text = Zeroizing::new(jwk.to_string());
            wipe(jwk);
            Some(text)
        }
        Some(_) => {
            fields.problem("key", "expected PEM as a text, or a JWK");
            None
        }
        None => {
            fields.problem("key", "there is no key to import");
            None
        }
    };
    let kid = fields.read("kid", |value| parsed(value, Kid::parse)).flatten();
    let algorithm = fields.read("algorithm", |value| parsed(value, str::parse::<Algorithm>)).flatten();
    let yes = |value: &Value| value.as_bool().ok_or_else(|| "expected true or false".to_owned());
    let verify_only = fields.read("verify_only", yes).flatten().unwrap_or(false);
    let in_bounds = |value: &Value| {
        let seconds = value.as_u64().and_then(|seconds| u32::try_from(seconds).ok());
        let fits = seconds.filter(|seconds| (1..=MAX_LIFETIME).contains(seconds));
        fits.ok_or_else(|| format!("expected 1 to {MAX_LIFETIME} whole seconds"))
    };
    let lifetime = fields.read("lifetime", in_bounds).flatten().unwrap_or(service.settings.lifetimes.max());
    fields.finish()?;
    let Some(text) = text else { return Err(AdminError::field("key", "there is no key to import")) };
    // Parsing an RSA key and trying it out takes milliseconds.
    let read = tokio::task::spawn_blocking(move || import::read(&text, kid, algorithm)).await;
    let read = read.map_err(|_| AdminError::Unavailable { unknown: false, reason: "reading the key failed".into() })?;
    let key = read.map_err(|refusal| match refusal {
        ImportError::TwoIds | ImportError::Id(_) => AdminError::field("kid", refusal.to_string()),
        ImportError::Algorithm { .. } => AdminError::field("algorithm", refusal.to_string()),
        _ => AdminError::field("key", refusal.to_string()),
    })?;
    let adoption = if verify_only { Adoption::Verifies } else { Adoption::Signs };
    let by = operator.by(service, key.kid.as_str());
    let (done, revision) = rotation::import(service, &key, adoption, lifetime, &by).await?;
    service.settled(revision).await?;
    let gone = || AdminError::Conflict("the key is imported, and was removed at the same moment".into());
    let (old, old_trusted_until) = done.old.unzip();
    Ok(ImportView {
        key: view(service, key.kid.as_str()).ok_or_else(gone)?,
        old,
        old_trusted_until,
        called_off: done.called_off,
    })
}

/// Wipes the texts of a value.
fn wipe(value: Value) {
    match value {
        Value::String(text) => drop(Zeroizing::new(text)),
        Value::Array(items) => items.into_iter().for_each(wipe),
        Value::Object(members) => members.into_iter().for_each(|(_, member)| wipe(member)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
