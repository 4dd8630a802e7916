//! The ports on which the server listens.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use super::say;
use super::shards::Shards;
use crate::config::Config;
use crate::http::accept::Door;
use crate::http::site::Site;
use crate::http::trace_console;
use crate::lsp::App;
use crate::seats::Seats;
use crate::socket::{Keepalive, defer_accept};
use crate::tls::{self, certificate::Certificate};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// The ports, each with what its connections are wrapped in.
pub(super) struct Listeners {
    pub(super) plain: Listener,
    pub(super) tls: Option<(Listener, Arc<Certificate>)>,
}

pub(super) struct Listener {
    listener: TcpListener,
    pub(super) address: SocketAddr,
}

impl Listeners {
    pub(super) fn bind(config: &Config) -> Result<Self> {
        let tls = match &config.tls {
            None => None,
            Some(tls) => {
                let certificate = Certificate::open(&tls.certificate, &tls.key)?;
                Some((Listener::bind(&tls.host, tls.port)?, Arc::new(certificate)))
            }
        };
        Ok(Self { plain: Listener::bind(&config.host, config.port)?, tls })
    }

    /// Makes the first shard accept the connections of all listeners, and spread them over the shards.
    pub(super) fn open(
        &self,
        shards: &Shards,
        site: &Arc<Site>,
        seats: &Arc<Seats>,
        stopping: &watch::Receiver<bool>,
    ) -> Result<()> {
        let runtimes = shards.runtimes();
        let door = |tls| Door::new(site.clone(), tls, seats.clone(), stopping.clone(), runtimes.clone());
        let mut doors = vec![(&self.plain, door(None))];
        let _inside = runtimes[0].enter();
        if let Some((listener, certificate)) = &self.tls {
            doors.push((listener, door(Some(tls::acceptor(certificate.clone())?))));
            let certificate = certificate.clone();
            tokio::spawn(async move { certificate.keep_current().await });
        }
        for (Listener { listener, address }, door) in doors {
            let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
            tokio::spawn(door.accept(listener, *address));
        }
        Ok(())
    }

    /// Tells the URL of each app on each listener.
    pub(super) fn announce(&self, apps: &[Arc<App>]) {
        let bases = [Some(("http", &self.plain)), self.tls.as_ref().map(|(listener, _)| ("https", listener))];
        for (scheme, listener) in bases.into_iter().flatten() {
            let base = format!("{scheme}://{}/", listener.reachable_address());
            for app in apps {
                let (path, name) = (app.path().display(), app.name());
                let slash = if name.is_empty() { "" } else { "/" };
                say(format_args!("{path} is served at {base}{name}{slash}"));
            }
            if apps.is_empty() {
                say(format_args!("no app is mounted; a welcome page is served at {base}"));
            }
        }
    }

    /// Tells the URL of the trace console, if it can be reached: it is shown to this machine only.
    pub(super) fn announce_console(&self) {
        let address = self.plain.reachable_address();
        if address.ip().is_loopback() {
            say(format_args!("what scripts print and trace is shown at http://{address}/{}", trace_console::PATH));
        }
    }
}

impl Listener {
    fn bind(host: &str, port: u16) -> Result<Self> {
        // An IPv6 address may be written as in a URL.
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let addresses =
            (host, port).to_socket_addrs().with_context(|| format!("no address is known for host {host}"))?;
        let mut failure = anyhow!("no address is known for host {host}");
        for address in addresses {
            match listen(address) {
                Ok(listener) => return Ok(Self { address: listener.local_addr()?, listener }),
                Err(error) => failure = explain(&error, address),
            }
        }
        Err(failure)
    }

    /// The address to be used in a URL on this machine: that of loopback if the listener has "any address".
    pub(super) fn reachable_address(&self) -> SocketAddr {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            match &mut address {
                SocketAddr::V4(v4) => v4.set_ip(std::net::Ipv4Addr::LOCALHOST),
                SocketAddr::V6(v6) => v6.set_ip(std::net::Ipv6Addr::LOCALHOST),
            }
        }
        address
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // So that a restart need not wait until the kernel has forgotten the connections of the last run. Two servers at the
    // same time are still refused; that would take SO_REUSEPORT.
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit both, which saves two system calls for each connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&Keepalive::default().option())?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    defer_accept(&socket);
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn explain(error: &io::Error, address: SocketAddr) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!("cannot listen on {address}: the port is in use"),
        io::ErrorKind::AddrNotAvailable => anyhow!("cannot listen on {address}: not an address of this machine"),
        io::ErrorKind::PermissionDenied => anyhow!("cannot listen on {address}: this user may not use the port"),
        _ => anyhow!("cannot listen on {address}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;

    use socket2::SockRef;

    use super::*;

    #[test]
    fn an_ipv6_address_may_stand_in_brackets() {
        for host in ["::1", "[::1]"] {
            match Listener::bind(host, 0) {
                Ok(listener) => assert!(listener.address.is_ipv6()),
                // The machine may have no IPv6; the name is understood all the same.
                Err(error) => assert!(format!("{error:#}").contains("[::1]:0"), "{host}: {error:#}"),
            }
        }
    }

    #[test]
    fn accepted_sockets_inherit_keepalive_and_nodelay() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listener.set_nonblocking(false).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"GET").unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let (accepted, keepalive) = (SockRef::from(&accepted), Keepalive::default());
        assert!(accepted.keepalive().unwrap() && accepted.tcp_nodelay().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), keepalive.idle);
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), keepalive.interval);
    }
}
