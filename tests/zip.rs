//! Zip files as apps, and the built-in files: like folders, and nobody can write to them.

mod support;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use support::*;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A zip file with these files, compressed.
fn zip_file(files: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("the system has room for a temporary folder");
    let path = folder.path().join("app.zip");
    let mut zip = ZipWriter::new(File::create(&path).expect("the folder is ours"));
    for (name, contents) in files {
        zip.start_file(*name, SimpleFileOptions::default()).expect("a valid name");
        zip.write_all(contents.as_bytes()).expect("the file is open");
    }
    zip.finish().expect("the file is open");
    (folder, path)
}

/// A server with the zip file at `/zip/` beside an empty app.
fn serve(files: &[(&str, &str)]) -> (Server, TempDir) {
    let (folder, path) = zip_file(files);
    (Server::start_with(App::new(), &[&format!("zip::{}", path.display())], &[]), folder)
}

#[test]
fn a_zip_file_is_served_like_a_folder() {
    let (server, _folder) = serve(&[
        (".preload", "mako.createloader(io) greeting = require'words' function onunload() trace'bye' end"),
        (".lua/words.lua", "return 'hello'"),
        ("index.html", "the index"),
        ("style/a.css", "body {}"),
        ("page.lsp", "<?lsp=app.greeting?> <?lsp=io:open('style/a.css'):read'a'?> <?lsp=io:dofile'.lua/words.lua'?>"),
    ]);
    assert_eq!(server.get("/zip/").body, "the index");
    let css = server.get("/zip/style/a.css");
    assert!(css.head.contains("text/css") && css.body == "body {}", "{css:?}");
    assert_eq!(server.get("/zip/page.lsp").body, "hello body {} hello");
    assert_eq!(server.get("/zip/style").status, 302);
    assert!(server.stop("TERM").success());
    server.expect_output("bye");
}

#[test]
fn nothing_hidden_and_nothing_outside_of_a_zip_file_is_reachable() {
    let (server, folder) = serve(&[(".preload", "secret = 1"), ("a/.hidden", "x"), ("a/b.shtml", "x")]);
    std::fs::write(folder.path().join("outside.txt"), "secret").expect("the folder is ours");
    for path in [
        "/zip/.preload",
        "/zip/%2epreload",
        "/zip/a/.hidden",
        "/zip/a/b.shtml",
        "/zip/../outside.txt",
        "/zip/%2e%2e%2foutside.txt",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    assert_eq!(server.get("/zip/a%00").status, 404);
}

#[test]
fn scripts_cannot_write_to_a_zip_file() {
    let (server, _folder) = serve(&[
        ("a/old", "old"),
        (
            "page.lsp",
            "<?lsp for _, call in ipairs{
                function() return io:open('a/new', 'w') end, function() return io:open('a/old', 'r+') end,
                function() return io:open('a/old', 'a') end, function() return io:mkdir'b' end,
                function() return io:remove'a/old' end, function() return io:rename('a/old', 'a/new') end,
                function() return io:rmdir'a' end,
            } do local done, why = call() print(done, why) end
            print(io:open'../outside') print(io:open'a/old':read'a') ?>",
        ),
    ]);
    assert_eq!(server.get("/zip/page.lsp").body, "nil\tnoaccess\n".repeat(8) + "old\n");
}

#[test]
fn a_broken_zip_file_is_reported_and_the_other_apps_run() {
    let folder = tempfile::tempdir().expect("the system has room for a temporary folder");
    let path = folder.path().join("app.zip");
    std::fs::write(&path, "PK\x03\x04 cut off").expect("the folder is ours");
    let app = App::new().file("index.html", "fine");
    let server = Server::start_with(app, &[&format!("zip::{}", path.display())], &[]);
    assert_eq!(server.get("/").body, "fine");
    server.expect_output("app.zip as \"zip\" : failed");
    server.expect_output("cannot unpack");
}

#[test]
fn the_built_in_files_can_be_opened_and_not_changed() {
    let page = "<?lsp
        local vm = ba.openio'vm'
        local names = {}
        for name in vm:files'/' do names[#names + 1] = name end
        print(table.concat(names, ' '))
        print(vm:open('smq.js', 'w'))
        print(vm:remove'smq.js')
        print(vm:open'../x')
        print(ba.openio'nothing')
        print(ba.openio'vm':open'/smq.js':read'a')
    ?>";
    let temporary = tempfile::tempdir().expect("the system has room for a temporary folder");
    let folder = temporary.path().display().to_string();
    let server = Server::start_with(App::new().file("index.lsp", page), &[], &[("TMPDIR", &folder)]);
    let expected = ". .. smq.d.ts smq.js smq.mjs\nnil\tnoaccess\nnil\tnoaccess\nnil\tnoaccess\nnil\n";
    let answer = server.get("/").body;
    assert_eq!(answer, format!("{expected}{}\n", server.get("/rtl/smq.js").body));
    assert!(server.stop("TERM").success());
    assert_eq!(temporary.path().read_dir().expect("it is ours").count(), 0, "nothing is left behind");
}
