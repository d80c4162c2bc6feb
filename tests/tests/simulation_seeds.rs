//! The whole system by seeds: clean, repeatable, and with every fault met on the way.

use hawser_tests::simulation::{Plan, Plants, Tell, Totals, run};

/// Seeds of the ordinary test run.
const SEEDS: u64 = 120;

#[test]
fn no_seed_loses_doubles_or_reorders_and_every_fault_is_met() {
    let mut totals = Totals::default();
    for seed in 0..SEEDS {
        let verdict = run(&Plan::draw(seed), Plants::default(), Tell::default());
        totals.add(&verdict);
        if let Some(violation) = verdict.violation {
            panic!(
                "{violation:?}\ncargo run -p hawser-tests --bin simulate -- --seed {seed} --trace"
            );
        }
    }
    println!("{totals}");
    assert_eq!(totals.never(), Vec::<String>::new(), "never hit in {SEEDS} seeds");
}

#[test]
fn a_seed_runs_the_same_way_every_time() {
    for seed in [1, 7, 42] {
        let play = || run(&Plan::draw(seed), Plants::default(), Tell::default());
        let (one, two) = (play(), play());
        assert_eq!((one.trace, one.rounds), (two.trace, two.rounds), "seed {seed}");
        assert!(one.messages > 0);
    }
}
