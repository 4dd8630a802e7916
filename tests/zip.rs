//! Zip files as apps, and the built-in files: like folders, and nobody can write to them.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use support::*;
use tempfile::TempDir;

/// A zip file with these files, compressed.
fn zip_file(files: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("the system has room for a temporary folder");
    let path = folder.path().join("app.zip");
    pack(&path, files);
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
fn the_log_names_the_zip_file_and_not_where_it_is_unpacked() {
    let (server, folder) = serve(&[("index.html", "")]);
    let zip = folder.path().canonicalize().expect("it is still there").join("app.zip");
    server.expect_output(&format!("{} has no .preload", zip.display()));
}

/// The head and the body of a page at `/zip/`, asked for with one more header.
fn ask(server: &Server, path: &str, header: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(server.http()).expect("the server listens");
    let request = format!("GET /zip/{path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{header}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server answers");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let body = answer.split_off(end);
    (String::from_utf8(answer).expect("a head is text").to_lowercase(), body)
}

#[test]
fn what_is_compressed_in_the_zip_file_is_sent_so_to_clients_that_take_it() {
    let style = "body { margin: 0 }\n".repeat(100);
    let (server, _folder) = serve(&[("a.css", &style), ("short.css", "p {}"), ("b.lsp", &style)]);
    let (head, body) = ask(&server, "a.css", "Accept-Encoding: gzip, br");
    assert!(head.contains("content-encoding: gzip\r\n") && head.contains("vary: accept-encoding\r\n"), "{head}");
    assert!(head.contains("content-type: text/css") && body.len() < 200, "{head}");
    let mut unpacked = String::new();
    GzDecoder::new(&body[..]).read_to_string(&mut unpacked).expect("it is gzip");
    assert_eq!(unpacked, style);
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a version").to_owned();
    let (head, _) = ask(&server, "a.css", &format!("Accept-Encoding: gzip\r\nIf-None-Match: {tag}"));
    assert!(head.starts_with("http/1.1 304") && head.contains("vary: accept-encoding\r\n"), "{head}");

    for header in ["X-None: 1", "Accept-Encoding: br", "Accept-Encoding: gzip;q=0"] {
        let (head, body) = ask(&server, "a.css", header);
        assert!(head.contains("vary: accept-encoding\r\n") && !head.contains("content-encoding"), "{head}");
        assert_eq!(body, style.as_bytes());
        assert!(!head.contains(&tag), "{head}");
    }
    let (head, body) = ask(&server, "a.css", "Accept-Encoding: gzip\r\nRange: bytes=0-3");
    assert!(head.starts_with("http/1.1 206") && !head.contains("content-encoding"), "{head}");
    assert_eq!(body, b"body");
    for path in ["short.css", "b.lsp"] {
        assert!(!ask(&server, path, "Accept-Encoding: gzip").0.contains("content-encoding"), "{path}");
    }
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
fn other_users_of_the_machine_cannot_read_what_was_unpacked() {
    let temporary = TempDir::new().expect("the system has room for a temporary folder");
    let (_folder, path) = zip_file(&[(".preload", "password = 'secret'")]);
    let folder = temporary.path().display().to_string();
    let _server = Server::start_with(App::new(), &[&format!("zip::{}", path.display())], &[("TMPDIR", &folder)]);
    let mut unpacked = temporary.path().read_dir().expect("it is ours");
    let unpacked = unpacked.next().expect("the app is unpacked").expect("it is ours");
    let mode = unpacked.metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
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

#[test]
fn a_script_that_ends_the_process_ends_it_in_order() {
    for (call, code) in [("os.exit()", 0), ("os.exit(false)", 1), ("os.exit(7, true) trace'behind it'", 7)] {
        let temporary = TempDir::new().expect("the system has room for a temporary folder");
        let preload =
            "function onunload() trace'unloaded' end mako.onexit(function() trace'the end' end) ba.openio'vm'";
        let (_folder, path) = zip_file(&[(".preload", preload), ("exit.lsp", &format!("<?lsp {call} ?>"))]);
        let folder = temporary.path().display().to_string();
        let app = format!("zip::{}", path.display());
        let server = Server::start_with(App::new(), &[&app], &[("TMPDIR", &folder)]);
        let mut stream = server.dial();
        write!(stream, "GET /zip/exit.lsp HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("the server reads");
        assert_eq!(server.end().code(), Some(code));
        server.expect_output("unloaded");
        server.expect_output("the end");
        assert!(!server.output().contains("behind it"), "{}", server.output());
        assert_eq!(temporary.path().read_dir().expect("it is ours").count(), 0, "nothing is left behind");
    }
}
