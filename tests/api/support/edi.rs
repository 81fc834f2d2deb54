//! The real thing in process: both listeners on free ports, a clock that stands still, seeded randomness, key files in
//! a folder of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use edi::ambient::{Ambient, Clock as _, ManualClock, SeededEntropy, SystemClock};
use edi::cli::Failure;
use edi::cli::serve::{Running, start, start_on};
use edi::config::{self, Sources};
use edi::model::time::Timestamp;
use edi::oauth::service::Service;
use edi::store::memory::MemoryStore;
use edi::store::{Key, Revision};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::http::{Answer, Ask};
use crate::ports;

/// The issuer of every edi that is not told otherwise. Nothing answers there: no URL is ever taken from a request.
pub(crate) const ISSUER: &str = "https://edi.example";
/// When every clock starts: a quarter past a second.
pub(crate) const START_MILLIS: i64 = 1_800_000_000_250;

/// One runtime for all servers: it outlives each test's own, so that a server can stop after its test.
/// With threads to spare: a server that starts in debug mode would keep the word of their stores from the others.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(8).enable_all().build().unwrap());

/// How an edi is to be started.
pub(crate) struct Setup {
    folder: Arc<TempDir>,
    clock: Arc<ManualClock>,
    store: Option<Arc<MemoryStore>>,
    flags: Vec<(&'static str, String)>,
    starts: AtomicU64,
}

impl Setup {
    /// On an empty store in memory.
    pub(crate) fn new() -> Self {
        let clock = ManualClock::at(Timestamp::from_millis(START_MILLIS));
        let store = Arc::new(MemoryStore::new(Arc::clone(&clock) as _));
        Self { store: Some(store), ..Self::on_disk_with(clock) }
    }

    /// On an empty sled store.
    pub(crate) fn on_disk() -> Self {
        Self::on_disk_with(ManualClock::at(Timestamp::from_millis(START_MILLIS)))
    }

    fn on_disk_with(clock: Arc<ManualClock>) -> Self {
        Self {
            folder: Arc::new(TempDir::new().unwrap()),
            clock,
            store: None,
            flags: Vec::new(),
            starts: AtomicU64::new(0),
        }
    }

    /// Sets a configuration key.
    pub(crate) fn set(mut self, key: &'static str, value: &str) -> Self {
        self.flags.retain(|(held, _)| *held != key);
        self.flags.push((key, value.into()));
        self
    }

    /// A file in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its store with the switches that make it fail.
    pub(crate) fn memory(&self) -> &MemoryStore {
        self.store.as_ref().unwrap()
    }

    /// Starts it, or says why not.
    pub(crate) async fn try_start(&self) -> Result<TestEdi, Failure> {
        let empty = self.path("edi.toml");
        std::fs::write(&empty, "").unwrap();
        let text = |name: &str| self.path(name).display().to_string();
        let mut flags = vec![
            ("issuer", ISSUER.to_owned()),
            ("listen.public", "127.0.0.1:0".to_owned()),
            ("listen.admin", "127.0.0.1:0".to_owned()),
            ("listen.workers", "1".to_owned()),
            ("store.path", text("data")),
            ("keys.master_key_file", text("keys/master.key")),
            ("keys.operator_file", text("keys/operator.json")),
            ("limits.drain", "1s".to_owned()),
        ];
        flags.retain(|(key, _)| !self.flags.iter().any(|(set, _)| set == key));
        flags.extend(self.flags.iter().cloned());
        let sources = Sources { file: Some(empty), flags, ..Sources::default() };
        let config = config::load(&sources).unwrap_or_else(|problems| panic!("{problems:?}"));
        // No two starts of one setup draw the same.
        let seed = self.starts.fetch_add(1, Ordering::Relaxed) + 7;
        let ambient = Ambient { clock: Arc::clone(&self.clock) as _, entropy: SeededEntropy::new(seed) };
        let store = self.store.clone();
        let running = RUNTIME.spawn(async move {
            match store {
                Some(store) => start_on(store, &config, ambient).await,
                None => start(&config, ambient).await,
            }
        });
        let running = running.await.unwrap()?;
        let operator_file = std::fs::read_to_string(self.path("keys/operator.json")).unwrap_or_default();
        Ok(TestEdi {
            public: running.public,
            admin: running.admin,
            clock: Arc::clone(&self.clock),
            store: self.store.clone(),
            operator: serde_json::from_str(&operator_file).unwrap_or_default(),
            running: Some(running),
        })
    }

    /// Starts it where its issuer says that it is, with the time of day that programs have, and tells its issuer.
    pub(crate) async fn reachable(self) -> (Self, TestEdi, String) {
        let address = ports::free_address().to_string();
        let issuer = format!("http://{address}");
        let setup = self.set("listen.public", &address).set("issuer", &issuer);
        let edi = setup.start().await;
        edi.clock.set(SystemClock.now());
        (setup, edi, issuer)
    }

    /// Starts it.
    pub(crate) async fn start(&self) -> TestEdi {
        self.try_start().await.unwrap_or_else(|failure| panic!("{}", failure.message))
    }
}

/// A running edi. Dropping it stops it.
pub(crate) struct TestEdi {
    /// Where the public listener is.
    pub(crate) public: SocketAddr,
    /// Where the admin listener is.
    pub(crate) admin: SocketAddr,
    /// Its clock.
    pub(crate) clock: Arc<ManualClock>,
    /// Its store, when that is in memory.
    store: Option<Arc<MemoryStore>>,
    /// `keys/operator.json`.
    pub(crate) operator: Value,
    running: Option<Running>,
}

impl Drop for TestEdi {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            RUNTIME.spawn(running.stop());
        }
    }
}

/// A registered client: its id and its secret.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    /// Its id.
    pub(crate) id: String,
    /// The secret it was shown.
    pub(crate) secret: String,
    /// What its registration answered.
    pub(crate) view: Value,
}

impl TestEdi {
    /// An edi on an empty store in memory.
    pub(crate) async fn new() -> Self {
        Setup::new().start().await
    }

    /// Stops it and waits until its store is closed.
    pub(crate) async fn stop(mut self) {
        if let Some(running) = self.running.take() {
            RUNTIME.spawn(running.stop()).await.unwrap().unwrap_or_else(|failure| panic!("{}", failure.message));
        }
    }

    /// Has it follow a configuration from now on.
    pub(crate) fn follow(&self, sources: Sources) {
        self.running.as_ref().unwrap().live.follow(sources);
    }

    /// What its endpoints work with.
    pub(crate) fn service(&self) -> &Arc<Service> {
        &self.running.as_ref().unwrap().service
    }

    /// Its store with the switches that make it fail.
    pub(crate) fn memory(&self) -> &MemoryStore {
        self.store.as_ref().unwrap()
    }

    /// The revision of the last change: the same as before means that nothing was written. What edi writes by itself
    /// about what it was told (seals, refusals) does not count.
    pub(crate) async fn revision(&self) -> Revision {
        let mut latest = Revision::default();
        let mut after: Option<Key> = None;
        loop {
            let page = self.service().store.scan("", after.as_ref(), 500).await.unwrap();
            for (key, entry) in &page.items {
                let refused = key.as_str().starts_with("audit/")
                    && !String::from_utf8_lossy(&entry.value).contains(r#""outcome":"done""#);
                if !refused && !key.as_str().starts_with("audit-") {
                    latest = latest.max(entry.revision);
                }
            }
            let Some(next) = page.next else { return latest };
            after = Some(next);
        }
    }

    /// Moves the clock.
    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The present second, as `iat` carries it.
    pub(crate) fn now(&self) -> i64 {
        self.service().now().secs()
    }

    /// A request to the public listener.
    pub(crate) fn ask(&self, method: &str, target: &str) -> Ask {
        Ask::new(self.public, method, target)
    }

    /// A request to the admin listener, without a token.
    pub(crate) fn ask_admin(&self, method: &str, path: &str) -> Ask {
        Ask::new(self.admin, method, &format!("/admin/v1/{path}"))
    }

    /// The first operator.
    pub(crate) fn operator(&self) -> Registered {
        let text = |name: &str| self.operator[name].as_str().unwrap().to_owned();
        Registered { id: text("client_id"), secret: text("client_secret"), view: Value::Null }
    }

    /// A request for a token by Basic.
    pub(crate) async fn request_token(&self, by: &Registered, fields: &[(&str, &str)]) -> Answer {
        let form = [&[("grant_type", "client_credentials")], fields].concat();
        self.ask("POST", "/oauth2/token").basic(&by.id, &by.secret).form(&form).send().await
    }

    /// A token.
    pub(crate) async fn token(&self, by: &Registered, fields: &[(&str, &str)]) -> String {
        let answer = self.request_token(by, fields).await.assert(200);
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// A token with admin scopes.
    pub(crate) async fn admin_token(&self, by: &Registered, scope: &str) -> String {
        self.token(by, &[("scope", scope)]).await
    }

    /// The first operator asks the admin API. `Null`: no body.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: &Value) -> Answer {
        let token = self.admin_token(&self.operator(), "edi:admin").await;
        self.admin_with(&token, method, path, body).await
    }

    /// Whoever holds the token asks the admin API. `Null`: no body.
    pub(crate) async fn admin_with(&self, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        let ask = self.ask_admin(method, path).bearer(token);
        if body.is_null() { ask.send().await } else { ask.json(body).send().await }
    }

    /// Registers a client; `more` holds fields beside its id.
    pub(crate) async fn register_with(&self, id: &str, more: &Value) -> Registered {
        let mut body = json!({ "client_id": id });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let view = self.admin("POST", "clients", &body).await.assert(201).json();
        let given = more["client_secret"].as_str();
        let secret = given.or(view["client_secret"].as_str()).unwrap_or_default().to_owned();
        Registered { id: id.into(), secret, view }
    }

    /// Registers a client with roles.
    pub(crate) async fn register(&self, id: &str, roles: &[&str]) -> Registered {
        self.register_with(id, &json!({ "roles": roles })).await
    }

    /// Registers a client with admin scopes.
    pub(crate) async fn register_admin(&self, id: &str, scopes: &[&str]) -> Registered {
        self.register_with(id, &json!({ "admin_scopes": scopes })).await
    }

    /// Registers a deployment.
    pub(crate) async fn deploy(&self, id: &str, role: &str, audience: Option<&str>) {
        let mut body = json!({ "id": id, "role": role });
        if let Some(audience) = audience {
            body["audience"] = audience.into();
        }
        self.admin("POST", "deployments", &body).await.assert(201);
    }

    /// Introspects.
    pub(crate) async fn introspect(&self, by: &Registered, token: &str) -> Answer {
        self.ask("POST", "/oauth2/introspect").basic(&by.id, &by.secret).form(&[("token", token)]).send().await
    }

    /// Demands `{"active":false}`, to the byte.
    #[track_caller]
    pub(crate) fn assert_inactive(answer: Answer, why: &str) {
        let answer = answer.assert(200);
        assert_eq!(answer.body, r#"{"active":false}"#, "{why}: {answer}");
    }

    /// Whether a token is active.
    pub(crate) async fn is_active(&self, by: &Registered, token: &str) -> bool {
        let answer = self.introspect(by, token).await.assert(200);
        let active = answer.json()["active"].as_bool().unwrap();
        assert!(active || answer.body == r#"{"active":false}"#, "{answer}");
        active
    }

    /// Revokes (RFC 7009).
    pub(crate) async fn revoke(&self, by: &Registered, token: &str) -> Answer {
        self.ask("POST", "/oauth2/revoke").basic(&by.id, &by.secret).form(&[("token", token)]).send().await
    }
}
