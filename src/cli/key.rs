//! `edi key`: the signing keys and where each is in its life.

use clap::{Args as ClapArgs, Subcommand};
use serde_json::Value;

use super::api::{Api, ApiFlags, Needs};
use super::table::Table;
use super::{Failure, Output, key_change, key_export, key_import, key_plan, key_revoke, view};
use crate::model::scope::AdminScope;

const READ: Needs = &[AdminScope::Read, AdminScope::Keys];

/// Signing keys. When one has leaked: `edi key revoke KID`.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All keys with their state and dates
    #[command(visible_alias = "ls")]
    List(List),
    Plan(key_plan::Args),
    Rotate(key_change::Rotate),
    Revoke(key_revoke::Args),
    Import(key_import::Args),
    Export(key_export::Args),
    RotateMaster(key_change::RotateMaster),
}

#[derive(Debug, ClapArgs)]
struct List {
    #[command(flatten)]
    api: ApiFlags,
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let it = match args.command {
        Command::List(it) => it,
        Command::Rotate(it) => return key_change::rotate(it, output).await,
        Command::Plan(it) => return key_plan::run(it, output).await,
        Command::Revoke(it) => return key_revoke::run(it, output).await,
        Command::Import(it) => return key_import::run(it, output).await,
        Command::RotateMaster(it) => return key_change::rotate_master(it, output).await,
        Command::Export(it) => return key_export::run(it, output).await,
    };
    let keys = Api::new(&it.api, READ)?.list(&["keys"], &[]).await?;
    if output.json {
        return output.json(&keys);
    }
    output.line(table(&keys).render(output))
}

/// Keys for people.
pub(super) fn table(keys: &[Value]) -> Table {
    let mut table = Table::new(&["KID", "ALG", "STATE", "PUBLISHED", "SIGNS FROM", "STOPS", "UNPUBLISHED", "REVOKED"]);
    for key in keys {
        let columns =
            ["kid", "algorithm", "state", "published_at", "signs_from", "stops_at", "unpublished_at", "revoked_at"];
        table.row(columns.map(|column| view::text(key, column)));
    }
    table
}
