//! `edi client secret rotate`: a new secret, and an end for the old one. Planned, or because it leaked.

use std::time::Duration;

use clap::Args as ClapArgs;
use serde_json::{Map, Value};

use super::api::{Api, ApiFlags};
use super::client::WRITE;
use super::client_secret::instant;
use super::input::{confirm, secret_from_stdin};
use super::table::{Table, facts};
use super::{Failure, Output, view};
use crate::config::parse_span;
use crate::model::id::ClientId;
use crate::model::time::Timestamp;

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  edi client secret rotate fraud-caller --overlap 24h
  edi client secret rotate fraud-caller --compromised --dry-run
  edi client secret rotate fraud-caller --compromised next --reason 'in a public repository'")]
pub(super) struct Rotate {
    /// The client id
    id: ClientId,
    /// How long the old secret works beside the new one; 0s: not at all [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = parse_span, conflicts_with = "compromised")]
    overlap: Option<Duration>,
    /// When two secrets are live, take the older one away first
    #[arg(long, conflicts_with = "compromised")]
    remove_older: bool,
    /// It leaked: drop this secret (all, without a name), and revoke the client's tokens
    #[arg(long, value_name = "NAME|SECRET-ID", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "a flag whose value may be left out")]
    compromised: Option<Option<String>>,
    /// What to call the new secret
    #[arg(long)]
    name: Option<String>,
    /// When the new one stops working: in 90d, or at 2027-01-31T00:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    expires: Option<Timestamp>,
    /// Take the new secret, or its PHC string, from standard input instead of making one
    #[arg(long)]
    secret_stdin: bool,
    /// Why; kept with the revocation
    #[arg(long, requires = "compromised")]
    reason: Option<String>,
    #[command(flatten)]
    caution: Caution,
    #[command(flatten)]
    api: ApiFlags,
}

/// How sure the caller is.
#[derive(Debug, ClapArgs)]
struct Caution {
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Rotate {
    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        let mut put = |key: &str, value: Option<Value>| value.map(|value| body.insert(key.into(), value));
        put("overlap_seconds", self.overlap.map(|overlap| overlap.as_secs().into()));
        put("remove_older", self.remove_older.then_some(Value::Bool(true)));
        put("compromised", self.compromised.as_ref().map(|_| Value::Bool(true)));
        put("secret", self.compromised.clone().flatten().map(Value::from));
        put("name", self.name.clone().map(Value::from));
        put("expires_at", self.expires.map(|at| at.rfc3339().into()));
        put("reason", self.reason.clone().map(Value::from));
        body
    }
}

/// Does it, or says what it would do.
pub(super) async fn rotate(it: Rotate, output: Output) -> Result<(), Failure> {
    let path = ["clients", it.id.as_str(), "secrets", "rotate"];
    let Caution { dry_run, yes } = it.caution;
    let mut body = it.body();
    let mut api = Api::new(&it.api, WRITE)?;
    // What is at stake is shown before it happens. A planned rotation with an overlap takes nothing away yet.
    let at_once = it.compromised.is_some() || it.remove_older || it.overlap.is_some_and(|overlap| overlap.is_zero());
    if dry_run || (at_once && !yes) {
        let mut ask = body.clone();
        ask.insert("dry_run".into(), true.into());
        let plan = api.post(&path, &ask.into()).await?;
        if dry_run && output.json {
            return output.json(&plan);
        }
        let told = blast_radius(&plan, output);
        if dry_run {
            output.line(told)?;
            return output.line("nothing was changed");
        }
        output.note(told);
        confirm(&format!("Replace the secret of {}?", it.id), yes)?;
    }
    if it.secret_stdin {
        body.insert("client_secret".into(), secret_from_stdin("client secret")?.expose().into());
    }
    let done = api.post(&path, &body.into()).await?;
    if output.json {
        return output.json(&done);
    }
    say_done(&it, &done, api.is_operator(it.id.as_str()), output)
}

/// What happens to whom, in words.
fn blast_radius(plan: &Value, output: Output) -> String {
    let mut table = Table::new(&["SECRET", "NAME", "CREATED", "LAST USED", "THEN"]);
    for (key, then) in [("removed", "stops working at once"), ("overlapping", "works until ")] {
        for secret in plan.get(key).and_then(Value::as_array).into_iter().flatten() {
            let cell = |key| view::text(secret, key);
            let end = if key == "overlapping" { cell("expires_at") } else { String::new() };
            table.row([cell("id"), cell("name"), cell("created_at"), cell("last_used_at"), format!("{then}{end}")]);
        }
    }
    let mut told = format!("client {} gets a new secret", view::text(plan, "client_id"));
    if !table.is_empty() {
        told = format!("{told}\n{}", table.render(output));
    }
    match offline(plan) {
        Some(offline) => format!("{told}\nevery token it was issued up to now is revoked; {offline}"),
        None => told,
    }
}

/// Until when verifiers that do not ask edi believe the tokens that are revoked.
fn offline(plan: &Value) -> Option<String> {
    let verifiers = plan.get("offline_verifiers")?;
    let [mostly, last] = ["mostly_until", "accept_until"].map(|key| view::text(verifiers, key));
    Some(if mostly == last {
        format!("verifiers that do not ask edi accept them until {last}")
    } else {
        format!("verifiers that do not ask edi accept most of them until {mostly}, the last until {last}")
    })
}

fn say_done(it: &Rotate, done: &Value, own: bool, output: Output) -> Result<(), Failure> {
    output.line(format!("{} {} has a new secret", output.good("ok"), it.id))?;
    let mut rows = vec![("secret id", view::text(done, "id"))];
    let mut row = |name, value: String| {
        if !value.is_empty() {
            rows.push((name, value));
        }
    };
    let shown = view::text(done, "client_secret");
    row("expires", view::text(done, "expires_at"));
    row("client_secret", shown.clone());
    let each = |key: &'static str| done.get(key).and_then(Value::as_array).into_iter().flatten();
    for secret in each("overlapping") {
        row("old secret", format!("{} works until {}", view::text(secret, "id"), view::text(secret, "expires_at")));
    }
    for secret in each("removed") {
        row("old secret", format!("{} no longer works", view::text(secret, "id")));
    }
    output.line(facts(&rows))?;
    if !shown.is_empty() {
        output.note("\nThe secret is shown once: edi keeps only what it needs to check it.");
    }
    if let Some(offline) = offline(done) {
        output.note(format!(
            "The tokens it was issued up to now are revoked: where edi is asked they count no more; {offline}. It can \
             get new ones in a few seconds."
        ));
    }
    if own {
        output.note("These are the credentials you just used: put the new secret in their place now.");
    } else if each("overlapping").next().is_some() {
        output.note(format!("`edi client secret list {}` shows which one it uses.", it.id));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_offline_bound_is_told_once_when_there_is_one() {
        let plan =
            |mostly: &str, last: &str| json!({ "offline_verifiers": { "mostly_until": mostly, "accept_until": last } });
        assert_eq!(offline(&json!({})), None);
        assert_eq!(offline(&plan("A", "A")).unwrap(), "verifiers that do not ask edi accept them until A");
        assert!(offline(&plan("A", "B")).unwrap().ends_with("most of them until A, the last until B"));
    }
}
