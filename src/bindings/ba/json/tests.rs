use mlua::{Lua, Table};
use proptest::prelude::*;

use super::*;

fn lua() -> Lua {
    let lua = Lua::new();
    let ba = lua.create_table().unwrap();
    ba.set("json", library(&lua).unwrap()).unwrap();
    lua.globals().set("ba", ba).unwrap();
    lua.load("function shut() end encode, decode, null = ba.json.encode, ba.json.decode, ba.json.null").exec().unwrap();
    lua
}

/// What a Lua expression gives, as `tostring` would show it.
fn eval(expression: &str) -> String {
    let code = format!(
        "local shown = table.pack({expression}) for i = 1, shown.n do shown[i] = tostring(shown[i]) end
         return table.concat(shown, ' ')"
    );
    lua().load(code).eval::<String>().unwrap_or_else(|error| error.to_string())
}

#[track_caller]
fn encodes(expression: &str, text: &str) {
    assert_eq!(eval(&format!("encode({expression})")), text);
}

/// Decodes, encodes and compares: for texts that have one way to be written.
#[track_caller]
fn reads(text: &str, canonical: &str) {
    let lua = lua();
    let value = decode(&lua, text.as_bytes()).unwrap_or_else(|reason| panic!("{text:?}: {reason}"));
    assert_eq!(String::from_utf8(encode(value.as_table().unwrap()).unwrap()).unwrap(), canonical);
}

#[track_caller]
fn refuses(texts: &[&str], expected: &str) {
    for text in texts {
        let reason = decode(&lua(), text.as_bytes()).expect_err(text);
        assert_eq!(reason.to_string(), expected, "{text:?}");
    }
}

#[test]
fn empty_table_is_an_object_also_a_decoded_empty_array() {
    encodes("{}", "{}");
    reads("[]", "{}");
    encodes("{a = {}}", r#"{"a":{}}"#);
}

#[test]
fn table_with_a_first_item_is_an_array_of_its_sequence() {
    encodes("{1, 2, x = 3}", "[1,2]");
    encodes("{1, nil, 3}", "[1,null,3]");
    encodes("{false}", "[false]");
}

#[test]
fn numeric_keys_without_a_first_item_become_names() {
    encodes("{[2] = 'b'}", r#"{"2":"b"}"#);
    encodes("{[1.5] = 'b'}", r#"{"1.5":"b"}"#);
    encodes("{[0] = 'b', [true] = 'dropped'}", r#"{"0":"b"}"#);
}

#[test]
fn functions_threads_cycles_and_null_become_null() {
    encodes("{shut, coroutine.create(shut), null, io.stdout}", "[null,null,null,null]");
    encodes("(function() local t = {1} t[2] = t return t end)()", "[1,null]");
    encodes("(function() local t = {} return {t, t} end)()", "[{},{}]");
}

#[test]
fn floats_are_short_and_without_a_trailing_zero() {
    encodes("{2.0, 0.1, 1/3, -0.5}", "[2,0.1,0.3333333333333333,-0.5]");
    encodes("{1e15, 1e20, 1e300, 1e-7, 2^53}", "[1000000000000000,1e20,1e300,1e-7,9007199254740992]");
    encodes("{math.maxinteger, math.mininteger}", "[9223372036854775807,-9223372036854775808]");
    encodes("{0/0, 1/0, -1/0}", "[null,null,null]");
}

#[test]
fn strings_are_escaped_and_unicode_is_kept() {
    encodes(r#"{'"\\/\n\r\t\0\31\127'}"#, "[\"\\\"\\\\\\/\\n\\r\\t\\u0000\\u001f\u{7f}\"]");
    encodes("{'ä€🙂'}", r#"["ä€🙂"]"#);
    encodes(r"{'a\xff\xf0\x9fb'}", "[\"a\u{fffd}\u{fffd}b\"]");
    encodes("{['ä\"'] = 1}", r#"{"ä\"":1}"#);
}

#[test]
fn several_tables_are_concatenated() {
    encodes("{1}, {a = 2}, {}", r#"[1]{"a":2}{}"#);
}

#[test]
fn only_tables_can_be_encoded() {
    assert!(eval("encode()").contains("bad argument #1 'table' to 'ba.json.encode' (table expected, got no value)"));
    assert!(eval("encode({}, 5)").contains("bad argument #2 'table' to 'ba.json.encode' (table expected, got 5)"));
}

#[test]
fn metamethods_do_not_run() {
    encodes("setmetatable({a = 1}, {__index = error, __pairs = error, __len = error})", r#"{"a":1}"#);
}

#[test]
fn nesting_is_bounded_in_both_directions() {
    let nested = |depth: usize| "[".repeat(depth) + "1" + &"]".repeat(depth);
    reads(&nested(MAX_DEPTH), &nested(MAX_DEPTH));
    refuses(&[&nested(MAX_DEPTH + 1), &"[".repeat(1_000_000)], "parse");
    let deep = "(function() local t = {} for i = 1, 1e5 do t = {t} end return t end)()";
    assert!(eval(&format!("encode({deep})")).contains("nested deeper than 128"));
}

#[test]
fn decodes_every_kind_of_value() {
    reads(r#" { "a" : [ 1 , -2.5 , true , false , null , "x" ] } "#, r#"{"a":[1,-2.5,true,false,null,"x"]}"#);
    reads(r#"["\"\\\/\b\f\n\r\t"]"#, r#"["\"\\\/\u0008\u000c\n\r\t"]"#);
    reads(r#"["\u00e4\u20AC\ud83d\ude42"]"#, r#"["ä€🙂"]"#);
    reads("[\"ä€🙂\"]", "[\"ä€🙂\"]");
    assert_eq!(eval(r#"decode'{"a":1,"a":2}'.a"#), "2");
    assert_eq!(eval(r#"decode'{"":5}'['']"#), "5");
}

#[test]
fn half_a_surrogate_pair_becomes_the_replacement_character() {
    reads(r#"["\ud83d","\ude42","\ud83dx","\ud83d\u0041"]"#, "[\"\u{fffd}\",\"\u{fffd}\",\"\u{fffd}x\",\"\u{fffd}A\"]");
}

#[test]
fn integers_stay_integers_and_large_ones_become_floats() {
    assert_eq!(eval("table.unpack(decode'[1, 1.0, 1e3, -7, 0]')"), "1 1.0 1000.0 -7 0");
    assert_eq!(
        eval("table.unpack(decode'[9223372036854775807, 9223372036854775808]')"),
        "9223372036854775807 9.2233720368548e+18"
    );
    assert_eq!(eval("decode'[1e999]'[1]"), "inf");
}

#[test]
fn null_is_a_value_of_its_own() {
    assert_eq!(
        eval("type(null), null ~= nil, decode'[null]'[1] == null, decode'{\"a\":null}'.a == null"),
        "userdata true true true"
    );
}

#[test]
fn comments_are_skipped() {
    reads("// first\n[1, // one\n /* two * / */ 2 /**/]", "[1,2]");
    reads("[1 /*/, 3 */, 2]", "[1,2]");
    reads("{// a\r\"a\"/* b */:/* c */1/***/}", r#"{"a":1}"#);
    reads("{\"menu\":[{\"name\":\"x\",},],// last\n}".replace(",],", "],").as_str(), r#"{"menu":[{"name":"x"}]}"#);
}

#[test]
fn comma_may_follow_the_last_member_of_an_object() {
    reads(r#"{"a":1,}"#, r#"{"a":1}"#);
    reads("{\"a\":1, // note\n}", r#"{"a":1}"#);
    refuses(&[r#"{,}"#, r#"{"a":1,,}"#, "[1,]", "[,]", "[1,,2]"], "parse");
}

#[test]
fn quotes_may_be_single() {
    reads(r#"{'a':'b"c\'d'}"#, r#"{"a":"b\"c'd"}"#);
    refuses(&[r#"['a"] "#], "needmoredata");
}

#[test]
fn strings_may_hold_raw_control_characters() {
    reads("[\"a\nb\tc\0\"]", r#"["a\nb\tc\u0000"]"#);
}

#[test]
fn numbers_may_have_leading_zeros() {
    assert_eq!(eval("table.unpack(decode'[007, -01, 00.5]')"), "7 -1 0.5");
}

#[test]
fn other_liberties_are_refused() {
    refuses(
        &["{a:1}", "{1:1}", "# c\n[1]", "\u{feff}[1]", "[+1]", "[.5]", "[1.]x", "[1.]", "[1e]", "[0x1]", "[01x]"],
        "parse",
    );
    refuses(
        &["[NaN]", "[Infinity]", "[nil]", "[True]", "[\"\\x41\"]", "[\"\\u00g0\"]", "{\"a\" 1}", "{\"a\":}", "[1 2]"],
        "parse",
    );
    refuses(&["[1}", "{\"a\":1]", "]", "/ [1]", "[1] // end", "[1] x", "[1],", "{\"a\":1;}"], "parse");
}

#[test]
fn only_objects_and_arrays_stand_at_the_top() {
    refuses(&["5", "\"x\"", "true", "null", "hello", "-"], "parse");
    refuses(
        &[
            "",
            " \n",
            "// only\n",
            "/* open",
            "/",
            "[",
            "[1",
            "[1,",
            "{",
            "{\"a",
            "{\"a\"",
            "{\"a\":",
            "[tr",
            "[-",
            "[1e",
            "[\"\\",
            "[\"\\u00",
        ],
        "needmoredata",
    );
    assert_eq!(eval("decode'5'"), "nil parse");
    assert_eq!(eval("decode'['"), "nil needmoredata");
}

#[test]
fn several_values_come_back_one_by_one() {
    assert_eq!(eval("select('#', decode'{} [] {}')"), "3");
    assert_eq!(eval("(function(a, b) return a[1], b.x end)(decode'[1]{\"x\":2} ')"), "1 2");
    assert_eq!(eval("decode'[1] ['"), "nil needmoredata");
    assert_eq!(eval("decode'[1] 2'"), "nil parse");
    assert_eq!(eval("select('#', decode(('[]'):rep(4096)))"), "4096");
    assert_eq!(eval("decode(('[]'):rep(4097))"), "nil parse");
    refuses(&["[1][2]"], "parse");
}

#[test]
fn decode_wants_a_string() {
    assert!(eval("decode()").contains("bad argument #1 'text' to 'ba.json.decode' (string expected, got no value)"));
    assert!(eval("decode{}").contains("string expected, got table"));
    assert_eq!(eval("decode(5)"), "nil parse");
}

#[test]
fn large_arrays_pass() {
    assert_eq!(eval("#decode('[' .. ('\"x\",'):rep(2e6) .. '1]')"), "2000001");
}

/// A Lua table with members of all kinds, as a Lua expression.
fn lua_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|n| if n == i64::MIN { "0".into() } else { n.to_string() }),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("({n:e})")),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<String>().prop_map(|s| quoted(&s)),
        Just("ba.json.null".to_owned()),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("{{{}}}", items.join(","))),
            prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(name, value)| format!("[{}]={value}", quoted(name))).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn quoted(text: &str) -> String {
    let bytes: Vec<_> = text.bytes().map(|byte| format!("\\{byte:03}")).collect();
    format!("'{}'", bytes.concat())
}

const SAME: &str = "
    function same(a, b)
        if type(a) ~= 'table' or type(b) ~= 'table' then return a == b end
        for k, v in pairs(a) do if not same(v, b[k]) then return false end end
        for k in pairs(b) do if a[k] == nil then return false end end
        return true
    end";

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(value in lua_value()) {
        let lua = lua();
        lua.load(SAME).exec().unwrap();
        let code = format!("local t = {{x = {value}}} return same(decode(encode(t)), t)");
        prop_assert!(lua.load(code).eval::<bool>().unwrap());
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>, text in r#"[\[\]{}"':,/*\\u0-9a-f truefalsn.eE+-]{0,40}"#) {
        let lua = lua();
        for input in [bytes.as_slice(), text.as_bytes()] {
            if let Ok(value) = decode(&lua, input) {
                encode(value.as_table().unwrap()).unwrap();
            }
        }
    }

    #[test]
    fn each_beginning_of_a_text_needs_more_data(value in lua_value()) {
        let lua = lua();
        let table: Table = lua.load(format!("return {{x = {value}}}")).eval().unwrap();
        let text = encode(&table).unwrap();
        for end in 0..text.len() {
            prop_assert!(matches!(decode(&lua, &text[..end]), Err(Reason::NeedMoreData)));
        }
    }
}
