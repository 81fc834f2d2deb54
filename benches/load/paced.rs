//! How long answers take when there is something to spare: requests at a fixed rate, 70 % of what the slower of the two
//! servers can do, whatever the answers take.
//!
//! Both get the same rate, so that a slower server has no less to do. Saturation is measured again and again: what else the
//! machine does changes it. A fixed answer at the same rate, in each round as well, tells what of the figures is the load's.

use anyhow::{Context as _, Result};

use super::aims;
use super::args::{Args, Over, Work};
use super::drive::{Load, Requests, Until};
use super::edi::Edi;
use super::limit::Limit;
use super::pace::{self, Pace};
use super::report::{Fact, Report, Row, Sample, Spread, at_per_mille};
use super::rounds::{Side, sampled};
use super::work::Task;

/// How much of the saturation is asked for.
const SHARE: f64 = 0.7;
/// Rounds for each measurement of saturation. They are short and many: one hiccup of the machine, a millisecond or two, is
/// the p99 of the round that it falls into, and the median leaves that round out.
const PARTS: usize = 4;

/// Rounds of edi and of the limit server, in turn, and of the latter's fixed answer.
pub(crate) async fn measure(args: &Args, edi: &Edi<'_>, limit: &Limit, report: &mut Report) -> Result<()> {
    let task = Task::prepare(Work::Issue, edi).await?;
    let over = Over::KeepAlive;
    let (subject, reference) = (Side::edi("edi", edi, &task, over)?, Side::limit(limit, &task, over)?);
    let fixed = Side::fixed(limit, over)?;
    let mut row = Row::new("issue at 70 % of saturation", aims::PACED, &subject.name, &reference.name);
    let (mut own, mut late) = (Vec::new(), Vec::new());
    reference.warm().await?;
    subject.warm().await?;
    for _ in 0..args.rounds() {
        let rate = SHARE * saturation(args, &subject).await?.min(saturation(args, &reference).await?);
        for part in 0..PARTS {
            for turn in 0..2 {
                let (side, samples) = if (part + turn) % 2 == 0 {
                    (&subject, &mut row.subject)
                } else {
                    (&reference, &mut row.reference)
                };
                let round = round(args, side, rate).await?;
                samples.push(round.sample);
                late.push(round.late_us);
            }
            let round = round(args, &fixed, rate).await?;
            own.push((round.sample.within(500), round.sample.within(990)));
            late.push(round.late_us);
        }
    }
    row.resident(&subject.pids, &reference.pids)?;
    report.rows.push(row);
    let mut fact = |name: &str, values: Vec<f64>| {
        let value = Spread::of(values.into_iter());
        report.facts.push(Fact { name: name.to_owned(), value, unit: "us", digits: 0, most: None });
    };
    fact("p50 of a fixed answer at that pace: the load's own", own.iter().map(|(p50, _)| *p50).collect());
    fact("p99 of the same", own.iter().map(|(_, p99)| *p99).collect());
    fact("p99 of how late that pace was kept, by the load's fault", late);
    Ok(())
}

async fn saturation(args: &Args, side: &Side<'_>) -> Result<f64> {
    let load = Load::connect(side.to.clone(), args.connections).await?;
    let requests = side.requests(1).await?;
    let outcome = load.run(&requests, Until::Elapsed(args.round() / 2), side.status, false).await?;
    Ok(outcome.latencies.len() as f64 / outcome.elapsed.as_secs_f64())
}

struct Round {
    sample: Sample,
    /// What 99 of 100 requests were late at most.
    late_us: f64,
}

async fn round(args: &Args, side: &Side<'_>, rate: f64) -> Result<Round> {
    let Requests::Same(request) = side.requests(1).await? else { anyhow::bail!("the same request again and again") };
    let pace = Pace { request: &request, status: side.status, rate, length: args.round() / 2 };
    let mut late = None;
    let sample = sampled(&side.pids, async {
        let paced = pace::run(side.to.at, args.connections, &pace)?;
        late = Some(paced.late);
        Ok(paced.outcome)
    })
    .await?;
    let mut late = late.context("it ran")?;
    late.sort_unstable();
    Ok(Round { sample, late_us: at_per_mille(&late, 990) })
}
