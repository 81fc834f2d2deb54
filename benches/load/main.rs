//! The service under load: the released `edi` beside a server that does nothing but the work's one signature, in short
//! alternating rounds. `benches/README.md` says how to repeat each figure.
#![expect(clippy::print_stdout, reason = "a program whose result is what it prints")]
#![expect(clippy::cast_precision_loss, reason = "figures are read by people")]
#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "indexes of percentiles")]

mod args;
mod big_store;
mod drive;
mod edi;
mod flood;
mod limit;
mod machine;
mod memory;
#[path = "../../tests/support/ports.rs"]
mod ports;
mod report;
mod rounds;
mod soak;
mod work;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use args::{Args, Work};
use report::Report;

fn main() -> Result<()> {
    let args = Args::parse();
    if args.limit_server {
        return limit::serve();
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(&args))
}

async fn run(args: &Args) -> Result<()> {
    let asked = args.asked();
    let mut report = Report::new(args);
    let measured: Vec<Work> = asked.iter().copied().filter(|work| !work.stands_alone()).collect();
    if !measured.is_empty() {
        rounds::measure(args, &measured, &mut report).await?;
        report.print();
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
    if asked.contains(&Work::BigStore) {
        big_store::measure(args, &mut report).await?;
    }
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(&report.json())?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    anyhow::ensure!(fits, "memory grew more than it may");
    anyhow::ensure!(came_through, "good clients suffered, or something grew: see above");
    Ok(())
}
