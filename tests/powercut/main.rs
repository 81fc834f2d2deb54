//! What a power cut and a damaged disk leave of the sled store.
//!
//! A writer process runs with a preloaded shim that notes every write and every sync. From the notes this test builds
//! what the disk may hold if the power goes at some instant (only what was synced; everything; synced and a random
//! part of the rest, in pieces), and opens each image in a process of its own. Every acknowledged value must be there
//! and right; an image with nothing but what was synced must open. Then bytes of a whole store are damaged, of one in use
//! and of one that was closed: it opens with everything right, or it is refused.
//!
//! Needs Linux and a C compiler, which is why it stands behind a feature; without them it fails:
//! `cargo test --features outside-tests --test powercut`. `POWERCUT_SEED`, `POWERCUT_COMMITS` (by
//! each of six tasks), `POWERCUT_CUTS` and `POWERCUT_DAMAGES` vary and lengthen it.

#![expect(clippy::print_stdout, reason = "a test that prints its findings")]
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test of its own, without #[test]")]

mod check;
mod damage;
mod disk;
mod random;
mod workload;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::disk::{Disk, Variant};
use crate::random::Random;
use crate::workload::History;

/// How an image fared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Verdict {
    Right,
    Refused,
    Wrong,
    Crashed,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.get(1..) {
        Some(["writer", folder]) => workload::run(Path::new(folder)),
        Some(["check", folder, expected]) => std::process::exit(check::run(Path::new(folder), Path::new(expected))),
        // A filter that a plain `cargo test NAME` hands to every test binary.
        Some([name, ..]) if !name.starts_with('-') && !"powercut".contains(name) => {}
        _ => test(),
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn test() {
    let seed = number("POWERCUT_SEED", 1);
    let mut random = Random::new(seed);
    let work = tempfile::tempdir().unwrap();
    let root = work.path().canonicalize().unwrap().join("traced");
    std::fs::create_dir(&root).unwrap();
    let trace = record(work.path(), &root);
    let notes = disk::read_notes(&trace, &root);
    let acknowledged = notes.iter().filter(|note| note.is_acknowledgement()).count();
    let size = trace.metadata().unwrap().len() >> 20;
    let again = disk::overwritten(&notes);
    println!("powercut: seed {seed}, {acknowledged} commits, {} calls, {size} MiB, {again} B overwritten", notes.len());
    assert!(acknowledged > 500, "the writer did too little");
    assert!(again > 0, "the writer never made the database use space again");

    let cuts = pick_cuts(&notes, usize::try_from(number("POWERCUT_CUTS", 60)).unwrap(), &mut random);
    let mut table: BTreeMap<(String, Verdict), usize> = BTreeMap::new();
    let (mut disk, mut history, mut failures) = (Disk::default(), History::default(), Vec::new());
    for (index, note) in notes.iter().enumerate() {
        if cuts.contains(&index) {
            for variant in [Variant::Synced, Variant::Everything, Variant::Part] {
                let image = work.path().join("image");
                disk.write_image(&image, variant, &mut random);
                let (verdict, said) = judge(&image, &history);
                *table.entry((format!("{variant:?}"), verdict)).or_default() += 1;
                // A part may be beyond repair, and then it is refused; what was synced must do, and so must all.
                let fine = verdict == Verdict::Right || (variant == Variant::Part && verdict == Verdict::Refused);
                if !fine {
                    failures.push(format!("cut {index}, {variant:?}: {verdict:?}: {said}"));
                }
            }
        }
        // Once while it is open, and once closed.
        if index == notes.len() * 3 / 4 {
            damage::run(work.path(), &disk, &history, &mut random, &mut table, &mut failures);
        }
        disk.apply(note);
        history.apply(note);
    }
    damage::run(work.path(), &disk, &history, &mut random, &mut table, &mut failures);

    println!("{:<24}{:>8}{:>9}{:>7}{:>9}", "", "right", "refused", "wrong", "crashed");
    let names: Vec<String> = table.keys().map(|(name, _)| name.clone()).collect();
    let mut last = String::new();
    for name in names {
        if name != last {
            let count = |verdict| table.get(&(name.clone(), verdict)).copied().unwrap_or_default();
            let [right, refused, wrong, crashed] =
                [Verdict::Right, Verdict::Refused, Verdict::Wrong, Verdict::Crashed].map(count);
            println!("{name:<24}{right:>8}{refused:>9}{wrong:>7}{crashed:>9}");
            last = name;
        }
    }
    assert!(failures.is_empty(), "{} images failed:\n{}", failures.len(), failures.join("\n"));
}

/// Instants at which the power goes: a quarter each right after an acknowledgement, right before and after a sync, and
/// anywhere.
fn pick_cuts(notes: &[disk::Note], count: usize, random: &mut Random) -> Vec<usize> {
    let where_is = |wanted: &dyn Fn(&disk::Note) -> bool| -> Vec<usize> {
        notes.iter().enumerate().filter(|(_, note)| wanted(note)).map(|(index, _)| index).collect()
    };
    let acknowledged: Vec<_> =
        where_is(&disk::Note::is_acknowledgement).into_iter().map(|index| (index + 1).min(notes.len() - 1)).collect();
    let ends = where_is(&|note| note.kind == b'E');
    let after: Vec<_> = ends.iter().map(|index| (index + 1).min(notes.len() - 1)).collect();
    let anywhere: Vec<_> = (0..notes.len()).collect();
    let pools = [acknowledged, ends, after, anywhere];
    (0..count).map(|i| pools[i % 4][random.below(pools[i % 4].len())]).collect()
}

/// Compiles the shim, runs the writer under it, and says where the notes are.
fn record(work: &Path, root: &Path) -> PathBuf {
    let (shim, trace) = (work.join("shim.so"), work.join("trace"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/powercut/shim.c");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let compiled = Command::new(&compiler)
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .arg(&shim)
        .arg(source)
        .args(["-ldl", "-lpthread"])
        .status()
        .unwrap_or_else(|error| panic!("this test needs a C compiler ({compiler}): {error}"));
    assert!(compiled.success(), "the shim does not compile");
    let status = Command::new(std::env::current_exe().unwrap())
        .args([Path::new("writer"), root])
        .env("LD_PRELOAD", &shim)
        .env("EDI_TRACE", &trace)
        .env("EDI_TRACE_ROOT", root)
        .status()
        .unwrap();
    assert!(status.success(), "the writer failed: {status}");
    trace
}

/// Opens an image in a process of its own.
pub(crate) fn judge(image: &Path, history: &History) -> (Verdict, String) {
    let expected = image.with_extension("expected");
    std::fs::write(&expected, history.expectation()).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("check")
        .args([&image.join("store"), &expected])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..3000 {
        if let Some(status) = child.try_wait().unwrap() {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            let verdict = match status.code() {
                Some(check::RIGHT) => Verdict::Right,
                Some(check::REFUSED) => Verdict::Refused,
                Some(check::WRONG) => Verdict::Wrong,
                _ => Verdict::Crashed,
            };
            return (verdict, said);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    (Verdict::Crashed, "it hangs".into())
}
