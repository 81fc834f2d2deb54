//! The signing keys: looking at them, rotating, revoking.

use serde::Serialize;
use serde_json::Value;

use super::access::Operator;
use super::error::AdminError;
use super::fields::{Fields, parsed};
use super::key_impact::{self, Impact};
use super::page::{Page, PageRequest};
use crate::model::algorithm::Algorithm;
use crate::model::id::Kid;
use crate::model::keyring::{Emergency, KeyState, Promotion, Reach, RevokeRefusal, Ring, RingKey};
use crate::model::scope::AdminScope;
use crate::model::time::{self, Timestamp};
use crate::oauth::rotation::{self, RotationError};
use crate::oauth::service::Service;
use crate::store::Key;

/// The life of a signing key.
#[derive(Debug, Serialize)]
pub(super) struct LifeView {
    pub(super) kid: Kid,
    pub(super) state: KeyState,
    #[serde(with = "time::rfc3339")]
    pub(super) published_at: Timestamp,
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub(super) signs_from: Option<Timestamp>,
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub(super) stops_at: Option<Timestamp>,
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub(super) unpublished_at: Option<Timestamp>,
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub(super) revoked_at: Option<Timestamp>,
    /// Imported for verification alone: it never signs here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) verifies_only: bool,
}

impl LifeView {
    /// What is decided of it at `now`.
    pub(super) fn of(ring: &Ring, key: &RingKey, now: Timestamp) -> Self {
        Self {
            kid: key.kid.clone(),
            state: ring.state_of(key, now),
            published_at: key.published_at,
            signs_from: key.signs_from,
            stops_at: ring.stops_at(key),
            unpublished_at: ring.retires_at(&key.kid),
            revoked_at: key.revoked_at,
            verifies_only: key.trusted_until.is_some(),
        }
    }
}

/// A signing key as operators see it: its public half and its life.
#[derive(Debug, Serialize)]
pub struct KeyView {
    #[serde(flatten)]
    pub(super) life: LifeView,
    algorithm: Algorithm,
    jwk: Value,
}

/// Which keys are wanted; `None`: whichever.
#[derive(Debug, Default)]
pub struct KeyFilter {
    state: Option<KeyState>,
    algorithm: Option<Algorithm>,
}

impl KeyFilter {
    /// Reads `state` and `algorithm` as they stand in a query.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] naming the parameter.
    pub fn parse(state: Option<&str>, algorithm: Option<&str>) -> Result<Self, AdminError> {
        let state = state.map(|name| {
            let wanted = KeyState::ALL.into_iter().find(|state| state.name() == name);
            wanted.ok_or_else(|| AdminError::field("state", "expected pending, active, retiring, retired or revoked"))
        });
        let algorithm = algorithm.map(|name| name.parse().map_err(|why: &str| AdminError::field("algorithm", why)));
        Ok(Self { state: state.transpose()?, algorithm: algorithm.transpose()? })
    }

    fn takes(&self, key: &KeyView) -> bool {
        self.state.is_none_or(|state| state == key.life.state)
            && self.algorithm.is_none_or(|algorithm| algorithm == key.algorithm)
    }
}

/// One page of keys, by algorithm and then by the time from which they sign; standbys last.
///
/// # Errors
/// [`AdminError`].
pub fn list(
    service: &Service,
    operator: &Operator,
    filter: &KeyFilter,
    page: &PageRequest,
) -> Result<Page<KeyView>, AdminError> {
    operator.demand_read(AdminScope::Keys)?;
    let mut keys = views(service);
    if let Some(after) = &page.after {
        // The cursor names a key; one that is gone meanwhile leaves nothing to go on from.
        let last = keys.iter().position(|key| key.life.kid.as_str() == after.as_str());
        let last =
            last.ok_or_else(|| AdminError::Conflict("the key that the cursor names is gone: start again".into()))?;
        keys.drain(..=last);
    }
    keys.retain(|key| filter.takes(key));
    let more = keys.len() > page.limit;
    keys.truncate(page.limit);
    let next = keys.last().filter(|_| more).map(|key| Key::new(key.life.kid.as_str()));
    Ok(Page::new(keys, page.cursor(next.as_ref())))
}

/// One key.
///
/// # Errors
/// [`AdminError`].
pub fn show(service: &Service, operator: &Operator, kid: &str) -> Result<KeyView, AdminError> {
    operator.demand_read(AdminScope::Keys)?;
    view(service, kid).ok_or_else(|| AdminError::NotFound("there is no key with this id".into()))
}

/// The key with this id.
pub(super) fn view(service: &Service, kid: &str) -> Option<KeyView> {
    views(service).into_iter().find(|key| key.life.kid.as_str() == kid)
}

/// All keys.
pub(super) fn views(service: &Service) -> Vec<KeyView> {
    let now = service.now();
    let keys = service.keys.read();
    let mut out: Vec<KeyView> = keys.rings().flat_map(|ring| ring_views(ring, now)).collect();
    out.sort_by_key(|KeyView { algorithm, life, .. }| {
        (*algorithm, life.signs_from.is_none(), life.signs_from, life.published_at)
    });
    out
}

fn ring_views(ring: &Ring, now: Timestamp) -> impl Iterator<Item = KeyView> + '_ {
    ring.keys.iter().map(move |key| KeyView {
        life: LifeView::of(ring, key, now),
        algorithm: ring.algorithm,
        jwk: key.public.clone(),
    })
}

/// What a rotation planned.
#[derive(Debug, Serialize)]
pub struct RotationView {
    /// The key that signs next.
    kid: Kid,
    algorithm: Algorithm,
    #[serde(with = "time::rfc3339")]
    signs_from: Timestamp,
    /// The key that signs until then.
    old: Kid,
    #[serde(with = "time::rfc3339")]
    old_trusted_until: Timestamp,
    /// The new standby.
    pending: Kid,
}

/// Plans a rotation: of one algorithm's ring, or of the default one's.
///
/// # Errors
/// [`AdminError`]; a rotation that is planned already is a conflict.
pub async fn rotate(service: &Service, operator: &Operator, body: &[u8]) -> Result<RotationView, AdminError> {
    operator.demand(AdminScope::Keys)?;
    let mut fields = Fields::parse(if body.is_empty() { b"{}" } else { body })?;
    let algorithm = fields.read("algorithm", |value| parsed(value, str::parse::<Algorithm>)).flatten();
    fields.finish()?;
    let algorithm = algorithm.unwrap_or_else(|| service.settings.default_algorithm());
    let done = rotation::rotate(service, algorithm, false, &operator.by(service, "")).await?;
    let Some((promotion, revision)) = done else { return Err(AdminError::Conflict("nothing to rotate".into())) };
    service.settled(revision).await?;
    let Promotion { kid, signs_from, old, old_trusted_until, pending } = promotion;
    Ok(RotationView { kid, algorithm, signs_from, old, old_trusted_until, pending })
}

/// What an emergency did.
#[derive(Debug, Serialize)]
pub struct EmergencyView {
    revoked: Vec<Kid>,
    /// The key that signs from now on, if that changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    promoted: Option<Kid>,
    /// For how many seconds that key had been published: below `keys.publish_before`, proxies may not know it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    published_for: Option<u64>,
    added: Vec<Kid>,
    /// Until when verifiers that do not ask edi may believe tokens of the revoked keys.
    #[serde(with = "time::rfc3339")]
    believed_offline_until: Timestamp,
    /// Whom it concerns.
    impact: Impact,
    /// Nothing was changed: this is what would have happened. `added` then holds stand-ins.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

/// Revokes a key: out of the JWKS and its tokens inactive at once. With `dry_run` it only says what would happen.
///
/// # Errors
/// [`AdminError`].
pub async fn revoke(
    service: &Service,
    operator: &Operator,
    kid: &str,
    body: &[u8],
) -> Result<EmergencyView, AdminError> {
    operator.demand(AdminScope::Keys)?;
    let unknown = || AdminError::NotFound("there is no key with this id".into());
    let kid = Kid::parse(kid).map_err(|_| unknown())?;
    let mut fields = Fields::parse(if body.is_empty() { b"{}" } else { body })?;
    let yes = |value: &Value| value.as_bool().ok_or_else(|| "expected true or false".to_owned());
    let all = fields.read("all", yes).flatten().unwrap_or(false);
    let dry_run = fields.read("dry_run", yes).flatten().unwrap_or(false);
    fields.finish()?;
    let reach = if all { Reach::KeyAndPending } else { Reach::Key };
    let believed = service.now().plus(service.longest_lifetime());
    let (rehearsed, _) = rotation::rehearse_revocation(service, &kid, reach)?;
    let impact = key_impact::of(service, &kid).await?;
    let emergency = if dry_run {
        rehearsed
    } else {
        let by = operator.by(service, kid.as_str());
        let (emergency, revision) = rotation::revoke(service, &kid, reach, &by).await?;
        service.settled(revision).await?;
        emergency
    };
    let Emergency { revoked, promoted, published_for, added } = emergency;
    let published_for = published_for.map(|length| length.as_secs());
    Ok(EmergencyView { revoked, promoted, published_for, added, believed_offline_until: believed, impact, dry_run })
}

impl From<RotationError> for AdminError {
    fn from(error: RotationError) -> Self {
        match error {
            RotationError::Store(error) => error.into(),
            RotationError::Revoke(RevokeRefusal::UnknownKey(_)) => {
                Self::NotFound("there is no key with this id".into())
            }
            RotationError::Schedule(problem) => Self::field("lifetime", problem.to_string()),
            RotationError::NoRing
            | RotationError::Rotate(_)
            | RotationError::Revoke(_)
            | RotationError::Adopt(_)
            | RotationError::SameKey(_)
            | RotationError::NotConfigured(_) => Self::Conflict(error.to_string().into()),
            RotationError::Keys(error) => Self::Unavailable { unknown: false, reason: error.to_string() },
        }
    }
}
