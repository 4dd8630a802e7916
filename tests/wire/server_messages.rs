//! The hub's Lua side as a subscriber and observer: who gets which message.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use serde_json::json;

use crate::support::*;

/// A hub that records every message with the callback that got it.
fn listening(setup: &str) -> Hub {
    let hub = Hub::new();
    hub.lua(&format!(
        "function to(name) return function(data, ptid, tid, subtid) event(name, data, ptid, tid, subtid) end end
         hub:onmsg(to'global') {setup}"
    ));
    hub
}

#[test]
fn a_topics_callback_gets_data_publisher_topic_and_subtopic() {
    let hub = listening("hub:subscribe('topic', {onmsg = to'topic'})");
    for via in Via::BOTH {
        hub.clear_events();
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.create("topic");
        client.publish(tid, 5, "hello");
        client.sync();
        hub.expect_events(json!([["topic", "hello", client.etid, tid, 5]]));
    }
}

#[test]
fn the_most_specific_callback_wins() {
    let hub = listening(
        "hub:subscribe('topic', {onmsg = to'catch-all'})
         hub:subscribe('topic', {subtopic = 'a', onmsg = to'a'})
         hub:subscribe('topic', {subtopic = 77, onmsg = to'77'})
         hub:subscribe('plain')",
    );
    let mut client = hub.raw("uid-123456");
    let (tid, plain, a) = (client.create("topic"), client.create("plain"), client.createsub("a"));
    for (tid, subtid) in [(tid, a), (tid, 77), (tid, 0), (tid, 99), (plain, a), (SERVER, a)] {
        client.publish(tid, subtid, "x");
    }
    client.sync();
    let etid = client.etid;
    hub.expect_events(json!([
        ["a", "x", etid, tid, a],
        ["77", "x", etid, tid, 77],
        ["catch-all", "x", etid, tid, 0],
        ["catch-all", "x", etid, tid, 99],
        ["global", "x", etid, plain, a],
        ["global", "x", etid, 1, a]
    ]));
}

#[test]
fn without_a_catch_all_other_subtopics_go_to_the_global_callback() {
    let hub = listening("hub:subscribe('topic', {subtopic = 'a', onmsg = to'a'})");
    let mut client = hub.raw("uid-123456");
    let tid = client.create("topic");
    client.publish(tid, 99, "x");
    client.sync();
    hub.expect_events(json!([["global", "x", client.etid, tid, 99]]));
}

#[test]
fn self_may_be_subscribed_with_callbacks() {
    let hub =
        listening("hub:subscribe('self', {onmsg = to'self'}) hub:subscribe('self', {subtopic = 'a', onmsg = to'a'})");
    let mut client = hub.raw("uid-123456");
    let a = client.createsub("a");
    client.publish(SERVER, 0, "x");
    client.publish(SERVER, a, "y");
    client.sync();
    hub.expect_events(json!([["self", "x", client.etid, 1, 0], ["a", "y", client.etid, 1, a]]));
    hub.lua("hub:unsubscribe'self'");
    client.publish(SERVER, 0, "z");
    client.sync();
    hub.eventually("return #events", 3);
    assert_eq!(hub.lua("return events[3]"), json!(["global", "z", client.etid, 1, 0]));
}

#[test]
fn a_second_subscribe_replaces_the_callback() {
    let hub = listening("hub:subscribe('topic', {onmsg = to'old'}) hub:subscribe('topic', {onmsg = to'new'})");
    let mut client = hub.raw("uid-123456");
    let tid = client.create("topic");
    client.publish(tid, 0, "x");
    client.sync();
    hub.expect_events(json!([["new", "x", client.etid, tid, 0]]));
}

#[test]
fn onmsg_replaces_the_option() {
    let hub = Hub::with("onmsg = function(data) event('option', data) end");
    let mut client = hub.raw("uid-123456");
    client.publish(SERVER, 0, "x");
    client.sync();
    hub.expect_events(json!([["option", "x"]]));
    hub.lua("hub:onmsg(function(data) event('method', data) end)");
    client.publish(SERVER, 0, "y");
    client.sync();
    hub.expect_events(json!([["option", "x"], ["method", "y"]]));
}

#[test]
fn json_is_decoded_for_those_who_ask() {
    let hub = listening("hub:subscribe('topic', {json = true, onmsg = to'topic'})");
    let mut client = hub.raw("uid-123456");
    let tid = client.create("topic");
    client.publish(tid, 0, r#"{"a": [1, 2.5, "x", true], "b": {"c": "d"}}"#);
    client.publish(tid, 0, "[1,2]");
    client.publish(tid, 0, "{}");
    client.sync();
    let etid = client.etid;
    hub.expect_events(json!([
        ["topic", {"a": [1, 2.5, "x", true], "b": {"c": "d"}}, etid, tid, 0],
        ["topic", [1, 2], etid, tid, 0],
        ["topic", {}, etid, tid, 0]
    ]));
}

#[test]
fn what_is_no_json_goes_to_the_global_callback_as_it_was_sent() {
    let hub = listening("hub:subscribe('topic', {json = true, onmsg = to'topic'})");
    let mut client = hub.raw("uid-123456");
    let tid = client.create("topic");
    let texts = ["plain text", "{\"a\":", "", "{a}", "\u{1}\u{2}", "12", "\"x\"", "true", "null"];
    texts.iter().for_each(|text| client.publish(tid, 3, text));
    client.sync();
    let expected: Vec<_> = texts.iter().map(|text| json!(["global", text, client.etid, tid, 3])).collect();
    hub.expect_events(json!(expected));
}

#[test]
fn json_may_be_asked_for_per_subtopic() {
    let hub = listening(
        "hub:subscribe('topic', {subtopic = 'json', json = true, onmsg = to'json'})
         hub:subscribe('topic', {onmsg = to'text'})",
    );
    let mut client = hub.raw("uid-123456");
    let (tid, sub) = (client.create("topic"), client.createsub("json"));
    client.publish(tid, sub, "[1]");
    client.publish(tid, 0, "[1]");
    client.sync();
    let etid = client.etid;
    hub.expect_events(json!([["json", [1], etid, tid, sub], ["text", "[1]", etid, tid, 0]]));
}

#[test]
fn the_server_gets_its_own_messages() {
    let hub = listening("hub:subscribe('topic', {onmsg = to'topic'}) hub:publish('x', 'topic', 4)");
    let tid = hub.lua("return hub:topic2tid'topic'");
    hub.expect_events(json!([["topic", "x", 1, tid, 4]]));
}

#[test]
fn unsubscribe_removes_all_callbacks_of_a_topic() {
    let hub = Hub::with("ondrop = function(data) event('drop', data) end");
    hub.lua(
        "hub:onmsg(function(data) event('global', data) end)
         hub:subscribe('topic', {onmsg = function() event'catch-all' end})
         hub:subscribe('topic', {subtopic = 'a', onmsg = function() event'a' end})
         hub:unsubscribe'topic'",
    );
    let mut client = hub.raw("uid-123456");
    let (tid, a) = (client.create("topic"), client.createsub("a"));
    client.publish(tid, a, "x");
    client.sync();
    hub.expect_events(json!([["drop", "x"]]));
    hub.lua("hub:subscribe'topic'");
    client.publish(tid, a, "y");
    client.sync();
    hub.expect_events(json!([["drop", "x"], ["global", "y"]]));
}

#[test]
fn messages_of_a_client_reach_the_server_in_order() {
    let hub = listening("hub:subscribe('topic', {onmsg = to'topic'})");
    for via in Via::BOTH {
        hub.clear_events();
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.create("topic");
        let packets: Vec<Vec<u8>> =
            (0..400).map(|i| publish(if i % 2 == 0 { tid } else { SERVER }, client.etid, i, "x")).collect();
        client.send_together(&packets);
        client.sync();
        hub.eventually("return #events", 400);
        let in_order = "for i, e in ipairs(events) do if e[5] ~= i - 1 then return i end end return 'in order'";
        assert_eq!(hub.lua(in_order), json!("in order"));
    }
}

#[test]
fn a_callback_may_answer_directly() {
    let hub = Hub::with("onmsg = function(data, ptid) hub:publish(data:upper(), ptid) end");
    for via in Via::ALL {
        let mut client = hub.connect(via, "uid-123456");
        client.publish(SERVER, 0, "shout");
        client.expect(&publish(client.etid, SERVER, 0, "SHOUT"));
    }
}

#[test]
fn answers_come_in_the_order_of_the_questions() {
    let hub = Hub::with("onmsg = function(data, ptid, tid, subtid) hub:publish(data, ptid, subtid) end");
    let mut client = hub.raw("uid-123456");
    let packets: Vec<Vec<u8>> = (0..200).map(|i| publish(SERVER, client.etid, i, "x")).collect();
    client.send_together(&packets);
    (0..200).for_each(|i| client.expect(&publish(client.etid, SERVER, i, "x")));
}

#[test]
fn a_burst_from_clients_loses_nothing_when_its_callback_publishes_to_the_server() {
    let hub = Hub::new();
    hub.lua(
        "received, passed_on = 0, 0
         hub:subscribe('passed on', {onmsg = function() passed_on = passed_on + 1 end})
         hub:subscribe('burst', {onmsg = function(data)
            received = received + 1
            hub:publish(data, 'passed on')
         end})",
    );
    let mut clients: Vec<_> = (0..4).map(|index| hub.raw(&format!("uid-{index:06}"))).collect();
    for client in &mut clients {
        let tid = client.create("burst");
        for _ in 0..1000 {
            client.publish(tid, 0, "x");
        }
    }
    for client in &mut clients {
        client.sync();
    }
    hub.eventually("return received + passed_on", 8000);
}

#[test]
fn a_callback_that_publishes_to_itself_nests_21_levels_at_most() {
    let hub = Hub::new();
    hub.lua(
        "depth = 0
         hub:subscribe('topic', {onmsg = function(data) depth = depth + 1 if depth < 1000 then hub:publish('again', 'topic') end end})",
    );
    let mut client = hub.raw("uid-123456");
    let tid = client.create("topic");
    client.publish(tid, 0, "start");
    client.sync();
    let depth = hub.lua("return depth").as_u64().expect("a number");
    assert!((20..=22).contains(&depth), "{depth} levels");
    hub.lua("depth = 999");
    client.publish(tid, 0, "once more");
    client.sync();
    hub.eventually("return depth", 1000);
}

#[test]
fn callbacks_that_cause_ever_more_messages_to_the_server_are_stopped_after_a_second() {
    let hub = Hub::with("log = function(sock, text) event(text) end");
    hub.lua("hub:subscribe('topic', {onmsg = function() for i = 1, 3 do hub:publish('again', 'topic') end end})");
    let mut client = hub.raw("uid-123456");
    let tid = client.create("topic");
    client.publish(tid, 0, "start");
    client.sync();
    let logged = hub.lua("return #events").as_u64().expect("a number");
    // At 1, 2, 4, 8 ... dropped messages.
    assert!((1..=30).contains(&logged), "{logged} lines");
}

#[test]
fn when_very_many_callbacks_wait_the_messages_behind_them_and_their_publishers_do_too() {
    for options in ["", "onpublish = function() return true end"] {
        let hub = Hub::with(options);
        hub.lua("started = 0 hub:onmsg(function() started = started + 1 while not go do ba.sleep(1000) end end)");
        thread::scope(|scope| {
            let mut publisher = hub.raw("publisher");
            let publisher = scope.spawn(move || {
                let message = publish(SERVER, publisher.etid, 0, "x");
                (0..20).for_each(|_| publisher.send_together(&vec![message.clone(); 1000]));
                publisher.sync();
            });
            // A thousand, and when none of these returns, ten thousand.
            hub.eventually("return started >= 10000", true);
            hub.raw("bystander").sync();
            assert_eq!(hub.lua("return started"), 10_000);
            assert!(!publisher.is_finished());
            hub.lua("go = true");
            hub.eventually("return started", 20_000);
        });
    }
}

#[test]
fn what_is_on_its_way_when_a_callback_unsubscribes_is_told_to_nobody() {
    let hub = Hub::new();
    hub.lua(
        "hub:onmsg(function(data) event('global', data) end)
         hub:subscribe('topic', {onmsg = function(data) event('topic', data) hub:unsubscribe'topic' end})",
    );
    let mut client = hub.raw("uid-123456");
    let tid = client.create("topic");
    let to = |target, text| publish(target, client.etid, 0, text);
    let messages = [to(tid, "1"), to(tid, "2"), to(tid, "3"), to(SERVER, "4")];
    client.send_together(&messages);
    hub.expect_events(json!([["topic", "1"], ["global", "4"]]));
}

#[test]
fn a_topic_that_a_client_names_self_is_not_the_servers_address() {
    let hub = Hub::new();
    let tid = hub.raw("uid-123456").create("self");
    assert_ne!(tid, SERVER);
    assert_eq!(hub.lua_all("return hub:topic2tid'self', hub:tid2topic(1)"), vec![json!(null), json!(null)]);
}

#[test]
fn an_observer_function_gets_number_and_name() {
    let hub = Hub::new();
    let tid = hub.lua("return hub:create'topic'");
    let observe = format!("return hub:observe({tid}, function(...) event('by number', ...) end)");
    assert_eq!(hub.lua(&observe), json!(true));
    let mut client = hub.raw("uid-123456");
    client.subscribe("topic");
    client.send(&unsubscribe(tid.as_u64().unwrap() as u32));
    client.sync();
    hub.expect_events(json!([["by number", 1, "topic"], ["by number", 0, "topic"]]));
}

#[test]
fn observe_does_not_report_the_present_number() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    client.subscribe("topic");
    hub.lua("hub:observe('topic', function(...) event(...) end)");
    assert_eq!(hub.events(), json!([]));
    hub.raw("uid-654321").subscribe("topic");
    hub.expect_events(json!([[2, "topic"], [1, "topic"]]));
}

#[test]
fn a_second_observe_replaces_the_function_without_calling_either() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    hub.lua(
        "hub:create'topic'
         hub:observe('topic', function(...) event('old', ...) end)
         hub:observe('topic', function(...) event('new', ...) end)",
    );
    assert_eq!(hub.events(), json!([]));
    client.subscribe("topic");
    hub.expect_events(json!([["new", 1, "topic"]]));
}

#[test]
fn an_observed_client_that_ends_is_reported_once() {
    let hub = Hub::new();
    let client = hub.raw("uid-123456");
    let etid = client.etid;
    let observe = format!("return hub:observe({etid}, function(...) event(...) end)");
    assert_eq!(hub.lua(&observe), json!(true));
    let client_again = hub.raw("uid-123456");
    assert_eq!(client_again.etid, etid);
    hub.expect_events(json!([[0, etid]]));
    drop((client, client_again));
    hub.eventually("local n = 0 for _ in hub:peers() do n = n + 1 end return n", 1);
    assert_eq!(hub.events(), json!([[0, etid]]));
}

#[test]
fn observe_returns_nil_for_an_unknown_number_and_for_the_own_etid() {
    let hub = Hub::new();
    assert_eq!(
        hub.lua_all("return hub:observe(12345, print), hub:observe(1, print), hub:observe('self', print)"),
        [json!(null), json!(null), json!(null)]
    );
}

#[test]
fn unobserve_ends_the_reports_and_leaves_the_topic_alone() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    hub.lua(&format!(
        "hub:observe('topic', function(...) event(...) end) hub:observe({0}, function(...) event(...) end)
         hub:unobserve'topic' hub:unobserve({0})",
        client.etid
    ));
    client.publish(tid, 0, "x");
    client.expect(&publish(tid, client.etid, 0, "x"));
    client.publish(client.etid, 0, "y");
    client.expect(&publish(client.etid, client.etid, 0, "y"));
    let mut other = hub.raw("uid-654321");
    assert_eq!(other.subscribe("topic"), tid);
    client.send(&disconnect(""));
    client.expect_closed();
    other.sync();
    hub.eventually("local n = 0 for _ in hub:peers() do n = n + 1 end return n", 2);
    assert_eq!(hub.events(), json!([]));
}

#[test]
fn what_an_observer_publishes_precedes_what_comes_of_the_clients_next_packet() {
    let hub = Hub::new();
    hub.lua("hub:create'topic' hub:observe('topic', function(n) hub:publish('changed', 'news') end)");
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        let (topic, news) = (client.create("topic"), client.subscribe("news"));
        client.send_together(&[subscribe("topic"), ping()]);
        client.expect_set(&[publish(news, SERVER, 0, "changed"), ack(SUBACK, 0, topic, "topic")]);
        client.expect(&pong());
        client.send_together(&[unsubscribe(topic), ping()]);
        client.expect(&publish(news, SERVER, 0, "changed"));
        client.expect(&pong());
    }
}

#[test]
fn what_a_callback_publishes_precedes_what_comes_of_the_clients_next_packet() {
    let hub = Hub::with("onmsg = function(data, ptid) hub:publish(data, ptid) end");
    hub.lua("hub:subscribe('topic', {onmsg = function(data, ptid) hub:publish(data, ptid) end})");
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.create("topic");
        for target in [SERVER, tid] {
            for _ in 0..50 {
                client.send_together(&[publish(target, client.etid, 0, "echo"), ping()]);
                client.expect(&publish(client.etid, SERVER, 0, "echo"));
                client.expect(&pong());
            }
        }
    }
}

#[test]
fn subscribing_to_a_clients_etid_does_not_read_along() {
    let hub = Hub::new();
    let (mut to, mut from) = (hub.raw("to-123"), hub.raw("from-1"));
    let etid = to.etid;
    hub.lua(&format!("pcall(hub.subscribe, hub, {etid}, {{onmsg = function(data) event(data) end}})"));
    from.publish(etid, 0, "private");
    to.expect(&publish(etid, from.etid, 0, "private"));
    from.sync();
    assert_eq!(hub.events(), json!([]));
    assert_eq!(hub.lua(&format!("return hub:etid2peer({etid}).uid")), json!("to-123"));
}

/// A hub made with these options, on a server of its own whose scripts may hold up all others for long.
fn alone(options: &str) -> Hub {
    let hub = Hub::on(Arc::new(Server::start_with(App::hubs(), &["--script-limit", "60000"], &[])));
    hub.lua(&format!("hub = require'smq.hub'.create{{{options}}}"));
    hub
}

/// Signals between a test and scripts that run without waiting, so that no other script runs meanwhile: files.
struct Signals(tempfile::TempDir);

impl Signals {
    /// Gives the hub's scripts `signal(name)` and `await(name)`.
    fn with(hub: &Hub) -> Self {
        let signals = Self(tempfile::tempdir().expect("the system has room for a temporary folder"));
        hub.lua(&format!(
            "function signal(name) io.open('{0}/' .. name, 'w'):close() end
             function await(name) repeat local f = io.open('{0}/' .. name) until f and f:close() end",
            signals.0.path().display()
        ));
        signals
    }

    fn send(&self, name: &str) {
        std::fs::write(self.0.path().join(name), "").expect("the folder is ours");
    }

    fn expect(&self, name: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.0.path().join(name).exists() {
            assert!(Instant::now() < deadline, "no signal {name}");
            thread::yield_now();
        }
    }

    /// Does `work` while a script holds up all others, until it gets the signal `free`; it then does what `last` says. What
    /// that script answers may come behind callbacks that wait for signals, too.
    fn during(&self, hub: &Hub, last: &str, work: impl FnOnce()) {
        thread::scope(|scope| {
            scope.spawn(move || hub.lua(&format!("signal'busy' await'free' {last}")));
            self.expect("busy");
            work();
        })
    }
}

#[test]
fn the_end_of_an_observed_client_is_told_before_its_successor_comes() {
    let hub = alone(
        "onconnect = function(tid, info, peer)
            event('comes', peer.info)
            hub:observe(tid, function() event('goes', peer.info) end)
         end",
    );
    let holds_up = Hub::on(hub.server.clone());
    holds_up.lua("hub = require'smq.hub'.create{permittop = function() signal'busy' await'free' return true end}");
    let signals = Signals::with(&holds_up);
    let mut old = hub.open(Via::Raw);
    old.login("uid-123456", "", "old");
    let mut new = hub.open(Via::Raw);
    holds_up.raw("uid-123456").send(&subscribe("topic"));
    signals.expect("busy");
    new.login("uid-123456", "", "new");
    old.expect(&disconnect("reconnect"));
    signals.send("free");
    hub.expect_events(json!([["comes", "old"], ["goes", "old"], ["comes", "new"]]));
    drop(new);
    hub.eventually("return #events", 4);
    assert_eq!(hub.events()[3], json!(["goes", "new"]));
}

#[test]
fn who_observes_a_client_anew_is_told_only_of_the_end_to_come() {
    let hub = alone("");
    let signals = Signals::with(&hub);
    let mut old = hub.raw("uid-123456");
    let observe = |name| format!("hub:observe({}, function(...) event('{name}', ...) end)", old.etid);
    hub.lua(&observe("old"));
    let mut new = hub.open(Via::Raw);
    signals.during(&hub, &observe("new"), || {
        new.login("uid-123456", "", "");
        old.expect(&disconnect("reconnect"));
        signals.send("free");
    });
    hub.raw("bystander").sync();
    assert_eq!((new.etid, hub.events()), (old.etid, json!([])));
    drop(new);
    hub.expect_events(json!([["new", 0, old.etid]]));
}

#[test]
fn changes_are_told_in_order_though_a_callback_ends_a_client() {
    let hub = alone("onclose = function() end");
    hub.lua(
        "hub:observe('topic', function(n) event(n) end)
         hub:onmsg(function(_, ptid) signal'told' await'go on' hub:shutdown('bye', ptid) end)",
    );
    let signals = Signals::with(&hub);
    let mut clients = ["uid-one", "uid-two", "uid-three"].map(|uid| hub.raw(uid));
    let etid = clients[0].etid;
    // A message and a change come for the server; while it is told the one, the next change comes.
    signals.during(&hub, "", || {
        clients[0].send_together(&[ping(), publish(SERVER, etid, 0, "x")]);
        clients[0].expect(&pong());
        clients[1].subscribe("topic");
        signals.send("free");
        signals.expect("told");
        clients[2].subscribe("topic");
        signals.send("go on");
    });
    clients[0].expect(&disconnect("bye"));
    hub.expect_events(json!([[1], [2]]));
}

#[test]
fn changes_that_a_script_causes_are_told_behind_those_before_them() {
    let causes = [("hub:subscribe'topic'", [1, 2, 3]), ("hub:shutdown('bye', other)", [1, 2, 1])];
    for (cause, expected) in causes {
        let hub = alone("");
        hub.lua("hub:observe('topic', function(n) event(n) end)");
        let signals = Signals::with(&hub);
        let mut clients = ["uid-one", "uid-two"].map(|uid| hub.raw(uid));
        clients[0].subscribe("topic");
        hub.expect_events(json!([[1]]));
        hub.lua(&format!("other = {}", clients[0].etid));
        signals.during(&hub, cause, || {
            clients[1].subscribe("topic");
            signals.send("free");
        });
        hub.expect_events(json!(expected.map(|subscribers| [subscribers])));
    }
}

#[test]
fn changes_are_told_one_behind_the_other_though_their_observers_cause_some() {
    let hub = alone("");
    hub.lua(
        "hub:observe('topic', function(n)
            if subscribed then hub:unsubscribe'other' else hub:subscribe'other' end
            subscribed = not subscribed
            event(n)
         end)
         hub:observe('other', function(n) event('other', n) end)",
    );
    let signals = Signals::with(&hub);
    let mut clients: Vec<_> = (0..30).map(|number| hub.raw(&format!("uid-{number:06}"))).collect();
    signals.during(&hub, "hub:subscribe'topic'", || {
        clients.iter_mut().for_each(|client| {
            client.subscribe("topic");
        });
        signals.send("free");
    });
    let expected: Vec<_> = (1..=31).map(|n| json!([n])).chain((1..=31).map(|n| json!(["other", n % 2]))).collect();
    hub.expect_events(json!(expected));
}

#[test]
fn no_change_is_lost_if_the_deepest_of_nested_callbacks_causes_one() {
    let hub = alone("");
    hub.lua(
        "hub:observe('topic', function(n) event(n) end)
         depth = 0
         hub:onmsg(function()
            depth = depth + 1
            if depth < 21 then hub:publish('x', 'self') else hub:subscribe'topic' end
         end)",
    );
    let signals = Signals::with(&hub);
    let mut clients = ["uid-one", "uid-two"].map(|uid| hub.raw(uid));
    signals.during(&hub, "hub:publish('x', 'self')", || {
        clients.iter_mut().for_each(|client| {
            client.subscribe("topic");
        });
        signals.send("free");
    });
    hub.expect_events(json!([[1], [2], [3]]));
}

#[test]
fn an_observer_that_causes_changes_without_end_leaves_others_their_turn() {
    let hub = alone("");
    hub.lua(
        "hub:observe('topic', function(n)
            count = (count or 0) + 1
            if n > 0 then hub:unsubscribe'topic' else hub:subscribe'topic' end
         end)
         hub:subscribe'topic'",
    );
    hub.eventually("return count > 10000", true);
    hub.raw("uid-123456").subscribe("topic");
}

#[test]
fn changes_that_callbacks_cause_are_told_before_the_clients_next_packet_is_handled() {
    let hub = Hub::new();
    hub.lua(
        "hub:observe('topic', function(n) hub:publish('changed', client) end)
         hub:onmsg(function(data, ptid) client = ptid if data == 'first' then hub:subscribe'topic' end end)",
    );
    let mut client = hub.raw("uid-123456");
    let to_server = |data: &str| publish(SERVER, client.etid, 0, data);
    client.send_together(&[to_server("first"), to_server("second"), ping()]);
    client.expect(&publish(client.etid, SERVER, 0, "changed"));
    client.expect(&pong());
}

#[test]
fn when_very_many_observers_wait_the_changes_behind_them_and_who_causes_them_do_too() {
    let hub = Hub::new();
    hub.lua(
        "started = 0
         hub:observe('topic', function() started = started + 1 while not go do ba.sleep(1000) end end)",
    );
    let tid = hub.lua("return hub:topic2tid'topic'").as_u64().expect("a topic") as u32;
    thread::scope(|scope| {
        let mut client = hub.raw("uid-123456");
        let client = scope.spawn(move || {
            let changes: Vec<_> = (0..1000).flat_map(|_| [subscribe("topic"), unsubscribe(tid)]).collect();
            (0..10).for_each(|_| client.send_together(&changes));
            (0..10_000).for_each(|_| client.expect(&ack(SUBACK, 0, tid, "topic")));
        });
        // A thousand, and when none of these returns, ten thousand.
        hub.eventually("return started >= 10000", true);
        hub.raw("bystander").sync();
        assert_eq!(hub.lua("return started"), 10_000);
        assert!(!client.is_finished());
        hub.lua("go = true");
        hub.eventually("return started", 20_000);
    });
}

#[test]
fn when_very_many_callbacks_wait_what_a_script_sends_itself_is_dropped() {
    let hub = Hub::with("log = function(sock, text) event(text) end");
    hub.lua(
        "started = 0
         hub:subscribe('topic', {onmsg = function() started = started + 1 while not go do ba.sleep(1000) end end})",
    );
    for _ in 0..12 {
        hub.lua("for _ = 1, 1000 do hub:publish('x', 'topic') end");
    }
    assert_eq!(hub.lua("return started"), 10_000);
    let first = hub.lua("return events[1][1]");
    assert!(first.as_str().is_some_and(|line| line.contains("10000 callbacks")), "{first}");
    hub.lua("go = true hub:subscribe('other', {onmsg = event})");
    hub.eventually("hub:publish('y', 'other') return events[#events][1]", "y");
}

#[test]
fn messages_without_a_callback_are_logged_the_1st_2nd_4th_and_8th_time() {
    let hub = Hub::with("log = function(sock, text) event(sock, text) end");
    let mut client = hub.raw("uid-123456");
    for _ in 0..9 {
        client.publish(SERVER, 0, "hello");
    }
    let line = format!("a message of 5 bytes from {} to {SERVER} has no callback", client.etid);
    let again = |count| json!([null, format!("{line} ({count} such so far)")]);
    hub.expect_events(json!([[null, line], again(2), again(4), again(8)]));
}

#[test]
fn other_scripts_have_their_turn_while_very_many_messages_are_told() {
    const EACH: usize = 2000;
    let hub = alone("");
    let signals = Signals::with(&hub);
    hub.lua(
        "told = 0
         hub:onmsg(function()
            told = told + 1
            if told == 1 then ba.thread.run(function() told_before_other = told end) end
         end)",
    );
    let mut clients: Vec<_> = (0..20).map(|i| hub.raw(&format!("uid-{i:06}"))).collect();
    let count = clients.len() * EACH;
    signals.during(&hub, "", || {
        for client in &mut clients {
            let message = publish(SERVER, client.etid, 0, "x");
            client.send_together(&vec![message; EACH]);
        }
        signals.send("free");
    });
    hub.eventually("return told", count);
    assert_eq!(hub.lua(&format!("return told_before_other < {count}")), json!(true));
}
