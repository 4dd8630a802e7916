//! The server's certificate and private key. A certificate is renewed every few weeks; clients stay connected meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use parking_lot::RwLock;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::sleep;

use crate::stamp::Stamp;

/// Between two looks at the files.
const PERIOD: Duration = Duration::from_secs(10);

/// What new connections are shown: the contents of two PEM files, also after they have changed.
#[derive(Debug)]
pub struct Certificate {
    files: Files,
    /// The files as they were just before [`Certificate::open`] read them.
    opened: Stamps,
    current: RwLock<Arc<CertifiedKey>>,
}

/// The server's certificate followed by those that vouch for it, and its private key.
#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// Of both files; `None` for one that is not there.
type Stamps = [Option<Stamp>; 2];

impl Certificate {
    /// Reads the PEM files.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self> {
        let files = Files { certificate: certificate.to_owned(), key: key.to_owned() };
        let opened = files.stamps();
        let current = RwLock::new(Arc::new(files.read()?));
        Ok(Self { files, opened, current })
    }

    /// Reads the files again when they have changed, for as long as it is polled. Until both of them fit together, what
    /// was read before stays in use.
    pub async fn keep_current(&self) {
        let mut seen = self.opened;
        loop {
            sleep(PERIOD).await;
            let stamps = self.files.stamps();
            if stamps != seen {
                seen = stamps;
                self.renew();
            }
        }
    }

    fn renew(&self) {
        let path = self.files.certificate.display();
        match self.files.read() {
            Ok(renewed) => {
                *self.current.write() = Arc::new(renewed);
                tracing::info!("new connections get the certificate that is in {path} now");
            }
            Err(error) => tracing::warn!("{error:#}; the certificate that was in {path} before stays in use"),
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().clone())
    }
}

impl Files {
    fn stamps(&self) -> Stamps {
        [&self.certificate, &self.key].map(|path| fs::metadata(path).ok().as_ref().map(Stamp::of))
    }

    fn read(&self) -> Result<CertifiedKey> {
        let (chain, key) = (read_chain(&self.certificate)?, read_key(&self.key)?);
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| self.misfit(&error))
    }

    fn misfit(&self, error: &rustls::Error) -> anyhow::Error {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        match error {
            rustls::Error::InconsistentKeys(_) => {
                anyhow!("the certificate {certificate} and the key {key} do not belong together")
            }
            error => anyhow!("the certificate {certificate} with the key {key} cannot be used: {error}"),
        }
    }
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

#[cfg(test)]
mod tests {
    use rcgen::generate_simple_self_signed;
    use tempfile::TempDir;
    use tokio::io::duplex;

    use super::super::acceptor;
    use super::super::client::{Trust, connector};
    use super::*;

    struct Renewable {
        folder: TempDir,
        certificate: Arc<Certificate>,
    }

    impl Renewable {
        fn new(host: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), host);
            let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
            let certificate = Arc::new(Certificate::open(&certificate, &key).unwrap());
            let keeper = certificate.clone();
            tokio::spawn(async move { keeper.keep_current().await });
            Self { folder, certificate }
        }

        /// The certificate that a new connection gets.
        async fn shown(&self) -> Vec<u8> {
            let (client, server) = duplex(16 * 1024);
            let accepts = acceptor(self.certificate.clone()).unwrap().accept(server);
            let name = "localhost".try_into().unwrap();
            let connects = connector(&Trust::Anybody).unwrap().connect(name, client);
            let (client, _server) = tokio::try_join!(connects, accepts).unwrap();
            client.get_ref().1.peer_certificates().unwrap()[0].to_vec()
        }
    }

    /// Writes both files; returns the certificate.
    fn write(folder: &Path, host: &str) -> Vec<u8> {
        let made = generate_simple_self_signed([host.to_owned()]).unwrap();
        fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
        made.cert.der().to_vec()
    }

    #[tokio::test(start_paused = true)]
    async fn new_connections_get_a_renewed_certificate() {
        let renewable = Renewable::new("old");
        let old = renewable.shown().await;
        let new = write(renewable.folder.path(), "a-longer-name");
        assert_eq!(renewable.shown().await, old);
        sleep(2 * PERIOD).await;
        assert_eq!(renewable.shown().await, new);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_is_not_complete_yet_changes_nothing() {
        let renewable = Renewable::new("old");
        let old = renewable.shown().await;
        let folder = renewable.folder.path();
        let key = fs::read(folder.join("key.pem")).unwrap();
        let new = write(folder, "a-longer-name");
        let new_key = fs::read(folder.join("key.pem")).unwrap();
        fs::write(folder.join("key.pem"), key).unwrap();
        sleep(2 * PERIOD).await;
        assert_eq!(renewable.shown().await, old);
        fs::remove_file(folder.join("key.pem")).unwrap();
        sleep(2 * PERIOD).await;
        assert_eq!(renewable.shown().await, old);
        fs::write(folder.join("key.pem"), new_key).unwrap();
        sleep(2 * PERIOD).await;
        assert_eq!(renewable.shown().await, new);
    }
}
