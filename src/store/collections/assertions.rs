//! Client assertions that were used (RFC 7523 §3 item 7): one entry per client and `jti`, written before the answer and
//! kept until the assertion has expired on every replica's clock.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::model::id::ClientId;
use crate::model::time::Timestamp;
use crate::store::record::Record;
use crate::store::tx::{Audited, Tx, TxError};
use crate::store::{CommitError, Condition, Key, Store};

/// The prefix of all used assertions.
pub const PREFIX: &str = "assertion/";

#[derive(Serialize, Deserialize)]
struct Used {}

impl Record for Used {
    const VERSION: u32 = 1;
}

/// Where a used assertion lies. Its `jti` is any text of any length, hence the digest.
#[must_use]
pub fn key(client: &ClientId, jti: &str) -> Key {
    Key::new(format!("{PREFIX}{client}/{}", URL_SAFE_NO_PAD.encode(digest(&SHA256, jti.as_bytes()))))
}

/// Uses an assertion up, durably: `false` when it was used before. One conditional put and no read; whoever comes
/// second, here or on another replica, loses.
///
/// # Errors
/// Those of the store. After [`CommitError::Unknown`] it may or may not be used up.
pub async fn spend(store: &dyn Store, client: &ClientId, jti: &str, until: Timestamp) -> Result<bool, TxError> {
    let key = key(client, jti);
    let mut tx = Tx::new(store);
    tx.require(&key, Condition::Absent);
    tx.put(&key, &Used {}, Some(until))?;
    match tx.commit(Audited::not_a_change("an assertion was used: one line per request says so")).await {
        Ok(_) => Ok(true),
        Err(TxError::Commit(CommitError::Conflict)) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::ambient::ManualClock;
    use crate::store::memory::{MemoryStore, Outcome};

    fn id(text: &str) -> ClientId {
        ClientId::parse(text).unwrap()
    }

    #[tokio::test]
    async fn one_use_per_client_and_jti_until_it_has_expired() {
        let clock = ManualClock::at(Timestamp::from_secs(100));
        let store = MemoryStore::new(Arc::clone(&clock) as _);
        let until = Timestamp::from_secs(160);
        assert!(spend(&store, &id("a"), "x", until).await.unwrap());
        assert!(!spend(&store, &id("a"), "x", until).await.unwrap());
        assert!(spend(&store, &id("b"), "x", until).await.unwrap(), "another client's");
        assert!(spend(&store, &id("a"), "X", until).await.unwrap(), "byte for byte");
        clock.advance(Duration::from_secs(59));
        assert!(!spend(&store, &id("a"), "x", until).await.unwrap());
        clock.advance(Duration::from_secs(1));
        assert!(spend(&store, &id("a"), "x", until.plus(Duration::from_mins(1))).await.unwrap());
    }

    #[tokio::test]
    async fn a_store_that_fails_is_no_replay() {
        let store = MemoryStore::new(ManualClock::at(Timestamp::from_secs(1)));
        store.outcome_unknown(Some(Outcome::NotWritten));
        let error = spend(&store, &id("a"), "x", Timestamp::from_secs(9)).await.unwrap_err();
        assert!(matches!(error, TxError::Commit(CommitError::Unknown(_))), "{error:?}");
    }

    #[test]
    fn any_jti_has_a_key_that_fits() {
        let longest = "x".repeat(128);
        for jti in ["", "a/b", "\u{0}", &"é".repeat(9000)] {
            assert!(key(&id(&longest), jti).as_str().len() <= crate::store::MAX_KEY, "{}", jti.len());
        }
        assert_eq!(key(&id("a"), "x").collection(), "assertion");
    }
}
