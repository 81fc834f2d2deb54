//! One request and its answer: the id both logs share, and what handlers note for the access log.

use std::cell::{Ref, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::{HttpMessage as _, HttpRequest};

use crate::ambient::{Batch, Entropy};
use crate::store::collections::Origin;

/// The header that carries the id, both ways.
pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is known of the request in hand. [`super::manners`] puts one into every request's extensions.
#[derive(Debug, Default)]
pub struct Exchange {
    id: Box<str>,
    address: Option<IpAddr>,
    traceparent: Option<Box<str>>,
    client_id: RefCell<Option<Box<str>>>,
    asked: RefCell<Option<(&'static str, Box<str>)>>,
}

impl Exchange {
    /// An exchange under this id with this address.
    #[must_use]
    pub fn new(id: Box<str>, address: Option<IpAddr>) -> Self {
        Self { id, address, ..Self::default() }
    }

    /// The same as a part of a trace, by what [`traceparent`] read.
    #[must_use]
    pub fn traced(self, traceparent: Option<&str>) -> Self {
        Self { traceparent: traceparent.map(Into::into), ..self }
    }

    /// The well-formed `traceparent` it came with.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// The trace the request belongs to, 32 hexadecimal digits, if its caller said so.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.traceparent()?.split('-').nth(1)
    }

    /// The exchange a request belongs to; an empty one for a request that did not pass [`super::manners`].
    #[must_use]
    pub fn of(request: &HttpRequest) -> Rc<Self> {
        request.extensions().get::<Rc<Self>>().cloned().unwrap_or_default()
    }

    /// The request id: 1 to 64 of `[A-Za-z0-9._-]`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the request comes from, as [`super::peer`] reads it.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// What the audit trail tells of it.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin { request_id: Some(self.id.to_string()).filter(|id| !id.is_empty()), address: self.address }
    }

    /// Notes who called, for the log line. Only once the caller has proved it, or as an id that exists.
    pub fn note_client(&self, client_id: &str) {
        *self.client_id.borrow_mut() = Some(client_id.into());
    }

    /// Notes what a caller asks for that proved itself: `thing.verb`, and the id of what it is done to.
    pub(super) fn note_asked(&self, action: &'static str, target: Box<str>) {
        *self.asked.borrow_mut() = Some((action, target));
    }

    /// What was asked for, as far as it was noted.
    pub(super) fn asked(&self) -> Option<(&'static str, Box<str>)> {
        self.asked.borrow().clone()
    }

    /// Who called, as far as it was noted.
    pub(super) fn client(&self) -> Ref<'_, Option<Box<str>>> {
        self.client_id.borrow()
    }
}

/// A request id that came with the request, when it is one and harmless: 1 to 64 of `[A-Za-z0-9._-]`.
#[must_use]
pub fn incoming(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(&REQUEST_ID);
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let text = value.to_str().ok()?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    ((1..=64).contains(&text.len()) && text.bytes().all(fits)).then_some(text)
}

/// The header that names the trace a request belongs to (W3C Trace Context).
pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The `traceparent` of a request that names one well-formed parent (W3C Trace Context §3.2): anything else is as if there
/// was no such header, as the recommendation wants it, so that nothing but 32 hexadecimal digits ever reaches a log line.
#[must_use]
pub fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(&TRACEPARENT);
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let text = value.to_str().ok()?;
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // A later version may say more at its end; what it says first keeps its meaning.
    let whole = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    let named = hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    let real = |id: &str| id.bytes().any(|b| b != b'0');
    (whole && named && real(trace) && real(parent)).then_some(text)
}

const ID_BYTES: usize = 12;

/// Makes request ids: 96 random bits as hexadecimal digits.
#[derive(Default)]
pub(super) struct Ids(Batch);

impl Ids {
    pub(super) fn next(&mut self, entropy: &dyn Entropy) -> Box<str> {
        let bytes: [u8; ID_BYTES] = self.0.take(entropy);
        let digit = |four: u8| if four < 10 { b'0' + four } else { b'a' + (four - 10) };
        let mut text = [0; 2 * ID_BYTES];
        for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        std::str::from_utf8(&text).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use actix_web::http::header::HeaderValue;

    use super::*;
    use crate::ambient::SeededEntropy;

    #[test]
    fn a_trace_is_taken_over_only_when_well_formed() {
        const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(TRACEPARENT.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            traceparent(&headers).map(|text| text.split('-').nth(1).unwrap().to_owned())
        };
        let good = format!("00-{TRACE}-b7ad6b7169203331-01");
        assert_eq!(read(&[&good]).as_deref(), Some(TRACE));
        assert_eq!(read(&[&format!("cc-{TRACE}-b7ad6b7169203331-01-what-comes-later")]).as_deref(), Some(TRACE));
        for bad in [
            String::new(),
            format!("ff-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{TRACE}-b7ad6b7169203331-01-more"),
            format!("00-{TRACE}-b7ad6b7169203331"),
            format!("00-{TRACE}-b7ad6b7169203331-1"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            format!("00-{}\"-b7ad6b7169203331-01", &TRACE[1..]),
            format!("00-{}\t-b7ad6b7169203331-01", &TRACE[1..]),
            format!(" {good}").replace("00-", "0-"),
            format!("00-{}-b7ad6b7169203331-01", "a".repeat(4000)),
        ] {
            assert_eq!(read(&[&bad]), None, "{bad}");
        }
        assert_eq!((read(&[]), read(&[&good, &good])), (None, None));
    }

    #[test]
    fn ids_are_distinct_and_fit_what_is_accepted_back() {
        let entropy = SeededEntropy::new(1);
        let mut ids = Ids::default();
        let made: HashSet<Box<str>> = (0..1000).map(|_| ids.next(&*entropy)).collect();
        assert_eq!(made.len(), 1000);
        assert!(made.iter().all(|id| id.len() == 24 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    }

    #[test]
    fn an_incoming_id_is_taken_over_only_when_harmless() {
        let read = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(REQUEST_ID.clone(), HeaderValue::from_bytes(value).unwrap());
            }
            incoming(&headers).map(str::to_owned)
        };
        let longest = [b'x'; 64];
        for good in [&b"a"[..], b"0af7651916cd43dd-8448eb.211_c", &longest] {
            assert_eq!(read(&[good]).unwrap().as_bytes(), good);
        }
        let too_long = "x".repeat(65);
        for bad in ["", "a b", "a\tb", "ä", "{}", &too_long] {
            assert_eq!(read(&[bad.as_bytes()]), None, "{bad:?}");
        }
        assert_eq!((read(&[]), read(&[b"a", b"a"])), (None, None));
    }
}
