//! An echo server that must survive every fault, and an oracle of bytes beside it.

use std::collections::BTreeMap;

use hawser_ring::{
    Completion, Event, Listener, Operation, Ring, Socket, Token,
    sim::{Fault, FaultCounts, Faults, SimDisk, SimPeer, SimRing, World},
};

use crate::{OPTIONS, SETTINGS, WAIT};

const PORT: u16 = 11_200;
/// Accepts in flight.
const ACCEPTS: u32 = 2;
/// Turns one run may take; far more than any needs, so that a stall is seen as one.
const TURNS_MAX: u32 = 200_000;

#[derive(Debug, Default)]
struct Connection {
    receiving: bool,
    sending: bool,
    /// A receive ended for want of buffers or by chance and is to be armed again.
    rearm: bool,
    /// The peer has finished: nothing more to receive, only to answer.
    finished: bool,
    dying: bool,
    /// The cancel's own completion is outstanding.
    cancelling: bool,
    /// This receive has been cancelled; once is enough, its end may only be late.
    cancelled: bool,
    receives: u32,
    outbound: Vec<u8>,
    generation: u32,
}

/// The simplest server that keeps every rule of the trait.
#[derive(Debug)]
struct Server {
    ring: SimRing,
    listener: Listener,
    connections: BTreeMap<u32, Connection>,
    generation: u32,
    accepts: u32,
    /// Every completion, for comparing runs.
    trace: Vec<String>,
}

impl Server {
    fn new(world: &World) -> Self {
        let mut ring = SimRing::new(world, &SimDisk::new(world), SETTINGS);
        let address = ([127, 13, 0, 1], PORT).into();
        let listener = ring.listen(address, 64, OPTIONS).expect("the world is new");
        let mut server = Self {
            ring,
            listener,
            connections: BTreeMap::new(),
            generation: 0,
            accepts: 0,
            trace: Vec::new(),
        };
        for _ in 0..ACCEPTS {
            server.accept();
        }
        server
    }

    fn accept(&mut self) {
        self.accepts += 1;
        self.ring.accept(self.listener, Token::new(Operation::Accept, self.accepts, 0));
    }

    fn turn(&mut self) -> bool {
        let mut completions = Vec::new();
        let turn = self.ring.turn(WAIT, &mut completions).expect("simulated turns do not fail");
        let any = !completions.is_empty() || turn.interrupted;
        for completion in completions {
            self.trace.push(format!("{} {completion:?}", turn.now.monotonic_us));
            self.complete(completion);
        }
        for socket in self.connections.keys().copied().collect::<Vec<_>>() {
            self.go_on(socket);
        }
        any
    }

    fn complete(&mut self, completion: Completion) {
        let Completion { token, more, event } = completion;
        match event {
            Event::Accepted(Ok((Socket(socket), _))) => {
                self.generation += 1;
                let connection = Connection {
                    rearm: true,
                    generation: self.generation,
                    ..Connection::default()
                };
                let before = self.connections.insert(socket, connection);
                assert!(before.is_none(), "a slot is given out twice");
                self.accept();
            }
            Event::Accepted(Err(_)) => self.accept(),
            Event::Closed(result) => assert_eq!(result, Ok(())),
            Event::Cancelled(_) => self.live(token).cancelling = false,
            Event::Woken => {}
            Event::Received(result) => {
                let bytes = match &result {
                    Ok(Some(lease)) => self.ring.bytes(lease).to_vec(),
                    _ => Vec::new(),
                };
                let connection = self.live(token);
                connection.receiving = more;
                connection.receives += 1;
                connection.outbound.extend(&bytes);
                connection.rearm = !more;
                match result {
                    Ok(Some(lease)) => self.ring.give_back(lease),
                    Ok(None) => connection.finished = true,
                    Err(errno)
                        if [libc::ENOBUFS, libc::EINTR, libc::ECANCELED].contains(&errno.0) => {}
                    Err(_) => connection.dying = true,
                }
            }
            Event::Sent(result, _) => {
                let connection = self.live(token);
                connection.sending = false;
                match result {
                    Ok(count) => drop(connection.outbound.drain(..count)),
                    Err(_) => connection.dying = true,
                }
            }
            other => panic!("nothing asked for {other:?}"),
        }
    }

    fn live(&mut self, token: Token) -> &mut Connection {
        let connection = self.connections.get_mut(&token.slot).expect("in flight, so not freed");
        assert_eq!(connection.generation, token.generation, "a completion of an earlier life");
        connection
    }

    /// Arms what should be armed and closes what is over.
    fn go_on(&mut self, socket: u32) {
        let connection = self.connections.get_mut(&socket).expect("listed by the caller");
        let token = |operation| Token::new(operation, socket, connection.generation);
        let over = connection.dying || connection.finished && connection.outbound.is_empty();
        // Now and then the receive is taken back though all is well, as for a quiet connection.
        let restless = connection.receives % 5 == 4;
        if connection.receiving
            && !connection.cancelled
            && !connection.cancelling
            && (over || restless)
        {
            connection.cancelling = true;
            connection.cancelled = true;
            connection.receives += 1;
            let (target, token) = (token(Operation::Receive), token(Operation::Cancel));
            self.ring.cancel(Some(Socket(socket)), target, token);
        }
        if over {
            if !connection.receiving && !connection.sending && !connection.cancelling {
                self.ring.close(Socket(socket), connection.dying, token(Operation::Close));
                self.connections.remove(&socket);
            }
            return;
        }
        // Arming again with every buffer on loan would only starve again, and for ever if the
        // loans are in completions that come later.
        let leases = self.ring.counters().leases;
        if connection.rearm && !connection.finished && leases < u32::from(SETTINGS.buffers) {
            connection.rearm = false;
            connection.receiving = true;
            connection.cancelled = false;
            self.ring.receive(Socket(socket), token(Operation::Receive));
        }
        if !connection.sending && !connection.outbound.is_empty() {
            connection.sending = true;
            let bytes = connection.outbound.clone();
            self.ring.send(Socket(socket), bytes, token(Operation::Send));
        }
    }
}

/// A client and the oracle's memory of it.
struct Client {
    peer: SimPeer,
    sent: Vec<u8>,
    received: Vec<u8>,
    to_send: usize,
    gives_up: bool,
    closed: bool,
}

impl Client {
    fn act(&mut self, world: &World) {
        self.received.extend(self.peer.receive());
        // Whatever went wrong, what came back is what was sent, in order.
        assert!(self.sent.starts_with(&self.received), "the echo is not what was sent");
        if self.to_send > 0 {
            let length = (world.draw(200) as usize + 1).min(self.to_send);
            let bytes: Vec<u8> = (0..length).map(|_| world.draw(256) as u8).collect();
            self.peer.send(&bytes);
            self.sent.extend(bytes);
            self.to_send -= length;
        }
        if self.is_over() && !self.closed {
            self.closed = true;
            self.peer.close();
        }
    }

    fn is_over(&self) -> bool {
        let served = self.to_send == 0 && self.received.len() == self.sent.len();
        served || self.gives_up || self.peer.error().is_some() || self.peer.is_finished()
    }
}

/// Runs one seed to its end; what happened, how often each fault was hit, and how many clients
/// were served to the end.
fn run(seed: u64, faults: Faults) -> (Vec<String>, FaultCounts, usize) {
    // Shown only when the run fails.
    println!("seed {seed}");
    let world = World::new(seed, faults);
    let mut server = Server::new(&world);
    let mut clients: Vec<Client> = (0..12)
        .map(|number| Client {
            peer: world
                .connect(([127, 13, 0, 2], 20_000 + number).into(), ([127, 13, 0, 1], PORT).into()),
            sent: Vec::new(),
            received: Vec::new(),
            to_send: 1 + world.draw(2000) as usize,
            gives_up: false,
            closed: false,
        })
        .collect();
    for _ in 0..TURNS_MAX {
        let any = server.turn();
        for client in &mut clients {
            client.act(&world);
        }
        let over = clients.iter().all(|client| client.closed) && server.connections.is_empty();
        if over && server.ring.in_flight() == ACCEPTS as usize {
            let counters = server.ring.counters();
            assert_eq!(counters.leases, 0, "every buffer came back");
            assert_eq!(server.ring.free_slots(), SETTINGS.descriptors);
            let served = clients.iter().filter(|client| client.received == client.sent).count();
            return (server.trace, world.counts(), served);
        }
        match world.next_event_us() {
            Some(next_us) if !any => world.advance_to(next_us),
            // A send or receive that failed has killed the connection for the server alone; a
            // real client's heartbeat would find out.
            None => clients.iter_mut().for_each(|client| client.gives_up = true),
            Some(_) => {}
        }
    }
    let open = clients.iter().filter(|client| !client.closed).map(|client| &client.peer);
    panic!(
        "seed {seed} stalls: {:?} and {} operations left, clients waiting: {:?}",
        server.connections,
        server.ring.in_flight(),
        open.map(|peer| (peer.address(), peer.is_connected(), peer.unsent())).collect::<Vec<_>>()
    );
}

#[test]
fn without_faults_everybody_is_served() {
    // The table has 8 slots and 12 clients come: those beyond it are closed by the accept.
    let (_, counts, served) = run(1, Faults::none());
    assert!(served >= 8);
    assert!(counts.iter().all(|(_, count)| count == 0));
}

#[test]
fn the_echo_survives_every_fault_and_every_fault_occurs() {
    let mut counts = FaultCounts::default();
    let mut served = 0;
    for seed in 0..150 {
        let (_, hit, count) = run(seed, Faults::draw(seed));
        counts.add(&hit);
        served += count;
    }
    for (fault, count) in counts.iter() {
        println!("{fault:?}: {count}");
        // The echo touches no disk.
        let of_disk = matches!(
            fault,
            Fault::WriteFailed
                | Fault::ShortWrite
                | Fault::DiskFull
                | Fault::SyncFailed
                | Fault::ReadFailed
        );
        assert!(count > 0 || of_disk, "{fault:?} was never hit");
    }
    assert!(served > 500, "faults spare most clients, only {served} were served");
}

#[test]
fn a_seed_repeats_itself_and_another_differs() {
    let one = run(7, Faults::draw(7));
    assert_eq!(one, run(7, Faults::draw(7)));
    assert_ne!(one.0, run(8, Faults::draw(7)).0);
}
