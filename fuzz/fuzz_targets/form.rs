//! A form body and a query string: what is accepted holds no control characters and no empty values.
#![no_main]

use edi::http::form::{PARAMETERS, parse, refuse_query};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(form) = parse(bytes) {
        for name in PARAMETERS {
            let value = form.get(name);
            assert!(value != Some(""));
            assert!(name == "token" || !value.is_some_and(|value| value.chars().any(char::is_control)));
        }
    }
    if let Ok(query) = std::str::from_utf8(bytes) {
        let _ = refuse_query(query);
    }
});
