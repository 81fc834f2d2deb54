//! `edi audit`: who changed what, as it happens or as it was, and whether anybody tampered with the record of it.

use std::collections::HashSet;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::api::{Api, ApiFlags, Needs};
use super::output::printable;
use super::table::Table;
use super::{Exit, Failure, Output, view};
use crate::ambient::Ambient;
use crate::config::parse_span;
use crate::model::scope::AdminScope;
use crate::model::time::Timestamp;

const AUDIT: Needs = &[AdminScope::Audit, AdminScope::Admin];
/// How often `tail` asks.
const POLL: Duration = Duration::from_secs(1);
/// How far back `tail` asks again: entries of several replicas arrive a little out of order.
const OVERLAP: Duration = Duration::from_secs(10);
/// How often in a row `tail` may be left without an answer.
const PATIENCE: u32 = 30;

/// The audit trail: every change, and refusals of authenticated callers.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What happened, newest first
    #[command(visible_alias = "ls")]
    List(List),
    /// What happens from now on, until you stop it
    Tail(Tail),
    /// Whether anybody edited, took out, put in or reordered entries, and where
    Verify(Verify),
}

#[derive(Debug, ClapArgs)]
struct Filters {
    /// Only what this client did; `edi` did what nobody asked for
    #[arg(long, value_name = "CLIENT")]
    actor: Option<String>,
    /// Only this action, such as client.update, or `client.*`
    #[arg(long)]
    action: Option<String>,
    /// Only what was done to this
    #[arg(long, value_name = "ID")]
    target: Option<String>,
    /// Only what came with this request
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Only changes, or only refusals
    #[arg(long)]
    outcome: Option<Kind>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Done,
    Refused,
}

impl Filters {
    fn query(&self) -> Vec<(&'static str, String)> {
        let outcome = self.outcome.map(|kind| match kind {
            Kind::Done => "done".to_owned(),
            Kind::Refused => "refused".to_owned(),
        });
        [
            ("actor", self.actor.clone()),
            ("action", self.action.clone()),
            ("target", self.target.clone()),
            ("request_id", self.request_id.clone()),
            ("outcome", outcome),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
        .collect()
    }
}

/// An instant, or how long ago.
#[derive(Debug, Clone, Copy)]
enum When {
    At(Timestamp),
    Ago(Duration),
}

impl std::str::FromStr for When {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(at) = Timestamp::parse_rfc3339(text) {
            return Ok(Self::At(at));
        }
        parse_span(text)
            .map(Self::Ago)
            .map_err(|_| "expected a time such as 2026-11-22T08:00:00Z, or how long ago: 24h")
    }
}

impl When {
    fn rfc3339(self, now: Timestamp) -> String {
        match self {
            Self::At(at) => at.rfc3339(),
            Self::Ago(ago) => now.minus(ago).rfc3339(),
        }
    }
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  edi audit list --since 24h
  edi audit list --target fraud-caller --action 'client.*'
  edi audit list --outcome refused --json")]
struct List {
    #[command(flatten)]
    filters: Filters,
    /// From this time on: 2026-11-22T08:00:00Z, or how long ago: 24h
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Before this time
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Oldest first
    #[arg(long)]
    oldest_first: bool,
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, ClapArgs)]
struct Tail {
    #[command(flatten)]
    filters: Filters,
    /// Begin with what happened so long ago
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Whoever can write the whole store can write a whole new chain. A head that you noted elsewhere (each is logged, target
edi::audit) tells: --head says whether the chain still goes through it.

Examples:
  edi audit verify
  edi audit verify --head 5f1c…/1042")]
struct Verify {
    /// A head noted earlier, as HASH/SEQ
    #[arg(long, value_name = "HASH/SEQ")]
    head: Option<Noted>,
    #[command(flatten)]
    api: ApiFlags,
}

/// A head that somebody noted.
#[derive(Debug, Clone)]
struct Noted {
    seq: u64,
    hash: String,
}

impl std::str::FromStr for Noted {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "expected the 64 hexadecimal digits of its hash, a slash and its number";
        let (one, other) = text.split_once(['/', ':']).ok_or(WRONG)?;
        let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let (hash, seq) = if is_hash(one) { (one, other) } else { (other, one) };
        let seq = seq.parse().map_err(|_| WRONG)?;
        if is_hash(hash) { Ok(Self { seq, hash: hash.to_ascii_lowercase() }) } else { Err(WRONG) }
    }
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::List(it) => list(&it, output).await,
        Command::Tail(it) => tail(&it, output).await,
        Command::Verify(it) => verify(&it, output).await,
    }
}

async fn list(it: &List, output: Output) -> Result<(), Failure> {
    let now = Ambient::system().now();
    let mut api = Api::new(&it.api, AUDIT)?;
    let mut query = it.filters.query();
    query.extend(it.since.map(|when| ("since", when.rfc3339(now))));
    query.extend(it.until.map(|when| ("until", when.rfc3339(now))));
    query.push(("order", if it.oldest_first { "asc" } else { "desc" }.to_owned()));
    let limit = usize::try_from(it.limit).unwrap_or(usize::MAX);
    let mut found: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = query.clone();
        query.push(("limit", (limit - found.len()).min(1000).to_string()));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let mut page = api.get_with(&["audit"], &query).await?;
        if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
            found.extend(items);
        }
        cursor = page.get("next_cursor").and_then(Value::as_str).map(ToOwned::to_owned);
        if cursor.is_none() || found.len() >= limit {
            break;
        }
    }
    if output.json {
        return output.json(&found);
    }
    let mut table = Table::new(&["AT", "ACTOR", "ACTION", "TARGET", "OUTCOME", "CHANGES", "FROM", "REQUEST"]);
    for entry in &found {
        table.row([
            view::text(entry, "at"),
            view::text(entry, "actor"),
            view::text(entry, "action"),
            view::text(entry, "target"),
            outcome(entry),
            changes(entry),
            view::text(entry, "address"),
            view::text(entry, "request_id"),
        ]);
    }
    if table.is_empty() {
        output.note("no such entries");
        return Ok(());
    }
    output.line(table.render(output))?;
    if cursor.is_some() {
        output.note(format!("the first {limit}; more with --limit"));
    }
    Ok(())
}

/// `done`, or why not and how often.
fn outcome(entry: &Value) -> String {
    let code = view::text(entry, "code");
    let word = if code.is_empty() { view::text(entry, "outcome") } else { format!("refused: {code}") };
    match entry.get("count").and_then(Value::as_u64) {
        Some(count @ 2..) => format!("{word} ({count} times)"),
        _ => word,
    }
}

/// `roles +a -b, secrets +id`; the reason, if one was given.
fn changes(entry: &Value) -> String {
    let told = entry.get("changes").and_then(Value::as_array).into_iter().flatten().map(|change| {
        let signed = |key, sign: char| view::list(change, key).into_iter().map(move |id| format!("{sign}{id}"));
        let ids: Vec<String> = signed("added", '+').chain(signed("removed", '-')).collect();
        [vec![view::text(change, "field")], ids].concat().join(" ")
    });
    let reason = Some(view::text(entry, "reason")).filter(|reason| !reason.is_empty());
    told.chain(reason.map(|reason| format!("\u{201c}{reason}\u{201d}"))).collect::<Vec<_>>().join(", ")
}

async fn tail(it: &Tail, output: Output) -> Result<(), Failure> {
    let mut api = Api::new(&it.api, AUDIT)?;
    let now = Ambient::system().now();
    let mut since = it.since.map_or_else(|| now.rfc3339(), |when| when.rfc3339(now));
    let (mut seen, mut failures) = (HashSet::<String>::new(), 0);
    loop {
        match news(&mut api, &it.filters, &since).await {
            Ok(entries) => {
                failures = 0;
                for entry in entries.iter().filter(|entry| !seen.contains(&view::text(entry, "id"))) {
                    output.line(line(entry, output))?;
                }
                // The next question begins a little before the last answer; what it repeats is known.
                if let Some(last) = entries.last().and_then(|last| Timestamp::parse_rfc3339(&view::text(last, "at"))) {
                    since = since.max(last.minus(OVERLAP).rfc3339());
                }
                seen = entries.iter().map(|entry| view::text(entry, "id")).collect();
            }
            Err(failure) => {
                failures += 1;
                if failures > PATIENCE || failure.exit == Exit::Denied {
                    return Err(failure);
                }
                if failures == 1 {
                    output.note(format!("no answer: {}; trying again", failure.message));
                }
                // A token that has expired is got anew.
                api = Api::new(&it.api, AUDIT)?;
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Everything since an instant.
async fn news(api: &mut Api, filters: &Filters, since: &str) -> Result<Vec<Value>, Failure> {
    let mut found = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = filters.query();
        query.push(("since", since.to_owned()));
        query.push(("limit", "1000".to_owned()));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let mut page = api.get_with(&["audit"], &query).await?;
        if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
            found.extend(items);
        }
        cursor = page.get("next_cursor").and_then(Value::as_str).map(ToOwned::to_owned);
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

/// An entry on a line of its own.
fn line(entry: &Value, output: Output) -> String {
    if output.json {
        return entry.to_string();
    }
    let parts = ["at", "actor", "action", "target"].map(|key| view::text(entry, key));
    let rest = [outcome(entry), changes(entry), view::text(entry, "address"), view::text(entry, "request_id")];
    let parts = parts.into_iter().chain(rest).filter(|part| !part.is_empty());
    printable(&parts.collect::<Vec<_>>().join("  "))
}

async fn verify(it: &Verify, output: Output) -> Result<(), Failure> {
    let mut api = Api::new(&it.api, AUDIT)?;
    let mut query = Vec::new();
    let mut verdict = loop {
        let verdict = api.get_with(&["audit", "verify"], &query).await?;
        match verdict.get("next_cursor").and_then(Value::as_str) {
            Some(cursor) => query = vec![("cursor", cursor.to_owned())],
            None => break verdict,
        }
    };
    if let Some(noted) = it.head.as_ref().filter(|_| view::text(&verdict, "state") == "intact")
        && let Some(what) = missed(&mut api, noted, &verdict).await?
        && let Some(verdict) = verdict.as_object_mut()
    {
        verdict.insert("state".into(), "broken".into());
        verdict.insert("break".into(), json!({ "seq": noted.seq, "what": what }));
    }
    let state = view::text(&verdict, "state");
    if output.json {
        output.json(&verdict)?;
    }
    let (seals, entries) = (view::text(&verdict, "seals"), view::text(&verdict, "entries"));
    if state != "intact" {
        let found = verdict.get("break").cloned().unwrap_or_default();
        let place = [("seal", "seq"), ("entry", "entry")].map(|(word, key)| match view::text(&found, key) {
            id if id.is_empty() => String::new(),
            id => format!("{word} {id}: "),
        });
        let what = view::text(&found, "what");
        let message = format!("the audit trail is broken: {}{}", place.concat(), what);
        return Err(Failure::new(Exit::Failed, printable(&message)).hint(format!(
            "{seals} seals with {entries} entries before it are right; compare with the log lines of edi::audit and with a \
             backup"
        )));
    }
    if output.json {
        return Ok(());
    }
    output.line(format!("{} {seals} seals, {entries} entries", output.good("intact:")))?;
    if let Some(anchor) = verdict.get("anchor") {
        output.line(format!("begins after seal {}: what is older was retired", view::text(anchor, "seq")))?;
    }
    if let Some(head) = verdict.get("head") {
        output.line(format!("head   {}/{}", view::text(head, "hash"), view::text(head, "seq")))?;
        if it.head.is_none() {
            output.note(
                "next: note the head outside of edi; `edi audit verify --head HEAD` tells whether it was all rewritten",
            );
        }
    }
    Ok(())
}

/// What is wrong with a chain that verifies, seen from a head that was noted.
async fn missed(api: &mut Api, noted: &Noted, verdict: &Value) -> Result<Option<String>, Failure> {
    let seq_of = |name: &str| verdict.get(name).and_then(|link| link.get("seq")).and_then(Value::as_u64).unwrap_or(0);
    let hash = if noted.seq == seq_of("anchor") && noted.seq > 0 {
        verdict.get("anchor").map(|anchor| view::text(anchor, "hash")).unwrap_or_default()
    } else if noted.seq < seq_of("anchor") {
        return Err(Failure::new(Exit::Failed, format!("seal {} was retired: the chain begins later", noted.seq))
            .hint("note a newer head; audit.keep says how long entries are kept"));
    } else if noted.seq > seq_of("head") {
        return Ok(Some(
            "the chain ends before the head that was noted: its end was cut off, or it was made anew".into(),
        ));
    } else {
        let seal = api.get_with(&["audit", "seals", &noted.seq.to_string()], &[]).await?;
        view::text(&seal, "hash")
    };
    let rewritten = "the chain does not go through the head that was noted: it was rewritten";
    Ok((hash != noted.hash).then(|| rewritten.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noted_head_is_read_either_way_round() {
        let hash = "aB".repeat(32);
        for text in [format!("{hash}/7"), format!("7/{hash}"), format!("{hash}:7")] {
            let noted: Noted = text.parse().unwrap();
            assert_eq!((noted.seq, noted.hash), (7, hash.to_ascii_lowercase()), "{text}");
        }
        for text in ["", "7", "7/8", &hash, &format!("{hash}/x"), &format!("{}/7", "g".repeat(64))] {
            assert!(text.parse::<Noted>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_entry_is_told_in_a_line() {
        let entry = json!({
            "id": "1", "at": "2026-11-22T08:00:00Z", "actor": "op", "action": "client.update", "target": "svc",
            "outcome": "done", "count": 1, "reason": "left", "changes": [{ "field": "roles", "added": ["a"], "removed": ["b"] }],
        });
        assert_eq!(
            line(&entry, Output::new(false)),
            "2026-11-22T08:00:00Z  op  client.update  svc  done  roles +a -b, \u{201c}left\u{201d}"
        );
        let refused = json!({ "outcome": "refused", "code": "conflict", "count": 3 });
        assert_eq!(outcome(&refused), "refused: conflict (3 times)");
    }
}
