//! The writer, and what is known of its commits at every instant.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use edi::ambient::SystemClock;
use edi::model::time::Timestamp;
use edi::store::sled::SledStore;
use edi::store::{Commit, Key, Store, Write};

use crate::disk::Note;
use crate::random::Random;

const TASKS: u64 = 6;
const NAMES: u64 = 12;

/// What the commit number `round` of `name` writes under each of its two keys; `None`: it deletes them.
pub(crate) fn content(name: &str, round: u64) -> Option<Vec<u8>> {
    if round.is_multiple_of(7) {
        return None;
    }
    let seed = name.bytes().fold(round, |sum, byte| sum.wrapping_mul(257).wrapping_add(u64::from(byte)));
    let mut random = Random::new(seed);
    let length = match random.below(20) {
        0..14 => 50 + random.below(1500),
        14..19 => 1500 + random.below(20_000),
        _ => 64 * 1024,
    };
    let mut out = round.to_be_bytes().to_vec();
    while out.len() < length {
        out.extend_from_slice(&random.next().to_be_bytes());
    }
    out.truncate(length);
    Some(out)
}

/// The two keys that are always written together, in two collections.
pub(crate) fn keys(name: &str) -> [Key; 2] {
    [Key::new(format!("left/{name}")), Key::new(format!("right/{name}"))]
}

/// Writes until it has written enough, and says in `events` what it is about to commit and what was acknowledged.
pub(crate) fn run(root: &Path) {
    let events = OpenOptions::new().create(true).append(true).open(root.join("events")).unwrap();
    let events = Arc::new(events);
    let store = Arc::new(SledStore::open(&root.join("store"), Arc::new(SystemClock)).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> =
            (0..TASKS).map(|task| tokio::spawn(write(task, Arc::clone(&store), Arc::clone(&events)))).collect();
        for task in tasks {
            task.await.unwrap();
        }
        store.close().await;
    });
}

async fn write(task: u64, store: Arc<SledStore>, events: Arc<std::fs::File>) {
    let say = |line: String| (&*events).write_all(line.as_bytes()).unwrap();
    // The writer inherits the environment of the test.
    for i in 0..crate::number("POWERCUT_COMMITS", 250) {
        let (name, round) = (format!("{task}-{}", i % NAMES), 1 + i / NAMES);
        let expires_at = i.is_multiple_of(3).then(|| Timestamp::from_secs(4_000_000_000));
        let write = content(&name, round).map_or(Write::Delete, |value| Write::Put { value, expires_at });
        let writes = keys(&name).into_iter().map(|key| (key, write.clone())).collect();
        say(format!("I {name} {round}\n"));
        let revision = store.commit(Commit { conditions: Vec::new(), writes }).await.unwrap();
        say(format!("A {name} {round} {revision}\n"));
    }
}

/// What had been begun and acknowledged at an instant.
#[derive(Default)]
pub(crate) struct History {
    /// Of each name, the last round acknowledged and the last begun.
    rounds: BTreeMap<String, (u64, u64)>,
    revision: u64,
}

impl History {
    pub(crate) fn apply(&mut self, note: &Note) {
        if !note.is_event() {
            return;
        }
        let line = std::str::from_utf8(&note.data).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let round = words[2].parse().unwrap();
        let known = self.rounds.entry(words[1].to_owned()).or_default();
        if words[0] == "A" {
            known.0 = round;
            self.revision = self.revision.max(words[3].parse().unwrap());
        } else {
            known.1 = round;
        }
    }

    /// For the process that checks: a line with the last acknowledged revision, then `name acknowledged begun`.
    pub(crate) fn expectation(&self) -> String {
        let mut out = format!("{}\n", self.revision);
        for (name, (acknowledged, begun)) in &self.rounds {
            writeln!(out, "{name} {acknowledged} {begun}").unwrap();
        }
        out
    }
}
