//! A public document that is served often and changes rarely (JWKS, metadata): entity tags and 304 (RFC 9110 §13).

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::cors;

/// A document with its strong entity tag, made once and served many times; cloning is cheap.
#[derive(Debug, Clone)]
pub struct Document {
    body: Bytes,
    content_type: HeaderValue,
    etag: HeaderValue,
}

impl Document {
    /// A JSON document.
    #[must_use]
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self::new(body, "application/json")
    }

    /// A document of another type.
    #[must_use]
    pub fn new(body: impl Into<Bytes>, content_type: &'static str) -> Self {
        let body = body.into();
        let digest = ring::digest::digest(&ring::digest::SHA256, &body);
        let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest.as_ref().get(..18).unwrap_or_default()));
        Self::tagged(body, &tag, content_type)
    }

    /// A document whose strong entity tag, quotes included, is known already.
    #[must_use]
    pub fn tagged(body: impl Into<Bytes>, etag: &str, content_type: &'static str) -> Self {
        Self {
            body: body.into(),
            content_type: HeaderValue::from_static(content_type),
            etag: HeaderValue::from_str(etag).unwrap_or_else(|_| HeaderValue::from_static("\"\"")),
        }
    }

    /// The answer to `GET` and `HEAD`, open to every origin: 200, or 304 when the caller has this version.
    /// `cache_control` is the whole header.
    #[must_use]
    pub fn answer(&self, request: &HttpRequest, cache_control: &str) -> HttpResponse {
        let known = matches(request.headers(), self.etag.as_bytes());
        let mut response = if known {
            HttpResponse::NotModified().finish()
        } else {
            HttpResponse::Ok().insert_header((CONTENT_TYPE, self.content_type.clone())).body(self.body.clone())
        };
        let headers = response.headers_mut();
        cors::open(headers);
        headers.insert(ETAG, self.etag.clone());
        if let Ok(value) = HeaderValue::from_str(cache_control) {
            headers.insert(CACHE_CONTROL, value);
        }
        response
    }
}

/// Whether `If-None-Match` names this tag: a list, `*`, compared weakly (RFC 9110 §13.1.2).
fn matches(headers: &HeaderMap, etag: &[u8]) -> bool {
    headers.get_all(IF_NONE_MATCH).flat_map(|value| value.as_bytes().split(|b| *b == b',')).any(|candidate| {
        let candidate = candidate.trim_ascii();
        candidate == b"*" || candidate.strip_prefix(b"W/").unwrap_or(candidate) == etag
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_known_version_is_304_with_the_same_headers() {
        let document = Document::json("{}");
        let fresh = document.answer(&TestRequest::get().to_http_request(), "public, max-age=60");
        assert_eq!(fresh.status(), StatusCode::OK);
        let etag = fresh.headers().get(ETAG).unwrap().to_str().unwrap().to_owned();
        assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() == 26, "{etag}");
        for (sent, status) in [
            (etag.clone(), 304),
            (format!("W/{etag}"), 304),
            (format!("\"other\", {etag} ,\"x\""), 304),
            ("*".to_owned(), 304),
            ("\"other\"".to_owned(), 200),
            (etag.trim_matches('"').to_owned(), 200),
            (String::new(), 200),
        ] {
            let request = TestRequest::get().insert_header((IF_NONE_MATCH, sent.clone())).to_http_request();
            let answer = document.answer(&request, "public, max-age=60");
            assert_eq!(answer.status().as_u16(), status, "{sent}");
            for name in [ETAG, CACHE_CONTROL] {
                assert_eq!(answer.headers().get(&name), fresh.headers().get(&name));
            }
            assert_eq!(answer.headers().get("access-control-allow-origin").unwrap(), "*");
        }
        let changed = Document::json("{ }").answer(&TestRequest::get().to_http_request(), "no-store");
        assert_ne!(changed.headers().get(ETAG).unwrap().to_str().unwrap(), etag);
    }
}
