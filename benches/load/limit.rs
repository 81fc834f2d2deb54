//! The limit server: actix without middleware, handlers that read the request and do the one thing that the work cannot
//! be had without, into an answer that is ready made. A process of its own: this program under another argument.

use std::fs::File;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::{AppConfig, Server};
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, Bytes, ServiceConfig};
use actix_web::{App, Error, HttpResponse, HttpServer};
use anyhow::{Context as _, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edi::ambient::Ambient;
use edi::keys::generate::NewKey;
use edi::model::algorithm::Algorithm;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::args::Over;
use super::tls;

/// How long an idle connection stays open: as long as edi's.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// As many bytes as the header and claims of one of edi's tokens have; what they say does not matter here.
const SIGNED: [u8; 420] = [b'x'; 420];

/// The other process. Dropped, it ends.
pub(crate) struct Limit {
    child: Child,
    _certificate: tempfile::TempDir,
    plain: SocketAddr,
    encrypted: SocketAddr,
}

impl Limit {
    /// Starts this very program as the limit server.
    pub(crate) fn start() -> Result<Self> {
        let certificate = tempfile::Builder::new().prefix("edi-load-").tempdir()?;
        tls::write(certificate.path())?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--limit-server")
            .arg(certificate.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the limit server")?;
        let mut line = String::new();
        let out = child.stdout.take().context("no standard output")?;
        std::io::BufReader::new(out).read_line(&mut line)?;
        let said = || format!("the limit server said {line:?}");
        let (plain, encrypted) = line.trim().split_once(' ').with_context(said)?;
        let (plain, encrypted) = (plain.parse().with_context(said)?, encrypted.parse().with_context(said)?);
        Ok(Self { child, _certificate: certificate, plain, encrypted })
    }

    /// Where it listens.
    pub(crate) fn at(&self, over: Over) -> SocketAddr {
        if over.is_tls() { self.encrypted } else { self.plain }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until standard input ends, so that it never outlives who started it.
pub(crate) fn serve(certificate: &Path) -> Result<()> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let acceptor = TlsAcceptor::from(Arc::new(tls::server(certificate)?));
    actix_web::rt::System::new().block_on(async {
        let journal = web::Data::new(Journal::start()?);
        let shared = journal.clone();
        let server = HttpServer::new(move || App::new().app_data(shared.clone()).configure(routes))
            .keep_alive(KEEP_ALIVE)
            .bind("127.0.0.1:0")?;
        let plain = *server.addrs().first().context("no address")?;
        let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
        let encrypted = socket.local_addr()?;
        let factory = move || {
            let app = App::new().app_data(journal.clone()).configure(routes).into_factory();
            let http = HttpService::build()
                .keep_alive(KEEP_ALIVE)
                .finish(map_config(app.map_err(|error: Error| error.error_response()), |()| AppConfig::default()));
            let acceptor = acceptor.clone();
            fn_service(move |io: TcpStream| {
                let acceptor = acceptor.clone();
                async move {
                    let peer = io.peer_addr().ok();
                    io.set_nodelay(true)?;
                    Ok::<_, DispatchError>((acceptor.accept(io).await?, Protocol::Http1, peer))
                }
            })
            .and_then(http)
        };
        let shaking = Server::build().listen("encrypted", socket, factory)?.run();
        println!("{plain} {encrypted}");
        std::io::stdout().flush()?;
        tokio::try_join!(server.run(), shaking)?;
        Ok(())
    })
}

fn routes(config: &mut ServiceConfig) {
    config
        .route("/sign/es256", web::post().to(sign_es256))
        .route("/sign/rs256", web::post().to(sign_rs256))
        .route("/sign/eddsa", web::post().to(sign_eddsa))
        .route("/verify/{bytes}", web::post().to(verify_form))
        .route("/verify/{bytes}", web::get().to(verify))
        .route("/append", web::post().to(append))
        .route("/unchanged", web::get().to(async || HttpResponse::NotModified().finish()))
        .route("/fixed/{bytes}", web::get().to(fixed));
}

/// The fields that the requests of the load have.
#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "grant_type")]
    _grant_type: Option<String>,
    #[serde(rename = "scope")]
    _scope: Option<String>,
    #[serde(rename = "token")]
    _token: Option<String>,
}

#[expect(clippy::disallowed_methods, reason = "as edi's own signatures")]
fn random() -> SystemRandom {
    SystemRandom::new()
}

fn new_key(algorithm: Algorithm) -> NewKey {
    let ambient = Ambient::system();
    NewKey::generate(algorithm, &*ambient.entropy).unwrap_or_else(|_| std::process::abort())
}

static ES256: LazyLock<EcdsaKeyPair> = LazyLock::new(|| {
    let key = new_key(Algorithm::Es256);
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.pkcs8, &random())
        .unwrap_or_else(|_| std::process::abort())
});
static RS256: LazyLock<RsaKeyPair> = LazyLock::new(|| {
    let key = new_key(Algorithm::Rs256);
    RsaKeyPair::from_pkcs8(&key.pkcs8).unwrap_or_else(|_| std::process::abort())
});
static EDDSA: LazyLock<Ed25519KeyPair> = LazyLock::new(|| {
    let key = new_key(Algorithm::EdDsa);
    Ed25519KeyPair::from_pkcs8(&key.pkcs8).unwrap_or_else(|_| std::process::abort())
});
/// A public key and a signature that it verifies.
static VERIFIED: LazyLock<(UnparsedPublicKey<Vec<u8>>, Vec<u8>)> = LazyLock::new(|| {
    let signature = ES256.sign(&random(), &SIGNED).unwrap_or_else(|_| std::process::abort());
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, ES256.public_key().as_ref().to_vec());
    (public, signature.as_ref().to_vec())
});
static BODY: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![b'x'; 64 * 1024]));

/// The ready-made answer with the signature in its place.
fn answer(signature: &[u8]) -> HttpResponse {
    let mut body = String::with_capacity(1024);
    body.push_str("{\"access_token\":\"");
    body.push_str(std::str::from_utf8(&SIGNED).unwrap_or_default());
    body.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut body);
    body.push_str("\",\"token_type\":\"Bearer\",\"expires_in\":900,\"scope\":\"fraud\"}");
    HttpResponse::Ok().content_type("application/json").body(body)
}

async fn sign_es256(_form: web::Form<Fields>) -> HttpResponse {
    match ES256.sign(&random(), &SIGNED) {
        Ok(signature) => answer(signature.as_ref()),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

async fn sign_rs256(_form: web::Form<Fields>) -> HttpResponse {
    let mut signature = vec![0; RS256.public().modulus_len()];
    match RS256.sign(&RSA_PKCS1_SHA256, &random(), &SIGNED, &mut signature) {
        Ok(()) => answer(&signature),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

async fn sign_eddsa(_form: web::Form<Fields>) -> HttpResponse {
    answer(EDDSA.sign(&SIGNED).as_ref())
}

async fn verify(bytes: web::Path<usize>) -> HttpResponse {
    let (key, signature) = &*VERIFIED;
    if key.verify(&SIGNED, signature).is_err() {
        return HttpResponse::InternalServerError().finish();
    }
    fixed(bytes).await
}

async fn verify_form(_form: web::Form<Fields>, bytes: web::Path<usize>) -> HttpResponse {
    verify(bytes).await
}

async fn fixed(bytes: web::Path<usize>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(BODY.slice(..bytes.into_inner().min(BODY.len())))
}

async fn append(form: web::Form<Fields>, journal: web::Data<Journal>) -> HttpResponse {
    let checked = verify_form(form, web::Path::from(0)).await;
    match journal.append().await {
        Ok(()) => checked,
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

/// A file that records are appended to; whoever waits at the same time shares a sync.
struct Journal(mpsc::Sender<oneshot::Sender<()>>);

impl Journal {
    fn start() -> Result<Self> {
        let mut file: File = tempfile::tempfile()?;
        let (sender, receiver) = mpsc::channel::<oneshot::Sender<()>>();
        std::thread::spawn(move || {
            while let Ok(first) = receiver.recv() {
                let waiting: Vec<_> = std::iter::once(first).chain(receiver.try_iter()).collect();
                let written = file.write_all(&vec![b'x'; 224 * waiting.len()]).and_then(|()| file.sync_data());
                if written.is_err() {
                    return;
                }
                for done in waiting {
                    // Whoever has left needs no word.
                    let _ = done.send(());
                }
            }
        });
        Ok(Self(sender))
    }

    async fn append(&self) -> Result<()> {
        let (done, wait) = oneshot::channel();
        self.0.send(done).map_err(|_| anyhow!("the journal ended"))?;
        Ok(wait.await?)
    }
}
