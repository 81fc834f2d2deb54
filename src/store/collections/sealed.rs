//! All that is sealed under the master key, changed as one: the rings' private keys and the keys behind client secrets.

use super::clients::ChangeError;
use super::installation::{self, Installation, Sealed};
use super::{By, audit, keyrings};
use crate::ambient::Ambient;
use crate::audit::Differences;
use crate::model::algorithm::Algorithm;
use crate::model::keyring::Ring;
use crate::store::tx::{Retry, Tx, TxError};
use crate::store::{Key, Revision, Store, StoreError};

/// All that is sealed.
#[derive(Debug, Clone)]
pub struct SealedState {
    /// The id of the master key it is sealed under.
    pub master_key_id: String,
    /// The rings, with their private keys.
    pub rings: Vec<Ring>,
    /// The keys behind client secrets.
    pub secret_keys: String,
}

/// Seals everything anew in one commit, on condition that none of it has changed: `rule` turns what is there into the same
/// under another master key. It may run several times.
///
/// # Errors
/// [`ChangeError`]: the rule's refusal, or the store's.
pub async fn change<R>(
    store: &dyn Store,
    ambient: &Ambient,
    by: &By,
    mut rule: impl FnMut(&mut SealedState) -> Result<(), R>,
) -> Result<Revision, ChangeError<R>> {
    let mut retry = Retry::new(ambient);
    let (at, secrets_at) = (installation::key(), installation::secret_keys_key());
    loop {
        let mut tx = Tx::new(store);
        let (mut installation, _) = tx.get::<Installation>(&at).await?.ok_or_else(|| missing(&at))?;
        let (sealed, _) = tx.get::<Sealed>(&secrets_at).await?.ok_or_else(|| missing(&secrets_at))?;
        let old = installation.master_key_id;
        let mut state = SealedState { master_key_id: old.clone(), rings: Vec::new(), secret_keys: sealed.sealed };
        for algorithm in Algorithm::ALL {
            // Absent ones are read too: a ring that is added meanwhile makes the commit fail.
            state.rings.extend(tx.get::<Ring>(&keyrings::key(algorithm)).await?.map(|(ring, _)| ring));
        }
        rule(&mut state).map_err(ChangeError::Refused)?;
        for ring in &state.rings {
            tx.put(&keyrings::key(ring.algorithm), ring, None)?;
        }
        tx.put(&secrets_at, &Sealed { sealed: state.secret_keys }, None)?;
        let mut by = by.clone();
        by.target.clone_from(&state.master_key_id);
        let mut told = Differences::default();
        told.ids("master_key_id", [&state.master_key_id], [&old]);
        installation.master_key_id = state.master_key_id;
        tx.put(&at, &installation, None)?;
        let audited = audit::record(&mut tx, ambient, &by, told)?;
        match tx.commit(audited).await {
            Ok(revision) => return Ok(revision),
            Err(error) => retry.after(error).await?,
        }
    }
}

fn missing(what: &Key) -> TxError {
    StoreError::Corrupt { key: what.to_string(), what: "the record is missing".into() }.into()
}
