//! `edi client keygen`: a key pair for a client of `private_key_jwt`. The private half goes to a file that only its owner
//! can read, and nowhere else; the public half is registered.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use serde_json::{Map, Value, json};

use super::api::{Api, ApiFlags};
use super::client::WRITE;
use super::{Exit, Failure, Output, client_key};
use crate::ambient::SystemEntropy;
use crate::keys::generate::NewKey;
use crate::keys::private_file::Staged;
use crate::keys::{client_signer, private_file::PrivateFileError};
use crate::model::algorithm::Algorithm;
use crate::model::id::ClientId;
use crate::model::scope::{AdminScope, Role};

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  edi client keygen fraud-caller --create --role fraud
  edi client keygen fraud-caller --out next.jwk                 one more key: it rolls
  edi client keygen fraud-caller --offline > public.json        for whoever may register it")]
pub(super) struct Keygen {
    /// The client id
    id: ClientId,
    /// What the key signs with
    #[arg(long, default_value_t)]
    alg: Algorithm,
    /// Where the private half goes; never over another file [default: ID.jwk, or ID.pem]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The form of the private half
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Register the client too
    #[arg(long, conflicts_with = "offline")]
    create: bool,
    /// With --create: a role it may ask for; repeatable [default: the configured default role]
    #[arg(long = "role", value_name = "ROLE", requires = "create")]
    roles: Vec<Role>,
    /// With --create: a right over edi itself; repeatable
    #[arg(long = "scope", value_name = "edi:SCOPE", requires = "create")]
    scopes: Vec<AdminScope>,
    /// Ask nobody: print the public half as a JWK set, for `edi client create|update --jwks`
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A JWK with kid and alg (RFC 7517)
    #[default]
    Jwk,
    /// PKCS#8 in PEM
    Pem,
}

/// Does it.
pub(super) async fn run(it: Keygen, output: Output) -> Result<(), Failure> {
    let ending = if it.format == Format::Jwk { "jwk" } else { "pem" };
    let out = it.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.{ending}", it.id)));
    let algorithm = it.alg;
    // An RSA key takes a core for a while.
    let made = tokio::task::spawn_blocking(move || NewKey::generate(algorithm, &SystemEntropy::new())).await;
    let key = made.map_err(anyhow::Error::from)?.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let text = match it.format {
        Format::Jwk => client_signer::private_jwk(&key)
            .ok_or_else(|| Failure::new(Exit::Failed, "the key pair could not be written as a JWK"))?,
        Format::Pem => client_signer::private_pem(&key),
    };
    // On disk before the public half is anywhere: a registered key that nobody has would be of no use.
    let staged = Staged::write(&out, text.as_bytes()).map_err(|error| file_failure(&error))?;
    let jwks = json!({ "keys": [key.public] });
    if it.offline {
        staged.publish().map_err(|error| file_failure(&error))?;
        output.json(&jwks)?;
        output.note(format!("the private half is in {}; keep it where the client runs", out.display()));
        return Ok(());
    }
    let client = match register(&it, &jwks).await {
        Ok(client) => client,
        // It may have been registered all the same.
        Err(failure) if failure.exit == Exit::Unavailable => {
            staged.publish().map_err(|error| file_failure(&error))?;
            output.note(format!("the private half is kept in {}", out.display()));
            return Err(failure);
        }
        Err(failure) => {
            staged.discard().map_err(|error| file_failure(&error))?;
            return Err(failure);
        }
    };
    staged.publish().map_err(|error| file_failure(&error))?;
    if output.json {
        return output.json(&json!({ "client_id": it.id, "kid": key.kid, "alg": key.algorithm, "private_key": out,
            "jwks": client.get("jwks") }));
    }
    output.line(format!("{} {} has the key {}", output.good("ok"), it.id, key.kid))?;
    output.line(format!("the private half is in {}", out.display()))?;
    output.note(format!(
        "\nGet a token with it:\n  edi token get --client-id {} --key {} --issuer …\nlibraries: docs/clients.md",
        it.id,
        out.display()
    ));
    if client_key::keys(&client).len() > 1 {
        output.note(format!("When the client has moved over: `edi client key list {0}`, `… remove {0} KID`", it.id));
    }
    Ok(())
}

async fn register(it: &Keygen, jwks: &Value) -> Result<Value, Failure> {
    let mut api = Api::new(&it.api, WRITE)?.also_wanting(&it.scopes);
    if !it.create {
        let (client, etag) = api.get_versioned(&["clients", it.id.as_str()]).await.map_err(|failure| {
            if failure.exit == Exit::Failed { failure.hint("--create registers the client too") } else { failure }
        })?;
        return client_key::add(&mut api, &it.id, &client, etag.as_deref(), jwks).await;
    }
    let mut body = Map::new();
    body.insert("client_id".into(), json!(it.id));
    body.insert("token_endpoint_auth_method".into(), "private_key_jwt".into());
    body.insert("jwks".into(), jwks.clone());
    if !it.roles.is_empty() {
        body.insert("roles".into(), json!(it.roles));
    }
    if !it.scopes.is_empty() {
        body.insert("admin_scopes".into(), json!(it.scopes));
    }
    api.post(&["clients"], &body.into()).await
}

fn file_failure(error: &PrivateFileError) -> Failure {
    let failure = Failure::new(Exit::Failed, error.to_string());
    if matches!(error, PrivateFileError::Exists(_)) { failure.hint("name another file with --out") } else { failure }
}
