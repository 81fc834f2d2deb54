//! Istio: verifies by the key set in the sidecar of each model. Applies to pods labelled `app: NAME`.

use std::fmt::Write as _;

use super::kubernetes::name;
use super::site::{Guarded, Site};

pub(super) fn render(site: &Site) -> String {
    let mut out = String::from(
        "\
# Istio verifies tokens by edi's published keys and asks nobody; a revoked token passes until it expires. For pods
# labelled `app: NAME` in a namespace with sidecars. istiod fetches the keys from `jwksUri`, which may be an address
# inside the cluster; `issuer` is what tokens say, whatever the address.
# X-Auth-Request-Groups is not set, as claims that are lists cannot be: models must not believe a caller's own.
# Set meshConfig.pathNormalization.normalization to DECODE_AND_MERGE_SLASHES, so that paths have one reading.
",
    );
    for deployment in &site.guarded {
        request_authentication(&mut out, site, deployment);
        authorization_policy(&mut out, site, deployment);
    }
    out
}

fn request_authentication(out: &mut String, site: &Site, deployment: &Guarded) {
    let Site { issuer, jwks_uri, namespace, .. } = site;
    let (name, audience) = (name(deployment), &deployment.audience);
    let _ = write!(
        out,
        r#"---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata:
  name: "{name}-edi"
  namespace: "{namespace}"
spec:
  selector:
    matchLabels: {{ app: "{name}" }}
  jwtRules:
  - issuer: "{issuer}"
    jwksUri: "{jwks_uri}"
    audiences: ["{audience}"]
    fromHeaders: [{{ name: Authorization, prefix: "Bearer " }}] # Not from ?access_token= too.
    forwardOriginalToken: false # The token stays here: the model could use it at other models.
    outputClaimToHeaders: # Who calls, by the verified token; a caller's own headers of these names end here.
    - {{ header: x-auth-request-user, claim: sub }}
    - {{ header: x-edi-client-id, claim: client_id }}
    - {{ header: x-edi-token-id, claim: jti }}
"#
    );
}

fn authorization_policy(out: &mut String, site: &Site, deployment: &Guarded) {
    let Site { issuer, namespace, .. } = site;
    let (name, role) = (name(deployment), &deployment.role);
    let _ = write!(
        out,
        r#"---
# Requests that no rule allows are refused: those without a token too.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: "{name}-edi"
  namespace: "{namespace}"
spec:
  selector:
    matchLabels: {{ app: "{name}" }}
  action: ALLOW
  rules:
  - from:
    - source: {{ requestPrincipals: ["{issuer}/*"] }}
    when:
    - {{ key: "request.auth.claims[roles]", values: ["{role}"] }}
"#
    );
    if deployment.hosts.is_empty() && deployment.paths.is_empty() {
        return;
    }
    out.push_str("    to:\n    - operation:\n");
    if !deployment.hosts.is_empty() {
        let hosts: Vec<String> = deployment.hosts.iter().flat_map(|host| with_port(host)).collect();
        let _ = writeln!(out, "        hosts: [{}]", hosts.join(", "));
    }
    // A root prefix says nothing that leaving it out does not.
    if deployment.prefixes().iter().all(|prefix| !prefix.is_empty()) {
        let both = |prefix: &&str| [format!("\"{prefix}\""), format!("\"{prefix}/*\"")];
        let paths: Vec<String> = deployment.prefixes().iter().flat_map(both).collect();
        let _ = writeln!(out, "        paths: [{}]", paths.join(", "));
    }
}

/// A host as callers may write it. Istio knows one `*`, at an end: below a wildcard a port cannot be allowed as well.
fn with_port(host: &str) -> Vec<String> {
    if host.starts_with('*') {
        vec![format!("\"{host}\"")]
    } else {
        vec![format!("\"{host}\""), format!("\"{host}:*\"")]
    }
}
