//! The public keys that a client registered (RFC 7517), and assertions checked with them. A key is read once and is for
//! one algorithm (RFC 8725 §3.1): its `alg`, or the one its type has.
//!
//! A signature is checked for every assertion whose algorithm we know, with a decoy when no key fits: how long a
//! refusal takes depends on what was sent, not on which clients there are.

use std::borrow::Cow;
use std::sync::LazyLock;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use ring::agreement::{self, EphemeralPrivateKey};
use serde_json::{Map, Value, json};

use super::jws::Header;
use super::verifier::{self, JwkError};
use super::{jwk, provider, ring_random};
use crate::model::id::Kid;

/// How many keys one client may have.
pub const MAX_KEYS: usize = 8;
/// The longest `kid`, in characters.
pub const MAX_KID: usize = 128;
/// The largest RSA modulus, in bytes: a signature costs no more to check than a few of P-256.
const MAX_MODULUS: usize = 512;

/// The algorithms that assertions may be signed with (RFC 7518 §3.1, RFC 8037 §3.1). Never `none`, never HMAC.
pub const ALGORITHMS: [&str; 5] = ["ES256", "ES384", "RS256", "PS256", "EdDSA"];

/// Why a key set was not taken. Says what to do; never holds a value of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct JwksError {
    /// Which key, counted from zero; `None` for the set as a whole.
    pub index: Option<usize>,
    /// What is wrong, in words.
    pub detail: Cow<'static, str>,
}

/// A set that is fine: what to keep of it, and its keys.
#[derive(Debug)]
pub struct Registration {
    /// `{"keys": […]}` with the public members, `kid` if one was given, `use` and `alg` alone.
    pub jwks: Value,
    /// The same, ready to verify.
    pub keys: ClientKeys,
}

/// One registered key.
struct ClientKey {
    kid: Option<Box<str>>,
    thumbprint: Kid,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// The keys of one client, each read once.
#[derive(Default)]
pub struct ClientKeys(Vec<ClientKey>);

impl std::fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| key.thumbprint.as_str())).finish()
    }
}

/// An algorithm that assertions may be signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssertionAlgorithm(Algorithm);

impl AssertionAlgorithm {
    /// By its registered name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if ALGORITHMS.contains(&name) { name.parse().ok().map(Self) } else { None }
    }
}

/// Reads the key set of a registration; private keys, symmetric ones, weak ones and unknown ones are refused.
///
/// # Errors
/// [`JwksError`] for the first key that is wrong.
pub fn register(jwks: &Value) -> Result<Registration, JwksError> {
    let whole = |detail: &'static str| JwksError { index: None, detail: detail.into() };
    let list = jwks
        .as_object()
        .and_then(|set| set.get("keys"))
        .and_then(Value::as_array)
        .ok_or_else(|| whole("expected a JWK set: {\"keys\": [ … ]}"))?;
    if !(1..=MAX_KEYS).contains(&list.len()) {
        return Err(whole("a client has 1 to 8 keys"));
    }
    let (mut kept, mut keys) = (Vec::with_capacity(list.len()), Vec::<ClientKey>::with_capacity(list.len()));
    for (index, value) in list.iter().enumerate() {
        let refused = |detail: Cow<'static, str>| JwksError { index: Some(index), detail };
        let (public, key) = read(value).map_err(refused)?;
        if key.kid.is_some() && keys.iter().any(|other| other.kid == key.kid) {
            return Err(refused("another key of the set has this kid".into()));
        }
        if keys.iter().any(|other| other.thumbprint == key.thumbprint) {
            return Err(refused("this key is in the set already".into()));
        }
        kept.push(public);
        keys.push(key);
    }
    Ok(Registration { jwks: json!({ "keys": kept }), keys: ClientKeys(keys) })
}

/// What names a key of a registered set to people: its `kid`, or else its RFC 7638 thumbprint.
#[must_use]
pub fn name(jwk: &Value) -> String {
    let given = jwk.get("kid").and_then(Value::as_str).map(str::to_owned);
    given.or_else(|| jwk.as_object().and_then(jwk::thumbprint).map(String::from)).unwrap_or_default()
}

fn read(value: &Value) -> Result<(Value, ClientKey), Cow<'static, str>> {
    let why = |error: JwkError| Cow::Owned(error.to_string());
    let given = value.as_object().ok_or(JwkError::NotAnObject).map_err(why)?;
    verifier::public_alone(given).map_err(why)?;
    verifier::for_signatures(given).map_err(why)?;
    let text = |name| given.get(name).and_then(Value::as_str);
    let by_type: &[&'static str] = match (text("kty"), text("crv")) {
        (Some("EC"), Some("P-256")) => &["ES256"],
        (Some("EC"), Some("P-384")) => &["ES384"],
        (Some("OKP"), Some("Ed25519")) => &["EdDSA"],
        // RFC 8725 §3.1: one algorithm. Where the key does not say, the one that RFC 7518 §3.1 recommends.
        (Some("RSA"), _) => &["RS256", "PS256"],
        (Some("oct"), _) => return Err(why(JwkError::Symmetric)),
        _ => return Err("expected kty EC with crv P-256 or P-384, kty RSA, or kty OKP with crv Ed25519".into()),
    };
    let alg = match given.get("alg") {
        None => by_type.first().copied(),
        Some(alg) => by_type.iter().copied().find(|name| alg == *name),
    };
    let alg = alg.ok_or("alg must be ES256, ES384, RS256, PS256 or EdDSA, and fit the key")?;
    let kid = match given.get("kid") {
        None => None,
        Some(kid) => Some(kid.as_str().filter(|kid| is_kid(kid)).ok_or("kid is a text of 1 to 128 characters")?),
    };
    judge(given, alg)?;
    let mut public: Map<String, Value> = Map::new();
    for member in text("kty").and_then(jwk::public_members).unwrap_or_default() {
        public.insert((*member).to_owned(), given.get(*member).cloned().unwrap_or_default());
    }
    let thumbprint = jwk::thumbprint(&public).ok_or("the key has no thumbprint")?;
    if let Some(kid) = kid {
        public.insert("kid".into(), kid.into());
    }
    public.insert("use".into(), "sig".into());
    public.insert("alg".into(), alg.into());
    let public = Value::Object(public);
    let (algorithm, key) = decoding_key(&public).ok_or("the key is not usable")?;
    Ok((public, ClientKey { kid: kid.map(Into::into), thumbprint, algorithm, key }))
}

fn is_kid(text: &str) -> bool {
    (1..=MAX_KID).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// Refuses what is no key at all: wrong lengths, points off the curve, weak keys.
fn judge(given: &Map<String, Value>, alg: &str) -> Result<(), Cow<'static, str>> {
    let why = |error: JwkError| Cow::Owned(error.to_string());
    let point = |length| -> Result<Vec<u8>, Cow<'static, str>> {
        let x = verifier::fixed(given, "x", length).map_err(why)?;
        let y = verifier::fixed(given, "y", length).map_err(why)?;
        Ok([vec![4], x, y].concat())
    };
    match alg {
        "ES256" => on_curve(&agreement::ECDH_P256, &point(32)?),
        "ES384" => on_curve(&agreement::ECDH_P384, &point(48)?),
        "EdDSA" => {
            let key = verifier::fixed(given, "x", 32).map_err(why)?;
            if of_small_order(&key) {
                Err("a point of small order is no key: anybody can sign for it".into())
            } else {
                Ok(())
            }
        }
        _ => {
            let key = verifier::rsa(given).map_err(why)?;
            if key.n.len() > MAX_MODULUS {
                return Err("an RSA key of a client has 2048 to 4096 bits".into());
            }
            Ok(())
        }
    }
}

/// ring checks a point when it is a peer's share of a key agreement, and says nothing of it elsewhere.
fn on_curve(curve: &'static agreement::Algorithm, point: &[u8]) -> Result<(), Cow<'static, str>> {
    let agrees = EphemeralPrivateKey::generate(curve, &ring_random()).is_ok_and(|own| {
        agreement::agree_ephemeral(own, &agreement::UnparsedPublicKey::new(curve, point), |_| ()).is_ok()
    });
    if agrees { Ok(()) } else { Err("x and y are not a point of the curve".into()) }
}

/// The points of Ed25519 whose order divides eight, and the spellings of them that are not canonical: for such a key
/// a signature can be made without any secret. Without regard to the sign of x.
fn of_small_order(key: &[u8]) -> bool {
    const ORDER_EIGHT: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let Some((last, rest)) = key.split_last() else { return true };
    let Some((first, middle)) = rest.split_first() else { return true };
    let last = last & 0x7f;
    // y = 0 and 1, and y = -1, 0 and 1 written as p - 1, p and p + 1.
    let low = *first <= 1 && last == 0 && middle.iter().all(|byte| *byte == 0);
    let high = (0xec..=0xee).contains(first) && last == 0x7f && middle.iter().all(|byte| *byte == 0xff);
    let eight = ORDER_EIGHT.iter().any(|point| point.split_last() == Some((&last, rest)));
    low || high || eight
}

fn decoding_key(public: &Value) -> Option<(Algorithm, DecodingKey)> {
    provider::install();
    let algorithm = AssertionAlgorithm::parse(public.get("alg")?.as_str()?)?.0;
    let jwk: Jwk = serde_json::from_value(public.clone()).ok()?;
    Some((algorithm, DecodingKey::from_jwk(&jwk).ok()?))
}

impl ClientKeys {
    /// Reads what [`register`] kept; a key that cannot be read any more verifies nothing.
    #[must_use]
    pub fn of(jwks: Option<&Value>) -> Self {
        let list = jwks.and_then(|set| set.get("keys")).and_then(Value::as_array);
        Self(list.into_iter().flatten().filter_map(|value| read(value).ok()).map(|(_, key)| key).collect())
    }

    /// Whether one of the keys signed this compact JWS with that key's own algorithm. Of the header only `kid` and
    /// `alg` count, and only to choose: a `kid` names the key that has it; keys without one are tried when no key has
    /// it, and all are when the header names none. Gives the thumbprint of the key.
    #[must_use]
    pub fn signer(&self, token: &str, header: &Header, algorithm: AssertionAlgorithm) -> Option<&Kid> {
        let (message, signature) = token.rsplit_once('.')?;
        let holds = |key: &DecodingKey| {
            crypto::verify(signature, message.as_bytes(), key, algorithm.0).is_ok_and(|holds| holds)
        };
        let named = header.kid.as_deref();
        let exact = named.is_some_and(|named| self.0.iter().any(|key| key.kid.as_deref() == Some(named)));
        let chosen = |key: &&ClientKey| {
            key.algorithm == algorithm.0
                && match named {
                    None => true,
                    Some(named) if exact => key.kid.as_deref() == Some(named),
                    Some(_) => key.kid.is_none(),
                }
        };
        let mut tried = 0;
        let signer = self.0.iter().filter(chosen).inspect(|_| tried += 1).find(|key| holds(&key.key));
        let signer = signer.map(|key| &key.thumbprint);
        if tried == 0 {
            // What a decoy says is nobody's business: it only takes its time.
            let _ = DECOYS.iter().find(|(of, _)| *of == algorithm.0).map(|(_, decoy)| holds(decoy));
        }
        signer
    }

    /// Whether a key with this thumbprint is among them.
    #[must_use]
    pub fn has(&self, thumbprint: &Kid) -> bool {
        self.0.iter().any(|key| key.thumbprint == *thumbprint)
    }
}

/// A key of each algorithm that stands in where a client has none: the curves' base points and numbers of the usual
/// size. Nothing rests on them.
static DECOYS: LazyLock<Vec<(Algorithm, DecodingKey)>> = LazyLock::new(|| {
    let modulus = jwk::encoded(&[0xff; 256]);
    let rsa = |alg| json!({ "kty": "RSA", "n": modulus, "e": "AQAB", "alg": alg });
    [
        json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
            "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU" }),
        json!({ "kty": "EC", "crv": "P-384", "alg": "ES384",
            "x": "qofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3",
            "y": "NhfeSpYmLG9dnpi_kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f" }),
        rsa("RS256"),
        rsa("PS256"),
        json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": "WGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY" }),
    ]
    .iter()
    .filter_map(decoding_key)
    .collect()
});

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::ambient::SystemEntropy;
    use crate::keys::generate::NewKey;
    use crate::keys::jws::Jws;
    use crate::keys::vectors;
    use crate::model::algorithm::Algorithm as Ours;

    fn ec() -> Value {
        json!({ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" })
    }

    fn b64(bytes: &[u8]) -> Value {
        URL_SAFE_NO_PAD.encode(bytes).into()
    }

    fn with(base: &Value, name: &str, value: Value) -> Value {
        let mut jwk = base.clone();
        jwk[name] = value;
        jwk
    }

    fn set(keys: &[Value]) -> Value {
        json!({ "keys": keys })
    }

    fn signs(keys: &ClientKeys, token: &str) -> bool {
        let jws = Jws::parse(token).unwrap();
        let Some(algorithm) = AssertionAlgorithm::parse(&jws.header.alg) else { return false };
        keys.signer(token, &jws.header, algorithm).is_some()
    }

    #[test]
    fn the_published_vectors_verify_under_their_registered_key_alone() {
        let mut seen = 0;
        for vector in vectors::signed() {
            if AssertionAlgorithm::parse(vector.algorithm).is_none() {
                continue;
            }
            let jwk = with(&vector.jwk, "alg", vector.algorithm.into());
            let mut bare = jwk.clone();
            bare.as_object_mut().unwrap().remove("kid");
            let keys = register(&set(std::slice::from_ref(&jwk))).unwrap().keys;
            assert!(signs(&keys, vector.token), "{}", vector.name);
            assert!(signs(&register(&set(&[bare])).unwrap().keys, vector.token), "{} without kid", vector.name);
            let (signed, signature) = vector.token.rsplit_once('.').unwrap();
            let flipped: String = signature
                .chars()
                .enumerate()
                .map(|(n, c)| if n == 9 { if c == 'A' { 'B' } else { 'A' } } else { c })
                .collect();
            assert!(!signs(&keys, &format!("{signed}.{flipped}")), "{}", vector.name);
            let other = register(&set(&[with(&ec(), "kid", "bilbo.baggins@hobbiton.example".into())])).unwrap().keys;
            assert_eq!(signs(&other, vector.token), vector.name == "RFC 7515 A.3", "{}", vector.name);
            seen += 1;
        }
        assert_eq!(seen, 4);
    }

    #[test]
    fn a_key_is_for_one_algorithm() {
        let vector = vectors::signed().into_iter().find(|vector| vector.name == "RFC 7515 A.2").unwrap();
        assert!(
            signs(&register(&set(std::slice::from_ref(&vector.jwk))).unwrap().keys, vector.token),
            "RS256 unless it says"
        );
        let pss = register(&set(&[with(&vector.jwk, "alg", "PS256".into())])).unwrap().keys;
        assert!(!signs(&pss, vector.token), "RFC 8725 §3.1");
    }

    #[test]
    fn a_named_key_is_the_one_that_counts() {
        let vector = vectors::signed().into_iter().find(|vector| vector.name == "RFC 7520 4.1").unwrap();
        let own = vector.jwk["kid"].clone();
        for (kid, holds) in [(Some(own), true), (Some("another".into()), false), (None, true)] {
            let mut jwk = vector.jwk.clone();
            match kid {
                Some(kid) => jwk["kid"] = kid,
                None => drop(jwk.as_object_mut().unwrap().remove("kid")),
            }
            assert_eq!(signs(&register(&set(&[jwk.clone()])).unwrap().keys, vector.token), holds, "{}", jwk["kid"]);
        }
    }

    #[test]
    fn what_is_kept_is_public_and_complete() {
        let given = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": vectors::rfc8037_ed25519()["x"], "kid": "one/a b",
            "x5c": ["secret"], "key_ops": ["verify"], "ext": true }, vectors::rfc7638_rsa()], "more": 1 });
        let registered = register(&given).unwrap();
        assert_eq!(
            registered.jwks["keys"][0],
            json!({ "kty": "OKP", "crv": "Ed25519", "x": vectors::rfc8037_ed25519()["x"], "kid": "one/a b", "use": "sig",
                "alg": "EdDSA" })
        );
        assert_eq!(register(&registered.jwks).unwrap().jwks, registered.jwks);
        let again = ClientKeys::of(Some(&registered.jwks));
        assert_eq!(format!("{again:?}"), format!("{:?}", registered.keys));
        assert_eq!(name(&registered.jwks["keys"][0]), "one/a b");
        assert_eq!(name(&ec()), name(&with(&ec(), "use", "sig".into())));
        assert!(ClientKeys::of(None).0.is_empty() && ClientKeys::of(Some(&json!([]))).0.is_empty());
    }

    #[test]
    fn what_is_no_usable_public_key_is_refused() {
        let rsa = vectors::rfc7638_rsa();
        let ed = vectors::rfc8037_ed25519();
        let p384 = json!({ "kty": "EC", "crv": "P-384", "x": "qofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3",
            "y": "NhfeSpYmLG9dnpi_kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f" });
        for good in [ec(), rsa.clone(), ed.clone(), p384.clone(), with(&rsa, "alg", "PS256".into())] {
            assert!(register(&set(std::slice::from_ref(&good))).is_ok(), "{good}");
        }
        let mut identity = [0; 32];
        identity[0] = 1;
        let rows = [
            (json!([]), "JSON object"),
            (json!({}), "expected kty"),
            (json!({ "kty": "oct", "k": "c2VjcmV0" }), "symmetric"),
            (with(&ec(), "k", json!("AA")), "symmetric"),
            (with(&ec(), "d", json!("AA")), "private"),
            (with(&rsa, "p", json!("AA")), "private"),
            (with(&rsa, "oth", json!([])), "private"),
            (with(&ec(), "crv", json!("P-521")), "expected kty"),
            (with(&ec(), "crv", json!("secp256k1")), "expected kty"),
            (with(&ed, "crv", json!("X25519")), "expected kty"),
            (with(&ec(), "alg", json!("none")), "alg"),
            (with(&ec(), "alg", json!("HS256")), "alg"),
            (with(&ec(), "alg", json!("RS256")), "alg"),
            (with(&ec(), "alg", Value::Null), "alg"),
            (with(&rsa, "alg", json!("RS512")), "alg"),
            (with(&ec(), "use", json!("enc")), "not for signatures"),
            (with(&ec(), "key_ops", json!(["encrypt"])), "not for signatures"),
            (with(&ec(), "kid", json!(7)), "kid"),
            (with(&ec(), "kid", json!("")), "kid"),
            (with(&ec(), "kid", json!("a\nb")), "kid"),
            (with(&ec(), "kid", json!("x".repeat(129))), "kid"),
            (with(&ec(), "x", b64(&[1; 31])), "member x"),
            (with(&ec(), "y", json!("%%")), "member y"),
            (with(&ec(), "y", b64(&[7; 32])), "point of the curve"),
            (with(&p384, "y", b64(&[7; 48])), "point of the curve"),
            (with(&p384, "x", b64(&[7; 32])), "member x"),
            (with(&ed, "x", b64(&identity)), "small order"),
            (with(&ed, "x", b64(&[0; 32])), "small order"),
            (with(&rsa, "n", b64(&[0xff; 128])), "2048"),
            (with(&rsa, "n", b64(&[0xff; 513])), "4096"),
            (with(&rsa, "e", b64(&[1])), "odd public exponent"),
        ];
        for (jwk, word) in rows {
            let error = register(&set(&[ed.clone(), jwk.clone()])).unwrap_err();
            assert!(error.detail.contains(word) && error.index == Some(1), "{jwk}: {error:?}");
        }
        for (jwks, word) in [
            (json!(null), "JWK set"),
            (ec(), "JWK set"),
            (json!({ "keys": {} }), "JWK set"),
            (set(&[]), "1 to 8"),
            (set(&vec![ec(); 9]), "1 to 8"),
        ] {
            let error = register(&jwks).unwrap_err();
            assert!(error.detail.contains(word) && error.index.is_none(), "{error:?}");
        }
        let twice = register(&set(&[with(&ec(), "kid", "a".into()), ec()])).unwrap_err();
        assert!(twice.detail.contains("already"), "{twice}");
        let named_alike = register(&set(&[with(&ec(), "kid", "a".into()), with(&ed, "kid", "a".into())])).unwrap_err();
        assert!(named_alike.detail.contains("this kid"), "{named_alike}");
    }

    #[test]
    fn every_known_point_of_small_order_is_known() {
        let zero_sign = |first: u8, last: u8| {
            let mut point = [if last == 0x7f { 0xff } else { 0 }; 32];
            (point[0], point[31]) = (first, last);
            point
        };
        for sign in [0, 0x80] {
            for (first, last) in [(0, 0), (1, 0), (0xec, 0x7f), (0xed, 0x7f), (0xee, 0x7f)] {
                let mut point = zero_sign(first, last);
                point[31] |= sign;
                assert!(of_small_order(&point), "{point:x?}");
            }
        }
        for fine in [zero_sign(2, 0), zero_sign(0xeb, 0x7f), zero_sign(0xff, 0x7e)] {
            assert!(!of_small_order(&fine), "{fine:x?}");
        }
    }

    #[test]
    fn there_is_a_decoy_for_each_algorithm_and_it_lets_nobody_in() {
        assert_eq!(DECOYS.len(), ALGORITHMS.len());
        let nobody = ClientKeys::default();
        for algorithm in [Ours::Es256, Ours::EdDsa, Ours::Rs256] {
            let key = NewKey::generate(algorithm, &SystemEntropy::new()).unwrap();
            let signer = crate::keys::signer::Signer::new(algorithm, key.kid.clone(), &key.pkcs8).unwrap();
            let token = signer.sign(b"{}").unwrap();
            assert!(!signs(&nobody, &token), "{algorithm}");
            assert!(signs(&register(&set(&[key.public])).unwrap().keys, &token), "{algorithm}");
        }
    }

    #[test]
    fn only_the_listed_algorithms_are_known() {
        for name in ALGORITHMS {
            assert!(AssertionAlgorithm::parse(name).is_some(), "{name}");
        }
        for name in ["none", "None", "HS256", "HS512", "RS384", "es256", "ES512", "ES256K", "", "EdDSA "] {
            assert!(AssertionAlgorithm::parse(name).is_none(), "{name}");
        }
    }
}
