//! Logging in, coming back, falling silent, being replaced, being slow.

use std::time::{SystemTime, UNIX_EPOCH};

use hawser_codec::code;
use hawser_tests::{
    company::{Neighbours, random_name, until},
    process::{Home, Setup},
    raw::{RawClient, hello, request},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

const TOKEN: &str = "a-token-of-alice-1234";
const SECRET: &str = "a shared secret of at least 32 bytes";

/// Longer than any test waits: what ends a session is not the handshake's timer.
const HANDSHAKE_MS: u32 = 120_000;

fn with_tokens(home: &Home) -> Setup {
    let file = home.write("tokens.toml", &format!("\"{TOKEN}\" = \"alice\"\n"));
    Setup::new().argument("--auth").argument("token").setting("auth.token_file", file.display())
}

#[test]
fn login_needs_the_users_own_token() {
    let home = Home::new();
    let gateway = with_tokens(&home).start_in(home);
    for (user, token, allowed) in [
        ("alice", TOKEN, true),
        ("alice", "", false),
        ("alice", "a-token-of-alice-1235", false),
        ("bob", TOKEN, false),
    ] {
        let mut hello = hello(user, "phone");
        hello.token = token;
        let mut client = RawClient::greet(gateway.native(), &hello);
        if allowed {
            client.welcome();
        } else {
            assert_eq!(client.farewell().code, code::UNAUTHENTICATED, "{user} with `{token}`");
        }
    }
}

#[test]
fn resume_token_brings_a_device_back_without_its_login_also_after_a_kill() {
    let home = Home::new();
    let mut gateway = with_tokens(&home).start_in(home);
    let mut first = hello("alice", "phone");
    first.token = TOKEN;
    let mut client = RawClient::greet(gateway.native(), &first);
    let welcome = client.welcome();
    client.deliver(&request(1, "bob", b"before"));
    assert_eq!(client.pushed().number, 1);

    let mut resume = hello("", "");
    resume.resume_token = &welcome.resume_token;
    let mut back = RawClient::greet(gateway.native(), &resume);
    let again = back.welcome();
    assert_eq!(client.farewell().code, code::TIMEOUT, "it is the same client, come back");
    assert_eq!(again.head, 1);
    back.deliver(&request(2, "bob", b"after"));

    gateway.kill();
    gateway.restart();
    resume.resume_token = &again.resume_token;
    let mut back = RawClient::greet(gateway.native(), &resume);
    assert!(back.welcome().head >= 1);

    let mut forged = again.resume_token.clone();
    let middle = forged.len() / 2;
    forged[middle] ^= 1;
    resume.resume_token = &forged;
    let mut stranger = RawClient::greet(gateway.native(), &resume);
    assert_eq!(stranger.farewell().code, code::UNAUTHENTICATED);
    back.settle();
}

#[test]
fn resume_token_dies_with_its_lifetime() {
    let gateway = Setup::new().setting("auth.resume_lifetime_s", 10).start();
    let (_, welcome) = RawClient::login(gateway.native(), "alice", "phone");
    let mut resume = hello("", "");
    resume.resume_token = &welcome.resume_token;
    RawClient::greet(gateway.native(), &resume).welcome();
    let refused = until("the token's end", || {
        let mut client = RawClient::greet(gateway.native(), &resume);
        client.take("answer", |_, message| match message {
            hawser_codec::message::Message::Error(error) => Some(Some(error.code)),
            hawser_codec::message::Message::Welcome(_) => Some(None),
            _ => None,
        })
    });
    assert_eq!(refused, code::TOKEN_EXPIRED);
}

#[test]
fn signed_token_is_checked_for_key_algorithm_name_and_time() {
    let home = Home::new();
    let key = home.write("jwt.key", SECRET);
    let gateway = Setup::new()
        .argument("--auth")
        .argument("jwt")
        .setting("auth.jwt_key_file", key.display())
        .start_in(home);
    let now = now_s();
    let sign = |secret: &str, algorithm, claims| {
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).expect("claims are plain")
    };
    let good = sign(SECRET, Algorithm::HS256, json!({"sub": "alice", "exp": now + 3600}));
    let forged = sign(
        "another secret of at least 32 bytes!",
        Algorithm::HS256,
        json!({"sub": "alice", "exp": now + 3600}),
    );
    let foreign = sign(SECRET, Algorithm::HS512, json!({"sub": "alice", "exp": now + 3600}));
    let expired = sign(SECRET, Algorithm::HS256, json!({"sub": "alice", "exp": now - 10}));
    let eternal = sign(SECRET, Algorithm::HS256, json!({"sub": "alice"}));
    let others = sign(SECRET, Algorithm::HS256, json!({"sub": "bob", "exp": now + 3600}));
    for (what, token, refused) in [
        ("good", &good, None),
        ("forged", &forged, Some(code::UNAUTHENTICATED)),
        ("of another algorithm", &foreign, Some(code::UNAUTHENTICATED)),
        ("expired", &expired, Some(code::TOKEN_EXPIRED)),
        ("without an end", &eternal, Some(code::UNAUTHENTICATED)),
        ("of somebody else", &others, Some(code::UNAUTHENTICATED)),
        ("no token at all", &"garbage".to_owned(), Some(code::UNAUTHENTICATED)),
    ] {
        let mut hello = hello("alice", "phone");
        hello.token = token;
        let mut client = RawClient::greet(gateway.native(), &hello);
        match refused {
            None => drop(client.welcome()),
            Some(code) => assert_eq!(client.farewell().code, code, "{what}"),
        }
    }
}

#[test]
fn session_ends_when_its_signed_token_does() {
    let home = Home::new();
    let key = home.write("jwt.key", SECRET);
    let gateway = Setup::new()
        .argument("--auth")
        .argument("jwt")
        .setting("auth.jwt_key_file", key.display())
        .setting("limits.handshake_timeout_ms", HANDSHAKE_MS)
        .start_in(home);
    let login = |user: &str, lifetime_s: u64| {
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let claims = json!({"sub": user, "exp": now_s() + lifetime_s});
        let token = jsonwebtoken::encode(&Header::default(), &claims, &key).expect("plain claims");
        let mut hello = hello(user, "phone");
        hello.token = &token;
        let mut client = RawClient::greet(gateway.native(), &hello);
        client.welcome();
        client
    };
    let mut lasting = login("bob", 3600);
    let mut ending = login("alice", 3);
    assert_eq!(ending.farewell().code, code::TOKEN_EXPIRED);
    lasting.settle();
}

#[test]
fn later_login_of_a_device_replaces_the_earlier_and_only_that() {
    let gateway = Setup::new().start();
    let mut neighbours = Neighbours::new(gateway.native(), "replace");
    let alice = random_name();
    let (mut earlier, _) = RawClient::login(gateway.native(), &alice, "phone");
    let (mut desk, _) = RawClient::login(gateway.native(), &alice, "desk");
    // Another program under the same device name: it draws an incarnation of its own.
    let mut greeting = hello(&alice, "phone");
    greeting.incarnation = 2;
    let mut later = RawClient::greet(gateway.native(), &greeting);
    later.welcome();
    let farewell = earlier.farewell();
    assert_eq!((farewell.code, farewell.retry_after_ms), (code::REPLACED, 0));
    later.deliver(&request(1, &random_name(), b"still here"));
    assert_eq!(later.pushed().number, 1);
    assert_eq!(desk.pushed().number, 1);
    neighbours.chat();
}

#[test]
fn client_overtaken_by_its_own_late_hello_comes_back_and_stays() {
    let gateway = Setup::new().workers(2).start();
    let alice = random_name();
    let (mut newer, _) = RawClient::login(gateway.native(), &alice, "phone");
    // What a hello looks like that was long under way: the same client, behind its own login.
    let (mut late, _) = RawClient::login(gateway.native(), &alice, "phone");
    assert_eq!(newer.farewell().code, code::TIMEOUT, "which says: come back");
    let (mut back, _) = RawClient::login(gateway.native(), &alice, "phone");
    assert_eq!(late.farewell().code, code::TIMEOUT);
    back.deliver(&request(1, &random_name(), b"still here"));
    assert_eq!(back.pushed().number, 1);
}

#[test]
fn silent_client_is_closed_after_its_heartbeat_and_only_that() {
    let gateway = Setup::new()
        .setting("heartbeat.grace_s", 1)
        .setting("limits.handshake_timeout_ms", HANDSHAKE_MS)
        .start();
    let mut neighbours = Neighbours::new(gateway.native(), "silent");
    let greet = |heartbeat_s| {
        let name = random_name();
        let mut hello = hello(&name, "phone");
        hello.heartbeat_s = heartbeat_s;
        let mut client = RawClient::greet(gateway.native(), &hello);
        assert_eq!(client.welcome().heartbeat_s, heartbeat_s);
        client
    };
    let mut silent = greet(5);
    let mut patient = greet(60);
    let farewell = silent.farewell();
    assert_eq!(farewell.code, code::TIMEOUT);
    assert!(farewell.text.contains("heartbeat"), "{}", farewell.text);
    patient.settle();
    neighbours.chat();
}

#[test]
fn reader_that_does_not_acknowledge_is_told_the_head_and_reads_pages_until_it_has_caught_up() {
    let gateway = Setup::new().setting("router.notify_timeout_ms", 300).start();
    let mut neighbours = Neighbours::new(gateway.native(), "late");
    let (alice, bob) = (random_name(), random_name());
    let (mut sender, _) = RawClient::login(gateway.native(), &alice, "phone");
    let (mut reader, _) = RawClient::login(gateway.native(), &bob, "phone");
    sender.deliver(&request(1, &bob, b"one"));
    assert_eq!(reader.pushed().number, 1);
    // After T a head, after 2T another and nothing more: cursor mode.
    assert_eq!((reader.head(), reader.head()), (1, 1));
    neighbours.chat();
    sender.deliver(&request(2, &bob, b"two"));
    sender.deliver(&request(3, &bob, b"three"));
    reader.settle();
    let (entries, page) = until("all three", || {
        let (entries, page) = reader.page(0, 100);
        (entries.len() == 3).then_some((entries, page))
    });
    let bodies: Vec<_> = entries.iter().map(|entry| entry.body.as_slice()).collect();
    assert_eq!(bodies, [b"one".as_slice(), b"two", b"three"]);
    assert!(!page.more);
    // The page reached the head: pushing begins again.
    reader.confirm(3);
    sender.deliver(&request(4, &bob, b"four"));
    let pushed = reader.pushed();
    assert_eq!((pushed.number, pushed.body.as_slice()), (4, b"four".as_slice()));
}

#[test]
fn reader_that_takes_no_bytes_holds_up_nobody_and_misses_nothing() {
    const MESSAGES: u64 = 250;
    let gateway = Setup::new().setting("router.notify_timeout_ms", 600_000).start();
    let mut neighbours = Neighbours::new(gateway.native(), "stuck");
    let (alice, bob) = (random_name(), random_name());
    let (mut sender, _) = RawClient::login(gateway.native(), &alice, "phone");
    let (mut reader, _) = RawClient::login(gateway.native(), &bob, "phone");
    // More than the sockets' buffers and the outbound mark hold together.
    for number in 1..=MESSAGES {
        let mut body = vec![number as u8; 60_000];
        body[..8].copy_from_slice(&number.to_le_bytes());
        sender.deliver(&request(number, &bob, &body));
        if number % 50 == 0 {
            neighbours.chat();
        }
    }
    assert!(gateway.metric("hawser_gateway_outbound_stalls") > 0.0, "it became a cursor");
    let head = reader.head();
    assert!(head <= MESSAGES);
    let mut seen = Vec::new();
    while let Some(entry) = reader.pushed_already() {
        seen.push(entry);
    }
    assert!((seen.len() as u64) < MESSAGES);
    let mut cursor = seen.last().map_or(0, |entry| entry.number);
    while cursor < MESSAGES {
        let (entries, _) = reader.page(cursor, 100);
        cursor = entries.last().map_or(cursor, |entry| entry.number);
        seen.extend(entries);
    }
    assert_eq!(seen.len() as u64, MESSAGES);
    for (entry, number) in seen.iter().zip(1_u64..) {
        assert_eq!((entry.number, entry.sequence), (number, number));
        assert_eq!(entry.body[..8], number.to_le_bytes());
    }
    neighbours.chat();
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}
