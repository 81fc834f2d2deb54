//! What a command prints: tables for people, JSON for programs, notes beside the answer.
//!
//! The answer goes to standard output, everything said about it to standard error, so that
//! `token=$(edi token get)` holds the token and nothing else.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use super::Failure;

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Everywhere but in JSON.
    Always,
    /// Nowhere.
    Never,
}

/// Where a command prints to.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// Whether the answer is for a program.
    pub json: bool,
    colour: bool,
}

impl Output {
    /// Standard output; colour only on a terminal that wants it (<https://no-color.org>).
    #[must_use]
    pub fn new(json: bool) -> Self {
        Self::with(json, Color::Auto)
    }

    /// Standard output, with colour as told.
    #[must_use]
    pub fn with(json: bool, color: Color) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let colour = match color {
            Color::Auto => wanted && io::stdout().is_terminal(),
            Color::Always => true,
            Color::Never => false,
        };
        Self { json, colour: colour && !json }
    }

    /// Without colour, whatever the terminal.
    #[cfg(test)]
    pub(super) const fn plain() -> Self {
        Self { json: false, colour: false }
    }

    /// Prints a line, or several.
    ///
    /// # Errors
    /// When standard output cannot be written; a closed pipe ends the program quietly.
    pub fn line(self, text: impl AsRef<str>) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_ref().as_bytes())?;
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }

    /// Prints JSON.
    ///
    /// # Errors
    /// Those of [`Output::line`].
    pub fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?;
        self.line(text)
    }

    /// Tells the person beside the answer, on standard error.
    pub fn note(self, text: impl AsRef<str>) {
        // A note that cannot be told changes nothing about the outcome.
        let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
    }

    /// `text` as a heading.
    #[must_use]
    pub fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// `text` as good news.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// `text` as bad news.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// `text` as something that matters less.
    #[must_use]
    pub fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// `text` as something that changes.
    #[must_use]
    pub fn changed(self, text: &str) -> String {
        self.paint("33", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// How many columns the terminal has: as `COLUMNS` says, or the terminal behind standard output; 80 without either.
pub(super) fn terminal_width() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let asked = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    said.or_else(asked).filter(|columns| *columns > 0).unwrap_or(80)
}

/// How far something long has come, on standard error: for people at a terminal, and only when it takes a while.
#[derive(Debug)]
pub(super) struct Progress {
    total: usize,
    what: &'static str,
    shown: bool,
    started: std::time::Instant,
}

impl Progress {
    /// Shorter than this, nothing is shown.
    const PATIENCE: std::time::Duration = std::time::Duration::from_millis(400);
    const WIDTH: usize = 30;

    /// Starts at none of `total`.
    pub(super) fn start(total: usize, what: &'static str) -> Self {
        Self { total, what, shown: false, started: std::time::Instant::now() }
    }

    /// `done` of them are done.
    pub(super) fn at(&mut self, done: usize) {
        if self.started.elapsed() < Self::PATIENCE || !io::stderr().is_terminal() {
            return;
        }
        self.shown = true;
        // What cannot be shown changes nothing about the outcome.
        let _ = write!(io::stderr().lock(), "\r\x1b[2K{}", self.bar(done));
    }

    /// Takes the bar away: something else is about to be printed, or it is over.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr().lock(), "\r\x1b[2K");
        }
    }

    fn bar(&self, done: usize) -> String {
        let filled = done.min(self.total) * Self::WIDTH / self.total.max(1);
        format!("[{}{}] {done}/{} {}", "#".repeat(filled), "-".repeat(Self::WIDTH - filled), self.total, self.what)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Text from elsewhere, fit for a terminal: control characters are shown, not obeyed.
#[must_use]
pub(super) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills() {
        let progress = Progress::start(4, "changes");
        assert_eq!(progress.bar(0), format!("[{}] 0/4 changes", "-".repeat(30)));
        assert_eq!(progress.bar(2), format!("[{}{}] 2/4 changes", "#".repeat(15), "-".repeat(15)));
        assert_eq!(Progress::start(0, "changes").bar(0), format!("[{}] 0/0 changes", "-".repeat(30)));
    }

    #[test]
    fn control_characters_are_shown_not_obeyed() {
        assert_eq!(printable("a\u{1b}[2Jb\nc é"), "a\\u{1b}[2Jb\\nc é");
    }
}
