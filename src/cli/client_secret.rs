//! `edi client secret`: give a client a second secret, move over, take the first away.

use clap::{Args as ClapArgs, Subcommand};
use serde_json::{Map, Value, json};

use super::api::{Api, ApiFlags};
use super::client::WRITE;
use super::client_rotate::{self, Rotate};
use super::input::{confirm, secret_from_stdin};
use super::output::printable;
use super::table::{Table, facts};
use super::{Exit, Failure, Output, view};
use crate::ambient::{Clock as _, SystemClock};
use crate::config::parse_span;
use crate::model::id::ClientId;
use crate::model::scope::AdminScope;
use crate::model::time::Timestamp;

/// A client's secrets, at most two at a time
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One more secret; printed once
    #[command(alias = "create")]
    Add(Add),
    /// The secrets' names and dates
    #[command(visible_alias = "ls")]
    List(List),
    /// Take a secret away; it stops working at once
    #[command(visible_alias = "rm", alias = "delete")]
    Remove(Remove),
    /// A new secret, and an end for the old one: after an overlap, or at once when it leaked
    Rotate(Box<Rotate>),
}

#[derive(Debug, ClapArgs)]
struct Add {
    /// The client id
    id: ClientId,
    /// What to call the secret
    #[arg(long)]
    name: Option<String>,
    /// When it stops working: in 90d, or at 2027-01-31T00:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    expires: Option<Timestamp>,
    /// Take the secret, or its PHC string, from standard input instead of making one
    #[arg(long)]
    secret_stdin: bool,
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, ClapArgs)]
struct List {
    /// The client id
    id: ClientId,
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, ClapArgs)]
struct Remove {
    /// The client id
    id: ClientId,
    /// The secret's id or name, as `list` shows them
    #[arg(value_name = "SECRET", allow_hyphen_values = true)]
    secret: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    api: ApiFlags,
}

/// An instant in RFC 3339, or a duration from now.
pub(super) fn instant(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse_rfc3339(text)
        .or_else(|| Some(SystemClock.now().plus(parse_span(text).ok()?)))
        .ok_or("expected a duration such as 90d or a time such as 2027-01-31T00:00:00Z")
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::Add(it) => add(it, output).await,
        Command::List(it) => list(&it, output).await,
        Command::Remove(it) => remove(it, output).await,
        Command::Rotate(it) => client_rotate::rotate(*it, output).await,
    }
}

/// The secrets of a client's view.
pub(super) fn table(client: &Value) -> Table {
    let mut table = Table::new(&["SECRET", "NAME", "KIND", "CREATED", "EXPIRES", "LAST USED"]);
    for secret in client.get("secrets").and_then(Value::as_array).into_iter().flatten() {
        let keys = ["id", "name", "kind", "created_at", "expires_at", "last_used_at"];
        table.row(keys.map(|key| view::text(secret, key)));
    }
    table
}

async fn add(it: Add, output: Output) -> Result<(), Failure> {
    let mut body = Map::new();
    if let Some(name) = it.name {
        body.insert("name".into(), name.into());
    }
    if let Some(at) = it.expires {
        body.insert("expires_at".into(), at.rfc3339().into());
    }
    if it.secret_stdin {
        body.insert("client_secret".into(), secret_from_stdin("client secret")?.expose().into());
    }
    let mut api = Api::new(&it.api, WRITE)?;
    let secret = api.post(&["clients", it.id.as_str(), "secrets"], &body.into()).await?;
    if output.json {
        return output.json(&secret);
    }
    let shown = view::text(&secret, "client_secret");
    output.line(format!("{} {} has one more secret", output.good("ok"), it.id))?;
    let mut rows = vec![("secret id", view::text(&secret, "id")), ("expires", view::text(&secret, "expires_at"))];
    if !shown.is_empty() {
        rows.push(("client_secret", shown.clone()));
    }
    output.line(facts(&rows))?;
    if !shown.is_empty() {
        output.note("\nThe secret is shown once: edi keeps only what it needs to check it.");
    }
    output.note(format!("When the client has moved over: `edi client secret list {0}`, `… remove {0} SECRET`.", it.id));
    output.note(format!("Next time `edi client secret rotate {}` does both.", it.id));
    Ok(())
}

async fn list(it: &List, output: Output) -> Result<(), Failure> {
    let mut api = Api::new(&it.api, &[AdminScope::Read, AdminScope::Clients])?;
    let client = api.get(&["clients", it.id.as_str()]).await?;
    if output.json {
        return output.json(client.get("secrets").unwrap_or(&Value::Null));
    }
    let table = table(&client);
    if table.is_empty() {
        output.note(format!("no secrets; `edi client secret add {}` makes one", it.id));
        return Ok(());
    }
    output.line(table.render(output))
}

async fn remove(it: Remove, output: Output) -> Result<(), Failure> {
    let mut api = Api::new(&it.api, WRITE)?;
    let client = api.get(&["clients", it.id.as_str()]).await?;
    let secret = known(&client, &it.secret).map_err(|why| {
        Failure::new(Exit::Failed, why).hint(format!("`edi client secret list {}` shows ids and names", it.id))
    })?;
    confirm(&format!("Take secret {secret} from {}? It stops working at once.", it.id), it.yes)?;
    api.delete(&["clients", it.id.as_str(), "secrets", &secret]).await?;
    if output.json {
        return output.json(&json!({ "client_id": it.id, "id": secret, "deleted": true }));
    }
    output.line(format!("{} secret {secret} of {} no longer works", output.good("ok"), it.id))
}

/// The id of the secret with this id or, if there is but one, this name.
fn known(client: &Value, wanted: &str) -> Result<String, String> {
    let secrets = client.get("secrets").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is = |secret: &Value, key: &str| !wanted.is_empty() && view::text(secret, key) == wanted;
    let with = |key: &'static str| secrets.iter().filter(move |secret| is(secret, key));
    let shown = printable(wanted);
    match (with("id").next(), with("name").collect::<Vec<_>>().as_slice()) {
        (Some(secret), _) => Ok(view::text(secret, "id")),
        (None, [secret]) => Ok(view::text(secret, "id")),
        (None, []) => Err(format!("the client has no secret with the id or name {shown}")),
        (None, _) => Err(format!("both secrets of the client are named {shown}: say which by its id")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_by_its_id_and_by_a_name_that_is_its_own() {
        let secret = |id: &str, name: &str| json!({ "id": id, "name": name });
        let client = json!({ "secrets": [secret("a1", "first"), secret("b2", "a1")] });
        for (wanted, found) in
            [("a1", Ok("a1")), ("b2", Ok("b2")), ("first", Ok("a1")), ("third", Err(())), ("", Err(()))]
        {
            assert_eq!(known(&client, wanted).map_err(drop), found.map(str::to_owned), "{wanted}");
        }
        let twins = json!({ "secrets": [secret("a1", "same"), secret("b2", "same")] });
        assert!(known(&twins, "same").is_err());
        assert!(known(&json!({}), "a1").is_err());
    }
}
