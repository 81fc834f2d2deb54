//! oauth2-proxy: verifies by the key set it discovers, in front of one model: its `allowed_groups` are one list for all it guards.

use super::site::Site;

pub(super) fn render(site: &Site) -> Result<String, String> {
    let [deployment] = site.guarded.as_slice() else {
        return Err("an oauth2-proxy guards one deployment: name it by --deployment".into());
    };
    let listen = site.listen.map_or_else(|| "127.0.0.1:4180".to_owned(), |at| at.to_string());
    Ok(format!(
        r#"# oauth2-proxy in front of {id}: services come with edi's bearer tokens. A revoked one passes until it expires.
# Run it: oauth2-proxy --config oauth2-proxy.cfg
# with OAUTH2_PROXY_CLIENT_SECRET and OAUTH2_PROXY_COOKIE_SECRET in its environment.
http_address = "{listen}" # Callers send bearer tokens: beyond loopback, terminate TLS in front.
upstreams = ["{upstream}/"]

# People. edi logs nobody in, so this is not edi: name your company's. oauth2-proxy does not start without a provider.
provider = "oidc"
oidc_issuer_url = "https://login.example.com"
client_id = "models-proxy"
email_domains = ["*"]

# Services. issuer=audience; the keys are discovered at the issuer, which has to be reached from here. A service has no
# e-mail address: its client id stands in for it, and "*" above lets it pass.
skip_jwt_bearer_tokens = true
extra_jwt_issuers = ["{issuer}={audience}"]

# The role. edi writes roles to `groups` as long as claims.groups is on.
oidc_groups_claim = "groups"
allowed_groups = ["{role}"]

# 401 and 403 instead of a sign-in page.
api_routes = ["^/"]

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
        audience = deployment.audience,
        role = deployment.role,
    ))
}
