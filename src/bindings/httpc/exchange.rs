//! One request and its response.
//!
//! A server may close a kept connection at any time, also while a request is on its way. So a request on such a
//! connection is sent once more on a new one, if it does no harm that the server may see it twice ([`is_repeatable`]).

use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use hyper::http::response::Parts;
use hyper::upgrade::{self, OnUpgrade};
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::task::{spawn_local, yield_now};
use tokio::time::timeout;

use super::redirect::{self, Trail};
use super::request::{Body, Request, takes_body};
use super::unpack::Unpacker;
use crate::dial::{self, Duplex};
use crate::http;
use crate::tls::client::Trust;
use crate::transport::websocket::accept_key;

/// How many pieces of a request's body may wait to be sent. A script that writes more waits.
const PIECES: usize = 4;
/// To keep a connection, the rest of its response has to be read: at most so many bytes.
const MAX_REST: usize = 64 * 1024;
/// How long reading that rest may take.
const REST_TIME: Duration = Duration::from_millis(200);

/// Why there is no response, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Dial(#[from] dial::Failure),
    #[error("the server did not answer in time")]
    Timeout,
    #[error("the connection is gone: {0}")]
    Closed(hyper::Error),
    #[error("the server's answer is not HTTP: {0}")]
    Invalid(hyper::Error),
    #[error("the body of this request is complete")]
    NoBody,
    #[error("the response has more than {0} bytes")]
    TooLarge(usize),
    #[error("there is no response: the request has failed before")]
    Over,
    #[error("the script has closed the client meanwhile")]
    Abandoned,
    /// The request could not be made, for this reason.
    #[error("{0}")]
    Before(Rc<Failure>),
    #[error("more than {} redirects in a row", redirect::MAX)]
    Redirects,
    #[error("the response is not compressed as it says: {0}")]
    Packed(io::Error),
    #[error("the request did not become a WebSocket: the server answered with {0}")]
    NotUpgraded(StatusCode),
    #[error("the server's Sec-WebSocket-Accept does not match the key that it was sent")]
    WrongKey,
}

impl Failure {
    /// A word that scripts can compare with.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Dial(failure) => failure.code(),
            Self::Before(failure) => failure.code(),
            Self::Timeout => "timeout",
            Self::Closed(_) | Self::Over | Self::Abandoned => "socketclosed",
            Self::Invalid(_) | Self::Packed(_) | Self::WrongKey => "invalidresponse",
            Self::NotUpgraded(_) => "notupgraded",
            Self::Redirects => "redirects",
            Self::NoBody => "bodycomplete",
            Self::TooLarge(_) => "toolarge",
        }
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        if error.is_parse() { Self::Invalid(error) } else { Self::Closed(error) }
    }
}

/// A connection that may be used for further requests.
pub struct Kept {
    sender: SendRequest<http::Body>,
    whom: Whom,
    peer: SocketAddr,
    local: SocketAddr,
}

/// The server of a connection: host, port, and for TLS, by what it was trusted. Only a request with the same may use
/// it.
#[derive(Clone, PartialEq)]
struct Whom(String, u16, Option<Trust>);

/// The head of a response that is awaited.
type Answer = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>>>>;

/// A request and its response.
pub struct Exchange {
    kept: Option<Kept>,
    /// Open while the script may write the request's body.
    body: Option<Writer>,
    stage: Stage,
    /// The same request, to be sent on a new connection if the kept one turns out to be closed.
    again: Option<Request>,
    /// For each step: the head of the response, each piece of a body.
    timeout: Duration,
    /// What is needed to follow redirects; `None` if they are not followed.
    trail: Option<Trail>,
    /// Whether a compressed response is decompressed.
    unpacks: bool,
    /// The key of a request for a WebSocket.
    key: Option<HeaderValue>,
}

/// What writes the body of a request.
struct Writer {
    pieces: mpsc::Sender<http::Piece>,
    /// How many bytes are missing of the length that was announced; `None` if none was.
    left: Option<u64>,
}

/// How far the exchange is.
enum Stage {
    /// The request is being sent, or its response awaited.
    Asked(Answer),
    /// The head of the response is there.
    Answered(Box<Answered>),
    /// The response failed, or its connection was taken.
    Failed,
    /// The request could not be made.
    NotMade(Rc<Failure>),
}

/// A response whose head is there.
struct Answered {
    head: Parts,
    /// The body.
    rest: Incoming,
    /// Whether all of the body has arrived.
    has_ended: bool,
    /// What has arrived of the body, decompressed, and was not read by the script.
    input: BytesMut,
    /// For a compressed body.
    unpacker: Option<Unpacker>,
    /// For a connection that has changed its protocol (status 101).
    upgrade: Option<OnUpgrade>,
}

impl Exchange {
    /// Sends the request, on `kept` if that is a connection to the same server, else on a new one.
    pub async fn start(request: Request, kept: Option<Kept>) -> Result<Self, Failure> {
        let target = &request.target;
        let whom = Whom(target.host.clone(), target.port, target.tls.clone());
        if kept.is_some() {
            // The server may have closed the connection while the script was running. The task that drives it has to
            // run to notice that.
            yield_now().await;
        }
        let (mut kept, again) = match kept.filter(|kept| kept.whom == whom && kept.sender.is_ready()) {
            Some(kept) => (kept, is_repeatable(&request).then(|| request.clone())),
            None => (connect(target, whom).await?, None),
        };
        let (timeout, trail, unpacks) = (target.timeout, Trail::of(&request), request.unpacks);
        let key = request.headers.get(SEC_WEBSOCKET_KEY).cloned();
        let (request, body) = message(request);
        let answer = Box::pin(kept.sender.send_request(request));
        Ok(Self { kept: Some(kept), body, stage: Stage::Asked(answer), again, timeout, trail, unpacks, key })
    }

    /// An exchange for a request that could not be made: all its methods fail for that reason.
    pub fn not_made(failure: Rc<Failure>) -> Self {
        let stage = Stage::NotMade(failure);
        let (timeout, trail, unpacks) = (Duration::ZERO, None, false);
        Self { kept: None, body: None, stage, again: None, timeout, trail, unpacks, key: None }
    }

    /// Sends a piece of the request's body; of one that goes beyond the body's length, what belongs to the body.
    pub async fn write(&mut self, mut data: Vec<u8>) -> Result<(), Failure> {
        if let Stage::NotMade(failure) = &self.stage {
            return Err(Failure::Before(failure.clone()));
        }
        let Some(body) = &mut self.body else { return Err(Failure::NoBody) };
        let whole = if body.cut(&mut data) { Ok(()) } else { Err(Failure::NoBody) };
        if data.is_empty() {
            return whole;
        }
        match timeout(self.timeout, self.send(data.into())).await {
            Ok(true) => whole,
            // If the server has sent a response, that tells why.
            Ok(false) => self.head().await.and(Err(Failure::NoBody)),
            Err(_) => Err(Failure::Timeout),
        }
    }

    /// Sends a piece of the request's body; false if the server does not read it any more.
    async fn send(&mut self, piece: Bytes) -> bool {
        let Some(body) = &self.body else { return false };
        let mut sending = pin!(body.pieces.send(Ok(piece)));
        let Stage::Asked(answer) = &mut self.stage else { return sending.await.is_ok() };
        let answer = tokio::select! {
            biased;
            sent = &mut sending => return sent.is_ok(),
            answer = answer => answer,
        };
        // hyper keeps the body when the connection is gone.
        let is_lost = answer.is_err();
        self.stage = Stage::Asked(Box::pin(ready(answer)));
        !is_lost && sending.await.is_ok()
    }

    /// Waits for the head of the response. Ends the request's body.
    pub async fn head(&mut self) -> Result<&Parts, Failure> {
        self.answered().await.map(|answered| &answered.head)
    }

    /// Waits for the response; repeats the request or follows redirects as needed.
    async fn answered(&mut self) -> Result<&mut Answered, Failure> {
        self.body = None;
        while let Stage::Asked(answer) = &mut self.stage {
            let answer = timeout(self.timeout, answer).await;
            let answer = answer.map_or(Err(Failure::Timeout), |answer| answer.map_err(Failure::from));
            self.stage = Stage::Failed;
            if let (Err(Failure::Closed(_)), Some(request)) = (&answer, self.again.take()) {
                self.restart(request, None).await?;
                continue;
            }
            let answered = Answered::new(answer?, self.unpacks);
            let next = self.trail.as_mut().map_or(Ok(None), |trail| trail.next(&answered.head))?;
            self.stage = Stage::Answered(Box::new(answered));
            if let Some(next) = next {
                self.follow(next).await?;
            }
        }
        match &mut self.stage {
            Stage::Answered(answered) => Ok(answered),
            Stage::NotMade(failure) => Err(Failure::Before(failure.clone())),
            _ => Err(Failure::Over),
        }
    }

    /// Makes the request that a redirect asks for.
    async fn follow(&mut self, request: Request) -> Result<(), Failure> {
        let kept = self.take_kept().await;
        self.stage = Stage::Failed;
        self.restart(request, kept).await
    }

    /// Starts over with another request.
    async fn restart(&mut self, request: Request, kept: Option<Kept>) -> Result<(), Failure> {
        let trail = self.trail.take();
        *self = Self { trail, ..Self::start(request, kept).await? };
        Ok(())
    }

    /// The next bytes of the body: at least `least`, or fewer at its end. With `is_exact` not more, either.
    pub async fn read(&mut self, least: usize, is_exact: bool) -> Result<BytesMut, Failure> {
        let time = self.timeout;
        let answered = self.answered().await?;
        while answered.input.len() < least && !answered.has_ended {
            answered.receive(time).await?;
        }
        let length = if is_exact { least.min(answered.input.len()) } else { answered.input.len() };
        Ok(answered.input.split_to(length))
    }

    /// The connection, if it can be used for another request. Reads what is left of this response, unless that is much
    /// or takes long.
    pub async fn take_kept(&mut self) -> Option<Kept> {
        let Stage::Answered(answered) = &mut self.stage else { return None };
        let drain = async {
            let mut left = MAX_REST;
            while let Some(frame) = answered.rest.frame().await {
                left = left.checked_sub(frame.ok()?.into_data().map_or(0, |data| data.remaining()))?;
            }
            Some(())
        };
        if !answered.has_ended {
            timeout(REST_TIME, drain).await.ok()??;
        }
        let mut kept = self.kept.take()?;
        // hyper may not have finished with the response yet.
        timeout(REST_TIME, kept.sender.ready()).await.ok()?.ok()?;
        Some(kept)
    }

    /// The WebSocket that the connection has become, and the bytes that were received on it already. If the server did
    /// not accept it, the response can still be read.
    pub async fn take_websocket(&mut self) -> Result<(dial::Connection, Bytes), Failure> {
        let expected = self.key.as_ref().map(|key| accept_key(key.as_bytes()));
        let answered = self.answered().await?;
        let Some(upgrade) = answered.upgrade.take() else { return Err(Failure::NotUpgraded(answered.head.status)) };
        let accepted = answered.head.headers.get(SEC_WEBSOCKET_ACCEPT).and_then(|value| value.to_str().ok());
        if accepted.is_none() || accepted != expected.as_deref() {
            return Err(Failure::WrongKey);
        }
        let upgraded = upgrade.await?;
        let (Some(Kept { whom, peer, local, .. }), Ok(parts)) =
            (self.kept.take(), upgraded.downcast::<TokioIo<Box<dyn Duplex>>>())
        else {
            return Err(Failure::Over);
        };
        self.stage = Stage::Failed;
        let stream = parts.io.into_inner();
        Ok((dial::Connection { stream, peer, local, is_tls: whom.2.is_some() }, parts.read_buf))
    }
}

impl Writer {
    /// Cuts the next piece to what is missing of the body. Whether it fits.
    fn cut(&mut self, data: &mut Vec<u8>) -> bool {
        let Some(left) = &mut self.left else { return true };
        let length = data.len();
        data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= data.len() as u64;
        data.len() == length
    }
}

impl Answered {
    fn new(mut response: Response<Incoming>, unpacks: bool) -> Self {
        let upgrade = (response.status() == StatusCode::SWITCHING_PROTOCOLS).then(|| upgrade::on(&mut response));
        let (head, rest) = response.into_parts();
        let encoding = head.headers.get(CONTENT_ENCODING);
        let is_packed = unpacks && encoding.is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"gzip"));
        let unpacker = is_packed.then(Unpacker::new);
        Self { head, rest, has_ended: false, input: BytesMut::new(), unpacker, upgrade }
    }

    /// Adds more of the body to `input`, or notes its end.
    async fn receive(&mut self, time: Duration) -> Result<(), Failure> {
        if let Some(unpacker) = &mut self.unpacker
            && unpacker.step(&mut self.input).map_err(Failure::Packed)?
        {
            return Ok(());
        }
        let frame = timeout(time, self.rest.frame()).await.map_err(|_| Failure::Timeout)?;
        let data = frame.transpose()?.map(|frame| frame.into_data().unwrap_or_default());
        match (data, &mut self.unpacker) {
            (Some(data), None) => self.input.extend_from_slice(&data),
            (Some(data), Some(unpacker)) => unpacker.feed(data),
            (None, unpacker) => {
                self.has_ended = true;
                if let Some(unpacker) = unpacker {
                    unpacker.finish(&mut self.input).map_err(Failure::Packed)?;
                }
            }
        }
        Ok(())
    }
}

/// Opens a connection, and starts the task that drives it.
async fn connect(target: &dial::Target, whom: Whom) -> Result<Kept, Failure> {
    let dial::Connection { stream, peer, local, .. } = target.connect().await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    spawn_local(async move {
        // An error is reported to the one who waits for the response, too.
        let _ = connection.with_upgrades().await;
    });
    Ok(Kept { sender, whom, peer, local })
}

/// Whether the request may reach the server twice without harm: its method is idempotent (RFC 9110, section 9.2.2), and
/// its body is still there.
fn is_repeatable(request: &Request) -> bool {
    request.method.is_idempotent() && matches!(request.body, Body::Whole(_))
}

/// The request for hyper, and what writes its body if a script does.
fn message(request: Request) -> (hyper::Request<http::Body>, Option<Writer>) {
    let (writer, body) = match request.body {
        Body::Whole(data) => (None, http::whole(data)),
        Body::Written { size } => {
            let (pieces, body) = http::streamed(PIECES);
            (Some(Writer { pieces, left: size }), body)
        }
    };
    let has_length = hyper::body::Body::size_hint(&body).exact().is_some_and(|length| length > 0);
    let mut message = hyper::Request::new(body);
    *message.method_mut() = request.method;
    *message.uri_mut() = request.path;
    *message.headers_mut() = request.headers;
    // Some servers require a length even for an empty body.
    if takes_body(message.method()) && writer.is_none() && !has_length {
        message.headers_mut().insert(CONTENT_LENGTH, 0.into());
    }
    (message, writer)
}
