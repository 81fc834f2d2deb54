use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::super::conformance::{delete, key, put, put_until, writes};
use super::super::memory::MemoryStore;
use super::super::{Commit, CommitError, Figures, Health, Page, Read};
use super::*;
use crate::ambient::ManualClock;

/// Counts its reads, and holds them back after they happened while `paused`.
struct Slow {
    inner: MemoryStore,
    reads: AtomicUsize,
    paused: AtomicBool,
    /// A read that is held back has happened.
    happened: Semaphore,
    go_on: Semaphore,
}

#[async_trait]
impl Store for Slow {
    async fn get(&self, key: &Key) -> Result<Read, StoreError> {
        let read = self.inner.get(key).await;
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.paused.load(Ordering::SeqCst) {
            self.happened.add_permits(1);
            self.go_on.acquire().await.unwrap().forget();
        }
        read
    }

    async fn scan(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.inner.scan(prefix, after, limit).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Changes>, StoreError> {
        self.inner.watch(prefix, after).await
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        self.inner.commit(commit).await
    }

    async fn sweep(&self, limit: usize) -> Result<usize, CommitError> {
        self.inner.sweep(limit).await
    }

    async fn figures(&self) -> Result<Figures, StoreError> {
        self.inner.figures().await
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

struct Rig {
    store: Arc<Slow>,
    clock: Arc<ManualClock>,
    cache: Arc<Cache<String>>,
}

async fn rig(capacity: usize) -> Rig {
    let clock = ManualClock::at(Timestamp::from_secs(1000));
    let store = Arc::new(Slow {
        inner: MemoryStore::new(Arc::clone(&clock) as _),
        reads: AtomicUsize::new(0),
        paused: AtomicBool::new(false),
        happened: Semaphore::new(0),
        go_on: Semaphore::new(0),
    });
    let decode = |key: &Key, value: &[u8]| match std::str::from_utf8(value) {
        Ok(text) if !text.starts_with('!') => Ok(text.to_owned()),
        _ => Err(StoreError::Corrupt { key: key.to_string(), what: "as the test asked".into() }),
    };
    let cache = Cache::open(Arc::clone(&store) as _, "c/", capacity, Arc::clone(&clock) as _, decode).await.unwrap();
    Rig { store, clock, cache }
}

impl Rig {
    async fn commit(&self, entries: impl Into<Vec<(Key, Write)>>) -> Revision {
        self.store.commit(writes(entries)).await.unwrap()
    }

    async fn get(&self, at: &str) -> Option<String> {
        self.cache.get(&key(at)).await.unwrap().map(|value| (*value).clone())
    }

    #[expect(clippy::option_option, reason = "as in the cache: unknown, absent and present are three answers")]
    fn hit(&self, at: &str) -> Option<Option<String>> {
        self.cache.hit(&key(at)).map(|known| known.map(|value| (*value).clone()))
    }

    fn reads(&self) -> usize {
        self.store.reads.load(Ordering::SeqCst)
    }

    /// Starts a fill whose read has happened and is held back.
    async fn held_back(&self, at: &'static str) -> tokio::task::JoinHandle<Result<Option<Arc<String>>, StoreError>> {
        self.store.paused.store(true, Ordering::SeqCst);
        let cache = Arc::clone(&self.cache);
        let filling = tokio::spawn(async move { cache.get(&key(at)).await });
        self.store.happened.acquire().await.unwrap().forget();
        filling
    }

    fn go_on(&self) {
        self.store.paused.store(false, Ordering::SeqCst);
        self.store.go_on.add_permits(1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_and_an_absence_are_read_once() {
    let rig = rig(100).await;
    rig.commit([put("c/1", b"one")]).await;
    assert_eq!(rig.hit("c/1"), None);
    for _ in 0..5 {
        assert_eq!(rig.get("c/1").await.as_deref(), Some("one"));
        assert_eq!(rig.get("c/2").await, None);
    }
    assert_eq!(rig.reads(), 2);
    assert_eq!((rig.hit("c/1"), rig.hit("c/2")), (Some(Some("one".into())), Some(None)));
}

#[tokio::test(start_paused = true)]
async fn changes_reach_what_is_held_without_another_read() {
    let rig = rig(100).await;
    rig.commit([put("c/1", b"one"), put("c/2", b"two")]).await;
    for at in ["c/1", "c/2", "c/3"] {
        rig.get(at).await;
    }
    let revision = rig.commit([put("c/1", b"uno"), delete("c/2"), put("c/3", b"tres"), put("c/4", b"x")]).await;
    rig.cache.passed(revision).await.unwrap();
    assert_eq!(rig.hit("c/1"), Some(Some("uno".into())));
    assert_eq!(rig.hit("c/2"), Some(None));
    assert_eq!(rig.hit("c/3"), Some(Some("tres".into())));
    assert_eq!(rig.hit("c/4"), None, "nobody asked for it");
    assert_eq!(rig.reads(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_change_during_a_fill_is_not_lost() {
    for (before, change, after) in [
        (Some("old"), put("c/1", b"new"), Some("new")),
        (Some("old"), delete("c/1"), None),
        (None, put("c/1", b"new"), Some("new")),
    ] {
        let rig = rig(100).await;
        if let Some(text) = before {
            rig.commit([put("c/1", text.as_bytes())]).await;
        }
        let filling = rig.held_back("c/1").await;
        let revision = rig.commit([change]).await;
        rig.cache.passed(revision).await.unwrap();
        rig.go_on();
        let found = filling.await.unwrap().unwrap().map(|value| (*value).clone());
        assert_eq!(found.as_deref(), after);
        assert_eq!(rig.hit("c/1"), Some(after.map(str::to_owned)));
        assert_eq!(rig.reads(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_fill_already_saw_does_not_make_it_older() {
    let rig = rig(100).await;
    rig.commit([put("c/1", b"first")]).await;
    rig.store.inner.stall_watches(true);
    rig.commit([put("c/1", b"second")]).await;
    let revision = rig.commit([put("c/1", b"third")]).await;
    assert_eq!(rig.get("c/1").await.as_deref(), Some("third"));
    rig.store.inner.stall_watches(false);
    let mut seen = vec![rig.hit("c/1")];
    while rig.cache.passed(revision).await.is_err() {
        seen.push(rig.hit("c/1"));
    }
    seen.push(rig.hit("c/1"));
    assert!(seen.iter().all(|value| *value == Some(Some("third".into()))), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_loss_during_a_fill_keeps_nothing_of_what_was_read_before() {
    let rig = rig(100).await;
    rig.commit([put("c/1", b"old"), put("c/2", b"held")]).await;
    rig.get("c/2").await;
    let filling = rig.held_back("c/1").await;
    rig.store.inner.stall_watches(true);
    let revision = rig.commit([put("c/1", b"new")]).await;
    rig.store.inner.lose_watches();
    rig.cache.passed(revision).await.unwrap();
    assert_eq!(rig.hit("c/2"), None, "everything was dropped");
    rig.go_on();
    filling.await.unwrap().unwrap();
    assert_eq!(rig.hit("c/1"), None, "it was read before the new watch began");
    assert_eq!(rig.get("c/1").await.as_deref(), Some("new"));
}

#[tokio::test(start_paused = true)]
async fn without_a_watch_what_is_held_answers_and_nothing_more_is_kept() {
    let rig = rig(100).await;
    rig.commit([put("c/1", b"one")]).await;
    rig.get("c/1").await;
    rig.store.inner.fail_reads(true);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(rig.hit("c/1"), Some(Some("one".into())), "silence alone drops nothing");
    rig.store.inner.lose_watches();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(rig.hit("c/1"), Some(Some("one".into())), "the store is gone: what is held is all there is");
    assert!(rig.cache.get(&key("c/2")).await.is_err());
    assert!(rig.cache.last_heard().elapsed() >= Duration::from_secs(10));
    rig.store.inner.fail_reads(false);
    rig.get("c/2").await;
    assert_eq!(rig.hit("c/2"), None, "the watch does not stand again yet");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(rig.hit("c/1"), None, "everything was dropped");
    rig.get("c/1").await;
    assert!(rig.hit("c/1").is_some() && rig.cache.last_heard().elapsed() < Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn many_who_ask_at_once_share_one_read_and_one_who_leaves_blocks_nobody() {
    let rig = rig(100).await;
    rig.commit([put("c/1", b"one")]).await;
    let filling = rig.held_back("c/1").await;
    let others: Vec<_> = (0..50)
        .map(|_| {
            let cache = Arc::clone(&rig.cache);
            tokio::spawn(async move { cache.get(&key("c/1")).await })
        })
        .collect();
    tokio::task::yield_now().await;
    rig.store.paused.store(false, Ordering::SeqCst);
    filling.abort();
    assert!(filling.await.is_err());
    for other in others {
        assert_eq!(other.await.unwrap().unwrap().as_deref().map(String::as_str), Some("one"));
    }
    assert_eq!(rig.reads(), 2);
    assert!(rig.cache.shared.fills().is_empty(), "nothing is left behind");
}

#[tokio::test(start_paused = true)]
async fn an_expired_entry_counts_as_absent() {
    let rig = rig(100).await;
    rig.commit([put_until("c/1", b"one", Timestamp::from_secs(1010))]).await;
    assert_eq!(rig.get("c/1").await.as_deref(), Some("one"));
    rig.clock.advance(Duration::from_secs(10));
    assert_eq!(rig.hit("c/1"), Some(None));
    let revision = rig.commit([put("c/1", b"renewed")]).await;
    rig.cache.passed(revision).await.unwrap();
    assert_eq!(rig.get("c/1").await.as_deref(), Some("renewed"));
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_value_is_an_error_and_is_not_kept() {
    let rig = rig(100).await;
    rig.commit([put("c/1", b"good")]).await;
    rig.get("c/1").await;
    let revision = rig.commit([put("c/1", b"!")]).await;
    rig.cache.passed(revision).await.unwrap();
    assert_eq!(rig.hit("c/1"), None);
    assert!(matches!(rig.cache.get(&key("c/1")).await, Err(StoreError::Corrupt { .. })));
    let revision = rig.commit([put("c/1", b"mended")]).await;
    rig.cache.passed(revision).await.unwrap();
    assert_eq!(rig.get("c/1").await.as_deref(), Some("mended"));
}

#[tokio::test(start_paused = true)]
async fn made_up_names_do_not_push_out_what_is_there() {
    let rig = rig(8).await;
    for i in 0..8 {
        rig.commit([put(&format!("c/{i}"), b"x")]).await;
        rig.get(&format!("c/{i}")).await;
    }
    for i in 0..500 {
        rig.get(&format!("c/made-up-{i}")).await;
    }
    assert!((0..8).all(|i| rig.hit(&format!("c/{i}")).is_some()));
    let remembered = (0..500).filter(|i| rig.hit(&format!("c/made-up-{i}")).is_some()).count();
    assert_eq!(remembered, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_after_a_storm_is_what_the_store_holds() {
    let rig = rig(16).await;
    let writer = Arc::clone(&rig.store);
    let writing = tokio::spawn(async move {
        let mut last = Revision(0);
        for i in 0..3000_u32 {
            let at = format!("c/{}", i % 24);
            let write = if i % 5 == 0 { delete(&at) } else { put(&at, i.to_string().as_bytes()) };
            last = writer.commit(writes([write])).await.unwrap();
            if i % 16 == 0 {
                tokio::task::yield_now().await;
            }
        }
        last
    });
    let mut i = 0;
    while !writing.is_finished() {
        rig.get(&format!("c/{}", i % 24)).await;
        i += 1;
        tokio::task::yield_now().await;
    }
    rig.cache.passed(writing.await.unwrap()).await.unwrap();
    for i in 0..24 {
        let at = format!("c/{i}");
        let stored = rig.store.inner.get(&key(&at)).await.unwrap().value;
        let stored = stored.map(|found| String::from_utf8(found.value).unwrap());
        if let Some(held) = rig.hit(&at) {
            assert_eq!(held, stored, "{at}");
        }
    }
}
