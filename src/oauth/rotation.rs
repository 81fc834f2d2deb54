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
use crate::model::keyring::{
    AdoptRefusal, Adopted, Adoption, Emergency, FreshKey, Promotion, Reach, RevokeRefusal, Ring, RotateRefusal,
    ScheduleProblem,
};
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
    /// The ring says no to an import.
    #[error(transparent)]
    Adopt(#[from] AdoptRefusal),
    /// The very key is there already, under this id.
    #[error("this key is there already, as {0}")]
    SameKey(Kid),
    /// There are no keys of the algorithm that an imported key is for.
    #[error("{0} is not among keys.algorithms: add it there and restart, then import the key")]
    NotConfigured(Algorithm),
    /// Rings could not rotate as configured while the tokens of an imported key live.
    #[error(transparent)]
    Schedule(#[from] ScheduleProblem),
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
    let first = new_key(ambient, algorithm).await?.seal(master, &*ambient.entropy);
    let standby = new_key(ambient, algorithm).await?.seal(master, &*ambient.entropy);
    Ok(Ring::start(algorithm, max_ttl, first, standby, now))
}

/// A new key pair. RSA takes its time, so it never runs on an async thread.
///
/// # Errors
/// When none could be made.
async fn new_key(ambient: &Ambient, algorithm: Algorithm) -> Result<NewKey, KeyError> {
    let entropy = Arc::clone(&ambient.entropy);
    tokio::task::spawn_blocking(move || NewKey::generate(algorithm, &*entropy))
        .await
        .map_err(|_| KeyError::Generation)?
}

/// Seals a key under the master key that the store is sealed under. Runs inside the change that stores it, so that a
/// change of the master key at the same moment leaves nothing sealed under the old one.
fn sealed(service: &Service, key: &NewKey, master_key_id: &str) -> Result<FreshKey, KeyError> {
    let unknown = || KeyError::NoMasterKey(master_key_id.to_owned());
    let master = service.masters.named(master_key_id).ok_or_else(unknown)?;
    Ok(key.seal(&master, &*service.ambient.entropy))
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
    let fresh = new_key(&service.ambient, algorithm).await?;
    let now = service.now();
    let schedule = service.settings.schedule;
    let mut promotion = None;
    let changed = keyrings::change_sealed(&*service.store, &service.ambient, algorithm, by, |ring, master| {
        let mut ring = ring.ok_or(RotationError::NoRing)?.clone();
        if only_if_due && !is_due(&ring, service, now) {
            return Ok(None);
        }
        promotion = Some(ring.rotate(now, schedule.publish_before, sealed(service, &fresh, master)?)?);
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
        fresh.push(new_key(&service.ambient, algorithm).await?);
    }
    let now = service.now();
    let mut emergency = None;
    let changed = keyrings::change_sealed(&*service.store, &service.ambient, algorithm, by, |ring, master| {
        let mut ring = ring.ok_or(RotationError::NoRing)?.clone();
        let fresh = fresh.iter().map(|key| sealed(service, key, master)).collect::<Result<Vec<_>, _>>()?;
        emergency = Some(ring.revoke(kid, reach, now, &fresh)?);
        Ok(Some(ring))
    });
    let written = changed.await.map_err(unwrap)?;
    emergency.zip(written.map(|(_, revision)| revision)).ok_or(RotationError::NoRing)
}

/// What revoking this key would do now; nothing changes. The keys that would be made are named `new-key-1` and so on.
///
/// # Errors
/// [`RotationError`].
pub fn rehearse_revocation(service: &Service, kid: &Kid, reach: Reach) -> Result<(Emergency, Ring), RotationError> {
    let keys = service.keys.read();
    let mut rings = keys.rings().filter(|ring| ring.key(kid).is_some());
    let mut ring = rings.next().ok_or_else(|| RevokeRefusal::UnknownKey(kid.clone()))?.clone();
    let stand_ins = (1..=Ring::fresh_keys_for(reach)).filter_map(stand_in).collect::<Vec<_>>();
    let emergency = ring.revoke(kid, reach, service.now(), &stand_ins)?;
    Ok((emergency, ring))
}

/// Stands for a key that is yet to be made.
#[must_use]
pub fn stand_in(number: usize) -> Option<FreshKey> {
    let kid = Kid::parse(&format!("new-key-{number}")).ok()?;
    Some(FreshKey { kid, public: serde_json::Value::Null, sealed: String::new() })
}

/// Takes in a key that signed elsewhere tokens of up to `lifetime` seconds.
///
/// # Errors
/// [`RotationError`].
pub async fn import(
    service: &Service,
    key: &NewKey,
    adoption: Adoption,
    lifetime: u32,
    by: &By,
) -> Result<(Adopted, Revision), RotationError> {
    if !service.settings.algorithms.contains(&key.algorithm) {
        return Err(RotationError::NotConfigured(key.algorithm));
    }
    service.settings.schedule.check(lifetime)?;
    {
        // The same numbers under another name, or for another algorithm, or the name in another ring.
        let keys = service.keys.read();
        if let Some(same) = keys.rings().flat_map(|ring| &ring.keys).find(|there| is_same(there, key)) {
            return Err(RotationError::SameKey(same.kid.clone()));
        }
    }
    let now = service.now();
    let mut adopted = None;
    let changed = keyrings::change_sealed(&*service.store, &service.ambient, key.algorithm, by, |ring, master| {
        let mut ring = ring.ok_or(RotationError::NoRing)?.clone();
        adopted = Some(ring.adopt(sealed(service, key, master)?, adoption, lifetime, now)?);
        Ok(Some(ring))
    });
    let written = changed.await.map_err(unwrap)?;
    adopted.zip(written.map(|(_, revision)| revision)).ok_or(RotationError::NoRing)
}

fn is_same(there: &crate::model::keyring::RingKey, key: &NewKey) -> bool {
    let same = |member: &str| there.public.get(member) == key.public.get(member);
    there.kid == key.kid || ["kty", "crv", "x", "y", "n", "e"].iter().all(|member| same(member))
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
