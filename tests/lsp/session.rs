//! `request:session` and what scripts do with one.

use hyper::header::SET_COOKIE;

use super::*;

fn with_cookie(uri: &str, cookie: &str) -> PageRequest {
    request(Method::GET, uri, &[("Host", "example.org"), ("Cookie", cookie)], "")
}

#[tokio::test]
async fn a_session_keeps_what_scripts_put_into_it() {
    let site = site(&[
        ("new.lsp", "<?lsp local s = request:session(true) s.n, s.t = 1, {2} print(request:session() == s, #s:id(), s:maxinactiveinterval(), s:creationtime() > 1e9) ?>"),
        ("old.lsp", "<?lsp local s = request:session() print(s.n, s.t[1], s.none, s:attributes().n, ba.session(s:id()) == s) ?>"),
    ])
    .await;
    let created = site.send("new.lsp", get("/new.lsp")).await;
    let cookie = header(&created, SET_COOKIE).to_owned();
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
    let pair = cookies(&created);
    assert_eq!(text(created).await, "true\t32\t1200\ttrue\n");
    let again = site.send("old.lsp", with_cookie("/old.lsp", &pair)).await;
    assert!(!again.headers().contains_key(SET_COOKIE));
    assert_eq!(text(again).await, "1\t2\tnil\t1\ttrue\n");
}

#[tokio::test]
async fn without_a_session_there_is_false() {
    assert_eq!(run("print(request:session(), ba.session'none', ba.session'')").await, "false\tnil\tnil\n");
}

#[tokio::test]
async fn a_session_that_was_ended_has_expired() {
    let code = "local s = request:session(true) local id = s:id() s.x = 1 s:terminate() \
                print(pcall(function() return s.x end)) print(pcall(function() s.x = 1 end)) print(pcall(s.id, s)) \
                print(pcall(s.terminate, s)) print(ba.session(id), request:session(), request:session(true) == s)";
    let text = run(code).await;
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[..4].iter().all(|line| *line == "false\tindex.lsp:1: session expired"), "{text}");
    assert_eq!(lines[4], "nil\tfalse\tfalse");
}

#[tokio::test]
async fn on_tls_the_cookie_is_secure() {
    let site = site(&[("index.lsp", "<?lsp request:session(true) ?>")]).await;
    let mut request = get("/");
    request.ends.is_tls = true;
    assert!(header(&site.send("index.lsp", request).await, SET_COOKIE).ends_with("; Secure"));
}

#[tokio::test]
async fn a_session_cannot_begin_behind_the_commit() {
    let text = run("response:write'a' response:flush() print(pcall(request.session, request, true))").await;
    assert!(text.trim_end().ends_with("iscommitted"), "{text}");
}

#[tokio::test]
async fn a_session_refuses_what_it_cannot_do() {
    for (call, message) in [
        ("s.maxinactiveinterval, s, 0", "1..3153600000 expected, got 0"),
        ("s.maxinactiveinterval, s, 'x'", "integer expected, got string"),
        ("s.maxinactiveinterval, s, math.maxinteger", "1..3153600000 expected"),
        ("ba.session", "bad argument #1 'id' to 'ba.session' (string expected, got no value)"),
        ("ba.session, {}", "string expected, got table"),
    ] {
        let text = run(&format!("local s = request:session(true) print(pcall({call}))")).await;
        assert!(text.starts_with("false\t") && text.contains(message), "{call}: {text}");
    }
    assert_eq!(run("local s = request:session(true) print(tostring(s))").await, "session\n");
}
