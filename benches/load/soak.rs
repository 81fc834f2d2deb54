//! Mixed traffic for minutes: whether memory, descriptors and latency are at the end what they were once it was warm.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::args::Args;
use super::big_store::{self, Fill};
use super::drive::Connection;
use super::edi::{Edi, Site, basic};
use super::machine;
use super::report::Report;
use super::work::{get, post, token_request};

/// Callers at once.
const CALLERS: usize = 12;
/// How long a caller thinks between two rounds.
const THINKING: Duration = Duration::from_millis(10);
/// How much resident memory may grow, in KiB: what revocations of the last minutes take, and some noise.
const GROWTH_KIB: u64 = 8 * 1024;
/// How many descriptors more there may be.
const GROWTH_FDS: usize = 4;
/// How much longer the slowest hundredth may take. A busy machine alone can double it.
const SLOWER: f64 = 2.5;
/// So many clients and as many revocations are in the store before: more than its cache holds. The opening reads all of
/// them, as after a crash, so that the cache is full when memory is first looked at.
const RECORDS: usize = 60_000;
/// What a token lives: short, so that revocations expire and are swept within the run, as they are within an hour.
const LIFETIME: &str = "20s";

/// What was read at one moment.
#[derive(Clone, Copy)]
struct Reading {
    at: Duration,
    resident_kib: u64,
    descriptors: usize,
    p99: Duration,
    requests: usize,
}

/// What the callers share.
struct Traffic {
    latencies: RefCell<Vec<Duration>>,
    wrong: Cell<usize>,
    over: Cell<bool>,
}

/// Runs it; whether everything stayed flat.
pub(crate) async fn measure(args: &Args, report: &mut Report) -> Result<bool> {
    let length = args.soak();
    let every = length / 20;
    let site = Site::new(args.edi())?.with("EDI__TOKENS__TTL", LIFETIME);
    let mut first = site.start()?;
    first.ready().await?;
    first.stop()?;
    if !args.smoke {
        big_store::fill(site.path(), Fill { clients: RECORDS, revocations: RECORDS }).await?;
        std::fs::remove_file(site.path().join("data/closed")).context("the mark of a clean end")?;
    }
    let mut edi = site.start()?;
    edi.ready().await?;
    let mut authorizations = Vec::new();
    for n in 0..CALLERS {
        authorizations.push(edi.client(&format!("soak-{n}"), &[])?);
    }
    let traffic = Rc::new(Traffic { latencies: RefCell::default(), wrong: Cell::new(0), over: Cell::new(false) });
    let local = LocalSet::new();
    for (n, authorization) in authorizations.into_iter().enumerate() {
        let (traffic, to) = (Rc::clone(&traffic), edi.public);
        local.spawn_local(async move {
            if caller(to, n, &authorization, &traffic).await.is_err() {
                traffic.wrong.set(traffic.wrong.get() + 1);
            }
        });
    }
    let readings = local.run_until(watch(&edi, &traffic, length, every)).await?;
    traffic.over.set(true);
    local.await;
    let after = reading(&edi, &traffic, length)?;
    edi.stop()?;

    // The first fifth warms up.
    let start = readings.get(readings.len() / 5).copied().context("no readings")?;
    let last = readings.last().copied().context("no readings")?;
    let requests: usize = readings.iter().map(|reading| reading.requests).sum();
    println!("soak: {requests} requests in {length:?}, {} answered otherwise than they should be", traffic.wrong.get());
    for reading in &readings {
        let Reading { at, resident_kib, descriptors, p99, requests } = *reading;
        println!(
            "  {:5} s  {resident_kib:7} KiB  {descriptors:4} descriptors  p99 {p99:?}  ({requests})",
            at.as_secs()
        );
    }
    let middle = |of: &[Reading]| {
        let mut all: Vec<Duration> = of.iter().map(|reading| reading.p99).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    let early = middle(readings.get(readings.len() / 5..readings.len() / 2).unwrap_or_default());
    let late = middle(readings.get(readings.len() * 7 / 10..).unwrap_or_default());
    println!(
        "soak: from {} to {} KiB, from {} to {} descriptors ({} once all had left), p99 from {early:?} to {late:?}",
        start.resident_kib, last.resident_kib, start.descriptors, last.descriptors, after.descriptors
    );
    report.others.insert(
        "soak".into(),
        json!({
            "seconds": length.as_secs(), "requests": requests, "wrong": traffic.wrong.get(),
            "start_kib": start.resident_kib, "end_kib": last.resident_kib,
            "start_descriptors": start.descriptors, "end_descriptors": last.descriptors,
            "early_p99_us": early.as_micros(), "late_p99_us": late.as_micros(),
        }),
    );
    let flat = last.resident_kib <= start.resident_kib + GROWTH_KIB
        && last.descriptors <= start.descriptors + GROWTH_FDS
        && (args.smoke || late.as_secs_f64() <= SLOWER * early.as_secs_f64());
    Ok(flat && traffic.wrong.get() == 0)
}

async fn watch(edi: &Edi<'_>, traffic: &Traffic, length: Duration, every: Duration) -> Result<Vec<Reading>> {
    let started = Instant::now();
    let mut readings = Vec::new();
    while started.elapsed() < length {
        sleep(every).await;
        readings.push(reading(edi, traffic, started.elapsed())?);
    }
    Ok(readings)
}

fn reading(edi: &Edi<'_>, traffic: &Traffic, at: Duration) -> Result<Reading> {
    let mut latencies = std::mem::take(&mut *traffic.latencies.borrow_mut());
    latencies.sort_unstable();
    let p99 = latencies.get(latencies.len() * 99 / 100).copied().unwrap_or_default();
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", edi.pid()))?.count();
    Ok(Reading { at, resident_kib: machine::resident_kib(edi.pid())?, descriptors, p99, requests: latencies.len() })
}

/// One caller: tokens, decisions, introspection, keys, now and then a revocation, a wrong secret, a new connection.
async fn caller(to: std::net::SocketAddr, n: usize, authorization: &str, traffic: &Traffic) -> Result<()> {
    let mut connection = Connection::open(to).await?;
    let wrong = basic(&format!("soak-{n}"), "a wrong secret");
    let mut round = n;
    while !traffic.over.get() {
        round += 1;
        let body = ask(&mut connection, &token_request("/oauth2/token", authorization), 200, traffic).await?;
        let answer: Value = serde_json::from_slice(&body)?;
        let token = answer.get("access_token").and_then(Value::as_str).context("no access_token")?.to_owned();
        let bearer = format!("authorization: Bearer {token}\r\n");
        ask(&mut connection, &get("/authz?role=fraud", &bearer), 200, traffic).await?;
        ask(&mut connection, &get("/authz?role=other", &bearer), 403, traffic).await?;
        let form = format!("token={token}");
        ask(&mut connection, &post("/oauth2/introspect", authorization, &form), 200, traffic).await?;
        if round.is_multiple_of(5) {
            ask(&mut connection, &get("/.well-known/jwks.json", ""), 200, traffic).await?;
        }
        if round.is_multiple_of(40) {
            ask(&mut connection, &post("/oauth2/revoke", authorization, &form), 200, traffic).await?;
            ask(&mut connection, &get("/authz?role=fraud", &bearer), 401, traffic).await?;
        }
        if round.is_multiple_of(200) {
            ask(&mut connection, &token_request("/oauth2/token", &wrong), 401, traffic).await?;
        }
        if round.is_multiple_of(100) {
            connection = Connection::open(to).await?;
        }
        sleep(THINKING).await;
    }
    Ok(())
}

async fn ask(connection: &mut Connection, request: &[u8], expected: u16, traffic: &Traffic) -> Result<Vec<u8>> {
    let asked = Instant::now();
    let (status, body) = connection.exchange(request).await?;
    let body = body.to_vec();
    traffic.latencies.borrow_mut().push(asked.elapsed());
    if status != expected {
        traffic.wrong.set(traffic.wrong.get() + 1);
    }
    Ok(body)
}
