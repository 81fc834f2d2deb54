//! Chosen secrets that were verified once, remembered under a keyed fingerprint, so that a client pays for argon2 once
//! and not per token. What is remembered is only which secret it was: its state and expiry are the caller's to check.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use ring::hmac;

use crate::ambient::Ambient;
use crate::model::id::{ClientId, SecretId};

/// How many are remembered.
const CAPACITY: usize = 20_000;

type Fingerprint = [u8; 32];

/// The memory of verified secrets. Its key lives and dies with the process.
pub struct VerifiedSecrets {
    key: hmac::Key,
    known: RwLock<HashMap<Fingerprint, SecretId>>,
}

impl VerifiedSecrets {
    /// An empty memory under a fresh key.
    #[must_use]
    pub fn new(ambient: &Ambient) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &ambient.random::<32>()), known: RwLock::new(HashMap::new()) }
    }

    /// Which of the client's secrets this text was when it was last verified. `hash` is the stored hash it was verified
    /// against: a changed one is another entry.
    #[must_use]
    pub fn recall(&self, client: &ClientId, secret: &str, hashes: &str) -> Option<SecretId> {
        let fingerprint = self.fingerprint(client, secret, hashes);
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&fingerprint).cloned()
    }

    /// Remembers a verified secret.
    pub fn remember(&self, client: &ClientId, secret: &str, hashes: &str, id: SecretId) {
        let fingerprint = self.fingerprint(client, secret, hashes);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CAPACITY {
            // Rare, and any choice is right: the one thrown out costs its owner one hash.
            let victim = known.keys().next().copied();
            victim.and_then(|victim| known.remove(&victim));
        }
        known.insert(fingerprint, id);
    }

    fn fingerprint(&self, client: &ClientId, secret: &str, hashes: &str) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.key);
        // Neither an id nor a hash can hold a zero byte; the secret comes last.
        for part in [client.as_str(), hashes] {
            context.update(part.as_bytes());
            context.update(&[0]);
        }
        context.update(secret.as_bytes());
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_client_secret_and_hash_are_recalled() {
        let verified = VerifiedSecrets::new(&Ambient::system());
        let (a, b) = (ClientId::parse("a").unwrap(), ClientId::parse("b").unwrap());
        let id = SecretId::parse("s1").unwrap();
        verified.remember(&a, "pw", "hash", id.clone());
        assert_eq!(verified.recall(&a, "pw", "hash"), Some(id));
        assert_eq!(verified.recall(&b, "pw", "hash"), None);
        assert_eq!(verified.recall(&a, "pW", "hash"), None);
        assert_eq!(verified.recall(&a, "pw", "other"), None);
    }
}
