//! The session and user of a request, and how they are passed on when one part of an app lets the request through to
//! another.

use hyper::HeaderMap;
use hyper::header::{HeaderValue, SET_COOKIE};
use mlua::{IntoLua, IntoLuaMulti, Lua, MultiValue, Result, UserDataMethods, UserDataRegistry, Value};

use super::Request;
use crate::bindings::args::Args;
use crate::bindings::auth::User;
use crate::bindings::session::{COOKIE, Session, no_cookie};
use crate::lua::World;

/// What an authenticator or a prologue directory has found out about a request, or set for its response. It travels as
/// an extension of the request's head to what finally answers.
#[derive(Clone, Default)]
pub struct Admission {
    user: Option<User>,
    /// The session's id.
    session: Option<String>,
    cookies: Vec<(String, HeaderValue)>,
    headers: HeaderMap,
}

impl Admission {
    /// Adds the headers and cookies to a response that no script writes, such as a file. Headers of the response itself
    /// have precedence.
    pub fn add_to(&self, response: &mut HeaderMap) {
        for name in self.headers.keys() {
            if !response.contains_key(name) {
                let values: Vec<_> = self.headers.get_all(name).iter().cloned().collect();
                response.extend(values.into_iter().map(|value| (name.clone(), value)));
            }
        }
        for (_, cookie) in &self.cookies {
            response.append(SET_COOKIE, cookie.clone());
        }
    }
}

pub fn register(registry: &mut UserDataRegistry<Request>) {
    registry.add_method("user", user);
    registry.add_method("session", session);
    registry.add_method("logout", |lua, this, args: MultiValue| {
        this.log_out(Args::new(lua, "request:logout", args).truth(1))
    });
}

/// `request:user()`: name, password and how the user logged in; nil if nobody is logged in.
fn user(lua: &Lua, this: &Request, _: MultiValue) -> Result<MultiValue> {
    match this.logged_in() {
        None => Value::Nil.into_lua_multi(lua),
        Some(user) => {
            let password = user.password.map(|password| lua.create_string(password)).transpose()?;
            (lua.create_string(user.name)?, password, user.method).into_lua_multi(lua)
        }
    }
}

/// `request:session([create])`: the client's session, or false. With `create` one is made if there is none; if there
/// are too many sessions, the result is nil and a reason.
fn session(lua: &Lua, this: &Request, args: MultiValue) -> Result<MultiValue> {
    if let Some(session) = this.session() {
        return session.into_lua_multi(lua);
    }
    if !Args::new(lua, "request:session", args).truth(1) {
        return false.into_lua_multi(lua);
    }
    match this.create_session(true)? {
        Some(session) => session.into_lua_multi(lua),
        None => (Value::Nil, "there are as many sessions as there may be").into_lua_multi(lua),
    }
}

impl Request {
    /// The client's session, unless it has ended.
    pub fn session(&self) -> Option<Session> {
        self.0.session.borrow().clone().filter(|session| !session.has_ended())
    }

    /// The session as scripts see it, false when there is none.
    pub fn session_value(&self, lua: &Lua) -> Result<Value> {
        self.session().map_or(Ok(Value::Boolean(false)), |session| session.into_lua(lua))
    }

    /// Makes a session and sets its cookie; `None` if there are too many sessions. An error if the response has begun.
    fn create_session(&self, is_confirmed: bool) -> Result<Option<Session>> {
        let world = self.world()?;
        // Checked first: without its cookie the session would be lost.
        self.uncommitted(|_| ())?;
        let Some(session) = world.sessions.create(&world.lua, is_confirmed)? else { return Ok(None) };
        self.adopt(&session)?;
        Ok(Some(session))
    }

    /// Makes this the request's session, and sets its cookie.
    fn adopt(&self, session: &Session) -> Result<()> {
        let cookie = session.cookie(self.is_tls())?;
        self.uncommitted(|output| output.set_cookie(COOKIE, cookie))?;
        *self.0.session.borrow_mut() = Some(session.clone());
        Ok(())
    }

    /// The user who is logged in: for this request alone, or in the session.
    pub fn logged_in(&self) -> Option<User> {
        self.0.user.borrow().clone().or_else(|| self.session()?.user())
    }

    /// Logs the user in, in a session if there is room for one; `None` if there is not. `keeps_cookie` is false for
    /// clients that send credentials with each request and so may never use the session.
    pub fn log_in(&self, user: User, keeps_cookie: bool) -> Result<Option<Session>> {
        *self.0.user.borrow_mut() = Some(user.clone());
        let session = match self.session() {
            Some(session) => Some(session),
            None => {
                if keeps_cookie {
                    self.world()?.sessions.make_room_for_login();
                }
                self.create_session(keeps_cookie)?
            }
        };
        if let Some(session) = &session {
            session.log_in(user);
            self.adopt(session)?;
        }
        Ok(session)
    }

    /// Logs the user out and ends the session; with `everywhere`, all sessions of the user. Does nothing if nobody is
    /// logged in.
    fn log_out(&self, everywhere: bool) -> Result<()> {
        let Some(user) = self.logged_in() else { return Ok(()) };
        if everywhere {
            self.world()?.sessions.of_user(&user.name).iter().for_each(Session::terminate);
        }
        self.0.user.borrow_mut().take();
        if let Some(session) = self.0.session.borrow_mut().take() {
            session.terminate();
            let mut output = self.0.output.borrow_mut();
            if !output.is_committed() {
                output.set_cookie(COOKIE, no_cookie(self.is_tls())?);
            }
        }
        Ok(())
    }

    /// What is to be passed on with this request.
    pub(super) fn admission(&self) -> Admission {
        let output = self.0.output.borrow();
        Admission {
            user: self.0.user.borrow().clone(),
            session: self.session().map(|session| session.id()),
            cookies: output.cookies().to_vec(),
            headers: output.headers.clone(),
        }
    }

    /// Takes over what was passed on with this request.
    pub(super) fn resume(&self, admission: Admission, world: &World) {
        *self.0.user.borrow_mut() = admission.user;
        if let Some(id) = admission.session {
            *self.0.session.borrow_mut() = world.sessions.peek(id.as_bytes());
        }
        let mut output = self.0.output.borrow_mut();
        output.headers.extend(admission.headers);
        for (name, cookie) in admission.cookies {
            output.set_cookie(&name, cookie);
        }
    }
}
