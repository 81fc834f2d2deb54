//! `edi login`, `edi logout`, `edi whoami`: named operators, so that the audit says who.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::api::{Api, ApiFlags};
use super::credentials::Credentials;
use super::input::secret_from_person;
use super::session::{self, Session};
use super::table::facts;
use super::{Exit, Failure, Output, issuer, view};
use crate::ambient::{Clock as _, SystemClock};
use crate::config::{Issuer, span};
use crate::model::id::ClientId;
use crate::model::scope::AdminScope;
use crate::model::time::Timestamp;
use crate::secret::Secret;

/// What a login asks for when it is not told, all that the operator holds of it: the rights that the admin API knows.
const USEFUL: [AdminScope; 6] = [
    AdminScope::Read,
    AdminScope::Clients,
    AdminScope::Deployments,
    AdminScope::Keys,
    AdminScope::Revocations,
    AdminScope::Audit,
];

/// Log in as an operator by name; later commands act as they do until the token ends.
///
/// The secret is asked for without showing it, or read from standard input, and not kept. What is kept is a short-lived
/// token, in a file of mode 0600 below $XDG_STATE_HOME (~/.local/state), one for each server.
///
/// A credentials file that is named (EDI_CREDENTIALS, --credentials) wins over a login, and a login over keys/operator.json.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  edi client create alice --scope edi:read --scope edi:clients     # once, by an operator with edi:admin
  edi login --client-id alice --issuer https://edi.example.com --server https://edi-admin.example.com
  edi login                                                        # again, when it has ended
  pass edi/alice | edi login --client-id alice --scope edi:read
  edi login --credentials alice.json")]
pub(super) struct Args {
    /// Who [default: who logged in last]
    #[arg(long, value_name = "ID")]
    client_id: Option<ClientId>,
    /// Who issues the token: the text that `iss` carries [default: that of the last login]
    #[arg(long, value_name = "URL", env = "EDI_ISSUER", hide_env_values = true)]
    issuer: Option<Issuer>,
    /// The admin API's URL [default: that of the last login]
    #[arg(long, value_name = "URL", env = "EDI_SERVER", hide_env_values = true)]
    server: Option<String>,
    /// Take all of this from a credentials file, the secret included
    #[arg(long, value_name = "FILE", conflicts_with_all = ["client_id", "issuer"])]
    credentials: Option<PathBuf>,
    /// A right to ask for; repeatable [default: all that the operator holds]
    #[arg(long = "scope", value_name = "edi:SCOPE")]
    scopes: Vec<AdminScope>,
}

/// Forget a login, and revoke its token where it has the right to.
#[derive(Debug, ClapArgs)]
pub(super) struct LogoutArgs {
    /// The admin API's URL [default: that of the last login]
    #[arg(long, value_name = "URL", env = "EDI_SERVER", hide_env_values = true)]
    server: Option<String>,
}

/// Who the command line is: which operator, at which server, by what, and until when.
#[derive(Debug, ClapArgs)]
pub(super) struct WhoamiArgs {
    #[command(flatten)]
    api: ApiFlags,
}

fn folder() -> Result<PathBuf, Failure> {
    session::folder().ok_or_else(|| {
        Failure::new(Exit::Usage, "there is nowhere to keep a login: neither HOME nor XDG_STATE_HOME is set")
            .hint("set XDG_STATE_HOME to a folder of your own, or use EDI_CREDENTIALS")
    })
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let folder = folder()?;
    let given = given(&args, &folder)?;
    let Credentials { issuer, admin, client_id, client_secret, .. } = &given;
    let (scope, answer) = token(issuer, client_id, client_secret, &args.scopes).await?;
    let seconds = answer.get("expires_in").and_then(Value::as_u64).unwrap_or_default();
    let mut session = Session {
        issuer: issuer.clone(),
        admin: admin.clone(),
        client_id: client_id.clone(),
        scope,
        token: Secret::new(view::text(&answer, "access_token")),
        expires_at: SystemClock.now().plus(std::time::Duration::from_secs(seconds)),
        path: PathBuf::new(),
    };
    session.keep(&folder)?;
    if std::env::var_os("EDI_CREDENTIALS").is_some() {
        output.note("note: EDI_CREDENTIALS is set and wins over this login: `unset EDI_CREDENTIALS`");
    }
    if output.json {
        return output.json(&shown(&session));
    }
    output.line(format!(
        "{} logged in at {} as {}, for {} (until {})",
        output.good("ok"),
        session.admin,
        session.client_id,
        span(std::time::Duration::from_secs(seconds)),
        session.expires_at
    ))?;
    output.line(facts(&[("scopes", session.scope.replace(' ', ", ")), ("kept in", session.path.display().to_string())]))
}

/// Who logs in where, and their secret.
fn given(args: &Args, folder: &std::path::Path) -> Result<Credentials, Failure> {
    if let Some(path) = &args.credentials {
        let mut given = Credentials::read(Some(path))?;
        if let Some(server) = &args.server {
            server.trim_end_matches('/').clone_into(&mut given.admin);
        }
        return Ok(given);
    }
    // One that cannot be used any more still says who and where.
    let last = Session::find(folder, args.server.as_deref())?.or(Session::find(folder, None)?);
    let missing = |what: &str| {
        Failure::new(Exit::Usage, format!("there was no login before that would say {what}"))
            .hint("edi login --client-id NAME --issuer URL --server URL, or --credentials FILE")
    };
    let issuer = args.issuer.clone().or(last.as_ref().map(|last| last.issuer.clone()));
    let issuer = issuer.ok_or_else(|| missing("who issues tokens"))?;
    let admin = args.server.clone().or(last.as_ref().map(|last| last.admin.clone()));
    let admin = admin.ok_or_else(|| missing("where the admin API is"))?;
    let client_id = args.client_id.as_ref().map(ToString::to_string).or(last.map(|last| last.client_id));
    let client_id = client_id.ok_or_else(|| missing("who you are"))?;
    let client_secret = secret_from_person(&format!("secret of {client_id} at {issuer}"))?;
    let admin = admin.trim_end_matches('/').to_owned();
    Ok(Credentials { issuer, admin, client_id, client_secret, path: PathBuf::new() })
}

/// A token with what is asked for, or else with all that the operator holds.
async fn token(
    issuer: &Issuer,
    client_id: &str,
    secret: &Secret,
    scopes: &[AdminScope],
) -> Result<(String, Value), Failure> {
    let endpoint = issuer.endpoint("/oauth2/token");
    let ask = async |scope: &str| {
        issuer::token(issuer, &endpoint, client_id, &issuer::Proof::Secret(secret), &[("scope", scope)]).await
    };
    let names = |scopes: &[AdminScope]| scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let wanted = if scopes.is_empty() { AdminScope::Admin.to_string() } else { names(scopes) };
    match ask(&wanted).await {
        Ok(answer) => return Ok((wanted, answer)),
        Err(refusal) if refusal.code == "invalid_scope" && scopes.is_empty() => {}
        Err(refusal) => return Err(refusal.failure),
    }
    let mut held = Vec::new();
    for scope in USEFUL {
        match ask(scope.name()).await {
            Ok(_) => held.push(scope),
            Err(refusal) if refusal.code == "invalid_scope" => {}
            Err(refusal) => return Err(refusal.failure),
        }
    }
    if held.is_empty() {
        return Err(Failure::new(Exit::Denied, format!("{client_id} has no right over edi: it is no operator")).hint(
            format!("an operator with edi:admin grants one: `edi client update {client_id} --add-scope edi:read`"),
        ));
    }
    let wanted = names(&held);
    ask(&wanted).await.map(|answer| (wanted, answer)).map_err(|refusal| refusal.failure)
}

/// Does it.
pub(super) async fn logout(args: LogoutArgs, output: Output) -> Result<(), Failure> {
    let folder = folder()?;
    let found = Session::find(&folder, args.server.as_deref());
    if let Err(unusable) = &found {
        // What cannot be read cannot be revoked; that it is gone is what was asked for.
        let path = Session::discard(&folder, args.server.as_deref())?;
        output.note(format!("note: {}", unusable.message));
        let path = path.display().to_string();
        if output.json {
            return output.json(&json!({ "removed": path, "revoked": false }));
        }
        return output.line(format!("{} {path} is removed; its token was not revoked", output.good("ok")));
    }
    let Some(session) = found? else {
        return Err(Failure::new(Exit::Failed, "nobody is logged in").hint("`edi whoami` says who the command line is"));
    };
    let holds = |wanted: AdminScope| {
        let held = session.scope.split(' ').filter_map(|name| name.parse::<AdminScope>().ok());
        held.into_iter().any(|scope| scope.includes(wanted))
    };
    let revoked = if holds(AdminScope::Revocations) && session.expires_at > SystemClock.now() {
        let body = json!({ "kind": "token", "token": session.token.expose(), "reason": "logout" });
        match Session::find(&folder, Some(&session.admin))? {
            Some(login) => Api::of_login(login)?.post(&["revocations"], &body).await.is_ok(),
            None => false,
        }
    } else {
        false
    };
    session.forget(&folder)?;
    if output.json {
        return output.json(&json!({ "client_id": session.client_id, "server": session.admin, "revoked": revoked }));
    }
    let token =
        if revoked { "its token is revoked".to_owned() } else { format!("its token ends at {}", session.expires_at) };
    output.line(format!("{} {} is logged out of {}; {token}", output.good("ok"), session.client_id, session.admin))
}

/// Does it.
pub(super) async fn whoami(args: WhoamiArgs, output: Output) -> Result<(), Failure> {
    let mut api = Api::new(&args.api, &[])?.wanting(&["edi:read", "edi:clients", "edi:admin"]);
    let own = api.client_id().to_owned();
    let known = api.get(&["clients", &own]).await;
    // A right to less than clients is no reason not to say who it is.
    let known = match known {
        Err(failure) if !matches!(api.last_status(), 403 | 404) && api.last_status() != 0 => return Err(failure),
        Err(failure) if failure.exit == Exit::Unavailable => return Err(failure),
        other => other.unwrap_or_default(),
    };
    let mut out = json!({
        "client_id": own, "issuer": api.issuer().as_str(), "server": api.server(),
        "client_name": known.get("client_name"), "admin_scopes": known.get("admin_scopes"),
    });
    let (by, until) = api.by();
    if let Some(members) = out.as_object_mut() {
        members.insert("by".into(), by.as_str().into());
        if let Some((scope, until)) = &until {
            members.insert("scope".into(), scope.as_str().into());
            members.insert("expires_at".into(), until.rfc3339().into());
        }
        members.retain(|_, value| !value.is_null());
    }
    if output.json {
        return output.json(&out);
    }
    let ends = |until: Timestamp| format!("{until}, in {}", span(until.since(SystemClock.now())));
    let mut rows = vec![
        ("operator", own),
        ("name", view::text(&out, "client_name")),
        ("server", view::text(&out, "server")),
        ("issuer", view::text(&out, "issuer")),
        ("by", by),
        ("may", view::text(&out, "admin_scopes")),
    ];
    if let Some((scope, until)) = until {
        rows.push(("token for", scope.replace(' ', ", ")));
        rows.push(("ends", ends(until)));
    }
    rows.retain(|(_, value)| !value.is_empty());
    output.line(facts(&rows))
}

fn shown(session: &Session) -> Value {
    json!({
        "client_id": session.client_id, "server": session.admin, "issuer": session.issuer.as_str(),
        "scope": session.scope, "expires_at": session.expires_at.rfc3339(), "kept_in": session.path.display().to_string(),
    })
}
