//! Observe and Change, for clients.

use crate::support::*;

#[test]
fn observing_a_topic_tells_the_present_number_at_once() {
    let hub = Hub::new();
    for via in Via::ALL {
        let mut observer = hub.connect(via, "observer");
        let tid = observer.create("topic");
        observer.send(&observe(tid));
        observer.expect(&change(tid, 0));
        let (mut one, mut two) = (hub.raw("uid-one"), hub.web("uid-two"));
        one.subscribe("topic");
        observer.expect(&change(tid, 1));
        two.subscribe("topic");
        observer.expect(&change(tid, 2));
        observer.send(&observe(tid));
        observer.expect(&change(tid, 2));
        observer.expect_silence();
        drop(one);
        observer.expect(&change(tid, 1));
        drop(two);
        observer.expect(&change(tid, 0));
    }
}

#[test]
fn every_subscribe_and_unsubscribe_is_one_change() {
    let hub = Hub::new();
    let (mut observer, mut client) = (hub.raw("observer"), hub.web("uid-123456"));
    let tid = observer.create("topic");
    observer.send(&observe(tid));
    observer.expect(&change(tid, 0));
    for _ in 0..3 {
        client.subscribe("topic");
        observer.expect(&change(tid, 1));
        client.send(&unsubscribe(tid));
        observer.expect(&change(tid, 0));
    }
    observer.expect_silence();
}

#[test]
fn observing_twice_does_not_double_the_changes() {
    let hub = Hub::new();
    let (mut observer, mut client) = (hub.raw("observer"), hub.raw("uid-123456"));
    let tid = observer.create("topic");
    for _ in 0..3 {
        observer.send(&observe(tid));
        observer.expect(&change(tid, 0));
    }
    client.subscribe("topic");
    observer.expect(&change(tid, 1));
    observer.expect_silence();
}

#[test]
fn the_observers_own_subscription_counts_and_its_change_precedes_the_suback() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut observer = hub.connect(via, "observer");
        let tid = observer.create("topic");
        observer.send(&observe(tid));
        observer.expect(&change(tid, 0));
        observer.send(&subscribe("topic"));
        observer.expect(&change(tid, 1));
        observer.expect(&ack(SUBACK, 0, tid, "topic"));
        observer.send(&unsubscribe(tid));
        observer.expect(&change(tid, 0));
        observer.expect_silence();
    }
}

#[test]
fn the_servers_subscription_counts() {
    let hub = Hub::new();
    let mut observer = hub.raw("observer");
    let tid = observer.create("topic");
    observer.send(&observe(tid));
    observer.expect(&change(tid, 0));
    hub.lua("hub:subscribe('topic')");
    observer.expect(&change(tid, 1));
    hub.lua("hub:subscribe('topic', {subtopic = 'a', onmsg = print})");
    observer.expect_silence();
    hub.lua("hub:unsubscribe'topic'");
    observer.expect(&change(tid, 0));
    hub.lua("hub:unsubscribe'topic'");
    observer.expect_silence();
}

#[test]
fn what_changes_nothing_causes_no_change() {
    let hub = Hub::with("permittop = function(topic, issub, peer) return peer.uid ~= 'denied' end");
    let (mut observer, mut client, mut denied) = (hub.raw("observer"), hub.raw("uid-123456"), hub.raw("denied"));
    let tid = client.subscribe("topic");
    observer.send(&observe(tid));
    observer.expect(&change(tid, 1));
    client.subscribe("topic");
    client.create("topic");
    client.publish(tid, 0, "x");
    client.expect(&publish(tid, client.etid, 0, "x"));
    observer.send(&unsubscribe(tid));
    denied.send(&subscribe("topic"));
    denied.expect(&ack(SUBACK, 1, 0, "topic"));
    denied.send(&unsubscribe(tid));
    denied.sync();
    observer.expect_silence();
}

#[test]
fn observing_an_etid_tells_nothing_at_once() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let (mut observer, client) = (hub.connect(via, "observer"), hub.raw("uid-123456"));
        observer.send(&observe(client.etid));
        observer.expect_silence();
    }
}

#[test]
fn the_end_of_an_observed_client_is_one_change_to_0() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let (mut observer, mut leaves, lost) = (hub.connect(via, "observer"), hub.raw("leaves"), hub.web("lost-1"));
        let lost_etid = lost.etid;
        observer.send(&observe(leaves.etid));
        observer.send(&observe(lost_etid));
        observer.expect_silence();
        leaves.send(&disconnect(""));
        observer.expect(&change(leaves.etid, 0));
        drop(lost);
        observer.expect(&change(lost_etid, 0));
        observer.expect_silence();
    }
}

#[test]
fn observing_an_etid_twice_does_not_double_the_change() {
    let hub = Hub::new();
    let (mut observer, client) = (hub.raw("observer"), hub.raw("uid-123456"));
    let etid = client.etid;
    observer.send(&observe(etid));
    observer.send(&observe(etid));
    observer.expect_silence();
    drop(client);
    observer.expect(&change(etid, 0));
    observer.expect_silence();
}

#[test]
fn observing_an_unknown_number_tells_0_at_once() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut observer = hub.connect(via, "observer");
        for number in [0, 12345, u32::MAX] {
            observer.send(&observe(number));
            observer.expect(&change(number, 0));
        }
        observer.expect_silence();
    }
}

#[test]
fn observing_a_gone_etid_tells_0_at_once() {
    let hub = Hub::new();
    let (mut observer, mut client) = (hub.raw("observer"), hub.raw("uid-123456"));
    observer.send(&observe(client.etid));
    observer.sync();
    client.send(&disconnect(""));
    observer.expect(&change(client.etid, 0));
    observer.send(&observe(client.etid));
    observer.expect(&change(client.etid, 0));
    observer.expect_silence();
}

#[test]
fn observing_the_own_etid_is_ignored() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        client.send(&observe(client.etid));
        client.expect_silence();
    }
}

#[test]
fn observing_the_servers_etid_never_tells_anything() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        client.send(&observe(SERVER));
        hub.lua("hub:subscribe'self' hub:unsubscribe'self'");
        client.expect_silence();
    }
}

#[test]
fn unobserve_ends_the_changes_of_this_client_only() {
    let hub = Hub::new();
    let (mut one, mut two, mut client) = (hub.raw("uid-one"), hub.web("uid-two"), hub.raw("uid-123456"));
    let tid = one.create("topic");
    for observer in [&mut one, &mut two] {
        observer.send(&observe(tid));
        observer.expect(&change(tid, 0));
    }
    one.send(&unobserve(tid));
    one.sync();
    client.subscribe("topic");
    two.expect(&change(tid, 1));
    one.expect_silence();
}

#[test]
fn unobserve_by_the_only_observer_leaves_the_topic_alone() {
    for via in Via::BOTH {
        let hub = Hub::new();
        let (mut observer, mut client) = (hub.connect(via, "observer"), hub.raw("uid-123456"));
        let tid = client.subscribe("topic");
        observer.send(&observe(tid));
        observer.expect(&change(tid, 1));
        observer.send(&unobserve(tid));
        observer.publish(tid, 0, "still there?");
        client.expect(&publish(tid, observer.etid, 0, "still there?"));
        assert_eq!(hub.raw("next-1").subscribe("topic"), tid);
        observer.expect_silence();
    }
}

#[test]
fn unobserve_of_an_etid_leaves_the_client_reachable() {
    let hub = Hub::new();
    let (mut observer, mut client) = (hub.raw("observer"), hub.raw("uid-123456"));
    observer.send(&observe(client.etid));
    observer.send(&unobserve(client.etid));
    observer.publish(client.etid, 0, "still there?");
    client.expect(&publish(client.etid, observer.etid, 0, "still there?"));
    client.send(&disconnect(""));
    client.expect_closed();
    observer.expect_silence();
}

#[test]
fn unobserve_of_what_is_not_observed_is_ignored() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.subscribe("topic");
        for number in [0, SERVER, 12345, client.etid, tid] {
            client.send(&unobserve(number));
        }
        client.publish(tid, 0, "x");
        client.expect(&publish(tid, client.etid, 0, "x"));
        client.publish(client.etid, 0, "y");
        client.expect(&publish(client.etid, client.etid, 0, "y"));
    }
}

#[test]
fn an_observer_that_leaves_disturbs_neither_topic_nor_other_observers() {
    let hub = Hub::new();
    let (mut leaves, mut stays, mut client) = (hub.raw("leaves"), hub.web("stays-1"), hub.raw("uid-123456"));
    let tid = client.subscribe("topic");
    for observer in [&mut leaves, &mut stays] {
        observer.send(&observe(tid));
        observer.expect(&change(tid, 1));
    }
    leaves.send(&disconnect(""));
    leaves.expect_closed();
    client.publish(tid, 0, "x");
    client.expect(&publish(tid, client.etid, 0, "x"));
    hub.raw("next-1").subscribe("topic");
    stays.expect(&change(tid, 2));
    stays.expect(&change(tid, 1));
}

#[test]
fn the_only_observer_may_leave_too() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    let mut observer = hub.raw("observer");
    observer.send(&observe(tid));
    observer.send(&observe(client.etid));
    observer.expect(&change(tid, 1));
    drop(observer);
    hub.eventually("local n = 0 for _ in hub:peers() do n = n + 1 end return n", 2);
    client.publish(tid, 0, "x");
    client.expect(&publish(tid, client.etid, 0, "x"));
    client.publish(client.etid, 0, "y");
    client.expect(&publish(client.etid, client.etid, 0, "y"));
}

#[test]
fn a_client_that_ends_changes_each_of_its_topics_then_its_etid() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let (mut observer, mut client) = (hub.raw("observer"), hub.connect(via, "uid-123456"));
        let (a, b) = (client.subscribe("a"), client.subscribe("b"));
        for (number, count) in [(a, 1), (b, 1)] {
            observer.send(&observe(number));
            observer.expect(&change(number, count));
        }
        observer.send(&observe(client.etid));
        observer.sync();
        client.send(&disconnect(""));
        observer.expect_set(&[change(a, 0), change(b, 0)]);
        observer.expect(&change(client.etid, 0));
        observer.expect_silence();
    }
}

#[test]
fn a_kicked_client_is_a_change_to_0_and_the_observation_is_over() {
    let hub = Hub::new();
    let (mut observer, mut old) = (hub.raw("observer"), hub.raw("uid-123456"));
    observer.send(&observe(old.etid));
    observer.sync();
    let mut new = hub.web("uid-123456");
    observer.expect(&change(old.etid, 0));
    old.expect(&disconnect("reconnect"));
    assert_eq!(new.etid, old.etid);
    new.send(&disconnect(""));
    new.expect_closed();
    observer.expect_silence();
}

#[test]
fn a_client_may_observe_a_topic_it_may_not_subscribe_to() {
    let hub = Hub::with("permittop = function(topic, issub, peer) return not issub or peer.uid ~= 'observer' end");
    let (mut observer, mut client) = (hub.raw("observer"), hub.raw("uid-123456"));
    let tid = observer.create("topic");
    observer.send(&observe(tid));
    observer.expect(&change(tid, 0));
    client.subscribe("topic");
    observer.expect(&change(tid, 1));
}
