//! nginx: asks edi about every call with `auth_request`. One server per host.

use std::fmt::Write as _;

use super::headers::{IDENTITY, UNTRUSTED};
use super::site::{Host, Route, Site, Url};

pub(super) fn render(site: &Site) -> Result<String, String> {
    let mut out = String::from(HEAD);
    upstream(&mut out, "edi", &site.edi, 16);
    for deployment in &site.guarded {
        upstream(&mut out, &format!("model-{}", deployment.id), &deployment.upstream(), 16);
    }
    let hosts = site.hosts_or_refuse()?;
    let listen = site.listen.map_or_else(|| "80".to_owned(), |at| at.to_string());
    if !hosts.iter().any(|(host, _)| *host == Host::Any) {
        let _ = write!(
            out,
            "\n# A host that no deployment has.\nserver {{\n    listen {listen} default_server;\n    return 421;\n}}\n"
        );
    }
    for (host, routes) in &hosts {
        server(&mut out, site, &listen, host, routes);
    }
    Ok(out)
}

const HEAD: &str = "\
# nginx asks edi about every call. Put this into /etc/nginx/conf.d/. Needs nginx's own auth_request module. Roles are
# edi's to know; write this anew when hosts or paths of deployments change.
";

fn upstream(out: &mut String, name: &str, url: &Url, keepalive: u8) {
    let authority = url.authority();
    let _ = write!(out, "\nupstream {name} {{\n    server {authority};\n    keepalive {keepalive};\n}}\n");
}

fn server(out: &mut String, site: &Site, listen: &str, host: &Host, routes: &[Route<'_>]) {
    let (default, name) = match host {
        Host::Any => (" default_server", "_".to_owned()),
        other => ("", other.to_string()),
    };
    let _ = write!(
        out,
        r#"
server {{
    listen {listen}{default}; # Callers send bearer tokens: terminate TLS here, `listen 443 ssl;`.
    server_name {name};

    # Predictions carry larger bodies than nginx's 1 MiB.
    client_max_body_size 64m;

    auth_request /_edi;
    auth_request_set $edi_challenge $upstream_http_www_authenticate;
"#
    );
    for header in IDENTITY {
        let _ = writeln!(out, "    auth_request_set ${} $upstream_http_{};", variable(header), snake(header));
    }
    out.push_str(
        r#"    error_page 403 @forbidden;

    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;

    # The token stays here: the model could use it at other models.
    proxy_set_header Authorization "";

    # Who calls, as edi verified it. Set even when empty: a caller's own headers of these names end here.
"#,
    );
    for header in IDENTITY {
        let _ = writeln!(out, "    proxy_set_header {header} ${};", variable(header));
    }
    out.push_str(
        "    proxy_set_header X-Forwarded-For $remote_addr;\n    proxy_set_header X-Forwarded-Host $host;\n    \
         proxy_set_header X-Forwarded-Proto $scheme;\n    proxy_set_header X-Real-IP $remote_addr;\n    \
         proxy_set_header Forwarded \"\";\n",
    );
    for header in UNTRUSTED {
        let _ = writeln!(out, "    proxy_set_header {header} \"\";");
    }
    out.push_str("\n    # proxy_pass has no path of its own: the model gets the very path that edi judged.\n");
    for route in routes {
        let upstream = route.deployment.upstream();
        let pass = format!("proxy_pass {}://model-{};{}", upstream.scheme(), route.deployment.id, tls(&upstream));
        if !route.prefix.is_empty() {
            let _ = writeln!(out, "    location = {} {{ {pass} }}", route.prefix);
        }
        let _ = writeln!(out, "    location ^~ {}/ {{ {pass} }}", route.prefix);
    }
    if routes.iter().all(|route| !route.prefix.is_empty()) {
        // Not `return`, which comes before edi is asked: strangers learn nothing of what is here.
        out.push_str("    location / { try_files /.nothing =404; }\n");
    }
    let edi = &site.edi;
    let _ = write!(
        out,
        r#"
    location @forbidden {{
        auth_request off;
        # RFC 6750 section 3: says which role is missing. (With 401 nginx does this by itself.)
        add_header WWW-Authenticate $edi_challenge always;
        return 403;
    }}

    location = /_edi {{
        internal;
        auth_request off;
        proxy_pass {scheme}://edi{path}/authz/nginx;{tls}
        # edi hears three things, all of nginx's making but the token; nothing else the caller sent.
        proxy_pass_request_body off;
        proxy_pass_request_headers off;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header Authorization $http_authorization;
        # $host, not $http_host: the host that nginx itself goes by.
        proxy_set_header X-Original-URL $scheme://$host$request_uri;
        proxy_connect_timeout 2s;
        proxy_read_timeout 5s;
    }}
}}
"#,
        scheme = edi.scheme(),
        path = edi.path(),
        tls = tls(edi),
    );
}

/// What `https` to an upstream needs: nginx verifies nothing unless told.
fn tls(url: &Url) -> String {
    if !url.is_tls() {
        return String::new();
    }
    let host = url.host();
    format!(
        " proxy_ssl_server_name on; proxy_ssl_name {host}; proxy_ssl_verify on; proxy_ssl_trusted_certificate \
         /etc/ssl/certs/ca-certificates.crt;"
    )
}

fn snake(header: &str) -> String {
    header.to_ascii_lowercase().replace('-', "_")
}

fn variable(header: &str) -> String {
    format!("edi_{}", snake(header).trim_start_matches("x_").trim_start_matches("edi_"))
}
