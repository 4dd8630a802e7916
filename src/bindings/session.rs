//! HTTP sessions: what a script keeps for one browser, and who is logged in there.

mod store;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::HeaderValue;
use mlua::{Error, Lua, MetaMethod, MultiValue, Result, Table, UserData, UserDataMethods, UserDataRef};
use mlua::{UserDataRegistry, Value};
use tokio::time::Instant;

use super::args::Args;
use super::auth::User;
use super::ba::encoding::random_hex;
pub use store::Sessions;
use store::Store;

/// The cookie with the session's id.
pub const COOKIE: &str = "smq_session";
/// How long a session lives without a request, by default.
const INACTIVE: Duration = Duration::from_secs(1200);
/// How long an unconfirmed session lives, see [`Session::is_confirmed`].
const UNCONFIRMED: Duration = Duration::from_secs(60);

/// One session. A cheap handle; scripts hold it as userdata.
#[derive(Clone)]
pub struct Session(Rc<Entry>);

struct Entry {
    id: RefCell<String>,
    /// Counts the sessions in the order in which they were made.
    serial: u64,
    /// What scripts keep in it. `None` when the session has ended.
    attributes: RefCell<Option<Table>>,
    user: RefCell<Option<User>>,
    /// In seconds since 1970.
    created: u64,
    /// The time of the last request.
    touched: Cell<Instant>,
    /// How long the session lives without a request.
    inactive: Cell<Duration>,
    is_confirmed: Cell<bool>,
    store: Weak<Store>,
}

impl Entry {
    fn has_user(&self) -> bool {
        self.user.borrow().is_some()
    }
}

impl Session {
    fn new(lua: &Lua, is_confirmed: bool, serial: u64, store: Weak<Store>) -> Result<Self> {
        Ok(Self(Rc::new(Entry {
            id: RefCell::new(random_hex()),
            serial,
            attributes: RefCell::new(Some(lua.create_table()?)),
            user: RefCell::default(),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            touched: Cell::new(Instant::now()),
            inactive: Cell::new(INACTIVE),
            is_confirmed: Cell::new(is_confirmed),
            store,
        })))
    }

    /// The id, which a login changes. It is as good as a password.
    pub fn id(&self) -> String {
        self.0.id.borrow().clone()
    }

    /// Whether the session was terminated.
    pub fn has_ended(&self) -> bool {
        self.0.attributes.borrow().is_none()
    }

    /// Whether the client keeps the cookie, as far as is known: it asked for a session, or has sent the cookie back. A
    /// program that sends credentials with each request keeps no cookie; so its sessions, one for each request, are
    /// unconfirmed. They end soon and do not count against the user's limit.
    pub fn is_confirmed(&self) -> bool {
        self.0.is_confirmed.get()
    }

    /// Whether the session has lived too long without a request.
    fn is_overdue(&self) -> bool {
        let patience = if self.is_confirmed() { self.0.inactive.get() } else { UNCONFIRMED.min(self.0.inactive.get()) };
        self.0.touched.get().elapsed() >= patience
    }

    /// The user who is logged in.
    pub fn user(&self) -> Option<User> {
        self.0.user.borrow().clone()
    }

    /// Logs a user in. The session gets a new id, so that nobody who knows the old one is logged in, too (session
    /// fixation). The caller has to set the cookie again.
    pub fn log_in(&self, user: User) {
        let change = || {
            *self.0.user.borrow_mut() = Some(user);
            *self.0.id.borrow_mut() = random_hex();
        };
        match self.0.store.upgrade() {
            Some(store) => store.change(self, change),
            None => change(),
        }
    }

    /// Sets how long the session lives without a request.
    pub fn set_inactive(&self, inactive: Duration) {
        self.0.inactive.set(inactive);
    }

    /// Ends the session, and drops what scripts kept in it.
    pub fn terminate(&self) {
        // First, since the store finds a session by its user, too.
        if let Some(store) = self.0.store.upgrade() {
            store.remove(self);
        }
        self.0.attributes.borrow_mut().take();
        self.0.user.borrow_mut().take();
    }

    /// What scripts keep in the session. An error if it has ended.
    fn attributes(&self) -> Result<Table> {
        self.0.attributes.borrow().clone().ok_or_else(|| Error::runtime("session expired"))
    }

    /// The value of a `Set-Cookie` header.
    pub fn cookie(&self, is_tls: bool) -> Result<HeaderValue> {
        set_cookie(&self.id(), "", is_tls)
    }
}

/// The value of a `Set-Cookie` header that removes the cookie.
pub fn no_cookie(is_tls: bool) -> Result<HeaderValue> {
    set_cookie("", "; Max-Age=0", is_tls)
}

fn set_cookie(id: &str, age: &str, is_tls: bool) -> Result<HeaderValue> {
    let secure = if is_tls { "; Secure" } else { "" };
    HeaderValue::try_from(format!("{COOKIE}={id}; Path=/{age}; HttpOnly; SameSite=Lax{secure}"))
        .map_err(Error::external)
}

impl UserData for Session {
    fn register(registry: &mut UserDataRegistry<Self>) {
        registry.add_method("id", |_, this, _: MultiValue| this.attributes().map(|_| this.id()));
        registry.add_method("terminate", |_, this, _: MultiValue| {
            this.attributes()?;
            this.terminate();
            Ok(true)
        });
        registry.add_method("attributes", |_, this, _: MultiValue| this.attributes());
        registry.add_method("creationtime", |_, this, _: MultiValue| this.attributes().map(|_| this.0.created));
        registry.add_method("maxinactiveinterval", |lua, this, args: MultiValue| {
            this.attributes()?;
            if !args.is_empty() {
                let args = Args::new(lua, "session:maxinactiveinterval", args);
                // At most a century, so that adding it to a time cannot overflow.
                let seconds = args.integer_in(1, "seconds", 1..=3_153_600_000)?;
                this.set_inactive(Duration::from_secs(seconds.unsigned_abs()));
            }
            Ok(this.0.inactive.get().as_secs())
        });
        registry.add_meta_method(MetaMethod::Index, |_, this, key: Value| this.attributes()?.raw_get::<Value>(key));
        registry.add_meta_method(MetaMethod::NewIndex, |_, this, (key, value): (Value, Value)| {
            if key.is_nil() {
                return Err(Error::runtime("a session's field cannot have the name nil"));
            }
            this.attributes()?.raw_set(key, value)
        });
        registry
            .add_meta_method(MetaMethod::Eq, |_, this, other: UserDataRef<Session>| Ok(Rc::ptr_eq(&this.0, &other.0)));
        // Without the id, which is as good as a password.
        registry.add_meta_method(MetaMethod::ToString, |_, _, _: MultiValue| Ok("session"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_hidden_from_scripts_and_other_sites_and_plain_connections() {
        let cookie = set_cookie("id", "", true).expect("a header");
        assert_eq!(cookie, "smq_session=id; Path=/; HttpOnly; SameSite=Lax; Secure");
    }
}
