//! A connection that cannot be held open by doing nothing, and that answers nonsense with manners.
//!
//! actix-http limits the time for the first head of a connection and for idle keep-alive. It sets no limit on the head of
//! a later request, on a caller that does not read its answers, nor on the answers it piles up for one that pipelines
//! without reading. This wraps the socket below it and closes those gaps. What it cannot parse actix-http answers by
//! itself, past every route and layer, with an empty 400, 408 or 431: here such an answer gets its request id, headers,
//! body and log line.
//!
//! Knows bytes and deadlines; no request ever becomes visible here.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::access_log::Entry;
use super::crowd::{Doing, Place};
use super::exchange::{Ids, REQUEST_ID};
use super::fragment::Guard;
use super::manners::Listener;
use super::traffic::{Endpoint, Sockets, Traffic};
use crate::ambient::Entropy;

/// A length of time that may change while edi serves; clones are the same one.
#[derive(Debug, Clone)]
pub struct LiveSpan(Arc<AtomicU64>);

impl LiveSpan {
    /// One of this length.
    #[must_use]
    pub fn new(length: Duration) -> Self {
        let span = Self(Arc::default());
        span.set(length);
        span
    }

    /// Its length now, in whole milliseconds.
    #[must_use]
    pub fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    /// Changes it, for what waits already too.
    pub fn set(&self, length: Duration) {
        self.0.store(u64::try_from(length.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// The longest a connection may stall.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    /// From the first byte of a request until its answer starts.
    pub(super) request: LiveSpan,
    /// For the caller to take what is to be written.
    pub(super) write: Duration,
}

/// What all connections of a listener share.
pub(super) struct Terms {
    pub(super) listener: Listener,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) patience: Patience,
    /// Where answers to what does not parse are counted.
    pub(super) traffic: Arc<Traffic>,
    pub(super) sockets: Arc<Sockets>,
}

/// A socket under guard.
pub(super) struct Connection<T> {
    io: T,
    address: Option<IpAddr>,
    terms: Arc<Terms>,
    place: Place,
    /// When the first byte since the last answer came.
    receiving: Option<Instant>,
    fragments: Guard,
    /// Since when the caller does not take what is to be written.
    blocked: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
    /// An answer of our own in place of a bare one, as far as it is not yet written.
    own: Vec<u8>,
    own_written: usize,
}

impl<T> Connection<T> {
    pub(super) fn new(io: T, address: Option<IpAddr>, terms: Arc<Terms>, place: Place) -> Self {
        let address = address.map(|address| address.to_canonical());
        terms.sockets.accepted.one();
        Self {
            io,
            address,
            terms,
            place,
            receiving: None,
            fragments: Guard::default(),
            blocked: None,
            alarm: None,
            own: Vec::new(),
            own_written: 0,
        }
    }

    /// What is guarded.
    pub(super) fn get_ref(&self) -> &T {
        &self.io
    }

    /// Whether a wait that began at `since` is over its limit; if not, wakes the task when it is.
    fn overdue(&mut self, cx: &mut Context<'_>, since: Instant, limit: Duration) -> bool {
        let due = since + limit;
        loop {
            // An alarm that is set for an earlier moment may stay: it rings, and is set again then. So a busy
            // connection sets its alarm once in many requests, and need not ask for the time in between.
            if let Some(alarm) = &mut self.alarm
                && alarm.deadline() <= due
                && alarm.as_mut().poll(cx).is_pending()
            {
                return false;
            }
            if Instant::now() >= due {
                return true;
            }
            match &mut self.alarm {
                Some(alarm) => alarm.as_mut().reset(due),
                None => self.alarm = Some(Box::pin(sleep_until(due))),
            }
        }
    }
}

impl<T> Drop for Connection<T> {
    fn drop(&mut self) {
        self.terms.sockets.closed.one();
    }
}

pub(super) fn crowded() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection made room for another")
}

fn stalled(terms: &Terms) -> io::Error {
    terms.sockets.stalled.one();
    io::Error::new(io::ErrorKind::TimedOut, "the connection stalled")
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.place.seat.given_up(cx) {
            return Poll::Ready(Err(crowded()));
        }
        if this.blocked.is_some() {
            // Whoever does not take answers gets no more requests read. The write that ends this wakes the task.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if buf.filled().len() > before {
                    if matches!(this.terms.listener, Listener::Public) {
                        this.fragments.read(buf.filled_mut().get_mut(before..).unwrap_or_default());
                    }
                    let now = Instant::now();
                    this.place.seat.does(Doing::Busy, now);
                    let since = *this.receiving.get_or_insert(now);
                    if now.duration_since(since) > this.terms.patience.request.get() {
                        return Poll::Ready(Err(stalled(&this.terms)));
                    }
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                if let Some(since) = this.receiving
                    && this.overdue(cx, since, this.terms.patience.request.get())
                {
                    return Poll::Ready(Err(stalled(&this.terms)));
                }
                Poll::Pending
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> Connection<T> {
    /// Writes and keeps the books: a caller is blocked until all of what is at hand is taken.
    fn write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.place.seat.given_up(cx) {
            return Poll::Ready(Err(crowded()));
        }
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        match outcome {
            Poll::Ready(Ok(written)) if written == buf.len() => {
                self.receiving = None;
                self.place.seat.now(Doing::Idle);
                if self.blocked.take().is_some() {
                    cx.waker().wake_by_ref();
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Ready(Ok(_)) | Poll::Pending => {
                let since = *self.blocked.get_or_insert_with(Instant::now);
                self.place.seat.now(Doing::Busy);
                if self.overdue(cx, since, self.terms.patience.write) {
                    return Poll::Ready(Err(stalled(&self.terms)));
                }
            }
        }
        outcome
    }

    fn write_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.own_written < self.own.len() {
            let own = std::mem::take(&mut self.own);
            let outcome = self.write(cx, own.get(self.own_written..).unwrap_or_default());
            self.own = own;
            match ready!(outcome)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.own_written += written,
            }
        }
        self.own.clear();
        self.own_written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.write_own(cx))?;
        if let Some((at, status)) = bare(buf) {
            let id = Ids::default().next(&*this.terms.entropy);
            let (before, bare) = buf.split_at(at);
            this.own = [before, mannered(bare, status, this.terms.listener, &id).as_bytes()].concat();
            this.terms.traffic.answered(Endpoint::Unreadable, status, 0, None);
            Entry {
                method: "-",
                path: "-",
                status: status.as_u16(),
                micros: 0,
                bytes: None,
                address: this.address,
                request_id: &id,
                trace_id: None,
                client_id: None,
                reason: Some("the request could not be read"),
            }
            .write();
            // Taken over in whole; what the socket does not take now goes out with the flush.
            if let Poll::Ready(Err(error)) = this.write_own(cx) {
                return Poll::Ready(Err(error));
            }
            return Poll::Ready(Ok(buf.len()));
        }
        this.write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.write_own(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.write_own(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

/// The longest head of a bare answer.
const LONGEST_BARE: usize = 256;

/// Whether what is to be written ends in an answer that passed no layer of ours: where it starts, and its status.
fn bare(buf: &[u8]) -> Option<(usize, StatusCode)> {
    const START: &[u8] = b"HTTP/1.1 4";
    if !buf.ends_with(b"\r\n\r\n") {
        return None;
    }
    let tail_at = buf.len().saturating_sub(LONGEST_BARE);
    let tail = buf.get(tail_at..)?;
    let at = tail.windows(START.len()).rposition(|window| window == START)?;
    let head = std::str::from_utf8(tail.get(at..)?).ok()?;
    let lines = || head.split("\r\n").skip(1);
    let named = |name: &str| lines().any(|line| line.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name)));
    if named(REQUEST_ID.as_str()) || !lines().any(|line| line.eq_ignore_ascii_case("content-length: 0")) {
        return None;
    }
    let status = head.get(9..12)?.parse().ok().and_then(|code: u16| StatusCode::from_u16(code).ok())?;
    Some((tail_at + at, status))
}

/// A bare answer with a body, a request id and the usual headers. Its own status line and date stay.
fn mannered(bare: &[u8], status: StatusCode, listener: Listener, id: &str) -> String {
    let (content_type, body) = listener.dialect("").body(status, id);
    let bare = std::str::from_utf8(bare).unwrap_or_default();
    let kept = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        !line.is_empty() && !["content-length", "connection"].iter().any(|own| name.eq_ignore_ascii_case(own))
    };
    let kept: String = bare.split("\r\n").filter(kept).flat_map(|line| [line, "\r\n"]).collect();
    format!(
        "{kept}content-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\
         cache-control: no-store\r\nx-content-type-options: nosniff\r\n{REQUEST_ID}: {id}\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::super::crowd::{Crowd, Entry as Seated};
    use super::*;

    fn terms() -> Arc<Terms> {
        Arc::new(Terms {
            listener: Listener::Public,
            entropy: crate::ambient::SeededEntropy::new(1),
            patience: Patience { request: LiveSpan::new(Duration::from_secs(30)), write: Duration::from_secs(20) },
            traffic: Arc::default(),
            sockets: Arc::default(),
        })
    }

    fn place() -> Place {
        match Crowd::new(1).enter(None) {
            Seated::Room(place) => place,
            other => panic!("{other:?}"),
        }
    }

    const BARE: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\ndate: now\r\n\r\n";

    #[test]
    fn a_bare_answer_is_found_at_the_end_of_what_is_written() {
        assert_eq!(bare(BARE.as_bytes()), Some((0, StatusCode::BAD_REQUEST)));
        let fine = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-request-id: a\r\n\r\nhi";
        assert_eq!(bare(format!("{fine}{BARE}").as_bytes()), Some((fine.len(), StatusCode::BAD_REQUEST)));
        let mannered = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nX-Request-Id: a\r\n\r\n";
        for other in [fine, mannered, "", "\r\n\r\n", "HTTP/1.1 304 Not Modified\r\n\r\n", &BARE[1..]] {
            assert_eq!(bare(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_bare_answer_gets_manners() {
        let text = mannered(BARE.as_bytes(), StatusCode::BAD_REQUEST, Listener::Public, "r1");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\ndate: now\r\n"), "{head}");
        assert!(head.contains("\r\nx-request-id: r1") && head.contains(&format!("content-length: {}", body.len())));
        assert_eq!(head.matches("content-length").count(), 1);
        assert_eq!(body, r#"{"error":"invalid_request","error_description":"the request is malformed"}"#);
        let text = mannered(BARE.as_bytes(), StatusCode::BAD_REQUEST, Listener::Admin, "r1");
        assert!(text.contains("application/problem+json") && text.contains("urn:edi:request:r1"), "{text}");
    }

    #[test]
    fn a_bare_answer_is_replaced_piece_by_piece_and_logged() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut told = String::new();
        let line = crate::telemetry::testing::logged(crate::telemetry::Format::Json, "info", || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                // A pipe that is smaller than the answer.
                let (ours, mut theirs) = tokio::io::duplex(16);
                let address = "::ffff:192.0.2.1".parse().ok();
                let mut connection = Connection::new(ours, address, terms(), place());
                let write = async {
                    connection.write_all(BARE.as_bytes()).await.unwrap();
                    connection.shutdown().await.unwrap();
                };
                let ((), read) = tokio::join!(write, theirs.read_to_string(&mut told));
                read.unwrap();
            });
        });
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((line["status"].as_u64(), line["address"].as_str()), (Some(400), Some("192.0.2.1")));
        let id = line["request_id"].as_str().unwrap();
        assert_eq!(told, mannered(BARE.as_bytes(), StatusCode::BAD_REQUEST, Listener::Public, id));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_does_not_read_is_cut_off_and_not_read_from() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut connection = Connection::new(ours, None, terms(), place());
        theirs.write_all(b"GET").await.unwrap();
        let started = Instant::now();
        let error = connection.write_all(&[b'x'; 1000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), 20);
        let read = tokio::time::timeout(Duration::from_secs(5), connection.read_u8()).await;
        assert!(read.is_err(), "nothing is read while answers are not taken");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_drips_is_cut_off() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut connection = Connection::new(ours, None, terms(), place());
        // Idle time does not count: that is keep-alive's.
        tokio::time::sleep(Duration::from_secs(100)).await;
        let started = Instant::now();
        tokio::spawn(async move {
            while theirs.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(7)).await;
            }
        });
        let error = loop {
            if let Err(error) = connection.read_u8().await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), 30);
    }
}
