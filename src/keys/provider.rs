//! The cryptography of jsonwebtoken on ring, for what others signed with keys of theirs. edi's own tokens go through
//! [`super::signer`] and [`super::verifier`], which parse a key once; here it is parsed per use.
//!
//! Offered: ES256, ES384, RS256/384/512, PS256/384/512, EdDSA (Ed25519). Never a symmetric algorithm: a public key
//! must not be able to pass for a shared secret.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::jwk::{EllipticCurve, ThumbprintHash};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::rsa::PublicKeyComponents;
use ring::signature::{self as ring_sig, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use ring::{digest, rand};
use signature::{Error as SignatureError, Signer, Verifier};

use super::{der, ring_random};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: rsa_public_of_private,
        rsa_pub_components_from_public_key: rsa_public_of_public,
        ec_pub_components_from_private_key: ec_public_of_private,
        ed_pub_components_from_private_key: ed_public_of_private,
        compute_digest,
    },
};

/// Makes ring the provider of jsonwebtoken in this process. To be called before its first use, which would panic
/// otherwise; calling it again does nothing.
pub fn install() {
    // An error names the provider that was installed before: with no other linked in, this one.
    let _ = PROVIDER.install_default();
}

/// How a signature of each algorithm is made.
enum Scheme {
    Ecdsa(&'static ring_sig::EcdsaSigningAlgorithm, &'static ring_sig::EcdsaVerificationAlgorithm),
    Rsa(&'static dyn ring_sig::RsaEncoding, &'static ring_sig::RsaParameters),
    Ed25519,
}

fn scheme(algorithm: Algorithm) -> Result<Scheme> {
    Ok(match algorithm {
        Algorithm::ES256 => {
            Scheme::Ecdsa(&ring_sig::ECDSA_P256_SHA256_FIXED_SIGNING, &ring_sig::ECDSA_P256_SHA256_FIXED)
        }
        Algorithm::ES384 => {
            Scheme::Ecdsa(&ring_sig::ECDSA_P384_SHA384_FIXED_SIGNING, &ring_sig::ECDSA_P384_SHA384_FIXED)
        }
        Algorithm::RS256 => Scheme::Rsa(&ring_sig::RSA_PKCS1_SHA256, &ring_sig::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Scheme::Rsa(&ring_sig::RSA_PKCS1_SHA384, &ring_sig::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Scheme::Rsa(&ring_sig::RSA_PKCS1_SHA512, &ring_sig::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Scheme::Rsa(&ring_sig::RSA_PSS_SHA256, &ring_sig::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Scheme::Rsa(&ring_sig::RSA_PSS_SHA384, &ring_sig::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Scheme::Rsa(&ring_sig::RSA_PSS_SHA512, &ring_sig::RSA_PSS_2048_8192_SHA512),
        Algorithm::EdDSA => Scheme::Ed25519,
        // HMAC, and whatever jsonwebtoken adds.
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    })
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair, &'static dyn ring_sig::RsaEncoding),
    Ed25519(Ed25519KeyPair),
}

struct RingSigner {
    algorithm: Algorithm,
    pair: Pair,
    random: rand::SystemRandom,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that jsonwebtoken asks for")]
fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    let random = ring_random();
    let scheme = scheme(*algorithm)?;
    same_family(*algorithm, key.family())?;
    let pair = match scheme {
        Scheme::Ecdsa(signing, _) => EcdsaKeyPair::from_pkcs8(signing, key.as_bytes(), &random)
            .map(Pair::Ecdsa)
            .map_err(|_| ErrorKind::InvalidEcdsaKey)?,
        Scheme::Rsa(encoding, _) => Pair::Rsa(rsa_pair(key.as_bytes())?, encoding),
        Scheme::Ed25519 => Pair::Ed25519(ed_pair(key.as_bytes())?),
    };
    Ok(Box::new(RingSigner { algorithm: *algorithm, pair, random }))
}

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, SignatureError> {
        let signature = match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&self.random, message).map_err(SignatureError::from_source)?,
            Pair::Ed25519(pair) => pair.sign(message),
            Pair::Rsa(pair, encoding) => {
                let mut out = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &self.random, message, &mut out).map_err(SignatureError::from_source)?;
                return Ok(out);
            }
        };
        Ok(signature.as_ref().to_vec())
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

struct RingVerifier {
    algorithm: Algorithm,
    scheme: Scheme,
    key: DecodingKey,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that jsonwebtoken asks for")]
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let scheme = scheme(*algorithm)?;
    same_family(*algorithm, key.family())?;
    Ok(Box::new(RingVerifier { algorithm: *algorithm, scheme, key: key.clone() }))
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), SignatureError> {
        let with = |algorithm: &'static dyn ring_sig::VerificationAlgorithm, key: &[u8]| {
            ring_sig::UnparsedPublicKey::new(algorithm, key).verify(message, signature)
        };
        match (&self.scheme, self.key.kind()) {
            (Scheme::Ecdsa(_, checking), DecodingKeyKind::SecretOrDer(key)) => with(*checking, key),
            (Scheme::Ed25519, DecodingKeyKind::SecretOrDer(key)) => with(&ring_sig::ED25519, key),
            (Scheme::Rsa(_, checking), DecodingKeyKind::SecretOrDer(key)) => with(*checking, key),
            (Scheme::Rsa(_, checking), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                ring_sig::RsaPublicKeyComponents { n, e }.verify(checking, message, signature)
            }
            _ => return Err(SignatureError::new()),
        }
        .map_err(SignatureError::from_source)
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn same_family(algorithm: Algorithm, family: AlgorithmFamily) -> Result<()> {
    if algorithm.family() == family { Ok(()) } else { Err(ErrorKind::InvalidKeyFormat.into()) }
}

/// From PKCS#1, which jsonwebtoken unwraps from PEM, or PKCS#8.
fn rsa_pair(der: &[u8]) -> Result<RsaKeyPair> {
    RsaKeyPair::from_der(der)
        .or_else(|_| RsaKeyPair::from_pkcs8(der))
        .map_err(|why| ErrorKind::InvalidRsaKey(why.to_string()).into())
}

fn ed_pair(pkcs8: &[u8]) -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|_| ErrorKind::InvalidEddsaKey.into())
}

fn rsa_public_of_private(der: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let PublicKeyComponents { n, e } = rsa_pair(der)?.public().into();
    Ok((n, e))
}

fn rsa_public_of_public(der: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let (n, e) = der::rsa_public_key(der).ok_or_else(|| ErrorKind::InvalidRsaKey("not PKCS#1".into()))?;
    Ok((n.to_vec(), e.to_vec()))
}

fn ec_public_of_private(pkcs8: &[u8], algorithm: Algorithm) -> Result<(EllipticCurve, Vec<u8>, Vec<u8>)> {
    let (curve, width) = match algorithm {
        Algorithm::ES256 => (EllipticCurve::P256, 32),
        Algorithm::ES384 => (EllipticCurve::P384, 48),
        _ => return Err(ErrorKind::InvalidEcdsaKey.into()),
    };
    let Scheme::Ecdsa(signing, _) = scheme(algorithm)? else { return Err(ErrorKind::InvalidEcdsaKey.into()) };
    let pair = EcdsaKeyPair::from_pkcs8(signing, pkcs8, &ring_random()).map_err(|_| ErrorKind::InvalidEcdsaKey)?;
    // An uncompressed point: 0x04, x, y.
    let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
    let (x, y) = point.split_at_checked(width).ok_or(ErrorKind::InvalidEcdsaKey)?;
    Ok((curve, x.to_vec(), y.to_vec()))
}

fn ed_public_of_private(pkcs8: &[u8], curve: &EllipticCurve) -> Result<Vec<u8>> {
    match curve {
        EllipticCurve::Ed25519 => Ok(ed_pair(pkcs8)?.public_key().as_ref().to_vec()),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that jsonwebtoken asks for")]
fn compute_digest(data: &[u8], hash: ThumbprintHash) -> Result<Vec<u8>> {
    let algorithm = match hash {
        ThumbprintHash::SHA256 => &digest::SHA256,
        ThumbprintHash::SHA384 => &digest::SHA384,
        ThumbprintHash::SHA512 => &digest::SHA512,
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    };
    Ok(digest::digest(algorithm, data).as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::crypto;
    use jsonwebtoken::jwk::Jwk;

    use super::*;
    use crate::ambient::SystemEntropy;
    use crate::keys::generate::NewKey;
    use crate::keys::vectors;
    use crate::model::algorithm::Algorithm as Ours;

    const ALL: [Algorithm; 9] = [
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::EdDSA,
    ];

    #[test]
    fn the_published_vectors_verify_and_changed_ones_do_not() {
        install();
        install();
        for vector in vectors::signed() {
            let jwk: Jwk = serde_json::from_value(vector.jwk.clone()).unwrap();
            let key = DecodingKey::from_jwk(&jwk).unwrap();
            let (message, signature) = vector.token.rsplit_once('.').unwrap();
            let right: Algorithm = vector.algorithm.parse().unwrap();
            for algorithm in ALL {
                let outcome = crypto::verify(signature, message.as_bytes(), &key, algorithm);
                assert_eq!(outcome.unwrap_or(false), algorithm == right, "{} as {algorithm:?}", vector.name);
            }
            assert!(!crypto::verify(signature, &message.as_bytes()[1..], &key, right).unwrap(), "{}", vector.name);
            assert!(!crypto::verify("AAAA", message.as_bytes(), &key, right).unwrap(), "{}", vector.name);
        }
    }

    #[test]
    fn every_algorithm_signs_what_its_public_key_verifies() {
        install();
        let entropy = SystemEntropy::new();
        let rsa = EncodingKey::from_rsa_der(&NewKey::generate(Ours::Rs256, &entropy).unwrap().pkcs8);
        let p256 = EncodingKey::from_ec_der(&NewKey::generate(Ours::Es256, &entropy).unwrap().pkcs8);
        let p384 = EcdsaKeyPair::generate_pkcs8(&ring_sig::ECDSA_P384_SHA384_FIXED_SIGNING, &ring_random()).unwrap();
        let p384 = EncodingKey::from_ec_der(p384.as_ref());
        // jsonwebtoken derives a JWK only from the 48-byte form without the public key.
        let long = NewKey::generate(Ours::EdDsa, &entropy).unwrap().pkcs8;
        let seed = der::sequence(&[
            &der::integer(&[0]),
            &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70],
            &der::octet_string(&der::octet_string(&long[16..48])),
        ]);
        let ed = EncodingKey::from_ed_der(&seed);
        for algorithm in ALL {
            let key = match algorithm {
                Algorithm::ES256 => &p256,
                Algorithm::ES384 => &p384,
                Algorithm::EdDSA => &ed,
                _ => &rsa,
            };
            let public = DecodingKey::from_jwk(&Jwk::from_encoding_key(key, algorithm).unwrap()).unwrap();
            let signature = crypto::sign(b"message", key, algorithm).unwrap();
            assert!(crypto::verify(&signature, b"message", &public, algorithm).unwrap(), "{algorithm:?}");
            assert!(!crypto::verify(&signature, b"another", &public, algorithm).unwrap(), "{algorithm:?}");
        }
        assert!(crypto::sign(b"message", &p256, Algorithm::ES384).is_err());
        assert!(crypto::sign(b"message", &p256, Algorithm::RS256).is_err());
    }

    #[test]
    fn a_public_key_never_passes_for_a_shared_secret() {
        install();
        let secret = EncodingKey::from_secret(b"secret");
        let check = DecodingKey::from_secret(b"secret");
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            assert!(crypto::sign(b"m", &secret, algorithm).is_err());
            assert!(crypto::verify("c2ln", b"m", &check, algorithm).is_err());
        }
        for algorithm in ALL {
            assert!(crypto::verify("c2ln", b"m", &check, algorithm).is_err(), "{algorithm:?}");
        }
    }

    #[test]
    fn thumbprints_are_those_of_rfc_7638() {
        install();
        let jwk: Jwk = serde_json::from_value(vectors::rfc7638_rsa()).unwrap();
        let expected = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
        assert_eq!(jwk.thumbprint(ThumbprintHash::SHA256).unwrap(), expected);
        let (modulus, exponent) = ([0x81; 256], [1, 0, 1]);
        let public = der::sequence(&[&der::integer(&modulus), &der::integer(&exponent)]);
        assert_eq!(rsa_public_of_public(&public).unwrap(), (modulus.to_vec(), exponent.to_vec()));
        assert!(rsa_public_of_public(b"junk").is_err());
    }
}
