//! One HTTP exchange: a bounded answer, or a failure that says whether anybody was there.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, Identity, Method, RequestBuilder, Response, redirect};
use serde::de::DeserializeOwned;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::{Exit, Failure};

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// The longest that a download may take…
const LONGEST_DOWNLOAD: Duration = Duration::from_hours(12);
/// …and the longest without a byte of it.
const LONGEST_SILENCE: Duration = Duration::from_mins(1);

/// An answer, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// `X-Request-Id`, by which the server's log is searched.
    pub(super) request_id: Option<String>,
    /// `WWW-Authenticate`.
    pub(super) challenge: Option<String>,
    /// `Retry-After`.
    pub(super) retry_after: Option<String>,
    /// `ETag`.
    pub(super) etag: Option<String>,
    /// The body.
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; `None` for anything else.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Whether the status is 2xx.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Starts a request that carries nothing and believes nothing: whoever answers may have any certificate. For health
/// checks, which reach the server by an address that its certificate does not name.
pub(super) fn unverified(method: Method, url: &str) -> Result<RequestBuilder, Failure> {
    start(method, url, |client| client.tls_danger_accept_invalid_certs(true))
}

/// Starts a request. Loopback is never reached through a proxy, redirects are not followed: both could carry secrets
/// to somebody else.
pub(super) fn request(method: Method, url: &str) -> Result<RequestBuilder, Failure> {
    let identity = client_certificate()?;
    start(method, url, |client| match identity {
        Some(identity) => client.identity(identity),
        None => client,
    })
}

/// The certificate that `EDI_TLS_CERT` and `EDI_TLS_KEY` name, for listeners that ask for one.
fn client_certificate() -> Result<Option<Identity>, Failure> {
    let file = |name: &str| std::env::var_os(name).filter(|file| !file.is_empty());
    let (Some(certificate), Some(key)) = (file("EDI_TLS_CERT"), file("EDI_TLS_KEY")) else { return Ok(None) };
    let unusable = |file: &std::ffi::OsStr, why: String| {
        Failure::new(Exit::Data, format!("{}: {why}", file.display()))
            .hint("EDI_TLS_CERT and EDI_TLS_KEY name PEM files")
    };
    let mut pem = Zeroizing::new(std::fs::read(&key).map_err(|error| unusable(&key, error.to_string()))?);
    pem.push(b'\n');
    pem.extend(std::fs::read(&certificate).map_err(|error| unusable(&certificate, error.to_string()))?);
    match Identity::from_pem(&pem) {
        Ok(identity) => Ok(Some(identity)),
        Err(_) => Err(unusable(&certificate, "no certificate with its key".into())),
    }
}

fn start(
    method: Method,
    url: &str,
    also: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Result<RequestBuilder, Failure> {
    // A second installation finds the first in place, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = Url::parse(url).map_err(|error| Failure::new(Exit::Usage, format!("{url} is no URL: {error}")))?;
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    let client = Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(30))
        .redirect(redirect::Policy::none())
        .user_agent(concat!("edi/", env!("CARGO_PKG_VERSION")));
    let client = if loopback { client.no_proxy() } else { client };
    // Without TLS the machine's certificate authorities do not matter; a slim container may have none.
    let client = if url.scheme() == "http" { client.tls_certs_only([]) } else { client };
    let client = also(client).build().map_err(|error| {
        Failure::new(Exit::Failed, format!("no HTTP client: {}", root_cause(&error)))
            .hint("https needs the system's certificate authorities: install ca-certificates, or set SSL_CERT_FILE")
    })?;
    Ok(client.request(method, url))
}

/// Sends it and reads the whole answer. `next` is what to do when nobody answers.
pub(super) async fn send(request: RequestBuilder, who: &str, next: &str) -> Result<Answer, Failure> {
    let (response, answer) = begin(request, who, next).await?;
    rest(response, answer, who, next).await
}

/// Which side a download failed on.
pub(super) enum Lost {
    /// The server, or the way to it.
    Source(Failure),
    /// Where it was to go.
    Sink(io::Error),
}

/// Sends it and hands the body of a 2xx answer to `sink` as it comes, however long that takes; gives any other answer
/// whole.
pub(super) async fn download(
    request: RequestBuilder,
    who: &str,
    next: &str,
    sink: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
) -> Result<Answer, Lost> {
    let (mut response, answer) = begin(request.timeout(LONGEST_DOWNLOAD), who, next).await.map_err(Lost::Source)?;
    if !answer.is_success() {
        return rest(response, answer, who, next).await.map_err(Lost::Source);
    }
    let broken = |why: String| {
        let message = format!("{who} broke off: {why}");
        Lost::Source(Failure::new(Exit::Unavailable, message).hint("try again; its log says why"))
    };
    loop {
        match tokio::time::timeout(LONGEST_SILENCE, response.chunk()).await {
            Ok(Ok(Some(piece))) => sink(&piece).map_err(Lost::Sink)?,
            Ok(Ok(None)) => return Ok(answer),
            Ok(Err(error)) => return Err(broken(root_cause(&error.without_url()))),
            Err(_) => return Err(broken("nothing came for a minute".into())),
        }
    }
}

fn lost(error: &reqwest::Error, who: &str, next: &str) -> Failure {
    let what = if error.is_timeout() {
        "does not answer in time".to_owned()
    } else {
        format!("cannot be reached: {}", root_cause(error))
    };
    Failure::new(Exit::Unavailable, format!("{who} {what}")).hint(next)
}

async fn begin(request: RequestBuilder, who: &str, next: &str) -> Result<(Response, Answer), Failure> {
    let response = request.send().await.map_err(|error| lost(&error.without_url(), who, next))?;
    let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let answer = Answer {
        status: response.status().as_u16(),
        request_id: header("x-request-id"),
        challenge: header("www-authenticate"),
        retry_after: header("retry-after"),
        etag: header("etag"),
        body: Vec::new(),
    };
    Ok((response, answer))
}

async fn rest(mut response: Response, mut answer: Answer, who: &str, next: &str) -> Result<Answer, Failure> {
    while let Some(chunk) = response.chunk().await.map_err(|error| lost(&error.without_url(), who, next))? {
        if answer.body.len() + chunk.len() > MAX_ANSWER {
            return Err(Failure::new(Exit::Failed, format!("{who} sent more than 16 MiB")));
        }
        answer.body.extend_from_slice(&chunk);
    }
    Ok(answer)
}

/// What is at the bottom of it, in words.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = error.to_string();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}
