//! Makes a plan so, change by change, each on condition of the version it was made for. What is done is told as it is
//! done, so that whoever stops it knows where it stopped; running it again goes on from there.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::document::Kind;
use super::plan::{Action, Change, KEYS, Plan};
use super::secret_files::SecretFiles;
use crate::cli::api::Api;
use crate::cli::output::{Output, Progress};
use crate::cli::{Failure, view};
use crate::model::scope::AdminScope;
use crate::model::time::Timestamp;
use crate::secret::Secret;

/// What a secret is called that took a lost one's place.
const REMADE: &str = "edi apply, again";

/// Whether the plan makes secrets that have to be kept somewhere.
pub(in crate::cli) fn new_secrets(plan: &Plan) -> Vec<&str> {
    let makes = |change: &&Change| {
        change.kind == Kind::Client
            && change.action == Action::Create
            && change.to("token_endpoint_auth_method").is_none_or(|method| method != KEYS)
    };
    plan.changes.iter().filter(makes).map(|change| change.id.as_str()).collect()
}

/// The admin scopes that the plan takes.
pub(in crate::cli) fn scopes(plan: &Plan) -> Vec<String> {
    if plan.changes.iter().any(|change| change.touches_rights) {
        return vec![AdminScope::Admin.to_string()];
    }
    let wanted =
        |kind, scope: AdminScope| plan.changes.iter().any(|change| change.kind == kind).then(|| scope.to_string());
    let scopes = [wanted(Kind::Client, AdminScope::Clients), wanted(Kind::Deployment, AdminScope::Deployments)];
    let narrow = scopes.into_iter().flatten().collect::<Vec<_>>().join(" ");
    vec![narrow, AdminScope::Admin.to_string()]
}

/// What became of a change.
#[derive(Debug)]
pub(in crate::cli) struct Done {
    /// Which, by its place in the plan.
    pub(in crate::cli) change: usize,
    /// Where its new secret is.
    pub(in crate::cli) secret: Option<String>,
}

/// Carries the plan out. What is done so far is in `done`, whatever comes of it.
///
/// # Errors
/// Those of the admin API and of the files; the changes before it stand.
pub(in crate::cli) async fn out(
    api: &mut Api,
    plan: &Plan,
    files: Option<&SecretFiles>,
    output: Output,
    done: &mut Vec<Done>,
) -> Result<(), Failure> {
    let mut progress = Progress::start(plan.changes.len(), "changes");
    let mut left: Vec<usize> = (0..plan.changes.len()).collect();
    // Deployments that move to each other's places: one that finds its place taken waits for the others.
    while !left.is_empty() {
        let mut later = Vec::new();
        let mut refused = None;
        let before = left.len();
        for n in left {
            let Some(change) = plan.changes.get(n) else { continue };
            match one(api, change, files).await {
                Ok(secret) => {
                    done.push(Done { change: n, secret: secret.clone() });
                    progress.clear();
                    tell(change, secret.as_deref(), output)?;
                    progress.at(done.len());
                }
                // A place that is taken may become free.
                Err(failure) if change.kind == Kind::Deployment && api.last_status() == 409 => {
                    refused.get_or_insert(failure);
                    later.push(n);
                }
                Err(failure) => return Err(stopped(failure, change, done.len(), plan)),
            }
        }
        if let (Some(refused), true) = (refused, later.len() == before) {
            let change = later.first().and_then(|n| plan.changes.get(*n));
            return Err(
                change.map_or_else(|| refused.clone(), |change| stopped(refused.clone(), change, done.len(), plan))
            );
        }
        left = later;
    }
    progress.clear();
    Ok(())
}

fn stopped(failure: Failure, change: &Change, done: usize, plan: &Plan) -> Failure {
    let message = format!(
        "{} {}: {}\n  done before it: {done} of {} changes",
        change.kind,
        change.id,
        failure.message,
        plan.changes.len()
    );
    let hint = failure.hint.map(|hint| format!("{hint}; then run it again: it goes on where it stopped"));
    Failure { message, hint: hint.or_else(|| Some("run it again: it goes on where it stopped".into())), ..failure }
}

fn tell(change: &Change, secret: Option<&str>, output: Output) -> Result<(), Failure> {
    if output.json {
        return Ok(());
    }
    let what = match change.action {
        Action::Create => "is registered",
        Action::Update => "is changed",
        Action::Delete => "is deleted",
        Action::Remake => "has another secret",
    };
    let secret = secret.map(|path| format!("; its secret is in {path}")).unwrap_or_default();
    output.line(format!("{} {} {} {what}{secret}", output.good("ok"), change.kind, change.id))
}

async fn one(api: &mut Api, change: &Change, files: Option<&SecretFiles>) -> Result<Option<String>, Failure> {
    let path = [change.kind.collection(), change.id.as_str()];
    match change.action {
        Action::Delete => api.delete_if(&path, change.etag.as_deref()).await.map(|()| None),
        Action::Update => api.patch(&path, &change.body().into(), change.etag.as_deref()).await.map(|_| None),
        Action::Create if change.kind == Kind::Deployment => {
            api.post(&["deployments"], &change.body().into()).await.map(|_| None)
        }
        Action::Create => create_client(api, change, files).await,
        Action::Remake => remake(api, change, files).await,
    }
}

async fn create_client(api: &mut Api, change: &Change, files: Option<&SecretFiles>) -> Result<Option<String>, Failure> {
    let mut body = change.body();
    // A new client is enabled; one that shall not be is disabled before anybody has its secret.
    let disabled = body.remove("state").is_some();
    let place = files.map(|files| files.reserve(&change.id)).transpose()?;
    let made = match api.post(&["clients"], &body.into()).await {
        Ok(made) => made,
        Err(failure) => {
            // A refusal means that nothing was made. Whatever else it was, something may have been: the note stays.
            if let (Some(place), 400..=499) = (place, api.last_status()) {
                place.forget()?;
            }
            return Err(failure);
        }
    };
    if disabled {
        api.patch(&["clients", &change.id], &json!({ "state": "disabled" }), None).await?;
    }
    keep(files.zip(place), change, &made)
}

/// Keeps the secret that an answer shows this once.
fn keep(
    place: Option<(&SecretFiles, super::secret_files::Reserved)>,
    change: &Change,
    made: &Value,
) -> Result<Option<String>, Failure> {
    let secret = made.get("client_secret").and_then(Value::as_str).map(|text| Secret::new(text.to_owned()));
    match (place, secret) {
        (Some((files, place)), Some(secret)) => {
            let file = files.keep(place, &change.id, &secret, change.touches_rights)?;
            Ok(Some(file.display().to_string()))
        }
        (Some((_, place)), None) => place.forget().map(|()| None),
        (None, _) => Ok(None),
    }
}

/// Gives a client another secret in place of one that was lost. Another break on the way changes nothing: the note is
/// still there, and what the earlier tries made goes first.
async fn remake(api: &mut Api, change: &Change, files: Option<&SecretFiles>) -> Result<Option<String>, Failure> {
    let Some(files) = files else { return Ok(None) };
    let place = files.reserve(&change.id)?;
    let path = ["clients", change.id.as_str()];
    let client = api.get(&path).await?;
    let secrets: Vec<&Value> = client.get("secrets").and_then(Value::as_array).into_iter().flatten().collect();
    // The lost one came with the client.
    let instant = |value: &Value| Timestamp::parse_rfc3339(&view::text(value, "created_at"));
    let first = |secret: &&&Value| match (instant(secret), instant(&client)) {
        (Some(made), Some(born)) => made.since(born).as_secs() <= 2,
        _ => false,
    };
    let remade = |secret: &&&Value| view::text(secret, "name") == REMADE;
    let id = |secret: &&Value| view::text(secret, "id");
    let again: BTreeSet<String> = secrets.iter().filter(remade).map(id).collect();
    let lost: BTreeSet<String> = secrets.iter().filter(first).map(id).filter(|id| !again.contains(id)).collect();
    for secret in &again {
        api.delete(&["clients", &change.id, "secrets", secret]).await?;
    }
    let made = api.post(&["clients", &change.id, "secrets"], &json!({ "name": REMADE })).await?;
    let kept = keep(Some((files, place)), change, &made)?;
    for secret in &lost {
        api.delete(&["clients", &change.id, "secrets", secret]).await?;
    }
    Ok(kept)
}
