//! Durations as people write them.

use std::time::Duration;

pub use crate::model::time::span;

/// Reads what people write: `90s`, `15m`, `1h 30m`, `30d`.
///
/// # Errors
/// A sentence with examples.
pub fn parse_span(text: &str) -> Result<Duration, &'static str> {
    match humantime::parse_duration(text) {
        Err(_) => Err("expected a duration such as 15m, 1h 30m or 30d"),
        Ok(duration) if duration.subsec_nanos() != 0 => Err("expected whole seconds"),
        Ok(duration) => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_are_short() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (90, "1m 30s"), (86_400, "1d"), (2_592_000, "30d"), (3661, "1h 1m 1s")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    proptest! {
        #[test]
        fn a_span_reads_back(seconds in 0_u64..10_000_000_000) {
            prop_assert_eq!(parse_span(&span(Duration::from_secs(seconds))), Ok(Duration::from_secs(seconds)));
        }
    }
}
