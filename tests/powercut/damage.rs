//! Damages a whole store in many ways: it opens with everything right, or it is refused; nothing in between.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, Variant, write_file};
use crate::random::Random;
use crate::workload::History;
use crate::{Verdict, judge, number};

const WAYS: [&str; 5] = ["a flipped bit", "a zeroed sector", "a random page", "cut short", "a missing file"];

pub(crate) fn run(
    work: &Path,
    disk: &Disk,
    history: &History,
    random: &mut Random,
    table: &mut BTreeMap<(String, Verdict), usize>,
    failures: &mut Vec<String>,
) {
    let image = work.join("image");
    disk.write_image(&image, Variant::Everything, random);
    assert_eq!(judge(&image, history).0, Verdict::Right, "undamaged");
    for trial in 0..usize::try_from(number("POWERCUT_DAMAGES", 60)).unwrap() {
        disk.write_image(&image, Variant::Everything, random);
        let way = WAYS[trial % WAYS.len()];
        let file = pick_file(&image.join("store"), random);
        damage(&file, way, random);
        let (verdict, said) = judge(&image, history);
        *table.entry((way.to_owned(), verdict)).or_default() += 1;
        // Sled may also bring the process down while opening; nothing wrong is served then either.
        if verdict == Verdict::Wrong || said == "it hangs" {
            failures.push(format!("{way} in {}: {verdict:?}: {said}", file.display()));
        }
    }
}

/// The database twice out of three times, else any other file.
fn pick_file(store: &Path, random: &mut Random) -> PathBuf {
    let data = store.join("data");
    let mut others: Vec<PathBuf> = std::fs::read_dir(&data)
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.is_file() && !path.ends_with("db"))
        .collect();
    others.sort();
    others.extend(["acknowledged", "journal"].map(|name| store.join(name)));
    if random.below(3) > 0 { data.join("db") } else { others.swap_remove(random.below(others.len())) }
}

fn damage(file: &Path, way: &str, random: &mut Random) {
    let mut bytes = std::fs::read(file).unwrap();
    // Where something is: most of the database's file is empty.
    let used: Vec<usize> = bytes
        .chunks(512)
        .enumerate()
        .filter(|(_, sector)| sector.iter().any(|byte| *byte != 0))
        .map(|(index, _)| index * 512)
        .collect();
    let sector = used.get(random.below(used.len())).copied().unwrap_or_default();
    let end = |length: usize| (sector + length).min(bytes.len());
    match way {
        "a flipped bit" => {
            let at = sector + random.below(end(512) - sector);
            bytes[at] ^= 1 << random.below(8);
        }
        "a zeroed sector" => {
            let end = end(512);
            bytes[sector..end].fill(0);
        }
        "a random page" => {
            let end = end(4096);
            bytes[sector..end].fill_with(|| u8::try_from(random.below(256)).unwrap());
        }
        "cut short" => bytes.truncate(sector + random.below(512)),
        _ => {
            std::fs::remove_file(file).unwrap();
            return;
        }
    }
    write_file(file, &bytes);
}
