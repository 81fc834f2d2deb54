//! Prometheus's text exposition format, version 0.0.4.

use std::fmt::{Display, Write as _};

use super::{BOUNDS, Snapshot};

/// The media type of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, a sum and a count, in seconds.
    Histogram,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A page of families, each once.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// An empty page.
    #[must_use]
    pub fn new() -> Self {
        Self { text: String::with_capacity(48 * 1024) }
    }

    /// Starts a family. Its samples follow.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        debug_assert!(kind != Kind::Counter || name.ends_with("_total"), "{name}");
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a String cannot fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.name());
        Family { text: &mut self.text, name }
    }

    /// A family of one sample without labels.
    pub fn one(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// The text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

/// A family under way.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    /// A sample under these labels.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// A histogram under these labels.
    pub fn histogram(&mut self, labels: &[(&str, &str)], seen: &Snapshot) {
        let mut below = 0;
        for (at, count) in seen.buckets.iter().enumerate() {
            below += count;
            let bound = BOUNDS.get(at).map_or_else(|| "+Inf".to_owned(), |micros| seconds(*micros));
            self.line("_bucket", labels, Some(&bound), below);
        }
        self.line("_sum", labels, None, seconds(seen.micros));
        self.line("_count", labels, None, below);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], bound: Option<&str>, value: impl Display) {
        let Self { text, name } = self;
        let _ = write!(text, "{name}{suffix}");
        let mut before = '{';
        for (label, held) in labels.iter().copied().chain(bound.map(|bound| ("le", bound))) {
            let _ = write!(text, "{before}{label}=\"");
            for character in held.chars() {
                match character {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    other => text.push(other),
                }
            }
            text.push('"');
            before = ',';
        }
        if before == ',' {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

/// Microseconds as seconds, exactly.
fn seconds(micros: u64) -> String {
    let (whole, part) = (micros / 1_000_000, micros % 1_000_000);
    if part == 0 { whole.to_string() } else { format!("{whole}.{part:06}").trim_end_matches('0').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::Histogram;
    use super::*;

    #[test]
    fn a_page_follows_the_format() {
        let mut page = Page::new();
        page.one("up", Kind::Gauge, "Whether it is\nup \\ here.", 1);
        page.family("x_total", Kind::Counter, "X.").sample(&[("a", "q\"\\\n"), ("b", "")], 0.5);
        let histogram = Histogram::default();
        histogram.observe_micros(75);
        histogram.observe_micros(2_000_000);
        page.family("t_seconds", Kind::Histogram, "T.").histogram(&[("e", "x")], &histogram.snapshot());
        let text = page.into_text();
        assert!(text.starts_with("# HELP up Whether it is\\nup \\\\ here.\n# TYPE up gauge\nup 1\n"), "{text}");
        assert!(text.contains("# TYPE x_total counter\nx_total{a=\"q\\\"\\\\\\n\",b=\"\"} 0.5\n"), "{text}");
        for line in [
            "t_seconds_bucket{e=\"x\",le=\"0.00005\"} 0",
            "t_seconds_bucket{e=\"x\",le=\"0.0001\"} 1",
            "t_seconds_bucket{e=\"x\",le=\"1\"} 1",
            "t_seconds_bucket{e=\"x\",le=\"2.5\"} 2",
            "t_seconds_bucket{e=\"x\",le=\"+Inf\"} 2",
            "t_seconds_sum{e=\"x\"} 2.000075",
            "t_seconds_count{e=\"x\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
