//! All sessions: by id, limited in number, and swept when they have expired.
//!
//! Anybody can make the server create sessions. So when there are as many as allowed, a new one displaces a *newcomer*:
//! a session whose cookie no client has sent back yet. A session that is in use is displaced only by a user's login, and then
//! it is one without a user; and nobody without a user displaces a login. Otherwise whoever takes all sessions could keep
//! users from logging in.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use mlua::{Lua, Result};
use tokio::time::{Instant, sleep};

use super::Session;
use crate::bindings::tally::Tally;

/// The most sessions at a time.
const MAX_SESSIONS: usize = 10_000;
/// How often expired sessions are removed.
const SWEEP: Duration = Duration::from_secs(30);
/// How often at most they are looked for while there is no room. Looking through all sessions for each request would
/// make an attack worse.
const SWEEP_WHEN_FULL: Duration = Duration::from_secs(1);

/// All sessions. A cheap handle.
#[derive(Clone)]
pub struct Sessions(Rc<Store>);

/// The sessions themselves.
pub(super) struct Store {
    by_id: RefCell<HashMap<String, Session>>,
    /// Sessions whose cookie has not come back yet, in the order in which they are displaced.
    newcomers: RefCell<BTreeMap<Rank, Session>>,
    next_serial: Cell<u64>,
    limit: usize,
    /// Whether the task that sweeps is running.
    is_swept: Cell<bool>,
    /// When the sessions were swept last.
    swept: Cell<Option<Instant>>,
    /// How many newcomers were displaced.
    displaced: Tally,
    /// How many sessions were not made for want of room.
    refused: Tally,
}

/// The order in which newcomers are displaced: logins come last, since users have shown a password and need the session;
/// then older ones before younger ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_login: bool,
    serial: u64,
}

impl Rank {
    fn of(session: &Session) -> Self {
        Self { is_login: session.is_confirmed() && session.0.has_user(), serial: session.0.serial }
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self::with_limit(MAX_SESSIONS)
    }
}

impl Sessions {
    /// At most `limit` sessions at a time.
    pub fn with_limit(limit: usize) -> Self {
        Self(Rc::new(Store {
            by_id: RefCell::default(),
            newcomers: RefCell::default(),
            next_serial: Cell::default(),
            limit,
            is_swept: Cell::default(),
            swept: Cell::default(),
            displaced: Tally::default(),
            refused: Tally::default(),
        }))
    }

    /// Makes a session; `None` if there are as many as allowed, and all are in use. For `is_confirmed` see
    /// [`Session::is_confirmed`].
    pub fn create(&self, lua: &Lua, is_confirmed: bool) -> Result<Option<Session>> {
        if !self.0.make_room() {
            note(&self.0.refused, "a session was refused: there are as many as there may be, and all are in use");
            return Ok(None);
        }
        let serial = self.0.next_serial.replace(self.0.next_serial.get() + 1);
        let session = Session::new(lua, is_confirmed, serial, Rc::downgrade(&self.0))?;
        self.0.insert(&session);
        self.0.start_sweeping();
        Ok(Some(session))
    }

    /// Makes room for the session of a user who logs in: if need be, by ending the session without a user that has been
    /// without a request for longest, or else the oldest login whose cookie has not come back.
    pub fn make_room_for_login(&self) {
        if self.0.make_room() {
            return;
        }
        let Some(displaced) = self.0.idlest_of_nobody().or_else(|| self.0.oldest_newcomer()) else { return };
        displaced.terminate();
        note(&self.0.displaced, "there are as many sessions as there may be: one gives way to a login");
    }

    /// The session with this id, unless it has ended; for a client that has sent the cookie. It is confirmed now, and
    /// its time begins anew.
    pub fn find(&self, id: &[u8]) -> Option<Session> {
        let session = self.peek(id)?;
        session.0.touched.set(Instant::now());
        self.0.newcomers.borrow_mut().remove(&Rank::of(&session));
        session.0.is_confirmed.set(true);
        Some(session)
    }

    /// The session with this id, unless it has ended. Does not count as a request of its client.
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
        let is_users =
            |session: &&Session| !session.is_overdue() && session.user().is_some_and(|user| user.name == name);
        let mut sessions: Vec<_> = self.0.by_id.borrow().values().filter(is_users).cloned().collect();
        // Not by their time in seconds: several may begin in one, and clocks are set back.
        sessions.sort_by_key(|session| session.0.serial);
        sessions
    }
}

impl Store {
    fn insert(&self, session: &Session) {
        self.by_id.borrow_mut().insert(session.id(), session.clone());
        self.newcomers.borrow_mut().insert(Rank::of(session), session.clone());
    }

    /// Removes a session that ends.
    pub(super) fn remove(&self, session: &Session) {
        self.by_id.borrow_mut().remove(&session.id());
        self.newcomers.borrow_mut().remove(&Rank::of(session));
    }

    /// Runs `change`, which changes the id or the user of a session: what it is found by here.
    pub(super) fn change(&self, session: &Session, change: impl FnOnce()) {
        let known = self.by_id.borrow_mut().remove(&session.id());
        let newcomer = self.newcomers.borrow_mut().remove(&Rank::of(session));
        change();
        if let Some(known) = known {
            self.by_id.borrow_mut().insert(known.id(), known);
        }
        if let Some(newcomer) = newcomer {
            self.newcomers.borrow_mut().insert(Rank::of(&newcomer), newcomer);
        }
    }

    fn is_full(&self) -> bool {
        self.by_id.borrow().len() >= self.limit
    }

    fn oldest_newcomer(&self) -> Option<Session> {
        self.newcomers.borrow().values().next().cloned()
    }

    /// Of the sessions without a user, the one that has been without a request for longest.
    fn idlest_of_nobody(&self) -> Option<Session> {
        let by_id = self.by_id.borrow();
        by_id.values().filter(|session| !session.0.has_user()).min_by_key(|session| session.0.touched.get()).cloned()
    }

    /// Whether there is room for one more session; if need be, by displacing a newcomer that is no login.
    fn make_room(&self) -> bool {
        if self.is_full() && self.swept.get().is_none_or(|swept| swept.elapsed() >= SWEEP_WHEN_FULL) {
            self.sweep();
        }
        if !self.is_full() {
            return true;
        }
        let newcomer = self.oldest_newcomer().filter(|newcomer| !Rank::of(newcomer).is_login);
        let Some(newcomer) = newcomer else { return false };
        newcomer.terminate();
        note(&self.displaced, "there are as many sessions as there may be: one whose cookie never came back gives way");
        true
    }

    /// Ends all sessions that have expired.
    fn sweep(&self) {
        self.swept.set(Some(Instant::now()));
        let overdue: Vec<_> = self.by_id.borrow().values().filter(|session| session.is_overdue()).cloned().collect();
        overdue.iter().for_each(Session::terminate);
    }

    /// Starts the task that sweeps as long as there are sessions, unless it is running.
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

fn note(tally: &Tally, what: &str) {
    if let Some(times) = tally.count() {
        tracing::warn!(times, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;
    use tokio::time::advance;

    use super::super::{INACTIVE, UNCONFIRMED};
    use super::*;
    use crate::bindings::auth::User;

    async fn with_sessions(limit: usize, check: impl AsyncFnOnce(Lua, Sessions)) {
        LocalSet::new().run_until(check(Lua::new(), Sessions::with_limit(limit))).await;
    }

    fn create(lua: &Lua, sessions: &Sessions) -> Session {
        sessions.create(lua, true).expect("memory").expect("room for a session")
    }

    /// A session whose cookie has come back.
    fn create_used(lua: &Lua, sessions: &Sessions) -> Session {
        let session = create(lua, sessions);
        sessions.find(session.id().as_bytes()).expect("it has just begun")
    }

    fn eve() -> User {
        User { name: b"eve".to_vec(), password: None, method: "form" }
    }

    /// The number of sessions that are kept, some of which may just have ended.
    fn count(sessions: &Sessions) -> usize {
        sessions.0.by_id.borrow().len()
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
    async fn expired_sessions_are_removed_by_themselves() {
        with_sessions(10, async |lua, sessions| {
            let session = create(&lua, &sessions);
            sleep(INACTIVE + SWEEP).await;
            assert_eq!(count(&sessions), 0);
            assert!(session.has_ended());
            create(&lua, &sessions);
            sleep(INACTIVE + SWEEP).await;
            assert_eq!(count(&sessions), 0, "the sweeper starts again");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_sessions_is_limited_and_expired_ones_do_not_count() {
        with_sessions(2, async |lua, sessions| {
            create_used(&lua, &sessions);
            create_used(&lua, &sessions);
            assert!(sessions.create(&lua, true).expect("memory").is_none());
            advance(INACTIVE).await;
            create(&lua, &sessions);
            assert_eq!(count(&sessions), 1);
        })
        .await;
    }

    #[tokio::test]
    async fn when_there_is_no_room_the_oldest_session_whose_cookie_never_came_back_is_displaced() {
        with_sessions(3, async |lua, sessions| {
            let used = create_used(&lua, &sessions);
            let (first, second) = (create(&lua, &sessions), create(&lua, &sessions));
            let third = create(&lua, &sessions);
            assert!(first.has_ended());
            assert!(![used, second, third].iter().any(Session::has_ended));
            for _ in 0..10 {
                create(&lua, &sessions);
            }
            assert_eq!((count(&sessions), sessions.0.newcomers.borrow().len()), (3, 2));
        })
        .await;
    }

    #[tokio::test]
    async fn who_has_just_logged_in_is_displaced_only_by_another_login() {
        with_sessions(2, async |lua, sessions| {
            let users = create(&lua, &sessions);
            users.log_in(eve());
            let nobodys = create(&lua, &sessions);
            create(&lua, &sessions).log_in(eve());
            assert!(nobodys.has_ended() && !users.has_ended());
            assert!(sessions.create(&lua, true).expect("memory").is_none(), "nobody displaces a user");
            sessions.make_room_for_login();
            assert!(users.has_ended(), "there was no other");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_sessions_are_in_use_a_login_displaces_the_one_without_a_user_that_is_idle_for_longest() {
        with_sessions(3, async |lua, sessions| {
            let (users, idle) = (create_used(&lua, &sessions), create_used(&lua, &sessions));
            users.log_in(eve());
            advance(Duration::from_secs(1)).await;
            let busy = create_used(&lua, &sessions);
            sessions.make_room_for_login();
            assert!(idle.has_ended() && !busy.has_ended() && !users.has_ended());
            create_used(&lua, &sessions).log_in(eve());
            sessions.make_room_for_login();
            assert!(busy.has_ended());
            create_used(&lua, &sessions).log_in(eve());
            sessions.make_room_for_login();
            assert_eq!(sessions.of_user(b"eve").len(), 3, "a user's session in use is never displaced");
        })
        .await;
    }

    #[tokio::test]
    async fn a_session_that_ended_leaves_nothing_behind() {
        with_sessions(2, async |lua, sessions| {
            create(&lua, &sessions).terminate();
            let users = create(&lua, &sessions);
            users.log_in(eve());
            users.terminate();
            assert_eq!((count(&sessions), sessions.0.newcomers.borrow().len()), (0, 0));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_unconfirmed_session_ends_soon_unless_its_cookie_comes_back() {
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

    #[tokio::test(start_paused = true)]
    async fn an_unconfirmed_session_may_be_told_to_end_even_sooner() {
        with_sessions(10, async |lua, sessions| {
            let session = sessions.create(&lua, false).expect("memory").expect("room");
            session.set_inactive(UNCONFIRMED / 2);
            advance(UNCONFIRMED / 2).await;
            assert!(sessions.find(session.id().as_bytes()).is_none());
        })
        .await;
    }

    #[tokio::test]
    async fn programs_that_log_in_with_each_request_keep_no_room_until_one_sends_its_cookie_back() {
        with_sessions(2, async |lua, sessions| {
            let log_in = || {
                let session = sessions.create(&lua, false).expect("memory").expect("room");
                session.log_in(eve());
                session
            };
            let (left, kept) = (log_in(), log_in());
            sessions.find(kept.id().as_bytes()).expect("it has just begun");
            let nobodys = create(&lua, &sessions);
            assert!(left.has_ended() && !kept.has_ended());
            create(&lua, &sessions);
            assert!(nobodys.has_ended() && !kept.has_ended(), "it is in use");
            assert_eq!(sessions.0.newcomers.borrow().len(), 1);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_sessions_of_a_user_are_those_that_live_and_nobody_elses() {
        with_sessions(10, async |lua, sessions| {
            let (users, others) = (create(&lua, &sessions), create(&lua, &sessions));
            users.log_in(eve());
            others.log_in(User { name: b"adam".to_vec(), ..eve() });
            create(&lua, &sessions);
            let found: Vec<_> = sessions.of_user(b"eve").iter().map(Session::id).collect();
            assert_eq!(found, [users.id()]);
            advance(INACTIVE).await;
            assert!(sessions.of_user(b"eve").is_empty());
        })
        .await;
    }

    #[tokio::test]
    async fn the_sessions_of_a_user_come_in_the_order_in_which_they_began() {
        with_sessions(20, async |lua, sessions| {
            let begun: Vec<_> = (0..20).map(|_| create(&lua, &sessions)).collect();
            begun.iter().rev().for_each(|session| session.log_in(eve()));
            let found: Vec<_> = sessions.of_user(b"eve").iter().map(Session::id).collect();
            assert_eq!(found, begun.iter().map(Session::id).collect::<Vec<_>>());
        })
        .await;
    }

    #[tokio::test]
    async fn a_login_changes_the_id() {
        with_sessions(10, async |lua, sessions| {
            let session = create(&lua, &sessions);
            let before = session.id();
            session.log_in(eve());
            assert!(sessions.find(before.as_bytes()).is_none());
            assert!(sessions.find(session.id().as_bytes()).is_some());
            assert_eq!(sessions.of_user(b"eve").len(), 1);
        })
        .await;
    }
}
