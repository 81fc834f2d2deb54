//! Form fields: `application/x-www-form-urlencoded` as RFC 6749 Appendix B wants it, read strictly.
//!
//! Nothing is guessed: a bad escape, text that is not UTF-8 or a repeated parameter refuses the request. Knows no
//! meaning of any parameter beyond which ones exist.

use std::borrow::Cow;
use std::ops::Range;

use actix_web::http::header::{CONTENT_TYPE, HeaderMap};
use actix_web::{HttpRequest, web};

use super::body;
use super::error::OAuthHttpError;
use crate::model::ascii;
use crate::oauth::error::{Code, OAuthError};
use crate::secret::{Secret, Wiped};

/// The most parameters of one request.
pub const MAX_PARAMETERS: usize = 64;
/// The longest parameter name, in bytes as sent.
pub const MAX_NAME: usize = 256;

/// The parameters edi's OAuth endpoints read. A name that is not here is ignored (RFC 6749 §3.2).
pub const PARAMETERS: [&str; 10] = [
    "grant_type",
    "scope",
    "client_id",
    "client_secret",
    "client_assertion_type",
    "client_assertion",
    "resource",
    "audience",
    "token",
    "token_type_hint",
];

/// What has no business in a query string: every parameter of an OAuth endpoint, and other protocols' credentials.
const NEVER_IN_QUERY: [&str; 7] =
    ["access_token", "refresh_token", "password", "username", "assertion", "code", "id_token"];

/// The parameters of one request. Every value is wiped when dropped.
#[derive(Debug)]
pub struct Form {
    /// The body, where values stand in it as they are.
    body: Secret,
    values: Vec<(&'static str, Value)>,
}

#[derive(Debug)]
enum Value {
    /// Here in the body.
    There(Range<usize>),
    /// It had to be decoded.
    Decoded(Secret),
}

impl Form {
    /// The value of one of [`PARAMETERS`]; `None` when it was left out or empty (RFC 6749 §3.2).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        debug_assert!(PARAMETERS.contains(&name), "a parameter that is read belongs into PARAMETERS");
        let (_, value) = self.values.iter().find(|(held, _)| *held == name)?;
        let value = match value {
            Value::There(range) => self.body.expose().get(range.clone())?,
            Value::Decoded(value) => value.expose(),
        };
        Some(value).filter(|value| !value.is_empty())
    }
}

/// Reads the form of an OAuth request: refuses a query with parameters, another content type, a body past its limit.
///
/// # Errors
/// `invalid_request` with the status that fits (400, 408, 413, 415); `invalid_target` for a repeated `resource`.
pub async fn read(request: &HttpRequest, payload: web::Payload) -> Result<Form, OAuthHttpError> {
    refuse_query(request.query_string())?;
    check_content_type(request.headers())?;
    let bytes = body::read(request.headers(), payload, body::oauth_limit(request)).await?;
    Ok(taken_apart(bytes)?)
}

/// Reads a whole form.
///
/// # Errors
/// `invalid_request` when the text is not a form or repeats a parameter, `invalid_target` when that is `resource`.
pub fn parse(body: &[u8]) -> Result<Form, OAuthError> {
    taken_apart(Wiped::from(body.to_vec()))
}

fn taken_apart(body: Wiped) -> Result<Form, OAuthError> {
    // Most forms are: one look at all of it, and nothing in it has to be decoded, judged or copied.
    let as_it_is = is_plain(&body);
    let mut values = Vec::new();
    let (mut end, mut count) = (0, 0);
    for pair in body.split(|b| *b == b'&') {
        end += pair.len() + 1;
        if pair.is_empty() {
            continue;
        }
        if count == MAX_PARAMETERS {
            return Err(OAuthError::invalid_request("at most 64 parameters are read"));
        }
        count += 1;
        let (name, value) = halves(pair, b'=');
        if name.len() > MAX_NAME {
            return Err(OAuthError::invalid_request("a parameter name is too long"));
        }
        let known = |name: &[u8]| PARAMETERS.into_iter().find(|known| known.as_bytes() == name);
        let (known, value) = if as_it_is {
            (known(name), Value::There(end - 1 - value.len()..end - 1))
        } else {
            (known(decoded(name)?.as_bytes()), Value::Decoded(Secret::from(decode(value)?)))
        };
        let Some(known) = known else { continue };
        if values.iter().any(|(held, _)| *held == known) {
            return Err(repeated(known));
        }
        // A token may hold any text: what is no token is an inactive one, not an error (RFC 7662 §2.2).
        if let Value::Decoded(value) = &value
            && known != "token"
            && has_control(value.expose())
        {
            return Err(OAuthError::invalid_request(format!("{known} contains a control character")));
        }
        values.push((known, value));
    }
    let body = if as_it_is { body.into_text().unwrap_or_default() } else { Secret::default() };
    Ok(Form { body, values })
}

/// Whether a text is printable ASCII without an escape: it means what it says.
pub(super) fn is_plain(text: &[u8]) -> bool {
    ascii::all(text, |b| matches!(b, b' '..0x7f) & !matches!(b, b'+' | b'%'))
}

fn repeated(name: &'static str) -> OAuthError {
    if name == "resource" {
        // RFC 8707 §2 allows several; edi's tokens have one audience.
        OAuthError::new(Code::InvalidTarget, "a token has one audience: send one resource")
    } else {
        OAuthError::invalid_request(format!("{name} is repeated"))
    }
}

/// Whether a text holds a control character.
pub(super) fn has_control(text: &str) -> bool {
    // Most texts are printable ASCII, which is quickly told.
    !ascii::all(text.as_bytes(), |b| matches!(b, b' '..0x7f)) && text.chars().any(char::is_control)
}

/// Decodes one name or value: `+` is a space, `%` starts two hexadecimal digits, the whole is UTF-8.
///
/// # Errors
/// `invalid_request` for a bad escape or bytes that are not UTF-8.
pub fn decode(raw: &[u8]) -> Result<String, OAuthError> {
    decoded(raw).map(Cow::into_owned)
}

fn decoded(raw: &[u8]) -> Result<Cow<'_, str>, OAuthError> {
    let not_text = || OAuthError::invalid_request("parameters are UTF-8 text");
    if ascii::all(raw, |b| !matches!(b, b'+' | b'%')) {
        return std::str::from_utf8(raw).map(Cow::Borrowed).map_err(|_| not_text());
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let Some((high, low)) = bytes.next().and_then(hex).zip(bytes.next().and_then(hex)) else {
                    drop(Wiped::from(out));
                    return Err(OAuthError::invalid_request("a % must be followed by two hexadecimal digits"));
                };
                high << 4 | low
            }
            other => other,
        });
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|error| {
        drop(Wiped::from(error.into_bytes()));
        not_text()
    })
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Splits at the first separator; without one, all is the first half.
pub(super) fn halves(text: &[u8], separator: u8) -> (&[u8], &[u8]) {
    match text.iter().position(|b| *b == separator) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default()),
        None => (text, &[]),
    }
}

/// Refuses OAuth parameters and credentials in a query string (RFC 6749 §2.3.1, RFC 9700 §4.3.2): it ends in logs.
///
/// # Errors
/// `invalid_request`, naming no parameter of the caller's.
pub fn refuse_query(query: &str) -> Result<(), OAuthError> {
    if query.is_empty() {
        return Ok(());
    }
    let forbidden = |pair: &[u8]| {
        let name = decoded(halves(pair, b'=').0).unwrap_or_default();
        PARAMETERS.iter().chain(&NEVER_IN_QUERY).any(|known| name.eq_ignore_ascii_case(known))
    };
    if query.as_bytes().split(|b| *b == b'&').any(forbidden) {
        return Err(OAuthError::invalid_request("send parameters in the body, never in the query string"));
    }
    Ok(())
}

/// Accepts `application/x-www-form-urlencoded`, with no charset but UTF-8.
///
/// # Errors
/// `invalid_request` that says what to send instead.
pub fn check_content_type(headers: &HeaderMap) -> Result<(), OAuthError> {
    const FORM: &str = "application/x-www-form-urlencoded";
    const WANTED: &str = "send form fields (application/x-www-form-urlencoded)";
    let mut all = headers.get_all(CONTENT_TYPE);
    let (Some(value), None) = (all.next(), all.next()) else { return Err(OAuthError::invalid_request(WANTED)) };
    if value == FORM {
        return Ok(());
    }
    let text = value.to_str().unwrap_or_default();
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    if !essence.eq_ignore_ascii_case(FORM) {
        let json = essence.get(essence.len().saturating_sub(4)..).is_some_and(|end| end.eq_ignore_ascii_case("json"));
        return Err(OAuthError::invalid_request(if json { format!("{WANTED}, not JSON") } else { WANTED.into() }));
    }
    let other_charset = parts.filter_map(|part| part.split_once('=')).any(|(name, value)| {
        name.trim().eq_ignore_ascii_case("charset") && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    if other_charset { Err(OAuthError::invalid_request("the charset of a form is utf-8")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    fn get(body: &str, name: &str) -> Option<String> {
        parse(body.as_bytes()).unwrap().get(name).map(str::to_owned)
    }

    #[test]
    fn values_are_decoded_as_appendix_b_says() {
        for (body, scope) in [
            ("scope=a", Some("a")),
            ("scope=a+b%20c", Some("a b c")),
            ("scope=%C3%A4%2b%2B", Some("ä++")),
            ("scope=a=b=c", Some("a=b=c")),
            ("s%63ope=a", Some("a")),
            ("&&scope=a&&x=1&", Some("a")),
            ("scope=", None),
            ("scope", None),
            ("SCOPE=a", None),
            ("", None),
        ] {
            assert_eq!(get(body, "scope").as_deref(), scope, "{body}");
        }
    }

    #[test]
    fn unknown_parameters_are_ignored_even_when_repeated() {
        assert_eq!(get("x=1&x=2&scope=a&=&=1&y", "scope").as_deref(), Some("a"));
    }

    #[test]
    fn a_token_may_hold_any_text() {
        assert_eq!(get("token=%00%0d%0a%7f", "token").as_deref(), Some("\0\r\n\u{7f}"));
    }

    #[test]
    fn values_of_8_kib_pass() {
        let value = "x".repeat(8 * 1024);
        assert_eq!(get(&format!("client_secret={value}"), "client_secret"), Some(value));
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let many = "x=1&".repeat(65);
        let long = "n".repeat(257);
        for (body, why) in [
            ("scope=%", "hexadecimal"),
            ("scope=%4", "hexadecimal"),
            ("scope=%zz", "hexadecimal"),
            ("x=%+1", "hexadecimal"),
            ("%=1", "hexadecimal"),
            ("scope=%ff", "UTF-8"),
            ("x=%c3", "UTF-8"),
            ("scope=%00", "scope contains a control character"),
            ("grant_type=a%0d%0a", "grant_type contains"),
            ("scope=a\n", "control"),
            ("scope=%C2%85", "control"),
            ("scope=a&scope=b", "scope is repeated"),
            ("scope=&scope=", "scope is repeated"),
            ("scope=a&scope", "scope is repeated"),
            ("scope=a&s%63ope=a", "scope is repeated"),
            (&many, "64"),
            (&long, "name is too long"),
        ] {
            let error = parse(body.as_bytes()).unwrap_err();
            assert_eq!(error.code, Code::InvalidRequest, "{body}");
            assert!(error.description.contains(why), "{body}: {error:?}");
        }
        assert_eq!(parse(b"resource=a&resource=b").unwrap_err().code, Code::InvalidTarget);
    }

    #[test]
    fn values_are_not_printed() {
        for body in ["client_secret=hunter2", "client_secret=hunter2&scope=a+b"] {
            let form = parse(body.as_bytes()).unwrap();
            assert!(!format!("{form:?}").contains("hunter2"), "{body}");
        }
    }

    #[test]
    fn an_escape_anywhere_changes_no_other_value() {
        for (plain, escaped) in [
            ("a=b&scope=x&&client_id=y=z&token", "a=%20&scope=x&&client_id=y=z&token"),
            ("scope=x&client_id=y=z", "scope=%78&client_id=y=%7a"),
            ("=&scope=x&=a=b&client_id=y=z", "+=&scope=x&=a=b&client_id=y=z"),
        ] {
            for body in [plain, escaped] {
                let form = parse(body.as_bytes()).unwrap();
                let told = ["scope", "client_id", "token"].map(|name| form.get(name));
                assert_eq!(told, [Some("x"), Some("y=z"), None], "{body}");
            }
        }
    }

    #[test]
    fn parameters_in_the_query_are_refused() {
        for fine in ["", "x=1", "trace=scope", "a&b&&", "%zz=1", "?token"] {
            assert_eq!(refuse_query(fine), Ok(()), "{fine}");
        }
        for bad in ["client_secret=x", "a=1&client_id", "s%63ope=", "Access_Token=x", "password=x", "token"] {
            assert!(refuse_query(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_content_type_is_a_form_in_utf_8() {
        let check = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_TYPE, HeaderValue::from_str(value).unwrap());
            }
            check_content_type(&headers).map_err(|error| error.description.into_owned())
        };
        for fine in ["", ";charset=UTF-8", "; charset=\"utf-8\"", ";", "; boundary=x"] {
            assert_eq!(check(&[&format!("{FORM}{fine}")]), Ok(()), "{fine}");
        }
        assert_eq!(check(&["Application/X-WWW-Form-URLencoded"]), Ok(()));
        for json in ["application/json", "application/json; charset=utf-8", "application/problem+JSON"] {
            assert_eq!(
                check(&[json]).unwrap_err(),
                "send form fields (application/x-www-form-urlencoded), not JSON",
                "{json}"
            );
        }
        for bad in [&[][..], &[FORM, FORM], &["text/plain"], &["ä"], &["multipart/form-data"], &[""]] {
            assert_eq!(check(bad).unwrap_err(), "send form fields (application/x-www-form-urlencoded)", "{bad:?}");
        }
        assert!(check(&[&format!("{FORM}; charset=latin1")]).unwrap_err().contains("utf-8"));
    }

    fn encode(text: &str) -> String {
        text.bytes().fold(String::new(), |out, byte| match byte {
            b' ' => out + "+",
            b if b.is_ascii_alphanumeric() => out + std::str::from_utf8(&[b]).unwrap(),
            b => format!("{out}%{b:02x}"),
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&body);
        }

        #[test]
        fn form_like_bytes_are_read_or_refused_without_panic(body in "(scope|token|%|=|&|\\+|[0-9a-f]{2}){0,40}") {
            let _ = parse(body.as_bytes());
        }

        #[test]
        fn what_is_encoded_comes_back(value in "\\PC{0,100}") {
            let body = format!("a=b&token={}", encode(&value));
            let form = parse(body.as_bytes()).unwrap();
            prop_assert_eq!(form.get("token").unwrap_or_default(), value);
        }
    }
}
