//! Certificate and key for the TLS listener; whom to trust as a client is in [`client`].

pub mod client;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use rustls::ServerConfig;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Reads PEM files: the server's certificate followed by those that vouch for it, and its private key.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let chain = read_chain(certificate)?;
    let private = read_key(key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS is not available")?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| misfit(&error, certificate, key))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| explain(error, path, "certificate"))?;
    if chain.is_empty() {
        bail!("{} holds no certificate in PEM form", path.display());
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| {
        if is_encrypted(path) {
            return anyhow!("the private key {0} is encrypted: `openssl pkey -in {0}` decrypts it", path.display());
        }
        explain(error, path, "private key")
    })
}

/// Both the old and the new form of a PEM file say so in clear.
fn is_encrypted(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.contains("ENCRYPTED"))
}

fn explain(error: PemError, path: &Path, what: &str) -> anyhow::Error {
    match error {
        PemError::NoItemsFound => anyhow!("{} holds no {what} in PEM form", path.display()),
        PemError::Io(error) => anyhow!("cannot read the {what} {}: {error}", path.display()),
        error => anyhow!("cannot read the {what} {}: {error:?}", path.display()),
    }
}

fn misfit(error: &rustls::Error, certificate: &Path, key: &Path) -> anyhow::Error {
    let (certificate, key) = (certificate.display(), key.display());
    match error {
        rustls::Error::InconsistentKeys(_) => {
            anyhow!("the certificate {certificate} and the key {key} do not belong together")
        }
        error => anyhow!("the certificate {certificate} with the key {key} cannot be used: {error}"),
    }
}
