//! One HTTP connection, until it ends or a page takes its socket.
//!
//! hyper hands a socket over only behind a 101 response or CONNECT, but a raw SMQ client expects 200, or no response at
//! all. So when a page takes the socket, the service puts the takeover into the `Exchange` and never answers. The loop in
//! `converse` then takes hyper's connection apart, and the takeover gets the socket and the bytes that arrived early. The
//! task ends there, and all memory that HTTP needed is freed.

use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode, Version, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::arrival::Ends;
use super::exchange::{Exchange, TappedSocket};
use super::failing_body::FailingBody;
use super::limits::{HANDSHAKE_TIME, HEAD_TIME, LINGER_TIME, MAX_HEAD_SIZE, MAX_URI_SIZE};
use super::{Arrival, PageReply, Response, answers};
use crate::seats::Seat;
use crate::socket::{Socket, Stream, Takeover};

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. The requests of a connection come one after the other.
    fn handle(&self, arrival: Box<Arrival>) -> impl Future<Output = PageReply> + Send;
}

/// Serves one accepted connection. When `stopping` becomes true, the request that is being answered is still answered, and
/// no further one is read. The seat stays with the socket, also when a page takes it.
pub async fn serve<H: Handler>(
    stream: TcpStream,
    ends: Ends,
    seat: Seat,
    tls: Option<TlsAcceptor>,
    handler: Arc<H>,
    stopping: watch::Receiver<bool>,
) -> io::Result<()> {
    // Large states that are rare are boxed, since a task always takes as much memory as its largest state.
    let stream = match tls {
        None => Stream::Plain(stream),
        Some(tls) => Stream::Tls(Box::new(Box::pin(timeout(HANDSHAKE_TIME, tls.accept(stream))).await??)),
    };
    let socket = Socket { stream, seat };
    let exchange = Arc::new(Mutex::new(Exchange::default()));
    let (socket, early, outcome) = converse(socket, handler, ends, exchange.clone(), stopping).await;
    match outcome {
        Outcome::Taken(takeover) => takeover(socket, early),
        Outcome::Finished(result) => {
            tracing::debug!(error = ?result.err(), "connection ends");
            // Otherwise hyper has answered, or there is nothing to answer.
            let refusal = exchange.lock().is_overlong.then_some(StatusCode::URI_TOO_LONG);
            Box::pin(part(socket, refusal)).await?;
        }
    }
    Ok(())
}

enum Outcome {
    Finished(hyper::Result<()>),
    Taken(Takeover),
}

/// Lets hyper serve the socket until the connection ends or a page takes it. Returns the socket, and the bytes that were
/// read from it and belong to no request.
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
        .max_header_size(MAX_HEAD_SIZE)
        .max_buf_size(2 * MAX_HEAD_SIZE)
        // A client may close its sending side behind its request. With this, hyper does not read what comes behind a
        // request that is still being answered, either.
        .half_close(true);
    builder
}

async fn answer<H: Handler>(
    request: Request<Incoming>,
    handler: Arc<H>,
    ends: Ends,
    exchange: Arc<Mutex<Exchange>>,
) -> Result<Response, Infallible> {
    let version = request.version();
    let mut response = respond(request, handler, ends, exchange).await;
    if version == Version::HTTP_10 && ends_http_1_0(&response) {
        // Otherwise hyper would tell the client that the connection is kept.
        *response.version_mut() = Version::HTTP_10;
    }
    Ok(response)
}

/// Whether an HTTP/1.0 connection closes behind the response: where it says so, and where nothing else ends its body.
fn ends_http_1_0(response: &Response) -> bool {
    let has_length = hyper::body::Body::size_hint(response.body()).exact().is_some()
        || response.headers().contains_key(header::CONTENT_LENGTH);
    !has_length || response.headers().contains_key(header::CONNECTION)
}

async fn respond<H: Handler>(
    request: Request<Incoming>,
    handler: Arc<H>,
    ends: Ends,
    exchange: Arc<Mutex<Exchange>>,
) -> Response {
    let headers = exchange.lock().tap.take_head(request.headers());
    if let Some(status) = objection(&request) {
        return answers::error(status);
    }
    let (head, body) = request.into_parts();
    let arrival = Box::new(Arrival { head, headers, body, ends });
    let has_unseen_end = arrival.has_unseen_end();
    let reply = handler.handle(arrival).await;
    if !has_unseen_end {
        exchange.lock().tap.end_of_body();
    }
    match reply {
        PageReply::Response(mut response) => {
            if has_unseen_end {
                // Otherwise the tap could mistake the rest of the body for the head of the next request.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            // A body of known length is complete already, or a file.
            let is_streamed = hyper::body::Body::size_hint(response.body()).exact().is_none();
            if is_streamed { response.map(|body| FailingBody::new(body, exchange).boxed_unsync()) } else { response }
        }
        PageReply::NotMine(_) => answers::error(StatusCode::NOT_FOUND),
        PageReply::Taken(takeover) => {
            exchange.lock().takeover = Some(takeover);
            pending().await
        }
    }
}

/// The answer to a request that nobody may answer otherwise.
fn objection(request: &Request<Incoming>) -> Option<StatusCode> {
    let uri = request.uri();
    if uri.path().len() + uri.query().map_or(0, str::len) > MAX_URI_SIZE {
        return Some(StatusCode::URI_TOO_LONG);
    }
    if request.method() == Method::CONNECT {
        // Behind any success hyper would leave HTTP.
        return Some(StatusCode::NOT_IMPLEMENTED);
    }
    (!names_one_host(request)).then_some(StatusCode::BAD_REQUEST)
}

/// Whether the request names its host as RFC 9112, section 3.2, demands.
fn names_one_host(request: &Request<Incoming>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let is_one = match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => host.is_empty() || Authority::try_from(host.as_bytes()).is_ok_and(|host| is_host(&host)),
        (Some(_), Some(_)) => false,
    };
    is_one && request.uri().authority().is_none_or(is_host)
}

/// Whether there is no user name and password, which a reader of the URL could mistake for the host.
fn is_host(authority: &Authority) -> bool {
    !authority.as_str().contains('@')
}

/// Ends a connection so that the client can read the last response. Closing a socket with unread input resets the
/// connection, and the client may see the reset before it has read everything.
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
    // The client may go on sending for ever.
    timeout(LINGER_TIME, farewell).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;
    use tokio::time::{Duration, Instant};

    use super::super::SentHeaders;
    use super::*;
    use crate::http::limits::MAX_BODY_SIZE;
    use crate::seats::Seats;

    const SIZE: usize = 16 * 1024 * 1024;

    /// Gives the socket away on `/take`; answers all else with so many bytes that no socket buffer holds them.
    struct Fake {
        taken: Mutex<Option<oneshot::Sender<Taken>>>,
    }

    /// What a page got.
    struct Taken {
        socket: Socket,
        early: Bytes,
        headers: SentHeaders,
        body: Bytes,
    }

    impl Handler for Fake {
        async fn handle(&self, arrival: Box<Arrival>) -> PageReply {
            if arrival.head.uri.path() != "/take" {
                return PageReply::Response(Response::new(answers::whole(vec![b'x'; SIZE])));
            }
            let request = match arrival.into_page_request().await {
                Ok(request) => request,
                Err(status) => return PageReply::Response(answers::error(status)),
            };
            let taken = self.taken.lock().take().expect("only one request takes the socket");
            PageReply::Taken(Box::new(move |socket, early| {
                let (headers, body) = (request.headers, request.body);
                assert!(taken.send(Taken { socket, early, headers, body }).is_ok());
            }))
        }
    }

    /// A client's socket, and what a page gets from the other end.
    async fn connect() -> (TcpStream, oneshot::Receiver<Taken>) {
        connect_to(&Seats::new(1, 0, 1)).await
    }

    async fn connect_to(seats: &Arc<Seats>) -> (TcpStream, oneshot::Receiver<Taken>) {
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(async move { stop.closed().await });
        connect_until(stopping, seats).await
    }

    async fn connect_until(
        stopping: watch::Receiver<bool>,
        seats: &Arc<Seats>,
    ) -> (TcpStream, oneshot::Receiver<Taken>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (taken, got) = oneshot::channel();
        let fake = Arc::new(Fake { taken: Mutex::new(Some(taken)) });
        let (stream, peer) = listener.accept().await.unwrap();
        let ends = Ends::new(peer, stream.local_addr().unwrap(), false);
        let seat = seats.take(peer.ip()).ok().unwrap();
        tokio::spawn(serve(stream, ends, seat, None, fake, stopping));
        (client, got)
    }

    impl Taken {
        /// All that the client sent behind the request, `length` bytes in all.
        async fn read(&mut self, length: usize) -> String {
            let mut all = self.early.to_vec();
            all.resize(length, 0);
            self.socket.read_exact(&mut all[self.early.len()..]).await.unwrap();
            String::from_utf8(all).unwrap()
        }

        /// Writes, and closes.
        async fn write(mut self, text: &str) {
            self.socket.write_all(text.as_bytes()).await.unwrap();
            self.socket.shutdown().await.unwrap();
        }
    }

    async fn read_all(client: &mut TcpStream) -> String {
        let mut all = String::new();
        client.read_to_string(&mut all).await.unwrap();
        all
    }

    #[tokio::test]
    async fn bytes_behind_the_request_reach_whoever_took_the_socket() {
        for kind in ["SimpleMQ: 1", "Connection: Upgrade\r\nUpgrade: websocket", "Connection: close"] {
            let (mut client, got) = connect().await;
            let request = format!("GET /take HTTP/1.1\r\nHost: a\r\n{kind}\r\n\r\nearly");
            client.write_all(request.as_bytes()).await.unwrap();
            let mut taken = got.await.unwrap();
            client.write_all(b"late").await.unwrap();
            assert_eq!(taken.read(9).await, "earlylate", "{kind}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_was_taken_carries_no_response() {
        let (mut client, got) = connect().await;
        client.write_all(b"GET /take HTTP/1.0\r\n\r\n").await.unwrap();
        got.await.unwrap().write("only this").await;
        assert_eq!(read_all(&mut client).await, "only this");
    }

    #[tokio::test]
    async fn a_stop_lets_the_response_end_and_then_the_connection() {
        let (stop, stopping) = watch::channel(false);
        let (mut client, _got) = connect_until(stopping, &Seats::new(1, 0, 1)).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut response = vec![0; SIZE / 2];
        client.read_exact(&mut response).await.unwrap();
        stop.send_replace(true);
        let rest = timeout(HEAD_TIME / 2, read_all(&mut client)).await.expect("no other request is waited for");
        assert!(response.len() + rest.len() > SIZE, "nothing is missing");
    }

    #[tokio::test]
    async fn a_socket_that_was_taken_keeps_its_seat_until_it_is_closed() {
        let seats = Seats::new(1, 0, 1);
        let (mut client, got) = connect_to(&seats).await;
        let address = client.local_addr().unwrap().ip();
        client.write_all(b"GET /take HTTP/1.0\r\n\r\n").await.unwrap();
        let taken = got.await.unwrap();
        assert!(seats.take(address).is_err(), "somebody else has the only seat");
        drop(taken);
        assert!(seats.take(address).is_ok());
    }

    #[tokio::test]
    async fn a_body_belongs_to_the_request_and_what_follows_does_not() {
        let (mut client, got) = connect().await;
        client.write_all(b"POST /take HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo").await.unwrap();
        client.write_all(b"dyearly").await.unwrap();
        let mut taken = got.await.unwrap();
        assert_eq!(taken.body, "body");
        assert_eq!(taken.read(5).await, "early");
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_refused_whether_it_says_so_or_not() {
        let long = vec![b'x'; MAX_BODY_SIZE + 1];
        let size = format!("{:x}\r\n", long.len());
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        let announced = format!("Content-Length: {}\r\n\r\n", long.len());
        for (headers, chunk) in [(announced.as_str(), ""), ("Transfer-Encoding: chunked\r\n\r\n", size.as_str())] {
            let (mut client, _got) = connect().await;
            let head = format!("POST /take HTTP/1.1\r\nHost: a\r\n{form}{headers}{chunk}");
            client.write_all(head.as_bytes()).await.unwrap();
            client.write_all(&long).await.unwrap();
            assert!(read_all(&mut client).await.starts_with("HTTP/1.1 413 "), "{headers}");
        }
    }

    #[tokio::test]
    async fn what_a_client_goes_on_sending_does_not_keep_the_refusal_from_it() {
        let (mut client, _got) = connect().await;
        let head = format!(
            "POST /take HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&[b'x'; SIZE]).await.expect("the server reads");
        assert!(read_all(&mut client).await.starts_with("HTTP/1.1 413 "));
    }

    /// How long a client is served that does as `act` says and then neither sends nor closes anything.
    async fn served(tls: Option<TlsAcceptor>, act: impl AsyncFnOnce(&mut TcpStream)) -> Duration {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let ends = Ends::new(peer, stream.local_addr().unwrap(), tls.is_some());
        let seat = Seats::new(1, 0, 1).take(peer.ip()).ok().unwrap();
        let (_stop, stopping) = watch::channel(false);
        let fake = Arc::new(Fake { taken: Mutex::new(None) });
        let began = Instant::now();
        let (_, ()) = tokio::join!(serve(stream, ends, seat, tls, fake, stopping), act(&mut client));
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_not_waited_for_for_ever() {
        let nothing = async |_: &mut TcpStream| ();
        assert_eq!(served(None, nothing).await.as_secs(), (HEAD_TIME + LINGER_TIME).as_secs());
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_cert_resolver(Arc::new(rustls::server::ResolvesServerCertUsingSni::new()));
        assert_eq!(served(Some(Arc::new(config).into()), nothing).await.as_secs(), HANDSHAKE_TIME.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_close_behind_its_last_response_is_left() {
        let ask = async |client: &mut TcpStream| {
            client.write_all(b"CONNECT a:1 HTTP/1.0\r\n\r\n").await.unwrap();
            assert!(read_all(client).await.contains(" 501 "));
        };
        assert_eq!(served(None, ask).await.as_secs(), LINGER_TIME.as_secs());
    }

    #[tokio::test]
    async fn a_body_that_would_be_too_long_is_not_asked_for() {
        let (mut client, _got) = connect().await;
        let request = "POST /take HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                       Content-Length: 9999999\r\nExpect: 100-continue\r\n\r\n";
        client.write_all(request.as_bytes()).await.unwrap();
        assert!(read_all(&mut client).await.starts_with("HTTP/1.1 413 "));
    }

    #[tokio::test]
    async fn header_names_come_in_the_letter_case_in_which_they_were_sent() {
        let (mut client, got) = connect().await;
        client.write_all(b"GET /take HTTP/1.1\r\nHOST: a\r\nSimpleMQ: 1\r\n\r\n").await.unwrap();
        let names: Vec<_> = got.await.unwrap().headers.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["HOST", "SimpleMQ"]);
    }

    #[tokio::test]
    async fn an_earlier_response_is_written_to_its_end_before_the_socket_goes() {
        let (mut client, mut got) = connect().await;
        let requests = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /take HTTP/1.1\r\nHost: a\r\n\r\nearly";
        client.write_all(requests).await.unwrap();
        let mut response = vec![0; SIZE / 2];
        client.read_exact(&mut response).await.unwrap();
        assert!(got.try_recv().is_err(), "half of the response is still to come");
        let page = async {
            let mut taken = got.await.unwrap();
            assert_eq!(taken.read(5).await, "early");
            taken.write("raw").await;
        };
        let (rest, ()) = tokio::join!(read_all(&mut client), page);
        assert!(rest.ends_with("xxxraw"));
        assert!(response.len() + rest.len() > SIZE, "nothing is missing");
    }
}
