//! oauth2-proxy: verifies by the key set, in front of one model: its `allowed_groups` are one list for all it guards.

use super::site::Site;

pub(super) fn render(site: &Site) -> Result<String, String> {
    let [deployment] = site.guarded.as_slice() else {
        return Err("an oauth2-proxy guards one deployment: name it by --deployment".into());
    };
    let listen = site.listen.map_or_else(|| "127.0.0.1:4180".to_owned(), |at| at.to_string());
    Ok(format!(
        r#"# oauth2-proxy lets callers of {id} in by their bearer token, verified by edi's published keys; nobody signs in
# here. A revoked token passes until it expires. Start it with a cookie secret, which nothing uses but it insists on:
#   OAUTH2_PROXY_COOKIE_SECRET=$(openssl rand -hex 16) oauth2-proxy --config oauth2-proxy.cfg
http_address = "{listen}" # Callers send bearer tokens: beyond loopback, terminate TLS in front.
upstreams = ["{upstream}/"]

# Tokens of edi, for this audience.
provider = "oidc"
oidc_issuer_url = "{issuer}"
oidc_jwks_url = "{jwks_uri}"
skip_oidc_discovery = true
login_url = "{issuer}/oauth2/authorize" # There is none, and nobody is sent there: see api_routes.
redeem_url = "{issuer}/oauth2/token"
client_id = "{audience}"
client_secret = "unused"
skip_jwt_bearer_tokens = true

# The role. edi writes roles to `groups` as long as claims.groups is on.
oidc_groups_claim = "groups"
allowed_groups = ["{role}"]

# Services have no e-mail address.
oidc_email_claim = "sub"
insecure_oidc_allow_unverified_email = true
email_domains = ["*"]

# 401 and 403 instead of a sign-in page.
api_routes = ["^/"]
skip_provider_button = true

# The token stays here: the model could use it at other models. Who calls is told by X-Forwarded-User and -Groups.
pass_authorization_header = false
pass_access_token = false
pass_basic_auth = false
pass_user_headers = true
skip_auth_strip_headers = true
reverse_proxy = false
"#,
        id = deployment.id,
        upstream = deployment.upstream(),
        issuer = site.issuer,
        jwks_uri = site.jwks_uri,
        audience = deployment.audience,
        role = deployment.role,
    ))
}
