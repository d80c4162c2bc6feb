//! Connections through layers, against a small server made of the server's halves of them.

mod server;

use std::{
    collections::HashSet,
    sync::{Arc, atomic::AtomicU64},
};

use hawser_codec::{
    code,
    json::Parsed,
    message::{self, Acknowledge, Encoder, Message, Notify, Welcome},
    time::Now,
    websocket::{Opcode, close, write},
};

use crate::{
    connection::{Connection, Fault, Ground, Offer, To, World, fault_text},
    identity::Names,
    oracle::{Bounds, Oracle},
    scenario::{Kind, Protocol, Scenario},
    wire::{Trust, Wire, fault},
};
use server::{Authority, Heard, Server};

const RUN: u64 = 5;

fn at(ms: u64) -> Now {
    Now { monotonic_us: 1 + ms * 1000, wall_ms: 1_000_000 + ms }
}

fn plain(protocol: Protocol) -> Wire {
    Wire::new(protocol, ([127, 0, 0, 1], 7901).into())
}

fn world_of(wire: Wire) -> World {
    let scenario = Scenario { protocol: wire.protocol, ..Scenario::usual(Kind::Chat) };
    World::new(Arc::new(Ground {
        wire,
        names: Names::new(RUN),
        oracle: Oracle::new(RUN, Bounds { directions: 6400, exceptions: 6400 }),
        scenario,
        payload_bytes: 64,
        token: String::new(),
        measure_from_us: AtomicU64::new(0),
        measure_to_us: AtomicU64::new(u64::MAX),
    }))
}

/// A connection and its server, with bytes going both ways until neither has anything to say.
struct Pair {
    world: World,
    connection: Connection,
    server: Server,
    now: Now,
    /// Bytes the connection hears at a time.
    cut: usize,
}

impl Pair {
    fn new(wire: Wire, server: Server) -> Self {
        let world = world_of(wire);
        let connection = Connection::new(&world.ground.scenario);
        let mut pair = Self { world, connection, server, now: at(0), cut: usize::MAX };
        pair.connection.greet(&mut pair.world, 0, pair.now);
        pair
    }

    /// With the layers open.
    fn open(wire: Wire, server: Server) -> Self {
        let mut pair = Self::new(wire, server);
        pair.exchange().unwrap();
        assert_eq!(pair.connection.opening_us, 0, "the layers are open");
        pair
    }

    fn exchange(&mut self) -> Result<(), Fault> {
        for _ in 0..100 {
            let up = std::mem::take(&mut self.connection.outbound);
            self.server.take(&up);
            let down = std::mem::take(&mut self.server.outbound);
            if up.is_empty() && down.is_empty() {
                return Ok(());
            }
            for piece in down.chunks(self.cut) {
                self.connection.on_bytes(&mut self.world, 0, self.now, piece)?;
            }
        }
        panic!("they never fall silent");
    }

    fn say(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), Fault> {
        self.server.say(opcode, payload);
        self.exchange()
    }

    fn offer(&mut self) {
        let offer = Offer { to: To::User(1), intended_us: self.now.monotonic_us, hop: 0 };
        self.connection.offer(&mut self.world, 0, offer, self.now);
        self.exchange().unwrap();
    }

    fn come_again(&mut self, server: Server) {
        self.connection.on_disconnected(&mut self.world);
        self.server = server;
        self.connection.greet(&mut self.world, 0, self.now);
        self.exchange().unwrap();
    }
}

const WELCOME: Message<'static> = Message::Welcome(Welcome {
    version: 1,
    server_time_ms: 7_000_000,
    heartbeat_s: 30,
    resume_token: b"",
    head: 0,
    cursor: 0,
    floor: 0,
    frame_bytes_max: 65536,
    requests_max: 2,
    compression: 0,
});

fn frames(messages: &[Message<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    messages.iter().for_each(|message| Encoder::new().message(&mut bytes, 0, 0, message));
    bytes
}

fn json(message: &Message<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    hawser_codec::json::put(&mut text, 0, 0, message);
    text
}

fn to_user_0(body: &[u8], sender: &str) -> Vec<u8> {
    json(&Message::Notify(Notify {
        number: 1,
        conversation: sender,
        sequence: 1,
        sender,
        device: "load-0",
        incarnation: 1,
        client_seq: 1,
        uuid: [0; 16],
        time_ms: 1,
        content: 0,
        receipts: 0,
        own: false,
        body,
    }))
}

#[test]
fn json_client_logs_in_sends_and_hears_though_bytes_come_one_by_one() {
    let mut pair = Pair::open(plain(Protocol::WebsocketJson), Server::at("/ws", "hawser.json.v1"));
    pair.cut = 1;
    let Heard::Text(hello) = pair.server.heard() else { panic!("a hello is a text") };
    assert!(hello.starts_with(r#"{"type":"hello","#) && hello.contains("load-0"), "{hello}");
    pair.say(Opcode::Text, &json(&WELCOME)).unwrap();
    assert!(pair.connection.is_online() && pair.connection.is_quiet());

    pair.offer();
    let Heard::Text(request) = pair.server.heard() else { panic!("a request is a text") };
    let parsed = Parsed::read(&request).unwrap();
    let Ok(Message::Request(request)) = parsed.message(0) else { panic!("{request}") };
    assert_eq!((request.client_seq, request.body.len()), (1, 64));
    let answer = Message::Acknowledge(Acknowledge { client_seq: 1, sequence: 1, time_ms: 1 });
    pair.say(Opcode::Text, &json(&answer)).unwrap();
    assert_eq!(pair.world.tally.counters.acknowledged, 1);

    // The message as user 1 sees it, whose connection this might be: its checksum fits and its
    // recipient does not.
    let sender = Names::new(RUN).name(0);
    pair.say(Opcode::Text, &to_user_0(request.body, sender.as_str())).unwrap();
    assert_eq!(pair.world.ground.oracle.findings().misdelivered, 1);
}

#[test]
fn native_frames_go_in_binary_messages_without_preface_several_at_a_time() {
    let mut pair = Pair::open(plain(Protocol::WebsocketNative), Server::at("/ws", "hawser.v1"));
    let Heard::Binary(hello) = pair.server.heard() else { panic!("a hello is binary") };
    let frame = hawser_codec::frame::step(
        &hawser_codec::frame::FrameLimits { body_bytes_max: 4096 },
        &hello,
    );
    let Ok(hawser_codec::frame::Step::Frame { frame, consumed }) = frame else {
        panic!("{hello:?}")
    };
    assert_eq!(consumed, hello.len());
    assert!(matches!(message::decode(frame), Ok(Message::Hello(_))));
    let ping = Message::Ping(message::Beat { next_ms: 0 });
    pair.say(Opcode::Binary, &frames(&[WELCOME, ping])).unwrap();
    assert!(pair.connection.is_online());
    assert!(matches!(pair.server.heard(), Heard::Binary(_)), "a pong of the protocol");
}

#[test]
fn message_with_half_a_frame_or_of_the_wrong_type_is_named() {
    let whole = frames(&[WELCOME]);
    let half = &whole[..whole.len() - 1];
    let rows = [
        (Protocol::WebsocketNative, "hawser.v1", Opcode::Binary, half),
        (Protocol::WebsocketNative, "hawser.v1", Opcode::Text, b"welcome".as_slice()),
        (Protocol::WebsocketJson, "hawser.json.v1", Opcode::Binary, &whole),
    ];
    for (protocol, name, opcode, payload) in rows {
        let mut pair = Pair::open(plain(protocol), Server::at("/ws", name));
        assert_eq!(pair.say(opcode, payload), Err(Fault::new(fault::MESSAGE)), "{protocol:?}");
    }
    let mut pair = Pair::open(plain(Protocol::WebsocketJson), Server::at("/ws", "hawser.json.v1"));
    let refused = pair.say(Opcode::Text, br#"{"type":"welcome","version":"#);
    assert!(refused.is_err_and(|fault| fault.code < fault::FIRST), "{refused:?}");
}

#[test]
fn fragments_are_joined_and_a_ping_between_them_is_answered() {
    let mut pair = Pair::open(plain(Protocol::WebsocketNative), Server::at("/ws", "hawser.v1"));
    pair.server.heard();
    pair.cut = 3;
    let welcome = frames(&[WELCOME]);
    let (head, tail) = welcome.split_at(7);
    write::frame(&mut pair.server.outbound, Opcode::Binary, false, false, head, None);
    write::ping(&mut pair.server.outbound, b"are you there", None);
    pair.exchange().unwrap();
    assert_eq!(pair.server.heard(), Heard::Pong(b"are you there".to_vec()));
    assert!(!pair.connection.is_online() && !pair.connection.is_quiet());
    write::frame(&mut pair.server.outbound, Opcode::Continuation, true, false, tail, None);
    pair.exchange().unwrap();
    assert!(pair.connection.is_online() && pair.connection.is_quiet());
    let idle = pair.connection.websocket.as_ref().is_some_and(|websocket| websocket.is_idle());
    assert!(idle, "nothing is kept between messages");
}

#[test]
fn close_frame_is_answered_with_its_code_and_then_the_connection_is_left() {
    let mut pair = Pair::open(plain(Protocol::WebsocketNative), Server::at("/ws", "hawser.v1"));
    pair.server.heard();
    write::close(&mut pair.server.outbound, Some(close::code::POLICY), "no", None);
    // What follows a close frame is not read, whatever it is.
    pair.server.outbound.extend_from_slice(b"\xff\xff");
    pair.exchange().unwrap();
    assert_eq!(pair.server.heard(), Heard::Close(Some(1008)));
    assert_eq!(pair.connection.deadline(), 0);
    let left = pair.connection.on_time(&mut pair.world, 0, pair.now);
    assert_eq!(left, Err(Fault::new(21_008)));
    assert!(fault_text(21_008).contains("code 1008"));
}

#[test]
fn frames_against_the_norm_are_named() {
    let masked = {
        let mut bytes = Vec::new();
        write::frame(&mut bytes, Opcode::Binary, true, false, b"x", Some([1; 4]));
        bytes
    };
    let rows: [(&[u8], u16); 3] = [
        (&masked, fault::FRAMES),
        (b"\xc2\x01x", fault::FRAMES),
        (b"\x82\x7f\0\0\0\0\0\x20\0\0", fault::MESSAGE_TOO_LONG),
    ];
    for (bytes, code) in rows {
        let mut pair = Pair::open(plain(Protocol::WebsocketNative), Server::at("/ws", "hawser.v1"));
        pair.server.outbound.extend_from_slice(bytes);
        assert_eq!(pair.exchange(), Err(Fault::new(code)), "{bytes:x?}");
    }
}

#[test]
fn answers_that_open_no_websocket_are_named() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let rows = [
        ("HTTP/1.1 404 Not Found\r\n\r\n".to_owned(), 11_404),
        ("-ERR unknown command\r\n".to_owned(), fault::NOT_HTTP),
        (
            format!("{head}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
            fault::ACCEPT_KEY,
        ),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(), fault::UPGRADE_INCOMPLETE),
    ];
    for (answer, code) in rows {
        let mut pair = Pair::new(plain(Protocol::WebsocketJson), Server::silent());
        pair.server.outbound.extend_from_slice(answer.as_bytes());
        assert_eq!(pair.exchange(), Err(Fault::new(code)), "{answer}");
        assert!(fault::is_denied(code), "asking again helps nobody");
    }
    let mut pair = Pair::new(plain(Protocol::WebsocketJson), Server::at("/ws", ""));
    assert_eq!(pair.exchange(), Err(Fault::new(fault::SUB_PROTOCOL)));
    let mut extended = Server::at("/ws", "hawser.json.v1");
    extended.extension = true;
    let mut pair = Pair::new(plain(Protocol::WebsocketJson), extended);
    assert_eq!(pair.exchange(), Err(Fault::new(fault::EXTENSION)));
}

#[test]
fn server_that_does_not_answer_the_upgrade_is_given_up_and_one_that_closes_is_named() {
    let mut pair = Pair::new(plain(Protocol::WebsocketJson), Server::silent());
    pair.exchange().unwrap();
    let deadline = pair.connection.deadline();
    assert_eq!(deadline, at(30_000).monotonic_us);
    pair.connection.on_time(&mut pair.world, 0, at(29_999)).unwrap();
    let left = pair.connection.on_time(&mut pair.world, 0, at(30_000));
    assert_eq!(left, Err(Fault::new(code::TIMEOUT)));
    pair.connection.on_disconnected(&mut pair.world);
    assert_eq!(pair.world.tally.counters.last_code, u64::from(fault::UPGRADE_UNANSWERED));
    assert_eq!(pair.connection.deadline(), u64::MAX);
}

#[test]
fn every_handshake_and_every_frame_has_a_key_of_its_own() {
    let mut world = world_of(plain(Protocol::Echo));
    let mut keys: Vec<_> = (0..50).map(|index| world.speaker.handshake_key(index)).collect();
    // Another worker of the same run.
    let mut world = world_of(plain(Protocol::Echo));
    keys.extend((50..100).map(|index| world.speaker.handshake_key(index)));
    let masks: Vec<_> = (0..100).map(|_| world.speaker.mask()).collect();
    let differ = |count: usize| assert_eq!(count, 100);
    differ(keys.iter().collect::<HashSet<_>>().len());
    differ(masks.iter().collect::<HashSet<_>>().len());
}

#[test]
fn echo_judges_that_each_message_comes_back_as_it_was() {
    let mut pair = Pair::open(plain(Protocol::Echo), Server::at("/echo", ""));
    assert!(pair.connection.is_online());
    for _ in 0..3 {
        pair.offer();
    }
    let all: Vec<Vec<u8>> = (0..3)
        .map(|_| match pair.server.heard() {
            Heard::Binary(body) => body,
            other => panic!("no message: {other:?}"),
        })
        .collect();
    pair.say(Opcode::Binary, &all[0]).unwrap();
    pair.say(Opcode::Binary, &all[0]).unwrap();
    let mut changed = all[1].clone();
    changed[50] ^= 1;
    pair.say(Opcode::Binary, &changed).unwrap();
    let findings = pair.world.ground.oracle.findings();
    assert_eq!((findings.delivered, findings.duplicated, findings.corrupted), (1, 1, 1));
    assert_eq!(pair.world.tally.counters.acknowledged, 1);

    // What has no answer goes again, the same and in order, on the next connection.
    pair.come_again(Server::at("/echo", ""));
    for body in &all[1..] {
        assert_eq!(pair.server.heard(), Heard::Binary(body.clone()));
        pair.say(Opcode::Binary, body).unwrap();
    }
    let findings = pair.world.ground.oracle.findings();
    assert_eq!((findings.delivered, findings.acknowledged, findings.reordered), (3, 3, 0));
    assert!(pair.connection.is_quiet());
}

#[test]
fn echo_without_messages_beats_and_a_missing_answer_ends_it() {
    let mut pair = Pair::open(plain(Protocol::Echo), Server::at("/echo", ""));
    assert_eq!(pair.connection.deadline(), at(30_000).monotonic_us);
    pair.now = at(30_000);
    pair.connection.on_time(&mut pair.world, 0, pair.now).unwrap();
    assert!(!pair.connection.is_quiet());
    pair.server.answers_pings = true;
    pair.exchange().unwrap();
    assert_eq!(pair.world.tally.counters.heartbeats_answered, 1);
    pair.now = at(60_000);
    pair.server.answers_pings = false;
    pair.connection.on_time(&mut pair.world, 0, pair.now).unwrap();
    pair.exchange().unwrap();
    let left = pair.connection.on_time(&mut pair.world, 0, at(70_000));
    assert_eq!(left, Err(Fault::new(code::TIMEOUT)));
    assert_eq!(pair.world.tally.counters.heartbeats_expected, 2);
}

#[test]
fn mqtt_is_a_stream_whose_packets_cross_messages() {
    let wire = plain(Protocol::Mqtt5).at_path("/mqtt", ([127, 0, 0, 1], 7901).into());
    let mut pair = Pair::open(wire, Server::at("/mqtt", "mqtt"));
    let Heard::Binary(connect) = pair.server.heard() else { panic!("a CONNECT is binary") };
    assert_eq!(connect[0], 0x10);
    // CONNACK without properties, cut in two messages.
    pair.say(Opcode::Binary, &[0x20, 0x03, 0x00]).unwrap();
    assert_eq!(pair.connection.inbound.len(), 3);
    pair.say(Opcode::Binary, &[0x00, 0x00]).unwrap();
    assert!(pair.connection.inbound.is_empty());
    let Heard::Binary(subscribe) = pair.server.heard() else { panic!("it subscribes") };
    assert_eq!(subscribe[0], 0x82);
}

fn trust(authority: &Authority) -> Trust {
    Trust {
        authorities: Some(authority.file.clone()),
        insecure: false,
        server_name: "localhost".to_owned(),
    }
}

#[test]
fn tls_carries_everything_and_a_connection_that_comes_again_resumes() {
    let authority = Authority::new();
    let serves = authority.serves(&["localhost"], false);
    let server = || Server::at("/ws", "hawser.json.v1").with_tls(&serves);
    let wire = plain(Protocol::WebsocketJson).with_tls(&trust(&authority)).unwrap();
    let mut pair = Pair::open(wire, server());
    pair.cut = 5;
    assert!(matches!(pair.server.heard(), Heard::Text(_)));
    assert_eq!(pair.server.host, "localhost:7901");
    assert_eq!(pair.server.alpn(), Some(b"http/1.1".to_vec()));
    assert!(!pair.server.is_resumed());
    pair.say(Opcode::Text, &json(&WELCOME)).unwrap();
    pair.offer();
    assert!(matches!(pair.server.heard(), Heard::Text(_)));
    assert!(pair.connection.outbound.is_empty());

    pair.come_again(server());
    assert!(pair.server.is_resumed(), "with a ticket of the first one");
    assert!(matches!(pair.server.heard(), Heard::Text(_)));

    // Another connection that opens for the first time makes a full handshake.
    pair.connection = Connection::new(&pair.world.ground.scenario);
    pair.server = server();
    pair.connection.greet(&mut pair.world, 1, pair.now);
    pair.exchange().unwrap();
    assert!(!pair.server.is_resumed());
}

#[test]
fn native_protocol_over_tls_names_itself() {
    let authority = Authority::new();
    let serves = authority.serves(&["localhost"], false);
    let wire = plain(Protocol::Native).with_tls(&trust(&authority)).unwrap();
    let mut pair = Pair::open(wire, Server::plain().with_tls(&serves));
    assert_eq!(pair.server.alpn(), Some(b"hawser".to_vec()));
    assert_eq!(pair.server.stream[..4], hawser_codec::frame::PREFACE);
    pair.server.seal(&frames(&[WELCOME]));
    pair.exchange().unwrap();
    assert!(pair.connection.is_online());
}

#[test]
fn certificates_that_are_not_the_right_ones_are_named_and_insecure_takes_any() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.serves(&["localhost"], false);
    let rows = [
        (other.serves(&["localhost"], false), fault::CERTIFICATE_UNTRUSTED),
        (authority.serves(&["chat.example"], false), fault::CERTIFICATE_NAME),
        (authority.serves(&["localhost"], true), fault::CERTIFICATE_AGE),
    ];
    for (serves, code) in rows {
        let wire = plain(Protocol::Native).with_tls(&trust(&authority)).unwrap();
        let mut pair = Pair::new(wire, Server::plain().with_tls(&serves));
        assert_eq!(pair.exchange(), Err(Fault::new(code)));
        assert!(fault::is_denied(code));
        // The server is told why.
        let up = std::mem::take(&mut pair.connection.outbound);
        assert!(!up.is_empty());

        let anybody = Trust { insecure: true, authorities: None, ..trust(&authority) };
        let wire = plain(Protocol::Native).with_tls(&anybody).unwrap();
        assert!(wire.is_insecure());
        Pair::open(wire, Server::plain().with_tls(&serves));
    }
    let wire = plain(Protocol::Native).with_tls(&trust(&authority)).unwrap();
    assert!(!wire.is_insecure());
    Pair::open(wire, Server::plain().with_tls(&good));
}

#[test]
fn servers_without_tls_are_named() {
    let authority = Authority::new();
    let wire = || plain(Protocol::Native).with_tls(&trust(&authority)).unwrap();
    let mut pair = Pair::new(wire(), Server::silent());
    pair.server.outbound.extend_from_slice(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_eq!(pair.exchange(), Err(Fault::new(fault::NOT_TLS)));
    let mut pair = Pair::new(wire(), Server::silent());
    pair.exchange().unwrap();
    pair.connection.on_disconnected(&mut pair.world);
    assert_eq!(pair.world.tally.counters.last_code, u64::from(fault::TLS_UNANSWERED));
}

#[test]
fn files_and_names_that_do_not_serve_are_named() {
    let authority = Authority::new();
    let missing = Trust { authorities: Some("/nowhere/ca.pem".into()), ..trust(&authority) };
    let refused = plain(Protocol::Native).with_tls(&missing).unwrap_err();
    assert!(refused.contains("--tls-ca /nowhere/ca.pem"), "{refused}");
    let empty = authority.directory.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    let refused = plain(Protocol::Native)
        .with_tls(&Trust { authorities: Some(empty), ..trust(&authority) })
        .unwrap_err();
    assert!(refused.contains("no certificate in PEM"), "{refused}");
    let nameless = Trust { server_name: "a b".to_owned(), ..trust(&authority) };
    let refused = plain(Protocol::Native).with_tls(&nameless).unwrap_err();
    assert!(refused.contains("--server-name a b"), "{refused}");
}
