//! How other threads ask the Lua thread, and how it answers.
//!
//! All that one turn of a thread's event loop has for another thread travels in one batch, there and back, since waking a
//! thread costs more than routing a message. What travels must not overtake what the sending thread's outbox still holds,
//! so that is flushed first.

use std::cell::RefCell;
use std::thread::{self, ThreadId};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::Job;
use crate::broker::outbox::{Outbox, with_outbox};

/// Where a Lua thread takes its jobs from, in batches.
pub(super) type Jobs = mpsc::Sender<Vec<Job>>;

/// Gives one waiting task its answer, on the thread that asked.
type Delivery = Box<dyn FnOnce() + Send>;

thread_local! {
    /// The jobs of this turn, for each Lua thread. Their number is bounded by that of the clients: each waits for the answer
    /// to its question, and beside that there is only the news that its handshake is over.
    static JOBS: RefCell<Vec<(Jobs, Vec<Job>)>> = const { RefCell::new(Vec::new()) };
    /// On a Lua thread: the answers of this turn, for each thread that asked.
    static ANSWERS: RefCell<Vec<(Asker, Vec<Delivery>)>> = const { RefCell::new(Vec::new()) };
}

/// The thread that asks, with its event loop.
struct Asker {
    thread: ThreadId,
    runtime: Handle,
}

/// Answers a task that has asked. If it is dropped without an answer, the task learns that there will be none.
pub struct Reply<T> {
    answer: oneshot::Sender<T>,
    asker: Asker,
}

/// For a task that is about to ask: what the answer is given with, and where the task waits for it.
pub fn reply<T>() -> (Reply<T>, oneshot::Receiver<T>) {
    let (answer, answered) = oneshot::channel();
    let asker = Asker { thread: thread::current().id(), runtime: Handle::current() };
    (Reply { answer, asker }, answered)
}

impl<T: Send + 'static> Reply<T> {
    /// Whether the task that asked has gone.
    pub fn is_for_nobody(&self) -> bool {
        self.answer.is_closed()
    }

    /// Answers: a task of this thread at once, one of another thread at the end of this turn. For the Lua thread.
    pub fn send(self, answer: T) {
        let Self { answer: sender, asker } = self;
        if asker.thread == thread::current().id() {
            let _ = sender.send(answer);
            return;
        }
        // The task may have gone meanwhile.
        let delivery: Delivery = Box::new(move || drop(sender.send(answer)));
        let is_first = ANSWERS.with_borrow_mut(|answers| {
            match answers.iter_mut().find(|(other, _)| other.thread == asker.thread) {
                Some((_, deliveries)) => deliveries.push(delivery),
                None => answers.push((asker, vec![delivery])),
            }
            answers.len() == 1 && answers[0].1.len() == 1
        });
        if is_first {
            // It runs behind the tasks that are ready now, and sends their answers, too.
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

/// Sends a job to a Lua thread at the end of this turn.
pub(super) fn send(jobs: &Jobs, job: Job) {
    let is_first =
        JOBS.with_borrow_mut(|batches| match batches.iter_mut().find(|(other, _)| other.same_channel(jobs)) {
            Some((_, batch)) => {
                batch.push(job);
                false
            }
            None => {
                batches.push((jobs.clone(), vec![job]));
                true
            }
        });
    if is_first {
        tokio::spawn(post_jobs(jobs.clone()));
    }
}

async fn post_jobs(jobs: Jobs) {
    let batch = JOBS.with_borrow_mut(|batches| {
        let index = batches.iter().position(|(other, _)| other.same_channel(&jobs))?;
        Some(batches.swap_remove(index).1)
    });
    with_outbox(Outbox::flush);
    // If the Lua thread has ended, the jobs are dropped, and with them the replies: those who asked learn of it.
    let _ = jobs.send(batch.unwrap_or_default()).await;
}
