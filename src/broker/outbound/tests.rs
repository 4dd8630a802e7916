use std::sync::Arc;

use super::*;

/// Takes so many bytes of each write, after `meanwhile` has happened.
struct Socket<F> {
    takes: usize,
    meanwhile: F,
}

impl<F: Fn() + Send + Sync> Writer for Socket<F> {
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        (self.meanwhile)();
        match parts.iter().map(|part| part.len()).sum::<usize>().min(self.takes) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

fn outbound(takes: usize) -> Outbound {
    let outbound = Outbound::new(Framing::Raw, 1000);
    outbound.open(Box::new(Socket { takes, meanwhile: || {} }));
    outbound
}

const FRAME: &[u8] = b"\0\x0a\x0cgoodbye";

#[test]
fn what_the_socket_does_not_take_is_the_tasks_who_then_opens_the_way_again() {
    let outbound = outbound(4);
    outbound.write(&[IoSlice::new(FRAME)]);
    assert_eq!(outbound.duty(), Duty::Send);
    assert_eq!(outbound.take(), &FRAME[4..]);
    outbound.sent(FRAME.len() - 4);
    assert!(outbound.take().is_empty());
    assert_eq!((outbound.duty(), outbound.held()), (Duty::Nothing, 0));
}

#[test]
fn the_task_waits_for_a_thread_that_writes_when_the_peer_leaves_and_gets_its_rest() {
    let outbound = Arc::new(Outbound::new(Framing::Raw, 1000));
    let task = outbound.clone();
    let meanwhile = move || {
        task.leave_to_task();
        assert_eq!(task.duty(), Duty::Wait);
    };
    outbound.open(Box::new(Socket { takes: 4, meanwhile }));
    outbound.write(&[IoSlice::new(FRAME)]);
    assert_eq!(outbound.duty(), Duty::Send);
    assert_eq!(outbound.take(), &FRAME[4..]);
}

#[test]
fn what_comes_while_a_thread_writes_for_the_last_time_is_left_to_the_task() {
    let outbound = Arc::new(Outbound::new(Framing::Raw, 1000));
    let task = outbound.clone();
    let meanwhile = move || {
        assert_eq!(task.push_control(FRAME), Pushed::Queued);
        task.leave_to_task();
    };
    outbound.open(Box::new(Socket { takes: 1000, meanwhile }));
    outbound.write(&[IoSlice::new(b"\0\x03\x0c")]);
    assert_eq!(outbound.take(), FRAME);
}

#[test]
fn a_way_that_was_left_to_the_task_is_never_open_again() {
    let outbound = outbound(1000);
    outbound.leave_to_task();
    assert!(outbound.take().is_empty());
    outbound.write(&[IoSlice::new(FRAME)]);
    assert_eq!(outbound.duty(), Duty::Send);
    assert_eq!(outbound.take(), FRAME);
}

#[test]
fn an_ended_peer_keeps_its_last_words_but_no_share_of_the_bound() {
    let outbound = outbound(0);
    outbound.write(&[IoSlice::new(FRAME)]);
    assert_eq!(outbound.held(), FRAME.len());
    outbound.end();
    assert_eq!(outbound.held(), 0);
    outbound.write(&[IoSlice::new(FRAME)]);
    assert_eq!(outbound.push_control(FRAME), Pushed::Queued);
    assert_eq!(outbound.take(), FRAME, "nothing is queued behind the end");
}

#[test]
fn nothing_follows_the_last_packet_on_an_open_way() {
    let taken = Arc::new(Mutex::new(0));
    let outbound = Outbound::new(Framing::Raw, 1000);
    let count = taken.clone();
    outbound.open(Box::new(Socket { takes: 1000, meanwhile: move || *count.lock() += 1 }));
    assert_eq!(outbound.push_last(FRAME), Pushed::Queued);
    outbound.write(&[]);
    assert_eq!(*taken.lock(), 1);
    outbound.write(&[IoSlice::new(FRAME)]);
    assert_eq!(*taken.lock(), 1);
}

#[test]
fn nothing_follows_the_last_packet_in_the_queue() {
    let outbound = outbound(0);
    assert_eq!(outbound.push_last(FRAME), Pushed::Queued);
    assert_eq!(outbound.push_control(FRAME), Pushed::Queued);
    outbound.write(&[IoSlice::new(FRAME)]);
    assert_eq!(outbound.take(), FRAME);
}
