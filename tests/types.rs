//! `lua/types` documents every function that scripts can call.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The files of the folder, by path.
static FILES: LazyLock<BTreeMap<PathBuf, String>> = LazyLock::new(|| {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("lua/types")).expect("a folder");
    let paths = files.map(|file| file.expect("readable").path());
    paths.map(|path| (path.clone(), fs::read_to_string(path).expect("text"))).collect()
});

static TYPES: LazyLock<String> = LazyLock::new(|| FILES.values().map(String::as_str).collect());

/// The names that the bindings register with mlua below a folder or in a file, private ones excepted.
fn registered(path: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bindings").join(path);
    let mut found = BTreeSet::new();
    let mut left = vec![path];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(path).expect("a folder").map(|entry| entry.expect("readable").path()));
        } else if path.file_name().is_some_and(|name| name != "tests.rs") {
            names(&fs::read_to_string(path).expect("a source file"), &mut found);
        }
    }
    assert!(!found.is_empty());
    found
}

/// The first argument of each `add_method`, `add_function` and their asynchronous kin.
fn names(source: &str, found: &mut BTreeSet<String>) {
    let calls = [".add_method(", ".add_method_mut(", ".add_async_method(", ".add_function(", ".add_async_function("];
    for kind in calls.into_iter().chain(["add(methods, "]) {
        for call in source.split(kind).skip(1) {
            if let Some(name) = call.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                found.insert(name.to_owned());
            }
        }
    }
}

/// The methods that are documented for a class, or the functions of a table.
fn documented(prefix: &str) -> BTreeSet<String> {
    let lines = TYPES.lines().filter_map(|line| line.strip_prefix("function ")?.strip_prefix(prefix));
    lines.map(|line| line.split('(').next().unwrap_or_default().to_owned()).collect()
}

#[track_caller]
fn expect_documented(registered: &BTreeSet<String>, prefixes: &[&str]) {
    let documented: BTreeSet<String> = prefixes.iter().flat_map(|prefix| documented(prefix)).collect();
    let missing: Vec<_> = registered.difference(&documented).collect();
    assert!(missing.is_empty(), "lua/types lacks {missing:?} of {prefixes:?}");
}

#[test]
fn every_method_of_hub_and_request_is_documented() {
    expect_documented(&registered("hub"), &["Hub:", "HubSocket:"]);
    expect_documented(&registered("request"), &["Request:", "Cookie:", "Collected:", "Deferred:", "BodyReader:"]);
}

#[test]
fn every_method_of_files_is_documented() {
    expect_documented(&registered("io.rs"), &["Io:", "File:"]);
}

#[test]
fn every_method_of_the_http_client_is_documented() {
    expect_documented(&registered("httpc.rs"), &["Httpc:"]);
}

#[test]
fn every_method_of_what_ba_makes_is_documented() {
    let classes = ["Dir:", "Timer:", "Socket:", "Pty:", "Thread:", "DateTime:", "JsonUser:", "Authorizer:", "Session:"];
    expect_documented(&registered("ba"), &classes);
}

/// What scripts see, asked of the program itself.
fn in_server(expression: &str) -> BTreeSet<String> {
    let folder = tempfile::tempdir().expect("the system has room for a temporary folder");
    let script = format!(
        "test('x', function() local names = {{}} for k, v in pairs({expression}) do if type(v) == 'function' then names[#names + 1] = k end end error('NAMES ' .. table.concat(names, ' '), 0) end)"
    );
    fs::write(folder.path().join("a_test.lua"), script).expect("the folder is ours");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_smq")).arg("test").arg(folder.path()).output();
    let said = String::from_utf8(output.expect("cargo has built the binary").stdout).expect("text");
    let names = said.split_once("NAMES ").unwrap_or_else(|| panic!("no names in {said}")).1;
    names.lines().next().unwrap_or_default().split(' ').map(str::to_owned).collect()
}

/// Whether a function of `ba` is there only to say that it is not offered.
fn is_absent(name: &str) -> bool {
    let absent = include_str!("../lua/internal/absent.lua");
    absent.contains(&format!(" {name} = ")) || absent.contains(&format!("[\"create.{name}\"]"))
}

#[test]
fn every_function_of_the_tables_is_documented() {
    for table in ["ba", "ba.json", "ba.create", "ba.socket", "ba.crypto", "ba.thread", "mako"] {
        let functions = in_server(table).into_iter().filter(|name| !is_absent(name)).collect();
        expect_documented(&functions, &[&format!("{table}.")]);
    }
    expect_documented(&in_server("require'httpc'"), &["httpcmodule."]);
    expect_documented(&in_server("require'http'"), &["httpmodule."]);
    expect_documented(&in_server("require'smq.client'"), &["clientmodule."]);
    expect_documented(&in_server("require'smq.hub'"), &["hubmodule."]);
    expect_documented(&in_server("require'smq.broker'"), &["brokermodule."]);
    expect_documented(&in_server("require'rwfile'"), &["rwfile."]);
    expect_documented(&in_server("require'serpent'"), &["serpent."]);
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.split_once(start).unwrap_or_else(|| panic!("no {start}")).1;
    rest.split_once(end).unwrap_or_else(|| panic!("no {end} after {start}")).0
}

#[test]
fn every_option_and_method_of_the_smq_client_is_documented() {
    let source = include_str!("../lua/client/client.lua");
    let documented_options = between(&TYPES, "---@class smq.ClientOptions\n", "\n\n");
    for option in between(source, "local OPTIONS <const> = {", "}").split(',') {
        let name = option.split('=').next().unwrap_or_default().trim();
        let field = format!("---@field {name}? ");
        assert!(name.is_empty() || documented_options.contains(&field), "lua/types lacks {name}");
    }
    let methods = source.lines().filter_map(|line| line.strip_prefix("function Client:")?.split('(').next());
    expect_documented(&methods.map(str::to_owned).collect(), &["Client:"]);
}

#[test]
fn every_field_of_peers_and_of_who_wants_in_is_documented() {
    let peer = (include_str!("../src/bindings/hub/peers.rs"), "table.raw_set(\"", "smq.Peer");
    let newcomer = (include_str!("../src/bindings/hub/connect.rs"), "info.set(\"", "smq.ConnectInfo");
    for (source, call, class) in [peer, newcomer] {
        let documented = between(&TYPES, &format!("---@class {class}\n"), "\n\n");
        let documented =
            documented.lines().filter_map(|line| line.strip_prefix("---@field ")?.split(['?', ' ']).next());
        let set = source.split(call).skip(1).filter_map(|rest| rest.split('"').next());
        let missing: Vec<_> = set.collect::<BTreeSet<_>>().difference(&documented.collect()).copied().collect();
        assert!(missing.is_empty(), "lua/types lacks {missing:?} of {class}");
    }
}

#[test]
fn every_module_has_a_file_that_editors_find_by_its_name() {
    let modules =
        include_str!("../docs/porting.md").lines().find_map(|line| line.strip_prefix("- `require\"smq.hub\"`"));
    let modules = modules.expect("porting.md names the modules").split(';').next().unwrap_or_default();
    for name in modules.split('`').skip(1).step_by(2).chain(["smq.hub"]) {
        assert!(TYPES.contains(&format!("---@meta {name}\n")), "lua/types lacks {name}");
    }
}

#[test]
fn the_annotations_are_lua_and_those_of_a_module_return_it() {
    for (path, types) in FILES.iter() {
        let lua = mlua::Lua::new();
        lua.load("mako = { conf = {} } function require() return {} end").exec().expect("Lua");
        let returned: mlua::Value = lua.load(types).eval().unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert_eq!(returned.is_table(), types.starts_with("---@meta "), "{path:?}");
    }
}
