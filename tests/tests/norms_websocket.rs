//! RFC 6455 on the wire: what a whole gateway does with a connection, where the codec's own tests
//! show only how bytes are judged.

use std::io::Read;

use hawser_codec::websocket::{Opcode, write};
use hawser_tests::{
    company::until,
    process::{Gateway, Setup},
    websocket::{Heard, WebSocketClient, Wish, ask, connect},
};

const ECHO: Wish<'static> = Wish::of("/echo", &[]);
const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);

/// Something a client does.
type Act<'a> = &'a dyn Fn(&mut WebSocketClient);

fn gateway() -> Gateway {
    Setup::new().setting("websocket.echo", true).start()
}

#[track_caller]
fn open(gateway: &Gateway) -> WebSocketClient {
    WebSocketClient::open(gateway.websocket(), &ECHO)
        .unwrap_or_else(|refused| panic!("{refused:?}"))
}

fn text(out: &mut Vec<u8>, text: &str) {
    write::frame(out, Opcode::Text, true, false, text.as_bytes(), KEY);
}

// norm: RFC6455-5.5.1-4
// norm: RFC6455-5.5.1-5
// norm: RFC6455-5.5.1-6
// norm: RFC6455-5.5.1-7
// norm: RFC6455-5.5.2-1
// norm: RFC6455-6.1-1
// norm: RFC6455-7.1.2-2
#[test]
fn a_close_frame_is_answered_and_nothing_is_said_behind_the_answer() {
    let gateway = gateway();
    let mut client = open(&gateway);
    let mut said = Vec::new();
    text(&mut said, "before");
    write::close(&mut said, Some(1000), "enough", KEY);
    text(&mut said, "behind");
    write::ping(&mut said, b"behind", KEY);
    write::close(&mut said, Some(1001), "again", KEY);
    client.say_bytes(&said);
    assert_eq!(client.hear(), Heard::Text("before".into()));
    assert_eq!(client.hear(), Heard::Close(Some(1000), String::new()));
    assert_eq!(client.hear(), Heard::End);
}

// norm: RFC6455-5.5.1-8
// norm: RFC6455-7.1.1-1
// norm: RFC6455-7.1.1-2
// norm: RFC6455-7.1.1-3
#[test]
fn the_server_is_the_first_to_close_and_closes_in_order() {
    let gateway = gateway();
    let close = |client: &mut WebSocketClient| client.say_close(Some(1000));
    let unmasked = |client: &mut WebSocketClient| client.say_bytes(&[0x82, 0x00]);
    let ends: [(&str, Act<'_>); 2] = [("closed", &close), ("failed", &unmasked)];
    for (what, end) in ends {
        let mut socket = connect(gateway.websocket());
        let own = socket.try_clone().expect("a socket can be had twice");
        let mut client = WebSocketClient::open_over(own, gateway.websocket(), &ECHO).unwrap();
        end(&mut client);
        assert!(matches!(client.hear(), Heard::Close(..)), "{what}");
        // Nothing closes this end, so the end that is read is the server's own, and no reset.
        let mut rest = Vec::new();
        let read = socket.read_to_end(&mut rest);
        assert!(matches!(read, Ok(0)), "{what}: {read:?} {rest:?}");
    }
}

// norm: RFC6455-5.5.2-1
// norm: RFC6455-5.5.2-2
// norm: RFC6455-5.5.3-1
#[test]
fn a_ping_is_answered_before_anything_that_comes_behind_it() {
    let gateway = gateway();
    let mut client = open(&gateway);
    let longest = [7; 125];
    let mut said = Vec::new();
    for payload in [&b""[..], b"there?", &longest] {
        write::ping(&mut said, payload, KEY);
        text(&mut said, "behind");
    }
    client.say_bytes(&said);
    for payload in [&b""[..], b"there?", &longest] {
        assert_eq!(client.hear(), Heard::Pong(payload.to_vec()));
        assert_eq!(client.hear(), Heard::Text("behind".into()));
    }
}

// norm: RFC6455-5.1-2
// norm: RFC6455-5.2-2
// norm: RFC6455-5.2-3
// norm: RFC6455-5.2-4
// norm: RFC6455-5.2-5
// norm: RFC6455-5.4-1
// norm: RFC6455-5.4-3
// norm: RFC6455-5.5-1
// norm: RFC6455-5.6-1
// norm: RFC6455-7.1.7-1
// norm: RFC6455-7.1.7-3
// norm: RFC6455-7.1.7-4
#[test]
fn a_violation_ends_its_connection_with_a_code_and_what_follows_is_dropped() {
    let gateway = gateway();
    let mut neighbour = open(&gateway);
    let wrong: [(&str, &[u8], u16); 12] = [
        ("unmasked", &[0x81, 0x01, b'x'], 1002),
        ("reserved bit", &[0x91, 0x80, 0, 0, 0, 0], 1002),
        ("compressed without agreement", &[0xc1, 0x80, 0, 0, 0, 0], 1002),
        ("reserved opcode", &[0x87, 0x80, 0, 0, 0, 0], 1002),
        ("reserved control opcode", &[0x8b, 0x80, 0, 0, 0, 0], 1002),
        ("highest bit of the length", &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1002),
        ("length not the shortest", &[0x82, 0xfe, 0, 1, 0, 0, 0, 0, 0], 1002),
        ("control frame in fragments", &[0x09, 0x80, 0, 0, 0, 0], 1002),
        ("message within a message", &[0x01, 0x80, 0, 0, 0, 0, 0x81, 0x80, 0, 0, 0, 0], 1002),
        ("control frame too long", &[0x89, 0xfe, 0, 126, 0, 0, 0, 0], 1002),
        ("close code that stands for none", &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xed], 1002),
        ("half a character", &[0x81, 0x81, 0, 0, 0, 0, 0xc3], 1007),
    ];
    for (what, bytes, code) in wrong {
        let mut client = open(&gateway);
        let mut said = bytes.to_vec();
        write::ping(&mut said, b"behind", KEY);
        text(&mut said, "behind");
        client.say_bytes(&said);
        let heard = client.hear();
        assert!(
            matches!(heard, Heard::Close(Some(found), _) if found == code),
            "{what}: {heard:?}"
        );
        assert_eq!(client.hear(), Heard::End, "{what}");
    }
    neighbour.say_text("undisturbed");
    // On a slow machine it has been asked meanwhile whether it is there.
    let heard = loop {
        match neighbour.hear() {
            Heard::Ping(_) => {}
            other => break other,
        }
    };
    assert_eq!(heard, Heard::Text("undisturbed".into()));
    until("every one of them is counted", || {
        let counted =
            gateway.metric("hawser_gateway_closed_connections_total{reason=\"protocol\"}");
        (counted == wrong.len() as f64).then_some(())
    });
}

// norm: RFC6455-4.2.1-1
// norm: RFC6455-4.2.2-1
// norm: RFC6455-7.2.2-1
#[test]
fn a_handshake_that_is_none_is_answered_with_an_error_and_closed() {
    let gateway = gateway();
    let good = "Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let ask = |line: &str, from: &str, to: &str| {
        assert!(from.is_empty() || good.contains(from));
        ask(gateway.websocket(), &format!("{line}\r\n{}\r\n", good.replace(from, to)))
    };
    let get = "GET /echo HTTP/1.1";
    for (what, line, from, to, status) in [
        ("method", "POST /echo HTTP/1.1", "", "", "405"),
        ("HTTP/1.0", "GET /echo HTTP/1.0", "", "", "400"),
        ("no host", get, "Host: h\r\n", "", "400"),
        ("no upgrade", get, "Upgrade: websocket\r\n", "", "426"),
        ("no connection", get, "Connection: Upgrade\r\n", "", "400"),
        ("short key", get, "dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", "400"),
        ("version", get, "Version: 13", "Version: 8", "426"),
    ] {
        let answer = ask(line, from, to);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
        if what == "version" {
            assert!(answer.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{answer}");
        }
    }
}
