//! What a token costs with two workers, beside one: locks and memory they share would show.

use anyhow::Result;

use super::aims;
use super::args::{Args, Over, Work};
use super::edi::Site;
use super::machine::Cores;
use super::report::Report;
use super::rounds::{Side, compare};
use super::work::Task;

/// Both have the same two cores; on a machine with no more the load shares the second.
pub(crate) async fn measure(args: &Args, report: &mut Report) -> Result<()> {
    let cores = Cores::find_two(args.unpinned);
    let with = |workers: &str| Ok::<_, anyhow::Error>(Site::new(args.edi())?.with("EDI__LISTEN__WORKERS", workers));
    let (two, one) = (with("2")?, with("1")?);
    let mut two = Cores::for_server(cores.as_ref(), || two.start())?;
    let mut one = Cores::for_server(cores.as_ref(), || one.start())?;
    two.ready().await?;
    one.ready().await?;
    let (task, other) = (Task::prepare(Work::Issue, &two).await?, Task::prepare(Work::Issue, &one).await?);
    let subject = Side::edi("two workers", &two, &task, Over::KeepAlive)?;
    let reference = Side::edi("one worker", &one, &other, Over::KeepAlive)?;
    report.rows.push(compare(args, "issue", aims::TWO_WORKERS, &subject, &reference).await?);
    drop((subject, reference));
    two.stop()?;
    one.stop()
}
