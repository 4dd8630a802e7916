//! `request` and `response` as a page sees them: one object, [`Request`].

mod admission;
mod body;
mod compress;
mod cookies;
mod form;
mod include;
mod json;
mod login;
mod methods;
mod multipart;
mod output;
mod stream;
mod url;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use hyper::{HeaderMap, Method};
use mlua::{Function, Lua, Table};

use super::auth::User;
use super::session::Session;
use crate::http::{PageReply, PageRequest};
use crate::lsp::AppState;
use crate::lua::World;
use crate::lua::hop::Reply;
use crate::socket::Takeover;

pub use admission::Admission;
use include::Running;
pub use methods::{address, read_header};
pub use output::Defaults;
use output::Output;
pub use url::resolve as resolve_url;

/// The socket cannot be taken: the response is committed, the socket has been taken already, the end of the request's body
/// has not been read, or the client is gone.
#[derive(Debug, thiserror::Error)]
#[error("the response has begun, the socket has been taken already, or the request's body has not been read")]
pub struct AlreadyTaken;

/// One request and its response. A cheap handle; scripts hold it as userdata.
#[derive(Clone)]
pub struct Request(Rc<Exchange>);

struct Exchange {
    /// The request as it came. `None` after [`Request::not_mine`].
    input: RefCell<Option<Box<PageRequest>>>,
    output: RefCell<Output>,
    world: Weak<World>,
    /// The environment (`_ENV`) of all code that answers this request, made when it is first needed. Dropped when the
    /// page has ended, since it refers to this request.
    environment: RefCell<Option<Table>>,
    /// What is answering, as a stack: the page or directory function of the URL, then what that includes or forwards
    /// to, and so on.
    running: RefCell<Vec<Running>>,
    session: RefCell<Option<Session>>,
    /// The user who was authenticated for this request alone, without a session.
    user: RefCell<Option<User>>,
    /// The first value of each form field. Made when a script first asks for one field, since a page may ask for
    /// thousands.
    first_values: OnceCell<HashMap<Vec<u8>, Vec<u8>>>,
    /// Whether there may be more of the request's body to read.
    has_open_body: Cell<bool>,
    /// Whether a reader has been made for the body; there can be only one.
    is_body_claimed: Cell<bool>,
    /// Whether the response stays open after the page's end (`response:deferred()`).
    is_deferred: Cell<bool>,
    /// Whether the page has ended. Coroutines that it has started may still use the request.
    is_page_over: Cell<bool>,
}

/// What `lua/internal/output.lua` gives to Rust: `environment` makes the environment of a request.
struct OutputFunctions {
    environment: Function,
}

/// Registers the userdata type. Called once for each Lua state.
pub fn install(lua: &Lua) -> mlua::Result<()> {
    let put = lua.create_function(methods::put)?;
    let drain = lua.create_async_function(|_, response: mlua::UserDataRef<Request>| {
        let request = response.clone();
        async move { request.drain().await }
    })?;
    let hand_over = lua.create_async_function(|_, response: mlua::UserDataRef<Request>| {
        let request = response.clone();
        async move { request.hand_over().await }
    })?;
    let (flush, send) = (lua.create_function(methods::flush)?, lua.create_function(methods::send)?);
    let shim = lua.load(include_str!("../../lua/internal/output.lua")).set_name("=[smq]");
    let (methods, environment): (Table, Function) = shim.call((put, drain, flush, send, hand_over))?;
    let methods = methods.pairs().collect::<mlua::Result<Vec<(String, Function)>>>()?;
    lua.register_userdata_type::<Request>(|registry| methods::register(registry, methods))?;
    lua.set_app_data(OutputFunctions { environment });
    Ok(())
}

impl Request {
    /// The response goes to `reply`, once: when it begins or is complete, at the latest in [`Request::finish`].
    pub fn new(world: &Rc<World>, mut request: Box<PageRequest>, reply: Reply<PageReply>, defaults: Defaults) -> Self {
        let is_head = request.head.method == Method::HEAD;
        let admission = request.head.extensions.remove::<Admission>();
        let session = cookies::value(&request, super::session::COOKIE).and_then(|id| world.sessions.find(&id));
        let has_open_body = Cell::new(request.upload.is_some());
        let this = Self(Rc::new(Exchange {
            has_open_body,
            is_body_claimed: Cell::default(),
            input: RefCell::new(Some(request)),
            output: RefCell::new(Output::new(reply, is_head, defaults)),
            world: Rc::downgrade(world),
            environment: RefCell::default(),
            running: RefCell::default(),
            session: RefCell::new(session),
            user: RefCell::default(),
            first_values: OnceCell::new(),
            is_deferred: Cell::default(),
            is_page_over: Cell::default(),
        }));
        if let Some(admission) = admission {
            this.resume(admission, world);
        }
        this
    }

    /// Notes what answers first: something at `url` in `app`, or beside all apps if that is `None`. Call it once,
    /// before any script runs.
    pub fn start_in(&self, app: Option<&Rc<AppState>>, url: String) {
        self.0.running.borrow_mut().push(Running::initial(app, url));
    }

    /// The `_ENV` of this request, the same each time until the page ends.
    pub fn environment(&self, lua: &Lua) -> mlua::Result<Table> {
        if let Some(environment) = &*self.0.environment.borrow() {
            return Ok(environment.clone());
        }
        let functions = lua.app_data_ref::<OutputFunctions>();
        let make = functions.map(|functions| functions.environment.clone());
        let make = make.ok_or_else(|| mlua::Error::runtime("the request bindings are not installed"))?;
        let environment: Table = make.call(lua.create_any_userdata(self.clone())?)?;
        *self.0.environment.borrow_mut() = Some(environment.clone());
        Ok(environment)
    }

    /// Writes as a page does: waits when the client has to catch up.
    pub async fn write(&self, data: &[u8]) -> mlua::Result<()> {
        let is_full = {
            let mut output = self.0.output.borrow_mut();
            output.write(data)?;
            output.is_full()
        };
        if is_full { self.drain().await } else { Ok(()) }
    }

    fn world(&self) -> mlua::Result<Rc<World>> {
        self.0.world.upgrade().ok_or_else(|| mlua::Error::runtime("the server is stopping"))
    }

    /// Headers to be used instead of the server's default ones, see `dir:header`.
    pub fn set_app_headers(&self, headers: Option<Rc<HeaderMap>>) {
        self.0.output.borrow_mut().set_app_headers(headers);
    }

    /// Reads from the request as it came; `None` after [`Request::not_mine`].
    fn with_input<T>(&self, look: impl FnOnce(&PageRequest) -> T) -> Option<T> {
        self.0.input.borrow().as_deref().map(look)
    }

    /// The first value of a header, in any letter case.
    pub fn header(&self, name: &str) -> Option<Bytes> {
        self.with_input(|input| {
            let found = input.headers.iter().find(|(sent, _)| sent.eq_ignore_ascii_case(name.as_bytes()));
            found.map(|(_, value)| value.clone())
        })?
    }

    /// All headers with their names as sent; of a name that was sent twice, the first value.
    pub fn headers_table(&self, lua: &Lua) -> mlua::Result<Table> {
        let table = lua.create_table()?;
        for (name, value) in self.with_input(|input| input.headers.clone()).unwrap_or_default() {
            let name = lua.create_string(name)?;
            if !table.contains_key(&name)? {
                table.set(name, lua.create_string(value)?)?;
            }
        }
        Ok(table)
    }

    /// The fields of the query and of an urlencoded body; of a field that was sent twice, the last value.
    pub fn data_table(&self, lua: &Lua) -> mlua::Result<Table> {
        let table = lua.create_table()?;
        for (name, value) in self.fields() {
            table.set(lua.create_string(name)?, lua.create_string(value)?)?;
        }
        Ok(table)
    }

    /// The fields in the order in which they came, the query's first.
    pub fn fields(&self) -> Vec<form::Field> {
        self.with_input(form::fields).unwrap_or_default()
    }

    /// The first value of a field.
    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        // Reversed, since of a repeated key `collect` keeps the last value.
        let read = || self.fields().into_iter().rev().collect();
        self.0.first_values.get_or_init(read).get(name).map(Vec::as_slice)
    }

    /// The method as sent, such as `GET`.
    pub fn method(&self) -> String {
        self.with_input(|input| input.head.method.to_string()).unwrap_or_default()
    }

    /// The path of the URL, decoded and collapsed, as HTTP looks it up.
    pub fn uri(&self) -> String {
        self.with_input(url::path).unwrap_or_default()
    }

    /// What the log calls the request: method and path as they were sent, such as `GET /index.lsp`.
    pub fn name(&self) -> String {
        self.with_input(name).unwrap_or_default()
    }

    /// The client's address; `None` after [`Request::not_mine`].
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.with_input(|input| input.ends.peer)
    }

    /// The server's address of the connection; `None` after [`Request::not_mine`].
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.with_input(|input| input.ends.local)
    }

    /// Whether the request came by HTTPS.
    pub fn is_tls(&self) -> bool {
        self.with_input(|input| input.ends.is_tls).unwrap_or(false)
    }

    /// The name of the user who is logged in.
    pub fn user(&self) -> Option<String> {
        self.logged_in().map(|user| String::from_utf8_lossy(&user.name).into_owned())
    }

    /// Takes the connection over: HTTP is told at once and calls `takeover` with the socket on the shard that owns it.
    /// Output that was not sent is forgotten. The page runs on, but whatever it does now leaves the socket alone.
    ///
    /// When the client is gone, the takeover may be dropped without a call even though this returned `Ok`.
    pub fn take_socket(&self, takeover: Takeover) -> Result<(), AlreadyTaken> {
        if self.0.has_open_body.get() {
            return Err(AlreadyTaken);
        }
        self.0.output.borrow_mut().take_socket(takeover)
    }

    /// Whether the response is committed: it has begun, is complete, or the socket has been taken.
    pub fn is_answered(&self) -> bool {
        self.0.output.borrow().is_committed()
    }

    /// Whether a redirect or abort has ended the response.
    pub fn is_complete(&self) -> bool {
        self.0.output.borrow().is_complete()
    }

    /// Discards what a directory function has written that declined the request. The headers that it has set stay, see
    /// `Output::decline`.
    pub fn decline(&self) {
        self.0.output.borrow_mut().decline();
    }

    /// Gives the request back to HTTP, which looks for something else to answer it. Users, sessions, cookies and
    /// headers that were set go along as an [`Admission`].
    pub fn not_mine(&self) {
        let admission = self.admission();
        if let Some(mut input) = self.0.input.borrow_mut().take() {
            input.head.extensions.insert(admission);
            self.0.output.borrow_mut().hand_back(input);
        }
        self.forget_scripts();
    }

    /// Notes that the page has ended, and ends the response unless it was deferred. If the page has `failed`, a
    /// deferred response ends, too, and the client is told.
    pub async fn finish(&self, failed: bool) {
        self.0.is_page_over.set(true);
        self.0.environment.borrow_mut().take();
        if failed || !self.0.is_deferred.get() {
            self.end(failed).await;
        }
    }

    /// Answers with an error page instead of what was written; behind it once the response has begun.
    pub fn show_error(&self, html: &str) {
        self.0.output.borrow_mut().show_error(html);
    }

    /// Drops the Lua tables that may refer to this request, which would otherwise keep each other alive.
    fn forget_scripts(&self) {
        self.0.environment.borrow_mut().take();
        self.0.running.borrow_mut().clear();
    }

    /// Ends the response: sends what is stored, as soon as the client takes it.
    async fn end(&self, failed: bool) {
        if self.0.is_page_over.get() {
            self.forget_scripts();
        }
        self.drop_upload();
        if !failed && let Some(mistake) = self.0.output.borrow().length_mistake() {
            tracing::warn!("{}: {mistake}", self.name());
        }
        let rest = self.0.output.borrow_mut().finish(failed);
        if let Some(rest) = rest {
            rest.send().await;
        }
    }

    /// Waits until the connection has taken the head and all output so far. From then on it reaches the client whatever the
    /// script does next.
    async fn hand_over(&self) -> mlua::Result<()> {
        self.drain().await?;
        let stream = self.0.output.borrow().stream();
        if let Some(stream) = stream {
            stream::hand_over(stream).await;
        }
        Ok(())
    }

    /// Waits until the client has taken the stored output.
    async fn drain(&self) -> mlua::Result<()> {
        loop {
            let Some(channel) = self.0.output.borrow().channel() else { return Ok(()) };
            let permit = channel.reserve().await;
            let mut output = self.0.output.borrow_mut();
            match permit {
                // Another coroutine may have sent it meanwhile.
                Ok(permit) if output.channel().is_some() => permit.send(Ok(output.take_stored())),
                Ok(_) => {}
                Err(_) => output.client_is_gone(),
            }
            if !output.is_full() {
                return Ok(());
            }
        }
    }
}

fn name(request: &PageRequest) -> String {
    format!("{} {}", request.head.method, request.head.uri.path())
}

impl Drop for Exchange {
    /// Warns of a deferred response that no script holds any more and that was never closed. HTTP answers such a
    /// request with an error. While the server stops this is normal, and there is no warning.
    fn drop(&mut self) {
        let is_forgotten = self.is_deferred.get() && self.output.get_mut().is_awaited();
        if is_forgotten && self.world.strong_count() > 0 {
            let asked = self.input.get_mut().as_deref().map(name).unwrap_or_default();
            tracing::warn!(
                "{asked}: scripts have let go of the deferred response without closing it; keep it in a variable"
            );
        }
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Request({})", self.name())
    }
}
