//! Tokens from a verifier's side: taken apart and checked with nothing of edi's, and forged.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edi::keys::master::MasterKey;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::Value;

use super::edi::TestEdi;

/// Base64url without padding.
pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// Header and claims.
pub(crate) fn parts(token: &str) -> (Value, Value) {
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3, "a compact JWS: {token}");
    (serde_json::from_slice(&decode(parts[0])).unwrap(), serde_json::from_slice(&decode(parts[1])).unwrap())
}

/// Claims alone.
pub(crate) fn claims(token: &str) -> Value {
    parts(token).1
}

/// Checks the signature with the JWK of the same `kid`, and gives header and claims.
#[track_caller]
pub(crate) fn verified(token: &str, jwks: &Value) -> (Value, Value) {
    let (header, claims) = parts(token);
    let mut keys = jwks["keys"].as_array().unwrap().iter().filter(|key| key["kid"] == header["kid"]);
    let (Some(key), None) = (keys.next(), keys.next()) else { panic!("one key for {header} in {jwks}") };
    assert_eq!(key["alg"], header["alg"]);
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (input, signature) = (input.as_bytes(), decode(signature));
    let member = |name: &str| decode(key[name].as_str().unwrap());
    let rsa = || RsaPublicKeyComponents { n: member("n"), e: member("e") };
    let outcome = match header["alg"].as_str().unwrap() {
        "ES256" => {
            let point = [vec![4], member("x"), member("y")].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(input, &signature)
        }
        "EdDSA" => UnparsedPublicKey::new(&ED25519, member("x")).verify(input, &signature),
        "RS256" => rsa().verify(&RSA_PKCS1_2048_8192_SHA256, input, &signature),
        "PS256" => rsa().verify(&RSA_PSS_2048_8192_SHA256, input, &signature),
        other => panic!("{other}"),
    };
    assert!(outcome.is_ok(), "the signature holds: {header}");
    (header, claims)
}

/// The header and claims in compact form, unsigned.
pub(crate) fn signing_input(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encode(header.to_string()), encode(claims.to_string()))
}

/// What holds edi's own Ed25519 signing key, taken out of its store with its master key: the strongest forger there is.
pub(crate) struct Thief {
    /// The key's id.
    pub(crate) kid: String,
    pair: Ed25519KeyPair,
}

impl Thief {
    /// Takes the key that signs with EdDSA.
    pub(crate) fn of(edi: &TestEdi, master_key_file: &std::path::Path) -> Self {
        let master = MasterKey::load(master_key_file).unwrap();
        let keys = edi.service().keys.read();
        let ring = keys.rings().find(|ring| ring.algorithm.name() == "EdDSA").unwrap();
        let key = ring.signer(edi.service().now()).unwrap();
        let pkcs8 = master.open(&format!("signing-key/EdDSA/{}", key.kid), &key.sealed).unwrap();
        Self { kid: key.kid.to_string(), pair: Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).unwrap() }
    }

    /// Somebody with a key of their own.
    pub(crate) fn stranger() -> Self {
        Self { kid: String::new(), pair: Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap() }
    }

    /// The public half, as a JWK's `x`.
    pub(crate) fn public(&self) -> String {
        encode(self.pair.public_key())
    }

    /// Signs whatever it is given.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&signing_input(header, claims))
    }

    /// Signs what is encoded already.
    pub(crate) fn sign_text(&self, input: &str) -> String {
        format!("{input}.{}", encode(self.pair.sign(input.as_bytes())))
    }
}
