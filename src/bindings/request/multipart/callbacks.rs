//! What a script wants to be called with the parts of a form.
//!
//! Two ways to write these functions are in use, with the environment as their first parameter and without. How many
//! parameters a function has tells which, unless it leaves some out; then it is like the others of its form.

use mlua::{Function, IntoLuaMulti, Result, Table, Value};

use crate::bindings::args::Args;
use crate::lua::budget;

/// One of the functions, bound to the environment if it takes that; or none.
pub struct Callback(Option<Function>);

pub struct Callbacks {
    pub formdata: Callback,
    pub beginfile: Callback,
    pub filedata: Callback,
    pub endofreq: Callback,
    pub error: Callback,
}

/// The names, and how many parameters each function has beside the environment.
const SHAPES: [(&str, usize); 5] = [("formdata", 2), ("beginfile", 4), ("filedata", 1), ("endofreq", 0), ("error", 1)];

impl Callbacks {
    pub fn read(args: &Args, environment: &Table) -> Result<Self> {
        let table = args.table(1, "callbacks")?;
        let mut functions = Vec::new();
        for (name, count) in SHAPES {
            match table.get(name)? {
                Value::Nil => functions.push(None),
                Value::Function(function) => functions.push(Some((takes_environment(&function, count), function))),
                other => {
                    let why = format!("'{name}' must be a function, got {}", other.type_name());
                    return Err(args.refuse(1, "callbacks", &why));
                }
            }
        }
        let is_usual = functions.iter().flatten().any(|(takes, _)| *takes == Some(true));
        let mut callbacks = functions.into_iter().map(|function| match function {
            Some((takes, function)) if takes.unwrap_or(is_usual) => function.bind(environment).map(Some).map(Callback),
            other => Ok(Callback(other.map(|(_, function)| function))),
        });
        let mut next = || callbacks.next().unwrap_or(Ok(Callback(None)));
        Ok(Self { formdata: next()?, beginfile: next()?, filedata: next()?, endofreq: next()?, error: next()? })
    }
}

/// `None` for a function that leaves parameters out.
fn takes_environment(function: &Function, count: usize) -> Option<bool> {
    let has = usize::from(function.info().num_params);
    (has >= count).then_some(has > count)
}

impl Callback {
    pub fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// What the callback returns; nil when there is none.
    pub async fn call(&self, args: impl IntoLuaMulti) -> Result<Value> {
        match &self.0 {
            None => Ok(Value::Nil),
            Some(function) => budget::call(function, args).await,
        }
    }
}
