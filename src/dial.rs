//! Connections that the server opens itself, for its scripts: over TCP, or TLS on top of it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::socket::{Keepalive, canonical};
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
        let peer = canonical(stream.peer_addr().map_err(failure)?);
        let local = canonical(stream.local_addr().map_err(failure)?);
        let (stream, is_tls): (Box<dyn Duplex>, _) = match &self.tls {
            None => (Box::new(stream), false),
            Some(trust) => (self.secure(stream, trust.clone()).await?, true),
        };
        Ok(Connection { stream, peer, local, is_tls })
    }

    async fn dial(&self) -> Result<TcpStream, Failure> {
        let name = |error| Failure::Name { host: self.host.clone(), error };
        let addresses: Vec<_> = lookup_host((self.host.as_str(), self.port)).await.map_err(name)?.collect();
        self.dial_one_of(&addresses).await
    }

    /// Tries the addresses of the host one after the other. Each has an equal share of the time, so that one that does not
    /// answer at all leaves time for the next.
    async fn dial_one_of(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
        let mut failure = Failure::Name { host: self.host.clone(), error: io::Error::other("unknown") };
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, SockRef, Socket, Type};
    use tokio::time::Instant;

    use super::*;

    const LOCALHOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    fn target() -> Target {
        Target { host: "localhost".into(), port: 0, tls: None, timeout: Duration::from_secs(20) }
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_followed_by_the_next() {
        let refuses = TcpListener::bind(LOCALHOST).unwrap().local_addr().unwrap();
        let listener = TcpListener::bind(LOCALHOST).unwrap();
        let answers = listener.local_addr().unwrap();
        let stream = target().dial_one_of(&[refuses, answers]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), answers);
        assert!(stream.nodelay().unwrap() && SockRef::from(&stream).keepalive().unwrap());
        let failure = target().dial_one_of(&[refuses]).await.expect_err("nobody is there");
        assert_eq!(failure.code(), "cannotconnect");
    }

    /// Linux drops what comes when a listener's queue is full.
    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn an_address_that_does_not_answer_at_all_leaves_half_the_time_for_the_other() {
        let silent = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        silent.bind(&LOCALHOST.into()).unwrap();
        silent.listen(0).unwrap();
        let is_silent = silent.local_addr().unwrap().as_socket().unwrap();
        let _fills_the_queue = std::net::TcpStream::connect(is_silent).unwrap();
        let listener = TcpListener::bind(LOCALHOST).unwrap();
        let addresses = [is_silent, listener.local_addr().unwrap()];
        let (target, began) = (target(), Instant::now());
        let dialed = timeout(target.timeout, target.dial_one_of(&addresses)).await;
        assert!(dialed.is_ok_and(|dialed| dialed.is_ok()));
        assert_eq!(began.elapsed(), target.timeout / 2);
    }
}
