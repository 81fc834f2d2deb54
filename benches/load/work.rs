//! Each kind of work: what edi is asked, what the limit server is asked in its place, and how an answer is known to be
//! right.

use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edi::ambient::Ambient;
use edi::keys::client_signer::ClientSigner;
use edi::oauth::assertion::ASSERTION_TYPE;
use serde_json::{Value, json};

use super::args::Work;
use super::drive::{Load, Requests, Until};
use super::edi::Edi;

/// A GET.
pub(crate) fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: edi.example\r\n{headers}\r\n").into_bytes()
}

/// A form with credentials.
pub(crate) fn post(path: &str, authorization: &str, form: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: edi.example\r\nauthorization: {authorization}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    )
    .into_bytes()
}

/// A request for a token.
pub(crate) fn token_request(path: &str, authorization: &str) -> Vec<u8> {
    post(path, authorization, "grant_type=client_credentials&scope=fraud")
}

/// Tokens of a client, each another one.
pub(crate) async fn tokens(edi: SocketAddr, authorization: &str, count: usize) -> Result<Vec<String>> {
    let request = Requests::Same(token_request("/oauth2/token", authorization).into());
    let outcome = Load::connect(edi, 8).await?.run(&request, Until::Sent(count), 200, true).await?;
    outcome.bodies.iter().map(|body| token_of(body)).collect()
}

fn token_of(body: &[u8]) -> Result<String> {
    let answer: Value = serde_json::from_slice(body)?;
    Ok(answer.get("access_token").and_then(Value::as_str).context("no access_token")?.to_owned())
}

/// Makes the request about a token.
type About = Box<dyn Fn(&str) -> Vec<u8>>;

/// What edi is asked.
enum Ask {
    /// The same each time.
    Same(Vec<u8>),
    /// Each time with a token that was not used before.
    Fresh(About),
    /// Each time with an assertion that was not used before.
    Signed(Box<Asserter>),
}

/// A client that signs assertions.
struct Asserter {
    signer: ClientSigner,
    issuer: String,
}

impl Asserter {
    const ID: &str = "es256-key";

    async fn register(edi: &Edi<'_>) -> Result<Self> {
        let signer = edi.client_with_key(Self::ID)?;
        let (_, metadata) = Load::once(edi.public, &get("/.well-known/openid-configuration", "")).await?;
        let metadata: Value = serde_json::from_slice(&metadata)?;
        let issuer = metadata.get("issuer").and_then(Value::as_str).context("no issuer")?.to_owned();
        Ok(Self { signer, issuer })
    }

    /// A request for a token.
    fn request(&self) -> Result<Vec<u8>> {
        let ambient = Ambient::system();
        let now = ambient.now().secs();
        let jti = URL_SAFE_NO_PAD.encode(ambient.random::<16>());
        let claims =
            json!({ "iss": Self::ID, "sub": Self::ID, "aud": self.issuer, "iat": now, "exp": now + 600, "jti": jti });
        let form = format!(
            "grant_type=client_credentials&scope=fraud&client_assertion_type={}&client_assertion={}",
            ASSERTION_TYPE.replace(':', "%3A"),
            self.signer.sign(&claims)?
        );
        Ok(format!(
            "POST /oauth2/token HTTP/1.1\r\nhost: edi.example\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {}\r\n\r\n{form}",
            form.len()
        )
        .into_bytes())
    }
}

/// A kind of work, ready to run.
pub(crate) struct Task {
    authorization: String,
    ask: Ask,
    /// What the limit server is asked.
    pub(crate) limit: Vec<u8>,
    /// The status of every answer of either.
    pub(crate) status: u16,
    /// What the issue of this work aims at.
    pub(crate) aim: &'static str,
}

impl Task {
    /// Registers the client this work needs and checks that edi's answers to it are right.
    pub(crate) async fn prepare(work: Work, edi: &Edi<'_>) -> Result<Self> {
        if work == Work::IssueKey {
            return Self::prepare_key(edi).await;
        }
        let (name, more): (&str, &[&str]) = match work {
            Work::IssueRs256 => ("rs256", &["--alg", "RS256"]),
            Work::IssueEddsa => ("eddsa", &["--alg", "EdDSA"]),
            Work::Issue => ("es256", &[]),
            Work::Introspect => ("introspect", &[]),
            Work::AuthzHot => ("authz-hot", &[]),
            Work::AuthzCold => ("authz-cold", &[]),
            Work::Jwks => ("jwks", &[]),
            Work::Jwks304 => ("jwks-304", &[]),
            Work::Revoke => ("revoke", &[]),
            Work::IssueKey | Work::Memory | Work::BigStore | Work::Flood | Work::Soak => {
                anyhow::bail!("has no rounds of this kind")
            }
        };
        let authorization = edi.client(name, more)?;
        let issued = Load::once(edi.public, &token_request("/oauth2/token", &authorization)).await?;
        ensure!(issued.0 == 200, "issuing answered {}", issued.0);
        let token = token_of(&issued.1)?;
        let form = format!("token={token}");
        let decide = |token: &str| get("/authz?role=fraud", &format!("authorization: Bearer {token}\r\n"));
        let task = |ask, limit, aim| Self { authorization: authorization.clone(), ask, limit, status: 200, aim };
        let sign = |path: &str| token_request(path, &authorization);
        let ask_token = || Ask::Same(token_request("/oauth2/token", &authorization));
        Ok(match work {
            Work::Issue => {
                signed_with(&token, "ES256")?;
                task(ask_token(), sign("/sign/es256"), "rate >= 0.90, CPU <= 1.10")
            }
            Work::IssueRs256 => {
                signed_with(&token, "RS256")?;
                task(ask_token(), sign("/sign/rs256"), "")
            }
            Work::IssueEddsa => {
                signed_with(&token, "EdDSA")?;
                task(ask_token(), sign("/sign/eddsa"), "")
            }
            Work::Introspect => {
                let request = post("/oauth2/introspect", &authorization, &form);
                let body = active(edi, &request, true).await?;
                let limit = post(&format!("/verify/{body}"), &authorization, &form);
                task(Ask::Same(request), limit, "rate >= 0.90")
            }
            Work::AuthzHot => {
                let stranger = Load::once(edi.public, &get("/authz?role=fraud", "")).await?;
                ensure!(stranger.0 == 401, "/authz without a token answered {}", stranger.0);
                let limit = get("/fixed/0", &format!("authorization: Bearer {token}\r\n"));
                task(Ask::Same(decide(&token)), limit, "<= 4 us of CPU more")
            }
            Work::AuthzCold => {
                let limit = get("/verify/0", &format!("authorization: Bearer {token}\r\n"));
                task(Ask::Fresh(Box::new(decide)), limit, "")
            }
            Work::Jwks => {
                let request = get("/.well-known/jwks.json", "");
                let (_, body) = Load::once(edi.public, &request).await?;
                let keys: Value = serde_json::from_slice(&body)?;
                ensure!(keys.pointer("/keys/0/kid").is_some(), "the JWKS has no keys");
                task(Ask::Same(request), get(&format!("/fixed/{}", body.len()), ""), "")
            }
            Work::Jwks304 => {
                let tag = entity_tag(edi).await?;
                let headers = format!("if-none-match: {tag}\r\n");
                let limit = get("/unchanged", &headers);
                Self { status: 304, ..task(Ask::Same(get("/.well-known/jwks.json", &headers)), limit, "") }
            }
            Work::Revoke => {
                let revoke = post("/oauth2/revoke", &authorization, &form);
                let (status, _) = Load::once(edi.public, &revoke).await?;
                ensure!(status == 200, "revoking answered {status}");
                active(edi, &post("/oauth2/introspect", &authorization, &form), false).await?;
                let by = authorization.clone();
                let ask = move |token: &str| post("/oauth2/revoke", &by, &format!("token={token}"));
                task(Ask::Fresh(Box::new(ask)), post("/append", &authorization, &form), "rate >= 0.7")
            }
            Work::IssueKey | Work::Memory | Work::BigStore | Work::Flood | Work::Soak => {
                anyhow::bail!("has no rounds of this kind")
            }
        })
    }

    /// An assertion lets in, and once only. The limit verifies once and waits for the same durable append; it signs
    /// nothing.
    async fn prepare_key(edi: &Edi<'_>) -> Result<Self> {
        let client = Asserter::register(edi).await?;
        let request = client.request()?;
        let (status, body) = Load::once(edi.public, &request).await?;
        ensure!(status == 200, "issuing answered {status}");
        let token = token_of(&body)?;
        signed_with(&token, "ES256")?;
        let (status, _) = Load::once(edi.public, &request).await?;
        ensure!(status == 401, "a used assertion was answered {status}");
        let limit = post("/append", "Basic eDp4", &format!("token={token}"));
        let ask = Ask::Signed(Box::new(client));
        Ok(Self { authorization: String::new(), ask, limit, status: 200, aim: "" })
    }

    /// The requests of a round, and the most of them.
    pub(crate) async fn requests(&self, edi: &Edi<'_>, each: usize) -> Result<Requests> {
        Ok(match &self.ask {
            Ask::Same(request) => Requests::Same(request.as_slice().into()),
            Ask::Signed(client) => {
                let all: Vec<Vec<u8>> = (0..each).map(|_| client.request()).collect::<Result<_>>()?;
                Requests::Each(all.into())
            }
            Ask::Fresh(request) => {
                let tokens = tokens(edi.public, &self.authorization, each).await?;
                Requests::Each(tokens.iter().map(|token| request(token)).collect::<Vec<_>>().into())
            }
        })
    }

    /// Those of the limit server.
    pub(crate) fn limit_requests(&self) -> Requests {
        Requests::Same(Rc::from(self.limit.as_slice()))
    }
}

/// Checks the `alg` of a token's header.
fn signed_with(token: &str, algorithm: &str) -> Result<()> {
    let header = token.split('.').next().unwrap_or_default();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header)?)?;
    ensure!(header.get("alg").and_then(Value::as_str) == Some(algorithm), "the token says {header}");
    Ok(())
}

/// Checks what an introspection says; gives the length of its body.
async fn active(edi: &Edi<'_>, request: &[u8], wanted: bool) -> Result<usize> {
    let (status, body) = Load::once(edi.public, request).await?;
    let answer: Value = serde_json::from_slice(&body)?;
    ensure!(status == 200 && answer.get("active") == Some(&wanted.into()), "introspection answered {status} {answer}");
    Ok(body.len())
}

/// The JWKS's entity tag, asked for by the client library the program itself uses.
async fn entity_tag(edi: &Edi<'_>) -> Result<String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let answer = reqwest::get(format!("http://{}/.well-known/jwks.json", edi.public)).await?;
    let tag = answer.headers().get("etag").context("no etag")?;
    Ok(tag.to_str()?.to_owned())
}
