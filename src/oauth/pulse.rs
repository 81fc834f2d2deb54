//! What happened lately: counts of the last minute, for whoever looks. The hot path only counts; a slow beat remembers
//! what the counters said.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::metrics::Counter;
use crate::model::algorithm::Algorithm;

/// How often the counters are looked at.
pub const BEAT: Duration = Duration::from_secs(5);
/// How far back it remembers.
const WINDOW: Duration = Duration::from_mins(1);

/// Counters of this process, and what they said during the last minute.
#[derive(Debug)]
pub struct Pulse {
    issued: [Counter; Algorithm::ALL.len()],
    refused: Counter,
    beats: Mutex<VecDeque<Beat>>,
}

#[derive(Debug, Clone, Copy)]
struct Beat {
    at: Instant,
    issued: u64,
    refused: u64,
}

/// What happened in the time before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Lately {
    /// How many seconds are covered: a minute, or less when the process is younger.
    pub seconds: u64,
    /// Tokens issued.
    pub issued: u64,
    /// Token requests refused.
    pub refused: u64,
}

impl Pulse {
    /// Counts from `now` on.
    #[must_use]
    pub fn starting(now: Instant) -> Self {
        let beats = Mutex::new(VecDeque::from([Beat { at: now, issued: 0, refused: 0 }]));
        Self { issued: [const { Counter::new() }; Algorithm::ALL.len()], refused: Counter::new(), beats }
    }

    /// Counts a token.
    pub fn note_issued(&self, algorithm: Algorithm) {
        if let Some(counter) = self.issued.get(algorithm as usize) {
            counter.one();
        }
    }

    /// Counts a refused token request.
    pub fn note_refused(&self) {
        self.refused.one();
    }

    /// Tokens issued by this process.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.issued.iter().map(Counter::get).sum()
    }

    /// Those among them that are signed with this algorithm.
    #[must_use]
    pub fn issued_with(&self, algorithm: Algorithm) -> u64 {
        self.issued.get(algorithm as usize).map_or(0, Counter::get)
    }

    /// Token requests refused by this process.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Remembers what the counters say; to be called every [`BEAT`].
    pub fn beat(&self, now: Instant) {
        let beat = self.look(now);
        let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        beats.push_back(beat);
        // One that is older than the window stays, to count from.
        while beats.get(1).is_some_and(|second| now.duration_since(second.at) >= WINDOW) {
            beats.pop_front();
        }
    }

    /// What happened in the last minute.
    #[must_use]
    pub fn lately(&self, now: Instant) -> Lately {
        let here = self.look(now);
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        let then = beats.front().copied().unwrap_or(here);
        Lately {
            seconds: now.duration_since(then.at).as_secs(),
            issued: here.issued.saturating_sub(then.issued),
            refused: here.refused.saturating_sub(then.refused),
        }
    }

    fn look(&self, at: Instant) -> Beat {
        Beat { at, issued: self.issued(), refused: self.refused() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minute_is_remembered_and_no_more() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let pulse = Pulse::starting(start);
        pulse.note_issued(Algorithm::Es256);
        pulse.note_refused();
        assert_eq!(pulse.lately(at(2)), Lately { seconds: 2, issued: 1, refused: 1 });
        for beat in 1..=24 {
            pulse.note_issued(Algorithm::Es256);
            pulse.beat(at(beat * 5));
        }
        assert_eq!(pulse.lately(at(120)), Lately { seconds: 60, issued: 12, refused: 0 });
        assert_eq!((pulse.issued(), pulse.refused()), (25, 1));
        assert!(pulse.beats.lock().unwrap().len() <= 14);
    }
}
