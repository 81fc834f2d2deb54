//! `edi role`: who may call what. A role is only a name; it exists where a deployment wants it or a client holds it.

use std::collections::BTreeMap;

use clap::{Args as ClapArgs, Subcommand};
use serde::Serialize;

use super::api::{Api, ApiFlags, Needs};
use super::table::{Table, facts};
use super::{Exit, Failure, Output, view};
use crate::model::scope::{AdminScope, Role};

const READ: Needs = &[AdminScope::Read, AdminScope::Admin];

/// Roles: which deployments want them, which clients hold them.
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

/// A role as it is used.
#[derive(Debug, Default, Serialize)]
struct Use {
    role: String,
    deployments: Vec<String>,
    clients: Vec<String>,
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::List(it) => {
            let roles: Vec<Use> = uses(&it.api).await?.into_values().collect();
            if output.json {
                return output.json(&roles);
            }
            let mut table = Table::new(&["ROLE", "DEPLOYMENTS", "CLIENTS"]);
            for role in roles {
                table.row([role.role, role.deployments.join(", "), role.clients.join(", ")]);
            }
            if table.is_empty() {
                output.note("no roles yet; `edi deployment create ID --role ROLE` brings the first");
                return Ok(());
            }
            output.line(table.render(output))
        }
        Command::Show(it) => {
            let Some(role) = uses(&it.api).await?.remove(it.role.as_str()) else {
                return Err(Failure::new(
                    Exit::Failed,
                    format!("no deployment wants {} and no client holds it", it.role),
                )
                .hint("see what there is with `edi role list`"));
            };
            if output.json {
                return output.json(&role);
            }
            output.line(facts(&[
                ("role", role.role),
                ("deployments", role.deployments.join(", ")),
                ("clients", role.clients.join(", ")),
            ]))
        }
    }
}

async fn uses(flags: &ApiFlags) -> Result<BTreeMap<String, Use>, Failure> {
    let mut api = Api::new(flags, READ)?;
    let mut roles: BTreeMap<String, Use> = BTreeMap::new();
    for deployment in api.list(&["deployments"], &[]).await? {
        entry(&mut roles, view::text(&deployment, "role")).deployments.push(view::text(&deployment, "id"));
    }
    for client in api.list(&["clients"], &[]).await? {
        for role in view::list(&client, "roles") {
            entry(&mut roles, role).clients.push(view::text(&client, "client_id"));
        }
    }
    Ok(roles)
}

fn entry(roles: &mut BTreeMap<String, Use>, role: String) -> &mut Use {
    roles.entry(role.clone()).or_insert_with(|| Use { role, ..Use::default() })
}
