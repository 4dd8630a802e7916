//! Reading the request's body while it arrives: `request:rawrdr`, and the source that `request:multipart` reads from.

use std::cell::RefCell;

use bytes::Bytes;
use mlua::{Error, Lua, LuaString, MetaMethod, MultiValue, Result, UserData, UserDataMethods, UserDataRef};
use mlua::{UserDataRegistry, Value};

use super::Request;
use crate::bindings::args::Args;
use crate::http::Upload;

/// The most bytes that a reader gives at a time, by default.
const PIECE: usize = 4096;
/// The most bytes that a script may ask for at a time.
const MAX_PIECE: i64 = 1 << 20;

pub fn register(registry: &mut UserDataRegistry<Request>) {
    registry.add_method("rawrdr", |lua, this, args: MultiValue| {
        let args = Args::new(lua, "request:rawrdr", args);
        let size = size(&args, PIECE)?;
        Ok(RawReader { source: RefCell::new(Some(this.body_source("request:rawrdr")?)), size })
    });
}

/// Argument 1: how many bytes a script wants at a time.
fn size(args: &Args, default: usize) -> Result<usize> {
    // The range fits into a usize.
    if args.is_absent(1) { Ok(default) } else { args.integer_in(1, "size", 1..=MAX_PIECE).map(|size| size as usize) }
}

/// A request's body, to be read piece by piece.
pub struct Source {
    request: Request,
    /// What has arrived and was not read yet.
    ready: Bytes,
    /// Whether more may arrive from the request's upload.
    is_open: bool,
}

impl Request {
    /// The body, for one reader: an error, which begins with `function`, if there is another one. Only a body that
    /// arrived as a whole before the page ran can be read several times.
    pub fn body_source(&self, function: &str) -> Result<Source> {
        let is_open = self.0.has_open_body.get();
        if is_open && self.0.is_body_claimed.replace(true) {
            return Err(Error::runtime(format!("{function}: somebody else reads the body of this request")));
        }
        let ready = self.with_input(|input| input.body.clone()).unwrap_or_default();
        Ok(Source { request: self.clone(), ready, is_open })
    }

    fn take_upload(&self) -> Option<Upload> {
        self.0.input.borrow_mut().as_mut().and_then(|input| input.upload.take())
    }

    fn put_upload_back(&self, upload: Upload) {
        // After the response's end the body is not read any further.
        if self.0.has_open_body.get()
            && let Some(input) = self.0.input.borrow_mut().as_mut()
        {
            input.upload = Some(upload);
        }
    }

    /// Drops what is left of the body, so that HTTP does not wait for a reader.
    pub(super) fn drop_upload(&self) {
        if self.0.has_open_body.replace(false) {
            drop(self.take_upload());
        }
    }
}

impl Source {
    /// The next bytes, at most `size`; `None` at the end. If the client breaks off its body, the error is the text for
    /// the script.
    pub async fn next(&mut self, size: usize) -> std::result::Result<Option<Bytes>, String> {
        if self.ready.is_empty() && self.is_open {
            let Some(mut upload) = self.request.take_upload() else {
                return Err("the response is over, and with it the request body".into());
            };
            match upload.next().await {
                Ok(Some(piece)) => {
                    self.ready = piece;
                    self.request.put_upload_back(upload);
                }
                Ok(None) => {
                    self.is_open = false;
                    self.request.0.has_open_body.set(false);
                }
                Err(error) => return Err(format!("the client breaks off its request body: {error}")),
            }
        }
        let size = size.min(self.ready.len());
        Ok((size > 0).then(|| self.ready.split_to(size)))
    }
}

/// What `request:rawrdr([size])` returns: an iterator for `for`, which also has `read([size])`.
struct RawReader {
    /// `None` while a coroutine waits for the next piece.
    source: RefCell<Option<Source>>,
    size: usize,
}

impl UserData for RawReader {
    fn register(registry: &mut UserDataRegistry<Self>) {
        registry.add_async_method("read", |lua, this: UserDataRef<Self>, args: MultiValue| async move {
            let size = size(&Args::new(&lua, "reader:read", args), this.size)?;
            this.read(&lua, size).await
        });
        // `for` also passes its state and the previous piece.
        registry
            .add_async_meta_method(MetaMethod::Call, |lua, this: UserDataRef<Self>, _: (Value, Value)| async move {
                this.read(&lua, this.size).await
            });
    }
}

impl RawReader {
    async fn read(&self, lua: &Lua, size: usize) -> Result<Option<LuaString>> {
        let source = self.source.borrow_mut().take();
        let Some(mut source) = source else {
            return Err(Error::runtime("request:rawrdr: another coroutine waits for the next piece"));
        };
        let piece = source.next(size).await;
        *self.source.borrow_mut() = Some(source);
        piece.map_err(Error::runtime)?.map(|piece| lua.create_string(piece)).transpose()
    }
}
