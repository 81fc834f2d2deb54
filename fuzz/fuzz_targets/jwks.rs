//! A client's key set: what is taken is public, and is taken again; anything else is refused.
#![no_main]

use edi::keys::client_keys::register;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    let Ok(given) = serde_json::from_slice(json) else { return };
    if let Ok(registration) = register(&given) {
        let text = registration.jwks.to_string();
        assert!(!text.contains("\"d\":") && !text.contains("\"k\":"), "{text}");
        assert_eq!(register(&registration.jwks).map(|again| again.jwks), Ok(registration.jwks));
    }
});
