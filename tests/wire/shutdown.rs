//! `shutdown` in all its forms.

use serde_json::json;

use crate::support::*;

/// Shuts down with this call and expects the client to be closed, after this packet if any.
fn expect_end(client: &mut Client, farewell: Option<&str>) {
    if let Some(text) = farewell {
        client.expect(&disconnect(text));
    }
    client.expect_closed();
}

#[test]
fn with_a_message_all_clients_get_a_disconnect() {
    let hub = Hub::new();
    let mut clients: Vec<Client> = Via::ALL.iter().map(|via| hub.connect(*via, &format!("uid {via:?}"))).collect();
    hub.lua("hub:shutdown('maintenance')");
    clients.iter_mut().for_each(|client| expect_end(client, Some("maintenance")));
}

#[test]
fn with_an_empty_message_all_clients_get_an_empty_disconnect() {
    let hub = Hub::new();
    let mut clients: Vec<Client> = Via::BOTH.iter().map(|via| hub.connect(*via, &format!("uid {via:?}"))).collect();
    hub.lua("hub:shutdown('')");
    clients.iter_mut().for_each(|client| expect_end(client, Some("")));
}

#[test]
fn without_a_message_all_clients_are_closed_without_a_packet() {
    for call in ["hub:shutdown()", "hub:shutdown(nil)"] {
        let hub = Hub::new();
        let mut clients: Vec<Client> = Via::ALL.iter().map(|via| hub.connect(*via, &format!("uid {via:?}"))).collect();
        hub.lua(call);
        clients.iter_mut().for_each(|client| expect_end(client, None));
    }
}

#[test]
fn no_client_is_told_of_the_end_of_the_others() {
    let hub = Hub::with("onclose = function(tid, sock, peer) hub:publish('farewell', 'topic') end");
    // More than once, since clients end on threads of their own.
    for call in ["hub:shutdown('bye')", "hub:shutdown()"].repeat(10) {
        let mut clients = ["uid-one", "uid-two", "uid-three"].map(|uid| hub.raw(uid));
        let tids = clients.each_mut().map(|client| client.subscribe("topic"));
        let observed = clients.each_ref().map(|client| client.etid);
        for client in &mut clients {
            client.send(&observe(tids[0]));
            client.expect(&change(tids[0], 3));
            observed.iter().for_each(|etid| client.send(&observe(*etid)));
            client.sync();
        }
        hub.lua(call);
        let farewell = call.contains("bye").then_some("bye");
        clients.iter_mut().for_each(|client| expect_end(client, farewell));
    }
}

#[test]
fn a_websocket_is_closed_with_status_1000() {
    let hub = Hub::new();
    for call in ["hub:shutdown()", "hub:shutdown('bye')"] {
        let mut client = hub.web("uid-123456");
        hub.lua(call);
        if call.contains("bye") {
            client.expect(&disconnect("bye"));
        }
        client.expect_close_code(1000);
    }
}

#[test]
fn clients_within_their_handshake_are_closed_too() {
    for call in ["hub:shutdown()", "hub:shutdown('bye')"] {
        let hub = Hub::with("readtmo = 60000");
        let mut clients = Via::ALL.map(|via| hub.open(via));
        hub.lua(call);
        clients.iter_mut().for_each(|client| expect_end(client, None));
    }
}

#[test]
fn clients_that_are_being_authenticated_are_closed_too() {
    let hub = Hub::with("authenticate = function() event'asked' while not answer do ba.sleep(1) end return 0 end");
    for via in Via::BOTH {
        let mut client = hub.open(via);
        client.send(&connect(b"uid-123456", b"", b""));
        hub.eventually("return #events", 1);
        hub.lua("hub:shutdown()");
        expect_end(&mut client, None);
        hub.lua("answer = true");
        assert_eq!(hub.lua("local n = 0 for _ in hub:peers() do n = n + 1 end return n"), 1, "the server alone");
        hub.lua("answer = nil");
        hub.clear_events();
    }
}

#[test]
fn with_an_etid_one_client_gets_a_disconnect() {
    let hub = Hub::new();
    for via in Via::BOTH {
        for message in ["go away", ""] {
            let (mut client, mut other) = (hub.connect(via, "uid-123456"), hub.raw("other-1"));
            hub.lua(&format!("hub:shutdown('{message}', {})", client.etid));
            expect_end(&mut client, Some(message));
            other.expect_silence();
        }
    }
}

#[test]
fn with_an_etid_and_no_message_one_client_is_closed() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let (mut client, mut other) = (hub.connect(via, "uid-123456"), hub.raw("other-1"));
        hub.lua(&format!("hub:shutdown(nil, {})", client.etid));
        expect_end(&mut client, None);
        other.expect_silence();
    }
}

#[test]
fn numbers_that_are_no_clients_close_nobody() {
    let hub = Hub::with("onclose = function() event'onclose' end");
    let mut clients: Vec<Client> = Via::BOTH.iter().map(|via| hub.connect(*via, &format!("uid {via:?}"))).collect();
    let tid = clients[0].subscribe("topic");
    for number in [0, SERVER, 12345, tid] {
        hub.lua(&format!("hub:shutdown('bye', {number}) hub:shutdown(nil, {number})"));
    }
    clients.iter_mut().for_each(Client::expect_silence);
    assert_eq!(hub.events(), json!([]));
}

#[test]
fn onclose_runs_for_each_with_0() {
    for call in ["hub:shutdown('bye')", "hub:shutdown()"] {
        let hub = Hub::with("onclose = function(tid, sock, peer, err) event(peer.uid, err) end");
        let clients = [hub.raw("uid-raw"), hub.web("uid-web")];
        hub.lua(call);
        hub.eventually("return #events", 2);
        let mut events: Vec<String> = hub.events().as_array().unwrap().iter().map(|event| event.to_string()).collect();
        events.sort();
        assert_eq!(events, ["[\"uid-raw\",0]", "[\"uid-web\",0]"]);
        drop(clients);
    }
}

#[test]
fn onclose_runs_with_0_also_for_one_client() {
    for message in ["'bye'", "nil"] {
        let hub = Hub::with("onclose = function(tid, sock, peer, err) event(peer.uid, err) end");
        let client = hub.raw("uid-123456");
        hub.lua(&format!("hub:shutdown({message}, {})", client.etid));
        hub.expect_events(json!([["uid-123456", 0]]));
    }
}

/// How many clients the hub still knows.
const CLIENTS: &str = "local n = -1 for _ in hub:peers() do n = n + 1 end";

#[test]
fn when_it_returns_onclose_has_run_and_the_clients_are_forgotten() {
    for call in ["hub:shutdown('bye')", "hub:shutdown()"] {
        let hub = Hub::with("onclose = function() closed = closed + 1 end");
        // More than once, since clients end on threads of their own.
        for _ in 0..10 {
            let clients = ["uid-one", "uid-two", "uid-three"].map(|uid| hub.raw(uid));
            assert_eq!(hub.lua_all(&format!("closed = 0 {call} {CLIENTS} return closed, n")), [json!(3), json!(0)]);
            drop(clients);
        }
    }
}

#[test]
fn when_it_returns_one_client_is_forgotten_too() {
    for message in ["'bye'", "nil"] {
        let hub = Hub::with("onclose = function(tid) closed = tid end");
        for _ in 0..20 {
            let client = hub.raw("uid-123456");
            let etid = client.etid;
            let code = format!("hub:shutdown({message}, {etid}) return closed, hub:etid2peer({etid})");
            assert_eq!(hub.lua_all(&code), [json!(etid), json!(null)]);
        }
    }
}

#[test]
fn messages_published_before_arrive_before_the_end() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.subscribe("topic");
        hub.lua("for i = 1, 50 do hub:publish(tostring(i), 'topic') end hub:shutdown('bye')");
        (1..=50).for_each(|i| client.expect(&publish(tid, SERVER, 0, i.to_string())));
        expect_end(&mut client, Some("bye"));
    }
}

#[test]
fn the_hub_stays_usable() {
    let hub = Hub::new();
    hub.lua("hub:subscribe('heard', {onmsg = function(data) event(data) end})");
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    let heard = client.create("heard");
    hub.lua("hub:shutdown('bye')");
    expect_end(&mut client, Some("bye"));
    let mut client = hub.raw("uid-123456");
    assert_eq!(client.subscribe("topic"), tid, "topics keep their numbers");
    client.publish(tid, 0, "hello");
    client.expect(&publish(tid, client.etid, 0, "hello"));
    client.publish(heard, 0, "the server keeps its subscriptions");
    hub.expect_events(json!([["the server keeps its subscriptions"]]));
}

#[test]
fn a_hub_without_clients_may_be_shut_down_again_and_again() {
    let hub = Hub::new();
    hub.lua("hub:shutdown() hub:shutdown('bye') hub:shutdown(nil, 5) hub:shutdown('bye', 5)");
    hub.raw("uid-123456").sync();
}

#[test]
fn observers_hear_of_a_shutdown() {
    let hub = Hub::new();
    let mut observer = hub.raw("observer");
    let mut client = hub.web("uid-123456");
    let tid = client.subscribe("topic");
    observer.send(&observe(tid));
    observer.expect(&change(tid, 1));
    observer.send(&observe(client.etid));
    observer.sync();
    hub.lua(&format!("hub:shutdown('bye', {})", client.etid));
    observer.expect(&change(tid, 0));
    observer.expect(&change(client.etid, 0));
}
