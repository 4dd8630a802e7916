//! One client's connection, from the moment at which a page gives its socket away: Init, Connect, packets, the end.
//!
//! Each connection has a task. It reads packets and routes them; of what the client is sent, it writes only what other
//! threads could not (see [`crate::broker::outbound`]). The task runs on the shard that accepted the socket, or on the
//! thread of the hub's owner if that has to be asked about every message.

mod handshake;

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::broker::hooks::{Answer, Batch};
use crate::broker::outbound::{Duty, Pushed};
use crate::broker::outbox::{Outbox, with_outbox};
use crate::broker::peer::{CloseReason, Peer};
use crate::broker::session::{Outcome, Session};
use crate::broker::{Hub, Shutdowns};
use crate::socket::{Socket, Takeover};
use crate::transport::wire::{Filled, Wire};
use crate::transport::{Framing, Stop};

/// Reads in one turn of a connection, before the other connections of the shard have theirs.
const READS_PER_TURN: usize = 4;

/// How the HTTP request that starts a connection is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Raw transport, no response: the first byte sent is the Init frame's.
    None,
    /// Raw transport, a 200 response without a body length.
    Http,
    /// WebSocket, a 101 response with this Sec-WebSocket-Accept.
    WebSocket { accept: String },
}

/// A request that becomes a connection to a hub.
pub struct Upgrade {
    pub hub: Hub,
    pub greeting: Greeting,
    /// The number by which the hub's owner knows the connection.
    pub token: u64,
    /// The client's address.
    pub address: Option<SocketAddr>,
}

impl Greeting {
    /// The framing of the connection that it begins.
    pub fn framing(&self) -> Framing {
        match self {
            Self::None | Self::Http => Framing::Raw,
            Self::WebSocket { .. } => Framing::WebSocket,
        }
    }

    /// The response's head; empty if there is none.
    pub fn response(&self) -> Cow<'static, str> {
        match self {
            Self::None => "".into(),
            Self::Http => "HTTP/1.1 200 OK\r\nSmqBroker: true\r\n\r\n".into(),
            Self::WebSocket { accept } => format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            )
            .into(),
        }
    }
}

impl Upgrade {
    /// What is done with the request's socket. `over` is called when the handshake is over, whatever came of it; it is
    /// dropped uncalled if the socket is gone before the handshake begins.
    pub fn into_takeover(self, over: impl FnOnce() + Send + 'static) -> Takeover {
        let shutdowns = self.hub.shutdowns();
        Box::new(move |socket: Socket, early: Bytes| {
            let hub = self.hub.clone();
            // A TLS connection stays on its shard, so that the owner's thread does not encrypt for all clients.
            if hub.interest().onpublish && !socket.is_tls() {
                hub.hooks().adopt(Box::pin(async move {
                    match socket.move_here() {
                        Ok(socket) => self.live(socket, early, shutdowns, over).await,
                        Err(error) => {
                            tracing::debug!(%error, "a client is lost: its socket cannot move to the owner's thread")
                        }
                    }
                }));
            } else {
                // Boxed, since tokio copies a task as a whole several times when it starts and ends.
                tokio::spawn(Box::pin(self.live(socket, early, shutdowns, over)));
            }
        })
    }

    /// From the handshake to the end.
    fn live(
        self,
        socket: Socket,
        early: Bytes,
        shutdowns: Shutdowns,
        over: impl FnOnce() + Send,
    ) -> impl Future<Output = ()> + Send {
        // Boxed, since a task always takes as much memory as its largest state.
        let handshake = Box::pin(async move {
            let connected = self.handshake(socket, early, shutdowns).await;
            over();
            connected
        });
        async move {
            // In a block of its own, so that the task has no memory for the session twice.
            let (mut wire, hub, peer, mut session) = {
                let Some((wire, session)) = handshake.await else { return };
                (wire, session.hub().clone(), session.peer().clone(), Some(session))
            };
            let reason = run(&mut wire, &hub, &peer, &mut session).await.unwrap_or(CloseReason::Shutdown);
            // Boxed for the same reason.
            Box::pin(end(wire, &hub, &peer, reason)).await;
        }
    }
}

/// What a connection's task has to do next.
enum Turn {
    /// Wait for the hub's owner. The client is not read meanwhile: no more than one read of each client waits for
    /// callbacks.
    Ask(Box<Asked>),
    End(CloseReason),
}

/// What waits for the owner. Boxed, so that an idle client needs no memory for it.
struct Asked {
    /// Whole frames, which are the owner's to handle; there may be none.
    frames: Vec<u8>,
    first_was_dropped: bool,
    /// Set if the connection ends behind the frames.
    stop: Option<Stop>,
    /// What the transport has to answer behind the frames.
    answers: Vec<u8>,
}

/// Handles a connected client's packets until it ends; `None` if the hub's owner has gone, and with it the session, which it
/// had. Borrows what is large, since a future keeps its arguments in memory twice.
async fn run(wire: &mut Wire, hub: &Hub, peer: &Arc<Peer>, session: &mut Option<Session>) -> Option<CloseReason> {
    loop {
        let present = session.as_mut()?;
        let mut has_waited = false;
        let turn = poll_fn(|cx| {
            let turn = poll_turn(cx, wire, present);
            has_waited |= turn.is_pending();
            turn
        });
        match turn.await {
            Turn::End(reason) => return Some(reason),
            Turn::Ask(mut asked) => {
                if !has_waited {
                    // An owner on this thread answers at once, and other clients would not have their turn.
                    tokio::task::yield_now().await;
                }
                let frames = std::mem::take(&mut asked.frames);
                let batch = Batch { session: session.take()?, frames, first_was_dropped: asked.first_was_dropped };
                let (back, close) = while_sending(wire, peer, hub.hooks().packets(batch)).await.ok()?;
                *session = Some(back);
                let reason = with_outbox(|outbox| finish_read(outbox, peer, close, &asked.answers, asked.stop));
                if reason.is_some() {
                    return reason;
                }
            }
        }
    }
}

/// One turn: sends what only this task can send, then reads and routes.
fn poll_turn(cx: &mut Context<'_>, wire: &mut Wire, session: &mut Session) -> Poll<Turn> {
    let peer = session.peer();
    peer.outbound.register(cx.waker());
    if let Some(reason) = peer.closing() {
        return Poll::Ready(Turn::End(reason));
    }
    report_drops(session.hub(), peer);
    let write_failed = matches!(wire.poll_send(cx, &peer.outbound), Poll::Ready(Err(_)));
    for _ in 0..READS_PER_TURN {
        match poll_read(cx, wire, session) {
            Poll::Ready(Some(turn)) => return Poll::Ready(turn),
            Poll::Ready(None) => {}
            Poll::Pending if write_failed => return Poll::Ready(Turn::End(CloseReason::WriteFailed)),
            Poll::Pending => return Poll::Pending,
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Reads once and handles what came; `None` to go on reading.
fn poll_read(cx: &mut Context<'_>, wire: &mut Wire, session: &mut Session) -> Poll<Option<Turn>> {
    with_outbox(|outbox| {
        outbox.make_room();
        let mut answers = Vec::new();
        let (frames, stop) = match std::task::ready!(wire.poll_fill(cx, outbox, &mut answers)) {
            Ok(Filled::Frames(frames, stop)) => (frames, stop),
            Ok(Filled::EndOfFile) | Err(_) => return Poll::Ready(Some(Turn::End(CloseReason::ReadFailed))),
        };
        let outcome = session.handle(outbox, frames);
        if let Outcome::Ask { from, dropped } = outcome {
            let frames = outbox.arena[from..frames.end].to_vec();
            return Poll::Ready(Some(Turn::Ask(Box::new(Asked { frames, first_was_dropped: dropped, stop, answers }))));
        }
        let close = if let Outcome::Close(reason) = outcome { Some(reason) } else { None };
        Poll::Ready(finish_read(outbox, session.peer(), close, &answers, stop).map(Turn::End))
    })
}

/// Finishes a read whose frames are handled: sends what the transport has to answer, and tells why the connection ends, if
/// it does. If a packet has ended it (`close`), nothing behind that has an answer: a close frame would get a second one.
fn finish_read(
    outbox: &mut Outbox,
    peer: &Arc<Peer>,
    close: Option<CloseReason>,
    answers: &[u8],
    stop: Option<Stop>,
) -> Option<CloseReason> {
    if close.is_some() {
        return close;
    }
    let is_sent = answers.is_empty() || outbox.transport_control(peer, answers) == Pushed::Queued;
    let reason = stop.map(close_reason)?;
    // Otherwise the hub has closed the client meanwhile, and `end` sends the close frame.
    Some(if is_sent { reason } else { peer.closing().unwrap_or(CloseReason::Shutdown) })
}

fn close_reason(stop: Stop) -> CloseReason {
    match stop {
        Stop::WebSocket => CloseReason::SocketClosed,
        Stop::Malformed => CloseReason::Protocol,
    }
}

/// Waits for the hub's owner, and meanwhile sends what only this task can send. Waits also when the client is to be closed:
/// what it caused must be done before another client can get its etid.
fn while_sending<T>(wire: &mut Wire, peer: &Peer, mut work: Answer<'_, T>) -> impl Future<Output = T> {
    poll_fn(move |cx| {
        peer.outbound.register(cx.waker());
        // A failed write is found again in the next turn.
        let _ = wire.poll_send(cx, &peer.outbound);
        work.as_mut().poll(cx)
    })
}

/// Logs that messages for a client are dropped, if a log line about it is due.
fn report_drops(hub: &Hub, peer: &Arc<Peer>) {
    if let Some(dropped) = peer.drops_to_report() {
        hub.hooks().log(peer, format!("does not read fast enough and has lost {dropped} messages"));
    }
}

/// Ends a client: takes what is queued for it, tells the hub's owner and the observers, closes the socket.
async fn end(mut wire: Wire, hub: &Hub, peer: &Arc<Peer>, reason: CloseReason) {
    with_outbox(|outbox| outbox.flush());
    peer.outbound.leave_to_task();
    poll_fn(|cx| {
        peer.outbound.register(cx.waker());
        // As much as can be sent without waiting, so that the client knows before the hub's owner does.
        let _ = wire.poll_send(cx, &peer.outbound);
        // A thread that is writing wakes this task when it has put back what it could not write.
        if peer.outbound.duty() == Duty::Wait { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    wire.take_last_words(&peer.outbound);
    peer.outbound.end();
    if reason != CloseReason::SocketClosed {
        wire.add_close_frame();
    }
    report_drops(hub, peer);
    if peer.begin_end() {
        if hub.interest().onclose {
            hub.hooks().closed(peer.clone(), reason).await;
        }
        with_outbox(|outbox| hub.disconnect(outbox, peer));
    }
    let has_left = match reason {
        CloseReason::WriteFailed => true,
        // The end of a TLS connection has an answer.
        CloseReason::ReadFailed => !wire.is_tls(),
        // It reads nothing more.
        CloseReason::Disconnect => wire.can_be_dropped(),
        _ => false,
    };
    if !has_left {
        wire.close().await;
    }
}
