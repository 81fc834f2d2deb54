//! `edi demo`: the whole job in one go, in a throw-away folder on free ports, with the lines to repeat each step.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::api::{Api, ApiFlags};
use super::serve::{self, Running};
use super::signals::Stop;
use super::verify::{self, Expected};
use super::{Exit, Failure, Output, issuer, view};
use crate::ambient::{Ambient, Clock as _, SystemClock};
use crate::config::{self, Config, Engine, Issuer, Sources};
use crate::http::server;
use crate::model::scope::AdminScope;
use crate::secret::Secret;

const DEPLOYMENT: &str = "fraud";
const ROLE: &str = "fraud-scoring";
const CLIENT: &str = "fraud-caller";
const HOST: &str = "models.example.com";
const PATH: &str = "/model/fraud/";

/// See it work: serve from a throw-away folder, register, issue a token, verify it, keep serving.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Stop after the demonstration instead of serving on
    #[arg(long)]
    once: bool,
}

/// Shows every step as it happens, over HTTP like any client.
///
/// # Errors
/// When a step does not do what it should.
pub async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("edi-demo-").tempdir().map_err(anyhow::Error::from)?;
    let config = configuration(folder.path())?;
    let _logs = serve::start_logs(&config)?;
    let mut stop = Stop::catch().map_err(anyhow::Error::from)?;
    let running = serve::start(&config, Ambient::system()).await?;
    let shown = show(&config, &running, output).await;
    if shown.is_ok() && !args.once {
        output.note("\nserving until Ctrl-C; the folder goes then");
        stop.asked().await;
    }
    running.stop().await?;
    shown
}

/// The defaults, in `folder` and on free ports of the loopback. What the user's files and environment say stays out:
/// the demonstration is the same everywhere.
fn configuration(folder: &Path) -> Result<Config, Failure> {
    let empty = folder.join("edi.toml");
    std::fs::write(&empty, "").map_err(anyhow::Error::from)?;
    let sources = Sources { file: Some(empty), ..Sources::default() };
    let mut config = config::load(&sources).map_err(|problems| Failure::of_config(&problems))?;
    let (public, admin) = (free_address()?, free_address()?);
    config.listen.public = public;
    config.listen.admin = admin;
    config.issuer = Issuer::parse(&format!("http://{public}")).map_err(|why| Failure::new(Exit::Failed, why))?;
    config.store.engine = Engine::Sled;
    config.store.path = folder.join("data");
    config.keys.master_key_file = folder.join("keys/master.key");
    config.keys.operator_file = folder.join("keys/operator.json");
    config.log.level = "warn".into();
    Ok(config)
}

/// A port that is free now; taken for real a moment later.
fn free_address() -> Result<SocketAddr, Failure> {
    let socket = server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(anyhow::Error::from)?;
    Ok(socket.local_addr().map_err(anyhow::Error::from)?)
}

async fn show(config: &Config, running: &Running, output: Output) -> Result<(), Failure> {
    let issuer_id = &config.issuer;
    let admin = format!("http://{}", running.admin);
    let operator: PathBuf = config.keys.operator_file.clone();

    step(output, 1, "an operator gets a token like any other client, and registers a deployed model and a caller")?;
    let mut api = Api::new(&ApiFlags::of(operator.clone()), &[AdminScope::Admin])?;
    let deployment = json!({ "id": DEPLOYMENT, "role": ROLE, "hosts": [HOST], "paths": [PATH] });
    api.post(&["deployments"], &deployment).await?;
    let client = api.post(&["clients"], &json!({ "client_id": CLIENT, "roles": [ROLE] })).await?;
    let secret = Secret::new(view::text(&client, "client_secret"));
    output.line(format!("  deployment {DEPLOYMENT}: callers need the role {ROLE}"))?;
    output.line(format!("  client {CLIENT} holds it; its secret, shown once: {}", secret.expose()))?;

    step(output, 2, "the caller gets a token over HTTP")?;
    let metadata = issuer::discover(issuer_id).await?;
    let endpoint = metadata.token_endpoint.ok_or_else(|| Failure::new(Exit::Failed, "no token endpoint published"))?;
    let answer = issuer::token(issuer_id, &endpoint, CLIENT, &issuer::Proof::Secret(&secret), &[("scope", ROLE)]).await;
    let answer = answer.map_err(|refusal| refusal.failure)?;
    let token = Secret::new(view::text(&answer, "access_token"));
    let lifetime = answer.get("expires_in").and_then(Value::as_u64).unwrap_or_default();
    output.line(format!("  {}\n  good for {lifetime} s", token.expose()))?;

    step(output, 3, "a proxy verifies it from the published keys, without calling back")?;
    let keys = issuer::keys(issuer_id).await?;
    let decoded = verify::decode(token.expose()).map_err(|why| Failure::new(Exit::Failed, why))?;
    let audience = config.tokens.audience.as_str();
    let expected = Expected { issuer: Some(issuer_id.as_str()), audience: Some(audience), keys: Some(&keys) };
    let refusals = decoded.refusals(&expected, SystemClock.now());
    if !refusals.is_empty() {
        return Err(Failure::new(Exit::Failed, format!("the token does not verify: {}", refusals.join("; "))));
    }
    for part in [&decoded.header, &decoded.claims] {
        let text = serde_json::to_string_pretty(part).unwrap_or_default();
        output.line(format!("  {}", text.replace('\n', "\n  ")))?;
    }
    output.line(format!("  {}", output.good("verified: signature, issuer, audience and expiry hold")))?;

    step(output, 4, "the same by hand")?;
    for line in by_hand(issuer_id.as_str(), &admin, &operator, secret.expose()) {
        output.line(format!("  {line}"))?;
    }
    Ok(())
}

fn step(output: Output, number: u32, text: &str) -> Result<(), Failure> {
    output.line(format!("\n{}", output.strong(&format!("{number}. {text}"))))
}

/// The lines to repeat each step in another terminal.
fn by_hand(issuer: &str, admin: &str, operator: &Path, secret: &str) -> Vec<String> {
    let operator = operator.display();
    let program = std::env::current_exe().map_or_else(|_| "edi".to_owned(), |path| path.display().to_string());
    vec![
        format!("export EDI_CREDENTIALS={operator}"),
        format!("{program} client create another-caller --role fraud-scoring"),
        String::new(),
        "# or without the command line: an operator's token, then the admin API".into(),
        format!("OPERATOR=$(sed -n 's/.*\"client_secret\": *\"\\([^\"]*\\)\".*/\\1/p' {operator})"),
        format!(
            "ADMIN=$(curl -s -u operator:$OPERATOR -d grant_type=client_credentials -d scope=edi:admin \
             {issuer}/oauth2/token | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')"
        ),
        format!("curl -H \"Authorization: Bearer $ADMIN\" {admin}/admin/v1/clients"),
        String::new(),
        "# a token for the caller".into(),
        format!(
            "TOKEN=$(curl -s -u {CLIENT}:{secret} -d grant_type=client_credentials -d scope={ROLE} \
             {issuer}/oauth2/token | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')"
        ),
        "# the keys a proxy verifies it with".into(),
        format!("curl {issuer}/.well-known/jwks.json"),
        "# or let edi decide".into(),
        format!(
            "curl -i -H \"Authorization: Bearer $TOKEN\" -H \"X-Original-URL: http://{HOST}{PATH}predict\" \
             {issuer}/authz/nginx"
        ),
        "# look into it, revoke it, look again".into(),
        format!("curl -u {CLIENT}:{secret} -d token=$TOKEN {issuer}/oauth2/introspect"),
        format!("curl -i -u {CLIENT}:{secret} -d token=$TOKEN {issuer}/oauth2/revoke"),
        format!("curl -u {CLIENT}:{secret} -d token=$TOKEN {issuer}/oauth2/introspect"),
    ]
}
