//! Changing the master key while edi serves: everything sealed is sealed anew in one commit, which also names the new key
//! in the installation record. The store is readable at every moment, and whatever breaks off leaves something that starts.
//!
//! 1. The new key is on disk, synced, under a temporary name, and in memory.
//! 2. One commit, on condition that nothing sealed has changed since it was read. Whoever stores a new signing key at the
//!    same moment fails that condition, or meets it here, and seals again under the key that is named then.
//! 3. The file takes its place; the old one is kept beside it.
//!
//! Before 2 the old key counts and the temporary file is discarded by the next start; after 2 the new one counts, and the
//! next start finds it wherever it is.

use std::path::PathBuf;
use std::sync::Arc;

use super::service::Service;
use crate::keys::KeyError;
use crate::keys::master::MasterKeyError;
use crate::keys::masters::{self, Successor};
use crate::store::collections::clients::ChangeError;
use crate::store::collections::{By, installation, sealed};
use crate::store::tx::TxError;
use crate::store::{CommitError, Revision};

/// Why the master key did not change.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// The new key could not be written, or the provided one not be read.
    #[error(transparent)]
    File(#[from] MasterKeyError),
    /// Something sealed does not open.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The key that waits is the one in use.
    #[error("the key that waits in {} is the one in use", .0.display())]
    Same(PathBuf),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] TxError),
}

/// What a change of the master key did.
#[derive(Debug, Clone)]
pub struct Resealed {
    /// The id of the new master key.
    pub master_key_id: String,
    /// The id of the old one.
    pub old_id: String,
    /// Where the new key is.
    pub file: PathBuf,
    /// Where the old key is kept; `None` where it stays in its place.
    pub old_file: Option<PathBuf>,
    /// Why the new key is not in its place yet: somebody has to put it there.
    pub misplaced: Option<String>,
    /// How many private keys were sealed anew.
    pub keys: usize,
    /// The commit.
    pub revision: Revision,
}

/// Changes the master key.
///
/// # Errors
/// [`ResealError`]. After an outcome that is unknown both keys stay at hand, and the next start finds out.
pub async fn change_master_key(service: &Service, by: &By) -> Result<Resealed, ResealError> {
    let _one_at_a_time = service.resealing.lock().await;
    let counts = installation::find(&*service.store).await.map_err(TxError::from)?;
    let counts = counts.map(|found| found.master_key_id).unwrap_or_default();
    let (held, entropy) = (Arc::clone(&service.masters), Arc::clone(&service.ambient.entropy));
    let made = tokio::task::spawn_blocking(move || {
        // One that counts already, and waits since an outcome that was unknown, comes first.
        masters::settle(held.file(), &counts)?;
        held.successor(&*entropy)
    });
    let successor = made.await.map_err(|_| KeyError::Generation)??;
    let new_id = successor.key.id().to_string();
    // Before the commit: what reads the store meets sealed values of both keys.
    service.masters.hold(Arc::clone(&successor.key));
    let done = reseal(service, &successor, by).await;
    let (revision, old_id, keys) = match done {
        Ok(done) => done,
        Err(error) => {
            if !matches!(error, ResealError::Store(TxError::Commit(CommitError::Unknown(_)))) {
                service.masters.give_up(&successor);
            }
            return Err(error);
        }
    };
    let (held, waiting_at) = (Arc::clone(&service.masters), successor.waiting_at.clone());
    let placed = tokio::task::spawn_blocking(move || masters::take_place(held.file(), &waiting_at)).await;
    let (file, old_file, misplaced) = match placed {
        Ok(Ok(old_file)) => (service.masters.file().to_owned(), old_file, None),
        Ok(Err(error)) => (successor.waiting_at, None, Some(error.to_string())),
        Err(error) => (successor.waiting_at, None, Some(error.to_string())),
    };
    Ok(Resealed { master_key_id: new_id, old_id, file, old_file, misplaced, keys, revision })
}

async fn reseal(service: &Service, successor: &Successor, by: &By) -> Result<(Revision, String, usize), ResealError> {
    let new_id = successor.key.id().to_string();
    let (mut old_id, mut keys) = (String::new(), 0);
    let written = sealed::change(&*service.store, &service.ambient, by, |state| {
        if state.master_key_id == new_id {
            return Err(ResealError::Same(successor.waiting_at.clone()));
        }
        old_id = std::mem::replace(&mut state.master_key_id, new_id.clone());
        keys = masters::reseal(
            &mut state.rings,
            &mut state.secret_keys,
            &*service.masters,
            &successor.key,
            &*service.ambient.entropy,
        )?;
        Ok(())
    });
    match written.await {
        Ok(revision) => Ok((revision, old_id, keys)),
        Err(ChangeError::Refused(refusal)) => Err(refusal),
        Err(ChangeError::Store(error)) => Err(error.into()),
        Err(ChangeError::Exists | ChangeError::NotFound | ChangeError::LastAdmin) => Err(TxError::Busy.into()),
    }
}
