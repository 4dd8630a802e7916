//! The one thread that runs Lua: a Lua 5.4 state, an event loop, and the jobs that other threads send it.
//!
//! Every page, callback and timer runs as a coroutine on this thread. A script that waits lets the others run, and no two
//! pieces of Lua run at the same time. A script that does not wait holds up all others, which [`budget`] limits; [`hop`] is
//! how other threads send jobs and get their answers.

pub mod budget;
pub mod hop;
pub mod life;
pub mod place;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use anyhow::{Context as _, Result};
use mlua::Lua;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::LocalSet;

use crate::config::value::ConfigValue;
use budget::Budget;

/// Batches of jobs (one for each turn of another thread) that may wait for the Lua thread. Later ones wait on the threads
/// that made them.
const MAX_QUEUED_TURNS: usize = 64;

/// What another thread wants done on the Lua thread.
type Job = Box<dyn FnOnce(&Rc<World>) + Send>;

/// What a Lua thread is started with.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How long a script may run without waiting.
    pub budget: Budget,
    /// Whether clients are shown the errors of scripts.
    pub is_dev: bool,
    /// Where the server listens, for scripts to read.
    pub host: Option<String>,
    pub port: Option<u16>,
    pub tls_port: Option<u16>,
    /// What the configuration file says, for scripts to read.
    pub conf: Vec<(ConfigValue, ConfigValue)>,
    /// Whether scripts may run programs.
    pub allow_exec: bool,
}

/// What everything on the Lua thread shares.
pub struct World {
    pub lua: Lua,
    pub settings: Settings,
    /// The handle to this thread, for code that gives other threads a way to call back.
    pub thread: LuaThread,
    /// The apps that are mounted.
    pub apps: crate::lsp::Apps,
    /// The hubs that scripts have made.
    pub hubs: crate::bindings::hub::Hubs,
    /// The HTTP sessions of all apps.
    pub sessions: crate::bindings::session::Sessions,
}

thread_local! {
    /// On a Lua thread, its world.
    static HERE: RefCell<Weak<World>> = const { RefCell::new(Weak::new()) };
}

/// A handle to the Lua thread, for all other threads.
#[derive(Clone)]
pub struct LuaThread {
    jobs: hop::Jobs,
    stopping: Arc<Notify>,
    /// With what a script wants the process to end.
    exit: watch::Sender<Option<u8>>,
    /// Closed when the thread has ended.
    running: watch::Receiver<()>,
}

/// The Lua thread has ended, as it does when the server stops.
#[derive(Debug, thiserror::Error)]
#[error("the Lua thread has ended")]
pub struct Ended;

impl LuaThread {
    /// Starts the thread with default settings. It ends after [`LuaThread::stop`]; then the returned handle can be joined.
    pub fn start() -> Result<(Self, thread::JoinHandle<()>)> {
        Self::start_with(Settings::default())
    }

    /// Starts the thread, as [`LuaThread::start`] does.
    pub fn start_with(settings: Settings) -> Result<(Self, thread::JoinHandle<()>)> {
        let (jobs, queue) = mpsc::channel(MAX_QUEUED_TURNS);
        let (is_running, running) = watch::channel(());
        let handle = Self { jobs, stopping: Arc::default(), exit: watch::Sender::default(), running };
        let for_world = handle.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("lua".into()).spawn(move || {
            let _is_running = is_running;
            // For what scripts do when they are dropped, such as the closing of variables.
            let _runtime = runtime.enter();
            LocalSet::new().block_on(&runtime, World::new(settings, for_world).run(queue));
        });
        Ok((handle, thread.context("cannot start the Lua thread")?))
    }

    /// Ends the thread as soon as the script that is running waits or ends. Everything that is queued or waits is dropped;
    /// those who wait for an answer get [`Ended`].
    pub fn stop(&self) {
        self.stopping.notify_one();
    }

    /// Waits until the thread has ended, and with it everything that its scripts have started.
    pub async fn ended(&self) {
        // It is the end that is told as an error.
        let _ = self.running.clone().changed().await;
    }

    /// Asks for the end of the process. The first code counts; false if this is not the first.
    pub fn exit(&self, code: u8) -> bool {
        self.exit.send_if_modified(|asked| {
            let is_first = asked.is_none();
            asked.get_or_insert(code);
            is_first
        })
    }

    /// Waits until a script asks for the end of the process.
    pub async fn exit_code(&self) -> u8 {
        let mut asked = self.exit.subscribe();
        let code = asked.wait_for(Option::is_some).await.map(|code| *code);
        // This handle is one that can send.
        code.ok().flatten().unwrap_or_default()
    }

    /// Sends a job at the end of the caller's turn. The jobs of one thread start in the order of its calls.
    pub fn send(&self, job: impl FnOnce(&Rc<World>) + Send + 'static) -> Result<(), Ended> {
        if self.jobs.is_closed() {
            return Err(Ended);
        }
        hop::send(&self.jobs, Box::new(job));
        Ok(())
    }

    /// Runs `job` to its end on the Lua thread, where other work goes on whenever it waits, and returns its answer. If the
    /// caller is on the Lua thread itself, the job starts at once.
    pub async fn call<T, F>(&self, job: impl FnOnce(Rc<World>) -> F + Send + 'static) -> Result<T, Ended>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let (reply, answered) = hop::reply();
        let job = move |world: &Rc<World>| {
            let work = job(world.clone());
            run_now(async move { reply.send(work.await) });
        };
        match self.here() {
            Some(world) => job(&world),
            None => self.send(job)?,
        }
        answered.await.map_err(|_| Ended)
    }

    /// The world, if the caller is on this Lua thread.
    fn here(&self) -> Option<Rc<World>> {
        let world = HERE.with_borrow(Weak::upgrade)?;
        Arc::ptr_eq(&world.thread.stopping, &self.stopping).then_some(world)
    }
}

impl World {
    fn new(settings: Settings, thread: LuaThread) -> Rc<Self> {
        let world = Rc::new(Self {
            lua: Lua::new(),
            settings,
            thread,
            apps: Default::default(),
            hubs: Default::default(),
            sessions: Default::default(),
        });
        HERE.set(Rc::downgrade(&world));
        // Neither depends on anything but this program, and every test would fail without them.
        budget::install(&world.lua, world.settings.budget).expect("a new Lua state takes a hook");
        crate::bindings::install(&world).expect("the built-in Lua modules load");
        world
    }

    /// Runs jobs until the thread is told to stop.
    async fn run(self: Rc<Self>, mut queue: mpsc::Receiver<Vec<Job>>) {
        let work = async {
            while let Some(jobs) = queue.recv().await {
                jobs.into_iter().for_each(|job| job(&self));
            }
        };
        tokio::select! {
            () = work => {}
            () = self.thread.stopping.notified() => {}
        }
    }
}

/// For the Lua thread: runs a future at once up to where it first waits; the rest of it becomes a task.
pub fn run_now(work: impl Future<Output = ()> + 'static) {
    let mut work: Pin<Box<dyn Future<Output = ()>>> = Box::pin(work);
    let first = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    if first == Poll::Pending {
        tokio::task::spawn_local(work);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_task_of_the_lua_thread_itself_is_answered_at_once() {
        let (lua, _) = LuaThread::start().unwrap();
        let answered = lua.call(|world| async move {
            let mut asked = pin!(world.thread.call(|_| std::future::ready(7)));
            asked.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        });
        assert!(matches!(answered.await, Ok(Poll::Ready(Ok(7)))));
    }

    #[tokio::test]
    async fn a_thread_that_was_stopped_ends_and_whoever_asked_hears_so() {
        let (lua, thread) = LuaThread::start().unwrap();
        let waiting = lua.clone();
        let waiting = tokio::spawn(async move { waiting.call(|_| std::future::pending::<()>()).await });
        lua.call(|_| std::future::ready(())).await.unwrap();
        lua.stop();
        thread.join().unwrap();
        assert!(waiting.await.unwrap().is_err());
        assert!(lua.call(|_| std::future::ready(())).await.is_err());
    }
}
