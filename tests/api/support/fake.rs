//! A server that plays edi for the command line: it says what a test tells it to say, and remembers what it was asked.

use std::sync::{Arc, Mutex};

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

use super::program::{Program, Run};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Method, path and query.
    pub(crate) line: String,
    /// `Authorization`.
    pub(crate) authorization: String,
    /// `Content-Type`.
    pub(crate) content_type: String,
    /// `If-Match`.
    pub(crate) if_match: String,
    /// The body.
    pub(crate) body: String,
}

impl Asked {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// One scripted answer.
#[derive(Debug, Clone)]
struct Scripted {
    line: String,
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Value,
    once: bool,
}

#[derive(Default)]
struct State {
    script: Mutex<Vec<Scripted>>,
    asked: Mutex<Vec<Asked>>,
    scopes: Mutex<Vec<String>>,
}

/// The server.
pub(crate) struct Fake {
    /// Its URL: issuer and admin API in one.
    pub(crate) url: String,
    state: Arc<State>,
}

impl Fake {
    /// Starts it on a free port. Its one client is `operator`, whose secret is `s3cret/+ %`.
    pub(crate) fn start() -> Self {
        let state = Arc::new(State::default());
        *state.scopes.lock().unwrap() = vec!["edi:admin".into()];
        let shared = state.clone();
        let server = HttpServer::new(move || {
            App::new().app_data(web::Data::from(shared.clone())).default_service(web::to(answer))
        })
        .workers(1)
        .bind("127.0.0.1:0")
        .unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        Self { url, state }
    }

    /// The scopes its client holds; `edi:admin` holds all.
    pub(crate) fn granting(self, scopes: &[&str]) -> Self {
        *self.state.scopes.lock().unwrap() = scopes.iter().map(ToString::to_string).collect();
        self
    }

    /// Answers `line` (method, path and query) like this, from now on.
    pub(crate) fn on(self, line: &str, status: u16, body: Value) -> Self {
        self.script(line, status, &[], body, false)
    }

    /// Answers `line` like this the next time; later scripts for the line come after.
    pub(crate) fn once(self, line: &str, status: u16, headers: &[(&'static str, &str)], body: Value) -> Self {
        self.script(line, status, headers, body, true)
    }

    /// Answers `line` like this, headers included, from now on.
    pub(crate) fn with(self, line: &str, status: u16, headers: &[(&'static str, &str)], body: Value) -> Self {
        self.script(line, status, headers, body, false)
    }

    fn script(self, line: &str, status: u16, headers: &[(&'static str, &str)], body: Value, once: bool) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.state.script.lock().unwrap().push(Scripted { line: line.into(), status, headers, body, once });
        self
    }

    /// What it was asked, tokens apart.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let asked = self.state.asked.lock().unwrap();
        asked.iter().filter(|asked| !asked.line.starts_with("POST /oauth2/token")).cloned().collect()
    }

    /// The forms its token endpoint was sent.
    pub(crate) fn token_forms(&self) -> Vec<String> {
        let asked = self.state.asked.lock().unwrap();
        asked.iter().filter(|it| it.line == "POST /oauth2/token").map(|it| it.body.clone()).collect()
    }

    /// The program with this server's operator credentials.
    pub(crate) fn program(&self) -> Program {
        let credentials = json!({
            "issuer": self.url, "admin": self.url, "client_id": "operator", "client_secret": "s3cret/+ %",
        });
        Program::new().file("keys/operator.json", &credentials.to_string(), 0o600)
    }

    /// Runs the program without keeping this server from answering.
    pub(crate) async fn run(&self, program: Program, line: &str) -> Run {
        let line = line.to_owned();
        web::block(move || program.run(&line)).await.unwrap()
    }

    /// Runs the program as this server's operator.
    pub(crate) async fn operator(&self, line: &str) -> Run {
        self.run(self.program(), line).await
    }
}

async fn answer(request: HttpRequest, body: web::Bytes, state: web::Data<State>) -> HttpResponse {
    let header =
        |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let line = format!("{} {}", request.method(), request.uri());
    let asked = Asked {
        line: line.clone(),
        authorization: header("authorization"),
        content_type: header("content-type"),
        if_match: header("if-match"),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    state.asked.lock().unwrap().push(asked.clone());
    let scripted = {
        let mut script = state.script.lock().unwrap();
        let place = script.iter().position(|it| it.line == line);
        place.map(|place| if script[place].once { script.remove(place) } else { script[place].clone() })
    };
    if let Some(scripted) = scripted {
        let mut response = HttpResponse::build(StatusCode::from_u16(scripted.status).unwrap());
        response.insert_header(("x-request-id", "req-1"));
        for (name, value) in scripted.headers {
            response.insert_header((name, value));
        }
        return if scripted.body.is_null() { response.finish() } else { response.json(scripted.body) };
    }
    match line.as_str() {
        "POST /oauth2/token" => token(&asked, &state),
        _ => HttpResponse::NotFound().insert_header(("x-request-id", "req-1")).json(json!({
            "title": "Not Found", "detail": format!("there is no {line}"),
        })),
    }
}

fn token(asked: &Asked, state: &State) -> HttpResponse {
    // "operator:s3cret%2F%2B+%25", each half form-encoded as RFC 6749 §2.3.1 wants it.
    if asked.authorization != "Basic b3BlcmF0b3I6czNjcmV0JTJGJTJCKyUyNQ==" {
        return HttpResponse::Unauthorized()
            .json(json!({ "error": "invalid_client", "error_description": "client authentication failed" }));
    }
    let form: Vec<(String, String)> = url::form_urlencoded::parse(asked.body.as_bytes()).into_owned().collect();
    let scope = form.iter().find(|(name, _)| name == "scope").map_or("edi:admin", |(_, value)| value);
    let held = state.scopes.lock().unwrap().clone();
    let all = held.iter().any(|held| held == "edi:admin");
    if !all && !scope.split(' ').all(|name| held.iter().any(|held| held == name)) {
        return HttpResponse::BadRequest()
            .json(json!({ "error": "invalid_scope", "error_description": "the client does not hold that scope" }));
    }
    HttpResponse::Ok().json(json!({
        "access_token": format!("token-for-{}", scope.replace(' ', "+")), "token_type": "Bearer", "expires_in": 900,
        "scope": scope,
    }))
}
