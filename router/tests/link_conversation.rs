//! Two ends of the link protocol with each other, case by case: handshakes and refusals, batches
//! and credit, heartbeats and ends.

mod link_ends;

use hawser_router::link::{
    BatchQueue, FRAME_BODY_BYTES_MAX, Family, HANDSHAKE_US, LinkEnd, LinkSecret, LinkSession,
    LinkSettings, PIECE_BYTES, PING_US, Refusal, Role, SILENCE_US, refusal_code,
};
use link_ends::{End, HASH_KEY, Seen, at, batch, gateway, linked, meet, router, run};

#[test]
fn a_gateway_meets_its_router_and_is_given_the_hash_key() {
    let (one, other) = meet(gateway(), router());
    let [Seen::Up(found)] = &one.seen[..] else { panic!("{:?}", one.seen) };
    assert_eq!((found.role, found.index, found.version), (Role::Router, Some(0), 1));
    assert_eq!(found.hash_key, Some(HASH_KEY));
    let [Seen::Up(found)] = &other.seen[..] else { panic!("{:?}", other.seen) };
    assert_eq!((found.role, found.workers, found.epoch), (Role::Gateway, 2, 1));
    assert_eq!((found.name.as_str(), found.hash_key), ("g1", None));
}

#[test]
fn who_has_the_hash_key_is_not_given_it() {
    let (one, other) = meet(LinkSettings { hash_key: Some(HASH_KEY), ..gateway() }, router());
    let [Seen::Up(found)] = &one.seen[..] else { panic!("{:?}", one.seen) };
    assert_eq!(found.hash_key, None);
    assert!(other.session.is_up());
}

#[test]
fn a_router_meets_a_router() {
    let one =
        LinkSettings { index: Some(1), routers: 2, peer_index: Some(0), epoch: 3, ..router() };
    let other = LinkSettings { routers: 2, ..router() };
    let (mut one, mut other) = meet(one, other);
    let peers = batch(&[3], 1);
    one.session.send(Family::Peer, 0, &mut &peers[..]).unwrap();
    run(&mut one, &mut other, at(0));
    assert_eq!(other.seen[1..], [Seen::Batch(Family::Peer, 0, peers)]);
}

/// Both ends end, one refuses, and both have the same code and text.
fn refused(initiator: LinkSettings, acceptor: LinkSettings) -> (u16, String) {
    let (one, other) = meet(initiator, acceptor);
    let (one, other) = (one.end().cloned(), other.end().cloned());
    match (one, other) {
        (Some(LinkEnd::RefusedByPeer(told)), Some(LinkEnd::RefusedPeer(said)))
        | (Some(LinkEnd::RefusedPeer(said)), Some(LinkEnd::RefusedByPeer(told))) => {
            assert_eq!(told, said);
            (said.code, said.text)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrong_secret_is_refused_by_name() {
    for secret in [&b""[..], b"Example", b"example "] {
        let stranger = LinkSettings { secret: LinkSecret::new(secret), ..gateway() };
        let (code, text) = refused(stranger, router());
        assert_eq!(code, refusal_code::SECRET);
        assert!(text.contains("secrets differ"), "{text}");
    }
}

#[test]
fn a_router_with_another_list_is_refused_with_both_lists() {
    let longer = LinkSettings { routers: 3, ..gateway() };
    let (code, text) = refused(longer, router());
    assert_eq!(code, refusal_code::LIST);
    assert_eq!(text, "the lists of routers differ: router 0 (r0) has 1 of them, gateway g1 has 3");

    let swapped = LinkSettings { routers: 2, peer_index: Some(1), ..gateway() };
    let (code, text) = refused(swapped, LinkSettings { routers: 2, ..router() });
    assert_eq!(code, refusal_code::LIST);
    assert_eq!(
        text,
        "the lists of routers differ: gateway g1 expects router 1 of 2 here, this is router 0"
    );
}

#[test]
fn another_hash_key_is_refused() {
    let other = LinkSettings { hash_key: Some([8; 32]), ..gateway() };
    let (code, text) = refused(other, router());
    assert_eq!(code, refusal_code::HASH_KEY);
    assert!(text.contains("hash keys differ"), "{text}");
}

#[test]
fn a_link_to_itself_is_refused() {
    let own = LinkSettings { epoch: 2, peer_index: Some(0), nonce: [3; 32], ..router() };
    let (code, text) = refused(own, router());
    assert_eq!(code, refusal_code::ITSELF);
    assert!(text.contains("to itself"), "{text}");
}

#[test]
fn a_gateway_is_no_router() {
    let (code, _) = refused(gateway(), LinkSettings { epoch: 5, ..gateway() });
    assert_eq!(code, refusal_code::ROLE);
}

#[test]
fn another_protocol_is_told_apart_by_its_first_bytes() {
    for first in [&b"HTTP/1.1 400"[..], b"SSH-2.0", b"\xA7HW\x01"] {
        let mut one = End::new(LinkSession::initiator(gateway(), at(0)));
        one.receive(at(0), first);
        let Some(LinkEnd::NotALink(seen)) = one.end() else { panic!("{:?}", one.seen) };
        assert_eq!(seen[..], first[..4]);
    }
}

#[test]
fn batches_come_whole_in_order_and_with_their_worker() {
    let (mut one, mut other) = linked();
    let (first, second) = (batch(&[5, 0], 1), batch(&[9], 2));
    one.session.send(Family::Uplink, 0, &mut &first[..]).unwrap();
    one.session.send(Family::Uplink, 1, &mut &second[..]).unwrap();
    other.session.send(Family::Downlink, 1, &mut &first[..]).unwrap();
    run(&mut one, &mut other, at(0));
    assert_eq!(one.seen, [Seen::Batch(Family::Downlink, 1, first.clone())]);
    let expected = [Seen::Batch(Family::Uplink, 0, first), Seen::Batch(Family::Uplink, 1, second)];
    assert_eq!(other.seen, expected);
}

#[test]
fn a_family_that_does_not_go_this_way_ends_the_link() {
    for family in [Family::Downlink, Family::Peer] {
        let (mut one, mut other) = linked();
        one.session.send(family, 0, &mut &batch(&[1], 0)[..]).unwrap();
        run(&mut one, &mut other, at(0));
        assert!(matches!(other.end(), Some(LinkEnd::Malformed(_))), "{:?}", other.seen);
        assert!(matches!(one.end(), Some(LinkEnd::RefusedByPeer(_))), "{:?}", one.seen);
    }
}

#[test]
fn a_worker_beyond_those_named_ends_the_link() {
    let (mut one, mut other) = linked();
    one.session.send(Family::Uplink, 2, &mut &batch(&[1], 0)[..]).unwrap();
    run(&mut one, &mut other, at(0));
    assert!(matches!(other.end(), Some(LinkEnd::Malformed(_))), "{:?}", other.seen);
}

#[test]
fn a_long_batch_is_cut_between_frames_and_a_long_frame_goes_whole() {
    let (mut one, mut other) = linked();
    let frame = PIECE_BYTES / 3;
    let long = batch(&[frame, frame, frame, PIECE_BYTES + 7, 4], 3);
    let mut rest = &long[..];
    for _ in 0..100 {
        one.session.send(Family::Uplink, 0, &mut rest).unwrap();
        run(&mut one, &mut other, at(0));
        if rest.is_empty() {
            break;
        }
    }
    let lengths = other.seen.iter().map(|seen| match seen {
        Seen::Batch(_, 0, bytes) => bytes.len(),
        other => panic!("{other:?}"),
    });
    let lengths: Vec<usize> = lengths.collect();
    assert_eq!(lengths, [2 * (4 + frame), 4 + frame, 4 + PIECE_BYTES + 7, 8]);
    let whole = other.seen.iter().flat_map(|seen| match seen {
        Seen::Batch(.., bytes) => bytes.clone(),
        _ => Vec::new(),
    });
    assert_eq!(whole.collect::<Vec<u8>>(), long);
}

#[test]
fn a_batch_that_does_not_parse_is_not_sent() {
    let (mut one, _) = linked();
    let mut damaged = batch(&[PIECE_BYTES], 3);
    damaged[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(one.session.send(Family::Uplink, 0, &mut &damaged[..]).is_err());
    let endless = batch(&[FRAME_BODY_BYTES_MAX], 3);
    assert!(one.session.send(Family::Uplink, 0, &mut &endless[..]).is_err());
    assert_eq!(one.session.out_bytes(), 0);
}

#[test]
fn a_sender_stops_at_the_window_and_goes_on_when_batches_are_done_with() {
    let (mut one, mut other) = linked();
    other.ungranted = Some(Vec::new());
    let mut queue = BatchQueue::new(1 << 20);
    let sent: Vec<Vec<u8>> = (0..10).map(|fill| batch(&[20_000], fill)).collect();
    for bytes in &sent {
        // Of both workers in turn, so that they are not joined.
        let worker = u16::from(bytes[4] % 2);
        queue.push(Family::Uplink, worker, bytes.clone()).unwrap();
    }
    queue.flush(&mut one.session, drop).unwrap();
    run(&mut one, &mut other, at(0));
    // The window is 64 KiB: three frames fit, the fourth began below the limit.
    assert_eq!(other.seen.len(), 4);
    assert_eq!(queue.bytes(), 6 * 20_004);
    assert!(!one.session.can_send());
    for cost in other.ungranted.take().unwrap() {
        other.session.grant(cost);
    }
    for _ in 0..10 {
        run(&mut one, &mut other, at(0));
        queue.flush(&mut one.session, drop).unwrap();
    }
    assert!(queue.is_empty() && queue.bytes() == 0);
    let got = other.seen.iter().map(|seen| match seen {
        Seen::Batch(.., bytes) => bytes.clone(),
        other => panic!("{other:?}"),
    });
    let got: Vec<Vec<u8>> = got.collect();
    assert_eq!(got, sent);
}

#[test]
fn a_batch_without_credit_ends_the_link() {
    // A sender that was told of a larger window than the receiver means.
    let (mut one, _) = meet(gateway(), LinkSettings { window_bytes: 1 << 20, ..router() });
    let (_, mut other) = linked();
    let bytes = batch(&[40_000], 1);
    for _ in 0..3 {
        one.session.send(Family::Uplink, 0, &mut &bytes[..]).unwrap();
    }
    other.ungranted = Some(Vec::new());
    other.receive(at(0), &one.out());
    let [Seen::Batch(..), Seen::Batch(..), Seen::Down(end)] = &other.seen[..] else {
        panic!("{:?}", other.seen.len())
    };
    assert_eq!(*end, LinkEnd::Malformed("a batch came without credit"));
}

#[test]
fn a_queue_at_its_bound_gives_the_batch_back_and_joins_what_fits() {
    let mut queue = BatchQueue::new(100);
    assert!(queue.push(Family::Uplink, 0, vec![0; 60]).unwrap().is_none());
    let back = queue.push(Family::Uplink, 0, vec![1; 40]).unwrap();
    assert_eq!(back.map(|buffer| buffer.len()), Some(40), "joined: its buffer is free");
    let refused = queue.push(Family::Uplink, 0, vec![2; 1]).unwrap_err();
    assert_eq!(refused.0, [2]);
    let drained: Vec<_> = queue.drain().collect();
    assert_eq!(drained.len(), 1);
    assert_eq!(drained[0].2.len(), 100);
    assert_eq!(queue.bytes(), 0);
}

#[test]
fn a_ping_measures_the_round_trip() {
    let (mut one, mut other) = linked();
    let due = one.session.next_deadline().unwrap();
    assert_eq!(due, PING_US);
    assert_eq!(one.session.on_deadline(at(due)), None);
    other.receive(at(due + 10), &one.out());
    one.receive(at(due + 30), &other.out());
    assert_eq!(one.session.round_trip_us(), Some(30));
    assert!(other.seen.is_empty() && one.seen.is_empty());
}

#[test]
fn a_silent_peer_ends_the_link_and_any_byte_keeps_it() {
    let (mut one, mut other) = linked();
    let mut now = 0;
    for _ in 0..20 {
        now += PING_US;
        assert_eq!(one.session.on_deadline(at(now)), None);
        assert_eq!(other.session.on_deadline(at(now)), None);
        run(&mut one, &mut other, at(now));
    }
    assert_eq!(one.session.on_deadline(at(now + SILENCE_US - 1)), None);
    let end = one.session.on_deadline(at(now + SILENCE_US));
    assert_eq!(end, Some(hawser_router::link::LinkEvent::Down(LinkEnd::Silent)));
    assert!(one.session.is_over() && one.session.next_deadline().is_none());
}

#[test]
fn a_handshake_that_hangs_ends() {
    for mut end in [
        End::new(LinkSession::initiator(gateway(), at(7))),
        End::new(LinkSession::acceptor(router(), at(7))),
    ] {
        let due = end.session.next_deadline().unwrap();
        assert_eq!(due, 7 + HANDSHAKE_US);
        assert_eq!(end.session.on_deadline(at(due - 1)), None);
        let down = end.session.on_deadline(at(due));
        let expected = hawser_router::link::LinkEvent::Down(LinkEnd::HandshakeTimeout);
        assert_eq!(down, Some(expected));
    }
}

#[test]
fn a_go_away_is_told_and_the_link_goes_on() {
    let (mut one, mut other) = linked();
    let reason =
        Refusal { code: refusal_code::SHUTTING_DOWN, text: "soon".into(), retry_after_ms: 100 };
    other.session.go_away(reason.clone());
    let bytes = batch(&[2], 1);
    other.session.send(Family::Downlink, 0, &mut &bytes[..]).unwrap();
    run(&mut one, &mut other, at(0));
    assert_eq!(one.seen, [Seen::GoAway(reason), Seen::Batch(Family::Downlink, 0, bytes)]);
    assert!(one.session.is_up());
}

#[test]
fn a_refused_link_takes_and_says_nothing_more() {
    let (mut one, mut other) = linked();
    let reason = Refusal::of(refusal_code::REPLACED, "a newer link".into());
    other.session.refuse(reason.clone());
    other.session.refuse(Refusal::of(refusal_code::FULL, "again".into()));
    run(&mut one, &mut other, at(0));
    assert_eq!(one.seen, [Seen::Down(LinkEnd::RefusedByPeer(reason))]);
    one.receive(at(0), b"anything");
    let mut rest = &batch(&[1], 1)[..];
    one.session.send(Family::Uplink, 0, &mut rest).unwrap();
    assert_eq!(rest.len(), 5);
    assert!(one.out().is_empty() && one.seen.len() == 1);
}

#[test]
fn a_peers_text_does_a_terminal_no_harm() {
    let (mut one, mut other) = linked();
    other.session.refuse(Refusal::of(refusal_code::FULL, "\x1b[2Jgone\n".into()));
    run(&mut one, &mut other, at(0));
    let Some(LinkEnd::RefusedByPeer(refusal)) = one.end() else { panic!("{:?}", one.seen) };
    assert_eq!(refusal.text, "?[2Jgone?");
}
