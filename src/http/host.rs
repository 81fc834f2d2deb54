//! The `Host` header (RFC 9112 §3.2): present, once, and a host. No URL that edi publishes is built from it; two of the
//! decision doors read it as part of the request they judge.

use actix_web::http::header::{HOST, HeaderMap};

use crate::model::ascii;

/// Whether the request names exactly one well-formed host.
#[must_use]
pub fn acceptable(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(HOST);
    match (all.next(), all.next()) {
        (Some(value), None) => well_formed(value.as_bytes()),
        _ => false,
    }
}

/// `host [ ":" port ]`, where a host is a name of letters, digits, `.`, `-` and `_`, an IPv4 address, or an IPv6
/// address in brackets.
fn well_formed(value: &[u8]) -> bool {
    let (host_fits, port) = if value.first() == Some(&b'[') {
        let text = std::str::from_utf8(value).unwrap_or_default();
        let Some((address, after)) = text.get(1..).and_then(|text| text.split_once(']')) else { return false };
        let port = if after.is_empty() { Some("0") } else { after.strip_prefix(':') };
        (address.parse::<std::net::Ipv6Addr>().is_ok(), port)
    } else {
        let end = value.iter().position(|b| *b == b':');
        let (name, port) = value.split_at(end.unwrap_or(value.len()));
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let port = port.get(1..).map_or(Some("0"), |port| std::str::from_utf8(port).ok());
        ((1..=253).contains(&name.len()) && ascii::all(name, fits), port)
    };
    host_fits && port.is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for good in ["a", "edi.example.com", "edi:8080", "edi_1", "127.0.0.1:80", "[::1]", "[::1]:8080", "a.:65535"] {
            assert!(well_formed(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ":80",
            "a b",
            "a,b",
            "a/b",
            "user@a",
            "a:",
            "a:x",
            "a:65536",
            "a:+1",
            "a:1:2",
            "[::1",
            "[::1]x",
            "[a]",
            "[::1]:",
            "a\\b",
            "a?b",
            "a#b",
            "ä",
            "a\tb",
            "http://a",
            "*",
            "a;b",
            "[127.0.0.1]",
            "%61",
        ] {
            assert!(!well_formed(bad.as_bytes()), "{bad}");
        }
        assert!(!well_formed(b"a\xff"));
    }

    #[test]
    fn there_is_exactly_one_host() {
        let mut headers = HeaderMap::new();
        assert!(!acceptable(&headers));
        headers.append(HOST, HeaderValue::from_static("a"));
        assert!(acceptable(&headers));
        headers.append(HOST, HeaderValue::from_static("a"));
        assert!(!acceptable(&headers));
    }
}
