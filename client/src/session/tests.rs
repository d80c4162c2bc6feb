//! The session against a small model of a server, over a connection that breaks anywhere.

mod by_hand;
mod model;

use proptest::prelude::*;

use super::*;
use model::{Server, World};

#[derive(Clone, Debug)]
enum Step {
    /// The application sends to one of two peers.
    Send(bool),
    /// A peer sends to us.
    Arrive(bool),
    /// So many bytes pass each way.
    Pass(usize),
    /// The connection breaks; bytes under way are lost.
    Break,
    /// Time passes, milliseconds.
    Wait(u64),
    /// The server refuses the next requests for now.
    Refuse(u8),
    /// The server drops the next request or page question without an answer.
    Ignore,
    /// The server stops pushing and gives a head number.
    Stall,
    /// The program restarts from its stored outbox.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(Step::Send),
        4 => any::<bool>().prop_map(Step::Arrive),
        6 => (1usize..600).prop_map(Step::Pass),
        1 => Just(Step::Break),
        3 => (0u64..3000).prop_map(Step::Wait),
        1 => (1u8..4).prop_map(Step::Refuse),
        1 => Just(Step::Ignore),
        1 => Just(Step::Stall),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_message_is_reported_once_in_order_and_every_send_answered_once(
        steps in proptest::collection::vec(step(), 1..120),
        manual in any::<bool>(),
    ) {
        let mut world = World::new(Server::default(), manual);
        for step in steps {
            match step {
                Step::Send(to) => world.send(if to { "bob" } else { "carol" }),
                Step::Arrive(from) => world.server.arrive(if from { "bob" } else { "carol" }),
                Step::Pass(bytes) => world.pass(bytes),
                Step::Break => world.break_connection(),
                Step::Wait(ms) => world.wait(ms),
                Step::Refuse(count) => world.server.refuse = count,
                Step::Ignore => world.server.ignore = true,
                Step::Stall => world.server.stall(),
                Step::Restart => world.restart(),
            }
        }
        world.settle();
        world.check();
    }
}
