//! Whom to trust when a script opens a TLS connection.

use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WantsClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

/// How the certificate of a server is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The authorities that this machine trusts.
    System,
    /// The authorities and servers whose certificates are in this PEM text, and no others.
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
        Trust::Pem(pem) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(ListedCertificates::read(pem, provider)?))
        }
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

/// Accepts the certificates of a list, and those that they vouch for.
#[derive(Debug)]
struct ListedCertificates {
    list: Vec<CertificateDer<'static>>,
    authorities: Arc<WebPkiServerVerifier>,
}

impl ListedCertificates {
    fn read(pem: &[u8], provider: Arc<CryptoProvider>) -> Result<Self> {
        let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let list = list.map_err(|error| anyhow!("the certificates to trust are unreadable: {error}"))?;
        ensure!(!list.is_empty(), "no certificate to trust was found: PEM text is expected");
        let mut roots = RootCertStore::empty();
        for certificate in &list {
            roots.add(certificate.clone()).context("a certificate to trust is unusable")?;
        }
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        Ok(Self { list, authorities })
    }
}

impl ServerCertVerifier for ListedCertificates {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.authorities.verify_server_cert(certificate, intermediates, name, ocsp_response, now) {
            // `openssl req -x509` makes certificates of authorities, which webpki does not take for a server's. It tells
            // this when it has looked at the time, and before it looks at the name.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if self.list.iter().any(|listed| listed.as_ref() == certificate.as_ref()) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    /// A certificate as `openssl req -x509` makes it: signed by itself, and allowed to sign others.
    fn self_signed() -> Certificate {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(2100, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    }

    /// Whether who trusts one certificate accepts another from this server at this time.
    fn is_accepted(trusted: &Certificate, shown: &Certificate, server: &'static str, now: UnixTime) -> bool {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let listed = ListedCertificates::read(trusted.pem().as_bytes(), provider).unwrap();
        listed.verify_server_cert(shown.der(), &[], &server.try_into().unwrap(), &[], now).is_ok()
    }

    #[test]
    fn a_listed_certificate_is_accepted_even_if_it_is_an_authoritys() {
        let certificate = self_signed();
        assert!(is_accepted(&certificate, &certificate, "localhost", UnixTime::now()));
    }

    #[test]
    fn a_listed_certificate_is_refused_under_another_name_and_after_its_time() {
        let certificate = self_signed();
        let later = UnixTime::since_unix_epoch(Duration::from_secs(5_000_000_000));
        assert!(!is_accepted(&certificate, &certificate, "elsewhere", UnixTime::now()));
        assert!(!is_accepted(&certificate, &certificate, "localhost", later));
    }

    #[test]
    fn a_certificate_that_is_not_listed_is_refused() {
        assert!(!is_accepted(&self_signed(), &self_signed(), "localhost", UnixTime::now()));
    }
}
