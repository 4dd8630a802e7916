//! Paths that lead out of an app, in every spelling, against files, `io`, `include`, `forward` and zip apps. Outside there
//! are files that say `classified`; nobody may see them, or change anything there.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::support::*;
use tempfile::TempDir;

const OUTSIDE: [(&str, &str); 5] = [
    ("marker", ""),
    ("outside.txt", "classified, and of a length that paths.lsp knows"),
    ("outside.lua", "return 'classi' .. 'fied'"),
    ("outside.lsp", "<?lsp='classi' .. 'fied'?>"),
    ("outside/index.html", "classified"),
];

/// A folder with files outside, an app of the name `inner` among them, and another in a zip file.
struct Place {
    root: TempDir,
    server: Server,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("the system has room for a temporary folder");
        for (name, text) in OUTSIDE {
            write(&root.path().join(name), text);
        }
        let app = root.path().join("inner");
        let page = include_str!("paths.lsp");
        let files = [(".preload", "mako.createloader(io)"), ("paths.lsp", page), ("sub/a.txt", "in the app")];
        files.iter().for_each(|(name, text)| write(&app.join(name), text));
        let zip = root.path().join("packed.zip");
        pack(&zip, &files);
        let (app, zip) = (format!("inner::{}", app.display()), format!("zip::{}", zip.display()));
        let server = Server::start_with(App::new().file("served.txt", "from the server"), &[&app, &zip], &[]);
        Self { root, server }
    }

    /// All files outside of the app, with what they hold; folders as well.
    fn outside(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut left = vec![self.root.path().to_owned()];
        while let Some(folder) = left.pop() {
            for entry in fs::read_dir(&folder).expect("it is ours") {
                let path = entry.expect("it can be read").path();
                if path.ends_with("inner") {
                    continue;
                }
                found.insert(path.clone(), fs::read(&path).unwrap_or_default());
                if path.is_dir() {
                    left.push(path);
                }
            }
        }
        found
    }

    /// The answer to a request for exactly this target, whatever it is made of.
    fn get(&self, target: &str) -> String {
        let mut stream = self.server.dial();
        let head = format!("GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("the server reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the server answers and closes");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// What scripts of both apps find at these paths; to the last of them they also forward.
    fn run(&self, paths: &[String]) -> String {
        let mut fields: Vec<_> = paths.iter().map(|path| ("path", path.as_str())).collect();
        fields.extend(paths.last().map(|path| ("forward", path.as_str())));
        let pages = ["/inner/paths.lsp", "/zip/paths.lsp"];
        pages
            .map(|page| {
                self.server.post_form(page, &fields[..paths.len()]).body + &self.server.post_form(page, &fields).body
            })
            .concat()
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("the temporary folder is ours");
    fs::write(path, text).expect("the temporary folder is ours");
}

const UP: [&str; 13] = [
    "..",
    "%2e%2e",
    ".%2E",
    "%2e.",
    "%252e%252e",
    "..%00",
    "..;",
    "...",
    "....",
    ".. ",
    "%c0%ae%c0%ae",
    "%u002e%u002e",
    "\u{ff0e}\u{ff0e}",
];
const SLASHES: [&str; 8] = ["/", "\\", "%2f", "%5C", "%252f", "//", "/./", "%c0%af"];
const BEFORE: [&str; 5] = ["", "sub/", "", "nothing/", "./"];
const TARGETS: [&str; 7] =
    ["outside.txt", "outside.lua", "", "outside.lsp", "outside/", "outside.txt%00.html", "outside.txt"];

/// Spellings of paths from the app to a target outside.
fn ways_out(root: &Path) -> Vec<String> {
    let mut ways = Vec::new();
    for up in UP {
        for slash in SLASHES {
            // Which target is tried behind which climb does not matter, so long as each is tried often.
            for depth in 1..=3 {
                let (before, target) = (BEFORE[ways.len() % BEFORE.len()], TARGETS[ways.len() % TARGETS.len()]);
                ways.push(format!("{before}{}{target}", format!("{up}{slash}").repeat(depth)));
            }
        }
    }
    let root = root.display().to_string();
    for start in ["", "/", "//", "\\", "%2f", "file://", "sub/", "./", "C:", "\\\\?\\"] {
        TARGETS.iter().for_each(|target| ways.push(format!("{start}{root}/{target}")));
    }
    ways.extend(["/proc/self/environ", "/etc/passwd", "~/outside.txt", "$PWD/../outside.txt"].map(str::to_owned));
    ways.push("../".repeat(1000) + "outside.txt");
    ways
}

fn decoded(way: &str) -> String {
    percent_encoding::percent_decode_str(way).decode_utf8_lossy().into_owned()
}

#[track_caller]
fn expect_nothing(way: &str, found: &str) {
    assert!(!found.contains("classified") && !found.contains("LEAK") && !found.contains("root:x:"), "{way}: {found}");
}

#[test]
fn clients_see_nothing_outside_of_an_app() {
    let place = Place::new();
    for way in ways_out(place.root.path()) {
        for target in [format!("/inner/{way}"), format!("/zip/{way}"), format!("/{way}"), format!("/rtl/{way}"), way] {
            let answer = place.get(&target);
            expect_nothing(&target, &answer);
            let status = answer.split(' ').nth(1).unwrap_or_default();
            assert!(["302", "400", "404", "414", "431"].contains(&status) || is_index(&answer), "{target}: {answer}");
        }
    }
    assert_eq!(place.server.get("/inner/sub/a.txt").body, "in the app");
}

/// Some ways lead back into an app, where its built-in page may be.
fn is_index(answer: &str) -> bool {
    answer.starts_with("HTTP/1.0 200") && (answer.contains("in the app") || answer.contains("from the server"))
}

#[test]
fn scripts_see_and_change_nothing_outside_of_an_app() {
    let place = Place::new();
    let before = place.outside();
    for way in ways_out(place.root.path()) {
        let paths = [format!("/{way}"), decoded(&way), format!("/inner/{}", decoded(&way)), way];
        expect_nothing(&paths[3], &place.run(&paths));
    }
    assert_eq!(place.outside(), before);
    assert_eq!(place.server.get("/inner/sub/a.txt").status, 200, "{}", place.server.output());
    assert!(!place.server.output().contains("panicked"));
}

#[cfg(unix)]
#[test]
fn links_lead_out_of_an_app_for_nobody() {
    use std::os::unix::fs::symlink;
    let place = Place::new();
    let app = place.root.path().join("inner");
    for (link, to) in [
        ("folder", ".."),
        ("again", "folder"),
        ("sub/up", "../.."),
        ("file.txt", "../outside.txt"),
        ("file.lua", "../outside.lua"),
        ("file.lsp", "../outside.lsp"),
        ("index.html", "../outside/index.html"),
        ("new.txt", "../new.txt"),
        ("absolute", "/etc"),
        ("loop", "loop"),
        (".hidden", ".."),
    ] {
        symlink(to, app.join(link)).expect("the folder is ours");
    }
    let before = place.outside();
    let mut ways: Vec<_> =
        ["file.txt", "file.lua", "file.lsp", "index.html", "new.txt", "absolute/passwd", "loop", "loop/x", ""]
            .map(str::to_owned)
            .to_vec();
    for folder in ["folder", "again", "sub/up", ".hidden", "sub/../folder", "folder/inner/folder"] {
        ways.extend(TARGETS.map(|target| format!("{folder}/{target}")));
        ways.push(format!("{folder}/new"));
    }
    for way in ways {
        let answer = place.get(&format!("/inner/{way}"));
        expect_nothing(&way, &answer);
        assert!(["HTTP/1.0 404", "HTTP/1.0 302"].iter().any(|status| answer.starts_with(status)), "{way}: {answer}");
        expect_nothing(&way, &place.run(&[format!("/inner/{way}"), way.clone()]));
        // The page may have removed the link itself, which is in the app.
        if !way.is_empty() && !way.contains('/') {
            let _ = fs::remove_file(app.join(&way));
        }
    }
    assert_eq!(place.outside(), before);
}
