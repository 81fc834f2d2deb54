//! Who may know whom: the table of `lib.rs`, held by reading the sources.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A folder or file, and what must not be named in it.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "src/model",
        &["crate::http", "crate::oauth", "crate::admin", "crate::store", "crate::config", "crate::keys", "crate::cli"],
    ),
    ("src/secret.rs", &["crate::"]),
    (
        "src/metrics",
        &["crate::http", "crate::oauth", "crate::admin", "crate::store", "crate::config", "crate::keys", "crate::cli"],
    ),
    ("src/ambient.rs", &["crate::http", "crate::oauth", "crate::store", "crate::config", "crate::keys", "crate::cli"]),
    (
        "src/keys",
        &[
            "crate::http",
            "crate::oauth",
            "crate::admin",
            "crate::store",
            "crate::config",
            "crate::cli",
            "crate::install",
        ],
    ),
    ("src/store", &["crate::http", "crate::oauth", "crate::admin", "crate::config", "crate::cli", "crate::install"]),
    ("src/oauth", &["crate::http", "crate::admin", "crate::config", "crate::cli", "crate::install"]),
    ("src/admin", &["crate::http", "crate::config", "crate::cli", "crate::install"]),
    ("src/install.rs", &["crate::http", "crate::admin", "crate::config", "crate::cli"]),
    ("src/config", &["crate::http", "crate::oauth", "crate::admin", "crate::store", "crate::cli", "crate::install"]),
    ("src/http", &["crate::config", "crate::cli", "crate::install", "crate::store::sled", "crate::store::memory"]),
];

/// A word, and the only places that may name it: the crate that stays behind one door.
const ONLY_IN: &[(&[&str], &[&str])] = &[
    (
        &["actix_web::", "actix_http::", "actix_service::", "actix_rt::"],
        &["src/http", "src/cli/serve", "src/cli/demo.rs"],
    ),
    (&["sled::", "store::sled"], &["src/store/sled", "src/cli"]),
    (&["jsonwebtoken"], &["src/keys", "src/cli"]),
    (&["reqwest", "clap", "anyhow"], &["src/cli", "src/main.rs"]),
    (&["argon2::"], &["src/oauth/chosen_secret.rs"]),
    (&["SystemTime::now", "Utc::now"], &["src/ambient.rs"]),
];

/// Path and text of every source below a folder, or of one file; comments and unit tests left out.
fn sources(place: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut left: Vec<PathBuf> = vec![Path::new(ROOT).join(place)];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(ROOT).unwrap().display().to_string();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap().lines();
            let code: Vec<&str> = code.filter(|line| !line.trim_start().starts_with("//")).collect();
            found.push((name, code.join("\n")));
        }
    }
    assert!(!found.is_empty(), "there is something in {place}");
    found
}

#[test]
fn dependencies_point_inward() {
    for (place, words) in FORBIDDEN {
        for (path, text) in sources(place) {
            for word in *words {
                assert!(!text.contains(word), "{path} must not mention {word}");
            }
        }
    }
}

#[test]
fn each_framework_stays_behind_its_door() {
    for (words, doors) in ONLY_IN {
        let mut used = false;
        for (path, text) in sources("src") {
            let inside = doors.iter().any(|door| path.starts_with(door));
            for word in *words {
                assert!(inside || !text.contains(word), "{path} must not mention {word}");
                used |= text.contains(word);
            }
        }
        assert!(used, "{words:?} are used somewhere, or the rule is stale");
    }
}

#[test]
fn nothing_unfinished_is_left_behind() {
    for (path, code) in sources("src") {
        for word in ["todo!", "unimplemented!", "dbg!", "#[allow(", "unsafe "] {
            assert!(!code.contains(word), "{path} holds {word}");
        }
    }
}
