//! Whose script it is that runs: what the scripts of an app start ends with the app.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use tokio::sync::Notify;
use tokio::task_local;

task_local! {
    /// The life to which what is started now belongs.
    static CURRENT: Life;
}

/// The life of an app, from its `.preload` until another takes its place.
#[derive(Clone, Default)]
pub struct Life(Rc<State>);

#[derive(Default)]
struct State {
    has_ended: Cell<bool>,
    ended: Notify,
}

impl Life {
    /// That of the app whose script runs; elsewhere a new one, which nobody ends.
    pub fn current() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or_default()
    }

    /// What `work` starts belongs to this life.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self, work).await
    }

    /// The same for what does not wait.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), work)
    }

    /// The same, and `work` itself ends with this life; then there is no result.
    pub async fn run<T>(self, work: impl Future<Output = T>) -> Option<T> {
        let mut ended = pin!(self.0.ended.notified());
        let mut work = pin!(CURRENT.scope(self.clone(), work));
        poll_fn(|cx| {
            if self.has_ended() {
                return Poll::Ready(None);
            }
            match work.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                // To be woken when it ends.
                Poll::Pending => ended.as_mut().poll(cx).map(|()| None),
            }
        })
        .await
    }

    /// Starts a task of the Lua thread that ends with this life at the latest.
    pub fn spawn(self, work: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(self.run(work));
    }

    pub fn end(&self) {
        self.0.has_ended.set(true);
        self.0.ended.notify_waiters();
    }

    pub fn has_ended(&self) -> bool {
        self.0.has_ended.get()
    }

    /// Whether `other` is the same life.
    pub fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}
