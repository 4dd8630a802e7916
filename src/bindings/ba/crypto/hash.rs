//! `ba.crypto.hash(name)(data)(data)(true, "hex")`: hashes and HMACs, computed step by step.

use hmac::{Hmac, Mac};
use md5::Md5;
use mlua::{AnyUserData, Error, IntoLua, Lua, MetaMethod, MultiValue, Result, UserData, UserDataMethods, Value};
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::bindings::args::Args;
use crate::bindings::ba::encoding;

const NAMES: &str = "\"md5\", \"sha1\", \"sha224\", \"sha256\", \"sha384\" or \"sha512\" expected, got ";

/// A hash that is being computed; `None` when its result has been taken.
struct Hash(Option<Box<dyn State>>);

/// What all hashes have in common, with a key or without.
trait State {
    fn update(&mut self, data: &[u8]);
    fn finish(self: Box<Self>) -> Vec<u8>;
}

struct Plain<D>(D);
struct Keyed<M>(M);

impl<D: Digest> State for Plain<D> {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finish(self: Box<Self>) -> Vec<u8> {
        self.0.finalize().to_vec()
    }
}

impl<M: Mac> State for Keyed<M> {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finish(self: Box<Self>) -> Vec<u8> {
        self.0.finalize().into_bytes().to_vec()
    }
}

/// `ba.crypto.hash(name)` or `ba.crypto.hash("hmac", name, key)`.
pub fn hash(lua: &Lua, args: MultiValue) -> Result<AnyUserData> {
    let args = Args::new(lua, "ba.crypto.hash", args);
    let name = args.text(1, "name")?;
    let (name, position, key) = match name.as_str() {
        "hmac" => (args.text(2, "name")?, 2, Some(args.string(3, "key")?)),
        _ => (name, 1, None),
    };
    let state = match &key {
        None => plain(&name),
        Some(key) => keyed(&name, key),
    };
    let unknown = || args.refuse(position, "name", &format!("{NAMES}\"{name}\""));
    lua.create_userdata(Hash(Some(state.ok_or_else(unknown)?)))
}

fn plain(name: &str) -> Option<Box<dyn State>> {
    Some(match name {
        "md5" => Box::new(Plain(Md5::new())),
        "sha1" => Box::new(Plain(Sha1::new())),
        "sha224" => Box::new(Plain(Sha224::new())),
        "sha256" => Box::new(Plain(Sha256::new())),
        "sha384" => Box::new(Plain(Sha384::new())),
        "sha512" => Box::new(Plain(Sha512::new())),
        _ => return None,
    })
}

/// An HMAC. It takes keys of any length, so `None` means that the name is unknown.
fn keyed(name: &str, key: &[u8]) -> Option<Box<dyn State>> {
    Some(match name {
        "md5" => Box::new(Keyed(Hmac::<Md5>::new_from_slice(key).ok()?)),
        "sha1" => Box::new(Keyed(Hmac::<Sha1>::new_from_slice(key).ok()?)),
        "sha224" => Box::new(Keyed(Hmac::<Sha224>::new_from_slice(key).ok()?)),
        "sha256" => Box::new(Keyed(Hmac::<Sha256>::new_from_slice(key).ok()?)),
        "sha384" => Box::new(Keyed(Hmac::<Sha384>::new_from_slice(key).ok()?)),
        "sha512" => Box::new(Keyed(Hmac::<Sha512>::new_from_slice(key).ok()?)),
        _ => return None,
    })
}

impl UserData for Hash {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_function(MetaMethod::Call, call);
    }
}

/// `hash(data)`: takes more data and is the hash again. `hash(true [, form])`: the result.
fn call(lua: &Lua, (this, args): (AnyUserData, MultiValue)) -> Result<Value> {
    let args = Args::new(lua, "hash", args);
    if args.value(1) == Value::Boolean(true) {
        // Read first, so that after an error the hash can still be used.
        let form = Form::read(&args, 2)?;
        let state = this.borrow_mut::<Hash>()?.0.take().ok_or_else(is_finished)?;
        return lua.create_string(form.write(state.finish()))?.into_lua(lua);
    }
    let data = match args.value(1) {
        Value::String(data) => data.as_bytes().to_vec(),
        other => return Err(args.mismatch(1, "data", "string, or true for the result,", &other)),
    };
    this.borrow_mut::<Hash>()?.0.as_mut().ok_or_else(is_finished)?.update(&data);
    Ok(Value::UserData(this))
}

fn is_finished() -> Error {
    Error::runtime("hash: the result has been taken already; make a new hash")
}

/// How a script wants the result.
enum Form {
    Binary,
    Hex,
    Base64,
    Base64Url,
}

impl Form {
    fn read(args: &Args, position: usize) -> Result<Self> {
        Ok(match args.optional_text(position, "form")?.as_deref() {
            None | Some("binary") => Self::Binary,
            Some("hex") => Self::Hex,
            Some("b64") => Self::Base64,
            Some("b64url") => Self::Base64Url,
            Some(other) => {
                let why = format!("\"binary\", \"hex\", \"b64\" or \"b64url\" expected, got \"{other}\"");
                return Err(args.refuse(position, "form", &why));
            }
        })
    }

    fn write(&self, digest: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Binary => digest,
            Self::Hex => encoding::hex(&digest).into_bytes(),
            Self::Base64 => encoding::base64(&digest).into_bytes(),
            Self::Base64Url => encoding::base64_url(&digest).into_bytes(),
        }
    }
}
