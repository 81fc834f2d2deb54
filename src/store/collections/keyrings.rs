//! Key rings: one record per algorithm, so that rotating, promoting and revoking are each one commit on its revision.

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
    change(store, ambient, ring.algorithm, |there| if there.is_some() { None } else { Some(ring.clone()) }).await?;
    Ok(())
}

/// Raises the longest lifetime that tokens may have under every ring, before such tokens are issued.
///
/// # Errors
/// Those of the store.
pub async fn raise_lifetime(store: &dyn Store, ambient: &Ambient, lifetime: u32) -> Result<(), TxError> {
    for algorithm in Algorithm::ALL {
        change(store, ambient, algorithm, |ring| {
            let mut ring = ring.cloned()?;
            ring.raise_lifetime(ambient.now(), lifetime).then_some(ring)
        })
        .await?;
    }
    Ok(())
}

/// Changes a ring by a rule that says what it becomes; `None` leaves it. The rule may run several times. Gives the ring
/// as written, with its revision.
///
/// # Errors
/// Those of the store.
pub async fn change(
    store: &dyn Store,
    ambient: &Ambient,
    algorithm: Algorithm,
    mut rule: impl FnMut(Option<&Ring>) -> Option<Ring>,
) -> Result<Option<(Ring, Revision)>, TxError> {
    let mut retry = Retry::new(ambient);
    let key = key(algorithm);
    loop {
        let mut tx = Tx::new(store);
        let before = tx.get::<Ring>(&key).await?;
        let Some(after) = rule(before.as_ref().map(|(ring, _)| ring)) else { return Ok(None) };
        tx.put(&key, &after, None)?;
        match tx.commit().await {
            Ok(revision) => return Ok(Some((after, revision))),
            Err(error) => retry.after(error).await?,
        }
    }
}
