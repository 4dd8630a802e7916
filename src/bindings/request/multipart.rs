//! `request:multipart`: reads a form with files, and calls the script with its parts while they arrive.

mod callbacks;
mod parser;

use hyper::header::CONTENT_TYPE;
use mlua::{IntoLuaMulti, Lua, MultiValue, Result, UserDataMethods, UserDataRef, UserDataRegistry, Value};

use super::Request;
use crate::bindings::args::Args;
use callbacks::Callbacks;
use parser::{Event, Parser, Part, boundary};

/// The most bytes that are read at a time. A callback gets at most about as many of a file.
const PIECE: usize = 16 * 1024;
/// The most bytes of a field that is no file.
const MAX_FIELD: usize = 64 * 1024;
/// The most parts of one form.
const MAX_PARTS: usize = 1000;

pub fn register(registry: &mut UserDataRegistry<Request>) {
    registry.add_async_method("multipart", |lua, this: UserDataRef<Request>, args: MultiValue| {
        let request = this.clone();
        async move { multipart(&lua, &request, args).await }
    });
}

/// `request:multipart{formdata=, beginfile=, filedata=, endofreq=, error=}`: true when the whole form has been read. If
/// the body is no such form, or breaks off, `error` is called with the reason, and the result is nil and the reason.
async fn multipart(lua: &Lua, request: &Request, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(lua, "request:multipart", args);
    let callbacks = Callbacks::read(&args, &request.environment(lua)?)?;
    let content_type = request.header(CONTENT_TYPE.as_str()).unwrap_or_default();
    let outcome = match boundary(&content_type) {
        None => Err("the request is no multipart/form-data with a boundary".to_owned()),
        Some(boundary) => read(lua, request, Parser::new(&boundary), &callbacks).await?,
    };
    match outcome {
        Ok(()) => {
            callbacks.endofreq.call(()).await?;
            true.into_lua_multi(lua)
        }
        Err(why) => {
            callbacks.error.call(why.as_str()).await?;
            (Value::Nil, why).into_lua_multi(lua)
        }
    }
}

/// The part that is being read.
enum Current {
    /// Name, and the value so far.
    Field(Vec<u8>, Vec<u8>),
    /// Whether the callbacks want the file's data.
    File(bool),
}

/// Reads the form and calls the callbacks, up to `endofreq`. The inner error is the reason for the script.
async fn read(
    lua: &Lua,
    request: &Request,
    mut parser: Parser,
    callbacks: &Callbacks,
) -> Result<std::result::Result<(), String>> {
    let mut source = request.body_source("request:multipart")?;
    let (mut current, mut count) = (Current::File(false), 0);
    loop {
        let event = match parser.next() {
            Ok(event) => event,
            Err(malformed) => return Ok(Err(malformed.to_string())),
        };
        match event {
            Event::NeedsMore => match source.next(PIECE).await {
                Ok(Some(piece)) => parser.feed(&piece),
                Ok(None) if parser.is_complete() => return Ok(Ok(())),
                Ok(None) => return Ok(Err("the body ends before its last boundary".into())),
                Err(why) => return Ok(Err(why)),
            },
            Event::Begin(part) => {
                count += 1;
                if count > MAX_PARTS {
                    return Ok(Err(format!("the form has more than {MAX_PARTS} parts")));
                }
                current = begin(lua, callbacks, part).await?;
            }
            Event::Data(data) => match &mut current {
                Current::Field(_, value) if value.len() + data.len() > MAX_FIELD => {
                    return Ok(Err(format!("a field has more than {MAX_FIELD} bytes")));
                }
                Current::Field(_, value) => value.extend_from_slice(&data),
                Current::File(is_wanted) if *is_wanted => {
                    let answer = callbacks.filedata.call(lua.create_string(&data)?).await?;
                    *is_wanted = answer != Value::Boolean(false);
                }
                Current::File(_) => {}
            },
            Event::End => {
                if let Current::Field(name, value) = &current {
                    let args = (lua.create_string(name)?, lua.create_string(value)?);
                    callbacks.formdata.call(args).await?;
                }
            }
        }
    }
}

/// Begins a part. A file is skipped if `beginfile` returns false.
async fn begin(lua: &Lua, callbacks: &Callbacks, part: Part) -> Result<Current> {
    let Some(filename) = part.filename else { return Ok(Current::Field(part.name, Vec::new())) };
    let args = (
        lua.create_string(part.name)?,
        lua.create_string(filename)?,
        part.content_type.map(|text| lua.create_string(text)).transpose()?,
        part.transfer_encoding.map(|text| lua.create_string(text)).transpose()?,
    );
    let answer = callbacks.beginfile.call(args).await?;
    Ok(Current::File(callbacks.filedata.is_given() && answer != Value::Boolean(false)))
}
