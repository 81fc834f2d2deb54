//! Envoy Gateway: verifies by the key set at the gateway. A route and its policy per deployment.

use std::fmt::Write as _;

use super::kubernetes::{name, service};
use super::site::{Guarded, Site};

/// Taken from callers on the way to a model. The Gateway API takes sixteen names and no more; the four by which the
/// policy says who calls are overwritten by it.
const REMOVED: [&str; 15] = [
    "authorization",
    "forwarded",
    "x-auth-request-email",
    "x-auth-request-preferred-username",
    "x-auth-request-redirect",
    "x-edi-roles",
    "x-forwarded-access-token",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-uri",
    "x-forwarded-user",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
];

pub(super) fn render(site: &Site) -> Result<String, String> {
    let mut out = String::from(
        "\
# Envoy Gateway verifies tokens by edi's published keys and asks nobody; a revoked token passes until it expires. Needs
# Envoy Gateway 1.3 or later and a Gateway named `models`.
",
    );
    let mut any = false;
    for deployment in site.guarded.iter().filter(|it| !(it.hosts.is_empty() && it.paths.is_empty())) {
        any = true;
        route(&mut out, site, deployment)?;
        policy(&mut out, site, deployment);
    }
    if any { Ok(out) } else { Err("no deployment names a host or a path".into()) }
}

fn route(out: &mut String, site: &Site, deployment: &Guarded) -> Result<(), String> {
    let (service, port) = service(deployment)?;
    let _ = write!(
        out,
        r#"---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: "{name}"
  namespace: "{namespace}"
spec:
  parentRefs: [{{ name: models }}]
"#,
        name = name(deployment),
        namespace = site.namespace,
    );
    if !deployment.hosts.is_empty() {
        let hosts: Vec<String> = deployment.hosts.iter().map(|host| format!("\"{host}\"")).collect();
        let _ = writeln!(out, "  hostnames: [{}]", hosts.join(", "));
    }
    out.push_str("  rules:\n  - matches:\n");
    for prefix in deployment.prefixes() {
        let value = if prefix.is_empty() { "/" } else { prefix };
        let _ = writeln!(out, "    - path: {{ type: PathPrefix, value: \"{value}\" }}");
    }
    let _ = write!(
        out,
        "    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: # The token stays here, and who a caller claims to be ends here.
        remove: [{}]
    backendRefs: [{{ name: \"{service}\", port: {port} }}]
",
        REMOVED.join(", ")
    );
    Ok(())
}

fn policy(out: &mut String, site: &Site, deployment: &Guarded) {
    let _ = write!(
        out,
        r#"---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata:
  name: "{name}"
  namespace: "{namespace}"
spec:
  targetRefs: [{{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: "{name}" }}]
  jwt:
    providers:
    - name: edi
      issuer: "{issuer}"
      audiences: ["{audience}"]
      remoteJWKS: {{ uri: "{jwks_uri}" }}
      extractFrom: # The header alone, never ?access_token=.
        headers: [{{ name: Authorization, valuePrefix: "Bearer " }}]
      claimToHeaders: # Who calls, by the verified token.
      - {{ claim: sub, header: x-auth-request-user }}
      - {{ claim: roles, header: x-auth-request-groups }}
      - {{ claim: client_id, header: x-edi-client-id }}
      - {{ claim: jti, header: x-edi-token-id }}
  authorization:
    defaultAction: Deny
    rules:
    - name: role
      action: Allow
      principal:
        jwt:
          provider: edi
          claims:
          - {{ name: roles, valueType: StringArray, values: ["{role}"] }}
"#,
        name = name(deployment),
        namespace = site.namespace,
        issuer = site.issuer,
        audience = deployment.audience,
        jwks_uri = site.jwks_uri,
        role = deployment.role,
    );
}
