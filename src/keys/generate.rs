//! New key pairs, and imported ones.

use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use zeroize::Zeroizing;

use super::master::MasterKey;
use super::pair::KeyPair;
use super::{KeyError, jwk, ring_random, rsa};
use crate::ambient::Entropy;
use crate::model::algorithm::Algorithm;
use crate::model::id::Kid;
use crate::model::keyring::FreshKey;

/// A key pair that is sealed and stored nowhere yet.
#[derive(Clone)]
pub struct NewKey {
    /// Its id: the RFC 7638 thumbprint, or what an imported key brought along.
    pub kid: Kid,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// Its public JWK with `kid`, `use` and `alg`.
    pub public: serde_json::Value,
    /// Its private half as PKCS#8 DER.
    pub pkcs8: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl NewKey {
    /// Makes a key pair.
    ///
    /// Blocks: an RSA key takes a core for up to a few seconds, so call it on a blocking thread
    /// (`tokio::task::spawn_blocking`), never on one that serves requests. `entropy` feeds RSA; ring draws from the
    /// operating system for the others and takes no other source.
    ///
    /// # Errors
    /// [`KeyError::Generation`] when the generator fails, which no healthy machine shows.
    pub fn generate(algorithm: Algorithm, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let random = ring_random();
        let pkcs8 = match algorithm {
            Algorithm::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random),
            Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&random),
            Algorithm::Rs256 | Algorithm::Ps256 => {
                return Self::import(algorithm, rsa::generate_pkcs8(entropy)?, None);
            }
        };
        let pkcs8 = pkcs8.map_err(|_| KeyError::Generation)?;
        Self::import(algorithm, Zeroizing::new(pkcs8.as_ref().to_vec()), None)
    }

    /// Takes a PKCS#8 DER private key over; `kid` keeps the id it had elsewhere.
    ///
    /// # Errors
    /// [`KeyError::Rejected`] when it is no usable key of that algorithm.
    pub fn import(algorithm: Algorithm, pkcs8: Zeroizing<Vec<u8>>, kid: Option<Kid>) -> Result<Self, KeyError> {
        let members = KeyPair::parse(algorithm, &pkcs8)?.public_members();
        let kid = kid.or_else(|| jwk::thumbprint(&members)).ok_or(KeyError::Rejected(algorithm))?;
        Ok(Self { public: jwk::published(&members, &kid, algorithm), kid, algorithm, pkcs8 })
    }

    /// Seals the private half under the master key, for a ring.
    #[must_use]
    pub fn seal(&self, master: &MasterKey, entropy: &dyn Entropy) -> FreshKey {
        let sealed = master.seal(&seal_context(self.algorithm, &self.kid), &self.pkcs8, entropy);
        FreshKey { kid: self.kid.clone(), public: self.public.clone(), sealed }
    }
}

/// What a sealed private key is bound to.
pub(super) fn seal_context(algorithm: Algorithm, kid: &Kid) -> String {
    format!("signing-key/{algorithm}/{kid}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SystemEntropy;

    #[test]
    fn a_new_key_is_published_with_exactly_the_public_members() {
        let rows: [(Algorithm, &[&str]); 3] = [
            (Algorithm::Es256, &["alg", "crv", "kid", "kty", "use", "x", "y"]),
            (Algorithm::EdDsa, &["alg", "crv", "kid", "kty", "use", "x"]),
            (Algorithm::Ps256, &["alg", "e", "kid", "kty", "n", "use"]),
        ];
        for (algorithm, members) in rows {
            let key = NewKey::generate(algorithm, &SystemEntropy::new()).unwrap();
            let jwk = key.public.as_object().unwrap();
            let mut names: Vec<&str> = jwk.keys().map(String::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, members, "{algorithm}");
            assert_eq!(jwk["alg"], algorithm.name());
            assert_eq!(jwk["kid"], key.kid.as_str());
            assert_eq!(jwk::thumbprint(jwk), Some(key.kid.clone()));
            assert!(!format!("{key:?}").contains("pkcs8"));
        }
    }

    #[test]
    fn an_imported_key_keeps_its_own_id_and_must_fit_its_algorithm() {
        let made = NewKey::generate(Algorithm::Es256, &SystemEntropy::new()).unwrap();
        let kid = Kid::parse("old-name").unwrap();
        let imported = NewKey::import(Algorithm::Es256, made.pkcs8.clone(), Some(kid.clone())).unwrap();
        assert_eq!(imported.kid, kid);
        assert_eq!(imported.public["x"], made.public["x"]);
        for other in [Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256] {
            let refusal = NewKey::import(other, made.pkcs8.clone(), None).unwrap_err();
            assert_eq!(refusal, KeyError::Rejected(other));
        }
    }
}
