//! Connections that the server opens itself, for its scripts: over TCP, or TLS on top of it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::socket::Keepalive;
use crate::tls::client::{Trust, connector};

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Where to connect to, and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// A name or an address.
    pub host: String,
    pub port: u16,
    /// `None` for a plain connection.
    pub tls: Option<Trust>,
    /// The most time for all of it: looking the name up, the connection, TLS.
    pub timeout: Duration,
}

/// An open connection.
pub struct Connection {
    pub stream: Box<dyn Duplex>,
    /// The address of the other end.
    pub peer: SocketAddr,
    /// The address of this end.
    pub local: SocketAddr,
    pub is_tls: bool,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the host {host} has no address: {error}")]
    Name { host: String, error: io::Error },
    #[error("no connection to {target}: {error}")]
    Connect { target: String, error: io::Error },
    #[error("no TLS with {host}: {why}")]
    Tls { host: String, why: String },
    #[error("no connection to {host}:{port} within {milliseconds} ms")]
    Timeout { host: String, port: u16, milliseconds: u128 },
}

impl Failure {
    /// The error code that scripts get.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "cannotresolve",
            Self::Connect { .. } => "cannotconnect",
            Self::Tls { .. } => "sslhandshake",
            Self::Timeout { .. } => "timeout",
        }
    }
}

impl Target {
    /// Looks the host up, connects, and agrees on TLS if that is wanted.
    pub async fn connect(&self) -> Result<Connection, Failure> {
        timeout(self.timeout, self.open()).await.unwrap_or_else(|_| {
            let (host, port, milliseconds) = (self.host.clone(), self.port, self.timeout.as_millis());
            Err(Failure::Timeout { host, port, milliseconds })
        })
    }

    async fn open(&self) -> Result<Connection, Failure> {
        let stream = self.dial().await?;
        let failure = |error| Failure::Connect { target: format!("{}:{}", self.host, self.port), error };
        let (peer, local) = (stream.peer_addr().map_err(failure)?, stream.local_addr().map_err(failure)?);
        let (stream, is_tls): (Box<dyn Duplex>, _) = match &self.tls {
            None => (Box::new(stream), false),
            Some(trust) => (self.secure(stream, trust.clone()).await?, true),
        };
        Ok(Connection { stream, peer, local, is_tls })
    }

    /// Tries the addresses of the host one after the other. Each has an equal share of the time, so that one that does not
    /// answer at all leaves time for the next.
    async fn dial(&self) -> Result<TcpStream, Failure> {
        let name = |error| Failure::Name { host: self.host.clone(), error };
        let mut failure = name(io::Error::other("unknown"));
        let addresses: Vec<_> = lookup_host((self.host.as_str(), self.port)).await.map_err(name)?.collect();
        let share = self.timeout / addresses.len().max(1) as u32;
        for (index, address) in addresses.iter().enumerate() {
            let connected = match index + 1 == addresses.len() {
                // The time that is left, which the caller limits.
                true => TcpStream::connect(address).await,
                false => timeout(share, TcpStream::connect(address))
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
            };
            match connected {
                Ok(stream) => {
                    // Without it small messages are only slower.
                    let _ = stream.set_nodelay(true);
                    Keepalive::default().apply(&stream);
                    return Ok(stream);
                }
                Err(error) => failure = Failure::Connect { target: address.to_string(), error },
            }
        }
        Err(failure)
    }

    async fn secure(&self, stream: TcpStream, trust: Trust) -> Result<Box<dyn Duplex>, Failure> {
        let failure = |why| Failure::Tls { host: self.host.clone(), why };
        let name = ServerName::try_from(self.host.clone()).map_err(|error| failure(error.to_string()))?;
        // In a thread of its own, since the machine's certificates are read from files.
        let connector = tokio::task::spawn_blocking(move || connector(&trust)).await;
        let connector = connector.map_err(|error| failure(error.to_string()))?;
        let connector = connector.map_err(|error| failure(format!("{error:#}")))?;
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(failure(error.to_string())),
        }
    }
}
