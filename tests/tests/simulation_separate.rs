//! The separate form by seeds: two gateways, two or three routers, links that are cut, slow and dead
//! one way, processes killed, stopped and cut off from power.
//!
//! If one of the planted faults is not found, the simulation has gone blind, not the product wrong.

use hawser_tests::simulation::{LinkPlant, Plan, Plants, RingPlant, Tell, Totals, Violation, run};

/// Seeds of the ordinary test run.
const SEEDS: u64 = 48;
/// Seeds in which only routers are away.
const ABSENCES: u64 = 8;
/// Seeds within which a planted fault has to be found.
const PLANTED: u64 = 50;

#[test]
fn no_seed_of_the_separate_form_loses_doubles_or_reorders() {
    let mut totals = Totals::default();
    for seed in 0..SEEDS {
        let verdict = run(&Plan::draw_separate(seed), Plants::default(), Tell::default());
        totals.add(&verdict);
        if let Some(violation) = verdict.violation {
            panic!("{violation:?}\ncargo xtask sim --seed {seed} -- --form separate --trace");
        }
    }
    println!("{totals}");
    assert_eq!(totals.never(), Vec::<String>::new(), "never hit in {SEEDS} seeds");
}

/// A router whose log failed was read back while its links went on; clients whose users live on
/// another router had questions there, which were counted as unanswered for ever.
#[test]
fn questions_lost_with_a_routers_log_shut_nobody_out() {
    let mut plan = Plan::draw_separate(518);
    plan.round_us = 3;
    assert_eq!(run(&plan, Plants::default(), Tell::default()).violation, None);
}

/// A connection between routers that led nowhere any more, with a full buffer, held the one who
/// dials: the link was never made anew.
#[test]
fn a_link_that_is_stuck_is_dialled_anew() {
    for seed in [151, 432] {
        let verdict = run(&Plan::draw_separate(seed), Plants::default(), Tell::default());
        assert_eq!(verdict.violation, None, "seed {seed}");
    }
}

#[test]
fn gateways_keep_their_clients_while_routers_are_away() {
    let mut totals = Totals::default();
    for seed in 0..ABSENCES {
        let verdict = run(&Plan::draw_absences(seed), Plants::default(), Tell::default());
        totals.add(&verdict);
        assert_eq!(verdict.violation, None, "seed {seed}");
        assert_eq!(verdict.marks.dropped, 0, "seed {seed}");
    }
    assert!(totals.of_mark("link lost") > 0 && totals.of_mark("breaker opened") > 0);
}

#[test]
fn a_seed_of_the_separate_form_runs_the_same_way_every_time() {
    for seed in [1, 7] {
        let play = || run(&Plan::draw_separate(seed), Plants::default(), Tell::default());
        let (one, two) = (play(), play());
        assert_eq!((one.trace, one.rounds), (two.trace, two.rounds), "seed {seed}");
        assert!(one.messages > 0);
    }
}

#[test]
fn entries_lost_between_routers_are_asked_for_again() {
    let plants = Plants { link: Some(LinkPlant::EntriesLost), ..Plants::default() };
    let mut reopened = 0;
    for seed in 0..8 {
        let verdict = run(&Plan::draw_separate(seed), plants, Tell::default());
        // One with none behind it is missed only when the link comes anew: TCP loses nothing.
        let is_harmless = matches!(verdict.violation, None | Some(Violation::Missing(_)));
        assert!(is_harmless, "seed {seed}: {:?}", verdict.violation);
        reopened += verdict.marks.reopened;
    }
    assert!(reopened > 0);
}

/// Violations of the kinds expected; others would be found by chance, not for the reason planted.
fn find(what: &str, plants: Plants, expected: impl Fn(&Violation) -> bool) {
    let mut others = Vec::new();
    for seed in 0..PLANTED {
        match run(&Plan::draw_separate(seed), plants, Tell::default()).violation {
            Some(violation) if expected(&violation) => {
                println!("{what}: seed {seed}: {violation:?}");
                return;
            }
            Some(violation) => others.push(violation),
            None => {}
        }
    }
    panic!("{what} was not found within {PLANTED} seeds; but {others:?}");
}

#[test]
fn entries_confirmed_before_they_are_durable_are_found() {
    let plants = Plants { ring: Some(RingPlant::DurableAtSubmission), ..Plants::default() };
    find("confirmed before durable", plants, |found| {
        // A source is told of more than its log holds, or a home of less than it confirmed.
        matches!(found, Violation::Missing(_) | Violation::Renumbered(_) | Violation::Reordered(_))
    });
}

#[test]
fn sessions_that_are_not_announced_again_are_found() {
    let plants = Plants { link: Some(LinkPlant::NothingAnnounced), ..Plants::default() };
    find("sessions not announced again", plants, |found| matches!(found, Violation::Missing(_)));
}

#[test]
fn a_link_whose_end_is_not_noticed_is_found() {
    let plants = Plants { link: Some(LinkPlant::EndUnnoticed), ..Plants::default() };
    find("end of a link not noticed", plants, |found| {
        matches!(found, Violation::Leaked(_) | Violation::Missing(_))
    });
}
