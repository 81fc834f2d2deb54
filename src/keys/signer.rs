//! Signing access tokens: the key parsed once, the JOSE header encoded once, one buffer per token.

use std::fmt;

use ::base64::Engine as _;
use ::base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::KeyError;
use super::pair::{KeyPair, MAX_SIGNATURE};
use crate::model::algorithm::Algorithm;
use crate::model::base64;
use crate::model::id::Kid;

/// A private key that signs access tokens.
pub struct Signer {
    algorithm: Algorithm,
    kid: Kid,
    pair: KeyPair,
    /// The encoded JOSE header and its dot.
    header: Box<str>,
}

impl Signer {
    /// Parses a PKCS#8 DER private key.
    ///
    /// # Errors
    /// [`KeyError::Rejected`] when it is no usable key of that algorithm.
    pub fn new(algorithm: Algorithm, kid: Kid, pkcs8: &[u8]) -> Result<Self, KeyError> {
        Ok(Self::with(algorithm, kid, KeyPair::parse(algorithm, pkcs8)?))
    }

    pub(super) fn with(algorithm: Algorithm, kid: Kid, pair: KeyPair) -> Self {
        // RFC 9068 §2.1: an access token says so in its `typ`.
        let header = json!({ "alg": algorithm, "typ": "at+jwt", "kid": kid });
        let header = format!("{}.", URL_SAFE_NO_PAD.encode(header.to_string())).into();
        Self { algorithm, kid, pair, header }
    }

    /// What it signs with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key's id.
    #[must_use]
    pub const fn kid(&self) -> &Kid {
        &self.kid
    }

    /// The compact JWS (RFC 7515 §7.1) over these claims, which must be the JSON text of an object.
    ///
    /// # Errors
    /// [`KeyError::Signing`] when ring refuses, which a parsed key never showed.
    pub fn sign(&self, claims_json: &[u8]) -> Result<String, KeyError> {
        let encoded = |bytes: usize| bytes.saturating_mul(4).div_ceil(3);
        let length = self.header.len() + encoded(claims_json.len()) + 1 + encoded(self.pair.signature_length());
        let mut token = String::with_capacity(length);
        token.push_str(&self.header);
        base64::url_safe_no_pad().encode_string(claims_json, &mut token);
        let mut signature = [0; MAX_SIGNATURE];
        let written = self.pair.sign(token.as_bytes(), &mut signature)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.get(..written).ok_or(KeyError::Signing)?, &mut token);
        Ok(token)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("algorithm", &self.algorithm).field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SystemEntropy;
    use crate::keys::generate::NewKey;
    use crate::keys::jws::Jws;
    use crate::keys::verifier::Verifier;

    #[test]
    fn what_every_algorithm_signs_its_own_public_key_verifies_and_no_other() {
        let made: Vec<(Signer, Verifier)> = Algorithm::ALL
            .iter()
            .map(|&algorithm| {
                let key = NewKey::generate(algorithm, &SystemEntropy::new()).unwrap();
                let signer = Signer::new(algorithm, key.kid.clone(), &key.pkcs8).unwrap();
                (signer, Verifier::from_jwk(&key.public).unwrap())
            })
            .collect();
        for (signer, own) in &made {
            let token = signer.sign(br#"{"sub":"svc"}"#).unwrap();
            assert_eq!(token.len(), token.capacity(), "one buffer of the right size");
            let jws = Jws::parse(&token).unwrap();
            assert_eq!(jws.header.alg, signer.algorithm().name());
            assert_eq!(jws.header.typ.as_deref(), Some("at+jwt"));
            assert_eq!(jws.header.kid.as_deref(), Some(signer.kid().as_str()));
            assert_eq!(jws.payload, br#"{"sub":"svc"}"#);
            assert!(own.verify(jws.signing_input, &jws.signature));
            for (other, verifier) in &made {
                let passes = verifier.verify(jws.signing_input, &jws.signature);
                assert_eq!(passes, other.algorithm() == signer.algorithm());
            }
            let mut changed = jws.signature.clone();
            changed[10] ^= 1;
            assert!(!own.verify(jws.signing_input, &changed));
            assert!(!own.verify(b"other", &jws.signature));
            assert!(!own.verify(jws.signing_input, b""));
        }
    }
}
