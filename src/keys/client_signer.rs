//! A client's own private key, on the client's side: kept in a file, signing assertions (RFC 7523 §2.2). The server
//! never sees it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::KeyError;
use super::der::{INTEGER, OCTET_STRING, SEQUENCE, take};
use super::generate::NewKey;
use super::pair::{KeyPair, MAX_SIGNATURE};
use crate::model::algorithm::Algorithm;

/// Base64 characters on a line of PEM (RFC 7468 §2).
const LINE: usize = 64;
/// Room for the largest key's text, so that no copy is left behind by growing.
const ROOM: usize = 8 * 1024;

/// Signs assertions.
pub struct ClientSigner {
    pair: KeyPair,
    header: String,
}

impl ClientSigner {
    /// With this key; `kid` goes into the header if the server knows the key by one.
    ///
    /// # Errors
    /// [`KeyError::Rejected`] when the key is not usable.
    pub fn new(key: &NewKey, kid: Option<&str>) -> Result<Self, KeyError> {
        let header = match kid {
            Some(kid) => json!({ "alg": key.algorithm, "typ": "JWT", "kid": kid }),
            None => json!({ "alg": key.algorithm, "typ": "JWT" }),
        };
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        Ok(Self { pair: KeyPair::parse(key.algorithm, &key.pkcs8)?, header })
    }

    /// The compact JWS over these claims.
    ///
    /// # Errors
    /// [`KeyError::Signing`] when ring refuses.
    pub fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        let mut token = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mut signature = [0; MAX_SIGNATURE];
        let length = self.pair.sign(token.as_bytes(), &mut signature)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.get(..length).unwrap_or_default(), &mut token);
        Ok(token)
    }
}

/// The key pair as a private JWK (RFC 7517 §9.3, RFC 7518 §6.2.2, §6.3.2, RFC 8037 §2) with `kid`, `use` and `alg`;
/// `None` for PKCS#8 of another form than edi makes.
#[must_use]
pub fn private_jwk(key: &NewKey) -> Option<Zeroizing<String>> {
    let (info, _) = take(SEQUENCE, &key.pkcs8)?;
    let (_, after) = take(INTEGER, info)?;
    let (_, after) = take(SEQUENCE, after)?;
    let (inside, _) = take(OCTET_STRING, after)?;
    let members: Vec<(&str, &[u8])> = match key.algorithm {
        Algorithm::Es256 => {
            let (_, after) = take(INTEGER, take(SEQUENCE, inside)?.0)?;
            vec![("d", take(OCTET_STRING, after)?.0)]
        }
        Algorithm::EdDsa => vec![("d", take(OCTET_STRING, inside)?.0)],
        Algorithm::Rs256 | Algorithm::Ps256 => {
            let (mut rest, _) = take(SEQUENCE, inside)?;
            let mut numbers = Vec::new();
            while let Some((number, after)) = take(INTEGER, rest) {
                numbers.push(number.strip_prefix(&[0]).unwrap_or(number));
                rest = after;
            }
            let [_version, _n, _e, private @ ..] = numbers.as_slice() else { return None };
            if private.len() != 6 {
                return None;
            }
            ["d", "p", "q", "dp", "dq", "qi"].into_iter().zip(private.iter().copied()).collect()
        }
    };
    let mut out = Zeroizing::new(String::with_capacity(ROOM));
    out.push_str(key.public.to_string().strip_suffix('}')?);
    for (name, bytes) in members {
        out.push_str(",\"");
        out.push_str(name);
        out.push_str("\":\"");
        URL_SAFE_NO_PAD.encode_string(bytes, &mut out);
        out.push('"');
    }
    out.push_str("}\n");
    Some(out)
}

/// The private key as PKCS#8 in PEM (RFC 7468 §10).
#[must_use]
pub fn private_pem(key: &NewKey) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    STANDARD.encode_string(&key.pkcs8, &mut text);
    let mut out = Zeroizing::new(String::with_capacity(ROOM));
    out.push_str("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str("-----END PRIVATE KEY-----\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SystemEntropy;
    use crate::keys::client_keys::{AssertionAlgorithm, register};
    use crate::keys::import;
    use crate::keys::jws::Jws;

    #[test]
    fn what_is_written_is_read_again_and_signs_for_the_registered_half() {
        for algorithm in Algorithm::ALL {
            let key = NewKey::generate(algorithm, &SystemEntropy::new()).unwrap();
            let registered = register(&json!({ "keys": [key.public] })).unwrap().keys;
            let jwk = private_jwk(&key).unwrap();
            let from_jwk = import::read(&jwk, None, None).unwrap();
            assert_eq!((&from_jwk.kid, from_jwk.algorithm), (&key.kid, algorithm));
            let from_pem = import::read(&private_pem(&key), None, Some(algorithm)).unwrap();
            for (again, kid) in [(&from_jwk, Some(key.kid.as_str())), (&from_pem, None)] {
                assert_eq!(again.public["kid"], key.public["kid"]);
                let token = ClientSigner::new(again, kid).unwrap().sign(&json!({ "iss": "a" })).unwrap();
                let jws = Jws::parse(&token).unwrap();
                assert_eq!((jws.header.kid.as_deref(), jws.header.typ.as_deref()), (kid, Some("JWT")));
                let named = AssertionAlgorithm::parse(&jws.header.alg).unwrap();
                assert_eq!(registered.signer(&token, &jws.header, named), Some(&key.kid), "{algorithm}");
            }
            let private: Value = serde_json::from_str(&jwk).unwrap();
            assert!(register(&json!({ "keys": [private] })).is_err(), "the private half is not for registering");
        }
    }
}
