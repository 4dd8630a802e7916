use std::sync::Arc;

use super::*;

/// Takes up to `takes` bytes of each write, and calls `meanwhile` before.
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
fn the_task_sends_what_the_socket_did_not_take_and_then_any_thread_may_write_again() {
    let outbound = outbound(4);
    outbound.write(&[IoSlice::new(FRAME)]);
    assert_eq!(outbound.duty(), Duty::Send);
    assert_eq!(outbound.take(), &FRAME[4..]);
    outbound.sent(FRAME.len() - 4);
    assert!(outbound.take().is_empty());
    assert_eq!((outbound.duty(), outbound.held()), (Duty::Nothing, 0));
}

#[test]
fn what_a_socket_takes_of_several_parts_may_end_within_any_of_them() {
    for takes in [4, FRAME.len(), FRAME.len() + 4] {
        let outbound = outbound(takes);
        outbound.write(&[IoSlice::new(FRAME), IoSlice::new(FRAME)]);
        assert_eq!(outbound.take(), [FRAME, FRAME].concat()[takes..]);
    }
}

#[test]
fn a_thread_that_is_writing_finishes_its_call_before_the_task_takes_over() {
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
fn what_is_queued_while_a_thread_hands_over_is_left_to_the_task() {
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
fn after_leave_to_task_only_the_task_sends() {
    let outbound = outbound(1000);
    outbound.leave_to_task();
    assert!(outbound.take().is_empty());
    outbound.write(&[IoSlice::new(FRAME)]);
    assert_eq!(outbound.duty(), Duty::Send);
    assert_eq!(outbound.take(), FRAME);
}

#[test]
fn what_an_ended_peer_has_queued_can_be_taken_and_counts_no_longer() {
    let outbound = outbound(0);
    outbound.write(&[IoSlice::new(FRAME)]);
    assert_eq!(outbound.held(), FRAME.len());
    outbound.end();
    assert_eq!(outbound.held(), 0);
    outbound.write(&[IoSlice::new(FRAME)]);
    assert_eq!(outbound.push_control(FRAME), Pushed::Discarded);
    assert_eq!(outbound.take(), FRAME, "nothing is queued behind the end");
}

#[test]
fn nothing_follows_the_last_packet_that_was_written() {
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
fn nothing_follows_the_last_packet_that_is_queued() {
    let outbound = outbound(0);
    assert_eq!(outbound.push_last(FRAME), Pushed::Queued);
    assert_eq!(outbound.push_control(FRAME), Pushed::Discarded);
    outbound.write(&[IoSlice::new(FRAME)]);
    assert_eq!(outbound.take(), FRAME);
}

#[test]
fn a_last_packet_that_is_queued_before_the_peer_is_opened_is_left_to_its_task() {
    let outbound = Outbound::new(Framing::Raw, 1000);
    assert_eq!(outbound.push_last(FRAME), Pushed::Queued);
    outbound.open(Box::new(Socket { takes: 1000, meanwhile: || {} }));
    assert_eq!(outbound.duty(), Duty::Send);
    assert_eq!(outbound.take(), FRAME);
}

#[test]
fn messages_are_queued_up_to_exactly_the_limit() {
    let outbound = Outbound::new(Framing::Raw, 2 * FRAME.len());
    for _ in 0..3 {
        outbound.write(&[IoSlice::new(FRAME)]);
    }
    assert_eq!((outbound.held(), outbound.dropped()), (2 * FRAME.len(), 1));
}

#[test]
fn of_messages_that_come_together_those_that_fit_are_queued() {
    let outbound = Outbound::new(Framing::Raw, 2 * FRAME.len());
    outbound.write(&[IoSlice::new(&FRAME.repeat(3))]);
    assert_eq!(outbound.take(), FRAME.repeat(2));
    assert_eq!(outbound.dropped(), 1);
}

#[test]
fn what_is_queued_during_a_write_and_written_then_counts_no_longer() {
    let outbound = Arc::new(Outbound::new(Framing::Raw, 1000));
    let (other, is_first) = (outbound.clone(), AtomicUsize::new(0));
    let meanwhile = move || {
        if is_first.fetch_add(1, Ordering::Relaxed) == 0 {
            assert_eq!(other.push_control(FRAME), Pushed::Queued);
        }
    };
    outbound.open(Box::new(Socket { takes: 1000, meanwhile }));
    outbound.write(&[IoSlice::new(FRAME)]);
    assert_eq!((outbound.duty(), outbound.held()), (Duty::Nothing, 0));
}

#[test]
fn what_a_thread_could_not_write_to_a_peer_that_ended_meanwhile_does_not_count() {
    let outbound = Arc::new(Outbound::new(Framing::Raw, 1000));
    let task = outbound.clone();
    outbound.open(Box::new(Socket { takes: 4, meanwhile: move || task.end() }));
    outbound.write(&[IoSlice::new(FRAME)]);
    assert_eq!(outbound.held(), 0);
    assert_eq!(outbound.take(), &FRAME[4..]);
}

#[test]
fn an_ended_peer_has_given_its_socket_back() {
    let outbound = Outbound::new(Framing::Raw, 1000);
    let socket = Arc::new(());
    let of_writer = socket.clone();
    outbound.open(Box::new(Socket { takes: 1000, meanwhile: move || drop(of_writer.clone()) }));
    outbound.end();
    assert_eq!(Arc::strong_count(&socket), 1);
}

/// Counts how often it is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl std::task::Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn the_task_is_woken_for_the_first_message_that_is_lost_and_whenever_the_loss_has_doubled() {
    let outbound = Outbound::new(Framing::Raw, 0);
    let woken_at = (1..=9).filter(|_| {
        let wakes = Arc::new(Wakes::default());
        outbound.register(&wakes.clone().into());
        outbound.push_messages(&[IoSlice::new(FRAME)]);
        wakes.0.load(Ordering::Relaxed) > 0
    });
    assert_eq!(woken_at.collect::<Vec<_>>(), [1, 2, 4, 8]);
}

/// A socket whose other end has gone.
struct Broken;

impl Writer for Broken {
    fn try_write(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_write_that_fails_ends_the_peer_and_nothing_is_queued_any_more() {
    let outbound = Outbound::new(Framing::Raw, 1000);
    outbound.open(Box::new(Broken));
    let wakes = Arc::new(Wakes::default());
    outbound.register(&wakes.clone().into());
    for _ in 0..2 {
        outbound.write(&[IoSlice::new(FRAME)]);
        assert_eq!((outbound.duty(), outbound.held()), (Duty::End, 0));
    }
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "the task has to hear of it");
}

/// For tests that look at what is queued for all peers of the process, one after the other.
static ALL: Mutex<()> = Mutex::new(());

/// As much is queued for others as may be for all, until this is dropped.
struct Full;

impl Full {
    fn new() -> Self {
        QUEUED_IN_ALL.fetch_add(MAX_QUEUED_IN_ALL, Ordering::Relaxed);
        Self
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        QUEUED_IN_ALL.fetch_sub(MAX_QUEUED_IN_ALL, Ordering::Relaxed);
    }
}

#[test]
fn a_peer_may_have_a_quarter_of_a_megabyte_queued_whatever_the_others_have() {
    let _alone = ALL.lock();
    let _full = Full::new();
    let outbound = Outbound::new(Framing::Raw, usize::MAX);
    let frame = [&[4, 0, 8][..], &[0; 1021]].concat();
    for _ in 0..257 {
        outbound.write(&[IoSlice::new(&frame)]);
    }
    assert_eq!((outbound.held(), outbound.dropped()), (256 << 10, 1));
}

#[test]
fn while_there_is_room_for_all_only_its_own_limit_bounds_a_peer() {
    let _alone = ALL.lock();
    let frame = [&[0xFF, 0xFF, 8][..], &[0; 0xFFFC]].concat();
    let outbound = Outbound::new(Framing::Raw, 16 * frame.len());
    for _ in 0..17 {
        outbound.write(&[IoSlice::new(&frame)]);
    }
    assert_eq!((outbound.held(), outbound.dropped()), (16 * frame.len(), 1));
}

#[test]
fn the_server_may_have_any_number_of_bytes_queued() {
    let _alone = ALL.lock();
    let _full = Full::new();
    let outbound = Outbound::new(Framing::Raw, NO_LIMIT);
    outbound.push_messages(&[IoSlice::new(&vec![0; 2 * ALLOWANCE])]);
    assert_eq!(outbound.held(), 2 * ALLOWANCE);
}

#[test]
fn control_packets_have_a_reserve_beyond_the_limit_for_messages() {
    let _alone = ALL.lock();
    let outbound = Outbound::new(Framing::Raw, 0);
    let much = vec![0; CONTROL_RESERVE];
    assert_eq!(outbound.push_control(&much), Pushed::Queued);
    assert_eq!(outbound.push_control(FRAME), Pushed::Queued);
    assert_eq!(outbound.push_control(FRAME), Pushed::Overflow);
}

#[test]
fn control_packets_are_subject_to_the_bound_for_all() {
    let _alone = ALL.lock();
    let _full = Full::new();
    let outbound = Outbound::new(Framing::Raw, 2 * ALLOWANCE);
    assert_eq!(outbound.push_control(&vec![0; ALLOWANCE]), Pushed::Queued);
    assert_eq!(outbound.push_control(FRAME), Pushed::Overflow);
}

#[test]
fn what_is_queued_for_a_peer_that_is_dropped_counts_no_longer() {
    const MUCH: usize = 32 << 20;
    let _alone = ALL.lock();
    let outbound = Outbound::new(Framing::Raw, usize::MAX);
    let before = QUEUED_IN_ALL.load(Ordering::Relaxed);
    outbound.write(&[IoSlice::new(&vec![0; MUCH])]);
    drop(outbound);
    // Other tests queue a little meanwhile.
    assert!(QUEUED_IN_ALL.load(Ordering::Relaxed) < before + MUCH / 2);
}
