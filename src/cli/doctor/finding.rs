//! What a check found, and how findings are told.

use serde::Serialize;

use crate::cli::output::{Output, printable};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and will surprise somebody.
    Warning,
    /// Some verifier or client fails on it.
    Failure,
    /// It could not be judged.
    Skipped,
}

/// What a check found.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    /// The check's name, for programs.
    pub(super) check: &'static str,
    pub(super) outcome: Outcome,
    /// What was found.
    pub(super) found: String,
    /// What mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fix: Option<String>,
}

/// Findings, in the order they are made.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    fn add(&mut self, check: &'static str, outcome: Outcome, found: &str, fix: Option<&str>) {
        // What is found comes from elsewhere.
        let found = printable(found);
        self.0.push(Finding { check, outcome, found, fix: fix.map(printable) });
    }

    pub(super) fn ok(&mut self, check: &'static str, found: impl AsRef<str>) {
        self.add(check, Outcome::Ok, found.as_ref(), None);
    }

    pub(super) fn skip(&mut self, check: &'static str, why: impl AsRef<str>) {
        self.add(check, Outcome::Skipped, why.as_ref(), None);
    }

    pub(super) fn warn(&mut self, check: &'static str, found: impl AsRef<str>, fix: impl AsRef<str>) {
        self.add(check, Outcome::Warning, found.as_ref(), Some(fix.as_ref()));
    }

    pub(super) fn fail(&mut self, check: &'static str, found: impl AsRef<str>, fix: impl AsRef<str>) {
        self.add(check, Outcome::Failure, found.as_ref(), Some(fix.as_ref()));
    }

    /// How many ended like this.
    pub(super) fn count(&self, outcome: Outcome) -> usize {
        self.0.iter().filter(|finding| finding.outcome == outcome).count()
    }

    /// Whether a check has found nothing wrong so far.
    pub(super) fn is_clean(&self, check: &str) -> bool {
        !self.0.iter().any(|it| it.check == check && matches!(it.outcome, Outcome::Warning | Outcome::Failure))
    }

    /// A line for each, its fix below it.
    pub(super) fn text(&self, output: Output) -> String {
        let width = self.0.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
        let lines = self.0.iter().map(|Finding { check, outcome, found, fix }| {
            let word = match outcome {
                Outcome::Ok => output.good("ok   "),
                Outcome::Warning => output.changed("warn "),
                Outcome::Failure => output.bad("FAILS"),
                Outcome::Skipped => "-    ".to_owned(),
            };
            let fix = fix.as_ref().map(|fix| format!("\n{:1$}fix: {fix}", "", width + 9)).unwrap_or_default();
            format!("{check:<width$}  {word}  {found}{fix}")
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}
