//! The script's side of a socket for writing: any number of coroutines may use it, and what they write is sent in the
//! order of their calls.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::unconstrained;

/// Writes that wait for the socket.
const WRITES: usize = 64;
/// Bytes of writes that wait for the socket, unless a single one is longer.
const WRITTEN: usize = 256 * 1024;

/// What a script has written, on its way to the socket.
pub(super) struct Write {
    pub data: Vec<u8>,
    pub is_text: bool,
    /// Given back when the data is written.
    pub room: OwnedSemaphorePermit,
}

/// The script's side for writing. The socket is closed, after what was written, when reader and writer are dropped.
#[derive(Clone)]
pub struct Writer {
    writes: mpsc::Sender<Write>,
    room: Arc<Semaphore>,
    /// Held by the one writer that waits for room. The others wait for this turn, in the order in which they came: a
    /// newcomer could otherwise take room that is free because the first to wait has been given its share but has not
    /// run yet.
    turn: Arc<Mutex<()>>,
}

impl Writer {
    /// The script's side, and where the socket's side takes the writes.
    pub(super) fn new() -> (Self, mpsc::Receiver<Write>) {
        let (to_socket, writes) = mpsc::channel(WRITES);
        (Self { writes: to_socket, room: Arc::new(Semaphore::new(WRITTEN)), turn: Arc::default() }, writes)
    }

    /// Waits until there is room for the data, not until it is sent. False if the connection is gone. The place in the
    /// order is that of the first poll.
    pub async fn write(&self, data: Vec<u8>, is_text: bool) -> bool {
        // A task that tokio wants to rest would otherwise not even begin to wait, and be overtaken.
        let _turn = unconstrained(self.turn.lock()).await;
        // The number is below 2^18.
        let share = data.len().clamp(1, WRITTEN) as u32;
        let Ok(room) = self.room.clone().acquire_many_owned(share).await else { return false };
        self.writes.send(Write { data, is_text, room }).await.is_ok()
    }
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

    async fn sent(writes: &mut mpsc::Receiver<Write>) -> Vec<u8> {
        writes.recv().await.expect("a write").data
    }

    #[tokio::test]
    async fn a_newcomer_does_not_overtake_a_writer_that_was_given_room_but_has_not_run_yet() {
        let (writer, mut writes) = Writer::new();
        assert!(writer.write(vec![1; WRITTEN], false).await);
        let mut second = pin!(writer.write(vec![2], false));
        assert!(poll(second.as_mut()).is_pending());
        assert_eq!(sent(&mut writes).await.len(), WRITTEN, "and its room is free again");
        let mut third = pin!(writer.write(vec![3], false));
        assert!(poll(third.as_mut()).is_pending());
        assert!(second.await && third.await);
        assert_eq!([sent(&mut writes).await, sent(&mut writes).await], [[2], [3]]);
    }

    #[tokio::test]
    async fn a_writer_whose_task_has_run_for_long_is_not_overtaken_by_one_of_a_fresh_task() {
        let (writer, mut writes) = Writer::new();
        while poll(pin!(consume_budget())).is_ready() {}
        let mut first = pin!(writer.write(vec![1], false));
        assert!(poll(first.as_mut()).is_pending(), "tokio makes this task rest");
        let mut second = pin!(unconstrained(writer.write(vec![2], false)));
        assert!(poll(second.as_mut()).is_pending());
        assert!(first.await && second.await);
        assert_eq!([sent(&mut writes).await, sent(&mut writes).await], [[1], [2]]);
    }

    #[tokio::test]
    async fn a_writer_that_is_given_up_keeps_no_other_waiting() {
        let (writer, mut writes) = Writer::new();
        assert!(writer.write(vec![1; WRITTEN], false).await);
        {
            let mut given_up = pin!(writer.write(vec![2], false));
            assert!(poll(given_up.as_mut()).is_pending());
        }
        assert_eq!(sent(&mut writes).await.len(), WRITTEN);
        assert!(writer.write(vec![3], false).await);
        assert_eq!(sent(&mut writes).await, [3]);
    }
}
