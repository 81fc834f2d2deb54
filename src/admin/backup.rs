//! Backing up as an operator: all there is, so it takes `edi:admin`.

use std::sync::Arc;

use super::access::Operator;
use super::error::AdminError;
use crate::audit::Differences;
use crate::model::scope::AdminScope;
use crate::oauth::service::Service;
use crate::store::StoreError;
use crate::store::backup::{Backup, Header};
use crate::store::collections::{audit, installation};
use crate::store::tx::{Tx, TxError};

/// Begins a backup; whoever takes its pieces makes it.
///
/// # Errors
/// [`AdminError`].
pub async fn begin(service: &Service, operator: &Operator) -> Result<Backup, AdminError> {
    operator.demand(AdminScope::Admin)?;
    let Some(found) = installation::find(&*service.store).await? else {
        let key = installation::key().to_string();
        return Err(StoreError::Corrupt { key, what: "the record is missing".into() }.into());
    };
    let header = Header {
        edi: env!("CARGO_PKG_VERSION").into(),
        created_at: service.now(),
        issuer: service.settings.issuer.clone(),
        installation: found.id,
        master_key_id: found.master_key_id,
    };
    // First, so that the backup tells of itself. A store that takes no writes wants a backup more than any.
    if let Err(error) = tell(service, operator, &header.installation).await {
        tracing::warn!(target: "edi::audit", actor = %operator.client_id, %error, "a backup that the trail does not hold");
    }
    Ok(Backup::begin(Arc::clone(&service.store), &header).await?)
}

async fn tell(service: &Service, operator: &Operator, installation: &str) -> Result<(), TxError> {
    let mut tx = Tx::new(&*service.store);
    let by = operator.by(service, installation);
    let audited = audit::record(&mut tx, &service.ambient, &by, Differences::default())?;
    tx.commit(audited).await.map(drop)
}
