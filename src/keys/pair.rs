//! A private key as ring holds it: parsed once, with the signature scheme it is for.

use std::fmt;

use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaEncoding, RsaKeyPair,
};
use serde_json::{Map, Value, json};

use super::{KeyError, jwk, ring_random};
use crate::model::algorithm::Algorithm;

/// The longest signature: RSA-4096, the largest private key that ring takes.
pub(super) const MAX_SIGNATURE: usize = 512;

/// A key pair for one of our algorithms.
pub(super) enum KeyPair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
}

impl KeyPair {
    /// Parses PKCS#8 DER and checks that the key is for `algorithm`.
    pub(super) fn parse(algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, KeyError> {
        let rsa = |encoding| RsaKeyPair::from_pkcs8(pkcs8).map(|pair| Self::Rsa(pair, encoding));
        match algorithm {
            Algorithm::Es256 => {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &ring_random()).map(Self::Es256)
            }
            // Version 1 has no public key to check against; other tools write it, and the id is derived either way.
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map(Self::EdDsa),
            Algorithm::Rs256 => rsa(&RSA_PKCS1_SHA256),
            Algorithm::Ps256 => rsa(&RSA_PSS_SHA256),
        }
        .map_err(|_| KeyError::Rejected(algorithm))
    }

    /// Its public key as the members of a JWK.
    pub(super) fn public_members(&self) -> Map<String, Value> {
        let members = match self {
            Self::Es256(pair) => {
                // An uncompressed point: 0x04, x, y.
                let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at_checked(32).unwrap_or_default();
                json!({ "kty": "EC", "crv": "P-256", "x": jwk::encoded(x), "y": jwk::encoded(y) })
            }
            Self::EdDsa(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": jwk::encoded(pair.public_key().as_ref()) })
            }
            Self::Rsa(pair, _) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = pair.public().into();
                json!({ "kty": "RSA", "n": jwk::encoded(&n), "e": jwk::encoded(&e) })
            }
        };
        if let Value::Object(members) = members { members } else { Map::new() }
    }

    /// How long its signatures are.
    pub(super) fn signature_length(&self) -> usize {
        match self {
            Self::Es256(_) | Self::EdDsa(_) => 64,
            Self::Rsa(pair, _) => pair.public().modulus_len(),
        }
    }

    /// Signs into `out` and says how many bytes it wrote.
    pub(super) fn sign(&self, message: &[u8], out: &mut [u8; MAX_SIGNATURE]) -> Result<usize, KeyError> {
        let signature = match self {
            Self::Es256(pair) => pair.sign(&ring_random(), message).map_err(|_| KeyError::Signing)?,
            Self::EdDsa(pair) => pair.sign(message),
            Self::Rsa(pair, encoding) => {
                let out = out.get_mut(..self.signature_length()).ok_or(KeyError::Signing)?;
                pair.sign(*encoding, &ring_random(), message, out).map_err(|_| KeyError::Signing)?;
                return Ok(out.len());
            }
        };
        let bytes = signature.as_ref();
        out.get_mut(..bytes.len()).ok_or(KeyError::Signing)?.copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
