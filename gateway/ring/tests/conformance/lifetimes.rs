//! Slots, tokens, cancels, closes, and sockets that change rings.

use hawser_ring::{Operation, Token};

use crate::stage::{CLIENT, OPTIONS, OTHER, SERVER, Scenario, Seen};

pub const SCENARIOS: [Scenario; 12] = [
    Scenario {
        name: "an accept names the peer",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let token = stage.token(Operation::Accept, "server accept");
            stage.ring(SERVER).accept(listener, token);
            stage.connect(1, OPTIONS);
            let client = stage.socket(CLIENT, "client connect 1");
            let Seen::Socket(server, Some(peer)) = stage.wait(SERVER, "server accept") else {
                panic!("accepted with an address")
            };
            assert_eq!(stage.ring(SERVER).peer_address(server), Ok(peer));
            let local = stage.ring(SERVER).local_address(listener);
            assert_eq!(stage.ring(CLIENT).peer_address(client), Ok(local));
        },
        expected: "client connect 1: connected.
            server accept: accepted 127.11.0.2.",
    },
    Scenario {
        name: "an armed receive is cancelled",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (server, _) = stage.pair(listener, 1);
            let receive = stage.receive(SERVER, server, "server receive");
            stage.settle();
            stage.cancel(SERVER, Some(server), receive, "server cancel");
            stage.wait(SERVER, "server cancel");
            stage.wait(SERVER, "server receive");
        },
        expected: "client connect 1: connected.
            server accept 1: accepted 127.11.0.2.
            server cancel: done.
            server receive: ECANCELED.",
    },
    Scenario {
        name: "cancelling nothing",
        buffers: 8,
        run: |stage| {
            stage.cancel(SERVER, None, Token::new(Operation::Receive, 99, 1), "server cancel");
            stage.wait(SERVER, "server cancel");
        },
        expected: "server cancel: ENOENT.",
    },
    Scenario {
        name: "a token of an earlier life cancels nothing",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (server, client) = stage.pair(listener, 1);
            let receive = stage.receive(SERVER, server, "server receive");
            let earlier = Token::new(Operation::Receive, receive.slot, receive.generation - 1);
            stage.cancel(SERVER, Some(server), earlier, "server cancel");
            stage.wait(SERVER, "server cancel");
            stage.send(CLIENT, client, b"still armed", "client send");
            stage.wait_bytes(SERVER, "server receive", 11);
        },
        expected: "client connect 1: connected.
            client send: sent all.
            server accept 1: accepted 127.11.0.2.
            server cancel: ENOENT.
            server receive: 11 bytes…",
    },
    Scenario {
        name: "an accept is cancelled",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let accept = stage.token(Operation::Accept, "server accept");
            stage.ring(SERVER).accept(listener, accept);
            stage.settle();
            stage.cancel(SERVER, None, accept, "server cancel");
            stage.wait(SERVER, "server accept");
            stage.wait(SERVER, "server cancel");
            stage.ring(SERVER).unlisten(listener);
        },
        expected: "server accept: ECANCELED.
            server cancel: done.",
    },
    Scenario {
        name: "closing after the cancel finishes towards the peer",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (server, client) = stage.pair(listener, 1);
            stage.receive(CLIENT, client, "client receive");
            let receive = stage.receive(SERVER, server, "server receive");
            stage.settle();
            stage.cancel(SERVER, Some(server), receive, "server cancel");
            stage.wait(SERVER, "server receive");
            stage.wait(SERVER, "server cancel");
            stage.close(SERVER, server, false, "server close");
            assert_eq!(stage.wait(CLIENT, "client receive"), Seen::End);
        },
        expected: "client connect 1: connected.
            client receive: end.
            server accept 1: accepted 127.11.0.2.
            server cancel: done.
            server close: done.
            server receive: ECANCELED.",
    },
    Scenario {
        name: "an abort resets",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (server, client) = stage.pair(listener, 1);
            stage.receive(CLIENT, client, "client receive");
            stage.close(SERVER, server, true, "server close");
            assert_eq!(stage.wait(CLIENT, "client receive"), Seen::Failed(libc::ECONNRESET));
        },
        expected: "client connect 1: connected.
            client receive: ECONNRESET.
            server accept 1: accepted 127.11.0.2.
            server close: done.",
    },
    Scenario {
        name: "an accept on a full table closes the connection",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            stage.pair(listener, 1);
            stage.pair(listener, 2);
            assert_eq!(stage.ring(SERVER).free_slots(), 0);
            let token = stage.token(Operation::Accept, "server accept 3");
            stage.ring(SERVER).accept(listener, token);
            stage.connect(3, OPTIONS);
            let client = stage.socket(CLIENT, "client connect 3");
            assert_eq!(stage.wait(SERVER, "server accept 3"), Seen::Failed(libc::ENFILE));
            stage.receive(CLIENT, client, "client receive 3");
            assert_eq!(stage.wait(CLIENT, "client receive 3"), Seen::End);
        },
        expected: "client connect 1: connected.
            client connect 2: connected.
            client connect 3: connected.
            client receive 3: end.
            server accept 1: accepted 127.11.0.2.
            server accept 2: accepted 127.11.0.2.
            server accept 3: ENFILE.",
    },
    Scenario {
        name: "a closed slot is used again",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (first, _) = stage.pair(listener, 1);
            stage.pair(listener, 2);
            stage.close(SERVER, first, false, "server close");
            assert_eq!(stage.ring(SERVER).free_slots(), 1);
            let (third, client) = stage.pair(listener, 3);
            assert_eq!(third, first);
            stage.receive(SERVER, third, "server receive");
            stage.send(CLIENT, client, b"new", "client send");
            stage.wait_bytes(SERVER, "server receive", 3);
        },
        expected: "client connect 1: connected.
            client connect 2: connected.
            client connect 3: connected.
            client send: sent all.
            server accept 1: accepted 127.11.0.2.
            server accept 2: accepted 127.11.0.2.
            server accept 3: accepted 127.11.0.2.
            server close: done.
            server receive: 3 bytes…",
    },
    Scenario {
        name: "a socket changes rings with bytes waiting in it",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (server, client) = stage.pair(listener, 1);
            let peer = stage.ring(SERVER).peer_address(server);
            stage.send(CLIENT, client, b"on the way", "client send");
            let to = stage.ring(OTHER).address();
            let there = stage.token(Operation::Arrive, "other arrive");
            let token = stage.token(Operation::Pass, "server pass");
            stage.ring(SERVER).pass(server, to, there, token);
            stage.wait(SERVER, "server pass");
            let socket = stage.socket(OTHER, "other arrive");
            assert_eq!(stage.ring(SERVER).free_slots(), 2);
            assert_eq!(stage.ring(OTHER).peer_address(socket), peer);
            stage.receive(OTHER, socket, "other receive");
            stage.wait_bytes(OTHER, "other receive", 10);
            stage.close(CLIENT, client, false, "client close");
            stage.wait(OTHER, "other receive");
        },
        expected: "client close: done.
            client connect 1: connected.
            client send: sent all.
            other arrive: arrived.
            other receive: 10 bytes… end.
            server accept 1: accepted 127.11.0.2.
            server pass: done.",
    },
    Scenario {
        name: "a socket passed to a full ring stays",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let to = stage.ring(OTHER).address();
            for number in 1..=3 {
                let (server, client) = stage.pair(listener, number);
                let there = stage.token(Operation::Arrive, &format!("other arrive {number}"));
                let token = stage.token(Operation::Pass, &format!("server pass {number}"));
                stage.ring(SERVER).pass(server, to, there, token);
                stage.wait(SERVER, &format!("server pass {number}"));
                if number == 3 {
                    stage.receive(SERVER, server, "server receive");
                    stage.send(CLIENT, client, b"still here", "client send");
                    stage.wait_bytes(SERVER, "server receive", 10);
                }
            }
        },
        expected: "client connect 1: connected.
            client connect 2: connected.
            client connect 3: connected.
            client send: sent all.
            other arrive 1: arrived.
            other arrive 2: arrived.
            server accept 1: accepted 127.11.0.2.
            server accept 2: accepted 127.11.0.2.
            server accept 3: accepted 127.11.0.2.
            server pass 1: done.
            server pass 2: done.
            server pass 3: ENFILE.
            server receive: 10 bytes…",
    },
    Scenario {
        name: "rings and threads wake a ring",
        buffers: 8,
        run: |stage| {
            let to = stage.ring(OTHER).address();
            stage.ring(SERVER).wake(to);
            stage.wait(OTHER, "woken 2");
            stage.ring(CLIENT).waker().wake();
            stage.wait(CLIENT, "woken 1");
        },
        expected: "woken 1: done.
            woken 2: done.",
    },
];
