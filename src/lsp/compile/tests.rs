//! Pages are compiled and run: what they print is what counts.

use mlua::Lua;
use proptest::prelude::*;

use super::*;

/// What a page prints, or the error that stops it.
fn run(page: impl AsRef<[u8]>) -> Result<Vec<u8>, String> {
    let source = compile(page.as_ref()).map_err(|error| error.to_string())?;
    let lua = Lua::new();
    lua.globals().set("source", lua.create_string(&source).unwrap()).unwrap();
    let output: mlua::Result<mlua::LuaString> = lua
        .load(
            r#"
            local out = {}
            local env = setmetatable({_emit = function(x) out[#out + 1] = x end}, {__index = _G})
            assert(load(source, "=page", "t"))(env, "path", {name = "io"}, {name = "page"}, {name = "app"})
            return table.concat(out)
            "#,
        )
        .eval();
    output.map(|text| text.as_bytes().to_vec()).map_err(|error| error.to_string())
}

#[track_caller]
fn prints(page: &str, output: &str) {
    let printed = run(page).map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(printed.as_deref(), Ok(output), "{page:?} became {}", source_of(page));
}

#[track_caller]
fn fails(page: &str, message: &str) {
    let error = run(page).expect_err("the page is wrong");
    assert!(error.contains(message), "{error:?} of {}", source_of(page));
}

fn source_of(page: &str) -> String {
    String::from_utf8(compile(page.as_bytes()).unwrap_or_default()).unwrap()
}

#[test]
fn source_begins_with_the_signature_on_line_one() {
    assert!(source_of("x").starts_with("local _ENV,pathname,io,page,app=..."));
    assert!(source_of("").starts_with("local _ENV,pathname,io,page,app=..."));
}

#[test]
fn page_sees_its_five_arguments() {
    prints("<?lsp=pathname?> <?lsp=io.name?> <?lsp=page.name?> <?lsp=app.name?>", "path io page app");
    prints("<?lsp x = 5 ?><?lsp=_ENV.x?> <?lsp=_G.x?>", "5 nil");
}

#[test]
fn empty_page_prints_nothing() {
    prints("", "");
    prints("<?lsp?>", "");
    prints("<?lsp ?>", "");
}

#[test]
fn text_is_emitted_as_written() {
    prints("a ]] b ]===] \\n \"c\" 'd' äöü 🙂 \u{feff}", "a ]] b ]===] \\n \"c\" 'd' äöü 🙂 \u{feff}");
    prints("#!/bin/lua", "#!/bin/lua");
    prints("nul \0 1\x001 end", "nul \0 1\x001 end");
}

#[test]
fn only_lower_case_lsp_is_a_tag() {
    prints("<?LSP x ?> <?php y ?> <?xml ?> <? z ?> ?>", "<?LSP x ?> <?php y ?> <?xml ?> <? z ?> ?>");
}

#[test]
fn tag_needs_no_blank() {
    prints("<?lspx=1?><?lsp=x?>", "1");
    prints("a<?lsp_emit'b'?>c", "abc");
}

#[test]
fn equals_sign_counts_only_directly_after_the_tag() {
    fails("<?lsp =1?>", "unexpected symbol");
}

#[test]
fn text_that_begins_with_a_line_break_loses_that_one() {
    prints("\nx", "x");
    prints("\n\nx", "\nx");
    prints("<?lsp ?>\nx\n<?lsp=1?>\ny\n", "x\n1y\n");
    prints("<?lsp ?> \nx", " \nx");
    prints("<?lsp ?>\t\nx", "\t\nx");
}

#[test]
fn line_ends_in_text_become_line_feeds() {
    prints("a\r\nb\rc\n\rd\r\n", "a\nb\nc\n\nd\n");
    prints("\r\nx", "x");
    prints("\rx", "x");
    prints("\n\rx", "\nx");
    prints("<?lsp ?>\r\n\r\nx", "\nx");
}

#[test]
fn expression_prints_tostring_of_its_first_value() {
    prints("<?lsp=nil?> <?lsp=3.0?> <?lsp=true?> <?lsp='x'?>", "nil 3.0 true x");
    prints("<?lsp=1,2?> <?lsp=('x'):rep(2)?>", "1 xx");
    prints("<?lsp function several() return 7, 8 end function none() end ?><?lsp=several()?> <?lsp=none()?>", "7 nil");
    prints("<?lsp=\n1\n+\n1\n?>", "2");
    prints("<?lsp=setmetatable({}, {__tostring = function() return 'me' end})?>", "me");
}

#[test]
fn expression_is_not_a_statement() {
    fails("<?lsp=5;?>", "page:1:");
    fails("<?lsp=?>", "page:1:");
    fails("<?lsp=x=1?>", "page:1:");
}

#[test]
fn blocks_join_into_one_function() {
    prints("<?lsp for i = 1, 3 do ?>[<?lsp=i?>]<?lsp end ?>", "[1][2][3]");
    prints("<?lsp if false then ?>no<?lsp else ?>yes<?lsp end ?>", "yes");
    prints("<?lsp local function b(x) ?><b><?lsp=x?></b><?lsp end b'1' b'2' ?>", "<b>1</b><b>2</b>");
    prints("<?lsp local a <const> = 1 ?>x<?lsp=a?>", "x1");
    prints("<?lsp for i = 1, 3 do if i == 2 then goto next end ?>(<?lsp=i?>)<?lsp ::next:: end ?>", "(1)(3)");
}

#[test]
fn code_that_begins_with_a_parenthesis_is_no_call_of_the_text_before_it() {
    prints("a<?lsp ('x'):rep(2) ?>b", "ab");
    prints("<?lsp=1?><?lsp (_emit)'x' ?>b", "1xb");
    prints("<?lsp ('x'):rep(2) ?>b", "b");
}

#[test]
fn comment_stops_at_the_end_of_its_block() {
    prints("<?lsp -- note ?>text", "text");
    prints("<?lsp x = 1 -- note ?>a\nb<?lsp=x -- note ?>", "a\nb1");
    prints("<?lsp -- it's a \"note ?>text", "text");
    prints("<?lsp --[ not long ?>text", "text");
    prints("<?lsp --[=x ?>text", "text");
    prints("<?lsp -- one\n x = 2 -- two ?><?lsp=x?>", "2");
    prints("<?lsp x = 3 -- as many as there are\n-- four ?><?lsp=x?>", "3");
    prints("<?lsp x = 'abc\\z\n' -- it's ?>text", "text");
    prints("<?lsp x = 'abc\\\r\n' -- it's ?>text", "text");
}

#[test]
fn dashes_in_a_string_are_no_comment() {
    prints("<?lsp x = '-- no' ?><?lsp=x?>", "-- no");
    prints("<?lsp x = [[-- no]] ?><?lsp=x?>", "-- no");
    prints("<?lsp x = 'it\\'s -- no' ?><?lsp=x?>", "it's -- no");
    prints("<?lsp x = 'a\\z \n -- b' ?><?lsp=x?>", "a-- b");
    prints("<?lsp x = 'a\\\r\n -- b' ?><?lsp=x?>", "a\n -- b");
    prints("<?lsp x = [[it's -- no]] ?><?lsp=x?>", "it's -- no");
}

#[test]
fn long_comment_takes_out_a_part_of_the_page() {
    prints("a<?lsp --[[ ?> gone ]] <?lsp x = 'don\\'t' ?> <?lsp=y?> <?lsp ]] ?>b", "ab");
    prints("a<?lsp --[==[ ?> gone <?lsp ]] ?> gone <?lsp ]==] -- really ?>b", "ab");
    prints("a<?lsp --[[ short ]] _emit'b' -- end ?>c", "abc");
}

#[test]
fn first_close_ends_the_block_even_in_a_string() {
    fails("x\n<?lsp\nx = 'a ?> b' ?>", "line 3: '?>' within a quoted string");
    prints("<?lsp x = 'a ?\\62 b' ?><?lsp=x?>", "a ?> b");
}

#[test]
fn return_ends_the_page() {
    prints("a<?lsp do return end ?>b", "a");
    prints("a<?lsp if true then return end ?>b", "a");
}

#[test]
fn bare_return_still_emits_the_text_after_it() {
    prints("a<?lsp return ?>b", "ab");
    prints("a<?lsp return ?>\n", "a");
    prints("a<?lsp return -- done ?>\n\nb\n", "a\nb\n");
    prints("a<?lsp return ?>b<?lsp -- end of page ?>", "ab");
    fails("a<?lsp return ?>b<?lsp x = 1 ?>", "page:1:");
}

#[test]
fn unclosed_tag_is_an_error_with_its_line() {
    let error = compile(b"a\r\nb\n<?lsp x = 1\n y = 2").unwrap_err();
    assert_eq!(error, CompileError { line: 3, mistake: Mistake::UnclosedTag });
    assert_eq!(error.to_string(), "line 3: '<?lsp' without '?>': close the tag");
    assert_eq!(compile(b"<?lsp ?><?lsp=").unwrap_err().line, 1);
    assert_eq!(compile(b"<?lsp\n\n?>\n<?lsp").unwrap_err().line, 4);
}

#[test]
fn tags_do_not_nest() {
    fails("<?lsp x = 1 <?lsp y = 2 ?> ?>", "page:1:");
}

#[test]
fn syntax_errors_name_the_line_of_the_page() {
    fails("a\nb\n<?lsp\nlocal = 5\n?>", "page:4:");
    fails("a\n\n<?lsp if x then ?>\n\n", "page:5:");
}

/// Text that may stand between any two tags.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<Vec<u8>>(),
        prop::sample::select(vec!["\n", "\r\n", "\r", "]]", "\"", "\\", "\0", "1", "<?", "?>", "--", "ä", " "])
            .prop_map(|piece| piece.as_bytes().to_vec()),
    ];
    let no_tag = |text: &Vec<u8>| find(text, OPEN).is_none();
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()).prop_filter("a tag", no_tag)
}

fn as_printed(text: &[u8]) -> Vec<u8> {
    let mut shown = Vec::new();
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = if *first == b'\r' { tail.strip_prefix(b"\n").unwrap_or(tail) } else { tail };
        shown.push(if *first == b'\r' { b'\n' } else { *first });
    }
    shown.strip_prefix(b"\n").map(<[u8]>::to_vec).unwrap_or(shown)
}

/// A tag with line breaks in its code.
fn tag() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "<?lsp ?>",
        "<?lsp\n\n?>",
        "<?lsp local x = 1\r\n?>",
        "<?lsp -- note ?>",
        "<?lsp --[[ a\r\nb ]] -- note ?>",
        "<?lsp= '' ?>",
        "<?lsp=\n''\n-- note ?>",
        "<?lsp x = [==[\n]]\n]==] ?>",
        "<?lsp x = 'a\\\nb' ?>",
    ])
}

proptest! {
    #[test]
    fn text_without_tags_prints_itself(text in text()) {
        prop_assert_eq!(run(&text), Ok(as_printed(&text)));
    }

    #[test]
    fn text_between_tags_prints_itself_and_keeps_its_lines(parts in prop::collection::vec((text(), tag()), 0..8)) {
        let page: Vec<u8> = parts.iter().flat_map(|(text, tag)| [text, tag.as_bytes()].concat()).collect();
        let printed: Vec<u8> = parts.iter().flat_map(|(text, _)| as_printed(text)).collect();
        prop_assert_eq!(run(&page), Ok(printed));
        let wrong = [&page, b"<?lsp error('here') ?>".as_slice()].concat();
        let place = format!("page:{}: here", count_breaks(&page) + 1);
        let error = run(wrong).unwrap_err();
        prop_assert!(error.contains(&place), "{} is not in {}", place, error);
    }
}
