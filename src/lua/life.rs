//! The lives of apps. All that an app's scripts start (tasks, timers, hubs, directories) belongs to the app's life, and
//! ends with it.
//!
//! Which life is the current one is known while a script runs, as a task-local. What is started takes it over from
//! there with [`Life::current`].

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

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

    /// Ends this life, and so the work that [`Life::run`] and [`Life::spawn`] have started.
    pub fn end(&self) {
        self.0.has_ended.set(true);
        self.0.ended.notify_waiters();
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
