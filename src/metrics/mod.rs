//! Figures for Prometheus: counters and histograms of plain atomics, and the text they are shown in.
//!
//! Whoever counts holds what it counts in. Counting is one or two relaxed additions: no lookup, no lock, no allocation.
//! A crate for this exists (`metrics` with an exporter); it finds each handle by hashing names, and its handles are
//! shared by all threads, where ours are a worker's own. Knows nothing of what is counted.

pub mod process;
mod text;

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use text::{CONTENT_TYPE, Family, Kind, Page};

/// Something that only goes up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// At zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The upper ends of a histogram's buckets, in microseconds: from what a decision takes to what a stalled caller may.
pub const BOUNDS: [u64; 18] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000,
];
const BUCKETS: usize = BOUNDS.len() + 1;

/// How long something took, in buckets.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    micros: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: array::from_fn(|_| Counter::new()), micros: Counter::new() }
    }
}

impl Histogram {
    /// It took so long once more.
    pub fn observe(&self, took: Duration) {
        self.observe_micros(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// The same in microseconds.
    pub fn observe_micros(&self, micros: u64) {
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.one();
        }
        self.micros.add(micros);
    }

    /// What it holds now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            buckets: array::from_fn(|at| self.buckets.get(at).map_or(0, Counter::get)),
            micros: self.micros.get(),
        }
    }
}

/// A histogram at an instant. Those of several workers add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    buckets: [u64; BUCKETS],
    micros: u64,
}

impl Snapshot {
    /// The two together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.micros = self.micros.saturating_add(other.micros);
        self
    }

    /// How many were observed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_as_long_as_a_bound_lies_below_it() {
        let histogram = Histogram::default();
        for micros in [0, 50, 51, 30_000_000, 30_000_001, u64::MAX / 2] {
            histogram.observe_micros(micros);
        }
        histogram.observe(Duration::from_micros(60));
        let seen = histogram.snapshot();
        assert_eq!((seen.buckets[0], seen.buckets[1], seen.buckets[17], seen.buckets[18]), (2, 2, 1, 2));
        assert_eq!(seen.count(), 7);
        assert_eq!(seen.plus(&seen).count(), 14);
    }
}
