//! The functions that a script passes to `request:multipart`.
//!
//! Apps write these functions in two ways, with the environment as their first parameter and without. The number of
//! parameters tells which. A function with too few parameters to tell is taken to be written as the others of its
//! table.

use mlua::{Function, IntoLuaMulti, Result, Table, Value};

use crate::bindings::args::Args;
use crate::bindings::options::Options;
use crate::lua::budget;

/// One of the functions, if it is given; bound to the environment if it takes that.
pub struct Callback(Option<Function>);

/// All of them. [`SHAPES`] tells the number of their parameters.
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
    /// Reads argument 1, a table of functions.
    pub fn read(args: &Args, environment: &Table) -> Result<Self> {
        let options = Options::required(args, 1, "callbacks")?;
        let mut functions = Vec::new();
        for (name, count) in SHAPES {
            let function = options.function(name)?;
            functions.push(function.map(|function| (takes_environment(&function, count), function)));
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

/// Whether the function takes the environment before its `count` parameters; `None` if it has fewer and so cannot tell.
fn takes_environment(function: &Function, count: usize) -> Option<bool> {
    let has = usize::from(function.info().num_params);
    (has >= count).then_some(has > count)
}

impl Callback {
    /// Whether the script has passed this function.
    pub fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// Calls the function, which may wait. The result is nil if there is none.
    pub async fn call(&self, args: impl IntoLuaMulti) -> Result<Value> {
        match &self.0 {
            None => Ok(Value::Nil),
            Some(function) => budget::call(function, args).await,
        }
    }
}
