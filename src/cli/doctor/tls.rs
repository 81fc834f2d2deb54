//! The TLS that verifiers meet: version, chain, name and dates.
//!
//! One handshake that believes everything and sends nothing, to see what there is; whether this machine would trust it is
//! what the documents' fetching told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

use super::finding::Findings;
use crate::cli::issuer;
use crate::config::{Issuer, span};
use crate::keys::certificate::{Validity, validity};
use crate::model::time::{ENDS_SOON, Timestamp};

/// How long connecting, and shaking hands, may take.
const PATIENCE: Duration = Duration::from_secs(5);

const CHECK: &str = "TLS";
const CERTIFICATE: &str = "certificate";

/// What a handshake showed.
struct Met {
    version: Option<ProtocolVersion>,
    /// The server's own certificate first.
    chain: Vec<CertificateDer<'static>>,
}

/// Judges it. `reached` says whether the documents could be fetched, and so whether this machine trusts what it met.
pub(super) async fn judge(issuer: &Issuer, reached: bool, now: Timestamp, all: &mut Findings) {
    let url = issuer::reach(issuer, issuer.as_str());
    let Ok(url) = Url::parse(&url) else { return };
    if url.scheme() != "https" {
        all.skip(CHECK, "the issuer is plain HTTP");
        return;
    }
    let Some(host) = url.host_str() else { return };
    let port = url.port_or_known_default().unwrap_or(443);
    match meet(host, port).await {
        Ok(met) => judge_met(host, &met, reached, now, all),
        Err(why) => {
            let fix = format!("look at it with `openssl s_client -connect {host}:{port} -servername {host}`");
            all.fail(CHECK, format!("no handshake with {host}:{port}: {why}"), fix);
        }
    }
}

fn judge_met(host: &str, met: &Met, reached: bool, now: Timestamp, all: &mut Findings) {
    match met.version {
        Some(ProtocolVersion::TLSv1_3) => all.ok(CHECK, "TLS 1.3"),
        Some(ProtocolVersion::TLSv1_2) => all.ok(CHECK, "TLS 1.2; 1.3 saves a round trip"),
        version => all.warn(CHECK, format!("{version:?}"), "offer TLS 1.3 and 1.2, and nothing older"),
    }
    let Some(leaf) = met.chain.first() else { return };
    let named = ServerName::try_from(host.trim_matches(['[', ']']))
        .is_ok_and(|name| ParsedCertificate::try_from(leaf).is_ok_and(|leaf| verify_server_name(&leaf, &name).is_ok()));
    if !named {
        let fix = format!("get a certificate that names {host} among its subjectAltName, or correct the issuer");
        all.fail(CERTIFICATE, format!("it does not name {host}"), fix);
    }
    // Whichever of the chain ends first ends it all.
    let dates = met.chain.iter().filter_map(|certificate| validity(certificate));
    let first = dates.reduce(|a, b| Validity { from: a.from.max(b.from), until: a.until.min(b.until) });
    let renew = "renew it, and put it where the server reads it (edi takes in a change by itself)";
    let dated = match first {
        None => None,
        Some(Validity { until, .. }) if until < now => {
            all.fail(CERTIFICATE, format!("it ended at {until}, {} ago", span(now.since(until))), renew);
            None
        }
        Some(Validity { from, .. }) if from > now => {
            let fix = "wait, or mend the clock of whichever machine is wrong (`timedatectl`)";
            all.fail(CERTIFICATE, format!("it is valid from {from} on, by this machine's clock not yet"), fix);
            None
        }
        Some(Validity { until, .. }) => {
            let left = until.since(now);
            let days = left.as_secs() / 86_400;
            if left < ENDS_SOON {
                all.warn(CERTIFICATE, format!("{days} days left, until {until}"), renew);
            }
            Some((days, until))
        }
    };
    if !all.is_clean(CERTIFICATE) && (!named || dated.is_none()) {
        return;
    }
    if reached {
        if let Some((days, until)) = dated.filter(|_| all.is_clean(CERTIFICATE)) {
            all.ok(CERTIFICATE, format!("names {host}, trusted here, {days} days left, until {until}"));
        }
    } else {
        let sent = met.chain.len();
        let found = format!("this machine does not trust its chain ({sent} sent)");
        let fix = "serve the certificates between it and its authority with it (fullchain.pem); an authority of your own: \
                   give it to this machine (SSL_CERT_FILE)";
        all.fail(CERTIFICATE, found, fix);
    }
}

async fn meet(host: &str, port: u16) -> Result<Met, String> {
    let provider = Arc::new(ring::default_provider());
    let seen = Arc::new(Seen { provider: Arc::clone(&provider), chain: Mutex::default() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&seen) as _)
        .with_no_client_auth();
    let bare = host.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(bare.clone()).map_err(|error| error.to_string())?;
    let late = |_| "no answer in time".to_owned();
    let socket = timeout(PATIENCE, TcpStream::connect((bare.as_str(), port))).await.map_err(late)?;
    let socket = socket.map_err(|error| error.to_string())?;
    let shaken = timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, socket)).await.map_err(late)?;
    let stream = shaken.map_err(|error| error.to_string())?;
    let version = stream.get_ref().1.protocol_version();
    let chain = seen.chain.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Met { version, chain })
}

/// Takes any chain and keeps it.
#[derive(Debug)]
struct Seen {
    provider: Arc<CryptoProvider>,
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let all = std::iter::once(end_entity).chain(intermediates).map(|it| it.clone().into_owned());
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = all.collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
