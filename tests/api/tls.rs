//! TLS of both listeners: handshakes, certificates that change while edi serves, callers' certificates.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use edi::ambient::{Clock as _, SystemClock};
use edi::model::time::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CipherSuite, ClientConfig, SupportedCipherSuite};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::edi::Setup;
use crate::support::program::{Program, run};

struct Pem {
    certificate: String,
    key: String,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(vec!["test authority".into()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn signed_by(authority: &CertifiedIssuer<'static, KeyPair>, purpose: ExtendedKeyUsagePurpose) -> Pem {
    signed(authority, purpose, &["localhost", "127.0.0.1"], 365)
}

/// One for these names that is good for so many days from now, or was until so many days ago.
fn signed(
    authority: &CertifiedIssuer<'static, KeyPair>,
    purpose: ExtendedKeyUsagePurpose,
    names: &[&str],
    days: i64,
) -> Pem {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.extended_key_usages = vec![purpose];
    let end = end_of(days).rfc3339();
    let part = |at: std::ops::Range<usize>| end[at].parse::<u8>().unwrap();
    params.not_after = rcgen::date_time_ymd(end[..4].parse().unwrap(), part(5..7), part(8..10));
    let certificate = params.signed_by(&key, authority).unwrap();
    Pem { certificate: certificate.pem(), key: key.serialize_pem() }
}

/// The midnight that comes next, and so many days.
fn end_of(days: i64) -> Timestamp {
    let end = Timestamp::from_secs(SystemClock.now().secs() + (days + 1) * 86_400).rfc3339();
    Timestamp::parse_rfc3339(&format!("{}T00:00:00Z", &end[..10])).unwrap()
}

fn server(authority: &CertifiedIssuer<'static, KeyPair>) -> Pem {
    signed_by(authority, ExtendedKeyUsagePurpose::ServerAuth)
}

fn put(setup: &Setup, pem: &Pem) {
    let write = |name: &str, text: &str, mode: u32| {
        // Put in place whole, as certificate managers do.
        let (new, file) = (setup.path(&format!("{name}.new")), setup.path(name));
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::rename(new, file).unwrap();
    };
    write("tls.key", &pem.key, 0o600);
    write("tls.crt", &pem.certificate, 0o644);
}

fn encrypted(setup: Setup) -> Setup {
    let path = |name: &str| setup.path(name).display().to_string();
    let (certificate, key) = (path("tls.crt"), path("tls.key"));
    setup.set("listen.tls", "on").set("listen.certificate_file", &certificate).set("listen.key_file", &key)
}

async fn connect(at: SocketAddr, authority: &str, identity: Option<&Pem>) -> std::io::Result<TlsStream<TcpStream>> {
    connect_with(at, authority, identity, ring::default_provider()).await
}

async fn connect_with(
    at: SocketAddr,
    authority: &str,
    identity: Option<&Pem>,
    provider: CryptoProvider,
) -> std::io::Result<TlsStream<TcpStream>> {
    connect_speaking(at, authority, identity, provider, &[]).await
}

async fn connect_speaking(
    at: SocketAddr,
    authority: &str,
    identity: Option<&Pem>,
    provider: CryptoProvider,
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(pem) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(pem.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let socket = TcpStream::connect(at).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), socket).await
}

/// The status of a request on a connection that stays open.
async fn get(stream: &mut TlsStream<TcpStream>, path: &str) -> std::io::Result<u16> {
    fetch(stream, path).await.map(|(status, _)| status)
}

/// The same with the body.
async fn fetch(stream: &mut TlsStream<TcpStream>, path: &str) -> std::io::Result<(u16, String)> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ").map(|n| n.parse::<usize>().unwrap())
        });
        if body.len() >= length.unwrap_or(0) {
            return Ok((head[9..12].parse().unwrap(), body.to_owned()));
        }
    }
}

fn leaf(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn a_certificate_that_changes_is_taken_in_and_no_connection_is_dropped() {
    let authority = authority();
    let setup = encrypted(Setup::new());
    put(&setup, &server(&authority));
    let edi = setup.start().await;
    let mut old = connect(edi.public, &authority.pem(), None).await.unwrap();
    assert_eq!(get(&mut old, "/.well-known/jwks.json").await.unwrap(), 200);
    let before = leaf(&old);
    // What cannot be used changes nothing.
    std::fs::write(setup.path("tls.crt"), "nonsense").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(leaf(&connect(edi.public, &authority.pem(), None).await.unwrap()), before);
    put(&setup, &server(&authority));
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let new = connect(edi.public, &authority.pem(), None).await.unwrap();
        if leaf(&new) != before {
            break;
        }
        assert!(tokio::time::Instant::now() < until, "the new certificate never came");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(get(&mut old, "/.well-known/jwks.json").await.unwrap(), 200, "the connection there was goes on");
}

#[tokio::test]
async fn handshakes_hash_with_sha_256_unless_a_caller_offers_no_such_suite() {
    let authority = authority();
    let setup = encrypted(Setup::new());
    put(&setup, &server(&authority));
    let edi = setup.start().await;
    // The caller's own order has AES-256 and SHA-384 first.
    let authority = authority.pem();
    let offering = async |suites: Vec<SupportedCipherSuite>| {
        let provider = CryptoProvider { cipher_suites: suites, ..ring::default_provider() };
        let stream = connect_with(edi.public, &authority, None, provider).await.unwrap();
        stream.get_ref().1.negotiated_cipher_suite().unwrap().suite()
    };
    let all = ring::DEFAULT_CIPHER_SUITES.to_vec();
    assert_eq!(all[0].suite(), CipherSuite::TLS13_AES_256_GCM_SHA384);
    assert_eq!(offering(all.clone()).await, CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert_eq!(offering(vec![all[0]]).await, CipherSuite::TLS13_AES_256_GCM_SHA384);
}

#[tokio::test]
async fn a_fragment_at_envoys_door_is_refused_and_http_2_is_not_spoken() {
    let authority = authority();
    let setup = encrypted(Setup::new());
    put(&setup, &server(&authority));
    let edi = setup.start().await;
    let ask = async |protocols: &[&[u8]], sent: &str| -> std::io::Result<String> {
        let provider = ring::default_provider();
        let mut stream = connect_speaking(edi.public, &authority.pem(), None, provider, protocols).await?;
        stream.write_all(sent.as_bytes()).await?;
        let mut answer = Vec::new();
        // Whatever ends the connection: what came before counts.
        let read = tokio::time::timeout(Duration::from_mins(1), stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the server does not close");
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let pipelined = "GET /authz/envoy/a HTTP/1.1\r\nHost: a\r\n\r\n\
                     GET /authz/envoy/a#b HTTP/1.1\r\nHost: a\r\n\r\n";
    let single = "GET /authz/envoy/a#b HTTP/1.1\r\nHost: a\r\n\r\n";
    for protocols in [vec![], vec![&b"http/1.1"[..]], vec![b"h2", b"http/1.1"]] {
        assert!(ask(&protocols, single).await.unwrap().starts_with("HTTP/1.1 400 "), "{protocols:?}");
        let answers = ask(&protocols, pipelined).await.unwrap();
        assert!(answers.contains("HTTP/1.1 400 "), "{answers}");
    }
    // Its `:path` has no fragment either (RFC 9113 §8.3.1); as long as it is not spoken nobody has to look.
    assert!(ask(&[b"h2"], single).await.is_err(), "no protocol in common");
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert!(ask(&[], preface).await.unwrap().starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn the_admin_listener_wants_a_certificate_of_its_authorities_but_for_health() {
    let (authority, callers, strangers) = (authority(), authority(), self::authority());
    let setup = encrypted(Setup::new());
    put(&setup, &server(&authority));
    std::fs::write(setup.path("callers.pem"), callers.pem()).unwrap();
    let file = setup.path("callers.pem").display().to_string();
    let edi = setup.set("listen.admin_client_ca_file", &file).start().await;
    let ask = async |identity: Option<&Pem>, at: SocketAddr, path: &str| {
        let mut stream = connect(at, &authority.pem(), identity).await?;
        get(&mut stream, path).await
    };
    let (known, stranger) = (
        signed_by(&callers, ExtendedKeyUsagePurpose::ClientAuth),
        signed_by(&strangers, ExtendedKeyUsagePurpose::ClientAuth),
    );
    for path in ["/admin/v1/status", "/metrics", "/nothing", "/health/ready/"] {
        assert_eq!(ask(None, edi.admin, path).await.unwrap(), 403, "{path}");
    }
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(ask(None, edi.admin, path).await.unwrap(), 200, "{path}");
    }
    assert_eq!(ask(Some(&known), edi.admin, "/admin/v1/status").await.unwrap(), 401, "the token is next");
    assert!(ask(Some(&stranger), edi.admin, "/admin/v1/status").await.is_err(), "another authority's");
    assert_eq!(ask(None, edi.public, "/.well-known/jwks.json").await.unwrap(), 200, "the public listener asks nobody");
}

#[tokio::test]
async fn what_does_not_shake_hands_is_closed_and_harms_nobody() {
    let authority = authority();
    let setup = encrypted(Setup::new());
    put(&setup, &server(&authority));
    let edi = setup.start().await;
    let mut plain = TcpStream::connect(edi.public).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), plain.read_to_end(&mut answer)).await.unwrap();
    assert!(read.is_err() || !answer.starts_with(b"HTTP"), "nothing is served in the clear");
    let mut silent = TcpStream::connect(edi.public).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(30), silent.read_u8()).await;
    assert!(closed.unwrap().is_err(), "a handshake that does not come is not waited for");
    assert!(connect(edi.public, &authority.pem(), None).await.is_ok());
}

#[tokio::test]
async fn files_that_cannot_be_used_stop_the_start_with_the_reason() {
    let (authority, open) = (authority(), 0o644);
    let (good, other) = (server(&authority), server(&authority));
    let rows: &[(&str, &str, u32, &str)] = &[
        (&good.certificate, &other.key, 0o600, "is not the key of"),
        ("", &good.key, 0o600, "holds no certificate"),
        (&good.certificate, "", 0o600, "holds no private key"),
        (&good.certificate, &good.key, open, "chmod 600"),
    ];
    for (certificate, key, mode, why) in rows {
        let setup = encrypted(Setup::new());
        put(&setup, &Pem { certificate: (*certificate).into(), key: (*key).into() });
        std::fs::set_permissions(setup.path("tls.key"), std::fs::Permissions::from_mode(*mode)).unwrap();
        let failure = setup.try_start().await.err().unwrap();
        assert!(failure.message.contains(why), "{why}: {}", failure.message);
    }
    let failure = encrypted(Setup::new()).try_start().await.err().unwrap();
    assert!(failure.message.contains("tls.crt"), "{}", failure.message);
}

#[tokio::test]
async fn a_certificate_near_its_end_is_told_of_in_status_metrics_and_by_the_doctor() {
    let authority = authority();
    let setup = encrypted(Setup::new());
    put(&setup, &signed(&authority, ExtendedKeyUsagePurpose::ServerAuth, &["localhost", "127.0.0.1"], 5));
    for (name, authority) in [("ca.pem", &authority), ("other.pem", &self::authority())] {
        std::fs::write(setup.path(name), authority.pem()).unwrap();
    }
    let port = crate::ports::free_address().port();
    let issuer = format!("https://localhost:{port}");
    let setup = setup.set("listen.public", &format!("127.0.0.1:{port}")).set("issuer", &issuer);
    let edi = setup.start().await;
    edi.clock.set(SystemClock.now());
    let mut stream = connect(edi.admin, &authority.pem(), None).await.unwrap();
    let (_, page) = fetch(&mut stream, "/metrics").await.unwrap();
    for listener in ["public", "admin"] {
        let series = format!("edi_tls_certificate_expiry_timestamp_seconds{{listener=\"{listener}\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&series)).unwrap_or_else(|| panic!("{page}"));
        assert_eq!(line.parse::<i64>().unwrap(), end_of(5).secs());
    }
    let [ca, other] = ["ca.pem", "other.pem"].map(|name| exists(&setup.path(name)));
    let credentials = exists(&setup.path("keys/operator.json"));
    let program = |ca: &str| Program::new().env("SSL_CERT_FILE", ca).env("EDI_CREDENTIALS", &credentials);
    let status = run(program(&ca), "status --json").await.json();
    let attention = status["attention"].to_string();
    assert!(attention.contains("the certificate of the listeners ends at"), "{attention}");
    let doctor = async |ca: &str| run(program(ca), &format!("doctor --json --issuer {issuer}")).await;
    let found = |run: &crate::support::program::Run, check: &str| -> (String, String) {
        let all = run.json()["findings"].as_array().unwrap().clone();
        let it = all.iter().rev().find(|it| it["check"] == check).unwrap_or_else(|| panic!("{run:?}"));
        (it["outcome"].as_str().unwrap().to_owned(), it["found"].as_str().unwrap().to_owned())
    };
    let seen = doctor(&ca).await;
    assert_eq!(found(&seen, "TLS"), ("ok".into(), "TLS 1.3".into()), "{seen:?}");
    let (outcome, told) = found(&seen, "certificate");
    assert!(outcome == "warning" && told.contains("5 days left"), "{told}");
    let seen = doctor(&other).await;
    assert!(found(&seen, "certificate").1.contains("does not trust its chain (1 sent)"), "{seen:?}");
    assert_eq!(seen.code, 1);
    for (names, days, says) in [
        (&["other.example"][..], 90, "it does not name localhost"),
        (&["localhost"][..], -3, "it ended at"),
        (&["localhost"][..], 90, "names localhost, trusted here, 90 days left"),
    ] {
        put(&setup, &signed(&authority, ExtendedKeyUsagePurpose::ServerAuth, names, days));
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let seen = doctor(&ca).await;
            if found(&seen, "certificate").1.contains(says) {
                assert_eq!(seen.code == 0, days > 0 && names == ["localhost"], "{seen:?}");
                break;
            }
            assert!(tokio::time::Instant::now() < until, "{says}: {seen:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn exists(path: &Path) -> String {
    assert!(path.exists());
    path.display().to_string()
}

#[tokio::test]
async fn the_command_line_speaks_tls_and_shows_its_certificate() {
    let authority = authority();
    let setup = encrypted(Setup::new());
    put(&setup, &server(&authority));
    std::fs::write(setup.path("ca.pem"), authority.pem()).unwrap();
    let caller = signed_by(&authority, ExtendedKeyUsagePurpose::ClientAuth);
    let port = crate::ports::free_address().port();
    let ca = exists(&setup.path("ca.pem"));
    let setup = setup
        .set("listen.admin_client_ca_file", &ca)
        .set("listen.public", &format!("127.0.0.1:{port}"))
        .set("issuer", &format!("https://localhost:{port}"));
    let edi = setup.start().await;
    edi.clock.set(SystemClock.now());
    let credentials = setup.path("keys/operator.json").display().to_string();
    let admin = edi.operator["admin"].as_str().unwrap();
    assert!(admin.starts_with("https://127.0.0.1:"), "{admin}");
    let program = || {
        Program::new()
            .env("SSL_CERT_FILE", &ca)
            .env("EDI_CREDENTIALS", &credentials)
            .file("c.pem", &caller.certificate, 0o600)
            .file("k.pem", &caller.key, 0o600)
    };
    let shown = run(program().env("EDI_TLS_CERT", "c.pem").env("EDI_TLS_KEY", "k.pem"), "client list --json").await;
    assert_eq!(shown.code, 0, "{shown:?}");
    let without = run(program(), "client list --json").await;
    assert_ne!(without.code, 0, "{without:?}");
    let health = run(program(), &format!("health --url https://127.0.0.1:{port}")).await;
    assert_eq!(health.code, 0, "{health:?}");
}
