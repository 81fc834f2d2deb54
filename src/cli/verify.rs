//! Judges a token as a verifier would (RFC 9068 §4, RFC 7519 §7.2, RFC 8725), and says in words what is wrong with it.
//!
//! Every reason is reported, not the first: whoever debugs a refusal wants them all. Knows the time as an argument and
//! keys as JWK documents; fetches nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::Value;

use super::output::printable;
use super::view;
use crate::config::span;
use crate::model::algorithm::Algorithm;
use crate::model::time::Timestamp;

/// A token taken apart; nothing in it is proven.
#[derive(Debug)]
pub(super) struct Decoded<'a> {
    /// The JOSE header.
    pub(super) header: Value,
    /// The claims.
    pub(super) claims: Value,
    signed: &'a str,
    signature: Vec<u8>,
}

/// Takes a compact JWS apart (RFC 7515 §7.1).
///
/// # Errors
/// Why it is none; never its content.
pub(super) fn decode(token: &str) -> Result<Decoded<'_>, &'static str> {
    let (signed, signature) = token.rsplit_once('.').ok_or("a token has three parts with dots between them")?;
    let (header, claims) = signed
        .split_once('.')
        .filter(|(_, claims)| !claims.contains('.'))
        .ok_or("a token has three parts with dots between them")?;
    let json = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok().filter(Value::is_object)
    };
    Ok(Decoded {
        header: json(header).ok_or("its header is not base64url of a JSON object")?,
        claims: json(claims).ok_or("its claims are not base64url of a JSON object")?,
        signed,
        signature: URL_SAFE_NO_PAD.decode(signature).map_err(|_| "its signature is not base64url")?,
    })
}

/// What a verifier expects.
#[derive(Debug, Default)]
pub(super) struct Expected<'a> {
    /// The issuer; not judged without one.
    pub(super) issuer: Option<&'a str>,
    /// The audience; not judged without one.
    pub(super) audience: Option<&'a str>,
    /// The issuer's published keys; the signature is not judged without them.
    pub(super) keys: Option<&'a [Value]>,
}

impl Decoded<'_> {
    /// Why a verifier with these expectations refuses the token at `now`; none: it does not.
    pub(super) fn refusals(&self, expected: &Expected<'_>, now: Timestamp) -> Vec<String> {
        let mut reasons = Vec::new();
        let algorithm = self.judge_header(&mut reasons);
        if let (Some(keys), Some(algorithm)) = (expected.keys, algorithm) {
            reasons.extend(self.judge_signature(keys, algorithm).err());
        }
        self.judge_names(expected, &mut reasons);
        self.judge_times(now, &mut reasons);
        reasons
    }

    fn judge_header(&self, reasons: &mut Vec<String>) -> Option<Algorithm> {
        let name = view::text(&self.header, "alg");
        let algorithm = name.parse::<Algorithm>().ok();
        if algorithm.is_none() {
            reasons.push(match name.as_str() {
                "" => "it names no algorithm (alg)".into(),
                _ if name.eq_ignore_ascii_case("none") => "alg is none: it is not signed at all".into(),
                _ if name.starts_with("HS") => {
                    format!("alg is {}: anybody who can verify it could have made it", printable(&name))
                }
                _ => format!("alg is {}, which edi does not sign with", printable(&name)),
            });
        }
        let typ = view::text(&self.header, "typ").to_ascii_lowercase();
        if !matches!(typ.as_str(), "at+jwt" | "application/at+jwt") {
            let found = if typ.is_empty() { "missing".into() } else { printable(&typ) };
            reasons.push(format!("typ is {found}, not at+jwt: it is no access token"));
        }
        if self.header.get("crit").is_some() {
            reasons.push("its header has a crit list: a verifier must understand every extension it names".into());
        }
        algorithm
    }

    fn judge_signature(&self, keys: &[Value], algorithm: Algorithm) -> Result<(), String> {
        let kid = view::text(&self.header, "kid");
        let shown = printable(&kid);
        let mut candidates = keys.iter().filter(|key| kid.is_empty() || view::text(key, "kid") == kid).peekable();
        if candidates.peek().is_none() {
            let known = keys.iter().map(|key| printable(&view::text(key, "kid"))).collect::<Vec<_>>().join(", ");
            return Err(format!(
                "its key {shown} is not in the issuer's key set ({known}): revoked, retired, or of another issuer"
            ));
        }
        let mut fitting = candidates
            .filter(|key| key.get("alg").is_none_or(|alg| alg == algorithm.name()))
            .filter_map(|key| check(key, algorithm, self.signed.as_bytes(), &self.signature))
            .peekable();
        if fitting.peek().is_none() {
            return Err(format!("its key {shown} is not an {algorithm} key"));
        }
        if fitting.any(|fits| fits) {
            Ok(())
        } else {
            Err("its signature is wrong: it was altered, or signed by another key".into())
        }
    }

    fn judge_names(&self, expected: &Expected<'_>, reasons: &mut Vec<String>) {
        let text = |key: &str| self.claims.get(key).and_then(Value::as_str);
        if let Some(issuer) = expected.issuer
            && text("iss") != Some(issuer)
        {
            let found = text("iss").map_or("missing".into(), printable);
            reasons.push(format!("its issuer (iss) is {found}, not {issuer}"));
        }
        let audiences = match self.claims.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            _ => view::list(&self.claims, "aud"),
        };
        if audiences.is_empty() {
            reasons.push("it has no audience (aud)".into());
        } else if let Some(audience) = expected.audience
            && !audiences.iter().any(|found| found == audience)
        {
            reasons.push(format!("its audience (aud) is {}, not {audience}", printable(&audiences.join(", "))));
        }
        for claim in ["iss", "sub", "client_id", "jti"] {
            if text(claim).is_none() && !(claim == "iss" && expected.issuer.is_some()) {
                reasons.push(format!("it has no {claim}, which RFC 9068 requires"));
            }
        }
    }

    fn judge_times(&self, now: Timestamp, reasons: &mut Vec<String>) {
        match self.instant("exp") {
            Err(reason) => reasons.push(reason),
            Ok(None) => reasons.push("it has no exp: it would never end".into()),
            Ok(Some(end)) if end <= now => reasons.push(format!("it expired {} ago, at {end}", span(now.since(end)))),
            Ok(Some(_)) => {}
        }
        for (claim, what) in [("iat", "it was issued"), ("nbf", "it begins")] {
            match self.instant(claim) {
                Err(reason) => reasons.push(reason),
                Ok(None) if claim == "iat" => reasons.push("it has no iat, which RFC 9068 requires".into()),
                Ok(Some(at)) if at > now => {
                    reasons.push(format!(
                        "{what} {} in the future ({claim} {at}): compare the clocks",
                        span(at.since(now))
                    ));
                }
                Ok(_) => {}
            }
        }
    }

    /// A `NumericDate` claim (RFC 7519 §2), rounded down.
    pub(super) fn instant(&self, claim: &str) -> Result<Option<Timestamp>, String> {
        let Some(value) = self.claims.get(claim) else { return Ok(None) };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a cast from f64 saturates, and such a time is absurd anyway"
        )]
        let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64));
        seconds.map(|seconds| Some(Timestamp::from_secs(seconds))).ok_or_else(|| format!("its {claim} is not a number"))
    }
}

/// Whether the key made the signature; `None` when the key is not of that kind.
fn check(jwk: &Value, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Option<bool> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let ec = |curve: &str| (text("kty") == Some("EC") && text("crv") == Some(curve)).then_some(());
    let rsa = || (text("kty") == Some("RSA")).then(|| Some((bytes("n")?, bytes("e")?))).flatten();
    let fits = match algorithm {
        Algorithm::Es256 => {
            ec("P-256")?;
            let point = [&[4], bytes("x")?.as_slice(), bytes("y")?.as_slice()].concat();
            UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
        }
        Algorithm::EdDsa => {
            (text("kty") == Some("OKP") && text("crv") == Some("Ed25519")).then_some(())?;
            UnparsedPublicKey::new(&signature::ED25519, bytes("x")?).verify(message, signature)
        }
        Algorithm::Rs256 => {
            let (n, e) = rsa()?;
            RsaPublicKeyComponents { n, e }.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
        }
        Algorithm::Ps256 => {
            let (n, e) = rsa()?;
            RsaPublicKeyComponents { n, e }.verify(&signature::RSA_PSS_2048_8192_SHA256, message, signature)
        }
    };
    Some(fits.is_ok())
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn encode(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    /// A fresh P-256 key: its JWK, and what signs with it.
    #[expect(clippy::disallowed_methods, reason = "ring's own key generation and ECDSA signing are the exception")]
    fn key() -> (Value, impl Fn(&Value, &Value) -> String) {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "k1", "alg": "ES256", "use": "sig" });
        let sign = move |header: &Value, claims: &Value| {
            let signed = format!("{}.{}", encode(header), encode(claims));
            let signature = pair.sign(&random, signed.as_bytes()).unwrap();
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        };
        (jwk, sign)
    }

    fn header() -> Value {
        json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" })
    }

    fn claims() -> Value {
        json!({ "iss": "https://edi.example", "sub": "svc", "client_id": "svc", "aud": "models", "jti": "j",
                "iat": NOW - 60, "exp": NOW + 60, "scope": "fraud", "roles": ["fraud"] })
    }

    fn with(mut value: Value, key: &str, new: Value) -> Value {
        value[key] = new;
        value
    }

    fn without(mut value: Value, key: &str) -> Value {
        value.as_object_mut().unwrap().remove(key);
        value
    }

    fn refusals(token: &str, keys: &[Value]) -> Vec<String> {
        let expected = Expected { issuer: Some("https://edi.example"), audience: Some("models"), keys: Some(keys) };
        decode(token).unwrap().refusals(&expected, Timestamp::from_secs(NOW))
    }

    #[test]
    fn a_good_token_is_not_refused() {
        let (jwk, sign) = key();
        let token = sign(&header(), &claims());
        assert_eq!(refusals(&token, &[json!({ "kty": "EC", "kid": "other" }), jwk]), Vec::<String>::new());
    }

    #[test]
    fn each_fault_has_its_words() {
        let (jwk, sign) = key();
        let far = NOW + 120;
        for (header, claims, why) in [
            (with(header(), "alg", json!("none")), claims(), "alg is none"),
            (with(header(), "alg", json!("HS256")), claims(), "anybody who can verify it"),
            (with(header(), "alg", json!("RS256")), claims(), "its key k1 is not an RS256 key"),
            (without(header(), "alg"), claims(), "names no algorithm"),
            (with(header(), "typ", json!("JWT")), claims(), "typ is jwt, not at+jwt"),
            (without(header(), "typ"), claims(), "typ is missing"),
            (with(header(), "crit", json!(["x"])), claims(), "crit"),
            (with(header(), "kid", json!("k9")), claims(), "its key k9 is not in the issuer's key set (k1)"),
            (
                header(),
                with(claims(), "iss", json!("https://evil.example")),
                "its issuer (iss) is https://evil.example",
            ),
            (header(), without(claims(), "iss"), "its issuer (iss) is missing"),
            (header(), with(claims(), "aud", json!(["a", "b"])), "its audience (aud) is a, b, not models"),
            (header(), without(claims(), "aud"), "no audience"),
            (header(), with(claims(), "exp", json!(NOW - 180)), "it expired 3m ago"),
            (header(), with(claims(), "exp", json!(NOW)), "it expired 0s ago"),
            (header(), without(claims(), "exp"), "no exp"),
            (header(), with(claims(), "exp", json!("soon")), "its exp is not a number"),
            (header(), with(claims(), "iat", json!(far)), "it was issued 2m in the future"),
            (header(), with(claims(), "nbf", json!(far)), "it begins 2m in the future"),
            (header(), without(claims(), "iat"), "no iat"),
            (header(), without(claims(), "jti"), "no jti"),
            (header(), without(claims(), "client_id"), "no client_id"),
        ] {
            let found = refusals(&sign(&header, &claims), std::slice::from_ref(&jwk));
            assert_eq!(found.len(), 1, "{why}: {found:?}");
            assert!(found[0].contains(why), "{why}: {found:?}");
        }
    }

    #[test]
    fn an_altered_token_and_a_foreign_key_are_found_out() {
        let (jwk, sign) = key();
        let (_, forge) = key();
        let good = sign(&header(), &claims());
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let other = signed.split_once('.').unwrap().0.to_owned() + "." + &encode(&with(claims(), "sub", json!("boss")));
        for token in [format!("{other}.{signature}"), forge(&header(), &claims()), format!("{signed}.")] {
            let found = refusals(&token, std::slice::from_ref(&jwk));
            assert!(found.iter().any(|reason| reason.contains("signature is wrong")), "{found:?}");
        }
    }

    #[test]
    fn all_reasons_are_told_together() {
        let (jwk, sign) = key();
        let claims = with(with(claims(), "exp", json!(NOW - 1)), "aud", json!("x"));
        assert_eq!(refusals(&sign(&with(header(), "typ", json!("JWT")), &claims), &[jwk]).len(), 3);
    }

    #[test]
    fn ed25519_signatures_are_checked() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k1" });
        let signed = format!("{}.{}", encode(&with(header(), "alg", json!("EdDSA"))), encode(&claims()));
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes())));
        assert_eq!(refusals(&token, &[jwk]), Vec::<String>::new());
    }

    #[test]
    fn rs256_follows_rfc_7515_appendix_a_2() {
        let jwk = json!({ "kty": "RSA", "e": "AQAB",
            "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR\
                  T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXB\
                  dQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia\
                  GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" });
        let signed = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9p\
                      c19yb290Ijp0cnVlfQ";
        let signature = URL_SAFE_NO_PAD
            .decode(
                "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdb\
                 F9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383\
                 LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWy\
                 wlVmtVrBp0igcN_IoypGlUPQGe77Rw",
            )
            .unwrap();
        assert_eq!(check(&jwk, Algorithm::Rs256, signed.as_bytes(), &signature), Some(true));
        assert_eq!(check(&jwk, Algorithm::Rs256, b"altered", &signature), Some(false));
        assert_eq!(check(&jwk, Algorithm::Ps256, signed.as_bytes(), &signature), Some(false));
        assert_eq!(check(&jwk, Algorithm::Es256, signed.as_bytes(), &signature), None);
    }

    #[test]
    fn what_is_no_token_is_said_so() {
        for (text, why) in [
            ("", "three parts"),
            ("a.b", "three parts"),
            ("a.b.c.d", "three parts"),
            ("!.e30.x", "header"),
            ("e30.W10.x", "claims"),
            ("e30.e30.!", "signature"),
        ] {
            assert!(decode(text).unwrap_err().contains(why), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-A-Za-z0-9_.=]{0,200}") {
            if let Ok(decoded) = decode(&text) {
                decoded.refusals(&Expected { keys: Some(&[]), ..Expected::default() }, Timestamp::from_secs(NOW));
            }
        }
    }
}
