//! `edi role`: who may call what. A role is only a name; it exists where a deployment wants it or a client holds it.

use clap::{Args as ClapArgs, Subcommand};
use serde_json::Value;

use super::api::{Api, ApiFlags, Needs};
use super::table::{Table, facts};
use super::{Failure, Output, view};
use crate::model::scope::{AdminScope, Role};

const READ: Needs = &[AdminScope::Read, AdminScope::Admin];

/// Roles: which deployments want them, which clients hold them, and whether anybody uses them.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All roles that a deployment wants or a client holds
    #[command(visible_alias = "ls")]
    List(List),
    /// One role: who may call what with it
    Show(One),
}

#[derive(Debug, ClapArgs)]
struct List {
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, ClapArgs)]
struct One {
    /// The role
    role: Role,
    #[command(flatten)]
    api: ApiFlags,
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::List(it) => list(&it, output).await,
        Command::Show(it) => {
            let role = Api::new(&it.api, READ)?.get(&["roles", it.role.as_str()]).await?;
            if output.json {
                return output.json(&role);
            }
            output.line(facts(&[
                ("role", view::text(&role, "role")),
                ("deployments", named(&role, "deployments", "deployment_count")),
                ("clients", named(&role, "clients", "client_count")),
                ("last issued", last_issued(&role)),
                ("remarks", view::text(&role, "remarks")),
            ]))
        }
    }
}

async fn list(it: &List, output: Output) -> Result<(), Failure> {
    let roles = Api::new(&it.api, READ)?.list(&["roles"], &[]).await?;
    if output.json {
        return output.json(&roles);
    }
    let mut table = Table::new(&["ROLE", "DEPLOYMENTS", "CLIENTS", "LAST ISSUED", "REMARKS"]);
    for role in &roles {
        table.row([
            view::text(role, "role"),
            named(role, "deployments", "deployment_count"),
            named(role, "clients", "client_count"),
            view::text(role, "last_issued_at"),
            view::text(role, "remarks"),
        ]);
    }
    if table.is_empty() {
        output.note("no roles yet; `edi deployment create ID --role ROLE` brings the first");
        return Ok(());
    }
    output.line(table.render(output))
}

/// The first few by name, and how many more there are.
fn named(role: &Value, key: &str, count: &str) -> String {
    const SHOWN: usize = 5;
    let names = view::list(role, key);
    let all = role.get(count).and_then(Value::as_u64).and_then(|all| usize::try_from(all).ok()).unwrap_or(names.len());
    let shown = names.len().min(SHOWN);
    let text = names.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    if all > shown { format!("{text} and {} more", all - shown) } else { text }
}

fn last_issued(role: &Value) -> String {
    let since = view::text(role, "watched_since");
    match view::text(role, "last_issued_at") {
        at if at.is_empty() => format!("not since {since}, when the server started"),
        at => at,
    }
}
