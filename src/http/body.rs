//! Request bodies: bounded in size and in time, never compressed.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use actix_web::{HttpRequest, web};
use futures_util::StreamExt as _;

use super::error::{LegionError, OAuthHttpError};
use super::problem::Problem;
use crate::oauth::error::OAuthError;
use crate::secret::Wiped;

/// The largest body an application's routes take, in bytes; part of the application's data.
#[derive(Debug, Clone)]
pub struct BodyLimit(Arc<AtomicUsize>);

impl BodyLimit {
    /// A limit of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(bytes.into()))
    }

    /// The limit now.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes it for requests to come.
    pub fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// The limit at an OAuth, decision or Legion endpoint: the application's, or [`OAUTH_LIMIT`].
#[must_use]
pub fn oauth_limit(request: &HttpRequest) -> usize {
    request.app_data::<web::Data<BodyLimit>>().map_or(OAUTH_LIMIT, |limit| limit.get())
}

/// The largest body at an OAuth, decision or Legion endpoint unless configured otherwise, in bytes.
pub const OAUTH_LIMIT: usize = 16 * 1024;
/// The largest body at an admin endpoint, in bytes.
pub const ADMIN_LIMIT: usize = 256 * 1024;
/// How long a whole body may take to arrive: less than the server's patience with a whole request, so that whoever
/// stalls is told so before the connection goes.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Why a body was not read. Converts into the refusal of every dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// More bytes than the endpoint takes.
    #[error("the body is too large")]
    TooLarge,
    /// The body stopped coming.
    #[error("the body did not arrive in time")]
    Stalled,
    /// It has a `Content-Encoding`.
    #[error("send the body without compression")]
    Compressed,
    /// Its framing is broken, or the caller left.
    #[error("the body could not be read")]
    Broken,
}

impl BodyError {
    /// The status that says so.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Stalled => StatusCode::REQUEST_TIMEOUT,
            Self::Compressed => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<BodyError> for OAuthHttpError {
    fn from(error: BodyError) -> Self {
        Self::with_status(OAuthError::invalid_request(error.to_string()), error.status())
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        Self::new(error.status()).detail(error.to_string())
    }
}

impl From<BodyError> for LegionError {
    fn from(error: BodyError) -> Self {
        Self::new(error.status(), error.to_string())
    }
}

/// Reads a body of at most `limit` bytes within [`PATIENCE`]. The result is wiped when dropped.
///
/// # Errors
/// [`BodyError`]; the connection is closed after the answer when the rest of the body is left unread.
pub async fn read(headers: &HeaderMap, payload: web::Payload, limit: usize) -> Result<Wiped, BodyError> {
    read_within(headers, payload, limit, PATIENCE).await
}

/// The same with another patience.
///
/// # Errors
/// [`BodyError`].
pub(super) async fn read_within(
    headers: &HeaderMap,
    payload: web::Payload,
    limit: usize,
    patience: Duration,
) -> Result<Wiped, BodyError> {
    let encoded = |value: &actix_web::http::header::HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).any(encoded) {
        return Err(BodyError::Compressed);
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(BodyError::TooLarge);
    }
    let announced = announced.and_then(|length| usize::try_from(length).ok());
    let mut collecting = pin!(collect(payload, limit, announced));
    let (mut asked_before, mut alarm) = (false, None);
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = collecting.as_mut().poll(cx) {
            return Poll::Ready(outcome);
        }
        // A body comes with its head nearly always, and is handed over right after it: only one that is missing when asked
        // for again needs an alarm.
        if !asked_before {
            asked_before = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        alarm.as_mut().poll(cx).map(|()| Err(BodyError::Stalled))
    })
    .await
}

async fn collect(mut payload: web::Payload, limit: usize, announced: Option<usize>) -> Result<Wiped, BodyError> {
    // Room for all of it at once: a vector that grows leaves unwiped copies behind.
    let mut body = Wiped::with_capacity(announced.unwrap_or(limit));
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| match error {
            PayloadError::Overflow => BodyError::TooLarge,
            _ => BodyError::Broken,
        })?;
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge);
        }
        body.extend(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use actix_http::BoxedPayloadStream;
    use actix_web::FromRequest as _;
    use actix_web::dev::Payload;
    use actix_web::test::TestRequest;
    use actix_web::web::Bytes;
    use futures_util::stream;

    use super::*;

    type Chunk = Result<Bytes, PayloadError>;

    async fn read_chunks(
        headers: &[(&str, &str)],
        chunks: impl futures_util::Stream<Item = Chunk> + 'static,
    ) -> Result<Vec<u8>, BodyError> {
        let request = headers.iter().fold(TestRequest::post(), |r, header| r.append_header(*header)).to_http_request();
        let chunks: BoxedPayloadStream = Box::pin(chunks);
        let payload = web::Payload::from_request(&request, &mut Payload::from(chunks)).await.unwrap();
        read(request.headers(), payload, 8).await.map(|body| body.to_vec())
    }

    fn chunks(parts: &[&'static str]) -> impl futures_util::Stream<Item = Chunk> + 'static {
        let parts: Vec<Chunk> = parts.iter().map(|part| Ok(Bytes::from_static(part.as_bytes()))).collect();
        stream::iter(parts)
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        assert_eq!(read_chunks(&[], chunks(&[])).await, Ok(vec![]));
        assert_eq!(read_chunks(&[], chunks(&["abcd", "efgh"])).await.unwrap(), b"abcdefgh");
        assert_eq!(read_chunks(&[], chunks(&["abcd", "efgh", "i"])).await, Err(BodyError::TooLarge));
        assert_eq!(read_chunks(&[("content-length", "9")], chunks(&[])).await, Err(BodyError::TooLarge));
        let broken = stream::iter([Ok(Bytes::from_static(b"a")), Err(PayloadError::Incomplete(None))]);
        assert_eq!(read_chunks(&[], broken).await, Err(BodyError::Broken));
    }

    #[tokio::test]
    async fn compression_is_refused_unless_it_is_none() {
        for coding in ["gzip", "deflate", "br", "GZIP", "identity, gzip", "x"] {
            let sent = [("content-encoding", coding)];
            assert_eq!(read_chunks(&sent, chunks(&["a"])).await, Err(BodyError::Compressed), "{coding}");
        }
        let sent = [("content-encoding", "identity"), ("content-encoding", "gzip")];
        assert_eq!(read_chunks(&sent, chunks(&["a"])).await, Err(BodyError::Compressed));
        assert!(read_chunks(&[("content-encoding", "Identity")], chunks(&["a"])).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_or_drips_is_given_up() {
        assert_eq!(read_chunks(&[], stream::pending()).await, Err(BodyError::Stalled));
        let drip = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            Some((Ok(Bytes::from_static(b"a")), ()))
        });
        let started = tokio::time::Instant::now();
        assert_eq!(read_chunks(&[], drip).await, Err(BodyError::Stalled));
        assert_eq!(started.elapsed(), PATIENCE);
        assert_eq!(BodyError::Stalled.status(), StatusCode::REQUEST_TIMEOUT);
    }
}
