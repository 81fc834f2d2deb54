//! What is to be guarded, read from the admin API's answers and proven to be plain text in every target's syntax.

use std::cmp::Reverse;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde_json::Value;

use super::super::view;
use crate::config::Issuer;
use crate::model::deployment::{parse_host, parse_path};
use crate::model::id::DeploymentId;
use crate::model::scope::Role;

/// What the person chose.
#[derive(Debug)]
pub(super) struct Choices {
    /// The audience of deployments that name none.
    pub(super) audience: String,
    /// Where the key set is, if not below the issuer.
    pub(super) jwks_uri: Option<Url>,
    /// Where edi is, if not at the issuer.
    pub(super) edi: Option<Url>,
    /// Where the models are.
    pub(super) upstreams: Vec<UpstreamFor>,
    /// Where the proxy listens.
    pub(super) listen: Option<SocketAddr>,
    /// The Kubernetes namespace.
    pub(super) namespace: String,
}

/// Everything that a configuration says.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) issuer: String,
    pub(super) jwks_uri: Url,
    pub(super) edi: Url,
    pub(super) listen: Option<SocketAddr>,
    pub(super) namespace: String,
    /// By id.
    pub(super) guarded: Vec<Guarded>,
}

/// A deployment as a proxy guards it.
#[derive(Debug, Clone)]
pub(super) struct Guarded {
    pub(super) id: DeploymentId,
    pub(super) role: Role,
    pub(super) audience: String,
    /// Exact, or with one leading wildcard label; none: any.
    pub(super) hosts: Vec<String>,
    /// Without a slash at the end, so that the root is the empty text; none: all.
    pub(super) paths: Vec<String>,
    /// As chosen for it.
    pub(super) upstream: Option<Url>,
}

impl Guarded {
    /// Where its model is.
    pub(super) fn upstream(&self) -> Url {
        self.upstream.clone().unwrap_or_else(Url::model)
    }

    /// Its path prefixes; the root when it names none.
    pub(super) fn prefixes(&self) -> Vec<&str> {
        if self.paths.is_empty() { vec![""] } else { self.paths.iter().map(String::as_str).collect() }
    }
}

/// A host, or any; the more specific come first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Host {
    Exact(String),
    /// What follows the one wildcard label.
    Under(String),
    Any,
}

impl Host {
    fn of(text: &str) -> Self {
        text.strip_prefix("*.").map_or_else(|| Self::Exact(text.into()), |rest| Self::Under(rest.into()))
    }

    /// Whether requests for `self` that find no path there are looked for at `other` next.
    fn falls_to(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(_) | Self::Under(_), Self::Any) => true,
            (Self::Exact(host), Self::Under(rest)) => host.split_once('.').is_some_and(|(_, under)| under == rest),
            _ => false,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Under(rest) => write!(f, "*.{rest}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// A path prefix of whole segments, and whose it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route<'a> {
    /// Without a slash at the end; empty: the root.
    pub(super) prefix: &'a str,
    pub(super) deployment: &'a Guarded,
}

impl Site {
    /// Reads what the admin API lists.
    pub(super) fn read(issuer: &Issuer, choices: Choices, deployments: &[Value]) -> Result<Self, String> {
        let Choices { audience, jwks_uri, edi, upstreams, listen, namespace } = choices;
        let below = |path: &str| Url::from_str(&issuer.endpoint(path)).map_err(|why| format!("the issuer: {why}"));
        let edi = edi.map_or_else(|| below(""), Ok)?;
        let jwks_uri = jwks_uri.map_or_else(|| below("/.well-known/jwks.json"), Ok)?;
        let mut guarded = deployments
            .iter()
            .map(|deployment| Guarded::read(deployment, &audience, &upstreams))
            .collect::<Result<Vec<_>, String>>()?;
        guarded.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Self { issuer: issuer.to_string(), jwks_uri, edi, listen, namespace, guarded })
    }

    /// What answers at each host, as edi chooses: by the longest prefix, first among what names the host exactly, then
    /// below a wildcard, then at any host. Each host's list holds what falls through to it, so that the longest prefix
    /// of the list, or the first match, is edi's choice. Longer prefixes come first.
    pub(super) fn hosts(&self) -> Vec<(Host, Vec<Route<'_>>)> {
        let mut own: Vec<(Host, Vec<Route<'_>>)> = Vec::new();
        for deployment in self.guarded.iter().filter(|it| !(it.hosts.is_empty() && it.paths.is_empty())) {
            let named: Vec<Host> = deployment.hosts.iter().map(|host| Host::of(host)).collect();
            for host in if named.is_empty() { vec![Host::Any] } else { named } {
                let routes = deployment.prefixes().into_iter().map(|prefix| Route { prefix, deployment });
                match own.iter_mut().find(|(known, _)| *known == host) {
                    Some((_, known)) => known.extend(routes),
                    None => own.push((host, routes.collect())),
                }
            }
        }
        own.sort_by(|a, b| a.0.cmp(&b.0));
        let whole = own.iter().map(|(host, first)| {
            let mut routes = first.clone();
            for (_, next) in own.iter().filter(|(other, _)| host.falls_to(other)) {
                let shadowed = |prefix: &str| routes.iter().any(|route| is_within(prefix, route.prefix));
                let visible: Vec<Route<'_>> = next.iter().filter(|route| !shadowed(route.prefix)).copied().collect();
                routes.extend(visible);
            }
            routes.sort_by_key(|route| (Reverse(route.prefix.len()), route.prefix));
            (host.clone(), routes)
        });
        whole.collect()
    }

    /// Refuses when there is nothing at any host: such deployments are chosen by their id alone.
    pub(super) fn hosts_or_refuse(&self) -> Result<Vec<(Host, Vec<Route<'_>>)>, String> {
        let hosts = self.hosts();
        if hosts.is_empty() { Err("no deployment names a host or a path".into()) } else { Ok(hosts) }
    }
}

fn is_within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Guarded {
    fn read(deployment: &Value, audience: &str, upstreams: &[UpstreamFor]) -> Result<Self, String> {
        let id = DeploymentId::parse(&view::text(deployment, "id")).map_err(|error| error.to_string())?;
        let refused = |what: &str, why: &str| format!("the {what} of {id} cannot be written here: {why}");
        let role = Role::parse(&view::text(deployment, "role")).map_err(|error| refused("role", &error.to_string()))?;
        let own = view::text(deployment, "audience");
        let audience = if own.is_empty() { audience.to_owned() } else { own };
        if audience.is_empty() || !audience.bytes().all(is_plain) {
            return Err(refused("audience", PLAIN));
        }
        let hosts = view::list(deployment, "hosts").into_iter().map(|host| parse_host(&host));
        let hosts = hosts.collect::<Result<Vec<_>, _>>().map_err(|why| refused("host", why))?;
        let mut paths = Vec::new();
        for path in view::list(deployment, "paths") {
            let path = parse_path(&path).map_err(|why| refused("path", why))?;
            // What may also be written as an escape could be read as another path by a proxy that decodes.
            if !path.bytes().all(|b| is_unreserved(b) || b == b'/') {
                return Err(refused(
                    "path",
                    "a proxy may read it differently than edi: only letters, digits, - . _ ~ /",
                ));
            }
            let whole = path.trim_end_matches('/').to_owned();
            if !paths.contains(&whole) {
                paths.push(whole);
            }
        }
        let named = upstreams.iter().rev().find(|it| it.deployment.as_ref() == Some(&id));
        let upstream = named.or_else(|| upstreams.iter().rev().find(|it| it.deployment.is_none()));
        Ok(Self { role, audience, hosts, paths, upstream: upstream.map(|it| it.url.clone()), id })
    }
}

/// Why a text that is no plain one is refused.
const PLAIN: &str = "expected letters, digits and - . _ ~ : / ? & = % @ + , ! alone";

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// What stands for itself between double quotes in every target: no quote, escape, variable or comment starts with it.
fn is_plain(byte: u8) -> bool {
    is_unreserved(byte) || b":/?&=%@+,!".contains(&byte)
}

/// An `http` or `https` URL of plain characters, without user and fragment and without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    text: String,
    host: String,
    port: u16,
    tls: bool,
}

impl Url {
    /// Where a model is when nobody says.
    fn model() -> Self {
        Self { text: "http://127.0.0.1:9000".into(), host: "127.0.0.1".into(), port: 9000, tls: false }
    }

    /// The host; an IPv6 address in brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The port, given or not.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Whether it is `https`.
    pub(super) const fn is_tls(&self) -> bool {
        self.tls
    }

    /// `http` or `https`.
    pub(super) const fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Whether the host is an address and no name.
    pub(super) fn is_address(&self) -> bool {
        self.host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
    }

    /// Its path: empty, or `/` and more.
    pub(super) fn path(&self) -> &str {
        let after = self.text.split_once("://").map_or("", |(_, rest)| rest);
        after.find('/').and_then(|at| after.get(at..)).unwrap_or_default()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = url::Url::parse(text).map_err(|error| format!("expected a URL: {error}"))?;
        let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https"));
        let (Some(host), Some(port)) = (host, url.port_or_known_default()) else {
            return Err("expected a URL that starts with http:// or https://".into());
        };
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err("expected a URL without user, password and fragment".into());
        }
        let text = url.as_str().trim_end_matches('/');
        if !text.bytes().all(|b| is_plain(b) || b == b'[' || b == b']') {
            return Err(PLAIN.into());
        }
        Ok(Self { text: text.into(), host: host.into(), port, tls: url.scheme() == "https" })
    }
}

/// Where models are: of one deployment, or of all that nobody named.
#[derive(Debug, Clone)]
pub(super) struct UpstreamFor {
    deployment: Option<DeploymentId>,
    url: Url,
}

impl FromStr for UpstreamFor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A URL's own "=" comes after its "://".
        let named = text.split_once('=').filter(|(id, _)| !id.contains(':'));
        let (deployment, url) = match named {
            Some((id, url)) => (Some(DeploymentId::parse(id).map_err(|error| error.to_string())?), url),
            None => (None, text),
        };
        let url: Url = url.parse()?;
        if !url.path().is_empty() || url.text.contains('?') {
            return Err("a model gets the path that edi judged: name scheme, host and port alone".into());
        }
        Ok(Self { deployment, url })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn choices() -> Choices {
        Choices {
            audience: "std".into(),
            jwks_uri: None,
            edi: None,
            upstreams: vec![],
            listen: None,
            namespace: "models".into(),
        }
    }

    fn site(deployments: &[Value]) -> Result<Site, String> {
        Site::read(&Issuer::parse("https://edi.example").unwrap(), choices(), deployments)
    }

    fn at(id: &str, hosts: &[&str], paths: &[&str]) -> Value {
        json!({ "id": id, "role": "r", "hosts": hosts, "paths": paths })
    }

    #[test]
    fn each_host_lists_what_edi_would_choose_there() {
        let site = site(&[
            at("root", &["a.m"], &["/"]),
            at("deep", &["a.m"], &["/x/y/"]),
            at("wild", &["*.m"], &["/w", "/x"]),
            at("any", &[], &["/w/z", "/any"]),
            at("nowhere", &[], &[]),
        ])
        .unwrap();
        let lists: Vec<String> = site
            .hosts()
            .into_iter()
            .map(|(host, routes)| {
                let routes = routes.iter().map(|route| format!("{}={}", route.prefix, route.deployment.id));
                format!("{host}: {}", routes.collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(lists, ["a.m: /x/y=deep =root", "*.m: /any=any /w=wild /x=wild", "*: /any=any /w/z=any"]);
    }

    #[test]
    fn the_lists_agree_with_the_routes_that_edi_decides_by() {
        use crate::model::route::Routes;
        use crate::model::time::Timestamp;

        let deployments = [
            at("root", &["a.m"], &["/"]),
            at("deep", &["a.m", "b.m"], &["/x/y"]),
            at("wild", &["*.m"], &["/w", "/x"]),
            at("any", &[], &["/w/z", "/any", "/x/y/z"]),
        ];
        let site = site(&deployments).unwrap();
        let mut routes = Routes::default();
        for it in &site.guarded {
            routes.add(&crate::model::deployment::Deployment {
                id: it.id.clone(),
                role: it.role.clone(),
                hosts: it.hosts.clone(),
                paths: it.prefixes().iter().map(|prefix| format!("{prefix}/")).collect(),
                audience: None,
                created_at: Timestamp::default(),
                updated_at: Timestamp::default(),
            });
        }
        let hosts = site.hosts();
        for host in ["a.m", "b.m", "c.m", "m", "z"] {
            for path in ["/", "/x", "/x/y", "/x/y/z", "/x/yy", "/w", "/w/z", "/any/q", "/other"] {
                let list = hosts.iter().find(|(pattern, _)| match pattern {
                    Host::Exact(exact) => exact == host,
                    Host::Under(rest) => host.split_once('.').is_some_and(|(_, under)| under == rest),
                    Host::Any => true,
                });
                let chosen = list.and_then(|(_, routes)| routes.iter().find(|it| is_within(path, it.prefix)));
                assert_eq!(chosen.map(|it| &it.deployment.id), routes.find(host, path).ok(), "{host}{path}");
            }
        }
    }

    #[test]
    fn what_is_not_plain_is_refused() {
        for (member, value) in [
            ("id", json!("a\"b")),
            ("role", json!("r\nallow: all")),
            ("hosts", json!(["h;return 200"])),
            ("paths", json!(["/a$b"])),
            ("paths", json!(["/a@b"])),
            ("paths", json!(["/a b"])),
            ("paths", json!(["/a*"])),
            ("paths", json!(["/a}b"])),
            ("audience", json!("a'b")),
            ("audience", json!("a$b")),
            ("audience", json!("a{b}")),
        ] {
            let mut deployment = at("d", &["h"], &["/a"]);
            deployment[member] = value;
            assert!(site(&[deployment.clone()]).is_err(), "{deployment}");
        }
        for url in
            ["ftp://x", "http://u:p@x", "http://x/#f", "http://x/$a", "http://x/'", "http://x/;", "x", "http://x/(a)"]
        {
            assert!(url.parse::<Url>().is_err(), "{url}");
        }
        for upstream in ["http://x/path", "fraud=http://x/?a", "-=http://x", "fraud=x"] {
            assert!(upstream.parse::<UpstreamFor>().is_err(), "{upstream}");
        }
    }

    #[test]
    fn urls_are_taken_apart() {
        let url: Url = "https://edi.example/base/".parse().unwrap();
        assert_eq!((url.to_string().as_str(), url.path()), ("https://edi.example/base", "/base"));
        assert_eq!((url.authority().as_str(), url.is_tls(), url.is_address()), ("edi.example:443", true, false));
        let url: Url = "http://[::1]:8080".parse().unwrap();
        assert_eq!((url.authority().as_str(), url.is_address(), url.path()), ("[::1]:8080", true, ""));
    }
}
