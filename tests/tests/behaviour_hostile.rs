//! Peers that send what they should not, or nothing: each loses its own connection, is told why,
//! and nobody else notices.

use std::net::TcpStream;

use hawser_codec::{
    code,
    frame::{FLAG_OPTIONAL, PREFACE, kind},
    message::{Encoder, Message},
};
use hawser_tests::{
    company::{Neighbours, random_name, until},
    process::{Gateway, Setup},
    raw::{RawClient, Refusal, hello, request},
};

/// A stage for one hostile act.
struct Scene {
    gateway: Gateway,
    neighbours: Neighbours,
}

impl Scene {
    fn new() -> Self {
        let gateway = Setup::new().setting("limits.handshake_timeout_ms", 1000).start();
        let neighbours = Neighbours::new(gateway.native(), &random_name());
        Self { gateway, neighbours }
    }

    /// A client with the connection just opened.
    fn stranger(&self) -> RawClient {
        RawClient::connect(self.gateway.native())
    }

    /// A client that is logged in.
    fn member(&self) -> RawClient {
        RawClient::login(self.gateway.native(), &random_name(), "phone").0
    }

    /// The act is over: its connection is gone, the neighbours are not, nothing is left behind.
    #[track_caller]
    fn close(mut self) {
        self.neighbours.chat();
        until("only the neighbours' connections", || {
            (self.gateway.metric("hawser_gateway_connections{") == 2.0).then_some(())
        });
        assert!(!self.gateway.said().contains("panicked"), "{}", self.gateway.said());
    }
}

fn header(length: u32, kind: u8, flags: u8) -> [u8; 8] {
    let [l0, l1, l2, l3] = length.to_le_bytes();
    [l0, l1, l2, l3, kind, flags, 0, 0]
}

#[track_caller]
fn assert_farewell(client: &mut RawClient, code: u16) -> Refusal {
    let farewell = client.farewell();
    assert_eq!(farewell.code, code, "{farewell:?}");
    assert!(!farewell.text.is_empty() && farewell.client_seq == 0);
    farewell
}

#[test]
fn garbage_instead_of_a_preface_is_malformed() {
    let mut scene = Scene::new();
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".as_slice(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c",
        &[0; 70_000],
        &[0xA7; 4],
        &[0xA7, b'H', b'W', 2],
    ] {
        let mut client = scene.stranger();
        client.say(garbage);
        assert_farewell(&mut client, code::MALFORMED);
        scene.neighbours.chat();
    }
    scene.close();
}

#[test]
fn garbage_after_the_login_is_malformed() {
    let mut scene = Scene::new();
    for known in [kind::REQUEST, kind::SYNC, kind::RECEIPT, kind::PING, kind::HELLO] {
        let mut client = scene.member();
        let mut frame = header(64, known, 0).to_vec();
        frame.extend((0..64).map(|byte: u8| byte.wrapping_mul(151).wrapping_add(77)));
        client.say(&frame);
        assert_farewell(&mut client, code::MALFORMED);
    }
    scene.neighbours.chat();
    scene.close();
}

#[test]
fn frame_over_the_limit_is_refused_with_its_header_alone() {
    let mut scene = Scene::new();
    for length in [65_537, 1 << 24, u32::MAX] {
        let mut client = scene.member();
        client.say(&header(length, kind::REQUEST, 0));
        assert_farewell(&mut client, code::FRAME_TOO_LONG);
        let mut client = scene.stranger();
        client.say(&PREFACE);
        client.say(&header(length, kind::HELLO, 0));
        assert_farewell(&mut client, code::FRAME_TOO_LONG);
        scene.neighbours.chat();
    }
    scene.close();
}

#[test]
fn half_a_frame_does_not_wait_for_ever() {
    let mut scene = Scene::new();
    let mut before = scene.stranger();
    before.say(&PREFACE[..2]);
    let mut greeting = scene.stranger();
    greeting.say(&PREFACE);
    greeting.say(&header(200, kind::HELLO, 0));
    greeting.say(&[0; 100]);
    let mut member = scene.member();
    member.say(&header(200, kind::REQUEST, 0));
    member.say(&[0; 100]);
    scene.neighbours.chat();
    for client in [&mut before, &mut greeting, &mut member] {
        assert_farewell(client, code::TIMEOUT);
    }
    scene.close();
}

#[test]
fn half_a_frame_ends_a_session_long_before_its_heartbeat_would() {
    let mut scene = Scene::new();
    let mut member = scene.member();
    // Longer than the handshake of the member, whose timer has been filed for the heartbeat since.
    assert_farewell(&mut scene.stranger(), code::TIMEOUT);
    member.say(&header(200, kind::REQUEST, 0));
    let farewell = assert_farewell(&mut member, code::TIMEOUT);
    assert!(farewell.text.contains("begun and not finished"), "{}", farewell.text);
    scene.neighbours.chat();
    scene.close();
}

#[test]
fn hello_that_drips_in_byte_by_byte_does_not_stretch_the_handshake() {
    let mut scene = Scene::new();
    let mut client = scene.stranger();
    let mut bytes = PREFACE.to_vec();
    let name = random_name();
    let mut greeting = hello(&name, "phone");
    let agent = "a".repeat(250);
    greeting.agent = &agent;
    Encoder::new().message(&mut bytes, 0, 0, &Message::Hello(greeting));
    // Byte after byte takes longer than the handshake may.
    let mut sent = 0;
    let farewell = until("the server's patience to end", || {
        assert!(sent < bytes.len() - 1, "the hello was all but through, and nothing ended it");
        client.say(&bytes[sent..=sent]);
        sent += 1;
        client.farewell_already()
    });
    assert_eq!(farewell.code, code::TIMEOUT);
    scene.neighbours.chat();
    scene.close();
}

#[test]
fn versions_that_are_not_spoken_are_refused_with_those_that_are() {
    let mut scene = Scene::new();
    for (version_min, version_max) in [(2, 9), (0, 0), (3, 1)] {
        let name = random_name();
        let mut greeting = hello(&name, "phone");
        (greeting.version_min, greeting.version_max) = (version_min, version_max);
        let mut client = RawClient::greet(scene.gateway.native(), &greeting);
        assert_farewell(&mut client, code::VERSION_UNSUPPORTED);
    }
    scene.neighbours.chat();
    scene.close();
}

#[test]
fn unknown_kind_is_skipped_if_optional_and_fatal_if_not() {
    let mut scene = Scene::new();
    let mut client = scene.member();
    client.say(&header(5, 200, FLAG_OPTIONAL));
    client.say(b"later");
    client.deliver(&request(1, &random_name(), b"still understood"));
    client.say(&header(5, 200, 0));
    client.say(b"later");
    assert_farewell(&mut client, code::UNKNOWN_KIND);
    scene.neighbours.chat();
    scene.close();
}

#[test]
fn frames_out_of_place_are_refused() {
    let mut scene = Scene::new();
    let mut twice = scene.member();
    twice.tell(&Message::Hello(hello("again", "phone")));
    assert_farewell(&mut twice, code::UNEXPECTED_FRAME);
    let mut early = scene.stranger();
    early.say(&PREFACE);
    early.request(&request(1, "bob", b"before the hello"));
    assert_farewell(&mut early, code::UNEXPECTED_FRAME);
    let mut server_like = scene.member();
    server_like.tell(&Message::Head(hawser_codec::message::Head { head: 7 }));
    assert_farewell(&mut server_like, code::UNEXPECTED_FRAME);
    scene.neighbours.chat();
    scene.close();
}

#[test]
fn names_of_the_wrong_length_are_refused() {
    let mut scene = Scene::new();
    let (longest, too_long) = ("n".repeat(64), "n".repeat(65));
    for (user, device) in
        [("", "phone"), ("alice", ""), (too_long.as_str(), "phone"), ("alice", too_long.as_str())]
    {
        let mut client = RawClient::greet(scene.gateway.native(), &hello(user, device));
        assert_farewell(&mut client, code::BAD_NAME);
    }
    let (mut client, _) = RawClient::login(scene.gateway.native(), &longest, &longest);
    client.deliver(&request(1, &"m".repeat(64), b"to the longest name"));
    client.request(&request(2, &too_long, b"to nobody"));
    assert_farewell(&mut client, code::BAD_NAME);
    scene.neighbours.chat();
    scene.close();
}

#[test]
fn numbers_out_of_range_are_refused() {
    let mut scene = Scene::new();
    let mut greeting = hello("alice", "phone");
    greeting.incarnation = 0;
    let mut client = RawClient::greet(scene.gateway.native(), &greeting);
    assert_farewell(&mut client, code::BAD_REQUEST);
    let mut ahead = hello("alice", "phone");
    ahead.cursor = Some(1 << 40);
    let mut client = RawClient::greet(scene.gateway.native(), &ahead);
    assert_farewell(&mut client, code::BAD_NUMBER);
    let mut client = scene.member();
    // Beyond the head: nothing there to acknowledge, and nothing breaks.
    client.confirm(u64::MAX);
    client.deliver(&request(1, &random_name(), b"after that"));
    assert_eq!(client.pushed().number, 1);
    drop(client);
    scene.neighbours.chat();
    scene.close();
}

#[test]
fn flood_of_half_open_handshakes_is_cleared_away() {
    const FLOOD: usize = 500;
    let mut scene = Scene::new();
    let flood: Vec<TcpStream> = (0..FLOOD)
        .map(|_| TcpStream::connect(scene.gateway.native()).expect("there is room"))
        .collect();
    scene.neighbours.chat();
    until("the flood's end", || {
        let held = scene.gateway.metric("hawser_gateway_connections{");
        (held <= 2.0).then_some(())
    });
    drop(flood);
    scene.close();
}

#[test]
fn flood_of_tiny_frames_does_not_hold_up_others() {
    let mut scene = Scene::new();
    let mut client = scene.member();
    let mut frames = Vec::new();
    let ping = Message::Ping(hawser_codec::message::Beat { next_ms: 0 });
    for _ in 0..2_000 {
        Encoder::new().message(&mut frames, 0, 0, &ping);
    }
    // Pongs are not read meanwhile.
    for _ in 0..20 {
        client.say(&frames);
        scene.neighbours.chat();
    }
    client.settle();
    drop(client);
    scene.close();
}

#[test]
fn connections_that_break_off_at_any_point_leave_nothing_behind() {
    let mut scene = Scene::new();
    let name = random_name();
    let mut bytes = PREFACE.to_vec();
    let mut encoder = Encoder::new();
    encoder.message(&mut bytes, 0, 0, &Message::Hello(hello(&name, "phone")));
    encoder.message(&mut bytes, 0, 0, &Message::Request(request(1, "bob", b"cut off")));
    for end in 0..bytes.len() {
        let mut client = scene.stranger();
        client.say(&bytes[..end]);
    }
    scene.neighbours.chat();
    scene.close();
}
