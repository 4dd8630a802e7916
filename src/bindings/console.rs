//! What scripts say on the console, and how their errors are shown there.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use mlua::{Error, Lua, Value};

use super::args::plain_text;
use super::coroutine::is_page_ended;

/// What Lua says, without a place, when a script waits within a C function.
pub const INNER_WAIT: &str = "attempt to yield across a C-call boundary";

/// What it means.
const INNER_WAIT_EXPLAINED: &str = "a function that waits, such as ba.sleep or coroutine.yield, was called by one that is not \
                                    written in Lua, such as string.gsub or table.sort; call it before or after that";

/// How a script's error reads: one line, and where it happened.
pub struct Described {
    /// The message, beginning with `file:line:` when that is known.
    pub message: String,
    /// `stack traceback:` and one frame a line; empty when there is none.
    pub traceback: String,
}

/// An error as text, which may end with a traceback.
impl From<String> for Described {
    fn from(text: String) -> Self {
        match text.split_once("\nstack traceback:") {
            Some((message, frames)) => Self { message: message.into(), traceback: format!("stack traceback:{frames}") },
            None => Self { message: text, traceback: String::new() },
        }
    }
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.traceback.is_empty() { Ok(()) } else { write!(f, "\n{}", self.traceback) }
    }
}

/// Errors of scripts that are logged within a second. Clients can bring one about with every message.
const ERRORS_PER_SECOND: u32 = 200;

thread_local! {
    static ERRORS: Cell<Quota> = const { Cell::new(Quota { since: None, count: 0 }) };
}

/// What was logged in the second that began then.
#[derive(Clone, Copy)]
struct Quota {
    since: Option<Instant>,
    count: u32,
}

impl Quota {
    /// Counts one more, at this time. With the first of a new second: how many were too many in the one before.
    fn count(&mut self, now: Instant) -> (u32, Option<u32>) {
        let is_over = self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1));
        let missed = self.count.checked_sub(ERRORS_PER_SECOND).filter(|&missed| is_over && missed > 0);
        if is_over {
            *self = Self { since: Some(now), count: 0 };
        }
        self.count += 1;
        (self.count, missed)
    }
}

/// Logs a script's error with its traceback. `what` says whose error it is, such as `GET /index.lsp`. Of very many within a
/// second only the first are logged. That a callback has answered a deferred response, which ends it as it ends a page, is
/// no error.
pub fn report(what: &str, error: &Error) {
    if is_page_ended(error) {
        return;
    }
    let mut quota = ERRORS.get();
    let (count, missed) = quota.count(Instant::now());
    ERRORS.set(quota);
    if let Some(missed) = missed {
        tracing::error!(target: "lua", "{missed} more errors were not logged, as too many came within a second");
    }
    if count > ERRORS_PER_SECOND {
        return;
    }
    tracing::error!(target: "lua", "{what}: {}", describe(error));
}

/// Shows a line that a script has written.
pub fn line(text: &str) {
    tracing::info!(target: "lua", "{text}");
}

/// The values as `print` shows them: separated by tabs. Never fails, so that a trace cannot break what it watches.
pub fn join(lua: &Lua, values: impl IntoIterator<Item = Value>) -> String {
    let show = |value: Value| match plain_text(lua, &value) {
        Some(text) => String::from_utf8_lossy(&text).into_owned(),
        None => value.to_string().unwrap_or_else(|_| format!("<{}>", value.type_name())),
    };
    values.into_iter().map(show).collect::<Vec<_>>().join("\t")
}

/// Finds the message and the innermost traceback of an error.
pub fn describe(error: &Error) -> Described {
    let mut cause = error;
    let mut frames = "";
    while let Error::CallbackError { traceback, cause: inner } = cause {
        cause = inner;
        frames = traceback;
    }
    let text = match cause {
        Error::RuntimeError(message) | Error::SyntaxError { message, .. } => message.clone(),
        Error::BadArgument { to: Some(method), name: Some(name), .. } if name == "self" => {
            format!("{method}: call it with a colon, on its object")
        }
        other => other.to_string(),
    };
    let mut described = Described::from(text);
    // Lua's own errors carry their traceback in the text, and their place in front.
    let is_of_lua = !described.traceback.is_empty();
    described.traceback = frames_of_scripts(if is_of_lua { &described.traceback } else { frames });
    let place = place_in_front(&described.traceback);
    if !is_of_lua && !begins_with_a_place(&described.message) {
        described.message.insert_str(0, &place);
    } else if described.message == INNER_WAIT {
        described.message = format!("{place}{INNER_WAIT_EXPLAINED}");
    }
    described
}

/// An error's text as a script catches it. That the script has waited within a C function is explained here, too, with the
/// place of the call that is running.
pub fn caught_text(lua: &Lua, text: mlua::LuaString) -> mlua::Result<mlua::LuaString> {
    if text != INNER_WAIT {
        return Ok(text);
    }
    let traceback = frames_of_scripts(&lua.traceback(None, 0)?.to_string_lossy());
    lua.create_string(place_in_front(&traceback) + INNER_WAIT_EXPLAINED)
}

/// A traceback in which what mlua runs by means of Lua code of its own, such as functions that wait, is one frame like any
/// other, not two; and without the built-in loops that call scripts.
fn frames_of_scripts(traceback: &str) -> String {
    let mut frames: Vec<Cow<str>> = Vec::new();
    for line in traceback.trim_end().lines() {
        match line.strip_prefix("\t__mlua_").and_then(|frame| frame.split_once(": in ")) {
            Some((_, function)) => {
                frames.pop();
                frames.push(format!("\t[C]: in {function}").into());
            }
            None => frames.push(line.into()),
        }
    }
    while frames.pop_if(|frame| frame.starts_with("\t[smq]:")).is_some() {}
    frames.join("\n")
}

/// What a message begins with that lacks its place; empty if no frame belongs to a script.
fn place_in_front(traceback: &str) -> String {
    place(traceback).map(|place| format!("{place}: ")).unwrap_or_default()
}

/// The `file:line` of the first frame that belongs to a script. Built-in code is in brackets or has no line.
fn place(traceback: &str) -> Option<&str> {
    let frames = traceback.lines().filter_map(|line| line.strip_prefix('\t'));
    frames
        .filter(|frame| !frame.starts_with(['[', '(']))
        .find_map(|frame| frame.split_once(": in ").map(|(place, _)| place))
}

/// Whether the text begins with `file:line:`.
fn begins_with_a_place(text: &str) -> bool {
    let Some((before, _)) = text.split_once(": ") else { return false };
    let Some((_, line)) = before.rsplit_once(':') else { return false };
    !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use mlua::UserDataMethods;

    use super::*;

    #[test]
    fn a_method_that_is_called_with_a_dot_is_told_so() {
        let lua = Lua::new();
        lua.register_userdata_type::<u8>(|class| class.add_method("open", |_, _, ()| Ok(()))).unwrap();
        lua.globals().set("object", lua.create_any_userdata(5u8).unwrap()).unwrap();
        let error = lua.load("object.open('x')").set_name("@x.lsp").exec().unwrap_err();
        let message = describe(&error).message;
        assert_eq!(message, "x.lsp:1: u8.open: call it with a colon, on its object");
    }

    #[test]
    fn what_cannot_wait_where_it_is_called_is_told_so() {
        let lua = Lua::new();
        let script = lua.load("x = 1\nstring.gsub('x', '.', coroutine.yield)").set_name("@x.lsp");
        let thread = lua.create_thread(script.into_function().unwrap()).unwrap();
        let message = describe(&thread.resume::<()>(()).unwrap_err()).message;
        assert!(message.starts_with("x.lsp:2: a function that waits, such as ba.sleep"), "{message}");
    }

    #[test]
    fn an_error_without_a_traceback_is_one_line() {
        let error = Error::runtime("index.lsp:3: unexpected symbol near '='");
        assert_eq!(describe(&error).to_string(), "index.lsp:3: unexpected symbol near '='");
    }

    #[test]
    fn of_very_many_errors_the_first_of_each_second_are_logged_and_the_rest_counted() {
        let (mut quota, start) = (Quota { since: None, count: 0 }, Instant::now());
        for number in 1..=ERRORS_PER_SECOND + 7 {
            assert_eq!(quota.count(start), (number, None));
        }
        assert_eq!(quota.count(start + Duration::from_secs(1)), (1, Some(7)));
        assert_eq!(quota.count(start + Duration::from_secs(3)), (1, None));
    }

    #[test]
    fn a_place_is_a_file_and_a_line() {
        assert!(begins_with_a_place("index.lsp:3: attempt to call a nil value"));
        assert!(!begins_with_a_place("bad argument #1 'name' to 'f' (string expected, got nil)"));
        assert!(!begins_with_a_place("index.lsp: cannot be read"));
    }

    #[test]
    fn the_place_of_an_error_skips_built_in_frames() {
        let traceback =
            "stack traceback:\n\t[C]: in function 'f'\n\t[smq]:7: in function 'g'\n\tx.lsp:2: in main chunk";
        assert_eq!(place(traceback), Some("x.lsp:2"));
    }

    #[test]
    fn a_traceback_ends_where_the_script_was_called() {
        let traceback = "stack traceback:\n\t[smq]:7: in function 'require'\n\tx.lua:4: in local 'callback'\n\
                         \t[smq]:10: in upvalue 'run'\n\t[smq]:17: in function <[smq]:16>";
        let shown = "stack traceback:\n\t[smq]:7: in function 'require'\n\tx.lua:4: in local 'callback'";
        assert_eq!(frames_of_scripts(traceback), shown);
    }

    #[test]
    fn the_place_of_an_error_may_be_in_preload_or_a_module() {
        let traceback =
            "stack traceback:\n\t[C]: in field 'rnd'\n\t...\t(skipping 7 levels)\n\t.lua/m.lua:3: in function 'm.f'";
        assert_eq!(place(traceback), Some(".lua/m.lua:3"));
    }
}
