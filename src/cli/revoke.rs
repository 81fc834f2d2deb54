//! `edi revoke`: end tokens before they expire.

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::api::{Api, ApiFlags, Needs};
use super::input::{confirm, secret_from_stdin};
use super::output::printable;
use super::table::{Table, facts};
use super::{Exit, Failure, Output, parse, verify, view};
use crate::model::id::{ClientId, Kid, TokenId};
use crate::model::scope::{AdminScope, Role};

const READ: Needs = &[AdminScope::Read, AdminScope::Revocations];
const WRITE: Needs = &[AdminScope::Revocations];

/// End tokens before they expire: one, or all of a client, a role or a key issued up to now.
#[derive(Debug, ClapArgs)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  edi revoke --token - < token.txt
  edi revoke --client fraud-caller --reason 'secret leaked'
  edi revoke --role fraud --dry-run
  edi revoke list --kind client"
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    what: Option<What>,
    /// Why; kept with the revocation
    #[arg(long)]
    reason: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
struct What {
    /// The token with this id (`jti`)
    #[arg(long, value_name = "ID", allow_hyphen_values = true)] // one random id in 64 begins with one
    jti: Option<String>,
    /// The token on standard input; write `--token -`
    #[arg(long, value_name = "-", value_parser = parse::stdin_only, allow_hyphen_values = true)]
    token: Option<()>,
    /// Everything this client was issued
    #[arg(long, value_name = "ID")]
    client: Option<ClientId>,
    /// Everything that holds this role
    #[arg(long)]
    role: Option<Role>,
    /// Everything this key signed up to now; it goes on signing. Leaked? `edi key revoke KID`
    #[arg(long, value_name = "KID", allow_hyphen_values = true)] // so does one thumbprint in 64
    key: Option<Kid>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Revocations in force
    #[command(visible_alias = "ls")]
    List(List),
}

#[derive(Debug, ClapArgs)]
struct List {
    /// Only of this kind
    #[arg(long)]
    kind: Option<Kind>,
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Jti,
    Client,
    Role,
    Key,
    Grant,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Jti => "jti",
            Self::Client => "client",
            Self::Role => "role",
            Self::Key => "key",
            Self::Grant => "grant",
        }
    }
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    match (args.command, args.what) {
        (Some(Command::List(it)), _) => list(&it, output).await,
        (None, Some(what)) => {
            let plan = Plan::of(what)?;
            if args.dry_run {
                return dry_run(&plan, &args.api, output).await;
            }
            if let Some(question) = &plan.question {
                confirm(question, args.yes)?;
            }
            let mut body = plan.body;
            if let Some(reason) = args.reason {
                body.insert("reason".into(), reason.into());
            }
            let mut api = Api::new(&args.api, WRITE)?;
            let revocation = api.post(&["revocations"], &body.into()).await?;
            if output.json {
                return output.json(&revocation);
            }
            output.line(format!("{} {} is revoked", output.good("ok"), plan.subject))?;
            output.line(facts(&rows(&revocation)))
        }
        (None, None) => Err(Failure::new(Exit::Usage, "nothing to revoke").hint("see `edi revoke --help`")),
    }
}

/// What is to be revoked.
struct Plan {
    kind: &'static str,
    id: String,
    /// In words.
    subject: String,
    /// The request.
    body: Map<String, Value>,
    /// To be answered first, when it concerns more than one token.
    question: Option<String>,
}

impl Plan {
    fn of(what: What) -> Result<Self, Failure> {
        if what.token.is_some() {
            let token = secret_from_stdin("token")?;
            // A look at the id; the server judges the token itself.
            let id = match verify::decode(token.expose()) {
                Ok(decoded) => view::text(&decoded.claims, "jti"),
                Err(reason) => {
                    return Err(Failure::new(Exit::Data, format!("standard input holds no token: {reason}")));
                }
            };
            let mut plan = Self::new("token", id.clone(), format!("token {}", printable(&id)), None);
            plan.body.remove("id");
            plan.body.insert("token".into(), token.expose().into());
            return Ok(plan);
        }
        if let Some(jti) = what.jti {
            if TokenId::parse(&jti).is_none() {
                return Err(Failure::new(Exit::Usage, "edi's token ids have 22 characters of base64url")
                    .hint("`edi token inspect -` shows the jti of a token; or `edi revoke --token -`"));
            }
            return Ok(Self::new("jti", jti.clone(), format!("token {jti}"), None));
        }
        let plan = |kind, id: String, whose: &str| {
            let subject = format!("every token {whose} {id} issued up to now");
            let question = format!("Revoke {subject}?");
            Self::new(kind, id, subject, Some(question))
        };
        if let Some(client) = what.client {
            return Ok(plan("client", client.to_string(), "of client"));
        }
        if let Some(role) = what.role {
            return Ok(plan("role", role.to_string(), "with role"));
        }
        if let Some(key) = what.key {
            return Ok(plan("key", key.to_string(), "signed by key"));
        }
        Err(Failure::new(Exit::Usage, "nothing to revoke").hint("see `edi revoke --help`"))
    }

    fn new(kind: &'static str, id: String, subject: String, question: Option<String>) -> Self {
        let mut body = Map::new();
        body.insert("kind".into(), kind.into());
        body.insert("id".into(), id.as_str().into());
        Self { kind, id, subject, body, question }
    }
}

async fn dry_run(plan: &Plan, flags: &ApiFlags, output: Output) -> Result<(), Failure> {
    let concerned = match plan.kind {
        "client" => {
            let needs: Needs = &[AdminScope::Read, AdminScope::Clients];
            let client = Api::new(flags, needs)?.get(&["clients", &plan.id]).await?;
            vec![view::text(&client, "client_id")]
        }
        "role" => {
            let needs: Needs = &[AdminScope::Read, AdminScope::Clients];
            let clients = Api::new(flags, needs)?.list(&["clients"], &[]).await?;
            let holds = |client: &&Value| view::list(client, "roles").contains(&plan.id);
            clients.iter().filter(holds).map(|client| view::text(client, "client_id")).collect()
        }
        "key" => {
            let keys = Api::new(flags, &[AdminScope::Read, AdminScope::Keys])?.list(&["keys"], &[]).await?;
            let Some(key) = keys.iter().find(|key| view::text(key, "kid") == plan.id) else {
                return Err(Failure::new(Exit::Failed, format!("there is no key {}", plan.id))
                    .hint("see what there is with `edi key list`"));
            };
            vec![format!("{} key, {}", view::text(key, "algorithm"), view::text(key, "state"))]
        }
        _ => Vec::new(),
    };
    if output.json {
        return output.json(&json!({
            "dry_run": true, "kind": plan.kind, "id": plan.id, "would": plan.subject, "concerns": concerned,
        }));
    }
    output.line(format!("would revoke {}; nothing was changed", plan.subject))?;
    if concerned.is_empty() { Ok(()) } else { output.line(facts(&[("concerns", concerned.join(", "))])) }
}

async fn list(it: &List, output: Output) -> Result<(), Failure> {
    let query: Vec<(&str, &str)> = it.kind.map(|kind| ("kind", kind.name())).into_iter().collect();
    let revocations = Api::new(&it.api, READ)?.list(&["revocations"], &query).await?;
    if output.json {
        return output.json(&revocations);
    }
    let mut table = Table::new(&["KIND", "ID", "AT", "COVERS ISSUED UNTIL", "ENDS", "BY", "REASON"]);
    for revocation in &revocations {
        let columns = ["kind", "id", "at", "covers_issued_until", "ends_at", "actor", "reason"];
        table.row(columns.map(|column| view::text(revocation, column)));
    }
    if table.is_empty() {
        output.note("no revocations in force");
        return Ok(());
    }
    output.line(table.render(output))
}

fn rows(revocation: &Value) -> Vec<(&'static str, String)> {
    let rows = [
        ("kind", "kind"),
        ("id", "id"),
        ("at", "at"),
        ("covers issued until", "covers_issued_until"),
        ("ends", "ends_at"),
        ("reason", "reason"),
    ];
    let rows = rows.map(|(name, key)| (name, view::text(revocation, key)));
    rows.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}
