//! `response:include`, `forward`, and `ba.parselsp`.

use super::*;

#[tokio::test]
async fn an_included_page_writes_in_place_and_shares_its_globals() {
    let site = site(&[
        ("a/index.lsp", "<?lsp x = 1 ?>[<?lsp=tostring(response:include'.part.lsp')?>]<?lsp=y?>"),
        ("a/.part.lsp", "<?lsp y = x + 1 ?>part <?lsp=pathname?>"),
    ])
    .await;
    assert_eq!(site.page("a/index.lsp").await, "[part a/.part.lsptrue]2");
}

#[tokio::test]
async fn a_page_that_does_not_wait_can_be_included_where_nothing_can() {
    let index = "<?lsp ('abcdefgh'):gsub('.', function(name) response:include('.' .. name .. '.lsp') end) ?>";
    let parts = ('a'..='h').map(|name| format!(".{name}.lsp")).collect::<Vec<_>>();
    let parts = parts.iter().map(|path| (path.as_str(), "<?lsp=pathname?> "));
    let site = site(&[("index.lsp", index)].into_iter().chain(parts).collect::<Vec<_>>()).await;
    assert_eq!(site.page("index.lsp").await, ".a.lsp .b.lsp .c.lsp .d.lsp .e.lsp .f.lsp .g.lsp .h.lsp ");
}

#[tokio::test]
async fn a_path_is_relative_to_the_page_that_says_it_or_to_the_server() {
    let site = site(&[
        ("a/index.lsp", "<?lsp response:include'b/one.lsp' ?>"),
        ("a/b/one.lsp", "1<?lsp response:include'../two.lsp' response:include'/three.lsp' ?>"),
        ("a/two.lsp", "2"),
        ("three.lsp", "3<?lsp=request:uri()?>"),
    ])
    .await;
    assert_eq!(site.page("a/index.lsp").await, "123/a/index.lsp");
}

#[tokio::test]
async fn an_app_with_a_name_is_found_below_that_name() {
    let folder =
        Folder::new(&[("index.lsp", "<?lsp response:include'x.txt' response:include'/shop/x.txt' ?>"), ("x.txt", "x")]);
    let app = load(&folder, "shop").await.expect("the app loads");
    let site = Site { app, folder };
    assert_eq!(site.page("index.lsp").await, "xx");
}

#[tokio::test]
async fn another_app_is_reached_from_the_servers_root_and_ones_own_comes_first() {
    let (lua, _) = LuaThread::start().expect("a Lua thread");
    let own = [("index.lsp", "<?lsp response:include'x.txt' response:include'/shop/.y.lsp' ?>"), ("x.txt", "own ")];
    let (own, shop, higher) =
        (Folder::new(&own), Folder::new(&[(".y.lsp", "<?lsp=pathname?>")]), Folder::new(&[("x.txt", "other ")]));
    let spec = |name: &str, priority, folder: &Folder| AppSpec { name: name.into(), priority, path: folder.0.clone() };
    let app = App::load(&lua, &spec("", 0, &own)).await.expect("the app loads");
    for spec in [spec("shop", 0, &shop), spec("", 1, &higher)] {
        App::load(&lua, &spec).await.expect("the app loads");
    }
    assert_eq!(Site { app, folder: own }.page("index.lsp").await, "own .y.lsp");
}

#[tokio::test]
async fn files_and_directories_and_directory_functions_can_be_included() {
    let big = "x".repeat(100_000);
    let site = site(&[
        (".preload", "local d = ba.create.dir'd' d:setfunc(function(_ENV, path) response:write('<', path, '>') end) dir:insert(d)"),
        ("index.lsp", "<?lsp response:include'big.txt' response:include'sub/' response:include'd/y' ?>"),
        ("big.txt", &big),
        ("sub/index.html", "<?lsp is text here ?>"),
    ])
    .await;
    assert_eq!(site.page("index.lsp").await, format!("{big}<?lsp is text here ?><y>"));
}

#[tokio::test]
async fn what_is_not_there_or_outside_cannot_be_included() {
    let paths = ["none.lsp", "", "..", "../../etc/passwd", "/../etc/passwd", "..\\\\x", "a\\0b", "/etc/passwd", "sub"];
    for path in paths {
        let code = format!("<?lsp print(pcall(response.include, response, '{path}')) ?>");
        let site = site(&[("index.lsp", &code), ("sub/x", "")]).await;
        let text = site.page("index.lsp").await;
        assert!(text.starts_with("false\t") && text.contains("Error pagenotfound: "), "{path}: {text}");
    }
    for value in ["nil", "{}", "true"] {
        let text = run(&format!("print(pcall(response.include, response, {value}))")).await;
        assert!(text.contains("bad argument #1 'path' to 'response:include' (string expected, got "), "{text}");
    }
    let text = run("print(pcall(response.include, response, ('x/'):rep(1000000)))").await;
    assert!(text.starts_with("false\t"));
}

#[tokio::test]
async fn what_every_directory_function_declines_is_not_there() {
    let decline =
        "local d = ba.create.dir() d:setfunc(function(_ENV, path) return path == 'yes' end) dir:insert(d, true)";
    let site = site(&[
        (".preload", decline),
        (
            "index.lsp",
            "<?lsp for _, path in ipairs{'/no.lsp', 'no', 'yes'} do \
                       print(pcall(response.include, response, path)) end ?>",
        ),
        ("forward.lsp", "<?lsp print(pcall(response.forward, response, '/no.lsp')) ?>"),
    ])
    .await;
    let text = site.page("index.lsp").await;
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("false\t") && lines[0].ends_with("Error pagenotfound: /no.lsp"), "{text}");
    assert!(lines[1].ends_with("Error pagenotfound: no"), "{text}");
    assert_eq!(lines[2], "true\ttrue");
    let text = site.page("forward.lsp").await;
    assert!(text.starts_with("false\t") && text.contains("Error pagenotfound: /no.lsp"), "{text}");
}

#[tokio::test]
async fn a_directory_function_that_declines_leaves_the_path_to_other_apps() {
    let (lua, _) = LuaThread::start().expect("a Lua thread");
    let decline = "local d = ba.create.dir() d:setfunc(function() return false end) dir:insert(d, true)";
    let own = Folder::new(&[(".preload", decline), ("index.lsp", "<?lsp response:include'x.txt' ?>")]);
    let other = Folder::new(&[("x.txt", "other")]);
    let spec = |folder: &Folder| AppSpec { name: String::new(), priority: 0, path: folder.0.clone() };
    let app = App::load(&lua, &spec(&own)).await.expect("the app loads");
    App::load(&lua, &spec(&other)).await.expect("the app loads");
    assert_eq!(Site { app, folder: own }.page("index.lsp").await, "other");
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_out_of_the_app_is_not_followed() {
    let site = site(&[("index.lsp", "<?lsp print(pcall(response.include, response, 'link/hostname')) ?>")]).await;
    std::os::unix::fs::symlink("/etc", site.folder.0.join("link")).expect("a link");
    assert!(site.page("index.lsp").await.contains("pagenotfound"));
}

#[tokio::test]
async fn a_page_that_includes_itself_ends_with_an_error() {
    let site = site(&[("index.lsp", "<?lsp response:include'index.lsp' ?>")]).await;
    assert_eq!(site.send("index.lsp", get("/")).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn the_error_of_an_included_page_reaches_the_page_that_included_it() {
    let site = site(&[
        ("index.lsp", "<?lsp print(pcall(response.include, response, 'bad.lsp')) ?>"),
        ("bad.lsp", "<?lsp\nerror'broken' ?>"),
    ])
    .await;
    assert_eq!(site.page("index.lsp").await, "false\tbad.lsp:2: broken\n");
}

#[tokio::test]
async fn an_included_page_may_wait_and_may_end_the_whole_page() {
    let site = site(&[
        ("index.lsp", "1<?lsp response:include'part.lsp' ?>never"),
        ("part.lsp", "2<?lsp ba.sleep(1) response:abort() ?>never"),
    ])
    .await;
    assert_eq!(site.page("index.lsp").await, "12");
}

#[tokio::test]
async fn a_forward_forgets_the_output_and_ends_the_page() {
    let site = site(&[
        ("index.lsp", "lost<?lsp x = 1 response:forward'other.lsp' ?><?lsp app.ran_on = true ?>"),
        ("other.lsp", "<?lsp=x?> <?lsp=tostring(request:isforward())?> <?lsp=tostring(request:isinclude())?>"),
        ("ran.lsp", "<?lsp=tostring(app.ran_on)?>"),
    ])
    .await;
    assert_eq!(site.page("index.lsp").await, "1 true false");
    assert_eq!(site.page("ran.lsp").await, "nil");
}

#[tokio::test]
async fn a_page_that_catches_a_forward_adds_nothing() {
    let site =
        site(&[("index.lsp", "<?lsp pcall(response.forward, response, 'b.lsp') ?>lost"), ("b.lsp", "there")]).await;
    assert_eq!(site.page("index.lsp").await, "there");
}

#[tokio::test]
async fn a_forward_to_a_file_has_the_files_type() {
    let site = site(&[("index.lsp", "<?lsp response:forward'x.json' ?>"), ("x.json", "{}")]).await;
    let response = site.send("index.lsp", get("/")).await;
    assert_eq!(header(&response, CONTENT_TYPE), "application/json");
    assert_eq!(text(response).await, "{}");
}

#[tokio::test]
async fn a_forward_from_a_directory_function_to_a_page_answers_as_the_page_does() {
    let preload = "local d = ba.create.dir'd' dir:insert(d, true) d:setfunc(function(_ENV, path) \
                   if path == 'typed' then response:setcontenttype'text/x' end response:forward'/page.lsp' end)";
    let site = site(&[(".preload", preload), ("page.lsp", "<p>")]).await;
    for (target, media_type) in [("d/", "text/html; charset=utf-8"), ("d/typed", "text/x")] {
        let response = site.visit(target, get(&format!("/{target}"))).await;
        assert_eq!(header(&response, CONTENT_TYPE), media_type, "{target}");
        assert!(header(&response, CACHE_CONTROL).starts_with("no-store"), "{target}");
        assert_eq!(text(response).await, "<p>", "{target}");
    }
}

#[tokio::test]
async fn a_forward_behind_the_commit_is_an_error() {
    let site = site(&[
        ("index.lsp", "<?lsp response:write'a' response:flush() print(pcall(response.forward, response, 'b.lsp')) ?>"),
        ("b.lsp", "lost"),
    ])
    .await;
    assert!(site.page("index.lsp").await.trim_end().ends_with("iscommitted"));
}

#[tokio::test]
async fn a_page_knows_how_it_was_reached() {
    let site = site(&[
        (
            "index.lsp",
            "<?lsp print(request:initial(), request:isinclude()) response:include'b.lsp' print(request:initial()) ?>",
        ),
        ("b.lsp", "<?lsp print(request:initial(), request:isinclude(), request:isforward()) ?>"),
    ])
    .await;
    assert_eq!(site.page("index.lsp").await, "true\tfalse\nfalse\ttrue\tfalse\ntrue\n");
}

#[tokio::test]
async fn parselsp_makes_lua_that_runs_as_a_page() {
    let code = "local inner = load(ba.parselsp('in <' .. '?lsp=x?' .. '> <' .. '?lsp=pathname?' .. '>'), '=inner', 't') \
                x = 7 inner(_ENV, 'p', io, page, app) print('', ba.parselsp('<' .. '?lsp x'))";
    let text = run(code).await;
    assert_eq!(text, "in 7 p\tnil\tline 1: '<?lsp' without '?>': close the tag\n");
}

#[tokio::test]
async fn a_template_around_a_page_goes_on_only_while_there_is_a_response() {
    let preload = "local function parsed(name)
            return assert(load(assert(ba.parselsp(io:open('.pages/' .. name):read'a')), name, 't'))
        end
        local template, counters = parsed'template.lsp', {}
        local router = ba.create.dir(1)
        router:setfunc(function(_ENV, path)
            if not app_io:stat('.pages/' .. path) then return false end
            local collected <close> = response:setresponse()
            response:setdefaultheaders()
            inner, counters[path] = parsed(path), counters[path] or {}
            local fine, problem = pcall(template, _ENV, path, app_io, counters[path])
            if problem then response:setstatus(500) response:write(problem) end
            collected:finalize(true)
        end)
        _G.app_io = io
        dir:insert(router, true)";
    let template = "<main><?lsp inner(_ENV, pathname, io, page) if not response:valid() then return end ?></main>";
    let site = site(&[
        (".preload", preload),
        (".pages/template.lsp", template),
        (".pages/count.lsp", "<?lsp page.n = (page.n or 0) + 1 response:write(pathname, ' ', page.n) ?>"),
        (".pages/away.lsp", "lost<?lsp response:sendredirect'/count.lsp' ?>"),
        (".pages/caught.lsp", "lost<?lsp pcall(response.sendredirect, response, '/count.lsp') ?>"),
        (".pages/json.lsp", "lost<?lsp response:json{ok = true} ?>"),
        (".pages/broken.lsp", "<?lsp error'broken' ?>"),
    ])
    .await;
    assert_eq!(text(site.visit("count.lsp", get("/count.lsp")).await).await, "<main>count.lsp 1</main>");
    assert_eq!(text(site.visit("count.lsp", get("/count.lsp")).await).await, "<main>count.lsp 2</main>");
    for page in ["away.lsp", "caught.lsp"] {
        let answer = site.visit(page, get(&format!("/{page}"))).await;
        assert_eq!(header(&answer, LOCATION), "http://example.org/count.lsp");
        assert_eq!(text(answer).await, "");
    }
    assert_eq!(text(site.visit("json.lsp", get("/json.lsp")).await).await, "{\"ok\":true}");
    let broken = site.visit("broken.lsp", get("/broken.lsp")).await;
    assert_eq!(broken.status(), 500);
    assert!(text(broken).await.contains(":1: broken"));
}

#[tokio::test]
async fn a_prologue_is_asked_before_pages() {
    let preload = "local p = ba.create.dir() p:setfunc(function(_ENV, path) app_path = path \
                   if path ~= 'closed.lsp' then response:setheader('X-Seen', '1') response:setstatus(202) \
                   response:setcontenttype'text/css' response:write'lost' return false end \
                   response:write'closed' end) assert(dir:insertprolog(p, true)) function open() return p:unlink() end";
    let site = site(&[(".preload", preload), ("closed.lsp", "page"), ("index.lsp", "open <?lsp=app.open()?>")]).await;
    assert!(site.app.has_gate());
    assert_eq!(text(site.visit("closed.lsp", get("/closed.lsp")).await).await, "closed");
    let open = site.visit("index.lsp", get("/")).await;
    assert_eq!((open.status().as_u16(), header(&open, "x-seen".parse().unwrap())), (200, "1"));
    assert_eq!(header(&open, CONTENT_TYPE), "text/html; charset=utf-8");
    assert_eq!(text(open).await, "open true");
    assert_eq!(text(site.visit("closed.lsp", get("/closed.lsp")).await).await, "page");
}
