//! The parsers of configuration values, by themselves: what they read says so again in the same words.
#![no_main]

use edi::config::{Issuer, Network, parse_span, span};
use edi::telemetry::check_level;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(length) = parse_span(text) {
        assert_eq!(parse_span(&span(length)), Ok(length), "a span in its one spelling reads back");
    }
    if let Ok(issuer) = Issuer::parse(text) {
        assert_eq!(issuer.as_str(), text, "verifiers compare it byte for byte");
        assert!(!text.ends_with('/') && !text.contains(['?', '#', '@']));
        assert_eq!(issuer.endpoint(""), text);
    }
    if let Ok(network) = text.parse::<Network>() {
        let again: Network = network.to_string().parse().expect("what is shown can be read");
        assert_eq!(again.to_string(), network.to_string());
    }
    let _ = check_level(text);
});
