//! Time, crashes, half-open connections, and the rules the simulation enforces.

use hawser_ring::{
    Completion, Errno, Event, Operation, Ring, Socket, SocketOptions, Token,
    sim::{Faults, SimDisk, SimPeer, SimRing, World},
};

use crate::{OPTIONS, SETTINGS, WAIT};

fn accepted(options: SocketOptions) -> (World, SimRing, Socket, SimPeer) {
    let world = World::new(5, Faults::none());
    let mut ring = SimRing::new(&world, &SimDisk::new(&world), SETTINGS);
    let address = ([127, 13, 0, 1], 11_300).into();
    let listener = ring.listen(address, 8, options).expect("the world is new");
    ring.accept(listener, Token::new(Operation::Accept, 0, 0));
    let peer = world.connect(([127, 13, 0, 2], 20_001).into(), address);
    let Event::Accepted(Ok((socket, _))) = next(&world, &mut ring).event else {
        panic!("nothing goes wrong here")
    };
    (world, ring, socket, peer)
}

fn next(world: &World, ring: &mut SimRing) -> Completion {
    settle(world, ring, 1).remove(0)
}

/// Turns until `count` completions have come, or nothing more will.
fn settle(world: &World, ring: &mut SimRing, count: usize) -> Vec<Completion> {
    let mut completions = Vec::new();
    while completions.len() < count {
        let before = completions.len();
        ring.turn(WAIT, &mut completions).expect("simulated turns do not fail");
        if completions.len() == before {
            let Some(next_us) = world.next_event_us() else { break };
            world.advance_to(next_us);
        }
    }
    completions
}

fn token(operation: Operation) -> Token {
    Token::new(operation, 1, 1)
}

#[test]
fn a_killed_process_resets_its_connections_and_frees_its_port() {
    let (world, ring, _, peer) = accepted(OPTIONS);
    ring.kill();
    while let Some(next_us) = world.next_event_us() {
        world.advance_to(next_us);
    }
    assert_eq!(peer.error(), Some(libc::ECONNRESET));
    let mut ring = SimRing::new(&world, &SimDisk::new(&world), SETTINGS);
    assert!(ring.listen(([127, 13, 0, 1], 11_300).into(), 8, OPTIONS).is_ok());
}

#[test]
fn a_vanished_peer_is_silence() {
    let (world, mut ring, socket, peer) = accepted(OPTIONS);
    ring.receive(socket, token(Operation::Receive));
    peer.send(b"never arrives");
    peer.vanish();
    assert!(settle(&world, &mut ring, 1).is_empty());
    ring.send(socket, b"hello?".to_vec(), token(Operation::Send));
    assert!(matches!(next(&world, &mut ring).event, Event::Sent(Ok(6), _)));
    assert!(settle(&world, &mut ring, 1).is_empty());
}

#[test]
fn the_user_timeout_ends_a_send_to_a_vanished_peer() {
    let options = SocketOptions { user_timeout_ms: 3000, ..OPTIONS };
    let (world, mut ring, socket, peer) = accepted(options);
    peer.vanish();
    ring.receive(socket, token(Operation::Receive));
    ring.send(socket, b"hello?".to_vec(), token(Operation::Send));
    let before_us = world.now().monotonic_us;
    let completions = settle(&world, &mut ring, 2);
    let timed_out = Event::Received(Err(Errno(libc::ETIMEDOUT)));
    assert_eq!(format!("{:?}", completions[1].event), format!("{timed_out:?}"));
    assert!(world.now().monotonic_us - before_us >= 3_000_000);
}

#[test]
fn a_peer_that_does_not_read_holds_a_send_until_it_does() {
    let options = SocketOptions { send_buffer_bytes: Some(1000), ..OPTIONS };
    let (world, mut ring, socket, peer) = accepted(options);
    let bytes = vec![4; 300_000];
    let mut sent = 0;
    loop {
        let left = bytes[sent..].to_vec();
        ring.send(socket, left, token(Operation::Send));
        match settle(&world, &mut ring, 1).pop().map(|completion| completion.event) {
            Some(Event::Sent(Ok(count), _)) => sent += count,
            None => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(sent < bytes.len());
    assert_eq!(peer.receive().len(), sent);
    assert!(matches!(next(&world, &mut ring).event, Event::Sent(Ok(1..), _)));
}

#[test]
fn the_wall_clock_jumps_alone() {
    let world = World::new(5, Faults::none());
    let before = world.now();
    world.jump_wall_ms(-3_600_000);
    assert_eq!(world.now().monotonic_us, before.monotonic_us);
    assert_eq!(world.now().wall_ms, before.wall_ms - 3_600_000);
    world.advance_to(before.monotonic_us + 5_000_000);
    assert_eq!(world.now().wall_ms, before.wall_ms - 3_595_000);
}

#[test]
fn a_ring_connects_to_a_server_of_the_test() {
    let world = World::new(5, Faults::none());
    let mut ring = SimRing::new(&world, &SimDisk::new(&world), SETTINGS);
    let target = ([127, 13, 0, 9], 11_301).into();
    let server = world.listen(target, 8).expect("the world is new");
    ring.connect(([127, 13, 0, 1], 0).into(), target, OPTIONS, token(Operation::Connect));
    let Event::Connected(Ok(socket)) = next(&world, &mut ring).event else {
        panic!("nothing goes wrong here")
    };
    let peer = server.accept().expect("connected, so in the backlog");
    ring.send(socket, b"to the server".to_vec(), token(Operation::Send));
    next(&world, &mut ring);
    settle(&world, &mut ring, 1);
    assert_eq!(peer.receive(), b"to the server");
}

#[test]
#[should_panic(expected = "is closed with operations in flight")]
fn closing_with_a_receive_armed_is_a_fault_of_the_caller() {
    let (_, mut ring, socket, _) = accepted(OPTIONS);
    ring.receive(socket, token(Operation::Receive));
    ring.close(socket, false, token(Operation::Close));
}

#[test]
#[should_panic(expected = "are in flight on")]
fn two_sends_at_once_are_a_fault_of_the_caller() {
    let (_, mut ring, socket, _) = accepted(OPTIONS);
    ring.send(socket, vec![1], token(Operation::Send));
    ring.send(socket, vec![2], Token::new(Operation::Send, 2, 2));
}

#[test]
#[should_panic(expected = "have the token")]
fn a_token_used_twice_is_a_fault_of_the_caller() {
    let (_, mut ring, socket, _) = accepted(OPTIONS);
    ring.watch(socket, token(Operation::Watch));
    ring.watch(socket, token(Operation::Watch));
}
