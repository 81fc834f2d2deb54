//! `edi token`: get one as a service would, or find out why one is refused. Only `explain` needs an operator's rights.

use clap::{Args as ClapArgs, Subcommand};
use serde_json::Value;

use super::input::secret_from_stdin;
use super::{Exit, Failure, Output, explain, inspect, issuer, parse};
use crate::config::Issuer;
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
    let secret = if it.client_secret_stdin { secret_from_stdin("client secret")? } else { secret_from_environment()? };
    let names = it.roles.iter().map(ToString::to_string).chain(it.scopes.iter().map(ToString::to_string));
    let scope = names.collect::<Vec<_>>().join(" ");
    let mut parameters = Vec::new();
    if !scope.is_empty() {
        parameters.push(("scope", scope.as_str()));
    }
    parameters.extend(it.resource.as_deref().map(|resource| ("resource", resource)));
    let endpoint = issuer::discover(&it.issuer).await?.token_endpoint;
    let endpoint = endpoint.unwrap_or_else(|| it.issuer.endpoint("/oauth2/token"));
    let answer = issuer::token(&it.issuer, &endpoint, it.client_id.as_str(), &secret, &parameters)
        .await
        .map_err(|refusal| refusal.failure)?;
    if output.json {
        return output.json(&answer);
    }
    output.line(answer.get("access_token").and_then(Value::as_str).unwrap_or_default())
}

fn secret_from_environment() -> Result<Secret, Failure> {
    std::env::var("EDI_CLIENT_SECRET").ok().filter(|text| !text.is_empty()).map(Secret::new).ok_or_else(|| {
        Failure::new(Exit::Usage, "no client secret")
            .hint("set EDI_CLIENT_SECRET, or pass --client-secret-stdin and pipe it in; an argument would show in `ps`")
    })
}
