//! One peer's outgoing side: a writer that any thread may use, and a bounded queue for what cannot be written at once.
//!
//! A thread that has something for a peer writes it itself, without waiting. What the socket does not take, and what comes
//! while another thread writes, is copied into the queue. So a peer that does not read costs bounded memory, and nobody
//! waits for it.
//!
//! Bytes leave in the order in which they were queued or written, since one party at a time has the writer:
//!
//! ```text
//! Open ── a thread writes ──► Busy ── the socket is full ──► Blocked
//!  ▲                           │                                │
//!  ├────── all is written ─────┘                                │
//!  └─────────────── the task has sent the queue ────────────────┘
//! ```
//!
//! - A thread that is writing also writes what others queue meanwhile, so nothing is left behind when it stops.
//! - When the socket is full, that thread puts the rest in front of the queue and wakes the peer's task, which sends the
//!   queue when the socket is writable again.
//! - [`Outbound::leave_to_task`] leads to `Task` for good: only the peer's task sends. A thread that is writing finishes its
//!   call first (`HandingOver`).
//! - A failed write leads to `Broken`, and the task ends the peer.
//!
//! The queue's lock is never held during a system call.

use std::io::{self, IoSlice};
use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

use atomic_waker::AtomicWaker;
use parking_lot::Mutex;

use crate::transport::Framing;

/// Bytes that may be queued for all peers of the process together; at this bound a peer may still have `ALLOWANCE` bytes.
pub const MAX_QUEUED_IN_ALL: usize = 1 << 30;
/// The limit of the server's own peer. Its queue needs none: a client whose messages reach the server is not read until
/// the callbacks for them have run.
pub const NO_LIMIT: usize = usize::MAX / 2;
/// Bytes beyond a peer's limit that only control packets may use.
const CONTROL_RESERVE: usize = 1 << 20;
/// Bytes that a peer may have queued even when the process is at its bound, so that peers that read do not suffer from
/// those that do not.
const ALLOWANCE: usize = 256 << 10;

/// Bytes queued for all peers: the sum of [`Queue::held`].
static QUEUED_IN_ALL: AtomicUsize = AtomicUsize::new(0);

/// A socket's write side, used by whichever thread has something to send.
pub trait Writer: Send + Sync {
    /// Writes what the socket takes without waiting, and returns the number of bytes; [`io::ErrorKind::WouldBlock`] if it
    /// takes nothing.
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// A peer's outgoing side, shared by all threads that send to it.
pub struct Outbound {
    framing: Framing,
    /// Bytes that may be queued before messages are dropped.
    limit: usize,
    /// Messages that were dropped since the peer did not read.
    dropped: AtomicU64,
    queue: Mutex<Queue>,
    /// The peer's own task: woken when there is something only it can send.
    task: AtomicWaker,
}

struct Queue {
    bytes: Vec<u8>,
    /// Bytes that count for the limits: those in the queue, and those that the peer's task took and has not sent yet.
    held: usize,
    state: State,
    /// The peer's last packet is in the queue, or the peer has ended: what comes later is discarded.
    is_sealed: bool,
}

/// Who may write to the socket now; the module's documentation shows the transitions.
enum State {
    /// Any thread that has something for the peer.
    Open(Box<dyn Writer>),
    /// The thread that is writing; it also writes what others queue meanwhile.
    Busy,
    /// The thread that is writing, for the last time; what it cannot write is left to the task.
    HandingOver,
    /// The peer's task, until the queue is empty: the socket was full.
    Blocked(Box<dyn Writer>),
    /// Only the peer's task, for good: over TLS, for the server's own peer, and while a peer ends.
    Task,
    /// Nobody: a write failed, and the peer's task has to end the peer.
    Broken,
}

/// What a peer's task has to do for the outgoing side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    Nothing,
    /// Another thread is writing, and wakes the task if there is something left to do.
    Wait,
    /// Take what is queued and send it.
    Send,
    /// A write failed: end the peer.
    End,
}

/// What came of pushing a control packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    Queued,
    /// The last packet is queued already, and this one is discarded.
    Discarded,
    /// The queue has no room even for control packets: the peer has to be closed.
    Overflow,
}

impl Outbound {
    /// An outgoing side that only the peer's task uses, until [`Outbound::open`]. `limit`: bytes that may be queued before
    /// messages are dropped.
    pub fn new(framing: Framing, limit: usize) -> Self {
        let queue = Mutex::new(Queue { bytes: Vec::new(), held: 0, state: State::Task, is_sealed: false });
        Self { framing, limit, dropped: AtomicU64::new(0), queue, task: AtomicWaker::new() }
    }

    /// From now on any thread may write to the peer, unless its last packet is queued already.
    pub fn open(&self, writer: Box<dyn Writer>) {
        let mut queue = self.queue.lock();
        if matches!(queue.state, State::Task) && !queue.is_sealed {
            queue.state = State::Open(writer);
        }
    }

    /// The framing that everything pushed or written here must have.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Sets the waker of the peer's task, which is woken when there is something only the task can do.
    pub fn register(&self, waker: &Waker) {
        self.task.register(waker);
    }

    /// Wakes the peer's task.
    pub fn wake(&self) {
        self.task.wake();
    }

    /// The number of bytes that wait to be sent.
    pub fn held(&self) -> usize {
        self.queue.lock().held
    }

    /// The number of messages dropped because the peer did not read.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Queues a control packet, which is never dropped. Nothing is written yet: [`Outbound::write`] does that.
    pub fn push_control(&self, frame: &[u8]) -> Pushed {
        self.push(frame, false)
    }

    /// Queues a control packet as [`Outbound::push_control`] does; it is the last packet that the peer is sent.
    pub fn push_last(&self, frame: &[u8]) -> Pushed {
        self.push(frame, true)
    }

    fn push(&self, frame: &[u8], is_last: bool) -> Pushed {
        let mut queue = self.queue.lock();
        if queue.is_sealed {
            return Pushed::Discarded;
        }
        let has_room = queue.held <= self.limit.saturating_add(CONTROL_RESERVE) && self.may_hold(&queue, frame.len());
        if !has_room {
            return Pushed::Overflow;
        }
        queue.append(frame);
        queue.is_sealed = is_last;
        Pushed::Queued
    }

    /// Queues messages without writing; those beyond the limit are dropped.
    pub fn push_messages(&self, parts: &[IoSlice<'_>]) {
        self.append_messages(&mut self.queue.lock(), parts);
    }

    /// Sends what is queued and then `parts`, each of them whole frames; with one system call, if the socket takes
    /// everything. If another thread is writing, or only the peer's task may, `parts` are queued instead.
    pub fn write(&self, parts: &[IoSlice<'_>]) {
        let mut queue = self.queue.lock();
        let parts = if queue.is_sealed { &[] } else { parts };
        let writer = match mem::replace(&mut queue.state, State::Busy) {
            State::Open(writer) => writer,
            other => {
                queue.state = other;
                self.append_messages(&mut queue, parts);
                let is_for_task = matches!(queue.state, State::Task) && !queue.bytes.is_empty();
                drop(queue);
                if is_for_task {
                    self.task.wake();
                }
                return;
            }
        };
        if queue.bytes.is_empty() {
            drop(queue);
            self.write_out(writer, parts);
        } else {
            self.append_messages(&mut queue, parts);
            let queued = queue.take();
            drop(queue);
            self.write_out(writer, &[IoSlice::new(&queued)]);
        }
    }

    /// Writes until nothing is left or the socket is full. The caller has set [`State::Busy`].
    fn write_out(&self, writer: Box<dyn Writer>, parts: &[IoSlice<'_>]) {
        let mut rest = match try_write(&*writer, parts) {
            Ok(rest) => rest,
            Err(_) => return self.give_up(),
        };
        loop {
            let mut queue = self.queue.lock();
            let is_handing_over = matches!(queue.state, State::HandingOver);
            if is_handing_over || !rest.is_empty() {
                queue.put_in_front(rest);
                queue.state = if is_handing_over { State::Task } else { State::Blocked(writer) };
                drop(queue);
                self.task.wake();
                return;
            }
            if queue.bytes.is_empty() {
                queue.state = State::Open(writer);
                return;
            }
            let queued = queue.take();
            drop(queue);
            rest = match try_write(&*writer, &[IoSlice::new(&queued)]) {
                Ok(rest) => rest,
                Err(_) => return self.give_up(),
            };
        }
    }

    /// A write failed: wakes the task, which ends the peer.
    fn give_up(&self) {
        self.queue.lock().state = State::Broken;
        self.task.wake();
    }

    /// For the peer's task: what it has to send now, counted as queued until [`Outbound::sent`] is called. If there is
    /// nothing, a blocked writer is open to all threads again.
    pub fn take(&self) -> Vec<u8> {
        let mut queue = self.queue.lock();
        if !queue.bytes.is_empty() {
            return mem::take(&mut queue.bytes);
        }
        match mem::replace(&mut queue.state, State::Busy) {
            State::Blocked(writer) => queue.state = State::Open(writer),
            other => queue.state = other,
        }
        Vec::new()
    }

    /// For the server's own side: takes the first frame if it is `wanted`, as [`Outbound::take`] takes everything.
    pub fn take_first(&self, wanted: impl FnOnce(&[u8]) -> bool) -> Option<Vec<u8>> {
        let mut queue = self.queue.lock();
        if queue.bytes.is_empty() {
            return None;
        }
        let length = self.framing.first_length(&queue.bytes);
        wanted(&queue.bytes[..length]).then(|| queue.bytes.drain(..length).collect())
    }

    /// What the peer's task has to do now.
    pub fn duty(&self) -> Duty {
        let queue = self.queue.lock();
        match queue.state {
            State::Blocked(_) => Duty::Send,
            State::Task if !queue.bytes.is_empty() => Duty::Send,
            State::Busy | State::HandingOver => Duty::Wait,
            State::Broken => Duty::End,
            State::Open(_) | State::Task => Duty::Nothing,
        }
    }

    /// From now on only the peer's task sends, for good. A thread that is writing finishes its call first, puts what the
    /// socket did not take into the queue and wakes the task; until then the task's duty is [`Duty::Wait`].
    pub fn leave_to_task(&self) {
        self.queue.lock().leave_to_task();
    }

    /// For the peer's task: `count` bytes of what it took are sent, and count no longer as queued.
    pub fn sent(&self, count: usize) {
        self.queue.lock().release(count);
    }

    /// Accepts nothing more. What is queued can still be taken, but counts no longer for the bound of the process: a script
    /// may keep an ended peer for as long as it wants to.
    pub fn end(&self) {
        let mut queue = self.queue.lock();
        queue.leave_to_task();
        queue.is_sealed = true;
        let held = queue.held;
        queue.release(held);
    }

    /// Appends whole frames while there is room, and drops the others.
    fn append_messages(&self, queue: &mut Queue, parts: &[IoSlice<'_>]) {
        if queue.is_sealed || matches!(queue.state, State::Broken) {
            return;
        }
        for part in parts {
            if self.has_room(queue, part.len()) {
                queue.append(part);
            } else {
                self.append_what_fits(queue, part);
            }
        }
    }

    fn has_room(&self, queue: &Queue, count: usize) -> bool {
        queue.held + count <= self.limit && self.may_hold(queue, count)
    }

    /// Whether the bound of the process allows this peer `count` more bytes.
    fn may_hold(&self, queue: &Queue, count: usize) -> bool {
        queue.held + count <= ALLOWANCE || self.limit == NO_LIMIT || !is_process_full(count)
    }

    fn append_what_fits(&self, queue: &mut Queue, mut frames: &[u8]) {
        while !frames.is_empty() {
            let (frame, rest) = frames.split_at(self.framing.first_length(frames));
            if self.has_room(queue, frame.len()) {
                queue.append(frame);
            } else {
                let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
                if dropped.is_power_of_two() {
                    // The task logs the loss.
                    self.task.wake();
                }
            }
            frames = rest;
        }
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        let queue = self.queue.get_mut();
        queue.release(queue.held);
    }
}

impl Queue {
    fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.hold(bytes.len());
    }

    fn put_in_front(&mut self, mut rest: Vec<u8>) {
        self.hold(rest.len());
        rest.append(&mut self.bytes);
        self.bytes = rest;
    }

    /// Takes everything, to be written at once: it counts no longer as queued.
    fn take(&mut self) -> Vec<u8> {
        self.release(self.bytes.len());
        mem::take(&mut self.bytes)
    }

    fn leave_to_task(&mut self) {
        self.state = match mem::replace(&mut self.state, State::Task) {
            State::Busy | State::HandingOver => State::HandingOver,
            State::Broken => State::Broken,
            State::Open(_) | State::Blocked(_) | State::Task => State::Task,
        };
    }

    fn hold(&mut self, count: usize) {
        if self.is_sealed {
            return;
        }
        self.held += count;
        QUEUED_IN_ALL.fetch_add(count, Ordering::Relaxed);
    }

    fn release(&mut self, count: usize) {
        let count = count.min(self.held);
        self.held -= count;
        QUEUED_IN_ALL.fetch_sub(count, Ordering::Relaxed);
    }
}

/// Whether `count` more bytes would exceed the bound for all queues of the process together.
fn is_process_full(count: usize) -> bool {
    QUEUED_IN_ALL.load(Ordering::Relaxed) + count > MAX_QUEUED_IN_ALL
}

/// Writes once and returns a copy of what the socket did not take.
fn try_write(writer: &dyn Writer, parts: &[IoSlice<'_>]) -> io::Result<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if length == 0 {
        return Ok(Vec::new());
    }
    let mut taken = match writer.try_write(parts) {
        Ok(taken) => taken,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    let mut rest = Vec::new();
    if taken < length {
        rest.reserve_exact(length - taken);
        for part in parts {
            let skip = taken.min(part.len());
            taken -= skip;
            rest.extend_from_slice(&part[skip..]);
        }
    }
    Ok(rest)
}

#[cfg(test)]
mod tests;
