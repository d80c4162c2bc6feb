//! Handshakes against rustls as client: how bytes are cut must never matter.

#![allow(missing_docs, clippy::unwrap_used)]

mod peer;

use std::sync::Arc;

use hawser_tls::{
    Alert, Alpn, ClientCertificates, Handshake, Kind, Material, Opened, Reason, TicketKeys,
    Version, Versions,
};
use peer::{
    Authority, Side, Wishes, client, connected, give, listening, material, pem, says, sent_by,
    shake,
};
use rustls::{
    AlertDescription, ClientConfig, NamedGroup,
    crypto::aws_lc_rs::{cipher_suite, kx_group},
    version::{TLS12, TLS13},
};

#[test]
fn each_suite_carries_bytes_both_ways() {
    let authority = Authority::new("tests");
    let issued = authority.issue(&["chat.example"]);
    let listening = listening(&material(&[issued.pem()]));
    let suites = [
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    for suite in suites {
        let versions = vec![suite.version()];
        let wishes = Wishes { suites: vec![suite], versions, ..Wishes::default() };
        let mut client = client(&wishes.config(&authority), "chat.example");
        let mut side = Side::new(&listening);
        shake(&mut side, &mut client).unwrap();
        for bytes in [1, 100, 16_384, 16_385, 40_000] {
            let text = vec![b'x'; bytes];
            side.plain.clear();
            let sealed = says(&mut client, &text);
            side.take(&sealed).unwrap();
            assert_eq!(side.plain, text, "{suite:?}");
            let sealed = side.seal(&text);
            assert!(sealed.len() <= hawser_tls::sealed_bytes_max(bytes));
            assert_eq!(give(&mut client, &sealed).unwrap(), text, "{suite:?}");
        }
    }
}

/// A handshake up to the last flight of the client, which comes with three records behind it.
fn last_flight(config: &Arc<ClientConfig>, side: &mut Side) -> Vec<u8> {
    let mut client = client(config, "chat.example");
    for _ in 0..4 {
        let mut flight = sent_by(&mut client);
        if !client.is_handshaking() {
            for text in ["one", "two", "three"] {
                flight.extend(says(&mut client, text.as_bytes()));
            }
            return flight;
        }
        let answer = side.take(&flight).unwrap();
        give(&mut client, &answer).unwrap();
    }
    panic!("the client does not finish");
}

#[test]
fn wherever_the_finished_and_three_records_are_split_nothing_is_lost() {
    let authority = Authority::new("tests");
    let issued = authority.issue(&["chat.example"]);
    let certificates = [issued.pem()];
    let file = TicketKeys::new_file();
    let ticket_keys = Some(pem("ticket.keys", &file));
    let listening = listening(&Material { ticket_keys, ..material(&certificates) });
    // A client of TLS 1.2 has the last word of a handshake only when it resumes.
    for version in [&TLS13, &TLS12] {
        let config = Wishes::of(version).config(&authority);
        let mut first = client(&config, "chat.example");
        shake(&mut Side::new(&listening), &mut first).unwrap();
        let bytes = last_flight(&config, &mut Side::new(&listening)).len();
        for split in 0..=bytes {
            let mut side = Side::new(&listening);
            let flight = last_flight(&config, &mut side);
            assert_eq!(flight.len(), bytes);
            side.take(&flight[..split]).unwrap();
            side.take(&flight[split..]).unwrap();
            assert_eq!(side.plain, b"onetwothree", "split at {split}");
            assert_eq!(side.finished().rest, b"", "split at {split}");
        }
    }
}

#[test]
fn one_byte_at_a_time_is_as_good_as_all_at_once() {
    for version in [&TLS12, &TLS13] {
        let authority = Authority::new("tests");
        let issued = authority.issue(&["chat.example"]);
        let listening = listening(&material(&[issued.pem()]));
        let mut client = client(&Wishes::of(version).config(&authority), "chat.example");
        let mut side = Side::new(&listening);
        while client.is_handshaking() {
            for byte in sent_by(&mut client) {
                let answer = side.take(&[byte]).unwrap();
                give(&mut client, &answer).unwrap();
            }
        }
        for bytes in [sent_by(&mut client), says(&mut client, b"hello")] {
            for byte in bytes {
                let answer = side.take(&[byte]).unwrap();
                give(&mut client, &answer).unwrap();
            }
        }
        assert_eq!(side.plain, b"hello");
        let sealed = side.seal(b"answer");
        let mut heard = Vec::new();
        for byte in sealed {
            heard.extend(give(&mut client, &[byte]).unwrap());
        }
        assert_eq!(heard, b"answer");
    }
}

#[test]
fn keys_change_at_the_wish_of_the_client_and_back() {
    let (mut side, mut client) = connected(&TLS13);
    for round in 0..3 {
        client.refresh_traffic_keys().unwrap();
        let sealed = says(&mut client, b"under a new key");
        side.plain.clear();
        side.take(&sealed).unwrap();
        assert_eq!(side.plain, b"under a new key", "round {round}");
        assert!(side.events.contains(&Opened::KeyUpdate));
        assert!(side.finished().record.owes_answer());
        let answer = side.answer();
        assert!(!answer.is_empty() && !side.finished().record.owes_answer());
        assert_eq!(give(&mut client, &answer).unwrap(), b"");
        let sealed = side.seal(b"under ours");
        assert_eq!(give(&mut client, &sealed).unwrap(), b"under ours", "round {round}");
    }
}

#[test]
fn a_state_that_was_written_down_goes_on_elsewhere() {
    for version in [&TLS12, &TLS13] {
        let (mut side, mut client) = connected(version);
        let sealed = says(&mut client, b"one");
        side.take(&sealed).unwrap();
        let moved = peer::changed(&side.finished().record, |_| ());
        side.finished().record = moved;
        let sealed = says(&mut client, b"two");
        side.take(&sealed).unwrap();
        assert_eq!(side.plain, b"onetwo");
        let sealed = side.seal(b"three");
        assert_eq!(give(&mut client, &sealed).unwrap(), b"three");
    }
}

#[test]
fn both_sides_can_close() {
    for version in [&TLS12, &TLS13] {
        let (mut side, mut client) = connected(version);
        client.send_close_notify();
        let sealed = sent_by(&mut client);
        side.take(&sealed).unwrap();
        assert_eq!(side.events.last(), Some(&Opened::CloseNotify));
        let mut out = Vec::new();
        let mut keys = hawser_tls::Keys::new(16);
        side.finished().record.close_notify(&mut keys, &mut out);
        client.read_tls(&mut out.as_slice()).unwrap();
        assert!(client.process_new_packets().unwrap().peer_has_closed());
    }
}

#[test]
fn the_offered_versions_and_groups_are_those_configured() {
    let authority = Authority::new("tests");
    let issued = authority.issue(&["chat.example"]);
    let certificates = [issued.pem()];
    for (post_quantum, group) in [(true, NamedGroup::X25519MLKEM768), (false, NamedGroup::X25519)] {
        let listening = listening(&Material { post_quantum, ..material(&certificates) });
        let mut client = client(&Wishes::default().config(&authority), "chat.example");
        shake(&mut Side::new(&listening), &mut client).unwrap();
        assert_eq!(client.negotiated_key_exchange_group().unwrap().name(), group);
    }
    let only13 = listening(&Material { versions: Versions::Only13, ..material(&certificates) });
    let mut old = client(&Wishes::of(&TLS12).config(&authority), "chat.example");
    let failure = shake(&mut Side::new(&only13), &mut old).unwrap_err();
    assert_eq!(failure.reason, Reason::Incompatible);
}

#[test]
fn a_client_without_our_group_is_asked_for_another() {
    let authority = Authority::new("tests");
    let issued = authority.issue(&["chat.example"]);
    let listening = listening(&material(&[issued.pem()]));
    let groups = vec![kx_group::SECP384R1, kx_group::X25519];
    let wishes = Wishes { groups, ..Wishes::default() };
    let mut client = client(&wishes.config(&authority), "chat.example");
    let mut side = Side::new(&listening);
    shake(&mut side, &mut client).unwrap();
    let sealed = says(&mut client, b"hello");
    side.take(&sealed).unwrap();
    assert_eq!(side.plain, b"hello");
}

#[test]
fn the_application_protocol_is_agreed_on_or_refused() {
    let authority = Authority::new("tests");
    let issued = authority.issue(&["chat.example"]);
    let listening = listening(&material(&[issued.pem()]));
    for (alpn, agreed) in [
        (vec![], Ok(None)),
        (vec!["h2", "http/1.1"], Ok(Some(Alpn::Http))),
        (vec!["mqtt"], Ok(Some(Alpn::Mqtt))),
        (vec!["http/1.1", "hawser"], Ok(Some(Alpn::Hawser))),
        (vec!["h2"], Err(Reason::Protocol)),
    ] {
        let wishes = Wishes { alpn, ..Wishes::default() };
        let mut client = client(&wishes.config(&authority), "chat.example");
        let mut side = Side::new(&listening);
        let outcome = shake(&mut side, &mut client)
            .map(|()| side.finished().agreed.alpn)
            .map_err(|failure| failure.reason);
        assert_eq!(outcome, agreed);
    }
}

#[test]
fn clients_show_certificates_where_they_are_asked() {
    let authority = Authority::new("tests");
    let stranger = Authority::new("strangers");
    let issued = authority.issue(&["chat.example"]);
    let roots = authority.pem();
    let certificates = [issued.pem()];
    let optional = ClientCertificates::Optional(pem("clients.pem", &roots));
    let required = ClientCertificates::Required(pem("clients.pem", &roots));
    let ours = || {
        Some(authority.issue_with(&[], |params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, "device-7");
        }))
    };
    let foreign = || Some(stranger.issue(&["device-7"]));
    let refused = Err(Reason::ClientCertificate);
    let device = Some("device-7".to_owned());
    for (clients, certificate, outcome) in [
        (ClientCertificates::Unasked, ours(), Ok(None)),
        (optional, None, Ok(None)),
        (optional, ours(), Ok(device.clone())),
        (optional, foreign(), refused.clone()),
        (required, None, refused.clone()),
        (required, ours(), Ok(device)),
        (required, foreign(), refused),
    ] {
        for version in [&TLS12, &TLS13] {
            let listening = listening(&Material { clients, ..material(&certificates) });
            let certificate = certificate.as_ref().map(|issued| peer::Issued {
                chain: issued.chain.clone(),
                key: issued.key.clone(),
            });
            let wishes = Wishes { certificate, ..Wishes::of(version) };
            let mut client = client(&wishes.config(&authority), "chat.example");
            let mut side = Side::new(&listening);
            let got = shake(&mut side, &mut client)
                .map(|()| side.finished().agreed.client.clone().and_then(|it| it.common_name))
                .map_err(|failure| failure.reason);
            assert_eq!(got, outcome);
        }
    }
}

#[test]
fn garbage_is_answered_with_an_alert_and_an_end() {
    let authority = Authority::new("tests");
    let issued = authority.issue(&["chat.example"]);
    let listening = listening(&material(&[issued.pem()]));
    let cases: [(&[u8], Reason, Alert); 5] = [
        (b"GET / HTTP/1.1\r\n\r\n", Reason::Garbage, Alert::UNEXPECTED_MESSAGE),
        (&[0], Reason::Garbage, Alert::UNEXPECTED_MESSAGE),
        (&[22, 9], Reason::Garbage, Alert::DECODE_ERROR),
        (&[22, 3, 1, 0xff, 0xff], Reason::TooLong, Alert::RECORD_OVERFLOW),
        (&[22, 3, 1, 0, 4, 1, 0, 0, 0], Reason::Garbage, Alert::DECODE_ERROR),
    ];
    for (bytes, reason, alert) in cases {
        let mut handshake = Handshake::start(&listening).unwrap();
        handshake.hold(bytes).unwrap();
        assert!(handshake.is_ready());
        let mut out = Vec::new();
        let failure = handshake.run(peer::NOW_S, &mut out).unwrap_err();
        assert_eq!((failure.reason, out), (reason, vec![21, 3, 3, 0, 2, 2, alert.0]));
    }
}

#[test]
fn garbage_in_the_middle_is_answered_so_that_the_client_can_read_it() {
    for version in [&TLS12, &TLS13] {
        for bytes in [&b"garbage"[..], &[23, 3, 3, 0xff, 0xff]] {
            let authority = Authority::new("tests");
            let issued = authority.issue(&["chat.example"]);
            let listening = listening(&material(&[issued.pem()]));
            let mut client = client(&Wishes::of(version).config(&authority), "chat.example");
            let mut handshake = Handshake::start(&listening).unwrap();
            let mut out = Vec::new();
            handshake.hold(&sent_by(&mut client)).unwrap();
            handshake.run(peer::NOW_S, &mut out).unwrap();
            give(&mut client, &out).unwrap();
            out.clear();
            handshake.hold(bytes).unwrap();
            handshake.run(peer::NOW_S, &mut out).unwrap_err();
            let told = give(&mut client, &out).unwrap_err();
            assert_eq!(told, rustls::Error::AlertReceived(AlertDescription::DecodeError));
        }
    }
}

#[test]
fn what_is_held_in_a_handshake_is_bounded() {
    let authority = Authority::new("tests");
    let issued = authority.issue(&["chat.example"]);
    let listening = listening(&material(&[issued.pem()]));
    let mut handshake = Handshake::start(&listening).unwrap();
    handshake.hold(&vec![0; hawser_tls::HANDSHAKE_BYTES_MAX]).unwrap();
    assert_eq!(handshake.hold(&[0]).unwrap_err().reason, Reason::TooLong);
}

#[test]
fn what_was_agreed_on_is_told() {
    let (mut side, _) = connected(&TLS12);
    let agreed = side.finished().agreed.clone();
    assert_eq!((agreed.version, agreed.kind), (Version::Tls12, Kind::Full));
    assert_eq!(agreed.server_name.as_deref(), Some("chat.example"));
}
