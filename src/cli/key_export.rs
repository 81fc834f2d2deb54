//! `edi key export`: the public keys, for verifiers that cannot fetch them.

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::api::{Api, ApiFlags, Needs};
use super::output::printable;
use super::{Exit, Failure, Output, issuer, view};
use crate::config::Issuer;
use crate::keys::spki;
use crate::model::id::Kid;
use crate::model::scope::AdminScope;

const READ: Needs = &[AdminScope::Read, AdminScope::Keys];

/// Write the public keys: as PEM with --pem, else as a JWK set.
///
/// Without --kid and --all these are the published ones: those that verifiers shall trust now.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  edi key export --pem > edi.pem
  edi key export --pem --issuer https://edi.example.com     needs no operator's credentials")]
pub(super) struct Args {
    /// PEM (SubjectPublicKeyInfo), one block per key and nothing else
    #[arg(long)]
    pem: bool,
    /// This key alone, published or not
    #[arg(long, value_name = "KID", conflicts_with = "all", allow_hyphen_values = true)]
    kid: Option<Kid>,
    /// Retired and revoked keys too: for looking at old tokens, never for verifying
    #[arg(long)]
    all: bool,
    /// Take them from this issuer's published key set instead of the admin API
    #[arg(long, value_name = "URL", conflicts_with = "all")]
    issuer: Option<Issuer>,
    #[command(flatten)]
    api: ApiFlags,
}

/// Does it.
pub(super) async fn run(it: Args, output: Output) -> Result<(), Failure> {
    let mut keys = match &it.issuer {
        Some(issuer) => issuer::keys(issuer).await?,
        None => from_the_admin_api(&it).await?,
    };
    if let Some(kid) = &it.kid {
        keys.retain(|key| view::text(key, "kid") == kid.as_str());
    }
    if keys.is_empty() {
        return Err(Failure::new(Exit::Failed, "there is no such key").hint("see what there is with `edi key list`"));
    }
    if !it.pem {
        return output.json(&json!({ "keys": keys }));
    }
    let mut blocks = Vec::with_capacity(keys.len());
    for key in &keys {
        let block = spki::pem(key)
            .map_err(|why| Failure::new(Exit::Data, format!("key {}: {why}", printable(&view::text(key, "kid")))))?;
        blocks.push((view::text(key, "kid"), view::text(key, "alg"), block));
    }
    if output.json {
        let rows: Vec<Value> =
            blocks.iter().map(|(kid, alg, pem)| json!({ "kid": kid, "alg": alg, "pem": pem })).collect();
        return output.json(&rows);
    }
    for (kid, alg, block) in &blocks {
        output.note(format!("{} {}", printable(alg), printable(kid)));
        output.line(block.trim_end())?;
    }
    Ok(())
}

async fn from_the_admin_api(it: &Args) -> Result<Vec<Value>, Failure> {
    let views = Api::new(&it.api, READ)?.list(&["keys"], &[]).await?;
    let wanted = |view: &Value| {
        it.all || it.kid.is_some() || matches!(view::text(view, "state").as_str(), "pending" | "active" | "retiring")
    };
    Ok(views.iter().filter(|view| wanted(view)).filter_map(|view| view.get("jwk").cloned()).collect())
}
