//! Packets on their way to the Lua thread. All that one turn of a shard leaves to scripts travels together, and so do the
//! answers: waking a thread costs more than routing a message.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;

use crate::broker::hooks::Batch;
use crate::broker::outbox::{Outbox, with_outbox};
use crate::broker::peer::CloseReason;
use crate::broker::session::Session;
use crate::lua::{LuaThread, World};

/// What comes back: the session, and why its peer must be closed, if it must.
pub type Handled = (Session, Option<CloseReason>);

/// One client's packets for one hub.
struct Letter {
    hub: u64,
    batch: Batch,
    reply: oneshot::Sender<Handled>,
}

thread_local! {
    /// This shard's letters of this turn; at most one of each of its clients.
    static BAG: RefCell<Vec<Letter>> = const { RefCell::new(Vec::new()) };
}

/// Puts packets into this turn's bag. The receiver finds its sender gone if the hub or the Lua thread has ended.
pub fn put(thread: &LuaThread, hub: u64, batch: Batch) -> oneshot::Receiver<Handled> {
    let (reply, answer) = oneshot::channel();
    let is_first = BAG.with_borrow_mut(|bag| {
        bag.push(Letter { hub, batch, reply });
        bag.len() == 1
    });
    if is_first {
        // It runs behind the tasks that are ready now, and takes along what they put into the bag.
        tokio::spawn(post(thread.clone()));
    }
    answer
}

async fn post(thread: LuaThread) {
    let letters = BAG.take();
    // The Lua thread has an outbox of its own; what it sends may not overtake what came before.
    with_outbox(Outbox::flush);
    let answers = thread.call(move |world| async move { deliver(&world, letters) }).await;
    for (reply, answer) in answers.unwrap_or_default() {
        // A client whose task has ended needs no answer.
        let _ = reply.send(answer);
    }
}

/// Handles the letters on the Lua thread. Those whose scripts wait answer by themselves, later.
fn deliver(world: &Rc<World>, letters: Vec<Letter>) -> Vec<(oneshot::Sender<Handled>, Handled)> {
    let mut answers = Vec::with_capacity(letters.len());
    for Letter { hub, batch, reply } in letters {
        let Some(state) = world.hubs.get(hub) else { continue };
        let mut work = Box::pin(state.packets(batch));
        match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answers.push((reply, answer)),
            Poll::Pending => drop(tokio::task::spawn_local(async move {
                let answer = work.await;
                with_outbox(Outbox::flush);
                let _ = reply.send(answer);
            })),
        }
    }
    // The clients' next packets are handled by their shards, and what comes of them may not overtake this.
    with_outbox(Outbox::flush);
    answers
}
