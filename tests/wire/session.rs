//! What a hub's callbacks learn of the HTTP session and user that a connection came from.

use std::io::Write;

use crate::support::{App, Client, Server};

const PRELOAD: &str = "
    local users = ba.create.jsonuser()
    users:set{eve = {pwd = 'secret'}}
    local guarded = ba.create.dir 'guarded'
    guarded:setauth(ba.create.authenticator(users, {type = 'basic'}))
    dir:insert(guarded)
    local hub = require 'smq.hub'.create{onconnect = function(tid, info)
        local mark = info.session and info.session.mark
        seen = ('%s %s'):format(info.uname, mark == nil and info.session or mark)
    end}
    function connect(request) hub:connect(request) end
    guarded:setfunc(function(_ENV, path) request:session().mark = 'kept' hub:connect(request) end)
";

fn connect(server: &Server, path: &str, header: &str) -> String {
    let mut stream = server.dial();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nSimpleMQ: 1\r\n{header}\r\n").expect("the server reads requests");
    let mut client = Client::raw(stream);
    client.read_init();
    client.login("uid-123456", "", "");
    client.sync();
    server.get("/seen.lsp").body
}

#[test]
fn onconnect_is_told_who_is_logged_in_and_in_which_session() {
    let app = App::new()
        .file(".preload", PRELOAD)
        .file("open.lsp", "<?lsp app.connect(request) ?>")
        .file("seen.lsp", "<?lsp response:write(app.seen) ?>");
    let server = Server::start(app);
    assert_eq!(connect(&server, "/guarded/", "Authorization: Basic ZXZlOnNlY3JldA==\r\n"), "eve kept");
    assert_eq!(connect(&server, "/open.lsp", ""), "nil false");
}
