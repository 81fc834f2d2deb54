//! Many records that have expired, swept while tokens are issued: whether it shows in how long a token takes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use edi::ambient::Ambient;
use edi::store::Store as _;
use edi::store::sled::SledStore;
use serde_json::json;

use super::args::Args;
use super::big_store;
use super::edi::Site;
use super::pace::{self, Pace};
use super::report::Report;
use super::work::token_request;

/// How many records have expired.
const EXPIRED: usize = 100_000;
/// Tokens per second, over a few connections: a quiet server, as a p99 near saturation is that of the queue.
const RATE: f64 = 200.0;
const CONNECTIONS: usize = 8;
/// What a second writes in which something is swept.
const SWEEPING: u64 = 64 * 1024;
/// The first sweep begins half a minute after the start.
const FIRST_SWEEP: Duration = Duration::from_secs(40);
const AT_MOST: Duration = Duration::from_mins(5);

/// Runs it: second by second, until nothing is swept any more.
pub(crate) async fn measure(args: &Args, report: &mut Report) -> Result<()> {
    let site = Site::new(args.edi())?;
    let mut first = site.start()?;
    first.ready().await?;
    let authorization = first.client("sweep", &[])?;
    first.stop()?;
    let count = if args.smoke { 500 } else { EXPIRED };
    big_store::fill_expired(&site.path().join("data"), count).await?;

    let mut edi = site.start()?;
    edi.ready().await?;
    let request = token_request("/oauth2/token", &authorization);
    let (mut without, mut with, mut seconds) = (Vec::new(), Vec::new(), 0_usize);
    let (started, mut idle) = (Instant::now(), 0);
    while started.elapsed() < AT_MOST && (idle < 5 || started.elapsed() < FIRST_SWEEP) {
        let before = written(edi.pid())?;
        let pace = Pace { request: &request, status: 200, rate: RATE, length: Duration::from_secs(1) };
        let outcome = pace::run(edi.public, CONNECTIONS, &pace)?.outcome;
        if written(edi.pid())?.saturating_sub(before) > SWEEPING {
            (idle, seconds) = (0, seconds + 1);
            with.extend(outcome.latencies);
        } else {
            idle += 1;
            without.extend(outcome.latencies);
        }
        if args.smoke {
            break;
        }
    }
    edi.stop()?;

    let left = revocations(&site.path().join("data")).await?;
    anyhow::ensure!(args.smoke || left == 0, "{left} records were not swept in time");
    let p = |latencies: &mut Vec<Duration>, part: usize| {
        latencies.sort_unstable();
        latencies.get(latencies.len() * part / 100).copied().unwrap_or_default()
    };
    let figures = [p(&mut without, 50), p(&mut without, 99), p(&mut with, 50), p(&mut with, 99)];
    let [p50, p99, p50_with, p99_with] = figures;
    println!("sweep: {count} expired records swept in {seconds} s while {RATE} tokens a second were issued");
    println!("sweep: p50 {p50:.1?} and p99 {p99:.1?} without, p50 {p50_with:.1?} and p99 {p99_with:.1?} meanwhile");
    report.others.insert(
        "sweep".into(),
        json!({
            "expired": count, "seconds": seconds, "p50_us": p50.as_micros(), "p99_us": p99.as_micros(),
            "p50_sweeping_us": p50_with.as_micros(), "p99_sweeping_us": p99_with.as_micros(),
        }),
    );
    Ok(())
}

/// What a process has had written to disk so far.
fn written(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("no write_bytes")?;
    Ok(line.trim().parse()?)
}

async fn revocations(folder: &Path) -> Result<u64> {
    let store = SledStore::open(folder, Ambient::system().clock)?;
    let figures = store.figures().await?;
    store.close().await;
    Ok(figures.entries.get("revocation").copied().unwrap_or_default())
}
