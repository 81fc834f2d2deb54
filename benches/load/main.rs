//! The service under load: the released `edi` beside a server that does nothing but the work's one signature, in short
//! alternating rounds. `benches/README.md` says how to repeat each figure.
#![expect(clippy::print_stdout, reason = "a program whose result is what it prints")]
#![expect(clippy::cast_precision_loss, reason = "figures are read by people")]
#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "indexes of percentiles")]

mod aims;
mod args;
mod big_store;
mod drive;
mod edi;
mod flood;
mod limit;
mod machine;
mod memory;
mod pace;
mod paced;
mod peers;
#[path = "../../tests/support/ports.rs"]
mod ports;
mod report;
mod rounds;
mod soak;
mod start;
mod sweep;
mod tls;
mod wire;
mod work;
mod workers;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use args::{Args, Work};
use report::Report;

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(certificate) = &args.limit_server {
        return limit::serve(certificate);
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(&args))
}

async fn run(args: &Args) -> Result<()> {
    let asked = args.asked();
    let mut report = Report::new(args);
    if asked.iter().any(|work| work.has_rounds() || *work == Work::IssuePaced) {
        rounds::measure(args, &asked, &mut report).await?;
    }
    if asked.contains(&Work::Workers) {
        workers::measure(args, &mut report).await?;
    }
    if asked.contains(&Work::Start) {
        start::measure(args, &mut report).await?;
    }
    if asked.contains(&Work::Peers) {
        peers::measure(args, &mut report).await?;
    }
    let mut fits = true;
    let mut came_through = true;
    if asked.contains(&Work::Memory) {
        fits &= memory::grows_little(args, &mut report).await?;
    }
    if asked.contains(&Work::Flood) {
        came_through &= flood::measure(args, &mut report).await?;
    }
    if asked.contains(&Work::Soak) {
        came_through &= soak::measure(args, &mut report).await?;
    }
    if asked.contains(&Work::Sweep) {
        sweep::measure(args, &mut report).await?;
    }
    if asked.contains(&Work::BigStore) {
        big_store::measure(args, &mut report).await?;
    }
    report.print();
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(&report.json())?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    anyhow::ensure!(fits, "memory grew more than it may");
    anyhow::ensure!(came_through, "good clients suffered, or something grew: see above");
    Ok(())
}
