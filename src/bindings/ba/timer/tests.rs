//! The clock of these tests stands still and jumps to the next tick when nothing is left to do.

use std::sync::{Arc, Mutex};

use tokio::task::LocalSet;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// Runs a script and then the timers for an hour. Gives what the script noted with `log`, with the milliseconds.
async fn run(script: &str) -> Vec<String> {
    let lua = Lua::new();
    let log = Rc::new(RefCell::new(Vec::new()));
    prepare(&lua, log.clone()).unwrap();
    let tasks = LocalSet::new();
    tasks
        .run_until(async {
            lua.load(script).exec_async().await.unwrap();
            tokio::time::sleep(HOUR).await;
        })
        .await;
    log.take()
}

fn prepare(lua: &Lua, log: Rc<RefCell<Vec<String>>>) -> mlua::Result<()> {
    let start = Instant::now();
    let note = move |lua: &Lua, value: Value| {
        let text = lua.globals().get::<Function>("tostring")?.call::<String>(value)?;
        log.borrow_mut().push(format!("{} {text}", start.elapsed().as_millis()));
        Ok(())
    };
    let sleep = |_: Lua, ms: u64| async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok(())
    };
    let ba = lua.create_table()?;
    ba.set("timer", lua.create_function(create)?)?;
    ba.set("sleep", lua.create_async_function(sleep)?)?;
    lua.globals().set("ba", ba)?;
    lua.globals().set("log", lua.create_function(note)?)
}

#[tokio::test(start_paused = true)]
async fn timer_fires_once_unless_its_function_returns_true() {
    assert_eq!(run("ba.timer(function() log'once' end):set(100)").await, ["100 once"]);
    assert_eq!(run("ba.timer(function() log'once' return false end):set(100)").await, ["100 once"]);
    assert_eq!(run("ba.timer(function() log'once' return 1 end):set(100)").await, ["100 once"]);
}

#[tokio::test(start_paused = true)]
async fn timer_repeats_while_its_function_returns_true() {
    let script = "local n = 0 ba.timer(function() n = n + 1 log(n) return n < 3 end):set(100)";
    assert_eq!(run(script).await, ["100 1", "200 2", "300 3"]);
}

#[tokio::test(start_paused = true)]
async fn yield_of_true_waits_for_the_next_tick() {
    let script = "
        local round = 0
        ba.timer(function()
            round = round + 1
            for i = 1, 2 do log(round .. '.' .. i) coroutine.yield(true) end
            log(round .. ' ends')
            return round < 2
        end):set(100)";
    let expected = ["100 1.1", "200 1.2", "300 1 ends", "400 2.1", "500 2.2", "600 2 ends"];
    assert_eq!(run(script).await, expected);
}

#[tokio::test(start_paused = true)]
async fn yield_of_anything_else_ends_the_timer() {
    for value in ["", "false", "nil", "1"] {
        let script = format!("ba.timer(function() log'a' coroutine.yield({value}) log'b' return true end):set(100)");
        assert_eq!(run(&script).await, ["100 a"]);
    }
}

#[tokio::test(start_paused = true)]
async fn function_may_wait_and_ticks_keep_their_rhythm() {
    let script = "
        local n = 0
        ba.timer(function() n = n + 1 log'in' ba.sleep(30) log'out' return n < 2 end):set(100)";
    assert_eq!(run(script).await, ["100 in", "130 out", "200 in", "230 out"]);
}

#[tokio::test(start_paused = true)]
async fn late_timer_leaves_ticks_out() {
    let script = "
        local n = 0
        ba.timer(function() n = n + 1 log(n) if n == 1 then ba.sleep(250) end return n < 3 end):set(100)";
    assert_eq!(run(script).await, ["100 1", "350 2", "450 3"]);
}

#[tokio::test(start_paused = true)]
async fn third_argument_calls_at_once() {
    let script = "
        local n = 0
        ba.timer(function() n = n + 1 log(n) return n < 2 end):set(100, true, true)
        log'set'";
    assert_eq!(run(script).await, ["0 set", "0 1", "100 2"]);
}

#[tokio::test(start_paused = true)]
async fn cancel_answers_true_and_then_nil() {
    let script = "
        local t = ba.timer(function() log'never' return true end)
        log(t:cancel()) t:set(100) log(t:cancel()) log(t:cancel())";
    assert_eq!(run(script).await, ["0 nil", "0 true", "0 nil"]);
}

#[tokio::test(start_paused = true)]
async fn cancel_of_an_ended_timer_answers_nil() {
    let script = "local t = ba.timer(function() log'once' end) t:set(100) ba.sleep(200) log(t:cancel())";
    assert_eq!(run(script).await, ["100 once", "200 nil"]);
}

#[tokio::test(start_paused = true)]
async fn cancel_from_within_lets_the_call_end() {
    let script = "
        local t
        t = ba.timer(function() log(t:cancel()) ba.sleep(10) log'end' return true end)
        t:set(100)";
    assert_eq!(run(script).await, ["100 true", "110 end"]);
}

#[tokio::test(start_paused = true)]
async fn reset_changes_the_period_from_now_on() {
    let script = "
        local n = 0
        local t = ba.timer(function() n = n + 1 log(n) return n < 2 end)
        log(t:reset(5)) t:set(100) ba.sleep(50) log(t:reset(1000))";
    assert_eq!(run(script).await, ["0 nil", "50 true", "1050 1", "2050 2"]);
}

#[tokio::test(start_paused = true)]
async fn reset_from_within_changes_the_next_period() {
    let script = "
        local n, t = 0
        t = ba.timer(function() n = n + 1 log(n) t:reset(n * 1000) return n < 3 end)
        t:set(100)";
    assert_eq!(run(script).await, ["100 1", "1100 2", "3100 3"]);
}

#[tokio::test(start_paused = true)]
async fn what_cancel_or_reset_say_holds_also_when_the_tick_is_due_already() {
    let script = "
        for _ = 1, 50 do
            local is_cancelled
            local t = ba.timer(function() if is_cancelled then log'called' end end)
            t:set(10) ba.sleep(4) ba.sleep(6) is_cancelled = t:cancel() ba.sleep(1)
        end";
    assert!(run(script).await.is_empty());
    let script = "
        local last, t
        t = ba.timer(function()
            if last then log'called' return end
            ba.sleep(20) last = true t:reset(100) return true
        end)
        for _ = 1, 50 do last = nil t:set(10) ba.sleep(40) t:cancel() end";
    assert!(run(script).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn set_starts_over_also_from_within() {
    assert_eq!(run("local t = ba.timer(function() log'x' end) t:set(100) t:set(500)").await, ["500 x"]);
    let script = "
        local n, t = 0
        t = ba.timer(function() n = n + 1 log(n) if n < 3 then t:set(n * 1000) end end)
        t:set(100)";
    assert_eq!(run(script).await, ["100 1", "1100 2", "3100 3"]);
}

#[tokio::test(start_paused = true)]
async fn timer_without_a_variable_survives_garbage_collection() {
    let script = "ba.timer(function() log'alive' end):set(100) collectgarbage() collectgarbage()";
    assert_eq!(run(script).await, ["100 alive"]);
}

#[tokio::test(start_paused = true)]
async fn ended_timer_is_freed_although_its_function_uses_it() {
    let script = "
        local weak = setmetatable({}, {__mode = 'k'})
        do
            local t
            t = ba.timer(function() log(t:cancel()) end)
            weak[t] = true
            t:set(100)
        end
        ba.sleep(200)
        collectgarbage() collectgarbage()
        log(next(weak))";
    assert_eq!(run(script).await, ["100 true", "200 nil"]);
}

#[tokio::test(start_paused = true)]
async fn zero_milliseconds_leave_room_for_others() {
    let script = "
        local n = 0
        ba.timer(function() n = n + 1 return n < 1000 end):set(0)
        ba.sleep(10) log(n >= 5 and n <= 15)";
    assert_eq!(run(script).await, ["10 true"]);
}

#[tokio::test(start_paused = true)]
async fn wrong_arguments_are_named() {
    let script = "
        local function fails(...) local _, e = pcall(...) log((tostring(e):match'bad argument[^\\n]*')) end
        local t = ba.timer(log)
        fails(ba.timer) fails(t.set, t) fails(t.set, t, -1) fails(t.reset, t, 0/0)
        t:set(math.huge) log(t:cancel())";
    let expected = [
        "0 bad argument #1 'function' to 'ba.timer' (function expected, got no value)",
        "0 bad argument #1 'milliseconds' to 'timer:set' (number expected, got no value)",
        "0 bad argument #1 'milliseconds' to 'timer:set' (at least 0 expected, got -1)",
        "0 bad argument #1 'milliseconds' to 'timer:reset' (at least 0 expected, got NaN)",
        "0 true",
    ];
    assert_eq!(run(script).await, expected);
}

#[tokio::test(start_paused = true)]
async fn error_prints_one_line_and_ends_the_timer() {
    prints_one_line("error'oops'", ":2: oops").await;
}

#[tokio::test(start_paused = true)]
async fn error_of_a_built_in_function_prints_one_line() {
    prints_one_line("ba.timer(5)", "bad argument #1 'function' to 'ba.timer' (function expected, got 5)").await;
}

async fn prints_one_line(failure: &str, message: &str) {
    let console = Arc::new(Mutex::new(Vec::new()));
    let subscriber =
        tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(Mutex::new(Tee(console.clone())));
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let script = format!(
        "
        local t = ba.timer(function() log'x' {failure} end)
        t:set(100) ba.sleep(500) log(t:cancel())"
    );
    assert_eq!(run(&script).await, ["100 x", "500 nil"]);
    let printed = String::from_utf8(console.lock().unwrap().clone()).unwrap();
    assert_eq!(printed.lines().count(), 1, "{printed}");
    assert!(printed.contains("ERROR") && printed.contains(message), "{printed}");
}

struct Tee(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
