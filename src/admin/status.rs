//! How edi is doing, on one page.

use std::time::Duration;

use serde::Serialize;

use super::access::Operator;
use super::error::AdminError;
use super::keys::{KeyView, views};
use crate::model::algorithm::Algorithm;
use crate::model::id::{ClientId, Kid, SecretId};
use crate::model::keyring::{KeyState, Transition};
use crate::model::scope::AdminScope;
use crate::model::time::{self, ENDS_SOON, Timestamp, span};
use crate::oauth::pulse::Lately;
use crate::oauth::service::Service;
use crate::store::collections::secrets::{self, End};
use crate::store::{Figures, Health};

/// Less room than this on the store's disk wants attention, in bytes.
const LITTLE_ROOM: u64 = 256 * 1024 * 1024;

/// For how long a jump of the clock is told.
const JUMP_TOLD: Duration = Duration::from_hours(24);

/// How many of the secrets that end soon are named.
const NAMED: usize = 100;

/// The page.
#[derive(Debug, Serialize)]
pub struct Status {
    version: &'static str,
    issuer: String,
    /// The audience of deployments that name none.
    audience: String,
    #[serde(with = "time::rfc3339")]
    started_at: Timestamp,
    #[serde(with = "time::rfc3339")]
    now: Timestamp,
    uptime_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    listeners: Option<Listeners>,
    store: StoreStatus,
    keys: Vec<KeyView>,
    /// The next change of a key's state that is decided already.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_transition: Option<TransitionView>,
    /// When the next rotation begins by itself; absent while one is planned.
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    next_rotation_at: Option<Timestamp>,
    /// Absent when the store does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<u64>,
    deployments: usize,
    revocations: usize,
    tokens_issued: u64,
    token_requests_refused: u64,
    /// The last minute of this process.
    lately: Lately,
    /// Secrets of enabled clients that end soon, the first ones first.
    secrets_expiring: Vec<EndingSecret>,
    clock: ClockStatus,
    limits: Limits,
    attention: Vec<Attention>,
}

/// What a client may be registered with.
#[derive(Debug, Serialize)]
struct Limits {
    /// The longest lifetime of a token, in seconds.
    max_ttl: u32,
    algorithms: Vec<Algorithm>,
}

#[derive(Debug, Serialize)]
struct Listeners {
    public: String,
    admin: String,
    tls: &'static str,
}

/// Jumps of the machine's clock since this process started.
#[derive(Debug, Serialize)]
struct ClockStatus {
    jumps: u64,
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    last_jump_at: Option<Timestamp>,
    /// Negative: backward.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_jump_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
struct StoreStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    health: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// Milliseconds since the mirrors last heard of the store.
    silence_ms: u64,
    /// What its files take.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_bytes: Option<u64>,
    /// What its disk has left.
    #[serde(skip_serializing_if = "Option::is_none")]
    free_bytes: Option<u64>,
}

/// A secret that ends soon.
#[derive(Debug, Serialize)]
struct EndingSecret {
    client_id: ClientId,
    id: SecretId,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(with = "time::rfc3339")]
    expires_at: Timestamp,
    /// Nothing else lets its client in after that.
    last: bool,
}

impl From<End> for EndingSecret {
    fn from(End { at, id, of }: End) -> Self {
        Self { client_id: of.client_id, id, name: of.name, expires_at: at, last: of.last }
    }
}

#[derive(Debug, Serialize)]
struct TransitionView {
    #[serde(with = "time::rfc3339")]
    at: Timestamp,
    kid: Kid,
    /// The state it is in from then on.
    to: KeyState,
}

impl From<Transition> for TransitionView {
    fn from(transition: Transition) -> Self {
        Self { at: transition.at, kid: transition.kid, to: transition.to }
    }
}

/// Something that somebody should do something about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attention {
    /// What is wrong, in words.
    pub what: String,
    /// What mends it: a command where there is one.
    pub next: String,
}

impl Attention {
    /// What is wrong, and what mends it.
    #[must_use]
    pub fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), next: next.into() }
    }
}

fn clock(service: &Service) -> ClockStatus {
    let last = service.clock.last();
    ClockStatus {
        jumps: service.clock.jumps(),
        last_jump_at: last.map(|jump| jump.at),
        last_jump_ms: last.map(|jump| jump.by_millis),
    }
}

/// The page as of now.
///
/// # Errors
/// [`AdminError`].
pub async fn show(service: &Service, operator: &Operator) -> Result<Status, AdminError> {
    operator.demand(AdminScope::Read)?;
    // A store that does not answer is news, no reason to say nothing.
    let figures = service.store.figures().await.ok();
    let around = service.surroundings.get();
    let now = service.now();
    let ending = secrets::ending(&*service.store, now.plus(ENDS_SOON), NAMED).await.unwrap_or_default();
    let (next_transition, next_rotation_at) = next_of_keys(service, now);
    Ok(Status {
        version: env!("CARGO_PKG_VERSION"),
        issuer: service.settings.issuer.clone(),
        audience: service.settings.audience.clone(),
        started_at: service.started_at,
        now,
        uptime_seconds: now.since(service.started_at).as_secs(),
        listeners: around.map(|it| Listeners { public: it.public.clone(), admin: it.admin.clone(), tls: it.tls }),
        store: store(service, figures.as_ref()),
        keys: views(service),
        next_transition,
        next_rotation_at,
        clients: figures.as_ref().map(|figures| figures.entries.get("client").copied().unwrap_or_default()),
        deployments: service.deployments.read().len(),
        revocations: service.revocations.read().len(),
        tokens_issued: service.pulse.issued(),
        token_requests_refused: service.pulse.refused(),
        lately: service.pulse.lately(tokio::time::Instant::now()),
        clock: clock(service),
        attention: {
            let mut all = attention(service, figures.as_ref(), now);
            of_secrets(&ending, &mut all);
            all
        },
        secrets_expiring: ending.into_iter().map(Into::into).collect(),
        limits: Limits { max_ttl: service.settings.lifetimes.max(), algorithms: service.settings.algorithms.clone() },
    })
}

fn store(service: &Service, figures: Option<&Figures>) -> StoreStatus {
    let (health, problem) = match service.store.health() {
        Health::Writable => ("ok", None),
        Health::Full(why) => ("full", Some(why)),
        Health::ReadOnly(why) => ("read-only", Some(why)),
        Health::Down(why) => ("down", Some(why)),
    };
    let around = service.surroundings.get();
    let room = figures.and_then(|figures| figures.room);
    StoreStatus {
        engine: around.map(|it| it.engine),
        path: around.and_then(|it| it.folder.clone()),
        health,
        problem,
        silence_ms: u64::try_from(service.silence().as_millis()).unwrap_or(u64::MAX),
        used_bytes: room.map(|room| room.used),
        free_bytes: room.map(|room| room.free),
    }
}

fn next_of_keys(service: &Service, now: Timestamp) -> (Option<TransitionView>, Option<Timestamp>) {
    let keys = service.keys.read();
    let first = keys.rings().flat_map(|ring| ring.transitions(now)).min_by_key(|transition| transition.at);
    let kept = |algorithm| service.settings.algorithms.contains(&algorithm);
    let due = keys.rings().filter(|ring| kept(ring.algorithm));
    let due = due.filter_map(|ring| service.settings.schedule.due(ring, now)).min();
    (first.map(Into::into), due)
}

/// Everything that wants attention, the most urgent first: one function a part of edi, each of which adds its own.
fn attention(service: &Service, figures: Option<&Figures>, now: Timestamp) -> Vec<Attention> {
    let mut all = Vec::new();
    of_store(service, figures, &mut all);
    of_keys(service, now, &mut all);
    of_clock(service, now, &mut all);
    of_certificates(&service.certificates_end(), now, &mut all);
    all
}

/// Only those after which a client is locked out: the others end as planned.
fn of_secrets(ending: &[End], all: &mut Vec<Attention>) {
    for End { at, id, of } in ending.iter().filter(|end| end.of.last) {
        let client = &of.client_id;
        all.push(Attention::new(
            format!("secret {id} of client {client} ends at {at}, and nothing else lets it in after that"),
            format!("`edi client secret rotate {client}`"),
        ));
    }
}

/// One line where both listeners have the same.
fn of_certificates(ends: &[(&'static str, Timestamp)], now: Timestamp, all: &mut Vec<Attention>) {
    let Some(end) = ends.iter().map(|(_, end)| *end).min().filter(|end| *end < now.plus(ENDS_SOON)) else { return };
    let what = if end < now {
        format!("the certificate of the listeners ended at {end}: callers refuse it")
    } else {
        let days = end.since(now).as_secs() / 86_400;
        format!("the certificate of the listeners ends at {end}, in {days} days")
    };
    all.push(Attention::new(what, "renew it in place (listen.certificate_file); edi takes in the change by itself"));
}

fn of_clock(service: &Service, now: Timestamp, all: &mut Vec<Attention>) {
    let lately = service.clock.last().filter(|jump| now.since(jump.at) < JUMP_TOLD);
    if let Some(jump) = lately {
        let by = span(Duration::from_millis(jump.by_millis.unsigned_abs()));
        let direction = if jump.by_millis < 0 { "back" } else { "ahead" };
        all.push(Attention::new(
            format!("the clock of this machine jumped {direction} by {by}"),
            "tokens and keys start and end by it: see to its time service (`timedatectl`)",
        ));
    }
}

fn of_store(service: &Service, figures: Option<&Figures>, all: &mut Vec<Attention>) {
    if let Health::Full(why) = service.store.health() {
        let folder = service.surroundings.get().and_then(|it| it.folder.as_deref()).unwrap_or("its folder");
        all.push(Attention::new(why, format!("free some room, edi goes on by itself: `df -h {folder}`")));
    }
    if let Health::ReadOnly(why) | Health::Down(why) = service.store.health() {
        all.push(Attention::new(
            format!("the store takes no writes: {why}"),
            "free room on its disk, or mend it; edi opens the store again by itself. Its log says more (edi::store)",
        ));
    }
    if service.is_stale() {
        all.push(Attention::new(
            "the mirrors have not heard of the store for more than 5 s",
            "look at the disk's load and at the log (edi::store); decisions are refused until the store answers",
        ));
    }
    if let Some(room) = figures.and_then(|figures| figures.room)
        && room.free < LITTLE_ROOM
    {
        let folder = service.surroundings.get().and_then(|it| it.folder.as_deref()).unwrap_or("its folder");
        all.push(Attention::new(
            format!("the store's disk has {} MiB left", room.free / (1024 * 1024)),
            format!("free some, or move the store to a larger disk: `df -h {folder}`"),
        ));
    }
}

fn of_keys(service: &Service, now: Timestamp, all: &mut Vec<Attention>) {
    let keys = service.keys.read();
    for ring in keys.rings().filter(|ring| service.settings.algorithms.contains(&ring.algorithm)) {
        if ring.standby().is_none() && ring.planned(now).is_none() {
            let algorithm = ring.algorithm;
            all.push(Attention::new(
                format!("no {algorithm} key waits to take over: an emergency would have to publish one first"),
                format!("`edi key rotate --alg {algorithm}`"),
            ));
        }
    }
}
