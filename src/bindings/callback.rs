//! Runs a script's callbacks for messages, many of them in one coroutine: starting a coroutine for each message would cost
//! more than most callbacks do.
//!
//! A *runner* is a coroutine with a loop (`LOOP`). The loop asks Rust for the next call ([`Calls::next`]), makes it, and
//! passes its result when it asks again. When a callback waits, its runner is used for nothing else any more, and the
//! caller lets another runner make the calls behind it, at once or when the callback has returned.

use std::cell::RefCell;
use std::ffi::c_void;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use mlua::thread::AsyncThread;
use mlua::{Error, Function, LightUserData, Lua, Result, Table, Thread, Value};

use crate::lua::budget;
use crate::protocol::Publish;

/// Idle runners that are kept; more than callbacks can be nested.
const MAX_IDLE: usize = 32;

/// The loop yields the address of one of these for a callback's result: false or true. A light userdata needs no
/// allocation.
static RESULTS: [u8; 2] = [0, 1];

/// The loop of a runner. `next` leaves out callback and peer if they are those of the call before. Traces show the name
/// `callback`.
const LOOP: &str = "local next, yield, no, yes = ...
    local function run()
        local result, callback, peer
        local data, ptid, tid, subtid, new_callback, new_peer = next()
        while ptid do
            callback, peer = new_callback or callback, new_peer or peer
            if peer then
                result = callback(data, ptid, tid, subtid, peer) and yes or no
            else
                result = callback(data, ptid, tid, subtid) and yes or no
            end
            data, ptid, tid, subtid, new_callback, new_peer = next(result)
        end
        return result or no
    end
    return function()
        while true do yield(run()) end
    end";

/// One call of a callback for a message: `callback(data, ptid, tid, subtid, peer)`.
pub struct Call {
    pub data: Value,
    pub ptid: u32,
    pub tid: u32,
    pub subtid: u32,
    /// `None` for the callback of the call before.
    pub callback: Option<Function>,
    /// `None` for the peer of the call before, if that had one.
    pub peer: Option<Table>,
}

impl Call {
    /// A call for a message, of the same callback and with the same peer as the call before.
    pub fn about(publish: &Publish<'_>, data: Value) -> Self {
        let Publish { publisher, target, subtid, .. } = *publish;
        Self { data, ptid: publisher.0, tid: target.0, subtid: subtid.0, callback: None, peer: None }
    }

    /// What `next` returns to the loop: a tuple, which needs no allocation.
    fn values(call: Option<Self>) -> (Value, Option<u32>, u32, u32, Option<Function>, Option<Table>) {
        match call {
            Some(Self { data, ptid, tid, subtid, callback, peer }) => (data, Some(ptid), tid, subtid, callback, peer),
            None => (Value::Nil, None, 0, 0, None, None),
        }
    }
}

/// Calls that are to be made one after the other.
pub trait Calls: 'static {
    /// The next call, if there is one. `result` is whether the call before returned true; `None` before the first call of a
    /// run. An error counts as if the callback had raised it.
    fn next(&mut self, result: Option<bool>) -> Result<Option<Call>>;
}

/// Runs calls of one kind, and keeps the coroutines for that.
pub struct Runners<C> {
    lua: Lua,
    idle: RefCell<Vec<Runner<C>>>,
}

struct Runner<C> {
    thread: Thread,
    calls: Rc<RefCell<Option<C>>>,
}

/// What came of a run.
pub enum Ran<C> {
    /// All calls have been made.
    All(C),
    /// A callback waits; the calls behind it have not been made yet.
    Waiting(C, Waiting),
    /// A callback has failed; the calls behind it have not been made yet.
    Failed(C, Error),
}

/// The rest of a callback that waits. As a future, it gives whether the callback returned true.
pub struct Waiting(AsyncThread<Value>);

impl<C: Calls> Runners<C> {
    /// No runner yet; they are made when they are needed.
    pub fn new(lua: &Lua) -> Self {
        Self { lua: lua.clone(), idle: RefCell::default() }
    }

    /// Makes calls until there are no more, or one of them waits or fails.
    pub fn run(&self, calls: C) -> Ran<C> {
        let runner = match self.take_runner() {
            Ok(runner) => runner,
            Err(error) => return Ran::Failed(calls, error),
        };
        *runner.calls.borrow_mut() = Some(calls);
        let yielded = {
            let _run = budget::begin();
            runner.thread.resume::<Value>(())
        };
        let calls = runner.calls.take().expect("only this takes what it has put there");
        match yielded {
            Err(error) => Ran::Failed(calls, error),
            Ok(yielded) if result(&yielded).is_some() => {
                self.keep_runner(runner);
                Ran::All(calls)
            }
            Ok(_) => match runner.thread.into_async(()) {
                Ok(rest) => Ran::Waiting(calls, Waiting(rest)),
                Err(error) => Ran::Failed(calls, error),
            },
        }
    }

    fn take_runner(&self) -> Result<Runner<C>> {
        let idle = self.idle.borrow_mut().pop();
        idle.map_or_else(|| Runner::new(&self.lua), Ok)
    }

    fn keep_runner(&self, runner: Runner<C>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE {
            idle.push(runner);
        }
    }
}

impl<C: Calls> Runner<C> {
    fn new(lua: &Lua) -> Result<Self> {
        let calls = Rc::new(RefCell::new(None::<C>));
        let for_next = calls.clone();
        let next = lua.create_function(move |_, result: Option<LightUserData>| {
            let result = result.and_then(result_of);
            // Scripts that run meanwhile have runners of their own.
            let mut calls = for_next.borrow_mut();
            let Some(calls) = &mut *calls else { return Ok(Call::values(None)) };
            budget::restart();
            calls.next(result).map(Call::values)
        })?;
        let yield_: Function = lua.globals().get::<Table>("coroutine")?.get("yield")?;
        let source = lua.load(LOOP).set_name("=[smq]");
        let body: Function = source.call((next, yield_, mark(false), mark(true)))?;
        Ok(Self { thread: lua.create_thread(body)?, calls })
    }
}

impl Future for Waiting {
    type Output = Result<bool>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let _run = budget::begin();
        loop {
            match ready!(Pin::new(&mut self.0).poll_next(cx)) {
                Some(Ok(yielded)) => {
                    // A callback that yielded by itself is resumed again: nobody else could do it.
                    if let Some(result) = result(&yielded) {
                        return Poll::Ready(Ok(result));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Err(error)),
                // The loop never ends by itself.
                None => return Poll::Ready(Err(Error::CoroutineUnresumable)),
            }
        }
    }
}

/// The mark that the loop yields for a result.
fn mark(result: bool) -> LightUserData {
    LightUserData((&raw const RESULTS[usize::from(result)]).cast_mut().cast::<c_void>())
}

/// The result that a mark stands for.
fn result_of(marked: LightUserData) -> Option<bool> {
    [false, true].into_iter().find(|&result| mark(result).0 == marked.0)
}

/// The result, if the loop has yielded its mark; otherwise a callback has yielded.
fn result(yielded: &Value) -> Option<bool> {
    let Value::LightUserData(mark) = yielded else { return None };
    result_of(*mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls a function with each of the numbers, and keeps the results.
    struct Each {
        function: Function,
        numbers: Vec<i64>,
        results: Vec<bool>,
    }

    impl Calls for Each {
        fn next(&mut self, result: Option<bool>) -> Result<Option<Call>> {
            self.results.extend(result);
            if self.numbers.is_empty() {
                return Ok(None);
            }
            let data = Value::Integer(self.numbers.remove(0));
            let callback = result.is_none().then(|| self.function.clone());
            Ok(Some(Call { data, ptid: 0, tid: 0, subtid: 0, callback, peer: None }))
        }
    }

    fn lua() -> Lua {
        let lua = Lua::new();
        let rest = lua
            .create_async_function(async |_, ()| {
                tokio::task::yield_now().await;
                Ok(())
            })
            .unwrap();
        lua.globals().set("rest", rest).unwrap();
        lua
    }

    fn each(lua: &Lua, function: &str, numbers: &[i64]) -> Each {
        let function = lua.load(function).eval().unwrap();
        Each { function, numbers: numbers.to_vec(), results: Vec::new() }
    }

    #[test]
    fn callbacks_run_one_after_the_other_and_give_their_results() {
        let lua = lua();
        let runners = Runners::new(&lua);
        for _ in 0..3 {
            let Ran::All(each) = runners.run(each(&lua, "function(n) return n > 1, 'ignored' end", &[1, 2, 3])) else {
                panic!("they all return")
            };
            assert_eq!(each.results, [false, true, true]);
        }
        assert_eq!(runners.idle.borrow().len(), 1, "one coroutine is enough");
    }

    #[test]
    fn what_a_call_does_not_name_again_is_as_in_the_call_before() {
        struct Named(Vec<Call>);
        impl Calls for Named {
            fn next(&mut self, result: Option<bool>) -> Result<Option<Call>> {
                assert_ne!(result, Some(false), "the callback got something else");
                Ok(self.0.pop())
            }
        }
        let lua = lua();
        let whose = lua.create_table().unwrap();
        lua.globals().set("whose", &whose).unwrap();
        let call = |function: Option<&str>, peer| {
            let callback = function.map(|function| lua.load(function).eval().unwrap());
            Call { data: Value::Integer(7), ptid: 1, tid: 2, subtid: 3, callback, peer }
        };
        let without_peer = call(Some("function(...) return select('#', ...) == 4 end"), None);
        let with_peer = call(Some("function(...) return select(5, ...) == whose end"), Some(whose));
        let calls = vec![call(None, None), with_peer, call(None, None), without_peer];
        assert!(matches!(Runners::new(&lua).run(Named(calls)), Ran::All(_)));
    }

    #[test]
    fn an_error_ends_only_its_own_callback() {
        let lua = lua();
        let runners = Runners::new(&lua);
        let calls = each(&lua, "function(n) if n == 2 then error'no' end return true end", &[1, 2, 3]);
        let Ran::Failed(calls, error) = runners.run(calls) else { panic!("it did not fail") };
        assert!(error.to_string().contains("no"));
        let Ran::All(calls) = runners.run(calls) else { panic!("the last one returns") };
        assert_eq!(calls.results, [true, true]);
    }

    #[tokio::test]
    async fn a_callback_may_wait_and_others_run_meanwhile() {
        let lua = lua();
        let runners = Runners::new(&lua);
        let calls = each(&lua, "function(n) if n == 1 then rest() rest() end return n == 1 end", &[1, 2]);
        let Ran::Waiting(calls, late) = runners.run(calls) else { panic!("it did not wait") };
        let Ran::All(calls) = runners.run(calls) else { panic!("the second does not wait") };
        assert_eq!(calls.results, [false]);
        assert!(late.await.unwrap());
    }

    #[tokio::test]
    async fn a_callback_that_yields_by_itself_goes_on() {
        let lua = lua();
        let runners = Runners::new(&lua);
        let function = "function(n) coroutine.yield(n, 2) rest() return coroutine.yield() == nil end";
        let Ran::Waiting(_, rest) = runners.run(each(&lua, function, &[1])) else { panic!("it did not yield") };
        assert!(rest.await.unwrap());
    }

    #[tokio::test]
    async fn an_error_behind_a_wait_is_the_callbacks_own() {
        let lua = lua();
        let runners = Runners::new(&lua);
        let Ran::Waiting(_, rest) = runners.run(each(&lua, "function(n) rest() error'late' end", &[1])) else {
            panic!("it did not wait")
        };
        assert!(rest.await.unwrap_err().to_string().contains("late"));
    }

    #[test]
    fn callbacks_nest() {
        let lua = lua();
        let runners = Rc::new(Runners::new(&lua));
        let inner = runners.clone();
        let nested = lua
            .create_function(move |lua, ()| match inner.run(each(lua, "function(n) return n end", &[7])) {
                Ran::All(each) => Ok(each.results == [true]),
                _ => panic!("it returns"),
            })
            .unwrap();
        lua.globals().set("nested", nested).unwrap();
        let Ran::All(each) = runners.run(each(&lua, "function(n) return nested() and nested() end", &[1])) else {
            panic!("it returns")
        };
        assert_eq!(each.results, [true]);
    }
}
