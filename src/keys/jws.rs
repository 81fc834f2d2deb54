//! Reading a compact JWS (RFC 7515 §7.1) that a stranger sent. Strict: one spelling for one token, and nothing in the
//! header is trusted beyond `alg`, `kid` and `typ`; keys it brings along (`jwk`, `jku`, `x5c`, `x5u`) are never looked
//! at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::strict_json::parse_object;

/// The longest token, in characters: room for every role a client can hold, thrice.
pub const MAX_TOKEN: usize = 128 * 1024;
/// The longest header, decoded, in bytes.
pub const MAX_HEADER: usize = 8 * 1024;
/// How deeply a header may be nested.
const MAX_DEPTH: usize = 8;

/// Why a text is not a token we read. For the log: a caller only learns that it is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Longer than [`MAX_TOKEN`], or its header than [`MAX_HEADER`].
    #[error("the token is too long")]
    TooLong,
    /// Not three parts of canonical base64url without padding.
    #[error("not three parts of base64url")]
    NotCompact,
    /// The header is no JSON object, repeats a member, or is nested too deeply.
    #[error("the header is not a JSON object with each member once")]
    Header,
    /// `alg` is missing, or `alg`, `kid` or `typ` is not a text.
    #[error("the header has no alg, or its alg, kid or typ is not a text")]
    Member,
    /// There is a `crit`: we understand no extension (RFC 7515 §4.1.11).
    #[error("the header names critical extensions")]
    Critical,
}

/// What of the header counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The algorithm it claims; the key decides which one is checked.
    pub alg: String,
    /// Which key it names.
    pub kid: Option<String>,
    /// Its media type.
    pub typ: Option<String>,
}

impl Header {
    /// Whether `typ` is this media type: without regard to case, `application/` left out or not (RFC 7515 §4.1.9).
    #[must_use]
    pub fn is_type(&self, media_type: &str) -> bool {
        let Some(typ) = self.typ.as_deref() else { return false };
        let prefix = typ.get(..12).filter(|prefix| prefix.eq_ignore_ascii_case("application/"));
        let short = prefix.and_then(|_| typ.get(12..)).unwrap_or(typ);
        short.eq_ignore_ascii_case(media_type)
    }
}

/// A compact JWS taken apart; nothing about it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jws<'a> {
    /// What of its header counts.
    pub header: Header,
    /// What was signed: header, dot and payload as they stand in the text.
    pub signing_input: &'a [u8],
    /// The payload.
    pub payload: Vec<u8>,
    /// The signature, never empty.
    pub signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`JwsError`].
    pub fn parse(token: &'a str) -> Result<Self, JwsError> {
        if token.len() > MAX_TOKEN {
            return Err(JwsError::TooLong);
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(JwsError::NotCompact)?;
        let (header, payload) = signing_input.split_once('.').ok_or(JwsError::NotCompact)?;
        if header.len() > MAX_HEADER / 3 * 4 {
            return Err(JwsError::TooLong);
        }
        // This engine refuses padding and stray trailing bits; a further dot is no base64url either.
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwsError::NotCompact);
        let (header, payload, signature) = (decoded(header)?, decoded(payload)?, decoded(signature)?);
        if signature.is_empty() {
            return Err(JwsError::NotCompact);
        }
        Ok(Self { header: read_header(&header)?, signing_input: signing_input.as_bytes(), payload, signature })
    }
}

fn read_header(json: &[u8]) -> Result<Header, JwsError> {
    let mut members = parse_object(json, MAX_DEPTH).ok_or(JwsError::Header)?;
    if members.contains_key("crit") {
        return Err(JwsError::Critical);
    }
    let mut text = |name| match members.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(JwsError::Member),
    };
    Ok(Header { alg: text("alg")?.ok_or(JwsError::Member)?, kid: text("kid")?, typ: text("typ")? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn b64(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn token(header: &str) -> String {
        format!("{}.{}.{}", b64(header.as_bytes()), b64(b"{}"), b64(b"sig"))
    }

    #[test]
    fn of_the_header_only_three_members_count() {
        let text =
            token(r#"{"kid":"k","typ":"JWT","alg":"ES256","jku":"https://evil","jwk":{"kty":"oct"},"x5c":[""]}"#);
        let jws = Jws::parse(&text).unwrap();
        let expected = Header { alg: "ES256".into(), kid: Some("k".into()), typ: Some("JWT".into()) };
        assert_eq!(jws.header, expected);
        assert_eq!(jws.signing_input, text.rsplit_once('.').unwrap().0.as_bytes());
        assert_eq!((jws.payload.as_slice(), jws.signature.as_slice()), (&b"{}"[..], &b"sig"[..]));
    }

    #[test]
    fn what_is_not_one_strict_compact_jws_is_refused() {
        let good = token(r#"{"alg":"ES256"}"#);
        let rows = [
            (String::new(), JwsError::NotCompact),
            ("a".into(), JwsError::NotCompact),
            ("a.b".into(), JwsError::NotCompact),
            ("..".into(), JwsError::NotCompact),
            (format!("{good}."), JwsError::NotCompact),
            (format!("{good}.{good}"), JwsError::NotCompact),
            (format!("{good}="), JwsError::NotCompact),
            (format!(" {good}"), JwsError::NotCompact),
            (format!("{good}\n"), JwsError::NotCompact),
            (format!("{}.e30.c2ln", b64(br#"{"alg":"none"}"#)).replace("c2ln", ""), JwsError::NotCompact),
            (format!("{}.e31.c2ln", b64(br#"{"alg":"ES256"}"#)), JwsError::NotCompact), // stray trailing bits
            (format!("{}.e30.c2l+", b64(br#"{"alg":"ES256"}"#)), JwsError::NotCompact), // the other base64
            (token("[]"), JwsError::Header),
            (token("{"), JwsError::Header),
            (token(r#"{"alg":"ES256"}x"#), JwsError::Header),
            (token(r#"{"alg":"ES256","alg":"none"}"#), JwsError::Header),
            (token(r#"{"alg":"ES256","x":{"y":1,"y":2}}"#), JwsError::Header),
            (token(&format!(r#"{{"alg":"ES256","x":{}{}}}"#, "[".repeat(9), "]".repeat(9))), JwsError::Header),
            (token("{}"), JwsError::Member),
            (token(r#"{"alg":1}"#), JwsError::Member),
            (token(r#"{"alg":"ES256","kid":7}"#), JwsError::Member),
            (token(r#"{"alg":"ES256","typ":null}"#), JwsError::Member),
            (token(r#"{"alg":"ES256","crit":["exp"]}"#), JwsError::Critical),
            (token(r#"{"alg":"ES256","crit":[]}"#), JwsError::Critical),
            (token(&format!(r#"{{"alg":"{}"}}"#, "x".repeat(MAX_HEADER))), JwsError::TooLong),
            ("a".repeat(MAX_TOKEN + 1), JwsError::TooLong),
        ];
        for (text, expected) in rows {
            assert_eq!(Jws::parse(&text).unwrap_err(), expected, "{}", &text[..text.len().min(80)]);
        }
        assert!(Jws::parse(&good).is_ok());
    }

    #[test]
    fn media_types_compare_as_rfc_7515_says() {
        let header = |typ: Option<&str>| Header { alg: String::new(), kid: None, typ: typ.map(Into::into) };
        for same in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
            assert!(header(Some(same)).is_type("at+jwt"), "{same}");
        }
        for other in ["JWT", "application/", "at+jwt ", "text/at+jwt", "applicatioñ/at+jwt"] {
            assert!(!header(Some(other)).is_type("at+jwt"), "{other}");
        }
        assert!(!header(None).is_type("at+jwt"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".{0,200}", parts in "[A-Za-z0-9_=-]{0,20}(\\.[A-Za-z0-9_-]{0,20}){0,4}") {
            let _ = Jws::parse(&text);
            let _ = Jws::parse(&parts);
        }

        #[test]
        fn a_token_goes_there_and_back(
            alg in ".{0,10}", kid in prop::option::of(".{0,40}"), typ in prop::option::of(".{0,10}"),
            payload in prop::collection::vec(any::<u8>(), 0..100), signature in prop::collection::vec(any::<u8>(), 1..100),
        ) {
            let mut header = serde_json::json!({ "alg": alg });
            if let Some(kid) = &kid { header["kid"] = kid.as_str().into(); }
            if let Some(typ) = &typ { header["typ"] = typ.as_str().into(); }
            let text = format!("{}.{}.{}", b64(header.to_string().as_bytes()), b64(&payload), b64(&signature));
            let jws = Jws::parse(&text).unwrap();
            prop_assert_eq!(&jws.header, &Header { alg, kid, typ });
            prop_assert_eq!((jws.payload, jws.signature), (payload, signature));
        }
    }
}
