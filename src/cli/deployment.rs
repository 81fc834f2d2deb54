//! `edi deployment`: deployed models, the role each wants, and where they answer.

use clap::{Args as ClapArgs, Subcommand};
use serde_json::{Map, Value, json};

use super::api::{Api, ApiFlags, Needs};
use super::input::confirm;
use super::set::Change;
use super::table::{Table, facts};
use super::{Exit, Failure, Output, parse, view};
use crate::model::id::DeploymentId;
use crate::model::scope::{AdminScope, Role};

const READ: Needs = &[AdminScope::Read, AdminScope::Deployments];
const WRITE: Needs = &[AdminScope::Deployments];

/// Deployed models: the role each wants of a caller, and where it answers.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register a deployment
    Create(Create),
    /// All deployments
    #[command(visible_alias = "ls")]
    List(List),
    /// One deployment
    Show(One),
    /// Who can call it now, and until when
    Access(One),
    /// Change a deployment
    Update(Box<Update>),
    /// Remove a deployment; its callers are no longer let through
    #[command(visible_alias = "rm")]
    Delete(Delete),
}

#[derive(Debug, ClapArgs)]
struct Create {
    /// The deployment's id
    id: DeploymentId,
    /// The role a caller needs [default: the configured default role]
    #[arg(long)]
    role: Option<Role>,
    /// A host it answers on, such as fraud.models.example.com or *.models.example.com; repeatable
    #[arg(long = "host")]
    hosts: Vec<String>,
    /// A path prefix it answers on, such as /model/fraud; repeatable
    #[arg(long = "path")]
    paths: Vec<String>,
    /// The audience of its callers' tokens [default: tokens.audience]
    #[arg(long, value_parser = parse::audience)]
    audience: Option<String>,
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, ClapArgs)]
struct List {
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, ClapArgs)]
struct One {
    /// The deployment's id
    id: DeploymentId,
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, ClapArgs)]
struct Update {
    /// The deployment's id
    id: DeploymentId,
    /// The role a caller needs
    #[arg(long)]
    role: Option<Role>,
    /// The hosts it answers on, instead of those it has; repeatable
    #[arg(long = "host")]
    hosts: Vec<String>,
    /// One more host; repeatable
    #[arg(long = "add-host", value_name = "HOST", conflicts_with = "hosts")]
    add_hosts: Vec<String>,
    /// One host less; repeatable
    #[arg(long = "remove-host", value_name = "HOST", conflicts_with = "hosts")]
    remove_hosts: Vec<String>,
    /// The path prefixes it answers on, instead of those it has; repeatable
    #[arg(long = "path")]
    paths: Vec<String>,
    /// One more path prefix; repeatable
    #[arg(long = "add-path", value_name = "PATH", conflicts_with = "paths")]
    add_paths: Vec<String>,
    /// One path prefix less; repeatable
    #[arg(long = "remove-path", value_name = "PATH", conflicts_with = "paths")]
    remove_paths: Vec<String>,
    /// The audience of its callers' tokens; empty: tokens.audience
    #[arg(long)]
    audience: Option<String>,
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, ClapArgs)]
struct Delete {
    /// The deployment's id
    id: DeploymentId,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    api: ApiFlags,
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::Create(it) => create(it, output).await,
        Command::List(it) => list(&it, output).await,
        Command::Show(it) => {
            let deployment = Api::new(&it.api, READ)?.get(&["deployments", it.id.as_str()]).await?;
            show(&deployment, output)
        }
        Command::Access(it) => access(&it, output).await,
        Command::Update(it) => update(*it, output).await,
        Command::Delete(it) => delete(it, output).await,
    }
}

async fn create(it: Create, output: Output) -> Result<(), Failure> {
    let mut body = Map::new();
    body.insert("id".into(), it.id.as_str().into());
    if let Some(role) = &it.role {
        body.insert("role".into(), role.as_str().into());
    }
    if !it.hosts.is_empty() {
        body.insert("hosts".into(), json!(it.hosts));
    }
    if !it.paths.is_empty() {
        body.insert("paths".into(), json!(it.paths));
    }
    if let Some(audience) = it.audience {
        body.insert("audience".into(), audience.into());
    }
    let deployment = Api::new(&it.api, WRITE)?.post(&["deployments"], &body.into()).await?;
    if output.json {
        return output.json(&deployment);
    }
    output.line(format!("{} deployment {} is registered", output.good("ok"), it.id))?;
    show(&deployment, output)?;
    let role = view::text(&deployment, "role");
    output.note(format!("\nLet a service call it: `edi client create SERVICE --role {role}`"));
    Ok(())
}

async fn list(it: &List, output: Output) -> Result<(), Failure> {
    let deployments = Api::new(&it.api, READ)?.list(&["deployments"], &[]).await?;
    if output.json {
        return output.json(&deployments);
    }
    let mut table = Table::new(&["DEPLOYMENT", "ROLE", "HOSTS", "PATHS", "AUDIENCE", "UPDATED"]);
    for deployment in &deployments {
        table.row(["id", "role", "hosts", "paths", "audience", "updated_at"].map(|key| view::text(deployment, key)));
    }
    if table.is_empty() {
        output.note("no deployments; register one with `edi deployment create ID --role ROLE --host HOST`");
        return Ok(());
    }
    output.line(table.render(output))
}

async fn access(it: &One, output: Output) -> Result<(), Failure> {
    // What it tells of clients takes more than the right to manage deployments.
    let mut api = Api::new(&it.api, &[AdminScope::Read, AdminScope::Admin])?;
    let (mut head, callers) = api.list_with_head(&["deployments", it.id.as_str(), "access"], &[]).await?;
    if output.json {
        head.insert("items".into(), callers.into());
        return output.json(&head);
    }
    let head = Value::Object(head);
    output.line(facts(&[
        ("deployment", view::text(&head, "deployment")),
        ("role", view::text(&head, "role")),
        ("audience", view::text(&head, "audience")),
        ("role revoked until", covered(head.get("role_revocation"))),
    ]))?;
    let mut table = Table::new(&["CLIENT", "MAY CALL", "UNTIL", "STATE", "SECRETS END", "REVOKED UNTIL", "REMARKS"]);
    for caller in &callers {
        let secrets = caller.get("secrets").and_then(Value::as_array).into_iter().flatten();
        let ends = secrets.map(|secret| match view::text(secret, "expires_at") {
            end if end.is_empty() => "never".to_owned(),
            end => end,
        });
        let revoked = caller.get("revocations").and_then(Value::as_array).into_iter().flatten();
        let until = match view::text(caller, "until") {
            end if end.is_empty() && caller.get("may_call") == Some(&Value::Bool(true)) => "no end".into(),
            end => end,
        };
        table.row([
            view::text(caller, "client_id"),
            view::text(caller, "may_call"),
            until,
            view::text(caller, "state"),
            ends.collect::<Vec<_>>().join(", "),
            revoked.map(|it| covered(Some(it))).max().unwrap_or_default(),
            view::text(caller, "remarks"),
        ]);
    }
    if table.is_empty() {
        let role = view::text(&head, "role");
        output.note(format!("\nno client holds the role; let one in: `edi client update CLIENT --add-role {role}`"));
        return Ok(());
    }
    output.line(format!("\n{}", table.render(output)))
}

/// Up to when what was issued is revoked.
fn covered(revocation: Option<&Value>) -> String {
    revocation.map(|it| view::text(it, "covers_issued_until")).unwrap_or_default()
}

fn show(deployment: &Value, output: Output) -> Result<(), Failure> {
    if output.json {
        return output.json(deployment);
    }
    let audience = Some(view::text(deployment, "audience")).filter(|text| !text.is_empty());
    output.line(facts(&[
        ("id", view::text(deployment, "id")),
        ("role", view::text(deployment, "role")),
        ("hosts", view::text(deployment, "hosts")),
        ("paths", view::text(deployment, "paths")),
        ("audience", audience.unwrap_or_else(|| "tokens.audience".into())),
        ("created", view::text(deployment, "created_at")),
        ("updated", view::text(deployment, "updated_at")),
    ]))
}

async fn update(it: Update, output: Output) -> Result<(), Failure> {
    let path = ["deployments", it.id.as_str()];
    let mut api = Api::new(&it.api, WRITE)?;
    let mut patch = Map::new();
    if let Some(role) = &it.role {
        patch.insert("role".into(), role.as_str().into());
    }
    if let Some(audience) = &it.audience {
        patch.insert("audience".into(), Some(audience.as_str()).filter(|text| !text.is_empty()).into());
    }
    let hosts = Change { key: "hosts", set: &it.hosts, add: &it.add_hosts, remove: &it.remove_hosts };
    let paths = Change { key: "paths", set: &it.paths, add: &it.add_paths, remove: &it.remove_paths };
    let mut etag = None;
    if !(hosts.is_empty() && paths.is_empty()) {
        let (current, version) = api.get_versioned(&path).await?;
        etag = version;
        for change in [hosts, paths].iter().filter(|change| !change.is_empty()) {
            let (list, missing) = change.apply(&current);
            patch.insert(change.key.into(), list);
            for item in missing {
                output.note(format!("note: {} does not answer on {item}", it.id));
            }
        }
    }
    if patch.is_empty() {
        return Err(Failure::new(Exit::Usage, "nothing to change").hint("see `edi deployment update --help`"));
    }
    let deployment = api.patch(&path, &patch.into(), etag.as_deref()).await?;
    if output.json {
        return output.json(&deployment);
    }
    output.line(format!("{} {} is changed", output.good("ok"), it.id))?;
    show(&deployment, output)
}

async fn delete(it: Delete, output: Output) -> Result<(), Failure> {
    confirm(&format!("Delete deployment {}? Its callers are no longer let through.", it.id), it.yes)?;
    Api::new(&it.api, WRITE)?.delete(&["deployments", it.id.as_str()]).await?;
    if output.json {
        return output.json(&json!({ "id": it.id, "deleted": true }));
    }
    output.line(format!("{} deployment {} is deleted", output.good("ok"), it.id))
}
