//! Runs a script's callbacks as coroutines, and keeps the coroutines: making one for each message would cost more than
//! most callbacks do.

use std::cell::RefCell;
use std::ffi::c_void;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use mlua::thread::AsyncThread;
use mlua::{Error, Function, IntoLuaMulti, LightUserData, Lua, Result, Thread, Value};

use crate::lua::budget;

/// Coroutines kept for later; as many as callbacks nest, and then some.
const MAX_IDLE: usize = 32;

/// The addresses of these tell that a callback has returned, something false or something true, from what it yields while
/// it waits. One light userdata comes back without an allocation, unlike the result itself behind a mark.
static RETURNED: [u8; 2] = [0, 1];

/// The coroutines of a Lua state that run callbacks.
struct Runners {
    body: Function,
    idle: RefCell<Vec<Thread>>,
}

/// A callback that was started.
pub enum Started {
    /// It has returned; whether its first result is neither nil nor false.
    Done(Result<bool>),
    /// It waits for something.
    Waiting(Waiting),
}

/// The rest of a callback: whether its first result is true, when it has one.
pub struct Waiting(AsyncThread<Value>);

/// Called once for each Lua state.
pub fn install(lua: &Lua) -> Result<()> {
    let source = "local yield, no, yes = ...
        local function run(f, ...) return run(yield(f(...) and yes or no)) end
        return run";
    let yield_: Function = lua.globals().get::<mlua::Table>("coroutine")?.get("yield")?;
    let body = lua.load(source).set_name("=[smq]").call((yield_, returned(false), returned(true)))?;
    lua.set_app_data(Runners { body, idle: RefCell::default() });
    Ok(())
}

/// Calls `function` and returns when it has returned or begins to wait.
pub fn start(lua: &Lua, function: &Function, arguments: impl IntoLuaMulti) -> Started {
    match try_start(lua, function, arguments) {
        Ok(started) => started,
        Err(error) => Started::Done(Err(error)),
    }
}

fn try_start(lua: &Lua, function: &Function, arguments: impl IntoLuaMulti) -> Result<Started> {
    let runner = take_runner(lua)?;
    let yielded: Value = {
        let _run = budget::begin();
        runner.resume((function, arguments))?
    };
    if let Some(result) = result(&yielded) {
        keep_runner(lua, runner);
        return Ok(Started::Done(Ok(result)));
    }
    Ok(Started::Waiting(Waiting(runner.into_async(())?)))
}

/// Calls `function`, waits until it has returned, and tells whether its first result is true.
pub async fn call(lua: &Lua, function: &Function, arguments: impl IntoLuaMulti) -> Result<bool> {
    match start(lua, function, arguments) {
        Started::Done(result) => result,
        Started::Waiting(waiting) => waiting.await,
    }
}

impl Future for Waiting {
    type Output = Result<bool>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let _run = budget::begin();
        loop {
            match ready!(Pin::new(&mut self.0).poll_next(cx)) {
                Some(Ok(yielded)) => {
                    // Otherwise it yielded of its own accord, and nobody is there to resume it but us.
                    if let Some(result) = result(&yielded) {
                        return Poll::Ready(Ok(result));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Err(error)),
                // The runner's loop never ends by itself.
                None => return Poll::Ready(Err(Error::CoroutineUnresumable)),
            }
        }
    }
}

fn take_runner(lua: &Lua) -> Result<Thread> {
    let runners = lua.app_data_ref::<Runners>();
    let runners = runners.ok_or_else(|| Error::runtime("callbacks are not installed"))?;
    let idle = runners.idle.borrow_mut().pop();
    match idle {
        Some(runner) => Ok(runner),
        None => lua.create_thread(runners.body.clone()),
    }
}

fn keep_runner(lua: &Lua, runner: Thread) {
    if let Some(runners) = lua.app_data_ref::<Runners>() {
        let mut idle = runners.idle.borrow_mut();
        if idle.len() < MAX_IDLE {
            idle.push(runner);
        }
    }
}

fn returned(result: bool) -> LightUserData {
    LightUserData((&raw const RETURNED[usize::from(result)]).cast_mut().cast::<c_void>())
}

/// The result, if this is what a callback's runner yields when the callback has returned.
fn result(yielded: &Value) -> Option<bool> {
    let Value::LightUserData(mark) = yielded else { return None };
    [false, true].into_iter().find(|&result| returned(result).0 == mark.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lua() -> Lua {
        let lua = Lua::new();
        install(&lua).unwrap();
        let rest = lua
            .create_async_function(async |_, ()| {
                tokio::task::yield_now().await;
                Ok(())
            })
            .unwrap();
        lua.globals().set("rest", rest).unwrap();
        lua
    }

    fn function(lua: &Lua, source: &str) -> Function {
        lua.load(source).eval().unwrap()
    }

    #[test]
    fn a_callback_that_returns_is_done_at_once() {
        let lua = lua();
        let is_less = function(&lua, "function(a, b) return a < b, 'ignored' end");
        for _ in 0..3 {
            assert!(matches!(start(&lua, &is_less, (1, 2)), Started::Done(Ok(true))));
            assert!(matches!(start(&lua, &is_less, (2, 1)), Started::Done(Ok(false))));
        }
    }

    #[test]
    fn an_error_ends_only_its_own_callback() {
        let lua = lua();
        let fail = function(&lua, "function() error'no' end");
        let Started::Done(Err(error)) = start(&lua, &fail, ()) else { panic!("it did not fail") };
        assert!(error.to_string().contains("no"));
        let fine = function(&lua, "function() return 1 end");
        assert!(matches!(start(&lua, &fine, ()), Started::Done(Ok(true))));
    }

    #[tokio::test]
    async fn a_callback_may_wait_and_others_run_meanwhile() {
        let lua = lua();
        let slow = function(&lua, "function() rest() rest() return 'late' end");
        let quick = function(&lua, "function() return 'soon' end");
        let Started::Waiting(late) = start(&lua, &slow, ()) else { panic!("it did not wait") };
        assert!(call(&lua, &quick, ()).await.unwrap());
        assert!(late.await.unwrap());
    }

    #[tokio::test]
    async fn a_callback_that_yields_by_itself_goes_on() {
        let lua = lua();
        let yields = function(&lua, "function() coroutine.yield(1, 2) rest() return coroutine.yield() == nil end");
        assert!(call(&lua, &yields, ()).await.unwrap());
        assert!(call(&lua, &yields, ()).await.unwrap());
    }

    #[test]
    fn callbacks_nest() {
        let lua = lua();
        let inner = function(&lua, "function() return 2 end");
        let nested = lua
            .create_function(move |lua, ()| match start(lua, &inner, ()) {
                Started::Done(result) => result,
                Started::Waiting(_) => panic!("it waits"),
            })
            .unwrap();
        lua.globals().set("nested", nested).unwrap();
        let outer = function(&lua, "function() return nested() and nested() end");
        assert!(matches!(start(&lua, &outer, ()), Started::Done(Ok(true))));
    }
}
