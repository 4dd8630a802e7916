//! What a page has written: stored up to a limit, then committed and streamed.

use std::io;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use hyper::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, SET_COOKIE};
use hyper::{HeaderMap, Response, StatusCode};
use tokio::sync::mpsc;

use super::AlreadyTaken;
use super::stream::{self, Piece, Rest};
use crate::http::{Body, PageReply, PageRequest, add_app_headers, empty, whole};
use crate::lua::hop::Reply;
use crate::socket::Takeover;

/// Output is kept so long, in bytes, before the response is committed; later it is sent in pieces of this size.
const STORED: usize = 8 * 1024;
/// Bytes that may be stored by code that cannot wait for a client.
const MAX_STORED: usize = 4 * 1024 * 1024;
/// Bytes that `response:setresponse` collects at most.
const MAX_COLLECTED: usize = 16 * 1024 * 1024;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store, no-cache, must-revalidate, max-age=0");

/// The headers a response starts with.
#[derive(Clone, Copy)]
pub enum Defaults {
    /// HTML that is not to be cached.
    Page,
    /// A directory function: none.
    None,
}

/// Where the response stands.
enum State {
    /// Nothing was sent.
    Open(Reply<PageReply>),
    /// The headers are sent, the body is being sent.
    Streaming(mpsc::Sender<Piece>),
    /// The response is complete: by redirect, abort or the page's end.
    Complete,
    /// Somebody took the socket.
    Taken,
    /// The client no longer listens.
    Gone,
}

pub struct Output {
    pub status: StatusCode,
    pub headers: HeaderMap,
    defaults: Defaults,
    stored: BytesMut,
    /// Once the response has begun: the bytes that its head announces and that are not sent yet.
    announced: u64,
    /// The client asked for the headers only; output is counted and dropped.
    is_head: bool,
    counted: u64,
    /// Since `response:setresponse`: output is kept here instead of being sent.
    collected: Option<Vec<u8>>,
    /// `Set-Cookie` headers by the cookies' names. A new status or an error page leaves them alone.
    cookies: Vec<(String, HeaderValue)>,
    /// What the directory that answers adds to its responses, see `dir:header`.
    app_headers: Option<Rc<HeaderMap>>,
    /// The page was aborted while its output was being sent: what is stored still goes out, but nothing is added.
    is_aborted: bool,
    state: State,
}

impl Output {
    pub fn new(reply: Reply<PageReply>, is_head: bool, defaults: Defaults) -> Self {
        let (status, headers) = (StatusCode::OK, default_headers(defaults));
        Self {
            status,
            headers,
            defaults,
            stored: BytesMut::new(),
            announced: 0,
            is_head,
            counted: 0,
            collected: None,
            cookies: Vec::new(),
            app_headers: None,
            is_aborted: false,
            state: State::Open(reply),
        }
    }

    /// Whether status and headers can no longer be changed.
    pub fn is_committed(&self) -> bool {
        !matches!(self.state, State::Open(_))
    }

    /// Whether the response is over by a redirect or abort.
    pub fn is_complete(&self) -> bool {
        self.is_aborted || matches!(self.state, State::Complete)
    }

    /// Whether what the page writes still goes somewhere; true also when the socket was taken.
    pub fn is_valid(&self) -> bool {
        !self.is_complete() && !matches!(self.state, State::Gone)
    }

    /// Whether a client is there that waits for the response, or for the rest of it.
    pub fn is_awaited(&self) -> bool {
        match &self.state {
            State::Open(reply) => !reply.is_for_nobody(),
            State::Streaming(channel) => !channel.is_closed(),
            State::Complete | State::Taken | State::Gone => false,
        }
    }

    /// Whether the page should wait for the client before it writes on.
    pub fn is_full(&self) -> bool {
        matches!(self.state, State::Streaming(_)) && self.stored.len() >= STORED
    }

    /// Adds output. Fails when too much is stored already, which only happens to code that cannot wait.
    pub fn write(&mut self, data: &[u8]) -> mlua::Result<()> {
        match self.state {
            _ if self.is_aborted => {}
            State::Open(_) if self.collected.is_some() => return self.collect(data),
            State::Open(_) if self.is_head => self.counted += data.len() as u64,
            State::Open(_) | State::Streaming(_) => {
                if self.stored.len() > MAX_STORED {
                    return Err(mlua::Error::runtime("the client does not read and this code cannot wait for it"));
                }
                self.stored.extend_from_slice(data);
                if self.stored.len() >= STORED {
                    self.commit();
                    self.push();
                }
            }
            State::Complete | State::Taken | State::Gone => {}
        }
        Ok(())
    }

    fn collect(&mut self, data: &[u8]) -> mlua::Result<()> {
        let collected = self.collected.get_or_insert_default();
        if collected.len() + data.len() > MAX_COLLECTED {
            return Err(mlua::Error::runtime(format!(
                "response:setresponse: more than {MAX_COLLECTED} bytes are to be collected; write so much without it"
            )));
        }
        collected.extend_from_slice(data);
        Ok(())
    }

    /// From now on output is kept until [`Output::take_collected`]; what is stored already goes first.
    pub fn start_collecting(&mut self) {
        let stored = self.stored.split();
        self.collected.get_or_insert_default().extend_from_slice(&stored);
    }

    /// Ends the collecting.
    pub fn take_collected(&mut self) -> Option<Vec<u8>> {
        self.collected.take()
    }

    /// Completes the response with this body. Only before the commit.
    pub fn complete_with(&mut self, body: &[u8]) {
        self.clear();
        self.collected = None;
        self.counted = body.len() as u64;
        self.stored.extend_from_slice(body);
        self.headers.remove(CONTENT_LENGTH);
        self.complete();
    }

    /// Sets a cookie, instead of one of that name that was to be set before.
    pub fn set_cookie(&mut self, name: &str, value: HeaderValue) {
        self.cookies.retain(|(known, _)| known != name);
        self.cookies.push((name.to_owned(), value));
    }

    /// The cookies that are to be set, for somebody else who answers.
    pub fn cookies(&self) -> &[(String, HeaderValue)] {
        &self.cookies
    }

    /// Headers that stand in for those the server adds otherwise.
    pub fn set_app_headers(&mut self, headers: Option<Rc<HeaderMap>>) {
        self.app_headers = headers;
    }

    /// Sends the headers, and what is stored as far as the client takes it. Says whether there is a rest to wait for.
    pub fn flush(&mut self) -> bool {
        if !self.is_head && self.collected.is_none() {
            self.commit();
            self.push();
        }
        matches!(self.state, State::Streaming(_))
    }

    fn commit(&mut self) {
        if self.is_committed() {
            return;
        }
        let (channel, body) = stream::open();
        let length = self.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        self.announced = length.unwrap_or(0);
        let response = self.response(body);
        self.reply(PageReply::Response(response), State::Streaming(channel));
    }

    /// Hands stored output to the client while there is room.
    fn push(&mut self) {
        let State::Streaming(channel) = &self.state else { return };
        if self.stored.is_empty() {
            return;
        }
        match channel.clone().try_reserve() {
            Ok(permit) => permit.send(Ok(self.take_stored())),
            Err(mpsc::error::TrySendError::Full(())) => {}
            Err(mpsc::error::TrySendError::Closed(())) => self.client_is_gone(),
        }
    }

    /// Where to wait for the client; `None` when there is nothing to wait for.
    pub fn channel(&self) -> Option<mpsc::Sender<Piece>> {
        match &self.state {
            State::Streaming(channel) if !self.stored.is_empty() => Some(channel.clone()),
            _ => None,
        }
    }

    /// The way to the client, once the response has begun.
    pub fn stream(&self) -> Option<mpsc::Sender<Piece>> {
        match &self.state {
            State::Streaming(channel) => Some(channel.clone()),
            _ => None,
        }
    }

    pub fn take_stored(&mut self) -> Bytes {
        self.announced = self.announced.saturating_sub(self.stored.len() as u64);
        self.stored.split().freeze()
    }

    /// How many bytes have been announced and not written, of a response that has begun.
    pub fn missing(&self) -> u64 {
        match self.state {
            State::Streaming(_) => self.announced.saturating_sub(self.stored.len() as u64),
            _ => 0,
        }
    }

    pub fn client_is_gone(&mut self) {
        self.stored.clear();
        self.state = State::Gone;
    }

    pub fn take_socket(&mut self, takeover: Takeover) -> Result<(), AlreadyTaken> {
        if self.is_committed() {
            return Err(AlreadyTaken);
        }
        self.stored.clear();
        self.reply(PageReply::Taken(takeover), State::Taken);
        if matches!(self.state, State::Gone) { Err(AlreadyTaken) } else { Ok(()) }
    }

    pub fn hand_back(&mut self, request: Box<PageRequest>) {
        self.reply(PageReply::NotMine(request), State::Complete);
    }

    /// Back to the defaults, as if nothing had been written. Only before the commit.
    pub fn start_over(&mut self) {
        self.status = StatusCode::OK;
        self.headers = default_headers(self.defaults);
        self.collected = None;
        self.clear();
    }

    /// Forgets what a directory function has written that did not want the request. The headers that it has set stay, for
    /// whoever answers; but those that tell of a body go with it.
    pub fn decline(&mut self) {
        let mut headers = std::mem::take(&mut self.headers);
        for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
            headers.remove(name);
        }
        self.start_over();
        self.headers.extend(headers);
    }

    /// Forgets the stored output.
    pub fn clear(&mut self) {
        self.stored.clear();
        if let Some(collected) = &mut self.collected {
            collected.clear();
        }
        self.counted = 0;
    }

    /// HTML that is not to be cached.
    pub fn set_default_headers(&mut self) {
        self.headers.extend(default_headers(Defaults::Page));
    }

    /// Ends the response before the page ends; a socket that was taken is left alone.
    pub fn abort(&mut self) {
        match self.state {
            State::Open(_) => self.complete(),
            State::Streaming(_) => {
                self.push();
                self.is_aborted = true;
            }
            State::Complete | State::Taken | State::Gone => {}
        }
    }

    /// Completes a response that was not committed, with what is stored as its whole body.
    pub fn complete(&mut self) {
        if self.is_committed() {
            return;
        }
        self.release_collected();
        let has_body = !matches!(self.status.as_u16(), 204 | 205 | 304);
        // A page that announces a length need not write so much for a HEAD.
        let announced = self.headers.remove(CONTENT_LENGTH).filter(|_| self.is_head && self.counted == 0);
        let length = if self.is_head { self.counted } else { self.stored.len() as u64 };
        if has_body {
            self.headers.insert(CONTENT_LENGTH, announced.unwrap_or_else(|| length.into()));
        }
        let stored = self.take_stored();
        let response = self.response(if has_body && !self.is_head { whole(stored) } else { empty() });
        self.reply(PageReply::Response(response), State::Complete);
    }

    /// What was collected and never finalized goes out as it is.
    fn release_collected(&mut self) {
        if let Some(collected) = self.collected.take() {
            self.counted += collected.len() as u64;
            self.stored.extend_from_slice(&collected);
        }
    }

    /// Ends the response; what is returned has yet to be sent.
    pub fn finish(&mut self, failed: bool) -> Option<Rest> {
        if let State::Open(_) = self.state {
            if failed {
                self.failure();
            }
            self.complete();
        }
        let State::Streaming(channel) = &self.state else { return None };
        let channel = channel.clone();
        let is_short = self.missing() > 0;
        self.state = State::Complete;
        let stored = self.take_stored();
        let mut pieces = Vec::new();
        if !stored.is_empty() {
            pieces.push(Ok(stored));
        }
        if failed || is_short {
            pieces.push(Err(io::Error::other("the page did not write all of its response")));
        }
        (!pieces.is_empty()).then_some(Rest { channel, pieces })
    }

    /// Answers with an error page instead of what was written; behind it once the response has begun.
    pub fn show_error(&mut self, html: &str) {
        match self.state {
            State::Open(_) => {
                self.failure_as("text/html; charset=utf-8", html.as_bytes());
                self.complete();
            }
            State::Streaming(_) if !self.is_aborted => self.stored.extend_from_slice(html.as_bytes()),
            _ => {}
        }
    }

    fn failure(&mut self) {
        self.failure_as("text/plain; charset=utf-8", b"Internal server error: see the server's console\n");
    }

    fn failure_as(&mut self, media_type: &'static str, message: &[u8]) {
        self.headers.clear();
        self.clear();
        self.collected = None;
        self.status = StatusCode::INTERNAL_SERVER_ERROR;
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        self.headers.insert(CACHE_CONTROL, NO_STORE);
        self.counted = message.len() as u64;
        self.stored.extend_from_slice(message);
    }

    fn response(&mut self, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = std::mem::take(&mut self.headers);
        for (_, cookie) in self.cookies.drain(..) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        if let Some(headers) = &self.app_headers {
            add_app_headers(&mut response, headers);
        }
        response
    }

    fn reply(&mut self, reply: PageReply, next: State) {
        let State::Open(way_back) = std::mem::replace(&mut self.state, next) else { return };
        if way_back.is_for_nobody() {
            self.client_is_gone();
        }
        way_back.send(reply);
    }
}

fn default_headers(defaults: Defaults) -> HeaderMap {
    match defaults {
        Defaults::None => HeaderMap::new(),
        Defaults::Page => HeaderMap::from_iter([(CONTENT_TYPE, HTML), (CACHE_CONTROL, NO_STORE)]),
    }
}
