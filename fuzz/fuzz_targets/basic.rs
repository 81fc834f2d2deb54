//! An `Authorization` header, as sent and as the payload of Basic.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edi::http::credentials::Presented;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let plain = format!("Basic {}", STANDARD.encode(bytes));
    for header in [bytes, plain.as_bytes()] {
        match Presented::parse(header) {
            Presented::Basic(basic) => {
                assert!(!basic.id().is_empty());
                assert!(!basic.id().chars().chain(basic.secret().chars()).any(char::is_control));
            }
            Presented::Bearer(token) => assert!(token.expose().bytes().all(|b| b.is_ascii_graphic())),
            Presented::None => panic!("a header is something"),
            Presented::Malformed(_) => {}
        }
    }
});
