//! WebSocket: the upgrade, both sub-protocols of Hawser, the echo, and what ends a connection.

use hawser_codec::{
    frame::{self, FrameLimits, Step},
    message::{self, Encoder, Message},
    mqtt::{
        self, Packet, PacketLimits, Qos, Version,
        packet::{Connect, Filters, Options, Publish, Subscribe},
        property::Properties,
    },
    websocket::Opcode,
};
use rustix::process::Signal;

use hawser_tests::{
    company::{random_name, until},
    process::{Gateway, Home, Setup},
    raw::{RawClient, hello, request},
    websocket::{Heard, WebSocketClient, Wish, ask},
};

const NATIVE: Wish<'static> = Wish::of("/ws", &["hawser.v1"]);
const JSON: Wish<'static> = Wish::of("/ws", &["hawser.json.v1"]);
const ECHO: Wish<'static> = Wish::of("/echo", &[]);
const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 1 << 20 };

fn gateway() -> Gateway {
    Setup::new().setting("websocket.echo", true).start()
}

#[track_caller]
fn open(gateway: &Gateway, wish: &Wish<'_>) -> WebSocketClient {
    WebSocketClient::open(gateway.websocket(), wish).unwrap_or_else(|refused| panic!("{refused:?}"))
}

fn encoded(messages: &[Message<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    messages.iter().for_each(|message| Encoder::new().message(&mut bytes, 0, 0, message));
    bytes
}

/// The one native frame of a binary message, looked at by `look`.
#[track_caller]
fn native<T>(heard: &Heard, look: impl FnOnce(&Message<'_>) -> T) -> T {
    let Heard::Binary(bytes) = heard else { panic!("no binary message: {heard:?}") };
    let Ok(Step::Frame { frame, consumed }) = frame::step(&LIMITS, bytes) else {
        panic!("no whole frame: {bytes:?}")
    };
    assert_eq!(consumed, bytes.len(), "a message holds one frame");
    look(&message::decode(frame).expect("the server's own frame"))
}

#[track_caller]
fn login(gateway: &Gateway, wish: &Wish<'_>, user: &str) -> WebSocketClient {
    let mut client = open(gateway, wish);
    client.say(Opcode::Binary, &encoded(&[Message::Hello(hello(user, "web"))]));
    let heard = client.hear();
    native(&heard, |message| assert!(matches!(message, Message::Welcome(_)), "{message:?}"));
    client
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[track_caller]
fn login_json(gateway: &Gateway, wish: &Wish<'_>, user: &str) -> WebSocketClient {
    let mut client = open(gateway, wish);
    client.say_text(&format!(r#"{{"type":"hello","user":"{user}","device":"web"}}"#));
    let welcome = json(&client.hear_text());
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    client
}

#[test]
fn native_frames_travel_as_binary_messages() {
    let gateway = gateway();
    let (alice, bob) = (random_name(), random_name());
    let mut web = login(&gateway, &NATIVE, &alice);
    let (mut phone, _) = RawClient::login(gateway.native(), &bob, "phone");
    let said = request(1, &bob, b"hello from a browser");
    web.say(Opcode::Binary, &encoded(&[Message::Request(said)]));
    assert_eq!(phone.pushed().body, b"hello from a browser");
    phone.deliver(&request(1, &alice, b"and back"));
    // The acknowledge, its own message's entry, and the answer's.
    let mut heard: Vec<String> = (0..3)
        .map(|_| {
            native(&web.hear(), |message| match message {
                Message::Acknowledge(answer) => {
                    format!("{} is {}", answer.client_seq, answer.sequence)
                }
                Message::Notify(notify) => String::from_utf8_lossy(notify.body).into_owned(),
                other => panic!("{other:?}"),
            })
        })
        .collect();
    heard.sort();
    assert_eq!(heard, ["", "1 is 1", "and back"]);
}

#[test]
fn json_speaks_with_a_native_client() {
    let gateway = gateway();
    let (alice, bob) = (random_name(), random_name());
    let mut web = login_json(&gateway, &JSON, &alice);
    let (mut phone, _) = RawClient::login(gateway.native(), &bob, "phone");
    web.say_text(&format!(
        r#"{{"type":"request","client_seq":1,"to":"{bob}","text":"gr\u00fc\u00dfe"}}"#
    ));
    assert_eq!(phone.pushed().body, "grüße".as_bytes());
    web.say_text(r#"{"type":"ping"}"#);
    // An acknowledge and the own entry have no order among each other.
    let mut kinds: Vec<String> =
        (0..3).map(|_| json(&web.hear_text())["type"].as_str().unwrap().to_owned()).collect();
    kinds.sort();
    assert_eq!(kinds, ["acknowledge", "notify", "pong"]);
}

#[test]
fn several_frames_may_share_a_message_and_none_may_cross_its_end() {
    let gateway = gateway();
    let (alice, bob) = (random_name(), random_name());
    let mut web = login(&gateway, &NATIVE, &alice);
    let both = encoded(&[
        Message::Request(request(1, &bob, b"one")),
        Message::Request(request(2, &bob, b"two")),
    ]);
    web.say(Opcode::Binary, &both);
    let mut acknowledged = 0;
    while acknowledged < 2 {
        let heard = web.hear();
        native(&heard, |message| {
            acknowledged += usize::from(matches!(message, Message::Acknowledge(_)));
        });
    }
    web.say(Opcode::Binary, &both[..both.len() - 1]);
    assert_eq!(web.hear_close(), Some(1007));
}

// norm: RFC6455-5.4-4
// norm: RFC6455-5.4-5
// norm: RFC6455-5.6-1
#[test]
fn fragments_are_one_message_and_pings_come_between_them() {
    let gateway = gateway();
    let mut client = open(&gateway, &ECHO);
    client.say_frame(Opcode::Text, false, "Gr\u{fc}".as_bytes());
    client.say_frame(Opcode::Ping, true, b"between");
    assert_eq!(client.hear(), Heard::Pong(b"between".to_vec()));
    // A character cut in two by the fragments.
    client.say_frame(Opcode::Continuation, false, &"\u{df}".as_bytes()[..1]);
    client.say_frame(Opcode::Continuation, true, &"\u{df}e".as_bytes()[1..]);
    assert_eq!(client.hear(), Heard::Text("Gr\u{fc}\u{df}e".into()));
}

// norm: RFC6455-6.1-6
// norm: RFC6455-5.4-5
#[test]
fn echo_returns_each_message_as_it_came_whatever_its_length_and_cuts() {
    let gateway = gateway();
    let mut client = open(&gateway, &ECHO);
    for bytes in [0, 1, 125, 126, 127, 4096, 65_535, 65_536, 300_000, 1 << 20] {
        let message: Vec<u8> = (0..bytes).map(|at| (at * 31 % 251) as u8).collect();
        client.say(Opcode::Binary, &message);
        assert!(client.hear() == Heard::Binary(message), "{bytes} bytes");
    }
    let mut wire = Vec::new();
    for number in 0..100u32 {
        let payload = number.to_string();
        let key = Some(number.to_le_bytes());
        hawser_codec::websocket::write::frame(
            &mut wire,
            Opcode::Text,
            true,
            false,
            payload.as_bytes(),
            key,
        );
    }
    for piece in wire.chunks(7) {
        client.say_bytes(piece);
    }
    for number in 0..100u32 {
        assert_eq!(client.hear(), Heard::Text(number.to_string()));
    }
}

// norm: RFC7692-5-2
// norm: RFC7692-6.1-1
// norm: RFC7692-6.2-1
// norm: RFC7692-7.2.2-3
#[test]
fn compressed_messages_come_back_with_and_without_context_take_over() {
    let gateway = Setup::new()
        .setting("websocket.echo", true)
        .setting("websocket.deflate_takeover", true)
        .start();
    let text = "the same words again and ".repeat(40);
    for take_over in [false, true] {
        let wish = Wish { deflate: Some(take_over), ..ECHO };
        let mut client = open(&gateway, &wish);
        assert!(client.deflates());
        for _ in 0..3 {
            client.say_text(&text);
            assert_eq!(client.hear(), Heard::Text(text.clone()));
        }
    }
}

// norm: RFC6455-5.5.1-5
// norm: RFC6455-5.5.1-7
#[test]
fn a_client_that_closes_is_told_the_same_code() {
    let gateway = gateway();
    for code in [None, Some(1000), Some(1001), Some(3000), Some(4999)] {
        let mut client = open(&gateway, &ECHO);
        client.say_close(code);
        assert_eq!(client.hear(), Heard::Close(code, String::new()));
        assert_eq!(client.hear(), Heard::End);
    }
    until("no connection left", || {
        (gateway.metric("hawser_gateway_connections{") == 0.0).then_some(())
    });
}

// norm: RFC6455-7.1.7-1
// norm: RFC6455-7.1.7-3
// norm: RFC6455-10.4-1
#[test]
fn what_breaks_the_norm_ends_with_its_code() {
    let gateway = gateway();
    let frames: [(&str, &[u8], u16); 8] = [
        ("unmasked", &[0x82, 0x01, 0x00], 1002),
        ("reserved bit", &[0xc2, 0x80, 0, 0, 0, 0], 1002),
        ("reserved opcode", &[0x83, 0x80, 0, 0, 0, 0], 1002),
        ("continuation of nothing", &[0x80, 0x80, 0, 0, 0, 0], 1002),
        ("fragmented ping", &[0x09, 0x80, 0, 0, 0, 0], 1002),
        ("long ping", &[0x89, 0xfe, 0, 126, 0, 0, 0, 0], 1002),
        ("invalid text", &[0x81, 0x81, 0, 0, 0, 0, 0xff], 1007),
        ("too long", &[0x82, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0], 1009),
    ];
    for (what, frame, code) in frames {
        let mut client = open(&gateway, &ECHO);
        client.say_bytes(frame);
        assert_eq!(client.hear_close(), Some(code), "{what}");
    }
}

#[test]
fn a_message_that_inflates_beyond_the_limit_is_refused_as_too_big() {
    let gateway = gateway();
    let mut client = open(&gateway, &Wish { deflate: Some(false), ..ECHO });
    client.say(Opcode::Binary, &vec![0; 64 << 20]);
    assert_eq!(client.hear_close(), Some(1009));
}

#[test]
fn a_request_that_is_not_finished_in_time_is_told_so() {
    let gateway = Setup::new().setting("limits.handshake_timeout_ms", 1000).start();
    let answer = ask(gateway.websocket(), "GET /ws HTTP/1.1\r\nHost:");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(ask(gateway.websocket(), ""), "", "who has asked nothing is told nothing");
    let mut silent = open(&gateway, &JSON);
    assert_eq!(json(&silent.hear_text())["code"], 105);
    assert_eq!(silent.hear_close(), Some(1008));
}

#[test]
fn each_sub_protocol_takes_its_own_kind_of_message() {
    let gateway = gateway();
    let mut native = open(&gateway, &NATIVE);
    native.say_text("{}");
    assert_eq!(native.hear_close(), Some(1003));
    let mut json = open(&gateway, &JSON);
    json.say(Opcode::Binary, b"{}");
    assert_eq!(json.hear_close(), Some(1003));
}

#[test]
fn what_json_gets_wrong_is_named_before_the_end() {
    let gateway = gateway();
    let mut client = login_json(&gateway, &JSON, &random_name());
    client.say_text(r#"{"type":"request","client_seq":"x"}"#);
    let error = json(&client.hear_text());
    assert_eq!(error["type"], "error", "{error}");
    assert!(error["text"].as_str().unwrap().contains("client_seq"), "{error}");
    assert_eq!(client.hear_close(), Some(1008));
}

#[test]
fn a_token_comes_in_the_query_or_as_a_sub_protocol() {
    let user = random_name();
    let home = Home::new();
    let file = home.write("tokens.toml", &format!("\"t0ken-of-the-user\" = \"{user}\"\n"));
    let gateway = Setup::new()
        .argument("--auth")
        .argument("token")
        .setting("auth.token_file", file.display())
        .start_in(home);
    // "t0ken-of-the-user" in base64url.
    let offered = ["hawser.json.v1", "hawser.token.dDBrZW4tb2YtdGhlLXVzZXI"];
    login_json(&gateway, &Wish::of("/ws?token=t0ken-of-the-user", &["hawser.json.v1"]), &user);
    login_json(&gateway, &Wish::of("/ws", &offered), &user);
    let mut client = open(&gateway, &Wish::of("/ws?token=wrong-token-of-all", &["hawser.v1"]));
    client.say(Opcode::Binary, &encoded(&[Message::Hello(hello(&user, "web"))]));
    assert_eq!(client.hear_close(), Some(1008));
}

#[test]
fn foreign_pages_and_wrong_requests_are_refused_with_their_status() {
    let gateway = Setup::new().start();
    let status = |wish: &Wish<'_>| {
        WebSocketClient::open(gateway.websocket(), wish).map(drop).unwrap_err().status
    };
    let foreign = [("Origin", "https://elsewhere.example")];
    assert_eq!(status(&Wish { fields: &foreign, ..JSON }), 403);
    assert_eq!(status(&ECHO), 404, "off unless asked for");
    assert_eq!(status(&Wish::of("/ws", &["soap"])), 400);
    let address = gateway.websocket();
    let nowhere = "GET /nowhere HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert!(ask(address, nowhere).starts_with("HTTP/1.1 404 "));
    let own = format!("http://{address}");
    open(&gateway, &Wish { fields: &[("Origin", &own)], ..JSON });
    let answer = ask(address, "GET /ws HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    let long = format!("GET /ws HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(9000));
    assert!(ask(address, &long).starts_with("HTTP/1.1 431 "));
}

#[test]
fn healthz_is_answered_on_the_same_connection_as_often_as_it_is_asked() {
    let gateway = Setup::new().start();
    let request = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    let last = "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let answers = ask(gateway.websocket(), &format!("{request}{request}{last}"));
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{answers}");
    assert_eq!(answers.matches("\r\n\r\nok\n").count(), 3, "{answers}");
}

#[test]
fn a_silent_page_is_pinged_and_stays_as_long_as_it_answers() {
    let gateway =
        Setup::new().setting("heartbeat.web_s", 5).setting("heartbeat.grace_s", 1).start();
    let mut client = login_json(&gateway, &JSON, &random_name());
    let Heard::Ping(payload) = client.hear() else { panic!("a ping was due") };
    client.say_frame(Opcode::Pong, true, &payload);
    assert!(matches!(client.hear(), Heard::Ping(_)));
    let error = json(&client.hear_text());
    assert_eq!(error["code"], 105, "{error}");
    assert_eq!(client.hear_close(), Some(1008));
}

// norm: RFC6455-7.1.2-1
#[test]
fn a_gateway_that_ends_says_so_and_closes_with_going_away() {
    let mut gateway = gateway();
    let mut client = login_json(&gateway, &JSON, &random_name());
    gateway.signal(Signal::TERM);
    let go_away = json(&client.hear_text());
    assert_eq!(go_away["type"], "go_away", "{go_away}");
    assert_eq!(client.hear_close(), Some(1001));
    drop(client);
    assert!(gateway.wait().success());
}

/// Bytes of MQTT packets, version 3.1.1.
fn packets(packets: &[Packet<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for packet in packets {
        mqtt::encode::packet(&mut bytes, Version::V311, packet).expect("it can be written");
    }
    bytes
}

/// The server's MQTT bytes, until there are `count` packets; described for people.
#[track_caller]
fn hear_packets(client: &mut WebSocketClient, count: usize) -> Vec<String> {
    let limits = PacketLimits { receiver: mqtt::Role::Client, packet_bytes_max: 1 << 20 };
    let (mut stream, mut found) = (Vec::new(), Vec::new());
    while found.len() < count {
        match client.hear() {
            Heard::Binary(bytes) => stream.extend_from_slice(&bytes),
            other => panic!("{other:?} after {found:?}"),
        }
        let mut done = 0;
        while let Ok(mqtt::Step::Packet { packet, consumed }) =
            mqtt::step(&limits, Version::V311, &stream[done..])
        {
            done += consumed;
            found.push(match packet {
                Packet::Connack(connack) => format!("connack {}", connack.reason),
                Packet::Suback(suback) => format!("suback {:?}", suback.reasons),
                Packet::Puback(puback) => format!("puback {}", puback.packet_id),
                Packet::Publish(publish) => {
                    format!("{} {}", publish.topic, String::from_utf8_lossy(publish.payload))
                }
                other => format!("{other:?}"),
            });
        }
        stream.drain(..done);
    }
    found
}

fn connect(client_id: &str) -> Packet<'_> {
    Packet::Connect(Connect {
        version: Version::V311,
        clean: true,
        keep_alive_s: 60,
        properties: Properties::NONE,
        client_id,
        will: None,
        user: None,
        password: None,
    })
}

fn publish<'a>(topic: &'a str, qos: Qos, payload: &'a [u8]) -> Packet<'a> {
    let packet_id = if qos == Qos::AtMostOnce { 0 } else { 9 };
    let (dup, retain, properties) = (false, false, Properties::NONE);
    Packet::Publish(Publish { dup, qos, retain, topic, packet_id, properties, payload })
}

#[track_caller]
fn subscriber(gateway: &Gateway, client_id: &str, filter: &str) -> WebSocketClient {
    let mut filters = Vec::new();
    Filters::put(&mut filters, filter, Some(Options::new(Qos::AtMostOnce, false, false, 0)));
    let subscribe = Packet::Subscribe(Subscribe {
        packet_id: 1,
        properties: Properties::NONE,
        filters: Filters::of(&filters, true),
    });
    let mut client = open(gateway, &Wish::of("/mqtt", &["mqtt"]));
    client.say(Opcode::Binary, &packets(&[connect(client_id), subscribe]));
    assert_eq!(hear_packets(&mut client, 2), ["connack 0", "suback [0]"]);
    client
}

// norm: MQTT3-6.0.0-1
// norm: MQTT3-6.0.0-2
// norm: MQTT3-6.0.0-4
// norm: MQTT5-6.0.0-1
// norm: MQTT5-6.0.0-2
// norm: MQTT5-6.0.0-4
#[test]
fn mqtt_in_messages_is_a_stream_whose_packets_may_be_cut_anywhere() {
    let gateway = Setup::new().start();
    let topic = random_name();
    let mut hears = subscriber(&gateway, "hears", &topic);
    let mut says = open(&gateway, &Wish::of("/mqtt", &["mqtt"]));
    assert_eq!(says.protocol.as_deref(), Some("mqtt"));
    let said =
        [publish(&topic, Qos::AtMostOnce, b"one"), publish(&topic, Qos::AtLeastOnce, b"two")];
    let all = [packets(&[connect("says")]), packets(&said)].concat();
    for piece in all.chunks(3) {
        says.say(Opcode::Binary, piece);
    }
    assert_eq!(hear_packets(&mut says, 2), ["connack 0", "puback 9"]);
    assert_eq!(hear_packets(&mut hears, 2), [format!("{topic} one"), format!("{topic} two")]);
    says.say_text("no binary message");
    assert_eq!(says.hear_close(), Some(1003));
    let mut broken = open(&gateway, &Wish::of("/mqtt", &["mqtt"]));
    broken.say(Opcode::Binary, &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert!(broken.hear_close().is_some());
}

#[test]
fn a_topic_of_many_listeners_reaches_all_of_them_in_order() {
    let gateway = Setup::new().start();
    let topic = random_name();
    let mut crowd: Vec<WebSocketClient> =
        (0..100).map(|at| subscriber(&gateway, &format!("one-of-many-{at}"), "#")).collect();
    let mut says = subscriber(&gateway, "says", "nothing");
    let bodies: Vec<String> = (0..20).map(|number| format!("message {number}")).collect();
    let said: Vec<Packet<'_>> =
        bodies.iter().map(|body| publish(&topic, Qos::AtMostOnce, body.as_bytes())).collect();
    says.say(Opcode::Binary, &packets(&said));
    let expected: Vec<String> = bodies.iter().map(|body| format!("{topic} {body}")).collect();
    for listener in &mut crowd {
        assert_eq!(hear_packets(listener, expected.len()), expected);
    }
}
