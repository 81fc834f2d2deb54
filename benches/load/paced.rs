//! How long answers take when there is something to spare: requests at a fixed rate, 70 % of what the slower of the two
//! servers can do, whatever the answers take.
//!
//! Both get the same rate, so that a slower server has no less to do. Saturation is measured anew before each round: what
//! else the machine does changes it.

use anyhow::Result;

use super::aims;
use super::args::{Args, Over, Work};
use super::drive::{Load, Until};
use super::edi::Edi;
use super::limit::Limit;
use super::report::{Row, Sample};
use super::rounds::{Side, sampled};
use super::work::Task;

/// How much of the saturation is asked for.
const SHARE: f64 = 0.7;

/// Rounds of edi and of the limit server, in turn.
pub(crate) async fn measure(args: &Args, edi: &Edi<'_>, limit: &Limit) -> Result<Row> {
    let task = Task::prepare(Work::Issue, edi).await?;
    let over = Over::KeepAlive;
    let (subject, reference) = (Side::edi("edi", edi, &task, over)?, Side::limit(limit, &task, over)?);
    let mut row = Row::new("issue at 70 % of saturation", aims::PACED, &subject.name, &reference.name);
    reference.warm().await?;
    subject.warm().await?;
    for index in 0..args.rounds() {
        let rate = SHARE * saturation(args, &subject).await?.min(saturation(args, &reference).await?);
        for turn in 0..2 {
            if (index + turn) % 2 == 0 {
                row.subject.push(round(args, &subject, rate).await?);
            } else {
                row.reference.push(round(args, &reference, rate).await?);
            }
        }
    }
    row.resident(&subject.pids, &reference.pids)?;
    Ok(row)
}

async fn saturation(args: &Args, side: &Side<'_>) -> Result<f64> {
    let load = Load::connect(side.to.clone(), args.connections).await?;
    let requests = side.requests(1).await?;
    let outcome = load.run(&requests, Until::Elapsed(args.round() / 2), side.status, false).await?;
    Ok(outcome.latencies.len() as f64 / outcome.elapsed.as_secs_f64())
}

async fn round(args: &Args, side: &Side<'_>, rate: f64) -> Result<Sample> {
    let load = Load::connect(side.to.clone(), args.connections).await?;
    let requests = side.requests(1).await?;
    sampled(&side.pids, load.paced(&requests, args.round() * 2, rate, side.status)).await
}
