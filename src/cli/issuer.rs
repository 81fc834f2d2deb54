//! The way to an issuer that any client goes: discovery (RFC 8414 §3), a token (RFC 6749 §4.4), the key set (RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

use super::exchange::{self, Answer};
use super::output::printable;
use super::{Exit, Failure};
use crate::ambient::Ambient;
use crate::config::Issuer;
use crate::keys::client_signer::ClientSigner;
use crate::model::id::TokenId;
use crate::oauth::assertion::ASSERTION_TYPE;
use crate::secret::Secret;

const NEXT: &str = "is it running at that address? `edi serve` starts it; the issuer is what --issuer, EDI_ISSUER or the \
                    operator's credentials say; EDI_PUBLIC names another way to it";

/// What discovery says, as far as the command line needs it.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) token_endpoint: Option<String>,
    pub(super) jwks_uri: Option<String>,
}

/// Why there is no token.
#[derive(Debug)]
pub(super) struct Refusal {
    /// RFC 6749 §5.2's `error`.
    pub(super) code: String,
    /// What to tell the person.
    pub(super) failure: Failure,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self { code: String::new(), failure }
    }
}

/// Where to reach a URL of the issuer's: at `EDI_PUBLIC` if that is set, for where the issuer's own name leads nowhere
/// (inside its container, through a port-forward). What it says of itself is checked as ever.
pub(super) fn reach(issuer: &Issuer, url: &str) -> String {
    let instead = std::env::var("EDI_PUBLIC").ok().filter(|base| !base.is_empty());
    instead.and_then(|base| at(&base, issuer.as_str(), url)).unwrap_or_else(|| url.to_owned())
}

/// `url` with the origin of `base` in place of its own; `None` when it is not at the issuer's origin.
fn at(base: &str, issuer: &str, url: &str) -> Option<String> {
    let (base, url) = (url::Url::parse(base).ok()?, url::Url::parse(url).ok()?);
    (url::Url::parse(issuer).ok()?.origin() == url.origin())
        .then(|| format!("{}{}", base.origin().ascii_serialization(), url.path()))
}

/// Fetches the metadata of `issuer`, and sees to it that it is this issuer's (RFC 8414 §3.3).
pub(super) async fn discover(issuer: &Issuer) -> Result<Metadata, Failure> {
    let mut answer = get(issuer, &issuer.metadata_url()).await?;
    if answer.status == 404 {
        answer = get(issuer, &issuer.endpoint("/.well-known/openid-configuration")).await?;
    }
    let wrong = |what: String| {
        Failure::new(Exit::Failed, format!("{issuer} is no issuer that can be used: {what}"))
            .hint("the issuer is the text that `iss` carries: see `issuer` in edi's configuration")
    };
    let Some(metadata) = answer.json::<Metadata>().filter(|_| answer.is_success()) else {
        return Err(wrong(format!("its discovery document answers {} without metadata", answer.status)));
    };
    if metadata.issuer != issuer.as_str() {
        return Err(wrong(format!("it calls itself {}", printable(&metadata.issuer))));
    }
    for endpoint in [&metadata.token_endpoint, &metadata.jwks_uri].into_iter().flatten() {
        if issuer.as_str().starts_with("https:") && !endpoint.starts_with("https:") {
            return Err(wrong(format!("its endpoint {} is not https", printable(endpoint))));
        }
    }
    Ok(metadata)
}

/// Fetches the published keys.
pub(super) async fn keys(issuer: &Issuer) -> Result<Vec<Value>, Failure> {
    let metadata = discover(issuer).await?;
    let url = metadata.jwks_uri.unwrap_or_else(|| issuer.endpoint("/.well-known/jwks.json"));
    let answer = get(issuer, &url).await?;
    key_set(answer.json().filter(|_| answer.is_success())).ok_or_else(|| {
        Failure::new(Exit::Failed, format!("{} answers {} without a key set", printable(&url), answer.status))
    })
}

/// The keys of a JWK set.
pub(super) fn key_set(document: Option<Value>) -> Option<Vec<Value>> {
    Some(document?.get("keys")?.as_array()?.clone())
}

/// How a client proves itself.
pub(super) enum Proof<'a> {
    /// A secret, by Basic.
    Secret(&'a Secret),
    /// Assertions, addressed to this audience.
    Key(&'a ClientSigner, &'a str),
}

/// How long an assertion is good for, in seconds.
const ASSERTION_LIFE: i64 = 60;

/// One assertion (RFC 7523 §3), for one request.
fn assertion(signer: &ClientSigner, client_id: &str, audience: &str) -> Result<String, Failure> {
    let ambient = Ambient::system();
    let now = ambient.now().secs();
    let claims = serde_json::json!({ "iss": client_id, "sub": client_id, "aud": audience, "iat": now,
        "exp": now + ASSERTION_LIFE, "jti": TokenId::from_bytes(ambient.random()).to_string() });
    signer.sign(&claims).map_err(|error| Failure::new(Exit::Data, format!("the key does not sign: {error}")))
}

/// Gets a token by client credentials.
pub(super) async fn token(
    issuer: &Issuer,
    endpoint: &str,
    client_id: &str,
    proof: &Proof<'_>,
    parameters: &[(&str, &str)],
) -> Result<Value, Refusal> {
    // RFC 6749 §2.3.1: both are form-encoded (Appendix B) before they are joined.
    let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let ask = || async {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials").extend_pairs(parameters);
        let mut request = exchange::request(Method::POST, &reach(issuer, endpoint))?
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json");
        match proof {
            Proof::Secret(secret) => {
                let pair = Secret::new(format!("{}:{}", encode(client_id), encode(secret.expose())));
                request = request.header("authorization", format!("Basic {}", STANDARD.encode(pair.expose())));
            }
            // Each works once: another try takes another.
            Proof::Key(signer, audience) => {
                form.append_pair("client_id", client_id)
                    .append_pair("client_assertion_type", ASSERTION_TYPE)
                    .append_pair("client_assertion", &assertion(signer, client_id, audience)?);
            }
        }
        let request = request.body(form.finish());
        exchange::send(request, &format!("the issuer {issuer}"), NEXT).await
    };
    let mut answer = ask().await?;
    // A revocation made just now covers new tokens for some seconds: asking again then is all that it takes.
    let wait = answer.retry_after.as_deref().and_then(|seconds| seconds.parse::<u64>().ok());
    if answer.status == 503
        && let Some(seconds @ 0..=5) = wait
    {
        tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
        answer = ask().await?;
    }
    match answer.json::<Value>() {
        Some(body) if answer.is_success() && body.get("access_token").is_some_and(Value::is_string) => Ok(body),
        body => Err(refusal(issuer, client_id, &answer, &body.unwrap_or_default())),
    }
}

async fn get(issuer: &Issuer, url: &str) -> Result<Answer, Failure> {
    let request = exchange::request(Method::GET, &reach(issuer, url))?.header("accept", "application/json");
    exchange::send(request, &format!("the issuer {issuer}"), NEXT).await
}

fn refusal(issuer: &Issuer, client_id: &str, answer: &Answer, body: &Value) -> Refusal {
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(printable);
    let code = text("error").unwrap_or_default();
    let mut message = match text("error_description") {
        Some(description) => format!("no token from {issuer} for {client_id}: {description} ({code})"),
        None if code.is_empty() => {
            format!("no token from {issuer}: it answers {}, not as an issuer does", answer.status)
        }
        None => format!("no token from {issuer} for {client_id}: {code}"),
    };
    if let Some(id) = &answer.request_id {
        message = format!("{message}\n  request id: {}", printable(id));
    }
    let (exit, hint) = match (code.as_str(), answer.status) {
        ("invalid_client", _) => (
            Exit::Denied,
            "check client id and secret or key; an operator sees the client with `edi client show ID` and gives it a new \
             secret with `edi client secret add ID`, or another key with `edi client keygen ID`"
                .into(),
        ),
        ("invalid_scope", _) => (
            Exit::Denied,
            "ask for what the client holds: `edi client show ID` lists it, `edi client update ID --add-role ROLE` grants \
             more"
                .into(),
        ),
        ("invalid_target", _) => {
            (Exit::Denied, "ask for an audience of the client or of its roles' deployments, or leave it out".into())
        }
        ("unauthorized_client", _) => (Exit::Denied, "the client may not get tokens this way".into()),
        (_, 429 | 500..) => (Exit::Unavailable, again(answer)),
        ("", _) => (Exit::Failed, NEXT.into()),
        _ => (Exit::Failed, "the message above names the parameter".into()),
    };
    Refusal { code, failure: Failure::new(exit, message).hint(hint) }
}

/// When to come back.
pub(super) fn again(answer: &Answer) -> String {
    match &answer.retry_after {
        Some(seconds) => format!("try again in {} s", printable(seconds)),
        None => "try again shortly; the server's log says why under the request id".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_at_the_issuers_origin_is_reached_elsewhere() {
        let issuer = "https://edi.example.com/base";
        for (url, reached) in [
            ("https://edi.example.com/base/oauth2/token", Some("http://127.0.0.1:8080/base/oauth2/token")),
            ("https://edi.example.com:443/x", Some("http://127.0.0.1:8080/x")),
            ("http://edi.example.com/oauth2/token", None),
            ("https://other.example.com/oauth2/token", None),
            ("https://edi.example.com:8443/oauth2/token", None),
        ] {
            assert_eq!(at("http://127.0.0.1:8080/", issuer, url).as_deref(), reached, "{url}");
        }
        assert_eq!(at("no url", issuer, "https://edi.example.com/base/x"), None);
    }
}
