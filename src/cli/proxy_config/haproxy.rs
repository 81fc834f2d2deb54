//! HAProxy: verifies by itself, with the public keys that `take-keys` (config/proxies/haproxy) wrote.

use std::fmt::Write as _;

use super::site::{Host, Site, Url};

pub(super) fn render(site: &Site) -> Result<String, String> {
    let listen = site.listen.map_or_else(|| "127.0.0.1:8000".to_owned(), |at| at.to_string());
    let mut out = format!(
        r#"# HAProxy verifies edi's tokens by itself, offline: `edi key export --pem | take-keys FOLDER` writes keys.cfg.
# Start with both files, the keys first:  haproxy -W -f keys.cfg -f haproxy.cfg

global
    presetenv EDI_ISSUER   "{issuer}"
    presetenv PROXY_LISTEN {listen}

defaults models
    mode http
    timeout connect 5s
    timeout client  30s
    timeout server  60s

# The rules of `defaults edi-keys` (keys.cfg) run first. They set txn.edi_signed when a published key signed the token,
# with that key's own algorithm. Everything below reads claims of a token whose signature is thereby known to be good.
frontend models from edi-keys
    bind "$PROXY_LISTEN"

    # 400: two credentials, of which HAProxy might judge one and the model read the other.
    http-request return status 400 if {{ req.fhdr_cnt(authorization) gt 1 }}

    # 401: each rule is `unless good`, so that a claim that is missing or of another type refuses the token.
    http-request set-var(txn.why)  str(signature)  unless {{ var(txn.edi_signed) -m bool }}
    http-request set-var(txn.why)  str(type)       unless {{ http_auth_bearer,jwt_header_query('$.typ') -m str at+jwt }}
    http-request set-var(txn.why)  str(issuer)     unless {{ http_auth_bearer,jwt_payload_query('$.iss') -m str "$EDI_ISSUER" }}
    http-request set-var(txn.now)  date()
    http-request set-var(txn.why)  str(expired)    unless {{ http_auth_bearer,jwt_payload_query('$.exp','int'),sub(txn.now) -m int gt 0 }}
    http-request return status 401 hdr WWW-Authenticate 'Bearer realm="edi"' if {{ var(txn.why) -m found }} !{{ req.hdr(authorization) -m found }}
    http-request return status 401 hdr WWW-Authenticate 'Bearer realm="edi", error="invalid_token", error_description="the token is not valid: %[var(txn.why)]"' if {{ var(txn.why) -m found }}

    # 403: a path that the model might read differently from the prefixes below.
    http-request return status 403 if {{ path -m reg -i (//|/[.]{{1,2}}(/|$)|[\\\\;]|%(2e|2f|5c|25)) }}

    # What a model may believe is what stands below; the caller's own versions go first, in either spelling.
    http-request del-header ^x[-_](forwarded|original|rewrite|auth[-_]request|edi|envoy)[-_] -m reg
    http-request del-header forwarded
    http-request set-var(txn.audience) http_auth_bearer,jwt_payload_query('$.aud')
    http-request set-var(txn.scope) http_auth_bearer,jwt_payload_query('$.scope')
    http-request set-var(txn.scope) str(" "),concat("",txn.scope," ")
    http-request set-header X-Auth-Request-User %[http_auth_bearer,jwt_payload_query('$.sub')]
    http-request set-header X-Edi-Client-Id     %[http_auth_bearer,jwt_payload_query('$.client_id')]
    http-request set-header X-Edi-Token-Id      %[http_auth_bearer,jwt_payload_query('$.jti')]
    # The token stays here: a model needs none, and could use it where else its caller may go.
    http-request del-header authorization
    http-request set-header X-Forwarded-Proto   http
    http-request set-header X-Forwarded-Host    %[req.hdr(host)]
    option forwardfor

    # One line per place; the first that fits counts. A request that no line takes ends at `nothing`.
"#,
        issuer = site.issuer,
    );
    for (host, routes) in &site.hosts_or_refuse()? {
        for route in routes {
            let conditions = format!("{}{}", host_rule(host), path_rule(route.prefix));
            let condition = conditions.trim();
            if condition.is_empty() {
                let _ = writeln!(out, "    use_backend model-{}", route.deployment.id);
            } else {
                let _ = writeln!(out, "    use_backend model-{} if {condition}", route.deployment.id);
            }
        }
    }
    out.push_str(
        r"    default_backend nothing

# One backend per deployment, with the audience and the role that it wants. `roles` is an array, which HAProxy cannot
# read; `scope` holds the same names between spaces, and txn.scope one more at each end, so that only a whole name
# matches.
",
    );
    for deployment in site.guarded.iter().filter(|it| !(it.hosts.is_empty() && it.paths.is_empty())) {
        let upstream = deployment.upstream();
        let _ = write!(
            out,
            r#"backend model-{id} from models
    http-request return status 401 hdr WWW-Authenticate 'Bearer realm="edi", error="invalid_token", error_description="the token is not valid: audience"' unless {{ var(txn.audience) -m str "{audience}" }}
    http-request return status 403 hdr WWW-Authenticate 'Bearer realm="edi", error="insufficient_scope", scope="{role}"' unless {{ var(txn.scope) -m sub " {role} " }}
    server model {server}

"#,
            id = deployment.id,
            audience = deployment.audience,
            role = deployment.role,
            server = server(&upstream),
        );
    }
    out.push_str("backend nothing from models\n    http-request return status 403\n");
    Ok(out)
}

fn host_rule(host: &Host) -> String {
    match host {
        Host::Exact(name) => format!("{{ req.hdr(host),host_only,lower -m str {name} }} "),
        Host::Under(rest) => {
            format!("{{ req.hdr(host),host_only,lower -m reg ^[^.]+[.]{}$ }} ", rest.replace('.', "[.]"))
        }
        Host::Any => String::new(),
    }
}

fn path_rule(prefix: &str) -> String {
    if prefix.is_empty() {
        String::new()
    } else {
        // One condition for both: an anonymous ACL holds one test alone.
        format!("{{ path -m reg ^{}(/|$) }}", prefix.replace('.', "[.]"))
    }
}

fn server(url: &Url) -> String {
    let authority = url.authority();
    if url.is_tls() {
        format!("{authority} ssl verify required ca-file @system-ca sni str({})", url.host())
    } else {
        authority
    }
}
