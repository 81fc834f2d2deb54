//! `edi token`: get one as a service would, or find out why one is refused. Only `explain` needs an operator's rights.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::input::secret_from_stdin;
use super::issuer::Proof;
use super::{Exit, Failure, Output, explain, inspect, issuer, parse};
use crate::config::Issuer;
use crate::keys::client_signer::ClientSigner;
use crate::keys::{import, private_file};
use crate::model::algorithm::Algorithm;
use crate::model::id::ClientId;
use crate::model::scope::{AdminScope, Role};
use crate::secret::Secret;

/// Get a token as a service would, or find out why one is refused.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Get a token and print nothing else: `token=$(edi token get)`
    Get(Get),
    Inspect(inspect::Args),
    Explain(explain::Args),
}

#[derive(Debug, ClapArgs)]
struct Get {
    /// Who issues: the text that `iss` carries
    #[arg(long, value_name = "URL", env = "EDI_ISSUER", hide_env_values = true)]
    issuer: Issuer,
    /// Who asks
    #[arg(long, value_name = "ID", env = "EDI_CLIENT_ID", hide_env_values = true)]
    client_id: ClientId,
    /// Read the client secret from standard input [default: EDI_CLIENT_SECRET]
    #[arg(long)]
    client_secret_stdin: bool,
    /// Sign with this private key instead (private_key_jwt): a JWK, or PKCS#8 in PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "EDI_CLIENT_KEY",
        hide_env_values = true,
        conflicts_with = "client_secret_stdin"
    )]
    key: Option<PathBuf>,
    /// What the key signs with, where its file does not say
    #[arg(long, value_name = "ALG", requires = "key")]
    key_alg: Option<Algorithm>,
    /// What the assertion is addressed to, where that is not the issuer
    #[arg(long, value_name = "AUDIENCE", requires = "key", value_parser = parse::audience)]
    assertion_audience: Option<String>,
    /// A role to ask for; repeatable [default: all that the client holds]
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Role>,
    /// A right over edi to ask for, such as edi:introspect; repeatable; not beside --role
    #[arg(long = "scope", value_name = "edi:SCOPE", conflicts_with = "roles")]
    scopes: Vec<AdminScope>,
    /// The audience to ask for
    #[arg(long, value_name = "AUDIENCE", value_parser = parse::audience)]
    resource: Option<String>,
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::Get(it) => get(it, output).await,
        Command::Inspect(it) => inspect::run(it, output).await,
        Command::Explain(it) => explain::run(it, output).await,
    }
}

async fn get(it: Get, output: Output) -> Result<(), Failure> {
    let (signer, secret);
    let proof = if let Some(file) = &it.key {
        signer = read_key(file, it.key_alg)?;
        Proof::Key(&signer, it.assertion_audience.as_deref().unwrap_or(it.issuer.as_str()))
    } else {
        secret = if it.client_secret_stdin { secret_from_stdin("client secret")? } else { secret_from_environment()? };
        Proof::Secret(&secret)
    };
    let names = it.roles.iter().map(ToString::to_string).chain(it.scopes.iter().map(ToString::to_string));
    let scope = names.collect::<Vec<_>>().join(" ");
    let mut parameters = Vec::new();
    if !scope.is_empty() {
        parameters.push(("scope", scope.as_str()));
    }
    parameters.extend(it.resource.as_deref().map(|resource| ("resource", resource)));
    let endpoint = issuer::discover(&it.issuer).await?.token_endpoint;
    let endpoint = endpoint.unwrap_or_else(|| it.issuer.endpoint("/oauth2/token"));
    let answer = issuer::token(&it.issuer, &endpoint, it.client_id.as_str(), &proof, &parameters)
        .await
        .map_err(|refusal| refusal.failure)?;
    if output.json {
        return output.json(&answer);
    }
    output.line(answer.get("access_token").and_then(Value::as_str).unwrap_or_default())
}

/// As much of a JWK as says whether it names itself.
#[derive(Deserialize)]
struct Named {
    kid: Option<IgnoredAny>,
}

/// A client's private key, from a file that nobody else can read. Its `kid` goes along if the file names one.
fn read_key(file: &Path, algorithm: Option<Algorithm>) -> Result<ClientSigner, Failure> {
    let bytes = private_file::read(file).map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
    let shown = file.display();
    let unusable = |why: String| {
        Failure::new(Exit::Data, format!("the key in {shown} cannot be used: {why}"))
            .hint("expected a private JWK, or PKCS#8 in PEM, for ES256, RS256, PS256 or EdDSA")
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable("it is no text".into()))?;
    let key = import::read(text, None, algorithm).map_err(|error| unusable(error.to_string()))?;
    let named = serde_json::from_str::<Named>(text).is_ok_and(|jwk| jwk.kid.is_some());
    ClientSigner::new(&key, named.then_some(key.kid.as_str())).map_err(|error| unusable(error.to_string()))
}

fn secret_from_environment() -> Result<Secret, Failure> {
    std::env::var("EDI_CLIENT_SECRET").ok().filter(|text| !text.is_empty()).map(Secret::new).ok_or_else(|| {
        Failure::new(Exit::Usage, "no client secret")
            .hint("set EDI_CLIENT_SECRET or EDI_CLIENT_KEY, or pass --client-secret-stdin and pipe it in; an argument would show in `ps`")
    })
}
