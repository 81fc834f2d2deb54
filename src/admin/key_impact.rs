//! Whom the revocation of a key concerns: what is known before anything happens.

use serde::Serialize;

use super::error::AdminError;
use crate::model::algorithm::Algorithm;
use crate::model::client::Client;
use crate::model::id::Kid;
use crate::model::keyring::{KNOWN_CACHES, KeyState, SKEW};
use crate::model::time::{self, Timestamp};
use crate::oauth::service::Service;
use crate::store::collections::clients;
use crate::store::record::decode;

/// Clients are counted up to about this many.
const COUNTED: usize = 10_000;
/// Clients read at once.
const PAGE: usize = 500;

/// The blast radius.
#[derive(Debug, Serialize)]
pub struct Impact {
    algorithm: Algorithm,
    state: KeyState,
    /// Since when it signs, or signed.
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    active_since: Option<Timestamp>,
    /// When the last token that it may have signed expires; absent when there can be none.
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    tokens_until: Option<Timestamp>,
    /// How many registered clients get, or got, tokens of this algorithm.
    clients: usize,
    /// There are more clients than were counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    clients_more: bool,
    /// For how many seconds a key should be published before it signs.
    publish_before: u64,
    /// The verifiers that keep the key set the longest without asking, and for how many seconds.
    caches: Vec<CacheView>,
}

#[derive(Debug, Serialize)]
pub(super) struct CacheView {
    name: &'static str,
    keeps: u64,
}

/// The known caches.
pub(super) fn caches() -> Vec<CacheView> {
    KNOWN_CACHES.iter().map(|cache| CacheView { name: cache.name, keeps: cache.keeps.as_secs() }).collect()
}

/// Whom revoking this key concerns now.
pub(super) async fn of(service: &Service, kid: &Kid) -> Result<Impact, AdminError> {
    let now = service.now();
    let (algorithm, state, active_since, tokens_until) = {
        let keys = service.keys.read();
        let found = keys.rings().find_map(|ring| Some((ring, ring.key(kid)?)));
        let (ring, key) = found.ok_or_else(|| AdminError::NotFound("there is no key with this id".into()))?;
        let state = ring.state_of(key, now);
        let lifetime = std::time::Duration::from_secs(key.longest_lifetime.into());
        let tokens_until = match state {
            KeyState::Active => Some(now.plus(lifetime)),
            KeyState::Retiring => ring.leaves_at(key).map(|at| at.minus(SKEW)).filter(|at| *at > now),
            KeyState::Pending | KeyState::Retired | KeyState::Revoked => None,
        };
        (ring.algorithm, state, key.signs_from.filter(|from| *from <= now), tokens_until)
    };
    let (clients, clients_more) = count(service, algorithm).await?;
    let publish_before = service.settings.schedule.publish_before.as_secs();
    let caches = caches();
    Ok(Impact { algorithm, state, active_since, tokens_until, clients, clients_more, publish_before, caches })
}

async fn count(service: &Service, algorithm: Algorithm) -> Result<(usize, bool), AdminError> {
    let (mut after, mut seen, mut count) = (None, 0, 0);
    while seen < COUNTED {
        let page = service.store.scan(clients::PREFIX, after.as_ref(), PAGE).await?;
        for (key, found) in &page.items {
            let client: Client = decode(key, &found.value)?;
            count += usize::from(service.settings.algorithm(&client) == algorithm);
        }
        seen += page.items.len();
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok((count, false)),
        }
    }
    Ok((count, true))
}
