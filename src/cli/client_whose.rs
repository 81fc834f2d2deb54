//! `edi client whose -`: something leaked; whose is it, does it work, and what mends it?

use clap::Args as ClapArgs;
use serde_json::{Map, Value};

use super::api::{Api, ApiFlags};
use super::input::secret_from_stdin;
use super::output::printable;
use super::table::facts;
use super::{Exit, Failure, Output, parse, view};
use crate::model::id::ClientId;
use crate::model::scope::AdminScope;

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  edi client whose - < leaked.txt
  git log -p | grep -o 'edi_[-A-Za-z0-9_]*' | head -1 | edi client whose -
  edi client whose - --client old-service < leaked-password.txt")]
pub(super) struct Whose {
    /// What leaked, on standard input: write -. A line around it does no harm
    #[arg(value_name = "-", value_parser = parse::stdin_only, allow_hyphen_values = true)]
    leaked: Option<()>,
    /// Try it as a secret that a person chose for this client: such a one cannot be looked up
    #[arg(long, value_name = "ID")]
    client: Option<ClientId>,
    #[command(flatten)]
    api: ApiFlags,
}

/// Asks until the search is over.
pub(super) async fn whose(it: Whose, output: Output) -> Result<(), Failure> {
    let leaked = secret_from_stdin("leaked text")?;
    let mut body = Map::new();
    body.insert("value".into(), leaked.expose().into());
    if let Some(client) = &it.client {
        body.insert("client_id".into(), client.as_str().into());
    }
    // Trying a secret is more than looking.
    let needs: super::api::Needs =
        if it.client.is_some() { &[AdminScope::Clients] } else { &[AdminScope::Read, AdminScope::Clients] };
    let mut api = Api::new(&it.api, needs)?;
    let mut rounds = 0_u32;
    let found = loop {
        let found = api.post(&["whose"], &Value::Object(body.clone())).await?;
        let Some(cursor) = found.get("next_cursor").filter(|cursor| cursor.is_string()) else { break found };
        body.insert("cursor".into(), cursor.clone());
        rounds += 1;
        output.note(format!("older than edi's records of secrets: looking through the clients, round {rounds}"));
    };
    let known = found.get("found") == Some(&Value::Bool(true));
    if output.json {
        output.json(&found)?;
    } else {
        say(&found, known, output)?;
    }
    if known { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
}

fn say(found: &Value, known: bool, output: Output) -> Result<(), Failure> {
    let text = |key| view::text(found, key);
    let kind = text("kind").replace('_', " ");
    output.line(if known {
        format!("{} {} of {}", output.bad("found:"), printable(&kind), printable(&text("client_id")))
    } else {
        output.strong("nobody's that edi knows of")
    })?;
    output.line(printable(&text("detail")))?;
    let rows = [
        ("client", "client_id"),
        ("client is", "client_state"),
        ("secret id", "secret_id"),
        ("name", "name"),
        ("token id", "jti"),
        ("signed by", "kid"),
        ("scope", "scope"),
        ("state", "state"),
        ("created", "created_at"),
        ("expires", "expires_at"),
        ("removed", "removed_at"),
        ("last used", "last_used_at"),
    ];
    let rows: Vec<(&str, String)> =
        rows.into_iter().map(|(name, key)| (name, text(key))).filter(|(_, value)| !value.is_empty()).collect();
    if !rows.is_empty() {
        output.line(format!("\n{}", facts(&rows)))?;
    }
    if let Some(next) = next(found) {
        output.note(format!("\nnext: {next}"));
    }
    Ok(())
}

/// What mends it, where something needs mending.
fn next(found: &Value) -> Option<String> {
    let text = |key| printable(&view::text(found, key));
    let client = text("client_id");
    match (text("kind").as_str(), text("state").as_str()) {
        ("client_secret" | "chosen_secret", "live") => {
            Some(format!("`edi client secret rotate {client} --compromised {}`", text("secret_id")))
        }
        // The secret behind it may be as public: but only whoever sees where it leaked knows.
        ("access_token", "active") => Some(format!(
            "`edi revoke --jti {}` ends this one, `edi client secret rotate {client} --compromised` all that the \
             client has",
            text("jti")
        )),
        ("client_secret" | "chosen_secret", _) if !text("last_used_at").is_empty() => Some(format!(
            "it works no more; was the last use the client's own? `edi revoke --client {client}` ends what it got"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_works_has_a_remedy_and_what_does_not_has_none() {
        let found = |kind: &str, state: &str| {
            next(&json!({ "kind": kind, "state": state, "client_id": "svc", "secret_id": "a1", "jti": "j" }))
        };
        let rotate = "`edi client secret rotate svc --compromised a1`";
        assert_eq!(found("client_secret", "live").as_deref(), Some(rotate));
        assert_eq!(found("chosen_secret", "live").as_deref(), Some(rotate));
        assert!(found("access_token", "active").unwrap().starts_with("`edi revoke --jti j`"));
        for (kind, state) in
            [("client_secret", "removed"), ("access_token", "expired"), ("access_token", ""), ("unknown", "")]
        {
            assert_eq!(found(kind, state), None, "{kind} {state}");
        }
    }
}
