use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::*;
use crate::ambient::{ManualClock, SeededEntropy};
use crate::audit::{Differences, Entry};
use crate::store::collections::By;
use crate::store::memory::{MemoryStore, Outcome};
use crate::store::trail::{Step, Walk};
use crate::store::{Commit, Figures, Health, Page, Read};

const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

struct Rig {
    clock: Arc<ManualClock>,
    ambient: Ambient,
    store: Arc<MemoryStore>,
}

fn rig() -> Rig {
    let clock = ManualClock::at(NOW);
    let ambient = Ambient { clock: Arc::clone(&clock) as _, entropy: SeededEntropy::new(1) };
    let store = Arc::new(MemoryStore::new(Arc::clone(&clock) as _));
    Rig { clock, ambient, store }
}

/// Tells one change, as every collection does.
async fn tell(store: &dyn Store, ambient: &Ambient, target: &str) {
    let mut tx = Tx::new(store);
    let by = By::edi(ambient.now(), "test.change", target);
    let audited = audit::record(&mut tx, ambient, &by, Differences::default()).unwrap();
    tx.commit(audited).await.unwrap();
}

fn start(rig: &Rig) -> tokio::task::JoinHandle<()> {
    tokio::spawn(keep_sealing(Arc::clone(&rig.store) as _, rig.ambient.clone()))
}

async fn verified(store: &dyn Store, now: Timestamp) -> Step {
    let mut walk = Walk::start();
    loop {
        match walk.step(store, now).await.unwrap() {
            Step::Onward(next) => walk = next,
            end => return end,
        }
    }
}

/// Waits until so many entries are sealed and the trail verifies.
async fn sealed(store: &dyn Store, now: Timestamp, entries: u64) -> Walk {
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        match verified(store, now).await {
            Step::Intact(walk) if walk.entries >= entries => {
                assert_eq!(walk.entries, entries, "each entry is sealed once");
                return walk;
            }
            Step::Intact(_) => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("not sealed in time");
}

#[tokio::test(start_paused = true)]
async fn what_is_told_is_sealed_soon_in_the_order_of_the_commits() {
    let rig = rig();
    let sealer = start(&rig);
    for n in 0..250 {
        tell(&*rig.store, &rig.ambient, &n.to_string()).await;
        // Clocks stand still, jump, and are set back: the order is that of the commits.
        rig.clock.set(if n % 2 == 0 { NOW.plus(Duration::from_secs(n)) } else { NOW });
    }
    let walk = sealed(&*rig.store, rig.ambient.now(), 250).await;
    assert!((3..20).contains(&walk.seals), "in batches: {walk:?}");
    let mut order = Vec::new();
    for seq in 1..=walk.seals {
        for named in audit::seal(&*rig.store, seq).await.unwrap().unwrap().entries {
            let key = audit::key(&named.id);
            let value = rig.store.get(&key).await.unwrap().value.unwrap().value;
            order.push(super::super::record::decode::<Entry>(&key, &value).unwrap().target.parse::<u64>().unwrap());
        }
    }
    assert_eq!(order, (0..250).collect::<Vec<_>>());
    sealer.abort();
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_unsealed_is_sealed_by_the_next_start() {
    let rig = rig();
    let sealer = start(&rig);
    tell(&*rig.store, &rig.ambient, "before").await;
    sealed(&*rig.store, NOW, 1).await;
    sealer.abort();
    tokio::task::yield_now().await;
    for n in 0..200 {
        tell(&*rig.store, &rig.ambient, &n.to_string()).await;
    }
    // The next start is days later.
    rig.clock.advance(Duration::from_hours(80));
    let sealer = start(&rig);
    tell(&*rig.store, &rig.ambient, "after").await;
    sealed(&*rig.store, rig.ambient.now(), 202).await;
    sealer.abort();
    tokio::task::yield_now().await;
    // Another start, with nothing left to do, seals nothing twice.
    let sealer = start(&rig);
    tokio::time::sleep(Duration::from_secs(2)).await;
    sealed(&*rig.store, rig.ambient.now(), 202).await;
    sealer.abort();
}

#[tokio::test(start_paused = true)]
async fn missed_changes_are_found_again() {
    let rig = rig();
    let sealer = start(&rig);
    tell(&*rig.store, &rig.ambient, "a").await;
    sealed(&*rig.store, NOW, 1).await;
    rig.store.stall_watches(true);
    for n in 0..120 {
        tell(&*rig.store, &rig.ambient, &n.to_string()).await;
    }
    rig.store.lose_watches();
    rig.store.stall_watches(false);
    tell(&*rig.store, &rig.ambient, "z").await;
    sealed(&*rig.store, NOW, 122).await;
    sealer.abort();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_and_recovers_has_an_unbroken_chain() {
    let rig = rig();
    let sealer = start(&rig);
    for (n, outcome) in [Some(Outcome::Written), Some(Outcome::NotWritten), None].into_iter().enumerate() {
        tell(&*rig.store, &rig.ambient, &n.to_string()).await;
        rig.store.outcome_unknown(outcome);
        tokio::time::sleep(Duration::from_secs(2)).await;
        rig.store.outcome_unknown(None);
        rig.store.fail_writes(true);
        tokio::time::sleep(Duration::from_secs(3)).await;
        rig.store.fail_writes(false);
    }
    sealed(&*rig.store, NOW, 3).await;
    sealer.abort();
}

/// A store on which others are a little slower: commits take their time, so that replicas meet.
struct Slow(Arc<MemoryStore>, AtomicU64);

#[async_trait]
impl Store for Slow {
    async fn get(&self, key: &Key) -> Result<Read, StoreError> {
        self.0.get(key).await
    }
    async fn scan(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.0.scan(prefix, after, limit).await
    }
    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        tokio::time::sleep(Duration::from_millis(self.1.fetch_add(7, Ordering::Relaxed) % 40)).await;
        self.0.commit(commit).await
    }
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Changes>, StoreError> {
        self.0.watch(prefix, after).await
    }
    async fn sweep(&self, limit: usize) -> Result<usize, CommitError> {
        self.0.sweep(limit).await
    }
    async fn figures(&self) -> Result<Figures, StoreError> {
        self.0.figures().await
    }
    fn health(&self) -> Health {
        self.0.health()
    }
    async fn close(&self) {
        self.0.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_do_not_fork_the_chain() {
    let rig = rig();
    let sealers: Vec<_> = (0..4)
        .map(|n| {
            let store = Arc::new(Slow(Arc::clone(&rig.store), AtomicU64::new(n)));
            tokio::spawn(keep_sealing(store, rig.ambient.clone()))
        })
        .collect();
    for n in 0..400 {
        tell(&*rig.store, &rig.ambient, &n.to_string()).await;
        tokio::time::sleep(Duration::from_millis(n % 13)).await;
    }
    sealed(&*rig.store, NOW, 400).await;
    sealers.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_retired_and_the_rest_still_verifies() {
    let rig = rig();
    let sealer = start(&rig);
    for day in 0..10_u64 {
        for n in 0..100 {
            tell(&*rig.store, &rig.ambient, &format!("{day}-{n}")).await;
        }
        sealed(&*rig.store, rig.ambient.now(), (day + 1) * 100).await;
        rig.clock.advance(Duration::from_hours(24));
    }
    let keep = Duration::from_hours(24 * 5 + 12);
    let before = rig.ambient.now().minus(keep);
    // Little by little, and wherever it is broken off the trail verifies.
    let mut left = 1000;
    while let count @ 1.. = retire(&*rig.store, before, 1).await.unwrap() {
        assert_eq!(count, 1);
        let Step::Intact(walk) = verified(&*rig.store, rig.ambient.now()).await else { panic!("broken") };
        assert!(walk.entries < left);
        left = walk.entries;
    }
    assert_eq!(left, 500);
    let (entries, _) = audit::list(&*rig.store, None, 1000).await.unwrap();
    assert!(entries.len() == 500 && entries.iter().all(|(_, entry)| entry.at >= before));
    // However old, the newest seal stays.
    rig.clock.advance(Duration::from_hours(24 * 1000));
    retire(&*rig.store, rig.ambient.now(), 1000).await.unwrap();
    tell(&*rig.store, &rig.ambient, "later").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(matches!(verified(&*rig.store, rig.ambient.now()).await, Step::Intact(walk) if walk.seals == 2));
    sealer.abort();
}

#[tokio::test(start_paused = true)]
async fn a_walk_that_the_retirement_overtakes_is_no_alarm() {
    let rig = rig();
    let sealer = start(&rig);
    for n in 0..4_000 {
        tell(&*rig.store, &rig.ambient, &n.to_string()).await;
    }
    sealed(&*rig.store, NOW, 4_000).await;
    let Step::Onward(walk) = Walk::start().step(&*rig.store, NOW).await.unwrap() else { panic!("not bounded") };
    retire(&*rig.store, NOW.plus(Duration::from_secs(1)), 30).await.unwrap();
    let mut walk = walk;
    loop {
        match walk.step(&*rig.store, NOW).await.unwrap() {
            Step::Onward(next) => walk = next,
            Step::Intact(_) => break,
            Step::Broken(_, found) => panic!("{found:?}"),
        }
    }
    sealer.abort();
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_was_set_back_is_not_written_over() {
    let rig = rig();
    let sealer = start(&rig);
    tell(&*rig.store, &rig.ambient, "a").await;
    sealed(&*rig.store, NOW, 1).await;
    let gone = Commit { conditions: Vec::new(), writes: vec![(audit::head_key(), Write::Delete)] };
    rig.store.commit(gone).await.unwrap();
    tell(&*rig.store, &rig.ambient, "b").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(audit::mark(&*rig.store, &audit::head_key()).await.unwrap(), None);
    assert!(audit::seal(&*rig.store, 2).await.unwrap().is_none());
    assert!(
        matches!(verified(&*rig.store, NOW).await, Step::Broken(_, found) if found.what.contains("head is missing"))
    );
    sealer.abort();
}
