//! Carries the broker's questions from the shards to the Lua thread, where the script's callbacks answer them.

use std::sync::Arc;

use super::HubState;
use crate::bindings::console;
use crate::broker::hooks::{Answer, Batch, ClientTask, Hooks, Interest, Newcomer, NoHooks, OwnerGone, Verdict};
use crate::broker::peer::{CloseReason, Peer};
use crate::broker::session::Session;
use crate::lua::LuaThread;

/// A script as a hub's owner. It knows the Lua thread and the hub's number there, so it can be used on any thread.
pub struct Owner {
    thread: LuaThread,
    hub: u64,
    interest: Interest,
}

impl Owner {
    pub fn new(thread: LuaThread, hub: u64, interest: Interest) -> Self {
        Self { thread, hub, interest }
    }

    /// Asks a question on the Lua thread; `None` if the thread or the hub is gone.
    async fn ask<T, F>(&self, question: impl FnOnce(std::rc::Rc<HubState>) -> F + Send + 'static) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let number = self.hub;
        let answer = self.thread.call(move |world| {
            let asked = world.hubs.get(number).map(question);
            async move {
                match asked {
                    Some(asked) => Some(asked.await),
                    None => None,
                }
            }
        });
        answer.await.ok().flatten()
    }
}

impl Hooks for Owner {
    fn interest(&self) -> Interest {
        self.interest
    }

    fn adopt(&self, task: ClientTask) {
        // If the thread has ended, the task is dropped, which closes the client's socket.
        let _ = self.thread.send(|_| drop(tokio::task::spawn_local(task)));
    }

    fn authenticate(&self, newcomer: Newcomer) -> Answer<'_, Result<Verdict, OwnerGone>> {
        Box::pin(async move {
            let verdict = self.ask(move |state| state.life.clone().run(state.authenticate(newcomer))).await;
            verdict.flatten().ok_or(OwnerGone)
        })
    }

    fn connected(&self, peer: Arc<Peer>, newcomer: Newcomer) -> Answer<'_, ()> {
        Box::pin(async move {
            self.ask(move |state| state.life.clone().run(state.connected(peer, newcomer))).await;
        })
    }

    fn closed(&self, peer: Arc<Peer>, reason: CloseReason) -> Answer<'_, ()> {
        Box::pin(async move {
            self.ask(move |state| async move { state.life.clone().run(state.closed(&peer, reason)).await }).await;
        })
    }

    fn log(&self, peer: &Arc<Peer>, text: String) {
        if !self.interest.log {
            return NoHooks.log(peer, text);
        }
        let (number, peer) = (self.hub, peer.clone());
        // If the thread has ended, the script that wanted to know has, too.
        let _ = self.thread.send(move |world| {
            let logged = world.hubs.get(number).map(|state| state.log_about(&peer, text));
            if let Some(Err(error)) = logged {
                console::report("log", &error);
            }
        });
    }

    fn packets(&self, batch: Batch) -> Answer<'_, Result<(Session, Option<CloseReason>), OwnerGone>> {
        Box::pin(async move { self.ask(move |state| state.packets(batch)).await.ok_or(OwnerGone) })
    }
}
