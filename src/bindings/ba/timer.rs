//! `ba.timer(f)`: calls a Lua function later, once or repeatedly.
//!
//! A timer that is set lives until it ends or its app does, even if no variable refers to it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use futures_core::Stream;
use mlua::thread::AsyncThread;
use mlua::{AnyUserData, Function, Lua, MultiValue, Table, Thread, UserData, UserDataMethods, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::bindings::args::{Args, no_object};
use crate::bindings::console;
use crate::bindings::coroutine::is_page_ended;
use crate::lua::life::Life;
use crate::lua::{World, budget};

/// The longest period, some ten years.
const MAX_MILLISECONDS: f64 = 3e11;

/// Adds `timer` to the table `ba`. Timers can be set only from tasks of the Lua thread.
pub fn register(world: &Rc<World>, ba: &Table) -> mlua::Result<()> {
    ba.raw_set("timer", world.lua.create_function(create)?)
}

/// The function is a user value of the timer. If it were held by Rust, a function that refers to its timer would never
/// be freed.
fn create(lua: &Lua, args: MultiValue) -> mlua::Result<AnyUserData> {
    let function = Args::new(lua, "ba.timer", args).function(1, "function")?;
    let timer = lua.create_userdata(Timer::default())?;
    timer.set_user_value(function)?;
    Ok(timer)
}

#[derive(Default)]
struct Timer {
    /// Belongs to its task and ends with it.
    run: RefCell<Weak<Run>>,
}

impl UserData for Timer {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        // t:set(ms [, ref [, now]]); `ref` would keep the timer from being collected, which none of ours is.
        methods.add_function("set", |lua, mut args: MultiValue| {
            let this = args.pop_front().and_then(|this| this.as_userdata().cloned());
            let this = this.filter(AnyUserData::is::<Self>).ok_or_else(|| no_object("timer:set", "a timer"))?;
            let args = Args::new(lua, "timer:set", args);
            this.borrow::<Self>()?.start(lua, this.user_value()?, period(&args)?, args.truth(3));
            Ok(())
        });
        // t:reset(ms): a new period, from now; nil when the timer is not set.
        methods.add_method("reset", |lua, this, args: MultiValue| {
            let period = period(&Args::new(lua, "timer:reset", args))?;
            Ok(this.run().map(|run| run.reset(period)))
        });
        // t:cancel(): nil when the timer is not set. A call of the function that has begun goes on to its end.
        methods.add_method("cancel", |_, this, ()| Ok(this.cancel()));
    }
}

impl Timer {
    fn start(&self, lua: &Lua, function: Function, period: Duration, now: bool) {
        self.cancel();
        let run = Rc::new(Run { period: Cell::new(period), cancelled: Cell::new(false), changed: Notify::new() });
        *self.run.borrow_mut() = Rc::downgrade(&run);
        let first = if now { Instant::now() } else { Instant::now() + period };
        let lua = lua.clone();
        Life::current().spawn(async move {
            if let Err(error) = run.to_its_end(&lua, &function, first).await {
                report(&error);
            }
        });
    }

    fn run(&self) -> Option<Rc<Run>> {
        self.run.borrow().upgrade()
    }

    fn cancel(&self) -> Option<bool> {
        let run = self.run()?;
        *self.run.borrow_mut() = Weak::new();
        run.cancelled.set(true);
        run.changed.notify_one();
        Some(true)
    }
}

/// A timer from `set` to its end.
struct Run {
    period: Cell<Duration>,
    cancelled: Cell<bool>,
    /// Wakes the task that waits for the next tick.
    changed: Notify,
}

impl Run {
    /// Calls the function at each tick, or resumes it where it yielded, while it answers true.
    async fn to_its_end(&self, lua: &Lua, function: &Function, first: Instant) -> mlua::Result<()> {
        let mut call = Call::new(lua, function)?;
        let mut due = first;
        while self.tick(&mut due).await && call.resume().await? {
            if call.is_finished() {
                call = Call::new(lua, function)?;
            }
        }
        Ok(())
    }

    /// Waits until `due`, and sets it to the next tick. A timer that is late skips ticks instead of making up for them.
    /// False if it was cancelled.
    async fn tick(&self, due: &mut Instant) -> bool {
        // However late the timer is, the other tasks of the Lua thread get their turn.
        tokio::task::yield_now().await;
        while !self.cancelled.get() {
            tokio::select! {
                // First: the tick may be due already when a script cancels or resets the timer.
                biased;
                () = self.changed.notified() => *due = Instant::now() + self.period.get(),
                () = sleep_until(*due) => {
                    *due = next_tick(*due, self.period.get());
                    return true;
                }
            }
        }
        false
    }

    fn reset(&self, period: Duration) -> bool {
        self.period.set(period);
        self.changed.notify_one();
        true
    }
}

/// A call of the timer's function, as a coroutine that may also wait within.
struct Call {
    thread: Thread,
    results: AsyncThread<Value>,
}

impl Call {
    fn new(lua: &Lua, function: &Function) -> mlua::Result<Self> {
        let thread = lua.create_thread(function.clone())?;
        let results = thread.clone().into_async(())?;
        Ok(Self { thread, results })
    }

    /// Runs up to the next yield or the end. Only `true` asks for another tick.
    async fn resume(&mut self) -> mlua::Result<bool> {
        let result = budget::within(poll_fn(|cx| Pin::new(&mut self.results).poll_next(cx))).await.transpose()?;
        Ok(result == Some(Value::Boolean(true)))
    }

    fn is_finished(&self) -> bool {
        !self.thread.is_resumable()
    }
}

fn next_tick(due: Instant, period: Duration) -> Instant {
    let now = Instant::now();
    let next = due + period;
    if next > now { next } else { now + period }
}

fn period(args: &Args) -> mlua::Result<Duration> {
    let number = args.number(1, "milliseconds")?;
    if number >= 0.0 {
        return Ok(Duration::from_millis(number.clamp(1.0, MAX_MILLISECONDS) as u64));
    }
    Err(args.refuse(1, "milliseconds", &format!("at least 0 expected, got {number}")))
}

/// The console gets one line: the message alone. That the timer has answered a deferred response, which ends it as it ends a
/// page, is no error.
fn report(error: &mlua::Error) {
    if is_page_ended(error) {
        return;
    }
    let message = console::describe(error).message;
    tracing::error!(target: "lua", "a timer ends: {}", message.lines().next().unwrap_or_default());
}

#[cfg(test)]
mod tests;
