//! The one thread that runs Lua: a Lua 5.4 state, an event loop, and the jobs that other threads send it.
//!
//! Every page, callback and timer runs as a coroutine on this thread, so a script that waits lets the others run, and
//! no two pieces of Lua ever run at the same time.

use std::future::Future;
use std::rc::Rc;
use std::thread;

use anyhow::{Context, Result};
use mlua::Lua;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

/// Jobs that may wait for the Lua thread; a sender waits while so many are queued.
const MAX_QUEUED_JOBS: usize = 4096;

type Job = Box<dyn FnOnce(&Rc<World>) + Send>;

/// What everything on the Lua thread shares.
pub struct World {
    pub lua: Lua,
    /// For code on the Lua thread that hands out ways back to it.
    pub thread: LuaThread,
    /// The apps that are mounted.
    pub apps: crate::lsp::Apps,
    /// The hubs that scripts have made.
    pub hubs: crate::bindings::hub::Hubs,
    /// The HTTP sessions of all apps.
    pub sessions: crate::bindings::session::Sessions,
}

/// A handle to the Lua thread, for all other threads.
#[derive(Clone)]
pub struct LuaThread {
    jobs: mpsc::Sender<Job>,
}

/// The Lua thread has ended, as it does when the server stops.
#[derive(Debug, thiserror::Error)]
#[error("the Lua thread has ended")]
pub struct Ended;

impl LuaThread {
    /// Starts the thread. It ends with the process, or when the last handle is dropped.
    pub fn start() -> Result<(Self, thread::JoinHandle<()>)> {
        let (jobs, mut queue) = mpsc::channel::<Job>(MAX_QUEUED_JOBS);
        let handle = Self { jobs };
        let for_world = handle.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("lua".into()).spawn(move || {
            let lua = Lua::new();
            let world = Rc::new(World {
                lua,
                thread: for_world,
                apps: Default::default(),
                hubs: Default::default(),
                sessions: Default::default(),
            });
            crate::bindings::install(&world).expect("the built-in Lua modules load");
            LocalSet::new().block_on(&runtime, async move {
                while let Some(job) = queue.recv().await {
                    job(&world);
                    if queue.is_closed() {
                        break;
                    }
                }
            });
        });
        Ok((handle, thread.context("cannot start the Lua thread")?))
    }

    /// Queues a job; waits for room in the queue. Jobs start in the order in which they were queued.
    pub async fn send(&self, job: impl FnOnce(&Rc<World>) + Send + 'static) -> Result<(), Ended> {
        self.jobs.send(Box::new(job)).await.map_err(|_| Ended)
    }

    /// Runs `job` to its end as a task of the Lua thread and returns its answer.
    pub async fn call<T, F>(&self, job: impl FnOnce(Rc<World>) -> F + Send + 'static) -> Result<T, Ended>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.send(move |world| {
            let work = job(world.clone());
            tokio::task::spawn_local(async move {
                // The caller may have gone; its answer is then for nobody.
                let _ = answer.send(work.await);
            });
        })
        .await?;
        answered.await.map_err(|_| Ended)
    }
}
