//! Names of things, each its own type so that one is never taken for another. All are safe to log.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::ascii;

/// Why a text is not a valid name: a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidId(pub &'static str);

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $valid:path, $why:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks the grammar.
            ///
            /// # Errors
            /// When the text does not follow it; the error says the grammar in words.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                if $valid(text) { Ok(Self(text.into())) } else { Err(InvalidId($why)) }
            }

            /// Whether the text follows the grammar.
            #[must_use]
            pub fn fits(text: &str) -> bool {
                $valid(text)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(&text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// A client's id: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
    ClientId,
    is_client_id,
    "a client id starts with a letter or digit and has at most 128 letters, digits, dots, underscores and hyphens"
);
text_id!(
    /// A deployment's id; the same grammar as a client's.
    DeploymentId,
    is_client_id,
    "a deployment id starts with a letter or digit and has at most 128 letters, digits, dots, underscores and hyphens"
);
text_id!(
    /// A signing key's id: its RFC 7638 thumbprint, or what an imported key brought along.
    Kid,
    is_kid,
    "a key id has 1 to 128 printable ASCII characters without space, quote, backslash or slash"
);
text_id!(
    /// The public part of an edi-made secret: 1 to 32 lower-case letters and digits.
    SecretId,
    is_secret_id,
    "a secret id has 1 to 32 lower-case letters and digits"
);

impl ClientId {
    /// The name under which edi itself stands in the audit trail. No client can be registered under it.
    #[must_use]
    pub fn edi() -> Self {
        Self("edi".into())
    }
}

fn is_client_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 128
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && ascii::all(bytes, |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_kid(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'/'))
}

fn is_secret_id(text: &str) -> bool {
    (1..=32).contains(&text.len()) && ascii::all(text.as_bytes(), |b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// A token's `jti`: 128 random bits, 22 characters of base64url on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub u128);

impl TokenId {
    /// From random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Reads the wire form; `None` for anything edi would not have written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (text.len() == 22 && length == 16).then(|| Self::from_bytes(bytes))
    }
}

impl TokenId {
    /// Appends the wire form.
    pub fn write_to(self, out: &mut String) {
        URL_SAFE_NO_PAD.encode_string(self.0.to_be_bytes(), out);
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = [0; 22];
        let length = URL_SAFE_NO_PAD.encode_slice(self.0.to_be_bytes(), &mut out).unwrap_or(0);
        f.write_str(out.get(..length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_follow_their_grammar() {
        for good in ["a", "9", "fraud-caller", "A.b_c-d", &"x".repeat(128)] {
            assert!(ClientId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "_a", "a b", "a/b", "a:b", "ä", "a\n", &"x".repeat(129)] {
            assert!(ClientId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_token_id_goes_there_and_back() {
        let id = TokenId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(id.to_string().len(), 22);
        assert_eq!(TokenId::parse(&id.to_string()), Some(id));
        for bad in ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAAA!", "AAAAAAAAAAAAAAAAAAAAAB"] {
            assert_eq!(TokenId::parse(bad), None, "{bad}");
        }
    }
}
