//! How long a script may run without waiting, since every other script waits meanwhile.
//!
//! A *run* is what a script does from where it starts or goes on to where it waits or ends. Each run has a budget of its
//! own. A hook looks at the clock every 10,000 instructions; it warns once in a run, and raises an error when the budget is
//! used up. It cannot interrupt a single long call of a C function (a pattern that backtracks for ever), nor `__gc`
//! functions.
//!
//! The hook costs time at every instruction, whatever its interval: scripts that use strings and tables become slower by 5
//! to 25 %, bare loops of arithmetic or calls take two to three times as long. Without limit and warning there is no hook.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::{Duration, Instant};

use mlua::{FromLuaMulti, Function, HookTriggers, IntoLuaMulti, Lua, Result, VmState};

use super::place;

/// Instructions between two looks at the clock; they take about 0.1 ms.
const INSTRUCTIONS: u32 = 10_000;

/// How long a script may run without waiting. Zero means for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// After this time a line in the log names the script and the line where it is.
    pub warning: Duration,
    /// After this time an error stops the script.
    pub limit: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { warning: Duration::from_millis(50), limit: Duration::from_secs(1) }
    }
}

/// Stops a script that has used up its budget. Scripts cannot catch it; whoever called them can.
#[derive(Debug, thiserror::Error)]
#[error(
    "{place}: the script was stopped, since it ran for {ms} ms without waiting while all others waited (--script-limit)"
)]
pub struct OverBudget {
    /// `file:line`
    place: String,
    ms: u128,
}

/// Whether this is [`OverBudget`].
pub fn is_over_budget(error: &mlua::Error) -> bool {
    error.downcast_ref::<OverBudget>().is_some()
}

/// The run that is going on.
#[derive(Clone, Copy, Default)]
struct Run {
    /// When the hook first looked in this run. The time before that is too short to count.
    since: Option<Instant>,
    is_warned: bool,
    /// The time before the last [`restart`].
    earlier: Duration,
}

impl Run {
    /// The time since the run began, whether or not it was restarted.
    fn all(&self) -> Duration {
        self.earlier + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

thread_local! {
    /// `None` while no script runs that has a budget.
    static RUN: Cell<Option<Run>> = const { Cell::new(None) };
}

/// Makes the scripts of this Lua state keep to `budget`, if they are started by [`call`], by [`within`] or behind
/// [`begin`].
pub fn install(lua: &Lua, budget: Budget) -> Result<()> {
    if budget.warning.is_zero() && budget.limit.is_zero() {
        return Ok(());
    }
    let triggers = HookTriggers::new().every_nth_instruction(INSTRUCTIONS);
    lua.set_global_hook(triggers, move |lua, _| look(lua, budget).map(|()| VmState::Continue))
}

fn look(lua: &Lua, budget: Budget) -> Result<()> {
    let Some(mut run) = RUN.get() else { return Ok(()) };
    let used = run.since.get_or_insert_with(Instant::now).elapsed();
    let exceeds = |bound: Duration| !bound.is_zero() && used >= bound;
    if exceeds(budget.warning) && !run.is_warned {
        run.is_warned = true;
        tracing::warn!(target: "lua", "{} has been running for {} ms; other scripts wait for it", place::of_script(lua), used.as_millis());
    }
    RUN.set(Some(run));
    if exceeds(budget.limit) {
        return Err(mlua::Error::external(OverBudget { place: place::of_script(lua), ms: used.as_millis() }));
    }
    Ok(())
}

/// Calls a script's function as a coroutine, which may wait. Each of its runs has a budget of its own.
#[expect(clippy::disallowed_methods, reason = "this is what everybody else calls")]
pub fn call<R: FromLuaMulti + 'static>(
    function: &Function,
    arguments: impl IntoLuaMulti,
) -> impl Future<Output = Result<R>> + 'static {
    within(function.call_async(arguments))
}

/// Polls `work` so that each poll is a run with a budget of its own.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        let _run = begin();
        work.as_mut().poll(cx)
    })
    .await
}

/// Begins a run, which ends when the result is dropped. If it begins within another run, its time does not count for that
/// one.
pub fn begin() -> Begun {
    Begun { outer: RUN.replace(Some(Run::default())) }
}

/// Gives the run that is going on a fresh budget, for the next of several callbacks.
pub fn restart() {
    RUN.set(RUN.get().map(|run| Run { earlier: run.all(), ..Run::default() }));
}

/// A run from its beginning to its end.
pub struct Begun {
    outer: Option<Run>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        let inner = RUN.take();
        let mut outer = self.outer;
        if let (Some(Run { since: Some(since), .. }), Some(inner)) = (&mut outer, inner) {
            *since += inner.all();
        }
        RUN.set(outer);
    }
}
