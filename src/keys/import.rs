//! Private keys that were made elsewhere: PKCS#8 (RFC 5958), SEC1 (RFC 5915) and PKCS#1 (RFC 8017) in PEM, or a private
//! JWK (RFC 7517). Whatever the form, what comes out is a [`NewKey`] with PKCS#8, as if edi had made it.
//!
//! No refusal repeats anything of what was read.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::der::{self, INTEGER, OBJECT_ID, OCTET_STRING, SEQUENCE};
use super::generate::NewKey;
use super::signer::Signer;
use super::verifier::Verifier;
use super::{jws::Jws, spki};
use crate::model::algorithm::Algorithm;
use crate::model::id::Kid;

/// Why a key was not taken. Says what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Nothing that looks like a private key.
    #[error("expected a private key: PKCS#8, SEC1 or PKCS#1 in PEM, or a JWK with its private members")]
    NotAKey,
    /// PEM or JWK that does not parse.
    #[error("the {0} is damaged or incomplete")]
    Damaged(&'static str),
    /// Locked with a password.
    #[error("the key is encrypted; unlock it first: `openssl pkey -in FILE | edi key import -`")]
    Encrypted,
    /// The public half alone.
    #[error("this is a public key or a certificate; edi signs, so it needs the private key")]
    Public,
    /// OpenSSH's own format.
    #[error("this is OpenSSH's format; convert a copy first: `ssh-keygen -p -m PKCS8 -f COPY`")]
    OpenSsh,
    /// More than one key.
    #[error("there is a set of keys, or several; import them one by one (of a JWK set: `jq '.keys[0]' FILE`)")]
    Several,
    /// A symmetric key, or a kind edi does not sign with.
    #[error("a key of this kind is not used here: expected EC on P-256, Ed25519 or RSA, not {0}")]
    Kind(&'static str),
    /// The wrong curve.
    #[error("the key is on the curve {0}; edi signs with P-256 (ES256) and Ed25519 (EdDSA)")]
    Curve(&'static str),
    /// RSA that is too short or too long.
    #[error("the RSA key has {0} bits; it takes 2048 to 4096, in steps of 512")]
    RsaSize(usize),
    /// A public exponent that is not accepted.
    #[error("the RSA key's public exponent is below 65537")]
    RsaExponent,
    /// An RSA JWK without its primes.
    #[error("the RSA key lacks p, q, dp, dq or qi; export it with them, or as PKCS#8")]
    RsaPrimes,
    /// No public half in an EC key.
    #[error("the key lacks its public half; add it: `openssl ec -in FILE | edi key import -`")]
    NoPublicHalf,
    /// Halves of different keys, or a broken one.
    #[error("the parts of the key do not belong together")]
    Inconsistent,
    /// Another algorithm than the one asked for.
    #[error("the key cannot sign with {wanted}; it is for {fits}")]
    Algorithm {
        /// What was asked for.
        wanted: Algorithm,
        /// What it is for.
        fits: &'static str,
    },
    /// A JWK for something else.
    #[error("the JWK says that it is not for signing with one of edi's algorithms (`{0}`)")]
    Use(&'static str),
    /// Two ids.
    #[error("the JWK has a key id of its own, and another one was given")]
    TwoIds,
    /// An id that edi does not take.
    #[error("the JWK's `kid` cannot be kept: {0}")]
    Id(String),
}

/// Reads a private key. `kid` names one that brings no name along (else it is the RFC 7638 thumbprint), `algorithm`
/// chooses where a key fits several: RSA is RS256 unless said.
///
/// # Errors
/// [`ImportError`].
pub fn read(text: &str, kid: Option<Kid>, algorithm: Option<Algorithm>) -> Result<NewKey, ImportError> {
    let trimmed = text.trim();
    let (material, own_kid, own_algorithm) =
        if trimmed.starts_with('{') { from_jwk(trimmed)? } else { (from_pem(trimmed)?, None, None) };
    if kid.is_some() && own_kid.is_some() && kid != own_kid {
        return Err(ImportError::TwoIds);
    }
    let chosen = algorithm.or(own_algorithm).unwrap_or(material.usual());
    if let Some(other) = own_algorithm.filter(|own| *own != chosen) {
        return Err(ImportError::Algorithm { wanted: chosen, fits: other.name() });
    }
    if !material.fits(chosen) {
        return Err(ImportError::Algorithm { wanted: chosen, fits: material.names() });
    }
    let key = NewKey::import(chosen, material.pkcs8(), own_kid.or(kid)).map_err(|_| ImportError::Inconsistent)?;
    if let Material::Ed25519 { x: Some(x), .. } = &material
        && key.public.get("x").and_then(serde_json::Value::as_str) != Some(x)
    {
        return Err(ImportError::Inconsistent);
    }
    if signs(&key) { Ok(key) } else { Err(ImportError::Inconsistent) }
}

/// Whether what it signs verifies by its public half.
fn signs(key: &NewKey) -> bool {
    let token = Signer::new(key.algorithm, key.kid.clone(), &key.pkcs8).and_then(|signer| signer.sign(b"{}"));
    let verifier = Verifier::from_jwk_for(&key.public, key.algorithm);
    let (Ok(token), Ok(verifier)) = (token, verifier) else { return false };
    Jws::parse(&token).is_ok_and(|jws| verifier.verify(jws.signing_input, &jws.signature))
}

/// The private numbers, whatever they came in.
enum Material {
    P256 {
        secret: Zeroizing<Vec<u8>>,
        point: Vec<u8>,
    },
    Ed25519 {
        seed: Zeroizing<Vec<u8>>,
        x: Option<String>,
    },
    /// PKCS#1.
    Rsa(Zeroizing<Vec<u8>>),
}

impl Material {
    const fn usual(&self) -> Algorithm {
        match self {
            Self::P256 { .. } => Algorithm::Es256,
            Self::Ed25519 { .. } => Algorithm::EdDsa,
            Self::Rsa(_) => Algorithm::Rs256,
        }
    }

    const fn names(&self) -> &'static str {
        match self {
            Self::P256 { .. } => "ES256",
            Self::Ed25519 { .. } => "EdDSA",
            Self::Rsa(_) => "RS256 or PS256",
        }
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.usual() == algorithm || (self.usual() == Algorithm::Rs256 && algorithm == Algorithm::Ps256)
    }

    fn rsa(pkcs1: Zeroizing<Vec<u8>>) -> Result<Self, ImportError> {
        let (n, e) = der::rsa_private_key(&pkcs1).ok_or(ImportError::Damaged("RSA key"))?;
        let bits = n.len() * 8 - n.first().map_or(0, |top| top.leading_zeros() as usize);
        if !(2048..=4096).contains(&bits) || !bits.is_multiple_of(512) {
            return Err(ImportError::RsaSize(bits));
        }
        if e.len() < 3 || e < [1, 0, 1].as_slice() && e.len() == 3 {
            return Err(ImportError::RsaExponent);
        }
        Ok(Self::Rsa(pkcs1))
    }

    fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let (algorithm, inside) = match self {
            // RFC 5915 §3, without the parameters that PKCS#8 has beside it.
            Self::P256 { secret, point } => (
                spki::EC_P256,
                der::sequence(&[
                    &der::integer(&[1]),
                    &der::octet_string(secret),
                    &der::tagged(1, &der::bit_string(point)),
                ]),
            ),
            // RFC 8410 §7.
            Self::Ed25519 { seed, .. } => (spki::ED25519, der::octet_string(seed)),
            Self::Rsa(pkcs1) => (spki::RSA, pkcs1.clone()),
        };
        der::sequence(&[&der::integer(&[0]), algorithm, &der::octet_string(&inside)])
    }
}

fn from_pem(text: &str) -> Result<Material, ImportError> {
    let mut rest = text;
    let mut found = None;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let (label, after) = after.split_once("-----").ok_or(ImportError::Damaged("PEM"))?;
        let (body, after) = after.split_once("-----END ").ok_or(ImportError::Damaged("PEM"))?;
        rest = after;
        match label {
            // `openssl ecparam -genkey` writes the curve before the key.
            "EC PARAMETERS" => continue,
            "ENCRYPTED PRIVATE KEY" => return Err(ImportError::Encrypted),
            "OPENSSH PRIVATE KEY" => return Err(ImportError::OpenSsh),
            "PUBLIC KEY" | "RSA PUBLIC KEY" | "CERTIFICATE" | "CERTIFICATE REQUEST" => {
                return Err(ImportError::Public);
            }
            _ if body.contains("ENCRYPTED") => return Err(ImportError::Encrypted),
            "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY" => {}
            "DSA PRIVATE KEY" => return Err(ImportError::Kind("DSA")),
            _ => return Err(ImportError::NotAKey),
        }
        let der = decode(&STANDARD, body, "PEM")?;
        let material = match label {
            "EC PRIVATE KEY" => sec1(&der, None)?,
            "RSA PRIVATE KEY" => Material::rsa(der)?,
            _ => pkcs8(&der)?,
        };
        if found.replace(material).is_some() {
            return Err(ImportError::Several);
        }
    }
    found.ok_or(ImportError::NotAKey)
}

fn decode(
    engine: &base64::engine::GeneralPurpose,
    text: &str,
    what: &'static str,
) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    // Room for all at once: a buffer that grows leaves copies behind.
    let mut plain = Zeroizing::new(String::with_capacity(text.len()));
    plain.extend(text.chars().filter(|c| !c.is_ascii_whitespace()));
    let mut out = Zeroizing::new(vec![0; plain.len()]);
    let length = engine.decode_slice(plain.as_bytes(), &mut out).map_err(|_| ImportError::Damaged(what))?;
    out.truncate(length);
    Ok(out)
}

const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSASSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P_256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// RFC 5958 `OneAsymmetricKey`, either version.
fn pkcs8(der: &[u8]) -> Result<Material, ImportError> {
    let damaged = ImportError::Damaged("PKCS#8 key");
    let parts = || {
        let (inside, rest) = der::take(SEQUENCE, der)?;
        let (_version, after) = der::take(INTEGER, inside)?;
        let (algorithm, after) = der::take(SEQUENCE, after)?;
        let (oid, parameters) = der::take(OBJECT_ID, algorithm)?;
        let (key, _) = der::take(OCTET_STRING, after)?;
        rest.is_empty().then_some((oid, parameters, key))
    };
    let (oid, parameters, key) = parts().ok_or_else(|| damaged.clone())?;
    match oid {
        RSA_ENCRYPTION => Material::rsa(Zeroizing::new(key.to_vec())),
        RSASSA_PSS => Err(ImportError::Kind("an RSA key marked for PSS alone; write it as rsaEncryption")),
        EC_PUBLIC_KEY => {
            let (curve, _) = der::take(OBJECT_ID, parameters).ok_or(damaged)?;
            sec1(key, Some(curve))
        }
        ED25519 => {
            let (seed, _) = der::take(OCTET_STRING, key).filter(|(seed, _)| seed.len() == 32).ok_or(damaged)?;
            Ok(Material::Ed25519 { seed: Zeroizing::new(seed.to_vec()), x: None })
        }
        [0x2b, 0x65, 0x71] => Err(ImportError::Curve("Ed448")),
        [0x2b, 0x65, 0x6e | 0x6f] => Err(ImportError::Kind("X25519 or X448, which do not sign")),
        _ => Err(ImportError::Kind("this one")),
    }
}

/// RFC 5915 `ECPrivateKey`; the curve may stand outside of it.
fn sec1(der: &[u8], outer: Option<&[u8]>) -> Result<Material, ImportError> {
    let damaged = ImportError::Damaged("EC key");
    let parts = || {
        let (inside, _) = der::take(SEQUENCE, der)?;
        let (_version, after) = der::take(INTEGER, inside)?;
        let (secret, after) = der::take(OCTET_STRING, after)?;
        let (curve, after) = match der::take(der::context(0), after) {
            Some((parameters, after)) => (Some(der::take(OBJECT_ID, parameters)?.0), after),
            None => (None, after),
        };
        let point = match der::take(der::context(1), after) {
            Some((bits, _)) => Some(der::take_bits(bits)?.0),
            None => None,
        };
        Some((secret, curve, point))
    };
    let (secret, curve, point) = parts().ok_or_else(|| damaged.clone())?;
    match outer.or(curve).ok_or_else(|| damaged.clone())? {
        P_256 => {}
        [0x2b, 0x81, 0x04, 0x00, 0x22] => return Err(ImportError::Curve("P-384")),
        [0x2b, 0x81, 0x04, 0x00, 0x23] => return Err(ImportError::Curve("P-521")),
        [0x2b, 0x81, 0x04, 0x00, 0x0a] => return Err(ImportError::Curve("secp256k1")),
        _ => return Err(ImportError::Curve("of another name")),
    }
    let point = point.ok_or(ImportError::NoPublicHalf)?.to_vec();
    Ok(Material::P256 { secret: padded(secret).ok_or(damaged)?, point })
}

/// 32 bytes, zeros in front.
fn padded(number: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let zeros = number.iter().take_while(|b| **b == 0).count();
    let number = number.get(zeros..)?;
    let mut out = Zeroizing::new(vec![0; 32]);
    out.get_mut(32_usize.checked_sub(number.len())?..)?.copy_from_slice(number);
    Some(out)
}

/// The members of a private JWK (RFC 7518 §6.2.2, §6.3.2; RFC 8037 §2). Wiped when dropped.
#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
struct PrivateJwk {
    kty: Option<String>,
    crv: Option<String>,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<String>,
    p: Option<String>,
    q: Option<String>,
    dp: Option<String>,
    dq: Option<String>,
    qi: Option<String>,
    #[zeroize(skip)]
    oth: Option<serde::de::IgnoredAny>,
    #[zeroize(skip)]
    keys: Option<serde::de::IgnoredAny>,
}

fn from_jwk(text: &str) -> Result<(Material, Option<Kid>, Option<Algorithm>), ImportError> {
    let jwk: PrivateJwk = serde_json::from_str(text).map_err(|_| ImportError::Damaged("JWK"))?;
    if jwk.keys.is_some() {
        return Err(ImportError::Several);
    }
    let kind = jwk.kty.as_deref().ok_or(ImportError::NotAKey)?;
    if kind == "oct" {
        return Err(ImportError::Kind("a symmetric key"));
    }
    if jwk.d.is_none() {
        return Err(ImportError::Public);
    }
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err(ImportError::Use("use"));
    }
    if jwk.key_ops.as_ref().is_some_and(|operations| operations.iter().all(|operation| operation != "sign")) {
        return Err(ImportError::Use("key_ops"));
    }
    let algorithm = match jwk.alg.as_deref() {
        None => None,
        // RFC 9864's name for EdDSA on this curve.
        Some("Ed25519") => Some(Algorithm::EdDsa),
        Some(name) => Some(name.parse().map_err(|_| ImportError::Use("alg"))?),
    };
    let kid = jwk.kid.as_deref().map(Kid::parse).transpose().map_err(|why| ImportError::Id(why.to_string()))?;
    let bytes = |member: &Option<String>| {
        let text = member.as_deref().ok_or(ImportError::Damaged("JWK"))?;
        decode(&URL_SAFE_NO_PAD, text, "JWK")
    };
    let material = match (kind, jwk.crv.as_deref()) {
        ("EC", Some("P-256")) => {
            let (Some(_), Some(_)) = (&jwk.x, &jwk.y) else { return Err(ImportError::NoPublicHalf) };
            let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
            let (Some(x), Some(y)) = (padded(&x), padded(&y)) else { return Err(ImportError::Damaged("JWK")) };
            let secret = padded(&bytes(&jwk.d)?).ok_or(ImportError::Damaged("JWK"))?;
            Material::P256 { secret, point: [&[4], x.as_slice(), y.as_slice()].concat() }
        }
        ("EC", Some("P-384")) => return Err(ImportError::Curve("P-384")),
        ("EC", Some("P-521")) => return Err(ImportError::Curve("P-521")),
        ("EC", Some("secp256k1")) => return Err(ImportError::Curve("secp256k1")),
        ("OKP", Some("Ed25519")) => {
            let seed = bytes(&jwk.d)?;
            if seed.len() != 32 {
                return Err(ImportError::Damaged("JWK"));
            }
            Material::Ed25519 { seed, x: jwk.x.clone() }
        }
        ("OKP", Some("Ed448")) => return Err(ImportError::Curve("Ed448")),
        ("EC" | "OKP", _) => return Err(ImportError::Curve("of another name")),
        ("RSA", _) => {
            if jwk.oth.is_some() {
                return Err(ImportError::Kind("RSA with more than two primes"));
            }
            let members = [&jwk.n, &jwk.e, &jwk.d, &jwk.p, &jwk.q, &jwk.dp, &jwk.dq, &jwk.qi];
            if members.iter().any(|member| member.is_none()) {
                return Err(ImportError::RsaPrimes);
            }
            let mut parts = vec![der::integer(&[0])];
            for member in members {
                parts.push(der::integer(&bytes(member)?));
            }
            let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_slice()).collect();
            Material::rsa(der::sequence(&parts))?
        }
        _ => return Err(ImportError::Kind("another `kty`")),
    };
    Ok((material, kid, algorithm))
}

#[cfg(test)]
mod tests;
