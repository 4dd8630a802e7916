//! One peer's way out: a writer that any thread may use, and a bounded queue for what the writer does not take.
//!
//! Whoever has something for a peer writes it at once, on its own thread. Only what the socket does not take, or what
//! comes while another thread writes, is copied into the queue; the peer's own task sends that when the socket is
//! writable again. So a peer that does not read costs bounded memory, and nobody waits for it.

use std::io::{self, IoSlice};
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use atomic_waker::AtomicWaker;
use parking_lot::Mutex;

use crate::transport::Framing;

/// Bytes that may be queued for all peers of the process together; beyond it each may still hold a small allowance.
pub const MAX_QUEUED_IN_ALL: usize = 1 << 30;
/// For the server's own peer, which has no limit of its own: a client whose messages reach it is not read until its
/// callbacks have run.
pub const NO_LIMIT: usize = usize::MAX / 2;
/// Room beyond a peer's limit that only control packets may use.
const CONTROL_RESERVE: usize = 1 << 20;
/// What a peer may hold even when the process is full: who reads does not pay for those who do not.
const ALLOWANCE: usize = 256 << 10;

static QUEUED_IN_ALL: AtomicUsize = AtomicUsize::new(0);

/// A socket's write side, used by whichever thread has something to send.
pub trait Writer: Send + Sync {
    /// Writes what the socket takes without waiting; [`io::ErrorKind::WouldBlock`] if it takes nothing.
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// A peer's way out. No lock is held during a system call.
pub struct Outbound {
    framing: Framing,
    /// Bytes that the queue may hold before messages are dropped.
    limit: usize,
    queue: Mutex<Queue>,
    /// The peer's own task: woken when there is something only it can send.
    task: AtomicWaker,
}

struct Queue {
    bytes: Vec<u8>,
    /// Bytes in the queue and in the hands of the peer's task.
    held: usize,
    way: Way,
    dropped: u64,
    /// Its last packet is in the queue, or it has ended; what comes behind that is nobody's.
    is_sealed: bool,
}

enum Way {
    /// Whoever has something writes it.
    Open(Box<dyn Writer>),
    /// A thread is writing; it also sends what others queue meanwhile.
    Busy,
    /// A thread is writing for the last time; what it leaves is the task's.
    Leaving,
    /// The socket is full: the peer's task sends.
    Blocked(Box<dyn Writer>),
    /// Only the peer's task sends, for good: over TLS, for the server's own peer, and what is said last.
    Task,
    /// A write failed: the peer's task ends the peer.
    Broken,
}

/// What a peer's task has to do for the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    Nothing,
    /// Another thread is writing.
    Wait,
    /// Take what is queued and send it.
    Send,
    /// A write failed: end the peer.
    End,
}

/// Whether a peer can still be told what it must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    Queued,
    /// The queue has no room even for control packets: the peer has to be closed.
    Overflow,
}

impl Outbound {
    /// A way out that only the peer's task uses, until it is opened.
    pub fn new(framing: Framing, limit: usize) -> Self {
        let queue = Mutex::new(Queue { bytes: Vec::new(), held: 0, way: Way::Task, dropped: 0, is_sealed: false });
        Self { framing, limit, queue, task: AtomicWaker::new() }
    }

    /// From now on any thread that has something for the peer writes it.
    pub fn open(&self, writer: Box<dyn Writer>) {
        let mut queue = self.queue.lock();
        if matches!(queue.way, Way::Task) && !queue.is_sealed {
            queue.way = Way::Open(writer);
        }
    }

    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Makes `waker` the one that hears of bytes only the peer's task can send.
    pub fn register(&self, waker: &Waker) {
        self.task.register(waker);
    }

    /// Wakes the peer's task.
    pub fn wake(&self) {
        self.task.wake();
    }

    /// Bytes that wait to be sent.
    pub fn held(&self) -> usize {
        self.queue.lock().held
    }

    /// Messages dropped because the peer did not read.
    pub fn dropped(&self) -> u64 {
        self.queue.lock().dropped
    }

    /// Queues a control packet, which is never dropped. Nothing is written yet: [`Outbound::write`] does that.
    pub fn push_control(&self, frame: &[u8]) -> Pushed {
        self.push(frame, false)
    }

    /// Likewise, the last packet that the peer is ever sent.
    pub fn push_last(&self, frame: &[u8]) -> Pushed {
        self.push(frame, true)
    }

    fn push(&self, frame: &[u8], is_last: bool) -> Pushed {
        let mut queue = self.queue.lock();
        if queue.is_sealed {
            return Pushed::Queued;
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

    /// Sends what is queued and then `parts`, whole frames in the peer's framing; one system call if the socket takes it
    /// all.
    pub fn write(&self, parts: &[IoSlice<'_>]) {
        let mut queue = self.queue.lock();
        let parts = if queue.is_sealed { &[] } else { parts };
        let writer = match mem::replace(&mut queue.way, Way::Busy) {
            Way::Open(writer) => writer,
            other => {
                queue.way = other;
                self.append_messages(&mut queue, parts);
                let is_for_task = matches!(queue.way, Way::Task) && !queue.bytes.is_empty();
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

    /// Writes until nothing is left or the socket is full; the caller has made the way busy.
    fn write_out(&self, writer: Box<dyn Writer>, parts: &[IoSlice<'_>]) {
        let mut rest = match try_write(&*writer, parts) {
            Ok(rest) => rest,
            Err(_) => return self.give_up(),
        };
        loop {
            let mut queue = self.queue.lock();
            let is_leaving = matches!(queue.way, Way::Leaving);
            if is_leaving || !rest.is_empty() {
                queue.put_in_front(rest);
                queue.way = if is_leaving { Way::Task } else { Way::Blocked(writer) };
                drop(queue);
                self.task.wake();
                return;
            }
            if queue.bytes.is_empty() {
                queue.way = Way::Open(writer);
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

    /// The socket is broken: the task is told, and drops the writer when it ends the peer.
    fn give_up(&self) {
        self.queue.lock().way = Way::Broken;
        self.task.wake();
    }

    /// For the peer's task: what it should send now. Empty if there is nothing, and then others may write again.
    pub fn take(&self) -> Vec<u8> {
        let mut queue = self.queue.lock();
        if !queue.bytes.is_empty() {
            // It stays accounted for until `sent` is called.
            return mem::take(&mut queue.bytes);
        }
        match mem::replace(&mut queue.way, Way::Busy) {
            Way::Blocked(writer) => queue.way = Way::Open(writer),
            other => queue.way = other,
        }
        Vec::new()
    }

    /// What the peer's task has to do.
    pub fn duty(&self) -> Duty {
        let queue = self.queue.lock();
        match queue.way {
            Way::Blocked(_) => Duty::Send,
            Way::Task if !queue.bytes.is_empty() => Duty::Send,
            Way::Busy | Way::Leaving => Duty::Wait,
            Way::Broken => Duty::End,
            Way::Open(_) | Way::Task => Duty::Nothing,
        }
    }

    /// From now on only the peer's task sends, for good. A thread that is writing finishes its call first, and wakes the
    /// task: what the socket did not take is in the queue then. Until that, the task's duty is to wait.
    pub fn leave_to_task(&self) {
        self.queue.lock().leave_to_task();
    }

    /// For the peer's task: `count` bytes of what it took are sent.
    pub fn sent(&self, count: usize) {
        self.queue.lock().release(count);
    }

    /// Nothing more goes out but what is queued, which the peer's task may still take as its last words. It counts no
    /// longer for the bound of the process: an ended peer may be kept for as long as a script wants to.
    pub fn end(&self) {
        let mut queue = self.queue.lock();
        queue.leave_to_task();
        queue.is_sealed = true;
        let held = queue.held;
        queue.release(held);
    }

    /// Appends whole frames while there is room; the newest are dropped.
    fn append_messages(&self, queue: &mut Queue, parts: &[IoSlice<'_>]) {
        if queue.is_sealed || matches!(queue.way, Way::Broken) {
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

    /// Whether the process has room for `count` more bytes of this peer.
    fn may_hold(&self, queue: &Queue, count: usize) -> bool {
        queue.held + count <= ALLOWANCE || self.limit == NO_LIMIT || !is_process_full(count)
    }

    fn append_what_fits(&self, queue: &mut Queue, mut frames: &[u8]) {
        while !frames.is_empty() {
            let (frame, rest) = frames.split_at(self.framing.first_length(frames));
            if self.has_room(queue, frame.len()) {
                queue.append(frame);
            } else {
                queue.dropped += 1;
                if queue.dropped.is_power_of_two() {
                    // It logs the loss, now and then.
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

    /// Takes everything, no longer accounted for.
    fn take(&mut self) -> Vec<u8> {
        self.release(self.bytes.len());
        mem::take(&mut self.bytes)
    }

    fn leave_to_task(&mut self) {
        self.way = match mem::replace(&mut self.way, Way::Task) {
            Way::Busy | Way::Leaving => Way::Leaving,
            Way::Broken => Way::Broken,
            Way::Open(_) | Way::Blocked(_) | Way::Task => Way::Task,
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

/// Whether `count` more bytes are too much for all queues of the process together.
fn is_process_full(count: usize) -> bool {
    QUEUED_IN_ALL.load(Ordering::Relaxed) + count > MAX_QUEUED_IN_ALL
}

/// Writes once and returns what the socket did not take.
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
