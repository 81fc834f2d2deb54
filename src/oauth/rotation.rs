//! Rotating and revoking signing keys: each is one commit on the ring's revision, so however many try, one succeeds.
//! When a key signs and how long it is trusted is decided in [`crate::model::keyring`].

use std::sync::Arc;
use std::time::Duration;

use super::service::Service;
use crate::ambient::Ambient;
use crate::keys::KeyError;
use crate::keys::generate::NewKey;
use crate::keys::master::MasterKey;
use crate::model::algorithm::Algorithm;
use crate::model::id::Kid;
use crate::model::keyring::{Emergency, FreshKey, Promotion, Reach, RevokeRefusal, Ring, RotateRefusal};
use crate::model::time::Timestamp;
use crate::store::Revision;
use crate::store::collections::clients::ChangeError;
use crate::store::collections::{By, keyrings};
use crate::store::tx::TxError;

/// How often rings are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Why keys did not change.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// There is no ring of this algorithm.
    #[error("there are no keys of this algorithm")]
    NoRing,
    /// The ring says no to a rotation.
    #[error(transparent)]
    Rotate(#[from] RotateRefusal),
    /// The ring says no to a revocation.
    #[error(transparent)]
    Revoke(#[from] RevokeRefusal),
    /// No new key could be made.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] TxError),
}

/// A new ring: its first key signs from `now`, its standby is published with it.
///
/// # Errors
/// When no key could be made.
pub async fn new_ring(
    ambient: &Ambient,
    master: &MasterKey,
    algorithm: Algorithm,
    max_ttl: u32,
    now: Timestamp,
) -> Result<Ring, KeyError> {
    let first = fresh_key(ambient, master, algorithm).await?;
    let standby = fresh_key(ambient, master, algorithm).await?;
    Ok(Ring::start(algorithm, max_ttl, first, standby, now))
}

/// A new key pair, sealed. RSA takes its time, so it never runs on an async thread.
///
/// # Errors
/// When none could be made.
async fn fresh_key(ambient: &Ambient, master: &MasterKey, algorithm: Algorithm) -> Result<FreshKey, KeyError> {
    let entropy = Arc::clone(&ambient.entropy);
    let made = tokio::task::spawn_blocking(move || NewKey::generate(algorithm, &*entropy)).await;
    let key = made.map_err(|_| KeyError::Generation)??;
    Ok(key.seal(master, &*ambient.entropy))
}

/// Plans the standby's promotion; a fresh key becomes the standby. With `only_if_due`, a ring that another replica
/// rotated meanwhile is left alone.
///
/// # Errors
/// [`RotationError`].
pub async fn rotate(
    service: &Service,
    algorithm: Algorithm,
    only_if_due: bool,
    by: &By,
) -> Result<Option<(Promotion, Revision)>, RotationError> {
    let fresh = fresh_key(&service.ambient, &service.master, algorithm).await?;
    let now = service.now();
    let schedule = service.settings.schedule;
    let mut promotion = None;
    let changed = keyrings::change(&*service.store, &service.ambient, algorithm, by, |ring| {
        let mut ring = ring.ok_or(RotationError::NoRing)?.clone();
        if only_if_due && !is_due(&ring, service, now) {
            return Ok(None);
        }
        promotion = Some(ring.rotate(now, schedule.publish_before, fresh.clone())?);
        Ok(Some(ring))
    });
    let written = changed.await.map_err(unwrap)?;
    Ok(promotion.zip(written.map(|(_, revision)| revision)))
}

/// Revokes a key at once: out of the JWKS, its tokens inactive, another key signs.
///
/// # Errors
/// [`RotationError`].
pub async fn revoke(
    service: &Service,
    kid: &Kid,
    reach: Reach,
    by: &By,
) -> Result<(Emergency, Revision), RotationError> {
    let algorithm = algorithm_of(service, kid).ok_or_else(|| RevokeRefusal::UnknownKey(kid.clone()))?;
    let mut fresh = Vec::new();
    for _ in 0..Ring::fresh_keys_for(reach) {
        fresh.push(fresh_key(&service.ambient, &service.master, algorithm).await?);
    }
    let now = service.now();
    let mut emergency = None;
    let changed = keyrings::change(&*service.store, &service.ambient, algorithm, by, |ring| {
        let mut ring = ring.ok_or(RotationError::NoRing)?.clone();
        emergency = Some(ring.revoke(kid, reach, now, &fresh)?);
        Ok(Some(ring))
    });
    let written = changed.await.map_err(unwrap)?;
    emergency.zip(written.map(|(_, revision)| revision)).ok_or(RotationError::NoRing)
}

/// The algorithm of the ring that holds a key.
#[must_use]
pub fn algorithm_of(service: &Service, kid: &Kid) -> Option<Algorithm> {
    service.keys.read().rings().find(|ring| ring.key(kid).is_some()).map(|ring| ring.algorithm)
}

/// Rotates rings that are due, for as long as the service lives.
pub async fn keep_rotating(service: Arc<Service>) {
    loop {
        let now = service.now();
        let due: Vec<Algorithm> = {
            let keys = service.keys.read();
            keys.rings().filter(|ring| is_due(ring, &service, now)).map(|ring| ring.algorithm).collect()
        };
        for algorithm in due {
            let by = By::edi(now, "key.rotate", "");
            match rotate(&service, algorithm, true, &by).await {
                Ok(Some((promotion, revision))) => {
                    let _ = service.settled(revision).await;
                    tracing::info!(
                        target: "edi::keys",
                        %algorithm,
                        kid = %promotion.kid,
                        signs_from = %promotion.signs_from,
                        old = %promotion.old,
                        old_trusted_until = %promotion.old_trusted_until,
                        "rotation planned"
                    );
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(target: "edi::keys", %algorithm, %error, "automatic rotation failed"),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_due(ring: &Ring, service: &Service, now: Timestamp) -> bool {
    service.settings.algorithms.contains(&ring.algorithm)
        && service.settings.schedule.due(ring, now).is_some_and(|due| due <= now)
}

fn unwrap(error: ChangeError<RotationError>) -> RotationError {
    match error {
        ChangeError::Refused(refusal) => refusal,
        ChangeError::Store(error) => error.into(),
        ChangeError::Exists | ChangeError::NotFound | ChangeError::LastAdmin => RotationError::NoRing,
    }
}
