//! One structured line per request, target `edi::access`: what was asked, by whom, what came of it.
//!
//! No query string, no credential, no token is ever part of it. Text of callers is passed as string values, which both
//! log formats escape, so that no byte of it can end the line or forge a field.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix_web::http::{Method, StatusCode};
use tracing::Level;

use super::exchange::Exchange;
use super::traffic::{Endpoint, ErrorCode, Traffic, code_of};
#[cfg(feature = "otel")]
use crate::ambient::{Clock as _, SystemClock};
use crate::oauth::refusals::Refused;
#[cfg(feature = "otel")]
use crate::telemetry::otel;
use crate::telemetry::{self, Members};

/// The longest path that is logged, in bytes.
const MAX_PATH: usize = 256;
/// The status of a request whose caller left before the answer.
const ABANDONED: u16 = 499;

/// A request under way. Dropped without [`Line::end`] it is logged as abandoned.
pub(super) struct Line {
    started: Instant,
    method: Method,
    path: Cow<'static, str>,
    exchange: Rc<Exchange>,
    endpoint: Endpoint,
    traffic: Arc<Traffic>,
    ended: bool,
}

impl Line {
    pub(super) fn begin(
        method: &Method,
        path: &str,
        exchange: Rc<Exchange>,
        endpoint: Endpoint,
        traffic: Arc<Traffic>,
    ) -> Self {
        let path = well_known(path).map_or_else(|| presentable(path).into_owned().into(), Cow::Borrowed);
        Self { started: Instant::now(), method: method.clone(), path, exchange, endpoint, traffic, ended: false }
    }

    /// The answer is ready.
    pub(super) fn end(
        mut self,
        status: StatusCode,
        bytes: Option<u64>,
        error: Option<ErrorCode>,
        reason: Option<&str>,
    ) {
        self.ended = true;
        let micros = self.micros();
        self.traffic.answered(self.endpoint, status, micros, error);
        self.write(status.as_u16(), micros, bytes, reason);
    }

    /// Its refusal, as it is remembered: what the line holds.
    pub(super) fn refused(&self, status: StatusCode, error: Option<ErrorCode>, reason: &str) -> Refused {
        let status = status.as_u16();
        let asked = self.exchange.asked();
        let action = asked.as_ref().map(|(action, _)| *action).or_else(|| self.endpoint.action());
        Refused {
            request_id: self.exchange.id().into(),
            status,
            code: error.map_or_else(|| code_of(status), |ErrorCode(code)| code),
            reason: reason.into(),
            method: shown(&self.method).into(),
            path: (*self.path).into(),
            address: self.exchange.address(),
            client_id: self.exchange.client().clone(),
            action,
            target: asked.map(|(_, target)| target).unwrap_or_default(),
        }
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn write(&self, status: u16, micros: u64, bytes: Option<u64>, reason: Option<&str>) {
        let client = self.exchange.client();
        #[cfg(feature = "otel")]
        otel::request(otel::Request {
            method: shown(&self.method),
            endpoint: self.endpoint.name(),
            path: &self.path,
            status,
            ended: SystemClock.now(),
            micros,
            request_id: self.exchange.id(),
            client_id: client.as_deref(),
            traceparent: self.exchange.traceparent(),
        });
        Entry {
            method: shown(&self.method),
            path: &self.path,
            status,
            micros,
            bytes,
            address: self.exchange.address(),
            request_id: self.exchange.id(),
            trace_id: self.exchange.trace_id(),
            client_id: client.as_deref(),
            reason,
        }
        .write();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.ended {
            let micros = self.micros();
            self.traffic.abandoned(self.endpoint, micros);
            self.write(ABANDONED, micros, None, Some("the caller left before the answer"));
        }
    }
}

/// What a line says.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) status: u16,
    pub(super) micros: u64,
    pub(super) bytes: Option<u64>,
    pub(super) address: Option<IpAddr>,
    pub(super) request_id: &'a str,
    pub(super) trace_id: Option<&'a str>,
    pub(super) client_id: Option<&'a str>,
    pub(super) reason: Option<&'a str>,
}

const TARGET: &str = "edi::access";

impl Entry<'_> {
    pub(super) fn write(&self) {
        let failed = self.status == StatusCode::INTERNAL_SERVER_ERROR.as_u16();
        if !telemetry::is_json() {
            self.trace(failed);
        } else if failed && tracing::enabled!(target: TARGET, Level::ERROR) {
            telemetry::json_line(Level::ERROR, TARGET, |members| self.tell(members));
        } else if !failed && tracing::enabled!(target: TARGET, Level::INFO) {
            telemetry::json_line(Level::INFO, TARGET, |members| self.tell(members));
        }
    }

    /// The same members in the same order as those of [`Entry::trace`].
    fn tell(&self, members: &mut Members<'_>) {
        members.text("method", self.method);
        members.text("path", self.path);
        members.number("status", self.status.into());
        members.number("micros", self.micros);
        self.bytes.inspect(|bytes| members.number("bytes", *bytes));
        self.address.inspect(|address| members.address("address", *address));
        members.text("request_id", self.request_id);
        self.trace_id.inspect(|id| members.text("trace_id", id));
        self.client_id.inspect(|id| members.text("client_id", id));
        self.reason.inspect(|reason| members.text("reason", reason));
    }

    fn trace(&self, failed: bool) {
        let Self { method, path, status, micros, bytes, request_id, trace_id, client_id, reason, .. } = *self;
        let address = self.address.map(tracing::field::display);
        if failed {
            tracing::error!(
                target: TARGET,
                method, path, status, micros, bytes, address, request_id, trace_id, client_id, reason
            );
        } else {
            tracing::info!(
                target: TARGET,
                method, path, status, micros, bytes, address, request_id, trace_id, client_id, reason
            );
        }
    }
}

/// A method's name when it is a registered one; others are a caller's free text of any length.
fn shown(method: &Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" | "TRACE" | "CONNECT") => known,
        _ => "other",
    }
}

/// The names in a path as the id of what is asked for; nothing where they are no ids.
pub(super) fn as_target(names: &[Cow<'_, str>]) -> Box<str> {
    let joined = names.join("/");
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':' | b'/');
    let harmless = joined.len() <= 200 && joined.bytes().all(fits) && matches!(presentable(&joined), Cow::Borrowed(_));
    if harmless { joined.into() } else { "".into() }
}

/// The paths that are asked for most: nothing in them is to be looked for or copied.
fn well_known(path: &str) -> Option<&'static str> {
    ["/oauth2/token", "/oauth2/introspect", "/authz", "/authz/nginx", "/authz/forwarded", "/.well-known/jwks.json"]
        .into_iter()
        .find(|known| *known == path)
}

/// The path without what looks like a token or a secret of edi's, and not longer than [`MAX_PATH`]: people paste
/// credentials into the oddest places.
fn presentable(path: &str) -> Cow<'_, str> {
    let secret = |segment: &str| ["eyJ", "edi_"].iter().any(|mark| segment.contains(mark));
    if path.len() <= MAX_PATH && !secret(path) {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(MAX_PATH + 16);
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            out.push('/');
        }
        out.push_str(if secret(segment) { "[redacted]" } else { segment });
        if out.len() > MAX_PATH {
            out.truncate(out.floor_char_boundary(MAX_PATH));
            out.push('…');
            break;
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Format;
    use crate::telemetry::testing::logged;

    #[test]
    fn paths_are_logged_short_and_without_credentials() {
        assert_eq!(presentable("/oauth2/token"), "/oauth2/token");
        assert_eq!(presentable("/a/eyJhbGciOi.eyJ.sig/b"), "/a/[redacted]/b");
        assert_eq!(presentable("/x;secret=edi_ab_cd"), "/[redacted]");
        let long = presentable(&"/ä".repeat(500)).into_owned();
        assert!(long.len() <= MAX_PATH + '…'.len_utf8() && long.ends_with('…'), "{long}");
    }

    #[test]
    fn a_line_is_the_same_whichever_way_it_is_written() {
        let whole = Entry {
            method: "GET",
            path: "/a\"\n",
            status: 500,
            micros: 7,
            bytes: Some(0),
            address: "192.0.2.1".parse().ok(),
            request_id: "r1",
            trace_id: Some("0af7651916cd43dd8448eb211c80319c"),
            client_id: Some("svc"),
            reason: Some("a \\ b"),
        };
        let address = "2001:db8::1".parse().ok();
        let least = Entry { status: 200, bytes: None, address, trace_id: None, client_id: None, reason: None, ..whole };
        for (entry, level) in [(whole, Level::ERROR), (least, Level::INFO)] {
            let traced = logged(Format::Json, "info", || entry.trace(level == Level::ERROR));
            let told = telemetry::testing::told(level, TARGET, |members| entry.tell(members));
            let after_the_time = |line: &str| line.split_once(",\"level\"").map(|(_, rest)| rest.to_owned());
            assert!(after_the_time(&told).is_some());
            assert_eq!(after_the_time(&told), after_the_time(&traced));
        }
    }

    #[test]
    fn a_target_is_an_id_or_nothing() {
        let target = |name: &'static str| as_target(&["svc".into(), name.into()]).into_string();
        assert_eq!(target("k3v9x1q7abcd"), "svc/k3v9x1q7abcd");
        for none in ["edi_ab_cd", "eyJhbGciOi", "a b", "\u{1b}[31m"] {
            assert_eq!(target(none), "", "{none}");
        }
        assert_eq!(&*as_target(&[]), "");
    }

    #[test]
    fn unknown_methods_are_not_logged_by_name() {
        assert_eq!(shown(&Method::POST), "POST");
        assert_eq!(shown(&Method::from_bytes(b"FORGED").unwrap()), "other");
    }
}
