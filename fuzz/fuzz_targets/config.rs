//! A configuration from the environment: accepted, or refused with at least one problem that can be shown.
#![no_main]

use edi::config::{Sources, load};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let environment = pairs.map(|(name, value)| (format!("EDI__{name}"), value.to_owned())).collect();
    if let Err(problems) = load(&Sources { environment, ..Sources::default() }) {
        assert!(!problems.is_empty());
        for problem in problems {
            let _ = problem.to_string();
        }
    }
});
