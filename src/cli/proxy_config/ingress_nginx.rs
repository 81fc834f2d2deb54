//! ingress-nginx: asks edi about every call by annotations. One Ingress per deployment.

use std::fmt::Write as _;

use super::headers::IDENTITY;
use super::kubernetes::{name, service};
use super::site::Site;

pub(super) fn render(site: &Site) -> Result<String, String> {
    let mut out = String::from(
        "\
# ingress-nginx asks edi about every call. Roles are edi's to know; write this anew when hosts or paths of deployments
# change. The token reaches the model: the controller takes a header away by snippets alone, which are off by default.
# In the controller's ConfigMap leave use-forwarded-headers off unless a trusted proxy stands in front.
",
    );
    let mut any = false;
    for deployment in site.guarded.iter().filter(|it| !(it.hosts.is_empty() && it.paths.is_empty())) {
        any = true;
        let (service, port) = service(deployment)?;
        let _ = write!(
            out,
            r#"---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: "{name}"
  namespace: "{namespace}"
  annotations:
    nginx.ingress.kubernetes.io/auth-url: "{edi}/authz/nginx"
    nginx.ingress.kubernetes.io/auth-response-headers: "{identity}"
    nginx.ingress.kubernetes.io/proxy-body-size: "64m" # Predictions carry larger bodies than nginx's 1 MiB.
spec:
  ingressClassName: nginx
  rules:
"#,
            name = name(deployment),
            namespace = site.namespace,
            edi = site.edi,
            identity = IDENTITY.join(","),
        );
        let hosts: Vec<Option<&str>> = match deployment.hosts.as_slice() {
            [] => vec![None],
            named => named.iter().map(|host| Some(host.as_str())).collect(),
        };
        for host in hosts {
            let _ = match host {
                Some(host) => writeln!(out, "  - host: \"{host}\"\n    http:\n      paths:"),
                None => writeln!(out, "  - http:\n      paths:"),
            };
            for prefix in deployment.prefixes() {
                let path = if prefix.is_empty() { "/" } else { prefix };
                let _ = writeln!(
                    out,
                    "      - path: \"{path}\"\n        pathType: Prefix\n        backend: {{ service: {{ name: \
                     \"{service}\", port: {{ number: {port} }} }} }}"
                );
            }
        }
    }
    if any { Ok(out) } else { Err("no deployment names a host or a path".into()) }
}
