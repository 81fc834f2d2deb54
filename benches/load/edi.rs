//! The released program in a folder of its own, with its defaults and its log in a file.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edi::ambient::SystemEntropy;
use edi::keys::client_signer::ClientSigner;
use edi::keys::generate::NewKey;
use edi::model::algorithm::Algorithm;
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::args::Over;
use super::drive::{Load, Target};
use super::machine;
use super::ports;
use super::tls;

/// How long it may take until it serves, and until it has stopped.
const PATIENCE: Duration = Duration::from_mins(2);

/// A folder for a server, and which server.
pub(crate) struct Site {
    binary: PathBuf,
    folder: tempfile::TempDir,
    /// Beside the defaults.
    settings: Vec<(&'static str, String)>,
    encrypted: bool,
    /// The public listener and the admin listener: at every start, because the operator's file names them.
    listeners: (SocketAddr, SocketAddr),
}

impl Site {
    /// A new folder for this program.
    pub(crate) fn new(binary: PathBuf) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("edi-load-").tempdir()?;
        let listeners = (ports::free_address(), ports::free_address());
        Ok(Self { binary, folder, settings: Vec::new(), encrypted: false, listeners })
    }

    /// Both listeners over TLS.
    pub(crate) fn encrypted(mut self) -> Result<Self> {
        tls::write(self.path())?;
        self.encrypted = true;
        // The command line has to believe the authority.
        let authority = self.path().join("ca.crt").display().to_string();
        Ok(self
            .with("EDI__LISTEN__TLS", "on")
            .with("EDI__LISTEN__CERTIFICATE_FILE", "tls.crt")
            .with("EDI__LISTEN__KEY_FILE", "tls.key")
            .with("SSL_CERT_FILE", &authority))
    }

    /// Another value than the default for one key, written as its environment variable.
    pub(crate) fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.settings.push((variable, value.into()));
        self
    }

    /// Where it keeps everything.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        // Nothing of the caller's environment configures it.
        command.env_clear().envs(self.settings.iter().map(|(name, value)| (*name, value)));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Starts the program. It is not ready yet.
    pub(crate) fn start(&self) -> Result<Edi<'_>> {
        let (public, admin) = self.listeners;
        let log = File::options().create(true).append(true).open(self.folder.path().join("edi.log"))?;
        let scheme = if self.encrypted { "https" } else { "http" };
        let target = if self.encrypted { Over::Tls.to(public)? } else { public.into() };
        let started = Instant::now();
        let child = self
            .command(&["serve", "--listen-public", &public.to_string(), "--listen-admin", &admin.to_string()])
            .env("EDI__ISSUER", format!("{scheme}://{public}"))
            .env("EDI__LISTEN__ADMIN_URL", format!("{scheme}://{admin}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        Ok(Edi { site: self, child, public, target, started })
    }
}

/// The program at work. Dropped, it ends.
pub(crate) struct Edi<'a> {
    site: &'a Site,
    child: Child,
    /// Its public listener.
    pub(crate) public: SocketAddr,
    /// The same, as a caller reaches it.
    pub(crate) target: Target,
    started: Instant,
}

impl Edi<'_> {
    /// Waits until it says that it is ready; tells how long that took from its start.
    pub(crate) async fn ready(&mut self) -> Result<Duration> {
        let request = super::work::get("/health/ready", "");
        loop {
            if let Ok((200, _)) = Load::once(self.target.clone(), &request).await {
                return Ok(self.started.elapsed());
            }
            let log = || std::fs::read_to_string(self.site.path().join("edi.log")).unwrap_or_default();
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("edi ended ({status}): {}", log());
            }
            ensure!(self.started.elapsed() < PATIENCE, "edi is not ready: {}", log());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Registers a client with the role `fraud` by the command line; gives the value of its `Authorization` header.
    pub(crate) fn client(&self, id: &str, more: &[&str]) -> Result<String> {
        Ok(basic(id, &self.client_secret(id, more)?))
    }

    /// The same; gives the secret.
    pub(crate) fn client_secret(&self, id: &str, more: &[&str]) -> Result<String> {
        let arguments = [&["client", "create", id, "--role", "fraud", "--json"], more].concat();
        let output = self.site.command(&arguments).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "edi client create: {said}");
        let client: Value = serde_json::from_slice(&output.stdout)?;
        let secret = client.get("client_secret").and_then(Value::as_str).context("no client_secret")?;
        Ok(secret.to_owned())
    }

    /// Registers a client with the role `fraud` and a key of its own; gives what signs for it.
    pub(crate) fn client_with_key(&self, id: &str) -> Result<ClientSigner> {
        let key = NewKey::generate(Algorithm::Es256, &SystemEntropy::new())?;
        std::fs::write(self.site.path().join("public.json"), serde_json::to_vec(&key.public)?)?;
        let create = ["client", "create", id, "--role", "fraud", "--jwks", "public.json", "--json"];
        let output = self.site.command(&create).output()?;
        ensure!(output.status.success(), "edi client create: {}", String::from_utf8_lossy(&output.stderr));
        Ok(ClientSigner::new(&key, Some(key.kid.as_str()))?)
    }

    /// Registers a client with the role `fraud` and a secret that somebody chose.
    pub(crate) fn client_with_secret(&self, id: &str, secret: &str) -> Result<String> {
        use std::io::Write as _;
        let mut command = self.site.command(&["client", "create", id, "--role", "fraud", "--json", "--secret-stdin"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("no standard input")?.write_all(secret.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "edi client create: {}", String::from_utf8_lossy(&output.stderr));
        Ok(basic(id, secret))
    }

    /// Asks it to stop and waits for that.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill_process(machine::pid(&self.child), Signal::TERM)?;
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "edi ended with {status}");
                return Ok(());
            }
            ensure!(asked.elapsed() < PATIENCE, "edi does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Edi<'_> {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The value of an `Authorization` header.
pub(crate) fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}
