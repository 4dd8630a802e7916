//! Modules of apps: `require` and `mako.createloader`.

mod support;

use support::{App, Server};

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
