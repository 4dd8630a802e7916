//! The browser client and the examples in headless Chromium, on the real server.
//!
//! Needs `chromium` and `chromedriver` on the PATH: `scripts/install-test-tools` installs them.

#[path = "browser/webdriver.rs"]
mod webdriver;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use webdriver::{Browser, Driver, Screen};

/// `smq serve` on a port of the system's choice, until it is dropped.
struct Server {
    process: Child,
    url: String,
    app: PathBuf,
}

impl Server {
    fn start(app: &str) -> Server {
        Server::start_with(in_project(app), &[])
    }

    fn start_with(app: PathBuf, arguments: &[&str]) -> Server {
        Server::start_at("0", app, arguments)
    }

    /// Ends the server without a word, and starts it again at the same address.
    fn restarted(self) -> Server {
        let (port, app) =
            (self.url.rsplit(':').next().expect("a port").trim_end_matches('/').to_owned(), self.app.clone());
        drop(self);
        Server::start_at(&port, app, &[])
    }

    fn start_at(port: &str, app: PathBuf, arguments: &[&str]) -> Server {
        let mut process = Command::new(env!("CARGO_BIN_EXE_smq"))
            .arg("serve")
            .arg(&app)
            .args(["--port", port])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the smq binary starts");
        let mut lines = BufReader::new(process.stdout.take().expect("stdout is piped")).lines().map_while(Result::ok);
        let url = lines.find_map(|line| url_in(&line)).expect("the server prints its URL");
        // Somebody has to read what the server prints, or it would stand still when the pipe is full.
        std::thread::spawn(move || lines.for_each(|line| eprintln!("server: {line}")));
        Server { process, url, app }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn url_in(line: &str) -> Option<String> {
    let url = &line[line.find("http://")?..];
    Some(url.split_whitespace().next().unwrap_or(url).to_owned())
}

fn in_project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Keeps a screenshot for the READMEs, where `SMQ_SCREENSHOTS` asks for it.
fn keep_screenshot(browser: &Browser, path: &str) {
    let image = browser.screenshot();
    assert!(image.starts_with(b"\x89PNG"), "a screenshot is a PNG file");
    if std::env::var_os("SMQ_SCREENSHOTS").is_some() {
        std::fs::write(in_project(path), image).expect("the screenshot can be written");
    }
}

#[test]
fn the_client_does_what_its_specification_says() {
    let server = Server::start("tests/browser/app");
    let driver = Driver::start();
    let page = driver.open(Screen::Desktop);
    page.goto(&server.url);
    let names = page.run("return specs.map((spec) => spec.name);");
    let names = names.as_array().expect("a list of names");
    assert!(!names.is_empty());
    let mut failures = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let error = page.run(&format!("return await runSpec({i});"));
        println!("{} - {name}", if error.is_null() { "ok" } else { "FAILED" });
        if let Some(error) = error.as_str() {
            failures.push(format!("{name}: {error}"));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn the_app_in_the_readme_works_as_it_stands() {
    let readme = std::fs::read_to_string(in_project("README.md")).expect("the README is there");
    // Every other part is a code block, which begins with the name of its language.
    let blocks = readme.split("```").skip(1).step_by(2).map(|block| block.split_once('\n').expect("a language").1);
    let folder = tempfile::tempdir().expect("the system has room for a temporary folder");
    for (name, text) in [".preload", "smq.lsp", "index.html"].iter().zip(blocks) {
        std::fs::write(folder.path().join(name), text).expect("a file can be written");
    }
    let server = Server::start_with(folder.path().into(), &[]);
    let driver = Driver::start();
    let page = driver.open(Screen::Desktop);
    page.goto(&server.url);
    page.until("document.body.textContent.includes('Hello from a browser.')");
}

/// Opens the chat, and waits until `name` is among the people of the lobby.
fn come_to_chat(browser: &Browser, url: &str, name: &str) {
    browser.goto(url);
    enter_chat(browser, name);
    until_shown(browser, "people", name);
}

/// Gives a name in the chat's first dialog.
fn enter_chat(browser: &Browser, name: &str) {
    browser.until("document.getElementById('welcome').open");
    browser.run(&format!(
        "document.getElementById('name').value = {}; document.getElementById('login').requestSubmit();",
        json!(name)
    ));
}

fn say(browser: &Browser, text: &str) {
    browser.run(&format!(
        "document.getElementById('text').value = {}; document.getElementById('composer').requestSubmit();",
        json!(text)
    ));
}

fn until_shown(browser: &Browser, place: &str, text: &str) {
    browser.until(&format!("document.getElementById('{place}').textContent.includes({})", json!(text)));
}

/// Clicks the line of the sidebar that has this text.
fn click(browser: &Browser, list: &str, text: &str) {
    let line = format!(
        "[...document.querySelectorAll('#{list} button')].find((button) => button.textContent.includes({}))",
        json!(text)
    );
    browser.until(&format!("Boolean({line})"));
    browser.run(&format!("{line}.click();"));
}

#[test]
fn two_people_chat() {
    let server = Server::start("examples/chat");
    let driver = Driver::start();
    let (ada, grace) = (driver.open(Screen::Desktop), driver.open(Screen::Phone));
    for (browser, name) in [(&ada, "Ada"), (&grace, "Grace")] {
        come_to_chat(browser, &server.url, name);
    }

    until_shown(&ada, "subtitle", "2 people here");
    say(&ada, "Has anybody tried the new broker?");
    until_shown(&grace, "messages", "Has anybody tried the new broker?");
    say(&grace, "Yes! Every browser here is a peer of the hub, and so is the Lua code on the server. 😀");
    until_shown(&ada, "messages", "so is the Lua code on the server. 😀");
    say(&ada, "And who is in the room?");
    say(&ada, "I see it change the moment somebody comes in.");
    say(&grace, "That is smq.observe(). One line.");
    until_shown(&ada, "messages", "One line.");

    // Two more people, without a page of their own.
    for (name, room, text) in [("Margaret", "lobby", "Hello everybody! Am I late?"), ("Alan", "lua", "Nobody here?")] {
        ada.run(&format!(
            "const guest = SMQ.Client(SMQ.wsURL('smq/'), {{ info: '{name}' }});
             await guest.subscribe('room/{room}', 'say');
             await guest.publish({}, 'room/{room}', 'say');",
            json!(text)
        ));
    }
    until_shown(&ada, "messages", "Am I late?");
    until_shown(&ada, "subtitle", "3 people here");

    keep_screenshot(&grace, "examples/chat/phone.png");

    click(&grace, "people", "Ada");
    say(&grace, "Psst, this is only for you.");
    ada.until("document.querySelector('.badge.unread')?.textContent === '1'");
    assert_eq!(ada.run("return document.getElementById('messages').textContent.includes('Psst');"), json!(false));
    keep_screenshot(&ada, "examples/chat/screenshot.png");
    click(&ada, "people", "Grace");
    until_shown(&ada, "messages", "Psst, this is only for you.");
    say(&ada, "I will keep it to myself.");
    until_shown(&grace, "messages", "I will keep it to myself.");

    click(&grace, "rooms", "lua");
    until_shown(&grace, "title", "# lua");
    until_shown(&ada, "rooms", "#lua2");
    drop(grace);
    until_shown(&ada, "subtitle", "has left");
}

#[test]
fn a_name_that_is_taken_is_refused_with_a_reason() {
    let server = Server::start("examples/chat");
    let driver = Driver::start();
    let page = driver.open(Screen::Phone);
    page.goto(&server.url);
    enter_chat(&page, "Ada");
    until_shown(&page, "people", "Ada");
    let other = driver.open(Screen::Phone);
    other.goto(&server.url);
    enter_chat(&other, "Ada");
    until_shown(&other, "refusal", "Ada is here already");
}

#[test]
fn a_browser_calls_lua_functions() {
    let server = Server::start("examples/rpc");
    let driver = Driver::start();
    let page = driver.open(Screen::Desktop);
    page.goto(&server.url);
    page.until("[...document.querySelectorAll('small')].every((took) => took.innerText)");
    let shown = page
        .run("return [...document.querySelectorAll('output')].map((output) => [output.className, output.innerText]);");
    assert_eq!(shown[0], json!(["result", "42"]));
    assert_eq!(shown[1], json!(["error", "division by zero"]));
    assert_eq!(shown[2], json!(["result", "\"tpircSavaJ ♥ auL\""]));
    assert_eq!(shown[5], json!(["error", "there is no function nothing"]));
    keep_screenshot(&page, "examples/rpc/screenshot.png");
}

/// The device of the example, until it is dropped.
struct Device(Child);

impl Device {
    fn start(name: &str, server: &Server) -> Device {
        let address = server.url.trim_start_matches("http://").trim_end_matches('/');
        let command = ["run", "--quiet", "--example", "device", "--", name, address];
        let process = Command::new(env!("CARGO")).args(command).current_dir(in_project("")).spawn();
        Device(process.expect("cargo has started this test, too"))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn devices_show_their_readings_and_obey() {
    let server = Server::start("examples/device/app");
    let driver = Driver::start();
    let page = driver.open(Screen::Desktop);
    page.goto(&server.url);
    page.until("document.getElementById('status').textContent === 'No device is connected.'");
    let device = Device::start("attic", &server);
    page.until_within(Duration::from_secs(120), "document.querySelector('#devices h2')?.textContent === 'attic'");
    page.until("document.querySelector('#devices .value').textContent.endsWith(' °C')");
    page.run("document.querySelector('#devices button').click();");
    page.until("document.querySelector('#devices button').getAttribute('aria-pressed') === 'true'");
    drop(device);
    page.until("document.getElementById('status').textContent === 'No device is connected.'");
}

/// Fills in the dashboard's login form, and waits until it is gone.
fn log_in(browser: &Browser, url: &str) {
    browser.goto(url);
    browser.run(
        "const [name, password] = document.querySelectorAll('form input');
         [name.value, password.value] = ['demo', 'demo'];
         setTimeout(() => document.forms[0].submit());",
    );
    browser.until_there("nav");
}

/// Follows a link of the menu.
fn choose(browser: &Browser, title: &str) {
    browser.run(&format!(
        "[...document.querySelectorAll('nav a')].find((link) => link.textContent.includes({})).click();",
        json!(title)
    ));
    browser.until(&format!("document.querySelector('h2')?.textContent === {}", json!(title)));
}

#[test]
fn a_dashboard_moves_in_all_browsers_together() {
    let server = Server::start("examples/dashboard");
    let driver = Driver::start();
    let (desk, phone) = (driver.open(Screen::Desktop), driver.open(Screen::Phone));
    for browser in [&desk, &phone] {
        log_in(browser, &server.url);
        browser.run("window.isSameDocument = true;");
        choose(browser, "Lamps");
    }
    desk.run(
        "const slider = document.querySelector('[data-lamp=\"2\"]');
         slider.value = 85;
         slider.dispatchEvent(new Event('input', {bubbles: true}));",
    );
    phone.until("document.querySelector('[data-lamp=\"2\"]').value === '85'");
    phone.until("document.querySelector('[data-level=\"2\"]').textContent === '85 %'");
    keep_screenshot(&phone, "examples/dashboard/phone.png");

    choose(&desk, "Settings");
    desk.run("document.querySelector('[name=note]').value = 'Tea & cake <at 4>';");
    desk.run("document.querySelector('main form').requestSubmit();");
    desk.until("document.querySelector('.saved')");
    choose(&desk, "Overview");
    desk.until("document.querySelector('main').textContent.includes('Tea & cake <at 4>')");
    desk.until("document.querySelector('[data-pulse=browsers]').textContent === '2'");
    assert_eq!(desk.run("return window.isSameDocument;"), json!(true), "only the content was replaced");
    desk.until("document.querySelector('[data-curve=memory] polyline').points.length > 5");
    keep_screenshot(&desk, "examples/dashboard/screenshot.png");
}

#[test]
fn a_dashboard_asks_for_a_new_login_when_its_server_was_restarted() {
    let server = Server::start("examples/dashboard");
    let driver = Driver::start();
    let page = driver.open(Screen::Desktop);
    log_in(&page, &server.url);
    let _server = server.restarted();
    page.until_there("[name=ba_username]");
}

#[test]
fn no_example_makes_the_browser_complain() {
    let driver = Driver::start();
    for example in ["chat", "rpc", "dashboard", "device/app", "bridge/app"] {
        let server = Server::start(&format!("examples/{example}"));
        let page = driver.open(Screen::Desktop);
        page.goto(&server.url);
        if example == "dashboard" {
            log_in(&page, &server.url);
        }
        page.until("performance.now() > 500"); // Beyond the load event, at which the browser looks for an icon.
        assert_eq!(page.complaints(), Vec::<String>::new(), "{example}");
    }
}

#[test]
fn a_page_that_is_left_is_gone_at_once_and_comes_back_with_the_back_button() {
    let server = Server::start("tests/browser/app");
    let driver = Driver::start();
    let (stays, leaves) = (driver.open(Screen::Desktop), driver.open(Screen::Desktop));
    for page in [&stays, &leaves] {
        page.goto(&server.url);
        page.run("window.smq = await connected();");
    }
    let etid = leaves.run(
        "window.isBack = false;
         smq.onclose = () => 1000;
         smq.onreconnect = () => (window.isBack = true);
         return smq.gettid();",
    );
    stays.run(&format!("window.isGone = false; smq.observe({etid}, () => (window.isGone = true));"));
    leaves.goto(&format!("{}harness.js", server.url));
    stays.until("window.isGone");
    leaves.back();
    leaves.until("window.isBack");
}

#[test]
fn the_longest_message_of_the_chat_arrives_in_every_script() {
    let server = Server::start("examples/chat");
    let driver = Driver::start();
    let (ada, grace) = (driver.open(Screen::Desktop), driver.open(Screen::Phone));
    for (browser, name) in [(&ada, "Ada"), (&grace, "Grace")] {
        come_to_chat(browser, &server.url, name);
    }
    let longest = ada.run("return document.getElementById('text').maxLength;").as_u64().expect("there is a limit");
    let text = "漢".repeat(longest as usize);
    say(&ada, &text);
    until_shown(&grace, "messages", &text);
}

#[test]
fn a_chat_room_that_the_server_does_not_open_leads_back_to_the_lobby() {
    let server = Server::start("examples/chat");
    let driver = Driver::start();
    let ada = driver.open(Screen::Desktop);
    come_to_chat(&ada, &server.url, "Ada");
    // As when there are too many rooms: the server does not know this one.
    ada.run("enter('nowhere'); showAll();");
    until_shown(&ada, "status", "nowhere");
    until_shown(&ada, "title", "# lobby");
    until_shown(&ada, "people", "Ada");
    say(&ada, "Still here.");
    until_shown(&ada, "messages", "Still here.");
}

#[test]
fn a_chat_room_that_people_are_in_is_there_again_when_the_server_was_restarted() {
    let server = Server::start("examples/chat");
    let driver = Driver::start();
    let ada = driver.open(Screen::Desktop);
    come_to_chat(&ada, &server.url, "Ada");
    ada.run("document.getElementById('newroom').value = 'tea'; document.getElementById('open').requestSubmit();");
    until_shown(&ada, "rooms", "#tea1");
    let _server = server.restarted();
    ada.until("document.getElementById('status').textContent");
    ada.until("document.getElementById('status').hidden");
    say(&ada, "Is the tea still hot?");
    until_shown(&ada, "messages", "Is the tea still hot?");
    ada.run("SMQ.Client(SMQ.wsURL('smq/'), { info: 'Grace' }).subscribe('room/tea', 'say');");
    until_shown(&ada, "rooms", "#tea2");
    until_shown(&ada, "subtitle", "2 people here");
}

#[test]
fn a_dashboard_shows_what_was_asked_for_last_also_if_that_answer_comes_first() {
    let server = Server::start("examples/dashboard");
    let driver = Driver::start();
    let page = driver.open(Screen::Desktop);
    log_in(&page, &server.url);
    page.run(
        "const {fetch} = window;
         const isOver = new Promise((resolve) => document.addEventListener('fragment', resolve, {once: true}));
         window.fetch = async (url, options) => {
           const answer = await fetch(url, options);
           if (!url.endsWith('lamps.lsp')) return answer;
           const html = await answer.text();
           await isOver;
           setTimeout(() => (window.isLate = true));
           return {ok: true, text: async () => html};
         };
         for (const title of ['Lamps', 'Log']) {
           [...document.querySelectorAll('nav a')].find((link) => link.textContent.includes(title)).click();
         }",
    );
    page.until("window.isLate");
    assert_eq!(
        page.run("return [document.querySelector('h2').textContent, location.pathname];"),
        json!(["Log", "/log.lsp"])
    );
}

#[test]
fn the_dashboards_settings_take_what_their_form_takes_in_every_script() {
    let server = Server::start("examples/dashboard");
    let driver = Driver::start();
    let page = driver.open(Screen::Desktop);
    log_in(&page, &server.url);
    choose(&page, "Settings");
    page.run(
        "const {title, note} = document.forms[0];
         title.value = 'Ü'.repeat(title.maxLength);
         note.value = 'x' + 'é'.repeat(600);
         document.forms[0].requestSubmit();",
    );
    page.until("document.querySelector('.saved')");
    let shown = page.run("const {title, note} = document.forms[0]; return [title.value, note.value];");
    assert_eq!(shown, json!(["Ü".repeat(40), format!("x{}", "é".repeat(499))]));
}

#[test]
fn a_dashboards_form_is_no_step_for_the_back_button() {
    let server = Server::start("examples/dashboard");
    let driver = Driver::start();
    let page = driver.open(Screen::Desktop);
    log_in(&page, &server.url);
    choose(&page, "Lamps");
    choose(&page, "Settings");
    page.run("document.forms[0].requestSubmit();");
    page.until("document.querySelector('.saved')");
    page.back();
    page.until("document.querySelector('h2').textContent === 'Lamps'");
}

#[test]
fn whoever_comes_back_to_the_chat_and_finds_the_name_taken_chooses_another() {
    let server = Server::start("examples/chat");
    let driver = Driver::start();
    let (ada, grace) = (driver.open(Screen::Desktop), driver.open(Screen::Desktop));
    for (browser, name) in [(&ada, "Ada"), (&grace, "Grace")] {
        come_to_chat(browser, &server.url, name);
    }
    // Ada comes back a second later: time enough for somebody else.
    ada.run("smq.getsock().close();");
    grace.run(
        "const come = () => new Promise((resolve) => {
           window.other = SMQ.Client(SMQ.wsURL('smq/'), { info: 'Ada' });
           other.onconnect = () => resolve(true);
           other.onclose = () => resolve(false);
         });
         while (!(await come()));",
    );
    until_shown(&ada, "refusal", "Ada is here already");
    enter_chat(&ada, "Ada L.");
    until_shown(&ada, "people", "Ada L.");
    say(&ada, "It is me again.");
    until_shown(&grace, "messages", "It is me again.");
    grace.run("other.subscribe('room/lobby', 'say');");
    until_shown(&ada, "rooms", "#lobby3");
}

/// Waits until the text is shown, and fails if it makes the page wider than the window.
fn fits(page: &Browser, text: &str) {
    page.until(&format!("document.body.textContent.includes({})", json!(text)));
    assert_eq!(page.run("return document.documentElement.scrollWidth <= innerWidth;"), json!(true), "{}", &text[..1]);
}

#[test]
fn a_long_word_makes_no_example_wider_than_its_window() {
    let driver = Driver::start();
    let page = driver.open(Screen::Desktop);
    let devices = Server::start("examples/device/app");
    page.goto(&devices.url);
    let name = "d".repeat(200);
    page.run(&format!("SMQ.Client(SMQ.wsURL('/smq/'), {{ uid: 'device {name}', info: 'device' }});"));
    fits(&page, &name);

    let bridge = Server::start("examples/bridge/app");
    page.goto(&bridge.url);
    page.until("smq.gettid()");
    let word = "b".repeat(500);
    page.run(&format!("text.value = '{word}'; form.requestSubmit();"));
    fits(&page, &word);

    let dashboard = Server::start("examples/dashboard");
    log_in(&page, &dashboard.url);
    choose(&page, "Settings");
    let note = "n".repeat(500);
    page.run(&format!("document.forms[0].note.value = '{note}'; document.forms[0].requestSubmit();"));
    page.until("document.querySelector('.saved')");
    choose(&page, "Overview");
    fits(&page, &note);
}

const LOGIN_PAGE: &str = r#"<html><form method="post">
<input name="ba_username"><input name="ba_password" type="password"><input name="ba_password2" type="hidden">
<input name="ba_seed" type="hidden" value="<?lsp=authinfo.seed?>">
<input name="ba_seedkey" type="hidden" value="<?lsp=authinfo.seedkey?>">
</form><script>
async function hashed(password, seed) {
  const bytes = (text) => new TextEncoder().encode(text);
  const key = await crypto.subtle.importKey("raw", bytes(password), {name: "HMAC", hash: "SHA-256"}, false, ["sign"]);
  const hash = new Uint8Array(await crypto.subtle.sign("HMAC", key, bytes(seed)));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
document.forms[0].addEventListener("submit", async (event) => {
  event.preventDefault();
  const {ba_password, ba_password2, ba_seed} = event.target.elements;
  ba_password2.value = await hashed(ba_password.value, ba_seed.value);
  ba_password.value = "";
  event.target.submit();
});
</script></html>"#;

#[test]
fn a_login_page_hashes_the_password_so_that_it_does_not_travel() {
    let app = tempfile::tempdir().expect("the system has room for a temporary folder");
    let preload = "local users = ba.create.authuser(function(name, password) \
                     assert(password == nil) return name == 'eve' and 'gr\u{fc}n' or nil end) \
                   dir:setauth(ba.create.authenticator(users, {type = 'form', response = '/.login.lsp'}))";
    for (name, text) in [
        (".preload", preload),
        (".login.lsp", LOGIN_PAGE),
        ("index.lsp", "<html><h1>Hello, <?lsp=request:user()?></h1></html>"),
    ] {
        std::fs::write(app.path().join(name), text).expect("the folder is ours");
    }
    let server = Server::start_with(app.path().to_owned(), &[]);
    let driver = Driver::start();
    let page = driver.open(Screen::Desktop);
    page.goto(&server.url);
    for password in ["wrong", "gr\u{fc}n"] {
        page.run(&format!(
            "const {{ba_username, ba_password}} = document.forms[0].elements;
             [ba_username.value, ba_password.value] = ['eve', {}];
             document.body.dataset.old = 1;
             document.forms[0].requestSubmit();",
            json!(password)
        ));
        page.until("document.body && !document.body.dataset.old");
    }
    page.until("document.querySelector('h1')?.textContent === 'Hello, eve'");
}

/// The texts of the trace console's lines that can be seen.
const SEEN: &str =
    "[...document.querySelectorAll('#lines > div:not([hidden])')].map((line) => line.textContent).join()";

#[test]
fn the_trace_console_shows_what_scripts_say() {
    let app = tempfile::tempdir().expect("the system has room for a temporary folder");
    std::fs::write(app.path().join(".preload"), "trace'loaded' print'<b>ready</b>'").expect("the folder is ours");
    std::fs::write(app.path().join("say.lsp"), "<?lsp trace(request:data'what') ?>").expect("the folder is ours");
    std::fs::write(app.path().join("fail.lsp"), "<?lsp\nerror'broken' ?>").expect("the folder is ours");
    let server = Server::start_with(app.path().to_owned(), &["--dev"]);
    let driver = Driver::start();
    let page = driver.open(Screen::Desktop);
    let seen = |text: &str| format!("{SEEN}.includes({})", json!(text));
    page.goto(&format!("{}rtl/trace/", server.url));
    page.until(&seen("1: loaded"));
    page.until(&seen("<b>ready</b>"));
    page.until("document.getElementById('state').textContent === 'live'");
    page.run("await fetch('/fail.lsp'); await fetch('/say.lsp?what=one');");
    page.until(&seen("fail.lsp:2: broken"));
    page.until(&seen("1: one"));

    page.run("document.getElementById('pause').click(); await fetch('/say.lsp?what=two');");
    page.until("document.getElementById('pause').textContent === 'Resume (1)'");
    assert_eq!(page.run(&format!("return {};", seen("1: two"))), json!(false));
    page.run("document.getElementById('pause').click();");
    page.until(&seen("1: two"));

    page.run("const filter = document.getElementById('filter'); filter.value = 'TWO'; filter.oninput();");
    page.until(&format!("{} && !{}", seen("1: two"), seen("1: one")));
    page.run(
        "document.getElementById('filter').value = '';
         const level = document.getElementById('level'); level.value = '0'; level.onchange();",
    );
    page.until(&format!("{} && !{}", seen("broken"), seen("1: two")));
}
