//! What a command asks for: secrets from standard input, never from an argument that `ps` shows; and a yes.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use super::{Exit, Failure};
use crate::secret::Secret;

/// The longest secret or token that is read, in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// Reads a secret or token from standard input, without the line break at its end.
///
/// # Errors
/// When standard input is a terminal, where it would be echoed; when it holds nothing, too much, or no text.
pub(super) fn secret_from_stdin(what: &str) -> Result<Secret, Failure> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::new(Exit::Usage, format!("the {what} is read from standard input, which is a terminal"))
            .hint("pipe it in, e.g. `edi … < file`, so that it shows nowhere"));
    }
    let mut text = String::new();
    let read = stdin.lock().take(MAX_SECRET + 1).read_to_string(&mut text);
    let secret = Secret::new(text);
    let trimmed = secret.expose().trim_end_matches('\n').trim_end_matches('\r');
    match read {
        Err(_) => Err(Failure::new(Exit::Data, format!("the {what} on standard input is not text"))),
        Ok(length) if length as u64 > MAX_SECRET => {
            Err(Failure::new(Exit::Data, format!("the {what} on standard input is longer than 64 KiB")))
        }
        Ok(_) if trimmed.is_empty() => {
            Err(Failure::new(Exit::Data, format!("standard input is empty where a {what} was expected")))
        }
        Ok(_) => Ok(Secret::new(trimmed.to_owned())),
    }
}

/// Reads a token from standard input: bare, or as the header that it came in.
///
/// # Errors
/// Those of [`secret_from_stdin`].
pub(super) fn token_from_stdin() -> Result<Secret, Failure> {
    let text = secret_from_stdin("token")?;
    Ok(Secret::new(bare(text.expose()).to_owned()))
}

/// The token in `Authorization: Bearer TOKEN`, `Bearer TOKEN`, or by itself.
fn bare(text: &str) -> &str {
    let after = |text: &'_ str, prefix: &str| {
        text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix)).then_some(prefix.len())
    };
    let text = text.trim();
    let text = after(text, "authorization:").and_then(|at| text.get(at..)).unwrap_or(text).trim_start();
    after(text, "bearer ").and_then(|at| text.get(at..)).unwrap_or(text).trim_start()
}

/// Asks a person for a secret at the terminal, which does not show it; reads it from standard input when that is no
/// terminal.
///
/// # Errors
/// Those of [`secret_from_stdin`]; when nothing is typed.
pub(super) fn secret_from_person(what: &str) -> Result<Secret, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return secret_from_stdin(what);
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{what}: ")?;
    stderr.flush()?;
    let silent = Silent::begin()?;
    let mut text = String::new();
    let read = stdin.lock().take(MAX_SECRET).read_line(&mut text);
    drop(silent);
    writeln!(stderr)?;
    let text = Secret::new(text);
    read?;
    let typed = text.expose().trim_end_matches(['\n', '\r']);
    // Ctrl-C arrives as a character while nothing is shown: leaving the terminal so would be worse.
    if typed.is_empty() || typed.contains('\u{3}') {
        return Err(Failure::new(Exit::Usage, format!("no {what} was given")));
    }
    Ok(Secret::new(typed.to_owned()))
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silent(rustix::termios::Termios);

impl Silent {
    fn begin() -> io::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        // Without signals, so that none ends the program with a terminal that stays silent; Enter ends the line.
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, &self.0);
    }
}

/// Whether a person can be asked.
pub(super) fn somebody_is_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks before something that cannot be taken back.
///
/// # Errors
/// When the answer is not yes, or nobody can be asked.
pub(super) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !somebody_is_there() {
        return Err(Failure::new(Exit::Usage, format!("{question} Nobody is there to ask."))
            .hint("pass --yes if that is what you want"));
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::new(Exit::Failed, "nothing was changed"))
    }
}

/// Asks where somebody can answer, and goes on where nobody can: for changes that can be taken back.
///
/// # Errors
/// When the answer is not yes.
pub(super) fn confirm_on_terminal(question: &str, yes: bool) -> Result<(), Failure> {
    confirm(question, yes || !somebody_is_there())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_header_holds_the_same_token() {
        for pasted in [
            "a.b.c",
            " a.b.c\r",
            "Bearer a.b.c",
            "bearer  a.b.c",
            "Authorization: Bearer a.b.c",
            "authorization:bearer a.b.c ",
        ] {
            assert_eq!(bare(pasted), "a.b.c", "{pasted:?}");
        }
        for other in ["", "Bearer", "Bearerx", "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"] {
            assert_eq!(bare(other), other, "{other:?}");
        }
    }
}
