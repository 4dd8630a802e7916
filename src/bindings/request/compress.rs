//! `response:setresponse`: collects output, to be compressed and sent in one piece.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, VARY};
use mlua::{Error, IntoLuaMulti, Lua, MetaMethod, MultiValue, Result, UserData, UserDataMethods, UserDataRegistry};

use super::Request;
use crate::bindings::args::Args;
use crate::http::encodings;

pub fn register(registry: &mut UserDataRegistry<Request>) {
    registry.add_method("setresponse", |_, this, _: MultiValue| {
        this.uncommitted(|output| output.start_collecting())?;
        Ok(Collector(this.clone()))
    });
}

/// What `setresponse` returns.
struct Collector(Request);

impl UserData for Collector {
    fn register(registry: &mut UserDataRegistry<Self>) {
        registry.add_method("finalize", finalize);
        registry.add_meta_method(MetaMethod::Close, |_, this, _: MultiValue| this.close());
        registry.add_method("close", |_, this, _: MultiValue| this.close());
    }
}

impl Collector {
    /// Sends output that was not finalized, uncompressed.
    fn close(&self) -> Result<()> {
        let mut output = self.0.0.output.borrow_mut();
        output.take_collected().map_or(Ok(()), |collected| output.write(&collected))
    }
}

/// `finalize(true)` sends what was collected, compressed if the client wants that, and the response is over.
/// `finalize()` returns it as raw deflate data; the response goes on. A second call does nothing.
fn finalize(lua: &Lua, this: &Collector, args: MultiValue) -> Result<MultiValue> {
    let is_sent = Args::new(lua, "finalize", args).truth(1);
    let collected = this.0.0.output.borrow_mut().take_collected();
    let Some(collected) = collected else { return false.into_lua_multi(lua) };
    if !is_sent {
        return lua.create_string(Coding::RawDeflate.encode(&collected)?)?.into_lua_multi(lua);
    }
    let accepted = this.0.header(ACCEPT_ENCODING.as_str()).unwrap_or_default();
    let coding = Coding::of(&accepted);
    let body = coding.encode(&collected)?;
    this.0.uncommitted(|output| {
        output.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
        if let Some(name) = coding.name() {
            output.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        output.complete_with(&body);
    })?;
    true.into_lua_multi(lua)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    /// Deflate without the zlib header: the form that scripts get from `finalize()`.
    RawDeflate,
    Identity,
}

impl Coding {
    /// The best coding that an `Accept-Encoding` header allows.
    fn of(accepted: &[u8]) -> Self {
        let allows = |name: &str| encodings::allows(accepted, name);
        match () {
            () if allows("gzip") => Self::Gzip,
            () if allows("deflate") => Self::Deflate,
            () => Self::Identity,
        }
    }

    fn name(self) -> Option<&'static str> {
        match self {
            Self::Gzip => Some("gzip"),
            Self::Deflate | Self::RawDeflate => Some("deflate"),
            Self::Identity => None,
        }
    }

    fn encode(self, data: &[u8]) -> Result<Vec<u8>> {
        let level = Compression::default();
        let encoded = match self {
            Self::Gzip => all(GzEncoder::new(Vec::new(), level), data, GzEncoder::finish),
            Self::Deflate => all(ZlibEncoder::new(Vec::new(), level), data, ZlibEncoder::finish),
            Self::RawDeflate => all(DeflateEncoder::new(Vec::new(), level), data, DeflateEncoder::finish),
            Self::Identity => Ok(data.to_vec()),
        };
        encoded.map_err(Error::external)
    }
}

/// Encodes all of the data.
fn all<E: Write>(
    mut encoder: E,
    data: &[u8],
    finish: impl FnOnce(E) -> std::io::Result<Vec<u8>>,
) -> std::io::Result<Vec<u8>> {
    encoder.write_all(data)?;
    finish(encoder)
}

#[cfg(test)]
mod tests {
    use super::Coding;

    #[test]
    fn a_coding_is_used_only_if_the_client_accepts_it() {
        for (accepted, coding) in [
            ("gzip, deflate, br", Coding::Gzip),
            ("deflate", Coding::Deflate),
            ("gzip;q=0, deflate;q=0.5", Coding::Deflate),
            ("GZIP; q=1", Coding::Gzip),
            ("br", Coding::Identity),
            ("", Coding::Identity),
        ] {
            assert_eq!(Coding::of(accepted.as_bytes()), coding, "{accepted}");
        }
    }
}
