//! Other issuers through the same rounds: oidc-provider, started here where node is, and any other by its URL.

use std::io::{BufRead as _, BufReader};
use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::pki_types::ServerName;
use serde_json::Value;
use url::Url;

use super::aims;
use super::args::{Args, Over, Work};
use super::drive::{Load, Requests, Target};
use super::edi::{Site, basic};
use super::machine::Cores;
use super::report::Report;
use super::rounds::{Ask, Side, compare};
use super::tls;
use super::work::Task;

/// What oidc-provider is made of, in this repository.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/oidc-provider");
/// Where it is installed.
const INSTALLED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/peers/oidc-provider");
/// Its client.
const CLIENT: (&str, &str) = ("bench", "a-secret-of-the-bench");
/// How many processes it has.
const PROCESSES: usize = 2;

/// Rounds of edi beside each of them, on the same cores.
pub(crate) async fn measure(args: &Args, report: &mut Report) -> Result<()> {
    let cores = Cores::find_two(args.unpinned);
    let site = Site::new(args.edi())?.with("EDI__LISTEN__WORKERS", &PROCESSES.to_string());
    let mut edi = Cores::for_server(cores.as_ref(), || site.start())?;
    edi.ready().await?;
    let task = Task::prepare(Work::Issue, &edi).await?;
    let subject = Side::edi("edi", &edi, &task, Over::KeepAlive)?;
    if args.smoke {
        // No network and no node: edi itself is the other issuer.
        let secret = edi.client_secret("peer", &[])?;
        let url = Url::parse(&format!("http://{}/oauth2/token", edi.public))?;
        let peer = by_url(&url, "peer", &secret, Some("fraud"), vec![edi.pid()]).await?;
        report.rows.push(compare(args, "issue", &[], &subject, &peer).await?);
    } else if let Some(url) = &args.peer {
        let client = args.peer_client.as_deref().unwrap_or_default();
        let (id, secret) = client.split_once(':').context("--peer-client is ID:SECRET")?;
        let peer = by_url(url, id, secret, args.peer_scope.as_deref(), args.peer_pid.clone()).await?;
        report.rows.push(compare(args, "issue", &[], &subject, &peer).await?);
    } else {
        match Cores::for_server(cores.as_ref(), OidcProvider::start) {
            Ok(peer) => report.rows.push(compare(args, "issue", aims::PEER, &subject, &peer.side().await?).await?),
            Err(error) if args.named(Work::Peers) => return Err(error),
            Err(error) => println!("oidc-provider is left out: {error:#}"),
        }
    }
    drop(subject);
    edi.stop()
}

/// An issuer elsewhere.
async fn by_url(url: &Url, id: &str, secret: &str, scope: Option<&str>, pids: Vec<u32>) -> Result<Side<'static>> {
    let host = url.host_str().context("the URL has no host")?;
    let port = url.port_or_known_default().context("the URL has no port")?;
    let at = (host.trim_matches(['[', ']']), port).to_socket_addrs()?.next().context("the host has no address")?;
    let to = match url.scheme() {
        "https" => {
            let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
            Target::from(at).over_tls(tls::credulous_client()?, name)
        }
        "http" => at.into(),
        other => bail!("cannot speak {other}"),
    };
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if let Some(scope) = scope {
        form.append_pair("scope", scope);
    }
    let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
    let path = format!("{}{query}", url.path());
    side(host.to_owned(), to, pids, request(&path, &format!("{host}:{port}"), id, secret, &form.finish())).await
}

fn request(path: &str, host: &str, id: &str, secret: &str, form: &str) -> Vec<u8> {
    // Each is encoded before the two are joined (RFC 6749 §2.3.1).
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {}\r\naccept: application/json\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        basic(&encoded(id), &encoded(secret)),
        form.len()
    )
    .into_bytes()
}

/// Checks that it issues, and says how.
async fn side(name: String, to: Target, pids: Vec<u32>, request: Vec<u8>) -> Result<Side<'static>> {
    let (status, body) = Load::once(to.clone(), &request).await?;
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    ensure!(
        status == 200 && answer.get("access_token").is_some_and(Value::is_string),
        "{name} answered {status}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(Side { name, to, pids, ask: Ask::This(Requests::Same(request.into())), status })
}

/// The peer that is started here. Dropped, it ends.
struct OidcProvider {
    child: Child,
    port: u16,
    pids: Vec<u32>,
}

impl OidcProvider {
    fn start() -> Result<Self> {
        let folder = installed()?;
        let mut child = Command::new("node")
            .args(["server.mjs", &PROCESSES.to_string()])
            .current_dir(&folder)
            .envs([("PEER_ID", CLIENT.0), ("PEER_SECRET", CLIENT.1), ("NODE_ENV", "production")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start node")?;
        let out = BufReader::new(child.stdout.take().context("no standard output")?);
        // It says more than the line that is waited for.
        let ready = out.lines().map_while(Result::ok).find_map(|line| serde_json::from_str::<Value>(&line).ok());
        let ready = ready.context("it ended before it served")?;
        let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
        let port = ready.get("port").and_then(number).and_then(|port| u16::try_from(port).ok()).context("no port")?;
        let pids = ready.get("pids").and_then(Value::as_array).context("no processes")?;
        Ok(Self { child, port, pids: pids.iter().filter_map(number).collect() })
    }

    async fn side(&self) -> Result<Side<'static>> {
        let form = "grant_type=client_credentials&scope=fraud&resource=https%3A%2F%2Fmodels.example";
        let (id, secret) = CLIENT;
        let host = format!("127.0.0.1:{}", self.port);
        let to = std::net::SocketAddr::from(([127, 0, 0, 1], self.port)).into();
        let name = format!("oidc-provider, {PROCESSES} processes");
        side(name, to, self.pids.clone(), request("/token", &host, id, secret, form)).await
    }
}

impl Drop for OidcProvider {
    fn drop(&mut self) {
        // The processes below it end when it does.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Installs it, unless the same is there.
fn installed() -> Result<PathBuf> {
    let folder = Path::new(INSTALLED);
    for program in ["node", "npm"] {
        let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        ensure!(found.is_ok_and(|status| status.success()), "there is no {program}");
    }
    std::fs::create_dir_all(folder)?;
    let lock = std::fs::read(Path::new(SOURCES).join("package-lock.json"))?;
    let done = folder.join("installed.json");
    let same = std::fs::read(&done).is_ok_and(|installed| installed == lock);
    for file in ["package.json", "package-lock.json", "server.mjs"] {
        std::fs::copy(Path::new(SOURCES).join(file), folder.join(file))?;
    }
    if !same {
        let mut install = Command::new("npm");
        install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder);
        let output = install.stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "npm ci: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(done, lock)?;
    }
    Ok(folder.to_owned())
}
