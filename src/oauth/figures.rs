//! What the service says of itself to Prometheus: tokens, keys, revocations, clients, hashing, the store as it is heard.
//! Read when asked for; nothing here is on the hot path.

use super::hashing_queue::Lane;
use super::service::Service;
use crate::metrics::{Kind, Page};
use crate::model::algorithm::Algorithm;
use crate::model::keyring::{KeyState, Ring};
use crate::model::time::Timestamp;
use crate::store::Health;

const STATES: [KeyState; 5] =
    [KeyState::Pending, KeyState::Active, KeyState::Retiring, KeyState::Retired, KeyState::Revoked];
/// The states a key comes to by the clock alone.
const COMING: [KeyState; 3] = [KeyState::Active, KeyState::Retiring, KeyState::Retired];

/// Writes all of it.
pub fn write(service: &Service, page: &mut Page) {
    tokens(service, page);
    keys(service, page);
    held(service, page);
    hashing(service, page);
    failures(service, page);
    store(service, page);
    certificates(service, page);
    let help = "Jumps of the machine's clock against its monotonic one that were noticed.";
    page.one("edi_clock_jumps_total", Kind::Counter, help, service.clock.jumps());
}

fn tokens(service: &Service, page: &mut Page) {
    let mut family = page.family(
        "edi_tokens_issued_total",
        Kind::Counter,
        "Tokens issued, at all doors, by the algorithm they are signed with.",
    );
    for algorithm in Algorithm::ALL {
        if service.settings.algorithms.contains(&algorithm) || service.pulse.issued_with(algorithm) > 0 {
            family.sample(&[("alg", algorithm.name())], service.pulse.issued_with(algorithm));
        }
    }
}

fn keys(service: &Service, page: &mut Page) {
    let now = service.now();
    let set = service.key_set();
    let rings: Vec<&Ring> = set.rings().collect();

    let mut family = page.family("edi_keys", Kind::Gauge, "Signing keys by algorithm and state.");
    for ring in &rings {
        for state in STATES {
            let count = ring.keys.iter().filter(|key| ring.state_of(key, now) == state).count();
            family.sample(&[("alg", ring.algorithm.name()), ("state", state.name())], count);
        }
    }
    let mut family = page.family(
        "edi_key_age_seconds",
        Kind::Gauge,
        "How long the oldest key in this state has been published (pending) or has signed first (active, retiring).",
    );
    for ring in &rings {
        for state in [KeyState::Pending, KeyState::Active, KeyState::Retiring] {
            let keys = ring.keys.iter().filter(|key| ring.state_of(key, now) == state);
            let since = keys.map(|key| key.signs_from.filter(|from| *from <= now).unwrap_or(key.published_at)).min();
            if let Some(since) = since {
                let labels = [("alg", ring.algorithm.name()), ("state", state.name())];
                family.sample(&labels, ahead(now, since));
            }
        }
    }
    let mut family = page.family(
        "edi_key_next_transition_seconds",
        Kind::Gauge,
        "Seconds until the next key of this algorithm comes to this state; absent while none is decided.",
    );
    for ring in &rings {
        let transitions = ring.transitions(now);
        for state in COMING {
            if let Some(next) = transitions.iter().find(|coming| coming.to == state) {
                family.sample(&[("alg", ring.algorithm.name()), ("to", state.name())], ahead(next.at, now));
            }
        }
    }
    let mut family = page.family(
        "edi_key_rotation_due_seconds",
        Kind::Gauge,
        "Seconds until the automatic rotation is due; negative when it is late; absent while one is planned.",
    );
    for ring in &rings {
        if let Some(due) = service.settings.schedule.due(ring, now) {
            family.sample(&[("alg", ring.algorithm.name())], ahead(due, now));
        }
    }
}

fn held(service: &Service, page: &mut Page) {
    let one = |page: &mut Page, name, help: &str, value: usize| page.one(name, Kind::Gauge, help, value);
    one(page, "edi_revocations", "Live revocations.", service.revocations.read().len());
    one(page, "edi_deployments", "Registered deployments.", service.deployments.read().len());
    let (present, absent) = service.clients.held();
    one(page, "edi_client_cache_entries", "Clients held in memory.", present);
    one(page, "edi_client_cache_absent_entries", "Ids remembered as unknown.", absent);
    let limit = service.clients.capacity();
    one(page, "edi_client_cache_limit", "The most clients that are held in memory.", limit);
}

fn hashing(service: &Service, page: &mut Page) {
    let hasher = &service.hasher;
    let lanes = [("operator", Lane::Operator), ("open", Lane::Open), ("suspect", Lane::Suspect)];
    let mut family = page.family(
        "edi_hashing_waiting",
        Kind::Gauge,
        "Checks of chosen secrets that wait; suspect: of client ids or addresses past their budget of failures.",
    );
    for (name, lane) in lanes {
        family.sample(&[("lane", name)], hasher.waiting(lane));
    }
    page.one("edi_hashing_queue_limit", Kind::Gauge, "The most checks that may wait.", hasher.limit());
    let help = "Threads that check chosen secrets.";
    page.one("edi_hashing_threads", Kind::Gauge, help, service.settings.hashing_threads);
    let refused = hasher.figures().refused.get();
    let help = "Checks that found no room to wait: 503 for whoever asked.";
    page.one("edi_hashing_refused_total", Kind::Counter, help, refused);
    page.family("edi_hashing_duration_seconds", Kind::Histogram, "How long checks took, without the wait.")
        .histogram(&[], &hasher.figures().worked.snapshot());
}

fn failures(service: &Service, page: &mut Page) {
    let figures = service.failures.figures();
    let help = "Failed client authentications: unknown, disabled, or a wrong proof.";
    page.one("edi_failed_authentications_total", Kind::Counter, help, figures.failed.get());
    let mut family = page.family(
        "edi_failed_authentications_over_budget_total",
        Kind::Counter,
        "Those of them that were past the budget of their client id or of their address: answered 429.",
    );
    family.sample(&[("budget", "client")], figures.over_client.get());
    family.sample(&[("budget", "address")], figures.over_address.get());
    let help = "Answers past a budget that are held back now, to keep their pace.";
    page.one("edi_failed_authentications_held", Kind::Gauge, help, figures.held());
}

fn store(service: &Service, page: &mut Page) {
    let health = service.store.health();
    let flag = |yes: bool| u8::from(yes);
    let writable = flag(health == Health::Writable);
    page.one("edi_store_writable", Kind::Gauge, "1 while the store takes writes.", writable);
    let full = flag(matches!(health, Health::Full(_)));
    page.one(
        "edi_store_full",
        Kind::Gauge,
        "1 while the disk is full: what takes rights away is written, no more.",
        full,
    );
    let readable = flag(!matches!(health, Health::Down(_)));
    page.one("edi_store_readable", Kind::Gauge, "1 while the store answers reads.", readable);
    let silence = service.silence();
    page.one(
        "edi_store_silence_seconds",
        Kind::Gauge,
        "Seconds since the store was last heard of, by the mirror that heard least; below 1 when all is well.",
        silence.as_secs_f64(),
    );
    let stale = flag(service.is_stale());
    page.one("edi_store_stale", Kind::Gauge, "1 while decisions are refused because the store is silent.", stale);
}

fn certificates(service: &Service, page: &mut Page) {
    let mut family = page.family(
        "edi_tls_certificate_expiry_timestamp_seconds",
        Kind::Gauge,
        "When the listener's certificate, or another of its chain, ends, in Unix time; absent where edi does not encrypt.",
    );
    for (listener, end) in service.certificates_end() {
        family.sample(&[("listener", listener)], end.secs());
    }
}

/// From `earlier` to `later` in seconds; negative when it is the other way around.
fn ahead(later: Timestamp, earlier: Timestamp) -> f64 {
    later.since(earlier).as_secs_f64() - earlier.since(later).as_secs_f64()
}
