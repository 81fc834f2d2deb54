//! `edi client key`: the public keys of a client of `private_key_jwt`, so that they can roll: add the next, move over,
//! remove the last.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use serde_json::{Value, json};

use super::api::{Api, ApiFlags};
use super::client::{READ, WRITE};
use super::input::confirm;
use super::output::printable;
use super::table::Table;
use super::{Exit, Failure, Output, view};
use crate::keys::client_keys;
use crate::model::id::ClientId;

/// The longest key set that is read, in bytes.
const MAX_JWKS: u64 = 64 * 1024;

/// A client's public keys, at most eight
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One more public key, or several; `edi client keygen` makes a pair
    Add(Add),
    /// The keys' names
    #[command(visible_alias = "ls")]
    List(List),
    /// Take a key away; what it signs stops working at once
    #[command(visible_alias = "rm", alias = "delete")]
    Remove(Remove),
}

#[derive(Debug, ClapArgs)]
struct Add {
    /// The client id
    id: ClientId,
    /// A public JWK or JWK set; -: from standard input
    #[arg(long, value_name = "FILE")]
    jwks: PathBuf,
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
    /// The key's kid, as `list` shows it
    #[arg(allow_hyphen_values = true)] // one thumbprint in 64 begins with a hyphen
    kid: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    api: ApiFlags,
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::Add(it) => {
            let more = read_jwks(&it.jwks)?;
            let mut api = Api::new(&it.api, WRITE)?;
            let (client, etag) = api.get_versioned(&["clients", it.id.as_str()]).await?;
            let client = add(&mut api, &it.id, &client, etag.as_deref(), &more).await?;
            done(&client, &format!("{} has {} keys", it.id, keys(&client).len()), output)
        }
        Command::List(it) => {
            let client = Api::new(&it.api, READ)?.get(&["clients", it.id.as_str()]).await?;
            list(&it.id, &client, output)
        }
        Command::Remove(it) => remove(it, output).await,
    }
}

/// The keys of a client's view.
pub(super) fn keys(client: &Value) -> Vec<Value> {
    client.get("jwks").and_then(|jwks| jwks.get("keys")).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// The keys of a client's view, as a table.
pub(super) fn table(client: &Value) -> Table {
    let mut table = Table::new(&["KEY", "ALG", "TYPE"]);
    for key in keys(client) {
        let kind = [view::text(&key, "kty"), view::text(&key, "crv")].join(" ");
        table.row([printable(&client_keys::name(&key)), view::text(&key, "alg"), kind.trim().to_owned()]);
    }
    table
}

/// Adds keys to those a client has, if it still is the version read.
pub(super) async fn add(
    api: &mut Api,
    id: &ClientId,
    client: &Value,
    etag: Option<&str>,
    more: &Value,
) -> Result<Value, Failure> {
    if view::text(client, "token_endpoint_auth_method") != "private_key_jwt" {
        return Err(Failure::new(Exit::Failed, format!("{id} is registered for secrets, not for keys")).hint(format!(
            "move it over: `edi client update {id} --jwks FILE --remove-secrets`; its secrets stop working at once"
        )));
    }
    let mut all = keys(client);
    all.extend(more.get("keys").and_then(Value::as_array).into_iter().flatten().cloned());
    api.patch(&["clients", id.as_str()], &json!({ "jwks": { "keys": all } }), etag).await
}

/// Reads a public key set, or one public key, and refuses what the server would. Nothing private leaves the machine.
///
/// # Errors
/// What is wrong with the file; never its content.
pub(super) fn read_jwks(path: &Path) -> Result<Value, Failure> {
    let stdin = path == Path::new("-");
    let shown = if stdin { "standard input".to_owned() } else { path.display().to_string() };
    let data = |why: String| Failure::new(Exit::Data, format!("the keys in {shown} cannot be used: {why}"));
    let mut text = Vec::new();
    let read = if stdin {
        io::stdin().lock().take(MAX_JWKS + 1).read_to_end(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_JWKS + 1).read_to_end(&mut text))
    };
    let length = read.map_err(|error| data(error.to_string()))?;
    if length as u64 > MAX_JWKS {
        return Err(data("there are more than 64 KiB".into()));
    }
    // serde's words could repeat a value; only the place is told.
    let value: Value = serde_json::from_slice(&text)
        .map_err(|error| data(format!("no JSON at line {}, column {}", error.line(), error.column())))?;
    let set = if value.get("keys").is_some() { value } else { json!({ "keys": [value] }) };
    match client_keys::register(&set) {
        Ok(registration) => Ok(registration.jwks),
        Err(error) => {
            let which = error.index.map_or_else(String::new, |index| format!("keys[{index}]: "));
            Err(data(format!("{which}{error}")).hint("expected public keys: a JWK, or a JWK set {\"keys\": [ … ]}"))
        }
    }
}

fn list(id: &ClientId, client: &Value, output: Output) -> Result<(), Failure> {
    if output.json {
        return output.json(&json!({ "keys": keys(client) }));
    }
    let table = table(client);
    if table.is_empty() {
        output.note(format!("no keys; `edi client keygen {id}` makes a pair"));
        return Ok(());
    }
    output.line(table.render(output))
}

async fn remove(it: Remove, output: Output) -> Result<(), Failure> {
    confirm(&format!("Take key {} from {}? What it signs stops working at once.", it.kid, it.id), it.yes)?;
    let mut api = Api::new(&it.api, WRITE)?;
    let path = ["clients", it.id.as_str()];
    let (client, etag) = api.get_versioned(&path).await?;
    let before = keys(&client);
    let left: Vec<&Value> = before.iter().filter(|key| client_keys::name(key) != it.kid).collect();
    if left.len() == before.len() {
        return Err(Failure::new(Exit::Failed, format!("{} has no such key", it.id))
            .hint(format!("`edi client key list {}` shows the names", it.id)));
    }
    if left.is_empty() {
        return Err(Failure::new(Exit::Failed, format!("this is the only key of {}; nothing was changed", it.id))
            .hint(format!(
                "give it another first (`edi client keygen {0}`), or keep it out: `edi client disable {0}`",
                it.id
            )));
    }
    let client = api.patch(&path, &json!({ "jwks": { "keys": left } }), etag.as_deref()).await?;
    done(&client, &format!("key {} of {} no longer works", it.kid, it.id), output)
}

fn done(client: &Value, text: &str, output: Output) -> Result<(), Failure> {
    if output.json { output.json(client) } else { output.line(format!("{} {text}", output.good("ok"))) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(text: &str) -> Result<Value, Failure> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        read_jwks(file.path())
    }

    const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn one_key_or_a_set_is_read() {
        let one = read(KEY).unwrap();
        assert_eq!(one["keys"][0]["alg"], "EdDSA");
        assert_eq!(read(&format!(r#"{{"keys":[{KEY}]}}"#)).unwrap(), one);
    }

    #[test]
    fn a_private_key_never_leaves_and_is_never_shown() {
        let private = KEY.replace('}', r#","d":"hunter2"}"#);
        for text in [&private, &format!(r#"{{"keys":[{KEY},{private}]}}"#), r#"{"hunter2""#, "hunter2"] {
            let failure = read(text).unwrap_err();
            assert_eq!(failure.exit, Exit::Data);
            assert!(!failure.to_string().contains("hunter2"), "{failure}");
        }
        assert!(read(&private).unwrap_err().message.contains("private"));
        assert_eq!(read_jwks(Path::new("/nonexistent/keys")).unwrap_err().exit, Exit::Data);
    }
}
