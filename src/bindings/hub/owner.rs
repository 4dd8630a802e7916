//! The broker's questions, carried from the shards to the Lua thread and answered by the script's callbacks.

use std::sync::Arc;

use super::super::console;
use super::HubState;
use crate::broker::hooks::{Answer, Batch, ClientTask, Hooks, Interest, Newcomer, NoHooks, OwnerGone, Verdict};
use crate::broker::peer::{CloseReason, Peer};
use crate::broker::session::Session;
use crate::lua::LuaThread;

/// A script as a hub's owner: the way to the Lua thread, and the hub's number there.
pub struct Owner {
    thread: LuaThread,
    hub: u64,
    interest: Interest,
}

impl Owner {
    pub fn new(thread: LuaThread, hub: u64, interest: Interest) -> Self {
        Self { thread, hub, interest }
    }

    /// Asks the hub's state on the Lua thread; `None` if either is gone.
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
        // When the thread has ended, the client's socket is closed.
        let _ = self.thread.send(|_| drop(tokio::task::spawn_local(task)));
    }

    fn authenticate(&self, newcomer: Newcomer) -> Answer<'_, Verdict> {
        Box::pin(async move {
            let verdict = self.ask(move |state| state.life.clone().run(state.authenticate(newcomer))).await;
            verdict.flatten().unwrap_or_else(Verdict::denied)
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
        // When the thread has ended, so has the script that wants to know.
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
