//! A compact JWS: taken apart or refused, whatever it is.
#![no_main]

use edi::keys::jws::Jws;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|token: &str| {
    if let Ok(jws) = Jws::parse(token) {
        assert!(!jws.signature.is_empty());
    }
});
