//! `edi client`: registered services.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::api::{Api, ApiFlags, Needs};
use super::client_keygen::{self, Keygen};
use super::client_whose::{self, Whose};
use super::input::{confirm, confirm_on_terminal, secret_from_stdin};
use super::output::printable;
use super::set::Change;
use super::table::{Table, facts};
use super::{Exit, Failure, Output, parse, view};
use super::{client_key, client_secret};
use crate::model::algorithm::Algorithm;
use crate::model::id::ClientId;
use crate::model::scope::{AdminScope, Role};

pub(super) const READ: Needs = &[AdminScope::Read, AdminScope::Clients];
pub(super) const WRITE: Needs = &[AdminScope::Clients];

/// Registered services: who may ask for tokens, and for which roles.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register a client; prints its secret once
    Create(Create),
    /// All clients
    #[command(visible_alias = "ls")]
    List(List),
    /// One client with its secrets' names, never the secrets
    Show(One),
    /// Change a client; taking a role away revokes its tokens that hold it
    Update(Box<Update>),
    /// Let a disabled client in again
    Enable(One),
    /// Keep a client out and revoke its tokens
    Disable(Ending),
    /// Remove a client and revoke its tokens
    #[command(visible_alias = "rm")]
    Delete(Ending),
    #[command(alias = "secrets")]
    Secret(client_secret::Args),
    #[command(alias = "keys")]
    Key(client_key::Args),
    /// Make a key pair for a client that signs assertions; the private half stays here
    Keygen(Box<Keygen>),
    /// Whose is a leaked secret or token, and does it work?
    Whose(Whose),
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  edi client create fraud-caller --role fraud
  edi client create gateway --scope edi:introspect --json
  edi client create old-service --role fraud --secret-stdin < secret.txt
  edi client create modern-service --role fraud --auth-method private_key_jwt --jwks public.json")]
struct Create {
    /// The client id: a letter or digit, then letters, digits, dots, underscores, hyphens
    id: ClientId,
    /// A name for people
    #[arg(long)]
    name: Option<String>,
    /// A role it may ask for; repeatable [default: the configured default role]
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Role>,
    /// A right over edi itself, such as edi:introspect; repeatable
    #[arg(long = "scope", value_name = "edi:SCOPE")]
    scopes: Vec<AdminScope>,
    /// An audience it may name beside those of its roles' deployments; repeatable
    #[arg(long = "audience", value_parser = parse::audience)]
    audiences: Vec<String>,
    /// Lifetime of its tokens, such as 10m [default: tokens.ttl]
    #[arg(long, value_name = "DURATION", value_parser = parse::lifetime)]
    lifetime: Option<u32>,
    /// The one way it proves itself [default: a secret, by Basic or in the form]
    #[arg(long, value_name = "METHOD")]
    auth_method: Option<AuthMethod>,
    /// Its public keys, a JWK or JWK set, for private_key_jwt; -: from standard input
    #[arg(long, value_name = "FILE", conflicts_with = "secret_stdin")]
    jwks: Option<PathBuf>,
    /// What its assertions are addressed to
    #[arg(long, value_name = "WHAT", requires = "jwks")]
    assertion_audience: Option<AssertionAudience>,
    /// The algorithm its tokens are signed with [default: the first of keys.algorithms]
    #[arg(long)]
    alg: Option<Algorithm>,
    /// Take the secret, or its PHC string, from standard input instead of making one
    #[arg(long)]
    secret_stdin: bool,
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AuthMethod {
    /// A secret, by HTTP Basic
    #[value(alias = "client_secret_basic")]
    Basic,
    /// A secret, in the form
    #[value(alias = "client_secret_post")]
    Post,
    /// Assertions signed with its own key
    #[value(name = "private_key_jwt", alias = "private-key-jwt")]
    PrivateKeyJwt,
}

/// What a client's assertions are addressed to.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum AssertionAudience {
    /// The issuer
    Issuer,
    /// The token endpoint's URL, as older libraries do
    #[value(name = "token_endpoint", alias = "token-endpoint")]
    TokenEndpoint,
}

impl AssertionAudience {
    const fn name(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::TokenEndpoint => "token_endpoint",
        }
    }
}

impl AuthMethod {
    const fn name(self) -> &'static str {
        match self {
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
        }
    }
}

#[derive(Debug, ClapArgs)]
struct List {
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, ClapArgs)]
struct One {
    /// The client id
    id: ClientId,
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, ClapArgs)]
struct Ending {
    /// The client id
    id: ClientId,
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
struct Update {
    /// The client id
    id: ClientId,
    /// A name for people; empty: none
    #[arg(long)]
    name: Option<String>,
    /// The roles it may ask for, instead of those it has; repeatable
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Role>,
    /// One more role; repeatable
    #[arg(long = "add-role", value_name = "ROLE", conflicts_with = "roles")]
    add_roles: Vec<Role>,
    /// One role less; repeatable
    #[arg(long = "remove-role", value_name = "ROLE", conflicts_with = "roles")]
    remove_roles: Vec<Role>,
    /// Its rights over edi, instead of those it has; repeatable
    #[arg(long = "scope", value_name = "edi:SCOPE")]
    scopes: Vec<AdminScope>,
    /// One more right; repeatable
    #[arg(long = "add-scope", value_name = "edi:SCOPE", conflicts_with = "scopes")]
    add_scopes: Vec<AdminScope>,
    /// One right less; repeatable
    #[arg(long = "remove-scope", value_name = "edi:SCOPE", conflicts_with = "scopes")]
    remove_scopes: Vec<AdminScope>,
    /// The audiences it may name, instead of those it has; repeatable
    #[arg(long = "audience", value_parser = parse::audience)]
    audiences: Vec<String>,
    /// One more audience; repeatable
    #[arg(long = "add-audience", value_name = "AUDIENCE", value_parser = parse::audience, conflicts_with = "audiences")]
    add_audiences: Vec<String>,
    /// One audience less; repeatable
    #[arg(long = "remove-audience", value_name = "AUDIENCE", conflicts_with = "audiences")]
    remove_audiences: Vec<String>,
    /// The one way it proves itself
    #[arg(long, value_name = "METHOD")]
    auth_method: Option<AuthMethod>,
    /// Its public keys instead of those it has, a JWK or JWK set; -: from standard input
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// What its assertions are addressed to
    #[arg(long, value_name = "WHAT")]
    assertion_audience: Option<AssertionAudience>,
    /// With --jwks, for a client of secrets: they all stop working at once
    #[arg(long, requires = "jwks")]
    remove_secrets: bool,
    /// With --auth-method basic or post, for a client of keys: they all stop working at once
    #[arg(long, requires = "auth_method", conflicts_with = "jwks")]
    remove_keys: bool,
    /// Lifetime of its tokens, such as 10m; `default`: tokens.ttl
    #[arg(long, value_name = "DURATION", value_parser = parse::or_default::<parse::Lifetime>)]
    lifetime: Option<parse::OrDefault<parse::Lifetime>>,
    /// The algorithm its tokens are signed with; `default`: the first of keys.algorithms
    #[arg(long, value_parser = parse::or_default::<Algorithm>)]
    alg: Option<parse::OrDefault<Algorithm>>,
    #[command(flatten)]
    care: Care,
    #[command(flatten)]
    api: ApiFlags,
}

/// How to go about what takes something away.
#[derive(Debug, ClapArgs)]
struct Care {
    /// Do not ask, as is done on a terminal before something is taken away
    #[arg(long, short)]
    yes: bool,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::Create(it) => create(it, output).await,
        Command::List(it) => list(&it, output).await,
        Command::Show(it) => {
            let client = Api::new(&it.api, READ)?.get(&["clients", it.id.as_str()]).await?;
            show(&client, output)
        }
        Command::Update(it) => update(*it, output).await,
        Command::Enable(it) => {
            let mut api = Api::new(&it.api, WRITE)?;
            let client = api.patch(&["clients", it.id.as_str()], &json!({ "state": "enabled" }), None).await?;
            done(&client, &format!("{} is enabled", it.id), output)
        }
        Command::Disable(it) => disable(it, output).await,
        Command::Delete(it) => delete(it, output).await,
        Command::Secret(it) => client_secret::run(it, output).await,
        Command::Key(it) => client_key::run(it, output).await,
        Command::Keygen(it) => client_keygen::run(*it, output).await,
        Command::Whose(it) => client_whose::whose(it, output).await,
    }
}

async fn create(it: Create, output: Output) -> Result<(), Failure> {
    let method = method(it.auth_method, it.jwks.is_some())?;
    if matches!(method, Some(AuthMethod::PrivateKeyJwt)) && it.jwks.is_none() {
        return Err(Failure::new(Exit::Usage, "a client of private_key_jwt is registered with its public keys")
            .hint(format!("pass --jwks FILE, or have the pair made: `edi client keygen {} --create`", it.id)));
    }
    let mut body = Map::new();
    body.insert("client_id".into(), it.id.as_str().into());
    let mut put = |key: &str, value: Option<Value>| value.map(|value| body.insert(key.into(), value));
    let some = |list: Value| Some(list).filter(|list| list.as_array().is_some_and(|items| !items.is_empty()));
    put("client_name", it.name.map(Value::from));
    put("token_endpoint_auth_method", method.map(|method| method.name().into()));
    put("jwks", it.jwks.as_deref().map(client_key::read_jwks).transpose()?);
    put("assertion_audience", it.assertion_audience.map(|audience| audience.name().into()));
    put("roles", some(json!(it.roles)));
    put("admin_scopes", some(json!(it.scopes)));
    put("audiences", some(json!(it.audiences)));
    put("access_token_lifetime", it.lifetime.map(Value::from));
    put("access_token_signing_alg", it.alg.map(|alg| alg.name().into()));
    if it.secret_stdin {
        put("client_secret", Some(secret_from_stdin("client secret")?.expose().into()));
    }
    let mut api = Api::new(&it.api, WRITE)?.also_wanting(&it.scopes);
    let client = api.post(&["clients"], &body.into()).await?;
    if output.json {
        return output.json(&client);
    }
    output.line(format!("{} client {} is registered", output.good("ok"), it.id))?;
    let secret = view::text(&client, "client_secret");
    let mut rows = vec![("client_id", it.id.to_string())];
    if !secret.is_empty() {
        rows.push(("client_secret", secret.clone()));
    }
    for (name, key) in [("roles", "roles"), ("scopes", "admin_scopes"), ("audiences", "audiences")] {
        let value = view::text(&client, key);
        if !value.is_empty() {
            rows.push((name, value));
        }
    }
    output.line(facts(&rows))?;
    // Admin scopes are never granted unasked.
    let scope = match it.scopes.first() {
        Some(scope) if view::text(&client, "roles").is_empty() => format!(" -d scope={scope}"),
        _ => String::new(),
    };
    let endpoint = format!("-d grant_type=client_credentials{scope} {}", api.issuer().endpoint("/oauth2/token"));
    if it.jwks.is_some() {
        output.note(format!("\nget a token: `edi token get --client-id {} --key FILE --issuer …`", it.id));
        output.note("or with a library: docs/clients.md");
    } else if secret.is_empty() {
        output.note(format!("\nget a token (curl asks for the secret):\n  curl -u {} {endpoint}", it.id));
    } else {
        output.note("\nThe secret is shown once: edi keeps only what it needs to check it. Get a token with it:");
        output.note(format!("  curl -u '{}:{secret}' {endpoint}", it.id));
    }
    Ok(())
}

/// Keys alone say enough; with another method they are a mistake.
fn method(named: Option<AuthMethod>, keys: bool) -> Result<Option<AuthMethod>, Failure> {
    match named {
        Some(AuthMethod::Basic | AuthMethod::Post) if keys => Err(Failure::new(
            Exit::Usage,
            "a client has a secret or keys, never both: --jwks goes with private_key_jwt",
        )),
        None if keys => Ok(Some(AuthMethod::PrivateKeyJwt)),
        named => Ok(named),
    }
}

async fn list(it: &List, output: Output) -> Result<(), Failure> {
    let clients = Api::new(&it.api, READ)?.list(&["clients"], &[]).await?;
    if output.json {
        return output.json(&clients);
    }
    let mut table = Table::new(&["CLIENT", "NAME", "STATE", "ROLES", "SCOPES", "SECRETS", "UPDATED"]);
    for client in &clients {
        let secrets = client.get("secrets").and_then(Value::as_array).map_or(0, Vec::len);
        let cell = |key| view::text(client, key);
        table.row([
            cell("client_id"),
            cell("client_name"),
            cell("state"),
            cell("roles"),
            cell("admin_scopes"),
            secrets.to_string(),
            cell("updated_at"),
        ]);
    }
    if table.is_empty() {
        output.note("no clients; register one with `edi client create ID --role ROLE`");
        return Ok(());
    }
    output.line(table.render(output))
}

fn show(client: &Value, output: Output) -> Result<(), Failure> {
    if output.json {
        return output.json(client);
    }
    let text = |key| view::text(client, key);
    let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
    output.line(facts(&[
        ("client_id", text("client_id")),
        ("name", text("client_name")),
        ("state", text("state")),
        ("roles", text("roles")),
        ("scopes", text("admin_scopes")),
        ("audiences", text("audiences")),
        ("lifetime", or(view::seconds(client, "access_token_lifetime"), "tokens.ttl")),
        ("signed with", or(text("access_token_signing_alg"), "the first of keys.algorithms")),
        ("proves itself", or(text("token_endpoint_auth_method"), "client_secret_basic or client_secret_post")),
        ("assertions to", text("assertion_audience")),
        ("created", text("created_at")),
        ("updated", text("updated_at")),
    ]))?;
    let (secrets, keys) = (client_secret::table(client), client_key::table(client));
    if !keys.is_empty() {
        output.line(format!("\n{}", keys.render(output)))?;
    }
    if secrets.is_empty() { Ok(()) } else { output.line(format!("\n{}", secrets.render(output))) }
}

fn done(client: &Value, text: &str, output: Output) -> Result<(), Failure> {
    if output.json { output.json(client) } else { output.line(format!("{} {text}", output.good("ok"))) }
}

async fn update(it: Update, output: Output) -> Result<(), Failure> {
    let path = ["clients", it.id.as_str()];
    let mut granted = it.scopes.clone();
    granted.extend(&it.add_scopes);
    let mut api = Api::new(&it.api, WRITE)?.also_wanting(&granted);
    let mut patch = Map::new();
    if let Some(name) = &it.name {
        patch.insert("client_name".into(), Some(name.as_str()).filter(|name| !name.is_empty()).into());
    }
    if let Some(lifetime) = &it.lifetime {
        patch.insert("access_token_lifetime".into(), lifetime.as_ref().map(|lifetime| lifetime.0).into());
    }
    if let Some(alg) = &it.alg {
        patch.insert("access_token_signing_alg".into(), alg.as_ref().map(|alg| alg.name()).into());
    }
    if let Some(method) = method(it.auth_method, it.jwks.is_some())? {
        patch.insert("token_endpoint_auth_method".into(), method.name().into());
    }
    if let Some(file) = &it.jwks {
        patch.insert("jwks".into(), client_key::read_jwks(file)?);
    }
    if let Some(audience) = it.assertion_audience {
        patch.insert("assertion_audience".into(), audience.name().into());
    }
    if it.remove_secrets {
        patch.insert("secrets".into(), json!([]));
    }
    if it.remove_keys {
        patch.insert("jwks".into(), Value::Null);
        patch.insert("assertion_audience".into(), Value::Null);
    }
    let roles = Change { key: "roles", set: &it.roles, add: &it.add_roles, remove: &it.remove_roles };
    let scopes = Change { key: "admin_scopes", set: &it.scopes, add: &it.add_scopes, remove: &it.remove_scopes };
    let audiences =
        Change { key: "audiences", set: &it.audiences, add: &it.add_audiences, remove: &it.remove_audiences };
    let mut etag = None;
    let mut current = Value::Null;
    if !(roles.is_empty() && scopes.is_empty() && audiences.is_empty()) {
        (current, etag) = api.get_versioned(&path).await?;
        let mut change = |key: &str, applied: Option<(Value, Vec<String>)>| {
            if let Some((list, missing)) = applied {
                patch.insert(key.into(), list);
                for item in missing {
                    output.note(format!("note: {} does not hold {item}", it.id));
                }
            }
        };
        change("roles", (!roles.is_empty()).then(|| roles.apply(&current)));
        change("admin_scopes", (!scopes.is_empty()).then(|| scopes.apply(&current)));
        change("audiences", (!audiences.is_empty()).then(|| audiences.apply(&current)));
    }
    if patch.is_empty() {
        return Err(Failure::new(Exit::Usage, "nothing to change").hint("see `edi client update --help`"));
    }
    let losses = losses(&current, &patch);
    if it.care.dry_run {
        if current.is_null() {
            current = api.get(&path).await?;
        }
        return would_change(&current, &patch, &losses, output);
    }
    if !losses.is_empty() {
        confirm_on_terminal(&format!("{}: {}?", it.id, losses.join("; ")), it.care.yes)?;
    }
    let client = api.patch(&path, &patch.into(), etag.as_deref()).await?;
    if output.json {
        return output.json(&client);
    }
    output.line(format!("{} {} is changed", output.good("ok"), it.id))?;
    show(&client, output)
}

/// What a patch takes from the client as it is, in words.
fn losses(current: &Value, patch: &Map<String, Value>) -> Vec<String> {
    let mut losses = Vec::new();
    for key in ["roles", "admin_scopes"] {
        let Some(kept) = patch.get(key).and_then(Value::as_array) else { continue };
        let gone: Vec<String> =
            view::list(current, key).into_iter().filter(|held| kept.iter().all(|kept| kept != held)).collect();
        if !gone.is_empty() {
            losses.push(format!("take {} away and revoke the tokens that hold it", printable(&gone.join(", "))));
        }
    }
    if patch.contains_key("secrets") {
        losses.push("take all its secrets away".into());
    }
    if patch.get("jwks").is_some_and(Value::is_null) {
        losses.push("take all its keys away".into());
    }
    losses
}

fn would_change(current: &Value, patch: &Map<String, Value>, losses: &[String], output: Output) -> Result<(), Failure> {
    if output.json {
        return output.json(&json!({
            "dry_run": true, "would": "update", "client": current, "changes": patch, "consequences": losses,
        }));
    }
    output.line(format!("would change {}; nothing was changed", printable(&view::text(current, "client_id"))))?;
    let shown = |value: Option<&Value>| match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().unwrap_or("…")).collect::<Vec<_>>().join(", ")
        }
        Some(Value::Object(_)) => "…".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let changes = patch
        .iter()
        .map(|(key, to)| (key.as_str(), printable(&format!("{} → {}", shown(current.get(key)), shown(Some(to))))));
    output.line(facts(&changes.collect::<Vec<_>>()))?;
    for loss in losses {
        output.line(format!("it would {loss}"))?;
    }
    Ok(())
}

async fn disable(it: Ending, output: Output) -> Result<(), Failure> {
    let path = ["clients", it.id.as_str()];
    if it.dry_run {
        let client = Api::new(&it.api, READ)?.get(&path).await?;
        return would(&client, "disable", output);
    }
    confirm(&format!("Disable {} and revoke its tokens?", it.id), it.yes)?;
    let client = Api::new(&it.api, WRITE)?.patch(&path, &json!({ "state": "disabled" }), None).await?;
    done(&client, &format!("{} is disabled, its tokens are revoked", it.id), output)
}

async fn delete(it: Ending, output: Output) -> Result<(), Failure> {
    let path = ["clients", it.id.as_str()];
    if it.dry_run {
        let client = Api::new(&it.api, READ)?.get(&path).await?;
        return would(&client, "delete", output);
    }
    confirm(&format!("Delete {} for good and revoke its tokens?", it.id), it.yes)?;
    Api::new(&it.api, WRITE)?.delete(&path).await?;
    done(
        &json!({ "client_id": it.id, "deleted": true }),
        &format!("{} is deleted, its tokens are revoked", it.id),
        output,
    )
}

fn would(client: &Value, what: &str, output: Output) -> Result<(), Failure> {
    if output.json {
        return output.json(&json!({ "dry_run": true, "would": what, "client": client }));
    }
    output.line(format!("would {what} this client and revoke its tokens; nothing was changed"))?;
    show(client, output)
}
