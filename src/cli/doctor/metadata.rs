//! Discovery (RFC 8414, OIDC Discovery) as a verifier reads it. Pure: documents in, findings out.

use serde_json::Value;
use url::{Host, Url};

use super::fetch::Fetched;
use super::finding::Findings;
use crate::cli::view;
use crate::config::Issuer;

/// Where RFC 8414 §3.1 puts the document: the well-known part before the issuer's path.
pub(super) const OAUTH: &str = "discovery (RFC 8414)";
/// Where OIDC Discovery puts it: after the path.
pub(super) const OIDC: &str = "discovery (OIDC)";

/// Judges one document as it came. `None`: nothing can be read from it.
pub(super) fn judge(
    check: &'static str,
    issuer: &Issuer,
    came: &Result<Fetched, String>,
    all: &mut Findings,
) -> Option<Value> {
    let came = match came {
        Ok(came) => came,
        Err(why) => {
            all.fail(
                check,
                why,
                "make the issuer's URL reach its public listener from here: DNS, firewall, proxy, TLS",
            );
            return None;
        }
    };
    let url = &came.url;
    if (300..400).contains(&came.status) {
        let to = came.header("location");
        all.fail(
            check,
            format!("{url} redirects to {to}: most verifiers do not follow"),
            "serve the document there itself, or make the issuer the URL it redirects to",
        );
        return None;
    }
    if came.status == 404 {
        let fix = "route this path to the issuer too: some clients know only this one";
        all.warn(check, format!("{url} answers 404"), fix);
        return None;
    }
    let encoding = came.header("content-encoding");
    if !encoding.is_empty() && encoding != "identity" {
        let fix = "let the proxy in front compress only for who asks (Accept-Encoding)";
        all.fail(check, format!("{url} comes compressed ({encoding}) though nobody asked for it"), fix);
        return None;
    }
    let Some(document) = came.object().filter(|_| came.status == 200) else {
        let kind = came.header("content-type");
        all.fail(
            check,
            format!(
                "{url} answers {} with {}, no metadata",
                came.status,
                if kind.is_empty() { "no type" } else { kind }
            ),
            "something else answers there: check the host and the route of the proxy in front",
        );
        return None;
    };
    if !came.header("content-type").to_ascii_lowercase().starts_with("application/json") {
        let fix = "send Content-Type: application/json; strict clients refuse anything else";
        all.warn(check, format!("{url} comes as {:?}", came.header("content-type")), fix);
    }
    let named = view::text(&document, "issuer");
    if named == issuer.as_str() {
        if all.is_clean(check) {
            all.ok(check, url);
        }
    } else {
        all.fail(
            check,
            format!("{url} says it is {named:?}, not {:?}: verifiers compare byte for byte", issuer.as_str()),
            format!(
                "name it so on both sides: set `issuer` of the server to {issuer}, or configure verifiers with {named}"
            ),
        );
    }
    Some(document)
}

/// Judges what the documents say.
pub(super) fn judge_content(issuer: &Issuer, documents: &[&Value], all: &mut Findings) {
    const CHECK: &str = "metadata";
    let Some(first) = documents.first() else { return };
    for member in ["issuer", "jwks_uri", "token_endpoint", "introspection_endpoint"] {
        let mut values: Vec<String> = documents.iter().map(|document| view::text(document, member)).collect();
        values.dedup();
        if let [one, other, ..] = values.as_slice() {
            let fix = "serve both from one place; a client gets what its library happens to read";
            all.fail(CHECK, format!("the two documents differ in {member}: {one} and {other}"), fix);
        }
    }
    let base = Url::parse(issuer.as_str()).ok();
    for member in ["jwks_uri", "token_endpoint"] {
        let text = view::text(first, member);
        let Some(url) = Url::parse(&text).ok().filter(Url::has_host) else {
            all.fail(
                CHECK,
                format!("{member} is {text:?}, no URL"),
                "the server's metadata must name it as a whole URL",
            );
            continue;
        };
        let Some(base) = &base else { continue };
        if base.scheme() == "https" && url.scheme() != "https" {
            let fix = "the server believes it is reached by plain HTTP: set its issuer to the https URL";
            all.fail(CHECK, format!("{member} is {text}: not https, though the issuer is"), fix);
        } else if base.host() != url.host() {
            all.warn(
                CHECK,
                format!("{member} is at another host than the issuer: {text}"),
                "check that callers outside can reach it; an internal name here is the usual mistake",
            );
        }
    }
    if base.as_ref().is_some_and(|url| url.scheme() == "http" && !is_loopback(url)) {
        let fix = "put TLS in front: whoever is between can hand verifiers keys of their own";
        all.warn(CHECK, "the issuer is plain HTTP", fix);
    }
    let grants = view::list(first, "grant_types_supported");
    if !grants.is_empty() && !grants.iter().any(|grant| grant == "client_credentials") {
        let fix = "allow the grant on the server; services have no other way to get a token";
        all.warn(CHECK, "grant_types_supported does not list client_credentials", fix);
    }
    if all.is_clean(CHECK) {
        all.ok(CHECK, format!("token endpoint {}", view::text(first, "token_endpoint")));
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
