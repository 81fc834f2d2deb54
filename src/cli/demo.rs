//! `edi demo`.

use clap::Args as ClapArgs;

use super::{ConfigFlags, Failure, Output};

/// See it work: serve from a throw-away folder, issue a token, verify it.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    flags: ConfigFlags,
}

/// Not part of this build yet; judges the configuration only.
///
/// # Errors
/// When the configuration has problems.
#[expect(clippy::unused_async, reason = "the command awaits once it serves")]
pub async fn run(args: Args, _output: Output) -> Result<(), Failure> {
    args.flags.load().map(|_| ())
}
