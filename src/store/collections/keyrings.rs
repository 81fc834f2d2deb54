//! Key rings: one record per algorithm, so that rotating, promoting and revoking are each one commit on its revision.

use std::convert::Infallible;

use super::clients::ChangeError;
use super::installation::{self, Installation};
use super::{By, audit};
use crate::ambient::Ambient;
use crate::audit::Differences;
use crate::model::algorithm::Algorithm;
use crate::model::id::Kid;
use crate::model::keyring::{Ring, RingKey};
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

/// Adds a ring that is sealed under this master key, for an algorithm that has none; of racing callers one wins and the
/// others change nothing. Should the store be sealed under another master key by now, nothing happens either.
///
/// # Errors
/// Those of the store.
pub async fn add(store: &dyn Store, ambient: &Ambient, ring: &Ring, master_key_id: &str) -> Result<(), TxError> {
    let by = By::edi(ambient.now(), "key.ring.create", ring.algorithm.to_string());
    let added = change_sealed(store, ambient, ring.algorithm, &by, |there, named| match there {
        None if named == master_key_id => Ok::<_, Infallible>(Some(ring.clone())),
        _ => Ok(None),
    });
    added.await.map(drop).map_err(store_error)
}

/// Raises the longest lifetime that tokens may have under every ring, before such tokens are issued.
///
/// # Errors
/// Those of the store.
pub async fn raise_lifetime(store: &dyn Store, ambient: &Ambient, lifetime: u32) -> Result<(), TxError> {
    for algorithm in Algorithm::ALL {
        let by = By::edi(ambient.now(), "key.lifetime.raise", algorithm.to_string());
        let raised = change(store, ambient, algorithm, &by, |ring| {
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
/// as written, with its revision. Where `by` names no target, it is the key that was given a time to sign from. For
/// changes that bring no new key along.
///
/// # Errors
/// [`ChangeError`]: the rule's refusal, or the store's.
pub async fn change<R>(
    store: &dyn Store,
    ambient: &Ambient,
    algorithm: Algorithm,
    by: &By,
    mut rule: impl FnMut(Option<&Ring>) -> Result<Option<Ring>, R>,
) -> Result<Option<(Ring, Revision)>, ChangeError<R>> {
    write(store, ambient, algorithm, by, false, |ring, _| rule(ring)).await
}

/// The same for changes that bring new keys along: the rule also learns the id of the master key that the store is sealed
/// under, and seals under that one. The change happens only if the store still is.
///
/// # Errors
/// [`ChangeError`]: the rule's refusal, or the store's.
pub async fn change_sealed<R>(
    store: &dyn Store,
    ambient: &Ambient,
    algorithm: Algorithm,
    by: &By,
    rule: impl FnMut(Option<&Ring>, &str) -> Result<Option<Ring>, R>,
) -> Result<Option<(Ring, Revision)>, ChangeError<R>> {
    write(store, ambient, algorithm, by, true, rule).await
}

async fn write<R>(
    store: &dyn Store,
    ambient: &Ambient,
    algorithm: Algorithm,
    by: &By,
    seals: bool,
    mut rule: impl FnMut(Option<&Ring>, &str) -> Result<Option<Ring>, R>,
) -> Result<Option<(Ring, Revision)>, ChangeError<R>> {
    let mut retry = Retry::new(ambient);
    let key = key(algorithm);
    loop {
        let mut tx = Tx::new(store);
        let sealed_under = if seals {
            tx.get::<Installation>(&installation::key()).await?.map(|(found, _)| found.master_key_id)
        } else {
            None
        };
        let before = tx.get::<Ring>(&key).await?;
        let after = rule(before.as_ref().map(|(ring, _)| ring), &sealed_under.unwrap_or_default())
            .map_err(ChangeError::Refused)?;
        let Some(after) = after else { return Ok(None) };
        tx.put(&key, &after, None)?;
        let before = before.as_ref().map(|(ring, _)| ring);
        let mut by = by.clone();
        if by.target.is_empty() {
            by.target = fresh(&after, before, signs).first().map(Kid::to_string).unwrap_or_default();
        }
        if !fresh(&after, before, |key| key.revoked_at.is_some()).is_empty() {
            tx.takes_rights_away();
        }
        let audited = audit::record(&mut tx, ambient, &by, differences(before, &after))?;
        match tx.commit(audited).await {
            Ok(revision) => return Ok(Some((after, revision))),
            Err(error) => retry.after(error).await?,
        }
    }
}

const fn signs(key: &RingKey) -> bool {
    key.signs_from.is_some()
}

/// The keys of a ring for which something holds that did not hold before.
fn fresh(after: &Ring, before: Option<&Ring>, holds: impl Fn(&RingKey) -> bool) -> Vec<Kid> {
    let held = |kid: &Kid| before.and_then(|ring| ring.key(kid)).is_some_and(&holds);
    after.keys.iter().filter(|key| holds(key) && !held(&key.kid)).map(|key| key.kid.clone()).collect()
}

/// What the audit trail tells of a change: key ids, never what is sealed.
fn differences(before: Option<&Ring>, after: &Ring) -> Differences {
    let mut out = Differences::default();
    let gone: Vec<Kid> = before
        .into_iter()
        .flat_map(|ring| &ring.keys)
        .filter(|key| after.key(&key.kid).is_none())
        .map(|key| key.kid.clone())
        .collect();
    out.ids_if_any("keys", &fresh(after, before, |_| true), &gone);
    out.ids_if_any("signs_from", &fresh(after, before, signs), &[]);
    out.ids_if_any("revoked", &fresh(after, before, |key| key.revoked_at.is_some()), &[]);
    if before.is_none_or(|ring| ring.longest_lifetime != after.longest_lifetime) {
        out.ids("longest_lifetime", [after.longest_lifetime], before.map(|ring| ring.longest_lifetime));
    }
    out
}
