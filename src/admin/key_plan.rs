//! What will happen to the signing keys, and what is at risk until then: everything follows from the rings and the clock.

use std::time::Duration;

use serde::Serialize;

use super::access::Operator;
use super::error::AdminError;
use super::key_impact::{CacheView, caches};
use super::keys::LifeView;
use crate::model::algorithm::Algorithm;
use crate::model::id::Kid;
use crate::model::keyring::{KNOWN_CACHES, KeyState, MAX_LIVE_KEYS, Ring, SKEW};
use crate::model::scope::AdminScope;
use crate::model::time::{self, Timestamp, span};
use crate::oauth::rotation::stand_in;
use crate::oauth::service::Service;

/// A rotation that is this much late does not happen by itself: the look is every 20 s.
const OVERDUE: Duration = Duration::from_mins(2);

/// The plan.
#[derive(Debug, Serialize)]
pub struct PlanView {
    #[serde(with = "time::rfc3339")]
    now: Timestamp,
    /// `keys.rotate_every` in seconds.
    rotate_every: u64,
    /// `keys.publish_before` in seconds.
    publish_before: u64,
    /// The longest `max-age` of the JWKS in seconds.
    jwks_max_age: u32,
    /// How far clocks may be apart, in seconds.
    skew: u64,
    caches: Vec<CacheView>,
    rings: Vec<RingView>,
    /// What is to come, in order.
    transitions: Vec<StepView>,
    /// What is at risk, the pressing first.
    risks: Vec<Risk>,
}

/// One algorithm.
#[derive(Debug, Serialize)]
struct RingView {
    algorithm: Algorithm,
    /// Whether new tokens are signed with it and it rotates by itself.
    configured: bool,
    /// The longest lifetime of its tokens, in seconds, ever allowed.
    longest_lifetime: u32,
    /// When it rotates next by itself.
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    next_rotation_at: Option<Timestamp>,
    keys: Vec<ForeseenView>,
}

/// The life of a key with what is to come. Instants named in `foreseen` are not decided yet: they follow from
/// `keys.rotate_every`.
#[derive(Debug, Serialize)]
struct ForeseenView {
    #[serde(flatten)]
    life: LifeView,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    foreseen: Vec<&'static str>,
}

/// A coming change.
#[derive(Debug, Serialize)]
struct StepView {
    #[serde(with = "time::rfc3339")]
    at: Timestamp,
    algorithm: Algorithm,
    /// The key; absent for one that is yet to be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<Kid>,
    /// The state it is in from then on.
    to: KeyState,
    /// Decided: the clock alone brings it about. Otherwise the next automatic rotation does.
    decided: bool,
}

/// What is at risk.
#[derive(Debug, Serialize)]
struct Risk {
    /// One word for programs.
    #[serde(rename = "risk")]
    word: &'static str,
    /// Whether somebody should act: `warning`; or just know: `note`.
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<Algorithm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<Kid>,
    /// Until when.
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    detail: String,
}

impl Risk {
    fn warning(word: &'static str, detail: String) -> Self {
        Self { word, level: "warning", algorithm: None, kid: None, until: None, detail }
    }

    fn note(word: &'static str, detail: String) -> Self {
        Self { level: "note", ..Self::warning(word, detail) }
    }
}

/// The plan as of now.
///
/// # Errors
/// [`AdminError`].
pub fn show(service: &Service, operator: &Operator) -> Result<PlanView, AdminError> {
    operator.demand_read(AdminScope::Keys)?;
    let now = service.now();
    let schedule = service.settings.schedule;
    let keys = service.keys.read();
    let mut rings: Vec<&Ring> = keys.rings().collect();
    rings.sort_by_key(|ring| ring.algorithm);
    let (mut views, mut transitions, mut risks) = (Vec::new(), Vec::new(), of_settings(service));
    for ring in rings {
        let configured = service.settings.algorithms.contains(&ring.algorithm);
        let foreseen = stand_in(1).filter(|_| configured).and_then(|fresh| schedule.forecast(ring, now, fresh));
        let next = foreseen.as_ref().and_then(|foreseen| foreseen.ring.as_ref());
        let due = foreseen.as_ref().map(|foreseen| foreseen.due);
        views.push(RingView {
            algorithm: ring.algorithm,
            configured,
            longest_lifetime: ring.longest_lifetime,
            next_rotation_at: due,
            keys: ring
                .keys
                .iter()
                .map(|key| life(ring, next, &key.kid, now))
                .collect::<Option<_>>()
                .unwrap_or_default(),
        });
        transitions.extend(steps(ring, next, due, now));
        of_ring(service, ring, configured, foreseen.as_ref().map(|it| it.ring.is_some()), now, &mut risks);
    }
    transitions.sort_by_key(|step| (step.at, step.algorithm));
    risks.sort_by_key(|risk| risk.level != "warning");
    Ok(PlanView {
        now,
        rotate_every: schedule.rotate_every.as_secs(),
        publish_before: schedule.publish_before.as_secs(),
        jwks_max_age: schedule.jwks_max_age(),
        skew: SKEW.as_secs(),
        caches: caches(),
        rings: views,
        transitions,
        risks,
    })
}

fn life(ring: &Ring, next: Option<&Ring>, kid: &Kid, now: Timestamp) -> Option<ForeseenView> {
    let key = ring.key(kid)?;
    let mut life = LifeView::of(ring, key, now);
    let mut foreseen = Vec::new();
    // The foreseen ring may have dropped what ended long ago.
    if let Some((next, then)) = next.and_then(|next| Some((next, next.key(kid)?))) {
        let mut fill = |name, decided: &mut Option<Timestamp>, then: Option<Timestamp>| {
            if decided.is_none() && then.is_some() {
                *decided = then;
                foreseen.push(name);
            }
        };
        fill("signs_from", &mut life.signs_from, then.signs_from.filter(|_| !key.is_revoked()));
        fill("stops_at", &mut life.stops_at, next.stops_at(then));
        fill("unpublished_at", &mut life.unpublished_at, next.retires_at(kid));
    }
    Some(ForeseenView { life, foreseen })
}

fn steps(ring: &Ring, next: Option<&Ring>, due: Option<Timestamp>, now: Timestamp) -> Vec<StepView> {
    let step = |at, kid, to, decided| StepView { at, algorithm: ring.algorithm, kid, to, decided };
    let decided = ring.transitions(now);
    let mut out: Vec<StepView> = decided.iter().map(|it| step(it.at, Some(it.kid.clone()), it.to, true)).collect();
    // From a moment before the rotation: what it brings about at once counts too.
    let before = due.unwrap_or(now).minus(Duration::from_millis(1)).max(now.minus(Duration::from_millis(1)));
    for it in next.map(|next| next.transitions(before)).unwrap_or_default() {
        if !decided.contains(&it) && ring.key(&it.kid).is_some() {
            out.push(step(it.at, Some(it.kid), it.to, false));
        }
    }
    if let (Some(due), Some(_)) = (due, next) {
        out.push(step(due, None, KeyState::Pending, false));
    }
    out
}

/// Risks that lie in the settings and in the machine.
fn of_settings(service: &Service) -> Vec<Risk> {
    let mut out = Vec::new();
    let publish_before = service.settings.schedule.publish_before;
    let slower: Vec<String> = KNOWN_CACHES
        .iter()
        .filter(|cache| cache.keeps > publish_before)
        .map(|cache| format!("{} ({})", cache.name, span(cache.keeps)))
        .collect();
    if !slower.is_empty() {
        out.push(Risk::warning(
            "publish_before_short",
            format!(
                "keys.publish_before is {}: a new key signs before these verifiers have fetched it, and they refuse its \
                 tokens until then: {}",
                span(publish_before),
                slower.join(", ")
            ),
        ));
    }
    if let Some(jump) = service.clock.last() {
        let (direction, by) = if jump.by_millis < 0 { ("back", -jump.by_millis) } else { ("ahead", jump.by_millis) };
        let by = span(Duration::from_millis(u64::try_from(by).unwrap_or(u64::MAX)));
        out.push(Risk::warning(
            "clock_jumped",
            format!(
                "the clock of this machine jumped {direction} by {by} ({} in all since edi started): every instant here \
                 goes by it",
                service.clock.jumps()
            ),
        ));
    }
    out
}

/// Risks of one ring. `possible`: whether its next automatic rotation can happen.
fn of_ring(
    service: &Service,
    ring: &Ring,
    configured: bool,
    possible: Option<bool>,
    now: Timestamp,
    risks: &mut Vec<Risk>,
) {
    let algorithm = Some(ring.algorithm);
    let of_key = |kid: &Kid, until, risk: Risk| Risk { algorithm, kid: Some(kid.clone()), until, ..risk };
    for key in &ring.keys {
        let until = ring.leaves_at(key).map(|at| at.minus(SKEW)).filter(|until| *until > now);
        if ring.state_of(key, now) == KeyState::Retiring && until.is_some() {
            let detail = if key.trusted_until.is_some() {
                "tokens that this imported key signed elsewhere are trusted".to_owned()
            } else {
                "tokens of this key are still out; withdrawing it would end them".to_owned()
            };
            risks.push(of_key(&key.kid, until, Risk::note("tokens_of_retiring_key", detail)));
        }
    }
    if !configured {
        let detail = "not among keys.algorithms: signs no new tokens, does not rotate, and is published all the same";
        risks.push(Risk { algorithm, ..Risk::note("not_configured", detail.into()) });
        return;
    }
    let ripe = ring.standby().map(|key| (&key.kid, key.published_at.plus(service.settings.schedule.publish_before)));
    if let Some((kid, ripe)) = ripe.filter(|(_, ripe)| *ripe > now) {
        let detail = "the standby is young: were the active key revoked now, verifiers with a cache would refuse the \
                      standby's tokens until they fetch the keys again";
        risks.push(of_key(kid, Some(ripe), Risk::note("young_standby", detail.into())));
    }
    let due = service.settings.schedule.due(ring, now);
    match possible {
        _ if due.is_some_and(|due| now.since(due) > OVERDUE) => {
            let detail = "the automatic rotation is overdue: see the log, target edi::keys";
            risks.push(Risk { algorithm, ..Risk::warning("rotation_overdue", detail.into()) });
        }
        Some(false) => {
            let detail = format!(
                "the next automatic rotation will be refused: {} of {MAX_LIVE_KEYS} keys will still be trusted then",
                ring.published(now).count()
            );
            risks.push(Risk { algorithm, ..Risk::warning("ring_full", detail) });
        }
        _ => {}
    }
    if ring.longest_lifetime > service.settings.lifetimes.max() {
        let detail = format!(
            "tokens of up to {} were allowed once, so each key stays published that long after it stopped; today \
             tokens.max_ttl is {}",
            span(Duration::from_secs(ring.longest_lifetime.into())),
            span(Duration::from_secs(service.settings.lifetimes.max().into()))
        );
        risks.push(Risk { algorithm, ..Risk::note("longer_lifetime_once", detail) });
    }
}
