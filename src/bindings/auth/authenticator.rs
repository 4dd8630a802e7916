//! `ba.create.authenticator`: finds out who a client is, by a login form or by HTTP authentication (basic, digest).
//!
//! A request may bring proof in three ways: basic or digest credentials in its `Authorization` header, or the fields of
//! a login form. Each way ends in a [`Login`]: the user, or the failed [`Attempt`]. After a failure, or without any
//! proof, the client is asked: with the login form or with a 401, whichever suits it.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use mlua::{Lua, MultiValue, Result, UserData, Value};

use super::User;
use super::attempts::Attempts;
use super::audience::Audience;
use super::digest::Credentials;
use super::nonces::Nonces;
use super::seeds::{self, Seeds};
use super::users::{Account, Users};
use crate::bindings::args::{Args, plain_text};
use crate::bindings::options::Options;
use crate::bindings::request::Request;
use crate::bindings::session::Session;
use crate::lua::life::{Kept, Life};
use crate::lua::{World, budget};
use crate::seats;

const DEFAULT_REALM: &str = "Restricted";

/// How clients are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Form,
    Basic,
    Digest,
    /// The login form for people, a 401 without a challenge for what their pages load, a challenge for programs.
    Auth,
    /// Basic or digest, as WebDAV clients need it.
    Dav,
}

/// How one client is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// By the login page, with status 200.
    Form,
    /// By the login page, with a 401 that has no challenge, so that the browser does not open its own login dialog.
    Silently,
    /// By a 401 with challenges.
    Challenge,
}

/// What writes the login page, or the body of a 401.
enum LoginPage {
    /// Called with the environment and the table that [`Authenticator::info`] makes.
    Function(Kept),
    /// The path of a page, which finds that table in the global `authinfo`.
    Path(String),
}

/// Finds out who a client is. See the module's description.
pub struct Authenticator {
    users: Users,
    kind: Kind,
    /// `None`: a small default page; then there is no login form.
    page: Option<LoginPage>,
    realm: String,
    nonces: Nonces,
    seeds: Seeds,
    attempts: Attempts,
}

/// An authenticator as scripts see it.
pub struct LuaAuthenticator(pub Rc<Authenticator>);

impl UserData for LuaAuthenticator {}

/// `ba.create.authenticator(users[, {type=, response=, realm=}])`
pub fn create(lua: &Lua, args: MultiValue) -> Result<LuaAuthenticator> {
    let args = Args::new(lua, "ba.create.authenticator", args);
    let value = args.value(1);
    let Some(users) = Users::from_value(&value) else {
        return Err(args.mismatch(1, "users", "authuser or jsonuser", &value));
    };
    let options = Options::optional(&args, 2, "options")?;
    let kind = kind(lua, &options.value("type")?)
        .ok_or_else(|| options.refuse("type", "\"form\", \"basic\", \"digest\", \"auth\" or \"dav\" expected"))?;
    let page = match options.value("response")? {
        Value::Nil => None,
        Value::Function(function) => Some(LoginPage::Function(Life::current().keep(function))),
        Value::String(path) => Some(LoginPage::Path(path.to_string_lossy())),
        other => return Err(options.mismatch("response", "function or path of a page", &other)),
    };
    if kind == Kind::Form && page.is_none() {
        return Err(options.refuse("response", "type \"form\" needs it, since it shows the login page"));
    }
    let realm = match options.value("realm")? {
        Value::Nil => DEFAULT_REALM.to_owned(),
        value => realm(lua, &value)
            .ok_or_else(|| options.refuse("realm", "ASCII text without quotes and control characters expected"))?,
    };
    let (nonces, seeds, attempts) = Default::default();
    Ok(LuaAuthenticator(Rc::new(Authenticator { users, kind, page, realm, nonces, seeds, attempts })))
}

fn kind(lua: &Lua, value: &Value) -> Option<Kind> {
    match plain_text(lua, value).unwrap_or_default().as_slice() {
        b"form" => Some(Kind::Form),
        b"basic" => Some(Kind::Basic),
        b"digest" => Some(Kind::Digest),
        b"dav" => Some(Kind::Dav),
        b"auth" => Some(Kind::Auth),
        b"" if value.is_nil() => Some(Kind::Auth),
        _ => None,
    }
}

fn realm(lua: &Lua, value: &Value) -> Option<String> {
    let text = String::from_utf8(plain_text(lua, value)?).ok()?;
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && !b"\"\\".contains(&byte)).then_some(text)
}

/// What came of a client's attempt to log in. The outer result is for errors of scripts.
type Login<T = User> = Result<std::result::Result<T, Attempt>>;

/// An attempt to log in that did not succeed, or not yet.
#[derive(Default)]
struct Attempt {
    /// False if the request brought no proof at all.
    was_made: bool,
    name: Vec<u8>,
    /// The password that the client sent, if it was sent as it is.
    password: Option<Vec<u8>>,
    /// The password in the user database, if that has it in plain text.
    true_password: Option<Vec<u8>>,
    /// The proof was right, but the user has as many sessions as allowed, or there was no room for another one.
    is_denied: bool,
    /// The proof was right, but its nonce has expired or was used before: the client may try again with a new one.
    is_stale: bool,
}

/// What a login page that hashes the password sends in its place.
struct Hashed<'request> {
    /// See [`seeds::prove`].
    response: &'request str,
    seed: &'request str,
    key: &'request str,
}

impl Authenticator {
    /// The user whose credentials the request carries. `None` when the response has been written: the client was asked
    /// to log in, or has just done so by the form and was sent to the same URL again.
    pub async fn authenticate(&self, world: &World, request: &Request) -> Result<Option<User>> {
        let header = request.header("Authorization").unwrap_or_default();
        let (scheme, credentials) = split_scheme(&header);
        let mut attempt = match scheme.to_ascii_lowercase().as_str() {
            "basic" if self.takes(Kind::Basic) => match self.basic(world, request, credentials).await? {
                Ok(user) => return Ok(Some(user)),
                Err(attempt) => attempt,
            },
            "digest" if self.takes(Kind::Digest) => match self.digest(world, request, credentials).await? {
                Ok(user) => return Ok(Some(user)),
                Err(attempt) => attempt,
            },
            _ => Attempt::default(),
        };
        let mut asked = self.asked(request, &attempt);
        if self.has_form() && !attempt.was_made && request.method() == "POST" {
            match self.form(world, request).await? {
                Ok(()) => {
                    request.redirect_to_itself()?;
                    return Ok(None);
                }
                Err(failed) => attempt = failed,
            }
            if attempt.was_made {
                asked = Asked::Form;
            }
        }
        self.ask(world, request, asked, attempt).await?;
        Ok(None)
    }

    /// Whether `Authorization` headers of this kind are accepted.
    fn takes(&self, kind: Kind) -> bool {
        matches!(self.kind, Kind::Auth | Kind::Dav) || self.kind == kind
    }

    fn has_form(&self) -> bool {
        self.kind == Kind::Form || (self.kind == Kind::Auth && self.page.is_some())
    }

    fn asked(&self, request: &Request, attempt: &Attempt) -> Asked {
        match Audience::of(request) {
            // A client that has sent an Authorization header understands challenges.
            _ if !self.has_form() || attempt.was_made => Asked::Challenge,
            _ if self.kind == Kind::Form => Asked::Form,
            Audience::Person => Asked::Form,
            Audience::Page => Asked::Silently,
            Audience::Program => Asked::Challenge,
        }
    }

    /// Checks the fields of a login form, if the request has them, and logs the user in.
    async fn form(&self, world: &World, request: &Request) -> Login<()> {
        let Some(name) = request.field(b"ba_username").map(<[u8]>::to_vec) else { return Ok(Err(Attempt::default())) };
        let text = |name: &[u8]| str::from_utf8(request.field(name).unwrap_or_default()).unwrap_or_default();
        let hashed = Hashed { response: text(b"ba_password2"), seed: text(b"ba_seed"), key: text(b"ba_seedkey") };
        let user = match request.field(b"ba_password") {
            _ if !hashed.response.is_empty() => self.hashed(world, request, name, hashed).await?,
            Some(password) => self.check(world, request, name, password.to_vec(), "form").await?,
            None => return Ok(Err(Attempt::default())),
        };
        Ok(user.map(drop))
    }

    /// Checks the hash that a login page has made of the password and its seed, and logs the user in.
    async fn hashed(&self, world: &World, request: &Request, name: Vec<u8>, hashed: Hashed<'_>) -> Login {
        self.take_time(request).await;
        let account = self.users.find(world, request, &name, None).await?;
        let attempt = Attempt { was_made: true, name, ..Attempt::default() };
        let is_proven = |account: &Account| {
            account.secret.password().is_some_and(|password| seeds::prove(password, hashed.seed, hashed.response))
        };
        let Some(account) = account.filter(is_proven) else { return Ok(Err(self.failed(request, attempt))) };
        if !self.seeds.take(hashed.seed, hashed.key) {
            return Ok(Err(attempt));
        }
        self.log_in(world, request, &account, attempt, "form")
    }

    /// Checks the credentials of basic authentication (RFC 7617), and logs the user in.
    async fn basic(&self, world: &World, request: &Request, credentials: &str) -> Login {
        let decoded = STANDARD.decode(credentials).unwrap_or_default();
        let Some(colon) = decoded.iter().position(|&byte| byte == b':') else {
            return Ok(Err(Attempt { was_made: true, ..Attempt::default() }));
        };
        let (name, password) = (decoded[..colon].to_vec(), decoded[colon + 1..].to_vec());
        self.check(world, request, name, password, "basic").await
    }

    /// Checks a password that was sent as it is, and logs the user in.
    async fn check(
        &self,
        world: &World,
        request: &Request,
        name: Vec<u8>,
        password: Vec<u8>,
        method: &'static str,
    ) -> Login {
        self.take_time(request).await;
        let account = self.users.find(world, request, &name, Some(&password)).await?;
        let mut attempt = Attempt { was_made: true, name, password: Some(password.clone()), ..Attempt::default() };
        let Some(account) = account else { return Ok(Err(self.failed(request, attempt))) };
        attempt.true_password = account.secret.password().map(<[u8]>::to_vec);
        if !account.secret.is(&password, &attempt.name, &self.realm) {
            return Ok(Err(self.failed(request, attempt)));
        }
        self.log_in(world, request, &account, attempt, method)
    }

    /// Checks the credentials of digest authentication (RFC 7616), and logs the user in.
    async fn digest(&self, world: &World, request: &Request, credentials: &str) -> Login {
        let mut attempt = Attempt { was_made: true, ..Attempt::default() };
        let Some(credentials) = Credentials::parse(credentials) else { return Ok(Err(attempt)) };
        attempt.name = credentials.user().as_bytes().to_vec();
        self.take_time(request).await;
        let account = self.users.find(world, request, &attempt.name, None).await?;
        let is_proven = account.as_ref().is_some_and(|account| {
            let ha1 = account.secret.ha1(&attempt.name, &self.realm);
            ha1.is_some_and(|ha1| credentials.prove(&ha1, &request.method()))
        });
        let is_for_us = credentials.realm() == self.realm && request.is_at(credentials.uri());
        let Some(account) = account.filter(|_| is_proven && is_for_us) else {
            return Ok(Err(self.failed(request, attempt)));
        };
        if !self.nonces.take(credentials.nonce(), credentials.count()) {
            attempt.is_stale = true;
            return Ok(Err(attempt));
        }
        self.log_in(world, request, &account, attempt, "digest")
    }

    /// Slows down guessing. This comes before an attempt is checked: after it, a client that guesses would just not
    /// wait for the answer.
    async fn take_time(&self, request: &Request) {
        self.attempts.wait(address(request)).await;
    }

    /// Counts a wrong proof.
    fn failed(&self, request: &Request, attempt: Attempt) -> Attempt {
        self.attempts.note_failure(address(request));
        attempt
    }

    /// Logs in a user whose proof was right, unless that would be one session too many.
    fn log_in(
        &self,
        world: &World,
        request: &Request,
        account: &Account,
        mut attempt: Attempt,
        method: &'static str,
    ) -> Login {
        self.attempts.note_success(address(request));
        attempt.true_password = account.secret.password().map(<[u8]>::to_vec);
        let is_form = method == "form";
        let denied = |attempt| Ok(Err(Attempt { is_denied: true, ..attempt }));
        if !make_room(world, account, &attempt.name) {
            return denied(attempt);
        }
        let password = attempt.password.clone().or_else(|| attempt.true_password.clone());
        let user = User { name: attempt.name.clone(), password, method };
        let session = request.log_in(user.clone(), is_form)?;
        match (session, account.inactive) {
            (Some(session), Some(inactive)) => session.set_inactive(inactive),
            // The next request has no credentials of its own: without a session the login would be lost.
            (None, _) if is_form => return denied(attempt),
            _ => {}
        }
        Ok(Ok(user))
    }

    /// Answers with the login page, or with a 401 and its body.
    async fn ask(&self, world: &World, request: &Request, asked: Asked, attempt: Attempt) -> Result<()> {
        let status = if asked == Asked::Form { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        let shows_form = asked != Asked::Challenge;
        let challenges = if shows_form { Vec::new() } else { self.challenges(attempt.is_stale) };
        request.start_login_page(status, challenges)?;
        match &self.page {
            None => request.write_error_page(status),
            Some(LoginPage::Function(function)) => {
                let info = self.info(world, request, shows_form, &attempt)?;
                budget::call::<()>(&function.get()?, (request.environment(&world.lua)?, info)).await
            }
            Some(LoginPage::Path(path)) => {
                let info = self.info(world, request, shows_form, &attempt)?;
                request.environment(&world.lua)?.set("authinfo", info)?;
                request.include_login_page(path).await
            }
        }
    }

    /// The values of `WWW-Authenticate`, the strongest first.
    fn challenges(&self, is_stale: bool) -> Vec<String> {
        let realm = &self.realm;
        let mut challenges = Vec::new();
        if self.takes(Kind::Digest) {
            let stale = if is_stale { ", stale=true" } else { "" };
            let nonce = self.nonces.make();
            challenges.push(format!(r#"Digest realm="{realm}", qop="auth", algorithm=MD5, nonce="{nonce}"{stale}"#));
        }
        if self.takes(Kind::Basic) {
            challenges.push(format!(r#"Basic realm="{realm}", charset="UTF-8""#));
        }
        challenges
    }

    /// What the login page is told, as a table.
    fn info(&self, world: &World, request: &Request, shows_form: bool, attempt: &Attempt) -> Result<mlua::Table> {
        let (lua, info) = (&world.lua, world.lua.create_table()?);
        info.set("type", if shows_form { "form" } else { self.name() })?;
        if attempt.was_made {
            info.set("username", lua.create_string(&attempt.name)?)?;
        }
        for (field, text) in [("password", &attempt.password), ("upwd", &attempt.true_password)] {
            info.set(field, text.as_ref().map(|text| lua.create_string(text)).transpose()?)?;
        }
        info.set("loginattempts", self.attempts.count(address(request)))?;
        info.set("denied", attempt.is_denied)?;
        if shows_form {
            let seed = self.seeds.make();
            info.set("seed", seed.text)?;
            info.set("seedkey", seed.key)?;
        }
        Ok(info)
    }

    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Form => "form",
            Kind::Basic => "basic",
            Kind::Digest => "digest",
            Kind::Auth => "auth",
            Kind::Dav => "dav",
        }
    }
}

/// Whether the user may have one more session; if need be, by ending the oldest ones.
fn make_room(world: &World, account: &Account, name: &[u8]) -> bool {
    let Some(limit) = account.max_users else { return true };
    let mut sessions = world.sessions.of_user(name);
    sessions.retain(Session::is_confirmed);
    let surplus = (sessions.len() + 1).saturating_sub(limit);
    if surplus > 0 && !account.recycle {
        return false;
    }
    sessions.iter().take(surplus).for_each(Session::terminate);
    true
}

/// The address under which a client's attempts are counted.
fn address(request: &Request) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| seats::counted(address.ip()))
}

/// The scheme and the credentials of an `Authorization` header such as `Basic dXNlcg==`. Both are empty if it has not
/// both.
fn split_scheme(header: &[u8]) -> (&str, &str) {
    let text = std::str::from_utf8(header).unwrap_or_default();
    text.trim().split_once(' ').map_or(("", ""), |(scheme, rest)| (scheme, rest.trim()))
}
