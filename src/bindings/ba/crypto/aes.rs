//! `ba.aeskey`, `ba.aesencode`, `ba.aesdecode`: authenticated encryption (AES-GCM). Without the key a text can be
//! neither read nor changed.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit, Nonce};
use mlua::{Lua, LuaString, MultiValue, Result, UserData, Value};
use rand::RngCore;

use crate::bindings::args::Args;
use crate::bindings::ba::encoding;
use crate::bindings::outcome::outcome;

/// The bytes of the nonce, which is random and precedes the ciphertext.
const NONCE: usize = 12;

/// A key that scripts can use, but not print.
#[derive(Clone)]
pub struct Key(Vec<u8>);

impl UserData for Key {}

/// `ba.aeskey([16 | 32])`: a new random key of so many bytes, by default 32. `ba.aeskey(bytes)`: a given key.
pub fn aeskey(lua: &Lua, args: MultiValue) -> Result<Key> {
    let args = Args::new(lua, "ba.aeskey", args);
    if let Value::String(bytes) = args.value(1) {
        return given(&args, &bytes.as_bytes());
    }
    let length = match args.optional_integer(1, "size")? {
        None | Some(32) => 32,
        Some(16) => 16,
        Some(other) => return Err(args.refuse(1, "size", &format!("16 or 32 expected, got {other}"))),
    };
    let mut key = vec![0; length];
    rand::rng().fill_bytes(&mut key);
    Ok(Key(key))
}

fn given(args: &Args, bytes: &[u8]) -> Result<Key> {
    match bytes.len() {
        16 | 32 => Ok(Key(bytes.to_vec())),
        other => Err(args.refuse(1, "key", &format!("16 or 32 bytes expected, got {other}"))),
    }
}

/// The key in argument 1: made by `aeskey`, or its bytes.
fn key(args: &Args) -> Result<Key> {
    match args.value(1) {
        Value::UserData(data) if data.is::<Key>() => Ok(data.borrow::<Key>()?.clone()),
        Value::String(bytes) => given(args, &bytes.as_bytes()),
        other => Err(args.mismatch(1, "key", "key", &other)),
    }
}

/// `ba.aesencode(key, text)`: the sealed text in URL-safe base64.
pub fn aesencode(lua: &Lua, args: MultiValue) -> Result<LuaString> {
    let args = Args::new(lua, "ba.aesencode", args);
    let (key, text) = (key(&args)?, args.string(2, "text")?);
    let mut nonce = [0; NONCE];
    rand::rng().fill_bytes(&mut nonce);
    let sealed = seal(&key, &nonce, &text).ok_or_else(|| args.refuse(2, "text", "too long"))?;
    lua.create_string(encoding::base64_url(&[&nonce[..], &sealed].concat()))
}

/// `ba.aesdecode(key, sealed)`: the text; nil and a reason if it was not sealed with this key, or was changed.
pub fn aesdecode(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(lua, "ba.aesdecode", args);
    let (key, sealed) = (key(&args)?, args.string(2, "sealed")?);
    let sealed = encoding::from_base64(&sealed).unwrap_or_default();
    let text = sealed.split_first_chunk().and_then(|(nonce, sealed)| unseal(&key, nonce, sealed));
    let text = text.map(|text| lua.create_string(text)).transpose()?;
    outcome(lua, text.ok_or("not sealed with this key"))
}

fn seal(key: &Key, nonce: &[u8; NONCE], text: &[u8]) -> Option<Vec<u8>> {
    let (nonce, text) = (Nonce::from_slice(nonce), Payload::from(text));
    match key.0.len() {
        16 => Aes128Gcm::new_from_slice(&key.0).ok()?.encrypt(nonce, text).ok(),
        _ => Aes256Gcm::new_from_slice(&key.0).ok()?.encrypt(nonce, text).ok(),
    }
}

fn unseal(key: &Key, nonce: &[u8; NONCE], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = (Nonce::from_slice(nonce), Payload::from(sealed));
    match key.0.len() {
        16 => Aes128Gcm::new_from_slice(&key.0).ok()?.decrypt(nonce, sealed).ok(),
        _ => Aes256Gcm::new_from_slice(&key.0).ok()?.decrypt(nonce, sealed).ok(),
    }
}
