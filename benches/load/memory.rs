//! Whether issuing keeps anything: resident memory after a few tokens and after very many.

use anyhow::Result;
use serde_json::json;

use super::args::Args;
use super::drive::{Load, Requests, Until};
use super::edi::Site;
use super::machine;
use super::report::Report;
use super::work::token_request;

/// How much more memory may be resident at the end, in KiB.
const ALLOWED: u64 = 5 * 1024;

/// Issues tokens and compares; whether the growth is within [`ALLOWED`].
pub(crate) async fn grows_little(args: &Args, report: &mut Report) -> Result<bool> {
    let (few, many) = args.tokens();
    let site = Site::new(args.edi())?;
    let mut edi = site.start()?;
    edi.ready().await?;
    let authorization = edi.client("memory", &[])?;
    let requests = Requests::Same(token_request("/oauth2/token", &authorization).into());
    let idle = machine::resident_kib(edi.pid())?;
    let mut readings = Vec::new();
    for count in [few, many.saturating_sub(few)] {
        let load = Load::connect(edi.public, args.connections).await?;
        load.run(&requests, Until::Sent(count), 200, false).await?;
        readings.push(machine::resident_kib(edi.pid())?);
    }
    edi.stop()?;
    let (first, last) = (readings.first().copied().unwrap_or(0), readings.last().copied().unwrap_or(0));
    let growth = last.saturating_sub(first);
    println!("memory: {idle} KiB before any token, {first} KiB after {few}, {last} KiB after {many}");
    println!("memory: grew by {growth} KiB, {ALLOWED} KiB are allowed");
    report.others.insert(
        "memory".into(),
        json!({ "idle_kib": idle, "few": few, "few_kib": first, "many": many, "many_kib": last, "grown_kib": growth }),
    );
    Ok(growth <= ALLOWED)
}
