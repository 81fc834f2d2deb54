//! A host and a path as a proxy passes them on: taken apart without losing anything, or refused.
#![no_main]

use edi::model::route::{host_name, segments};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(found) = segments(text) {
        for segment in found {
            assert!(!segment.is_empty() && segment != "." && segment != "..");
            assert!(!segment.contains(['/', '\\', ';', '?', '#']));
        }
    }
    if let Some(host) = host_name(text) {
        assert!(!host.is_empty());
        assert_eq!(host_name(&host).as_deref(), Some(host.as_str()), "a name in its one spelling stays as it is");
    }
});
