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
