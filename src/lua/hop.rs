//! The ways between the Lua thread and the others.
//!
//! What one turn of a thread's event loop has for another thread travels together, there and back: waking a thread costs
//! more than routing a message. What a thread sends may not overtake what its outbox still holds, so that is flushed
//! first.

use std::cell::RefCell;
use std::thread::{self, ThreadId};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::Job;
use crate::broker::outbox::{Outbox, with_outbox};

/// The way to a Lua thread.
pub(super) type Jobs = mpsc::Sender<Vec<Job>>;

/// Done on the thread that asked: gives one waiting task its answer.
type Delivery = Box<dyn FnOnce() + Send>;

thread_local! {
    /// What this thread has for each Lua thread in this turn. Whoever asks waits for the answer, so each client has at
    /// most one question here, and the news that its handshake is over.
    static JOBS: RefCell<Vec<(Jobs, Vec<Job>)>> = const { RefCell::new(Vec::new()) };
    /// What this Lua thread has answered each thread in this turn.
    static ANSWERS: RefCell<Vec<(Asker, Vec<Delivery>)>> = const { RefCell::new(Vec::new()) };
}

/// The thread that asks, with its event loop.
struct Asker {
    thread: ThreadId,
    runtime: Handle,
}

/// The way back to a task that asked. Dropped without an answer, it tells that there will be none.
pub struct Reply<T> {
    answer: oneshot::Sender<T>,
    asker: Asker,
}

/// For a task that is about to ask: the way back to it, and where it then waits.
pub fn reply<T>() -> (Reply<T>, oneshot::Receiver<T>) {
    let (answer, answered) = oneshot::channel();
    let asker = Asker { thread: thread::current().id(), runtime: Handle::current() };
    (Reply { answer, asker }, answered)
}

impl<T: Send + 'static> Reply<T> {
    /// Who asked has gone.
    pub fn is_for_nobody(&self) -> bool {
        self.answer.is_closed()
    }

    /// Answers at the end of this turn, a task of this thread at once. For the Lua thread.
    pub fn send(self, answer: T) {
        let Self { answer: sender, asker } = self;
        if asker.thread == thread::current().id() {
            let _ = sender.send(answer);
            return;
        }
        // Who asked may have gone meanwhile.
        let delivery: Delivery = Box::new(move || drop(sender.send(answer)));
        let is_first = ANSWERS.with_borrow_mut(|answers| {
            match answers.iter_mut().find(|(other, _)| other.thread == asker.thread) {
                Some((_, deliveries)) => deliveries.push(delivery),
                None => answers.push((asker, vec![delivery])),
            }
            answers.len() == 1 && answers[0].1.len() == 1
        });
        if is_first {
            // It runs behind the tasks that are ready now, and takes along what they answer.
            tokio::task::spawn_local(async { post_answers() });
        }
    }
}

fn post_answers() {
    let answers = ANSWERS.take();
    with_outbox(Outbox::flush);
    for (asker, deliveries) in answers {
        asker.runtime.spawn(async move { deliveries.into_iter().for_each(|deliver| deliver()) });
    }
}

/// Queues a job for the Lua thread behind `jobs`, at the end of this turn.
pub(super) fn send(jobs: &Jobs, job: Job) {
    let is_first = JOBS.with_borrow_mut(|bags| match bags.iter_mut().find(|(other, _)| other.same_channel(jobs)) {
        Some((_, bag)) => {
            bag.push(job);
            false
        }
        None => {
            bags.push((jobs.clone(), vec![job]));
            true
        }
    });
    if is_first {
        tokio::spawn(post_jobs(jobs.clone()));
    }
}

async fn post_jobs(jobs: Jobs) {
    let bag = JOBS.with_borrow_mut(|bags| {
        let place = bags.iter().position(|(other, _)| other.same_channel(&jobs))?;
        Some(bags.swap_remove(place).1)
    });
    with_outbox(Outbox::flush);
    // When the thread has ended, the jobs are dropped, and with them the ways back to those who asked.
    let _ = jobs.send(bag.unwrap_or_default()).await;
}
