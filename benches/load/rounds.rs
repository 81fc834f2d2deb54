//! Alternating rounds of two servers, so that what slows the machine slows both.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::aims::{self, Aim};
use super::args::{Args, Over, Work};
use super::drive::{Load, Outcome, Requests, Target, Until};
use super::edi::{Edi, Site};
use super::limit::Limit;
use super::machine::{self, Cores};
use super::report::{Calibration, Report, Row, Sample};
use super::work::{Task, get};

/// One of the two that are compared, and what it is asked.
pub(crate) struct Side<'a> {
    /// What it is called.
    pub(crate) name: String,
    pub(crate) to: Target,
    /// Its processes; none when they are not here.
    pub(crate) pids: Vec<u32>,
    pub(crate) ask: Ask<'a>,
    /// The status of every answer.
    pub(crate) status: u16,
}

/// What a side is asked.
pub(crate) enum Ask<'a> {
    /// This.
    This(Requests),
    /// What a task asks of an edi: perhaps something new each round.
    Task(&'a Task, &'a Edi<'a>),
}

impl<'a> Side<'a> {
    /// An edi at some work.
    pub(crate) fn edi(name: &str, edi: &'a Edi<'a>, task: &'a Task, over: Over) -> Result<Self> {
        let (to, pids) = (over.to(edi.public)?, vec![edi.pid()]);
        Ok(Self { name: name.to_owned(), to, pids, ask: Ask::Task(task, edi), status: task.status })
    }

    /// The limit server at the least of that work.
    pub(crate) fn limit(limit: &Limit, task: &Task, over: Over) -> Result<Self> {
        let (to, pids) = (over.to(limit.at(over))?, vec![limit.pid()]);
        Ok(Self { name: "limit".to_owned(), to, pids, ask: Ask::This(task.limit_requests()), status: task.status })
    }

    /// The limit server at an answer that costs nearly nothing: what is left is the load's.
    pub(crate) fn fixed(limit: &Limit, over: Over) -> Result<Self> {
        let ask = Ask::This(Requests::Same(get("/fixed/0", "").into()));
        Ok(Self { name: "fixed".to_owned(), to: over.to(limit.at(over))?, pids: vec![limit.pid()], ask, status: 200 })
    }

    /// Requests of a round, at most so many where each is another one.
    pub(crate) async fn requests(&self, each: usize) -> Result<Requests> {
        let requests = match &self.ask {
            Ask::This(requests) => requests.clone(),
            Ask::Task(task, edi) => task.requests(edi, each).await?,
        };
        Ok(if self.to.kept { requests } else { requests.closing() })
    }

    /// The first answers pay for what later ones find ready: keys made on demand, caches, memory.
    pub(crate) async fn warm(&self) -> Result<()> {
        let requests = self.requests(64).await?;
        Load::connect(self.to.clone(), 4).await?.run(&requests, Until::Sent(64), self.status, false).await?;
        Ok(())
    }
}

/// Starts both servers and measures each kind of work.
pub(crate) async fn measure(args: &Args, works: &[Work], report: &mut Report) -> Result<()> {
    let cores = Cores::find(args.unpinned);
    let limit = Cores::for_server(cores.as_ref(), Limit::start)?;
    report.calibration = Some(calibrate(args, &limit).await?);
    let all: Vec<(Work, Over)> = works
        .iter()
        .filter(|work| work.has_rounds())
        .flat_map(|work| args.over(*work).into_iter().map(|over| (*work, over)))
        .collect();
    for encrypted in [false, true] {
        let these: Vec<_> = all.iter().filter(|(_, over)| over.is_tls() == encrypted).collect();
        let paced = !encrypted && works.contains(&Work::IssuePaced);
        if these.is_empty() && !paced {
            continue;
        }
        let site = site(args, these.iter().map(|(work, _)| *work))?;
        let site = if encrypted { site.encrypted()? } else { site };
        let mut edi = Cores::for_server(cores.as_ref(), || site.start())?;
        edi.ready().await?;
        for (work, over) in these {
            let row = against_limit(args, *work, *over, &edi, &limit).await;
            report.rows.push(row.with_context(|| format!("{work:?} {over:?}"))?);
        }
        if paced {
            super::paced::measure(args, &edi, &limit, report).await.context("IssuePaced")?;
        }
        edi.stop()?;
    }
    Ok(())
}

/// A folder for an edi that can do this work: its defaults, and the algorithms that are asked for.
pub(crate) fn site(args: &Args, mut works: impl Iterator<Item = Work>) -> Result<Site> {
    let site = Site::new(args.edi())?;
    Ok(if works.any(|work| matches!(work, Work::IssueRs256 | Work::IssueEddsa)) {
        site.with("EDI__KEYS__ALGORITHMS", "ES256,RS256,EdDSA")
    } else {
        site
    })
}

async fn against_limit(args: &Args, work: Work, over: Over, edi: &Edi<'_>, limit: &Limit) -> Result<Row> {
    let task = Task::prepare(work, edi).await?;
    let (subject, reference) = (Side::edi("edi", edi, &task, over)?, Side::limit(limit, &task, over)?);
    let name = if over == Over::KeepAlive { work.name() } else { format!("{}, {}", work.name(), over.name()) };
    compare(args, &name, aims::of(work, over), &subject, &reference).await
}

/// Rounds of the two in turn, first one and then the other first.
pub(crate) async fn compare(
    args: &Args,
    name: &str,
    aims: &'static [Aim],
    subject: &Side<'_>,
    reference: &Side<'_>,
) -> Result<Row> {
    let mut row = Row::new(name, aims, &subject.name, &reference.name);
    reference.warm().await?;
    subject.warm().await?;
    for index in 0..args.rounds() {
        let asked = (subject.requests(args.each()).await?, reference.requests(args.each()).await?);
        for turn in 0..2 {
            if (index + turn) % 2 == 0 {
                row.subject.push(round(args, subject, &asked.0).await?);
            } else {
                row.reference.push(round(args, reference, &asked.1).await?);
            }
        }
    }
    row.resident(&subject.pids, &reference.pids)?;
    Ok(row)
}

async fn round(args: &Args, side: &Side<'_>, requests: &Requests) -> Result<Sample> {
    let until = match requests {
        Requests::Same(_) => Until::Elapsed(args.round()),
        Requests::Each(_) => Until::Sent(args.each()),
    };
    let load = Load::connect(side.to.clone(), args.connections).await?;
    sampled(&side.pids, load.run(requests, until, side.status, false)).await
}

/// A run, and the processor time that the server and the load spend meanwhile.
pub(crate) async fn sampled(pids: &[u32], run: impl Future<Output = Result<Outcome>>) -> Result<Sample> {
    let own = std::process::id();
    let before = (machine::cpu_of(pids)?, machine::cpu(own)?);
    let mut outcome = run.await?;
    let spent = machine::cpu_of(pids)?.saturating_sub(before.0);
    let load = machine::cpu(own)?.saturating_sub(before.1);
    outcome.latencies.sort_unstable();
    let count = outcome.latencies.len() as f64;
    Ok(Sample {
        rate: count / outcome.elapsed.as_secs_f64(),
        cpu: (!pids.is_empty()).then(|| spent.div_f64(count)),
        busy: ratio(spent, outcome.elapsed),
        load_busy: ratio(load, outcome.elapsed),
        latencies: outcome.latencies,
    })
}

/// What the load can do at most: against an answer that costs the server nearly nothing.
async fn calibrate(args: &Args, limit: &Limit) -> Result<Calibration> {
    let mut found = Calibration::default();
    for over in [Over::KeepAlive, Over::New, Over::Tls, Over::TlsNew] {
        let side = Side::fixed(limit, over)?;
        let sample = round(args, &side, &side.requests(1).await?).await?;
        found.0.push((over.name(), sample));
    }
    Ok(found)
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}
