//! The issuer identifier: the one name under which everything edi publishes is known (RFC 8414 §2, RFC 9068 §2.2).

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

/// An issuer identifier in its one spelling: `https` or `http`, no query, fragment or user, no trailing slash, perhaps
/// a path. Verifiers compare it byte for byte, so other spellings of the same URL are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    text: String,
    url: Url,
}

impl Issuer {
    /// Reads an issuer identifier.
    ///
    /// # Errors
    /// When the text is no such URL; the error says what to write instead. It never repeats the text where that may
    /// hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url =
            Url::parse(text).map_err(|error| format!("expected a URL such as https://edi.example.com: {error}"))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err("expected a URL that starts with https:// (or http://)".into());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("an issuer has no user name or password in it".into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("an issuer has no query and no fragment (RFC 8414 section 2)".into());
        }
        let canonical = url.as_str().trim_end_matches('/');
        if canonical != text {
            return Err(format!("verifiers compare issuers byte for byte: write it as {canonical}"));
        }
        Ok(Self { text: text.into(), url })
    }

    /// The identifier, as it stands in `iss`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its path: empty, or `/` and more.
    #[must_use]
    pub fn path(&self) -> &str {
        self.url.path().trim_end_matches('/')
    }

    /// The URL of an endpoint, whose path starts with a slash.
    #[must_use]
    pub fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.text)
    }

    /// Where RFC 8414 §3.1 puts the metadata: the well-known part goes between the host and the issuer's path.
    #[must_use]
    pub fn metadata_url(&self) -> String {
        let origin = self.text.strip_suffix(self.path()).unwrap_or(&self.text);
        format!("{origin}/.well-known/oauth-authorization-server{}", self.path())
    }

    /// Whether it is plain HTTP to another machine, where anyone on the way can read tokens and secrets.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        let loopback = match self.url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
            Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
            None => false,
        };
        self.url.scheme() == "http" && !loopback
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Issuer {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_has_one_spelling() {
        for good in
            ["https://edi.example.com", "http://127.0.0.1:8080", "https://example.com/edi/prod", "http://[::1]:8080"]
        {
            assert_eq!(Issuer::parse(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", "expected a URL"),
            ("edi.example.com", "expected a URL"),
            ("ftp://example.com", "https://"),
            ("https://example.com/", "write it as https://example.com"),
            ("https://example.com/edi/", "write it as https://example.com/edi"),
            ("https://EXAMPLE.com", "write it as https://example.com"),
            ("https://example.com:443", "write it as https://example.com"),
            ("https://example.com/a/../b", "write it as https://example.com/b"),
            ("https://example.com?x=1", "no query"),
            ("https://example.com#x", "no fragment"),
            ("https://user:hunter2@example.com", "no user name"),
        ] {
            let error = Issuer::parse(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
            assert!(!error.contains("hunter2"));
        }
    }

    #[test]
    fn metadata_sits_between_host_and_path() {
        let url = |text| Issuer::parse(text).unwrap().metadata_url();
        assert_eq!(url("https://a.example"), "https://a.example/.well-known/oauth-authorization-server");
        assert_eq!(url("https://a.example/x/y"), "https://a.example/.well-known/oauth-authorization-server/x/y");
    }

    #[test]
    fn plain_http_to_another_machine_is_exposed() {
        for (text, exposed) in [
            ("http://127.0.0.1:8080", false),
            ("http://localhost:8080", false),
            ("http://[::1]", false),
            ("http://10.0.0.7:8080", true),
            ("http://edi.models.svc", true),
            ("https://edi.example.com", false),
        ] {
            assert_eq!(Issuer::parse(text).unwrap().is_exposed(), exposed, "{text}");
        }
    }
}
