//! Whom to trust when a script opens a TLS connection.

use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow, ensure};
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

/// How the certificate of a server is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The authorities that this machine trusts.
    System,
    /// The authorities of this PEM text, and no others.
    Pem(Vec<u8>),
    /// Not at all: the connection is encrypted, but the other end may be anybody.
    Anybody,
}

/// Makes TLS connections. The first call with [`Trust::System`] reads the machine's certificates: it may take some time.
pub fn connector(trust: &Trust) -> Result<TlsConnector> {
    static SYSTEM: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let (Trust::System, Some(config)) = (trust, SYSTEM.get()) {
        return Ok(TlsConnector::from(config.clone()));
    }
    let config = Arc::new(config(trust)?);
    if *trust == Trust::System {
        // Another thread may have been faster; its certificates are the same.
        let _ = SYSTEM.set(config.clone());
    }
    Ok(TlsConnector::from(config))
}

fn config(trust: &Trust) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("TLS is not available")?;
    let builder: ConfigBuilder<ClientConfig, WantsClientCert> = match trust {
        Trust::System => builder.with_root_certificates(system_roots()?),
        Trust::Pem(pem) => builder.with_root_certificates(pem_roots(pem)?),
        Trust::Anybody => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
    };
    Ok(builder.with_no_client_auth())
}

fn system_roots() -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // Old stores hold certificates that nobody can read any more; the others do.
    roots.add_parsable_certificates(found.certs);
    ensure!(!roots.is_empty(), "this machine has no trusted certificates (Debian: install ca-certificates)");
    Ok(roots)
}

fn pem_roots(pem: &[u8]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| anyhow!("the certificates to trust are unreadable: {error}"))?;
        roots.add(certificate).context("a certificate to trust is unusable")?;
    }
    ensure!(!roots.is_empty(), "no certificate to trust was found: PEM text is expected");
    Ok(roots)
}

/// Accepts every certificate, if the handshake is signed with its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
