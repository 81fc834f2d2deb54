//! Looking at the signing keys.

use serde::Serialize;
use serde_json::Value;

use super::access::Operator;
use super::error::AdminError;
use super::page::Page;
use crate::model::algorithm::Algorithm;
use crate::model::id::Kid;
use crate::model::keyring::{KeyState, Ring};
use crate::model::scope::AdminScope;
use crate::model::time::{self, Timestamp};
use crate::oauth::service::Service;

/// A signing key as operators see it: its public half and its life.
#[derive(Debug, Serialize)]
pub struct KeyView {
    kid: Kid,
    algorithm: Algorithm,
    state: KeyState,
    #[serde(with = "time::rfc3339")]
    published_at: Timestamp,
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    signs_from: Option<Timestamp>,
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    stops_at: Option<Timestamp>,
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    unpublished_at: Option<Timestamp>,
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Timestamp>,
    jwk: Value,
}

/// All keys, the signing ones of each algorithm first.
///
/// # Errors
/// [`AdminError`].
pub fn list(service: &Service, operator: &Operator) -> Result<Page<KeyView>, AdminError> {
    operator.demand_read(AdminScope::Keys)?;
    Ok(Page::new(views(service), None))
}

/// All keys.
pub(super) fn views(service: &Service) -> Vec<KeyView> {
    let now = service.now();
    let keys = service.keys.read();
    let mut out: Vec<KeyView> = keys.rings().flat_map(|ring| ring_views(ring, now)).collect();
    out.sort_by_key(|key| (key.algorithm, key.signs_from.is_none(), key.signs_from, key.published_at));
    out
}

fn ring_views(ring: &Ring, now: Timestamp) -> impl Iterator<Item = KeyView> + '_ {
    ring.keys.iter().map(move |key| KeyView {
        kid: key.kid.clone(),
        algorithm: ring.algorithm,
        state: ring.state_of(key, now),
        published_at: key.published_at,
        signs_from: key.signs_from,
        stops_at: ring.stops_at(key),
        unpublished_at: ring.retires_at(&key.kid),
        revoked_at: key.revoked_at,
        jwk: key.public.clone(),
    })
}
