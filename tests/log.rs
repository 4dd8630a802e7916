//! The log, and what `RUST_LOG` makes of it.

mod support;

use support::{App, Server};

#[test]
fn a_rust_log_that_is_empty_or_no_filter_leaves_the_usual_log() {
    for level in ["", "info=x=y"] {
        let app = App::new().file(".preload", "print'what a script says'");
        let server = Server::start_with(app, &[], &[("RUST_LOG", level)]);
        server.expect_output("INFO lua: what a script says");
    }
}
