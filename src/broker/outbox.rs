//! What one thread has read and is about to send: the arena, and for each receiver the ranges of it that are its.
//!
//! A read lands in the arena; routing a message notes a range of the arena for each receiver and copies nothing. Once per
//! turn of the thread's event loop, after the tasks of that turn, every receiver gets all its ranges in one write.
//! Messages of many publishers to one receiver thus share a system call, which is what delivering a message costs.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::Hub;
use super::peer::Peer;
use crate::protocol::Target;
use crate::transport::Framing;

/// The arena is flushed before it grows beyond this.
const ARENA: usize = 512 * 1024;
/// Ranges noted at a time, in all; more of them are sent in parts. A publisher that goes to and fro between targets of many
/// subscribers makes one for each message and subscriber.
const MAX_RANGES: usize = 1 << 17;
/// Ranges shorter than this on average are gathered by copying, which is cheaper than a vector of slices.
const GATHER_BELOW: usize = 1024;
/// The kernel takes no more slices in one call.
const MAX_SLICES: usize = 1024;
/// The end of a list of ranges.
const NONE: u32 = u32::MAX;

/// A range of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// One thread's outgoing messages. Never borrowed while something waits.
#[derive(Default)]
pub struct Outbox {
    /// What was read, made or converted in this turn.
    pub arena: Vec<u8>,
    pending: Vec<Pending>,
    ranges: Vec<Range>,
    /// By a peer's slot: its place in `pending`, valid if that names the same peer.
    places: Vec<u32>,
    gathered: Vec<u8>,
    /// What a WebSocket read brings, before it is unmasked into the arena.
    pub masked: Vec<u8>,
    flusher: Flusher,
    /// Set when something went to the server's own queue.
    pub reached_server: bool,
    /// Messages to one target that are routed together, later in this turn.
    run: Option<Run>,
    /// While the server itself acts, what that sends to the server: it is not queued behind what others sent.
    captured: Option<Vec<u8>>,
}

struct Run {
    hub: Hub,
    target: Target,
    span: Span,
}

struct Pending {
    peer: Arc<Peer>,
    first: u32,
    last: u32,
    count: u32,
    bytes: usize,
}

struct Range {
    span: Span,
    next: u32,
}

/// The task that flushes at the end of a turn.
#[derive(Default)]
enum Flusher {
    #[default]
    Absent,
    Asleep(Waker),
    Awake,
}

thread_local! {
    static OUTBOX: RefCell<Outbox> = RefCell::default();
}

/// Lends this thread's outbox to `work`, which must not call scripts or anything else that might ask for it, too.
pub fn with_outbox<T>(work: impl FnOnce(&mut Outbox) -> T) -> T {
    OUTBOX.with(|outbox| work(&mut outbox.borrow_mut()))
}

impl Outbox {
    /// Makes room for what one read brings. Ranges noted before are sent if the arena is full.
    pub fn make_room(&mut self) {
        if self.arena.len() >= ARENA {
            self.flush();
        }
    }

    /// Copies `bytes` into the arena.
    pub fn place(&mut self, bytes: &[u8]) -> Span {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        Span { start, end: self.arena.len() }
    }

    /// Converts raw frames of the arena to another framing, behind them in the arena.
    pub fn convert(&mut self, frames: Span, framing: Framing) -> Span {
        if framing == Framing::Raw {
            return frames;
        }
        let mut converted = std::mem::take(&mut self.gathered);
        converted.clear();
        framing.convert(&self.arena[frames.start..frames.end], &mut converted);
        let span = self.place(&converted);
        self.gathered = converted;
        span
    }

    /// Notes that `peer` gets the whole frames in `span`, in its framing.
    pub fn note(&mut self, peer: &Arc<Peer>, span: Span) {
        if peer.is_server() {
            if let Some(captured) = &mut self.captured {
                return captured.extend_from_slice(&self.arena[span.start..span.end]);
            }
            self.reached_server = true;
        }
        let place = self.place_of(peer);
        let pending = &mut self.pending[place];
        if let Some(last) = self.ranges.get_mut(pending.last as usize)
            && last.span.end == span.start
        {
            last.span.end = span.end;
            pending.bytes += span.end - span.start;
            return;
        }
        if self.ranges.len() >= MAX_RANGES {
            self.send_noted();
            return self.note(peer, span);
        }
        let pending = &mut self.pending[place];
        let index = self.ranges.len() as u32;
        match self.ranges.get_mut(pending.last as usize) {
            Some(last) => last.next = index,
            None => pending.first = index,
        }
        pending.last = index;
        pending.count += 1;
        pending.bytes += span.end - span.start;
        self.ranges.push(Range { span, next: NONE });
    }

    /// Does what the server's own side asks for, and returns the frames that it causes for the server itself.
    pub fn capture<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> (T, Vec<u8>) {
        self.captured = Some(Vec::new());
        let result = work(self);
        (result, self.captured.take().unwrap_or_default())
    }

    /// Adds a frame to the run of messages for `target`, which is routed before anything else is done with this outbox, at
    /// the latest at the end of the turn. Routing one message of many subscribers costs as much as routing a hundred.
    pub(super) fn gather(&mut self, hub: &Hub, target: Target, frame: &[u8]) {
        let end = self.arena.len();
        let is_further = |run: &&mut Run| run.target == target && run.span.end == end && run.hub.is(hub);
        if let Some(run) = self.run.as_mut().filter(is_further) {
            run.span.end += frame.len();
            self.arena.extend_from_slice(frame);
            return;
        }
        self.settle();
        self.wake_flusher();
        let span = self.place(frame);
        self.run = Some(Run { hub: hub.clone(), target, span });
    }

    /// Whether messages for `target` are being gathered.
    pub(super) fn is_gathering(&self, hub: &Hub, target: Target) -> bool {
        self.run.as_ref().is_some_and(|run| run.target == target && run.hub.is(hub))
    }

    /// Routes the messages that were gathered.
    pub(super) fn settle(&mut self) {
        if let Some(Run { hub, target, span }) = self.run.take() {
            hub.route(self, target, span);
        }
    }

    /// Queues a control packet, a raw frame, for `peer`, behind everything noted for it so far. It is in the peer's queue
    /// when this returns, so nothing that another thread sends afterwards can overtake it.
    pub fn control(&mut self, peer: &Arc<Peer>, frame: &[u8]) {
        self.settle();
        if peer.is_server() {
            if let Some(captured) = &mut self.captured {
                return captured.extend_from_slice(frame);
            }
            self.reached_server = true;
        }
        self.queue_noted(peer);
        peer.push_control(&peer.outbound.framing().converted(frame));
    }

    /// Likewise, for a client that is sent nothing more.
    pub fn farewell(&mut self, peer: &Arc<Peer>, frame: &[u8]) {
        self.settle();
        self.queue_noted(peer);
        peer.push_last(&peer.outbound.framing().converted(frame));
    }

    /// Queues bytes that belong to the peer's transport (a WebSocket's Pong or close frame), like a control packet.
    pub fn transport_control(&mut self, peer: &Arc<Peer>, bytes: &[u8]) {
        self.settle();
        self.queue_noted(peer);
        peer.push_control(bytes);
    }

    /// Moves what is noted for the server's own peer to its queue, for an owner on this thread who is about to take it.
    pub fn queue_for_server(&mut self, server: &Arc<Peer>) {
        self.settle();
        if self.find(server).is_some() {
            self.queue_noted(server);
        }
    }

    /// Moves what is noted for a peer to its queue, which is written at the end of the turn.
    fn queue_noted(&mut self, peer: &Arc<Peer>) {
        let place = self.place_of(peer);
        let pending = &mut self.pending[place];
        let mut index = pending.first;
        (pending.first, pending.last, pending.count, pending.bytes) = (NONE, NONE, 0, 0);
        while let Some(range) = self.ranges.get(index as usize) {
            peer.outbound.push_messages(&[IoSlice::new(&self.arena[range.span.start..range.span.end])]);
            index = range.next;
        }
    }

    /// The peer's place in `pending`, if it has one.
    fn find(&self, peer: &Arc<Peer>) -> Option<usize> {
        let place = *self.places.get(peer.slot())? as usize;
        self.pending.get(place).is_some_and(|pending| Arc::ptr_eq(&pending.peer, peer)).then_some(place)
    }

    /// The peer's place in `pending`, which it gets if it has none.
    fn place_of(&mut self, peer: &Arc<Peer>) -> usize {
        if let Some(place) = self.find(peer) {
            return place;
        }
        let slot = peer.slot();
        if slot >= self.places.len() {
            self.places.resize(slot + 1, NONE);
        }
        if self.pending.is_empty() {
            self.wake_flusher();
        }
        self.places[slot] = self.pending.len() as u32;
        self.pending.push(Pending { peer: peer.clone(), first: NONE, last: NONE, count: 0, bytes: 0 });
        self.pending.len() - 1
    }

    /// Sends everything, with one write per receiver, and empties the arena.
    pub fn flush(&mut self) {
        self.settle();
        self.send_noted();
        self.arena.clear();
        self.arena.shrink_to(2 * ARENA);
    }

    /// Sends what is noted, and keeps the arena. The server comes last: what its callbacks then do, such as closing a
    /// client, follows what was on its way before.
    fn send_noted(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        for is_server in [false, true] {
            pending
                .iter()
                .filter(|receiver| receiver.peer.is_server() == is_server)
                .for_each(|receiver| self.send(receiver));
        }
        pending.clear();
        self.pending = pending;
        self.ranges.clear();
    }

    fn send(&mut self, receiver: &Pending) {
        let outbound = &receiver.peer.outbound;
        if receiver.count == 1 {
            let span = self.ranges[receiver.first as usize].span;
            outbound.write(&[IoSlice::new(&self.arena[span.start..span.end])]);
        } else if receiver.bytes < GATHER_BELOW * receiver.count as usize {
            self.gathered.clear();
            let mut index = receiver.first;
            while let Some(range) = self.ranges.get(index as usize) {
                self.gathered.extend_from_slice(&self.arena[range.span.start..range.span.end]);
                index = range.next;
            }
            outbound.write(&[IoSlice::new(&self.gathered)]);
        } else {
            self.send_slices(receiver);
        }
    }

    fn send_slices(&self, receiver: &Pending) {
        let mut slices = Vec::with_capacity((receiver.count as usize).min(MAX_SLICES));
        let mut index = receiver.first;
        while let Some(range) = self.ranges.get(index as usize) {
            slices.push(IoSlice::new(&self.arena[range.span.start..range.span.end]));
            index = range.next;
            if slices.len() == MAX_SLICES {
                receiver.peer.outbound.write(&slices);
                slices.clear();
            }
        }
        receiver.peer.outbound.write(&slices);
    }

    fn wake_flusher(&mut self) {
        match std::mem::replace(&mut self.flusher, Flusher::Awake) {
            Flusher::Asleep(waker) => waker.wake(),
            Flusher::Awake => {}
            // Without a runtime, as in a test of the broker alone, the owner of the outbox flushes.
            Flusher::Absent => match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(flush_every_turn())),
                Err(_) => self.flusher = Flusher::Absent,
            },
        }
    }
}

/// The flusher of this thread: woken by the first range of a turn, it runs behind the tasks that were ready then.
async fn flush_every_turn() {
    poll_fn::<(), _>(|cx| {
        with_outbox(|outbox| {
            outbox.flush();
            outbox.flusher = Flusher::Asleep(cx.waker().clone());
        });
        Poll::Pending
    })
    .await;
}
