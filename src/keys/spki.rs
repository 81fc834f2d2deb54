//! Public keys as `SubjectPublicKeyInfo` (RFC 5280 §4.1) in PEM (RFC 7468 §13), for verifiers that read no JWK.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::der;
use super::verifier::{JwkError, Verifier};
use crate::model::algorithm::Algorithm;

/// `AlgorithmIdentifier { id-ecPublicKey, prime256v1 }` (RFC 5480 §2.1.1).
pub(super) const EC_P256: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07,
];
/// `AlgorithmIdentifier { id-Ed25519 }` (RFC 8410 §3).
pub(super) const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
/// `AlgorithmIdentifier { rsaEncryption, NULL }` (RFC 3279 §2.3.1); fits both RS256 and PS256.
pub(super) const RSA: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// Base64 characters on a line (RFC 7468 §2).
const LINE: usize = 64;

/// A public JWK as PEM, with a final line break.
///
/// # Errors
/// When it is no public key for one of our algorithms.
pub fn pem(jwk: &Value) -> Result<String, JwkError> {
    let text = STANDARD.encode(der(jwk)?);
    let mut out = String::from("-----BEGIN PUBLIC KEY-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str("-----END PUBLIC KEY-----\n");
    Ok(out)
}

fn der(jwk: &Value) -> Result<Vec<u8>, JwkError> {
    // Parsing it for use judges every member; an RSA key need not say its algorithm here.
    let rsa = jwk.get("kty").is_some_and(|kty| kty == "RSA") && jwk.get("alg").is_none();
    let verifier = if rsa { Verifier::from_jwk_for(jwk, Algorithm::Rs256) } else { Verifier::from_jwk(jwk) }?;
    let bytes = |name: &'static str| {
        let text = jwk.get(name).and_then(Value::as_str).ok_or(JwkError::Member(name))?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| JwkError::Member(name))
    };
    let (algorithm, key) = match verifier.algorithm() {
        // An uncompressed point (RFC 5480 §2.2).
        Algorithm::Es256 => (EC_P256, [vec![4], bytes("x")?, bytes("y")?].concat()),
        Algorithm::EdDsa => (ED25519, bytes("x")?),
        // RFC 8017 appendix A.1.1.
        Algorithm::Rs256 | Algorithm::Ps256 => {
            (RSA, der::sequence(&[&der::integer(&bytes("n")?), &der::integer(&bytes("e")?)]).to_vec())
        }
    };
    Ok(der::sequence(&[algorithm, &der::bit_string(&key)]).to_vec())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::keys::vectors;

    #[test]
    fn an_ed25519_key_has_the_form_of_rfc_8410() {
        // RFC 8410 §10.1's public key, and its DER in PEM.
        let x = URL_SAFE_NO_PAD.encode([
            0x19, 0xbf, 0x44, 0x09, 0x69, 0x84, 0xcd, 0xfe, 0x85, 0x41, 0xba, 0xc1, 0x67, 0xdc, 0x3b, 0x96, 0xc8, 0x50,
            0x86, 0xaa, 0x30, 0xb6, 0xb6, 0xcb, 0x0c, 0x5c, 0x38, 0xad, 0x70, 0x31, 0x66, 0xe1,
        ]);
        assert_eq!(
            pem(&json!({ "kty": "OKP", "crv": "Ed25519", "x": x })).unwrap(),
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"
        );
    }

    #[test]
    fn what_is_written_verifies_what_the_jwk_verifies() {
        for vector in vectors::signed() {
            let Ok(algorithm) = vector.algorithm.parse::<Algorithm>() else { continue };
            let text = pem(&vector.jwk).unwrap();
            assert!(text.lines().all(|line| line.len() <= LINE), "{}", vector.name);
            // A reader of its own, not ours, takes the key from the PEM.
            let read = match algorithm {
                Algorithm::Es256 => jsonwebtoken::DecodingKey::from_ec_pem(text.as_bytes()),
                Algorithm::EdDsa => jsonwebtoken::DecodingKey::from_ed_pem(text.as_bytes()),
                Algorithm::Rs256 | Algorithm::Ps256 => jsonwebtoken::DecodingKey::from_rsa_pem(text.as_bytes()),
            }
            .unwrap();
            crate::keys::provider::install();
            let (signing_input, signature) = vector.token.rsplit_once('.').unwrap();
            let jwa = algorithm.name().parse().unwrap();
            assert!(
                jsonwebtoken::crypto::verify(signature, signing_input.as_bytes(), &read, jwa).unwrap(),
                "{}",
                vector.name
            );
        }
    }

    #[test]
    fn what_is_no_public_key_of_ours_is_refused() {
        for jwk in [json!({}), json!({ "kty": "oct", "k": "AA" }), json!({ "kty": "EC", "crv": "P-256", "x": "AA" })] {
            assert!(pem(&jwk).is_err(), "{jwk}");
        }
    }
}
