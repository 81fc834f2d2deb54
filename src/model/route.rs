//! Which deployment a request belongs to: by host and the longest path prefix on whole segments.
//!
//! A path is compared as it came. What two programs could read in two ways (dot and empty segments, `\`, `;`, escapes
//! of characters that need none or that separate) has no match at all: it is never normalised.

use std::collections::HashMap;

use super::deployment::Deployment;
use super::id::DeploymentId;

/// Why a request has no deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// The path can be read in more than one way.
    #[error("the path can be read in more than one way")]
    Ambiguous,
    /// The host is no host.
    #[error("the host is malformed")]
    Host,
    /// No deployment answers there.
    #[error("no deployment answers there")]
    Unknown,
    /// Several deployments claim the same host and path.
    #[error("several deployments claim this host and path")]
    Contested,
}

/// The segments of a path, with or without a query; the one after a trailing slash does not count.
///
/// # Errors
/// [`NoRoute::Ambiguous`] for anything that is not literal.
pub fn segments(path: &str) -> Result<Vec<&str>, NoRoute> {
    let path = path.split('?').next().unwrap_or_default();
    let rest = path.strip_prefix('/').ok_or(NoRoute::Ambiguous)?;
    if !literal(rest.as_bytes()) {
        return Err(NoRoute::Ambiguous);
    }
    let whole = rest.strip_suffix('/').unwrap_or(rest);
    if whole.is_empty() {
        // "//" is an empty segment, "/" is the root.
        return if rest.is_empty() { Ok(Vec::new()) } else { Err(NoRoute::Ambiguous) };
    }
    let all: Vec<&str> = whole.split('/').collect();
    if all.iter().any(|segment| matches!(*segment, "" | "." | "..")) { Err(NoRoute::Ambiguous) } else { Ok(all) }
}

/// Printable ASCII without `\ ; # " < > ^ ` { | }`, and every escape one of a byte that must be escaped and separates
/// nothing. Escapes beyond ASCII are whole characters of UTF-8: `%c0%ae` is a second spelling of `.` to some decoders.
fn literal(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    // Nothing is allocated as long as there are none.
    let mut beyond_ascii = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let [high, low, after @ ..] = rest else { return false };
                let digit = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return false };
                let byte = high * 16 + low;
                if !may_be_escaped(byte) {
                    return false;
                }
                rest = after;
                if !byte.is_ascii() {
                    beyond_ascii.push(byte);
                    continue;
                }
            }
            b'\\' | b';' | b'#' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' => return false,
            0x21..=0x7e => {}
            _ => return false,
        }
        if std::str::from_utf8(&beyond_ascii).is_err() {
            return false;
        }
        beyond_ascii.clear();
    }
    std::str::from_utf8(&beyond_ascii).is_ok()
}

/// Escapes of unreserved characters, of separators and of controls have two readings; of the rest, one.
fn may_be_escaped(byte: u8) -> bool {
    !(byte.is_ascii_alphanumeric()
        || byte.is_ascii_control()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b'\\' | b'%' | b';' | b'?' | b'#'))
}

/// A host without its port, in lower case; `None` for what is no host name.
#[must_use]
pub fn host_name(host: &str) -> Option<String> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, port),
        None => (host, ""),
    };
    let name = name.to_ascii_lowercase();
    let good = port.bytes().all(|b| b.is_ascii_digit())
        && port.len() <= 5
        && !(host.ends_with(':'))
        && super::deployment::parse_host(&name).is_ok_and(|host| !host.starts_with('*'));
    good.then_some(name)
}

/// One registered path prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Prefix {
    segments: Vec<Box<str>>,
    deployment: DeploymentId,
}

/// Where a prefix counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place<'a> {
    AnyHost,
    Exact(&'a str),
    /// What follows the wildcard label.
    Under(&'a str),
}

/// A place that is another deployment's already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{holder} answers at {} {path} already", host.as_deref().unwrap_or("any host"))]
pub struct Taken {
    /// Whose it is.
    pub holder: DeploymentId,
    /// The host, as both name it; `None`: any.
    pub host: Option<String>,
    /// The path prefix, as the later one names it.
    pub path: String,
}

/// All registered hosts and prefixes.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    exact: HashMap<Box<str>, Vec<Prefix>>,
    /// By what follows the wildcard label.
    wildcard: HashMap<Box<str>, Vec<Prefix>>,
    any_host: Vec<Prefix>,
}

impl Routes {
    /// Adds a deployment. One with neither hosts nor paths answers nowhere; hosts alone mean all paths, paths alone
    /// mean any host.
    pub fn add(&mut self, deployment: &Deployment) {
        for (_, place, path) in places(deployment) {
            let Ok(segments) = segments(path) else { continue };
            let prefixes = match place {
                Place::AnyHost => &mut self.any_host,
                Place::Exact(host) => self.exact.entry(host.into()).or_default(),
                Place::Under(rest) => self.wildcard.entry(rest.into()).or_default(),
            };
            prefixes.push(Prefix {
                segments: segments.into_iter().map(Into::into).collect(),
                deployment: deployment.id.clone(),
            });
        }
    }

    /// The first place of `deployment` that another one holds: the same host, and a prefix of the same segments. A
    /// longer prefix, or an exact host below a wildcard, is another place.
    #[must_use]
    pub fn taken(&self, deployment: &Deployment) -> Option<Taken> {
        places(deployment).find_map(|(host, place, path)| {
            let wanted = segments(path).ok()?;
            let prefixes = match place {
                Place::AnyHost => Some(&self.any_host),
                Place::Exact(host) => self.exact.get(host),
                Place::Under(rest) => self.wildcard.get(rest),
            };
            let same = |prefix: &&Prefix| {
                prefix.deployment != deployment.id
                    && prefix.segments.len() == wanted.len()
                    && starts_with(&wanted, &prefix.segments)
            };
            let holder = prefixes?.iter().find(same)?.deployment.clone();
            Some(Taken { holder, host: host.map(ToOwned::to_owned), path: path.to_owned() })
        })
    }

    /// Takes a deployment out again.
    pub fn remove(&mut self, id: &DeploymentId) {
        for map in [&mut self.exact, &mut self.wildcard] {
            map.retain(|_, prefixes| {
                prefixes.retain(|prefix| prefix.deployment != *id);
                !prefixes.is_empty()
            });
        }
        self.any_host.retain(|prefix| prefix.deployment != *id);
    }

    /// The deployment of a request. An exact host wins over a wildcard, and that over deployments that name no host;
    /// within one of these the longest prefix wins.
    ///
    /// # Errors
    /// [`NoRoute`].
    pub fn find(&self, host: &str, path: &str) -> Result<&DeploymentId, NoRoute> {
        let path = segments(path)?;
        let host = host_name(host).ok_or(NoRoute::Host)?;
        let under = host.split_once('.').map(|(_, rest)| rest);
        let candidates = [
            self.exact.get(host.as_str()).map(Vec::as_slice),
            under.and_then(|rest| self.wildcard.get(rest)).map(Vec::as_slice),
            Some(self.any_host.as_slice()),
        ];
        for prefixes in candidates.into_iter().flatten() {
            let matching = || prefixes.iter().filter(|prefix| starts_with(&path, &prefix.segments));
            let Some(longest) = matching().map(|prefix| prefix.segments.len()).max() else { continue };
            let mut best =
                matching().filter(|prefix| prefix.segments.len() == longest).map(|prefix| &prefix.deployment);
            let Some(first) = best.next() else { continue };
            return if best.all(|other| other == first) { Ok(first) } else { Err(NoRoute::Contested) };
        }
        Err(NoRoute::Unknown)
    }
}

/// Every host and path prefix of a deployment: hosts alone mean all paths, paths alone mean any host, neither means
/// nowhere.
fn places(deployment: &Deployment) -> impl Iterator<Item = (Option<&str>, Place<'_>, &str)> {
    let Deployment { hosts, paths, .. } = deployment;
    let root = (paths.is_empty() && !hosts.is_empty()).then_some("/");
    root.into_iter().chain(paths.iter().map(String::as_str)).flat_map(move |path| {
        let anywhere = hosts.is_empty().then_some((None, Place::AnyHost, path));
        let named = hosts.iter().map(move |host| {
            let place = host.strip_prefix("*.").map_or(Place::Exact(host), Place::Under);
            (Some(host.as_str()), place, path)
        });
        anywhere.into_iter().chain(named)
    })
}

fn starts_with(path: &[&str], prefix: &[Box<str>]) -> bool {
    path.len() >= prefix.len() && path.iter().zip(prefix).all(|(have, want)| *have == &**want)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::scope::Role;
    use crate::model::time::Timestamp;

    fn routes(all: &[(&str, &[&str], &[&str])]) -> Routes {
        let mut routes = Routes::default();
        for (id, hosts, paths) in all {
            routes.add(&Deployment {
                id: DeploymentId::parse(id).unwrap(),
                role: Role::parse("r").unwrap(),
                hosts: hosts.iter().map(ToString::to_string).collect(),
                paths: paths.iter().map(ToString::to_string).collect(),
                audience: None,
                created_at: Timestamp::default(),
                updated_at: Timestamp::default(),
            });
        }
        routes
    }

    fn found(routes: &Routes, host: &str, path: &str) -> Result<String, NoRoute> {
        routes.find(host, path).map(ToString::to_string)
    }

    #[test]
    fn the_longest_prefix_on_whole_segments_wins() {
        let routes = routes(&[
            ("all", &["m.example"], &["/model/"]),
            ("fraud", &["m.example"], &["/model/fraud/"]),
            ("deep", &["m.example"], &["/model/fraud/v2"]),
        ]);
        for (path, id) in [
            ("/model/fraud", "fraud"),
            ("/model/fraud/", "fraud"),
            ("/model/fraud/predict?x=/../", "fraud"),
            ("/model/fraud/v2/predict", "deep"),
            ("/model/fraud/v20", "fraud"),
            ("/model/fraudulent", "all"),
            ("/model/", "all"),
            ("/model/a%20b", "all"),
            ("/model/%C3%A4", "all"),
            ("/model/%c3%a4%E2%82%ac%20x", "all"),
        ] {
            assert_eq!(found(&routes, "m.example", path).as_deref(), Ok(id), "{path}");
        }
        for path in ["/", "/mode", "/Model/fraud", "/models/x"] {
            assert_eq!(found(&routes, "m.example", path), Err(NoRoute::Unknown), "{path}");
        }
    }

    #[test]
    fn tricks_have_no_match() {
        let routes = routes(&[("all", &["m.example"], &["/"]), ("fraud", &["m.example"], &["/model/fraud/"])]);
        for path in [
            "",
            "model",
            "//",
            "/model//fraud",
            "/model/./fraud",
            "/model/../fraud",
            "/model/fraud/..",
            "/..",
            "/.",
            "/model%2ffraud",
            "/model%2Ffraud",
            "/model/%2e%2e/fraud",
            "/model/%2E/fraud",
            "/model/fraud%5c..",
            "/model\\fraud",
            "/model;x/fraud",
            "/model/fraud;v=1",
            "/model/%66raud",
            "/model/fraud%00",
            "/model/%25",
            "/model/%3b",
            "/model/fraud%3fx",
            "/model/%",
            "/model/%6",
            "/model/%zz",
            "/model/fraud#x",
            "/model/a b",
            "/model/\u{e4}",
            "/model/\u{0}",
            "/model/fraud\r\nX: y",
            "/model/%252e%252e",
            "/model/%c0%ae%c0%ae/x",
            "/model/%e0%80%ae",
            "/model/%ff",
            "/model/%C3x%A4",
            "/model/%C3",
            "/model/%C3%20%A4",
            "/model/a|b",
            "/model/<x>",
        ] {
            assert_eq!(found(&routes, "m.example", path), Err(NoRoute::Ambiguous), "{path:?}");
        }
    }

    #[test]
    fn hosts_are_exact_or_one_wildcard_label() {
        let routes = routes(&[
            ("exact", &["a.m.example"], &[]),
            ("wild", &["*.m.example"], &[]),
            ("anywhere", &[], &["/x"]),
            ("nowhere", &[], &[]),
        ]);
        for (host, path, id) in [
            ("a.m.example", "/", "exact"),
            ("A.M.Example:8443", "/", "exact"),
            ("b.m.example", "/", "wild"),
            ("m.example", "/x/y", "anywhere"),
            ("c.b.m.example", "/x", "anywhere"),
        ] {
            assert_eq!(found(&routes, host, path).as_deref(), Ok(id), "{host}");
        }
        assert_eq!(found(&routes, "m.example", "/"), Err(NoRoute::Unknown));
        assert_eq!(found(&routes, "c.b.m.example", "/"), Err(NoRoute::Unknown));
        for host in ["", "*.m.example", "a b", "a:", "a:b", "a@b", "a/b", "a,b", "a:123456", "a..b", ".a"] {
            assert_eq!(found(&routes, host, "/x"), Err(NoRoute::Host), "{host:?}");
        }
    }

    #[test]
    fn a_place_that_two_deployments_claim_belongs_to_neither() {
        let mut routes = routes(&[("one", &["m"], &["/a"]), ("two", &["m"], &["/a/"])]);
        assert_eq!(found(&routes, "m", "/a"), Err(NoRoute::Contested));
        routes.remove(&DeploymentId::parse("two").unwrap());
        assert_eq!(found(&routes, "m", "/a").as_deref(), Ok("one"));
    }

    #[test]
    fn a_place_is_taken_by_the_same_host_and_segments_alone() {
        let held = routes(&[("one", &["m", "*.w"], &["/a", "/b/c"]), ("any", &[], &["/x/"]), ("whole", &["h"], &[])]);
        let taken = |id: &str, hosts: &[&str], paths: &[&str]| {
            let wanted = Deployment {
                id: DeploymentId::parse(id).unwrap(),
                role: Role::parse("r").unwrap(),
                hosts: hosts.iter().map(ToString::to_string).collect(),
                paths: paths.iter().map(ToString::to_string).collect(),
                audience: None,
                created_at: Timestamp::default(),
                updated_at: Timestamp::default(),
            };
            held.taken(&wanted).map(|taken| taken.to_string())
        };
        for (hosts, paths, holder) in [
            (&["m"][..], &["/a/"][..], "one answers at m /a/ already"),
            (&["z", "*.w"], &["/q", "/b/c"], "one answers at *.w /b/c already"),
            (&[], &["/x"], "any answers at any host /x already"),
            (&["h"], &["/"], "whole answers at h / already"),
            (&["h"], &[], "whole answers at h / already"),
        ] {
            assert_eq!(taken("two", hosts, paths).as_deref(), Some(holder));
        }
        for (id, hosts, paths) in [
            ("two", &["m"][..], &["/a/b", "/b", "/"][..]),
            ("two", &["a.w", "w"], &["/a"]),
            ("two", &["m"], &["/x"]),
            ("two", &[], &["/a"]),
            ("two", &[], &[]),
            ("one", &["m"], &["/a"]),
        ] {
            assert_eq!(taken(id, hosts, paths), None, "{hosts:?} {paths:?}");
        }
    }

    proptest! {
        #[test]
        fn what_matches_has_no_second_reading(path in "/[-a-z./%25;\\\\?#A-F0-9]{0,24}") {
            if let Ok(found) = segments(&path) {
                let plain = path.split('?').next().unwrap();
                prop_assert!(!plain.contains("//") && !plain.contains(';') && !plain.contains('\\'));
                prop_assert!(found.iter().all(|segment| !segment.is_empty() && *segment != "." && *segment != ".."));
                let lower = plain.to_ascii_lowercase();
                prop_assert!(["%2f", "%5c", "%2e", "%25", "%61"].iter().all(|escape| !lower.contains(escape)));
            }
        }
    }
}
