//! Faults planted around the product's code: the simulation finds each within a few seeds. If one
//! of these fails, the simulation has gone blind, not the product wrong.

use hawser_tests::simulation::{
    EntryPlant, Plan, Plants, RingPlant, Tell, Violation, lose_windows, run,
};

/// Seeds within which each has to be found.
const SEEDS: u64 = 50;

/// Violations of the kinds expected; others would be found by chance, not for the reason planted.
fn find(what: &str, plants: Plants, expected: impl Fn(&Violation) -> bool) {
    let mut others = Vec::new();
    for seed in 0..SEEDS {
        match run(&Plan::draw(seed), plants, Tell::default()).violation {
            Some(violation) if expected(&violation) => {
                println!("{what}: seed {seed}: {violation:?}");
                return;
            }
            Some(violation) => others.push(violation),
            None => {}
        }
    }
    panic!("{what} was not found within {SEEDS} seeds; but {others:?}");
}

/// The simulated ring refuses what the kernel would answer with silence.
fn breaks_a_rule_of_the_ring(found: &Violation) -> bool {
    matches!(found, Violation::Panicked(text) if text.contains("in flight"))
}

#[test]
fn a_dropped_message_is_found() {
    let plants = Plants { entries: Some(EntryPlant::Dropped), ..Plants::default() };
    find("dropped message", plants, |found| matches!(found, Violation::Missing(_)));
}

#[test]
fn a_doubled_message_is_found() {
    let plants = Plants { entries: Some(EntryPlant::Doubled), ..Plants::default() };
    find("doubled message", plants, |found| {
        matches!(found, Violation::Doubled(_) | Violation::Renumbered(_))
    });
}

#[test]
fn a_swapped_message_is_found() {
    let plants = Plants { entries: Some(EntryPlant::Swapped), ..Plants::default() };
    find("swapped messages", plants, |found| {
        matches!(found, Violation::Reordered(_) | Violation::Renumbered(_))
    });
}

#[test]
fn an_acknowledgement_before_the_message_is_durable_is_found() {
    let plants = Plants { ring: Some(RingPlant::DurableAtSubmission), ..Plants::default() };
    find("acknowledged before durable", plants, |found| {
        matches!(found, Violation::Missing(_) | Violation::Renumbered(_))
    });
}

#[test]
fn a_write_without_its_flush_is_found() {
    let plants = Plants { ring: Some(RingPlant::NotDurable), ..Plants::default() };
    find("written and not flushed", plants, |found| {
        // A hole with the log going on behind it is what recovery refuses to step over.
        matches!(
            found,
            Violation::Missing(_) | Violation::Renumbered(_) | Violation::Unrecoverable(_)
        )
    });
}

#[test]
fn a_number_shown_before_it_is_durable_is_found() {
    let plants = Plants { same_lane: true, ..Plants::default() };
    find("number shown before durable", plants, |_| true);
}

#[test]
fn windows_lost_at_a_checkpoint_are_found() {
    let plants = Plants { job: Some(lose_windows), ..Plants::default() };
    find("windows lost at a checkpoint", plants, |found| {
        matches!(found, Violation::Doubled(_) | Violation::Missing(_))
    });
}

#[test]
fn a_slot_reused_with_an_operation_in_flight_is_found() {
    let plants = Plants { ring: Some(RingPlant::SlotReused), ..Plants::default() };
    find("slot reused", plants, breaks_a_rule_of_the_ring);
}

#[test]
fn a_cancel_taken_for_the_end_of_its_operation_is_found() {
    let plants = Plants { ring: Some(RingPlant::CancelIsCompletion), ..Plants::default() };
    // An operation ends twice, which the worker's count of armed ones does not survive; or what
    // it received in the end is lost, and the stream is torn.
    find("cancel taken for completion", plants, |found| {
        matches!(found, Violation::Panicked(_) | Violation::Refused(_))
    });
}
