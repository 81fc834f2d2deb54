//! What each worker counts of the requests it answers: how many, how long, what was refused and why.
//!
//! Every worker has counters of its own, so that none waits for another's; a reader adds them up. The endpoints are
//! classes, the refusals come from one list, so that no caller can make the figures grow.

use std::array;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::StatusCode;

use super::manners::Listener;
use crate::metrics::{Counter, Histogram, Snapshot};

/// A class of endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /oauth2/token`
    Token,
    /// `POST /oauth2/introspect`
    Introspect,
    /// `POST /oauth2/revoke`
    Revoke,
    /// `/authz…`
    Authz,
    /// `POST /api/v1/model/token`
    Legion,
    /// The JWKS, under both its names.
    Jwks,
    /// Discovery documents.
    Metadata,
    /// `/health/…`
    Health,
    /// `/admin/v1/…`
    Admin,
    /// `GET /metrics`
    Metrics,
    /// Any other path.
    Other,
    /// What could not be read as a request.
    Unreadable,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Token,
        Self::Introspect,
        Self::Revoke,
        Self::Authz,
        Self::Legion,
        Self::Jwks,
        Self::Metadata,
        Self::Health,
        Self::Admin,
        Self::Metrics,
        Self::Other,
        Self::Unreadable,
    ];

    /// The value of the label `endpoint`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Introspect => "introspect",
            Self::Revoke => "revoke",
            Self::Authz => "authz",
            Self::Legion => "legion_token",
            Self::Jwks => "jwks",
            Self::Metadata => "metadata",
            Self::Health => "health",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
            Self::Other => "other",
            Self::Unreadable => "unreadable",
        }
    }

    /// What a caller asks for here, as the audit trail calls it. The admin API knows better; elsewhere no caller is
    /// authenticated, or it is not the caller that is judged.
    #[must_use]
    pub const fn action(self) -> Option<&'static str> {
        match self {
            Self::Token => Some("token.issue"),
            Self::Introspect => Some("token.introspect"),
            Self::Revoke => Some("token.revoke"),
            Self::Legion => Some("legion.token"),
            _ => None,
        }
    }

    /// Whether this error is shown before it happened once: a rate cannot be told from a first sample.
    #[must_use]
    pub fn expects(self, error: &str) -> bool {
        match self {
            Self::Token => matches!(
                error,
                "invalid_request"
                    | "invalid_client"
                    | "unsupported_grant_type"
                    | "invalid_scope"
                    | "invalid_target"
                    | "temporarily_unavailable"
                    | "slow_down"
                    | "server_error"
            ),
            Self::Introspect | Self::Revoke => matches!(
                error,
                "invalid_request" | "invalid_client" | "temporarily_unavailable" | "slow_down" | "server_error"
            ),
            Self::Legion => matches!(
                error,
                "invalid_request"
                    | "unauthenticated"
                    | "forbidden"
                    | "temporarily_unavailable"
                    | "slow_down"
                    | "server_error"
            ),
            Self::Authz => matches!(
                error,
                "no_token" | "invalid_token" | "insufficient_scope" | "temporarily_unavailable" | "server_error"
            ),
            Self::Admin => matches!(
                error,
                "no_token" | "invalid_token" | "insufficient_scope" | "temporarily_unavailable" | "server_error"
            ),
            Self::Health => error == "temporarily_unavailable",
            Self::Unreadable => error == "invalid_request",
            Self::Jwks | Self::Metadata | Self::Metrics | Self::Other => false,
        }
    }

    /// The class of a path. `issuer_path` is the path of the issuer, under which the public endpoints answer as well.
    #[must_use]
    pub fn of(listener: Listener, path: &str, issuer_path: &str) -> Self {
        if path.starts_with("/health/") {
            return Self::Health;
        }
        if listener == Listener::Admin {
            return match path {
                "/metrics" => Self::Metrics,
                "/admin/v1" => Self::Admin,
                _ if path.starts_with("/admin/v1/") => Self::Admin,
                _ => Self::Other,
            };
        }
        let path = if issuer_path.is_empty() { path } else { path.strip_prefix(issuer_path).unwrap_or(path) };
        match path {
            "/oauth2/token" => Self::Token,
            "/oauth2/introspect" => Self::Introspect,
            "/oauth2/revoke" => Self::Revoke,
            "/api/v1/model/token" => Self::Legion,
            "/.well-known/jwks.json" | "/api/v1/model/jwks" => Self::Jwks,
            "/authz" => Self::Authz,
            _ if path.starts_with("/authz/") => Self::Authz,
            _ if path.starts_with("/.well-known/") => Self::Metadata,
            _ => Self::Other,
        }
    }
}

/// Classes of answers, as the label `status`.
pub const STATUSES: [&str; 6] = ["2xx", "3xx", "4xx", "499", "5xx", "1xx"];

fn class(status: u16) -> usize {
    match status {
        499 => 3,
        200..=299 => 0,
        300..=399 => 1,
        400..=498 => 2,
        500.. => 4,
        _ => 5,
    }
}

/// The label `error` of a refusal: the code of RFC 6749 and RFC 6750 where the answer has one, else a word for its
/// status.
pub const ERRORS: [&str; 23] = [
    "invalid_request",
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "temporarily_unavailable",
    "slow_down",
    "server_error",
    "no_token",
    "invalid_token",
    "insufficient_scope",
    "unauthenticated",
    "forbidden",
    "not_found",
    "method_not_allowed",
    "request_timeout",
    "conflict",
    "too_large",
    "unsupported_media_type",
    "invalid_fields",
    "abandoned",
    "other",
];

/// The code of a refusal, in an answer's extensions; where it is missing the status speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(pub &'static str);

/// The word for a status, where an answer has no code.
pub(super) fn code_of(status: u16) -> &'static str {
    match status {
        400 => "invalid_request",
        401 => "unauthenticated",
        403 => "forbidden",
        404 => "not_found",
        405 => "method_not_allowed",
        408 => "request_timeout",
        409 | 412 => "conflict",
        413 | 431 => "too_large",
        415 => "unsupported_media_type",
        422 => "invalid_fields",
        429 => "slow_down",
        499 => "abandoned",
        500 => "server_error",
        503 => "temporarily_unavailable",
        _ => "other",
    }
}

/// What was seen of one class of endpoints.
#[derive(Debug)]
struct Seen {
    answers: [Counter; STATUSES.len()],
    refusals: [Counter; ERRORS.len()],
    latency: Histogram,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            answers: array::from_fn(|_| Counter::new()),
            refusals: array::from_fn(|_| Counter::new()),
            latency: Histogram::default(),
        }
    }
}

/// What one worker counts.
#[derive(Debug)]
pub struct Traffic([Seen; Endpoint::ALL.len()]);

impl Default for Traffic {
    fn default() -> Self {
        Self(array::from_fn(|_| Seen::default()))
    }
}

impl Traffic {
    /// An answer was given.
    pub fn answered(&self, endpoint: Endpoint, status: StatusCode, micros: u64, error: Option<ErrorCode>) {
        self.note(endpoint, status.as_u16(), micros, error);
    }

    /// The caller left before the answer.
    pub fn abandoned(&self, endpoint: Endpoint, micros: u64) {
        self.note(endpoint, 499, micros, None);
    }

    fn note(&self, endpoint: Endpoint, status: u16, micros: u64, error: Option<ErrorCode>) {
        let Some(seen) = self.0.get(endpoint as usize) else { return };
        seen.latency.observe_micros(micros);
        if let Some(answers) = seen.answers.get(class(status)) {
            answers.one();
        }
        if status >= 400 {
            let code = error.map_or_else(|| code_of(status), |ErrorCode(code)| code);
            let at = ERRORS.iter().position(|known| *known == code).unwrap_or(ERRORS.len() - 1);
            if let Some(refusals) = seen.refusals.get(at) {
                refusals.one();
            }
        }
    }
}

/// The traffic of every worker.
#[derive(Debug, Default)]
pub struct Board(Mutex<Vec<Arc<Traffic>>>);

impl Board {
    /// Counters for one more worker.
    #[must_use]
    pub fn join(&self) -> Arc<Traffic> {
        let traffic = Arc::<Traffic>::default();
        self.workers().push(Arc::clone(&traffic));
        traffic
    }

    /// Answers of an endpoint by class of status.
    #[must_use]
    pub fn answers(&self, endpoint: Endpoint) -> [u64; STATUSES.len()] {
        self.sum(endpoint, |seen| &seen.answers)
    }

    /// Refusals of an endpoint by code.
    #[must_use]
    pub fn refusals(&self, endpoint: Endpoint) -> [u64; ERRORS.len()] {
        self.sum(endpoint, |seen| &seen.refusals)
    }

    /// How long answers of an endpoint took.
    #[must_use]
    pub fn latency(&self, endpoint: Endpoint) -> Snapshot {
        let workers = self.workers();
        let all = workers.iter().filter_map(|traffic| traffic.0.get(endpoint as usize));
        all.map(|seen| seen.latency.snapshot()).fold(Snapshot::default(), |sum, one| sum.plus(&one))
    }

    fn sum<const N: usize>(&self, endpoint: Endpoint, of: impl Fn(&Seen) -> &[Counter; N]) -> [u64; N] {
        let mut sums = [0; N];
        for traffic in self.workers().iter() {
            let Some(seen) = traffic.0.get(endpoint as usize) else { continue };
            for (sum, counter) in sums.iter_mut().zip(of(seen)) {
                *sum += counter.get();
            }
        }
        sums
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Traffic>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What happens to the connections of a listener.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Accepted so far.
    pub accepted: Counter,
    /// Closed so far, for whatever reason.
    pub closed: Counter,
    /// Closed because they stalled.
    pub stalled: Counter,
    /// Closed to make room for new ones.
    pub crowded: Counter,
    limit: AtomicUsize,
}

impl Sockets {
    /// Open now.
    #[must_use]
    pub fn open(&self) -> u64 {
        // Closed first: the other way around it could be ahead.
        let closed = self.closed.get();
        self.accepted.get().saturating_sub(closed)
    }

    /// The most there may be.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Says the most there may be.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }
}

/// What is counted of both listeners.
#[derive(Debug, Default)]
pub struct HttpFigures {
    /// Requests.
    pub board: Arc<Board>,
    /// Connections of the public listener.
    pub public: Arc<Sockets>,
    /// Connections of the admin listener.
    pub admin: Arc<Sockets>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::error::Code;

    #[test]
    fn paths_fall_into_classes() {
        for (path, wanted) in [
            ("/oauth2/token", Endpoint::Token),
            ("/tenant/oauth2/token", Endpoint::Token),
            ("/x/oauth2/token", Endpoint::Other),
            ("/oauth2/token/", Endpoint::Other),
            ("/authz", Endpoint::Authz),
            ("/authz/envoy/a/b", Endpoint::Authz),
            ("/authzz", Endpoint::Other),
            ("/.well-known/openid-configuration", Endpoint::Metadata),
            ("/api/v1/model/jwks", Endpoint::Jwks),
            ("/health/ready", Endpoint::Health),
            ("/metrics", Endpoint::Other),
            ("/admin/v1/clients", Endpoint::Other),
        ] {
            assert_eq!(Endpoint::of(Listener::Public, path, "/tenant"), wanted, "{path}");
        }
        for (path, wanted) in [
            ("/admin/v1/clients/a", Endpoint::Admin),
            ("/metrics", Endpoint::Metrics),
            ("/health/live", Endpoint::Health),
            ("/oauth2/token", Endpoint::Other),
        ] {
            assert_eq!(Endpoint::of(Listener::Admin, path, "/tenant"), wanted, "{path}");
        }
        for (at, endpoint) in Endpoint::ALL.into_iter().enumerate() {
            assert_eq!(endpoint as usize, at);
        }
    }

    #[test]
    fn every_refusal_has_a_place_of_its_own() {
        for code in Code::ALL {
            assert!(ERRORS.contains(&code.wire().0), "{code:?}");
        }
        for status in 400..=599 {
            assert!(ERRORS.contains(&code_of(status)), "{status}");
        }
    }

    #[test]
    fn workers_add_up() {
        let board = Board::default();
        let (one, two) = (board.join(), board.join());
        one.answered(Endpoint::Token, StatusCode::OK, 40, None);
        two.answered(Endpoint::Token, StatusCode::OK, 40, None);
        two.answered(Endpoint::Token, StatusCode::UNAUTHORIZED, 40, Some(ErrorCode("invalid_client")));
        two.abandoned(Endpoint::Admin, 40);
        assert_eq!(board.answers(Endpoint::Token), [2, 0, 1, 0, 0, 0]);
        assert_eq!(board.answers(Endpoint::Admin), [0, 0, 0, 1, 0, 0]);
        assert_eq!(board.refusals(Endpoint::Token)[1], 1);
        assert_eq!(board.refusals(Endpoint::Token).iter().sum::<u64>(), 1);
        assert_eq!(board.latency(Endpoint::Token).count(), 3);
    }
}
