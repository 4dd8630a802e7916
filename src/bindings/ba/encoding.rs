//! `ba.b64encode`, `ba.urlencode` and the like: encoding bytes as text, and decoding them.

use std::rc::Rc;

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, general_purpose};
use mlua::{Lua, LuaString, MultiValue, Result, Table};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use crate::bindings::args::Args;
use crate::bindings::outcome::outcome;
use crate::lua::World;

/// All characters but those that RFC 3986 calls unreserved, which need no encoding in any part of a URL.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Takes base64 with padding and without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(&ALPHABET, LENIENT_CONFIG);
const LENIENT_CONFIG: GeneralPurposeConfig =
    general_purpose::PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent);

pub fn register(world: &Rc<World>, ba: &Table) -> Result<()> {
    let lua = &world.lua;
    let encoder = |function: &'static str, encode: fn(&[u8]) -> String| {
        lua.create_function(move |lua, args| encoded(lua, args, function, encode))
    };
    ba.set("b64encode", encoder("ba.b64encode", base64)?)?;
    ba.set("b64urlencode", encoder("ba.b64urlencode", base64_url)?)?;
    ba.set("b64decode", lua.create_function(b64decode)?)?;
    ba.set("urlencode", encoder("ba.urlencode", url)?)?;
    ba.set("urldecode", lua.create_function(urldecode)?)
}

fn encoded(lua: &Lua, args: MultiValue, function: &'static str, encode: fn(&[u8]) -> String) -> Result<String> {
    Ok(encode(&Args::new(lua, function, args).string(1, "data")?))
}

/// Lower case hexadecimal digits.
pub fn hex(data: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    data.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A token that nobody can guess: 128 bits of a cryptographic generator, in hexadecimal digits.
pub fn random_hex() -> String {
    hex(&rand::random::<[u8; 16]>())
}

/// Decodes hexadecimal digits of either case; `None` for other characters or an odd number of digits.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<u32>>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    // Two digits are less than 256.
    Some(pairs.iter().map(|[high, low]| (high * 16 + low) as u8).collect())
}

/// Base64 with padding.
pub fn base64(data: &[u8]) -> String {
    STANDARD.encode(data)
}

/// Base64 with the alphabet for URLs, without padding.
pub fn base64_url(data: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(data)
}

/// Decodes base64 of either alphabet, with or without padding; white space is ignored.
pub fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let standard = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    };
    let text: Vec<u8> = text.iter().filter(|byte| !byte.is_ascii_whitespace()).map(standard).collect();
    LENIENT.decode(text).ok()
}

/// Percent-encodes all that is not unreserved.
pub fn url(data: &[u8]) -> String {
    percent_encode(data, RESERVED).to_string()
}

/// `ba.b64decode(text)`: the bytes; nil and a reason if the text is not base64.
fn b64decode(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let text = Args::new(lua, "ba.b64decode", args).string(1, "text")?;
    let data = from_base64(&text).map(|data| lua.create_string(data)).transpose()?;
    outcome(lua, data.ok_or("no base64"))
}

/// `ba.urldecode(text)`: decodes `%XX` and `+`; a `%` without two digits stays as it is.
fn urldecode(lua: &Lua, args: MultiValue) -> Result<LuaString> {
    let text = Args::new(lua, "ba.urldecode", args).string(1, "text")?;
    lua.create_string(url_decoded(&text))
}

/// Decodes a name or value of a query or an urlencoded form.
pub fn url_decoded(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    percent_decode(&spaced).collect()
}
