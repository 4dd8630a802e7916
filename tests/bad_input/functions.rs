//! Every function that `lua/types` documents is called with what it does not expect (`sweep.lua` says what that is).

use crate::support::*;

/// The functions that scripts of an app can call.
fn names() -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("lua/types");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("readable").path()).collect();
    files.retain(|path| !path.ends_with("test.lua"));
    files.sort();
    let types: String = files.iter().map(|path| std::fs::read_to_string(path).expect("text")).collect();
    let lines = types.lines().filter_map(|line| line.strip_prefix("function "));
    let names: Vec<_> = lines.filter_map(|line| Some(line.split_once('(')?.0.to_owned())).collect();
    assert!(names.len() > 200, "{}", names.len());
    names
}

fn server() -> Server {
    let app = App::new()
        .file(".preload", "mako.createloader(io) sweep = require'sweep' sweep.hub = require'smq.hub'.create()")
        .file(".lua/sweep.lua", include_str!("sweep.lua"))
        .file("hub.lsp", "<?lsp app.sweep.hub:connect(request) ?>")
        .file("count.lsp", "<?lsp print(app.sweep.count(io)) ?>")
        .file("alive.txt", "alive")
        .file("alive.lsp", "<?lsp ba.sleep(1) ?>alive")
        .file("problems.lsp", "<?lsp response:write(table.concat(app.sweep.problems, '\\n')) ?>")
        .file(
            "call.lsp",
            "<?lsp local data = request:data() \
             app.sweep.sweep(_ENV, io, data.name, math.tointeger(data.first), math.tointeger(data.last)) ?>",
        );
    Server::start_with(app, &["--allow-exec", "--script-limit", "60000"], &[])
}

/// Answers, or the page was ended by the function; but it is no 500 of the page itself.
fn call(server: &Server, name: &str, first: usize, last: usize) {
    let (first, last) = (first.to_string(), last.to_string());
    let answer = server.post_form("/call.lsp", &[("name", name), ("first", &first), ("last", &last)]);
    let is_failed = answer.status == 500 && answer.body.contains("see the server's console");
    assert!(!is_failed, "{name} {first}..{last}: {}\n{}", answer.body, server.output());
}

#[test]
fn every_function_answers_or_raises_an_error_that_names_it() {
    let server = server();
    let counts = server.get("/count.lsp").body;
    let counts: Vec<usize> = counts.split_whitespace().map(|count| count.parse().expect("a number")).collect();
    for name in names() {
        println!("{name}");
        // A method of the request may be the last one of its page.
        let is_last = ["Request:", "Collected:", "Deferred:"].iter().any(|class| name.starts_with(class));
        let (count, step) = if is_last { (counts[1], 1) } else { (counts[0], counts[0]) };
        for first in (1..=count).step_by(step) {
            call(&server, &name, first, first + step - 1);
        }
        assert_eq!(server.get("/alive.txt").body, "alive", "behind {name}");
        assert_eq!(server.get("/alive.lsp").body, "alive", "behind {name}");
    }
    let problems = server.get("/problems.lsp").body;
    assert!(problems.is_empty(), "{problems}");
    assert!(!server.output().contains("panicked"), "{}", server.output());
}
