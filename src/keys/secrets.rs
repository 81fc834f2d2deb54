//! Client secrets that edi makes: `edi_<secret id>_<random><tag>`, unreserved characters only (design §5).
//!
//! `random` is 256 random bits (43 characters of base64url). `tag` is 64 bits of HMAC-SHA-256 over the client id, a
//! zero byte and `random` as it stands in the text (11 characters), so that a guess costs one HMAC, whether the client
//! exists or not. At rest only the HMAC of the whole text is kept. Both keys are random, sealed in the store, and
//! survive a change of master key.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use zeroize::Zeroizing;

use super::master::{MasterKey, OpenError};
use super::masters::Opens;
use crate::ambient::Entropy;
use crate::model::ascii;
use crate::model::id::{ClientId, SecretId};
use crate::secret::{Secret, same};

const PREFIX: &str = "edi_";
const RANDOM_CHARS: usize = 43;
const TAG_BYTES: usize = 8;
const TAG_CHARS: usize = 11;
const REST_CHARS: usize = 43;
/// 60 random bits: no two secrets of an installation share an id.
const ID_CHARS: usize = 12;
const CONTEXT: &str = "client-secret-keys";

/// The two keys behind all client secrets. Wiped when dropped, never printed.
pub struct SecretKeys {
    tag: Zeroizing<[u8; 32]>,
    rest: Zeroizing<[u8; 32]>,
    /// In one place from the start: what is moved leaves copies behind.
    ready: Box<Ready>,
}

/// Both keys as HMAC works with them: making them takes as long as using them once. ring does not wipe its keys; these are
/// overwritten when dropped.
struct Ready {
    tag: hmac::Key,
    rest: hmac::Key,
}

impl Ready {
    fn overwrite(&mut self) {
        let blank = hmac_key(&[0; 32]);
        self.tag = blank.clone();
        self.rest = blank;
        // Somebody might look: the writes are not useless, and stay.
        std::hint::black_box(&*self);
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.overwrite();
    }
}

/// A text of the shape of an edi-made secret, taken apart; nothing about it is checked.
#[derive(Clone, Copy)]
pub struct Tagged<'a> {
    /// The public id in it.
    pub id: &'a str,
    random: &'a str,
    tag: &'a str,
}

impl fmt::Debug for Tagged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tagged").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Tagged<'_> {
    /// The public id, to look the secret up by.
    #[must_use]
    pub fn secret_id(&self) -> Option<SecretId> {
        SecretId::parse(self.id).ok()
    }
}

/// Takes a presented secret apart if it has the shape of one that edi made; costs no cryptography.
#[must_use]
pub fn parse(text: &str) -> Option<Tagged<'_>> {
    let (id, rest) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let (random, tag) = rest.split_at_checked(RANDOM_CHARS)?;
    let base64url = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let fits = SecretId::fits(id) && tag.len() == TAG_CHARS && ascii::all(rest.as_bytes(), base64url);
    fits.then_some(Tagged { id, random, tag })
}

impl SecretKeys {
    /// New ones, for a new store.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let (mut tag, mut rest) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        entropy.fill(&mut *tag);
        entropy.fill(&mut *rest);
        Self::of(tag, rest)
    }

    fn of(tag: Zeroizing<[u8; 32]>, rest: Zeroizing<[u8; 32]>) -> Self {
        let ready = Box::new(Ready { tag: hmac_key(&tag), rest: hmac_key(&rest) });
        Self { tag, rest, ready }
    }

    /// Both keys sealed under the master key, for the store.
    #[must_use]
    pub fn seal(&self, master: &MasterKey, entropy: &dyn Entropy) -> String {
        let mut plain = Zeroizing::new(Vec::with_capacity(64));
        plain.extend_from_slice(&*self.tag);
        plain.extend_from_slice(&*self.rest);
        master.seal(CONTEXT, &plain, entropy)
    }

    /// Opens what [`Self::seal`] made.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(master: &dyn Opens, sealed: &str) -> Result<Self, OpenError> {
        let plain = master.open(CONTEXT, sealed)?;
        let (tag, rest) = plain.split_first_chunk::<32>().ok_or(OpenError::Damaged)?;
        let rest: &[u8; 32] = rest.try_into().map_err(|_| OpenError::Damaged)?;
        Ok(Self::of(Zeroizing::new(*tag), Zeroizing::new(*rest)))
    }

    /// A new secret for this client: its public id, the secret to show once, and what is kept of it.
    #[must_use]
    pub fn make(&self, client: &ClientId, entropy: &dyn Entropy) -> (SecretId, Secret, String) {
        let id = loop {
            let mut bytes = [0; ID_CHARS];
            entropy.fill(&mut bytes);
            let text: String = bytes.iter().map(|byte| char::from(base32(byte & 31))).collect();
            // Always well-formed; the type asks nevertheless.
            if let Ok(id) = SecretId::parse(&text) {
                break id;
            }
        };
        let mut random = Zeroizing::new([0; 32]);
        entropy.fill(&mut *random);
        // Room for all at once: a buffer that grows leaves copies behind.
        let mut text = String::with_capacity(PREFIX.len() + ID_CHARS + 1 + RANDOM_CHARS + TAG_CHARS);
        text.push_str(PREFIX);
        text.push_str(id.as_str());
        text.push('_');
        let start = text.len();
        URL_SAFE_NO_PAD.encode_string(random.as_slice(), &mut text);
        let tag = self.tag_of(client.as_str(), text.get(start..).unwrap_or_default());
        text.push_str(as_text(&tag));
        let at_rest = as_text(&self.at_rest(&text)).to_owned();
        (id, Secret::new(text), at_rest)
    }

    /// Whether the tag is the one of this client and random part: the secret was made by this edi for that client id.
    /// Takes the same time for any client id of that length, known or not.
    #[must_use]
    pub fn tag_holds(&self, client_id: &str, tagged: &Tagged<'_>) -> bool {
        same(&self.tag_of(client_id, tagged.random), tagged.tag.as_bytes())
    }

    /// Whether `stored` is what is kept of `text`, in constant time.
    #[must_use]
    pub fn matches(&self, text: &str, stored: &str) -> bool {
        same(&self.at_rest(text), stored.as_bytes())
    }

    /// What is kept of a secret: HMAC-SHA-256 of the whole text, base64url.
    fn at_rest(&self, text: &str) -> [u8; REST_CHARS] {
        base64url(hmac::sign(&self.ready.rest, text.as_bytes()).as_ref())
    }

    fn tag_of(&self, client_id: &str, random: &str) -> [u8; TAG_CHARS] {
        let mut hmac = hmac::Context::with_key(&self.ready.tag);
        hmac.update(client_id.as_bytes());
        hmac.update(&[0]);
        hmac.update(random.as_bytes());
        base64url(hmac.sign().as_ref().get(..TAG_BYTES).unwrap_or_default())
    }
}

/// As base64url; `N` characters are what it takes. Anything else would come out as zeros, which equal nothing presented
/// and nothing kept.
fn base64url<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let _ = URL_SAFE_NO_PAD.encode_slice(bytes, &mut out);
    out
}

fn as_text(base64url: &[u8]) -> &str {
    std::str::from_utf8(base64url).unwrap_or_default()
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

fn hmac_key(bytes: &[u8; 32]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

/// RFC 4648 §6, in lower case.
const fn base32(value: u8) -> u8 {
    if value < 26 { b'a' + value } else { b'2' + (value - 26) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ambient::{SeededEntropy, SystemEntropy};

    fn keys(seed: u64) -> SecretKeys {
        SecretKeys::generate(&*SeededEntropy::new(seed))
    }

    fn client(text: &str) -> ClientId {
        ClientId::parse(text).unwrap()
    }

    #[test]
    fn a_secret_has_the_documented_shape() {
        let (id, secret, at_rest) = keys(1).make(&client("svc"), &SystemEntropy::new());
        let text = secret.expose();
        assert_eq!(text.len(), 4 + 12 + 1 + 43 + 11);
        assert!(text.starts_with(&format!("edi_{id}_")));
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')), "unreserved alone");
        assert_eq!(at_rest.len(), 43);
        assert!(!at_rest.contains(text) && !format!("{:?}", parse(text).unwrap()).contains(&text[20..]));
        assert_eq!(parse(text).unwrap().secret_id(), Some(id));
    }

    #[test]
    fn what_does_not_have_the_shape_is_no_tagged_secret() {
        let (_, secret, _) = keys(1).make(&client("svc"), &SystemEntropy::new());
        let good = secret.expose();
        for bad in [
            "",
            "edi_",
            "edi__",
            "hunter2",
            "edi_abc_short",
            &good[1..],
            &good[..good.len() - 1],
            &format!("{good}A"),
            &format!(" {good}"),
            &good.replacen("edi_", "EDI_", 1),
            &format!("edi_UPPER_{}", "a".repeat(54)),
            &format!("edi__{}", "a".repeat(54)),
            &format!("edi_a_{}+", "a".repeat(53)),
            &format!("edi_a_{}ä", "a".repeat(52)),
            &format!("edi_a_{}ä{}", "a".repeat(42), "a".repeat(10)),
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_keys_survive_sealing_and_a_change_of_master_key() {
        let (first, second) = (MasterKey::generate(&SystemEntropy::new()), MasterKey::generate(&SystemEntropy::new()));
        let made = keys(1);
        let (_, secret, at_rest) = made.make(&client("svc"), &SystemEntropy::new());
        let opened = SecretKeys::open(&first, &made.seal(&first, &SystemEntropy::new())).unwrap();
        let moved = SecretKeys::open(&second, &opened.seal(&second, &SystemEntropy::new())).unwrap();
        assert!(moved.matches(secret.expose(), &at_rest));
        assert!(moved.tag_holds("svc", &parse(secret.expose()).unwrap()));
        let sealed = made.seal(&first, &SystemEntropy::new());
        assert!(matches!(SecretKeys::open(&second, &sealed), Err(OpenError::OtherMasterKey { .. })));
        let short = first.seal(CONTEXT, &[1; 63], &SystemEntropy::new());
        assert!(matches!(SecretKeys::open(&first, &short), Err(OpenError::Damaged)));
        assert_eq!(format!("{made:?}"), "[redacted]");
    }

    #[test]
    fn nothing_is_left_of_the_keys_that_checks_work_with() {
        let mut keys = keys(1);
        let (_, secret, at_rest) = keys.make(&client("svc"), &SystemEntropy::new());
        keys.ready.overwrite();
        assert!(!keys.matches(secret.expose(), &at_rest));
        assert!(!keys.tag_holds("svc", &parse(secret.expose()).unwrap()));
        let blank = SecretKeys::of(Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        assert_eq!(keys.at_rest("a"), blank.at_rest("a"));
        assert_eq!(keys.tag_of("a", "b"), blank.tag_of("a", "b"));
    }

    proptest! {
        #[test]
        fn a_secret_holds_for_its_client_and_keys_alone(seed: u64, name in "[A-Za-z0-9][A-Za-z0-9._-]{0,127}", other in ".{0,40}") {
            let keys = keys(seed);
            let (_, secret, at_rest) = keys.make(&client(&name), &*SeededEntropy::new(seed ^ 1));
            let tagged = parse(secret.expose()).unwrap();
            prop_assert!(keys.tag_holds(&name, &tagged) && keys.matches(secret.expose(), &at_rest));
            prop_assume!(other != name);
            prop_assert!(!keys.tag_holds(&other, &tagged));
            let strangers = self::keys(seed ^ 2);
            prop_assert!(!strangers.tag_holds(&name, &tagged) && !strangers.matches(secret.expose(), &at_rest));
        }

        #[test]
        fn no_changed_character_passes(seed: u64, at in 4_usize..71, with in "[a-z0-9]") {
            let keys = keys(seed);
            let (_, secret, at_rest) = keys.make(&client("svc"), &*SeededEntropy::new(seed ^ 1));
            let mut changed = secret.expose().to_owned();
            changed.replace_range(at..=at, &with);
            prop_assume!(changed != secret.expose());
            prop_assert!(!keys.matches(&changed, &at_rest));
            // The id is public and outside the tag; everything after it is covered.
            let tag_holds = parse(&changed).is_some_and(|tagged| keys.tag_holds("svc", &tagged));
            prop_assert_eq!(tag_holds, at < 16);
        }

        #[test]
        fn any_text_is_taken_apart_without_panic(text in ".{0,100}", near in "edi_[a-z0-9]{0,33}_.{40,60}") {
            let _ = parse(&text);
            let _ = parse(&near);
        }
    }
}
