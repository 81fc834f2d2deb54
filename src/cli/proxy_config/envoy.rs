//! Envoy: asks edi about every call with `ext_authz`. A whole bootstrap file, one virtual host per host.

use std::fmt::Write as _;

use super::headers::{IDENTITY, UNTRUSTED};
use super::site::{Host, Site, Url};

pub(super) fn render(site: &Site) -> Result<String, String> {
    let (address, port) =
        site.listen.map_or_else(|| ("0.0.0.0".to_owned(), 8443), |at| (at.ip().to_string(), at.port()));
    let mut out = format!(
        r#"# Envoy asks edi about every call. Roles are edi's to know; write this anew when hosts or paths of deployments change.
# Run it: envoy -c envoy.yaml
static_resources:
  listeners:
  - name: models
    address: {{ socket_address: {{ address: "{address}", port_value: {port} }} }} # Callers send bearer tokens: add a TLS transport_socket.
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: models
          # Envoy is the first proxy here; what callers say about earlier ones is not believed.
          use_remote_address: true
          normalize_path: true
          merge_slashes: true
          path_with_escaped_slashes_action: REJECT_REQUEST
          strip_matching_host_port: true
          common_http_protocol_options: {{ headers_with_underscores_action: DROP_HEADER }}
          early_header_mutation_extensions:
          - name: untrusted
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation
              mutations: # Headers by which a caller could pretend to be somebody or to ask for something else.
              - remove: x-forwarded-for
              - remove: x-forwarded-host
              - remove: x-forwarded-proto
              - remove: forwarded
"#,
    );
    for header in IDENTITY.into_iter().chain(UNTRUSTED) {
        let _ = writeln!(out, "              - remove: {}", header.to_ascii_lowercase());
    }
    let _ = write!(
        out,
        r#"          http_filters:
          - name: envoy.filters.http.ext_authz
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              transport_api_version: V3
              failure_mode_allow: false # Without an answer nobody passes:
              status_on_error: {{ code: ServiceUnavailable }}
              http_service:
                server_uri: {{ uri: "{scheme}://{authority}", cluster: edi, timeout: 2s }}
                # Method, host, path and Authorization go to edi, nothing else of the caller's.
                path_prefix: {path}/authz/envoy
                authorization_response:
                  allowed_upstream_headers: # Who calls, as edi verified it.
                    patterns:
"#,
        scheme = site.edi.scheme(),
        authority = site.edi.authority(),
        path = site.edi.path(),
    );
    for header in IDENTITY {
        let _ = writeln!(out, "                    - exact: {}", header.to_ascii_lowercase());
    }
    out.push_str(
        r#"                  allowed_client_headers:
                    patterns:
                    - exact: www-authenticate
                    - exact: cache-control
                    - exact: content-type
                    - exact: retry-after
                    - exact: x-request-id
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
          route_config:
            request_headers_to_remove: [authorization] # The token stays here: the model could use it at other models.
            virtual_hosts:
"#,
    );
    for (host, routes) in &site.hosts_or_refuse()? {
        let (name, domain) = match host {
            Host::Any => ("any".to_owned(), "*".to_owned()),
            other => (other.to_string(), other.to_string()),
        };
        let _ = write!(
            out,
            "            - name: \"{name}\"\n              domains: [\"{domain}\"]\n              routes:\n"
        );
        for route in routes {
            // Whole segments; it knows no root.
            let matched = match route.prefix {
                "" => "prefix: /".to_owned(),
                prefix => format!("path_separated_prefix: \"{prefix}\""),
            };
            let _ = write!(
                out,
                "              - match: {{ {matched} }}\n                route: {{ cluster: \"model-{}\", timeout: 60s }}\n",
                route.deployment.id
            );
        }
    }
    out.push_str("  clusters:\n");
    cluster(&mut out, "edi", &site.edi);
    for deployment in &site.guarded {
        cluster(&mut out, &format!("model-{}", deployment.id), &deployment.upstream());
    }
    Ok(out)
}

fn cluster(out: &mut String, name: &str, url: &Url) {
    let kind = if url.is_address() { "STATIC" } else { "STRICT_DNS" };
    let host = url.host().trim_matches(['[', ']']);
    let _ = write!(
        out,
        "  - name: \"{name}\"
    type: {kind}
    connect_timeout: 2s
    load_assignment:
      cluster_name: \"{name}\"
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: \"{host}\", port_value: {port} }} }} }} }}] }}]
",
        port = url.port(),
    );
    if url.is_tls() {
        let _ = write!(
            out,
            "    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: \"{host}\"
        common_tls_context:
          validation_context:
            trusted_ca: {{ filename: /etc/ssl/certs/ca-certificates.crt }}
            match_typed_subject_alt_names: [{{ san_type: DNS, matcher: {{ exact: \"{host}\" }} }}]
"
        );
    }
}
