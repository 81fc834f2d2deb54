//! The master key: 32 bytes in a file of its own, under which everything secret in the store is sealed.
//!
//! A seal is AES-256-GCM under a key derived from the master key, bound to a context (which signing key, which record)
//! that must be named again to open it. It carries the id of the master key, so that a wrong one is told apart from
//! damage. Text form: `v1.<key id>.<nonce, ciphertext and tag>`, both parts base64url without padding.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use zeroize::Zeroizing;

use super::private_file::{self, PrivateFileError, Staged};
use crate::ambient::Entropy;

const FILE_PREFIX: &str = "edi-master-key-v1:";
const SEAL_VERSION: &str = "v1";
const ID_BYTES: usize = 8;

/// Names a master key without telling anything about it: 11 characters of base64url. Safe to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MasterKeyId([u8; ID_BYTES]);

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// Why something sealed does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not the text form of a seal.
    #[error("the sealed value is damaged: restore the store from a backup")]
    Malformed,
    /// Sealed by a newer edi.
    #[error("the value was sealed by a newer version of edi; upgrade edi")]
    Newer,
    /// Sealed under another master key.
    #[error(
        "sealed under master key {sealed_under}, but the configured file holds {given}: point keys.master_key_file at \
         the master key that belongs to this store"
    )]
    OtherMasterKey {
        /// The key it takes.
        sealed_under: MasterKeyId,
        /// The key at hand.
        given: MasterKeyId,
    },
    /// The right key, but the value was changed or belongs elsewhere.
    #[error("the sealed value was changed or moved: restore the store from a backup")]
    Damaged,
}

/// Why a master key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// Its content.
    #[error("{0} is not a master key: expected one line `edi-master-key-v1:` with 43 characters of base64url")]
    NotAMasterKey(String),
}

/// The master key. Wiped when dropped, never printed.
pub struct MasterKey {
    bytes: Zeroizing<[u8; 32]>,
    id: MasterKeyId,
}

impl MasterKey {
    /// A new one.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        entropy.fill(&mut *bytes);
        Self::new(bytes)
    }

    fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        let tag = derive(&bytes, b"edi master key v1: id");
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(tag.as_ref().get(..ID_BYTES).unwrap_or(&[0; ID_BYTES]));
        Self { bytes, id: MasterKeyId(id) }
    }

    /// Reads the text form; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let encoded = text.trim_end_matches(['\r', '\n']).strip_prefix(FILE_PREFIX)?;
        let mut bytes = Zeroizing::new([0; 32]);
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, &mut *bytes).ok()?;
        (length == 32 && encoded.len() == 43).then(|| Self::new(bytes))
    }

    /// The text form, with its line end.
    fn text(&self) -> Zeroizing<String> {
        // Room for all at once: a buffer that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(FILE_PREFIX.len() + 48));
        text.push_str(FILE_PREFIX);
        URL_SAFE_NO_PAD.encode_string(self.bytes.as_slice(), &mut text);
        text.push('\n');
        text
    }

    /// Reads a master key file.
    ///
    /// # Errors
    /// When others can read the file, it cannot be read, or holds something else.
    pub fn load(path: &Path) -> Result<Self, MasterKeyError> {
        let content = private_file::read(path)?;
        std::str::from_utf8(&content)
            .ok()
            .and_then(Self::parse)
            .ok_or_else(|| MasterKeyError::NotAMasterKey(path.display().to_string()))
    }

    /// Writes it to a new file: mode 0600, synced, never over another one.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn write_new(&self, path: &Path) -> Result<(), PrivateFileError> {
        self.stage(path)?.publish()
    }

    /// Writes it beside `path`, to be published once the store is committed.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn stage(&self, path: &Path) -> Result<Staged, PrivateFileError> {
        Staged::write(path, self.text().as_bytes())
    }

    /// Writes it beside `path`, where another one is that it shall take over from.
    ///
    /// # Errors
    /// When the temporary name is taken or cannot be written.
    pub fn stage_successor(&self, path: &Path) -> Result<Staged, PrivateFileError> {
        Staged::write_beside(path, self.text().as_bytes())
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> MasterKeyId {
        self.id
    }

    /// Seals `plain`; only the same `context` opens it again.
    #[must_use]
    pub fn seal(&self, context: &str, plain: &[u8], entropy: &dyn Entropy) -> String {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut sealed = Zeroizing::new(Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len()));
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = self.cipher().and_then(|cipher| {
            let text = sealed.get_mut(NONCE_LEN..).unwrap_or_default();
            cipher.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), text).ok()
        });
        let Some(tag) = tag else {
            // AES-GCM refuses keys of another length and inputs beyond 64 GiB; neither can come here, and going on
            // would store something in the clear.
            std::process::abort();
        };
        sealed.extend_from_slice(tag.as_ref());
        format!("{SEAL_VERSION}.{}.{}", self.id, URL_SAFE_NO_PAD.encode(&*sealed))
    }

    /// Opens what [`Self::seal`] made under the same `context`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, context: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (sealed_under, body) = taken_apart(sealed)?;
        if sealed_under != self.id {
            return Err(OpenError::OtherMasterKey { sealed_under, given: self.id });
        }
        let mut body = Zeroizing::new(URL_SAFE_NO_PAD.decode(body).map_err(|_| OpenError::Malformed)?);
        let (nonce, text) = body.split_first_chunk_mut::<NONCE_LEN>().ok_or(OpenError::Malformed)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let cipher = self.cipher().ok_or(OpenError::Damaged)?;
        let plain = cipher.open_in_place(nonce, Aad::from(context), text).map_err(|_| OpenError::Damaged)?;
        Ok(Zeroizing::new(plain.to_vec()))
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        let key = derive(&self.bytes, b"edi master key v1: seal");
        UnboundKey::new(&AES_256_GCM, key.as_ref()).ok().map(LessSafeKey::new)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("id", &self.id.to_string()).finish_non_exhaustive()
    }
}

/// The master key that a value was sealed under.
///
/// # Errors
/// When it is not the text form of a seal.
pub fn sealed_under(sealed: &str) -> Result<MasterKeyId, OpenError> {
    taken_apart(sealed).map(|(id, _)| id)
}

fn taken_apart(sealed: &str) -> Result<(MasterKeyId, &str), OpenError> {
    let (version, rest) = sealed.split_once('.').ok_or(OpenError::Malformed)?;
    if version != SEAL_VERSION {
        let newer = version.strip_prefix('v').is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n > 1));
        return Err(if newer { OpenError::Newer } else { OpenError::Malformed });
    }
    let (id, body) = rest.split_once('.').ok_or(OpenError::Malformed)?;
    let id = URL_SAFE_NO_PAD.decode(id).ok().and_then(|id| id.try_into().ok()).ok_or(OpenError::Malformed)?;
    Ok((MasterKeyId(id), body))
}

fn derive(key: &[u8; 32], purpose: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), purpose)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ambient::{SeededEntropy, SystemEntropy};

    fn key(seed: u64) -> MasterKey {
        MasterKey::generate(&*SeededEntropy::new(seed))
    }

    #[test]
    fn a_master_key_goes_through_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let made = key(1);
        made.write_new(&path).unwrap();
        let loaded = MasterKey::load(&path).unwrap();
        assert_eq!(loaded.id(), made.id());
        let sealed = made.seal("c", b"plain", &SystemEntropy::new());
        assert_eq!(loaded.open("c", &sealed).unwrap().as_slice(), b"plain");
        assert!(made.write_new(&path).is_err());
    }

    #[test]
    fn anything_else_is_no_master_key() {
        let good = key(1).text();
        assert!(MasterKey::parse(&good).is_some() && MasterKey::parse(good.trim_end()).is_some());
        let body = good.trim_end().strip_prefix(FILE_PREFIX).unwrap().to_owned();
        for bad in [
            String::new(),
            body.clone(),
            format!("edi-master-key-v2:{body}"),
            format!("{FILE_PREFIX}{body}="),
            format!("{FILE_PREFIX}{}", &body[1..]),
            format!("{FILE_PREFIX}{body}A"),
            format!(" {FILE_PREFIX}{body}"),
        ] {
            assert!(MasterKey::parse(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_seal_opens_only_with_its_key_and_context_and_says_what_is_wrong() {
        let (right, wrong) = (key(1), key(2));
        let sealed = right.seal("signing-key/a", b"secret", &SystemEntropy::new());
        assert_ne!(sealed, right.seal("signing-key/a", b"secret", &SystemEntropy::new()), "a nonce each");
        assert_eq!(right.open("signing-key/b", &sealed), Err(OpenError::Damaged));
        assert_eq!(
            wrong.open("signing-key/a", &sealed),
            Err(OpenError::OtherMasterKey { sealed_under: right.id(), given: wrong.id() })
        );
        assert_eq!(right.open("signing-key/a", &sealed.replacen("v1", "v2", 1)), Err(OpenError::Newer));
        for bad in ["", "v1", "v1.", "v1.x.y", "v0.a.b", &sealed[..20], "v1.AAAAAAAAAAA"] {
            assert_eq!(right.open("signing-key/a", bad), Err(OpenError::Malformed), "{bad}");
        }
    }

    #[test]
    fn a_master_key_is_never_printed() {
        let key = key(3);
        let shown = format!("{key:?}");
        assert!(shown.contains(&key.id().to_string()));
        let body = key.text();
        assert!(!shown.contains(body.trim_end().strip_prefix(FILE_PREFIX).unwrap()));
    }

    proptest! {
        #[test]
        fn every_plaintext_comes_back_and_no_changed_byte_passes(
            plain in prop::collection::vec(any::<u8>(), 0..200), context in ".{0,40}", seed: u64, at: prop::sample::Index,
        ) {
            let key = key(seed);
            let sealed = key.seal(&context, &plain, &*SeededEntropy::new(seed ^ 1));
            let opened = key.open(&context, &sealed).unwrap();
            prop_assert_eq!(&*opened, &plain);
            let body = sealed.rfind('.').unwrap() + 1;
            let mut bytes = URL_SAFE_NO_PAD.decode(&sealed[body..]).unwrap();
            let changed = at.index(bytes.len());
            bytes[changed] ^= 1;
            let changed = format!("{}{}", &sealed[..body], URL_SAFE_NO_PAD.encode(bytes));
            prop_assert_eq!(key.open(&context, &changed), Err(OpenError::Damaged));
        }

        #[test]
        fn any_text_is_opened_without_panic(text in "(v1\\.)?[A-Za-z0-9_.-]{0,60}") {
            prop_assert!(key(1).open("c", &text).is_err());
        }
    }
}
