//! The command line: the composition root, and the operator's way to a running edi.
//!
//! [`Cli`] is what may be typed, [`run`] does it, [`Failure`] says how it ended. `serve`, `demo` and `recover` put the
//! parts of edi together; every other command but `check` and `completions` is a client of the servers and knows no
//! more of them than any other client: URLs and JSON.

mod check;
mod completions;
pub mod demo;
mod exit;
mod flags;
mod output;
pub mod recover;
pub mod serve;
mod table;

use clap::{Parser, Subcommand};

pub use exit::{Exit, Failure};
pub use flags::ConfigFlags;
pub use output::Output;

/// Issues short-lived tokens for model prediction APIs, and runs the service that does.
#[derive(Debug, Parser)]
#[command(name = "edi", version, propagate_version = true, max_term_width = 110, after_help = AFTER_HELP)]
pub struct Cli {
    /// Print JSON for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Environment:
  EDI_CONFIG         the configuration file
  EDI_CREDENTIALS    the operator's credentials [default: keys/operator.json]
  EDI_SERVER         the admin API's URL [default: the one in the credentials]
  EDI_ISSUER, EDI_CLIENT_ID, EDI_CLIENT_SECRET    for `edi token`

Exit codes: 0 done, 1 refused or failed, 2 usage, 64 bad configuration, 65 unreadable input, 69 server not reachable,
77 not permitted.";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Args>),
    Demo(Box<demo::Args>),
    Check(Box<check::Args>),
    Recover(Box<recover::Args>),
    Completions(completions::Args),
}

/// Does what was typed.
///
/// # Errors
/// [`Failure`] with the exit code and what to print on standard error.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    let output = Output::new(cli.json);
    match cli.command {
        Command::Serve(args) => serve::run(*args, output).await,
        Command::Demo(args) => demo::run(*args, output).await,
        Command::Check(args) => check::run(&args, output),
        Command::Recover(args) => recover::run(*args, output).await,
        Command::Completions(args) => completions::run(&args, output),
    }
}
