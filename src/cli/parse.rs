//! Values of flags, judged before anybody is asked.

use std::str::FromStr;

use crate::config::parse_span;
use crate::model::deployment::is_audience;

/// A token lifetime in whole seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetime(pub(super) u32);

impl FromStr for Lifetime {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        lifetime(text).map(Self)
    }
}

/// A token lifetime in whole seconds.
pub(super) fn lifetime(text: &str) -> Result<u32, &'static str> {
    u32::try_from(parse_span(text)?.as_secs()).ok().filter(|secs| *secs > 0).ok_or("expected a lifetime such as 10m")
}

/// An audience.
pub(super) fn audience(text: &str) -> Result<String, &'static str> {
    is_audience(text)
        .then(|| text.to_owned())
        .ok_or("an audience has 1 to 512 printable ASCII characters, without space, quote, backslash and #")
}

/// `-`: what follows is on standard input. Secrets and tokens are never arguments.
pub(super) fn stdin_only(text: &str) -> Result<(), &'static str> {
    if text == "-" { Ok(()) } else { Err("arguments show in process lists: write - and pass it on standard input") }
}

/// A value, or the word `default`.
#[derive(Debug, Clone)]
pub(super) struct OrDefault<T>(Option<T>);

impl<T> OrDefault<T> {
    /// The value; `None` for the default.
    pub(super) const fn as_ref(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

/// A value, or the word `default`.
pub(super) fn or_default<T: FromStr>(text: &str) -> Result<OrDefault<T>, T::Err> {
    if text == "default" { Ok(OrDefault(None)) } else { text.parse().map(|value| OrDefault(Some(value))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_whole_positive_seconds() {
        assert_eq!(lifetime("10m"), Ok(600));
        for bad in ["", "0s", "10", "1500ms", "200years"] {
            assert!(lifetime(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_come_from_standard_input_alone() {
        assert_eq!(stdin_only("-"), Ok(()));
        assert!(stdin_only("eyJhbGciOi").is_err());
    }
}
