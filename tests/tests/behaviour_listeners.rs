//! Listeners: one port for all protocols, PROXY headers from those who may send them, and the texts
//! that a wrong configuration is refused with.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::process::ExitStatusExt as _,
    process::Command,
};

use hawser_codec::{
    code,
    frame::PREFACE,
    message::{Hello, Message},
};
use hawser_tests::{
    company::{random_name, until},
    process::{Gateway, Home, PATIENCE, Setup},
    raw::{RawClient, hello},
    websocket::{self, WebSocketClient, Wish},
};
use rustix::process::Signal;

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 7900\r\n";

/// Version 2, for the same client over IPv6.
fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    for last in [7, 1] {
        header.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    header.extend(4711_u16.to_be_bytes());
    header.extend(7900_u16.to_be_bytes());
    header
}

/// Version 2, LOCAL: the balancer asks for itself.
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// `[[listener]]` of this kind with these lines.
fn listener(kind: &str, address: SocketAddr, lines: &str) -> String {
    format!("[[listener]]\nkind = \"{kind}\"\naddress = \"{address}\"\n{lines}\n")
}

/// A gateway with what stands in a file, and nothing else to listen on but the admin address.
fn setup(home: &Home, file: &str) -> Setup {
    let file = home.write("hawser.toml", file);
    Setup::new().without_listeners().argument("--config").argument(file.display().to_string())
}

/// A certificate for this name, as `certs/NAME.pem` with its key; gives the directory.
fn certificate(home: &Home, name: &str) -> String {
    let directory = home.data_dir().with_file_name("certs");
    std::fs::create_dir_all(&directory).expect("it can be made");
    let at = |file: &str| directory.join(file).display().to_string();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "30", "-subj", &format!("/CN={name}")])
        .args(["-addext", &format!("subjectAltName=DNS:{name}")])
        .args(["-keyout", &at("only.key"), "-out", &at("only.pem")])
        .output()
        .expect("it is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    directory.display().to_string()
}

fn curl(arguments: &[&str]) -> String {
    let run = Command::new("curl")
        .args(["--silent", "--show-error", "--insecure", "--max-time", "30"])
        .args(arguments)
        .output()
        .expect("it is installed");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8_lossy(&run.stdout).into_owned()
}

/// CONNECT of MQTT 3.1.1, with a client id of four letters; then what comes first.
#[track_caller]
fn connect_mqtt(mut socket: TcpStream) {
    let connect = b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04lamp";
    socket.write_all(connect).expect("it is taken");
    let mut answer = [0; 4];
    socket.read_exact(&mut answer).expect("it is answered");
    assert_eq!(answer, [0x20, 2, 0, 0], "no CONNACK");
}

/// Reads until the other side ends the connection.
fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = socket.read_to_end(&mut rest);
    rest
}

const HEALTHZ: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[test]
fn one_port_serves_every_protocol_with_and_without_tls() {
    let home = Home::new();
    let at = home.spare[0];
    let certs = certificate(&home, "hawser.test");
    let file = listener("any", at, "tls = true") + &format!("[tls]\ncertificates = \"{certs}\"\n");
    let gateway = setup(&home, &file).start_in(home);

    let (_native, _) = RawClient::login(at, &random_name(), "phone");
    let wish = Wish::of("/ws", &["hawser.v1"]);
    let browser = WebSocketClient::open(at, &wish).unwrap();
    assert_eq!(browser.protocol.as_deref(), Some("hawser.v1"));
    let things = websocket::connect(at);
    connect_mqtt(things.try_clone().unwrap());
    assert!(websocket::ask(at, HEALTHZ).ends_with("\r\n\r\nok\n"));
    assert_eq!(curl(&[&format!("https://{at}/healthz")]), "ok\n");

    until("each protocol counted as what it is", || {
        let of = |protocol: &str| {
            gateway.metric(&format!("hawser_gateway_connections{{protocol=\"{protocol}\""))
        };
        (of("native") == 1.0 && of("mqtt") == 1.0).then_some(())
    });
    // Nobody's opening, and half of one.
    for bytes in [&b"\0\0\0\0"[..], b"\x80\x2e\x01\x03", b"hello"] {
        let mut stranger = websocket::connect(at);
        stranger.write_all(bytes).unwrap();
        assert_eq!(rest(&mut stranger), b"", "{bytes:x?}");
    }
    let mut slow = websocket::connect(at);
    for byte in HEALTHZ.replace("GET", "POST").into_bytes() {
        slow.write_all(&[byte]).unwrap();
    }
    assert!(rest(&mut slow).starts_with(b"HTTP/1.1 405 "), "the first byte, P, was lost");
}

/// A gateway that asks for tokens, with listeners of three kinds behind a proxy of these addresses.
fn behind_proxy(from: &str) -> Gateway {
    let home = Home::new();
    let [native, any, websocket, ..] = home.spare;
    let file = listener("native", native, "proxy = true")
        + &listener("any", any, "proxy = true")
        + &listener("websocket", websocket, "proxy = true")
        + &format!("[proxy]\nfrom = [\"{from}\"]\n")
        + "[auth]\nkind = \"token\"\n[auth.tokens]\n\"a-token-of-ann-only\" = \"ann\"\n";
    setup(&home, &file).start_in(home)
}

fn ann(token: &str) -> Hello<'_> {
    Hello { token, ..hello("ann", "phone") }
}

#[test]
fn headers_of_both_versions_are_taken_from_those_who_may_send_them() {
    let gateway = behind_proxy("127.0.0.0/8");
    let [native, any, websocket, ..] = gateway.home().spare;
    for at in [native, any] {
        for header in [V1, &v2(), V2_LOCAL, b"PROXY UNKNOWN\r\n"] {
            // At once, and byte by byte.
            for step in [header.len(), 1] {
                let mut client = RawClient::connect(at);
                header.chunks(step).for_each(|part| client.say(part));
                client.say(&PREFACE);
                client.tell(&Message::Hello(ann("a-token-of-ann-only")));
                client.welcome();
            }
        }
    }
    let request = format!("{}{HEALTHZ}", String::from_utf8_lossy(V1));
    assert!(websocket::ask(websocket, &request).ends_with("\r\n\r\nok\n"));
    let url = format!("http://{websocket}/healthz");
    assert_eq!(curl(&["--haproxy-protocol", &url]), "ok\n");
}

#[test]
fn who_is_refused_stands_in_the_log_with_the_address_behind_the_proxy() {
    let gateway = behind_proxy("127.0.0.1");
    let native = gateway.home().spare[0];
    for (header, client) in [(V1, "192.0.2.7:4711"), (&v2(), "[2001:db8::7]:4711")] {
        let mut guesser = RawClient::connect(native);
        guesser.say(header);
        guesser.say(&PREFACE);
        guesser.tell(&Message::Hello(ann("not-a-token-of-anns")));
        assert_eq!(guesser.farewell().code, code::UNAUTHENTICATED);
        gateway.wait_for_line(&format!("client={client}"));
    }
    assert!(!gateway.said().contains("client=127."), "{}", gateway.said());
    // The balancer itself, where it has not said whose connection it is.
    let mut silent = websocket::connect(native);
    silent.write_all(&PREFACE).unwrap();
    assert_eq!(rest(&mut silent), b"");
    gateway.wait_for_line("client=127.0.0.1:");
    gateway.wait_for_line("is not of a PROXY header");
}

#[test]
fn nobody_else_gets_through_a_listener_behind_a_proxy() {
    let gateway = behind_proxy("192.0.2.0/24");
    let [native, any, websocket, ..] = gateway.home().spare;
    for at in [native, any, websocket] {
        for first in [V1, &v2(), &PREFACE, HEALTHZ.as_bytes()] {
            // It may be reset before it is told that it is connected, or at any moment after.
            let Ok(mut stranger) = TcpStream::connect_timeout(&at, PATIENCE) else { continue };
            stranger.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
            let _ = stranger.write_all(first);
            assert_eq!(rest(&mut stranger), b"");
        }
    }
    gateway.wait_for_line("no PROXY header is taken from this address");
    until("they are counted", || {
        let denied = "hawser_gateway_closed_connections_total{reason=\"denied\"";
        (gateway.metric(denied) == 12.0).then_some(())
    });
}

#[test]
fn a_header_that_is_wrong_or_not_expected_costs_its_own_connection_only() {
    let gateway = behind_proxy("127.0.0.0/8");
    let native = gateway.home().spare[0];
    let damaged = {
        let mut header = v2();
        header[13] = 0x51;
        header
    };
    let endless = [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat();
    for wrong in [&b"PROXY TCP4 192.0.2.7 1 2\r\n"[..], &damaged, &endless, b"GET / HTTP/1.1\r\n"] {
        let mut client = websocket::connect(native);
        client.write_all(wrong).unwrap();
        assert_eq!(rest(&mut client), b"", "{wrong:x?}");
    }
    assert!(!gateway.said().contains("panicked"), "{}", gateway.said());

    let plain = Setup::new().start();
    let mut client = RawClient::connect(plain.native());
    client.say(V1);
    assert_eq!(client.farewell().code, code::MALFORMED);
    let answer = websocket::ask(plain.websocket(), &String::from_utf8_lossy(V1));
    // The line has no version of HTTP.
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
}

#[test]
fn every_http_listener_says_that_it_lives() {
    let home = Home::new();
    let [plain, secret, any, ..] = home.spare;
    let certs = certificate(&home, "hawser.test");
    let file = listener("websocket", plain, "")
        + &listener("websocket", secret, "tls = true")
        + &listener("any", any, "")
        + &format!("[tls]\ncertificates = \"{certs}\"\n");
    let _gateway = setup(&home, &file).start_in(home);
    for url in [format!("http://{plain}"), format!("https://{secret}"), format!("http://{any}")] {
        assert_eq!(curl(&[&format!("{url}/healthz")]), "ok\n");
    }
}

#[test]
fn a_wrong_configuration_is_refused_before_anything_is_opened() {
    let home = Home::new();
    let certs = certificate(&home, "hawser.test");
    let directory = home.data_dir().with_file_name("certs");
    let secret = listener("mqtt", home.spare[0], "tls = true");
    let with = |certificates: &str| format!("{secret}[tls]\ncertificates = {certificates}\n");
    let pair = |chain: &str, key: &str| {
        with(&format!("[{{ chain = \"{certs}/{chain}\", key = \"{certs}/{key}\" }}]"))
    };
    std::fs::create_dir_all(directory.join("empty")).unwrap();
    for (file, words) in [
        (secret.clone(), ["listener.tls", "tls.certificates"]),
        (with("\"/nowhere\""), ["tls.certificates", "/nowhere"]),
        (with(&format!("\"{certs}/empty\"")), ["tls.certificates", "NAME.key"]),
        (pair("missing.pem", "only.key"), ["tls.certificates", "missing.pem"]),
        (pair("only.pem", "only.pem"), ["tls.certificates", "no private key"]),
        (pair("only.key", "only.key"), ["tls.certificates", "no certificate"]),
        (listener("mqtt", home.spare[0], "proxy = true"), ["listener.proxy", "proxy.from"]),
        (listener("http", home.spare[0], ""), ["listener.kind", "native, websocket, mqtt, any"]),
        (listener("any", "0.0.0.0:7999".parse().unwrap(), ""), ["listener.address", "--insecure"]),
    ] {
        for flag in [None, Some("--check-config")] {
            let mut setup = setup(&home, &file);
            if let Some(flag) = flag {
                setup = setup.argument(flag);
            }
            setup.refused_in(&home).assert(1, &words);
        }
    }
    let good = setup(&home, &with(&format!("\"{certs}\""))).argument("--check-config");
    let outcome = good.refused_in(&home);
    assert_eq!(outcome.code, Some(0), "{}", outcome.said);
    assert!(!home.data_dir().exists(), "a refused start, or a check, made a file");
}

#[test]
fn a_reload_by_the_admin_port_shows_a_new_certificate_and_refuses_a_bad_one() {
    let home = Home::new();
    let at = home.spare[0];
    let admin = home.admin;
    let certs = certificate(&home, "first.test");
    let chain = home.data_dir().with_file_name("certs").join("only.pem");
    let key_file = home.data_dir().join("admin.key");
    let file =
        listener("websocket", at, "tls = true") + &format!("[tls]\ncertificates = \"{certs}\"\n");
    let gateway = setup(&home, &file).start_in(home);
    let shown = || {
        let shell = format!(
            "openssl s_client -connect {at} </dev/null 2>/dev/null | openssl x509 -noout -subject"
        );
        let run = Command::new("sh").args(["-c", &shell]).output().expect("it is installed");
        String::from_utf8_lossy(&run.stdout).into_owned()
    };
    let url = format!("http://{admin}/v1/reload");
    let ask = |key: &str| {
        curl(&["--request", "POST", "--header", &format!("Authorization: Bearer {key}"), &url])
    };
    let key = std::fs::read_to_string(&key_file).unwrap();
    assert!(shown().contains("first.test"), "{}", shown());

    certificate(gateway.home(), "second.test");
    assert!(ask("some-other-key-of-16").contains("error"));
    assert!(shown().contains("first.test"), "{}", shown());
    let answer = ask(key.trim());
    assert!(answer.contains("\"reloaded\":true") && answer.contains("\"restart_needed\":false"));
    until("the new certificate is shown", || shown().contains("second.test").then_some(()));

    std::fs::write(&chain, "nothing of use").unwrap();
    let answer = ask(key.trim());
    assert!(answer.contains("\"reloaded\":false") && answer.contains("only.pem"), "{answer}");
    assert!(shown().contains("second.test"), "{}", shown());
}

#[test]
fn a_crash_leaves_no_memory_behind_unless_that_is_allowed() {
    let dumps = |allowed: bool| {
        let home = Home::new();
        let here = home.data_dir().with_file_name("").display().to_string();
        let script = format!("ulimit -c unlimited; cd {here}; exec \"$@\"");
        let mut gateway = Setup::new()
            .setting("limits.core_dumps", allowed)
            .under(&["sh", "-c", &script, "sh"])
            .start_in(home);
        // The one that is no fault of memory: of those the runtime looks whether a stack has
        // overflown, and goes on if nothing has.
        gateway.signal(Signal::ABORT);
        let status = gateway.wait();
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
        status.core_dumped()
    };
    assert!(!dumps(false));
    // Whether one is written then is the machine's affair; it is how the check is known to see.
    if !dumps(true) {
        eprintln!("this machine writes no core dumps at all");
    }
}
