//! Searches against made-up servers.

use super::*;
use crate::schedule::Random;

const BOUNDS: Bounds = Bounds { from: 1000.0, to: 1_000_000.0, precision: 0.05 };

/// Lets a search run against a server that says what comes of a step.
fn search(
    bounds: Bounds,
    mut server: impl FnMut(&Step, &[Trial]) -> Outcome,
) -> (Answer, Vec<Trial>) {
    let mut search = Search::new(bounds);
    loop {
        match search.next() {
            Next::Done(answer) => return (answer, search.trials().to_vec()),
            Next::Run(step) => {
                let outcome = server(&step, search.trials());
                search.take(step, outcome);
            }
        }
    }
}

fn broke() -> Outcome {
    Outcome::Broke("p99 < 20ms".to_owned())
}

fn holds_up_to(capacity: f64) -> impl FnMut(&Step, &[Trial]) -> Outcome {
    move |step, _| if step.rate <= capacity { Outcome::Held } else { broke() }
}

#[test]
fn capacity_is_found_within_the_precision_wherever_it_is() {
    for capacity in [17.0, 999.0, 1000.0, 1001.0, 31_415.0, 500_000.0, 999_999.0] {
        let (answer, trials) = search(BOUNDS, holds_up_to(capacity));
        assert_eq!(answer.end, End::Found, "{capacity}: {trials:?}");
        let (good, bad) = (answer.last_good.unwrap(), answer.first_bad.unwrap());
        assert!(good <= capacity && capacity < bad && bad <= good * 1.05, "{capacity}: {answer:?}");
        assert_eq!(answer.broke_first.as_deref(), Some("p99 < 20ms"));
        assert!(trials.len() < 45, "{capacity}: {}", trials.len());
    }
}

#[test]
fn every_rate_that_broke_is_followed_by_a_low_one() {
    let (_, trials) = search(BOUNDS, holds_up_to(10_000.0));
    let pairs = trials.windows(2).filter(|pair| matches!(pair[0].outcome, Outcome::Broke(_)));
    let lows: Vec<_> = pairs.map(|pair| pair[1].step).collect();
    assert!(lows.len() > 3);
    let low = |step: &Step| step.purpose == Purpose::Recover && step.rate <= 2_500.0;
    assert!(lows.iter().all(low), "{lows:?}");
}

#[test]
fn both_ends_of_the_answer_were_tried_twice() {
    let (answer, trials) = search(BOUNDS, holds_up_to(10_000.0));
    for end in [answer.last_good, answer.first_bad] {
        let count = trials.iter().filter(|trial| Some(trial.step.rate) == end).count();
        assert!(count >= 2, "{end:?}: {trials:?}");
    }
}

#[test]
fn server_that_holds_everything_and_one_that_holds_nothing() {
    let (answer, trials) = search(BOUNDS, |_, _| Outcome::Held);
    assert_eq!((answer.end, answer.last_good), (End::HeldThroughout, Some(1_000_000.0)));
    assert_eq!((trials.len(), answer.first_bad), (11, None));
    let (answer, _) =
        search(
            BOUNDS,
            |step, _| {
                if step.purpose == Purpose::Recover { Outcome::Held } else { broke() }
            },
        );
    assert_eq!((answer.end, answer.last_good), (End::BrokeThroughout, None));
    assert_eq!(answer.broke_first.as_deref(), Some("p99 < 20ms"));
}

#[test]
fn limit_of_the_generator_ends_the_search_and_is_not_the_servers() {
    let (answer, trials) = search(BOUNDS, |step, _| {
        if step.rate > 8_000.0 { Outcome::Invalid("late".to_owned()) } else { Outcome::Held }
    });
    assert_eq!(answer.end, End::GeneratorLimit("late".to_owned()));
    assert_eq!((answer.last_good, answer.first_bad), (Some(8_000.0), None));
    assert_eq!(trials.len(), 4 + INVALID_MAX);
}

#[test]
fn run_that_somebody_else_disturbed_is_made_again() {
    let (answer, trials) = search(BOUNDS, |step, trials| match trials.len() {
        2 | 3 => Outcome::Invalid("late".to_owned()),
        _ if step.rate > 3_000.0 => broke(),
        _ => Outcome::Held,
    });
    assert_eq!(answer.end, End::Found);
    assert_eq!(trials[2].step, trials[4].step);
}

#[test]
fn server_that_stays_ill_ends_the_search() {
    let mut ill = false;
    let (answer, trials) = search(BOUNDS, |step, _| {
        ill |= step.rate > 5_000.0;
        if ill { broke() } else { Outcome::Held }
    });
    assert_eq!(answer.end, End::NoRecovery("p99 < 20ms".to_owned()));
    assert_eq!((answer.last_good, answer.first_bad), (Some(4_000.0), Some(8_000.0)));
    assert_eq!(trials.len(), 4 + RECOVERIES_MAX);
}

#[test]
fn server_that_recovers_late_is_waited_for() {
    let mut ill_for = 0;
    let (answer, _) = search(BOUNDS, |step, _| {
        if step.rate > 5_000.0 {
            ill_for = 2;
            return broke();
        }
        ill_for = i32::max(ill_for - 1, -1);
        if ill_for > 0 { broke() } else { Outcome::Held }
    });
    assert_eq!(answer.end, End::Found);
    let good = answer.last_good.unwrap();
    assert!((4_750.0..=5_000.0).contains(&good), "{good}");
}

#[test]
fn one_unlucky_run_does_not_set_the_capacity() {
    let mut unlucky = true;
    let (answer, trials) = search(BOUNDS, |step, _| {
        let hit = step.rate >= 4_000.0 && std::mem::take(&mut unlucky);
        if hit || step.rate > 40_000.0 { broke() } else { Outcome::Held }
    });
    assert_eq!(answer.end, End::Found, "{trials:?}");
    let good = answer.last_good.unwrap();
    assert!((38_000.0..=40_000.0).contains(&good), "{answer:?}");
}

#[test]
fn noisy_server_is_bracketed_by_its_soft_edge_in_bounded_steps() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let (answer, trials) = search(BOUNDS, |step, _| {
            // Holds surely below 18,000, surely not above 22,000, by chance between.
            let edge = 18_000.0 + f64::from(random.below(4_000));
            if step.rate <= edge { Outcome::Held } else { broke() }
        });
        assert!(trials.len() <= STEPS_MAX);
        assert_eq!(answer.end, End::Found, "seed {seed}: {trials:?}");
        let (good, bad) = (answer.last_good.unwrap(), answer.first_bad.unwrap());
        assert!(good >= 17_000.0 && bad <= 23_000.0, "seed {seed}: {answer:?}");
    }
}

#[test]
fn rates_are_rounded_to_three_digits() {
    assert_eq!([1234.0, 0.123_46, 99_999.0, 1.0].map(round), [1230.0, 0.123, 100_000.0, 1.0]);
    assert!((between(1000.0, 1000.5) - 1000.25).abs() < 0.01);
}
