//! The load: connections kept busy, on one thread; requests built beforehand, answers judged by their status.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tokio::task::LocalSet;

use super::args::Over;
use super::tls;
pub(crate) use super::wire::{Connection, Target};

impl Over {
    /// A server as a caller reaches it this way.
    pub(crate) fn to(self, at: SocketAddr) -> Result<Target> {
        let to = Target::from(at);
        Ok(match self {
            Self::KeepAlive => to,
            Self::New => to.anew(),
            Self::Tls => to.over_tls(tls::client()?, tls::name()?),
            Self::TlsNew => to.over_tls(tls::credulous_client()?, tls::name()?).anew(),
            Self::TlsResumed => to.over_tls(tls::client()?, tls::name()?).anew(),
        })
    }
}

/// What is sent.
#[derive(Clone)]
pub(crate) enum Requests {
    /// The same again and again.
    Same(Rc<[u8]>),
    /// Each once.
    Each(Rc<[Vec<u8>]>),
}

impl Requests {
    /// The same, for connections that end with each.
    pub(crate) fn closing(&self) -> Self {
        match self {
            Self::Same(bytes) => Self::Same(closing(bytes).into()),
            Self::Each(all) => Self::Each(all.iter().map(|bytes| closing(bytes)).collect()),
        }
    }
}

fn closing(request: &[u8]) -> Vec<u8> {
    let line = request.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (line, rest) = request.split_at(line);
    [line, b"connection: close\r\n", rest].concat()
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

/// Connections to one server.
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
    /// The next request, unless the run is over.
    fn next(&self) -> Option<&[u8]> {
        let index = self.sent.get();
        let over = match self.until {
            Until::Elapsed(length) => self.started.elapsed() >= length,
            Until::Sent(most) => index >= most,
        };
        if over {
            return None;
        }
        self.sent.set(index + 1);
        match &self.requests {
            Requests::Same(bytes) => Some(bytes),
            Requests::Each(all) => all.get(index).map(Vec::as_slice),
        }
    }
}

impl Load {
    /// Connects.
    pub(crate) async fn connect(to: impl Into<Target>, connections: usize) -> Result<Self> {
        let to = to.into();
        let mut all = Vec::with_capacity(connections);
        for _ in 0..connections {
            all.push(Connection::open(to.clone()).await?);
        }
        Ok(Self(all))
    }

    /// Sends one request and gives its status and body.
    pub(crate) async fn once(to: impl Into<Target>, request: &[u8]) -> Result<(u16, Vec<u8>)> {
        let mut connection = Connection::open(to).await?;
        let (status, body) = connection.exchange(request).await?;
        Ok((status, body.to_vec()))
    }

    /// Keeps every connection busy; each answer must have the expected status.
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
            self.0.into_iter().map(|connection| local.spawn_local(busy(connection, Rc::clone(&run)))).collect();
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

async fn busy(mut connection: Connection, run: Rc<Run>) -> Result<(Vec<Duration>, Vec<Vec<u8>>)> {
    let (mut latencies, mut bodies) = (Vec::new(), Vec::new());
    while let Some(request) = run.next() {
        let sent = Instant::now();
        let (status, body) = connection.exchange(request).await?;
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
