//! Filters: who gets what, when, and in which form.

use crate::desk::{Desk, Got, connect, one, options};
use Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use Version::{V5, V311};
use hawser_codec::code;
use hawser_codec::mqtt::{
    Properties, Qos, Version,
    packet::{Connect, Options},
    property::{self, Value},
    reason,
};
use hawser_gateway::access::{Action, Effect, Rule, Rules};
use hawser_gateway::mqtt::MqttSettings;

/// Connects with a session that is kept.
fn kept(desk: &mut Desk, version: Version, id: &str) -> hawser_gateway::slab::Handle {
    let expiry = one(property::SESSION_EXPIRY, Value::Long(1000));
    let properties = if version == V5 { Properties::of(&expiry) } else { Properties::NONE };
    desk.client_with(&Connect { clean: false, properties, ..connect(version, id) })
}

// norm: MQTT3-3.8.4-1
// norm: MQTT3-3.8.4-2
// norm: MQTT3-3.8.4-4
// norm: MQTT3-3.8.4-5
// norm: MQTT3-3.9.3-1
// norm: MQTT5-3.8.4-1
// norm: MQTT5-3.8.4-2
// norm: MQTT5-3.8.4-5
// norm: MQTT5-3.8.4-6
// norm: MQTT5-3.8.4-7
// norm: MQTT5-3.9.3-1
#[test]
fn a_subscribe_is_answered_by_one_reason_for_each_filter_in_order() {
    let mut desk = Desk::new();
    for version in [V311, V5] {
        let client = desk.client(version, "sub");
        let filters = [
            ("a/b", options(AtMostOnce)),
            ("a/+", options(AtLeastOnce)),
            ("#", options(ExactlyOnce)),
            ("$hawser/g/x", options(AtMostOnce)),
        ];
        let refused = if version == V5 { reason::NOT_AUTHORIZED } else { 0x80 };
        let got = desk.subscribe(client, &filters, &[]);
        assert_eq!(got, [Got::Suback { id: 99, reasons: vec![0, 1, 2, refused] }]);
        desk.disconnect(client, 0, &[]);
    }
    // Every host hears the first and the last of each filter.
    assert_eq!(desk.hosts.heard("route 0 add a/b"), 2);
    assert_eq!(desk.hosts.heard("route 1 remove #"), 2);
    assert_eq!(desk.hosts.heard("route 0 add $hawser"), 0);
}

#[test]
fn suback_waits_for_every_host_and_tells_what_was_refused() {
    let mut desk = Desk::new();
    let client = desk.client(V5, "sub");
    desk.hosts.silent = true;
    assert!(desk.subscribe(client, &[("a", options(AtMostOnce))], &[]).is_empty());
    desk.hosts.silent = false;
    desk.hosts.refuse_route = code::OVERLOADED;
    let got = desk.subscribe(client, &[("b", options(AtMostOnce))], &[]);
    assert_eq!(got, [Got::Suback { id: 99, reasons: vec![reason::QUOTA_EXCEEDED] }]);
    assert_eq!(desk.hosts.heard("route 0 remove b"), 1, "what was refused is taken back");
    assert!(desk.connection(client).is_some());
}

#[test]
fn the_second_client_of_a_filter_waits_for_the_first_ones_route_too() {
    let mut desk = Desk::new();
    let (first, second) = (desk.client(V5, "first"), desk.client(V5, "second"));
    desk.hosts.silent = true;
    assert!(desk.subscribe(first, &[("a", options(AtMostOnce))], &[]).is_empty());
    assert!(desk.subscribe(second, &[("a", options(AtMostOnce))], &[]).is_empty());
    desk.hosts.silent = false;
    desk.cut(first);
    assert_eq!(desk.hosts.heard("route 0 remove a"), 0, "the second still wants it");
    desk.cut(second);
    assert_eq!(desk.hosts.heard("route 0 remove a"), 1);
}

// norm: MQTT3-3.3.5-1
// norm: MQTT5-3.3.4-2
// norm: MQTT3-4.7.3-4
// norm: MQTT5-4.7.3-4
#[test]
fn a_message_reaches_all_whose_filters_match_in_the_quality_they_asked_for() {
    let mut desk = Desk::new();
    let (publisher, zero, one) =
        (desk.client(V5, "p"), desk.client(V311, "zero"), desk.client(V5, "one"));
    desk.subscribed(zero, "a/#", AtMostOnce);
    desk.subscribed(one, "+/b", AtLeastOnce);
    desk.publish(publisher, "a/b", "hello", ExactlyOnce, 5);
    assert_eq!(desk.one(zero), Got::live("a/b", "hello"));
    let got = desk.one(one);
    assert_eq!(got, Got::message("a/b", "hello", 1, got.id()));
    desk.publish(publisher, "A/b", "other", AtMostOnce, 0);
    assert!(desk.got(zero).is_empty());
    assert_eq!(desk.one(one), Got::live("A/b", "other"));
}

// norm: MQTT5-3.3.4-2
// norm: MQTT5-3.3.4-3
// norm: MQTT5-3.3.4-4
// norm: MQTT5-3.3.4-5
#[test]
fn overlapping_filters_give_one_copy_of_the_highest_quality_with_all_identifiers() {
    let mut desk = Desk::new();
    let client = desk.client(V5, "over");
    for (filter, qos, identifier) in [("a/#", AtMostOnce, 1), ("+/b", AtLeastOnce, 300)] {
        let own = one(property::SUBSCRIPTION_IDENTIFIER, Value::Variable(identifier));
        desk.subscribe(client, &[(filter, options(qos))], &own);
    }
    desk.subscribe(client, &[("a/b", options(AtMostOnce))], &[]);
    desk.publish(client, "a/b", "x", ExactlyOnce, 1);
    let got = desk.got(client);
    let copies: Vec<&Got> = got.iter().filter(|got| matches!(got, Got::Publish { .. })).collect();
    assert_eq!(copies.len(), 1);
    assert!(matches!(copies[0], Got::Publish { qos: 1, .. }));
    let mut identifiers: Vec<u32> = Properties::of(copies[0].properties())
        .iter()
        .filter_map(|(_, value)| match value {
            Value::Variable(identifier) => Some(identifier),
            _ => None,
        })
        .collect();
    identifiers.sort_unstable();
    assert_eq!(identifiers, [1, 300]);
}

// norm: MQTT3-3.8.4-3
// norm: MQTT5-3.8.4-3
#[test]
fn a_filter_subscribed_again_replaces_the_one_before() {
    let mut desk = Desk::new();
    let client = desk.client(V5, "again");
    desk.subscribed(client, "a", AtLeastOnce);
    desk.subscribed(client, "a", AtMostOnce);
    assert_eq!(desk.hosts.heard("route 0 add a"), 1);
    desk.publish(client, "a", "x", AtLeastOnce, 9);
    let got = desk.got(client);
    assert!(got.contains(&Got::live("a", "x")), "{got:?}");
    assert_eq!(got.len(), 2);
}

// norm: MQTT3-3.10.4-1
// norm: MQTT3-3.10.4-2
// norm: MQTT3-3.10.4-4
// norm: MQTT3-3.10.4-5
// norm: MQTT5-3.10.4-1
// norm: MQTT5-3.10.4-2
// norm: MQTT5-3.10.4-4
// norm: MQTT5-3.10.4-5
// norm: MQTT5-3.11.3-1
#[test]
fn what_is_unsubscribed_is_not_sent_any_more() {
    let mut desk = Desk::new();
    for version in [V311, V5] {
        let client = desk.client(version, "un");
        desk.subscribed(client, "a/+", AtMostOnce);
        let reasons = |code: u8| if version == V5 { vec![code] } else { Vec::new() };
        let nothing = reasons(reason::NO_SUBSCRIPTION_EXISTED);
        assert_eq!(desk.unsubscribe(client, "a/b"), Got::Unsuback { id: 98, reasons: nothing });
        assert_eq!(desk.unsubscribe(client, "a/+"), Got::Unsuback { id: 98, reasons: reasons(0) });
        desk.publish(client, "a/b", "x", AtMostOnce, 0);
        assert!(desk.got(client).is_empty());
        desk.disconnect(client, 0, &[]);
    }
}

// norm: MQTT5-3.8.3-3
#[test]
fn no_local_keeps_a_client_from_its_own_messages() {
    let mut desk = Desk::new();
    let (own, other) = (desk.client(V5, "own"), desk.client(V5, "other"));
    let no_local = Options::new(AtMostOnce, true, false, 0);
    desk.subscribe(own, &[("a", no_local)], &[]);
    desk.publish(own, "a", "mine", AtMostOnce, 0);
    desk.publish(other, "a", "yours", AtMostOnce, 0);
    assert_eq!(desk.got(own), [Got::live("a", "yours")]);
}

fn retained(desk: &mut Desk, topic: &str, payload: &str, qos: Qos) {
    let publisher = desk.client(V5, "retainer");
    desk.publish_with(publisher, topic, payload, qos, 3, true, &[]);
    desk.disconnect(publisher, 0, &[]);
}

fn is_retained(got: &Got) -> bool {
    matches!(got, Got::Publish { retain: true, .. })
}

// norm: MQTT3-3.3.1-6
// norm: MQTT3-3.3.1-8
// norm: MQTT3-3.3.1-9
// norm: MQTT5-3.3.1-9
// norm: MQTT5-3.3.1-10
// norm: MQTT5-3.3.1-11
// norm: MQTT5-3.3.1-12
// norm: MQTT5-3.3.1-13
#[test]
fn retained_messages_come_with_a_new_subscription_as_it_asks() {
    let mut desk = Desk::new();
    retained(&mut desk, "a/b", "kept", AtLeastOnce);
    let old = desk.client(V311, "old");
    let got = desk.subscribe(old, &[("a/+", options(AtLeastOnce))], &[]);
    assert!(got.len() == 2 && is_retained(&got[1]) && got[1].text() == "kept", "{got:?}");
    let new = desk.client(V5, "new");
    let handling = |handling| Options::new(AtMostOnce, false, false, handling);
    let count = |desk: &mut Desk, filter: &str, options: Options| {
        desk.subscribe(new, &[(filter, options)], &[]).len() - 1
    };
    assert_eq!(count(&mut desk, "a/b", handling(Options::RETAIN_IF_NEW)), 1);
    assert_eq!(count(&mut desk, "a/b", handling(Options::RETAIN_IF_NEW)), 0);
    assert_eq!(count(&mut desk, "a/b", handling(Options::RETAIN_ALWAYS)), 1);
    assert_eq!(count(&mut desk, "a/#", handling(Options::RETAIN_NEVER)), 0);
    assert_eq!(count(&mut desk, "$share/g/a/b", handling(Options::RETAIN_ALWAYS)), 0);
    // The shard of the topic alone is asked where no wildcard is.
    assert_eq!(desk.hosts.heard("retained 0 a/b") + desk.hosts.heard("retained 1 a/b"), 2);
    assert_eq!(desk.hosts.heard("retained 0 a/+") + desk.hosts.heard("retained 1 a/+"), 2);
}

// norm: MQTT5-3.3.1-12
// norm: MQTT5-3.3.1-13
// norm: MQTT3-3.3.1-9
#[test]
fn the_retain_flag_is_passed_on_only_to_those_who_asked_for_it() {
    let mut desk = Desk::new();
    let (publisher, plain, as_published) =
        (desk.client(V5, "p"), desk.client(V5, "plain"), desk.client(V5, "as"));
    desk.subscribed(plain, "a", AtMostOnce);
    desk.subscribe(as_published, &[("a", Options::new(AtMostOnce, false, true, 0))], &[]);
    desk.publish_with(publisher, "a", "x", AtMostOnce, 0, true, &[]);
    assert!(!is_retained(&desk.one(plain)) && is_retained(&desk.one(as_published)));
}

// norm: MQTT5-4.8.2-3
// norm: MQTT5-4.8.2-4
// norm: MQTT5-4.8.2-5
#[test]
fn a_shared_filter_gives_each_message_to_one_member_in_turn() {
    let mut desk = Desk::new();
    let publisher = desk.client(V5, "p");
    let members: Vec<_> = ["m1", "m2", "m3"].iter().map(|id| desk.client(V5, id)).collect();
    for member in &members {
        desk.subscribed(*member, "$share/g/jobs/+", AtLeastOnce);
    }
    assert_eq!(desk.hosts.heard("route 0 add $share/g/jobs/+"), 3, "one for each member");
    for number in 0..6 {
        desk.publish(publisher, "jobs/x", &number.to_string(), AtMostOnce, 0);
    }
    let counts: Vec<usize> = members.iter().map(|member| desk.got(*member).len()).collect();
    assert_eq!(counts, [2, 2, 2]);
    desk.cut(members[1]);
    for number in 0..4 {
        desk.publish(publisher, "jobs/x", &number.to_string(), AtLeastOnce, number + 1);
    }
    assert_eq!(desk.got(members[0]).len(), 2);
    assert_eq!(desk.got(members[2]).len(), 2);
    assert_eq!(desk.hosts.heard("route 0 remove $share/g/jobs/+"), 1);
}

// norm: MQTT5-4.8.2-6
#[test]
fn what_a_member_of_a_shared_filter_refuses_goes_to_nobody_else() {
    let mut desk = Desk::new();
    let publisher = desk.client(V5, "p");
    let members = [desk.client(V5, "m1"), desk.client(V5, "m2")];
    for member in members {
        desk.subscribed(member, "$share/g/jobs", ExactlyOnce);
    }
    let mut given = 0;
    for (packet_id, qos, answer) in [(1, AtLeastOnce, 4), (2, ExactlyOnce, 5)] {
        desk.publish(publisher, "jobs", "unwanted", qos, packet_id);
        for member in members {
            for got in desk.got(member) {
                given += 1;
                desk.answer(member, answer, got.id(), reason::QUOTA_EXCEEDED);
            }
        }
    }
    assert_eq!(given, 2);
    for member in members {
        assert!(desk.is_open(member) && desk.got(member).is_empty());
    }
}

// norm: MQTT3-3.9.3-2
// norm: MQTT5-3.9.3-2
// norm: MQTT5-3.11.3-2
#[test]
fn whatever_a_host_says_suback_and_unsuback_have_only_their_own_reasons() {
    let mut desk = Desk::new();
    let clients = [desk.client(V311, "old"), desk.client(V5, "new")];
    for code in 0..=600 {
        desk.hosts.refuse_route = code;
        // Each answer is read by the codec, which takes no other reason.
        for client in clients {
            let got = desk.subscribe(client, &[("a", options(AtMostOnce))], &[]);
            let [Got::Suback { id: 99, reasons }] = &got[..] else { panic!("{code}: {got:?}") };
            assert_eq!(reasons[0] >= reason::ERROR, code != 0, "{code}");
        }
        for client in clients {
            let got = desk.unsubscribe(client, "a");
            assert!(matches!(got, Got::Unsuback { id: 98, .. }), "{code}: {got:?}");
        }
    }
}

#[test]
fn rules_decide_who_publishes_and_subscribes_where() {
    let rule =
        |effect, action, filter: &str| Rule::new(effect, action, None, filter.to_owned()).unwrap();
    let rules = Rules::new(vec![
        rule(Effect::Allow, Action::Both, "own/%c/#"),
        rule(Effect::Deny, Action::Both, "own/#"),
        rule(Effect::Deny, Action::Publish, "closed"),
    ]);
    let mut desk = Desk::with(MqttSettings { rules, ..MqttSettings::shipped() });
    let client = desk.client(V5, "me");
    let filters = [
        ("own/me/#", options(AtMostOnce)),
        ("own/you", options(AtMostOnce)),
        ("#", options(AtMostOnce)),
        ("$share/g/own/you", options(AtMostOnce)),
        ("closed", options(AtMostOnce)),
    ];
    let no = reason::NOT_AUTHORIZED;
    let got = desk.subscribe(client, &filters, &[]);
    assert_eq!(got, [Got::Suback { id: 99, reasons: vec![0, no, no, no, 0] }]);
    desk.publish(client, "closed", "x", AtLeastOnce, 1);
    assert_eq!(desk.got(client), [Got::Answer { kind: 4, id: 1, reason: no }]);
    desk.publish(client, "closed", "x", ExactlyOnce, 2);
    assert_eq!(desk.got(client), [Got::Answer { kind: 5, id: 2, reason: no }]);
    desk.publish(client, "closed", "x", AtMostOnce, 0);
    assert!(desk.got(client).is_empty() && desk.is_open(client));
    // The older version has no word for it: an acknowledgement would be a lie.
    let old = desk.client(V311, "old");
    desk.publish(old, "closed", "x", AtLeastOnce, 1);
    assert!(desk.got(old).is_empty() && !desk.is_open(old));
    assert_eq!(desk.hosts.heard("publish"), 0);
}

#[test]
fn subscriptions_of_one_client_are_bounded() {
    let mut desk = Desk::with(MqttSettings { subscriptions_max: 2, ..MqttSettings::shipped() });
    let client = desk.client(V5, "many");
    let filters: Vec<(&str, Options)> =
        ["a", "b", "c"].iter().map(|filter| (*filter, options(AtMostOnce))).collect();
    let got = desk.subscribe(client, &filters, &[]);
    assert_eq!(got, [Got::Suback { id: 99, reasons: vec![0, 0, reason::QUOTA_EXCEEDED] }]);
    let got = desk.subscribe(client, &[("a", options(AtLeastOnce))], &[]);
    assert_eq!(got, [Got::Suback { id: 99, reasons: vec![1] }], "one more of the same is none");
}

// norm: MQTT3-4.1.0-1
// norm: MQTT5-4.1.0-1
#[test]
fn a_kept_session_has_its_filters_again() {
    let mut desk = Desk::new();
    for version in [V311, V5] {
        let client = kept(&mut desk, version, "kept");
        desk.subscribed(client, "a/#", AtMostOnce);
        desk.cut(client);
        let again = kept(&mut desk, version, "kept");
        desk.publish(again, "a/b", "x", AtMostOnce, 0);
        assert_eq!(desk.got(again), [Got::live("a/b", "x")]);
        desk.unsubscribe(again, "a/#");
        desk.cut(again);
        let again = kept(&mut desk, version, "kept");
        desk.publish(again, "a/b", "x", AtMostOnce, 0);
        assert!(desk.got(again).is_empty());
        desk.cut(again);
    }
}

#[test]
fn routes_are_told_again_to_a_host_that_lost_its_state() {
    let mut desk = Desk::new();
    let (one, two) = (desk.client(V5, "one"), desk.client(V5, "two"));
    for client in [one, two] {
        desk.subscribed(client, "a/+", AtMostOnce);
        desk.subscribed(client, "exact", AtMostOnce);
        desk.subscribed(client, "$share/g/s", AtMostOnce);
    }
    desk.hosts.heard.clear();
    desk.announce_routes(1);
    assert_eq!(desk.hosts.heard("route 1 add a/+"), 1);
    assert_eq!(desk.hosts.heard("route 1 add exact"), 1);
    assert_eq!(desk.hosts.heard("route 1 add $share/g/s"), 2);
    assert_eq!(desk.hosts.heard("route 0"), 0);
}
