//! How a command ends: one table of exit codes, and the failure that carries one together with what to do next.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::config::Problem;

/// The exit codes of `edi`; scripts rely on them. Those above 63 are from `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Refused or failed; of `token inspect`: a verifier would refuse the token; of `diff`: there is a difference.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The configuration has problems.
    Config = 64,
    /// Input that cannot be read: credentials, files, a key set, a token that is none.
    Data = 65,
    /// The server cannot be reached, or cannot answer now.
    Unavailable = 69,
    /// The credentials are refused, or do not reach that far.
    Denied = 77,
}

impl Exit {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Ok, Self::Failed, Self::Usage, Self::Config, Self::Data, Self::Unavailable, Self::Denied];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it means, in a few words.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::Failed => {
                "refused or failed; of `token inspect`: a verifier would refuse the token; of `diff`: there is a difference"
            }
            Self::Usage => "the command line makes no sense",
            Self::Config => "the configuration has problems",
            Self::Data => "input that cannot be read: credentials, files, a key set, a token that is none",
            Self::Unavailable => "the server cannot be reached, or cannot answer now",
            Self::Denied => "the credentials are refused, or do not reach that far",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what it was asked. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// What happened. Further lines are details. Empty when the command has said it all.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// A failure whose command has printed the reason itself.
    #[must_use]
    pub fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// All problems of a configuration.
    #[must_use]
    pub fn of_config(problems: &[Problem]) -> Self {
        let mut message = match problems.len() {
            1 => "the configuration has a problem".to_owned(),
            count => format!("the configuration has {count} problems"),
        };
        for problem in problems {
            // Writing to a String cannot fail.
            let _ = write!(message, "\n  {problem}");
        }
        Self::new(Exit::Config, message)
            .hint("every key with its default: config/edi.toml; judge again without serving: `edi check`")
    }

    /// Prints it on standard error; returns the exit code.
    #[must_use]
    pub fn report(&self) -> Exit {
        if !self.message.is_empty() {
            // When standard error is gone there is nobody left to tell.
            let _ = writeln!(io::stderr().lock(), "{self}");
        }
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  next: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, format!("{error:#}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // `edi client list | head`: the reader has seen enough.
            io::ErrorKind::BrokenPipe => Self::silent(Exit::Ok),
            _ => Self::new(Exit::Failed, format!("cannot write the answer: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_lists_every_exit_code() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/cli.md")).unwrap();
        for exit in Exit::ALL {
            let row = format!("| {} | {} |", exit.code(), exit.meaning());
            assert!(text.contains(&row), "missing: {row}");
        }
    }

    #[test]
    fn problems_are_listed_with_what_to_do_next() {
        let problems = [
            Problem::new("listen.public", "here", "expected an address and a port such as 127.0.0.1:8080"),
            Problem::of_key("tokens.tll", "unknown key; did you mean `tokens.ttl`?"),
        ];
        assert_eq!(
            Failure::of_config(&problems).to_string(),
            "error: the configuration has 2 problems\n  \
             listen.public = \"here\": expected an address and a port such as 127.0.0.1:8080\n  \
             tokens.tll: unknown key; did you mean `tokens.ttl`?\n  \
             next: every key with its default: config/edi.toml; judge again without serving: `edi check`"
        );
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::Ok, ""));
    }
}
