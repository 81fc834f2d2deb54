//! `edi recover`.

use clap::Args as ClapArgs;

use super::{ConfigFlags, Failure, Output};

/// Make a two-hour operator, offline, when all credentials are lost.
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
