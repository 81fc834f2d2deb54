//! A bar for what takes long, on a terminal alone. What is over in a moment shows none.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Nothing is shown before…
const PATIENCE: Duration = Duration::from_millis(400);
/// …and no more often than this.
const PACE: Duration = Duration::from_millis(100);
const WIDTH: u64 = 30;

/// A bar on standard error. It is wiped away when it is dropped.
pub(super) struct Bar {
    what: &'static str,
    /// How many bytes there are, where that is known.
    total: Option<u64>,
    done: u64,
    began: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Bar {
    /// A bar for `total` bytes; without, it counts.
    pub(super) fn new(what: &'static str, total: Option<u64>, json: bool) -> Self {
        let terminal = !json && io::stderr().is_terminal();
        Self { what, total, done: 0, began: Instant::now(), shown: None, terminal }
    }

    /// So many bytes more.
    pub(super) fn add(&mut self, bytes: usize) {
        self.done += bytes as u64;
        let due = self.shown.map_or(self.began + PATIENCE, |shown| shown + PACE);
        if self.terminal && Instant::now() >= due {
            self.shown = Some(Instant::now());
            // Who cannot see it misses nothing.
            let _ = write!(io::stderr().lock(), "\r\x1b[K{}", self.text());
        }
    }

    fn text(&self) -> String {
        let mib = |bytes: u64| bytes / (1024 * 1024);
        match self.total.filter(|total| *total > 0) {
            Some(total) => {
                let done = self.done.min(total);
                let (full, percent) = (done * WIDTH / total, done * 100 / total);
                let bar: String = (0..WIDTH).map(|at| if at < full { '#' } else { '.' }).collect();
                format!("{} [{bar}] {percent} % of {} MiB", self.what, mib(total))
            }
            None => format!("{} {} MiB, {} s", self.what, mib(self.done), self.began.elapsed().as_secs()),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_far_it_has_come() {
        let mut bar = Bar { terminal: false, ..Bar::new("reading", Some(4 * 1024 * 1024), true) };
        bar.add(1024 * 1024);
        assert_eq!(bar.text(), format!("reading [{}{}] 25 % of 4 MiB", "#".repeat(7), ".".repeat(23)));
        bar.add(1024 * 1024 * 1024);
        assert!(bar.text().contains("100 %"));
        let mut counting = Bar::new("writing", None, true);
        counting.add(3 * 1024 * 1024);
        assert!(counting.text().starts_with("writing 3 MiB"));
    }
}
