//! A client assertion: whose it says it is, or refused, whatever it is. Also as the claims of a well-formed one.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edi::oauth::assertion::claimed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = claimed(text);
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#);
    let _ = claimed(&format!("{header}.{}.c2ln", URL_SAFE_NO_PAD.encode(text)));
});
