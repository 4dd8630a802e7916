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
    match read(lua, request, &callbacks).await {
        Ok(()) => {
            callbacks.endofreq.call(()).await?;
            true.into_lua_multi(lua)
        }
        Err(Failure::Form(why)) => {
            callbacks.error.call(why.as_str()).await?;
            (Value::Nil, why).into_lua_multi(lua)
        }
        Err(Failure::Script(error)) => Err(error),
    }
}

/// Why a form is not read to its end.
enum Failure {
    /// It is no form, or breaks off: the reason for the script.
    Form(String),
    /// The script's own error.
    Script(mlua::Error),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Form(why)
    }
}

impl From<mlua::Error> for Failure {
    fn from(error: mlua::Error) -> Self {
        Self::Script(error)
    }
}

/// The part that is being read.
enum Current {
    /// Name, and the value so far.
    Field(Vec<u8>, Vec<u8>),
    /// Whether the callbacks want the file's data.
    File(bool),
}

/// Reads the form and calls the callbacks, up to `endofreq`.
async fn read(lua: &Lua, request: &Request, callbacks: &Callbacks) -> std::result::Result<(), Failure> {
    let boundary = boundary(&request.header(CONTENT_TYPE.as_str()).unwrap_or_default());
    let boundary = boundary.ok_or_else(|| "the request is no multipart/form-data with a boundary".to_owned())?;
    let mut parser = Parser::new(&boundary);
    let mut source = request.body_source("request:multipart")?;
    let (mut current, mut count) = (Current::File(false), 0);
    loop {
        match parser.next().map_err(|malformed| malformed.to_string())? {
            Event::NeedsMore => match source.next(PIECE).await? {
                Some(piece) => parser.feed(&piece),
                None if parser.is_complete() => return Ok(()),
                None => return Err("the body ends before its last boundary".to_owned().into()),
            },
            Event::Begin(_) if count == MAX_PARTS => {
                return Err(format!("the form has more than {MAX_PARTS} parts").into());
            }
            Event::Begin(part) => {
                count += 1;
                current = begin(lua, callbacks, part).await?;
            }
            Event::Data(data) => add(lua, callbacks, &mut current, &data).await?,
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

/// Adds data to a part. The rest of a file is skipped once `filedata` returns false.
async fn add(lua: &Lua, callbacks: &Callbacks, current: &mut Current, data: &[u8]) -> std::result::Result<(), Failure> {
    match current {
        Current::Field(_, value) if value.len() + data.len() > MAX_FIELD => {
            return Err(format!("a field has more than {MAX_FIELD} bytes").into());
        }
        Current::Field(_, value) => value.extend_from_slice(data),
        Current::File(false) => {}
        Current::File(is_wanted) => {
            let answer = callbacks.filedata.call(lua.create_string(data)?).await?;
            *is_wanted = answer != Value::Boolean(false);
        }
    }
    Ok(())
}
