//! Bytes between two sockets: order, ends, resets, bounds.

use hawser_ring::Operation;

use crate::stage::{CLIENT, OPTIONS, SERVER, Scenario, Seen};

pub const SCENARIOS: [Scenario; 13] = [
    Scenario {
        name: "echo",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (server, client) = stage.pair(listener, 1);
            stage.receive(SERVER, server, "server receive");
            stage.receive(CLIENT, client, "client receive");
            stage.send(CLIENT, client, b"hello", "client send");
            assert_eq!(stage.wait(SERVER, "server receive"), Seen::Bytes(b"hello".to_vec()));
            stage.send(SERVER, server, b"good day", "server send");
            assert_eq!(stage.wait(CLIENT, "client receive"), Seen::Bytes(b"good day".to_vec()));
        },
        expected: "client connect 1: connected.
            client receive: 8 bytes…
            client send: sent all.
            server accept 1: accepted 127.11.0.2.
            server receive: 5 bytes…
            server send: sent all.",
    },
    Scenario {
        name: "the peer finishes after its bytes",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (server, client) = stage.pair(listener, 1);
            stage.receive(SERVER, server, "server receive");
            stage.send(CLIENT, client, &[7; 20], "client send");
            stage.close(CLIENT, client, false, "client close");
            stage.wait_bytes(SERVER, "server receive", 20);
            assert_eq!(stage.wait(SERVER, "server receive"), Seen::End);
        },
        expected: "client close: done.
            client connect 1: connected.
            client send: sent all.
            server accept 1: accepted 127.11.0.2.
            server receive: 20 bytes… end.",
    },
    Scenario {
        name: "the peer resets",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (server, client) = stage.pair(listener, 1);
            stage.receive(SERVER, server, "server receive");
            stage.close(CLIENT, client, true, "client close");
            assert_eq!(stage.wait(SERVER, "server receive"), Seen::Failed(libc::ECONNRESET));
        },
        expected: "client close: done.
            client connect 1: connected.
            server accept 1: accepted 127.11.0.2.
            server receive: ECONNRESET.",
    },
    Scenario {
        name: "closing with bytes unread resets",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (server, client) = stage.pair(listener, 1);
            stage.receive(CLIENT, client, "client receive");
            stage.send(CLIENT, client, &[1; 10], "client send");
            stage.settle();
            stage.close(SERVER, server, false, "server close");
            assert_eq!(stage.wait(CLIENT, "client receive"), Seen::Failed(libc::ECONNRESET));
        },
        expected: "client connect 1: connected.
            client receive: ECONNRESET.
            client send: sent all.
            server accept 1: accepted 127.11.0.2.
            server close: done.",
    },
    Scenario {
        name: "sending to a closed peer",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (server, client) = stage.pair(listener, 1);
            stage.close(SERVER, server, false, "server close");
            stage.receive(CLIENT, client, "client receive");
            assert_eq!(stage.wait(CLIENT, "client receive"), Seen::End);
            stage.send(CLIENT, client, b"late", "client send 1");
            stage.settle();
            stage.send(CLIENT, client, b"later", "client send 2");
        },
        expected: "client connect 1: connected.
            client receive: end.
            client send 1: sent all.
            client send 2: EPIPE.
            server accept 1: accepted 127.11.0.2.
            server close: done.",
    },
    Scenario {
        name: "a large send is taken in part",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (server, client) = stage.pair(listener, 1);
            stage.send(CLIENT, client, &vec![3; 32 << 20], "client send");
            stage.settle();
            let bytes = stage.receive_once(SERVER, server, "server receive");
            assert_eq!(bytes, Seen::Bytes(vec![3; 32]));
        },
        expected: "client connect 1: connected.
            client send: sent part.
            server accept 1: accepted 127.11.0.2.
            server receive: 32 bytes.",
    },
    Scenario {
        name: "a stuck send is cancelled and gives its bytes back",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (_, client) = stage.pair(listener, 1);
            // Nobody reads, so the buffers on the way fill.
            let mut number = 0;
            let stuck = loop {
                number += 1;
                assert!(number < 100, "the buffers between two sockets are bounded");
                let token = stage.token(Operation::Send, "client send");
                stage.ring(CLIENT).send(client, vec![3; 32 << 20], token);
                stage.settle();
                if stage.seen(CLIENT, "client send").is_none() {
                    break token;
                }
            };
            stage.forget("client send");
            stage.cancel(CLIENT, Some(client), stuck, "client cancel");
            assert_eq!(stage.wait(CLIENT, "client send"), Seen::Failed(libc::ECANCELED));
        },
        expected: "client cancel: done.
            client connect 1: connected.
            client send: ECANCELED.
            server accept 1: accepted 127.11.0.2.",
    },
    Scenario {
        name: "nobody listens",
        buffers: 8,
        run: |stage| {
            stage.connect(1, OPTIONS);
            let refused = stage.wait(CLIENT, "client connect 1");
            assert_eq!(refused, Seen::Failed(libc::ECONNREFUSED));
            assert_eq!(stage.ring(CLIENT).free_slots(), 8);
        },
        expected: "client connect 1: ECONNREFUSED.",
    },
    Scenario {
        name: "a receive without buffers starves and is armed again when some return",
        buffers: 2,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (server, client) = stage.pair(listener, 1);
            stage.hold = true;
            stage.receive(SERVER, server, "server receive 1");
            stage.send(CLIENT, client, &[9; 100], "client send");
            stage.wait_bytes(SERVER, "server receive 1", 64);
            assert_eq!(stage.wait(SERVER, "server receive 1"), Seen::Failed(libc::ENOBUFS));
            assert!(stage.ring(SERVER).counters().starved > 0);
            assert_eq!(stage.ring(SERVER).counters().leases, 2);
            stage.release();
            stage.hold = false;
            stage.receive(SERVER, server, "server receive 2");
            stage.wait_bytes(SERVER, "server receive 2", 36);
            assert_eq!(stage.ring(SERVER).counters().leases, 0);
        },
        expected: "client connect 1: connected.
            client send: sent all.
            server accept 1: accepted 127.11.0.2.
            server receive 1: 64 bytes… ENOBUFS.
            server receive 2: 36 bytes…",
    },
    Scenario {
        name: "arming takes no buffer",
        buffers: 2,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (server, client) = stage.pair(listener, 1);
            stage.hold = true;
            stage.receive(SERVER, server, "server receive 1");
            stage.send(CLIENT, client, &[9; 64], "client send 1");
            stage.wait_bytes(SERVER, "server receive 1", 64);
            let (second, other) = stage.pair(listener, 2);
            stage.receive(SERVER, second, "server receive 2");
            stage.settle();
            stage.release();
            stage.send(CLIENT, other, &[8; 10], "client send 2");
            stage.wait_bytes(SERVER, "server receive 2", 10);
        },
        expected: "client connect 1: connected.
            client connect 2: connected.
            client send 1: sent all.
            client send 2: sent all.
            server accept 1: accepted 127.11.0.2.
            server accept 2: accepted 127.11.0.2.
            server receive 1: 64 bytes…
            server receive 2: 10 bytes…",
    },
    Scenario {
        name: "a watch reports news, not state",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (server, client) = stage.pair(listener, 1);
            let token = stage.token(Operation::Watch, "server watch");
            stage.ring(SERVER).watch(server, token);
            stage.send(CLIENT, client, b"one", "client send 1");
            stage.wait(SERVER, "server watch");
            stage.settle();
            assert_eq!(stage.seen(SERVER, "server watch"), None);
            stage.send(CLIENT, client, b"two", "client send 2");
            stage.wait(SERVER, "server watch");
            let bytes = stage.receive_once(SERVER, server, "server receive 1");
            assert_eq!(bytes, Seen::Bytes(b"onetwo".to_vec()));
            stage.receive_once(SERVER, server, "server receive 2");
            stage.close(CLIENT, client, false, "client close");
            stage.wait(SERVER, "server watch");
            stage.receive_once(SERVER, server, "server receive 3");
        },
        expected: "client close: done.
            client connect 1: connected.
            client send 1: sent all.
            client send 2: sent all.
            server accept 1: accepted 127.11.0.2.
            server receive 1: 6 bytes.
            server receive 2: EAGAIN.
            server receive 3: end.
            server watch: readable… readable… readable…",
    },
    Scenario {
        name: "a watch armed late reports what waits already",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (server, client) = stage.pair(listener, 1);
            stage.send(CLIENT, client, b"one", "client send 1");
            stage.settle();
            let token = stage.token(Operation::Watch, "server watch");
            stage.ring(SERVER).watch(server, token);
            stage.wait(SERVER, "server watch");
            stage.cancel(SERVER, Some(server), token, "server cancel");
            stage.wait(SERVER, "server watch");
        },
        expected: "client connect 1: connected.
            client send 1: sent all.
            server accept 1: accepted 127.11.0.2.
            server cancel: done.
            server watch: readable… ECANCELED.",
    },
    Scenario {
        name: "a watch sees a reset",
        buffers: 8,
        run: |stage| {
            let listener = stage.listen(OPTIONS);
            let (server, client) = stage.pair(listener, 1);
            let token = stage.token(Operation::Watch, "server watch");
            stage.ring(SERVER).watch(server, token);
            stage.settle();
            stage.close(CLIENT, client, true, "client close");
            stage.wait(SERVER, "server watch");
            stage.receive_once(SERVER, server, "server receive");
        },
        expected: "client close: done.
            client connect 1: connected.
            server accept 1: accepted 127.11.0.2.
            server receive: ECONNRESET.
            server watch: readable…",
    },
];
