//! From an empty folder to the first answer, and the memory that doing nothing takes.

use anyhow::Result;

use super::args::Args;
use super::drive::Load;
use super::edi::Site;
use super::machine;
use super::report::{Fact, Report, Spread};
use super::work::token_request;

/// Starts edi on nothing some times, and has a chosen secret checked by the last one.
pub(crate) async fn measure(args: &Args, report: &mut Report) -> Result<()> {
    let (mut ready, mut idle, mut hashing) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.starts() {
        let site = Site::new(args.edi())?;
        let mut edi = site.start()?;
        ready.push(edi.ready().await?.as_secs_f64());
        let before = mib(machine::resident_kib(edi.pid())?);
        let authorization = edi.client_with_secret("chosen", "correct horse battery staple")?;
        Load::once(edi.public, &token_request("/oauth2/token", &authorization)).await?;
        idle.push(before);
        hashing.push(mib(machine::resident_kib(edi.pid())?) - before);
        edi.stop()?;
    }
    let fact = |name: &str, values: Vec<f64>, unit, digits, most| Fact {
        name: name.to_owned(),
        value: Spread::of(values.into_iter()),
        unit,
        digits,
        most,
    };
    report.facts.push(fact("start to ready, empty folder", ready, "s", 3, Some(0.2)));
    report.facts.push(fact("resident memory, idle", idle, "MiB", 1, Some(20.0)));
    report.facts.push(fact("more once a chosen secret was checked (hashing arena)", hashing, "MiB", 1, None));
    Ok(())
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
