//! Certificates and the settings of TLS: one authority and one certificate (ECDSA P-256) for everything that is measured.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CipherSuite, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

/// The name in the certificate.
pub(crate) const NAME: &str = "localhost";

struct Identity {
    authority: String,
    certificate: String,
    key: String,
}

impl Identity {
    fn make() -> Result<Self> {
        let mut params = CertificateParams::new(vec!["load authority".into()])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec![NAME.into(), "127.0.0.1".into()])?;
        let certificate = params.signed_by(&key, &authority)?;
        Ok(Self { authority: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

static IDENTITY: LazyLock<Result<Identity>> = LazyLock::new(Identity::make);

fn identity() -> Result<&'static Identity> {
    IDENTITY.as_ref().map_err(|error| anyhow::anyhow!("cannot make certificates: {error:#}"))
}

/// The name as rustls takes it.
pub(crate) fn name() -> Result<ServerName<'static>> {
    Ok(ServerName::try_from(NAME)?)
}

/// Writes `ca.crt`, `tls.crt` and `tls.key`.
pub(crate) fn write(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let identity = identity()?;
    std::fs::write(folder.join("ca.crt"), &identity.authority)?;
    std::fs::write(folder.join("tls.crt"), &identity.certificate)?;
    std::fs::write(folder.join("tls.key"), &identity.key)?;
    std::fs::set_permissions(folder.join("tls.key"), std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// What the limit server encrypts with: the settings edi has.
pub(crate) fn server(folder: &Path) -> Result<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_slice(&std::fs::read(folder.join("tls.crt"))?)?];
    let key = PrivateKeyDer::from_pem_slice(&std::fs::read(folder.join("tls.key"))?)?;
    let mut provider = ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ignore_client_order = true;
    config.send_tls13_tickets = 1;
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

/// A caller that checks the certificate and resumes sessions.
pub(crate) fn client() -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(identity()?.authority.as_bytes()).context("the authority")?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A caller that shakes hands in full each time and believes every certificate: checking one costs more than making the
/// signature, and the load must not be what is measured.
pub(crate) fn credulous_client() -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let believer = Arc::new(Credulous(Arc::clone(&provider)));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(believer)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
