//! `edi apply` and `edi diff`: files as truth.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::api::{Api, ApiFlags};
use super::files::carry::{self, Done};
use super::files::document::Kind;
use super::files::plan::{self, Action, Change, Plan};
use super::files::secret_files::{Format, SecretFiles};
use super::files::{self, show};
use super::input::confirm;
use super::{Exit, Failure, Output};

const LOOK: [&str; 3] = ["edi:read", "edi:clients edi:deployments", "edi:admin"];

const FIELDS: &str = "\
Documents (YAML, several in a file with --- between them):
  kind: Client              kind: Deployment
  client_id: fraud-caller   id: fraud
  client_name: …            role: fraud-scoring          [kept]
  roles: […]        [kept]  hosts: [fraud.models.example.com]
  admin_scopes: […]         paths: [/model/fraud]
  audiences: […]            audience: …
  access_token_lifetime: 600
  access_token_signing_alg: ES256
  token_endpoint_auth_method: client_secret_basic  [kept]
  jwks: {keys: […]} [kept]
  assertion_audience: issuer  [kept]
  state: enabled    [kept]

What a document leaves out is empty or the default, but for what is [kept] as it is (or chosen by edi when it is made): so
the next run in a pipeline does not let in whom an emergency kept out. Clients and deployments that no file names are left
alone without --prune, and with it too when the files name none of their kind. Anchors, aliases and tags are refused.

";

/// Make clients, deployments and grants match YAML files.
///
/// Shows the difference first and asks; a second run finds no changes. Every problem of every file is told at once,
/// with file and line, and nothing is changed then. What somebody else changed meanwhile is never overwritten.
///
/// A new client's secret is never printed: it goes to a file of mode 0600 in --secrets-dir. A run that breaks off
/// between making a client and writing its secret leaves a note there, and the next run gives the client another one.
#[derive(Debug, ClapArgs)]
#[command(after_help = format!("{FIELDS}{EXAMPLES}"))]
pub(super) struct Args {
    #[command(flatten)]
    files: Files,
    /// Delete what no file names, of the kinds that the files name; never the operator who runs this, nor the last with
    /// edi:admin
    #[arg(long)]
    prune: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Show the difference, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    secrets: Secrets,
    #[command(flatten)]
    api: ApiFlags,
}

const EXAMPLES: &str = "\
Examples:
  edi dump -o edi.d                       # begin with what is there
  edi diff -f edi.d                       # in a pull request
  edi apply -f edi.d --secrets-dir secrets
  edi apply -f edi.d --prune --yes --secrets-dir out --secrets-format kubernetes --secrets-namespace models
  kubectl apply -f out/                   # and then delete it

Exit codes: 0 done or nothing to do, 1 stopped on the way (run it again), 2 nobody is there to ask, 65 the files have
problems, 69 no answer, 77 not permitted";

/// Show how what is registered differs from YAML files.
///
/// Changes nothing. Exit code 0: no difference. 1: there is one. Above 1: it could not be told.
#[derive(Debug, ClapArgs)]
#[command(after_help = format!("{FIELDS}Examples:\n  edi diff -f edi.d\n  edi diff -f edi.d --prune --json | jq '.changes[] | select(.ends_tokens)'"))]
pub(super) struct DiffArgs {
    #[command(flatten)]
    files: Files,
    /// Count what no file names as to be deleted
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, ClapArgs)]
struct Files {
    /// A YAML file, a folder of them with the folders in it, or - for standard input; repeatable
    #[arg(long = "filename", short = 'f', value_name = "FILE|DIR|-", required = true, allow_hyphen_values = true)]
    files: Vec<PathBuf>,
}

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "New secrets")]
struct Secrets {
    /// Where secrets of new clients go, one file a client, mode 0600
    #[arg(long = "secrets-dir", value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What these files look like
    #[arg(long = "secrets-format", value_name = "FORMAT", default_value = "json")]
    format: Format,
    /// The namespace of Kubernetes Secrets
    #[arg(long = "secrets-namespace", value_name = "NAME")]
    namespace: Option<String>,
    /// The name of Kubernetes Secrets, with {client_id} in it
    #[arg(long = "secrets-name", value_name = "TEMPLATE", default_value = "edi-{client_id}", value_parser = template)]
    name: String,
}

fn template(text: &str) -> Result<String, &'static str> {
    text.contains("{client_id}").then(|| text.to_owned()).ok_or("write {client_id} where the client's id goes")
}

impl Secrets {
    fn files(&self, api: &Api) -> Option<SecretFiles> {
        Some(SecretFiles {
            folder: self.dir.clone()?,
            format: self.format,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            issuer: api.issuer().as_str().to_owned(),
            token_endpoint: api.issuer().endpoint("/oauth2/token"),
            admin: api.server().to_owned(),
        })
    }
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let documents = files::read(&args.files.files)?;
    let mut api = Api::new(&args.api, &[])?.wanting(&LOOK);
    let mut plan = plan::look(&mut api, &documents, args.prune).await?;
    let secrets = args.secrets.files(&api);
    if let Some(secrets) = &secrets {
        remake_lost(&mut plan, secrets, &documents, &mut api).await?;
    }
    if !output.json {
        output.line(show::text(&plan, output))?;
        plan.notes.iter().for_each(|note| output.note(format!("note: {note}")));
    }
    if plan.changes.is_empty() || args.dry_run {
        return if output.json { output.json(&outcome(&plan, &[], args.dry_run)) } else { Ok(()) };
    }
    let new = carry::new_secrets(&plan);
    if let (false, None) = (new.is_empty(), &secrets) {
        let clients = new.iter().take(5).copied().collect::<Vec<_>>().join(", ");
        return Err(Failure::new(
            Exit::Usage,
            format!("{} new secrets need a place to go ({clients}); nothing was changed", new.len()),
        )
        .hint("name a folder with --secrets-dir: one file a client, mode 0600"));
    }
    confirm(&format!("Do this ({})?", show::summary(&plan)), args.yes)?;
    api.go_on_with(carry::scopes(&plan)).await?;
    if let Some(secrets) = &secrets {
        secrets.prepare(&new)?;
    }
    let mut done = Vec::new();
    let carried = carry::out(&mut api, &plan, secrets.as_ref(), output, &mut done).await;
    if output.json {
        output.json(&outcome(&plan, &done, false))?;
    }
    carried
}

/// Does it.
pub(super) async fn diff(args: DiffArgs, output: Output) -> Result<(), Failure> {
    // 1 says that there is a difference, so nothing else may.
    let trouble = |failure: Failure| match failure.exit {
        Exit::Failed => Failure { exit: Exit::Usage, ..failure },
        _ => failure,
    };
    let documents = files::read(&args.files.files).map_err(trouble)?;
    let mut api = Api::new(&args.api, &[]).map_err(trouble)?.wanting(&LOOK);
    let plan = plan::look(&mut api, &documents, args.prune).await.map_err(trouble)?;
    if output.json {
        output.json(&show::json(&plan))?;
    } else {
        output.line(show::text(&plan, output))?;
        plan.notes.iter().for_each(|note| output.note(format!("note: {note}")));
    }
    if plan.changes.is_empty() { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
}

/// Adds what an earlier run lost to the plan.
async fn remake_lost(
    plan: &mut Plan,
    secrets: &SecretFiles,
    documents: &[files::document::Document],
    api: &mut Api,
) -> Result<(), Failure> {
    for id in secrets.lost()? {
        let known = |change: &Change| change.kind == Kind::Client && change.id == id && change.action == Action::Create;
        let named = documents.iter().any(|document| document.kind == Kind::Client && document.id == id);
        if plan.changes.iter().any(known) || !named {
            continue;
        }
        let client = api.get(&["clients", &id]).await?;
        let rights = !super::view::list(&client, "admin_scopes").is_empty();
        plan.unchanged = plan.unchanged.saturating_sub(1);
        plan.changes.push(Change {
            kind: Kind::Client,
            id,
            action: Action::Remake,
            origin: None,
            fields: Vec::new(),
            etag: None,
            touches_rights: rights,
        });
    }
    Ok(())
}

fn outcome(plan: &Plan, done: &[Done], dry_run: bool) -> Value {
    let mut out = show::json(plan);
    if let Some(changes) = out.get_mut("changes").and_then(Value::as_array_mut) {
        for (n, change) in changes.iter_mut().enumerate() {
            let done = done.iter().find(|done| done.change == n);
            if let Some(members) = change.as_object_mut() {
                members.insert("done".into(), done.is_some().into());
                if let Some(file) = done.and_then(|done| done.secret.clone()) {
                    members.insert("secret_file".into(), file.into());
                }
            }
        }
    }
    out.insert("dry_run".into(), json!(dry_run));
    out.into()
}
