//! `response:json`.

use hyper::header::{CONTENT_TYPE, HeaderValue};
use mlua::{Error, Lua, MultiValue, Result, UserDataMethods, UserDataRegistry, Value};

use super::Request;
use crate::bindings::args::Args;
use crate::bindings::ba;
use crate::bindings::coroutine::PageEnded;

pub fn register(registry: &mut UserDataRegistry<Request>) {
    registry.add_method("json", json);
}

/// `response:json(t, ...[, goes_on])`: the whole response is the table as JSON, or an array if there are several. Then
/// the response is complete, and the page ends unless `goes_on` is true.
fn json(lua: &Lua, this: &Request, mut args: MultiValue) -> Result<()> {
    let goes_on = matches!(args.back(), Some(Value::Boolean(_)));
    let ends = if goes_on { args.pop_back() != Some(Value::Boolean(true)) } else { true };
    let count = args.len().max(1);
    let args = Args::new(lua, "response:json", args);
    let texts = (1..=count).map(|position| ba::json::encode(&args.table(position, "table")?));
    let texts = texts.collect::<Result<Vec<_>>>()?;
    let text = if count == 1 { texts.concat() } else { [b"[".as_slice(), &texts.join(&b','), b"]"].concat() };
    if !this.is_complete() {
        this.uncommitted(|output| {
            output.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            output.complete_with(&text);
        })?;
    }
    if ends { Err(Error::external(PageEnded)) } else { Ok(()) }
}
