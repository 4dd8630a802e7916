//! `ba.thread`: jobs that go on independently of the page that starts them. In spite of the name they are coroutines of
//! the Lua thread, so they never run at the same time as other Lua code.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Result, Table, UserData, UserDataMethods};

use crate::bindings::args::Args;
use crate::bindings::coroutine::spawn;
use crate::lua::World;
use crate::lua::life::Life;

/// The most jobs that may run or wait at a time, of `ba.thread.run` and of each thread object.
const MAX_JOBS: usize = 10_000;

pub fn register(world: &Rc<World>, ba: &Table) -> Result<()> {
    let lua = &world.lua;
    let thread = lua.create_table()?;
    let running = Rc::new(Cell::new(0));
    thread.set("run", lua.create_function(move |lua, args| run(lua, args, &running))?)?;
    thread.set("create", lua.create_function(|_, _: MultiValue| Ok(Thread::default()))?)?;
    ba.set("thread", thread)
}

/// `ba.thread.run(f)`: starts `f()` soon; how many such jobs there are now.
fn run(lua: &Lua, args: MultiValue, running: &Rc<Cell<usize>>) -> Result<usize> {
    let function = Args::new(lua, "ba.thread.run", args).function(1, "function")?;
    if running.get() >= MAX_JOBS {
        return Err(mlua::Error::runtime(format!("ba.thread.run: {MAX_JOBS} jobs are running already")));
    }
    running.set(running.get() + 1);
    let at_end = running.clone();
    spawn("ba.thread.run", function, MultiValue::new(), move || at_end.set(at_end.get() - 1));
    Ok(running.get())
}

/// What `ba.thread.create` returns: it does its jobs one after the other.
#[derive(Clone, Default)]
struct Thread(Rc<Jobs>);

#[derive(Default)]
struct Jobs {
    /// With the life of the app that wants it done: several may share a thread.
    waiting: RefCell<VecDeque<(Function, Life)>>,
    is_running: Cell<bool>,
}

impl UserData for Thread {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        // thread:run(f): does f() behind the jobs before it; how many wait now.
        methods.add_method("run", |lua, this, args: MultiValue| {
            let function = Args::new(lua, "thread:run", args).function(1, "function")?;
            if this.0.waiting.borrow().len() >= MAX_JOBS {
                return Err(mlua::Error::runtime(format!("thread:run: {MAX_JOBS} jobs are waiting already")));
            }
            this.0.waiting.borrow_mut().push_back((function, Life::current()));
            let waiting = this.0.waiting.borrow().len();
            this.next();
            Ok(waiting)
        });
    }
}

impl Thread {
    /// Starts the next job, unless one is running.
    fn next(&self) {
        if self.0.is_running.get() {
            return;
        }
        let Some((function, life)) = self.0.waiting.borrow_mut().pop_front() else { return };
        self.0.is_running.set(true);
        let this = self.clone();
        let end = move || {
            this.0.is_running.set(false);
            this.next();
        };
        life.enter(|| spawn("thread:run", function, MultiValue::new(), end));
    }
}
