//! Changing the master key while edi serves.

use serde::Serialize;

use super::access::Operator;
use super::error::AdminError;
use super::fields::Fields;
use crate::model::scope::AdminScope;
use crate::oauth::reseal::{self, ResealError, Resealed};
use crate::oauth::service::Service;

/// What it did.
#[derive(Debug, Serialize)]
pub struct MasterKeyView {
    master_key_id: String,
    old_master_key_id: String,
    /// Where the new key is, as the server names it.
    file: String,
    /// Where the old key is kept: backups made before need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_file: Option<String>,
    /// Why the new key is not in its place: it must be put there before the next start.
    #[serde(skip_serializing_if = "Option::is_none")]
    misplaced: Option<String>,
    /// How many private keys were sealed anew.
    keys: usize,
}

/// Makes a new master key and seals everything under it, in one commit.
///
/// # Errors
/// [`AdminError`]; nothing is changed then, unless the outcome is unknown.
pub async fn change(service: &Service, operator: &Operator, body: &[u8]) -> Result<MasterKeyView, AdminError> {
    operator.demand(AdminScope::Admin)?;
    Fields::parse(if body.is_empty() { b"{}" } else { body })?.finish()?;
    let done = reseal::change_master_key(service, &operator.by(service, "")).await?;
    service.settled(done.revision).await?;
    // Nothing that this process could still read is sealed under the old one.
    service.masters.keep_only(&done.master_key_id);
    let Resealed { master_key_id, old_id, file, old_file, misplaced, keys, .. } = done;
    if let Some(why) = &misplaced {
        tracing::warn!(target: "edi::keys", file = %file.display(), %why, "the new master key is not in its place yet");
    }
    Ok(MasterKeyView {
        master_key_id,
        old_master_key_id: old_id,
        file: file.display().to_string(),
        old_file: old_file.map(|file| file.display().to_string()),
        misplaced,
        keys,
    })
}

impl From<ResealError> for AdminError {
    fn from(error: ResealError) -> Self {
        match error {
            ResealError::Store(error) => error.into(),
            ResealError::Same(_) | ResealError::File(_) => Self::Conflict(error.to_string().into()),
            ResealError::Keys(error) => Self::Unavailable { unknown: false, reason: error.to_string() },
        }
    }
}
