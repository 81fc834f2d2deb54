//! `edi key rotate` and `edi key revoke`: the planned change and the emergency.

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::api::{Api, ApiFlags, Needs};
use super::input::confirm;
use super::{Failure, Output, view};
use crate::model::algorithm::Algorithm;
use crate::model::id::Kid;
use crate::model::scope::AdminScope;

const WRITE: Needs = &[AdminScope::Keys];

/// Plan the next key's turn; the old key stays trusted until its last token has expired.
#[derive(Debug, ClapArgs)]
pub(super) struct Rotate {
    /// The ring to rotate [default: the first of keys.algorithms]
    #[arg(long, value_name = "ALG")]
    alg: Option<Algorithm>,
    #[command(flatten)]
    api: ApiFlags,
}

/// The emergency: take a key out of the JWKS and make all its tokens inactive, at once.
#[derive(Debug, ClapArgs)]
pub(super) struct Revoke {
    /// Which key
    #[arg(allow_hyphen_values = true)] // one thumbprint in 64 begins with a hyphen
    kid: Kid,
    /// Discard the pending keys as well: whoever stole the one may hold the others
    #[arg(long)]
    all: bool,
    /// Say what would happen and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    api: ApiFlags,
}

/// Plans a rotation.
pub(super) async fn rotate(it: Rotate, output: Output) -> Result<(), Failure> {
    let body = it.alg.map_or_else(|| json!({}), |alg| json!({ "algorithm": alg.name() }));
    let planned = Api::new(&it.api, WRITE)?.post(&["keys", "rotate"], &body).await?;
    if output.json {
        return output.json(&planned);
    }
    let text = |key: &str| view::text(&planned, key);
    output.line(format!(
        "{} {} signs from {}; the old key {} stays trusted until {}",
        output.good("planned:"),
        text("kid"),
        text("signs_from"),
        text("old"),
        text("old_trusted_until")
    ))?;
    output.note(format!("leaked? a rotation does not help: `edi key revoke {}`", text("old")));
    Ok(())
}

/// Revokes a key.
pub(super) async fn revoke(it: Revoke, output: Output) -> Result<(), Failure> {
    let mut api = Api::new(&it.api, &[AdminScope::Keys, AdminScope::Admin])?;
    let keys = api.list(&["keys"], &[]).await?;
    let found = keys.iter().find(|key| view::text(key, "kid") == it.kid.as_str());
    let state = found.map_or_else(|| "unknown".to_owned(), |key| view::text(key, "state"));
    let radius = format!(
        "key {} is {state}: every token it signed becomes inactive at once, and its callers must ask for new ones; \
         proxies that verify offline refuse them once they fetched the JWKS again (at most 5 min by its cache header)",
        it.kid
    );
    if it.dry_run {
        return output.line(radius);
    }
    output.note(radius);
    confirm(&format!("revoke key {}", it.kid), it.yes)?;
    let done = api.post(&["keys", it.kid.as_str(), "revoke"], &json!({ "all": it.all })).await?;
    if output.json {
        return output.json(&done);
    }
    output.line(format!("{} key {} is revoked", output.good("ok"), it.kid))?;
    if let Some(promoted) = done.get("promoted").and_then(Value::as_str) {
        let age = view::text(&done, "published_for");
        output.line(format!("{promoted} signs from now on; it had been published for {age} s"))?;
    }
    output.note(format!(
        "verifiers that do not ask edi may believe its tokens until {}; make them fetch the JWKS now: restart \
         oauth2-proxy, `istioctl proxy-config` shows what Envoy holds, Istio fetches every 20 min",
        view::text(&done, "believed_offline_until")
    ));
    Ok(())
}
