//! Both ends of a link against each other over a pipe that loses nothing and cuts anywhere: what
//! one side sends the other gets, once and in order, and nobody holds more than the window.

mod link_ends;

use hawser_router::link::{
    BatchQueue, Family, HANDSHAKE_BODY_BYTES_MAX, LinkSession, LinkSettings, SILENCE_US,
};
use link_ends::{End, Seen, at, batch, gateway, router};
use proptest::prelude::*;
use std::collections::VecDeque;

/// Window of both sides in these runs, bytes.
const WINDOW: u64 = 64 << 10;
/// Longest single frame drawn, bytes.
const FRAME_BYTES: usize = 30_000;

#[derive(Clone, Debug)]
enum Step {
    /// One side queues a batch for a worker.
    Send { side: usize, worker: u16, lengths: Vec<usize> },
    /// So many bytes move through the pipe towards a side.
    Move { side: usize, bytes: usize },
    /// A side is done with so many of its oldest batches.
    Consume { side: usize, batches: usize },
    /// Time passes, microseconds.
    Wait { us: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let lengths = prop::collection::vec(prop_oneof![0..60usize, 0..FRAME_BYTES], 1..5);
    prop_oneof![
        3 => (0..2usize, 0..2u16, lengths)
            .prop_map(|(side, worker, lengths)| Step::Send { side, worker, lengths }),
        6 => (0..2usize, prop_oneof![1..40usize, 1..100_000usize])
            .prop_map(|(side, bytes)| Step::Move { side, bytes }),
        2 => (0..2usize, 1..8usize)
            .prop_map(|(side, batches)| Step::Consume { side, batches }),
        1 => (0..SILENCE_US / 40).prop_map(|us| Step::Wait { us }),
    ]
}

struct Side {
    end: End,
    queue: BatchQueue,
    /// Bytes on their way to this side.
    pipe: VecDeque<u8>,
    /// What it has sent, by worker, as one stream.
    sent: [Vec<u8>; 2],
}

impl Side {
    fn new(session: LinkSession) -> Self {
        let mut end = End::new(session);
        end.ungranted = Some(Vec::new());
        let sent = [Vec::new(), Vec::new()];
        Self { end, queue: BatchQueue::new(usize::MAX), pipe: VecDeque::new(), sent }
    }

    fn got(&self, worker: u16) -> Vec<u8> {
        let batches = self.end.seen.iter().filter_map(|seen| match seen {
            Seen::Batch(_, to, bytes) if *to == worker => Some(bytes.clone()),
            _ => None,
        });
        batches.flatten().collect()
    }
}

struct Pipe {
    sides: [Side; 2],
    now_us: u64,
}

impl Pipe {
    fn new() -> Self {
        let acceptor = LinkSettings { workers: 2, ..router() };
        let one = Side::new(LinkSession::initiator(gateway(), at(0)));
        let other = Side::new(LinkSession::acceptor(acceptor, at(0)));
        Self { sides: [one, other], now_us: 0 }
    }

    fn advance(&mut self, side: usize, bytes: usize) {
        let count = bytes.min(self.sides[side].pipe.len());
        let moved: Vec<u8> = self.sides[side].pipe.drain(..count).collect();
        self.sides[side].end.receive(at(self.now_us), &moved);
    }

    /// What the sides have to say goes into the pipe.
    fn flush(&mut self) {
        for side in 0..2 {
            let Side { end, queue, .. } = &mut self.sides[side];
            queue.flush(&mut end.session, drop).expect("batches parse");
            let out = end.out();
            self.sides[1 - side].pipe.extend(out);
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Send { side, worker, lengths } => {
                let bytes = batch(lengths, self.sides[*side].sent[0].len() as u8);
                let family = if *side == 0 { Family::Uplink } else { Family::Downlink };
                self.sides[*side].sent[usize::from(*worker)].extend_from_slice(&bytes);
                self.sides[*side].queue.push(family, *worker, bytes).expect("no bound");
            }
            Step::Move { side, bytes } => self.advance(*side, *bytes),
            Step::Consume { side, batches } => {
                let End { session, ungranted, .. } = &mut self.sides[*side].end;
                let ungranted = ungranted.as_mut().expect("kept since the start");
                let count = (*batches).min(ungranted.len());
                ungranted.drain(..count).for_each(|cost| session.grant(cost));
            }
            Step::Wait { us } => {
                self.now_us += us;
                for side in 0..2 {
                    let due = self.sides[side].end.session.next_deadline();
                    if due.is_some_and(|due| due <= self.now_us) {
                        let event = self.sides[side].end.session.on_deadline(at(self.now_us));
                        assert_eq!(event, None, "the pipe is never silent for long");
                    }
                }
            }
        }
        self.flush();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_one_side_sends_the_other_gets_once_and_in_order(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut pipe = Pipe::new();
        pipe.flush();
        for step in &steps {
            pipe.apply(step);
            // All bytes move now and then, as TCP would have them.
            if let Step::Wait { .. } = step {
                for _ in 0..4 {
                    pipe.advance(0, usize::MAX);
                    pipe.advance(1, usize::MAX);
                    pipe.flush();
                }
            }
            for side in &pipe.sides {
                let held: u64 =
                    side.end.ungranted.iter().flatten().map(|cost| u64::from(*cost)).sum();
                prop_assert!(held <= WINDOW + 5 * (FRAME_BYTES as u64 + 4) + 8, "{held}");
                prop_assert!(side.end.end().is_none(), "{:?}", side.end.end());
            }
        }
        for _ in 0..2000 {
            for side in 0..2 {
                pipe.apply(&Step::Consume { side, batches: usize::MAX });
                pipe.advance(side, usize::MAX);
            }
            pipe.flush();
            if pipe.sides.iter().all(|side| side.pipe.is_empty() && side.queue.is_empty()) {
                break;
            }
        }
        for side in 0..2 {
            for worker in 0..2 {
                let sent = &pipe.sides[side].sent[usize::from(worker)];
                prop_assert!(pipe.sides[1 - side].got(worker) == *sent, "side {side}");
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_raise_a_link_and_end_or_wait(
        noise in prop::collection::vec(any::<u8>(), 0..3000),
        preface in any::<bool>(),
        plausible in prop::collection::vec((1u8..20, 0u8..2, 0usize..80), 0..6),
    ) {
        let mut bytes = if preface { vec![0xA7, b'H', b'L', 1] } else { Vec::new() };
        for (kind, flags, length) in plausible {
            bytes.extend_from_slice(&(length as u32).to_le_bytes());
            bytes.extend_from_slice(&[kind, flags, 0, 0]);
            bytes.extend(noise.iter().take(length));
        }
        bytes.extend_from_slice(&noise);
        for session in
            [LinkSession::acceptor(router(), at(0)), LinkSession::initiator(gateway(), at(0))]
        {
            let mut end = End::new(session);
            for chunk in bytes.chunks(97) {
                end.receive(at(0), chunk);
            }
            prop_assert!(!end.session.is_up());
            prop_assert!(end.inbox.bytes().len() <= HANDSHAKE_BODY_BYTES_MAX + 8);
        }
    }

    #[test]
    fn arbitrary_bytes_after_the_welcome_end_the_link_or_wait(
        noise in prop::collection::vec(any::<u8>(), 0..600),
        kind in 0u8..24,
        length in 0u32..300,
    ) {
        let (mut one, mut other) = link_ends::linked();
        for end in [&mut one, &mut other] {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend_from_slice(&[kind, 0, 0, 0]);
            bytes.extend_from_slice(&noise);
            end.receive(at(0), &bytes);
            prop_assert!(end.session.is_up() || end.session.is_over());
        }
    }
}
