//! Errors in a script's callbacks: they deny or are ignored, and take nobody down.

use std::sync::Arc;

use serde_json::json;

use crate::support::*;

/// The client and the hub work as if nothing had happened.
fn expect_well(hub: &Hub, client: &mut Client) {
    client.publish(client.etid, 0, "well?");
    client.expect(&publish(client.etid, client.etid, 0, "well?"));
    let mut next = hub.raw("next-one");
    next.publish(client.etid, 0, "hello");
    client.expect(&publish(client.etid, next.etid, 0, "hello"));
    client.send(&disconnect(""));
    client.expect_closed();
    hub.eventually(&format!("return hub:etid2peer({}) == nil", client.etid), true);
}

#[test]
fn an_error_in_the_life_of_a_client_is_logged_with_the_callbacks_name() {
    // On a server of its own, since a server logs only so many errors a second.
    let hub = Hub::on(Arc::new(Server::start(App::hubs())));
    hub.lua(
        "hub = require'smq.hub'.create{
            authenticate = function(credentials, info) if info.uid == 'stranger' then error'no strangers' end return 0 end,
            onconnect = function() error'no welcome' end, onclose = function() error'no farewell' end}",
    );
    let mut stranger = hub.open(Via::Raw);
    stranger.send(&connect(b"stranger", b"", b""));
    stranger.expect_refused(ACCESS_DENIED);
    hub.raw("uid-123456").send(&disconnect(""));
    for expected in ["authenticate: ", "no strangers", "onconnect: ", "no welcome", "onclose: ", "no farewell"] {
        hub.server.expect_output(expected);
    }
}

#[test]
fn an_error_in_permittop_denies() {
    for via in Via::BOTH {
        let hub = Hub::with("permittop = function(topic) if topic == 'bad' then error'oops' end return true end");
        let mut client = hub.connect(via, "uid-123456");
        client.send(&subscribe("bad"));
        client.expect(&ack(SUBACK, 1, 0, "bad"));
        client.send(&create("bad"));
        client.expect(&ack(CREATEACK, 1, 0, "bad"));
        client.subscribe("good");
        expect_well(&hub, &mut client);
    }
}

#[test]
fn an_error_in_permitsubtop_denies() {
    for via in Via::BOTH {
        let hub = Hub::with("permitsubtop = function() error'oops' end");
        let mut client = hub.connect(via, "uid-123456");
        client.send(&createsub("bad"));
        client.expect(&ack(CREATESUBACK, 1, 0, "bad"));
        expect_well(&hub, &mut client);
    }
}

#[test]
fn an_error_in_onpublish_drops_the_message() {
    for via in Via::BOTH {
        let hub = Hub::with(
            "onpublish = function(data) if data == 'bad' then error'oops' end return true end,
             ondrop = function() event'ondrop' end",
        );
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.subscribe("topic");
        client.publish(tid, 0, "bad");
        client.publish(tid, 0, "good");
        client.expect(&publish(tid, client.etid, 0, "good"));
        assert_eq!(hub.events(), json!([]));
        expect_well(&hub, &mut client);
    }
}

#[test]
fn an_error_in_ondrop_harms_nothing() {
    for via in Via::BOTH {
        let hub = Hub::with("ondrop = function() error'oops' end");
        let mut client = hub.connect(via, "uid-123456");
        client.publish(12345, 0, "lost");
        expect_well(&hub, &mut client);
    }
}

#[test]
fn an_error_in_onmsg_harms_nothing() {
    for via in Via::BOTH {
        let hub = Hub::new();
        hub.lua(
            "hub:onmsg(function() error'oops' end)
             hub:subscribe('topic', {onmsg = function() error'oops' end})",
        );
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.create("topic");
        client.publish(tid, 0, "x");
        client.publish(SERVER, 0, "x");
        expect_well(&hub, &mut client);
    }
}

#[test]
fn many_errors_in_onmsg_do_not_make_the_server_deaf() {
    let hub = Hub::new();
    hub.lua("hub:onmsg(function(data) event(data) if data == 'bad' then error'oops' end end)");
    let mut client = hub.raw("uid-123456");
    (0..60).for_each(|_| client.publish(SERVER, 0, "bad"));
    client.publish(SERVER, 0, "good");
    client.sync();
    hub.eventually("return #events", 61);
    assert_eq!(hub.lua("return events[61][1]"), json!("good"));
}

#[test]
fn an_error_for_an_own_message_does_not_make_the_server_mute() {
    let hub = Hub::new();
    hub.lua("hub:subscribe('topic', {onmsg = function() event'called' error'oops' end})");
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    for _ in 0..30 {
        hub.lua("hub:publish('x', 'topic')");
        client.expect(&publish(tid, SERVER, 0, "x"));
    }
    hub.eventually("return #events", 30);
    assert_eq!(hub.lua_all("return hub:queuesize()"), [json!(200), json!(0)]);
}

#[test]
fn an_error_in_an_observer_harms_nothing() {
    for via in Via::BOTH {
        let hub = Hub::new();
        hub.lua("hub:create'topic' hub:observe('topic', function() event'observer' error'oops' end)");
        let mut client = hub.connect(via, "uid-123456");
        client.subscribe("topic");
        hub.expect_events(json!([["observer"]]));
        expect_well(&hub, &mut client);
        hub.expect_events(json!([["observer"], ["observer"]]));
    }
}

#[test]
fn an_error_in_onclose_leaves_no_peer_behind() {
    for via in Via::BOTH {
        let hub = Hub::with("onclose = function() event'onclose' error'oops' end");
        let mut observer = hub.raw("observer");
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.subscribe("topic");
        observer.send(&observe(client.etid));
        observer.send(&observe(tid));
        observer.expect(&change(tid, 1));
        client.send(&disconnect(""));
        client.expect_closed();
        observer.expect(&change(tid, 0));
        observer.expect(&change(client.etid, 0));
        hub.expect_events(json!([["onclose"]]));
        let mut again = hub.connect(via, "uid-123456");
        again.sync();
    }
}

#[test]
fn an_error_in_onclose_does_not_stop_a_takeover() {
    let hub = Hub::with("onclose = function() error'oops' end");
    let mut old = hub.raw("uid-123456");
    let mut new = hub.web("uid-123456");
    old.expect(&disconnect("reconnect"));
    old.expect_closed();
    new.expect_silence();
}

#[test]
fn errors_that_are_not_strings_harm_nothing() {
    for error in ["nil", "{}", "function() end", "setmetatable({}, {__tostring = function() error'again' end})"] {
        let hub =
            Hub::with(&format!("onpublish = function(data) if data == 'bad' then error({error}) end return true end"));
        let mut client = hub.raw("uid-123456");
        client.publish(client.etid, 0, "bad");
        expect_well(&hub, &mut client);
    }
}

#[test]
fn an_error_is_logged_with_file_and_line() {
    let hub = Hub::with("onpublish = function()\n error'a telling text' end");
    let mut client = hub.raw("uid-123456");
    client.publish(client.etid, 0, "x");
    client.sync();
    hub.server.expect_output("snippet:2: a telling text");
}

#[test]
fn an_error_behind_a_wait_is_logged_with_file_and_line() {
    let hub = Hub::new();
    hub.lua("hub:onmsg(function()\n ba.sleep(1)\n error'a late text' end)");
    let mut client = hub.raw("uid-123456");
    client.publish(SERVER, 0, "x");
    hub.server.expect_output("snippet:3: a late text");
    expect_well(&hub, &mut client);
}

#[test]
fn an_error_in_the_log_option_is_logged_and_harms_nothing() {
    let hub = Hub::with("log = function()\n error'a lost text' end");
    let mut client = hub.raw("uid-123456");
    client.publish(SERVER, 0, "nobody listens on the server");
    hub.server.expect_output("snippet:2: a lost text");
    expect_well(&hub, &mut client);
}

#[test]
fn publishing_to_a_lost_client_in_its_onclose_calls_onclose_once() {
    let hub = Hub::with("onclose = function(tid) event'onclose' hub:publish('farewell', tid) end");
    for via in Via::BOTH {
        hub.clear_events();
        drop(hub.connect(via, "uid-123456"));
        hub.expect_events(json!([["onclose"]]));
        hub.eventually("local n = 0 for _ in hub:peers() do n = n + 1 end return n", 1);
        assert_eq!(hub.events(), json!([["onclose"]]));
    }
}

#[test]
fn publishing_to_a_client_that_disconnects_in_its_onclose_calls_onclose_once() {
    let hub = Hub::with("onclose = function(tid) event'onclose' hub:publish('farewell', tid) end");
    for via in Via::BOTH {
        hub.clear_events();
        let mut client = hub.connect(via, "uid-123456");
        client.send(&disconnect(""));
        hub.eventually("local n = 0 for _ in hub:peers() do n = n + 1 end return n", 1);
        assert_eq!(hub.events(), json!([["onclose"]]));
    }
}

#[test]
fn onconnect_may_close_its_client() {
    let hub =
        Hub::with("onconnect = function(tid) hub:shutdown('no', tid) end, onclose = function() event'onclose' end");
    for via in Via::BOTH {
        hub.clear_events();
        let mut client = hub.connect(via, "uid-123456");
        client.expect(&disconnect("no"));
        client.expect_closed();
        hub.expect_events(json!([["onclose"]]));
    }
}

#[test]
fn permittop_may_close_its_client() {
    let hub = Hub::with(
        "permittop = function(topic, issub, peer) hub:shutdown('no', peer.tid) return true end,
         onclose = function() event'onclose' end",
    );
    for via in Via::BOTH {
        hub.clear_events();
        let mut client = hub.connect(via, "uid-123456");
        client.send(&subscribe("topic"));
        client.expect(&disconnect("no"));
        client.expect_closed();
        hub.expect_events(json!([["onclose"]]));
    }
}

#[test]
fn a_callback_may_publish_subscribe_and_create() {
    let hub = Hub::with(
        "permittop = function(topic) if topic == 'topic' then
            hub:create('made') hub:subscribe('heard', {onmsg = function(data) event(data) end}) hub:publish('x', 'heard')
          end return true end",
    );
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    client.publish(tid, 0, "y");
    client.expect(&publish(tid, client.etid, 0, "y"));
    hub.expect_events(json!([["x"]]));
    assert_ne!(hub.lua("return hub:topic2tid'made'"), json!(null));
}

#[test]
fn a_publish_from_a_callback_for_a_packet_is_carried_out_at_once() {
    let hub = Hub::with(
        "permittop = function(topic) if topic == 'b' then hub:publish('before the ack', 'a') end return true end",
    );
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        let a = client.subscribe("a");
        client.send(&subscribe("b"));
        client.expect(&publish(a, SERVER, 0, "before the ack"));
        assert_eq!(client.receive()[0], SUBACK);
    }
}
