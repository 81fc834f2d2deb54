//! Each kind of work: what edi is asked, what the limit server is asked in its place, and how an answer is known to be
//! right.

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edi::ambient::Ambient;
use edi::keys::client_signer::ClientSigner;
use edi::oauth::assertion::ASSERTION_TYPE;
use serde_json::{Value, json};

use super::args::Work;
use super::drive::{Connection, Load, Requests, Target, Until};
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
pub(crate) async fn tokens(edi: impl Into<Target>, authorization: &str, count: usize) -> Result<Vec<String>> {
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
    id: String,
    signer: ClientSigner,
    issuer: String,
}

impl Asserter {
    async fn register(edi: &Edi<'_>) -> Result<Self> {
        let id = new_id(Work::IssueKey);
        let signer = edi.client_with_key(&id)?;
        let (_, metadata) = Load::once(edi.target.clone(), &get("/.well-known/openid-configuration", "")).await?;
        let metadata: Value = serde_json::from_slice(&metadata)?;
        let issuer = metadata.get("issuer").and_then(Value::as_str).context("no issuer")?.to_owned();
        Ok(Self { id, signer, issuer })
    }

    /// A request for a token.
    fn request(&self) -> Result<Vec<u8>> {
        let ambient = Ambient::system();
        let now = ambient.now().secs();
        let jti = URL_SAFE_NO_PAD.encode(ambient.random::<16>());
        let claims =
            json!({ "iss": self.id, "sub": self.id, "aud": self.issuer, "iat": now, "exp": now + 600, "jti": jti });
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
}

/// How many clients were registered: the same work may be prepared more than once.
static REGISTERED: AtomicUsize = AtomicUsize::new(0);

fn new_id(work: Work) -> String {
    format!("{}-{}", work.name(), REGISTERED.fetch_add(1, Ordering::Relaxed))
}

impl Task {
    /// Registers the client this work needs and checks that edi's answers to it are right.
    pub(crate) async fn prepare(work: Work, edi: &Edi<'_>) -> Result<Self> {
        if work == Work::IssueKey {
            return Self::prepare_key(edi).await;
        }
        ensure!(work.has_rounds(), "has no rounds of this kind");
        let more: &[&str] = match work {
            Work::IssueRs256 => &["--alg", "RS256"],
            Work::IssueEddsa => &["--alg", "EdDSA"],
            _ => &[],
        };
        let authorization = edi.client(&new_id(work), more)?;
        let issued = Load::once(edi.target.clone(), &token_request("/oauth2/token", &authorization)).await?;
        ensure!(issued.0 == 200, "issuing answered {}", issued.0);
        let token = token_of(&issued.1)?;
        let form = format!("token={token}");
        let decide = |token: &str| get("/authz?role=fraud", &format!("authorization: Bearer {token}\r\n"));
        let task = |ask, limit| Self { authorization: authorization.clone(), ask, limit, status: 200 };
        let sign = |path: &str| token_request(path, &authorization);
        let ask_token = || Ask::Same(token_request("/oauth2/token", &authorization));
        Ok(match work {
            Work::Issue => {
                signed_with(&token, "ES256")?;
                task(ask_token(), sign("/sign/es256"))
            }
            Work::IssueRs256 => {
                signed_with(&token, "RS256")?;
                task(ask_token(), sign("/sign/rs256"))
            }
            Work::IssueEddsa => {
                signed_with(&token, "EdDSA")?;
                task(ask_token(), sign("/sign/eddsa"))
            }
            Work::Introspect => {
                let request = post("/oauth2/introspect", &authorization, &form);
                let body = active(edi, &request, true).await?;
                let limit = post(&format!("/verify/{body}"), &authorization, &form);
                task(Ask::Same(request), limit)
            }
            Work::AuthzHot => {
                let stranger = Load::once(edi.target.clone(), &get("/authz?role=fraud", "")).await?;
                ensure!(stranger.0 == 401, "/authz without a token answered {}", stranger.0);
                let limit = get("/fixed/0", &format!("authorization: Bearer {token}\r\n"));
                task(Ask::Same(decide(&token)), limit)
            }
            Work::AuthzCold => {
                let limit = get("/verify/0", &format!("authorization: Bearer {token}\r\n"));
                task(Ask::Fresh(Box::new(decide)), limit)
            }
            Work::Jwks => {
                let request = get("/.well-known/jwks.json", "");
                let (_, body) = Load::once(edi.target.clone(), &request).await?;
                let keys: Value = serde_json::from_slice(&body)?;
                ensure!(keys.pointer("/keys/0/kid").is_some(), "the JWKS has no keys");
                task(Ask::Same(request), get(&format!("/fixed/{}", body.len()), ""))
            }
            Work::Jwks304 => {
                let tag = entity_tag(edi).await?;
                let headers = format!("if-none-match: {tag}\r\n");
                let limit = get("/unchanged", &headers);
                Self { status: 304, ..task(Ask::Same(get("/.well-known/jwks.json", &headers)), limit) }
            }
            Work::Revoke => {
                let revoke = post("/oauth2/revoke", &authorization, &form);
                let (status, _) = Load::once(edi.target.clone(), &revoke).await?;
                ensure!(status == 200, "revoking answered {status}");
                active(edi, &post("/oauth2/introspect", &authorization, &form), false).await?;
                let by = authorization.clone();
                let ask = move |token: &str| post("/oauth2/revoke", &by, &format!("token={token}"));
                task(Ask::Fresh(Box::new(ask)), post("/append", &authorization, &form))
            }
            _ => anyhow::bail!("has no rounds of this kind"),
        })
    }

    /// An assertion lets in, and once only. The limit verifies once and waits for the same durable append; it signs
    /// nothing.
    async fn prepare_key(edi: &Edi<'_>) -> Result<Self> {
        let client = Asserter::register(edi).await?;
        let request = client.request()?;
        let (status, body) = Load::once(edi.target.clone(), &request).await?;
        ensure!(status == 200, "issuing answered {status}");
        let token = token_of(&body)?;
        signed_with(&token, "ES256")?;
        let (status, _) = Load::once(edi.target.clone(), &request).await?;
        ensure!(status == 401, "a used assertion was answered {status}");
        let limit = post("/append", "Basic eDp4", &format!("token={token}"));
        let ask = Ask::Signed(Box::new(client));
        Ok(Self { authorization: String::new(), ask, limit, status: 200 })
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
                let tokens = tokens(edi.target.clone(), &self.authorization, each).await?;
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
    let (status, body) = Load::once(edi.target.clone(), request).await?;
    let answer: Value = serde_json::from_slice(&body)?;
    ensure!(status == 200 && answer.get("active") == Some(&wanted.into()), "introspection answered {status} {answer}");
    Ok(body.len())
}

/// The JWKS's entity tag.
async fn entity_tag(edi: &Edi<'_>) -> Result<String> {
    let head = Connection::open(edi.target.clone()).await?.head(&get("/.well-known/jwks.json", "")).await?;
    let tag = head.split("\r\n").find_map(|line| line.split_once(": ").filter(|(name, _)| *name == "etag"));
    Ok(tag.context("no etag")?.1.to_owned())
}
