//! Accepts connections on the first shard, and spreads them over all.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::connection::{Handler, serve};
use super::{Ends, answers};
use crate::seats::{Full, Seats};

/// How long to wait when a connection cannot be accepted, such as when the process has no file descriptor left.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the log tells that connections are refused.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// What the connections of one listener are served with.
pub struct Door<H> {
    handler: Arc<H>,
    tls: Option<TlsAcceptor>,
    seats: Arc<Seats>,
    stopping: watch::Receiver<bool>,
    /// The shards' runtimes, by number.
    shards: Arc<[Handle]>,
    refusals: Mutex<Refusals>,
}

/// Connections that were refused since the log last told of it.
struct Refusals {
    since_report: u64,
    next_report: Instant,
}

impl<H: Handler> Door<H> {
    /// `tls` is `None` for a listener of plain connections; `stopping` becomes true when the server stops.
    pub fn new(
        handler: Arc<H>,
        tls: Option<TlsAcceptor>,
        seats: Arc<Seats>,
        stopping: watch::Receiver<bool>,
        shards: Arc<[Handle]>,
    ) -> Arc<Self> {
        let refusals = Mutex::new(Refusals { since_report: 0, next_report: Instant::now() });
        Arc::new(Self { handler, tls, seats, stopping, shards, refusals })
    }

    /// Accepts until the server stops. `address` is the listener's own. For the first shard.
    pub async fn accept(self: Arc<Self>, listener: TcpListener, address: SocketAddr) {
        let mut stopping = self.stopping.clone();
        loop {
            let accepted = tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let local = local_address(&stream, address);
                    self.admit(stream, Ends::new(peer, local, self.tls.is_some()));
                }
                Err(error) => pause_after(error).await,
            }
        }
    }

    fn admit(&self, stream: TcpStream, ends: Ends) {
        let peer = ends.peer;
        let seat = match self.seats.take(peer.ip()) {
            Ok(seat) => seat,
            Err(full) => return self.refuse(stream, peer, full),
        };
        let shard = seat.shard();
        let (tls, handler, stopping) = (self.tls.clone(), self.handler.clone(), self.stopping.clone());
        // Boxed, since tokio copies a task as a whole several times when it starts and ends.
        let serve = move |stream| Box::pin(serve(stream, ends, seat, tls, handler, stopping));
        match self.shards.get(shard) {
            Some(other) if shard != 0 => {
                let stream = stream.into_std();
                other.spawn(watch_over(peer, async move { serve(TcpStream::from_std(stream?)?).await }))
            }
            _ => tokio::spawn(watch_over(peer, serve(stream))),
        };
    }

    fn refuse(&self, stream: TcpStream, peer: SocketAddr, full: Full) {
        if self.tls.is_none()
            && let Ok(mut stream) = stream.into_std()
        {
            // Read first: closing a socket with unread input resets the connection, and the answer may be lost. Nothing is
            // waited for; a client that has sent more, or does not read, gets no answer.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write(&answers::raw_error(StatusCode::SERVICE_UNAVAILABLE));
        }
        let mut refusals = self.refusals.lock();
        refusals.since_report += 1;
        if Instant::now() >= refusals.next_report {
            tracing::warn!(%peer, connections = refusals.since_report, "refused: {full}");
            *refusals = Refusals { since_report: 0, next_report: Instant::now() + REPORT_EVERY };
        }
    }
}

/// The address to which a client of the listener at `listener` has connected. Only a listener for all addresses has to ask the
/// system.
fn local_address(stream: &TcpStream, listener: SocketAddr) -> SocketAddr {
    if listener.ip().is_unspecified() { stream.local_addr().unwrap_or(listener) } else { listener }
}

/// Logs how a connection ended.
async fn watch_over(peer: SocketAddr, served: impl Future<Output = io::Result<()>>) {
    if let Err(error) = served.await {
        tracing::debug!(%peer, %error, "connection lost");
    }
}

/// Waits after a failure to accept, which is most likely a shortage that passes. That a client gave up before it was
/// accepted is no failure.
async fn pause_after(error: io::Error) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    tracing::warn!(%error, "cannot accept a connection; trying again");
    sleep(PAUSE).await;
}
