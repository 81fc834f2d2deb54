//! Values at configuration keys, as the environment gives them: accepted, or refused with a problem that can be shown.
//!
//! Every line is a value; its first byte picks the key, so that values are explored and not the spelling of keys. One line
//! in some fifty names a key of its own. Merging takes milliseconds: the parsers below it are explored by `values`.
#![no_main]

use std::sync::LazyLock;

use edi::config::{Sources, defaults, load};
use libfuzzer_sys::fuzz_target;

static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let names = defaults().into_iter().map(|(key, _)| key.replace('.', "__").to_uppercase());
    names.map(|key| format!("EDI__{key}")).collect()
});

fuzz_target!(|text: &str| {
    let pairs = text.lines().take(8).filter_map(|line| {
        let mut rest = line.chars();
        let picked = u32::from(rest.next()?) as usize;
        match KEYS.get(picked % (KEYS.len() + 1)) {
            Some(key) => Some((key.clone(), rest.as_str().to_owned())),
            None => rest.as_str().split_once('=').map(|(key, value)| (format!("EDI__{key}"), value.to_owned())),
        }
    });
    if let Err(problems) = load(&Sources { environment: pairs.collect(), ..Sources::default() }) {
        assert!(!problems.is_empty());
        for problem in problems {
            let _ = problem.to_string();
        }
    }
});
