//! The `Authorization` header: Basic (RFC 7617, as RFC 6749 §2.3.1 uses it) and Bearer (RFC 6750 §2.1).
//!
//! Says what was presented; whether it is right is for others to judge.
//!
//! Id and secret of Basic are form-decoded, as RFC 6749 §2.3.1 demands. Clients that send them raw (curl `-u`) mean the
//! same as long as they use unreserved characters, which all ids and all secrets made by edi do. For other secrets the
//! RFC's reading holds: `+` is a space, a `%` without two hexadecimal digits is malformed.

use std::fmt;

use ::base64::Engine as _;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};

use super::form;
use crate::model::{ascii, base64};
use crate::oauth::client_auth;
use crate::oauth::error::OAuthError;
use crate::secret::{Secret, Wiped};

/// What the `Authorization` header presents.
#[derive(Debug)]
pub enum Presented {
    /// No such header.
    None,
    /// A client's id and secret, form-decoded.
    Basic(Basic),
    /// A bearer token of RFC 6750's grammar.
    Bearer(Secret),
    /// Something else; the text says what, for the operator. Never what was sent.
    Malformed(&'static str),
}

/// A client's id and secret, form-decoded, in one text that is wiped when dropped.
pub struct Basic {
    /// `id:secret`
    text: Secret,
    /// Where the id ends.
    colon: usize,
}

impl Basic {
    /// The id: any text without control characters, not empty, not yet checked against an id's grammar.
    #[must_use]
    pub fn id(&self) -> &str {
        self.text.expose().get(..self.colon).unwrap_or_default()
    }

    /// The secret; may be empty.
    #[must_use]
    pub fn secret(&self) -> &str {
        self.text.expose().get(self.colon + 1..).unwrap_or_default()
    }

    /// The same for the one who checks it.
    #[must_use]
    pub fn pair(&self) -> client_auth::Pair<'_> {
        client_auth::Pair { id: self.id(), secret: self.secret() }
    }
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basic").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Presented {
    /// Reads the header.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        let mut all = headers.get_all(AUTHORIZATION);
        match (all.next(), all.next()) {
            (None, _) => Self::None,
            (Some(_), Some(_)) => Self::Malformed("more than one Authorization header"),
            (Some(value), None) => Self::parse(value.as_bytes()),
        }
    }

    /// Reads the header's value.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let (scheme, rest) = form::halves(value, b' ');
        let rest = rest.trim_ascii_start();
        if scheme.eq_ignore_ascii_case(b"basic") {
            basic(rest).map_or_else(Self::Malformed, Self::Basic)
        } else if scheme.eq_ignore_ascii_case(b"bearer") {
            bearer(rest).map_or(Self::Malformed("a Bearer token outside the grammar of RFC 6750"), |token| {
                Self::Bearer(Secret::new(token.to_owned()))
            })
        } else {
            Self::Malformed("an Authorization scheme that is neither Basic nor Bearer")
        }
    }

    /// Basic credentials at an endpoint where a client authenticates itself; `None` when the header is absent.
    ///
    /// # Errors
    /// `invalid_client` for anything but Basic credentials: a client that tried the header is told so with 401
    /// (RFC 6749 §5.2).
    pub fn into_basic(self) -> Result<Option<Basic>, OAuthError> {
        match self {
            Self::None => Ok(None),
            Self::Basic(basic) => Ok(Some(basic)),
            Self::Bearer(_) => Err(OAuthError::invalid_client("a Bearer token in place of client credentials")),
            Self::Malformed(why) => Err(OAuthError::invalid_client(why)),
        }
    }
}

/// The bearer token in the `Authorization` header as it lies there; `None` without such a header. For a path that asks
/// for one at every request: nothing is copied, so nothing is to be wiped.
///
/// # Errors
/// [`NotABearer`] when the header holds anything else, or comes twice.
pub fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, NotABearer> {
    let mut all = headers.get_all(AUTHORIZATION);
    let (value, another) = (all.next(), all.next());
    let Some(value) = value else { return Ok(None) };
    let (scheme, rest) = form::halves(value.as_bytes(), b' ');
    let named = another.is_none() && scheme.eq_ignore_ascii_case(b"bearer");
    let token = if named { bearer(rest.trim_ascii_start()) } else { None };
    token.map(Some).ok_or(NotABearer)
}

/// An `Authorization` header that holds no usable bearer token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Authorization header holds no usable bearer token")]
pub struct NotABearer;

fn basic(encoded: &[u8]) -> Result<Basic, &'static str> {
    let plain = Wiped::from(base64::standard().decode(encoded).map_err(|_| "Basic credentials that are not base64")?);
    let colon = plain.iter().position(|b| *b == b':').ok_or("Basic credentials without a colon")?;
    let not_text = "Basic credentials that are not form-encoded UTF-8";
    let basic = if form::is_plain(&plain) {
        Basic { text: plain.into_text().ok_or(not_text)?, colon }
    } else {
        let (id, secret) = form::halves(&plain, b':');
        let decode = |raw| form::decode(raw).map_err(|_| not_text);
        let id = decode(id)?;
        let secret = Secret::from(decode(secret)?);
        // Room for all of it at once: a text that grows leaves unwiped copies behind.
        let mut text = String::with_capacity(id.len() + 1 + secret.expose().len());
        text.extend([&id, ":", secret.expose()]);
        Basic { text: Secret::new(text), colon: id.len() }
    };
    // RFC 7617 §2: neither part has control characters.
    if basic.id().is_empty() || form::has_control(basic.text.expose()) {
        return Err("Basic credentials with an empty id or a control character");
    }
    Ok(basic)
}

/// `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn bearer(token: &[u8]) -> Option<&str> {
    let end = token.iter().rposition(|b| *b != b'=').map_or(0, |last| last + 1);
    let body = token.get(..end)?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    (!body.is_empty() && ascii::all(body, fits)).then_some(())?;
    std::str::from_utf8(token).ok()
}

#[cfg(test)]
mod tests {
    use ::base64::engine::general_purpose::STANDARD;
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn encoded(plain: impl AsRef<[u8]>) -> String {
        STANDARD.encode(plain)
    }

    fn pair(header: &str) -> Option<(String, String)> {
        match Presented::parse(header.as_bytes()) {
            Presented::Basic(basic) => Some((basic.id().to_owned(), basic.secret().to_owned())),
            _ => None,
        }
    }

    #[test]
    fn basic_credentials_are_form_decoded() {
        for (plain, id, secret) in [
            ("svc:s3cret", "svc", "s3cret"),
            ("svc:", "svc", ""),
            ("svc:a:b", "svc", "a:b"),
            ("a%3Ab:c%3Ad", "a:b", "c:d"),
            ("a+b:%C3%A4%2B+", "a b", "ä+ "),
            ("svc:edi_ab12_A-Z.~_", "svc", "edi_ab12_A-Z.~_"),
        ] {
            let want = Some((id.to_owned(), secret.to_owned()));
            assert_eq!(pair(&format!("Basic {}", encoded(plain))), want, "{plain}");
        }
        for scheme in ["basic ", "BASIC ", "Basic   "] {
            assert!(pair(&format!("{scheme}{}", encoded("a:b"))).is_some(), "{scheme}");
        }
    }

    #[test]
    fn malformed_basic_credentials_are_named_and_refused() {
        for header in [
            "Basic".to_owned(),
            "Basic ".to_owned(),
            "Basic !!!".to_owned(),
            format!("Basic {} x", encoded("a:b")),
            format!("Basic {}", encoded("ab:cd").trim_end_matches('=')),
            "Basic YTpiZB==".to_owned(),
            format!("Basic {}", encoded("nocolon")),
            format!("Basic {}", encoded(":secret")),
            format!("Basic {}", encoded("a:%")),
            format!("Basic {}", encoded("a:%f")),
            format!("Basic {}", encoded("a:%ff")),
            format!("Basic {}", encoded(b"a:\xff")),
            format!("Basic {}", encoded("a:%00")),
            format!("Basic {}", encoded("a:b\r\n")),
            format!("Basic\t{}", encoded("a:b")),
            "Digest username=x".to_owned(),
            String::new(),
        ] {
            let presented = Presented::parse(header.as_bytes());
            assert!(matches!(presented, Presented::Malformed(_)), "{header}: {presented:?}");
            assert!(presented.into_basic().is_err());
        }
    }

    fn lies_there(values: &[&str]) -> Result<Option<String>, NotABearer> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        bearer_token(&headers).map(|token| token.map(str::to_owned))
    }

    #[test]
    fn bearer_tokens_follow_rfc_6750() {
        assert_eq!(lies_there(&[]), Ok(None));
        assert_eq!(lies_there(&["Bearer   a"]), Ok(Some("a".into())));
        for bad in [&["Basic YTpi"][..], &["Bearer a", "Bearer a"], &["Bearer"], &["a"], &[""]] {
            assert_eq!(lies_there(bad), Err(NotABearer), "{bad:?}");
        }
        for good in ["a", "eyJ.eyJ.sig", "a+/b==", "~._-"] {
            let presented = Presented::parse(format!("bearer {good}").as_bytes());
            assert!(matches!(presented, Presented::Bearer(token) if token.expose() == good), "{good}");
            assert_eq!(lies_there(&[&format!("bearer {good}")]), Ok(Some(good.to_owned())));
        }
        for bad in ["", "=", "a=b", "a b", "a,b", "ä", "a\"", "a;"] {
            let presented = Presented::parse(format!("Bearer {bad}").as_bytes());
            assert!(matches!(presented, Presented::Malformed(_)), "{bad}");
            assert_eq!(lies_there(&[&format!("Bearer {bad}")]), Err(NotABearer), "{bad}");
        }
    }

    #[test]
    fn there_is_one_authorization_header_or_none() {
        let mut headers = HeaderMap::new();
        assert!(matches!(Presented::read(&headers), Presented::None));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        assert!(matches!(Presented::read(&headers), Presented::Bearer(_)));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        assert!(matches!(Presented::read(&headers), Presented::Malformed(_)));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let shown = format!("{:?}", Presented::parse(format!("Basic {}", encoded("svc:hunter2")).as_bytes()));
        assert!(shown.contains("svc") && !shown.contains("hunter2"), "{shown}");
        assert!(!format!("{:?}", Presented::parse(b"Bearer hunter2")).contains("hunter2"));
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused_without_panic(value in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Presented::parse(&value);
            let _ = Presented::parse(&[b"Basic ", &*value].concat());
            let _ = Presented::parse(format!("Basic {}", encoded(&value)).as_bytes());
        }

        #[test]
        fn unreserved_credentials_need_no_encoding(id in "[A-Za-z0-9._~-]{1,30}", secret in "[A-Za-z0-9._~-]{0,90}") {
            prop_assert_eq!(pair(&format!("Basic {}", encoded(format!("{id}:{secret}")))), Some((id, secret)));
        }
    }
}
