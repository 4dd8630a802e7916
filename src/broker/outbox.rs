//! What one thread is about to send: an arena of frames, and for each receiver the ranges of the arena that it gets.
//!
//! Each thread has one [`Outbox`]. A read appends its frames to the arena; routing them *notes* a range of the arena for
//! each receiver and copies nothing. Once per turn of the thread's event loop, behind the tasks of that turn, a task (the
//! flusher) writes to each receiver all its ranges in one system call. That call is most of what delivering a message
//! costs, and so the messages of many publishers to one receiver share it.
//!
//! A packet takes one of three ways to its receiver, and no way overtakes another:
//!
//! - A message is noted, and written by [`Outbox::flush`]. Messages to one target may first be *gathered*, since routing a
//!   hundred of them together costs as much as routing one. Whatever does anything else with the outbox or with the hub's
//!   state calls `Outbox::settle` first, which routes what was gathered.
//! - A control packet goes to the peer's queue ([`super::outbound`]) at once, behind the ranges noted for that peer, which
//!   are moved to the queue before it. The flush writes the queue.
//! - Messages that the server's own side causes for the server itself are *captured*, see [`Outbox::capture`].
//!
//! A [`Span`] is valid until the next flush, the only place that empties the arena. An outbox is never borrowed while its
//! task waits or a script runs.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::IoSlice;
use std::iter;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::Hub;
use super::outbound::Pushed;
use super::peer::Peer;
use crate::protocol::Target;
use crate::transport::websocket;

/// Bytes of the arena at which it is flushed before the next read.
const ARENA: usize = 512 * 1024;
/// The most ranges noted at a time, for all receivers together; at the limit they are sent early. Messages that alternate
/// between two targets make a range for each message and subscriber, since neighbours cannot be joined.
const MAX_RANGES: usize = 1 << 17;
/// Ranges with fewer bytes than this on average are copied together before they are written: that is cheaper than a slice
/// for each.
const COPY_BELOW: usize = 1024;
/// Linux takes no more slices in one call (`IOV_MAX`).
const MAX_SLICES: usize = 1024;
/// No range: the end of a list, or a peer without a place.
const NONE: u32 = u32::MAX;

/// A range of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    fn of(self, arena: &[u8]) -> &[u8] {
        &arena[self.start..self.end]
    }

    fn len(self) -> usize {
        self.end - self.start
    }
}

/// One thread's outgoing messages; [`with_outbox`] lends it.
#[derive(Default)]
pub struct Outbox {
    /// Frames that were read, made or converted since the last flush.
    pub arena: Vec<u8>,
    /// The receivers for which something is noted.
    pending: Vec<Pending>,
    /// What is noted for all receivers: a linked list for each, from [`Pending::first`] to [`Pending::last`].
    ranges: Vec<Range>,
    /// By a peer's slot: its index in `pending`, valid if the same peer is found there.
    places: Vec<u32>,
    /// Memory that is kept from one use to the next, to copy small ranges together in.
    scratch: Vec<u8>,
    /// What a WebSocket read brings, before it is unmasked into the arena. Empty between reads.
    pub masked: Vec<u8>,
    flusher: Flusher,
    /// Set when something was noted or queued for the server's own peer. Whoever wants to know that of its own work clears it
    /// before: [`super::session::Session`] and [`Outbox::capture`].
    pub reached_server: bool,
    /// Messages to one target that are gathered, to be routed together later in this turn.
    run: Option<Run>,
    /// Set during [`Outbox::capture`].
    captured: Option<Vec<u8>>,
}

/// What came of [`Outbox::capture`] for the server itself.
pub struct Captured {
    /// Messages, as raw frames.
    pub messages: Vec<u8>,
    /// Whether Changes were queued.
    pub has_changes: bool,
}

/// Gathered messages: whole frames that are next to each other in the arena.
struct Run {
    hub: Hub,
    target: Target,
    span: Span,
}

/// A receiver, and the list of ranges noted for it.
struct Pending {
    peer: Arc<Peer>,
    first: u32,
    last: u32,
    count: u32,
    /// Bytes of all its ranges together.
    bytes: usize,
}

struct Range {
    span: Span,
    /// The receiver's next range.
    next: u32,
}

/// The task that flushes at the end of a turn.
#[derive(Default)]
enum Flusher {
    /// It is spawned when it is first needed.
    #[default]
    Absent,
    Asleep(Waker),
    /// It runs in this turn.
    Awake,
}

thread_local! {
    static OUTBOX: RefCell<Outbox> = RefCell::default();
}

/// Lends this thread's outbox to `work`.
///
/// # Panics
///
/// If `work` itself calls this function. It must not run scripts, either, since they might.
pub fn with_outbox<T>(work: impl FnOnce(&mut Outbox) -> T) -> T {
    OUTBOX.with(|outbox| work(&mut outbox.borrow_mut()))
}

impl Outbox {
    /// Makes room for what one read brings: flushes if the arena is full.
    pub fn make_room(&mut self) {
        if self.arena.len() >= ARENA {
            self.flush();
        }
    }

    /// Appends `bytes` to the arena.
    pub fn append(&mut self, bytes: &[u8]) -> Span {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        Span { start, end: self.arena.len() }
    }

    /// Appends raw frames of the arena to it once more, as frames of a WebSocket.
    pub fn convert(&mut self, frames: Span) -> Span {
        let start = self.arena.len();
        websocket::convert_within(&mut self.arena, frames.start..frames.end);
        Span { start, end: self.arena.len() }
    }

    /// Notes that `peer` gets the bytes in `span`: whole frames in the peer's framing.
    pub fn note(&mut self, peer: &Arc<Peer>, span: Span) {
        if peer.is_server() {
            if let Some(captured) = &mut self.captured {
                return captured.extend_from_slice(span.of(&self.arena));
            }
            self.reached_server = true;
        }
        let place = self.place_of(peer);
        let pending = &mut self.pending[place];
        if let Some(last) = self.ranges.get_mut(pending.last as usize)
            && last.span.end == span.start
        {
            last.span.end = span.end;
            pending.bytes += span.len();
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
        pending.bytes += span.len();
        self.ranges.push(Range { span, next: NONE });
    }

    /// Does `work` for the server's own side. Messages that this causes for the server itself are not queued behind what
    /// others have sent to the server: its callbacks for them run at once. Changes are queued, since those that others have
    /// caused before come first.
    pub fn capture<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> (T, Captured) {
        self.captured = Some(Vec::new());
        self.reached_server = false;
        let result = work(self);
        let messages = self.captured.take().unwrap_or_default();
        (result, Captured { messages, has_changes: self.reached_server })
    }

    /// Adds a frame to the messages gathered for `target`. They are routed by [`Outbox::settle`], at the latest by the
    /// flush at the end of the turn.
    pub(super) fn gather(&mut self, hub: &Hub, target: Target, frame: &[u8]) {
        let end = self.arena.len();
        let continues = |run: &&mut Run| run.target == target && run.span.end == end && run.hub.is(hub);
        if let Some(run) = self.run.as_mut().filter(continues) {
            run.span.end += frame.len();
            self.arena.extend_from_slice(frame);
            return;
        }
        self.settle();
        self.wake_flusher();
        let span = self.append(frame);
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

    /// Queues a control packet, given as a raw frame, behind everything noted for `peer` so far. It is in the peer's queue
    /// when this returns, so nothing that another thread sends afterwards can overtake it.
    pub fn control(&mut self, peer: &Arc<Peer>, frame: &[u8]) {
        self.settle();
        if peer.is_server() {
            self.reached_server = true;
        }
        self.queue_noted(peer);
        peer.push_control(&peer.outbound.framing().converted(frame));
    }

    /// Queues a control packet, or no packet, as [`Outbox::control`] does; nothing that comes later is sent to the client.
    pub fn farewell(&mut self, peer: &Arc<Peer>, frame: &[u8]) {
        self.settle();
        self.queue_noted(peer);
        peer.push_last(&peer.outbound.framing().converted(frame));
    }

    /// Queues bytes of the peer's transport (a WebSocket's Pong or close frame) like a control packet, as they are.
    pub fn transport_control(&mut self, peer: &Arc<Peer>, bytes: &[u8]) -> Pushed {
        self.settle();
        self.queue_noted(peer);
        peer.push_control(bytes)
    }

    /// Moves what is noted for a peer to its queue. The peer stays in `pending`, so that the flush writes the queue.
    fn queue_noted(&mut self, peer: &Arc<Peer>) {
        let place = self.place_of(peer);
        let pending = &mut self.pending[place];
        let first = pending.first;
        (pending.first, pending.last, pending.count, pending.bytes) = (NONE, NONE, 0, 0);
        for span in spans(&self.ranges, first) {
            peer.outbound.push_messages(&[IoSlice::new(span.of(&self.arena))]);
        }
    }

    /// The peer's index in `pending`, if it is there.
    fn find(&self, peer: &Arc<Peer>) -> Option<usize> {
        let place = *self.places.get(peer.slot())? as usize;
        self.pending.get(place).is_some_and(|pending| Arc::ptr_eq(&pending.peer, peer)).then_some(place)
    }

    /// The peer's index in `pending`, to which it is added if it is not there.
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

    /// Sends everything, with one write for each receiver, and empties the arena: all spans are void.
    pub fn flush(&mut self) {
        self.settle();
        self.send_noted();
        self.arena.clear();
        self.arena.shrink_to(2 * ARENA);
    }

    /// Sends what is noted, and keeps the arena. The server's own peer comes last, so that what its callbacks do, such as
    /// closing a client, comes after what was noted for the clients before.
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

    /// Writes a receiver's ranges, behind what its queue holds.
    fn send(&mut self, receiver: &Pending) {
        let outbound = &receiver.peer.outbound;
        if receiver.count == 1 {
            let span = self.ranges[receiver.first as usize].span;
            outbound.write(&[IoSlice::new(span.of(&self.arena))]);
        } else if receiver.bytes < COPY_BELOW * receiver.count as usize {
            self.scratch.clear();
            for span in spans(&self.ranges, receiver.first) {
                self.scratch.extend_from_slice(span.of(&self.arena));
            }
            outbound.write(&[IoSlice::new(&self.scratch)]);
        } else {
            self.send_slices(receiver);
        }
    }

    fn send_slices(&self, receiver: &Pending) {
        let mut slices = Vec::with_capacity((receiver.count as usize).min(MAX_SLICES));
        for span in spans(&self.ranges, receiver.first) {
            slices.push(IoSlice::new(span.of(&self.arena)));
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

/// The spans of one receiver's list of ranges, in the order in which they were noted.
fn spans(ranges: &[Range], first: u32) -> impl Iterator<Item = Span> {
    let range = |index: u32| ranges.get(index as usize);
    iter::successors(range(first), move |noted| range(noted.next)).map(|noted| noted.span)
}

/// The flusher of this thread. What is first noted in a turn wakes it, so it runs behind the tasks that were ready then.
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
