//! Tickets that another gateway with the same key file opens.

#![allow(missing_docs, clippy::unwrap_used)]

mod peer;

use hawser_tls::{ClientCertificates, Handshake, Kind, Listening, Material, Progress, TicketKeys};
use peer::{Authority, Issued, NOW_S, Side, Wishes, client, give, material, pem, sent_by, shake};
use rustls::{
    ClientConfig,
    version::{TLS12, TLS13},
};
use std::sync::Arc;

fn gateway(issued: &Issued, keys: &str, lifetime_s: u32) -> Listening {
    let certificates = [issued.pem()];
    let ticket_keys = Some(pem("ticket.keys", keys));
    let material =
        Material { ticket_keys, ticket_lifetime_s: lifetime_s, ..material(&certificates) };
    Listening::new(&material, &[], NOW_S).unwrap()
}

fn visit(config: &Arc<ClientConfig>, gateway: &Listening) -> Kind {
    let mut client = client(config, "chat.example");
    let mut side = Side::new(gateway);
    shake(&mut side, &mut client).unwrap();
    let sealed = peer::says(&mut client, b"hello");
    side.take(&sealed).unwrap();
    assert_eq!(side.plain, b"hello");
    side.finished().agreed.kind
}

#[test]
fn a_client_resumes_at_another_gateway_with_the_same_file() {
    let authority = Authority::new("tests");
    let issued = authority.issue(&["chat.example"]);
    let (file, other_file) = (TicketKeys::new_file(), TicketKeys::new_file());
    for version in [&TLS12, &TLS13] {
        let (one, two) = (gateway(&issued, &file, 3600), gateway(&issued, &file, 3600));
        let stranger = gateway(&issued, &other_file, 3600);
        let config = Wishes::of(version).config(&authority);
        assert_eq!(visit(&config, &one), Kind::Full);
        assert_eq!(visit(&config, &two), Kind::Resumed);
        assert_eq!(visit(&config, &one), Kind::Resumed);
        assert_eq!(visit(&config, &stranger), Kind::Full);
    }
}

#[test]
fn a_rotated_file_still_opens_what_the_old_key_sealed() {
    let authority = Authority::new("tests");
    let issued = authority.issue(&["chat.example"]);
    let old = TicketKeys::new_file();
    let key = |file: &str| file.lines().nth(1).unwrap().to_owned();
    let new = TicketKeys::new_file();
    let rotated = format!("{}{}\n", new.as_str(), key(&old));
    for version in [&TLS12, &TLS13] {
        let config = Wishes::of(version).config(&authority);
        assert_eq!(visit(&config, &gateway(&issued, &old, 3600)), Kind::Full);
        assert_eq!(visit(&config, &gateway(&issued, &rotated, 3600)), Kind::Resumed);
        // What was sealed by then is the new key's.
        let fresh = Wishes::of(version).config(&authority);
        assert_eq!(visit(&fresh, &gateway(&issued, &rotated, 3600)), Kind::Full);
        assert_eq!(visit(&fresh, &gateway(&issued, &new, 3600)), Kind::Resumed);
    }
}

#[test]
fn a_ticket_opens_for_its_lifetime_only() {
    let authority = Authority::new("tests");
    let issued = authority.issue(&["chat.example"]);
    let file = TicketKeys::new_file();
    let gateway = gateway(&issued, &file, 600);
    for (version, later_s, kind) in [
        (&TLS12, 600, Kind::Resumed),
        (&TLS12, 601, Kind::Full),
        (&TLS13, 600, Kind::Resumed),
        (&TLS13, 601, Kind::Full),
    ] {
        let config = Wishes::of(version).config(&authority);
        assert_eq!(visit(&config, &gateway), Kind::Full);
        let mut client = client(&config, "chat.example");
        let mut handshake = Handshake::start(&gateway).unwrap();
        let finished = loop {
            let mut out = Vec::new();
            handshake.hold(&sent_by(&mut client)).unwrap();
            let progress = handshake.run(NOW_S + later_s, &mut out).unwrap();
            give(&mut client, &out).unwrap();
            if progress == Progress::Done {
                break handshake.finish().unwrap();
            }
        };
        assert_eq!(finished.agreed.kind, kind, "{later_s} s later");
    }
}

#[test]
fn a_ticket_does_not_get_around_a_client_certificate() {
    let authority = Authority::new("tests");
    let issued = authority.issue(&["chat.example"]);
    let file = TicketKeys::new_file();
    let roots = authority.pem();
    let certificates = [issued.pem()];
    let strict = Material {
        clients: ClientCertificates::Required(pem("clients.pem", &roots)),
        ticket_keys: Some(pem("ticket.keys", &file)),
        ..material(&certificates)
    };
    let strict = Listening::new(&strict, &[], NOW_S).unwrap();
    for version in [&TLS12, &TLS13] {
        let config = Wishes::of(version).config(&authority);
        assert_eq!(visit(&config, &gateway(&issued, &file, 3600)), Kind::Full);
        let mut client = client(&config, "chat.example");
        assert!(shake(&mut Side::new(&strict), &mut client).is_err());
    }
    // Who has shown one resumes without showing it again, and is still known.
    for version in [&TLS12, &TLS13] {
        let certificate = Some(authority.issue(&["device-7"]));
        let config = Wishes { certificate, ..Wishes::of(version) }.config(&authority);
        assert_eq!(visit(&config, &strict), Kind::Full);
        let mut client = client(&config, "chat.example");
        let mut side = Side::new(&strict);
        shake(&mut side, &mut client).unwrap();
        assert_eq!(side.finished().agreed.kind, Kind::Resumed);
        assert!(side.finished().agreed.client.is_some());
    }
}

#[test]
fn a_key_file_is_refused_with_its_fault() {
    let key = "ab".repeat(32);
    let many = format!("hawser ticket keys 1\n{}", format!("{key}\n").repeat(10));
    for (text, words) in [
        ("", "ticket.keys does not begin with the line `hawser ticket keys 1`"),
        ("hawser ticket keys 1\n", "ticket.keys holds no key"),
        (
            "hawser ticket keys 1\nabcd\n",
            "ticket.keys has a line that is not 64 hexadecimal digits",
        ),
        (&many, "ticket.keys holds more than 9 keys"),
    ] {
        let refused = TicketKeys::parse(pem("ticket.keys", text)).err().unwrap();
        assert_eq!(refused.to_string(), words);
    }
    assert!(TicketKeys::parse(pem("ticket.keys", &TicketKeys::new_file())).is_ok());
}
