//! The load generator's MQTT client against the gateway and against mosquitto, which did not come
//! from the same hand: every message is accounted for.

use std::{net::SocketAddr, time::Duration};

use hawser_loadgen::{
    report::Report,
    scenario::{Addressing, Curve, Groups, Kind, Protocol, Scenario},
};
use hawser_tests::{
    load::{clean, clean_amid},
    mosquitto::Mosquitto,
    process::{Gateway, Setup},
};

fn chat(protocol: Protocol, qos: u8) -> Scenario {
    let mut scenario = Scenario::usual(Kind::Chat);
    scenario.protocol = protocol;
    scenario.users = 20;
    scenario.load.curve = Curve::Constant(400.0);
    scenario.duration = Duration::from_millis(1000);
    scenario.warm_up = Duration::ZERO;
    scenario.mqtt.qos = qos;
    scenario
}

fn fan_out(members: u32, qos: u8) -> Scenario {
    let mut scenario = chat(Protocol::Mqtt5, qos);
    scenario.kind = Kind::Fanout;
    scenario.users = members;
    scenario.groups = Groups { count: 1, members };
    scenario.load.curve = Curve::Constant(20.0);
    scenario
}

#[track_caller]
fn assert_whole(report: &Report, qos: u8, viewers: u64) {
    assert_eq!(report.delivered, report.offered * viewers, "{:?}", report.oracle);
    let acknowledged = if qos == 0 { 0 } else { report.offered };
    assert_eq!(report.acknowledged, acknowledged, "{:?}", report.oracle);
    assert_eq!(report.oracle.missed_unpromised, 0, "nothing was slow");
    assert!(report.offered > 0);
}

#[track_caller]
fn every_quality(target: SocketAddr) {
    for protocol in [Protocol::Mqtt3, Protocol::Mqtt5] {
        for qos in 0..=2 {
            assert_whole(&clean(&chat(protocol, qos), target), qos, 1);
        }
    }
}

fn gateway() -> Gateway {
    Setup::new().start()
}

#[test]
fn chat_of_every_quality_is_whole_through_the_gateway() {
    every_quality(gateway().mqtt());
}

#[test]
fn chat_of_every_quality_is_whole_through_mosquitto() {
    every_quality(Mosquitto::start().address());
}

#[test]
fn mailboxes_are_whole_for_every_quality_and_device() {
    let gateway = gateway();
    for protocol in [Protocol::Mqtt3, Protocol::Mqtt5] {
        for qos in 0..=2 {
            for devices in [1, 2] {
                let mut scenario = chat(protocol, qos);
                scenario.mqtt.addressing = Addressing::Mailbox;
                scenario.devices = devices;
                let report = clean(&scenario, gateway.mqtt());
                // The other device of the sender sees it too.
                assert_whole(&report, qos, u64::from(2 * devices - 1));
            }
        }
    }
}

#[test]
fn every_member_of_a_group_of_two_hundred_gets_every_message() {
    let (gateway, mosquitto) = (gateway(), Mosquitto::start());
    for target in [gateway.mqtt(), mosquitto.address()] {
        for qos in 0..=2 {
            assert_whole(&clean(&fan_out(200, qos), target), qos, 200);
        }
    }
}

/// Sessions that are kept, over five seconds in which the server goes away.
fn kept(protocol: Protocol, qos: u8) -> Scenario {
    let mut scenario = chat(protocol, qos);
    scenario.mqtt.clean = false;
    scenario.load.curve = Curve::Constant(200.0);
    scenario.duration = Duration::from_secs(3);
    scenario.drain = Duration::from_secs(40);
    scenario
}

/// What was sent while nobody was there arrives too.
#[track_caller]
fn assert_survived(report: &Report, connections: u64) {
    assert_eq!(report.delivered, report.offered, "{:?}", report.oracle);
    assert_eq!(report.acknowledged, report.offered, "{:?}", report.oracle);
    assert!(report.reconnects >= connections, "{} reconnects", report.reconnects);
}

#[test]
fn kept_sessions_lose_nothing_when_the_gateway_is_killed_under_load() {
    let mut gateway = gateway();
    let target = gateway.mqtt();
    for (protocol, qos) in [(Protocol::Mqtt5, 1), (Protocol::Mqtt5, 2), (Protocol::Mqtt3, 1)] {
        let report = clean_amid(&kept(protocol, qos), target, 100, || {
            gateway.kill();
            gateway.restart();
        });
        assert_survived(&report, 20);
        if qos == 2 {
            assert_eq!(report.oracle.doubled_unpromised, 0, "QoS 2 is exactly once");
        }
    }
}

#[test]
fn kept_sessions_lose_nothing_when_mosquitto_is_restarted_under_load() {
    let mut mosquitto = Mosquitto::start();
    let target = mosquitto.address();
    for (protocol, qos) in [(Protocol::Mqtt5, 1), (Protocol::Mqtt5, 2), (Protocol::Mqtt3, 2)] {
        let report = clean_amid(&kept(protocol, qos), target, 100, || mosquitto.restart());
        assert_survived(&report, 20);
    }
}
