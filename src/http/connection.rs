//! One client's life under HTTP, until it ends or a page takes its socket.
//!
//! hyper hands a socket over only behind a 101 response or CONNECT, but a raw SMQ client expects 200, or no response at
//! all. So when a page takes the socket, the service leaves the takeover in the [`Exchange`] and never answers; the
//! loop here then takes hyper's connection apart, and gives the takeover the socket and what arrived early. The HTTP
//! task ends there, and with it goes the memory that HTTP needed.

use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode, Version, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::arrival::Ends;
use super::exchange::{Exchange, TappedSocket};
use super::limits::{HANDSHAKE_TIME, HEAD_TIME, LINGER_TIME, MAX_HEAD_SIZE, MAX_HEADERS, MAX_URI_SIZE};
use super::{Arrival, PageReply, Response, answers};
use crate::socket::{Socket, Takeover};

/// Who answers requests.
pub trait Handler: Send + Sync + 'static {
    fn handle(&self, arrival: Arrival) -> impl Future<Output = PageReply> + Send;
}

/// Serves one accepted connection. `stopping` becomes true when the server stops: what is being answered then is
/// answered, and no further request is read.
pub async fn serve<H: Handler>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    handler: Arc<H>,
    stopping: watch::Receiver<bool>,
) -> io::Result<()> {
    let socket = match tls {
        None => Socket::Plain(stream),
        Some(tls) => Socket::Tls(Box::new(timeout(HANDSHAKE_TIME, tls.accept(stream)).await??)),
    };
    let ends = Ends { peer: socket.peer_addr()?, local: socket.tcp().local_addr()?, is_tls: socket.is_tls() };
    let exchange = Arc::new(Mutex::new(Exchange::default()));
    let (socket, early, outcome) = converse(socket, handler, ends, exchange.clone(), stopping).await;
    match outcome {
        Outcome::Taken(takeover) => takeover(socket, early),
        Outcome::Finished(result) => {
            let is_overlong = exchange.lock().is_overlong;
            part(socket, refusal(is_overlong, result.err())).await?;
        }
    }
    Ok(())
}

enum Outcome {
    Finished(hyper::Result<()>),
    Taken(Takeover),
}

/// Lets hyper drive the socket until the conversation ends. Returns the socket with the bytes that were read from it
/// but belong to no request.
async fn converse<H: Handler>(
    socket: Socket,
    handler: Arc<H>,
    ends: Ends,
    exchange: Arc<Mutex<Exchange>>,
    mut stopping: watch::Receiver<bool>,
) -> (Socket, Bytes, Outcome) {
    let answer = {
        let exchange = exchange.clone();
        // Boxed, since hyper can be taken apart only when the service's future may be moved.
        service_fn(move |request| -> Pin<Box<dyn Future<Output = _> + Send>> {
            Box::pin(answer(request, handler.clone(), ends, exchange.clone()))
        })
    };
    let io = TokioIo::new(TappedSocket::new(socket, exchange.clone()));
    let mut connection = builder().serve_connection(io, answer);
    let mut stop = pin!(stopping.wait_for(|stopping| *stopping));
    let mut is_stopping = false;
    let outcome = poll_fn(|cx| {
        if !is_stopping && stop.as_mut().poll(cx).is_ready() {
            is_stopping = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        if let Poll::Ready(result) = connection.poll_without_shutdown(cx) {
            return Poll::Ready(Outcome::Finished(result));
        }
        exchange.lock().ready_takeover().map_or(Poll::Pending, |takeover| Poll::Ready(Outcome::Taken(takeover)))
    })
    .await;
    let parts = connection.into_parts();
    (parts.io.into_inner().into_socket(), parts.read_buf, outcome)
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD_SIZE)
        .max_buf_size(2 * MAX_HEAD_SIZE)
        // A client may end its sending side behind its request; and hyper then leaves alone what comes behind a
        // request that is still being answered.
        .half_close(true);
    builder
}

async fn answer<H: Handler>(
    request: Request<Incoming>,
    handler: Arc<H>,
    ends: Ends,
    exchange: Arc<Mutex<Exchange>>,
) -> Result<Response, Infallible> {
    let headers = exchange.lock().tap.take_head(request.headers());
    if let Some(status) = objection(&request) {
        return Ok(answers::error(status));
    }
    let (head, body) = request.into_parts();
    let reply = handler.handle(Arrival { head, headers, body, ends }).await;
    exchange.lock().tap.end_of_body();
    match reply {
        PageReply::Response(response) => Ok(response),
        PageReply::NotMine(_) => Ok(answers::error(StatusCode::NOT_FOUND)),
        PageReply::Taken(takeover) => {
            exchange.lock().takeover = Some(takeover);
            pending().await
        }
    }
}

/// What is wrong with a request, whoever might answer it.
fn objection(request: &Request<Incoming>) -> Option<StatusCode> {
    let uri = request.uri();
    if uri.path().len() + uri.query().map_or(0, str::len) > MAX_URI_SIZE {
        return Some(StatusCode::URI_TOO_LONG);
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let is_valid = match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => host.is_empty() || hyper::http::uri::Authority::try_from(host.as_bytes()).is_ok(),
        (Some(_), Some(_)) => false,
    };
    (!is_valid).then_some(StatusCode::BAD_REQUEST)
}

/// What to tell a client whose conversation hyper ended without a word.
fn refusal(is_overlong: bool, error: Option<hyper::Error>) -> Option<StatusCode> {
    if is_overlong {
        return Some(StatusCode::URI_TOO_LONG);
    }
    tracing::debug!(?error, "connection ends");
    None
}

/// Ends a connection so that the client can read the last response: a socket that is closed while bytes wait in it is
/// reset, and a reset overtakes what was sent before.
async fn part(mut socket: Socket, refusal: Option<StatusCode>) -> io::Result<()> {
    let farewell = async {
        if let Some(status) = refusal {
            socket.write_all(&answers::raw_error(status)).await?;
        }
        socket.shutdown().await?;
        let mut ignored = [0; 4096];
        while socket.read(&mut ignored).await? > 0 {}
        Ok(())
    };
    // However long the client goes on sending.
    timeout(LINGER_TIME, farewell).await.unwrap_or(Ok(()))
}
