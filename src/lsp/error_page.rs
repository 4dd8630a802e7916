//! The page that shows a script's error to its author, in a browser.

use crate::bindings::console::Described;

const STYLE: &str = "body{font:16px system-ui;margin:3em auto;max-width:60em;padding:0 1em;color:#222}h1{color:#b00020}\
    p{font-family:monospace;background:#fdecea;padding:1em;border-left:4px solid #b00020;white-space:pre-wrap}\
    pre{background:#f5f5f5;padding:1em;overflow:auto}pre:empty{display:none}";

/// HTML with the error and its traceback. `heading` says what has failed.
pub fn error_page(heading: &str, error: &Described) -> String {
    format!(
        "<!DOCTYPE html><html><head><title>Error</title><style>{STYLE}</style></head><body><h1>{}</h1>\
         <p>{}</p><pre>{}</pre><small>Shown because the server runs with --dev.</small></body></html>\n",
        escape(heading),
        escape(&error.message),
        escape(&error.traceback)
    )
}

/// Escapes text for HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
