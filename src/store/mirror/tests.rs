use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::super::conformance::{delete, put, put_until, writes};
use super::super::memory::MemoryStore;
use super::super::{Commit, CommitError, Figures, Health, Page, Read};
use super::*;
use crate::ambient::ManualClock;

/// Keeps everything; a value that starts with `!` cannot be read.
#[derive(Default)]
struct All(BTreeMap<String, (Vec<u8>, Option<Timestamp>)>);

impl Fold for All {
    fn put(&mut self, key: &Key, value: &[u8], expires_at: Option<Timestamp>) -> Result<(), StoreError> {
        if value.starts_with(b"!") {
            return Err(StoreError::Corrupt { key: key.to_string(), what: "as the test asked".into() });
        }
        self.0.insert(key.to_string(), (value.to_vec(), expires_at));
        Ok(())
    }

    fn delete(&mut self, key: &Key) {
        self.0.remove(key.as_str());
    }
}

impl All {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|(value, _)| std::str::from_utf8(value).unwrap())
    }
}

fn memory() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(ManualClock::at(Timestamp::from_secs(1000))))
}

async fn commit(store: &MemoryStore, entries: impl Into<Vec<(Key, Write)>>) -> Revision {
    store.commit(writes(entries)).await.unwrap()
}

async fn mirror(store: &Arc<MemoryStore>) -> Arc<Mirror<All>> {
    Mirror::load(Arc::clone(store) as _, "a/", All::default).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn it_holds_what_was_there_and_every_later_change_of_its_prefix() {
    let store = memory();
    let end = Timestamp::from_secs(9999);
    commit(&store, [put("a/1", b"one"), put_until("a/2", b"two", end), put("b/1", b"other")]).await;
    let mirror = mirror(&store).await;
    assert_eq!(mirror.read().0.len(), 2);
    assert_eq!(mirror.read().0["a/2"], (b"two".to_vec(), Some(end)));
    let revision = commit(&store, [put("a/1", b"uno"), delete("a/2"), put("a/3", b"tres")]).await;
    mirror.passed(revision).await.unwrap();
    assert_eq!(mirror.revision(), revision);
    assert_eq!(
        (mirror.read().text("a/1"), mirror.read().text("a/2"), mirror.read().text("a/3")),
        (Some("uno"), None, Some("tres"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_commit_elsewhere_is_passed_too() {
    let store = memory();
    let mirror = mirror(&store).await;
    let revision = commit(&store, [put("b/1", b"x")]).await;
    mirror.passed(revision).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stalled_store_is_not_heard_of_and_passing_gives_up_after_five_seconds() {
    let store = memory();
    let mirror = mirror(&store).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(mirror.last_heard().elapsed() < Duration::from_millis(500));
    store.stall_watches(true);
    let revision = commit(&store, [put("a/1", b"x")]).await;
    let started = Instant::now();
    assert!(mirror.passed(revision).await.is_err());
    assert_eq!(started.elapsed(), Duration::from_secs(5));
    assert!(mirror.last_heard().elapsed() >= Duration::from_secs(5));
    store.stall_watches(false);
    mirror.passed(revision).await.unwrap();
    assert_eq!(mirror.read().text("a/1"), Some("x"));
}

#[tokio::test(start_paused = true)]
async fn after_a_loss_it_keeps_the_old_state_until_a_new_one_is_whole() {
    let store = memory();
    commit(&store, [put("a/1", b"old"), put("a/2", b"gone soon")]).await;
    let mirror = mirror(&store).await;
    store.stall_watches(true);
    let revision = commit(&store, [put("a/1", b"new"), delete("a/2")]).await;
    store.fail_reads(true);
    store.lose_watches();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!((mirror.read().text("a/1"), mirror.read().0.len()), (Some("old"), 2));
    assert!(mirror.last_heard().elapsed() >= Duration::from_secs(19));
    store.fail_reads(false);
    mirror.passed(revision).await.unwrap();
    assert_eq!((mirror.read().text("a/1"), mirror.read().0.len()), (Some("new"), 1));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(mirror.last_heard().elapsed() < Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_value_stops_the_loading() {
    let store = memory();
    commit(&store, [put("a/1", b"!")]).await;
    let outcome = Mirror::load(Arc::clone(&store) as _, "a/", All::default).await;
    assert!(matches!(outcome, Err(StoreError::Corrupt { key, .. }) if key == "a/1"));
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_change_makes_it_stale_until_it_is_mended() {
    let store = memory();
    commit(&store, [put("a/1", b"good")]).await;
    let mirror = mirror(&store).await;
    let bad = commit(&store, [put("a/1", b"!")]).await;
    assert!(mirror.passed(bad).await.is_err());
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(mirror.last_heard().elapsed() >= Duration::from_mins(1), "it counts as stale");
    assert_eq!(mirror.read().text("a/1"), Some("good"));
    let mended = commit(&store, [put("a/1", b"better")]).await;
    mirror.passed(mended).await.unwrap();
    assert_eq!(mirror.read().text("a/1"), Some("better"));
}

#[tokio::test(start_paused = true)]
async fn dropping_it_stops_following() {
    let store = memory();
    let mirror = mirror(&store).await;
    let shared = Arc::downgrade(&mirror.shared);
    drop(mirror);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(shared.upgrade().is_none());
    assert_eq!(Arc::strong_count(&store), 1);
}

/// Pages of two, with commits between them.
struct Shifting {
    inner: Arc<MemoryStore>,
    pages: AtomicUsize,
    between: fn(usize) -> Vec<(Key, Write)>,
}

#[async_trait]
impl Store for Shifting {
    async fn scan(&self, prefix: &str, after: Option<&Key>, _: usize) -> Result<Page, StoreError> {
        let page = self.inner.scan(prefix, after, 2).await;
        let change = (self.between)(self.pages.fetch_add(1, Ordering::SeqCst));
        if !change.is_empty() {
            commit(&self.inner, change).await;
        }
        page
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Changes>, StoreError> {
        self.inner.watch(prefix, after).await
    }

    async fn get(&self, key: &Key) -> Result<Read, StoreError> {
        self.inner.get(key).await
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

#[tokio::test(start_paused = true)]
async fn changes_between_pages_are_neither_lost_nor_undone() {
    let store = memory();
    commit(&store, (1..=9).map(|i| put(&format!("a/{i}"), b"old")).collect::<Vec<_>>()).await;
    let shifting = Shifting {
        inner: Arc::clone(&store),
        pages: AtomicUsize::new(0),
        between: |page| match page {
            // a/1 was read and changes; a/8 is not yet read, goes and comes again before it is.
            0 => vec![put("a/1", b"new"), delete("a/8"), delete("a/3"), put("a/11", b"new")],
            1 => vec![put("a/8", b"new"), delete("a/2")],
            2 => vec![put("a/6", b"newest"), put("a/9", b"newest")],
            3 => vec![delete("a/4")],
            _ => Vec::new(),
        },
    };
    let mirror = Mirror::load(Arc::new(shifting), "a/", All::default).await.unwrap();
    let now = store.get(&Key::new("x")).await.unwrap().at;
    mirror.passed(now).await.unwrap();
    let expected: Vec<_> = store.scan("a/", None, 100).await.unwrap().items;
    let expected: Vec<_> = expected.iter().map(|(key, found)| (key.as_str(), found.value.as_slice())).collect();
    let state = mirror.read();
    let found: Vec<_> = state.0.iter().map(|(key, (value, _))| (key.as_str(), value.as_slice())).collect();
    assert_eq!(found, expected);
    assert_eq!((state.text("a/8"), state.text("a/9"), state.text("a/4")), (Some("new"), Some("newest"), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_commits_as_a_whole() {
    let store = memory();
    let mirror = mirror(&store).await;
    let writer = Arc::clone(&store);
    let writing = tokio::spawn(async move {
        let mut last = Revision(0);
        for i in 0..2000 {
            let text = i.to_string();
            last = commit(&writer, [put("a/1", text.as_bytes()), put("a/2", text.as_bytes())]).await;
        }
        last
    });
    while !writing.is_finished() {
        {
            let state = mirror.read();
            assert_eq!(state.text("a/1"), state.text("a/2"));
        }
        tokio::task::yield_now().await;
    }
    mirror.passed(writing.await.unwrap()).await.unwrap();
    assert_eq!(mirror.read().text("a/1"), Some("1999"));
}
