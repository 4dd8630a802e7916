//! JSON, cookies, collected and announced output, default headers.

use std::io::Read;
use std::time::SystemTime;

use hyper::header::{CONTENT_ENCODING, SET_COOKIE};

use super::*;

#[tokio::test]
async fn json_is_the_whole_response_and_ends_the_page() {
    let site = site(&[
        ("index.lsp", "lost<?lsp response:json{a=1} ?><?lsp app.ran = true ?>"),
        ("ran.lsp", "<?lsp=tostring(app.ran)?>"),
    ])
    .await;
    let response = site.send("index.lsp", get("/")).await;
    assert_eq!(header(&response, CONTENT_TYPE), "application/json");
    assert_eq!(header(&response, CONTENT_LENGTH), "7");
    assert_eq!(text(response).await, "{\"a\":1}");
    assert_eq!(site.page("ran.lsp").await, "nil");
}

#[tokio::test]
async fn several_tables_are_an_array_and_true_lets_the_page_go_on() {
    assert_eq!(
        run("response:json({1},{b=2},true) app.x = response:valid() response:write'lost'").await,
        "[[1],{\"b\":2}]"
    );
}

#[tokio::test]
async fn json_takes_tables_only() {
    for value in ["", "1", "'x'", "nil", "true"] {
        let text = run(&format!("print(pcall(response.json, response, {value}))").replace(", )", ")")).await;
        assert!(text.contains("bad argument #1 'table' to 'response:json' (table expected, got "), "{value}: {text}");
    }
}

const COMPRESSED: &str = "<?lsp do local x <close> = response:setresponse() ?>hello <?lsp print(('x'):rep(50000)) \
                          app.sent = x:finalize(true) end response:write'lost' ?>";

#[tokio::test]
async fn collected_output_is_compressed_as_the_client_accepts() {
    let site = site(&[("index.lsp", COMPRESSED)]).await;
    let expected = format!("hello {}\n", "x".repeat(50000));
    for (accepted, coding) in [("gzip, deflate, br", "gzip"), ("deflate", "deflate"), ("br", "")] {
        let request = request(Method::GET, "/", &[("Accept-Encoding", accepted)], "");
        let response = site.send("index.lsp", request).await;
        assert_eq!(header(&response, CONTENT_ENCODING), coding);
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let mut plain = String::new();
        let read = match coding {
            "gzip" => flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut plain),
            "deflate" => flate2::read::ZlibDecoder::new(&body[..]).read_to_string(&mut plain),
            _ => (&body[..]).read_to_string(&mut plain),
        };
        read.expect("the coding it says");
        assert_eq!(plain, expected);
    }
}

#[tokio::test]
async fn finalize_without_true_returns_the_compressed_bytes() {
    let code = "local x = response:setresponse() response:write(('y'):rep(1000)) local data = x:finalize() \
                print(#data < 100, x:finalize(), response:valid())";
    assert_eq!(run(code).await, "true\tfalse\ttrue\n");
}

#[tokio::test]
async fn output_that_is_never_finalized_is_sent_as_it_is() {
    assert_eq!(run("do local x <close> = response:setresponse() response:write'a' end response:write'b'").await, "ab");
    assert_eq!(run("response:write'0' response:setresponse() response:write'a'").await, "0a");
    assert_eq!(run("response:setresponse() response:write'a' response:flush() response:write'b'").await, "ab");
}

#[tokio::test]
async fn there_is_a_limit_to_what_is_collected() {
    let text = run("local x <close> = response:setresponse() local s = ('x'):rep(1 << 20) local ok, e \
                    for i = 1, 20 do ok, e = pcall(_emit, s) end x:finalize() print(ok, e)")
    .await;
    assert!(text.starts_with("false\t") && text.contains("response:setresponse: more than 16777216 bytes"), "{text}");
}

#[tokio::test]
async fn reset_forgets_all_or_only_what_was_written() {
    let page = "<?lsp response:setstatus(404) response:setheader('X-Own', 'yes') response:createcookie'c':activate() print'lost' \
                response:reset(request:data'what') print(response:containsheader'x-own') ?>";
    let site = site(&[("index.lsp", page)]).await;
    let all = site.send("index.lsp", get("/")).await;
    assert_eq!((all.status(), all.headers().contains_key("x-own")), (StatusCode::OK, false));
    assert_eq!(header(&all, CONTENT_TYPE), "text/html; charset=utf-8");
    assert_eq!((cookies(&all).as_str(), text(all).await.as_str()), ("c=", "false\n"));
    let buffer = site.send("index.lsp", get("/?what=buffer")).await;
    assert_eq!((buffer.status(), buffer.headers()["x-own"].to_str().unwrap()), (StatusCode::NOT_FOUND, "yes"));
    assert_eq!(text(buffer).await, "true\n");
    let other = run("print(pcall(response.reset, response, 'headers'))").await;
    assert!(other.contains("(\"buffer\" or nothing expected, got headers)"), "{other}");
}

#[tokio::test]
async fn a_page_may_say_how_long_it_can_be_kept() {
    let site = site(&[("index.lsp", "<?lsp response:setmaxage(60) ?>")]).await;
    assert_eq!(header(&site.send("index.lsp", get("/")).await, CACHE_CONTROL), "max-age=60");
}

#[tokio::test]
async fn a_cookie_is_sent_and_read_back() {
    let site = site(&[
        ("set.lsp", "<?lsp local c = response:createcookie'name' c:value'a; b=\"c\" %' c:path'/x' c:maxage(60) c:httponly(true) c:secure(true) print(c:activate(), c:name(), c:path(), c:maxage()) ?>"),
        ("get.lsp", "<?lsp local c = request:cookie'name' print(c and c:value(), request:cookie'none') ?>"),
        ("delete.lsp", "<?lsp request:cookie'name':delete() ?>"),
    ])
    .await;
    let set = site.send("set.lsp", get("/set.lsp")).await;
    let cookie = header(&set, SET_COOKIE).to_owned();
    assert!(cookie.starts_with("name=a%3B%20b=%22c%22%20%25; Path=/x; Max-Age=60; Expires="), "{cookie}");
    assert!(cookie.ends_with("GMT; HttpOnly; Secure"), "{cookie}");
    assert_eq!(text(set).await.trim_end(), "true\tname\t/x\t60");
    let pair = format!("other=1; {}", cookie.split(';').next().expect("a pair"));
    let with_cookie = |path: &str| request(Method::GET, path, &[("Cookie", &pair)], "");
    assert_eq!(text(site.send("get.lsp", with_cookie("/get.lsp")).await).await, "a; b=\"c\" %\tnil\n");
    let deleted = site.send("delete.lsp", with_cookie("/delete.lsp")).await;
    assert_eq!(header(&deleted, SET_COOKIE), "name=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
}

#[tokio::test]
async fn a_cookie_expires_for_old_clients_too_after_ten_years_at_most() {
    const TEN_YEARS: u64 = 10 * 365 * 24 * 3600;
    for (max_age, seconds) in [("60", 60), ("31536000", 31_536_000), ("math.maxinteger", TEN_YEARS)] {
        let code = format!("local c = response:createcookie'c' c:maxage({max_age}) c:activate()");
        let site = site(&[("index.lsp", &format!("<?lsp {code} ?>"))]).await;
        let cookie = header(&site.send("index.lsp", get("/")).await, SET_COOKIE).to_owned();
        let (_, date) = cookie.split_once("Expires=").expect("a date");
        let expires = httpdate::parse_http_date(date).expect("a date").duration_since(SystemTime::now());
        let left = expires.expect("it is to come").as_secs();
        assert!((seconds - 30..=seconds).contains(&left), "{max_age}: {left} seconds from now");
    }
}

#[tokio::test]
async fn a_cookie_survives_a_redirect_and_a_later_one_of_its_name_replaces_it() {
    let code =
        "for i = 1, 2 do local c = response:createcookie'a' c:value(i) c:activate() end response:sendredirect'/'";
    let site = site(&[("index.lsp", &format!("<?lsp {code} ?>"))]).await;
    assert_eq!(cookies(&site.send("index.lsp", get("/")).await), "a=2");
}

#[tokio::test]
async fn a_response_sets_as_many_cookies_as_there_are_names() {
    let code = "for _, name in ipairs{'a', 'b', 'a'} do response:createcookie(name):activate() end";
    let site = site(&[("index.lsp", &format!("<?lsp {code} ?>"))]).await;
    let response = site.send("index.lsp", get("/")).await;
    let set: Vec<_> = response.headers().get_all(SET_COOKIE).iter().collect();
    assert_eq!(set, ["b=", "a="]);
}

#[tokio::test]
async fn a_cookie_cannot_smuggle_anything_in() {
    for call in [
        "response.createcookie, response, 'a b'",
        "response.createcookie, response, ''",
        "response.createcookie, response, 'a\\r\\n'",
        "response.createcookie, response, {}",
        "c.path, c, '/; Domain=x'",
        "c.domain, c, 'a\\nb'",
        "c.maxage, c, -1",
        "c.maxage, c, 'x'",
        "c.value, c, {}",
    ] {
        let text = run(&format!("local c = response:createcookie'c' print(pcall({call}))")).await;
        assert!(text.starts_with("false\tindex.lsp:1: bad argument #1 "), "{call}: {text}");
    }
    let text = run("local c = response:createcookie'c' c:value(('x'):rep(5000)) print(pcall(c.activate, c))").await;
    assert!(text.contains("cookie:activate: the cookie 'c' has 5002 bytes"), "{text}");
}

#[tokio::test]
async fn broken_cookies_of_a_client_are_not_found() {
    let site =
        site(&[("index.lsp", "<?lsp print(request:cookie'a' and request:cookie'a':value(), request:session()) ?>")])
            .await;
    for cookie in ["", ";;;", "a", "=", "smq_session=", "smq_session=../../x", "b=a=1"] {
        let request = request(Method::GET, "/", &[("Cookie", cookie)], "");
        assert_eq!(text(site.send("index.lsp", request).await).await, "nil\tfalse\n", "{cookie}");
    }
}

#[tokio::test]
async fn send_writes_an_announced_length_at_once() {
    for announce in ["setcontentlength(5)", "setheader('Content-Length', '5')"] {
        let page = format!("<?lsp response:{announce} response:send'hello' ?>");
        let site = site(&[("index.lsp", &page)]).await;
        let response = site.send("index.lsp", get("/")).await;
        assert_eq!(header(&response, CONTENT_LENGTH), "5");
        assert_eq!(text(response).await, "hello");
    }
    let text = run("print(pcall(response.setheader, response, 'content-length', 'long'))").await;
    assert!(text.contains("'value' to 'response:setheader' (integer expected, got string)"), "{text}");
    let text = run("print(pcall(response.send, response, {}))").await;
    assert!(text.contains("bad argument #1 'data' to 'response:send' (string expected, got table)"), "{text}");
}

#[tokio::test]
async fn output_that_does_not_have_its_announced_length_is_told_in_the_log() {
    let console = Console::open();
    let page = "<?lsp response:setcontentlength(request:data'n') for i = 1, 20 do response:write(('x'):rep(1000)) end \
                app.has_ended = true ?>";
    let wait = "<?lsp while not app.has_ended do ba.sleep(1) end ba.sleep(1) ?>";
    let site = site(&[("index.lsp", page), ("wait.lsp", wait)]).await;
    // HTTP takes no more than was announced.
    drop(site.send("index.lsp", get("/?n=100")).await);
    site.page("wait.lsp").await;
    for length in [19_999, 20_000, 30_000] {
        let response = site.send("index.lsp", get(&format!("/?n={length}"))).await;
        let is_whole = response.into_body().collect().await.is_ok();
        assert_eq!(is_whole, length <= 20_000, "{length}");
    }
    let text = console.text();
    for surplus in [19_900, 1] {
        let told = format!("the last {surplus} bytes of the response are not sent, since they are beyond the length");
        assert!(text.contains(&told), "{text}");
    }
    assert!(
        text.contains(" GET /: the response ends 10000 bytes before the length that was announced for it"),
        "{text}"
    );
    assert_eq!(text.matches("that was announced").count(), 3, "{text}");
}

#[tokio::test]
async fn a_deferred_response_goes_on_behind_the_pages_end() {
    let site = site(&[
        ("wait.lsp", "<?lsp app.waiting = response:deferred() response:write'first ' ?>"),
        ("go.lsp", "<?lsp while not app.waiting do ba.sleep(1) end app.waiting:write'second' print(app.waiting:valid()) app.waiting:close() print(app.waiting:valid()) ?>"),
    ])
    .await;
    let (waited, went) = tokio::join!(site.page("wait.lsp"), site.page("go.lsp"));
    assert_eq!((waited.as_str(), went.as_str()), ("first second", "true\nfalse\n"));
}

#[tokio::test]
async fn a_deferred_response_includes_what_lies_beside_its_page() {
    let site = site(&[
        (".preload", "seen = setmetatable({}, {__mode = 'k'})"),
        ("sub/wait.lsp", "<?lsp app.waiting = response:deferred() ?>"),
        (
            "sub/part.lsp",
            "<?lsp app.seen[_ENV] = true print(pathname, request:isinclude()) response:include'more.lsp' ?>",
        ),
        ("sub/more.lsp", "<?lsp=tostring(app.seen[_ENV])?>"),
        (
            "go.lsp",
            "<?lsp while not app.waiting do ba.sleep(1) end app.waiting:include'part.lsp' app.waiting:close() \
             app.waiting = nil collectgarbage() collectgarbage() print(next(app.seen)) ?>",
        ),
    ])
    .await;
    let (waited, went) = tokio::join!(site.page("sub/wait.lsp"), site.page("go.lsp"));
    assert_eq!(waited, "sub/part.lsp\ttrue\ntrue");
    assert_eq!(went, "nil\n", "the globals of what was included are forgotten");
}

#[tokio::test]
async fn what_is_included_behind_the_end_of_a_response_is_forgotten() {
    let site = site(&[
        (".preload", "seen = setmetatable({}, {__mode = 'k'})"),
        ("index.lsp", "<?lsp app.kept = request ?>"),
        ("part.lsp", "<?lsp app.seen[_ENV] = true ?>"),
        (
            "later.lsp",
            "<?lsp app.kept:include'/part.lsp' app.kept = nil collectgarbage() collectgarbage() \
             print(next(app.seen)) ?>",
        ),
    ])
    .await;
    site.page("index.lsp").await;
    assert_eq!(site.page("later.lsp").await, "nil\n");
}

#[tokio::test]
async fn a_callback_that_answers_a_deferred_response_has_not_failed() {
    let console = Console::open();
    let start = |how: &str| format!("<?lsp local later = response:deferred() {how} ?>");
    for (name, how) in [
        ("timer", "ba.timer(function() later:json{answered = true} end):set(1)"),
        ("job", "ba.thread.run(function() later:json{answered = true} end)"),
        (
            "message",
            "local hub = require'smq.hub'.create() \
             hub:subscribe('news', {onmsg = function() later:json{answered = true} end}) hub:publish('x', 'news')",
        ),
    ] {
        let page = format!("{name}.lsp");
        let site = site(&[(&page, &start(how)), ("wait.lsp", "<?lsp ba.sleep(1) ?>")]).await;
        assert_eq!(site.page(&page).await, "{\"answered\":true}");
        site.page("wait.lsp").await;
    }
    let text = console.text();
    assert!(!text.contains("the page has ended"), "{text}");
}

#[tokio::test]
async fn a_deferred_response_that_scripts_forget_fails_and_the_log_tells_why() {
    let console = Console::open();
    let site = site(&[
        (".preload", "kept = setmetatable({}, {__mode = 'v'})"),
        ("forgets.lsp", "<?lsp app.kept.later = response:deferred() app.has_begun = true ?>"),
        ("closes.lsp", "<?lsp app.kept.later = response:deferred() app.kept.later:close() app.has_begun = true ?>"),
        (
            "collect.lsp",
            "<?lsp while not app.has_begun or app.kept.later do collectgarbage() ba.sleep(1) end app.has_begun = nil ?>",
        ),
    ])
    .await;
    let mut statuses = Vec::new();
    for page in ["closes.lsp", "forgets.lsp"] {
        let (response, _) = tokio::join!(site.send(page, get(&format!("/{page}"))), site.page("collect.lsp"));
        statuses.push(response.status());
    }
    assert_eq!(statuses, [StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR]);
    let text = console.text();
    assert!(text.contains("GET /forgets.lsp: scripts have let go of the deferred response"), "{text}");
    assert!(!text.contains("closes.lsp"), "{text}");
}

#[tokio::test]
async fn the_headers_of_a_directory_replace_the_default_ones() {
    let preload = "dir:header{['X-App'] = 'yes', ['Content-Type'] = 'text/x'} \
                   local d = ba.create.dir'd' d:header{['X-Dir'] = 1} d:setfunc(function(_ENV) response:write'd' end) dir:insert(d)";
    let site = site(&[(".preload", preload), ("index.lsp", "")]).await;
    let mut page = site.send("index.lsp", get("/")).await;
    site.app.add_headers(&mut page);
    assert_eq!(page.headers()["x-app"], "yes");
    assert_eq!(header(&page, CONTENT_TYPE), "text/html; charset=utf-8");
    let mut directory = site.visit("d/", get("/d/")).await;
    site.app.add_headers(&mut directory);
    assert_eq!(directory.headers()["x-dir"], "1");
    assert!(!directory.headers().contains_key("x-app"));
}

#[tokio::test]
async fn headers_of_a_directory_must_be_headers() {
    for headers in
        ["nil", "{[{}] = 1}", "{'X-A: 1'}", "{a = {}}", "{['a b'] = 1}", "{a = 'x\\ny'}", "{['Content-Length'] = 1}"]
    {
        let text = run(&format!("print(pcall(app.dir.header, app.dir, {headers}))")).await;
        assert!(text.contains("bad argument #1 'headers' to 'dir:header' ("), "{headers}: {text}");
    }
}

#[tokio::test]
async fn a_request_is_forgotten_once_it_has_been_answered() {
    let preload = "seen = setmetatable({}, {__mode = 'v'}) local d = ba.create.dir'd' dir:insert(d) \
                   d:setfunc(function(_ENV, path) x = request keep(_ENV) return path ~= 'no' end) \
                   function _G.keep(env) seen[#seen + 1] = env end";
    let site = site(&[
        (".preload", preload),
        ("a.lsp", "<?lsp own = _ENV keep(_ENV) request:session(true).request = nil response:include'b.lsp' ?>"),
        ("b.lsp", "<?lsp local c = request:createcookie'c' local x <close> = response:setresponse() ?>"),
        ("json.lsp", "<?lsp keep(_ENV) response:json{1} ?>"),
        ("error.lsp", "<?lsp keep(_ENV) error{} ?>"),
        ("deferred.lsp", "<?lsp keep(_ENV) app.later = response:deferred() ?>"),
        ("count.lsp", "<?lsp app.later:close() app.later = nil collectgarbage() collectgarbage() local n = 0 for _ in pairs(app.seen) do n = n + 1 end print(n) ?>"),
    ])
    .await;
    let deferred = async {
        site.send("deferred.lsp", get("/deferred.lsp")).await;
    };
    let others = async {
        for page in ["a.lsp", "json.lsp", "error.lsp"] {
            site.send(page, get(&format!("/{page}"))).await;
        }
        for path in ["d/yes", "d/no"] {
            let _ = site.app.directories(path, Box::new(get(&format!("/{path}")))).await;
        }
        site.page("count.lsp").await
    };
    let ((), count) = tokio::join!(deferred, others);
    assert_eq!(count, "0\n");
}

#[tokio::test]
async fn a_finalizer_that_runs_while_the_page_writes_may_write_too() {
    for (prepare, page, finalizer) in [
        ("", "response:write(i + 0.5) response:reset'buffer'", "response:write(i)"),
        ("local c = response:createcookie'c'", "c:value()", "c:value'new'"),
        ("local c = response:createcookie'c'", "c:comment(i + 0.5)", "c:comment'new'"),
    ] {
        let page = format!(
            "{prepare} local called, done = 0, 0
             for i = 1, 20000 do
                setmetatable({{}}, {{ __gc = function() called = called + 1 {finalizer} done = done + 1 end }})
                {page}
             end
             response:reset'buffer' collectgarbage'stop' print(called > 0, called - done)"
        );
        assert_eq!(run(&page).await, "true\t0\n", "{finalizer}");
    }
}
