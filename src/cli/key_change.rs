//! `edi key rotate` and `edi key rotate-master`: the planned changes. The emergency is in `key_revoke.rs`.

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::api::{Api, ApiFlags, Needs};
use super::input::confirm;
use super::output::printable;
use super::{Failure, Output, view};
use crate::model::algorithm::Algorithm;
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

/// Change the master key: make a new one and seal everything in the store under it, while edi serves.
///
/// Nobody notices: secrets, tokens and keys stay as they are. The old key stays beside the new one; backups that were made
/// before need it. A key that waits in `FILE.next` beside the master key's file is taken instead of a new one: that is how
/// the next key comes out of a Kubernetes Secret.
#[derive(Debug, ClapArgs)]
pub(super) struct RotateMaster {
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

/// Changes the master key.
pub(super) async fn rotate_master(it: RotateMaster, output: Output) -> Result<(), Failure> {
    let mut api = Api::new(&it.api, &[AdminScope::Admin])?;
    confirm("Make a new master key and seal everything under it?", it.yes)?;
    let done = api.post(&["keys", "rotate-master"], &json!({})).await?;
    if output.json {
        return output.json(&done);
    }
    let text = |key: &str| printable(&view::text(&done, key));
    output.line(format!(
        "{} the master key is {} now, in {} on the server; it was {}. {} private keys were sealed anew",
        output.good("ok"),
        text("master_key_id"),
        text("file"),
        text("old_master_key_id"),
        text("keys")
    ))?;
    if let Some(why) = done.get("misplaced").and_then(Value::as_str) {
        output.note(format!("{} it is not in its place: {}", output.bad("attention:"), printable(why)));
        output.note("  next: give it that place (in Kubernetes: as master.key in the Secret) before edi starts again");
    }
    match done.get("old_file").and_then(Value::as_str) {
        Some(old) => output.note(format!(
            "back the new key up. Backups made before need the old one: it is kept in {}. Was it leaked? Whoever has it and \
             a copy of the store has the signing keys too: see docs/emergencies.md",
            printable(old)
        )),
        None => output.note("back the new key up; backups made before need the old one"),
    }
    Ok(())
}
