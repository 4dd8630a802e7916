//! Apps, pages and directory functions, without HTTP: requests are made by hand and replies looked at.

mod auth;
mod include;
mod response;
mod session;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use hyper::{Method, Request, StatusCode};
use smq::http::{Ends, PageReply, PageRequest, Response};
use smq::lsp::{App, AppSpec};
use smq::lua::LuaThread;

/// A folder of an app, deleted at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("smq-lsp-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&folder.0).expect("a folder for the test");
        files.iter().for_each(|(path, content)| folder.write(path, content));
        folder
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().expect("it lies in the folder")).expect("a folder for the file");
        std::fs::write(path, content).expect("a file for the test");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An app on a Lua thread of its own.
struct Site {
    app: Arc<App>,
    folder: Folder,
}

async fn load(folder: &Folder, name: &str) -> anyhow::Result<Arc<App>> {
    let (lua, _) = LuaThread::start()?;
    App::load(&lua, &AppSpec { name: name.into(), priority: 0, path: folder.0.clone() }).await
}

async fn site(files: &[(&str, &str)]) -> Site {
    let folder = Folder::new(files);
    let app = load(&folder, "").await.expect("the app loads");
    Site { app, folder }
}

fn request(method: Method, uri: &str, headers: &[(&str, &str)], body: &str) -> PageRequest {
    let mut builder = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    PageRequest {
        head: builder.body(()).expect("a valid request").into_parts().0,
        headers: headers
            .iter()
            .map(|(name, value)| (Bytes::from(name.to_string()), Bytes::from(value.to_string())))
            .collect(),
        body: Bytes::from(body.to_owned()),
        upload: None,
        ends: Ends::new(
            "192.0.2.7:40000".parse().expect("an address"),
            "192.0.2.1:80".parse().expect("an address"),
            false,
        ),
    }
}

fn get(uri: &str) -> PageRequest {
    request(Method::GET, uri, &[("Host", "example.org"), ("X-Twice", "one"), ("X-Twice", "two")], "")
}

fn response(reply: PageReply) -> Response {
    match reply {
        PageReply::Response(response) => response,
        PageReply::Taken(_) => panic!("the socket was taken"),
        PageReply::NotMine(_) => panic!("nobody wanted the request"),
    }
}

async fn text(response: Response) -> String {
    let body = response.into_body().collect().await.expect("a complete body");
    String::from_utf8(body.to_bytes().to_vec()).expect("text")
}

impl Site {
    async fn send(&self, path: &str, request: PageRequest) -> Response {
        let metadata = std::fs::metadata(self.folder.0.join(path)).expect("the page exists");
        response(self.app.page(path, &metadata, Box::new(request)).await)
    }

    async fn page(&self, path: &str) -> String {
        text(self.send(path, get(&format!("/{path}"))).await).await
    }

    /// As HTTP does: first the gate, then the page, or the directories where there is no page.
    async fn visit(&self, path: &str, request: PageRequest) -> Response {
        let request = match self.app.has_gate() {
            false => request,
            true => match self.app.enter(path, Box::new(request)).await {
                PageReply::NotMine(request) => *request,
                reply => return response(reply),
            },
        };
        match std::fs::metadata(self.folder.0.join(path)) {
            Ok(metadata) if metadata.is_file() => response(self.app.page(path, &metadata, Box::new(request)).await),
            _ => response(self.app.directories(path, Box::new(request)).await),
        }
    }
}

/// The cookies that a response sets, as a client sends them back.
fn cookies(response: &Response) -> String {
    let cookies = response.headers().get_all(hyper::header::SET_COOKIE).iter();
    let pairs = cookies.map(|cookie| cookie.to_str().expect("text").split(';').next().unwrap_or_default().to_owned());
    pairs.collect::<Vec<_>>().join("; ")
}

/// What the console of this process has shown so far.
#[derive(Clone, Default)]
struct Console(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Console {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics while writing").extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Console {
    /// The console that all tests of this file share; each looks for its own words.
    fn open() -> Self {
        static CONSOLE: std::sync::OnceLock<Console> = std::sync::OnceLock::new();
        let open = || {
            let console = Console::default();
            let writer = console.clone();
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
            console
        };
        CONSOLE.get_or_init(open).clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("nobody panics while writing")).into_owned()
    }
}

/// What a page with this code writes.
async fn run(code: &str) -> String {
    site(&[("index.lsp", &format!("<?lsp {code} ?>"))]).await.page("index.lsp").await
}

fn header(response: &Response, name: hyper::header::HeaderName) -> &str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

#[tokio::test]
async fn a_page_is_html_that_is_not_cached() {
    let site = site(&[("index.lsp", "Hello <?lsp=1+1?>")]).await;
    let response = site.send("index.lsp", get("/")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, CONTENT_TYPE), "text/html; charset=utf-8");
    assert_eq!(header(&response, CACHE_CONTROL), "no-store, no-cache, must-revalidate, max-age=0");
    assert_eq!(header(&response, CONTENT_LENGTH), "7");
    assert_eq!(text(response).await, "Hello 2");
}

#[tokio::test]
async fn an_empty_page_has_length_zero() {
    let site = site(&[("index.lsp", "")]).await;
    let response = site.send("index.lsp", get("/")).await;
    assert_eq!((response.status(), header(&response, CONTENT_LENGTH)), (StatusCode::OK, "0"));
}

#[tokio::test]
async fn head_runs_the_page_and_sends_only_its_length() {
    let site =
        site(&[("index.lsp", "<?lsp app.ran = true print(('x'):rep(20000)) ?>"), ("ran.lsp", "<?lsp=app.ran?>")]).await;
    let response = site.send("index.lsp", request(Method::HEAD, "/", &[], "")).await;
    assert_eq!(header(&response, CONTENT_LENGTH), "20001");
    assert_eq!(text(response).await, "");
    assert_eq!(site.page("ran.lsp").await, "true");
}

#[tokio::test]
async fn a_page_may_announce_its_length_for_a_head() {
    let site = site(&[("index.lsp", "<?lsp response:setcontentlength(12345) ?>")]).await;
    let response = site.send("index.lsp", request(Method::HEAD, "/", &[], "")).await;
    assert_eq!(header(&response, CONTENT_LENGTH), "12345");
}

#[tokio::test]
async fn a_status_without_a_body_has_none() {
    for status in [204, 205, 304] {
        let site = site(&[("index.lsp", &format!("text<?lsp response:setstatus({status}) ?>"))]).await;
        let response = site.send("index.lsp", get("/")).await;
        assert_eq!((response.status().as_u16(), header(&response, CONTENT_LENGTH)), (status, ""));
        assert_eq!(text(response).await, "", "{status}");
    }
}

#[tokio::test]
async fn preload_makes_what_pages_find_in_app() {
    let site = site(&[
        (".preload", "greeting = 'hello'; _G.shared = 1; assert(app.dir == dir and io.dofile)"),
        ("index.lsp", "<?lsp= app.greeting, greeting, shared ?>|<?lsp=tostring(greeting)?>|<?lsp=shared?>"),
    ])
    .await;
    assert_eq!(site.page("index.lsp").await, "hello|nil|1");
}

#[tokio::test]
async fn a_preload_that_fails_says_where_and_how_it_got_there() {
    let folder = Folder::new(&[(".preload", "local function deep()\n  error('no database')\nend\ndeep()")]);
    let error = load(&folder, "shop").await.err().expect("the app does not load").to_string();
    assert!(error.starts_with("shop/.preload:2: no database\nstack traceback:"), "{error}");
    assert!(error.contains("shop/.preload:4: in "), "{error}");
}

#[tokio::test]
async fn a_preload_that_cannot_be_read_is_not_taken_for_a_missing_one() {
    let folder = Folder::new(&[(".preload/is-a-folder", "")]);
    let error = load(&folder, "").await.err().expect("the app does not load").to_string();
    assert!(error.starts_with("cannot read the .preload of "), "{error}");
}

#[tokio::test]
async fn a_preload_that_is_no_lua_says_where() {
    let folder = Folder::new(&[(".preload", "x = 1\nx = = 2")]);
    let error = load(&folder, "").await.err().expect("the app does not load").to_string();
    assert!(error.starts_with(".preload:2: unexpected symbol"), "{error}");
}

#[tokio::test]
async fn the_globals_of_two_requests_are_apart() {
    let site = site(&[("index.lsp", "<?lsp=tostring(x)?><?lsp x = 1 ?><?lsp=x?>")]).await;
    assert_eq!(site.page("index.lsp").await, "nil1");
    assert_eq!(site.page("index.lsp").await, "nil1");
}

#[tokio::test]
async fn an_edited_page_is_used_at_once_and_keeps_its_page_table() {
    let site = site(&[("index.lsp", "<?lsp page.n = (page.n or 0) + 1 ?><?lsp=page.n?>")]).await;
    assert_eq!(site.page("index.lsp").await, "1");
    site.folder.write("index.lsp", "<?lsp page.n = page.n + 1 ?>now <?lsp=page.n?>");
    assert_eq!(site.page("index.lsp").await, "now 2");
}

#[tokio::test]
async fn pathname_is_relative_to_the_app() {
    let site = site(&[("a/index.lsp", "<?lsp=pathname?>")]).await;
    assert_eq!(site.page("a/index.lsp").await, "a/index.lsp");
}

#[tokio::test]
async fn request_and_response_are_the_same_object() {
    assert_eq!(run("print(request == response)").await, "true\n");
}

#[tokio::test]
async fn write_prints_strings_and_numbers_and_nothing_else() {
    assert_eq!(run("response:write('a', 1, 2.0, nil, true, {}, 'b')").await, "a12.0b");
    assert_eq!(run("print('a', nil, 3.0)").await, "a\tnil\t3.0\n");
}

#[tokio::test]
async fn a_lua_error_is_a_500_without_the_page_and_its_headers() {
    let site = site(&[("index.lsp", "text\n<?lsp response:setheader('X-Mine', '1')\nlocal x = nil + 1 ?>")]).await;
    let response = site.send("index.lsp", get("/")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!response.headers().contains_key("x-mine"));
    assert!(header(&response, CONTENT_TYPE).starts_with("text/plain"));
    assert!(!text(response).await.contains("text\n"));
}

#[tokio::test]
async fn a_page_that_is_no_lua_is_a_500_until_it_is_mended() {
    let site = site(&[("index.lsp", "<?lsp if ?>")]).await;
    assert_eq!(site.send("index.lsp", get("/")).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    site.folder.write("index.lsp", "mended");
    assert_eq!(site.page("index.lsp").await, "mended");
}

#[tokio::test]
async fn long_output_is_streamed_while_the_page_runs() {
    let site = site(&[("index.lsp", "<?lsp for i = 1, 20000 do response:write(('%05d'):format(i)) end ?>")]).await;
    let response = site.send("index.lsp", get("/")).await;
    assert!(!response.headers().contains_key(CONTENT_LENGTH));
    let text = text(response).await;
    assert_eq!(text.len(), 100_000);
    assert!(text.starts_with("0000100002") && text.ends_with("1999920000"));
}

#[tokio::test]
async fn an_error_after_the_commit_breaks_the_body_off() {
    let site = site(&[("index.lsp", "<?lsp response:write(('x'):rep(20000)) error('late') ?>")]).await;
    let response = site.send("index.lsp", get("/")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_page_that_waits_for_its_client_lets_others_run() {
    let site = site(&[
        ("slow.lsp", "<?lsp for i = 1, 100 do response:write(('x'):rep(9000)) end app.done = true ?>"),
        ("index.lsp", "<?lsp=tostring(app.done)?>"),
    ])
    .await;
    let slow = site.send("slow.lsp", get("/slow.lsp")).await;
    assert_eq!(site.page("index.lsp").await, "nil");
    assert_eq!(text(slow).await.len(), 900_000);
    assert_eq!(site.page("index.lsp").await, "true");
}

#[tokio::test]
async fn after_the_commit_headers_cannot_change() {
    let code = "response:write('a') response:flush() \
                print(pcall(response.setheader, response, 'X', '1')) \
                print(pcall(response.setstatus, response, 404)) \
                print(response:committed(), response:valid())";
    let text = run(code).await;
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("afalse\t") && lines[0].ends_with("iscommitted"), "{text}");
    assert!(lines[1].ends_with("iscommitted"), "{text}");
    assert_eq!(lines[2], "true\ttrue");
}

#[tokio::test]
async fn scripts_wait_side_by_side() {
    let site = site(&[
        ("index.lsp", "<?lsp while not app.go do ba.sleep(1) end ?>gone"),
        ("go.lsp", "<?lsp app.go = true ?>"),
    ])
    .await;
    let (waited, _) = tokio::join!(site.page("index.lsp"), site.page("go.lsp"));
    assert_eq!(waited, "gone");
}

#[tokio::test]
async fn scripts_may_wait_in_coroutines_and_protected_calls_of_their_own() {
    let code = "local co = coroutine.create(function(a) ba.sleep(1) local b = coroutine.yield(a + 1) ba.sleep(1) return b end) \
                print(coroutine.resume(co, 1)) print(coroutine.resume(co, 'x')) print(coroutine.resume(co)) \
                for v in coroutine.wrap(function() for i = 1, 3 do ba.sleep(1) coroutine.yield(i) end end) do response:write(v) end \
                print(pcall(function() ba.sleep(1) return 'waited' end))";
    assert_eq!(run(code).await, "true\t2\ntrue\tx\nfalse\tcannot resume dead coroutine\n123true\twaited\n");
}

#[tokio::test]
async fn wrong_arguments_of_coroutines_and_protected_calls_are_told_with_the_callers_line() {
    for (call, problem) in [
        ("coroutine.resume(nil)", "'resume' (thread expected, got nil)"),
        ("coroutine.resume({})", "'resume' (thread expected, got table)"),
        ("coroutine.wrap(5)", "'wrap' (function expected, got number)"),
        ("xpcall(print)", "'xpcall' (function expected, got nil)"),
    ] {
        let text = run(&format!("print(pcall(function()\n{call}\nend))")).await;
        assert!(text.starts_with("false\tindex.lsp:2: bad argument #") && text.contains(problem), "{call}: {text}");
    }
}

#[tokio::test]
async fn a_wrapped_coroutine_passes_its_error_on() {
    assert_eq!(
        run("print(pcall(coroutine.wrap(function() error({code = 7}) end)))").await.split('\t').next(),
        Some("false")
    );
    assert_eq!(
        run("local ok, e = pcall(coroutine.wrap(function() error('x', 0) end)) print(ok, e)").await,
        "false\tx\n"
    );
}

#[tokio::test]
async fn wrong_arguments_are_named_with_their_place() {
    let text = run("print(pcall(function() response:setheader({}, 1) end))").await;
    assert_eq!(
        text,
        "false\tindex.lsp:1: bad argument #1 'name' to 'response:setheader' (string expected, got table)\n"
    );
    let text = run("print(pcall(response.setstatus, response))").await;
    assert!(
        text.contains("bad argument #1 'status' to 'response:setstatus' (integer expected, got no value)"),
        "{text}"
    );
}

#[tokio::test]
async fn what_a_form_sends_is_taken_as_a_number_where_one_is_expected() {
    let site =
        site(&[("index.lsp", "<?lsp response:setstatus(request:data'code') ba.sleep(request:data'wait') ?>")]).await;
    assert_eq!(site.send("index.lsp", get("/?code=404&wait=1.5")).await.status(), 404);
    assert_eq!(site.send("index.lsp", get("/?code=4.5&wait=1")).await.status(), 500);
    assert_eq!(site.send("index.lsp", get("/?code=many&wait=1")).await.status(), 500);
}

#[tokio::test]
async fn a_header_cannot_smuggle_in_another() {
    assert!(run("print(pcall(response.setheader, response, 'X', 'a\\r\\nY: b'))").await.starts_with("false\t"));
    assert!(run("print(pcall(response.sendredirect, response, '/a\\r\\nY: b'))").await.starts_with("false\t"));
    let text = run("print(pcall(response.setheader, response, 'Transfer-Encoding', 'chunked'))").await;
    assert!(text.starts_with("false\t") && text.contains("the server decides how the body is sent"), "{text}");
}

#[tokio::test]
async fn a_redirect_is_absolute_and_ends_the_page() {
    for (target, location) in [
        ("/abs?x=1", "http://example.org/abs?x=1"),
        ("x/y", "http://example.org/a/x/y"),
        ("", "http://example.org/a/index.lsp"),
        ("https://other.example/", "https://other.example/"),
    ] {
        let code = format!("lost<?lsp request:sendredirect('{target}') app.ran_on = true ?>");
        let site = site(&[("a/index.lsp", &code), ("ran.lsp", "<?lsp=tostring(app.ran_on)?>")]).await;
        let response = site.send("a/index.lsp", get("/a/index.lsp?q")).await;
        assert_eq!((response.status(), header(&response, LOCATION)), (StatusCode::FOUND, location));
        assert_eq!(header(&response, CONTENT_LENGTH), "0");
        assert_eq!(response.headers().get(CONTENT_TYPE), None);
        assert_eq!(text(response).await, "");
        assert_eq!(site.page("ran.lsp").await, "nil");
    }
}

#[tokio::test]
async fn a_page_may_catch_a_redirect_and_go_on_without_output() {
    let code = "<?lsp local ok, e = pcall(response.sendredirect, response, '/x', true) \
                app.seen = {ok, e, response:valid()} response:write('lost') response:senderror(404) ?>";
    let site = site(&[
        ("index.lsp", code),
        ("seen.lsp", "<?lsp=tostring(app.seen[1])?> <?lsp=tostring(app.seen[2])?> <?lsp=tostring(app.seen[3])?>"),
    ])
    .await;
    let response = site.send("index.lsp", get("/")).await;
    assert_eq!(response.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(text(response).await, "");
    assert_eq!(site.page("seen.lsp").await, "false nil false");
}

#[tokio::test]
async fn abort_sends_what_was_written() {
    assert_eq!(run("response:write('so far') response:abort() response:write('never')").await, "so far");
}

#[tokio::test]
async fn what_a_page_writes_after_an_abort_that_it_has_caught_is_dropped() {
    for begin in ["response:write'so far'", "response:write'so' response:flush() response:write' far'"] {
        let code = format!("{begin} pcall(response.abort, response) response:write'never' response:flush()");
        assert_eq!(run(&code).await, "so far", "{begin}");
    }
}

#[tokio::test]
async fn senderror_sends_a_small_page_and_goes_on() {
    let page = "lost<?lsp response:setheader('X-Own', 'lost') response:setheader('Content-Type', 'text/x') \
                response:senderror(404, 'no <b>such</b> thing') ?>later";
    let site = site(&[("index.lsp", page)]).await;
    let response = site.send("index.lsp", get("/")).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(header(&response, CONTENT_TYPE), "text/html; charset=utf-8");
    assert_eq!(response.headers()["connection"], "close");
    assert!(!response.headers().contains_key("x-own"));
    let text = text(response).await;
    assert!(text.contains("no <b>such</b> thing") && text.ends_with("later") && !text.contains("lost"), "{text}");
}

#[tokio::test]
async fn headers_are_found_in_any_letter_case() {
    let site = site(&[(
        "index.lsp",
        "<?lsp=request:header'x-twice'?> <?lsp=request:header()['X-Twice']?> <?lsp=tostring(request:header'no')?>",
    )])
    .await;
    assert_eq!(site.page("index.lsp").await, "one one nil");
}

#[tokio::test]
async fn form_data_comes_from_the_query_and_the_body() {
    let code = "<?lsp for k, v in request:datapairs() do response:write(k, '=', v, ' ') end \
                print(request:data'a', request:data().a, request:data'e', request:data'none') ?>";
    let site = site(&[("index.lsp", code)]).await;
    let form = [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")];
    let reply = site.send("index.lsp", request(Method::POST, "/?a=1&e", &form, "a=x+y%26z")).await;
    assert_eq!(text(reply).await, "a=1 e= a=x y&z 1\tx y&z\t\tnil\n");
    let json = [("Content-Type", "application/json")];
    let reply = site.send("index.lsp", request(Method::POST, "/?a=1", &json, "a=2")).await;
    assert_eq!(text(reply).await, "a=1 1\t1\tnil\tnil\n");
}

#[tokio::test]
async fn a_page_may_ask_for_each_of_thousands_of_fields() {
    // Were the form read for each of them, the script would be stopped.
    let code = "<?lsp for i = 1, 5000 do assert(request:data('field' .. i) == tostring(i)) end ?>all";
    let site = site(&[("index.lsp", code)]).await;
    let fields: Vec<_> = (1..=5000).map(|i| format!("field{i}={i}")).collect();
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let reply = site.send("index.lsp", request(Method::POST, "/", &form, &fields.join("&"))).await;
    assert_eq!(text(reply).await, "all");
}

#[tokio::test]
async fn a_request_tells_where_it_came_from() {
    let code = "print(request:method(), request:uri(), request:url(), request:domain(), request:version()) \
                print(request:peername()) print(request:issecure(), request:user(), request:session(), request:logout())";
    let text = run(code).await;
    assert_eq!(
        text,
        "GET\t/index.lsp\thttp://example.org/index.lsp\texample.org\t1.1\n192.0.2.7\t40000\tfalse\nfalse\tnil\tfalse\n"
    );
}

#[tokio::test]
async fn the_path_of_a_request_is_that_of_the_page_and_a_redirect_to_it_stays_on_the_server() {
    let site =
        site(&[("index.lsp", "<?lsp=request:uri()?>"), ("go.lsp", "<?lsp response:sendredirect(request:uri()) ?>")])
            .await;
    for (sent, path) in
        [("/a/./b/../%C3%BC%20c/", "/a/\u{fc} c/"), ("//other/x", "/other/x"), ("/", "/"), ("/a/.", "/a/")]
    {
        assert_eq!(text(site.send("index.lsp", get(sent)).await).await, path, "{sent}");
    }
    for sent in ["//other/x", "/%2fother/x", "/./%2e//other/x"] {
        let response = site.send("go.lsp", get(sent)).await;
        assert_eq!(header(&response, LOCATION), "http://example.org/other/x", "{sent}");
    }
}

#[tokio::test]
async fn undefined_globals_are_nil() {
    assert_eq!(run("if bd then print'bd' elseif mako then print'mako' end").await, "mako\n");
}

#[tokio::test]
async fn modules_are_found_without_setup_and_nowhere_else() {
    let site = site(&[
        ("stray.lua", "return 1"),
        ("index.lsp", "<?lsp=pcall(require, 'stray')?> <?lsp=require'serpent'.line({b=1,2},{comment=false})?>"),
    ])
    .await;
    assert_eq!(site.page("index.lsp").await, "false {2, b = 1}");
}

#[tokio::test]
async fn a_loader_finds_the_modules_of_the_app() {
    let site = site(&[
        (".preload", "mako.createloader(io)"),
        (".lua/a/b.lua", "assert(select('#', ...) == 1 and _ENV == _G) return {name = ...}"),
        ("index.lsp", "<?lsp=require'a.b'.name?>"),
    ])
    .await;
    assert_eq!(site.page("index.lsp").await, "a.b");
}

#[tokio::test]
async fn a_module_may_wait_while_it_is_loaded() {
    let site = site(&[
        (".preload", "mako.createloader(io) outer = require'outer'"),
        (".lua/outer.lua", "ba.sleep(1) return require'inner' .. ' outer'"),
        (".lua/inner.lua", "ba.sleep(1) return ... .. select('#', ...)"),
        (".lua/broken.lua", "ba.sleep(1) error'broken'"),
        (".lua/silent.lua", "ba.sleep(1)"),
        ("index.lsp", "<?lsp print(app.outer, require'outer', require'silent', pcall(require, 'broken')) ?>"),
    ])
    .await;
    let expected = "inner1 outer\tinner1 outer\ttrue\tfalse\t.lua/broken.lua:1: broken\n";
    assert_eq!(site.page("index.lsp").await, expected);
}

#[tokio::test]
async fn modules_that_require_each_other_are_told_so() {
    let site = site(&[
        (
            ".preload",
            "mako.createloader(io) app.problems = {select(2, pcall(require, 'one')), select(2, pcall(require, 'one'))}",
        ),
        (".lua/one.lua", "ba.sleep(1) return require'two'"),
        (".lua/two.lua", "local one = require'one'\nreturn one"),
        ("index.lsp", "<?lsp print(app.problems[1]) print(app.problems[1] == app.problems[2]) ?>"),
    ])
    .await;
    let text = site.page("index.lsp").await;
    assert!(text.starts_with(".lua/two.lua:1: module 'one' requires itself, or "), "{text}");
    assert!(text.ends_with("\ntrue\n"), "{text}");
}

#[tokio::test]
async fn a_module_that_is_not_found_is_told_with_the_place_of_the_call() {
    let text = run("print(pcall(function() require'none' end)) print(pcall(require)) print(pcall(require, {}))").await;
    assert!(
        text.starts_with("false\tindex.lsp:1: module 'none' not found:\n\tno field package.preload['none']"),
        "{text}"
    );
    assert!(text.contains("bad argument #1 to 'require' (string expected, got no value)"), "{text}");
    assert!(text.contains("(string expected, got table)"), "{text}");
}

#[tokio::test]
async fn io_runs_files_of_the_app() {
    let site = site(&[
        ("x.lua", "y = 5 ba.sleep(1) return 1, 2"),
        (
            "index.lsp",
            "<?lsp local env = setmetatable({}, {__index = _G}) print(io:dofile('x.lua', env)) print(env.y, y) \
                       print(pcall(io.dofile, io, 'none.lua')) print(io:loadfile'none.lua') print(select('#', io:loadfile'x.lua')) ?>",
        ),
    ])
    .await;
    let text = site.page("index.lsp").await;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], ["1\t2", "5\tnil"]);
    assert!(lines[2].ends_with("cannot open none.lua: enoent"), "{text}");
    assert_eq!(lines[3..], ["nil\tcannot open none.lua: enoent", "1"]);
}

#[tokio::test]
async fn io_reads_and_writes_files() {
    let code = "local f = io:open('d.txt', 'w') f:write('abc', 1) f:close() \
                local f = io:open'd.txt' print(f:read(2), f:read'*a', f:read'*a', f:read(1)) f:seek(1) print(f:read(1)) f:close() \
                print(f:read(1)) print(io:stat'd.txt'.size, io:stat'none') print(io:rename('d.txt', 'e.txt'), io:remove'd.txt') \
                print(require'rwfile'.file(io, 'e.txt'))";
    assert_eq!(run(code).await, "ab\tc1\t\tnil\nb\nnil\tclosed\n4\tnil\tenoent\ntrue\tnil\tenoent\nabc1\n");
}

#[tokio::test]
async fn a_file_is_opened_to_be_read_written_anew_or_continued() {
    let code = "local function use(mode, text) local f = io:open('a.txt', mode) if text then f:write(text) end \
                local rest = f:read'a' f:close() return rest end \
                print(io:open'a.txt') use('w', 'one') use('a', 'two') print(use()) print(use'r') use('r+', 'O') print(use'r') \
                print(use'w+') print(io:stat'a.txt'.size)";
    assert_eq!(run(code).await, "nil\tenoent\nonetwo\nonetwo\nOnetwo\n\n0\n");
}

#[tokio::test]
async fn folders_are_made_listed_and_removed() {
    let code = "print(io:mkdir'd') print(io:mkdir'd') rw = require'rwfile' rw.file(io, 'd/b', '12') io:mkdir'd/.a' \
                print(io:rmdir'd') local names = {} for name in io:files'd' do names[#names + 1] = name end \
                table.sort(names) print(table.concat(names, ' ')) \
                local all = {} for name, isdir, mtime, size in io:files('d', true) do all[name] = {isdir, mtime, size} end \
                print(all['.a'][1], all.b[1], math.type(all.b[2]), all.b[3]) \
                local s = io:stat'd' print(s.name, s.isdir, s.type, math.type(s.mtime)) print(io:files'none') \
                io:remove'd/b' print(io:rmdir'd/.a', io:rmdir'd') print(io:rmdir'd') print(io:resourcetype())";
    let text = run(code).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..4], ["true", "nil\texist", "nil\tnotempty", ". .. .a b"]);
    assert_eq!(
        lines[4..],
        ["true\tfalse\tinteger\t2", "d\ttrue\tdirectory\tinteger", "nil\tenoent", "true\ttrue", "nil\tenoent", "disk"]
    );
}

#[tokio::test]
async fn the_files_of_the_machine_and_of_the_working_directory_are_opened_by_name() {
    let code = "local path = io:realpath'index.lsp' print(ba.openio'disk':stat(path).name) \
                print(ba.openio'home':realpath'x') print(ba.openio'nothing')";
    let home = std::env::current_dir().unwrap().join("x");
    assert_eq!(run(code).await, format!("index.lsp\n{}\nnil\n", home.display()));
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_read_of_a_file_is_told_by_the_first_letter() {
    let site = site(&[
        ("d.txt", "one\n\ntwo\nthree\nrest\n"),
        (
            "index.lsp",
            "<?lsp local f = io:open'd.txt' for _, what in ipairs{'*line', 'l', 'L', '*Line', '*all', 'all', '*l'} do \
             local text = f:read(what) response:write(text and ('%q'):format(text) or 'nil', ' ') end \
             print(pcall(f.read, f, '**a')) print(pcall(f.read, f, '*n')) ?>",
        ),
    ])
    .await;
    let text = site.page("index.lsp").await;
    assert!(text.starts_with("\"one\" \"\" \"two\\\n\" \"three\\\n\" \"rest\\\n\" \"\" nil false\t"), "{text}");
    assert!(text.contains("expected, got **a)") && text.contains("expected, got *n)"), "{text}");
}

#[tokio::test]
async fn a_folder_of_an_io_becomes_an_io_of_its_own() {
    let code = "local data = ba.mkio(io, '/data')
        print(data:open('a.txt'):read'a', data:open'../secret.txt')
        print(ba.mkio(io, 'none'), ba.mkio(io, 'index.lsp'), ba.mkio(io, '..'))
        print(select(2, ba.mkio(io, 'none')), select(2, ba.mkio(io, 'index.lsp')), select(2, ba.mkio(io, '..')))
        print(pcall(ba.mkio, 'data'))
        print(ba.mkio(ba.openio'vm', '/'):open('x', 'w'))";
    let page = format!("<?lsp {code} ?>");
    let site = site(&[("index.lsp", &page), ("data/a.txt", "A"), ("secret.txt", "S")]).await;
    assert_eq!(
        site.page("index.lsp").await,
        "A\tnil\tnoaccess\nnil\tnil\tnil\tnoaccess\nenoent\tinvalidname\tnoaccess\n\
         false\tindex.lsp:5: bad argument #1 'io' to 'ba.mkio' (io object expected, got string)\nnil\tnoaccess\n"
    );
}

#[tokio::test]
async fn io_does_not_leave_the_app() {
    let site = site(&[("index.lsp", "<?lsp print(io:stat'../') print(io:open('link/new', 'w')) print(io:open'link/hostname') print(io:open('dangling', 'w')) ?>")]).await;
    std::os::unix::fs::symlink("/etc", site.folder.0.join("link")).expect("a link");
    std::os::unix::fs::symlink(std::env::temp_dir().join("smq-must-not-appear"), site.folder.0.join("dangling"))
        .expect("a link");
    assert_eq!(site.page("index.lsp").await, "nil\tnoaccess\nnil\tnoaccess\nnil\tnoaccess\nnil\tenoent\n");
    assert!(!std::env::temp_dir().join("smq-must-not-appear").exists());
}

#[tokio::test]
async fn no_name_leads_out_of_the_app() {
    let names = ["../", "..", "a/../../x", "/../../etc/passwd", "..\\\\/x", "a\\0b", "/etc/passwd", "%2e%2e/x"];
    let code = "for _, f in ipairs{'stat', 'open', 'mkdir', 'rmdir', 'remove', 'realpath', 'loadfile', 'files'} do \
                  if io[f](io, NAME) then print(f, 'succeeds') end end \
                if io:open(NAME, 'w') then print'written' end if io:rename('keep', NAME) then print'renamed' end \
                print(pcall(io.dofile, io, NAME))";
    for name in names {
        let page = format!("<?lsp {} ?>", code.replace("NAME", &format!("'{name}'")));
        let site = site(&[("index.lsp", &page), ("keep", "")]).await;
        let text = site.page("index.lsp").await;
        assert!(text.starts_with("false\t"), "{name}: {text}");
        assert!(site.folder.0.join("keep").exists(), "{name}");
    }
    let long = run("print(io:open(('x'):rep(100000))) print(io:open(('x/'):rep(100000), 'w'))").await;
    assert!(long.lines().all(|line| line.starts_with("nil\t")), "{long}");
}

async fn ask(app: &App, path: &str) -> String {
    match app.directories(path, Box::new(get(&format!("/{path}")))).await {
        PageReply::NotMine(_) => "not mine".into(),
        PageReply::Taken(_) => "taken".into(),
        PageReply::Response(response) if response.status() == StatusCode::FOUND => header(&response, LOCATION).into(),
        PageReply::Response(response) => text(response).await,
    }
}

const DIRECTORIES: &str = "
    local function echo(name, ...)
        local answer = table.pack(...)
        return function(_ENV, path) response:write(name, ':', path) return table.unpack(answer) end
    end
    local a = ba.create.dir('a')
    a:setfunc(echo 'a')
    local b = ba.create.dir('b')
    b:setfunc(echo 'b')
    a:insert(b, true)
    dir:insert(a, true)
    local picky = ba.create.dir('picky')
    picky:setfunc(echo('picky', false))
    dir:insert(picky)
    local fallback = ba.create.dir(1)
    fallback:setfunc(function(_ENV, path)
        if path ~= 'picky/x' and path ~= 'free' then return false end
        response:write('fallback:', path)
    end)
    dir:insert(fallback)
    uri = b:baseuri()
    function hide() return a:unlink() end
";

#[tokio::test]
async fn the_deepest_directory_answers_first_and_only_false_goes_on() {
    let site = site(&[(".preload", DIRECTORIES), ("hide.lsp", "<?lsp=app.uri?> <?lsp=app.hide()?>")]).await;
    assert_eq!(ask(&site.app, "a/x").await, "a:x");
    assert_eq!(ask(&site.app, "a/").await, "a:");
    assert_eq!(ask(&site.app, "a/b/x/y").await, "b:x/y");
    assert_eq!(ask(&site.app, "picky/x").await, "fallback:picky/x");
    assert_eq!(ask(&site.app, "free").await, "fallback:free");
    assert_eq!(ask(&site.app, "picky/y").await, "not mine");
    assert_eq!(ask(&site.app, "a").await, "http://example.org/a/");
    assert_eq!(site.page("hide.lsp").await, "/a/b/ true");
    assert_eq!(ask(&site.app, "a/x").await, "not mine");
}

/// Directories `x` and `y`, made by this code, that answer with their names.
async fn directories(code: &str) -> Site {
    let make = "local function make(name, ...) local d = ba.create.dir(name, ...) \
                d:setfunc(function(_ENV, path) response:write(name, ':', path, ' ') end) return d end";
    site(&[(".preload", &format!("{make} {code}"))]).await
}

#[tokio::test]
async fn a_directory_is_not_asked_for_a_path_that_only_begins_with_its_name() {
    let site = directories("dir:insert(make'x', true)").await;
    assert_eq!(ask(&site.app, "xylophone").await, "not mine");
    assert_eq!(ask(&site.app, "xylophone/a").await, "not mine");
}

#[tokio::test]
async fn a_path_that_a_function_may_answer_is_not_sent_to_the_directory_of_its_name() {
    let site = directories("dir:insert(make('x', 1), true) dir:insert(make'x/y', true)").await;
    assert_eq!(ask(&site.app, "x/y").await, "x:y ");
}

#[tokio::test]
async fn a_directory_that_is_taken_out_or_moved_leaves_its_neighbours_in_place() {
    for prologue in ["insert", "insertprolog"] {
        let code = format!("local x, y = make'x', make'y' dir:{prologue}(x, true) dir:{prologue}(y, true)");
        for (change, x) in [("x:unlink()", "not mine"), ("y:insert(x, true)", "not mine")] {
            let site = directories(&format!("{code} {change}")).await;
            assert_eq!(text(site.visit("y/a", get("/y/a")).await).await, "y:a ", "{prologue}, {change}");
            if prologue == "insert" {
                assert_eq!(ask(&site.app, "x/a").await, x, "{change}");
            }
        }
    }
}

#[tokio::test]
async fn of_directories_with_the_same_priority_the_first_is_asked_first() {
    let code = "local one, two = ba.create.dir'd', ba.create.dir'd' \
                one:setfunc(function(_ENV) response:write'one' end) dir:insert(one, true) \
                two:setfunc(function(_ENV) response:write'two' end) dir:insert(two, true)";
    let site = site(&[(".preload", code)]).await;
    assert_eq!(ask(&site.app, "d/").await, "one");
}

#[tokio::test]
async fn a_directory_function_that_has_begun_a_response_has_answered_whatever_it_returns() {
    let code = "dir:insert(make('d'), true) local first = ba.create.dir('d', 1) dir:insert(first, true) \
                first:setfunc(function(_ENV) response:write'begun' response:flush() return false end)";
    let site = directories(code).await;
    assert_eq!(ask(&site.app, "d/").await, "begun");
}

#[tokio::test]
async fn a_directory_function_starts_without_headers() {
    let preload = "local d = ba.create.dir'd' d:setfunc(function(_ENV, path) \
                   if path == 'html' then response:setdefaultheaders() end assert(app == nil and io.popen) end) dir:insert(d)";
    let site = site(&[(".preload", preload)]).await;
    let plain = response(site.app.directories("d/", Box::new(get("/d/"))).await);
    assert_eq!((header(&plain, CONTENT_TYPE), header(&plain, CONTENT_LENGTH)), ("", "0"));
    let html = response(site.app.directories("d/html", Box::new(get("/d/html"))).await);
    assert_eq!(header(&html, CONTENT_TYPE), "text/html; charset=utf-8");
}

#[tokio::test]
async fn an_app_without_directories_is_not_asked() {
    let site = site(&[("index.lsp", "")]).await;
    assert!(!site.app.has_directories());
    assert_eq!(ask(&site.app, "x").await, "not mine");
}

#[tokio::test]
async fn a_directory_at_the_servers_root_is_beside_all_apps() {
    let preload =
        "local d = ba.create.dir'top' d:setfunc(function(_ENV, path) response:write(path) end) assert(d:insert())";
    let site = site(&[(".preload", preload)]).await;
    assert!(site.app.has_directories_beside() && !site.app.has_directories());
    assert_eq!(text(response(site.app.directories_beside("top/x", Box::new(get("/top/x"))).await)).await, "x");
}

#[tokio::test]
async fn onunload_is_called_and_its_error_does_no_harm() {
    let site = site(&[(".preload", "function onunload() io:open('gone', 'w'):close() error('late') end")]).await;
    site.app.unload().await;
    assert!(site.folder.0.join("gone").exists());
}

#[tokio::test]
async fn an_app_that_was_unloaded_is_not_available() {
    let preload = "local d = ba.create.dir'd' d:setfunc(function() return true end) dir:insert(d, true)";
    let site = site(&[("x.lsp", "here"), (".preload", preload)]).await;
    site.app.unload().await;
    assert_eq!(site.send("x.lsp", get("/x.lsp")).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(site.app.directories("d/", Box::new(get("/d/"))).await.status(), 503);
}

trait Status {
    fn status(self) -> u16;
}

impl Status for PageReply {
    fn status(self) -> u16 {
        response(self).status().as_u16()
    }
}

/// A Lua thread where pages find `take(request)`, which takes the socket as a hub does.
async fn site_with_take(files: &[(&str, &str)]) -> Site {
    let (lua, _) = LuaThread::start().expect("a Lua thread");
    let install = |world: std::rc::Rc<smq::lua::World>| async move {
        let take = |_: &mlua::Lua, request: mlua::UserDataRef<smq::bindings::request::Request>| {
            Ok(request.take_socket(Box::new(|_, _| ())).is_ok())
        };
        let take = world.lua.create_function(take).expect("memory for a function");
        world.lua.globals().set("take", take).expect("memory for a global");
    };
    lua.call(install).await.expect("the Lua thread runs");
    let folder = Folder::new(files);
    let spec = AppSpec { name: String::new(), priority: 0, path: folder.0.clone() };
    let app = App::load(&lua, &spec).await.expect("the app loads");
    Site { app, folder }
}

#[tokio::test]
async fn a_page_whose_socket_was_taken_leaves_it_alone_whatever_it_does() {
    for end in ["return", "response:abort()", "error('late')", "response:sendredirect('/')", "response:flush()"] {
        let code = format!(
            "lost<?lsp app.taken = take(request) response:write('lost') \
             app.valid, app.again, app.header = response:valid(), take(request), request:header'Host' \
             app.ok, app.why = pcall(response.senderror, response, 404) app.done = true {end} ?>"
        );
        let seen = "<?lsp while not app.done do ba.sleep(1) end print(app.taken, app.valid, app.again, app.header, app.ok, app.why) ?>";
        let site = site_with_take(&[("index.lsp", &code), ("seen.lsp", seen)]).await;
        let metadata = std::fs::metadata(site.folder.0.join("index.lsp")).expect("the page exists");
        let reply = site.app.page("index.lsp", &metadata, Box::new(get("/"))).await;
        assert!(matches!(reply, PageReply::Taken(_)), "{end}");
        assert_eq!(site.page("seen.lsp").await, "true\ttrue\tfalse\texample.org\tfalse\tindex.lsp:1: iscommitted\n");
    }
}

#[tokio::test]
async fn a_socket_cannot_be_taken_once_the_response_has_begun() {
    let site = site_with_take(&[("index.lsp", "a<?lsp response:flush() print(take(request)) ?>")]).await;
    assert_eq!(site.page("index.lsp").await, "afalse\n");
}

#[tokio::test]
async fn a_page_runs_on_when_its_client_goes_away() {
    let site = site(&[
        ("slow.lsp", "<?lsp for i = 1, 100 do response:write(('x'):rep(9000)) end app.valid = response:valid() app.done = true ?>"),
        ("index.lsp", "<?lsp while not app.done do ba.sleep(1) end ?><?lsp=app.valid?>"),
    ])
    .await;
    drop(site.send("slow.lsp", get("/slow.lsp")).await);
    assert_eq!(site.page("index.lsp").await, "false");
}

#[tokio::test]
async fn a_nil_error_is_an_error_unless_it_is_a_redirect_thrown_again() {
    let site = site(&[
        ("nil.lsp", "<?lsp error() ?>"),
        ("again.lsp", "<?lsp local ok, e = pcall(response.sendredirect, response, '/x') error(e) ?>"),
    ])
    .await;
    assert_eq!(site.send("nil.lsp", get("/nil.lsp")).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(site.send("again.lsp", get("/again.lsp")).await.status(), StatusCode::FOUND);
}

#[tokio::test]
async fn serpent_writes_what_lua_reads_back() {
    let code = "local serpent = require'serpent' \
                local t = {1, 'a\\n\"b', x = {1.5, true}, ['end'] = false, [10] = -3} t.self = t t.also = t.x \
                local ok, copy = serpent.load(serpent.dump(t)) \
                print(ok, copy[1], copy[2] == t[2], copy.x[1], copy['end'], copy[10], copy.self == copy, copy.also == copy.x) \
                print(serpent.block({b = 1, a = {2}}, {comment = false}))";
    let text = run(code).await;
    assert_eq!(text, "true\t1\ttrue\t1.5\tfalse\t-3\ttrue\ttrue\n{\n  a = {\n    2\n  },\n  b = 1\n}\n");
}

#[tokio::test]
async fn trace_and_print_never_fail() {
    let code =
        "trace() trace'x' trace(nil, {}, 1.5, setmetatable({}, {__tostring = error})) tracep(true, 9, 'y') _G.print(1)";
    assert_eq!(run(code).await, "");
}

#[tokio::test]
async fn trace_shows_function_and_line_on_the_console() {
    let console = Console::open();
    run("local function f() trace('traced', nil, 1.0) end\nf() trace'at the top'").await;
    let text = console.text();
    assert!(text.contains(" f 1: traced\tnil\t1.0\n"), "{text}");
    assert!(text.contains(" 2: at the top\n"), "{text}");
}

#[tokio::test]
async fn an_error_is_shown_on_the_console_with_its_traceback() {
    let console = Console::open();
    let site = site(&[("a/broken.lsp", "<?lsp\nlocal function deep() error('broken') end\ndeep() ?>")]).await;
    site.send("a/broken.lsp", get("/a/broken.lsp?q")).await;
    let text = console.text();
    assert!(text.contains("GET /a/broken.lsp: a/broken.lsp:2: broken\nstack traceback:"), "{text}");
    assert!(text.contains("a/broken.lsp:3: in "), "{text}");
}

#[tokio::test]
async fn a_function_that_waits_is_one_frame_of_a_traceback() {
    let console = Console::open();
    let site = site(&[("a.lsp", "<?lsp\nresponse:include'missing.lsp' ?>"), ("b.lsp", "<?lsp ba.sleep'x' ?>")]).await;
    site.page("a.lsp").await;
    site.page("b.lsp").await;
    let text = console.text();
    let frames = "stack traceback:\n\t[C]: in method 'include'\n\ta.lsp:2: in main chunk\n";
    assert!(text.contains(&format!("a.lsp:2: Error pagenotfound: missing.lsp\n{frames}")), "{text}");
    assert!(text.contains("\n\t[C]: in field 'sleep'\n\tb.lsp:1: in main chunk\n"), "{text}");
}

#[tokio::test]
async fn an_error_of_a_timer_or_job_in_preload_is_shown_with_its_place() {
    let console = Console::open();
    let site = site(&[
        (
            ".preload",
            "ended = 0 local function fail() ended = ended + 1 ba.rnds('many') end\n\
             ba.timer(fail):set(1) ba.thread.run(fail)",
        ),
        ("wait.lsp", "<?lsp while app.ended < 2 do ba.sleep(1) end ba.sleep(1) ?>"),
    ])
    .await;
    site.page("wait.lsp").await;
    let text = console.text();
    for whose in ["a timer ends", "ba.thread.run"] {
        let problem = format!("{whose}: .preload:1: bad argument #1 'size' to 'ba.rnds'");
        assert!(text.contains(&problem), "{text}");
    }
}

#[tokio::test]
async fn debug_tells_of_functions_and_of_those_that_run() {
    let code = "local function f(a, b, ...) local info = debug.getinfo(1, 'Sl') return info end
                local running, known, c = f(), debug.getinfo(f, 'S'), debug.getinfo(math.abs)
                print(running.currentline, running.name, running.namewhat, running.linedefined, running.func)
                print(known.currentline, known.what, known.source, known.linedefined, known.lastlinedefined, known.nparams,
                   known.isvararg)
                print(c.what, c.linedefined, debug.getinfo(100))";
    let expected = "1\tf\tlocal\t1\tnil\n-1\tLua\t@index.lsp\t1\t1\t2\ttrue\nC\t-1\tnil\n";
    assert_eq!(run(code).await, expected);
}

#[tokio::test]
async fn a_traceback_keeps_its_message_and_wrong_arguments_of_debug_are_named() {
    let code = "local co = coroutine.create(print) \
                print((debug.traceback('here'):gsub('\\n.*', ''))) print((debug.traceback(co, 'there'):gsub('\\n.*', ''))) \
                print(type(debug.traceback(co)), debug.traceback(co, {}) ~= co)";
    assert_eq!(run(code).await, "here\nthere\nstring\ttrue\n");
    for (call, problem) in [
        ("debug.getinfo", "#1 'level' to 'debug.getinfo' (integer expected, got no value)"),
        ("debug.getinfo, 'x'", "#1 'level' to 'debug.getinfo' (integer expected, got string)"),
        ("debug.getinfo, -1", "#1 'level' to 'debug.getinfo' (0..2147483647 expected, got -1)"),
        ("debug.traceback, 'x', {}", "#2 'level' to 'debug.traceback' (integer expected, got table)"),
    ] {
        let text = run(&format!("print(pcall({call}))")).await;
        assert!(text.contains(problem), "{call}: {text}");
    }
}
