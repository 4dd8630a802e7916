//! One request and its response.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::CONTENT_LENGTH;
use hyper::http::response::Parts;
use hyper::{Method, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::options::{Body, Defaults, Request};
use crate::dial;
use crate::http;
use crate::tls::client::Trust;

/// Pieces of a request's body on their way; who writes more waits.
const PIECES: usize = 4;
/// The rest of a response that is read, in bytes, to keep its connection for the next request.
const MAX_REST: usize = 64 * 1024;
/// Time for that rest.
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
    #[error("the server's answer is no HTTP: {0}")]
    Invalid(hyper::Error),
    #[error("the body of this request is complete")]
    NoBody,
    #[error("the response has more than {0} bytes")]
    TooLarge(usize),
    #[error("there is no response: the request has failed before")]
    Over,
}

impl Failure {
    /// One word for scripts to compare with.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Dial(failure) => failure.code(),
            Self::Timeout => "timeout",
            Self::Closed(_) | Self::Over => "socketclosed",
            Self::Invalid(_) => "invalidresponse",
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

/// A connection that may serve further requests, and with whom it is.
pub struct Kept {
    sender: SendRequest<http::Body>,
    whom: Whom,
}

/// Who is at the other end, and how that was checked.
#[derive(Clone, PartialEq)]
struct Whom(String, u16, Option<Trust>);

type Answer = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>>>>;

pub struct Exchange {
    kept: Option<Kept>,
    /// Open while the script may write the request's body.
    body: Option<mpsc::Sender<Bytes>>,
    stage: Stage,
    timeout: Duration,
}

enum Stage {
    Asked(Answer),
    Answered { head: Box<Parts>, rest: Incoming, input: BytesMut, has_ended: bool },
    Failed,
}

impl Exchange {
    pub async fn start(request: Request, defaults: &Defaults, kept: Option<Kept>) -> Result<Self, Failure> {
        let whom = Whom(request.target.host.clone(), request.target.port, request.target.tls.clone());
        let mut kept = match kept.filter(|kept| kept.whom == whom && kept.sender.is_ready()) {
            Some(kept) => kept,
            None => Kept { sender: connect(&request.target).await?, whom },
        };
        let (request, body) = message(request);
        let answer = kept.sender.send_request(request);
        Ok(Self { kept: Some(kept), body, stage: Stage::Asked(Box::pin(answer)), timeout: defaults.timeout })
    }

    /// Sends a piece of the request's body.
    pub async fn write(&mut self, data: Vec<u8>) -> Result<(), Failure> {
        let Some(body) = &self.body else { return Err(Failure::NoBody) };
        if data.is_empty() {
            return Ok(());
        }
        match timeout(self.timeout, body.send(data.into())).await {
            Ok(Ok(())) => Ok(()),
            // The response says more about why nobody reads the body.
            Ok(Err(_)) => self.head().await.and(Err(Failure::NoBody)),
            Err(_) => Err(Failure::Timeout),
        }
    }

    /// Waits for the head of the response. The request's body ends here.
    pub async fn head(&mut self) -> Result<&Parts, Failure> {
        self.body = None;
        if let Stage::Asked(answer) = &mut self.stage {
            let answer = timeout(self.timeout, answer).await;
            self.stage = Stage::Failed;
            let (head, rest) = answer.map_err(|_| Failure::Timeout)??.into_parts();
            self.stage = Stage::Answered { head: Box::new(head), rest, input: BytesMut::new(), has_ended: false };
        }
        match &self.stage {
            Stage::Answered { head, .. } => Ok(head),
            _ => Err(Failure::Over),
        }
    }

    /// The body's next `least` bytes, fewer at its end; with `is_exact` not more either.
    pub async fn read(&mut self, least: usize, is_exact: bool) -> Result<BytesMut, Failure> {
        self.head().await?;
        let Stage::Answered { rest, input, has_ended, .. } = &mut self.stage else { return Err(Failure::Over) };
        while input.len() < least && !*has_ended {
            match timeout(self.timeout, rest.frame()).await.map_err(|_| Failure::Timeout)? {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        input.extend_from_slice(&data);
                    }
                }
                None => *has_ended = true,
            }
        }
        let length = if is_exact { least.min(input.len()) } else { input.len() };
        Ok(input.split_to(length))
    }

    /// The connection, if it can serve another request: what is left of this response is read, unless that takes long.
    pub async fn into_kept(mut self) -> Option<Kept> {
        let Stage::Answered { rest, has_ended, .. } = &mut self.stage else { return None };
        let drain = async {
            let mut left = MAX_REST;
            while let Some(frame) = rest.frame().await {
                left = left.checked_sub(frame.ok()?.into_data().map_or(0, |data| data.remaining()))?;
            }
            Some(())
        };
        if !*has_ended {
            timeout(REST_TIME, drain).await.ok()??;
        }
        let mut kept = self.kept.take()?;
        // hyper may still be at it.
        timeout(REST_TIME, kept.sender.ready()).await.ok()?.ok()?;
        Some(kept)
    }
}

async fn connect(target: &dial::Target) -> Result<SendRequest<http::Body>, Failure> {
    let connection = target.connect().await?;
    let (sender, connection) = http1::handshake(TokioIo::new(connection.stream)).await?;
    tokio::spawn(async move {
        // Whoever waits for the response is told of the error, too.
        let _ = connection.await;
    });
    Ok(sender)
}

/// The request as hyper sends it, and where its body is written to.
fn message(request: Request) -> (hyper::Request<http::Body>, Option<mpsc::Sender<Bytes>>) {
    let (sender, body) = match request.body {
        Body::Whole(data) => (None, Full::new(data.into()).map_err(|never| match never {}).boxed_unsync()),
        Body::Written => {
            let (sender, pieces) = mpsc::channel(PIECES);
            (Some(sender), Written(pieces).boxed_unsync())
        }
    };
    let has_length = hyper::body::Body::size_hint(&body).exact().is_some_and(|length| length > 0);
    let mut message = hyper::Request::new(body);
    *message.method_mut() = request.method;
    *message.uri_mut() = request.path;
    *message.headers_mut() = request.headers;
    // An empty POST has a length, too: some servers insist.
    let takes_body = matches!(*message.method(), Method::POST | Method::PUT | Method::PATCH);
    if takes_body && sender.is_none() && !has_length {
        message.headers_mut().insert(CONTENT_LENGTH, 0.into());
    }
    (message, sender)
}

/// A body that a script writes.
struct Written(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Written {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
