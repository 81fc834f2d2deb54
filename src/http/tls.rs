//! TLS of the listeners: rustls on ring, certificates from PEM files that may change while edi serves.
//!
//! A connection keeps the certificate it began with; the next one gets what the files held when they were last taken in.
//! What cannot be used is not taken in, and the one before goes on. Knows nothing of requests.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use actix_web::rt::net::TcpStream;
use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, Ticketer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, RootCertStore, ServerConfig};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::ambient::Clock;
use crate::keys::certificate::validity;
use crate::keys::private_file::{self, PrivateFileError};
use crate::model::time::{ENDS_SOON, Timestamp};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is.
const SAY_EVERY: Duration = Duration::from_hours(24);

/// Where a listener's certificate lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and its authority, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM; private like all key files.
    pub key: PathBuf,
    /// Authorities of callers' certificates, PEM; with it the listener asks for one.
    pub client_ca: Option<PathBuf>,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", .file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The key's file is missing or open to others.
    #[error(transparent)]
    Key(#[from] PrivateFileError),
    /// What a file holds is no use.
    #[error("{}: {what}", .file.display())]
    Content {
        /// Which.
        file: PathBuf,
        /// What is wrong with it; never its content.
        what: String,
    },
}

fn content(file: &Path, what: impl Into<String>) -> TlsError {
    TlsError::Content { file: file.to_owned(), what: what.into() }
}

/// A listener's TLS.
pub struct Tls {
    files: TlsFiles,
    current: ArcSwap<Current>,
    /// What the files looked like when they were last tried.
    seen: Mutex<Vec<Look>>,
}

/// What new connections get.
struct Current {
    config: Arc<ServerConfig>,
    /// When the first certificate of the chain ends.
    ends_at: Option<Timestamp>,
}

/// Enough of a file to notice that it changed: a Kubernetes Secret changes by a link to another folder.
type Look = Option<(SystemTime, u64, u64)>;

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let seen = look(&files);
        let current = build(&files)?;
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(current), seen: Mutex::new(seen), files }))
    }

    /// When what is served ends: the first certificate of the chain to do so.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.current.load().ends_at
    }

    /// Whether callers are asked for a certificate.
    #[must_use]
    pub fn asks_for_certificates(&self) -> bool {
        self.files.client_ca.is_some()
    }

    /// Takes the files in anew; connections there are go on as they are. Says whether anything had changed.
    ///
    /// # Errors
    /// [`TlsError`]; what was in use stays in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let now = look(&self.files);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == now {
                return Ok(false);
            }
            *seen = now;
        }
        self.current.store(Arc::new(build(&self.files)?));
        Ok(true)
    }

    /// Takes the files in whenever they change, and says once a day when they end soon, for as long as it is polled.
    /// `listener` is who they are of.
    pub async fn keep_current(self: Arc<Self>, listener: &'static str, clock: Arc<dyn Clock>) {
        let mut said: Option<Instant> = None;
        loop {
            if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) && self.warn(listener, clock.now()) {
                said = Some(Instant::now());
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let this = Arc::clone(&self);
            let outcome = tokio::task::spawn_blocking(move || this.reload()).await;
            let file = self.files.certificate.display();
            match outcome {
                Ok(Ok(true)) => {
                    tracing::info!(target: "edi::tls", %file, "certificate taken in; new connections get it");
                    said = None;
                }
                Ok(Err(error)) => {
                    tracing::error!(target: "edi::tls", %error, "the certificate on disk cannot be used; the one before goes on");
                }
                Ok(Ok(false)) | Err(_) => {}
            }
        }
    }

    /// Whether there was something to say about its end.
    fn warn(&self, listener: &'static str, now: Timestamp) -> bool {
        let Some(ends_at) = self.ends_at().filter(|end| *end < now.plus(ENDS_SOON)) else { return false };
        let file = self.files.certificate.display();
        if ends_at < now {
            tracing::error!(target: "edi::tls", listener, %file, %ends_at, "the certificate has ended: callers refuse it; renew it");
        } else {
            let days = ends_at.since(now).as_secs() / 86_400;
            tracing::warn!(target: "edi::tls", listener, %file, %ends_at, days, "the certificate ends soon: renew it");
        }
        true
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// The caller's fault, or that it took longer than `patience`.
    pub(super) async fn accept(&self, io: TcpStream, patience: Duration) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current.load().config));
        timeout(patience, acceptor.accept(io)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

fn look(files: &TlsFiles) -> Vec<Look> {
    use std::os::unix::fs::MetadataExt as _;
    let look = |file: &PathBuf| {
        let found = std::fs::metadata(file).ok()?;
        Some((found.modified().ok()?, found.len(), found.ino()))
    };
    [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()].into_iter().flatten().map(look).collect()
}

/// ring, with the suites of SHA-256 first: a handshake hashes a lot, and processors do SHA-256 in hardware, which SHA-384
/// has to do without. A caller that wants another suite gets it by offering no other.
fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

fn build(files: &TlsFiles) -> Result<Current, TlsError> {
    let provider = Arc::new(provider());
    let chain = certificates(&files.certificate)?;
    let ends_at = chain.iter().filter_map(|certificate| validity(certificate)).map(|valid| valid.until).min();
    let pem = private_file::read(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| content(&files.key, "holds no private key in PEM"))?;
    let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| {
        // rustls says what is wrong with a key without showing any of it.
        let what = match error {
            rustls::Error::InconsistentKeys(_) => format!("is not the key of {}", files.certificate.display()),
            error => format!("cannot be used with {}: {error}", files.certificate.display()),
        };
        content(&files.key, what)
    })?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| content(&files.certificate, error.to_string()))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| content(file, error.to_string()))?;
            }
            // Asked for, and demanded later: health checks come without one.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| content(file, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ignore_client_order = true;
    // Each handshake uses one up and gets a new one.
    config.send_tls13_tickets = 1;
    if let Ok(ticketer) = Ticketer::new() {
        config.ticketer = ticketer;
    }
    Ok(Current { config: Arc::new(config), ends_at })
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = std::fs::read(file).map_err(|source| TlsError::Read { file: file.to_owned(), source })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(content(file, "holds no certificate in PEM")),
        Err(_) => Err(content(file, "is not PEM")),
    }
}
