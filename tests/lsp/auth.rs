//! Authenticators and authorizers on directories.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use hyper::header::{SET_COOKIE, WWW_AUTHENTICATE};
use md5::{Digest, Md5};
use sha2::Sha256;

use super::*;

const USERS: &str = "local users = ba.create.authuser(function(name, password, env) \
                         assert(env.request) if name == 'eve' then return 'secret' end end)\n";
const FORM: &str = "local auth = ba.create.authenticator(users, {type='form', response=function(_ENV, info) \
                        response:write('login:', info.type, ':', info.username or '-', ':', info.loginattempts, ':', tostring(info.denied)) end}) \
                    dir:setauth(auth)";
const PAGE: (&str, &str) = ("index.lsp", "<?lsp print(request:user()) ?>");

async fn protected(preload: &str) -> Site {
    site(&[
        (".preload", &format!("{USERS}{preload}")),
        PAGE,
        ("out.lsp", "<?lsp request:logout(request:data'all') print(request:user()) ?>"),
    ])
    .await
}

fn post(uri: &str, body: &str) -> PageRequest {
    let form = [("Host", "example.org"), ("Content-Type", "application/x-www-form-urlencoded")];
    request(Method::POST, uri, &form, body)
}

fn with(name: &str, value: &str) -> PageRequest {
    request(Method::GET, "/index.lsp?q=1", &[("Host", "example.org"), (name, value)], "")
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

async fn fetch(site: &Site, request: PageRequest) -> (u16, String) {
    let response = site.visit("index.lsp", request).await;
    (response.status().as_u16(), text(response).await)
}

#[tokio::test]
async fn a_form_asks_until_the_password_is_right_and_then_there_is_a_session() {
    let site = protected(FORM).await;
    assert_eq!(fetch(&site, get("/index.lsp")).await, (200, "login:form:-:0:false".into()));
    let wrong = "ba_username=eve&ba_password=wrong";
    assert_eq!(fetch(&site, post("/index.lsp", wrong)).await, (200, "login:form:eve:1:false".into()));
    let login = site.visit("index.lsp", post("/index.lsp?q=1", "ba_username=eve&ba_password=secret")).await;
    assert_eq!((login.status(), header(&login, LOCATION)), (StatusCode::FOUND, "http://example.org/index.lsp"));
    let cookie = cookies(&login);
    assert_eq!(fetch(&site, with("Cookie", &cookie)).await, (200, "eve\tsecret\tform\n".into()));
    let out = site.visit("out.lsp", with("Cookie", &cookie)).await;
    assert!(header(&out, SET_COOKIE).contains("Max-Age=0"));
    assert_eq!(text(out).await, "nil\n");
    assert!(fetch(&site, with("Cookie", &cookie)).await.1.starts_with("login:"));
}

#[tokio::test]
async fn the_login_page_is_told_the_password_that_was_sent_and_the_true_one() {
    let site = protected(
        "dir:setauth(ba.create.authenticator(users, {type='form', response=function(_ENV, info) \
         response:write(tostring(info.password), ' ', tostring(info.upwd)) end}))",
    )
    .await;
    for (name, told) in [("eve", "wrong secret"), ("adam", "wrong nil")] {
        let wrong = post("/index.lsp", &format!("ba_username={name}&ba_password=wrong"));
        assert_eq!(fetch(&site, wrong).await.1, told);
    }
    assert_eq!(fetch(&site, get("/index.lsp")).await.1, "nil nil");
}

/// What a login page makes of the password.
fn hashed(password: &str, seed: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(password.as_bytes()).expect("any key will do");
    mac.update(seed.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_form_may_hash_the_password_with_its_seed_which_is_good_for_one_login() {
    let site = protected(
        "dir:setauth(ba.create.authenticator(users, {type='form', response=function(_ENV, info) \
         response:write(info.seed, ' ', info.seedkey, ' ', info.loginattempts) end}))",
    )
    .await;
    let login = async |seed: &str, key: &str, password: &str| {
        let body = format!(
            "ba_username=eve&ba_password=&ba_password2={}&ba_seed={seed}&ba_seedkey={key}",
            hashed(password, seed)
        );
        site.visit("index.lsp", post("/index.lsp", &body)).await
    };
    let page = fetch(&site, get("/index.lsp")).await.1;
    let (seed, rest) = page.split_once(' ').expect("a seed");
    let (key, _) = rest.split_once(' ').expect("its key");
    assert_ne!(fetch(&site, get("/index.lsp")).await.1.split(' ').next(), Some(seed), "each page has its own");
    assert!(text(login(seed, key, "wrong").await).await.ends_with(" 1"), "the page is shown again");
    assert!(text(login("00", key, "secret").await).await.ends_with(" 1"), "not our seed, but no wrong password either");
    assert!(text(login(seed, "0.00", "secret").await).await.ends_with(" 1"), "not our seal");
    let right = login(seed, key, "secret").await;
    assert_eq!(right.status(), StatusCode::FOUND);
    let user = fetch(&site, with("Cookie", &cookies(&right))).await;
    assert_eq!(user, (200, "eve\tsecret\tform\n".into()));
    assert_eq!(login(seed, key, "secret").await.status(), StatusCode::OK, "who has listened gets nowhere");
}

#[tokio::test]
async fn a_password_that_is_known_by_its_hash_alone_cannot_be_proven_by_another_hash() {
    let preload = ROLES
        .replace("type='basic'", "type='form', response=function(_ENV, i) response:write(i.seed, ' ', i.seedkey) end")
        .replace("AUTHORIZER", "nil")
        .replace("HASH", &hex("root:r:toor"));
    let site = site(&[(".preload", &preload), PAGE]).await;
    let page = fetch(&site, get("/index.lsp")).await.1;
    let (seed, key) = page.split_once(' ').expect("seed and key");
    let body = |response: &str| format!("ba_username=root&ba_password2={response}&ba_seed={seed}&ba_seedkey={key}");
    for response in [&hashed("toor", seed), &hashed(&hex("root:r:toor"), seed), "%00%ff", &"0".repeat(1 << 16)] {
        assert_eq!(site.visit("index.lsp", post("/index.lsp", &body(response))).await.status(), StatusCode::OK);
    }
    let plain = post("/index.lsp", "ba_username=root&ba_password=toor");
    assert_eq!(site.visit("index.lsp", plain).await.status(), StatusCode::FOUND);
}

#[tokio::test]
async fn an_attempt_behind_many_failures_waits_before_it_is_looked_at() {
    let site = protected(&FORM.replace("type='form'", "type='auth'")).await;
    for _ in 0..11 {
        assert_eq!(fetch(&site, with("Authorization", &basic("eve", "wrong"))).await.0, 401);
    }
    let begun = std::time::Instant::now();
    let right = fetch(&site, with("Authorization", &basic("eve", "secret")));
    let hurried = tokio::time::timeout(std::time::Duration::from_millis(500), right).await;
    assert!(hurried.is_err(), "answered after {:?}", begun.elapsed());
    assert_eq!(fetch(&site, with("Authorization", &basic("eve", "secret"))).await.0, 200);
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1));
}

#[tokio::test]
async fn failures_are_counted_by_address_and_for_ipv6_by_network() {
    let site = protected(&FORM.replace("type='form'", "type='auth'")).await;
    for (peer, count) in [
        ("192.0.2.7", 1),
        ("192.0.2.8", 1),
        ("::ffff:192.0.2.8", 2),
        ("2001:db8:1:1::1", 1),
        ("2001:db8:1:1:ffff::2", 2),
        ("2001:db8:1:2::1", 1),
        ("2001:db9:1:1::1", 1),
    ] {
        let mut wrong = post("/index.lsp", "ba_username=eve&ba_password=wrong");
        let peer_address = std::net::SocketAddr::new(peer.parse().expect("an address"), 40000);
        wrong.ends = Ends::new(peer_address, wrong.ends.local, false);
        assert_eq!(fetch(&site, wrong).await, (200, format!("login:form:eve:{count}:false")), "{peer}");
    }
}

#[tokio::test]
async fn a_session_from_before_the_login_does_not_let_others_in() {
    let site = site(&[
        (
            ".preload",
            &format!("{USERS}{FORM} dir:setauth(nil) function close() dir:setauth(auth) end")
                .replace("local auth", "auth"),
        ),
        PAGE,
        ("session.lsp", "<?lsp request:session(true).kept = 'kept' app.close() ?>"),
        ("kept.lsp", "<?lsp=request:session().kept?>"),
    ])
    .await;
    let before = cookies(&site.visit("session.lsp", get("/session.lsp")).await);
    let mut login = post("/index.lsp", "ba_username=eve&ba_password=secret");
    login.head.headers.insert("cookie", before.parse().expect("a header"));
    let after = cookies(&site.visit("index.lsp", login).await);
    assert_ne!(before, after);
    assert!(fetch(&site, with("Cookie", &before)).await.1.starts_with("login:"));
    assert_eq!(text(site.visit("kept.lsp", with("Cookie", &after)).await).await, "kept");
}

#[tokio::test]
async fn basic_answers_401_until_the_password_is_right() {
    let site = protected("dir:setauth(ba.create.authenticator(users, {type='basic', realm='here'}))").await;
    let asked = site.visit("index.lsp", get("/index.lsp")).await;
    assert_eq!(asked.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(header(&asked, WWW_AUTHENTICATE), "Basic realm=\"here\", charset=\"UTF-8\"");
    assert!(text(asked).await.contains("401 Unauthorized"));
    assert_eq!(
        fetch(&site, with("Authorization", &basic("eve", "secret"))).await,
        (200, "eve\tsecret\tbasic\n".into())
    );
    for (name, password) in [("eve", "Secret"), ("eve", ""), ("", ""), ("adam", "secret"), ("eve", "secret\0")] {
        assert_eq!(fetch(&site, with("Authorization", &basic(name, password))).await.0, 401, "{name}:{password}");
    }
    for broken in ["Basic", "Basic ", "Basic !!!", "Basic Zm9v", "Digest x", "Bearer x", "basic\t"] {
        assert_eq!(fetch(&site, with("Authorization", broken)).await.0, 401, "{broken}");
    }
}

fn hex(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a client answers to a challenge.
fn digest(challenge: &str, password: &str, uri: &str, count: u32) -> String {
    let field = |name: &str| {
        challenge.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split('"').next()).unwrap_or("")
    };
    let (realm, nonce, nc) = (field("realm"), field("nonce"), format!("{count:08x}"));
    let (ha1, ha2) = (hex(&format!("eve:{realm}:{password}")), hex(&format!("GET:{uri}")));
    let response = hex(&format!("{ha1}:{nonce}:{nc}:cn:auth:{ha2}"));
    format!(
        "Digest username=\"eve\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", qop=auth, nc={nc}, cnonce=\"cn\", response=\"{response}\""
    )
}

#[tokio::test]
async fn digest_lets_in_who_answers_its_challenge_once() {
    let site = protected("dir:setauth(ba.create.authenticator(users, {type='digest'}))").await;
    let asked = site.visit("index.lsp", get("/index.lsp")).await;
    let challenge = header(&asked, WWW_AUTHENTICATE).to_owned();
    assert!(challenge.starts_with("Digest realm=\"Restricted\", qop=\"auth\", algorithm=MD5, nonce=\""), "{challenge}");
    let uri = "/index.lsp?q=1";
    assert_eq!(fetch(&site, with("Authorization", &digest(&challenge, "wrong", uri, 1))).await.0, 401);
    assert_eq!(fetch(&site, with("Authorization", &digest(&challenge, "secret", "/other", 1))).await.0, 401);
    let right = digest(&challenge, "secret", uri, 1);
    assert_eq!(fetch(&site, with("Authorization", &right)).await, (200, "eve\tsecret\tdigest\n".into()));
    let again = site.visit("index.lsp", with("Authorization", &right)).await;
    assert_eq!(again.status(), StatusCode::UNAUTHORIZED, "the same answer is good once");
    assert!(header(&again, WWW_AUTHENTICATE).ends_with("stale=true"));
    assert_eq!(fetch(&site, with("Authorization", &digest(&challenge, "secret", uri, 2))).await.0, 200);
}

#[tokio::test]
async fn type_auth_shows_people_a_form_and_programs_a_challenge() {
    let site = protected(&FORM.replace("type='form'", "type='auth'")).await;
    assert_eq!(fetch(&site, with("Accept", "text/html,*/*")).await, (200, "login:form:-:0:false".into()));
    assert_eq!(fetch(&site, with("Accept", "*/*")).await, (401, "login:auth:-:0:false".into()));
    assert_eq!(fetch(&site, with("Authorization", &basic("eve", "secret"))).await.0, 200);
}

#[tokio::test]
async fn type_auth_makes_no_browser_ask_for_a_password_by_itself() {
    let site = protected(&FORM.replace("type='form'", "type='auth'")).await;
    for (name, value) in [("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "style"), ("User-Agent", "Mozilla/5.0")] {
        let answer = site.visit("index.lsp", with(name, value)).await;
        assert_eq!(answer.status(), 401);
        assert!(!answer.headers().contains_key(WWW_AUTHENTICATE), "{name}");
        assert_eq!(text(answer).await, "login:form:-:0:false");
    }
    let program = site.visit("index.lsp", with("User-Agent", "curl/8")).await;
    assert!(program.headers().contains_key(WWW_AUTHENTICATE));
}

#[tokio::test]
async fn type_dav_challenges_everybody_with_digest_and_basic_and_takes_both() {
    let site = protected(&FORM.replace("type='form'", "type='dav'")).await;
    let asked = site.visit("index.lsp", with("Accept", "text/html,*/*")).await;
    assert_eq!(asked.status(), StatusCode::UNAUTHORIZED);
    let challenges: Vec<_> = asked.headers().get_all(WWW_AUTHENTICATE).iter().map(|c| c.to_str().unwrap()).collect();
    assert!(matches!(challenges[..], [one, two] if one.starts_with("Digest ") && two.starts_with("Basic ")));
    let answer = digest(challenges[0], "secret", "/index.lsp?q=1", 1);
    assert_eq!(text(asked).await, "login:dav:-:0:false");
    for credentials in [answer, basic("eve", "secret")] {
        assert_eq!(fetch(&site, with("Authorization", &credentials)).await.0, 200);
    }
}

#[tokio::test]
async fn type_auth_takes_a_form_from_anybody() {
    let site = protected(&FORM.replace("type='form'", "type='auth'")).await;
    let login = site.visit("index.lsp", post("/index.lsp", "ba_username=eve&ba_password=secret")).await;
    assert_eq!(login.status(), StatusCode::FOUND);
    assert_eq!(fetch(&site, with("Cookie", &cookies(&login))).await, (200, "eve\tsecret\tform\n".into()));
    for (count, proof) in [(1, "ba_password=wrong"), (2, "ba_password2=00")] {
        let wrong = post("/index.lsp", &format!("ba_username=eve&{proof}"));
        assert_eq!(fetch(&site, wrong).await, (200, format!("login:form:eve:{count}:false")));
    }
    assert_eq!(fetch(&site, post("/index.lsp", "other=1")).await.0, 401);
}

#[tokio::test]
async fn who_has_sent_credentials_that_are_wrong_is_challenged_and_not_shown_a_form() {
    let site = protected(&FORM.replace("type='form'", "type='auth'")).await;
    for credentials in [&basic("eve", "wrong"), "Basic !!!", "Digest x"] {
        let headers = [("Host", "example.org"), ("Accept", "text/html"), ("Authorization", credentials)];
        let answer = site.visit("index.lsp", request(Method::GET, "/index.lsp", &headers, "")).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{credentials}");
        assert!(answer.headers().contains_key(WWW_AUTHENTICATE), "{credentials}");
    }
}

#[tokio::test]
async fn a_form_is_taken_from_a_post_without_other_credentials_only() {
    let site = protected(&FORM.replace("type='form'", "type='auth'")).await;
    let fields = "ba_username=eve&ba_password=secret";
    assert_eq!(fetch(&site, get(&format!("/index.lsp?{fields}"))).await.0, 401);
    let wrong = basic("eve", "wrong");
    let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Authorization", wrong.as_str())];
    assert_eq!(fetch(&site, request(Method::POST, "/index.lsp", &headers, fields)).await.0, 401);
}

#[tokio::test]
async fn an_authenticator_takes_no_credentials_but_those_of_its_type() {
    const PAGED: &str = "response=function(_ENV) response:write'login' end";
    for (kind, page, takes_basic, takes_form) in [
        ("form", PAGED, false, true),
        ("basic", PAGED, true, false),
        ("digest", PAGED, false, false),
        ("dav", PAGED, true, false),
        ("auth", "", true, false),
        ("auth", PAGED, true, true),
    ] {
        let site = protected(&format!("dir:setauth(ba.create.authenticator(users, {{type='{kind}', {page}}}))")).await;
        let form = site.visit("index.lsp", post("/index.lsp", "ba_username=eve&ba_password=secret")).await;
        assert_eq!(form.status() == StatusCode::FOUND, takes_form, "{kind} {page}");
        let answer = fetch(&site, with("Authorization", &basic("eve", "secret"))).await;
        assert_eq!(answer == (200, "eve\tsecret\tbasic\n".into()), takes_basic, "{kind} {page}");
    }
}

#[tokio::test]
async fn type_form_asks_by_its_form_whatever_else_comes() {
    let site = protected(FORM).await;
    for credentials in [&basic("eve", "secret"), "Digest x", "Bearer x"] {
        let answer = fetch(&site, with("Authorization", credentials)).await;
        assert_eq!(answer, (200, "login:form:-:0:false".into()), "{credentials}");
    }
}

#[tokio::test]
async fn the_login_page_may_be_a_page() {
    let site = site(&[
        (
            ".preload",
            &format!("{USERS} dir:setauth(ba.create.authenticator(users, {{type='form', response='/.login.lsp'}}))"),
        ),
        PAGE,
        (".login.lsp", "login <?lsp=authinfo.type?>"),
    ])
    .await;
    assert_eq!(fetch(&site, get("/index.lsp")).await, (200, "login form".into()));
}

#[tokio::test]
async fn the_login_page_is_a_file_of_the_app_and_no_directory_function() {
    let site = site(&[
        (
            ".preload",
            &format!(
                "{USERS} for name, page in pairs{{d = 'login.lsp', e = '/e/secret', f = 'none.lsp'}} do \
                 local d = ba.create.dir(name) \
                 d:setauth(ba.create.authenticator(users, {{type = 'form', response = page}})) \
                 d:setfunc(function(_ENV) response:write'secret' end) dir:insert(d) end"
            ),
        ),
        ("login.lsp", "login <?lsp=authinfo.type?>"),
    ])
    .await;
    assert_eq!(text(site.visit("d/deep/x", get("/d/deep/x")).await).await, "login form");
    for path in ["e/secret", "f/x"] {
        let answer = site.visit(path, get(&format!("/{path}"))).await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR, "{path}: there is no such page");
        assert!(!text(answer).await.contains("secret"), "{path}");
    }
}

#[tokio::test]
async fn a_directory_is_entered_before_its_function_runs_and_leaves_others_alone() {
    let site = protected(
        "local d = ba.create.dir'd' d:setauth(ba.create.authenticator(users, {type='basic'})) \
         d:setfunc(function(_ENV, path) called = true response:write(request:user()) end) dir:insert(d)",
    )
    .await;
    assert!(!site.app.has_gate());
    assert_eq!(site.visit("d/x", get("/d/x")).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(text(site.visit("d/x", with("Authorization", &basic("eve", "secret"))).await).await, "evesecretbasic");
    assert_eq!(fetch(&site, get("/index.lsp")).await, (200, "nil\n".into()));
}

#[tokio::test]
async fn an_authenticator_in_a_prologue_guards_pages_until_it_is_taken_away() {
    let site = protected(
        "local d = ba.create.dir() d:setauth(ba.create.authenticator(users, {type='basic'})) dir:insertprolog(d) \
         function open() d:unlink() end",
    )
    .await;
    assert_eq!(fetch(&site, get("/index.lsp")).await.0, 401);
    site.folder.write("open.lsp", "<?lsp app.open() ?>");
    site.visit("open.lsp", with("Authorization", &basic("eve", "secret"))).await;
    assert_eq!(fetch(&site, get("/index.lsp")).await, (200, "nil\n".into()));
}

const ROLES: &str = "local users = ba.create.jsonuser() \
    users:set{eve={pwd='secret', roles={'reader'}}, root={pwd={'HASH'}, roles='admin'}, once={pwd='x', maxusers=1}, two={pwd='x', maxusers=1, recycle=true}} \
    local a = users:authorizer() a:set{read={urls={'/*'}, methods={'GET'}, roles={'reader', 'admin'}}, all={urls={'/admin/*'}, roles={'admin'}}} \
    dir:setauth(ba.create.authenticator(users, {type='basic', realm='r'}), AUTHORIZER)";

#[tokio::test]
async fn an_authorizer_allows_what_a_role_may_do_and_nothing_else() {
    let preload = ROLES.replace("AUTHORIZER", "a").replace("HASH", &hex("root:r:toor"));
    let site = site(&[(".preload", &preload), PAGE, ("admin/x.lsp", "x")]).await;
    let post = |name: &str, password: &str| {
        request(Method::POST, "/admin/x.lsp", &[("Authorization", &basic(name, password))], "")
    };
    assert_eq!(fetch(&site, with("Authorization", &basic("eve", "secret"))).await.0, 200);
    assert_eq!(site.visit("admin/x.lsp", post("eve", "secret")).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(site.visit("admin/x.lsp", post("root", "toor")).await.status(), StatusCode::OK);
    assert_eq!(site.visit("admin/x.lsp", post("root", "root")).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_authorizer_may_be_a_function() {
    let site = protected(
        "dir:setauth(ba.create.authenticator(users, {type='basic'}), ba.create.authorizer(function(name, method, path, env) \
         return name == 'eve' and method == 'GET' and path == 'index.lsp' and env.request ~= nil end))",
    )
    .await;
    assert_eq!(fetch(&site, with("Authorization", &basic("eve", "secret"))).await.0, 200);
    assert_eq!(
        site.visit("out.lsp", with("Authorization", &basic("eve", "secret"))).await.status(),
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn a_user_has_no_more_sessions_than_allowed() {
    let preload = ROLES
        .replace("type='basic'", "type='form', response=function(_ENV, i) response:write(tostring(i.denied)) end")
        .replace("AUTHORIZER", "nil");
    let site = site(&[(".preload", &preload), PAGE]).await;
    let login =
        async |name: &str| site.visit("index.lsp", post("/", &format!("ba_username={name}&ba_password=x"))).await;
    assert_eq!(login("once").await.status(), StatusCode::FOUND);
    assert_eq!(text(login("once").await).await, "true");
    let (first, second) = (cookies(&login("two").await), cookies(&login("two").await));
    assert_eq!(fetch(&site, with("Cookie", &first)).await.1, "false");
    assert_eq!(fetch(&site, with("Cookie", &second)).await.1, "two\tx\tform\n");
}

#[tokio::test]
async fn a_user_function_may_limit_the_sessions_of_its_users() {
    let site = protected(&FORM.replace(
        "local auth",
        "users = ba.create.authuser(function(name) return 'x', name == 'any' and 0 or 1, name == 'two' end) local auth",
    ))
    .await;
    let login =
        async |name: &str| site.visit("index.lsp", post("/", &format!("ba_username={name}&ba_password=x"))).await;
    for (name, second) in [("once", StatusCode::OK), ("two", StatusCode::FOUND), ("any", StatusCode::FOUND)] {
        let first = cookies(&login(name).await);
        assert_eq!(login(name).await.status(), second, "{name}");
        let is_in = fetch(&site, with("Cookie", &first)).await.1.starts_with(name);
        assert_eq!(is_in, name != "two", "{name}: the first session");
    }
}

#[tokio::test]
async fn a_user_may_log_out_of_one_session_or_of_all() {
    let site = protected(FORM).await;
    let login =
        async || cookies(&site.visit("index.lsp", post("/index.lsp", "ba_username=eve&ba_password=secret")).await);
    let (one, two, three) = (login().await, login().await, login().await);
    let is_in = async |cookie: &str| fetch(&site, with("Cookie", cookie)).await.1.starts_with("eve");
    let log_out = async |uri: &str, cookie: &str| {
        let request = request(Method::GET, uri, &[("Host", "example.org"), ("Cookie", cookie)], "");
        text(site.visit("out.lsp", request).await).await
    };
    assert_eq!(log_out("/out.lsp", &one).await, "nil\n");
    assert_eq!([is_in(&one).await, is_in(&two).await, is_in(&three).await], [false, true, true]);
    assert_eq!(log_out("/out.lsp?all=1", &two).await, "nil\n");
    assert_eq!([is_in(&two).await, is_in(&three).await], [false, false]);
}

#[tokio::test]
async fn who_logs_out_of_all_sessions_ends_those_too_whose_cookie_has_not_come_back() {
    let site = protected("dir:setauth(ba.create.authenticator(users, {type='basic'}))").await;
    let credentials = basic("eve", "secret");
    let unused = cookies(&site.visit("index.lsp", with("Authorization", &credentials)).await);
    let all = [("Host", "example.org"), ("Authorization", credentials.as_str())];
    site.visit("out.lsp", request(Method::GET, "/out.lsp?all=1", &all, "")).await;
    assert_eq!(fetch(&site, with("Cookie", &unused)).await.0, 401);
}

#[tokio::test]
async fn the_user_database_says_how_long_a_session_may_be_left_alone() {
    for (users, seconds) in [
        ("ba.create.authuser(function() return 'secret', nil, nil, 60 end)", "60"),
        ("ba.create.authuser(function() return 'secret', nil, nil, 0 end)", "1200"),
        ("ba.create.jsonuser() users:set{eve = {pwd = 'secret', inactive = 60}}", "60"),
    ] {
        let preload = format!("local users = {users}\n{FORM}");
        let site =
            site(&[(".preload", &preload), ("index.lsp", "<?lsp=request:session():maxinactiveinterval()?>")]).await;
        let login = site.visit("index.lsp", post("/index.lsp", "ba_username=eve&ba_password=secret")).await;
        assert_eq!(fetch(&site, with("Cookie", &cookies(&login))).await, (200, seconds.into()));
    }
}

#[tokio::test]
async fn wrong_arguments_are_refused_by_name() {
    for (call, message) in [
        ("ba.create.authuser", "bad argument #1 'function' to 'ba.create.authuser' (function expected, got no value)"),
        (
            "ba.create.authenticator, {}",
            "bad argument #1 'users' to 'ba.create.authenticator' (authuser or jsonuser expected, got table)",
        ),
        (
            "ba.create.authenticator, u, 1",
            "bad argument #2 'options' to 'ba.create.authenticator' (table expected, got 1)",
        ),
        ("ba.create.authenticator, u, {type='x'}", "field 'type': \"form\", \"basic\", "),
        ("ba.create.authenticator, u, {type={}}", "field 'type': \"form\", \"basic\", "),
        ("ba.create.authenticator, u, {type='form'}", "field 'response': type \"form\" needs it"),
        ("ba.create.authenticator, u, {response=1}", "field 'response': function or path of a page expected, got 1"),
        ("ba.create.authenticator, u, {realm='a\"b'}", "field 'realm': ASCII text "),
        ("ba.create.authorizer, 1", "function expected, got 1"),
        ("app.dir.setauth, app.dir", "authenticator expected, got no value"),
        (
            "app.dir.setauth, app.dir, u",
            "bad argument #1 'authenticator' to 'dir:setauth' (authenticator expected, got userdata)",
        ),
        ("app.dir.setauth, app.dir, ba.create.authenticator(u), {}", "bad argument #2 'authorizer'"),
        ("u.set, u, 'x'", "bad argument #1 'users' to 'jsonuser:set' (not JSON"),
        ("u.set, u, {a=1}", "jsonuser:set: user 'a': a table with the field 'pwd' expected"),
        ("u.set, u, {a={}}", "jsonuser:set: user 'a': 'pwd' must be"),
        ("u.set, u, {a={pwd='', maxusers=-1}}", "'maxusers' must be a positive integer"),
        ("u.set, u, {a={pwd='', maxusers=0}}", "'maxusers' must be a positive integer"),
        ("u.set, u, {a={pwd='', roles={{}}}}", "'roles' must be a list of strings"),
        ("a.set, a, {x={urls=1, roles={false}}}", "authorizer:set: constraint 'x': 'roles' must be"),
        ("a.set, a, {x=true}", "authorizer:set: constraint 'x'"),
    ] {
        let text = run(&format!("local u = ba.create.jsonuser() local a = u:authorizer() print(pcall({call}))")).await;
        assert!(text.starts_with("false\t") && text.contains(message), "{call}: {text}");
    }
}

#[tokio::test]
async fn the_error_of_a_user_function_is_a_500_and_lets_nobody_in() {
    let site = site(&[
        (".preload", "dir:setauth(ba.create.authenticator(ba.create.authuser(function() error'no database' end), {type='basic'}))"),
        PAGE,
    ])
    .await;
    assert_eq!(fetch(&site, with("Authorization", &basic("eve", "secret"))).await.0, 500);
}

#[tokio::test]
async fn a_user_function_may_accept_a_password_itself_but_not_without_one() {
    let users = "local users = ba.create.authuser(function(name, password) ba.sleep(1) return password ~= 'no', 5, true, 60 end) ";
    let basic_site =
        site(&[(".preload", &format!("{users} dir:setauth(ba.create.authenticator(users, {{type='auth'}}))")), PAGE])
            .await;
    let accepted = fetch(&basic_site, with("Authorization", &basic("eve", "yes"))).await;
    assert_eq!(accepted, (200, "eve\tyes\tbasic\n".into()));
    assert_eq!(fetch(&basic_site, with("Authorization", &basic("eve", "no"))).await.0, 401);
    let asked = basic_site.visit("index.lsp", get("/index.lsp")).await;
    let challenge = header(&asked, WWW_AUTHENTICATE).to_owned();
    assert_eq!(fetch(&basic_site, with("Authorization", &digest(&challenge, "", "/index.lsp?q=1", 1))).await.0, 401);
}
