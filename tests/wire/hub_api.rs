//! The hub's Lua methods, as far as clients are involved. `tests/lua` has what needs none.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::*;

#[test]
fn info_tells_all_about_the_request() {
    let hub = Hub::with(
        "authenticate = function(credentials, info) first = info return 0 end,
         onconnect = function(tid, info, peer)
            event(info == first, info.sock == peer.sock, info.url, info.data.x, info.header['X-Device'], info.uname,
               info.session or false, info.arg)
         end",
    );
    hub.lua("function connect(request) hub:connect(request, 'an argument') end");
    let mut stream = hub.server.dial();
    let head = format!("GET {}&x=a+b%21 HTTP/1.1\r\nHost: x\r\nX-Device: lamp\r\nSimpleMQ: 1\r\n\r\n", hub.path());
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    let mut client = Client::raw(stream);
    client.read_init();
    client.login("uid-123456", "", "");
    hub.expect_events(json!([[true, true, "/connect.lsp", "a b!", "lamp", null, false, "an argument"]]));
}

#[test]
fn info_arg_may_be_any_value() {
    let hub = Hub::with("onconnect = function(tid, info) event(info.arg == things) end");
    hub.lua("things = {} function connect(request) hub:connect(request, things) end");
    hub.raw("uid-123456").sync();
    hub.expect_events(json!([[true]]));
}

#[test]
fn info_has_the_same_form_over_every_transport() {
    let hub = Hub::with(
        "onconnect = function(tid, info) event(info.url, info.uid, info.info, type(info.seed), type(info.header)) end",
    );
    for via in Via::ALL {
        hub.clear_events();
        let mut client = hub.open(via);
        client.login("uid-123456", "", "lamp");
        hub.expect_events(json!([["/connect.lsp", "uid-123456", "lamp", "number", "table"]]));
    }
}

#[test]
fn the_peer_table_describes_the_client() {
    let hub = Hub::with(
        "onconnect = function(tid, info, peer) event(peer.tid == tid, peer.uid, peer.info, peer.topics, peer.phantom, type(peer)) end",
    );
    let mut client = hub.open(Via::Raw);
    client.login("uid-123456", "", "lamp");
    hub.expect_events(json!([[true, "uid-123456", "lamp", null, null, "table"]]));
}

#[test]
fn fields_that_an_app_adds_to_a_peer_stay() {
    let hub = Hub::with(
        "onconnect = function(tid, info, peer) peer.color = 'blue' end,
         permittop = function(topic, issub, peer) event(peer.color) return true end,
         onpublish = function(data, ptid, tid, subtid, peer) event(peer.color) return true end,
         ondrop = function(data, ptid, tid, subtid, peer) event(peer.color) end,
         onclose = function(tid, sock, peer) event(peer.color) end",
    );
    let mut client = hub.raw("uid-123456");
    client.create("topic");
    client.publish(12345, 0, "lost");
    client.send(&disconnect(""));
    client.expect_closed();
    hub.expect_events(json!([["blue"], ["blue"], ["blue"], ["blue"]]));
}

#[test]
fn peer_topics_is_a_table_of_sockets_by_tid() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        let peer = format!("hub:etid2peer({})", client.etid);
        hub.eventually(&format!("return {peer} ~= nil and {peer}.topics == nil"), true);
        let a = client.subscribe("a");
        let topics = format!(
            "local peer, found = {peer}, {{}}
             for tid, sock in pairs(peer.topics or {{}}) do
                found[#found + 1] = math.type(tid) == 'integer' and sock == peer.sock and tid
             end
             table.sort(found) found.n = #found return found"
        );
        assert_eq!(hub.lua(&topics), json!([a]));
        let b = client.subscribe("b");
        assert_eq!(hub.lua(&topics), json!([a.min(b), a.max(b)]));
        client.send(&unsubscribe(a));
        client.sync();
        assert_eq!(hub.lua(&topics), json!([b]));
        client.send(&unsubscribe(b));
        client.sync();
        assert_eq!(hub.lua(&format!("return {peer}.topics == nil or next({peer}.topics) == nil")), json!(true));
    }
}

#[test]
fn pairs_shows_a_peers_fields_and_its_topics() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    let fields = format!(
        "local peer, names = hub:etid2peer({}), {{}}
         peer.color = 'blue'
         for name, value in pairs(peer) do
            names[#names + 1] = name
            if name == 'topics' then event(value[{tid}] == peer.sock, peer.phantom == nil) end
         end
         table.sort(names) return names",
        client.etid
    );
    assert_eq!(hub.lua(&fields), json!(["color", "info", "sock", "tid", "topics", "uid"]));
    hub.expect_events(json!([[true, true]]));
}

#[test]
fn the_tables_of_clients_that_have_gone_are_released_without_an_onclose() {
    let hub = Hub::none();
    hub.lua(
        "seen = setmetatable({}, {__mode = 'k'})
         hub = require'smq.hub'.create{permittop = function(topic, subscribes, peer) seen[peer] = true return true end}",
    );
    for number in 0..200 {
        let mut client = hub.raw(&format!("client-{number}"));
        client.subscribe("topic");
        client.send(&disconnect(""));
        client.expect_closed();
    }
    let left = hub.lua("collectgarbage() local n = 0 for _ in pairs(seen) do n = n + 1 end return n");
    assert!(left.as_u64().is_some_and(|left| left < 100), "{left} of 200 tables are left");
}

#[test]
fn a_peer_that_a_script_found_before_onconnect_stays_the_same() {
    let hub = Hub::with(
        "onconnect = function(tid, info, peer)
           if tid == expected then event(peer == found, peer.color, peer.sock == sock, info.sock == sock) end
         end",
    );
    let mut signal = hub.raw("uid-234567");
    let mut client = hub.open(Via::Raw);
    thread::scope(|scope| {
        // While this runs, no callback does.
        let search = format!(
            "hub:shutdown('go', {})
             repeat
                for s, peer in hub:peers() do
                   if peer.uid == 'uid-123456' then found, sock, expected, peer.color = peer, s, peer.tid, 'blue' end
                end
             until found",
            signal.etid
        );
        let hub = &hub;
        scope.spawn(move || hub.lua(&search));
        signal.expect(&disconnect("go"));
        client.send(&connect(b"uid-123456", b"", b""));
        client.expect_accepted();
    });
    hub.expect_events(json!([[true, "blue", true, true]]));
}

#[test]
fn a_peer_keeps_its_table_until_nobody_finds_it() {
    let hub = Hub::with(
        "onconnect = function(tid, info, peer) kept, peer.color = peer, 'blue' end,
         onclose = function(tid)
            -- This runs when onclose has returned, and before the client's own thread hears of that.
            ba.thread.run(function()
               local peer = hub:etid2peer(tid)
               event(peer == kept, peer.color)
            end)
         end",
    );
    for via in Via::BOTH {
        drop(hub.connect(via, "uid-123456"));
        hub.expect_events(json!([[true, "blue"]]));
        hub.clear_events();
    }
}

#[test]
fn a_late_line_in_the_log_about_a_client_leaves_its_successors_table_alone() {
    let hub = Hub::with(
        "permittop = function() event'waits' while not go do ba.sleep(1) end return true end,
         log = function(sock, text) event(text:match'lost') end",
    );
    let mut old = hub.raw("uid-123456");
    old.send(&subscribe("topic"));
    hub.expect_events(json!([["waits"]]));
    // More than the sockets and the client's queue hold. The loss is logged when the client's own thread goes on.
    for _ in 0..8 {
        hub.lua(&format!("local much = ('x'):rep(60000) for _ = 1, 100 do hub:publish(much, {}) end", old.etid));
    }
    let mut new = hub.open(Via::Raw);
    new.send(&connect(b"uid-123456", b"", b""));
    while old.receive() != disconnect("reconnect") {}
    // The script ends the older client, for which its own thread waits.
    hub.lua(&format!("hub:shutdown(nil, {})", old.etid));
    new.expect_accepted();
    assert_eq!(new.etid, old.etid);
    hub.lua(&format!("kept = hub:etid2peer({}) go = true", new.etid));
    hub.expect_events(json!([["waits"], ["lost"]]));
    assert_eq!(hub.lua(&format!("return hub:etid2peer({}) == kept", new.etid)), json!(true));
}

#[test]
fn a_peer_and_its_socket_are_the_same_objects_each_time() {
    let hub = Hub::with("onconnect = function(tid, info, peer) kept, sock = peer, peer.sock end");
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        client.subscribe("topic");
        let etid = client.etid;
        hub.eventually(&format!("return hub:etid2peer({etid}) == kept and hub:sock2peer(sock) == kept"), true);
        hub.lua("collectgarbage() for s, p in hub:peers() do if p.uid == 'uid-123456' then event(s == sock, p == kept) end end");
        hub.expect_events(json!([[true, true]]));
        hub.clear_events();
    }
}

#[test]
fn a_socket_tells_its_peers_address_and_transport() {
    let hub = Hub::with(
        "onconnect = function(tid, info, peer) event(peer.sock:peername()) event(peer.sock:websocket() and true or false) end",
    );
    for via in Via::ALL {
        hub.clear_events();
        let client = hub.connect(via, "uid-123456");
        hub.eventually("return #events", 2);
        let events = hub.events();
        assert_eq!((&events[0][0], &events[0][2]), (&json!("127.0.0.1"), &json!(false)), "{via:?}");
        assert!(events[0][1].as_u64().is_some_and(|port| port > 0), "{events}");
        assert_eq!(events[1][0], json!(via.is_websocket()), "{via:?}");
        let shown = hub.lua(&format!("return tostring(hub:etid2peer({}).sock)", client.etid));
        assert_eq!(shown, json!(format!("smq socket 127.0.0.1:{}", events[0][1])));
        drop(client);
    }
}

#[test]
fn peers_returns_the_clients_and_the_server() {
    let hub = Hub::new();
    let clients = [hub.raw("uid-raw"), hub.web("uid-web")];
    let uids = "local uids = {}
        for sock, peer in hub:peers() do uids[#uids + 1] = peer.uid assert(sock == peer.sock) end
        table.sort(uids) return uids";
    hub.eventually(uids, json!(["SMQ server client", "uid-raw", "uid-web"]));
    drop(clients);
    hub.eventually(uids, json!(["SMQ server client"]));
}

#[test]
fn a_socket_that_no_callback_has_seen_tells_its_transport_too() {
    let hub = Hub::new();
    let _clients = [hub.raw("uid-raw"), hub.web("uid-web")];
    let told = hub.lua(
        "local told = {}
         for sock, peer in hub:peers() do told[#told + 1] = ('%s %s'):format(peer.uid, sock:websocket()) end
         table.sort(told) return told",
    );
    assert_eq!(told, json!(["SMQ server client false", "uid-raw false", "uid-web true"]));
    assert_eq!(hub.lua("return tostring(hub:etid2peer(1).sock)"), json!("smq server socket"));
}

#[test]
fn peers_leaves_out_who_ends_during_the_loop() {
    let hub = Hub::new();
    let _clients = ["uid-one", "uid-two", "uid-three"].map(|uid| hub.raw(uid));
    let seen = hub.lua(
        "local seen = 0
         for _, peer in hub:peers() do
            if peer.uid ~= 'SMQ server client' then seen = seen + 1 hub:shutdown() end
         end
         return seen",
    );
    assert_eq!(seen, 1);
}

#[test]
fn the_documented_loop_over_peers_works() {
    let hub = Hub::new();
    let client = hub.raw("uid-123456");
    let seen = hub.lua(
        "local seen = {}
         for sock, peer in hub:peers() do seen[peer.uid] = sock:peername() or 'none' end
         return seen",
    );
    assert_eq!(seen, json!({"SMQ server client": "none", "uid-123456": "127.0.0.1"}));
    drop(client);
}

#[test]
fn the_servers_peer_table_has_its_numbers_and_names() {
    let hub = Hub::new();
    let fields = hub.lua_all(
        "for sock, peer in hub:peers() do
            if peer.tid == hub:gettid() then return peer.tid, peer.uid, peer.info, peer.sock == sock end
         end",
    );
    assert_eq!(fields, [json!(1), json!("SMQ server client"), json!("SMQ server client"), json!(true)]);
}

#[test]
fn iterators_stay_valid_while_the_script_changes_what_it_iterates() {
    let hub = Hub::new();
    let mut clients: Vec<Client> = (0..6).map(|i| hub.raw(&format!("uid-{i:06}"))).collect();
    clients.iter_mut().for_each(Client::sync);
    let closed = hub.lua(
        "local n = 0
         for sock, peer in hub:peers() do
            if peer.tid ~= hub:gettid() then hub:shutdown('bye', peer.tid) n = n + 1 end
         end
         return n",
    );
    assert_eq!(closed, json!(6));
    for client in &mut clients {
        client.expect(&disconnect("bye"));
        client.expect_closed();
    }
    let created = hub.lua(
        "for i = 1, 5 do hub:create('t' .. i) hub:createsub('s' .. i) end
         local n = 0
         for tid, name in hub:topics() do n = n + 1 if n < 100 then hub:create(name .. 'x') collectgarbage() end end
         local m = 0
         for tid, name in hub:subtopics() do m = m + 1 if m < 100 then hub:createsub(name .. 'x') end end
         return n >= 5 and n < 1000 and m >= 5 and m < 1000",
    );
    assert_eq!(created, json!(true));
}

#[test]
fn etid2peer_is_nil_for_all_but_clients() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    for number in [0, tid, 12345] {
        assert_eq!(hub.lua(&format!("return hub:etid2peer({number})")), Value::Null, "{number}");
    }
    assert_eq!(hub.lua(&format!("return hub:etid2peer({}).uid", client.etid)), json!("uid-123456"));
}

#[test]
fn sock2peer_is_nil_for_strangers() {
    let hub = Hub::new();
    let other = Hub::with("onconnect = function(tid, info, peer) _G.a_stranger = peer.sock end");
    let client = other.raw("uid-123456");
    other.eventually("return a_stranger ~= nil", true);
    assert_eq!(hub.lua("return hub:sock2peer(a_stranger)"), Value::Null);
    drop(client);
}

#[test]
fn names_and_numbers_of_clients_are_no_topics() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let tid = client.create("topic");
    let subtid = client.createsub("sub");
    assert_eq!(hub.lua(&format!("return hub:tid2topic({tid})")), json!("topic"));
    assert_eq!(hub.lua(&format!("return hub:tid2subtopic({subtid})")), json!("sub"));
    for number in [client.etid, SERVER, subtid] {
        assert_eq!(hub.lua(&format!("return hub:tid2topic({number})")), Value::Null);
    }
    assert_eq!(hub.lua(&format!("return hub:tid2subtopic({tid})")), Value::Null);
}

#[test]
fn publish_reaches_subscribers_by_name_and_by_number() {
    let hub = Hub::new();
    for via in Via::ALL {
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.subscribe("topic");
        for code in ["'topic'".to_owned(), tid.to_string()] {
            assert_eq!(hub.lua(&format!("return hub:publish('hello', {code})")), json!(0));
            client.expect(&publish(tid, SERVER, 0, "hello"));
        }
    }
}

#[test]
fn publish_reaches_a_client_by_its_etid() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        hub.lua(&format!("hub:publish('hello\\0', {})", client.etid));
        client.expect(&publish(client.etid, SERVER, 0, "hello\0"));
    }
}

#[test]
fn publish_takes_a_subtopic_by_name_and_by_number() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let (tid, sub) = (client.subscribe("topic"), client.createsub("sub"));
    hub.lua(&format!(
        "hub:publish('a', 'topic', 'sub') hub:publish('b', 'topic', {sub}) hub:publish('c', 'topic', 77)
         hub:publish('d', 'topic', nil) hub:publish('e', 'topic', 'new sub')"
    ));
    let new = hub.lua("return hub:subtopic2tid'new sub'").as_u64().expect("it was created") as u32;
    for (subtid, data) in [(sub, "a"), (sub, "b"), (77, "c"), (0, "d"), (new, "e")] {
        client.expect(&publish(tid, SERVER, subtid, data));
    }
}

#[test]
fn publish_may_name_another_publisher() {
    let hub = Hub::new();
    let (mut to, from) = (hub.raw("to-123"), hub.raw("from-1"));
    let tid = to.subscribe("topic");
    hub.lua(&format!("hub:publish('on behalf', 'topic', nil, {}) hub:publish('x', 'topic', 'sub', 4711)", from.etid));
    to.expect(&publish(tid, from.etid, 0, "on behalf"));
    let sub = hub.lua("return hub:subtopic2tid'sub'").as_u64().expect("it was created") as u32;
    to.expect(&publish(tid, 4711, sub, "x"));
}

#[test]
fn publish_sends_a_table_as_json() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    for (table, text) in [
        ("{}", "{}"),
        ("{1, 2, 'x'}", "[1,2,\"x\"]"),
        ("{a = 1}", "{\"a\":1}"),
        ("{a = {true, false}}", "{\"a\":[true,false]}"),
        ("{2.0}", "[2]"),
    ] {
        hub.lua(&format!("hub:publish({table}, 'topic')"));
        client.expect(&publish(tid, SERVER, 0, text));
    }
}

#[test]
fn publish_creates_unknown_topics_without_asking() {
    let hub = Hub::with("permittop = function() return false end, permitsubtop = function() return false end");
    hub.lua("hub:publish('x', 'new', 'sub')");
    assert_eq!(
        hub.lua_all("return hub:topic2tid'new' ~= nil, hub:subtopic2tid'sub' ~= nil"),
        [json!(true), json!(true)]
    );
}

#[test]
fn publish_takes_payloads_up_to_the_limit() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.subscribe("topic");
        for size in [0, 1, 65_508, MAX_PAYLOAD] {
            hub.lua(&format!("hub:publish(('x'):rep({size}), 'topic')"));
            client.expect(&publish(tid, SERVER, 0, vec![b'x'; size]));
        }
        let error = hub.lua_error(&format!("hub:publish(('x'):rep({}), 'topic')", MAX_PAYLOAD + 1));
        assert!(error.contains("65520") || error.contains("large") || error.contains("long"), "{error}");
        client.expect_silence();
    }
}

#[test]
fn publish_keeps_its_order() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.subscribe("topic");
        hub.lua(&format!("for i = 1, 150 do hub:publish(tostring(i), i % 2 == 0 and 'topic' or {}) end", client.etid));
        for i in 1..=150 {
            client.expect(&publish(if i % 2 == 0 { tid } else { client.etid }, SERVER, 0, i.to_string()));
        }
    }
}

#[test]
fn publish_to_self_reaches_the_server() {
    let hub = Hub::with("onmsg = function(...) event(...) end");
    hub.lua("hub:publish('a', 'self') hub:publish('b', 1, 5)");
    hub.expect_events(json!([["a", 1, 1, 0], ["b", 1, 1, 5]]));
}

#[test]
fn publish_from_a_timer_arrives() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    hub.lua("timer = ba.timer(function() hub:publish('tick', 'topic') end) timer:set(1, true)");
    client.expect(&publish(tid, SERVER, 0, "tick"));
}

#[test]
fn pubon_connects_two_clients() {
    let hub = Hub::new();
    let (mut to, mut from) = (hub.raw("to-123"), hub.web("from-1"));
    assert_eq!(hub.lua(&format!("return hub:pubon('hello', {}, {}, 0)", to.etid, from.etid)), json!(true));
    to.expect(&publish(to.etid, from.etid, 0, "hello"));
    assert_eq!(hub.lua(&format!("return hub:pubon('hello', {}, {}, 77)", from.etid, to.etid)), json!(true));
    from.expect(&publish(from.etid, to.etid, 77, "hello"));
}

#[test]
fn pubon_wants_two_connected_clients() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    let etid = client.etid;
    for (to, from) in
        [(etid, 12345), (12345, etid), (etid, SERVER), (SERVER, etid), (tid, etid), (etid, tid), (0, etid)]
    {
        assert_eq!(hub.lua(&format!("return hub:pubon('x', {to}, {from}, 0)")), json!(false), "{to} {from}");
    }
    client.expect_silence();
}

#[test]
fn pubon_bypasses_onpublish() {
    let hub = Hub::with("onpublish = function() event'onpublish' return false end");
    let (mut to, from) = (hub.raw("to-123"), hub.raw("from-1"));
    hub.lua(&format!("hub:pubon('hello', {}, {}, 0)", to.etid, from.etid));
    to.expect(&publish(to.etid, from.etid, 0, "hello"));
    assert_eq!(hub.events(), json!([]));
}

#[test]
fn pubon_refuses_payloads_above_the_limit() {
    let hub = Hub::new();
    let (mut to, from) = (hub.raw("to-123"), hub.raw("from-1"));
    let call = |size| format!("return hub:pubon(('x'):rep({size}), {}, {}, 0)", to.etid, from.etid);
    let (fits, too_large) = (call(MAX_PAYLOAD), call(MAX_PAYLOAD + 1));
    hub.lua_error(&too_large);
    hub.lua(&fits);
    to.expect(&publish(to.etid, from.etid, 0, vec![b'x'; MAX_PAYLOAD]));
}

#[test]
fn an_explicit_tid_that_is_taken_gives_way_to_a_random_one() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let taken = client.create("taken");
    assert_eq!(hub.lua("return hub:create('chosen', 4711)"), json!(4711));
    assert_eq!(client.subscribe("chosen"), 4711);
    for number in [0, SERVER, taken, client.etid, 4711] {
        let tid = hub.lua(&format!("return hub:create('with {number}', {number})"));
        assert_ne!(tid, json!(number));
        assert_eq!(json!(client.create(&format!("with {number}"))), tid);
    }
    client.publish(client.etid, 0, "still mine");
    client.expect(&publish(client.etid, client.etid, 0, "still mine"));
}

#[test]
fn rndtid_gives_the_server_a_random_etid() {
    let hub = Hub::with("rndtid = true, onmsg = function(...) event(...) end");
    let etid = hub.lua("return hub:gettid()").as_u64().expect("a number") as u32;
    assert!(etid > 1, "{etid}");
    let mut client = hub.raw("uid-123456");
    client.publish(etid, 0, "hello");
    client.sync();
    hub.expect_events(json!([["hello", client.etid, etid, 0]]));
    client.publish(SERVER, 0, "nobody is 1");
    hub.lua(&format!("hub:publish('from me', {}) hub:publish('to myself', 'self')", client.etid));
    client.expect_set(&[publish(client.etid, etid, 0, "from me")]);
    hub.expect_events(json!([["hello", client.etid, etid, 0], ["to myself", etid, etid, 0]]));
}

/// The seconds until the server's side of a connection sends a keep-alive probe, rounded up.
fn seconds_to_probe(client: &mut Client) -> u64 {
    let socket = client.stream().socket();
    let port = |address: std::io::Result<SocketAddr>| format!(":{:04X}", address.expect("connected").port());
    let (ours, servers) = (port(socket.local_addr()), port(socket.peer_addr()));
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Local address, remote address, state, bytes in the queues, `timer:ticks` with 100 ticks a second.
        let table = fs::read_to_string("/proc/net/tcp").expect("this is Linux");
        let fields = table.lines().map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>());
        let found = fields.into_iter().find(|fields| fields[0].ends_with(&servers) && fields[1].ends_with(&ours));
        let timer = found.expect("the connection is there")[4].to_owned();
        // Another timer runs until what was sent is acknowledged.
        if let Some(ticks) = timer.strip_prefix("02:") {
            return u64::from_str_radix(ticks, 16).expect("a number").div_ceil(100);
        }
        assert!(Instant::now() < deadline, "no keep-alive timer: {timer}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn keepalive_is_set_for_later_connections() {
    let hub = Hub::with("keepidle = 6000, keepintv = 5");
    let mut earlier = hub.raw("uid-123456");
    earlier.sync();
    hub.lua("hub:setkeepalive(10000, 20)");
    for (index, via) in Via::BOTH.into_iter().enumerate() {
        let mut client = hub.connect(via, &format!("uid-later {index}"));
        client.sync();
        assert!((9_900..=10_000).contains(&seconds_to_probe(&mut client)), "{via:?}");
    }
    assert!((5_900..=6_000).contains(&seconds_to_probe(&mut earlier)));
    hub.lua_error("hub:setkeepalive()");
    hub.lua_error("hub:setkeepalive('soon')");
}

#[test]
fn a_second_connect_of_one_request_is_refused() {
    let hub = Hub::new();
    hub.lua(
        "function connect(request)
            hub:connect(request)
            event(pcall(hub.connect, hub, request))
         end",
    );
    let mut client = hub.raw("uid-123456");
    hub.eventually("return #events", 1);
    client.expect_silence();
}

#[test]
fn smq_broker_is_called_with_a_dot() {
    let hub = Hub::none();
    hub.lua(
        "broker = require'smq.broker'.create{onconnect = function(tid, info, peer) event('onconnect', peer.uid) end}
         function connect(request) broker.connect(request) end
         broker.subscribe('topic', {onmsg = function(data) event('onmsg', data) end})",
    );
    let mut client = hub.raw("uid-123456");
    hub.expect_events(json!([["onconnect", "uid-123456"]]));
    let server = hub.lua("return broker.gettid()").as_u64().expect("a number") as u32;
    assert!(server > 1, "rndtid is on: {server}");
    let tid = client.subscribe("topic");
    client.publish(tid, 0, "hello");
    client.expect(&publish(tid, client.etid, 0, "hello"));
    hub.expect_events(json!([["onconnect", "uid-123456"], ["onmsg", "hello"]]));
    hub.lua(&format!("broker.publish('direct', {})", client.etid));
    client.expect(&publish(client.etid, server, 0, "direct"));
    hub.lua("broker.shutdown('bye')");
    client.expect(&disconnect("bye"));
    client.expect_closed();
}

#[test]
fn smq_broker_connects_nobody_without_an_smq_request() {
    let hub = Hub::none();
    hub.lua("broker = require'smq.broker'.create{} function connect(request) broker.connect(request) end");
    assert_eq!(hub.server.get(&hub.path()).status, 404);
}

#[test]
fn a_log_option_hears_what_would_go_to_the_trace() {
    let hub = Hub::with("log = function(sock, text) event(type(text), (text:gsub('^%s+', '')) ~= '') end");
    let mut client = hub.raw("uid-123456");
    client.publish(SERVER, 0, "nobody listens on the server");
    client.sync();
    hub.eventually("return #events > 0 and events[1][1] == 'string' and events[1][2]", true);
}
