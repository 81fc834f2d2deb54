//! Text that must never be printed: client secrets, bearer tokens, private keys on their way in or out.
//!
//! Knows nothing of where a secret comes from or what it opens.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A secret as text. Wiped when dropped; `Debug` prints `[redacted]`; no `Display`, `Serialize`, `Clone`, `PartialEq`.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the one who checks it or hands it out once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Compares without telling by its duration where the two differ. Their lengths are not hidden.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("edi_hunter2".into());
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "[redacted] Some([redacted])");
    }

    #[test]
    fn comparison_is_byte_for_byte() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abC"));
        assert!(!same(b"abc", b"ab"));
    }
}
