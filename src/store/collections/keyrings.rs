//! Key rings: one record per algorithm, so that rotating, promoting and revoking are each one commit on its revision.

use std::convert::Infallible;

use super::clients::ChangeError;
use crate::ambient::Ambient;
use crate::model::algorithm::Algorithm;
use crate::model::keyring::Ring;
use crate::store::record::{Record, decode};
use crate::store::tx::{Retry, Tx, TxError};
use crate::store::{Key, Revision, Store, StoreError};

/// The prefix of all rings.
pub const PREFIX: &str = "keyring/";

impl Record for Ring {
    const VERSION: u32 = 1;
}

/// Where an algorithm's ring lies.
#[must_use]
pub fn key(algorithm: Algorithm) -> Key {
    Key::new(format!("{PREFIX}{algorithm}"))
}

/// All rings.
///
/// # Errors
/// Those of the store.
pub async fn all(store: &dyn Store) -> Result<Vec<Ring>, StoreError> {
    let page = store.scan(PREFIX, None, 2 * Algorithm::ALL.len()).await?;
    page.items.iter().map(|(key, versioned)| decode(key, &versioned.value)).collect()
}

/// Adds a ring for an algorithm that has none; of racing callers one wins and the others change nothing.
///
/// # Errors
/// Those of the store.
pub async fn add(store: &dyn Store, ambient: &Ambient, ring: &Ring) -> Result<(), TxError> {
    let added = change(store, ambient, ring.algorithm, |there| match there {
        Some(_) => Ok::<_, Infallible>(None),
        None => Ok(Some(ring.clone())),
    });
    added.await.map(drop).map_err(store_error)
}

/// Raises the longest lifetime that tokens may have under every ring, before such tokens are issued.
///
/// # Errors
/// Those of the store.
pub async fn raise_lifetime(store: &dyn Store, ambient: &Ambient, lifetime: u32) -> Result<(), TxError> {
    for algorithm in Algorithm::ALL {
        let raised = change(store, ambient, algorithm, |ring| {
            let Some(mut ring) = ring.cloned() else { return Ok::<_, Infallible>(None) };
            Ok(ring.raise_lifetime(ambient.now(), lifetime).then_some(ring))
        });
        raised.await.map_err(store_error)?;
    }
    Ok(())
}

fn store_error(error: ChangeError<Infallible>) -> TxError {
    match error {
        ChangeError::Store(error) => error,
        // The rules above refuse nothing.
        ChangeError::Refused(never) => match never {},
        ChangeError::Exists | ChangeError::NotFound | ChangeError::LastAdmin => TxError::Busy,
    }
}

/// Changes a ring by a rule that says what it becomes; `None` leaves it. The rule may run several times. Gives the ring
/// as written, with its revision.
///
/// # Errors
/// [`ChangeError`]: the rule's refusal, or the store's.
pub async fn change<R>(
    store: &dyn Store,
    ambient: &Ambient,
    algorithm: Algorithm,
    mut rule: impl FnMut(Option<&Ring>) -> Result<Option<Ring>, R>,
) -> Result<Option<(Ring, Revision)>, ChangeError<R>> {
    let mut retry = Retry::new(ambient);
    let key = key(algorithm);
    loop {
        let mut tx = Tx::new(store);
        let before = tx.get::<Ring>(&key).await?;
        let after = rule(before.as_ref().map(|(ring, _)| ring)).map_err(ChangeError::Refused)?;
        let Some(after) = after else { return Ok(None) };
        tx.put(&key, &after, None)?;
        match tx.commit().await {
            Ok(revision) => return Ok(Some((after, revision))),
            Err(error) => retry.after(error).await?,
        }
    }
}
