//! How clients come and go, and what Lua is told of it.

use std::io::{Read, Write};
use std::thread;

use serde_json::json;

use crate::support::*;

const ALONE: &str = "local n = 0 for _ in hub:peers() do n = n + 1 end return n";

#[test]
fn a_disconnect_is_reported_as_0() {
    for via in Via::ALL {
        let hub = Hub::that_records_lives();
        let mut client = hub.connect(via, "uid-123456");
        client.send(&disconnect("bye"));
        client.expect_closed();
        hub.expect_events(json!([["onconnect", "uid-123456"], ["onclose", "uid-123456", 0]]));
    }
}

#[test]
fn a_protocol_error_is_reported_as_0() {
    for via in Via::BOTH {
        // A packet of no type, and one without even a type.
        for mistake in [&[0][..], &[]] {
            let hub = Hub::that_records_lives();
            let mut client = hub.connect(via, "uid-123456");
            client.send(mistake);
            client.expect_closed();
            hub.expect_events(json!([["onconnect", "uid-123456"], ["onclose", "uid-123456", 0]]));
        }
    }
}

#[test]
fn a_lost_connection_is_reported_as_socketreadfailed() {
    for via in Via::ALL {
        let hub = Hub::that_records_lives();
        drop(hub.connect(via, "uid-123456"));
        hub.expect_events(json!([["onconnect", "uid-123456"], ["onclose", "uid-123456", "socketreadfailed"]]));
    }
}

#[test]
fn a_reset_connection_is_reported_as_socketreadfailed() {
    for via in Via::BOTH {
        let hub = Hub::that_records_lives();
        let mut client = hub.connect(via, "uid-123456");
        client.sync();
        client.reset();
        hub.expect_events(json!([["onconnect", "uid-123456"], ["onclose", "uid-123456", "socketreadfailed"]]));
    }
}

#[test]
fn a_connection_lost_within_a_frame_is_reported_as_socketreadfailed() {
    let hub = Hub::that_records_lives();
    let mut client = hub.raw("uid-123456");
    client.send_bytes(&[0, 100, SUBSCRIBE]);
    drop(client);
    hub.expect_events(json!([["onconnect", "uid-123456"], ["onclose", "uid-123456", "socketreadfailed"]]));
}

#[test]
fn a_client_that_takes_no_answers_is_reported_as_socketwritefailed() {
    let hub = Hub::that_records_lives();
    let mut client = hub.raw("uid-123456");
    let question = create("n".repeat(60_000));
    // More than the sockets and the client's queue hold.
    for _ in 0..1000 {
        client.send(&question);
    }
    hub.expect_events(json!([["onconnect", "uid-123456"], ["onclose", "uid-123456", "socketwritefailed"]]));
}

#[test]
fn the_end_of_a_tls_connection_is_told_apart_from_a_cut() {
    let hub = Hub::new();
    for via in [Via::RawTls, Via::WebSocketTls] {
        for last_packet in [disconnect("bye"), vec![0]] {
            let mut client = hub.connect(via, "uid-123456");
            client.send(&last_packet);
            client.expect_closed();
            // Without a close_notify this would be an error.
            assert_eq!(client.stream().read(&mut [0]).expect("the end, and no cut"), 0, "{via:?}");
        }
    }
}

#[test]
fn a_tls_client_that_tells_its_end_is_told_the_servers() {
    let hub = Hub::new();
    for via in [Via::RawTls, Via::WebSocketTls] {
        let mut client = hub.connect(via, "uid-123456");
        let Stream::Tls(tls) = client.stream() else { unreachable!("{via:?} is encrypted") };
        tls.conn.send_close_notify();
        tls.flush().expect("the server reads");
        let end = std::io::copy(tls, &mut std::io::sink());
        assert!(end.is_ok(), "{via:?}: {end:?}");
    }
}

#[test]
fn what_comes_right_before_the_end_is_delivered_to_the_client_itself_too() {
    let hub = Hub::new();
    for via in Via::ALL {
        for last_packet in [disconnect("bye"), vec![0]] {
            let mut client = hub.connect(via, "uid-123456");
            let to_itself = publish(client.etid, client.etid, 0, "a last one");
            client.send_together(&[to_itself.clone(), last_packet]);
            client.expect(&to_itself);
            client.expect_closed();
        }
    }
}

#[test]
fn onclose_comes_behind_the_clients_last_messages_to_the_server() {
    for via in Via::BOTH {
        let hub = Hub::with("onclose = function() event(told) end");
        // A thousand callbacks may wait; the messages behind them are queued meanwhile.
        hub.lua("told = 0 hub:onmsg(function() told = told + 1 while not go do ba.sleep(10) end end)");
        let mut client = hub.connect(via, "uid-123456");
        let mut packets = vec![publish(SERVER, client.etid, 0, "x"); 1200];
        packets.push(disconnect(""));
        client.send_together(&packets);
        hub.eventually("return told", 1000);
        hub.lua("go = true");
        hub.expect_events(json!([[1200]]));
    }
}

#[test]
fn a_client_that_is_closed_while_it_sends_is_told_why_and_is_not_reset() {
    let hub = Hub::new();
    for via in [Via::Raw, Via::RawTls] {
        let mut client = hub.connect(via, "uid-123456");
        let corrupt = frame(&publish(1, client.etid + 1, 0, "under another's name"));
        client.send_bytes(&[corrupt, frame(&ping()).repeat(100_000)].concat());
        client.expect(&disconnect("corrupt frame"));
        assert_eq!(client.stream().read(&mut [0]).expect("the end, and no reset"), 0, "{via:?}");
    }
}

#[test]
fn a_close_frame_is_reported_as_socketclosed() {
    for via in [Via::WebSocket, Via::WebSocketTls] {
        let hub = Hub::that_records_lives();
        let mut client = hub.connect(via, "uid-123456");
        client.send_close(1000);
        client.expect_close_code(1000);
        hub.expect_events(json!([["onconnect", "uid-123456"], ["onclose", "uid-123456", "socketclosed"]]));
    }
}

#[test]
fn of_two_reasons_for_an_end_the_first_is_reported() {
    for options in ["", "permittop = function() return true end,"] {
        let hub = Hub::with(&format!("{options} onclose = function(tid, sock, peer, err) event(err) end"));
        let mut client = hub.web("uid-123456");
        let corrupt = publish(1, client.etid + 1, 0, "under another's name");
        let frames = [(0x82, subscribe("topic")), (0x82, corrupt), (0x88, 1000_u16.to_be_bytes().to_vec())];
        client.send_bytes(&frames.map(|(first, payload)| web_frame(first, &payload)).concat());
        client.receive();
        client.expect(&disconnect("corrupt frame"));
        client.expect_close_code(1000);
        hub.expect_events(json!([[0]]));
    }
}

#[test]
fn onclose_runs_once_and_the_peer_can_still_be_found() {
    for via in Via::BOTH {
        let hub = Hub::with(
            "onclose = function(tid, sock, peer, err)
               event(hub:etid2peer(tid) == peer, hub:sock2peer(sock) == peer, peer.sock == sock, peer.tid == tid,
                  peer.uid, peer.info, next(peer.topics) ~= nil, peer.color)
             end,
             onconnect = function(tid, info, peer) peer.color = 'blue' end",
        );
        let mut client = hub.open(via);
        client.login("uid-123456", "", "lamp");
        client.subscribe("topic");
        client.send(&disconnect(""));
        client.expect_closed();
        hub.expect_events(json!([[true, true, true, true, "uid-123456", "lamp", true, "blue"]]));
        hub.eventually(ALONE, 1);
        assert_eq!(hub.lua("return #events"), json!(1));
    }
}

#[test]
fn afterwards_the_client_is_forgotten() {
    let hub = Hub::with("onclose = function(tid, sock) etid, closed = tid, sock event('onclose') end");
    // The callback's globals are those of the sandbox only if it was loaded there, which `with` did.
    for via in Via::BOTH {
        hub.clear_events();
        drop(hub.connect(via, "uid-123456"));
        hub.expect_events(json!([["onclose"]]));
        hub.eventually("return hub:etid2peer(etid) == nil and hub:sock2peer(closed) == nil", true);
    }
}

#[test]
fn a_hub_without_its_handle_lives_as_long_as_it_has_clients() {
    const FORGET: &str = "hub = nil collectgarbage() require'smq.hub'.create() collectgarbage()";
    const HUBS: &str = "collectgarbage() local n = 0 for _ in pairs(seen) do n = n + 1 end return n";
    let hub = Hub::none();
    hub.lua("seen = setmetatable({}, {__mode = 'k'})");
    for uid in ["uid-000001", "uid-000002"] {
        hub.lua(
            "local function onclose(tid, sock, peer) event(peer.uid) end
             seen[onclose] = true
             hub = require'smq.hub'.create{onclose = onclose}",
        );
        let mut client = hub.raw(uid);
        hub.lua(FORGET);
        assert_eq!(hub.lua(HUBS), json!(1));
        client.send(&disconnect(""));
        client.expect_closed();
        hub.expect_events(json!([[uid]]));
        hub.clear_events();
        // Its place is given up when the next hub is made.
        hub.eventually(&format!("{FORGET} {HUBS}"), 0);
    }
}

#[test]
fn onclose_runs_before_the_changes_of_topics_and_etid() {
    let hub = Hub::with("onclose = function() event('onclose') end");
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    hub.lua(&format!(
        "hub:observe('topic', function(n, name) event('topic', n, name) end)
         hub:observe({}, function(n, etid) event('etid', n, etid) end)",
        client.etid
    ));
    client.send(&disconnect(""));
    client.expect_closed();
    hub.expect_events(json!([["onclose"], ["topic", 0, "topic"], ["etid", 0, client.etid]]));
    assert_ne!(tid, 0);
}

#[test]
fn peername_works_in_onclose_if_the_server_closed() {
    let hub = Hub::with("onclose = function(tid, sock) event((sock:peername())) end");
    let mut client = hub.raw("uid-123456");
    hub.lua("hub:shutdown('bye')");
    client.expect(&disconnect("bye"));
    hub.expect_events(json!([["127.0.0.1"]]));
}

#[test]
fn peername_is_nil_in_onclose_if_the_connection_was_lost() {
    let hub = Hub::with("onclose = function(tid, sock) event((sock:peername())) end");
    for via in Via::BOTH {
        hub.clear_events();
        drop(hub.connect(via, "uid-123456"));
        hub.expect_events(json!([[null]]));
    }
}

#[test]
fn callbacks_of_a_connection_run_in_order() {
    let hub = Hub::with(
        "authenticate = function() event'authenticate' return 0 end,
         onconnect = function() event'onconnect' end,
         permittop = function(topic) event(topic) return true end,
         onpublish = function(data) event(data) return true end,
         onclose = function() event'onclose' end",
    );
    for via in Via::BOTH {
        hub.clear_events();
        let mut client = hub.open(via);
        let etid_unknown = connect(b"uid-123456", b"", b"");
        client.send_together(&[etid_unknown, create("a"), create("b"), disconnect("")]);
        client.expect_accepted();
        client.receive();
        client.receive();
        client.expect_closed();
        hub.expect_events(json!([["authenticate"], ["onconnect"], ["a"], ["b"], ["onclose"]]));
    }
}

#[test]
fn a_client_that_a_script_ends_before_onconnect_was_never_there() {
    for onclose in ["", "onclose = function(tid, sock, peer) event('onclose', peer.uid) end,"] {
        let hub =
            Hub::with(&format!("{onclose} onconnect = function(tid, info, peer) event('onconnect', peer.uid) end"));
        let mut client = hub.open(Via::Raw);
        let mut signal = hub.raw("the signal");
        // While this runs, no callback does.
        let search = format!(
            "hub:shutdown('go', {})
             for i = #events, 1, -1 do events[i] = nil end
             repeat
                for _, peer in hub:peers() do if peer.uid == 'uid-123456' then found = peer.tid end end
             until found
             hub:shutdown('bye', found)",
            signal.etid
        );
        thread::scope(|scope| {
            scope.spawn(|| hub.lua(&search));
            signal.expect(&disconnect("go"));
            client.send(&connect(b"uid-123456", b"", b""));
            client.expect_accepted();
        });
        client.expect(&disconnect("bye"));
        client.expect_closed();
        let _bystander = hub.raw("a bystander");
        hub.expect_events(json!([["onconnect", "a bystander"]]));
    }
}

#[test]
fn the_same_uid_takes_the_place_of_the_old_client() {
    for (first, second) in [
        (Via::Raw, Via::Raw),
        (Via::Raw, Via::WebSocket),
        (Via::WebSocket, Via::Raw),
        (Via::WebSocket, Via::WebSocket),
        (Via::RawTls, Via::Raw),
        (Via::Raw, Via::WebSocketTls),
    ] {
        let hub = Hub::that_records_lives();
        let mut old = hub.connect(first, "uid-123456");
        let tid = old.subscribe("topic");
        let mut new = hub.connect(second, "uid-123456");
        old.expect(&disconnect("reconnect"));
        old.expect_closed();
        assert_eq!(new.etid, old.etid, "the etid stays");
        new.publish(tid, 0, "no subscription is left");
        new.expect_silence();
        new.publish(new.etid, 0, "to me");
        new.expect(&publish(new.etid, new.etid, 0, "to me"));
        hub.expect_events(json!([
            ["onconnect", "uid-123456"],
            ["onclose", "uid-123456", "reconnect"],
            ["onconnect", "uid-123456"]
        ]));
    }
}

#[test]
fn a_takeover_begins_with_a_fresh_peer_table() {
    let hub = Hub::with(
        "onconnect = function(tid, info, peer) event(peer.color, peer.topics) peer.color = 'blue' end,
         onclose = function(tid, sock, peer, err)
            event(peer.color, peer.sock == sock, hub:etid2peer(tid) == peer, (sock:peername()))
         end",
    );
    let mut old = hub.raw("uid-123456");
    old.subscribe("topic");
    let mut new = hub.raw("uid-123456");
    new.sync();
    hub.expect_events(json!([[null, null], ["blue", true, true, "127.0.0.1"], [null, null]]));
    hub.eventually(&format!("return hub:etid2peer({}).color", new.etid), "blue");
}

#[test]
fn a_successor_that_leaves_before_its_turn_was_never_there() {
    let hub = Hub::with(
        "onconnect = function() event('onconnect') end,
         onclose = function() event('onclose') while not go do ba.sleep(1) end end",
    );
    let _old = hub.raw("uid-123456");
    let mut left = hub.open(Via::Raw);
    left.send(&connect(b"uid-123456", b"", b""));
    hub.expect_events(json!([["onconnect"], ["onclose"]]));
    drop(left);
    hub.lua("ba.sleep(20) go = true");
    let mut next = hub.raw("uid-123456");
    next.sync();
    hub.expect_events(json!([["onconnect"], ["onclose"], ["onconnect"]]));
}

#[test]
fn a_kicked_client_is_told_before_onclose_returns() {
    for via in Via::ALL {
        let hub = Hub::with("onclose = function() while not go do ba.sleep(1) end event('done') end");
        let mut old = hub.connect(via, "uid-123456");
        let mut new = hub.open(Via::Raw);
        new.send(&connect(b"uid-123456", b"", b""));
        old.expect(&disconnect("reconnect"));
        assert_eq!(hub.events(), json!([]), "{old}: onclose has not returned");
        hub.lua("go = true");
        new.expect_accepted();
    }
}

#[test]
fn of_several_that_wait_for_the_end_of_an_older_one_the_last_stays() {
    let hub = Hub::with("onclose = function() while not go do ba.sleep(1) end end");
    for via in [Via::Raw, Via::WebSocket].repeat(5) {
        hub.lua("go = false");
        let mut old = hub.connect(via, "uid-123456");
        let mut second = hub.open(via);
        let mut third = hub.open(via);
        second.send(&connect(b"uid-123456", b"", b""));
        old.expect(&disconnect("reconnect"));
        third.send(&connect(b"uid-123456", b"", b""));
        hub.lua("go = true");
        second.expect_accepted();
        second.expect(&disconnect("reconnect"));
        second.expect_closed();
        third.expect_accepted();
        third.expect_silence();
        hub.lua("hub:shutdown()");
        hub.eventually(ALONE, 1);
    }
}

#[test]
fn takeovers_may_follow_each_other() {
    let hub = Hub::that_records_lives();
    let mut clients: Vec<Client> = (0..5).map(|i| hub.connect(Via::ALL[i], "uid-123456")).collect();
    let mut last = clients.pop().unwrap();
    for mut old in clients {
        assert_eq!(old.etid, last.etid);
        old.expect(&disconnect("reconnect"));
        old.expect_closed();
    }
    last.expect_silence();
    hub.eventually(ALONE, 2);
}

#[test]
fn uids_are_compared_byte_by_byte() {
    let hub = Hub::new();
    let mut one = hub.raw("uid-123456");
    let mut two = hub.raw("UID-123456");
    let mut three = hub.raw("uid-123456 ");
    for client in [&mut one, &mut two, &mut three] {
        client.expect_silence();
    }
}

#[test]
fn hubs_do_not_share_uids() {
    let (one, two) = (Hub::new(), Hub::new());
    let mut in_one = one.raw("uid-123456");
    let mut in_two = two.raw("uid-123456");
    in_one.expect_silence();
    in_two.expect_silence();
}

#[test]
fn after_an_ordinary_end_the_uid_gets_another_etid() {
    let hub = Hub::that_records_lives();
    let mut client = hub.raw("uid-123456");
    client.send(&disconnect(""));
    client.expect_closed();
    hub.expect_events(json!([["onconnect", "uid-123456"], ["onclose", "uid-123456", 0]]));
    hub.eventually(ALONE, 1);
    assert_ne!(hub.raw("uid-123456").etid, client.etid);
}

#[test]
fn clients_that_reconnect_all_the_time_leave_nothing_behind() {
    let hub = Hub::new();
    for round in 0..60 {
        let mut client = hub.connect(Via::ALL[round % 5], &format!("uid-{:06}", round % 7));
        client.subscribe("topic");
    }
    hub.eventually(ALONE, 1);
    let mut observer = hub.raw("observer");
    let tid = observer.create("topic");
    observer.send(&observe(tid));
    observer.expect(&change(tid, 0));
}

#[test]
fn the_server_says_good_bye_when_it_stops() {
    // Servers that tests under `nohup` start outlive a SIGHUP.
    let hangup = (!smq::server::ignores_hangup()).then_some("HUP");
    for signal in ["TERM", "INT"].into_iter().chain(hangup) {
        let app = App::new()
            .file(".preload", "hub = require'smq.hub'.create() function onunload() hub:shutdown('good night') end")
            .file("x.lsp", "<?lsp app.hub:connect(request) ?>");
        let server = Server::start(app);
        let mut clients: Vec<Client> = Via::ALL.iter().map(|via| Client::open(&server, *via, "/x.lsp")).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.login(&format!("uid-{number:06}"), "", "");
            client.sync();
        }
        let status = server.stop(signal);
        assert!(status.success(), "{signal}: {status}");
        for mut client in clients {
            client.expect(&disconnect("good night"));
            client.expect_closed();
        }
    }
}

#[test]
fn connections_are_closed_when_the_server_stops() {
    let app =
        App::new().file("x.lsp", "<?lsp page.hub = page.hub or require'smq.hub'.create() page.hub:connect(request) ?>");
    let server = Server::start(app);
    let mut clients: Vec<Client> = Via::ALL.iter().map(|via| Client::open(&server, *via, "/x.lsp")).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.login(&format!("uid-{number:06}"), "", "");
    }
    assert!(server.stop("TERM").success());
    for mut client in clients {
        client.expect_closed();
    }
}
