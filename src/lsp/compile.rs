//! Compiles the text of a page to Lua source: a pure function.
//!
//! A page mixes text with `<?lsp code ?>` and `<?lsp= expression ?>`. All of it becomes one Lua chunk:
//!
//! ```text
//! Hello                      local _ENV,pathname,io,page,app=...; _emit"Hello\n";
//! <?lsp for i=1,2 do ?>       for i=1,2 do  _emit"n=";
//! n=<?lsp= i ?>               _emit(tostring( i ,nil));
//! <?lsp end ?>                end
//! ```
//!
//! Rules that pages rely on:
//!
//! * Line n of the Lua source is line n of the page, so errors and traces point into the page.
//! * A line break at the beginning of a text is dropped; `\r\n` and `\r` in text become `\n`.
//! * The first `?>` ends a block, even within a Lua comment or string. A comment that began with `--` ends there. A long
//!   comment or long string goes on, so that `<?lsp --[[ ?> ... <?lsp ]] ?>` comments out a part of the page.
//! * `return ?>text` at the end of a page emits that text: nothing may stand between a block and the text after it.

/// Takes the arguments of the page, and makes the first one its environment.
const PRELUDE: &[u8] = b"local _ENV,pathname,io,page,app=...;";
const OPEN: &[u8] = b"<?lsp";
const CLOSE: &[u8] = b"?>";

/// Why a page cannot be compiled. Errors in its Lua code are found later, when the result is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {mistake}")]
pub struct CompileError {
    /// The line of the page, counted from 1.
    pub line: usize,
    pub mistake: Mistake,
}

/// What is wrong with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    #[error("'<?lsp' without '?>': close the tag")]
    UnclosedTag,
    #[error("'?>' within a quoted string ends the Lua code: write it as '?\\62'")]
    UnclosedString,
}

/// Compiles a page. The result is a chunk to be called as `chunk(_ENV, pathname, io, page, app)`; it writes text through
/// the function `_emit` of that environment. An empty page emits nothing.
pub fn compile(page: &[u8]) -> Result<Vec<u8>, CompileError> {
    let mut output = Output { lua: PRELUDE.to_vec(), line: 1, lexer: Lexer::default() };
    output.lua.reserve(page.len() + page.len() / 4);
    let mut rest = page;
    while let Some(tag) = find(rest, OPEN) {
        output.text(&rest[..tag]);
        let inside = &rest[tag + OPEN.len()..];
        let unclosed = CompileError { line: output.line, mistake: Mistake::UnclosedTag };
        let end = find(inside, CLOSE).ok_or(unclosed)?;
        match &inside[..end] {
            [b'=', expression @ ..] => output.expression(expression)?,
            code => output.code(code)?,
        }
        rest = &inside[end + CLOSE.len()..];
    }
    output.text(rest);
    Ok(output.lua)
}

/// The Lua source, while it is written.
struct Output {
    lua: Vec<u8>,
    /// The line of the page that has been reached.
    line: usize,
    lexer: Lexer,
}

impl Output {
    /// Adds text: a call of `_emit`, and as many line breaks as the text has.
    fn text(&mut self, text: &[u8]) {
        let shown = without_first_break(text);
        if !shown.is_empty() {
            self.lua.extend_from_slice(b" _emit\"");
            escape(shown, &mut self.lua);
            // The semicolon keeps Lua from reading code that begins with a parenthesis as a call of what `_emit`
            // returns.
            self.lua.extend_from_slice(b"\";");
        }
        let breaks = count_breaks(text);
        self.lua.resize(self.lua.len() + breaks, b'\n');
        self.line += breaks;
    }

    /// Adds code, with blanks on both sides, since none are required in the page: `<?lspx=1?>` is code, too.
    fn code(&mut self, code: &[u8]) -> Result<(), CompileError> {
        self.lua.push(b' ');
        self.lua_code(code)?;
        self.lua.push(b' ');
        Ok(())
    }

    /// Adds an expression. It is followed by another argument, so that it gives exactly one value, even if it is a call
    /// that returns none or several.
    fn expression(&mut self, expression: &[u8]) -> Result<(), CompileError> {
        self.lua.extend_from_slice(b" _emit(tostring(");
        self.lua_code(expression)?;
        self.lua.extend_from_slice(b",nil));");
        Ok(())
    }

    /// Adds Lua code of a block, without the comment that the block's end cuts off.
    fn lua_code(&mut self, code: &[u8]) -> Result<(), CompileError> {
        let unclosed = |UnclosedString { at }| CompileError {
            line: self.line + count_breaks(&code[..at]),
            mistake: Mistake::UnclosedString,
        };
        let kept = self.lexer.without_open_comment(code).map_err(unclosed)?;
        self.lua.extend_from_slice(kept);
        self.line += count_breaks(code);
        Ok(())
    }
}

/// Knows as much of Lua's syntax as is needed to tell whether a block ends within a comment or string.
#[derive(Default)]
struct Lexer {
    /// Within a long string or long comment: the number of `=` in its brackets.
    long: Option<usize>,
}

/// A quoted string that the block's end cuts off, and the position where it begins.
struct UnclosedString {
    at: usize,
}

impl Lexer {
    /// The code without the `--` comment at its end. A comment there has to be dropped: a line break, which would end
    /// it, too, would shift the lines that follow.
    fn without_open_comment<'a>(&mut self, code: &'a [u8]) -> Result<&'a [u8], UnclosedString> {
        let mut at = 0;
        while at < code.len() {
            let rest = &code[at..];
            if let Some(level) = self.long {
                let Some(end) = long_end(rest, level) else { break };
                self.long = None;
                at += end;
            } else if let Some(level) = long_start(rest) {
                self.long = Some(level);
                at += level + 2;
            } else if let Some(comment) = rest.strip_prefix(b"--") {
                at += 2;
                if long_start(comment).is_none() {
                    let Some(end) = comment.iter().position(is_break) else { return Ok(&code[..at - 2]) };
                    at += end;
                }
            } else if matches!(rest[0], b'"' | b'\'') {
                at += string_end(rest).ok_or(UnclosedString { at })?;
            } else {
                at += 1;
            }
        }
        Ok(code)
    }
}

/// The level of the long bracket (`[[`, `[=[`, ...) that the code begins with: the number of its `=`.
fn long_start(code: &[u8]) -> Option<usize> {
    let level = code.strip_prefix(b"[")?.iter().take_while(|&&byte| byte == b'=').count();
    (code.get(level + 1) == Some(&b'[')).then_some(level)
}

/// The length up to and including the closing long bracket.
fn long_end(code: &[u8], level: usize) -> Option<usize> {
    let bracket = [b"]".as_slice(), &b"=".repeat(level), b"]"].concat();
    Some(find(code, &bracket)? + bracket.len())
}

/// The length of the quoted string that the code begins with; `None` if it does not end. An unescaped line break ends
/// it, too: Lua will report that.
fn string_end(code: &[u8]) -> Option<usize> {
    let quote = code[0];
    let mut at = 1;
    loop {
        match code.get(at..)? {
            [b'\\', b'z', blanks @ ..] => at += 2 + blanks.iter().take_while(|byte| byte.is_ascii_whitespace()).count(),
            [b'\\', b'\r', b'\n', ..] => at += 3,
            [b'\\', _, ..] => at += 2,
            [byte, ..] if *byte == quote || is_break(byte) => return Some(at + 1),
            [_, ..] => at += 1,
            [] => return None,
        }
    }
}

/// Escapes text for a quoted Lua string on one line.
fn escape(text: &[u8], lua: &mut Vec<u8>) {
    let mut previous = 0;
    for &byte in text {
        match byte {
            b'\n' if previous == b'\r' => {}
            b'\n' | b'\r' => lua.extend_from_slice(b"\\n"),
            b'"' | b'\\' => lua.extend_from_slice(&[b'\\', byte]),
            0 => lua.extend_from_slice(b"\\000"),
            // Text in the middle of a long comment must not close it.
            b']' => lua.extend_from_slice(b"\\093"),
            _ => lua.push(byte),
        }
        previous = byte;
    }
}

fn without_first_break(text: &[u8]) -> &[u8] {
    match text {
        [b'\r', b'\n', rest @ ..] | [b'\n' | b'\r', rest @ ..] => rest,
        _ => text,
    }
}

fn count_breaks(text: &[u8]) -> usize {
    let pairs = text.windows(2).filter(|pair| pair == b"\r\n").count();
    text.iter().filter(|byte| is_break(byte)).count() - pairs
}

fn is_break(byte: &u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests;
