//! The load: keep-alive HTTP/1.1 connections on one thread, requests built beforehand, answers read by their length and
//! judged by their status.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// The longest answer that is read.
const LONGEST: usize = 64 * 1024;

/// What is sent.
#[derive(Clone)]
pub(crate) enum Requests {
    /// The same again and again.
    Same(Rc<[u8]>),
    /// Each once.
    Each(Rc<[Vec<u8>]>),
}

/// When a run ends; requests of [`Requests::Each`] end it as well.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// After this long.
    Elapsed(Duration),
    /// After this many requests.
    Sent(usize),
}

/// What came of a run.
pub(crate) struct Outcome {
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// How long each answer took.
    pub(crate) latencies: Vec<Duration>,
    /// The answers' bodies, where they were asked for.
    pub(crate) bodies: Vec<Vec<u8>>,
}

/// Open connections to one server.
pub(crate) struct Load(Vec<Connection>);

struct Run {
    requests: Requests,
    until: Until,
    started: Instant,
    sent: Cell<usize>,
    expected: u16,
    keep_bodies: bool,
}

impl Run {
    /// The number of the next request, unless the run is over.
    fn next(&self) -> Option<usize> {
        let index = self.sent.get();
        let over = match self.until {
            Until::Elapsed(length) => self.started.elapsed() >= length,
            Until::Sent(most) => index >= most,
        };
        self.sent.set(index + 1);
        (!over).then_some(index)
    }

    fn request(&self, index: usize) -> Option<&[u8]> {
        match &self.requests {
            Requests::Same(bytes) => Some(bytes),
            Requests::Each(all) => all.get(index).map(Vec::as_slice),
        }
    }
}

impl Load {
    /// Connects.
    pub(crate) async fn connect(to: SocketAddr, connections: usize) -> Result<Self> {
        let mut all = Vec::with_capacity(connections);
        for _ in 0..connections {
            all.push(Connection::open(to).await?);
        }
        Ok(Self(all))
    }

    /// Sends one request and gives its status and body.
    pub(crate) async fn once(to: SocketAddr, request: &[u8]) -> Result<(u16, Vec<u8>)> {
        let mut connection = Connection::open(to).await?;
        let (status, body) = connection.exchange(request).await?;
        Ok((status, body.to_vec()))
    }

    /// Keeps every connection busy until the end; each answer must have the `expected` status.
    pub(crate) async fn run(
        self,
        requests: &Requests,
        until: Until,
        expected: u16,
        keep_bodies: bool,
    ) -> Result<Outcome> {
        let started = Instant::now();
        let run =
            Rc::new(Run { requests: requests.clone(), until, started, sent: Cell::new(0), expected, keep_bodies });
        let local = LocalSet::new();
        let tasks: Vec<_> =
            self.0.into_iter().map(|connection| local.spawn_local(connection.busy(Rc::clone(&run)))).collect();
        local.await;
        let mut outcome = Outcome { elapsed: started.elapsed(), latencies: Vec::new(), bodies: Vec::new() };
        for task in tasks {
            let (latencies, bodies) = task.await??;
            outcome.latencies.extend(latencies);
            outcome.bodies.extend(bodies);
        }
        ensure!(!outcome.latencies.is_empty(), "not one request was answered");
        Ok(outcome)
    }
}

/// An open connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(to).await.with_context(|| format!("cannot connect to {to}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; LONGEST], filled: 0 })
    }

    async fn busy(mut self, run: Rc<Run>) -> Result<(Vec<Duration>, Vec<Vec<u8>>)> {
        let (mut latencies, mut bodies) = (Vec::new(), Vec::new());
        while let Some(request) = run.next().and_then(|index| run.request(index)) {
            let sent = Instant::now();
            let (status, body) = self.exchange(request).await?;
            latencies.push(sent.elapsed());
            if status != run.expected {
                bail!("answered {status} instead of {}: {}", run.expected, String::from_utf8_lossy(body));
            }
            if run.keep_bodies {
                bodies.push(body.to_vec());
            }
        }
        Ok((latencies, bodies))
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        self.stream.write_all(request).await.context("the connection broke while sending")?;
        self.filled = 0;
        loop {
            let room = self.buffer.get_mut(self.filled..).filter(|room| !room.is_empty());
            let read = self.stream.read(room.context("the answer is too long")?).await?;
            ensure!(read > 0, "the connection was closed in place of an answer");
            self.filled += read;
            if let Some(answer) = Answer::parse(self.buffer.get(..self.filled).unwrap_or_default())?
                && self.filled >= answer.length
            {
                ensure!(self.filled == answer.length, "more came than the answer");
                return Ok((answer.status, self.buffer.get(answer.body..answer.length).unwrap_or_default()));
            }
        }
    }
}

struct Answer {
    status: u16,
    body: usize,
    length: usize,
}

impl Answer {
    /// Reads the head of an answer, once it is whole.
    fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(bytes.get(..end).unwrap_or_default()).context("the head is no text")?;
        let status = head.get(9..12).and_then(|code| code.parse().ok()).context("the answer has no status")?;
        let announced = head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
        });
        ensure!(!head.contains("transfer-encoding"), "the load reads no chunks");
        // RFC 9110 §15.4.5: a 304 has no body, whatever length it announces.
        let body = if status == 304 { 0 } else { announced.unwrap_or(0) };
        Ok(Some(Self { status, body: end + 4, length: end + 4 + body }))
    }
}
