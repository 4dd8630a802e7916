//! The lives of apps. All that an app's scripts start (tasks, timers, hubs, directories) belongs to the app's life, and
//! ends with it.
//!
//! Which life is the current one is known while a script runs, as a task-local. What is started takes it over from
//! there with [`Life::current`].

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::Poll;

use mlua::Function;
use tokio::sync::Notify;
use tokio::task_local;

task_local! {
    /// The life of the app whose script is running.
    static CURRENT: Life;
}

/// The life of an app: it begins before `.preload` and ends when the app is unloaded while the server goes on. A cheap
/// handle.
#[derive(Clone, Default)]
pub struct Life(Rc<State>);

#[derive(Default)]
struct State {
    has_ended: Cell<bool>,
    ended: Notify,
    kept: RefCell<Vec<Weak<Slot>>>,
}

type Slot = RefCell<Option<Function>>;

/// A script's function that Rust keeps until the life ends in which it was made. If it were kept longer, a function that
/// refers to what keeps it would never be freed, nor would the globals of its app. A cheap handle.
#[derive(Clone)]
pub struct Kept(Rc<Slot>);

impl Kept {
    /// The function. An error if its app has ended.
    pub fn get(&self) -> mlua::Result<Function> {
        let gone = || mlua::Error::runtime("the app that this function belongs to was loaded again");
        self.0.borrow().clone().ok_or_else(gone)
    }
}

impl Life {
    /// The life of the app whose script is running. Anywhere else, a new life that never ends.
    pub fn current() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or_default()
    }

    /// Runs `work`; what it starts belongs to this life. The work itself goes on when the life ends.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self, work).await
    }

    /// The same as [`Life::scope`] for work that does not wait.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), work)
    }

    /// Runs `work`; what it starts belongs to this life. If the life ends meanwhile, the work is dropped where it
    /// waits, and the result is `None`.
    pub async fn run<T>(self, work: impl Future<Output = T>) -> Option<T> {
        let mut ended = pin!(self.0.ended.notified());
        let mut work = pin!(CURRENT.scope(self.clone(), work));
        poll_fn(|cx| {
            if self.has_ended() {
                return Poll::Ready(None);
            }
            match work.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                // Polled so that this task is woken when the life ends.
                Poll::Pending => ended.as_mut().poll(cx).map(|()| None),
            }
        })
        .await
    }

    /// Starts a task of the Lua thread, which ends with this life at the latest.
    pub fn spawn(self, work: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(self.run(work));
    }

    /// Ends this life, and so the work that [`Life::run`] and [`Life::spawn`] have started; drops the functions that
    /// [`Life::keep`] was given.
    pub fn end(&self) {
        self.0.has_ended.set(true);
        self.0.ended.notify_waiters();
        for slot in self.0.kept.take() {
            slot.upgrade().and_then(|slot| slot.take());
        }
    }

    /// Keeps a script's function until this life ends.
    pub fn keep(&self, function: Function) -> Kept {
        let kept = Kept(Rc::new(RefCell::new(Some(function))));
        let mut all = self.0.kept.borrow_mut();
        if all.len() == all.capacity() {
            all.retain(|slot| slot.strong_count() > 0);
        }
        all.push(Rc::downgrade(&kept.0));
        kept
    }

    /// Whether this life has ended.
    pub fn has_ended(&self) -> bool {
        self.0.has_ended.get()
    }

    /// Whether `other` is the same life.
    pub fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}
