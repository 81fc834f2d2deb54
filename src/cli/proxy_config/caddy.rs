//! Caddy: asks edi about every call with `forward_auth`. One site per host.

use std::fmt::Write as _;

use super::headers::IDENTITY;
use super::site::{Host, Site};

pub(super) fn render(site: &Site) -> Result<String, String> {
    let mut out = String::from(
        "\
# Caddy asks edi about every call. Roles are edi's to know; write this anew when hosts or paths of deployments change.
",
    );
    let hosts = site.hosts_or_refuse()?;
    for (host, routes) in &hosts {
        let address = match (host, site.listen) {
            (Host::Any, None) => "http://".to_owned(),
            (Host::Any, Some(at)) => format!("http://:{}", at.port()),
            (named, None) => named.to_string(),
            (named, Some(at)) => format!("http://{named}:{}", at.port()),
        };
        let bind = bind(site);
        let _ = write!(
            out,
            "
{address} {{
{bind}\t# In this order: `route` keeps it, Caddy's own would sort the lines.
\troute {{
\t\t# Who a caller claims to be, and what it claims to ask for, ends here; in the spelling with `_` too, which some
\t\t# models read as `-`. Caddy itself replaces X-Forwarded-For, -Host and -Proto of callers it was not told to trust.
\t\trequest_header -X-Auth-Request-*
\t\trequest_header -X-Edi-*
\t\trequest_header -X-Envoy-*
\t\trequest_header -X-Forwarded-*
\t\trequest_header -X-Original-*
\t\trequest_header -X-Rewrite-*
\t\trequest_header -Forwarded
\t\trequest_header -X_*

\t\t# Anything but 2xx goes to the caller as edi answered it. Where a path is rewritten (`handle_path`, `uri`), this
\t\t# has to stay in front: edi must judge the path that the caller sent.
\t\tforward_auth {edi} {{
\t\t\turi {path}/authz/forwarded
\t\t\tcopy_headers {identity}
\t\t}}

\t\t# The token stays here: the model could use it at other models.
\t\trequest_header -Authorization

",
            edi = format_args!("{}://{}", site.edi.scheme(), site.edi.authority()),
            path = site.edi.path(),
            identity = IDENTITY.join(" "),
        );
        for (number, route) in routes.iter().enumerate() {
            let upstream = route.deployment.upstream();
            if route.prefix.is_empty() {
                let _ = writeln!(out, "\t\treverse_proxy {upstream}");
                continue;
            }
            // Caddy's own path matcher knows no case: /Model would be somebody else's at edi.
            let prefix = route.prefix.replace('.', "\\.");
            let _ = write!(
                out,
                "\t\t@{id}-{number} path_regexp ^{prefix}(/|$)\n\t\treverse_proxy @{id}-{number} {upstream}\n",
                id = route.deployment.id,
            );
        }
        out.push_str("\n\t\trespond 404\n\t}\n}\n");
    }
    if !hosts.iter().any(|(host, _)| *host == Host::Any) {
        let address = site.listen.map_or_else(|| ":443".to_owned(), |at| format!("http://:{}", at.port()));
        let _ = write!(
            out,
            "\n# A host that no site has: Caddy's own answer would be an empty 200.\n{address} {{\n{bind}\trespond 421\n}}\n",
            bind = bind(site),
        );
    }
    Ok(out)
}

fn bind(site: &Site) -> String {
    site.listen.map(|at| format!("\tbind {}\n", at.ip())).unwrap_or_default()
}
