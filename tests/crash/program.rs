//! The real program, started and killed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::ports;

/// Where a running program answers; what workers need of it.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) public: String,
    pub(crate) admin: String,
    pub(crate) http: reqwest::Client,
}

pub(crate) struct Program {
    child: Child,
    address: Address,
    operator: (String, String),
}

impl Program {
    /// Starts the program on `folder` and waits until it is ready.
    pub(crate) async fn start(folder: &Path) -> Self {
        let (public, admin) = (ports::free_address().to_string(), ports::free_address().to_string());
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log file");
        let child = Command::new(env!("CARGO_BIN_EXE_edi"))
            .args(["serve", "--issuer", "http://edi.test", "--listen-public", &public, "--listen-admin", &admin])
            .current_dir(folder)
            // A planned successor takes over at once, so that many rotations fit into one run.
            .env("EDI__KEYS__PUBLISH_BEFORE", "1s")
            .env("EDI__TOKENS__MAX_TTL", "1h")
            .env("EDI__LOG__LEVEL", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().expect("a client");
        let address = Address { public: format!("http://{public}"), admin: format!("http://{admin}"), http };
        let mut program = Self { child, address, operator: (String::new(), String::new()) };
        let patience = Instant::now();
        loop {
            let ready = program.address.http.get(format!("{}/health/ready", program.address.public)).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            if let Ok(Some(status)) = program.child.try_wait() {
                let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
                panic!("the program ended with {status}; its log:\n{log}");
            }
            assert!(patience.elapsed() < Duration::from_secs(30), "not ready after 30 s");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let text = std::fs::read(folder.join("keys/operator.json")).expect("the operator's credentials");
        let file: Value = serde_json::from_slice(&text).expect("JSON");
        let field = |name: &str| file[name].as_str().expect("a text").to_owned();
        program.operator = (field("client_id"), field("client_secret"));
        program
    }

    /// What the program says on standard error when it does not start on `folder`.
    pub(crate) fn refused(folder: &Path) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_edi"))
            .args(["serve", "--listen-public", "127.0.0.1:0", "--listen-admin", "127.0.0.1:0"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .expect("the program runs");
        assert!(!output.status.success(), "it started");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub(crate) fn address(&self) -> Address {
        self.address.clone()
    }

    /// A token that may do everything.
    pub(crate) async fn operator_token(&self) -> String {
        let (id, secret) = &self.operator;
        let answer = self.address.token(id, secret, Some("edi:admin")).await.expect("an answer");
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no operator token: {answer}")).to_owned()
    }

    /// The operator's proof, for introspection.
    pub(crate) fn operator(&self) -> (&str, &str) {
        (&self.operator.0, &self.operator.1)
    }

    /// SIGKILL, at once.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the program was running");
        self.child.wait().expect("it ends");
    }
}

impl Address {
    /// Asks for a token.
    pub(crate) async fn token(&self, id: &str, secret: &str, scope: Option<&str>) -> reqwest::Result<Value> {
        let body = format!(
            "grant_type=client_credentials{}",
            scope.map(|scope| format!("&scope={scope}")).unwrap_or_default()
        );
        self.form("/oauth2/token", id, secret, body).await?.json().await
    }

    /// A form with Basic.
    pub(crate) async fn form(
        &self,
        path: &str,
        id: &str,
        secret: &str,
        body: String,
    ) -> reqwest::Result<reqwest::Response> {
        let request = self.http.post(format!("{}{path}", self.public)).basic_auth(id, Some(secret));
        request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await
    }

    /// An admin request.
    pub(crate) async fn admin(
        &self,
        method: &str,
        path: &str,
        bearer: &str,
        body: Option<Value>,
    ) -> reqwest::Result<(u16, Value)> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.http.request(method, format!("{}/admin/v1/{path}", self.admin)).bearer_auth(bearer);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }
}
