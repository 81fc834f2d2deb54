//! Alternating rounds: edi, the limit server, and again, so that what slows the machine slows both.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;

use super::args::{Args, Work};
use super::drive::{Load, Outcome, Requests, Until};
use super::edi::{Edi, Site};
use super::limit::Limit;
use super::machine::{self, Cores};
use super::report::{Calibration, Report, Row, Sample};
use super::work::{Task, get};

/// Starts both servers and measures each kind of work.
pub(crate) async fn measure(args: &Args, works: &[Work], report: &mut Report) -> Result<()> {
    let mut site = Site::new(args.edi())?;
    if works.iter().any(|work| matches!(work, Work::IssueRs256 | Work::IssueEddsa)) {
        site = site.with("EDI__KEYS__ALGORITHMS", "ES256,RS256,EdDSA");
    }
    let cores = Cores::find(args.unpinned);
    let mut edi = Cores::for_server(cores.as_ref(), || site.start())?;
    edi.ready().await?;
    report.idle_kib = Some(machine::resident_kib(edi.pid())?);
    let limit = Cores::for_server(cores.as_ref(), Limit::start)?;
    report.pinned = cores.is_some();
    report.calibration = Some(calibrate(args, &limit).await?);
    for work in works {
        let task = Task::prepare(*work, &edi).await.with_context(|| format!("{work:?}"))?;
        let row = rounds(args, *work, &task, &edi, &limit).await.with_context(|| format!("{work:?}"))?;
        report.rows.push(row);
    }
    edi.stop()
}

/// What the load can do at most: against an answer that costs the server nearly nothing.
async fn calibrate(args: &Args, limit: &Limit) -> Result<Calibration> {
    let requests = Requests::Same(get("/fixed/0", "").into());
    let own = std::process::id();
    let before = machine::cpu(own)?;
    let sample = round(args, limit.at, limit.pid(), &requests, 200).await?;
    let spent = machine::cpu(own)?.saturating_sub(before);
    Ok(Calibration { rate: sample.rate, own_cpu: spent.div_f64(sample.latencies.len().max(1) as f64) })
}

async fn rounds(args: &Args, work: Work, task: &Task, edi: &Edi<'_>, limit: &Limit) -> Result<Row> {
    let name = work.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let mut row = Row { name, aim: task.aim, edi: Vec::new(), limit: Vec::new(), resident_kib: 0 };
    let limited = task.limit_requests();
    // The first answers pay for what later ones find ready: keys made on demand, caches, memory.
    warm(limit.at, &limited, task.status).await?;
    warm(edi.public, &task.requests(edi, 64).await?, task.status).await?;
    for index in 0..args.rounds() {
        let requests = task.requests(edi, args.each()).await?;
        for turn in 0..2 {
            if (index + turn) % 2 == 0 {
                row.edi.push(round(args, edi.public, edi.pid(), &requests, task.status).await?);
            } else {
                row.limit.push(round(args, limit.at, limit.pid(), &limited, task.status).await?);
            }
        }
    }
    row.resident_kib = machine::resident_kib(edi.pid())?;
    Ok(row)
}

async fn warm(at: SocketAddr, requests: &Requests, status: u16) -> Result<Outcome> {
    Load::connect(at, 4).await?.run(requests, Until::Sent(64), status, false).await
}

async fn round(args: &Args, at: SocketAddr, pid: u32, requests: &Requests, status: u16) -> Result<Sample> {
    let until = match requests {
        Requests::Same(_) => Until::Elapsed(args.round()),
        Requests::Each(_) => Until::Sent(args.each()),
    };
    let load = Load::connect(at, args.connections).await?;
    let before = machine::cpu(pid)?;
    let mut outcome = load.run(requests, until, status, false).await?;
    let spent = machine::cpu(pid)?.saturating_sub(before);
    outcome.latencies.sort_unstable();
    let count = outcome.latencies.len() as f64;
    Ok(Sample {
        rate: count / outcome.elapsed.as_secs_f64(),
        cpu: spent.div_f64(count),
        busy: ratio(spent, outcome.elapsed),
        latencies: outcome.latencies,
    })
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}
