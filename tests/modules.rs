//! The modules written in Lua. Each file of `tests/lua` gives a table of sentences and functions that show them.

use mlua::{Function, Lua, Table, Value};
use smq::bindings::ba::json;

#[test]
fn serpent() {
    run_file(include_str!("lua/serpent_tests.lua"));
}

#[test]
fn rwfile() {
    run_file(include_str!("lua/rwfile_tests.lua"));
}

#[track_caller]
fn run_file(tests: &str) {
    let lua = environment().unwrap();
    let tests: Table = lua.load(tests).set_name("=tests").eval().unwrap();
    let mut failures = Vec::new();
    for test in tests.pairs::<String, Function>() {
        let (sentence, test) = test.unwrap();
        if let Err(error) = test.call::<()>(()) {
            failures.push(format!("{sentence}: {error}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn environment() -> mlua::Result<Lua> {
    let lua = Lua::new();
    lua.globals().set("ba", lua.create_table_from([("json", ba_json(&lua)?)])?)?;
    lua.load(EQUAL).exec()?;
    for (name, source) in
        [("serpent", include_str!("../lua/serpent.lua")), ("rwfile", include_str!("../lua/rwfile.lua"))]
    {
        let module = lua.load(source).set_name(format!("={name}")).into_function()?;
        lua.preload_module(name, module)?;
    }
    Ok(lua)
}

fn ba_json(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let encode = |lua: &Lua, table: Table| lua.create_string(json::encode(&table)?);
    let decode = |lua: &Lua, text: mlua::LuaString| Ok(json::decode(lua, &text.as_bytes()).unwrap_or(Value::Nil));
    library.set("encode", lua.create_function(encode)?)?;
    library.set("decode", lua.create_function(decode)?)?;
    Ok(library)
}

const EQUAL: &str = r#"
    function equal(actual, expected)
        if actual ~= expected then
            error(("got\n%s\ninstead of\n%s"):format(actual, expected), 2)
        end
    end"#;
