//! A connection to a server: HTTP/1.1 over TCP or TLS, kept or opened for each request; answers read by their length.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The longest answer that is read.
pub(crate) const LONGEST: usize = 64 * 1024;

/// Where requests go, and how they get there.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) at: SocketAddr,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// Whether a connection serves more than one request.
    pub(crate) kept: bool,
}

impl From<SocketAddr> for Target {
    fn from(at: SocketAddr) -> Self {
        Self { at, tls: None, kept: true }
    }
}

impl Target {
    /// The same over TLS.
    pub(crate) fn over_tls(self, config: Arc<ClientConfig>, name: ServerName<'static>) -> Self {
        Self { tls: Some((config, name)), ..self }
    }

    /// The same with a connection for each request.
    pub(crate) fn anew(self) -> Self {
        Self { kept: false, ..self }
    }

    async fn connect(&self) -> Result<Box<dyn Io>> {
        let stream = TcpStream::connect(self.at).await.with_context(|| format!("cannot connect to {}", self.at))?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some((config, name)) => {
                let connector = TlsConnector::from(Arc::clone(config));
                Box::new(connector.connect(name.clone(), stream).await.context("the handshake failed")?)
            }
        })
    }
}

/// Bytes both ways.
trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// A connection, or where one is opened for each request.
pub(crate) struct Connection {
    to: Target,
    stream: Option<Box<dyn Io>>,
    buffer: Vec<u8>,
    filled: usize,
}

impl Connection {
    /// Connects, where connections are kept.
    pub(crate) async fn open(to: impl Into<Target>) -> Result<Self> {
        let to = to.into();
        let stream = if to.kept { Some(to.connect().await?) } else { None };
        Ok(Self { to, stream, buffer: vec![0; LONGEST], filled: 0 })
    }

    /// Sends a request and reads its answer: status and body.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        let answer = self.answered(request).await?;
        Ok((answer.status, self.buffer.get(answer.body..answer.length).unwrap_or_default()))
    }

    /// Sends a request and reads the head of its answer.
    pub(crate) async fn head(&mut self, request: &[u8]) -> Result<String> {
        let answer = self.answered(request).await?;
        Ok(String::from_utf8_lossy(self.buffer.get(..answer.body).unwrap_or_default()).into_owned())
    }

    async fn answered(&mut self, request: &[u8]) -> Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.to.connect().await?,
        };
        stream.write_all(request).await.context("the connection broke while sending")?;
        // What is encrypted may wait in a buffer.
        stream.flush().await?;
        self.filled = 0;
        let answer = loop {
            let room = self.buffer.get_mut(self.filled..).filter(|room| !room.is_empty());
            let read = stream.read(room.context("the answer is too long")?).await?;
            ensure!(read > 0, "the connection was closed in place of an answer");
            self.filled += read;
            let Some(answer) = Answer::parse(self.buffer.get_mut(..self.filled).unwrap_or_default())? else { continue };
            ensure!(self.filled <= answer.taken, "more came than the answer");
            if self.filled == answer.taken {
                break answer;
            }
        };
        if self.to.kept {
            self.stream = Some(stream);
        } else {
            // The server was asked to close. One that leaves without the farewell of TLS has closed as well.
            while stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
        }
        Ok(answer)
    }
}

/// Where the parts of an answer are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Where the body begins and where it ends.
    pub(crate) body: usize,
    pub(crate) length: usize,
    /// What it took on the wire, chunks' frames included.
    pub(crate) taken: usize,
}

impl Answer {
    /// Reads the head of an answer, once it is whole; a body in chunks, once that is whole, is put together in place.
    pub(crate) fn parse(bytes: &mut [u8]) -> Result<Option<Self>> {
        let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(bytes.get(..end).unwrap_or_default()).context("the head is no text")?;
        let status = head.get(9..12).and_then(|code| code.parse().ok()).context("the answer has no status")?;
        let named = |wanted: &str| {
            head.split("\r\n").find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case(wanted).then(|| value.trim())
            })
        };
        let body = end + 4;
        if named("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            let taken = bytes.len();
            let length = unchunked(bytes, body)?;
            return Ok(length.map(|length| Self { status, body, length, taken }));
        }
        // RFC 9110 §15.4.5: a 304 has no body, whatever length it announces.
        let announced = if status == 304 { None } else { named("content-length") };
        let announced: usize = announced.map(str::parse).transpose()?.unwrap_or(0);
        Ok(Some(Self { status, body, length: body + announced, taken: body + announced }))
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Puts chunks together, if the last one has come (RFC 9112 §7.1; no trailers): where the body ends then.
fn unchunked(bytes: &mut [u8], body: usize) -> Result<Option<usize>> {
    if !bytes.ends_with(b"0\r\n\r\n") {
        return Ok(None);
    }
    let mut chunks = Vec::new();
    let mut at = body;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(line) = find(rest, b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(rest.get(..line).unwrap_or_default())?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
        let start = at + line + 2;
        at = start + size + 2;
        if at > bytes.len() {
            return Ok(None);
        }
        if size == 0 {
            break;
        }
        chunks.push(start..start + size);
    }
    if at != bytes.len() {
        bail!("more came than the answer");
    }
    let mut end = body;
    for chunk in chunks {
        let length = chunk.len();
        bytes.copy_within(chunk, end);
        end += length;
    }
    Ok(Some(end))
}
