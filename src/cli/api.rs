//! The admin API as the commands see it: paths in, JSON out, and errors that say what to do next.

use std::path::PathBuf;

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value};
use url::Url;

use super::credentials::Credentials;
use super::exchange::{self, Answer, Lost};
use super::issuer;
use super::output::printable;
use super::session::{self, Session};
use super::{Exit, Failure};
use crate::ambient::{Clock as _, SystemClock};
use crate::model::scope::AdminScope;
use crate::model::time::Timestamp;
use crate::secret::Secret;

/// Where the admin API is and who asks.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Server")]
pub(super) struct ApiFlags {
    /// The operator's credentials; wins over a login [default: `edi login`, or else keys/operator.json]
    #[arg(long, value_name = "FILE", env = "EDI_CREDENTIALS", hide_env_values = true)]
    credentials: Option<PathBuf>,
    /// The admin API's URL [default: the one in the credentials]
    #[arg(long, value_name = "URL", env = "EDI_SERVER", hide_env_values = true)]
    server: Option<String>,
}

impl ApiFlags {
    /// The admin API that the credentials at `path` name.
    pub(super) fn of(path: PathBuf) -> Self {
        Self { credentials: Some(path), server: None }
    }
}

/// By what the command line acts.
enum Who {
    /// A file with a secret.
    Credentials(Credentials),
    /// A login, which has a token and no secret.
    Login(Session),
}

/// The admin API, as one operator.
pub(super) struct Api {
    who: Who,
    server: Url,
    token: Option<(String, Secret)>,
    /// Scopes that would do, best first: the token is asked for with the first that is granted.
    wanted: Vec<String>,
    /// The status of the last answer; 0 before it, and when nobody answered.
    last_status: u16,
    /// The path of the last request.
    asked: String,
}

/// What a command needs: any one of these, the narrowest first.
pub(super) type Needs = &'static [AdminScope];

impl Api {
    /// Finds out who asks; asks nobody yet. Credentials that are named win over a login, and a login over the
    /// credentials that are there by default.
    pub(super) fn new(flags: &ApiFlags, needs: Needs) -> Result<Self, Failure> {
        let login = match (&flags.credentials, session::folder()) {
            (None, Some(folder)) => Session::find(&folder, flags.server.as_deref())?,
            _ => None,
        };
        let who = match login {
            Some(login) => Who::Login(login),
            None => Who::Credentials(Credentials::read(flags.credentials.as_deref())?),
        };
        Self::of(who, flags.server.as_deref(), needs)
    }

    /// The admin API by a login.
    pub(super) fn of_login(login: Session) -> Result<Self, Failure> {
        Self::of(Who::Login(login), None, &[])
    }

    fn of(who: Who, server: Option<&str>, needs: Needs) -> Result<Self, Failure> {
        let own = match &who {
            Who::Credentials(credentials) => &credentials.admin,
            Who::Login(login) => &login.admin,
        };
        let server = server.unwrap_or(own);
        let url = Url::parse(server).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(server) = url else {
            return Err(Failure::new(Exit::Usage, "EDI_SERVER (--server) is no URL")
                .hint("write it as http://127.0.0.1:8081 or https://edi-admin.example.com"));
        };
        let wanted = needs.iter().map(ToString::to_string).collect();
        Ok(Self { who, server, token: None, wanted, last_status: 0, asked: String::new() })
    }

    /// Asks for these admin scopes as well: who grants a right shows that they hold it.
    pub(super) fn also_wanting(mut self, scopes: &[AdminScope]) -> Self {
        for wanted in &mut self.wanted {
            for scope in scopes.iter().map(|scope| scope.name()) {
                if !wanted.split(' ').any(|name| name == scope) {
                    wanted.push(' ');
                    wanted.push_str(scope);
                }
            }
        }
        self
    }

    /// Forgets the token: the key that signed it is revoked.
    pub(super) fn renew(&mut self) {
        self.token = None;
    }

    /// Goes on with another token: one with the first of these scopes, each several with spaces, that is granted.
    ///
    /// # Errors
    /// When none is.
    pub(super) async fn go_on_with(&mut self, scopes: Vec<String>) -> Result<(), Failure> {
        self.wanted = scopes;
        self.token = Some(self.any_token().await?);
        Ok(())
    }

    /// The same API, with a first token that holds one of these, each several with spaces.
    pub(super) fn wanting(mut self, scopes: &[&str]) -> Self {
        self.wanted = scopes.iter().map(ToString::to_string).collect();
        self
    }

    /// The client that asks.
    pub(super) fn client_id(&self) -> &str {
        match &self.who {
            Who::Credentials(credentials) => &credentials.client_id,
            Who::Login(login) => &login.client_id,
        }
    }

    /// By what it asks, in words; of a login also what it holds and when it ends.
    pub(super) fn by(&self) -> (String, Option<(String, Timestamp)>) {
        match &self.who {
            Who::Credentials(credentials) => (format!("the credentials at {}", credentials.path.display()), None),
            Who::Login(login) => {
                (format!("the login at {}", login.path.display()), Some((login.scope.clone(), login.expires_at)))
            }
        }
    }

    /// The admin API's URL, without a trailing slash.
    pub(super) fn server(&self) -> &str {
        self.server.as_str().trim_end_matches('/')
    }

    /// The status of the last answer; 0 when nobody answered.
    pub(super) const fn last_status(&self) -> u16 {
        self.last_status
    }

    /// The issuer that goes with the credentials.
    pub(super) fn issuer(&self) -> &crate::config::Issuer {
        match &self.who {
            Who::Credentials(credentials) => &credentials.issuer,
            Who::Login(login) => &login.issuer,
        }
    }

    /// Whether this client is the one that asks.
    pub(super) fn is_operator(&self, client_id: &str) -> bool {
        self.client_id() == client_id
    }

    /// Reads one thing.
    pub(super) async fn get(&mut self, path: &[&str]) -> Result<Value, Failure> {
        Ok(self.get_versioned(path).await?.0)
    }

    /// Reads one thing by a query.
    pub(super) async fn get_with(&mut self, path: &[&str], query: &[(&'static str, String)]) -> Result<Value, Failure> {
        let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let url = self.url(path, &query);
        let answer = self.call(&Method::GET, url, None, None).await?;
        self.body(&answer)
    }

    /// Reads one thing with its `ETag`, if it has one.
    pub(super) async fn get_versioned(&mut self, path: &[&str]) -> Result<(Value, Option<String>), Failure> {
        let url = self.url(path, &[]);
        let answer = self.call(&Method::GET, url, None, None).await?;
        let etag = answer.etag.clone();
        Ok((self.body(&answer)?, etag))
    }

    /// Reads a collection to its end.
    pub(super) async fn list(&mut self, path: &[&str], query: &[(&str, &str)]) -> Result<Vec<Value>, Failure> {
        Ok(self.list_with_head(path, query).await?.1)
    }

    /// Reads a collection to its end, with what its first page says beside the items.
    pub(super) async fn list_with_head(
        &mut self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<(Map<String, Value>, Vec<Value>), Failure> {
        let mut head = None;
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            query.push(("limit", "100"));
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let url = self.url(path, &query);
            let answer = self.call(&Method::GET, url, None, None).await?;
            let mut page: Value = self.body(&answer)?;
            match page.get_mut("items").map(Value::take) {
                Some(Value::Array(more)) => items.extend(more),
                _ => return Err(self.stranger(answer.status)),
            }
            let next = page.get("next_cursor").and_then(Value::as_str).map(ToOwned::to_owned);
            let page = page.as_object_mut().map(std::mem::take).unwrap_or_default();
            let head = head.get_or_insert(page);
            if next.is_none() || next == cursor {
                head.retain(|name, _| !matches!(name.as_str(), "items" | "next_cursor"));
                return Ok((std::mem::take(head), items));
            }
            cursor = next;
        }
    }

    /// Makes something.
    pub(super) async fn post(&mut self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        let url = self.url(path, &[]);
        let answer = self.call(&Method::POST, url, Some(body), None).await?;
        self.body(&answer)
    }

    /// Changes something (RFC 7396), on condition that it is still the version read.
    pub(super) async fn patch(&mut self, path: &[&str], body: &Value, etag: Option<&str>) -> Result<Value, Failure> {
        let url = self.url(path, &[]);
        let answer = self.call(&Method::PATCH, url, Some(body), etag).await?;
        self.body(&answer)
    }

    /// Removes something.
    pub(super) async fn delete(&mut self, path: &[&str]) -> Result<(), Failure> {
        self.delete_if(path, None).await
    }

    /// Removes something, on condition that it is still the version read.
    pub(super) async fn delete_if(&mut self, path: &[&str], etag: Option<&str>) -> Result<(), Failure> {
        let url = self.url(path, &[]);
        self.call(&Method::DELETE, url, None, etag).await.map(|_| ())
    }

    /// Hands what is at a path to `sink` as it comes.
    pub(super) async fn download(
        &mut self,
        path: &[&str],
        sink: &mut (dyn FnMut(&[u8]) -> std::io::Result<()> + Send),
    ) -> Result<(), Lost> {
        let token = match self.token.take() {
            Some(token) => token,
            None => self.any_token().await.map_err(Lost::Source)?,
        };
        let url = self.url(path, &[]);
        let request = exchange::request(Method::GET, url.as_str()).map_err(Lost::Source)?;
        let request = request.bearer_auth(token.1.expose());
        self.token = Some(token);
        let (who, next) = self.reached();
        let answer = exchange::download(request, &who, next, sink).await?;
        if answer.is_success() { Ok(()) } else { Err(Lost::Source(self.problem(&answer))) }
    }

    /// Who is asked, and what to do when nobody answers.
    fn reached(&self) -> (String, &'static str) {
        let who = format!("edi's admin API at {}", self.server);
        (who, "is it running? start it with `edi serve`, or set EDI_SERVER (--server)")
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // `push` escapes whatever an id may hold.
            segments.pop_if_empty().extend(["admin", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// One call. When the token does not reach far enough, a second one with the scope the answer names.
    async fn call(
        &mut self,
        method: &Method,
        url: Url,
        body: Option<&Value>,
        etag: Option<&str>,
    ) -> Result<Answer, Failure> {
        let answer = self.call_once(method, url.clone(), body, etag).await?;
        if answer.status == 403 && self.step_up(&answer).await {
            let answer = self.call_once(method, url, body, etag).await?;
            return if answer.is_success() { Ok(answer) } else { Err(self.problem(&answer)) };
        }
        if answer.is_success() { Ok(answer) } else { Err(self.problem(&answer)) }
    }

    async fn call_once(
        &mut self,
        method: &Method,
        url: Url,
        body: Option<&Value>,
        etag: Option<&str>,
    ) -> Result<Answer, Failure> {
        if self.token.is_none() {
            self.token = Some(self.any_token().await?);
        }
        let mut request = exchange::request(method.clone(), url.as_str())?.header("accept", "application/json");
        if let Some((_, token)) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(etag) = etag {
            request = request.header("if-match", etag);
        }
        if let Some(body) = body {
            let kind = if *method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
            request = request.header("content-type", kind).body(body.to_string());
        }
        let (who, next) = self.reached();
        url.path().clone_into(&mut self.asked);
        self.last_status = 0;
        let answer = exchange::send(request, &who, next).await?;
        self.last_status = answer.status;
        Ok(answer)
    }

    /// A token with the first of the wanted scopes that the operator holds.
    async fn any_token(&self) -> Result<(String, Secret), Failure> {
        let credentials = match &self.who {
            Who::Credentials(credentials) => credentials,
            Who::Login(login) => return self.token_of(login),
        };
        let mut last = None;
        for scope in &self.wanted {
            match token_for(credentials, scope).await {
                Ok(token) => return Ok((scope.clone(), token)),
                Err(refusal) if refusal.code == "invalid_scope" => last = Some(refusal.failure),
                Err(refusal) => return Err(explain(credentials, refusal)),
            }
        }
        let failure = last.unwrap_or_else(|| Failure::new(Exit::Usage, "this command asks for no scope"));
        Err(self.lacking(&self.wanted.join(" or "), failure.message))
    }

    /// The token of a login, if it holds what is wanted.
    fn token_of(&self, login: &Session) -> Result<(String, Secret), Failure> {
        login.demand_alive(SystemClock.now())?;
        let held: Vec<AdminScope> = login.scope.split(' ').filter_map(|name| name.parse().ok()).collect();
        let holds = |wanted: &str| {
            let reached = |name: &str| match name.parse::<AdminScope>() {
                Ok(wanted) => held.iter().any(|held| held.includes(wanted)),
                Err(_) => false,
            };
            wanted.split(' ').all(reached)
        };
        if self.wanted.is_empty() || self.wanted.iter().any(|wanted| holds(wanted)) {
            return Ok((login.scope.clone(), Secret::new(login.token.expose().to_owned())));
        }
        let wanted = self.wanted.join(" or ");
        Err(self.lacking(&wanted, format!("the login of {} does not hold {wanted}", login.client_id)))
    }

    /// Gets a token with the scope that the refusal names, or with everything. Says whether it got one.
    async fn step_up(&mut self, refused: &Answer) -> bool {
        let held = self.token.as_ref().map(|(scope, _)| scope.clone()).unwrap_or_default();
        let named = refused.challenge.as_deref().and_then(challenged_scope);
        for scope in named.into_iter().chain([AdminScope::Admin.name().to_owned()]) {
            if scope != held
                && let Who::Credentials(credentials) = &self.who
                && let Ok(token) = token_for(credentials, &scope).await
            {
                self.token = Some((scope, token));
                return true;
            }
        }
        false
    }

    fn lacking(&self, scope: &str, message: impl Into<String>) -> Failure {
        let id = self.client_id();
        let again = if matches!(self.who, Who::Login(_)) { "; then log in again: `edi login`" } else { "" };
        Failure::new(Exit::Denied, message).hint(format!(
            "{id} lacks {scope}; an operator with edi:admin grants it: `edi client update {id} --add-scope SCOPE`{again}"
        ))
    }

    fn body(&self, answer: &Answer) -> Result<Value, Failure> {
        answer.json().ok_or_else(|| self.stranger(answer.status))
    }

    /// Somebody answered who is not edi's admin API.
    fn stranger(&self, status: u16) -> Failure {
        let message = format!("{} answers {status}, but not as edi's admin API does", self.server);
        Failure::new(Exit::Failed, message).hint("set EDI_SERVER (--server) to the admin listener's URL")
    }

    fn problem(&self, answer: &Answer) -> Failure {
        let Some(body) = answer.json::<Value>().filter(|body| body.get("title").or(body.get("detail")).is_some())
        else {
            return match answer.status {
                401 | 403 => self.refused(answer, "the admin API refuses the token".into()),
                429 | 503 => {
                    Failure::new(Exit::Unavailable, format!("{} is busy", self.server)).hint(issuer::again(answer))
                }
                status => self.stranger(status),
            };
        };
        let mut message = problem_text(&body);
        let id = body.get("request_id").and_then(Value::as_str).or(answer.request_id.as_deref());
        if let Some(id) = id {
            message = format!("{message}\n  request id: {}", printable(id));
        }
        match answer.status {
            401 | 403 => self.refused(answer, message),
            404 => Failure::new(Exit::Failed, message)
                .hint(format!("see what there is: {}", where_to_look(&self.asked, false))),
            409 => Failure::new(Exit::Failed, message)
                .hint(format!("see how it stands: {}", where_to_look(&self.asked, true))),
            412 => Failure::new(Exit::Failed, message).hint("somebody changed it meanwhile: look at it and try again"),
            429 | 502..=504 => Failure::new(Exit::Unavailable, message).hint(issuer::again(answer)),
            500.. => Failure::new(Exit::Failed, message).hint("the server's log says why under the request id"),
            _ => Failure::new(Exit::Failed, message),
        }
    }

    fn refused(&self, answer: &Answer, message: String) -> Failure {
        match answer.challenge.as_deref().and_then(challenged_scope) {
            Some(scope) if answer.status == 403 => self.lacking(&scope, message),
            _ if answer.status == 403 => Failure::new(Exit::Denied, message),
            _ => Failure::new(Exit::Denied, message).hint(match &self.who {
                Who::Credentials(credentials) => format!(
                    "the token of {} is not for this server: do EDI_SERVER and the credentials at {} belong together?",
                    credentials.issuer,
                    credentials.path.display()
                ),
                Who::Login(login) => format!(
                    "the login of {} no longer counts here, revoked or replaced: `edi login --client-id {}`",
                    login.client_id, login.client_id
                ),
            }),
        }
    }
}

/// The command that shows what a path of the admin API is about: the thing itself if it is `there`, or all of its kind.
fn where_to_look(path: &str, there: bool) -> String {
    let path = path.rsplit_once("/admin/v1/").map_or(path, |(_, path)| path);
    let mut segments = path.split('/');
    let (what, id) = (segments.next().unwrap_or_default(), segments.next().filter(|_| there));
    match (what, id) {
        ("clients", Some(id)) => format!("`edi client show {}`", printable(id)),
        ("clients", None) => "`edi client list`".into(),
        ("deployments", Some(id)) => format!("`edi deployment show {}`", printable(id)),
        ("deployments", None) => "`edi deployment list`".into(),
        ("keys", _) => "`edi key list`".into(),
        ("revocations", _) => "`edi revoke list`".into(),
        ("roles", _) => "`edi role list`".into(),
        _ => "`edi status`".into(),
    }
}

async fn token_for(credentials: &Credentials, scope: &str) -> Result<Secret, issuer::Refusal> {
    let Credentials { issuer, client_id, client_secret, .. } = credentials;
    let endpoint = issuer.endpoint("/oauth2/token");
    let proof = issuer::Proof::Secret(client_secret);
    let answer = issuer::token(issuer, &endpoint, client_id, &proof, &[("scope", scope)]).await?;
    Ok(Secret::new(answer.get("access_token").and_then(Value::as_str).unwrap_or_default().to_owned()))
}

fn explain(credentials: &Credentials, refusal: issuer::Refusal) -> Failure {
    let path = credentials.path.display();
    match refusal.code.as_str() {
        "invalid_client" => Failure {
            hint: Some(format!(
                "the credentials at {path} no longer fit: set EDI_CREDENTIALS to others, or make new ones where edi's \
                 store is with `edi recover`"
            )),
            ..refusal.failure
        },
        _ => refusal.failure,
    }
}

/// `scope` of a Bearer challenge (RFC 6750 §3).
fn challenged_scope(challenge: &str) -> Option<String> {
    let (_, rest) = challenge.split_once("scope=\"")?;
    let (scope, _) = rest.split_once('"')?;
    (!scope.is_empty()).then(|| printable(scope))
}

/// A problem document (RFC 9457) in words: title, detail, then a line for each field that is wrong.
fn problem_text(body: &Value) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(printable);
    let mut message = match (text(body.get("title")), text(body.get("detail"))) {
        (Some(title), Some(detail)) if title != detail => format!("{title}: {detail}"),
        (title, detail) => detail.or(title).unwrap_or_default(),
    };
    let mut line = |name: Option<String>, why: Option<String>| {
        let shown = [name, why].into_iter().flatten().collect::<Vec<_>>().join(": ");
        message = format!("{message}\n  {shown}");
    };
    match body.get("errors").or(body.get("fields")) {
        Some(Value::Array(errors)) => {
            for error in errors {
                let first = |keys: &[&str]| keys.iter().find_map(|key| text(error.get(*key)));
                let name = first(&["field", "name", "pointer", "parameter"]);
                line(name, first(&["detail", "reason", "message"]).or_else(|| text(Some(error))));
            }
        }
        Some(Value::Object(errors)) => {
            for (name, why) in errors {
                line(Some(printable(name)), text(Some(why)));
            }
        }
        _ => {
            if let Some(name) = text(body.get("field")) {
                line(Some("field".into()), Some(name));
            }
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_names_the_command_that_shows_more() {
        for (path, there, command) in [
            ("/admin/v1/clients/svc/secrets/rotate", true, "`edi client show svc`"),
            ("/edi/admin/v1/clients/svc", false, "`edi client list`"),
            ("/admin/v1/deployments", true, "`edi deployment list`"),
            ("/admin/v1/keys/rotate", true, "`edi key list`"),
            ("/admin/v1/revocations/jti/x", true, "`edi revoke list`"),
            ("/admin/v1/reload", true, "`edi status`"),
        ] {
            assert_eq!(where_to_look(path, there), command, "{path}");
        }
    }

    #[test]
    fn a_challenge_names_the_scope() {
        for (challenge, scope) in [
            (r#"Bearer realm="edi", error="insufficient_scope", scope="edi:clients""#, Some("edi:clients")),
            (r#"Bearer scope="""#, None),
            ("Bearer", None),
            (r#"Bearer scope="open"#, None),
        ] {
            assert_eq!(challenged_scope(challenge).as_deref(), scope, "{challenge}");
        }
    }

    #[test]
    fn problem_documents_are_told_field_by_field() {
        for (body, text) in [
            (json!({ "title": "Conflict", "detail": "svc exists" }), "Conflict: svc exists"),
            (json!({ "title": "Not Found" }), "Not Found"),
            (
                json!({ "title": "Invalid", "errors": [{ "field": "roles[0]", "detail": "no role" }, "odd"] }),
                "Invalid\n  roles[0]: no role\n  odd",
            ),
            (json!({ "title": "Invalid", "errors": { "paths": "no slash" } }), "Invalid\n  paths: no slash"),
            (json!({ "detail": "a\u{1b}b", "field": "client_id" }), "a\\u{1b}b\n  field: client_id"),
        ] {
            assert_eq!(problem_text(&body), text);
        }
    }
}
