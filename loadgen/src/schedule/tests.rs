//! What every schedule keeps to, and what the schedule of each kind says.

use std::{collections::HashSet, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::scenario::{Arrivals, Curve, Segment};

const ARRIVALS: [Arrivals; 2] = [Arrivals::Constant, Arrivals::Poisson];

fn scenario(kind: Kind) -> Scenario {
    let mut scenario = Scenario::usual(kind);
    (scenario.users, scenario.devices) = (100, 1);
    scenario.disturb.share = 0.1;
    scenario
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn all(scenario: &Scenario, seed: u64) -> Vec<Intent> {
    Schedule::new(scenario, seed, 0..scenario.users).collect()
}

/// The intents of so many workers, put together again.
fn shares(scenario: &Scenario, seed: u64, workers: u32) -> Vec<Intent> {
    let share = scenario.users.div_ceil(workers);
    let starts = (0..scenario.users).step_by(share as usize);
    let mut intents: Vec<Intent> = starts
        .flat_map(|start| {
            let users = start..(start + share).min(scenario.users);
            let own: Vec<Intent> = Schedule::new(scenario, seed, users.clone()).collect();
            assert!(own.is_sorted_by_key(|intent| intent.at_us), "a worker's intents in order");
            let owns = |intent: &Intent| users.contains(&(intent.connection / scenario.devices));
            assert!(own.iter().all(owns), "a worker has intents of its own connections only");
            own
        })
        .collect();
    intents.sort_by_key(|intent| (intent.at_us, intent.connection));
    intents
}

fn leaves(intents: &[Intent]) -> Vec<(u64, u32, u64)> {
    let of_leave = |intent: &Intent| match intent.act {
        Act::Leave { back_after_us, .. } => {
            Some((intent.at_us, intent.connection, back_after_us.unwrap_or(0)))
        }
        _ => None,
    };
    intents.iter().filter_map(of_leave).collect()
}

#[test]
fn same_seed_gives_the_same_intents_byte_for_byte_and_another_seed_others() {
    for arrivals in ARRIVALS {
        let mut chat = scenario(Kind::Chat);
        chat.load.arrivals = arrivals;
        let bytes = |seed| format!("{:?}", all(&chat, seed));
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }
}

#[test]
fn constant_arrivals_have_equal_distances_and_poisson_ones_exponential() {
    let mut chat = scenario(Kind::Chat);
    let constant = all(&chat, 3);
    assert_eq!(constant.len(), 10_000);
    let near = |pair: &[Intent]| (999..=1001).contains(&(pair[1].at_us - pair[0].at_us));
    assert!(constant.windows(2).all(near));
    chat.load.arrivals = Arrivals::Poisson;
    chat.duration = seconds(100.0);
    let poisson = all(&chat, 3);
    // Four standard deviations of 100,000.
    assert!((98_735..=101_265).contains(&poisson.len()), "{}", poisson.len());
    let distances: Vec<f64> =
        poisson.windows(2).map(|pair| (pair[1].at_us - pair[0].at_us) as f64).collect();
    for (beyond_us, share) in [(1000.0, 0.3679), (2000.0, 0.1353), (100.0, 0.9048)] {
        let longer = distances.iter().filter(|distance| **distance >= beyond_us).count();
        let found = longer as f64 / distances.len() as f64;
        assert!((found - share).abs() < 0.01, "above {beyond_us} us: {found}, not {share}");
    }
    // The variance of counts is their mean: blocks are not evened out.
    let mut counts = [0.0f64; 1000];
    for intent in &poisson {
        counts[(intent.at_us / 100_000) as usize] += 1.0;
    }
    let mean = counts.iter().sum::<f64>() / 1000.0;
    let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 999.0;
    assert!((80.0..125.0).contains(&variance), "mean {mean}, variance {variance}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn workers_together_send_what_one_would_and_the_curves_integral(
        seed: u64,
        workers in 1u32..8,
        parts in prop::collection::vec((0.1f64..3.0, 0.0f64..2000.0, 0.0f64..2000.0), 1..5),
        poisson: bool,
    ) {
        let mut chat = scenario(Kind::Chat);
        let segments = parts.iter().map(|(lasts, from, to)| Segment {
            lasts: seconds(*lasts),
            from: *from,
            to: *to,
        });
        chat.load.curve = Curve::Segments(segments.collect());
        chat.duration = chat.load.curve.length().unwrap();
        if poisson {
            chat.load.arrivals = Arrivals::Poisson;
        }
        let together = shares(&chat, seed, workers);
        let mut alone = all(&chat, seed);
        alone.sort_by_key(|intent| (intent.at_us, intent.connection));
        prop_assert_eq!(&together, &alone);
        // Up to any time, not only to the end.
        let integral = crate::scenario::curve::Integral::from(&chat.load.curve);
        for place in [0.25, 0.5, 0.75, 1.0] {
            let until_s = chat.duration.as_secs_f64() * place;
            let wanted = integral.until(until_s);
            let sent = together.iter().filter(|one| (one.at_us as f64) < until_s * 1e6).count();
            let off = (sent as f64 - wanted).abs();
            let allowed = if poisson { 6.0 * wanted.sqrt() + 6.0 } else { 1.001 };
            prop_assert!(off <= allowed, "{} sent, {} wanted at {}", sent, wanted, until_s);
        }
    }

    #[test]
    fn acts_are_the_same_however_many_workers(seed: u64, workers in 1u32..9, kind in 0usize..6) {
        let kinds = [
            Kind::Storm,
            Kind::Offline,
            Kind::Resume,
            Kind::NetworkChange,
            Kind::SlowReader,
            Kind::HalfOpen,
        ];
        let mut one = scenario(kinds[kind]);
        (one.users, one.devices, one.duration) = (97, 2, seconds(10.0));
        let disturb = &mut one.disturb;
        (disturb.share, disturb.rate) = (0.37, 40.0);
        (disturb.at, disturb.every) = (seconds(1.0), seconds(3.0));
        (disturb.lasts, disturb.spread) = (seconds(1.0), seconds(0.7));
        let mut alone = all(&one, seed);
        alone.sort_by_key(|intent| (intent.at_us, intent.connection));
        prop_assert!(!alone.is_empty());
        prop_assert_eq!(shares(&one, seed, workers), alone);
    }

    #[test]
    fn every_group_has_its_members_and_every_user_finds_his_groups(
        users in 1u32..200,
        count in 1u32..50,
        members in 0u32..250,
    ) {
        let groups = Groups { count, members };
        for group in 0..count {
            let of_group: HashSet<u32> =
                (0..groups.size(users)).map(|place| groups.member(group, place, users)).collect();
            prop_assert_eq!(of_group.len() as u32, groups.size(users));
            for user in 0..users {
                let inside = of_group.contains(&user);
                prop_assert_eq!(groups.contains(group, user, users), inside);
                prop_assert_eq!(groups.of(user, users).any(|one| one == group), inside);
            }
        }
        for user in 0..users {
            let of_user: Vec<u32> = groups.of(user, users).collect();
            let different: HashSet<u32> = of_user.iter().copied().collect();
            prop_assert_eq!(of_user.len(), different.len());
        }
    }
}

#[test]
fn share_is_marked_evenly_and_exactly() {
    for share in [0.001, 0.1, 0.25, 0.3333, 0.5, 0.999, 1.0] {
        let marked = |below: u32| (0..below).filter(|index| is_marked(*index, share)).count();
        for below in [10, 1000, 12_345] {
            let wanted = f64::from(below) * share;
            let found = marked(below) as f64;
            assert!(found <= wanted + 0.001 && found > wanted - 1.0, "{found} of {wanted}");
        }
    }
}

#[test]
fn pairs_write_to_each_other_and_nobody_to_himself() {
    let mut chat = scenario(Kind::Chat);
    chat.recipients = Recipients::Pair;
    for intent in all(&chat, 4) {
        assert_eq!(intent.act, Act::Send { to: intent.connection ^ 1 });
    }
    chat.recipients = Recipients::Random;
    let mut contacts = HashSet::new();
    for intent in all(&chat, 4) {
        let Act::Send { to } = intent.act else { panic!("{intent:?}") };
        assert!(to < 100 && to != intent.connection);
        contacts.insert((intent.connection, to));
    }
    assert!((600..=800).contains(&contacts.len()), "{}", contacts.len());
}

#[test]
fn echo_is_sent_to_oneself() {
    let mut chat = scenario(Kind::Chat);
    chat.protocol = Protocol::Echo;
    assert!(all(&chat, 4).iter().all(|one| one.act == Act::Send { to: one.connection }));
}

#[test]
fn every_device_of_a_user_sends() {
    let mut devices = scenario(Kind::Devices);
    devices.devices = 3;
    let senders: HashSet<u32> = all(&devices, 1).iter().map(|one| one.connection).collect();
    assert_eq!(senders.len(), 300);
}

#[test]
fn members_publish_to_their_groups() {
    let mut fanout = scenario(Kind::Fanout);
    fanout.groups = Groups { count: 7, members: 30 };
    let mut groups = HashSet::new();
    for intent in all(&fanout, 1) {
        let Act::Publish { group } = intent.act else { panic!("{intent:?}") };
        assert!(fanout.groups.contains(group, intent.connection, fanout.users));
        groups.insert(group);
    }
    assert_eq!(groups.len(), 7);
}

#[test]
fn storm_leaves_at_one_instant_and_comes_back_within_the_spread() {
    let mut storm = scenario(Kind::Storm);
    storm.duration = seconds(20.0);
    let disturb = &mut storm.disturb;
    (disturb.share, disturb.at, disturb.every) = (1.0, seconds(5.0), seconds(10.0));
    (disturb.lasts, disturb.spread) = (seconds(1.0), seconds(2.0));
    let left = leaves(&all(&storm, 1));
    assert_eq!(left.len(), 200);
    for (number, (at_us, connection, back_us)) in left.iter().enumerate() {
        let wave = number as u64 / 100;
        assert_eq!(
            (*at_us, u64::from(*connection)),
            (5_000_000 + wave * 10_000_000, number as u64 % 100)
        );
        assert!((1_000_000..3_000_000).contains(back_us), "{back_us}");
    }
    let late = left.iter().filter(|(_, _, back_us)| *back_us > 2_000_000).count();
    assert!((60..140).contains(&late), "{late} of 200 come back in the second half");
    storm.disturb.at = Duration::ZERO;
    assert_eq!(all(&storm, 1), []);
}

#[test]
fn storm_that_would_outlast_the_run_is_left_out() {
    let mut storm = scenario(Kind::Storm);
    let disturb = &mut storm.disturb;
    (disturb.share, disturb.at, disturb.every) = (1.0, seconds(5.0), seconds(10.0));
    (disturb.lasts, disturb.spread) = (seconds(1.0), seconds(2.0));
    for (duration, waves) in [(17.9, 1), (18.0, 2), (25.5, 2)] {
        storm.duration = seconds(duration);
        assert_eq!(leaves(&all(&storm, 1)).len(), waves * 100, "{duration} s");
    }
}

#[test]
fn away_users_leave_first_are_written_to_and_return_once() {
    let mut offline = scenario(Kind::Offline);
    (offline.devices, offline.disturb.share) = (2, 0.3);
    (offline.disturb.at, offline.disturb.spread) = (seconds(5.0), seconds(2.0));
    let intents = all(&offline, 1);
    let away = |connection: u32| is_marked(connection / 2, 0.3);
    assert_eq!(leaves(&intents).len(), 60);
    let mut returned = HashSet::new();
    let mut written = 0;
    for intent in &intents {
        match intent.act {
            Act::Leave { back_after_us, silently, .. } => {
                assert_eq!((intent.at_us, back_after_us, silently), (0, None, false));
                assert!(away(intent.connection));
            }
            Act::Return => {
                assert!((5_000_000..7_000_000).contains(&intent.at_us));
                assert!(away(intent.connection) && returned.insert(intent.connection));
            }
            Act::Send { to } => {
                assert!(!away(intent.connection), "who is away does not send");
                written += u32::from(is_marked(to, 0.3));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(returned.len(), 60);
    assert!((2000..4000).contains(&written), "{written} of 10,000 to 30 of 100");
}

#[test]
fn connections_leave_at_the_rate_and_each_again_only_after_all_others() {
    for (kind, silent) in [(Kind::Resume, false), (Kind::NetworkChange, true)] {
        for share in [1.0, 0.3, 0.07] {
            let mut resume = scenario(kind);
            (resume.disturb.share, resume.disturb.rate) = (share, 20.0);
            (resume.disturb.at, resume.disturb.lasts) = (seconds(2.0), seconds(0.1));
            let intents = all(&resume, 1);
            let left = leaves(&intents);
            assert_eq!(left.len(), 160, "8 s at 20/s");
            assert!(left[0].0 >= 2_000_000 && left.iter().all(|one| one.2 == 100_000));
            let marked = (100.0 * share + 1e-9) as usize;
            let round: HashSet<u32> = left[..marked].iter().map(|one| one.1).collect();
            assert_eq!(round.len(), marked, "share {share}");
            assert!(round.iter().all(|connection| is_marked(*connection, share)));
            for intent in intents {
                if let Act::Leave { elsewhere, silently, .. } = intent.act {
                    assert_eq!((elsewhere, silently), (silent, silent));
                }
            }
        }
    }
}

#[test]
fn slow_readers_doze_in_waves_and_do_not_send() {
    let mut slow = scenario(Kind::SlowReader);
    (slow.disturb.at, slow.disturb.every) = (seconds(2.0), seconds(4.0));
    (slow.disturb.lasts, slow.disturb.spread) = (seconds(3.0), seconds(1.0));
    let intents = all(&slow, 1);
    let dozes: Vec<&Intent> =
        intents.iter().filter(|one| matches!(one.act, Act::Doze { .. })).collect();
    assert_eq!(dozes.len(), 20);
    for (number, doze) in dozes.iter().enumerate() {
        let begins = 2_000_000 + number as u64 / 10 * 4_000_000;
        assert!((begins..begins + 1_000_000).contains(&doze.at_us), "{doze:?}");
        assert_eq!(doze.act, Act::Doze { for_us: 3_000_000 });
        assert!(is_marked(doze.connection, 0.1));
    }
    let sent = intents.iter().filter(|one| matches!(one.act, Act::Send { .. }));
    assert!(sent.into_iter().all(|one| !is_marked(one.connection, 0.1)));
}

#[test]
fn half_open_ones_hush_once() {
    let mut hush = scenario(Kind::HalfOpen);
    (hush.disturb.at, hush.disturb.every) = (seconds(2.0), seconds(1.0));
    let intents = all(&hush, 1);
    assert_eq!(intents.len(), 10);
    assert!(intents.iter().all(|one| one.at_us == 2_000_000 && one.act == Act::Hush));
}

#[test]
fn nobody_sends_by_a_schedule_where_nothing_is_sent_or_the_loop_is_closed() {
    for kind in [Kind::Hold, Kind::Heartbeats] {
        assert_eq!(all(&scenario(kind), 1), []);
    }
    let mut closed = scenario(Kind::Chat);
    closed.load.in_flight = Some(4);
    assert_eq!(all(&closed, 1), []);
    let chat = scenario(Kind::Chat);
    assert_eq!(Schedule::new(&chat, 1, 5..5).next(), None);
}

/// What each built-in scenario's schedule does, in numbers: messages, leaves, other acts, and the
/// last instant, seconds.
#[test]
fn built_in_schedules_do_what_they_say() {
    for (name, messages, left, others, last_s) in [
        ("hold", 0, 0, 0, 0),
        ("storm", 0, 0, 0, 0),
        ("storm-again", 0, 15_000, 0, 29),
        ("heartbeats", 0, 0, 0, 0),
        ("chat", 10_000, 0, 0, 9),
        ("replies", 5000, 0, 0, 19),
        ("fanout", 1000, 0, 0, 9),
        ("broadcast", 100, 0, 0, 9),
        ("offline", 20_000, 330, 330, 19),
        ("devices", 5000, 0, 0, 9),
        ("resume", 20_000, 900, 0, 19),
        ("network-change", 20_000, 360, 0, 19),
        ("slow-reader", 50_000, 0, 150, 24),
        ("half-open", 0, 0, 100, 9),
        ("restart", 30_000, 0, 0, 29),
    ] {
        let scenario = crate::scenario::builtin::scenario(name).unwrap();
        let intents = all(&scenario, 1);
        let sends = |one: &&Intent| matches!(one.act, Act::Send { .. } | Act::Publish { .. });
        let sent = intents.iter().filter(sends).count();
        let leaving = leaves(&intents).len();
        let last = intents.last().map_or(0, |one| one.at_us / 1_000_000);
        let found = (sent, leaving, intents.len() - sent - leaving, last);
        assert_eq!(found, (messages, left, others, last_s), "{name}");
        assert!(intents.is_sorted_by_key(|one| one.at_us), "{name}");
    }
}

#[test]
fn heartbeat_mix_has_its_shares() {
    let scenario = crate::scenario::builtin::scenario("heartbeats").unwrap();
    for (seconds, share) in [(30, 0.5), (60, 0.3), (240, 0.2)] {
        let asked = |connection: &u32| scenario.heartbeat_s(*connection) == seconds;
        let found = (0..10_000).filter(asked).count() as f64 / 10_000.0;
        assert!((found - share).abs() < 0.01, "{seconds} s: {found}, not {share}");
    }
}
