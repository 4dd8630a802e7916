//! A recursive-descent parser from JSON text to Lua values.

use mlua::{Lua, Table, Value};

use super::MAX_DEPTH;

/// Why text is not JSON. Scripts see the first two by their short names.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Reason {
    /// Something stands where it must not.
    #[error("parse")]
    Parse,
    /// The text ends too early.
    #[error("needmoredata")]
    NeedMoreData,
    /// Lua had no memory for the result.
    #[error(transparent)]
    Lua(#[from] mlua::Error),
}

type Result<T> = std::result::Result<T, Reason>;

pub struct Decoder<'a> {
    lua: &'a Lua,
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Decoder<'a> {
    pub fn new(lua: &'a Lua, text: &'a [u8]) -> Self {
        Self { lua, text, at: 0, depth: 0 }
    }

    /// The next object or array.
    pub fn document(&mut self) -> Result<Value> {
        match self.next_token()? {
            b'{' | b'[' => self.value(),
            _ => Err(Reason::Parse),
        }
    }

    /// Whether only blanks follow; comments after the end are refused as anything else is.
    pub fn is_at_end(&mut self) -> bool {
        self.skip_while(is_blank);
        self.at == self.text.len()
    }

    fn value(&mut self) -> Result<Value> {
        match self.next_token()? {
            b'{' => self.nested(Self::object),
            b'[' => self.nested(Self::array),
            b'"' | b'\'' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal("true", Value::Boolean(true)),
            b'f' => self.literal("false", Value::Boolean(false)),
            b'n' => self.literal("null", Value::NULL),
            _ => Err(Reason::Parse),
        }
    }

    fn nested(&mut self, members: fn(&mut Self, &Table) -> Result<()>) -> Result<Value> {
        if self.depth == MAX_DEPTH {
            return Err(Reason::Parse);
        }
        self.depth += 1;
        self.at += 1;
        let table = self.lua.create_table()?;
        members(self, &table)?;
        self.depth -= 1;
        Ok(Value::Table(table))
    }

    /// The members of an object up to and with the brace, which may follow a comma.
    fn object(&mut self, table: &Table) -> Result<()> {
        loop {
            let key = match self.next_token()? {
                b'}' => break,
                b'"' | b'\'' => self.string()?,
                _ => return Err(Reason::Parse),
            };
            self.expect(b':')?;
            table.raw_set(key, self.value()?)?;
            match self.next_token()? {
                b',' => self.at += 1,
                b'}' => break,
                _ => return Err(Reason::Parse),
            }
        }
        self.at += 1;
        Ok(())
    }

    /// The items of an array up to and with the bracket.
    fn array(&mut self, table: &Table) -> Result<()> {
        if self.next_token()? != b']' {
            for index in 1_i64.. {
                table.raw_set(index, self.value()?)?;
                match self.next_token()? {
                    b',' => self.at += 1,
                    b']' => break,
                    _ => return Err(Reason::Parse),
                }
            }
        }
        self.at += 1;
        Ok(())
    }

    /// A number that does not fit an integer is a float, infinite when it is too large for that, too.
    fn number(&mut self) -> Result<Value> {
        let start = self.at;
        if self.peek()? == b'-' {
            self.at += 1;
        }
        self.digits()?;
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let b'+' | b'-' = self.peek()? {
                self.at += 1;
            }
            self.digits()?;
        }
        let number = std::str::from_utf8(&self.text[start..self.at]).map_err(|_| Reason::Parse)?;
        match number.parse() {
            Ok(value) => Ok(Value::Integer(value)),
            Err(_) => Ok(Value::Number(number.parse().map_err(|_| Reason::Parse)?)),
        }
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<()> {
        if !self.peek()?.is_ascii_digit() {
            return Err(Reason::Parse);
        }
        self.skip_while(|byte| byte.is_ascii_digit());
        Ok(())
    }

    fn literal(&mut self, word: &str, value: Value) -> Result<Value> {
        let rest = &self.text[self.at..];
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else if word.as_bytes().starts_with(rest) {
            Err(Reason::NeedMoreData)
        } else {
            Err(Reason::Parse)
        }
    }

    /// A string in double or single quotes. Its bytes are taken as they are, UTF-8 or not.
    fn string(&mut self) -> Result<Value> {
        let quote = self.peek()?;
        self.at += 1;
        let run = self.run(quote);
        if self.peek()? == quote {
            self.at += 1;
            return Ok(Value::String(self.lua.create_string(run)?));
        }
        let mut bytes = run.to_vec();
        while self.peek()? != quote {
            self.at += 1;
            self.escape(&mut bytes)?;
            bytes.extend_from_slice(self.run(quote));
        }
        self.at += 1;
        Ok(Value::String(self.lua.create_string(bytes)?))
    }

    /// The bytes up to the quote or a backslash.
    fn run(&mut self, quote: u8) -> &'a [u8] {
        let start = self.at;
        self.skip_while(|byte| byte != quote && byte != b'\\');
        &self.text[start..self.at]
    }

    /// What follows a backslash.
    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        let letter = self.peek()?;
        self.at += 1;
        bytes.push(match letter {
            b'"' | b'\'' | b'\\' | b'/' => letter,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let character = self.unicode()?;
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(Reason::Parse),
        });
        Ok(())
    }

    /// What follows `\u`; half a surrogate pair becomes U+FFFD.
    fn unicode(&mut self) -> Result<char> {
        let first = self.hex4()?;
        let after_first = self.at;
        if (0xD800..0xDC00).contains(&first) && self.skip_prefix(b"\\u") {
            let second = self.hex4()?;
            if (0xDC00..0xE000).contains(&second) {
                let character = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return Ok(char::from_u32(character).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = after_first;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32> {
        let mut value = 0;
        for _ in 0..4 {
            value = value * 16 + char::from(self.peek()?).to_digit(16).ok_or(Reason::Parse)?;
            self.at += 1;
        }
        Ok(value)
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.next_token()? != byte {
            return Err(Reason::Parse);
        }
        self.at += 1;
        Ok(())
    }

    /// Skips blanks and comments; the byte that follows them stays unread.
    fn next_token(&mut self) -> Result<u8> {
        loop {
            self.skip_while(is_blank);
            if self.peek()? != b'/' {
                return self.peek();
            }
            self.at += 1;
            match self.peek()? {
                b'/' => self.skip_while(|byte| byte != b'\n' && byte != b'\r'),
                b'*' => self.block_comment()?,
                _ => return Err(Reason::Parse),
            }
        }
    }

    fn block_comment(&mut self) -> Result<()> {
        self.at += 1;
        loop {
            self.skip_while(|byte| byte != b'*');
            if self.skip_prefix(b"*/") {
                return Ok(());
            }
            self.peek()?;
            self.at += 1;
        }
    }

    fn peek(&self) -> Result<u8> {
        self.text.get(self.at).copied().ok_or(Reason::NeedMoreData)
    }

    fn skip_while(&mut self, mut condition: impl FnMut(u8) -> bool) {
        let rest = &self.text[self.at..];
        self.at += rest.iter().position(|&byte| !condition(byte)).unwrap_or(rest.len());
    }

    fn skip_prefix(&mut self, prefix: &[u8]) -> bool {
        let found = self.text[self.at..].starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
