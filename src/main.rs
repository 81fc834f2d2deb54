//! The `edi` program: parses its arguments, calls the library, turns the outcome into an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use edi::cli::{Cli, Exit, allocator, run};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => {
            // Help and version come this way too. Nothing is left to do when even they cannot be printed.
            let _ = refusal.print();
            return if refusal.use_stderr() { Exit::Usage } else { Exit::Ok }.into();
        }
    };
    if cli.stays() {
        allocator::settle();
    }
    done(cli)
}

#[tokio::main]
async fn done(cli: Cli) -> ExitCode {
    match run(cli).await {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => failure.report().into(),
    }
}
