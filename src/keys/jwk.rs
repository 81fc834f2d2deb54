//! Public JWKs (RFC 7517): which members they have, and the key id by thumbprint (RFC 7638).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde_json::{Map, Value, json};

use crate::model::algorithm::Algorithm;
use crate::model::id::Kid;

/// The members that make up a public key of each type (RFC 7518 §6.2.1, §6.3.1; RFC 8037 §2), in the order that
/// RFC 7638 §3.2 hashes them.
pub(super) fn public_members(key_type: &str) -> Option<&'static [&'static str]> {
    match key_type {
        "EC" => Some(&["crv", "kty", "x", "y"]),
        "RSA" => Some(&["e", "kty", "n"]),
        "OKP" => Some(&["crv", "kty", "x"]),
        _ => None,
    }
}

/// RFC 7638 §3: SHA-256 over the required members in lexicographic order, without white space.
pub(super) fn thumbprint(jwk: &Map<String, Value>) -> Option<Kid> {
    let members = public_members(jwk.get("kty")?.as_str()?)?;
    let hashed: Map<String, Value> =
        members.iter().map(|&name| Some((name.to_owned(), jwk.get(name)?.clone()))).collect::<Option<_>>()?;
    let hash = digest::digest(&digest::SHA256, Value::Object(hashed).to_string().as_bytes());
    Kid::parse(&URL_SAFE_NO_PAD.encode(hash)).ok()
}

/// The published form: the public members alone, `kid`, `use` and `alg`.
pub(super) fn published(public: &Map<String, Value>, kid: &Kid, algorithm: Algorithm) -> Value {
    let names = public.get("kty").and_then(Value::as_str).and_then(public_members).unwrap_or_default();
    let mut jwk: Map<String, Value> =
        names.iter().filter_map(|&name| Some((name.to_owned(), public.get(name)?.clone()))).collect();
    jwk.insert("kid".into(), json!(kid));
    jwk.insert("use".into(), json!("sig"));
    jwk.insert("alg".into(), json!(algorithm));
    Value::Object(jwk)
}

/// An elliptic-curve point or number as RFC 7518 writes it.
pub(super) fn encoded(bytes: &[u8]) -> Value {
    Value::String(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::vectors;

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638_and_rfc_8037() {
        let of = |jwk: &Value| thumbprint(jwk.as_object().unwrap()).unwrap().to_string();
        assert_eq!(of(&vectors::rfc7638_rsa()), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        assert_eq!(of(&vectors::rfc8037_ed25519()), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn nothing_private_or_foreign_is_published() {
        let full = json!({ "kty": "OKP", "crv": "Ed25519", "x": "eA", "d": "c2VjcmV0", "x5c": ["a"], "use": "enc" });
        let jwk = published(full.as_object().unwrap(), &Kid::parse("k").unwrap(), Algorithm::EdDsa);
        let expected = json!({ "kty": "OKP", "crv": "Ed25519", "x": "eA", "kid": "k", "use": "sig", "alg": "EdDSA" });
        assert_eq!(jwk, expected);
    }
}
