//! A response as a page writes it: stored at first, later streamed.
//!
//! Output is stored until there is more than [`STORED`], or the script flushes. Then the response is *committed*:
//! status and headers are sent and can no longer be changed, and the body is streamed while the client takes it. A page
//! that ends before that has its output as the whole body, with a Content-Length. Nothing here waits: whoever can,
//! waits when [`Output::is_full`] tells so.

use std::io;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use hyper::ext::ReasonPhrase;
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, SET_COOKIE,
};
use hyper::{HeaderMap, Response, StatusCode};
use tokio::sync::mpsc;

use super::AlreadyTaken;
use super::stream::{PIECES, Rest};
use crate::http::{Body, PageReply, PageRequest, Piece, add_app_headers, empty, reason, streamed, whole};
use crate::lua::hop::Reply;
use crate::socket::Takeover;

/// The bytes of output that are stored before the response is committed, and about the size of the pieces that are sent
/// later.
const STORED: usize = 8 * 1024;
/// The most bytes that are stored for code that cannot wait for the client.
const MAX_STORED: usize = 4 * 1024 * 1024;
/// The most bytes that `response:setresponse` collects.
const MAX_COLLECTED: usize = 16 * 1024 * 1024;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store, no-cache, must-revalidate, max-age=0");
/// See [`Defaults::Page`].
const PAGE_HEADERS: [(HeaderName, HeaderValue); 2] = [(CONTENT_TYPE, HTML), (CACHE_CONTROL, NO_STORE)];

/// The headers a response starts with.
#[derive(Clone, Copy)]
pub enum Defaults {
    /// Those of a page: HTML that is not to be cached.
    Page,
    /// None, for a directory function.
    None,
}

/// The state of a response. `Open` becomes any of the others, `Streaming` becomes `Complete` or `Gone`.
enum State {
    /// Not committed: nothing was sent.
    Open(Reply<PageReply>),
    /// The headers were sent, the body is being sent.
    Streaming(mpsc::Sender<Piece>),
    /// The response is complete: by a redirect, an abort, or the page's end.
    Complete,
    /// The socket was taken over.
    Taken,
    /// The client has closed the connection.
    Gone,
}

/// A response and what is stored of its body.
pub struct Output {
    pub status: StatusCode,
    pub headers: HeaderMap,
    defaults: Defaults,
    stored: BytesMut,
    /// The Content-Length with which the response was committed.
    announced: Option<u64>,
    /// Once it is committed: how many bytes of output were written in all, also of those that nobody takes any more.
    written: u64,
    /// Whether the client asked for the headers only (HEAD). Then output is counted and dropped.
    is_head: bool,
    /// For HEAD: the bytes of output so far, of which the Content-Length is made.
    counted: u64,
    /// What was written since `response:setresponse`.
    collected: Option<Vec<u8>>,
    /// `Set-Cookie` headers by the cookies' names. They stay when the other headers are reset.
    cookies: Vec<(String, HeaderValue)>,
    /// The headers of the directory that answers, see `dir:header`.
    app_headers: Option<Rc<HeaderMap>>,
    /// Whether the page was aborted while streaming: what is stored is still sent, but nothing is added.
    is_aborted: bool,
    state: State,
}

impl Output {
    /// A response that goes to `reply`.
    pub fn new(reply: Reply<PageReply>, is_head: bool, defaults: Defaults) -> Self {
        let (status, headers) = (StatusCode::OK, default_headers(defaults));
        Self {
            status,
            headers,
            defaults,
            stored: BytesMut::new(),
            announced: None,
            written: 0,
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

    /// Whether the response is complete or was aborted, so that further output is dropped.
    pub fn is_complete(&self) -> bool {
        self.is_aborted || matches!(self.state, State::Complete)
    }

    /// Whether output still has an effect; true also after the socket was taken.
    pub fn is_valid(&self) -> bool {
        !self.is_complete() && !matches!(self.state, State::Gone)
    }

    /// Whether a client still waits for the response, or for the rest of it.
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

    /// Adds output. An error if too much is stored already, which only happens to code that cannot wait.
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
                self.written += data.len() as u64;
                if self.stored.len() >= STORED {
                    self.commit();
                    self.push();
                }
            }
            State::Gone => self.written += data.len() as u64,
            State::Complete | State::Taken => {}
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

    /// Collects output from now on, until [`Output::take_collected`]. It begins with what is stored already.
    pub fn start_collecting(&mut self) {
        let stored = self.stored.split();
        self.collected.get_or_insert_default().extend_from_slice(&stored);
    }

    /// Stops collecting; `None` if that had not begun.
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

    /// Sets a cookie, in the place of an earlier one with this name.
    pub fn set_cookie(&mut self, name: &str, value: HeaderValue) {
        self.cookies.retain(|(known, _)| known != name);
        self.cookies.push((name.to_owned(), value));
    }

    /// The names and `Set-Cookie` headers of the cookies that are to be set.
    pub fn cookies(&self) -> &[(String, HeaderValue)] {
        &self.cookies
    }

    /// Headers to be used instead of the server's default ones.
    pub fn set_app_headers(&mut self, headers: Option<Rc<HeaderMap>>) {
        self.app_headers = headers;
    }

    /// Commits the response, and sends what is stored if there is room. Returns whether there may be a rest to wait
    /// for.
    pub fn flush(&mut self) -> bool {
        if !self.is_head && self.collected.is_none() {
            self.commit();
            self.push();
        }
        matches!(self.state, State::Streaming(_))
    }

    /// Sends the headers. Nothing happens if they were sent.
    fn commit(&mut self) {
        if self.is_committed() {
            return;
        }
        let (channel, body) = streamed(PIECES);
        let length = self.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        self.announced = length;
        self.written = self.stored.len() as u64;
        let response = self.response(body);
        self.reply(PageReply::Response(response), State::Streaming(channel));
    }

    /// Sends the stored output, if there is room in the channel to the client.
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

    /// The channel to the client, if there is stored output to be sent through it.
    pub fn channel(&self) -> Option<mpsc::Sender<Piece>> {
        match &self.state {
            State::Streaming(channel) if !self.stored.is_empty() => Some(channel.clone()),
            _ => None,
        }
    }

    /// The channel to the client, while the response is streamed.
    pub fn stream(&self) -> Option<mpsc::Sender<Piece>> {
        match &self.state {
            State::Streaming(channel) => Some(channel.clone()),
            _ => None,
        }
    }

    /// Takes the stored output, to be sent.
    pub fn take_stored(&mut self) -> Bytes {
        self.stored.split().freeze()
    }

    /// While streaming: how many bytes of the Content-Length were not written.
    fn missing(&self) -> u64 {
        match self.state {
            State::Streaming(_) => self.announced.unwrap_or(0).saturating_sub(self.written),
            _ => 0,
        }
    }

    /// What the script has done wrong that announced a Content-Length, if anything.
    pub fn length_mistake(&self) -> Option<String> {
        let (missing, surplus) = (self.missing(), self.written.saturating_sub(self.announced?));
        let length = "the length that was announced for it";
        match self.state {
            State::Streaming(_) if missing > 0 => Some(format!("the response ends {missing} bytes before {length}")),
            // HTTP, which takes no more than was announced, may be gone already.
            State::Streaming(_) | State::Gone if surplus > 0 => {
                Some(format!("the last {surplus} bytes of the response are not sent, since they are beyond {length}"))
            }
            _ => None,
        }
    }

    /// Notes that the client has closed the connection.
    pub fn client_is_gone(&mut self) {
        self.stored.clear();
        self.state = State::Gone;
    }

    /// Answers with a takeover of the socket. An error if the response is committed or the client is gone.
    pub fn take_socket(&mut self, takeover: Takeover) -> Result<(), AlreadyTaken> {
        if self.is_committed() {
            return Err(AlreadyTaken);
        }
        self.stored.clear();
        self.reply(PageReply::Taken(takeover), State::Taken);
        if matches!(self.state, State::Gone) { Err(AlreadyTaken) } else { Ok(()) }
    }

    /// Answers with the request itself, for something else to answer it.
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

    /// Discards what a directory function has written that declined the request. The headers that it has set stay,
    /// except those that describe the body.
    pub fn decline(&mut self) {
        let mut headers = std::mem::take(&mut self.headers);
        for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
            headers.remove(name);
        }
        self.start_over();
        self.headers.extend(headers);
    }

    /// Discards the output that was not sent.
    pub fn clear(&mut self) {
        self.stored.clear();
        if let Some(collected) = &mut self.collected {
            collected.clear();
        }
        self.counted = 0;
    }

    /// Sets the headers of a page, see [`Defaults::Page`].
    pub fn set_default_headers(&mut self) {
        self.headers.extend(default_headers(Defaults::Page));
    }

    /// Sets those of a page's headers that are not set, as a directory function leaves them.
    pub fn add_default_headers(&mut self) {
        for (name, value) in PAGE_HEADERS {
            self.headers.entry(name).or_insert(value);
        }
    }

    /// Ends the response before the page ends: with what is stored, but nothing that is written later. A socket that
    /// was taken is left alone.
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
        // In answer to HEAD a page may set the Content-Length and write nothing.
        let announced = self.headers.remove(CONTENT_LENGTH).filter(|_| self.is_head && self.counted == 0);
        let length = if self.is_head { self.counted } else { self.stored.len() as u64 };
        if has_body {
            self.headers.insert(CONTENT_LENGTH, announced.unwrap_or_else(|| length.into()));
        }
        let stored = self.take_stored();
        let response = self.response(if has_body && !self.is_head { whole(stored) } else { empty() });
        self.reply(PageReply::Response(response), State::Complete);
    }

    /// Makes output of what was collected and never finalized.
    fn release_collected(&mut self) {
        if let Some(collected) = self.collected.take() {
            self.counted += collected.len() as u64;
            self.stored.extend_from_slice(&collected);
        }
    }

    /// Ends the response. Returns what has yet to be sent. A response that was committed and `failed`, or is shorter
    /// than its Content-Length, ends with an error, which closes the connection.
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

    /// Shows an error page: instead of the output, or after it if the response is committed.
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

    /// Replaces the response by a short message for users.
    fn failure(&mut self) {
        self.failure_as("text/plain; charset=utf-8", b"Internal server error: see the server's console\n");
    }

    /// Replaces the response by an error 500 with this body.
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

    /// The response with all its headers. Called once, when it is committed or complete.
    fn response(&mut self, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        if self.status.canonical_reason().is_none() {
            response.extensions_mut().insert(ReasonPhrase::from_static(reason(self.status).as_bytes()));
        }
        *response.headers_mut() = std::mem::take(&mut self.headers);
        for (_, cookie) in self.cookies.drain(..) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        if let Some(headers) = &self.app_headers {
            add_app_headers(&mut response, headers);
        }
        response
    }

    /// Answers HTTP, which makes an open response one of the state `next`; or `Gone`, if the client has closed the
    /// connection.
    fn reply(&mut self, answer: PageReply, next: State) {
        let State::Open(reply) = std::mem::replace(&mut self.state, next) else { return };
        if reply.is_for_nobody() {
            self.client_is_gone();
        }
        reply.send(answer);
    }
}

fn default_headers(defaults: Defaults) -> HeaderMap {
    match defaults {
        Defaults::None => HeaderMap::new(),
        Defaults::Page => HeaderMap::from_iter(PAGE_HEADERS),
    }
}
