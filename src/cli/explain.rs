//! `edi token explain`: why edi does or does not let a token through at a deployment, check by check.
//!
//! Unlike `token inspect`, which judges as any verifier can, this asks edi itself: it knows revocations, roles and keys
//! that are published no more.

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::api::{Api, ApiFlags, Needs};
use super::input::token_from_stdin;
use super::table::Table;
use super::{Exit, Failure, Output, parse, view};
use crate::model::id::DeploymentId;
use crate::model::scope::AdminScope;

const READ: Needs = &[AdminScope::Read, AdminScope::Admin];

/// Ask edi why a token is or is not let through at a deployment.
///
/// Exit code 0: it is let through. 1: it is not.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Example:
  edi token explain - --deployment fraud < token.txt")]
pub(super) struct Args {
    /// The token, on standard input: write -
    #[arg(value_name = "-", value_parser = parse::stdin_only, allow_hyphen_values = true)]
    token: Option<()>,
    /// The deployment it was sent to; without one, audience and role are not judged
    #[arg(long, value_name = "ID")]
    deployment: Option<DeploymentId>,
    #[command(flatten)]
    api: ApiFlags,
}

/// Does it.
pub(super) async fn run(it: Args, output: Output) -> Result<(), Failure> {
    let token = token_from_stdin()?;
    let text = token.expose().trim();
    let text = text.strip_prefix("Bearer ").unwrap_or(text);
    let mut body = json!({ "token": text });
    if let (Some(id), Some(members)) = (&it.deployment, body.as_object_mut()) {
        members.insert("deployment".into(), id.as_str().into());
    }
    let answer = Api::new(&it.api, READ)?.post(&["explain"], &body).await?;
    let is = |key: &str| answer.get(key) == Some(&Value::Bool(true));
    if output.json {
        output.json(&answer)?;
    } else {
        let mut table = Table::new(&["CHECK", "", "FOUND"]);
        for check in answer.get("checks").and_then(Value::as_array).into_iter().flatten() {
            let word = match check.get("ok").and_then(Value::as_bool) {
                Some(true) => "ok",
                Some(false) => "FAILS",
                None => "skipped",
            };
            table.row([view::text(check, "check"), word.into(), view::text(check, "detail")]);
        }
        output.line(table.render(output))?;
        let at = it.deployment.as_ref().map(|id| format!(" at {id}")).unwrap_or_default();
        output.line(if is("allowed") {
            output.good(&format!("\nlet through{at}"))
        } else {
            output.bad(&format!("\nrefused{at}"))
        })?;
        if !is("proven") {
            output.note("note: the signature is not edi's; what the other checks found is only what the token says");
        }
    }
    if is("allowed") { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
}
