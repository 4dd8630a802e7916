//! The broker under load: what its URL says, and how to connect to it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use hyper::http::uri::Authority;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::args::BenchArgs;
use super::session::Protocol;
use crate::dial::Duplex;
use crate::tls::client::{Trust, connector};

/// The number of loopback addresses that clients of a broker on this machine use in turn. With one address its ports
/// would run out, since closed connections block theirs for a while (TIME_WAIT).
const LOOPBACK_ADDRESSES: u32 = 200;

/// The broker under load.
pub struct Target {
    pub protocol: Protocol,
    /// Host and port, for the Host header.
    pub authority: String,
    /// Path and query of the URL.
    pub path: String,
    address: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// How many connections were made.
    connected: AtomicU32,
}

impl Target {
    /// Reads the URL, and finds an address of its host that answers.
    pub async fn resolve(args: &BenchArgs) -> Result<Self> {
        let url = &args.url;
        let (protocol, default_port) = match url.scheme_str() {
            Some("http") => (Protocol::smq(args.websocket), 80),
            Some("https") => (Protocol::smq(args.websocket), 443),
            Some("mqtt") => (Protocol::Mqtt, 1883),
            Some("nats") => (Protocol::Nats, 4222),
            _ => bail!("{url}: a URL begins with http://, https://, mqtt:// or nats://"),
        };
        let authority = url.authority().with_context(|| format!("{url} names no host"))?;
        let host = authority.host();
        let port = port_of(authority, default_port)?;
        let bare_host = host.trim_matches(['[', ']']);
        let address = reachable(bare_host, port).await.with_context(|| format!("cannot connect to {host}:{port}"))?;
        Ok(Self {
            protocol,
            authority: format!("{host}:{port}"),
            path: url.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            address,
            tls: tls(args, bare_host)?,
            connected: AtomicU32::new(0),
        })
    }

    /// Opens a connection, with TLS for https.
    pub async fn connect(&self) -> Result<Box<dyn Duplex>> {
        let stream = self.dial().await.with_context(|| format!("cannot connect to {}", self.authority))?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                Box::new(stream.with_context(|| format!("TLS with {} failed", self.authority))?)
            }
        })
    }

    /// Opens a TCP connection.
    async fn dial(&self) -> std::io::Result<TcpStream> {
        let IpAddr::V4(ip) = self.address.ip() else { return TcpStream::connect(self.address).await };
        if !ip.is_loopback() || !cfg!(target_os = "linux") {
            return TcpStream::connect(self.address).await;
        }
        let number = self.connected.fetch_add(1, Ordering::Relaxed) % LOOPBACK_ADDRESSES;
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::new(127, 0, 0, 1 + number as u8), 0).into())?;
        socket.connect(self.address).await
    }
}

/// The port that is named behind the host. An error if that is none, since another server may listen on the default port.
fn port_of(authority: &Authority, default: u16) -> Result<u16> {
    match authority.port_u16() {
        Some(port) => Ok(port),
        None if authority.as_str().ends_with(authority.host()) => Ok(default),
        None => bail!("{authority}: the port must be a number from 0 to 65535"),
    }
}

/// The first address of the host that accepts connections. A broker need not listen on all of them.
async fn reachable(host: &str, port: u16) -> Result<SocketAddr> {
    let mut failure = anyhow!("no address is known for {host}");
    for address in lookup_host((host, port)).await? {
        match TcpStream::connect(address).await {
            Ok(_) => return Ok(address),
            Err(error) => failure = error.into(),
        }
    }
    Err(failure)
}

/// What TLS needs, for https: the trusted certificates, and the name that the broker has to prove.
fn tls(args: &BenchArgs, host: &str) -> Result<Option<(TlsConnector, ServerName<'static>)>> {
    let ca = match (args.url.scheme_str() == Some("https"), &args.ca) {
        (true, Some(ca)) => ca,
        (true, None) => bail!("{}: name the certificate to trust with --ca FILE", args.url),
        (false, Some(_)) => bail!("{}: --ca is for https://; this connection is not encrypted", args.url),
        (false, None) => return Ok(None),
    };
    let pem = fs::read(ca).with_context(|| format!("cannot read {}", ca.display()))?;
    let connector = connector(&Trust::Pem(pem)).with_context(|| format!("cannot trust {}", ca.display()))?;
    let name = ServerName::try_from(host.to_owned()).with_context(|| format!("{host} is not a valid name for TLS"))?;
    Ok(Some((connector, name)))
}
