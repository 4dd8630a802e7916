//! HTTP sessions: what a script keeps for one browser, and who is logged in there.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::HeaderValue;
use mlua::{Error, Lua, MetaMethod, MultiValue, Result, Table, UserData, UserDataMethods, UserDataRef};
use mlua::{UserDataRegistry, Value};
use tokio::time::{Instant, sleep};

use super::args::Args;
use super::auth::User;
use super::ba::encoding::hex;

/// The cookie with the session's id.
pub const COOKIE: &str = "smq_session";
/// Sessions there may be at a time.
const MAX_SESSIONS: usize = 10_000;
/// Without a request for so long a session ends.
const INACTIVE: Duration = Duration::from_secs(1200);
/// The same for a session that was made by a request with credentials in its head, until a client comes back to it:
/// programs send their credentials with each request and keep no cookie.
const UNCONFIRMED: Duration = Duration::from_secs(60);
/// How often ended sessions are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// All sessions. A cheap handle.
#[derive(Clone)]
pub struct Sessions(Rc<Store>);

struct Store {
    by_id: RefCell<HashMap<String, Session>>,
    limit: usize,
    is_swept: Cell<bool>,
}

/// One session. A cheap handle; scripts hold it as userdata.
#[derive(Clone)]
pub struct Session(Rc<Entry>);

struct Entry {
    id: RefCell<String>,
    /// What scripts keep in it. Gone when the session has ended.
    attributes: RefCell<Option<Table>>,
    user: RefCell<Option<User>>,
    /// Seconds since 1970.
    created: u64,
    touched: Cell<Instant>,
    inactive: Cell<Duration>,
    is_confirmed: Cell<bool>,
    store: Weak<Store>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self::with_limit(MAX_SESSIONS)
    }
}

impl Sessions {
    /// At most `limit` sessions at a time.
    pub fn with_limit(limit: usize) -> Self {
        Self(Rc::new(Store { by_id: RefCell::default(), limit, is_swept: Cell::default() }))
    }

    /// Makes a session; `None` when there are as many as there may be. An unconfirmed one lives a minute unless its
    /// client comes back.
    pub fn create(&self, lua: &Lua, is_confirmed: bool) -> Result<Option<Session>> {
        if self.0.by_id.borrow().len() >= self.0.limit {
            self.0.sweep();
        }
        if self.0.by_id.borrow().len() >= self.0.limit {
            tracing::warn!(limit = self.0.limit, "there are as many sessions as there may be");
            return Ok(None);
        }
        let session = Session(Rc::new(Entry {
            id: RefCell::new(new_id()),
            attributes: RefCell::new(Some(lua.create_table()?)),
            user: RefCell::default(),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            touched: Cell::new(Instant::now()),
            inactive: Cell::new(INACTIVE),
            is_confirmed: Cell::new(is_confirmed),
            store: Rc::downgrade(&self.0),
        }));
        self.0.by_id.borrow_mut().insert(session.id(), session.clone());
        self.0.start_sweeping();
        Ok(Some(session))
    }

    /// The session with this id, unless it has ended. Its client is there: its time begins anew.
    pub fn find(&self, id: &[u8]) -> Option<Session> {
        let session = self.peek(id)?;
        session.0.touched.set(Instant::now());
        session.0.is_confirmed.set(true);
        Some(session)
    }

    /// The session with this id, unless it has ended.
    pub fn peek(&self, id: &[u8]) -> Option<Session> {
        let session = self.0.by_id.borrow().get(std::str::from_utf8(id).ok()?).cloned()?;
        if session.is_overdue() {
            session.terminate();
            return None;
        }
        Some(session)
    }

    /// The sessions of a user, the oldest first.
    pub fn of_user(&self, name: &[u8]) -> Vec<Session> {
        let is_users = |session: &&Session| {
            !session.is_overdue()
                && session.user().is_some_and(|user| user.name == name)
                && session.0.is_confirmed.get()
        };
        let mut sessions: Vec<_> = self.0.by_id.borrow().values().filter(is_users).cloned().collect();
        sessions.sort_by_key(|session| session.0.created);
        sessions
    }

    /// How many there are, some of which may just have ended.
    pub fn count(&self) -> usize {
        self.0.by_id.borrow().len()
    }
}

impl Store {
    fn sweep(&self) {
        let overdue: Vec<_> = self.by_id.borrow().values().filter(|session| session.is_overdue()).cloned().collect();
        overdue.iter().for_each(Session::terminate);
    }

    /// A task looks for ended sessions as long as there are any.
    fn start_sweeping(self: &Rc<Self>) {
        if self.is_swept.replace(true) {
            return;
        }
        let store = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            loop {
                sleep(SWEEP).await;
                let Some(store) = store.upgrade() else { return };
                store.sweep();
                if store.by_id.borrow().is_empty() {
                    store.is_swept.set(false);
                    return;
                }
            }
        });
    }
}

/// 128 bits of a cryptographic generator, in hexadecimal digits.
fn new_id() -> String {
    hex(&rand::random::<[u8; 16]>())
}

impl Session {
    pub fn id(&self) -> String {
        self.0.id.borrow().clone()
    }

    pub fn has_ended(&self) -> bool {
        self.0.attributes.borrow().is_none()
    }

    fn is_overdue(&self) -> bool {
        let patience =
            if self.0.is_confirmed.get() { self.0.inactive.get() } else { UNCONFIRMED.min(self.0.inactive.get()) };
        self.0.touched.get().elapsed() >= patience
    }

    /// Who is logged in.
    pub fn user(&self) -> Option<User> {
        self.0.user.borrow().clone()
    }

    /// Logs a user in. The session gets a new id, so that nobody who knew the old one before is logged in, too; the
    /// cookie has to be set again.
    pub fn log_in(&self, user: User) {
        *self.0.user.borrow_mut() = Some(user);
        let Some(store) = self.0.store.upgrade() else { return };
        let mut sessions = store.by_id.borrow_mut();
        if let Some(session) = sessions.remove(&self.id()) {
            *self.0.id.borrow_mut() = new_id();
            sessions.insert(self.id(), session);
        }
    }

    /// How long the client may stay away.
    pub fn set_inactive(&self, inactive: Duration) {
        self.0.inactive.set(inactive);
    }

    /// Ends the session; what scripts kept in it is forgotten.
    pub fn terminate(&self) {
        self.0.attributes.borrow_mut().take();
        self.0.user.borrow_mut().take();
        if let Some(store) = self.0.store.upgrade() {
            store.by_id.borrow_mut().remove(&self.id());
        }
    }

    fn attributes(&self) -> Result<Table> {
        self.0.attributes.borrow().clone().ok_or_else(|| Error::runtime("session expired"))
    }

    /// The value of a `Set-Cookie` header.
    pub fn cookie(&self, is_tls: bool) -> Result<HeaderValue> {
        set_cookie(&self.id(), "", is_tls)
    }
}

/// The value of a `Set-Cookie` header that takes the cookie away.
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
                // The range is a century, which no clock arithmetic minds.
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
    use tokio::task::LocalSet;
    use tokio::time::advance;

    use super::*;

    async fn with_sessions(limit: usize, check: impl AsyncFnOnce(Lua, Sessions)) {
        LocalSet::new().run_until(check(Lua::new(), Sessions::with_limit(limit))).await;
    }

    fn create(lua: &Lua, sessions: &Sessions) -> Session {
        sessions.create(lua, true).expect("memory").expect("room for a session")
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_when_its_client_stays_away() {
        with_sessions(10, async |lua, sessions| {
            let (kept, left) = (create(&lua, &sessions), create(&lua, &sessions));
            advance(Duration::from_secs(1199)).await;
            assert!(sessions.find(kept.id().as_bytes()).is_some());
            advance(Duration::from_secs(1)).await;
            assert!(sessions.find(kept.id().as_bytes()).is_some(), "a request began its time anew");
            assert!(sessions.find(left.id().as_bytes()).is_none());
            assert!(left.has_ended());
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn ended_sessions_are_swept_away_without_anybody_asking() {
        with_sessions(10, async |lua, sessions| {
            let session = create(&lua, &sessions);
            sleep(INACTIVE + SWEEP).await;
            assert_eq!(sessions.count(), 0);
            assert!(session.has_ended());
            create(&lua, &sessions);
            sleep(INACTIVE + SWEEP).await;
            assert_eq!(sessions.count(), 0, "the sweeper starts again");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_a_limit_which_ended_sessions_do_not_count_for() {
        with_sessions(2, async |lua, sessions| {
            create(&lua, &sessions);
            create(&lua, &sessions);
            assert!(sessions.create(&lua, true).expect("memory").is_none());
            advance(INACTIVE).await;
            create(&lua, &sessions);
            assert_eq!(sessions.count(), 1);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_no_client_comes_back_to_ends_soon() {
        with_sessions(10, async |lua, sessions| {
            let make = || sessions.create(&lua, false).expect("memory").expect("room");
            let (kept, left) = (make(), make());
            assert!(sessions.find(kept.id().as_bytes()).is_some());
            advance(UNCONFIRMED).await;
            assert!(sessions.find(kept.id().as_bytes()).is_some());
            assert!(sessions.find(left.id().as_bytes()).is_none());
        })
        .await;
    }

    #[tokio::test]
    async fn a_login_changes_the_id() {
        with_sessions(10, async |lua, sessions| {
            let session = create(&lua, &sessions);
            let before = session.id();
            session.log_in(User { name: b"eve".to_vec(), password: None, method: "form" });
            assert!(sessions.find(before.as_bytes()).is_none());
            assert!(sessions.find(session.id().as_bytes()).is_some());
            assert_eq!(sessions.of_user(b"eve").len(), 1);
        })
        .await;
    }

    #[test]
    fn the_cookie_is_hidden_from_scripts_and_other_sites_and_plain_connections() {
        let cookie = set_cookie("id", "", true).expect("a header");
        assert_eq!(cookie, "smq_session=id; Path=/; HttpOnly; SameSite=Lax; Secure");
    }
}
