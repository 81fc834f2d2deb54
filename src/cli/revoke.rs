//! `edi revoke`: end tokens before they expire.

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::api::{Api, ApiFlags, Needs};
use super::input::{confirm, somebody_is_there, token_from_stdin};
use super::output::printable;
use super::table::{Table, facts};
use super::{Exit, Failure, Output, parse, verify, view};
use crate::ambient::{Clock as _, SystemClock};
use crate::config::parse_span;
use crate::model::id::{ClientId, Kid, TokenId};
use crate::model::scope::{AdminScope, Role};
use crate::model::time::Timestamp;

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
  edi revoke list --kind client --since 1d
  edi revoke undo client fraud-caller"
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
    List(Box<List>),
    /// Take a mistaken one back: its tokens that have not expired count again
    Undo(Undo),
}

#[derive(Debug, ClapArgs)]
struct Undo {
    /// The kind, as `list` shows it
    kind: Kind,
    /// What was revoked, as `list` shows it
    #[arg(allow_hyphen_values = true)]
    id: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, ClapArgs)]
struct List {
    /// Only of this kind
    #[arg(long)]
    kind: Option<Kind>,
    /// Only of what has this id
    #[arg(long, allow_hyphen_values = true)]
    id: Option<String>,
    /// Only of this client and its grants
    #[arg(long, value_name = "ID")]
    client: Option<ClientId>,
    /// Only those that this client made
    #[arg(long, value_name = "ID")]
    actor: Option<ClientId>,
    /// Only those made since: 2h ago, or 2026-11-22T08:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = past)]
    since: Option<Timestamp>,
    /// Only those made until: 10m ago, or 2026-11-22T08:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = past)]
    until: Option<Timestamp>,
    /// Only those whose reason holds this
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// `settling`: tokens it would cover are not issued yet; `in_force`: past that
    #[arg(long, value_name = "STATE", value_parser = ["settling", "in_force"])]
    state: Option<String>,
    #[command(flatten)]
    api: ApiFlags,
}

/// An instant in RFC 3339, or a duration ago.
fn past(text: &str) -> Result<Timestamp, &'static str> {
    let span = text.strip_suffix("ago").map_or(text, str::trim_end);
    Timestamp::parse_rfc3339(text)
        .or_else(|| Some(SystemClock.now().minus(parse_span(span).ok()?)))
        .ok_or("expected a duration such as 2h or a time such as 2026-11-22T08:00:00Z")
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
        (Some(Command::Undo(it)), _) => undo(&it, output).await,
        (None, Some(what)) => {
            let plan = Plan::of(what)?;
            if args.dry_run {
                return dry_run(plan, &args.api, output).await;
            }
            let mut api = Api::new(&args.api, WRITE)?;
            if let Some(question) = &plan.question {
                if !args.yes && somebody_is_there() {
                    doubt(&mut api, &plan, output).await;
                }
                confirm(question, args.yes)?;
            }
            let mut body = plan.body.clone();
            if let Some(reason) = args.reason {
                body.insert("reason".into(), reason.into());
            }
            let revocation = api.post(&["revocations"], &body.into()).await?;
            // Nobody was asked, so nothing kept it from having its effect first.
            if args.yes {
                doubt(&mut api, &plan, output).await;
            }
            if output.json {
                return output.json(&revocation);
            }
            output.line(format!("{} {} is revoked", output.good("ok"), plan.subject))?;
            output.line(facts(&rows(&revocation)))
        }
        (None, None) => Err(Failure::new(Exit::Usage, "nothing to revoke").hint("see `edi revoke --help`")),
    }
}

/// Says when a revocation may not be the one that is meant: ids of what is gone can be revoked, and so can mistyped ones.
async fn doubt(api: &mut Api, plan: &Plan, output: Output) {
    let what = match plan.kind {
        "client" => "there is no client with this id now: was it deleted, or is it mistyped?",
        "role" => "no client holds this role now: was it taken away, or is it mistyped?",
        _ => return,
    };
    let mut body = plan.body.clone();
    body.insert("dry_run".into(), true.into());
    if api.post(&["revocations"], &body.into()).await.is_ok_and(|found| found.get("client_count") == Some(&json!(0))) {
        output.note(format!("note: {what}"));
    }
}

/// What is to be revoked.
struct Plan {
    kind: &'static str,
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
            let token = token_from_stdin()?;
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
        body.insert("id".into(), id.into());
        Self { kind, subject, body, question }
    }
}

async fn dry_run(plan: Plan, flags: &ApiFlags, output: Output) -> Result<(), Failure> {
    let mut body = plan.body;
    body.insert("dry_run".into(), true.into());
    let radius = Api::new(flags, WRITE)?.post(&["revocations"], &body.into()).await?;
    if output.json {
        return output.json(&radius);
    }
    output.line(format!("would revoke {}; nothing was changed", plan.subject))?;
    let mut rows = Vec::new();
    if let Some(count) = radius.get("client_count").and_then(Value::as_u64) {
        let named = view::list(&radius, "clients");
        let more = count.saturating_sub(named.len() as u64);
        let named = if more > 0 { format!("{} and {more} more", named.join(", ")) } else { named.join(", ") };
        rows.push(("clients concerned", count.to_string()));
        rows.push(("they are", printable(&named)));
        rows.push(("their tokens live", view::seconds(&radius, "longest_lifetime")));
    } else if plan.kind == "key" {
        rows.push(("clients concerned", "all whose tokens it signed".into()));
    }
    rows.push(("covers issued until", view::text(&radius, "covers_issued_until")));
    rows.push(("verifiers that do not ask edi accept them until", view::text(&radius, "accept_until")));
    rows.retain(|(_, value)| !value.is_empty());
    output.line(facts(&rows))
}

async fn list(it: &List, output: Output) -> Result<(), Failure> {
    let instant = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
    let query = [
        ("kind", it.kind.map(|kind| kind.name().to_owned())),
        ("id", it.id.clone()),
        ("client", it.client.as_ref().map(ToString::to_string)),
        ("actor", it.actor.as_ref().map(ToString::to_string)),
        ("since", instant(it.since)),
        ("until", instant(it.until)),
        ("reason", it.reason.clone()),
        ("state", it.state.clone()),
    ];
    let query: Vec<(&str, &str)> = query.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
    let revocations = Api::new(&it.api, READ)?.list(&["revocations"], &query).await?;
    if output.json {
        return output.json(&revocations);
    }
    let mut table = Table::new(&["KIND", "ID", "AT", "COVERS ISSUED UNTIL", "ENDS", "FROM A", "BY", "REASON"]);
    for revocation in &revocations {
        let columns = ["kind", "id", "at", "covers_issued_until", "ends_at", "origin", "actor", "reason"];
        table.row(columns.map(|column| view::text(revocation, column)));
    }
    if table.is_empty() {
        output.note(if query.is_empty() { "no revocations in force" } else { "no such revocations in force" });
        return Ok(());
    }
    output.line(table.render(output))
}

async fn undo(it: &Undo, output: Output) -> Result<(), Failure> {
    let path = ["revocations", it.kind.name(), it.id.as_str()];
    let mut api = Api::new(&it.api, WRITE)?;
    let there = api.get(&path).await?;
    let covered = view::text(&there, "covers_issued_until");
    if !it.yes {
        output.note(facts(&rows(&there)));
    }
    confirm(
        &format!(
            "Undo it? Every token that it covers (issued until {covered}) and that has not expired counts again, \
             unless something else revokes it."
        ),
        it.yes,
    )?;
    api.delete(&path).await?;
    if output.json {
        return output.json(&json!({ "kind": it.kind.name(), "id": it.id, "undone": true, "was": there }));
    }
    output.line(format!("{} the revocation of {} {} is undone", output.good("ok"), it.kind.name(), printable(&it.id)))
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
