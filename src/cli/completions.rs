//! `edi completions`: a completion script for a shell.

use clap::{Args as ClapArgs, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Failure, Output};

/// Print a completion script, e.g. `edi completions bash > /etc/bash_completion.d/edi`.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// When standard output cannot be written.
pub(super) fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "edi", &mut script);
    output.line(String::from_utf8_lossy(&script).trim_end())
}
