//! Traefik: asks edi about every call with `forwardAuth`. A file for the file provider.

use std::fmt::Write as _;

use super::headers::{IDENTITY, UNTRUSTED};
use super::site::{Host, Site};

pub(super) fn render(site: &Site) -> Result<String, String> {
    let mut out = String::from(
        "\
# Traefik asks edi about every call. For the file provider. Roles are edi's to know; write this anew when hosts or paths
# of deployments change. Leave `forwardedHeaders` of the entry point alone, or name the proxies in front with
# `trustedIPs`; never `insecure`.
http:
  routers:
",
    );
    let hosts = site.hosts_or_refuse()?;
    let mut number = 0;
    for (rank, (host, routes)) in hosts.iter().rev().enumerate() {
        for route in routes {
            number += 1;
            let prefix = route.prefix;
            let path = match prefix {
                "" => None,
                _ => Some(format!("(Path(`{prefix}`) || PathPrefix(`{prefix}/`))")),
            };
            let parts: Vec<String> = host_rule(host).into_iter().chain(path).collect();
            let rule = if parts.is_empty() { "PathPrefix(`/`)".to_owned() } else { parts.join(" && ") };
            // The more specific host wins, then the longer prefix.
            let priority = (rank + 1) * 10_000 + prefix.len();
            let _ = write!(
                out,
                "    \"{id}-{number}\":\n      rule: \"{rule}\"\n      priority: {priority}\n      service: \"{id}\"\n      \
                 middlewares: [edi-untrusted, edi, edi-no-token]\n",
                id = route.deployment.id,
            );
        }
    }
    out.push_str("\n  services:\n");
    for deployment in site.guarded.iter().filter(|it| !(it.hosts.is_empty() && it.paths.is_empty())) {
        let _ = write!(
            out,
            "    \"{}\":\n      loadBalancer:\n        servers:\n          - url: \"{}\"\n",
            deployment.id,
            deployment.upstream()
        );
    }
    let _ = write!(
        out,
        "
  middlewares:
    edi:
      forwardAuth:
        address: \"{edi}/authz/forwarded\"
        # What the caller asks for is what Traefik saw, never what the caller wrote into X-Forwarded-*.
        trustForwardHeader: false
        authRequestHeaders: [Authorization]
        authResponseHeaders: [{identity}]

    # The token stays here: the model could use it at other models.
    edi-no-token:
      headers:
        customRequestHeaders:
          Authorization: \"\"

    # Who a caller claims to be, and what it claims to ask for, ends here; in the spelling with `_` too, which some
    # models read as `-`. The entry point itself sets X-Forwarded-{{For,Host,Port,Proto,Server}}.
    edi-untrusted:
      headers:
        customRequestHeaders:
          Forwarded: \"\"
",
        edi = site.edi,
        identity = IDENTITY.join(", "),
    );
    for header in IDENTITY.into_iter().chain(UNTRUSTED) {
        let _ = write!(out, "          {header}: \"\"\n          {}: \"\"\n", header.replace('-', "_"));
    }
    for header in ["For", "Host", "Port", "Proto", "Server"] {
        let _ = writeln!(out, "          X_Forwarded_{header}: \"\"");
    }
    Ok(out)
}

fn host_rule(host: &Host) -> Option<String> {
    match host {
        Host::Exact(name) => Some(format!("Host(`{name}`)")),
        // Doubled: the rule stands in a YAML string between double quotes.
        Host::Under(rest) => Some(format!("HostRegexp(`^[^.]+\\\\.{}$`)", rest.replace('.', "\\\\."))),
        Host::Any => None,
    }
}
