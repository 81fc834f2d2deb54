//! That a store is in use, since when, and what its master key seals.

use serde::{Deserialize, Serialize};

use crate::model::id::{ClientId, SecretId};
use crate::model::time::Timestamp;
use crate::store::record::{Record, decode};
use crate::store::tx::{Tx, TxError};
use crate::store::{Key, Store, StoreError};

/// The record that makes a store edi's. Its absence means that the store is new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// Names the store for people; random.
    pub id: String,
    /// When it was set up.
    pub created_at: Timestamp,
    /// The public id of the master key that seals its secrets.
    pub master_key_id: String,
    /// The operator client of the first start.
    pub operator: ClientId,
    /// The id of its first secret: by it the next start knows a credentials file that a crash left half-way.
    pub operator_secret: SecretId,
}

impl Record for Installation {
    const VERSION: u32 = 1;
}

/// Something sealed by the master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The sealed bytes, as the master key writes them.
    pub sealed: String,
}

impl Record for Sealed {
    const VERSION: u32 = 1;
}

/// Where the installation record lies.
#[must_use]
pub fn key() -> Key {
    Key::new("installation")
}

/// Where the keys behind edi-made client secrets lie.
#[must_use]
pub fn secret_keys_key() -> Key {
    Key::new("sealed/secret-keys")
}

/// The installation record; `None` for a new store.
///
/// # Errors
/// Those of the store.
pub async fn find(store: &dyn Store) -> Result<Option<Installation>, StoreError> {
    match store.get(&key()).await?.value {
        Some(versioned) => decode(&key(), &versioned.value).map(Some),
        None => Ok(None),
    }
}

/// The sealed keys behind edi-made client secrets.
///
/// # Errors
/// Those of the store; a store that is in use and lacks them is damaged.
pub async fn secret_keys(store: &dyn Store) -> Result<Sealed, StoreError> {
    let key = secret_keys_key();
    match store.get(&key).await?.value {
        Some(versioned) => decode(&key, &versioned.value),
        None => Err(StoreError::Corrupt { key: key.to_string(), what: "the record is missing".into() }),
    }
}

/// Adds to a transaction what makes a new store edi's; the commit succeeds only if the store still is new.
///
/// # Errors
/// Those of the store, and a conflict when the store is in use.
pub async fn write(tx: &mut Tx<'_>, installation: &Installation, secret_keys: &Sealed) -> Result<bool, TxError> {
    if tx.get::<Installation>(&key()).await?.is_some() {
        return Ok(false);
    }
    tx.put(&key(), installation, None)?;
    tx.put(&secret_keys_key(), secret_keys, None)?;
    Ok(true)
}
