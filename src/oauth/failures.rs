//! Budgets for failed authentications: so many failures at once per client id and per address, refilled steadily; past
//! them the answer is 429 in place of 401, and it takes its time.
//!
//! A budget never refuses a right secret. It is spent by what has failed already: an edi-made secret is judged by its tag
//! and a remembered one by its fingerprint before any budget is looked at, and a guess that has to be hashed only changes
//! lanes ([`super::hashing_queue`]). Failures past a budget are answered at ten times its refill at most: whoever floods
//! waits, at most a second for each, and good callers find the workers free.
//!
//! The claimed client id is budgeted whether or not there is such a client, so that a 429 tells no more than a 401.
//!
//! Budgets are slots of tables of a fixed size, found by a keyed hash: made-up ids and addresses can neither grow them,
//! push anyone out, nor start anyone's budget anew. Two that fall on the same two slots share a budget, which costs
//! neither of them a right secret.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use ring::hmac;
use tokio::time::{Instant, sleep};

use super::error::{Code, OAuthError};
use super::hashing_queue::{Flow, Lane};
use crate::ambient::Ambient;
use crate::metrics::Counter;

/// Slots of a table; a power of two.
const SLOTS: usize = 1 << 14;
/// How much faster than the refill failures past a budget are answered.
const PACE: u64 = 10;
/// The longest an answer is held back.
const LONGEST_HOLD: Duration = Duration::from_secs(1);

/// How many failures, and how fast they are forgiven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// A second.
    pub per_second: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self { burst: 200, per_second: 20 }
    }
}

/// Who tries: what is budgeted.
#[derive(Debug, Clone, Copy)]
pub struct Suspect {
    client: Place,
    address: Place,
    flow: Flow,
}

/// Where a budget is kept: two slots, of which the emptier one counts.
type Place = [usize; 2];

/// What is counted.
#[derive(Debug, Default)]
pub struct FailureFigures {
    /// Failed authentications.
    pub failed: Counter,
    /// Those of them that were past the budget of their client id.
    pub over_client: Counter,
    /// Those of them that were past the budget of their address.
    pub over_address: Counter,
    held: Counter,
    released: Counter,
}

impl FailureFigures {
    /// Answers that are held back now.
    #[must_use]
    pub fn held(&self) -> u64 {
        let released = self.released.get();
        self.held.get().saturating_sub(released)
    }
}

/// All budgets.
pub struct Failures {
    key: hmac::Key,
    started: Instant,
    burst: AtomicU32,
    per_second: AtomicU32,
    clients: Table,
    addresses: Table,
    figures: FailureFigures,
}

impl Failures {
    /// Full budgets.
    #[must_use]
    pub fn new(rate: Rate, ambient: &Ambient) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &ambient.random::<32>());
        let (clients, addresses) = (Table::default(), Table::default());
        Self {
            key,
            started: Instant::now(),
            burst: rate.burst.into(),
            per_second: rate.per_second.into(),
            clients,
            addresses,
            figures: FailureFigures::default(),
        }
    }

    /// How many failures there are, and how fast they are forgiven.
    #[must_use]
    pub fn rate(&self) -> Rate {
        Rate { burst: self.burst.load(Ordering::Relaxed), per_second: self.per_second.load(Ordering::Relaxed) }
    }

    /// Changes it for failures to come. What was spent stays spent: budgets are kept as the time until they are full.
    pub fn set_rate(&self, rate: Rate) {
        self.burst.store(rate.burst, Ordering::Relaxed);
        self.per_second.store(rate.per_second, Ordering::Relaxed);
    }

    /// Who tries, by the id it claims and where it comes from.
    #[must_use]
    pub fn suspect(&self, client_id: &str, address: Option<IpAddr>) -> Suspect {
        let block = block(address);
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&block);
        context.update(client_id.as_bytes());
        let both = context.sign();
        let address = hmac::sign(&self.key, &block);
        // Whoever claims no id of its own has none to run out of.
        let client = if client_id.is_empty() { address } else { hmac::sign(&self.key, client_id.as_bytes()) };
        Suspect { client: place(client.as_ref()), address: place(address.as_ref()), flow: number(both.as_ref(), 0) }
    }

    /// Where a guess that has to be hashed waits, and in whose turn.
    #[must_use]
    pub fn lane(&self, suspect: &Suspect) -> (Lane, Flow) {
        let (now, rate) = (self.now(), self.rate());
        let spent =
            self.clients.is_spent(suspect.client, now, rate) || self.addresses.is_spent(suspect.address, now, rate);
        (if spent { Lane::Suspect } else { Lane::Open }, suspect.flow)
    }

    /// Spends a failure. Within both budgets the refusal stays what it is; past one it becomes 429, and comes late.
    pub async fn refuse(&self, refusal: OAuthError, suspect: &Suspect) -> OAuthError {
        let (now, rate) = (self.now(), self.rate());
        self.figures.failed.one();
        let over_client = !self.clients.spend(suspect.client, now, rate);
        let over_address = !self.addresses.spend(suspect.address, now, rate);
        if !over_client && !over_address {
            return refusal;
        }
        let mut hold = 0;
        if over_client {
            self.figures.over_client.one();
            hold = self.clients.pace(suspect.client, now, rate);
        }
        if over_address {
            self.figures.over_address.one();
            hold = hold.max(self.addresses.pace(suspect.address, now, rate));
        }
        let _held = Held::new(&self.figures);
        sleep(Duration::from_micros(hold)).await;
        let OAuthError { description, reason, .. } = refusal;
        let cause = if reason.is_empty() { description } else { reason };
        let whose = match (over_client, over_address) {
            (true, true) => "the client id and the address have",
            (true, false) => "the client id has",
            _ => "the address has",
        };
        OAuthError {
            retry_after: Some(1),
            ..OAuthError::new(Code::SlowDown, "too many failed attempts; try again shortly")
        }
        .because(format!("{cause}; {whose} no failures left"))
    }

    /// What is counted.
    #[must_use]
    pub fn figures(&self) -> &FailureFigures {
        &self.figures
    }

    /// Microseconds since these budgets began.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// An answer that is held back, until it is given or its caller leaves.
struct Held<'a>(&'a FailureFigures);

impl<'a> Held<'a> {
    fn new(figures: &'a FailureFigures) -> Self {
        figures.held.one();
        Self(figures)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.released.one();
    }
}

/// An IPv4 address whole, of an IPv6 address the network that one household or server gets: its first half.
fn block(address: Option<IpAddr>) -> Vec<u8> {
    let mut out = Vec::with_capacity(9);
    match address.map(|address| address.to_canonical()) {
        None => out.push(0),
        Some(IpAddr::V4(address)) => {
            out.push(4);
            out.extend(address.octets());
        }
        Some(IpAddr::V6(address)) => {
            out.push(6);
            out.extend(address.octets().into_iter().take(8));
        }
    }
    // One length for all, so that no id that follows it can be taken for a part of it.
    out.resize(9, 0);
    out
}

fn number(hash: &[u8], at: usize) -> u64 {
    let bytes = hash.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
    u64::from_le_bytes(bytes)
}

fn place(hash: &[u8]) -> Place {
    let slot = |at| usize::try_from(number(hash, at) % SLOTS as u64).unwrap_or(0);
    [slot(0), slot(8)]
}

/// Budgets by slot: the instant at which each is full again (the generic cell rate algorithm), and the instant at which
/// its next answer past the budget is due.
#[derive(Default)]
struct Table {
    full_at: Slots,
    answer_at: Slots,
}

/// Made when the first is written: many a server sees no failure, and next to none sees one past a budget.
#[derive(Default)]
struct Slots(OnceLock<Box<[AtomicU64]>>);

impl Slots {
    /// Those of a place, if any slot was ever written.
    fn at(&self, place: Place) -> impl Iterator<Item = &AtomicU64> {
        let slots = self.0.get().into_iter();
        slots.flat_map(move |slots| place.into_iter().filter_map(|at| slots.get(at)))
    }

    /// Those of a place, to be written.
    fn written(&self, place: Place) -> impl Iterator<Item = &AtomicU64> {
        self.0.get_or_init(|| (0..SLOTS).map(|_| AtomicU64::new(0)).collect());
        self.at(place)
    }
}

impl Table {
    fn is_spent(&self, place: Place, now: u64, rate: Rate) -> bool {
        let spent = |slot: &AtomicU64| slot.load(Ordering::Relaxed) >= now.saturating_add(rate.longest());
        let mut slots = self.full_at.at(place).peekable();
        slots.peek().is_some() && slots.all(spent)
    }

    /// Takes one failure from a budget; whether there was one left.
    fn spend(&self, place: Place, now: u64, rate: Rate) -> bool {
        let mut left = false;
        for slot in self.full_at.written(place) {
            let took = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                let after = full_at.max(now).saturating_add(rate.interval());
                (after <= now.saturating_add(rate.longest()).saturating_add(rate.interval() / 2)).then_some(after)
            });
            left |= took.is_ok();
        }
        left
    }

    /// How many microseconds an answer past the budget is held back.
    fn pace(&self, place: Place, now: u64, rate: Rate) -> u64 {
        let longest = u64::try_from(LONGEST_HOLD.as_micros()).unwrap_or(u64::MAX);
        let step = rate.interval() / PACE;
        let mut hold = longest;
        for slot in self.answer_at.written(place) {
            let due = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
                Some(due.max(now).saturating_add(step).min(now.saturating_add(longest)))
            });
            let due = due.unwrap_or_else(|due| due).max(now);
            hold = hold.min(due.saturating_sub(now));
        }
        hold
    }
}

impl Rate {
    /// Microseconds in which one failure is forgiven.
    fn interval(self) -> u64 {
        1_000_000 / u64::from(self.per_second.max(1))
    }

    /// Microseconds in which an empty budget is full again.
    fn longest(self) -> u64 {
        self.interval().saturating_mul(u64::from(self.burst.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;

    fn failures(burst: u32, per_second: u32) -> Failures {
        let ambient = Ambient { entropy: SeededEntropy::new(3), ..Ambient::system() };
        Failures::new(Rate { burst, per_second }, &ambient)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn fail(failures: &Failures, client: &str, from: &str) -> u16 {
        let suspect = failures.suspect(client, Some(address(from)));
        failures.refuse(OAuthError::invalid_client("wrong"), &suspect).await.code.wire().1
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_that_changes_counts_from_the_next_failure_on() {
        let failures = failures(2, 1);
        for wanted in [401, 401, 429] {
            assert_eq!(fail(&failures, "svc", "192.0.2.1").await, wanted);
        }
        failures.set_rate(Rate { burst: 10, per_second: 1 });
        assert_eq!(fail(&failures, "svc", "192.0.2.1").await, 401, "there are more");
        failures.set_rate(Rate { burst: 2, per_second: 1 });
        assert_eq!(fail(&failures, "svc", "192.0.2.1").await, 429, "there are fewer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_id_has_so_many_failures_and_gets_them_back() {
        let failures = failures(5, 2);
        for n in 0..5 {
            assert_eq!(fail(&failures, "svc", &format!("192.0.2.{n}")).await, 401);
        }
        assert_eq!(fail(&failures, "svc", "192.0.2.9").await, 429);
        assert_eq!(fail(&failures, "other", "192.0.2.10").await, 401, "a budget of its own");
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(fail(&failures, "svc", "192.0.2.9").await, 401);
        assert_eq!(fail(&failures, "svc", "192.0.2.9").await, 401);
        assert_eq!(fail(&failures, "svc", "192.0.2.9").await, 429, "two a second");
        tokio::time::sleep(Duration::from_secs(1000)).await;
        for n in 0..5 {
            assert_eq!(fail(&failures, "svc", "198.51.100.1").await, 401, "{n}: full, and no fuller");
        }
        assert_eq!(fail(&failures, "svc", "192.0.2.9").await, 429);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_a_budget_whatever_ids_it_makes_up() {
        let failures = failures(5, 1);
        for n in 0..5 {
            assert_eq!(fail(&failures, &format!("id-{n}"), "192.0.2.1").await, 401);
        }
        let suspect = failures.suspect("id-9", Some(address("192.0.2.1")));
        assert_eq!(failures.lane(&suspect).0, Lane::Suspect);
        let refused = failures.refuse(OAuthError::invalid_client("wrong"), &suspect).await;
        assert_eq!((refused.code, refused.retry_after), (Code::SlowDown, Some(1)));
        assert_eq!(refused.reason, "wrong; the address has no failures left");
        assert_eq!(failures.lane(&failures.suspect("id-9", Some(address("192.0.2.2")))).0, Lane::Open);
        // Half an IPv6 address is one budget; an IPv4 address written as IPv6 is itself.
        for n in 0..5 {
            assert_eq!(fail(&failures, &format!("v6-{n}"), &format!("2001:db8:1:2::{n}")).await, 401);
        }
        assert_eq!(fail(&failures, "v6-9", "2001:db8:1:2:ffff::1").await, 429);
        assert_eq!(fail(&failures, "v6-9", "2001:db8:1:3::1").await, 401);
        assert_eq!(fail(&failures, "v4-9", "::ffff:192.0.2.1").await, 429);
        let figures = failures.figures();
        assert_eq!([&figures.failed, &figures.over_client, &figures.over_address].map(Counter::get), [14, 0, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_past_a_budget_are_answered_at_a_steady_pace() {
        let failures = failures(1, 20);
        assert_eq!(fail(&failures, "svc", "192.0.2.1").await, 401);
        let started = Instant::now();
        let all: Vec<_> = (0..100).map(|_| fail(&failures, "svc", "192.0.2.1")).collect();
        let codes = futures_util::future::join_all(all).await;
        assert!(codes.iter().all(|code| *code == 429));
        // Ten times the refill: 200 a second.
        let took = started.elapsed().as_millis();
        assert!((450..=600).contains(&took), "{took}");
        let started = Instant::now();
        let all: Vec<_> = (0..2000).map(|_| fail(&failures, "svc", "192.0.2.1")).collect();
        futures_util::future::join_all(all).await;
        assert!(started.elapsed() <= Duration::from_millis(1100), "nobody waits longer than a second");
        assert_eq!(failures.figures().held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn made_up_ids_start_nobodys_budget_anew() {
        let failures = failures(5, 1);
        for n in 0..6 {
            fail(&failures, "svc", &format!("192.0.2.{n}")).await;
        }
        for n in 0..50_000_u32 {
            let [a, b, c, d] = n.to_be_bytes();
            let suspect = failures.suspect(&format!("made-up-{n}"), Some(IpAddr::from([10 + a, b, c, d])));
            let _ = failures.clients.spend(suspect.client, failures.now(), failures.rate());
        }
        assert_eq!(fail(&failures, "svc", "198.51.100.7").await, 429);
    }
}
