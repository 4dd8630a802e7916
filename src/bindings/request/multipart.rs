//! `request:multipart`: a form with files, handed to callbacks piece by piece.

mod parser;

use hyper::header::CONTENT_TYPE;
use mlua::{
    Function, IntoLuaMulti, Lua, MultiValue, Result, Table, UserDataMethods, UserDataRef, UserDataRegistry, Value,
};

use super::Request;
use crate::bindings::args::Args;
use crate::lua::budget;
use parser::{Event, Parser, Part, boundary};

/// Bytes of a body that are read at a time, and of a file that a callback gets at most.
const PIECE: usize = 16 * 1024;
/// Bytes of a field that is no file.
const MAX_FIELD: usize = 64 * 1024;
/// Parts of one form.
const MAX_PARTS: usize = 1000;

pub fn register(registry: &mut UserDataRegistry<Request>) {
    registry.add_async_method("multipart", |lua, this: UserDataRef<Request>, args: MultiValue| {
        let request = this.clone();
        async move { multipart(&lua, &request, args).await }
    });
}

/// `request:multipart{formdata=, beginfile=, filedata=, endofreq=, error=}`: true once all is read; nil and why when
/// the body is no such form or breaks off, which `error` is told, too.
async fn multipart(lua: &Lua, request: &Request, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(lua, "request:multipart", args);
    let callbacks = Callbacks::read(&args, request.environment(lua)?)?;
    let content_type = request.header(CONTENT_TYPE.as_str()).unwrap_or_default();
    let outcome = match boundary(&content_type) {
        None => Err("the request is no multipart/form-data with a boundary".to_owned()),
        Some(boundary) => read(lua, request, Parser::new(&boundary), &callbacks).await?,
    };
    match outcome {
        Ok(()) => {
            callbacks.call(&callbacks.endofreq, ()).await?;
            true.into_lua_multi(lua)
        }
        Err(why) => {
            callbacks.call(&callbacks.error, why.as_str()).await?;
            (Value::Nil, why).into_lua_multi(lua)
        }
    }
}

struct Callbacks {
    formdata: Option<Function>,
    beginfile: Option<Function>,
    filedata: Option<Function>,
    endofreq: Option<Function>,
    error: Option<Function>,
    /// The environment, when the callbacks take it as their first argument.
    environment: Option<Table>,
}

impl Callbacks {
    fn read(args: &Args, environment: Table) -> Result<Self> {
        let table = args.table(1, "callbacks")?;
        let find = |name: &str| match table.get(name)? {
            Value::Nil => Ok(None),
            Value::Function(function) => Ok(Some(function)),
            other => {
                Err(args.refuse(1, "callbacks", &format!("'{name}' must be a function, got {}", other.type_name())))
            }
        };
        let mut callbacks = Self {
            formdata: find("formdata")?,
            beginfile: find("beginfile")?,
            filedata: find("filedata")?,
            endofreq: find("endofreq")?,
            error: find("error")?,
            environment: None,
        };
        // Both ways to write these callbacks are in use; how many parameters they have tells them apart.
        let takes = |function: &Option<Function>, more_than: u8| {
            function.as_ref().is_some_and(|function| function.info().num_params > more_than)
        };
        if takes(&callbacks.filedata, 1) || takes(&callbacks.formdata, 2) || takes(&callbacks.beginfile, 4) {
            callbacks.environment = Some(environment);
        }
        Ok(callbacks)
    }

    /// What the callback returns; nil when there is none.
    async fn call(&self, function: &Option<Function>, args: impl mlua::IntoLuaMulti) -> Result<Value> {
        match (function, &self.environment) {
            (None, _) => Ok(Value::Nil),
            (Some(function), None) => budget::call(function, args).await,
            (Some(function), Some(environment)) => budget::call(&function.bind(environment)?, args).await,
        }
    }
}

/// What is being read.
enum Current {
    Field(Vec<u8>, Vec<u8>),
    /// Whether the callback wants it.
    File(bool),
}

/// The inner error is for the script to see.
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
                    let answer = callbacks.call(&callbacks.filedata, lua.create_string(&data)?).await?;
                    *is_wanted = answer != Value::Boolean(false);
                }
                Current::File(_) => {}
            },
            Event::End => {
                if let Current::Field(name, value) = &current {
                    let args = (lua.create_string(name)?, lua.create_string(value)?);
                    callbacks.call(&callbacks.formdata, args).await?;
                }
            }
        }
    }
}

/// A file that `beginfile` answers with false is skipped.
async fn begin(lua: &Lua, callbacks: &Callbacks, part: Part) -> Result<Current> {
    let Some(filename) = part.filename else { return Ok(Current::Field(part.name, Vec::new())) };
    let args = (
        lua.create_string(part.name)?,
        lua.create_string(filename)?,
        part.content_type.map(|text| lua.create_string(text)).transpose()?,
        part.transfer_encoding.map(|text| lua.create_string(text)).transpose()?,
    );
    let answer = callbacks.call(&callbacks.beginfile, args).await?;
    Ok(Current::File(callbacks.beginfile.is_some() && answer != Value::Boolean(false)))
}
