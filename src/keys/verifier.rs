//! Checking signatures with a public JWK, for the four algorithms that edi signs with.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::{Map, Value};

use crate::model::algorithm::Algorithm;

/// Why a JWK is no usable public key. Says what to do; never holds a value of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// Not a JSON object.
    #[error("a JWK is a JSON object")]
    NotAnObject,
    /// It holds a private key.
    #[error("the JWK holds a private key: give the public one, and replace this key, it has left its place")]
    Private,
    /// A symmetric key.
    #[error("symmetric keys (kty \"oct\", HS256 and its like) are not accepted; use an EC, RSA or Ed25519 key")]
    Symmetric,
    /// `kty` or `crv` is none we know.
    #[error("expected kty EC with crv P-256, kty RSA, or kty OKP with crv Ed25519")]
    KeyType,
    /// `alg` is none we know, or not one for this key.
    #[error("alg must be ES256, RS256, PS256 or EdDSA, and fit the key")]
    Algorithm,
    /// An RSA key without `alg` where one is needed.
    #[error("an RSA key must say its alg: RS256 or PS256")]
    NeedsAlgorithm,
    /// `use` or `key_ops` say that it is not for signatures.
    #[error("the key is not for signatures: leave use and key_ops out, or say use \"sig\", key_ops [\"verify\"]")]
    Use,
    /// A required member is missing or not canonical base64url of the right length.
    #[error("the member {0} is missing or is not base64url of the right length")]
    Member(&'static str),
    /// RSA below 2048 bits, above 8192 bits, or with an exponent that cannot be right.
    #[error("an RSA key has a modulus of 2048 to 8192 bits and an odd public exponent from 3")]
    RsaSize,
}

/// A public key that verifies signatures of one algorithm.
pub struct Verifier {
    algorithm: Algorithm,
    key: PublicKey,
}

enum PublicKey {
    Raw(UnparsedPublicKey<Vec<u8>>),
    Rsa(RsaPublicKeyComponents<Vec<u8>>, &'static RsaParameters),
}

impl Verifier {
    /// Reads a public JWK. Its algorithm is its `alg`, or the only one its type has; an RSA key has two and must say.
    ///
    /// # Errors
    /// [`JwkError`].
    pub fn from_jwk(jwk: &Value) -> Result<Self, JwkError> {
        Self::read(jwk, None)
    }

    /// Reads a public JWK for use with `algorithm`, which its `alg`, if it has one, must be.
    ///
    /// # Errors
    /// [`JwkError`].
    pub fn from_jwk_for(jwk: &Value, algorithm: Algorithm) -> Result<Self, JwkError> {
        Self::read(jwk, Some(algorithm))
    }

    fn read(jwk: &Value, wanted: Option<Algorithm>) -> Result<Self, JwkError> {
        let jwk = jwk.as_object().ok_or(JwkError::NotAnObject)?;
        public_alone(jwk)?;
        let text = |name| jwk.get(name).and_then(Value::as_str);
        let by_type: &[Algorithm] = match (text("kty"), text("crv")) {
            (Some("EC"), Some("P-256")) => &[Algorithm::Es256],
            (Some("OKP"), Some("Ed25519")) => &[Algorithm::EdDsa],
            (Some("RSA"), _) => &[Algorithm::Rs256, Algorithm::Ps256],
            _ => return Err(JwkError::KeyType),
        };
        let stated = match jwk.get("alg") {
            None => None,
            Some(alg) => Some(alg.as_str().and_then(|alg| alg.parse().ok()).ok_or(JwkError::Algorithm)?),
        };
        let algorithm = match (stated, wanted, by_type) {
            (Some(stated), Some(wanted), _) if stated != wanted => return Err(JwkError::Algorithm),
            (Some(one), _, _) | (None, Some(one), _) | (None, None, &[one]) => one,
            (None, None, _) => return Err(JwkError::NeedsAlgorithm),
        };
        if !by_type.contains(&algorithm) {
            return Err(JwkError::Algorithm);
        }
        for_signatures(jwk)?;
        let key = match algorithm {
            Algorithm::Es256 => {
                let mut point = vec![4];
                point.extend(fixed(jwk, "x", 32)?);
                point.extend(fixed(jwk, "y", 32)?);
                PublicKey::Raw(UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point))
            }
            Algorithm::EdDsa => PublicKey::Raw(UnparsedPublicKey::new(&ED25519, fixed(jwk, "x", 32)?)),
            Algorithm::Rs256 => PublicKey::Rsa(rsa(jwk)?, &RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Ps256 => PublicKey::Rsa(rsa(jwk)?, &RSA_PSS_2048_8192_SHA256),
        };
        Ok(Self { algorithm, key })
    }

    /// The one algorithm it verifies.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` is this key's over `signing_input`. The caller has checked that the header's `alg` is
    /// [`Self::algorithm`].
    #[must_use]
    pub fn verify(&self, signing_input: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            PublicKey::Raw(key) => key.verify(signing_input, signature).is_ok(),
            PublicKey::Rsa(key, scheme) => key.verify(scheme, signing_input, signature).is_ok(),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Refuses a private or symmetric key (RFC 7518 §6.2.2, §6.3.2, §6.4; RFC 8037 §2).
pub(super) fn public_alone(jwk: &Map<String, Value>) -> Result<(), JwkError> {
    if ["d", "p", "q", "dp", "dq", "qi", "oth"].iter().any(|name| jwk.contains_key(*name)) {
        Err(JwkError::Private)
    } else if jwk.contains_key("k") || jwk.get("kty").is_some_and(|kty| kty == "oct") {
        Err(JwkError::Symmetric)
    } else {
        Ok(())
    }
}

/// RFC 7517 §4.2, §4.3.
pub(super) fn for_signatures(jwk: &Map<String, Value>) -> Result<(), JwkError> {
    let usable = jwk.get("use").is_none_or(|used| used == "sig");
    let operable =
        jwk.get("key_ops").is_none_or(|ops| ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify")));
    if usable && operable { Ok(()) } else { Err(JwkError::Use) }
}

fn member(jwk: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, JwkError> {
    let text = jwk.get(name).and_then(Value::as_str).ok_or(JwkError::Member(name))?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| JwkError::Member(name))
}

/// A coordinate: exactly so many bytes (RFC 7518 §6.2.1.2, RFC 8037 §2).
pub(super) fn fixed(jwk: &Map<String, Value>, name: &'static str, length: usize) -> Result<Vec<u8>, JwkError> {
    member(jwk, name).and_then(|bytes| if bytes.len() == length { Ok(bytes) } else { Err(JwkError::Member(name)) })
}

/// Modulus and exponent of a usable size.
pub(super) fn rsa(jwk: &Map<String, Value>) -> Result<RsaPublicKeyComponents<Vec<u8>>, JwkError> {
    let (n, e) = (member(jwk, "n")?, member(jwk, "e")?);
    // RFC 7518 §6.3.1.1: no leading zero octet.
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    let leading_zero = [&n, &e].iter().any(|bytes| bytes.first().is_none_or(|&first| first == 0));
    // ring takes exponents of up to 33 bits.
    let exponent = e.iter().take(9).fold(0_u64, |number, &byte| (number << 8) | u64::from(byte));
    let usable = e.len() <= 5 && (3..1 << 33).contains(&exponent) && exponent % 2 == 1;
    if leading_zero || !(2048..=8192).contains(&bits) || n.last().is_none_or(|last| last % 2 == 0) || !usable {
        return Err(JwkError::RsaSize);
    }
    Ok(RsaPublicKeyComponents { n, e })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::keys::jws::Jws;
    use crate::keys::vectors;

    #[test]
    fn the_published_vectors_verify_under_their_own_algorithm_alone() {
        let mut seen = 0;
        for vector in vectors::signed() {
            let Ok(algorithm) = vector.algorithm.parse::<Algorithm>() else { continue };
            let jws = Jws::parse(vector.token).unwrap();
            let verifier = Verifier::from_jwk_for(&vector.jwk, algorithm).unwrap();
            assert!(verifier.verify(jws.signing_input, &jws.signature), "{}", vector.name);
            assert!(!verifier.verify(&jws.signing_input[1..], &jws.signature), "{}", vector.name);
            if algorithm == Algorithm::Rs256 {
                let other = Verifier::from_jwk_for(&vector.jwk, Algorithm::Ps256).unwrap();
                assert!(!other.verify(jws.signing_input, &jws.signature), "{}", vector.name);
            }
            seen += 1;
        }
        assert_eq!(seen, 4);
    }

    #[test]
    fn unusable_keys_are_refused() {
        let ec = json!({ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" });
        let rsa = vectors::rfc7638_rsa();
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let with = |base: &Value, name: &str, value: Value| {
            let mut jwk = base.clone();
            jwk[name] = value;
            jwk
        };
        let rows = [
            (json!([]), JwkError::NotAnObject),
            (json!({}), JwkError::KeyType),
            (json!({ "kty": "oct", "k": "c2VjcmV0" }), JwkError::Symmetric),
            (with(&ec, "d", json!("AA")), JwkError::Private),
            (with(&rsa, "p", json!("AA")), JwkError::Private),
            (with(&ec, "crv", json!("P-384")), JwkError::KeyType),
            (with(&ec, "crv", json!("secp256k1")), JwkError::KeyType),
            (with(&ec, "kty", json!("OKP")), JwkError::KeyType),
            (with(&ec, "alg", json!("none")), JwkError::Algorithm),
            (with(&ec, "alg", json!("HS256")), JwkError::Algorithm),
            (with(&ec, "alg", json!("RS256")), JwkError::Algorithm),
            (with(&ec, "alg", json!(1)), JwkError::Algorithm),
            (with(&ec, "use", json!("enc")), JwkError::Use),
            (with(&ec, "key_ops", json!(["sign"])), JwkError::Use),
            (with(&ec, "x", json!(b64(&[1; 31]))), JwkError::Member("x")),
            (with(&ec, "y", json!("%%")), JwkError::Member("y")),
            (with(&ec, "y", Value::Null), JwkError::Member("y")),
            (with(&rsa, "n", json!(b64(&[0xff; 255]))), JwkError::RsaSize),
            (with(&rsa, "n", json!(b64(&[&[0][..], &[0xff; 256]].concat()))), JwkError::RsaSize),
            (with(&rsa, "n", json!(b64(&[0xff; 1025]))), JwkError::RsaSize),
            (with(&rsa, "e", json!(b64(&[1]))), JwkError::RsaSize),
            (with(&rsa, "e", json!(b64(&[4]))), JwkError::RsaSize),
            (with(&rsa, "e", json!(b64(&[0xff; 9]))), JwkError::RsaSize),
        ];
        for (jwk, expected) in rows {
            assert_eq!(Verifier::from_jwk(&jwk).unwrap_err(), expected, "{jwk}");
        }
    }

    #[test]
    fn an_rsa_key_must_say_its_algorithm_unless_the_caller_does() {
        let mut rsa = vectors::rfc7638_rsa();
        assert_eq!(Verifier::from_jwk(&rsa).unwrap().algorithm(), Algorithm::Rs256);
        assert_eq!(Verifier::from_jwk_for(&rsa, Algorithm::Ps256).unwrap_err(), JwkError::Algorithm);
        rsa.as_object_mut().unwrap().remove("alg");
        assert_eq!(Verifier::from_jwk(&rsa).unwrap_err(), JwkError::NeedsAlgorithm);
        assert_eq!(Verifier::from_jwk_for(&rsa, Algorithm::Ps256).unwrap().algorithm(), Algorithm::Ps256);
    }
}
