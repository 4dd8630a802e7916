//! The script's side of a socket for writing. Any number of coroutines may use it at the same time; what they write is
//! sent in the order of their calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{unconstrained, yield_now};

/// The room of the queue: bytes of writes that wait for the socket. A single write may be longer.
const WRITTEN: usize = 256 * 1024;
/// The room that each write takes beside its data, so that the number of small writes is bounded, too. It is small enough
/// for a write for each message of one read of the broker: no coroutine has to wait only because the socket's task has not
/// run meanwhile.
const OVERHEAD: usize = 64;

/// The most writers that wait for room. Without this bound, a callback for each message that writes to an end that does
/// not read would leave a coroutine behind each time.
const WAITING: usize = 1024;
/// The most bytes that the waiting writers hold together. A single one may hold more.
const HELD: usize = 16 << 20;

/// What a script has written, on its way to the socket.
pub(super) struct Write {
    pub data: Vec<u8>,
    pub is_text: bool,
    /// The room it takes in the queue; given back when the data is written.
    pub room: OwnedSemaphorePermit,
}

/// Why nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// The connection is gone.
    Closed,
    /// Too many writers wait already, or they hold too much.
    Overflow,
}

impl Unwritten {
    /// The error code that scripts get.
    pub fn code(self) -> &'static str {
        match self {
            Self::Closed => "socketclosed",
            Self::Overflow => "overflow",
        }
    }
}

/// The script's side for writing. When reader and writers are dropped, the socket sends what was written and is closed.
#[derive(Clone)]
pub struct Writer {
    /// Bounded by [`Bounds::room`].
    writes: mpsc::UnboundedSender<Write>,
    bounds: Arc<Bounds>,
}

struct Bounds {
    room: Arc<Semaphore>,
    /// Held by the one writer that waits for room, while the others wait for their turn in the order of their calls.
    /// Without it, a later writer could take what is left of the room when the first to wait has been given its share but
    /// has not run yet.
    turn: Mutex<()>,
    /// How many more writers may wait.
    waiting: Semaphore,
    /// How many more bytes waiting writers may hold.
    held: Semaphore,
    /// Bytes written since a writer last let other tasks run.
    unrested: AtomicU32,
}

impl Writer {
    /// The script's side, and the receiver for the socket's side.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Write>) {
        // Nothing is sent without a permit of `room`, which is the bound.
        let (to_socket, writes) = mpsc::unbounded_channel();
        let bounds = Bounds {
            room: Arc::new(Semaphore::new(WRITTEN)),
            turn: Mutex::default(),
            waiting: Semaphore::new(WAITING),
            held: Semaphore::new(HELD),
            unrested: AtomicU32::default(),
        };
        (Self { writes: to_socket, bounds: Arc::new(bounds) }, writes)
    }

    /// Waits until there is room for the data, not until it is sent. Fails at once if too many wait already. What counts for
    /// the order of writes is when each future is first polled.
    pub async fn write(&self, data: Vec<u8>, is_text: bool) -> Result<(), Unwritten> {
        let taken = share(data.len() + OVERHEAD, WRITTEN);
        // tokio's cooperative budget makes a task that has done much wait even if there is room. The many callbacks of one
        // task would then all wait, and use up the places of writers that have to.
        unconstrained(self.enqueue(data, is_text, taken)).await?;
        self.rest(taken).await;
        Ok(())
    }

    async fn enqueue(&self, data: Vec<u8>, is_text: bool, taken: u32) -> Result<(), Unwritten> {
        let bounds = &self.bounds;
        let _place = bounds.waiting.try_acquire().map_err(|_| Unwritten::Overflow)?;
        let _held = bounds.held.try_acquire_many(share(data.len(), HELD)).map_err(|_| Unwritten::Overflow)?;
        let _turn = bounds.turn.lock().await;
        let room = bounds.room.clone().acquire_many_owned(taken).await.map_err(|_| Unwritten::Closed)?;
        self.writes.send(Write { data, is_text, room }).map_err(|_| Unwritten::Closed)
    }

    /// Lets other tasks run now and then, also if there is always room.
    async fn rest(&self, taken: u32) {
        let unrested = self.bounds.unrested.fetch_add(taken, Ordering::Relaxed);
        if unrested as usize >= WRITTEN {
            self.bounds.unrested.store(0, Ordering::Relaxed);
            yield_now().await;
        }
    }
}

/// The permits for so many bytes: no more than there are, so that a single long write is possible.
fn share(bytes: usize, bound: usize) -> u32 {
    // Every bound here is below 2^32.
    bytes.min(bound) as u32
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use tokio::task::consume_budget;

    use super::*;

    fn poll<T>(work: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        work.poll(&mut Context::from_waker(Waker::noop()))
    }

    async fn sent(writes: &mut mpsc::UnboundedReceiver<Write>) -> Vec<u8> {
        writes.recv().await.expect("a write").data
    }

    #[tokio::test]
    async fn a_later_write_does_not_overtake_one_that_has_been_given_room_but_has_not_run_yet() {
        let (writer, mut writes) = Writer::new();
        assert_eq!(writer.write(vec![1; WRITTEN], false).await, Ok(()));
        let mut second = pin!(writer.write(vec![2], false));
        assert!(poll(second.as_mut()).is_pending());
        assert_eq!(sent(&mut writes).await.len(), WRITTEN, "and its room is free again");
        let mut third = pin!(writer.write(vec![3], false));
        assert!(poll(third.as_mut()).is_pending());
        assert_eq!((second.await, third.await), (Ok(()), Ok(())));
        assert_eq!([sent(&mut writes).await, sent(&mut writes).await], [[2], [3]]);
    }

    #[tokio::test]
    async fn a_burst_of_small_messages_does_not_wait_even_in_a_task_that_has_run_for_long() {
        let (writer, mut writes) = Writer::new();
        while poll(pin!(consume_budget())).is_ready() {}
        for number in 0..3000_u32 {
            let write = writer.write(number.to_be_bytes().into(), true);
            assert_eq!(poll(pin!(write)), Poll::Ready(Ok(())), "{number}");
        }
        for number in 0..3000_u32 {
            assert_eq!(sent(&mut writes).await, number.to_be_bytes());
        }
    }

    #[tokio::test]
    async fn a_writer_lets_other_tasks_run_even_if_there_is_always_room() {
        let (writer, mut writes) = Writer::new();
        let mut rests = 0;
        for _ in 0..100 {
            let mut write = pin!(writer.write(vec![0; WRITTEN / 10], false));
            if poll(write.as_mut()).is_pending() {
                rests += 1;
                assert_eq!(write.await, Ok(()));
            }
            sent(&mut writes).await;
        }
        assert!((5..20).contains(&rests), "{rests} rests");
    }

    #[tokio::test]
    async fn a_writer_that_is_given_up_keeps_no_other_waiting() {
        let (writer, mut writes) = Writer::new();
        assert_eq!(writer.write(vec![1; WRITTEN], false).await, Ok(()));
        {
            let mut given_up = pin!(writer.write(vec![2], false));
            assert!(poll(given_up.as_mut()).is_pending());
        }
        assert_eq!(sent(&mut writes).await.len(), WRITTEN);
        assert_eq!(writer.write(vec![3], false).await, Ok(()));
        assert_eq!(sent(&mut writes).await, [3]);
    }

    #[tokio::test]
    async fn no_more_than_1024_writers_may_wait() {
        let (writer, mut writes) = Writer::new();
        assert_eq!(writer.write(vec![0; WRITTEN], false).await, Ok(()));
        let mut waiting: Vec<_> = (0..WAITING).map(|_| Box::pin(writer.write(vec![1], false))).collect();
        for write in &mut waiting {
            assert!(poll(write.as_mut()).is_pending());
        }
        assert_eq!(poll(pin!(writer.write(vec![2], false))), Poll::Ready(Err(Unwritten::Overflow)));
        assert_eq!(sent(&mut writes).await.len(), WRITTEN);
        assert_eq!(waiting.remove(0).await, Ok(()), "the first goes on");
        assert!(poll(pin!(writer.write(vec![2], false))).is_pending(), "and leaves its place to another");
    }

    #[tokio::test]
    async fn the_bytes_of_waiting_writers_are_bounded_too_but_a_single_one_may_hold_more() {
        let (writer, mut writes) = Writer::new();
        assert_eq!(writer.write(vec![0; WRITTEN], false).await, Ok(()));
        let mut long = Box::pin(writer.write(vec![1; HELD + 1], false));
        assert!(poll(long.as_mut()).is_pending());
        assert_eq!(poll(pin!(writer.write(vec![2], false))), Poll::Ready(Err(Unwritten::Overflow)));
        sent(&mut writes).await;
        assert_eq!(long.await, Ok(()));
        assert_eq!(sent(&mut writes).await.len(), HELD + 1);
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_is_told_to_all_who_wait() {
        let (writer, writes) = Writer::new();
        assert_eq!(writer.write(vec![0; WRITTEN], false).await, Ok(()));
        let (mut first, mut second) = (pin!(writer.write(vec![1], false)), pin!(writer.write(vec![2], false)));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        drop(writes);
        assert_eq!((first.await, second.await), (Err(Unwritten::Closed), Err(Unwritten::Closed)));
    }
}
