//! One suite for every backend: the rules of the contract, each on a fresh store. A backend runs it at the foot of its
//! file with `store_conformance!(open);`, where `open` is a function that answers a [`Rig`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{
    Change, Commit, CommitError, Condition, Event, Health, KEPT_CHANGES, Key, MAX_COMMIT_ENTRIES, MAX_KEY, MAX_VALUE,
    Page, Revision, Store, StoreError, Write,
};
use crate::ambient::{Clock as _, ManualClock};
use crate::model::time::Timestamp;

/// A fresh store, the clock it judges by, and the folder it lives in, if any.
pub(super) struct Rig {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) folder: Option<tempfile::TempDir>,
}

macro_rules! store_conformance {
    ($open:expr) => {
        store_conformance! { $open =>
            a_commit_happens_as_a_whole_or_not_at_all, conditions_hold_what_they_say,
            commits_beyond_the_limits_are_refused, the_largest_commit_passes, a_hundred_racing_writers_lose_no_update,
            revisions_strictly_increase_and_values_keep_theirs, expired_values_are_hidden_until_swept,
            a_renewed_value_is_not_swept, a_sweep_is_bounded, pages_come_in_order_and_complete,
            prefixes_end_where_they_end, a_watch_sees_each_commit_together_in_order_and_its_prefix_alone,
            a_watch_misses_nothing_under_concurrent_writers, a_watch_starts_where_it_was_told,
            a_watch_is_never_silent_for_long, a_watcher_too_far_back_is_lost, figures_count_each_collection,
            a_closed_store_refuses }
    };
    ($open:expr => $($rule:ident),+) => { $(
        #[tokio::test]
        async fn $rule() {
            let rig: Rig = $open();
            $crate::store::conformance::$rule(&rig).await;
            rig.store.close().await;
            drop(rig.folder);
        }
    )+ };
}
pub(super) use store_conformance;

pub(super) fn key(text: &str) -> Key {
    Key::new(text)
}

pub(super) fn put(at: &str, value: &[u8]) -> (Key, Write) {
    (key(at), Write::Put { value: value.to_vec(), expires_at: None })
}

pub(super) fn put_until(at: &str, value: &[u8], end: Timestamp) -> (Key, Write) {
    (key(at), Write::Put { value: value.to_vec(), expires_at: Some(end) })
}

pub(super) fn delete(at: &str) -> (Key, Write) {
    (key(at), Write::Delete)
}

pub(super) fn writes(writes: impl Into<Vec<(Key, Write)>>) -> Commit {
    Commit { conditions: Vec::new(), writes: writes.into() }
}

pub(super) fn when(at: &str, condition: Condition, then: impl Into<Vec<(Key, Write)>>) -> Commit {
    Commit { conditions: vec![(key(at), condition)], writes: then.into() }
}

async fn value(store: &dyn Store, at: &str) -> Option<Vec<u8>> {
    store.get(&key(at)).await.unwrap().value.map(|found| found.value)
}

/// The next event that is not a beat.
async fn next_change(watch: &mut dyn super::Changes) -> Event {
    loop {
        match tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("the watch is silent") {
            Event::UpTo(_) => {}
            event => return event,
        }
    }
}

pub(super) async fn a_commit_happens_as_a_whole_or_not_at_all(rig: &Rig) {
    let store = &*rig.store;
    let revision = store.commit(writes([put("a/1", b"1"), put("b/1", b"2")])).await.unwrap();
    for (at, content) in [("a/1", b"1"), ("b/1", b"2")] {
        let read = store.get(&key(at)).await.unwrap();
        assert!(read.at >= revision);
        let found = read.value.unwrap();
        assert_eq!((found.value.as_slice(), found.revision), (content.as_slice(), revision));
    }
    let mixed = Commit {
        conditions: vec![(key("a/1"), Condition::At(revision)), (key("b/1"), Condition::Absent)],
        writes: vec![put("a/1", b"x"), delete("b/1"), put("c/1", b"x")],
    };
    assert_eq!(store.commit(mixed).await, Err(CommitError::Conflict));
    assert_eq!(value(store, "a/1").await.as_deref(), Some(b"1".as_slice()));
    assert_eq!(value(store, "b/1").await.as_deref(), Some(b"2".as_slice()));
    assert_eq!(value(store, "c/1").await, None);
    let both = Commit {
        conditions: vec![(key("a/1"), Condition::At(revision)), (key("c/1"), Condition::Absent)],
        writes: vec![delete("a/1"), put("c/1", b"3"), delete("never/there")],
    };
    store.commit(both).await.unwrap();
    assert_eq!((value(store, "a/1").await, value(store, "c/1").await), (None, Some(b"3".to_vec())));
}

pub(super) async fn conditions_hold_what_they_say(rig: &Rig) {
    let store = &*rig.store;
    let then = || [put("seen/1", b"y")];
    let conflict = Err(CommitError::Conflict);
    assert_eq!(store.commit(when("k/1", Condition::At(Revision(1)), then())).await, conflict, "at, but absent");
    assert_eq!(store.commit(when("k/1", Condition::At(Revision(0)), then())).await, conflict, "at zero, but absent");
    let first = store.commit(when("k/1", Condition::Absent, [put("k/1", b"1")])).await.unwrap();
    assert_eq!(store.commit(when("k/1", Condition::Absent, then())).await, conflict, "absent, but there");
    let second = store.commit(when("k/1", Condition::At(first), [put("k/1", b"1")])).await.unwrap();
    assert_eq!(store.commit(when("k/1", Condition::At(first), then())).await, conflict, "at an old revision");
    store.commit(when("k/1", Condition::At(second), [delete("k/1")])).await.unwrap();
    assert_eq!(store.commit(when("k/1", Condition::At(second), then())).await, conflict, "at, but deleted");
    store.commit(when("k/1", Condition::Absent, then())).await.unwrap();
}

pub(super) async fn commits_beyond_the_limits_are_refused(rig: &Rig) {
    let many = |n: usize| (0..n).map(|i| put(&format!("k/{i}"), b"x")).collect::<Vec<_>>();
    let absent = |n: usize| (0..n).map(|i| (key(&format!("k/{i}")), Condition::Absent)).collect::<Vec<_>>();
    let large = vec![0; MAX_VALUE];
    let refused = [
        ("nothing written", writes([])),
        ("101 writes", writes(many(MAX_COMMIT_ENTRIES + 1))),
        ("101 conditions", Commit { conditions: absent(MAX_COMMIT_ENTRIES + 1), writes: many(1) }),
        ("a value over 64 KiB", writes([put("k", &vec![0; MAX_VALUE + 1])])),
        ("over 1 MiB", writes((0..17).map(|i| put(&format!("k/{i}"), &large)).collect::<Vec<_>>())),
        ("an empty key", writes([put("", b"x")])),
        ("a key over 512 bytes", writes([put(&"k".repeat(MAX_KEY + 1), b"x")])),
        ("a key written twice", writes([put("k", b"x"), delete("k")])),
        ("a key in two conditions", Commit { conditions: [absent(1), absent(1)].concat(), writes: many(1) }),
    ];
    for (what, commit) in refused {
        assert!(matches!(rig.store.commit(commit).await, Err(CommitError::Invalid(_))), "{what}");
    }
    assert_eq!(rig.store.scan("", None, 10).await.unwrap().items, Vec::new());
}

pub(super) async fn the_largest_commit_passes(rig: &Rig) {
    let mut commit = Commit::default();
    for i in 0..MAX_COMMIT_ENTRIES {
        let name = format!("k/{i:03}");
        commit.conditions.push((key(&name), Condition::Absent));
        commit.writes.push(put(&name, &vec![u8::try_from(i).unwrap(); if i < 15 { MAX_VALUE } else { 600 }]));
    }
    let revision = rig.store.commit(commit.clone()).await.unwrap();
    for (at, write) in commit.writes {
        let found = rig.store.get(&at).await.unwrap().value.unwrap();
        assert_eq!(Write::Put { value: found.value, expires_at: None }, write);
        assert_eq!(found.revision, revision);
    }
}

pub(super) async fn a_hundred_racing_writers_lose_no_update(rig: &Rig) {
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let store = Arc::clone(&rig.store);
            tokio::spawn(async move {
                loop {
                    let found = store.get(&key("n/1")).await.unwrap().value;
                    let count =
                        found.as_ref().map_or(0, |found| u64::from_be_bytes(found.value[..].try_into().unwrap()));
                    let condition = found.map_or(Condition::Absent, |found| Condition::At(found.revision));
                    let next = put("n/1", &(count + 1).to_be_bytes());
                    match store.commit(when("n/1", condition, [next])).await {
                        Ok(revision) => return revision,
                        Err(CommitError::Conflict) => tokio::task::yield_now().await,
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    let mut revisions = Vec::new();
    for task in tasks {
        revisions.push(task.await.unwrap());
    }
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 100);
    assert_eq!(value(&*rig.store, "n/1").await.unwrap(), 100_u64.to_be_bytes());
}

pub(super) async fn revisions_strictly_increase_and_values_keep_theirs(rig: &Rig) {
    let store = &*rig.store;
    let first = store.commit(writes([put("a/1", b"1")])).await.unwrap();
    let mut last = first;
    for commit in [writes([put("a/2", b"1")]), writes([delete("a/2")]), writes([delete("a/2")])] {
        let revision = store.commit(commit).await.unwrap();
        assert!(revision > last);
        last = revision;
    }
    let read = store.get(&key("a/1")).await.unwrap();
    assert!(read.at >= last);
    assert_eq!(read.value.unwrap().revision, first);
    let again = store.commit(writes([put("a/1", b"1")])).await.unwrap();
    assert_eq!(store.get(&key("a/1")).await.unwrap().value.unwrap().revision, again);
    assert_eq!(store.scan("a/", None, 9).await.unwrap().items[0].1.revision, again);
}

pub(super) async fn expired_values_are_hidden_until_swept(rig: &Rig) {
    let store = &*rig.store;
    let end = rig.clock.now().plus(Duration::from_mins(1));
    let revision = store.commit(writes([put_until("jti/1", b"x", end), put("jti/2", b"y")])).await.unwrap();
    let mut watch = store.watch("jti/", revision).await.unwrap();
    let found = store.get(&key("jti/1")).await.unwrap().value.unwrap();
    assert_eq!((found.expires_at, found.value), (Some(end), b"x".to_vec()));
    assert_eq!(store.sweep(10).await, Ok(0), "not yet due");
    rig.clock.advance(Duration::from_millis(59_999));
    assert!(value(store, "jti/1").await.is_some(), "one millisecond before its end");
    rig.clock.advance(Duration::from_millis(1));
    assert_eq!(value(store, "jti/1").await, None);
    let page = store.scan("jti/", None, 10).await.unwrap();
    assert_eq!(page.items.iter().map(|(at, _)| at.as_str()).collect::<Vec<_>>(), ["jti/2"]);
    assert_eq!(
        store.commit(when("jti/1", Condition::At(revision), [put("jti/3", b"z")])).await,
        Err(CommitError::Conflict),
        "an expired value is at no revision"
    );
    assert_eq!(store.sweep(10).await, Ok(1));
    assert_eq!(store.sweep(10).await, Ok(0));
    match next_change(&mut *watch).await {
        Event::Changes { changes, .. } => {
            assert_eq!(changes, [Change { key: key("jti/1"), write: Write::Delete }]);
        }
        other => panic!("{other:?}"),
    }
    assert!(value(store, "jti/2").await.is_some());
}

pub(super) async fn a_renewed_value_is_not_swept(rig: &Rig) {
    let store = &*rig.store;
    let soon = rig.clock.now().plus(Duration::from_secs(1));
    let late = rig.clock.now().plus(Duration::from_secs(100));
    store
        .commit(writes([put_until("a/1", b"1", soon), put_until("a/2", b"1", soon), put_until("a/3", b"1", soon)]))
        .await
        .unwrap();
    store.commit(writes([put_until("a/1", b"2", late), put("a/2", b"2"), delete("a/3")])).await.unwrap();
    rig.clock.advance(Duration::from_secs(2));
    assert_eq!(store.sweep(10).await, Ok(0));
    assert!(value(store, "a/1").await.is_some() && value(store, "a/2").await.is_some());
    // What is hidden may be taken by "absent" before any sweep, and is then no longer due.
    rig.clock.advance(Duration::from_secs(100));
    let revision = store.commit(when("a/1", Condition::Absent, [put("a/1", b"3")])).await.unwrap();
    assert_eq!(store.sweep(10).await, Ok(0));
    assert_eq!(store.get(&key("a/1")).await.unwrap().value.unwrap().revision, revision);
}

pub(super) async fn a_sweep_is_bounded(rig: &Rig) {
    let end = rig.clock.now();
    for block in 0..3 {
        let block = (0..50).map(|i| put_until(&format!("j/{block}/{i}"), b"x", end)).collect::<Vec<_>>();
        rig.store.commit(writes(block)).await.unwrap();
    }
    let mut swept = Vec::new();
    for limit in [7, usize::MAX, usize::MAX, usize::MAX] {
        swept.push(rig.store.sweep(limit).await.unwrap());
    }
    assert_eq!(swept, [7, MAX_COMMIT_ENTRIES, 150 - 7 - MAX_COMMIT_ENTRIES, 0]);
}

pub(super) async fn figures_count_each_collection(rig: &Rig) {
    assert_eq!(rig.store.figures().await.unwrap().entries, BTreeMap::new());
    let end = rig.clock.now();
    rig.store.commit(writes([put("a/1", b"x"), put("a/2", b"x"), put_until("b/1", b"x", end)])).await.unwrap();
    rig.store.commit(writes([delete("a/1"), put("a/2", b"y")])).await.unwrap();
    let figures = rig.store.figures().await.unwrap();
    assert_eq!(figures.entries, BTreeMap::from([("a".into(), 1), ("b".into(), 1)]));
    assert_eq!(figures.room.is_some_and(|room| room.used > 0 && room.free > 0), rig.folder.is_some());
    rig.store.sweep(9).await.unwrap();
    assert_eq!(rig.store.figures().await.unwrap().entries, BTreeMap::from([("a".into(), 1)]));
}

async fn pages(store: &dyn Store, prefix: &str, limit: usize) -> Vec<Page> {
    let mut pages: Vec<Page> = Vec::new();
    loop {
        let after = pages.last().and_then(|page| page.next.clone());
        pages.push(store.scan(prefix, after.as_ref(), limit).await.unwrap());
        if pages.last().is_some_and(|page| page.next.is_none()) {
            return pages;
        }
    }
}

pub(super) async fn pages_come_in_order_and_complete(rig: &Rig) {
    let store = &*rig.store;
    let mut model = BTreeMap::new();
    let end = rig.clock.now();
    let mut block = Vec::new();
    for i in 0..90_u32 {
        // An order of insertion that is not the order of keys; every third is already expired.
        let name = format!("p/{:03}", (i * 37) % 90);
        if i % 3 == 0 {
            block.push(put_until(&name, &i.to_be_bytes(), end));
        } else {
            block.push(put(&name, &i.to_be_bytes()));
            model.insert(name, i.to_be_bytes().to_vec());
        }
    }
    let revision = store.commit(writes(block)).await.unwrap();
    for limit in [0, 1, 7, 59, 60, 61, 1000] {
        let pages = pages(store, "p/", limit).await;
        assert!(pages.iter().all(|page| page.at >= revision && page.items.len() <= limit.max(1)), "{limit}");
        let all: Vec<_> = pages.into_iter().flat_map(|page| page.items).collect();
        let expected: Vec<_> = model.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let found: Vec<_> = all.iter().map(|(at, found)| (at.as_str(), found.value.as_slice())).collect();
        assert_eq!(found, expected, "{limit}");
    }
    assert_eq!(store.scan("p/", Some(&key("p/089")), 9).await.unwrap().items, Vec::new());
    assert_eq!(store.scan("p/", Some(&key("q")), 9).await.unwrap().items, Vec::new(), "after lies behind the prefix");
    assert_eq!(pages(store, "p/", 9).await.len(), pages(store, "", 9).await.len());
    let early = store.scan("p/", Some(&key("a")), 1000).await.unwrap();
    assert_eq!(early.items.len(), model.len(), "after lies before the prefix");
    let between = store.scan("p/", Some(&key("p/0305")), 1000).await.unwrap();
    assert!(between.items.iter().all(|(at, _)| at.as_str() > "p/0305") && !between.items.is_empty());
}

pub(super) async fn prefixes_end_where_they_end(rig: &Rig) {
    let store = &*rig.store;
    let names = ["a", "a/", "a/1", "a/1/2", "a0", "ab/1", "b", "ä/1", "a/\u{10ffff}", "a/\u{0}"];
    store.commit(writes(names.map(|name| put(name, b"x")))).await.unwrap();
    for prefix in ["", "a", "a/", "a/1", "ab", "ä", "b", "c", "a/\u{10ffff}"] {
        let found = store.scan(prefix, None, 100).await.unwrap();
        let mut expected: Vec<&str> = names.into_iter().filter(|name| name.starts_with(prefix)).collect();
        expected.sort_unstable();
        assert_eq!(found.items.iter().map(|(at, _)| at.as_str()).collect::<Vec<_>>(), expected, "{prefix}");
    }
}

pub(super) async fn a_watch_sees_each_commit_together_in_order_and_its_prefix_alone(rig: &Rig) {
    let store = &*rig.store;
    let start = store.get(&key("x")).await.unwrap().at;
    let mut watch = store.watch("a/", start).await.unwrap();
    let end = rig.clock.now().plus(Duration::from_secs(9));
    let first = store.commit(writes([put("a/1", b"1"), put("b/1", b"1"), put_until("a/2", b"1", end)])).await.unwrap();
    store.commit(writes([put("b/1", b"2"), put("ab", b"2"), put("a", b"2")])).await.unwrap();
    let third = store.commit(writes([delete("a/1"), put("b/2", b"2")])).await.unwrap();
    let change = |(key, write): (Key, Write)| Change { key, write };
    assert_eq!(
        next_change(&mut *watch).await,
        Event::Changes {
            revision: first,
            changes: vec![change(put("a/1", b"1")), change(put_until("a/2", b"1", end))]
        }
    );
    assert_eq!(
        next_change(&mut *watch).await,
        Event::Changes { revision: third, changes: vec![change(delete("a/1"))] }
    );
    loop {
        // Everything up to the last commit is reported, so this beat is soon and nothing stands before it.
        match watch.next().await {
            Event::UpTo(revision) if revision >= third => break,
            Event::UpTo(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

pub(super) async fn a_watch_misses_nothing_under_concurrent_writers(rig: &Rig) {
    let start = rig.store.get(&key("x")).await.unwrap().at;
    let mut watch = rig.store.watch("w/", start).await.unwrap();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = Arc::clone(&rig.store);
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for i in 0..50_u32 {
                    let pair = [put(&format!("w/{writer}"), &i.to_be_bytes()), put(&format!("w/{writer}/{i}"), b"")];
                    mine.push(store.commit(writes(pair)).await.unwrap());
                }
                mine
            })
        })
        .collect();
    let mut seen = Vec::new();
    while seen.len() < 400 {
        match next_change(&mut *watch).await {
            Event::Changes { revision, changes } => {
                assert_eq!(changes.len(), 2, "both writes of a commit together");
                seen.push(revision);
            }
            other => panic!("{other:?}"),
        }
    }
    let mut expected = Vec::new();
    for writer in writers {
        expected.extend(writer.await.unwrap());
    }
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

pub(super) async fn a_watch_starts_where_it_was_told(rig: &Rig) {
    let store = &*rig.store;
    let mut revisions = Vec::new();
    for i in 0..5_u8 {
        revisions.push(store.commit(writes([put("a/1", &[i])])).await.unwrap());
    }
    let mut watch = store.watch("a/", revisions[2]).await.unwrap();
    for expected in &revisions[3..] {
        assert!(matches!(next_change(&mut *watch).await, Event::Changes { revision, .. } if revision == *expected));
    }
}

pub(super) async fn a_watch_is_never_silent_for_long(rig: &Rig) {
    let start = rig.store.get(&key("x")).await.unwrap().at;
    let mut watch = rig.store.watch("quiet/", start).await.unwrap();
    for round in 0..4_u8 {
        let last =
            if round % 2 == 0 { start } else { rig.store.commit(writes([put("loud/1", &[round])])).await.unwrap() };
        let before = Instant::now();
        loop {
            match watch.next().await {
                Event::UpTo(revision) if revision >= last => break,
                Event::UpTo(_) => {}
                other => panic!("{other:?}"),
            }
        }
        // The contract says 500 ms; the margin is for a crowded machine.
        assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    }
}

pub(super) async fn a_watcher_too_far_back_is_lost(rig: &Rig) {
    let store = &*rig.store;
    let start = store.commit(writes([put("far/0", b"")])).await.unwrap();
    let mut idle = store.watch("far/", start).await.unwrap();
    let blocks = KEPT_CHANGES / MAX_COMMIT_ENTRIES + 1;
    let mut last = start;
    for block in 0..blocks {
        let block = (0..MAX_COMMIT_ENTRIES).map(|i| put(&format!("far/{i}"), &block.to_be_bytes())).collect::<Vec<_>>();
        last = store.commit(writes(block)).await.unwrap();
    }
    assert_eq!(next_change(&mut *idle).await, Event::Lost);
    assert!(tokio::time::timeout(Duration::from_millis(600), idle.next()).await.is_err(), "nothing comes after it");
    assert_eq!(next_change(&mut *store.watch("far/", start).await.unwrap()).await, Event::Lost);
    let mut fresh = store.watch("far/", last).await.unwrap();
    assert!(matches!(fresh.next().await, Event::UpTo(revision) if revision >= last));
}

pub(super) async fn a_closed_store_refuses(rig: &Rig) {
    let store = &*rig.store;
    assert_eq!(store.health(), Health::Writable);
    let start = store.commit(writes([put("a/1", b"1")])).await.unwrap();
    let mut watch = store.watch("a/", start).await.unwrap();
    store.close().await;
    assert!(matches!(store.commit(writes([put("a/1", b"2")])).await, Err(CommitError::Unavailable(_))));
    assert!(matches!(store.sweep(1).await, Err(CommitError::Unavailable(_))));
    assert!(matches!(store.get(&key("a/1")).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.scan("a/", None, 1).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.watch("a/", start).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.health(), Health::Down(_)));
    assert_eq!(next_change(&mut *watch).await, Event::Lost);
    store.close().await;
}
