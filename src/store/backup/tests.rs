use std::sync::Arc;

use super::super::memory::MemoryStore;
use super::super::{Commit, Store};
use super::*;
use crate::ambient::ManualClock;

fn header() -> Header {
    Header {
        edi: "1.2.3".into(),
        created_at: Timestamp::from_secs(1_700_000_000),
        issuer: "https://edi.example".into(),
        installation: "i".into(),
        master_key_id: "m".into(),
    }
}

fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(ManualClock::at(Timestamp::from_secs(1))))
}

/// A record of a collection that nobody knows, as edi frames them.
fn record(key: &str, content: &str) -> (Key, Write) {
    let json = format!("{{\"v\":1,\"data\":{content:?}}}");
    let mut sum = crc32fast::Hasher::new();
    sum.update(key.as_bytes());
    sum.update(json.as_bytes());
    let value = [sum.finalize().to_be_bytes().as_slice(), json.as_bytes()].concat();
    (Key::new(key), Write::Put { value, expires_at: Some(Timestamp::from_secs(9)).filter(|_| key.starts_with("b/")) })
}

async fn commit(store: &MemoryStore, writes: impl IntoIterator<Item = (Key, Write)>) -> Revision {
    store.commit(Commit { conditions: Vec::new(), writes: writes.into_iter().collect() }).await.unwrap()
}

fn read(bytes: &[u8]) -> Result<(Vec<Entry>, Footer), BackupError> {
    let mut reader = Reader::new(bytes)?;
    assert_eq!(reader.header(), &header());
    let mut entries = Vec::new();
    while let Some(entry) = reader.entry()? {
        entries.push(entry);
    }
    Ok((entries, reader.end().unwrap().0.clone()))
}

/// What a restore of the file holds.
fn replay(bytes: &[u8]) -> (std::collections::BTreeMap<Key, (Write, Revision)>, u64) {
    let (entries, footer) = read(bytes).unwrap();
    let mut state = std::collections::BTreeMap::new();
    for Entry { key, write, revision, .. } in entries {
        match write {
            Write::Delete => drop(state.remove(&key)),
            write @ Write::Put { .. } => drop(state.insert(key, (write, revision))),
        }
    }
    (state, footer.revision)
}

async fn of(store: &MemoryStore) -> std::collections::BTreeMap<Key, (Write, Revision)> {
    let page = store.scan("", None, 1_000_000).await.unwrap();
    let entry = |(key, found): (Key, super::super::Versioned)| {
        (key, (Write::Put { value: found.value, expires_at: found.expires_at }, found.revision))
    };
    page.items.into_iter().map(entry).collect()
}

async fn made(store: &Arc<MemoryStore>) -> Vec<u8> {
    let mut backup = Backup::begin(Arc::clone(store) as _, &header()).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = backup.piece().await.unwrap() {
        bytes.extend(piece);
    }
    assert!(backup.piece().await.unwrap().is_none());
    bytes
}

#[tokio::test]
async fn it_restores_to_one_revision_whatever_happens_while_it_is_made() {
    for seed in 0..20_u64 {
        let store = store();
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut roll = |below: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % below
        };
        for start in (0..3000).step_by(100) {
            commit(&store, (start..start + 100).map(|i| record(&format!("a/{i:04}"), "old"))).await;
        }
        let mut history = vec![(store.scan("", None, 1).await.unwrap().at.0, of(&store).await)];
        let mut backup = Backup::begin(Arc::clone(&store) as _, &header()).await.unwrap();
        let mut bytes = Vec::new();
        loop {
            // Keys all over the place: passed already, in the page to come, new ones, deleted and made again.
            for _ in 0..roll(30) {
                let mut writes = std::collections::BTreeMap::new();
                for _ in 0..=roll(3) {
                    let key = format!("{}/{:04}", ["a", "b"][usize::from(roll(4) == 0)], roll(3200));
                    let write = record(&key, &format!("new {}", roll(1000)));
                    writes.insert(write.0, if roll(3) == 0 { Write::Delete } else { write.1 });
                }
                let revision = commit(&store, writes).await;
                history.push((revision.0, of(&store).await));
            }
            match backup.piece().await.unwrap() {
                Some(piece) => bytes.extend(piece),
                None => break,
            }
        }
        let (state, revision) = replay(&bytes);
        let (_, then) = history.iter().rev().find(|(at, _)| *at <= revision).unwrap();
        assert_eq!(&state, then, "seed {seed}");
        let summary = inspect(|| Ok(&*bytes)).unwrap();
        assert_eq!(summary.collections.values().sum::<u64>(), then.len() as u64, "seed {seed}");
    }
}

#[tokio::test]
async fn every_flipped_bit_every_cut_and_everything_added_is_refused() {
    let store = store();
    commit(&store, [record("a/1", "x"), record("b/2", "y")]).await;
    let good = made(&store).await;
    assert_eq!(read(&good).unwrap().0.len(), 2);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(inspect(|| Ok(&*bad)).is_err(), "bit {bit}");
    }
    for cut in 0..good.len() {
        assert!(inspect(|| Ok(&good[..cut])).is_err(), "cut at {cut}");
    }
    let longer = [good.as_slice(), b"\n"].concat();
    assert!(inspect(|| Ok(&*longer)).is_err());
    // A record that was damaged before it was backed up shows as well.
    let (key, Write::Put { mut value, expires_at }) = record("a/1", "x") else { panic!("a put") };
    value[5] ^= 1;
    commit(&store, [(key, Write::Put { value, expires_at })]).await;
    let bytes = made(&store).await;
    let error = inspect(|| Ok(&*bytes)).unwrap_err();
    assert!(error.to_string().contains("a/1"), "{error}");
}

#[tokio::test]
async fn other_files_and_newer_formats_are_told_apart() {
    for (text, told) in [
        (&b""[..], "no backup"),
        (b"PK\x03\x04 and so on, much longer than the magic", "no backup"),
        (b"edi-backup 2\n{}\n", "format 2"),
        (b"edi-backup x\n", "no backup"),
        (b"edi-backup 1\n{}\n", "header does not parse"),
        (b"edi-backup 1\n", "cut short"),
    ] {
        let error = inspect(|| Ok(text)).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[tokio::test]
async fn one_that_cannot_follow_fails_and_leaves_no_end() {
    let store = store();
    for start in (0..2000).step_by(100) {
        commit(&store, (start..start + 100).map(|i| record(&format!("a/{i:04}"), "old"))).await;
    }
    let mut backup = Backup::begin(Arc::clone(&store) as _, &header()).await.unwrap();
    let first = backup.piece().await.unwrap().unwrap();
    for round in 0..110 {
        commit(&store, (0..100).map(|i| record(&format!("a/{i:04}"), &format!("{round}")))).await;
    }
    assert!(backup.piece().await.is_err());
    assert!(matches!(read(&first), Err(BackupError::Damaged(_))));
}
