use std::borrow::Cow;
use std::sync::Arc;

use super::*;
use crate::ambient::{Ambient, ManualClock, SeededEntropy};
use crate::audit::seal::Sealed;
use crate::audit::{Differences, Outcome};
use crate::model::id::ClientId;
use crate::store::memory::MemoryStore;
use crate::store::record::{decode, encode};
use crate::store::{Commit, Write};

const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

fn entry(at: Timestamp, target: &str) -> Entry {
    Entry {
        at,
        actor: ClientId::edi(),
        action: Cow::Borrowed("test.change"),
        target: target.to_owned(),
        request_id: None,
        address: None,
        reason: None,
        outcome: Outcome::Done,
        code: None,
        count: 1,
        changes: Differences::default(),
    }
}

async fn write(store: &dyn Store, writes: Vec<(Key, Write)>) {
    store.commit(Commit { conditions: Vec::new(), writes }).await.unwrap();
}

fn put<R: crate::store::record::Record>(key: &Key, record: &R) -> (Key, Write) {
    (key.clone(), Write::Put { value: encode(key, record).unwrap(), expires_at: None })
}

fn ambient() -> Ambient {
    Ambient { clock: ManualClock::at(NOW), entropy: SeededEntropy::new(5) }
}

/// A trail of `seals` seals with four entries each, an entry a minute, the last one long ago.
async fn trail(seals: u64) -> (Arc<MemoryStore>, Vec<Key>) {
    let ambient = ambient();
    let store = Arc::new(MemoryStore::new(Arc::clone(&ambient.clock)));
    let (mut link, mut keys) = (Link::START, Vec::new());
    let first = NOW.minus(Duration::from_mins(seals * 4 + 10));
    for seq in 0..seals {
        let mut named = Vec::new();
        let mut at = first;
        for n in 0..4 {
            at = first.plus(Duration::from_mins(seq * 4 + n));
            let key = audit::new_key(&ambient, at);
            let (key, value) = put(&key, &entry(at, &(seq * 4 + n).to_string()));
            let Write::Put { value: bytes, .. } = &value else { panic!() };
            named.push(Sealed { id: audit::id(&key).to_owned(), sha256: Digest::of(bytes) });
            keys.push(key.clone());
            write(&*store, vec![(key, value)]).await;
        }
        let seal = Seal::after(link, at, named);
        link = seal.link();
        write(&*store, vec![put(&audit::seal_key(seal.seq), &seal), put(&audit::head_key(), &Mark { link, at })]).await;
    }
    (store, keys)
}

async fn verdict(store: &dyn Store) -> Step {
    let mut walk = Walk::start();
    for _ in 0..1000 {
        match walk.step(store, NOW).await.unwrap() {
            Step::Onward(next) => walk = next,
            end => return end,
        }
    }
    panic!("it does not end");
}

async fn broken(store: &dyn Store) -> (Option<u64>, Option<String>, &'static str) {
    match verdict(store).await {
        Step::Broken(_, Break { seq, entry, what }) => (seq, entry, what),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_trail_as_it_was_written_is_intact() {
    let (store, _) = trail(100).await;
    assert!(matches!(verdict(&*store).await, Step::Intact(walk) if (walk.seals, walk.entries) == (100, 400)));
    let empty = MemoryStore::new(ambient().clock);
    assert!(matches!(verdict(&empty).await, Step::Intact(walk) if walk.seals == 0));
}

#[tokio::test]
async fn an_edited_entry_is_named() {
    let (store, keys) = trail(30).await;
    let key = &keys[50];
    let mut there: Entry = decode(key, &store.get(key).await.unwrap().value.unwrap().value).unwrap();
    there.target = "somebody else".into();
    write(&*store, vec![put(key, &there)]).await;
    assert_eq!(broken(&*store).await, (Some(13), Some(audit::id(key).to_owned()), "the entry was edited"));
}

#[tokio::test]
async fn a_deleted_entry_is_named() {
    let (store, keys) = trail(30).await;
    write(&*store, vec![(keys[119].clone(), Write::Delete)]).await;
    assert_eq!(broken(&*store).await, (Some(30), Some(audit::id(&keys[119]).to_owned()), "the entry is missing"));
}

#[tokio::test]
async fn an_entry_that_was_put_in_is_named() {
    let (store, _) = trail(30).await;
    let at = NOW.minus(Duration::from_hours(1));
    let key = audit::new_key(&ambient(), at.plus(Duration::from_secs(1)));
    write(&*store, vec![put(&key, &entry(at, "forged"))]).await;
    let (seq, found, what) = broken(&*store).await;
    assert_eq!((seq, found.as_deref()), (None, Some(audit::id(&key))), "{what}");
    // One that is too young to be sealed is none of those.
    write(&*store, vec![(key, Write::Delete), put(&audit::new_key(&ambient(), NOW), &entry(NOW, "new"))]).await;
    assert!(matches!(verdict(&*store).await, Step::Intact(_)));
}

#[tokio::test]
async fn a_seal_that_is_gone_edited_or_moved_is_named() {
    let (store, _) = trail(30).await;
    let read = |seq| {
        let store = Arc::clone(&store);
        async move { audit::seal(&*store, seq).await.unwrap().unwrap() }
    };
    let (seven, eight) = (read(7).await, read(8).await);
    let restored = || vec![put(&audit::seal_key(7), &seven), put(&audit::seal_key(8), &eight)];

    write(&*store, vec![(audit::seal_key(7), Write::Delete)]).await;
    assert_eq!(broken(&*store).await, (Some(7), None, "the seal is missing"));

    let mut edited = seven.clone();
    edited.entries.pop();
    write(&*store, vec![put(&audit::seal_key(7), &edited)]).await;
    assert_eq!(broken(&*store).await, (Some(7), None, "the seal was edited"));

    // Made anew so that it fits itself: the next one no longer follows.
    let forged = Seal::after(Link { seq: 6, hash: seven.prev }, seven.at, edited.entries);
    write(&*store, vec![put(&audit::seal_key(7), &forged)]).await;
    assert_eq!(broken(&*store).await, (Some(8), None, "the seal does not follow the one before it"));

    write(&*store, vec![put(&audit::seal_key(7), &eight), put(&audit::seal_key(8), &seven)]).await;
    assert_eq!(broken(&*store).await, (Some(7), None, "the seal does not follow the one before it"));
    write(&*store, restored()).await;
    assert!(matches!(verdict(&*store).await, Step::Intact(_)));
}

#[tokio::test]
async fn a_tail_that_was_cut_off_is_found() {
    let (store, _) = trail(30).await;
    write(&*store, vec![(audit::seal_key(30), Write::Delete)]).await;
    assert_eq!(broken(&*store).await, (Some(30), None, "the seal is missing"));
    let head = audit::seal(&*store, 29).await.unwrap().unwrap();
    write(&*store, vec![put(&audit::head_key(), &Mark { link: head.link(), at: head.at })]).await;
    // The head set back as well: its entries are named by no seal now.
    let (seq, entry, what) = broken(&*store).await;
    assert!(seq.is_none() && entry.is_some() && what.contains("no seal names"), "{what}");
    write(&*store, vec![(audit::head_key(), Write::Delete)]).await;
    assert_eq!(broken(&*store).await, (None, None, "the chain's head is missing"));
}

#[tokio::test]
async fn entries_are_read_in_either_direction_page_by_page() {
    let (store, keys) = trail(120).await;
    let even = |entry: &Entry| entry.target.parse::<u64>().unwrap() % 2 == 0;
    let want: Vec<&Key> = keys.iter().step_by(2).collect();
    for limit in [3, 50, 5_000] {
        let (mut after, mut forwards) = (None, Vec::new());
        loop {
            let (found, next) = oldest_first(&*store, after.as_ref(), None, limit, even).await.unwrap();
            forwards.extend(found.into_iter().map(|(key, _)| key));
            let Some(next) = next else { break };
            after = Some(next);
        }
        assert_eq!(forwards.iter().collect::<Vec<_>>(), want, "{limit}");
        let (mut before, mut backwards) = (audit::before(NOW), Vec::new());
        loop {
            let (found, next) = newest_first(&*store, &before, None, limit, even).await.unwrap();
            backwards.extend(found.into_iter().map(|(key, _)| key));
            let Some(next) = next else { break };
            before = next;
        }
        backwards.reverse();
        assert_eq!(backwards.iter().collect::<Vec<_>>(), want, "{limit}");
    }
    let since = NOW.minus(Duration::from_mins(30));
    let (found, next) = newest_first(&*store, &audit::before(NOW), Some(since), 1000, |_| true).await.unwrap();
    assert_eq!((found.len(), next), (20, None));
    let until = NOW.minus(Duration::from_hours(8));
    let (found, next) = oldest_first(&*store, None, Some(until), 1000, |_| true).await.unwrap();
    assert_eq!((found.len(), next), (10, None));
}

#[tokio::test]
async fn many_entries_of_one_instant_are_read_backwards_too() {
    let ambient = ambient();
    let store = MemoryStore::new(Arc::clone(&ambient.clock));
    let mut keys = Vec::new();
    for n in 0..5_000_u64 {
        let at = NOW.plus(Duration::from_millis(n / 500));
        let key = audit::new_key(&ambient, at);
        write(&store, vec![put(&key, &entry(at, "x"))]).await;
        keys.push(key);
    }
    keys.sort();
    keys.reverse();
    let (mut before, mut found) = (audit::before(NOW.plus(Duration::from_hours(24))), Vec::new());
    loop {
        let (page, next) = newest_first(&store, &before, None, 999, |_| true).await.unwrap();
        found.extend(page.into_iter().map(|(key, _)| key));
        let Some(next) = next else { break };
        before = next;
    }
    assert_eq!(found, keys);
}
