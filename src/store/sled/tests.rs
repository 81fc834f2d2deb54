use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::Ordering;

use super::super::conformance::{Rig, delete, key, put, put_until, store_conformance, when, writes};
use super::super::mirror::Mirror;
use super::super::{Condition, Event};
use super::*;
use crate::ambient::ManualClock;
use crate::model::time::Timestamp;

fn clock() -> Arc<ManualClock> {
    ManualClock::at(Timestamp::from_secs(1_000_000))
}

fn open() -> Rig {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = SledStore::open(folder.path(), Arc::clone(&clock) as _).unwrap();
    Rig { store: Arc::new(store), clock, folder: Some(folder) }
}

store_conformance!(open);

fn at(folder: &Path) -> Result<SledStore, OpenError> {
    SledStore::open(folder, clock())
}

async fn with_content(folder: &Path) -> Revision {
    let store = at(folder).unwrap();
    let mut last = Revision(0);
    for i in 0..200_u32 {
        let end = Timestamp::from_secs(2_000_000);
        let commit = [put(&format!("a/{i}"), &vec![7; 300]), put_until(&format!("b/{}", i / 2), &i.to_be_bytes(), end)];
        last = store.commit(writes(commit)).await.unwrap();
    }
    store.close().await;
    last
}

fn refusal(folder: &Path) -> String {
    match at(folder) {
        Ok(_) => panic!("it opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn everything_survives_a_reopening_and_revisions_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut last = with_content(folder.path()).await;
    for round in 0..3_u8 {
        let store = at(folder.path()).unwrap();
        assert_eq!(store.health(), Health::Writable);
        let read = store.get(&key("a/199")).await.unwrap();
        assert!(read.at > last, "a reader may have seen revisions that a power cut undid");
        assert_eq!(read.value.unwrap().value, vec![7; 300]);
        assert_eq!(store.scan("b/", None, 1000).await.unwrap().items.len(), 100);
        let mut early = store.watch("", last).await.unwrap();
        assert_eq!(early.next().await, Event::Lost);
        let revision = store.commit(writes([put("c/1", &[round]), delete("b/0")])).await.unwrap();
        assert!(revision > read.at);
        let kept = store.get(&key("c/1")).await.unwrap().value.unwrap();
        assert_eq!((kept.value, kept.revision), (vec![round], revision));
        store.commit(writes([put("b/0", b"")])).await.unwrap();
        last = revision;
        store.close().await;
    }
}

#[tokio::test]
async fn the_folder_is_for_its_owner_alone_and_used_by_one() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("deep/store");
    let store = at(&folder).unwrap();
    for path in [folder.clone(), folder.join("data")] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
    for path in ["lock", "acknowledged", "journal"] {
        assert_eq!(folder.join(path).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let second = refusal(&folder);
    assert!(second.contains("in use") && second.contains(&*folder.to_string_lossy()), "{second}");
    store.close().await;
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let store = at(&folder).unwrap();
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    store.close().await;
}

#[tokio::test]
async fn a_folder_that_holds_other_things_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.txt"), "x").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(refusal(folder.path()).contains("thesis.txt"));
    assert_eq!(folder.path().metadata().unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let volume = tempfile::tempdir().unwrap();
    std::fs::create_dir(volume.path().join("lost+found")).unwrap();
    at(volume.path()).unwrap().close().await;
}

#[tokio::test]
async fn a_store_that_lost_a_file_is_refused_and_not_reset() {
    for missing in ["data", "data/db", "data/conf", "acknowledged"] {
        let folder = tempfile::tempdir().unwrap();
        with_content(folder.path()).await;
        let path = folder.path().join(missing);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        for _ in 0..2 {
            let error = refusal(folder.path());
            assert!(error.contains("damaged") && error.contains("restore a backup"), "{missing}: {error}");
        }
        assert!(!path.exists(), "{missing} was made anew");
    }
    for hollow in ["data/db", "acknowledged"] {
        let folder = tempfile::tempdir().unwrap();
        with_content(folder.path()).await;
        std::fs::write(folder.path().join(hollow), b"").unwrap();
        assert!(refusal(folder.path()).contains("damaged"), "{hollow}");
    }
}

#[tokio::test]
async fn an_older_copy_of_the_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    with_content(folder.path()).await;
    let old = tempfile::tempdir().unwrap();
    copy(&folder.path().join("data"), &old.path().join("data"));
    let store = at(folder.path()).unwrap();
    store.commit(writes([put("a/1", b"new")])).await.unwrap();
    store.close().await;
    std::fs::remove_dir_all(folder.path().join("data")).unwrap();
    copy(&old.path().join("data"), &folder.path().join("data"));
    let error = refusal(folder.path());
    assert!(error.contains("was acknowledged"), "{error}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let path = item.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            let _ = std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Changes the database behind the store's back.
fn tamper(folder: &Path, change: impl FnOnce(&sled::Db)) {
    let db = sled::Config::new().path(folder.join("data")).segment_size(8 * 1024 * 1024).open().unwrap();
    change(&db);
    db.flush().unwrap();
}

#[tokio::test]
async fn book_keeping_that_does_not_match_is_refused() {
    type Change = fn(&sled::Db);
    let cases: [(&str, Change); 7] = [
        ("199 entries instead of 200", |db| drop(db.remove("da/7").unwrap())),
        ("201 entries instead of 200", |db| {
            db.insert("da/new", entry::encode("a/new", Revision(1), None, &[1])).unwrap();
        }),
        ("not the last ones written", |db| {
            db.insert("da/7", entry::encode("a/7", Revision(1), None, &[1])).unwrap();
        }),
        ("fails its checksum", |db| drop(db.insert("da/7", db.get("da/8").unwrap().unwrap()).unwrap())),
        ("expiry index", |db| drop(db.pop_max().unwrap())),
        ("meta record is missing", |db| drop(db.remove(entry::META_KEY).unwrap())),
        ("unknown kind", |db| drop(db.insert("zebra", "").unwrap())),
    ];
    for (expected, change) in cases {
        let folder = tempfile::tempdir().unwrap();
        with_content(folder.path()).await;
        tamper(folder.path(), change);
        let error = refusal(folder.path());
        assert!(error.contains(expected) && error.contains("restore a backup"), "{expected}: {error}");
    }
}

fn entries(count: u32) -> Vec<Result<super::Entry, super::BackupError>> {
    let entry = |key: String, write: super::super::Write, revision: u64| {
        Ok(super::Entry { key: Key::new(key), write, revision: Revision(revision), change: false })
    };
    let put = |value: u32, end: Option<i64>| super::super::Write::Put {
        value: value.to_be_bytes().to_vec(),
        expires_at: end.map(Timestamp::from_secs),
    };
    let mut all: Vec<_> = (0..count).map(|i| entry(format!("a/{i}"), put(i, Some(2_000_000)), 5)).collect();
    // Changes: another end, no end, gone, gone and back, never there.
    all.push(entry("a/1".into(), put(100, Some(3_000_000)), 6));
    all.push(entry("a/2".into(), put(200, None), 7));
    all.push(entry("a/3".into(), super::super::Write::Delete, 8));
    all.push(entry("a/4".into(), super::super::Write::Delete, 8));
    all.push(entry("a/4".into(), put(400, Some(2_000_000)), 9));
    all.push(entry("z/1".into(), super::super::Write::Delete, 9));
    all
}

#[tokio::test]
async fn a_restored_store_is_as_it_was_and_goes_on_above_its_revisions() {
    let folder = tempfile::tempdir().unwrap();
    SledStore::restore(folder.path(), entries(1200).into_iter(), Revision(9)).unwrap();
    for _ in 0..2 {
        let store = at(folder.path()).unwrap();
        let page = store.scan("", None, 10_000).await.unwrap();
        assert!(page.at > Revision(9 + (1 << 40)));
        assert_eq!(page.items.len(), 1199);
        let found = async |id: u32| store.get(&key(&format!("a/{id}"))).await;
        let facts =
            |read: super::super::Read| read.value.map(|it| (it.value[3], it.revision.0, it.expires_at.is_some()));
        assert_eq!(facts(found(0).await.unwrap()), Some((0, 5, true)));
        assert_eq!(facts(found(1).await.unwrap()), Some((100, 6, true)));
        assert_eq!(facts(found(2).await.unwrap()), Some((200, 7, false)));
        assert_eq!(facts(found(3).await.unwrap()), None);
        assert_eq!(facts(found(4).await.unwrap()), Some((400_u32.to_be_bytes()[3], 9, true)));
        store.close().await;
    }
    let error = SledStore::restore(folder.path(), entries(5).into_iter(), Revision(9)).unwrap_err();
    assert!(error.to_string().contains("move that store away"), "{error}");
}

#[tokio::test]
async fn a_restore_that_fails_or_is_cut_short_leaves_no_store_and_can_be_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let broken = entries(700).into_iter().chain([Err(super::BackupError::Damaged("as the test asked".into()))]);
    let error = SledStore::restore(folder.path(), broken, Revision(9)).unwrap_err();
    assert!(error.to_string().contains("as the test asked"), "{error}");
    assert!(!folder.path().join("data").exists() && !folder.path().join("acknowledged").exists());
    SledStore::restore(folder.path(), entries(700).into_iter(), Revision(9)).unwrap();
    // The power goes between its two last steps: the next opening takes the second one.
    let (done, begun) = (folder.path().join("acknowledged"), folder.path().join("acknowledged.new"));
    std::fs::rename(&done, &begun).unwrap();
    let store = at(folder.path()).unwrap();
    assert_eq!(store.scan("a/", None, 1000).await.unwrap().items.len(), 699);
    store.close().await;
    assert!(done.exists() && !begun.exists());
    // Before them: nothing is there, and a new restore does it all.
    std::fs::rename(&done, &begun).unwrap();
    std::fs::rename(folder.path().join("data"), folder.path().join("data.new")).unwrap();
    SledStore::restore(folder.path(), entries(700).into_iter(), Revision(9)).unwrap();
    at(folder.path()).unwrap().close().await;
}

#[tokio::test]
async fn a_restore_does_not_touch_a_store_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let store = at(folder.path()).unwrap();
    let error = SledStore::restore(folder.path(), entries(5).into_iter(), Revision(9)).unwrap_err();
    assert!(matches!(error, RestoreError::InUse(_)), "{error}");
    store.commit(writes([put("a/1", b"x")])).await.unwrap();
    store.close().await;
}

/// A store whose commits, of all kinds, are in its journal alone: the database is as it was opened.
async fn journaled() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let live = folder.path().join("live");
    with_content(&live).await;
    let store = at(&live).unwrap();
    let killed = folder.path().join("killed");
    copy(&live, &killed);
    let end = Timestamp::from_secs(3_000_000);
    for i in 0..40_u8 {
        let commit = [put("a/new", &[i]), put_until(&format!("b/{i}"), b"again", end), delete(&format!("a/{i}"))];
        store.commit(writes(commit)).await.unwrap();
    }
    for name in ["journal", "acknowledged"] {
        std::fs::copy(live.join(name), killed.join(name)).unwrap();
    }
    store.close().await;
    (folder, killed)
}

#[tokio::test]
async fn what_only_the_journal_holds_is_there_after_a_kill() {
    let (_folder, killed) = journaled().await;
    for _ in 0..3 {
        let store = at(&killed).unwrap();
        assert_eq!(store.get(&key("a/new")).await.unwrap().value.unwrap().value, [39]);
        assert_eq!(store.get(&key("b/7")).await.unwrap().value.unwrap().value, b"again");
        assert_eq!(store.get(&key("b/70")).await.unwrap().value.unwrap().value, 141_u32.to_be_bytes());
        assert_eq!(store.scan("a/", None, 1000).await.unwrap().items.len(), 161);
        store.close().await;
        let _ = std::fs::remove_file(killed.join("closed"));
    }
}

#[tokio::test]
async fn a_journal_that_lost_something_is_refused() {
    const RECORD: usize = 4096;
    type Change = fn(&Path, &mut Vec<u8>);
    let cases: [(&str, Change); 5] = [
        ("was acknowledged", |path, _| std::fs::remove_file(path).unwrap()),
        ("was acknowledged", |_, bytes| bytes[39 * RECORD + 50] ^= 1),
        ("was acknowledged", |path, bytes| {
            // The disk may not have what the sidecar noted last.
            let slots = path.with_file_name("acknowledged");
            let mut older = std::fs::read(&slots).unwrap();
            let later = usize::from(older[8..16] < older[4104..4112]) * 4096;
            older[later..later + 20].fill(0);
            std::fs::write(slots, older).unwrap();
            bytes[20 * RECORD + 50] ^= 1;
        }),
        ("was acknowledged", |_, bytes| bytes[..RECORD].fill(0)),
        ("cut short", |_, bytes| bytes.truncate(40 * RECORD)),
    ];
    for (index, (expected, change)) in cases.into_iter().enumerate() {
        let (_folder, killed) = journaled().await;
        let path = killed.join("journal");
        let mut bytes = std::fs::read(&path).unwrap();
        change(&path, &mut bytes);
        if path.exists() {
            std::fs::write(&path, bytes).unwrap();
        }
        let said = refusal(&killed);
        assert!(said.contains(expected), "{index}: {said}");
    }
}

#[tokio::test]
async fn a_store_from_before_there_was_a_journal_opens() {
    let folder = tempfile::tempdir().unwrap();
    with_content(folder.path()).await;
    tamper(folder.path(), |db| drop(db.insert(entry::FORMAT_KEY, "1").unwrap()));
    std::fs::remove_file(folder.path().join("journal")).unwrap();
    let store = at(folder.path()).unwrap();
    assert_eq!(store.scan("a/", None, 1000).await.unwrap().items.len(), 200);
    store.close().await;
    tamper(folder.path(), |db| assert_eq!(*db.get(entry::FORMAT_KEY).unwrap().unwrap(), *b"2"));
}

#[tokio::test]
async fn more_than_the_journal_takes_is_made_durable_too() {
    let folder = tempfile::tempdir().unwrap();
    let (live, killed) = (folder.path().join("live"), folder.path().join("killed"));
    let store = Arc::new(at(&live).unwrap());
    store.shared.stick_syncs.store(true, Ordering::SeqCst);
    let commits = (0..60_u8).map(|i| {
        let store = Arc::clone(&store);
        async move { store.commit(writes([put(&format!("a/{i}"), &vec![i; super::super::MAX_VALUE])])).await.unwrap() }
    });
    let release = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        store.shared.stick_syncs.store(false, Ordering::SeqCst);
    };
    tokio::join!(futures_util::future::join_all(commits), release);
    for i in 0..300_u32 {
        store.commit(writes([put("b/1", &i.to_be_bytes()), put("b/2", &[3; 5000])])).await.unwrap();
    }
    copy(&live, &killed);
    store.close().await;
    let store = at(&killed).unwrap();
    for i in 0..60_u8 {
        let found = store.get(&key(&format!("a/{i}"))).await.unwrap().value.unwrap();
        assert_eq!(found.value, vec![i; super::super::MAX_VALUE]);
    }
    assert_eq!(store.get(&key("b/1")).await.unwrap().value.unwrap().value, 299_u32.to_be_bytes());
    store.close().await;
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    with_content(folder.path()).await;
    tamper(folder.path(), |db| drop(db.insert(entry::FORMAT_KEY, "3").unwrap()));
    let error = refusal(folder.path());
    assert!(error.contains("format 3") && error.contains("upgrade edi"), "{error}");
}

#[tokio::test]
async fn a_snapshot_that_was_cut_short_is_no_damage() {
    for half in [&b""[..], b"half a snapshot, and no checksum"] {
        let folder = tempfile::tempdir().unwrap();
        with_content(folder.path()).await;
        let unfinished = folder.path().join("data/snap.7FFFFFFFFFFFFFFF.generating");
        std::fs::write(&unfinished, half).unwrap();
        let store = at(folder.path()).unwrap();
        assert_eq!(store.scan("a/", None, 1000).await.unwrap().items.len(), 200);
        assert!(!unfinished.exists());
        store.close().await;
    }
}

#[tokio::test]
async fn a_making_that_was_cut_short_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data.new")).unwrap();
    std::fs::write(folder.path().join("data.new/db"), b"half").unwrap();
    at(folder.path()).unwrap().close().await;
    assert!(!folder.path().join("data.new").exists());
    // The database has its name, the sidecar is not there yet.
    let other = tempfile::tempdir().unwrap();
    open::create(other.path()).unwrap();
    assert!(!other.path().join("acknowledged").exists());
    let store = at(other.path()).unwrap();
    store.commit(writes([put("a/1", b"1")])).await.unwrap();
    store.close().await;
    // It is there, and empty.
    let third = tempfile::tempdir().unwrap();
    open::create(third.path()).unwrap();
    std::fs::write(third.path().join("acknowledged"), b"").unwrap();
    at(third.path()).unwrap().close().await;
}

#[tokio::test]
async fn the_largest_values_make_no_blobs() {
    let folder = tempfile::tempdir().unwrap();
    let store = at(folder.path()).unwrap();
    for round in 0..6_u8 {
        for i in 0..40_u8 {
            let commit =
                [put(&format!("a/{i:02}"), &vec![round; super::super::MAX_VALUE]), put(&format!("b/{i}"), &[i])];
            store.commit(writes(commit)).await.unwrap();
        }
    }
    store.close().await;
    assert_eq!(std::fs::read_dir(folder.path().join("data/blobs")).unwrap().count(), 0);
    at(folder.path()).unwrap().close().await;
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged_until_a_checked_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = at(folder.path()).unwrap();
    let before = store.commit(writes([put("a/1", b"1")])).await.unwrap();
    let mut watch = store.watch("a/", before).await.unwrap();
    store.shared.fail_syncs.store(true, Ordering::SeqCst);
    let commit = when("a/1", Condition::At(before), [put("a/1", b"2")]);
    assert!(matches!(store.commit(commit).await, Err(CommitError::Unknown(_))));
    store.shared.fail_syncs.store(false, Ordering::SeqCst);
    let refused = store.commit(writes([put("a/2", b"")])).await;
    assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");
    assert!(matches!(store.health(), Health::ReadOnly(_)));
    assert!(store.get(&key("a/1")).await.unwrap().value.is_some(), "reads go on");
    let lost = loop {
        match tokio::time::timeout(Duration::from_secs(20), watch.next()).await.unwrap() {
            Event::UpTo(_) => {}
            other => break other,
        }
    };
    assert_eq!(lost, Event::Lost, "the commit of unknown outcome was never reported");
    assert_eq!(store.health(), Health::Writable);
    let read = store.get(&key("a/1")).await.unwrap();
    assert!(read.at.0 > before.0 + 1000);
    store.commit(writes([put("a/2", b"")])).await.unwrap();
    store.close().await;
    at(folder.path()).unwrap().close().await;
}

#[tokio::test]
async fn behind_a_stuck_disk_changes_are_refused_at_once_and_reads_go_on_until_it_answers() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(at(folder.path()).unwrap());
    let before = store.commit(writes([put("a/1", b"1")])).await.unwrap();
    let mut watch = store.watch("a/", before).await.unwrap();
    store.shared.stick_syncs.store(true, Ordering::SeqCst);
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.commit(writes([put("a/2", b"2")])).await }
    });
    until("seen to be stuck", || matches!(store.health(), Health::ReadOnly(_))).await;
    for refused in [store.commit(writes([put("a/3", b"")])).await, store.commit_urgent(writes([put("a/3", b"")])).await]
    {
        let Err(CommitError::Unavailable(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("the disk has not answered a write for"), "{why}");
    }
    assert_eq!(store.get(&key("a/1")).await.unwrap().value.unwrap().revision, before, "reads go on");
    let beat = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.unwrap();
    assert_eq!(beat, Event::UpTo(before), "who alone writes misses nothing, and what is not durable is not told");
    store.shared.stick_syncs.store(false, Ordering::SeqCst);
    // Whoever waited gets its answer, or has given up not knowing.
    assert!(matches!(waiting.await.unwrap(), Ok(_) | Err(CommitError::Unknown(_))));
    until("writable", || store.health() == Health::Writable).await;
    store.commit(writes([put("a/3", b"3")])).await.unwrap();
    assert!(store.get(&key("a/2")).await.unwrap().value.is_some());
    store.close().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_stuck_disk_forever_and_what_was_answered_is_there_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(at(folder.path()).unwrap());
    store.commit(writes([put("a/1", b"1")])).await.unwrap();
    let is_writing = || store.shared.writing_since.lock().unwrap().is_some();
    until("at rest", || !is_writing()).await;
    store.shared.stick_syncs.store(true, Ordering::SeqCst);
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.commit(writes([put("a/2", b"2")])).await }
    });
    until("written to", is_writing).await;
    tokio::time::timeout(Duration::from_mins(1), store.close()).await.unwrap();
    assert!(matches!(store.health(), Health::ReadOnly(_)));
    store.shared.stick_syncs.store(false, Ordering::SeqCst);
    let _ = waiting.await;
    // The wish to close was heard all the same.
    let mut again = None;
    until("closed", || {
        again = at(folder.path()).ok();
        again.is_some()
    })
    .await;
    let again = again.unwrap();
    assert!(again.get(&key("a/1")).await.unwrap().value.is_some());
    again.close().await;
}

const RESERVE: u64 = 1024 * 1024;

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..4_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 40 s: {what}");
}

#[tokio::test]
async fn on_a_full_disk_only_what_takes_rights_away_is_written_and_reads_and_watches_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let store =
        SledStore::open_with(folder.path(), clock(), Options { reserve: RESERVE, ..Options::default() }).unwrap();
    let reserve = folder.path().join("reserve");
    assert_eq!(reserve.metadata().unwrap().len(), RESERVE);
    let before = store.commit(writes([put("a/1", b"1")])).await.unwrap();
    store.shared.pretend_full.store(true, Ordering::SeqCst);
    let failed = store.commit(writes([put("a/2", b"2")])).await;
    assert!(matches!(failed, Err(CommitError::Unknown(_))), "{failed:?}");
    assert!(store.get(&key("a/1")).await.unwrap().value.is_some());
    until("open again", || {
        folder.path().exists() && !reserve.exists() && !store.shared.is_opening.load(Ordering::SeqCst)
    })
    .await;
    let mut watch = store.watch("r/", before).await.unwrap();
    let mut written = None;
    for _ in 0..3_000 {
        match store.commit_urgent(writes([put("r/1", b"revoked")])).await {
            Ok(revision) => {
                written = Some(revision);
                break;
            }
            Err(CommitError::Full(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(other) => panic!("{other:?}"),
        }
    }
    let written = written.expect("the reserve lets it through");
    for refused in [store.commit(writes([put("a/3", b"3")])).await.err(), store.sweep(10).await.err()] {
        let told =
            matches!(&refused, Some(CommitError::Full(why)) if why.contains("disk is full") && why.contains("2 MiB"));
        assert!(told, "{refused:?}");
    }
    assert!(matches!(store.health(), Health::Full(_)));
    assert_eq!(store.get(&key("r/1")).await.unwrap().value.unwrap().revision, written);
    let mut heard = watch.next().await;
    if heard == Event::Lost {
        watch = store.watch("r/", store.get(&key("a/1")).await.unwrap().at).await.unwrap();
        heard = watch.next().await;
    }
    assert!(!matches!(heard, Event::Lost), "{heard:?}");
    store.shared.pretend_full.store(false, Ordering::SeqCst);
    until("writable", || store.health() == Health::Writable).await;
    assert_eq!(reserve.metadata().unwrap().len(), RESERVE, "kept anew");
    store.commit(writes([put("a/3", b"3")])).await.unwrap();
    store.close().await;
    let store = at(folder.path()).unwrap();
    for name in ["a/1", "r/1", "a/3"] {
        assert!(store.get(&key(name)).await.unwrap().value.is_some(), "{name}");
    }
    store.close().await;
}

#[tokio::test]
async fn a_read_that_finds_the_database_gone_waits_until_it_is_open_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(at(folder.path()).unwrap());
    store.commit(writes([put("a/1", b"1")])).await.unwrap();
    // As at the instant between a look whether it opens and the read.
    let view = store.shared.view.write().unwrap().take();
    let reading = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.get(&key("a/1")).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!reading.is_finished());
    store.shared.set_view(view);
    assert!(reading.await.unwrap().unwrap().value.is_some());
    store.close().await;
}

#[tokio::test]
async fn without_a_reserve_a_full_disk_is_readable_and_mends_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = at(folder.path()).unwrap();
    store.commit(writes([put("a/1", b"1")])).await.unwrap();
    store.shared.pretend_full.store(true, Ordering::SeqCst);
    assert!(store.commit(writes([put("a/2", b"2")])).await.is_err());
    until("full", || matches!(store.health(), Health::Full(_))).await;
    assert!(matches!(store.commit_urgent(writes([put("r/1", b"")])).await, Err(CommitError::Full(_))));
    assert!(store.get(&key("a/1")).await.unwrap().value.is_some());
    let mut watch = store.watch("a/", store.get(&key("a/1")).await.unwrap().at).await.unwrap();
    let beat = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.unwrap();
    assert!(matches!(beat, Event::UpTo(_)), "nothing can have been missed: {beat:?}");
    store.shared.pretend_full.store(false, Ordering::SeqCst);
    until("writable", || store.health() == Health::Writable).await;
    store.commit(writes([put("a/2", b"2")])).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_folder_that_takes_no_writes_leaves_reads_and_watches_alone_until_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = at(folder.path()).unwrap();
    let before = store.commit(writes([put("a/1", b"1")])).await.unwrap();
    // What is written to see whether anything can be has no place to go.
    std::fs::create_dir(folder.path().join("probe")).unwrap();
    store.shared.fail_syncs.store(true, Ordering::SeqCst);
    assert!(matches!(store.commit(writes([put("a/2", b"2")])).await, Err(CommitError::Unknown(_))));
    // Long enough to have looked for a way back in vain.
    tokio::time::sleep(Duration::from_millis(600)).await;
    until("read-only", || matches!(store.health(), Health::ReadOnly(why) if why.contains("as the test asked"))).await;
    assert_eq!(store.get(&key("a/1")).await.unwrap().value.unwrap().revision, before);
    let mut watch = store.watch("a/", before).await.unwrap();
    let beat = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.unwrap();
    assert_eq!(beat, Event::UpTo(before));
    store.shared.fail_syncs.store(false, Ordering::SeqCst);
    std::fs::remove_dir(folder.path().join("probe")).unwrap();
    until("writable", || store.health() == Health::Writable).await;
    assert_eq!(watch.next().await, Event::Lost);
    store.close().await;
}

#[tokio::test]
async fn a_store_that_comes_back_with_less_stays_down() {
    let folder = tempfile::tempdir().unwrap();
    let store = at(folder.path()).unwrap();
    store.commit(writes([put("a/1", b"1")])).await.unwrap();
    std::fs::rename(folder.path().join("acknowledged"), folder.path().join("moved")).unwrap();
    store.shared.fail_syncs.store(true, Ordering::SeqCst);
    assert!(store.commit(writes([put("a/1", b"2")])).await.is_err());
    store.shared.fail_syncs.store(false, Ordering::SeqCst);
    let is_down = |why: &str| why.contains("acknowledged revision is missing");
    until("down", || matches!(store.health(), Health::Down(why) if is_down(&why))).await;
    std::fs::rename(folder.path().join("moved"), folder.path().join("acknowledged")).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(matches!(store.health(), Health::Down(_)));
    assert!(matches!(store.commit(writes([put("a/1", b"2")])).await, Err(CommitError::Unavailable(_))));
    store.close().await;
    at(folder.path()).unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_snapshots_while_others_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(at(folder.path()).unwrap());
    let writer = Arc::clone(&store);
    let writing = tokio::spawn(async move {
        for round in 0..150_u32 {
            let commit = (0..20).map(|i| put(&format!("s/{i}"), &round.to_be_bytes())).collect::<Vec<_>>();
            writer.commit(writes(commit)).await.unwrap();
        }
    });
    while !writing.is_finished() {
        let page = store.scan("s/", None, 100).await.unwrap();
        let first = page.items.first().map(|(_, found)| found.clone());
        assert!(page.items.iter().all(|(_, found)| Some(found) == first.as_ref()), "half of a commit was seen");
        assert!(first.is_none_or(|found| found.revision <= page.at));
    }
    writing.await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn the_audit_trails_chain_goes_on_across_restarts() {
    use crate::ambient::{Ambient, SeededEntropy};
    use crate::audit::Differences;
    use crate::store::collections::{By, audit};
    use crate::store::sealer::keep_sealing;
    use crate::store::trail::{Step, Walk};
    use crate::store::tx::Tx;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let now = Timestamp::from_secs(1_795_000_000);
    let ambient = Ambient { clock: ManualClock::at(now), entropy: SeededEntropy::new(1) };
    for round in 1..=3_u64 {
        let store = Arc::new(SledStore::open(&path, Arc::clone(&ambient.clock)).unwrap());
        let tell = async || {
            let mut tx = Tx::new(&*store);
            let by = By::edi(now, "test.change", "x");
            let audited = audit::record(&mut tx, &ambient, &by, Differences::default()).unwrap();
            tx.commit(audited).await.unwrap();
        };
        // Before anybody seals, as a crash leaves it.
        tell().await;
        let sealer = tokio::spawn(keep_sealing(Arc::clone(&store) as _, ambient.clone()));
        tell().await;
        let mut sealed = 0;
        for _ in 0..100 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            let mut walk = Walk::start();
            sealed = loop {
                match walk.step(&*store, now).await.unwrap() {
                    Step::Onward(next) => walk = next,
                    Step::Intact(walk) => break walk.entries,
                    Step::Broken(_, found) => panic!("{found:?}"),
                }
            };
            if sealed == round * 2 {
                break;
            }
        }
        assert_eq!(sealed, round * 2);
        sealer.abort();
        store.close().await;
    }
}

/// What was folded, as text; a value that starts with `!` cannot be.
#[derive(Default)]
struct Seen(std::collections::BTreeMap<String, Vec<u8>>);

impl Fold for Seen {
    fn put(&mut self, key: &Key, value: &[u8], _: Option<Timestamp>) -> Result<(), StoreError> {
        if value.starts_with(b"!") {
            return Err(StoreError::Corrupt { key: key.to_string(), what: "as the test asked".into() });
        }
        self.0.insert(key.to_string(), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, key: &Key) {
        self.0.remove(key.as_str());
    }
}

fn waiting_for(folder: &Path, clock: Arc<dyn Clock>, prefixes: &[&str]) -> Arc<dyn Store> {
    let early = prefixes.iter().map(|prefix| ((*prefix).to_owned(), Box::<Seen>::default() as _)).collect();
    Arc::new(SledStore::open_with(folder, clock, Options { early, ..Options::default() }).unwrap())
}

#[tokio::test]
async fn a_mirror_goes_on_from_what_was_folded_while_opening_whether_the_end_was_clean_or_not() {
    let folder = tempfile::tempdir().unwrap();
    with_content(folder.path()).await;
    let early = at(folder.path()).unwrap();
    early.commit(writes([put_until("b/expired", b"x", Timestamp::from_secs(1_000_001))])).await.unwrap();
    early.close().await;
    for clean in [true, false] {
        assert!(folder.path().join("closed").exists());
        if !clean {
            std::fs::remove_file(folder.path().join("closed")).unwrap();
        }
        let later = ManualClock::at(Timestamp::from_secs(1_000_002));
        let store = waiting_for(folder.path(), later, &["b/"]);
        assert!(!folder.path().join("closed").exists(), "gone before anything can be written");
        let revision = store.commit(writes([put("b/new", b"n"), delete("b/1"), put("c/1", b"c")])).await.unwrap();
        let mirror = Mirror::<Seen>::load(Arc::clone(&store), "b/", Seen::default).await.unwrap();
        mirror.passed(revision).await.unwrap();
        let state = mirror.read().0.clone();
        assert_eq!(state.len(), 100);
        assert_eq!((state.get("b/new"), state.get("b/2")), (Some(&b"n".to_vec()), Some(&5_u32.to_be_bytes().to_vec())));
        assert!(!state.contains_key("b/1") && !state.contains_key("b/expired"));
        assert!(store.take_early("b/").is_none(), "once");
        store.commit(writes([delete("b/new"), put("b/1", &3_u32.to_be_bytes())])).await.unwrap();
        store.close().await;
    }
}

#[tokio::test]
async fn what_cannot_be_folded_while_opening_is_told_by_the_mirror() {
    let folder = tempfile::tempdir().unwrap();
    let store = at(folder.path()).unwrap();
    store.commit(writes([put("a/1", b"fine"), put("b/1", b"!")])).await.unwrap();
    store.close().await;
    let store = waiting_for(folder.path(), clock(), &["a/", "b/"]);
    assert_eq!(Mirror::<Seen>::load(Arc::clone(&store), "a/", Seen::default).await.unwrap().read().0.len(), 1);
    let refused = Mirror::<Seen>::load(Arc::clone(&store), "b/", Seen::default).await;
    assert!(matches!(refused, Err(StoreError::Corrupt { key, .. }) if key == "b/1"));
    store.close().await;
}

#[tokio::test]
async fn a_closed_store_is_to_the_bit_what_its_mark_tells() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        with_content(folder.path()).await;
        assert!(closed::take(folder.path()).unwrap());
        assert!(closed::mark(folder.path()).unwrap());
    }
}

#[tokio::test]
async fn damage_behind_the_book_keeping_is_found_after_a_clean_end_too() {
    let folder = tempfile::tempdir().unwrap();
    with_content(folder.path()).await;
    // Its journal could make it whole again.
    at(folder.path()).unwrap().close().await;
    std::fs::remove_file(folder.path().join("journal")).unwrap();
    assert!(folder.path().join("closed").exists());
    let file = folder.path().join("data/db");
    let mut bytes = std::fs::read(&file).unwrap();
    // Everywhere that value lies: an old page may hold it too.
    let places: Vec<usize> = (0..bytes.len() - 300).filter(|at| bytes[*at..*at + 300] == [7; 300]).collect();
    for place in places {
        bytes[place + 150] = 8;
    }
    std::fs::write(&file, bytes).unwrap();
    let said = refusal(folder.path());
    assert!(said.contains("damaged"), "{said}");
}

#[tokio::test]
async fn a_store_that_failed_at_the_end_leaves_no_mark() {
    let folder = tempfile::tempdir().unwrap();
    let store = at(folder.path()).unwrap();
    store.commit(writes([put("a/1", b"1")])).await.unwrap();
    store.shared.fail_syncs.store(true, Ordering::SeqCst);
    let waiting = store.commit(writes([put("a/2", b"2")]));
    let (failed, ()) = tokio::join!(waiting, store.close());
    assert!(failed.is_err());
    assert!(!folder.path().join("closed").exists());
    let store = at(folder.path()).unwrap();
    assert!(store.get(&key("a/1")).await.unwrap().value.is_some());
    store.close().await;
    assert!(folder.path().join("closed").exists());
}

#[tokio::test]
async fn commits_that_share_a_sync_see_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(at(folder.path()).unwrap());
    store.commit(writes([put_until("e/1", b"old", Timestamp::from_secs(999_999))])).await.unwrap();
    store.shared.stick_syncs.store(true, Ordering::SeqCst);
    let (before, racing, again, swept, ()) = tokio::join!(
        store.commit(writes([put("a/0", b"")])),
        async {
            // Polled in order, each is queued before the next, all behind the one that waits for the disk.
            let racers = (0..40_u8).map(|n| {
                let store = Arc::clone(&store);
                async move { store.commit(when("a/x", Condition::Absent, [put("a/x", &[n])])).await }
            });
            futures_util::future::join_all(racers).await
        },
        store.commit(writes([put("e/1", b"new"), delete("a/0")])),
        store.sweep(10),
        async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            store.shared.stick_syncs.store(false, Ordering::SeqCst);
        }
    );
    let won: Vec<Revision> = racing.into_iter().filter_map(Result::ok).collect();
    assert_eq!(won.len(), 1, "the condition was judged against the others");
    assert!(before.unwrap() < won[0] && won[0] < again.unwrap());
    assert_eq!(swept, Ok(0), "what had expired was put anew just before");
    assert_eq!(store.get(&key("a/x")).await.unwrap().value.unwrap().revision, won[0]);
    assert_eq!(store.get(&key("e/1")).await.unwrap().value.unwrap().value, b"new");
    assert_eq!(store.get(&key("a/0")).await.unwrap().value, None);
    store.close().await;
    std::fs::remove_file(folder.path().join("closed")).unwrap();
    at(folder.path()).unwrap().close().await;
}
