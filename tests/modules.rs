//! Modules of apps: `require` and `mako.createloader`.

mod support;

use support::{App, Server};

#[test]
fn an_error_tells_the_line_of_the_script_that_requires_or_none() {
    let app = App::new()
        .file(".preload", "mako.createloader(io)")
        .file(".lua/call.lua", "local module = require'nosuch'\nreturn module")
        .file(".lua/tailcall.lua", "return require'nosuch'")
        .file(".lua/itself.lua", "return require'itself'")
        .file("index.lsp", "<?lsp local function f() require(request:data'name') end\nprint(select(2, pcall(f))) ?>");
    let server = Server::start(app);
    let first_line = |name: &str| {
        let body = server.get(&format!("/?name={name}")).body;
        body.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(first_line("nosuch"), "index.lsp:1: module 'nosuch' not found:");
    assert_eq!(first_line("call"), ".lua/call.lua:1: module 'nosuch' not found:");
    assert_eq!(first_line("tailcall"), "module 'nosuch' not found:");
    let problem = "module 'itself' requires itself, or what it requires requires it: there is no end to it";
    assert_eq!(first_line("itself"), problem);
}

#[test]
fn an_app_that_has_not_called_createloader_is_told_of_it() {
    let page = "<?lsp print(select(2, pcall(require, 'util'))) ?>";
    let server = Server::start(App::new().file("index.lsp", page).file(".lua/util.lua", "return 1"));
    assert_eq!(
        server.get("/").body,
        "module 'util' not found:\n\tno field package.preload['util']\n\t(an app's own modules are in its folder .lua, \
         where require looks after mako.createloader(io))\n"
    );
}

/// An app with a module `util`, which says where it is from.
fn app(preload: &str, own: &str) -> App {
    App::new()
        .file(".preload", format!("mako.createloader(io) {preload}"))
        .file(".lua/util.lua", format!("return '{own}'"))
        .file("index.lsp", "<?lsp response:write(require'util') ?>")
}

#[test]
fn two_apps_with_a_module_of_the_same_name_share_one_and_the_log_says_so() {
    for preload in ["util = require'util'", ""] {
        let second = app(preload, "second");
        let path = format!("second::{}", second.path().display());
        let server = Server::start_with(app(preload, "first"), &[&path], &[]);
        let loaded_by = server.get("/").body;
        assert_eq!(server.get("/second/").body, loaded_by);
        server.expect_output("require\"util\" loads .lua/util.lua of ");
        assert_eq!(server.output().matches("for all apps").count(), 1, "{}", server.output());
    }
}
