//! Whose request it is, by address: the peer of the connection, or what a configured proxy says of it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use actix_web::http::header::{HeaderMap, HeaderName};

/// Where a proxy writes whom it speaks for.
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Which addresses are proxies whose word counts.
#[derive(Clone)]
pub struct Proxies(Arc<dyn Fn(IpAddr) -> bool + Send + Sync>);

impl Proxies {
    /// Those for which `trusted` holds. It is asked with IPv4 addresses as such, never mapped into IPv6.
    #[must_use]
    pub fn new(trusted: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(trusted))
    }
}

impl Default for Proxies {
    /// None.
    fn default() -> Self {
        Self::new(|_| false)
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxies")
    }
}

/// The address a request comes from. `X-Forwarded-For` counts only as far as configured proxies vouch for it: read from
/// its right end, the first address that is no such proxy is the caller.
#[must_use]
pub fn address(peer: IpAddr, headers: &HeaderMap, proxies: &Proxies) -> IpAddr {
    let Proxies(trusted) = proxies;
    let mut address = peer.to_canonical();
    if !trusted(address) {
        return address;
    }
    let values: Vec<&str> = headers.get_all(&X_FORWARDED_FOR).map(|value| value.to_str().unwrap_or_default()).collect();
    for hop in values.iter().rev().flat_map(|value| value.rsplit(',')) {
        let Ok(next) = hop.trim().parse::<IpAddr>() else { break };
        address = next.to_canonical();
        if !trusted(address) {
            break;
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn caller(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR.clone(), HeaderValue::from_str(value).unwrap());
        }
        let proxies =
            Proxies::new(|address| address.to_string().starts_with("10.") || address.to_string() == "fd00::1");
        address(peer.parse().unwrap(), &headers, &proxies).to_string()
    }

    #[test]
    fn forwarded_for_counts_only_from_configured_proxies() {
        for (peer, forwarded, want) in [
            ("192.0.2.1", &["198.51.100.7"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("fd00::1", &["2001:db8::7"], "2001:db8::7"),
            // What a caller claims himself stands to the left of what the proxies saw.
            ("10.0.0.1", &["127.0.0.1, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", &["127.0.0.1", "198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7, nonsense, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ] {
            assert_eq!(caller(peer, forwarded), want, "{peer} {forwarded:?}");
        }
    }
}
