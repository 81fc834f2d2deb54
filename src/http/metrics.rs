//! `GET /metrics` on the admin listener: every figure, in Prometheus's text format. Needs no token: it holds counts and
//! never a name of a client or a role.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpResponse, web};

use super::traffic::{ERRORS, Endpoint, HttpFigures, STATUSES};
use crate::metrics::{CONTENT_TYPE, Counter, Kind, Page, process};
use crate::oauth::figures;
use crate::oauth::service::Service;
use crate::store::measured::StoreFigures;
use crate::telemetry;

/// How long a page waits for the store.
const PATIENCE: Duration = Duration::from_secs(1);

/// What counts as soon for a secret's end.
const SOON: Duration = Duration::from_hours(7 * 24);

/// What is shown beside what the service knows.
#[derive(Debug, Default)]
pub struct Figures {
    /// Of both listeners.
    pub http: Arc<HttpFigures>,
    /// Of the store.
    pub store: Arc<StoreFigures>,
    /// How often there was no file descriptor left.
    pub descriptors_exhausted: Arc<Counter>,
}

/// All of it, as it is now.
pub async fn metrics(service: web::Data<Service>, figures: web::Data<Figures>) -> HttpResponse {
    let mut page = Page::new();
    about(&service, &mut page);
    requests(&figures.http, &mut page);
    token_requests(&figures.http, &mut page);
    connections(&figures.http, &mut page);
    figures::write(&service, &mut page);
    store(&figures.store, &mut page);
    room(&service, &mut page).await;
    expiring(&service, &mut page);
    page.one(
        "edi_log_lines_lost_total",
        Kind::Counter,
        "Log lines that were dropped because standard error was not read in time.",
        telemetry::lost_lines(),
    );
    page.one(
        "edi_descriptors_exhausted_total",
        Kind::Counter,
        "Times that no file descriptor was left: new connections waited.",
        figures.descriptors_exhausted.get(),
    );
    process::write(&mut page);
    HttpResponse::Ok().content_type(CONTENT_TYPE).body(page.into_text())
}

/// What the store holds and how much room it has. Left out when it does not answer: a page without it is better than no
/// page.
async fn room(service: &Service, page: &mut Page) {
    let Ok(Ok(held)) = tokio::time::timeout(PATIENCE, service.store.figures()).await else { return };
    let mut family =
        page.family("edi_store_entries", Kind::Gauge, "Entries by collection; expired ones until they are swept.");
    for (collection, count) in &held.entries {
        family.sample(&[("collection", collection)], count);
    }
    if let Some(room) = held.room {
        page.one("edi_store_used_bytes", Kind::Gauge, "What the store's files take on disk.", room.used);
        page.one("edi_store_free_bytes", Kind::Gauge, "What is left to the store on its disk.", room.free);
    }
}

/// Client secrets that end soon, and the next one, however far ahead. Left out until the store was read once.
fn expiring(service: &Service, page: &mut Page) {
    let now = service.now();
    let Some(counted) = service.ends.count(now, now.plus(SOON)) else { return };
    let mut family = page.family(
        "edi_client_secrets_expiring",
        Kind::Gauge,
        "Client secrets that end within a week; last: nothing else lets the client in after that.",
    );
    family.sample(&[("last", "true")], counted.last);
    family.sample(&[("last", "false")], counted.followed);
    let mut family = page.family(
        "edi_client_secret_next_expiry_timestamp_seconds",
        Kind::Gauge,
        "When the next client secret ends, in Unix time; absent while none does.",
    );
    if let Some(next) = counted.next {
        family.sample(&[], next.secs());
    }
}

fn about(service: &Service, page: &mut Page) {
    let labels = [("version", env!("CARGO_PKG_VERSION"))];
    page.family("edi_build_info", Kind::Gauge, "1, labelled with what this is.").sample(&labels, 1);
    // Seconds with a fraction, as Prometheus wants times.
    let started = service.started_at;
    let seconds = format!("{}.{:03}", started.secs(), started.millis().rem_euclid(1000));
    page.one("process_start_time_seconds", Kind::Gauge, "When this process started, in Unix time.", seconds);
}

fn requests(figures: &HttpFigures, page: &mut Page) {
    let board = &figures.board;
    let mut family = page.family(
        "edi_http_requests_total",
        Kind::Counter,
        "Requests by class of endpoint and class of status; 499: the caller left before the answer.",
    );
    for endpoint in Endpoint::ALL {
        for (status, count) in STATUSES.iter().zip(board.answers(endpoint)) {
            // What cannot happen but by a caller's oddity is shown once it did; an error is shown before its first.
            if count > 0 || matches!(*status, "2xx" | "4xx" | "5xx") {
                family.sample(&[("endpoint", endpoint.name()), ("status", status)], count);
            }
        }
    }
    let mut family = page.family(
        "edi_refusals_total",
        Kind::Counter,
        "Refused requests by class of endpoint and error: the code of the answer, or a word for its status.",
    );
    for endpoint in Endpoint::ALL {
        for (error, count) in ERRORS.iter().zip(board.refusals(endpoint)) {
            if count > 0 || endpoint.expects(error) {
                family.sample(&[("endpoint", endpoint.name()), ("error", error)], count);
            }
        }
    }
    let mut family = page.family(
        "edi_http_request_duration_seconds",
        Kind::Histogram,
        "From a request's head to its answer, by class of endpoint; the body and any wait included.",
    );
    for endpoint in Endpoint::ALL {
        family.histogram(&[("endpoint", endpoint.name())], &board.latency(endpoint));
    }
}

/// The token endpoints once more, by grant and outcome: what one looks at first.
fn token_requests(figures: &HttpFigures, page: &mut Page) {
    let mut family = page.family(
        "edi_token_requests_total",
        Kind::Counter,
        "Requests for tokens by grant (client_credentials, legion) and outcome (issued, or the error).",
    );
    for (grant, endpoint) in [("client_credentials", Endpoint::Token), ("legion", Endpoint::Legion)] {
        let [issued, ..] = figures.board.answers(endpoint);
        family.sample(&[("grant", grant), ("outcome", "issued")], issued);
        for (error, count) in ERRORS.iter().zip(figures.board.refusals(endpoint)) {
            if count > 0 || endpoint.expects(error) {
                family.sample(&[("grant", grant), ("outcome", error)], count);
            }
        }
    }
}

fn connections(figures: &HttpFigures, page: &mut Page) {
    let listeners = [("public", &figures.public), ("admin", &figures.admin)];
    let mut family = page.family("edi_connections", Kind::Gauge, "Open connections by listener.");
    for (listener, sockets) in listeners {
        family.sample(&[("listener", listener)], sockets.open());
    }
    let mut family = page.family("edi_connections_limit", Kind::Gauge, "The most open connections by listener.");
    for (listener, sockets) in listeners {
        family.sample(&[("listener", listener)], sockets.limit());
    }
    let mut family =
        page.family("edi_connections_accepted_total", Kind::Counter, "Connections that were accepted, by listener.");
    for (listener, sockets) in listeners {
        family.sample(&[("listener", listener)], sockets.accepted.get());
    }
    let mut family = page.family(
        "edi_connections_cut_total",
        Kind::Counter,
        "Connections that were closed because they stalled, or to make room for new ones (crowded).",
    );
    for (listener, sockets) in listeners {
        family.sample(&[("listener", listener), ("reason", "stalled")], sockets.stalled.get());
        family.sample(&[("listener", listener), ("reason", "crowded")], sockets.crowded.get());
    }
}

fn store(figures: &StoreFigures, page: &mut Page) {
    let mut family = page.family(
        "edi_store_commits_total",
        Kind::Counter,
        "Commits by outcome; conflicts are tried again, of unknown ones it is not known whether they happened.",
    );
    let outcomes: [(&str, &Counter); 5] = [
        ("committed", &figures.committed),
        ("conflict", &figures.conflicts),
        ("unknown", &figures.unknown),
        ("unavailable", &figures.unavailable),
        ("invalid", &figures.invalid),
    ];
    for (outcome, count) in outcomes {
        family.sample(&[("outcome", outcome)], count.get());
    }
    page.family("edi_store_commit_duration_seconds", Kind::Histogram, "How long commits took, syncs included.")
        .histogram(&[], &figures.commits.snapshot());
    let help = "Reads by key that reached the store: what was not in memory.";
    page.one("edi_store_reads_total", Kind::Counter, help, figures.reads.get());
    let help = "Reads, scans and watches that failed.";
    page.one("edi_store_failed_reads_total", Kind::Counter, help, figures.failed_reads.get());
}
