//! A `scope` parameter: splitting loses nothing, and every name is what the grammar says.
#![no_main]

use edi::model::scope::{Role, split_scope};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(names) = split_scope(text) {
        assert_eq!(names.join(" "), text);
        for name in names {
            assert!(!name.is_empty() && name.is_ascii() && !name.contains(['"', '\\', ' ']));
            if let Ok(role) = Role::parse(name) {
                assert_eq!(role.as_str(), name);
            }
        }
    }
});
