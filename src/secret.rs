//! Text that must never be printed: client secrets, bearer tokens, private keys on their way in or out.
//!
//! Knows nothing of where a secret comes from or what it opens.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

/// A secret as text. Wiped when dropped; `Debug` prints `[redacted]`; no `Display`, `Serialize`, `Clone`, `PartialEq`.
#[derive(Default)]
pub struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(std::mem::take(&mut self.0).into_bytes());
    }
}

/// Bytes that are wiped when dropped.
#[derive(Default)]
pub struct Wiped(Vec<u8>);

impl Wiped {
    /// Room for so many bytes. What grows past its room leaves a copy behind: ask for enough.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The same bytes as text, if they are UTF-8.
    #[must_use]
    pub fn into_text(mut self) -> Option<Secret> {
        match String::from_utf8(std::mem::take(&mut self.0)) {
            Ok(text) => Some(Secret(text)),
            Err(error) => {
                wipe(error.into_bytes());
                None
            }
        }
    }
}

impl From<Vec<u8>> for Wiped {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl std::ops::Deref for Wiped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(std::mem::take(&mut self.0));
    }
}

/// Overwrites all the room that the bytes have. Each write is one that no compiler leaves out, and takes its time: this
/// goes over them once, where `Vec`'s own way does so twice.
fn wipe(mut bytes: Vec<u8>) {
    bytes.clear();
    bytes.spare_capacity_mut().zeroize();
}

impl Secret {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
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
        assert!(same(b"abc", b"abc") && same(b"", b""));
        assert!(!same(b"abc", b"abC"));
        assert!(!same(b"abc", b"ab") && !same(b"ab\0", b"ab") && !same(b"", b"a"));
        for at in 0..43 {
            let (one, mut other) = ([b'a'; 43], [b'a'; 43]);
            assert!(same(&one, &other));
            other[at] = b'b';
            assert!(!same(&one, &other) && !same(&one[..at], &one), "{at}");
        }
    }

    #[test]
    fn bytes_become_text_if_they_are() {
        assert_eq!(Wiped::from(b"a\xc3\xa4".to_vec()).into_text().unwrap().expose(), "a\u{e4}");
        assert!(Wiped::from(b"a\xff".to_vec()).into_text().is_none());
    }
}
