//! Opens an image and compares it with what must be in it. Runs in a process of its own.

use std::path::Path;
use std::sync::Arc;

use edi::ambient::SystemClock;
use edi::store::sled::SledStore;
use edi::store::{Commit, Key, Store, Write};

use crate::workload::{content, keys};

pub(crate) const RIGHT: i32 = 10;
pub(crate) const REFUSED: i32 = 11;
pub(crate) const WRONG: i32 = 12;

pub(crate) fn run(folder: &Path, expected: &Path) -> i32 {
    let expected = std::fs::read_to_string(expected).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    // Twice: what was opened after a cut must be whole after the next start too.
    for _ in 0..2 {
        let store = match SledStore::open(folder, Arc::new(SystemClock)) {
            Ok(store) => store,
            Err(error) => {
                println!("{error}");
                return REFUSED;
            }
        };
        let outcome = runtime.block_on(async {
            let outcome = compare(&store, &expected).await;
            store.close().await;
            outcome
        });
        if let Err(what) = outcome {
            println!("{what}");
            return WRONG;
        }
    }
    RIGHT
}

async fn compare(store: &SledStore, expected: &str) -> Result<(), String> {
    let mut lines = expected.lines();
    let revision: u64 = lines.next().unwrap().parse().unwrap();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (acknowledged, begun): (u64, u64) = (words[1].parse().unwrap(), words[2].parse().unwrap());
        let [left, right] = keys(words[0]);
        let (left, right) = (read(store, &left).await?, read(store, &right).await?);
        if left != right {
            return Err(format!("half of a commit of {}", words[0]));
        }
        // Round zero is before the first commit.
        let possible = |round: u64| if round == 0 { left.is_none() } else { content(words[0], round) == left };
        if !(acknowledged..=begun).any(possible) {
            let found = left.and_then(|value| value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)));
            return Err(format!("{}: {found:?} instead of {acknowledged} to {begun}", words[0]));
        }
    }
    let write = Write::Put { value: b"after".to_vec(), expires_at: None };
    let commit = Commit { conditions: Vec::new(), writes: vec![(Key::new("probe/1"), write)] };
    let next = store.commit(commit).await.map_err(|error| error.to_string())?;
    if next.0 <= revision + 1000 {
        return Err(format!("revision {next} may have been seen before; {revision} was acknowledged"));
    }
    Ok(())
}

async fn read(store: &SledStore, key: &Key) -> Result<Option<Vec<u8>>, String> {
    let read = store.get(key).await.map_err(|error| format!("{key}: {error}"))?;
    Ok(read.value.map(|found| found.value))
}
