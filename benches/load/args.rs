//! What is measured, and how long.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use url::Url;

/// Runs edi and a limit server in alternating rounds and compares them.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(name = "cargo bench --bench load --")]
pub(crate) struct Args {
    /// What to measure [default: everything but memory, big-store, flood, soak and sweep]
    #[arg(value_enum)]
    work: Vec<Work>,
    /// How callers connect [default: issue, introspect and authz-hot in every way, the rest by keep-alive]
    #[arg(long, value_enum, value_delimiter = ',')]
    over: Vec<Over>,
    /// Check that everything works, in seconds; the figures mean nothing
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Fewer and shorter rounds
    #[arg(long, conflicts_with = "smoke")]
    quick: bool,
    /// Rounds of each kind of work; with 0 `big-store` tells memory and the time to open alone
    #[arg(long)]
    rounds: Option<usize>,
    /// Connections that are kept busy
    #[arg(long, default_value_t = 32)]
    pub(crate) connections: usize,
    /// Another edi than the one cargo has just built
    #[arg(long, value_name = "BINARY")]
    edi: Option<PathBuf>,
    /// Let the system place server and load, instead of giving each a core
    #[arg(long)]
    pub(crate) unpinned: bool,
    /// How many tokens `memory` issues
    #[arg(long, default_value_t = 1_000_000)]
    tokens: usize,
    /// How many clients and how many revocations `big-store` writes
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    /// How long `soak` lasts
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// The token endpoint of another issuer to measure beside edi
    #[arg(long, value_name = "URL", requires = "peer_client")]
    pub(crate) peer: Option<Url>,
    /// A client of it that proves itself by Basic
    #[arg(long, value_name = "ID:SECRET")]
    pub(crate) peer_client: Option<String>,
    /// The scope to ask it for
    #[arg(long, value_name = "SCOPE")]
    pub(crate) peer_scope: Option<String>,
    /// Its processes, when they are on this machine: their processor time and memory are told then
    #[arg(long, value_name = "PID")]
    pub(crate) peer_pid: Vec<u32>,
    /// Also write the figures here
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// The other process: serves until its standard input ends, with the certificate in this folder.
    #[arg(long, hide = true)]
    pub(crate) limit_server: Option<PathBuf>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// A token by Basic, ES256
    Issue,
    /// A token by Basic, RS256
    IssueRs256,
    /// A token by Basic, `EdDSA`
    IssueEddsa,
    /// A token by `private_key_jwt`, ES256 both ways: each request another assertion, its `jti` durable
    IssueKey,
    /// Introspection of an own token
    Introspect,
    /// `/authz?role=` with a token that was seen before
    AuthzHot,
    /// `/authz?role=` with a token never seen before
    AuthzCold,
    /// The JWKS, whole
    Jwks,
    /// The JWKS, unchanged since (304)
    Jwks304,
    /// Revocation of an own token, durable; each request another token
    Revoke,
    /// A token by Basic, ES256, requested at 70 % of the rate that saturates the slower of the two servers
    IssuePaced,
    /// A token by Basic, ES256, from two workers beside one
    Workers,
    /// From starting an empty folder until it serves, and the memory it has then
    Start,
    /// A token by Basic, ES256, beside oidc-provider (needs node and npm) or the issuer that `--peer` names
    Peers,
    /// Resident memory from 10,000 issued tokens to 1,000,000
    Memory,
    /// Stores of 1,000,000 clients, of as many revocations and of both: opening them, and each work beside a small store
    BigStore,
    /// Good clients while 64 connections guess at secrets and 200 dawdle
    Flood,
    /// Mixed traffic for minutes: memory, descriptors and latency stay flat
    Soak,
    /// 100,000 expired records swept while tokens are issued
    Sweep,
}

impl Work {
    /// Whether it runs for minutes, and only when it is asked for.
    fn is_long(self) -> bool {
        matches!(self, Self::Memory | Self::BigStore | Self::Flood | Self::Soak | Self::Sweep)
    }

    /// Whether it is one request, measured in rounds against another server.
    pub(crate) fn has_rounds(self) -> bool {
        !self.is_long() && !matches!(self, Self::IssuePaced | Self::Workers | Self::Start | Self::Peers)
    }

    /// All that are.
    pub(crate) fn with_rounds() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied().filter(|work| work.has_rounds())
    }

    /// What it is called on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// How a caller's requests reach a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Over {
    /// Plain HTTP, connections kept
    KeepAlive,
    /// Plain HTTP, a connection for each request
    New,
    /// TLS, connections kept
    Tls,
    /// TLS, a connection and a full handshake for each request
    TlsNew,
    /// TLS, a connection for each request, its session resumed
    TlsResumed,
}

impl Over {
    /// Whether it is encrypted.
    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::TlsNew | Self::TlsResumed)
    }

    /// What it is called on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl Args {
    /// What was asked for.
    pub(crate) fn asked(&self) -> Vec<Work> {
        if !self.work.is_empty() {
            let mut work = self.work.clone();
            if self.peer.is_some() && !work.contains(&Work::Peers) {
                work.push(Work::Peers);
            }
            return work;
        }
        let all = Work::value_variants().iter().copied();
        // The smoke run shows that those work, too.
        all.filter(|work| self.smoke || !work.is_long()).collect()
    }

    /// Whether this was asked for by name.
    pub(crate) fn named(&self, work: Work) -> bool {
        self.work.contains(&work)
    }

    /// How callers connect for this work.
    pub(crate) fn over(&self, work: Work) -> Vec<Over> {
        if !self.over.is_empty() {
            return self.over.clone();
        }
        match work {
            Work::Issue | Work::Introspect | Work::AuthzHot => Over::value_variants().to_vec(),
            _ => vec![Over::KeepAlive],
        }
    }

    /// How often edi starts on nothing.
    pub(crate) fn starts(&self) -> usize {
        if self.smoke { 1 } else { 7 }
    }

    /// How many rounds each kind of work has.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.smoke {
            1
        } else if self.quick {
            5
        } else {
            11
        })
    }

    /// How long a round lasts where its requests are all the same.
    pub(crate) fn round(&self) -> Duration {
        Duration::from_millis(if self.smoke {
            100
        } else if self.quick {
            500
        } else {
            1000
        })
    }

    /// How many requests a round has where each is another one.
    pub(crate) fn each(&self) -> usize {
        if self.smoke {
            200
        } else if self.quick {
            4000
        } else {
            8000
        }
    }

    /// How many tokens the memory run issues: before the first reading, and in all.
    pub(crate) fn tokens(&self) -> (usize, usize) {
        if self.smoke { (1000, 3000) } else { (10_000, self.tokens) }
    }

    /// How long the soak lasts.
    pub(crate) fn soak(&self) -> Duration {
        if self.smoke { Duration::from_secs(5) } else { Duration::from_secs(60 * self.minutes.max(1)) }
    }

    /// How many records of each kind the big store has.
    pub(crate) fn records(&self) -> usize {
        if self.smoke { 2000 } else { self.records }
    }

    /// The program under test.
    pub(crate) fn edi(&self) -> PathBuf {
        self.edi.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_edi").into())
    }
}
