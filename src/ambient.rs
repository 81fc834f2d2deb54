//! Time and randomness, passed in as arguments so that every rule about either can be tested.
//!
//! Nothing else in the crate may ask the operating system for the time of day or for random bytes; `clippy.toml`
//! bans the usual ways. Timeouts are not time of day: they use the runtime's monotonic clock.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ring::rand::SecureRandom as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::model::time::Timestamp;

/// Wall time.
pub trait Clock: Send + Sync + 'static {
    /// The present instant, in UTC.
    fn now(&self) -> Timestamp;
}

/// Random bytes fit for keys, secrets and nonces.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the whole of `out`.
    fn fill(&self, out: &mut [u8]);
}

/// The two together, as handed through the program.
#[derive(Clone)]
pub struct Ambient {
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Ambient {
    /// The real clock and the operating system's generator.
    #[must_use]
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy::new()) }
    }

    /// The present instant.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// `N` fresh random bytes.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.entropy.fill(&mut out);
        out
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// Since 1970-01-01T00:00:00Z, finer than any rule asks for: for the time of a log line.
    #[must_use]
    pub fn since_epoch(&self) -> Duration {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.since_epoch().as_millis()).unwrap_or(i64::MAX))
    }
}

/// The operating system's generator, through ring.
pub struct SystemEntropy(ring::rand::SystemRandom);

impl SystemEntropy {
    /// A handle; costs nothing.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that makes the generator")]
    pub fn new() -> Self {
        Self(ring::rand::SystemRandom::new())
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) {
        if self.0.fill(out).is_err() {
            // A process without randomness must not issue anything, and no caller could do better than stop.
            std::process::abort();
        }
    }
}

/// How many random bytes a [`Batch`] draws at a time.
const BATCH: usize = 1024;

/// Random bytes drawn many at a time, as each draw is a system call. Every byte is handed out once and wiped where it
/// lay. A copy of the process would hand out the same bytes: edi never forks while it serves.
pub struct Batch {
    bytes: Zeroizing<Box<[u8]>>,
    used: usize,
}

impl Batch {
    /// An empty one: the first bytes are drawn when they are asked for.
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: Zeroizing::new(vec![0; BATCH].into()), used: BATCH }
    }

    /// `N` bytes that were never handed out, from `entropy` at the latest when the batch is used up.
    pub fn take<const N: usize>(&mut self, entropy: &dyn Entropy) -> [u8; N] {
        const { assert!(N <= BATCH, "more than a batch holds") };
        if self.used + N > BATCH {
            entropy.fill(&mut self.bytes);
            self.used = 0;
        }
        let mut out = [0; N];
        match self.bytes.get_mut(self.used..self.used + N) {
            Some(fresh) => {
                out.copy_from_slice(fresh);
                fresh.zeroize();
                self.used += N;
            }
            // Never: there is room for as many.
            None => entropy.fill(&mut out),
        }
        out
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

/// Batches that threads share: each thread keeps to one of a few, so that they seldom wait for each other.
pub struct Batches {
    entropy: Arc<dyn Entropy>,
    all: [Mutex<Batch>; BATCHES],
}

const BATCHES: usize = 16;

impl Batches {
    /// Batches of `entropy`.
    #[must_use]
    pub fn of(entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy, all: std::array::from_fn(|_| Mutex::default()) }
    }

    /// `N` bytes that were never handed out.
    #[must_use]
    pub fn take<const N: usize>(&self) -> [u8; N] {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        let mine = THREAD.with(|thread| self.all.get(thread % BATCHES));
        if let Some(Ok(mut batch)) = mine.map(Mutex::lock) {
            return batch.take(&*self.entropy);
        }
        // Who panicked with the lock in hand may have stopped halfway.
        let mut out = [0; N];
        self.entropy.fill(&mut out);
        out
    }
}

/// A clock that moves only when told; for tests and harnesses.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `at`.
    #[must_use]
    pub fn at(at: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(at.millis())))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Puts the clock to `at`, backwards included.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A repeatable stream of bytes; for tests and harnesses, never for anything secret.
#[derive(Debug)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// The stream that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) {
        // SplitMix64: short, and every chunk differs.
        for chunk in out.chunks_mut(8) {
            let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst).wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let bytes = (z ^ (z >> 31)).to_le_bytes();
            chunk.copy_from_slice(bytes.get(..chunk.len()).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_batch_hands_every_byte_out_once_and_wipes_it() {
        let entropy = SystemEntropy::new();
        let mut batch = Batch::new();
        let mut seen = HashSet::new();
        for _ in 0..10 * BATCH / 16 {
            let before = batch.used;
            let taken: [u8; 16] = batch.take(&entropy);
            assert!(seen.insert(taken), "twice");
            assert!(batch.used == before + 16 || batch.used == 16);
            assert!(batch.bytes[..batch.used].iter().all(|byte| *byte == 0), "left behind");
        }
    }

    #[test]
    fn what_is_left_of_a_batch_and_too_short_is_never_handed_out() {
        // Numbered bytes, to see where each comes from.
        struct Numbered(AtomicU64);
        impl Entropy for Numbered {
            fn fill(&self, out: &mut [u8]) {
                let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
                out.fill(u8::try_from(number).unwrap());
            }
        }
        let entropy = Numbered(AtomicU64::new(0));
        let mut batch = Batch::new();
        let takes: Vec<[u8; 300]> = (0..7).map(|_| batch.take(&entropy)).collect();
        let from: Vec<u8> = takes.iter().map(|taken| taken[0]).collect();
        assert!(takes.iter().all(|taken| taken.iter().all(|byte| *byte == taken[0])));
        assert_eq!(from, [1, 1, 1, 2, 2, 2, 3]);
    }

    #[test]
    fn threads_that_share_batches_never_get_the_same_bytes() {
        let batches = Batches::of(Arc::new(SystemEntropy::new()));
        let taken: Vec<[u8; 16]> = std::thread::scope(|scope| {
            // More threads than batches, so that some share one.
            let take = || (0..500).map(|_| batches.take()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..2 * BATCHES).map(|_| scope.spawn(take)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(taken.iter().collect::<HashSet<_>>().len(), taken.len());
    }
}
