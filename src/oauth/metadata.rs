//! What discovery publishes (RFC 8414, OpenID Connect Discovery): the same facts in both documents, every URL from the
//! configured issuer.

use serde_json::{Value, json};

use super::service::Service;
use crate::keys::client_keys::ALGORITHMS as ASSERTIONS;
use crate::model::algorithm::Algorithm;

/// The authentication methods of all three endpoints.
pub const AUTH_METHODS: [&str; 3] = ["client_secret_basic", "client_secret_post", "private_key_jwt"];

/// The metadata document. No `authorization_endpoint` (there is no such grant) and no `scopes_supported` (role names
/// would leak).
#[must_use]
pub fn document(service: &Service) -> Value {
    let issuer = &service.settings.issuer;
    let url = |path: &str| format!("{issuer}{path}");
    let algorithms: Vec<&str> = service.key_set().algorithms(service.now()).into_iter().map(Algorithm::name).collect();
    json!({
        "issuer": issuer,
        "token_endpoint": url("/oauth2/token"),
        "jwks_uri": url("/.well-known/jwks.json"),
        "introspection_endpoint": url("/oauth2/introspect"),
        "revocation_endpoint": url("/oauth2/revoke"),
        "grant_types_supported": [super::token_endpoint::CLIENT_CREDENTIALS],
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "token_endpoint_auth_methods_supported": AUTH_METHODS,
        "token_endpoint_auth_signing_alg_values_supported": ASSERTIONS,
        "introspection_endpoint_auth_methods_supported": AUTH_METHODS,
        "introspection_endpoint_auth_signing_alg_values_supported": ASSERTIONS,
        "revocation_endpoint_auth_methods_supported": AUTH_METHODS,
        "revocation_endpoint_auth_signing_alg_values_supported": ASSERTIONS,
        // OpenID Connect Discovery requires it, and go-oidc takes the algorithms it trusts from here.
        "id_token_signing_alg_values_supported": algorithms,
    })
}
