//! What the schedule does to connections besides sending, over real rings, as the server sees it.

mod mock;
mod watch;

use std::{
    collections::HashSet,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use hawser_loadgen::{
    arguments::Options,
    report::{Report, Verdict},
    run::{self, MakeRing, Silent},
    scenario::{Close, Curve, Kind, Recipients, Scenario, Segment},
    source::{Given, Sources},
    tally::Stage,
    worker::RECEIVE_BYTES,
};
use hawser_ring::uring::{RingSettings, UringRing};
use mock::{Fault, Settings, Stall};
use watch::{Door, End, Life};

struct Urings;

impl MakeRing for Urings {
    type Ring = UringRing;

    fn make(&self, slots: u32, _tables: u32) -> Result<(UringRing, u64), String> {
        let settings = RingSettings {
            descriptors: slots,
            completion_entries: 1024,
            submission_entries: 256,
            buffers: 64,
            buffer_bytes: RECEIVE_BYTES,
        };
        let ring = UringRing::new(settings).map_err(|refusal| refusal.0)?;
        Ok((ring, self.now_us()))
    }

    fn now_us(&self) -> u64 {
        UringRing::now().monotonic_us
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Eight users for a second, at the pace of a test.
fn scenario(kind: Kind) -> Scenario {
    let mut scenario = Scenario::usual(kind);
    scenario.users = 8;
    scenario.duration = ms(1000);
    scenario.warm_up = Duration::ZERO;
    scenario.drain = ms(3000);
    scenario.connect.rate = 1000.0;
    scenario.recipients = Recipients::Pair;
    if kind.sends() {
        scenario.load.curve = Curve::Constant(200.0);
    }
    scenario
}

fn run_at(scenario: &Scenario, target: SocketAddr) -> Report {
    let mut options = Options::to(target);
    // Other tests share the machine: their load must not make a run invalid.
    options.schedule_lag_max = Duration::from_secs(5);
    run::run(scenario, &options, "test", u64::from(target.port()), Urings, &mut Silent)
        .expect("the server is there")
}

fn door(silence_max: Option<Duration>) -> Door {
    Door::before(mock::start(Fault::None), silence_max)
}

fn count(report: &Report, stage: Stage) -> u64 {
    report.quantiles(stage).count
}

/// Ends before the last connection of the run was made, of which those at the end of the run are
/// none.
fn ends_within(lives: &[Life]) -> Vec<End> {
    let last = lives.iter().map(|life| life.opened).max().expect("somebody connected");
    let ends = lives.iter().filter_map(|life| life.ended);
    ends.filter(|(_, at)| *at < last).map(|(end, _)| end).collect()
}

fn leaving(kind: Kind) -> Scenario {
    let mut scenario = scenario(kind);
    scenario.disturb.share = 1.0;
    scenario.disturb.rate = 20.0;
    scenario.disturb.lasts = ms(30);
    scenario
}

#[test]
fn connections_that_leave_are_reset_or_finished_by_choice_and_miss_nothing() {
    for (close, end) in [(Close::Rst, End::Reset), (Close::Fin, End::Fin)] {
        let mut scenario = leaving(Kind::Resume);
        scenario.connect.close = close;
        let door = door(None);
        let report = run_at(&scenario, door.address);
        assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.reasons);
        assert_eq!((report.delivered, report.lost), (report.offered, 0));
        assert!((15..=20).contains(&report.reconnects), "{}", report.reconnects);
        // The last ones may come back when nothing is measured any more.
        let timed = count(&report, Stage::Reconnect);
        assert!((report.reconnects - 2..=report.reconnects).contains(&timed), "{timed}");
        assert!(report.errors.values().all(|count| *count == 0), "{:?}", report.errors);
        let ends = ends_within(&door.lives());
        assert!(ends.len() > 10 && ends.iter().all(|one| *one == end), "{close:?}: {ends:?}");
    }
}

#[test]
fn network_change_comes_from_elsewhere_while_the_server_still_holds_the_old_connection() {
    let door = door(None);
    let report = run_at(&leaving(Kind::NetworkChange), door.address);
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.reasons);
    assert_eq!((report.delivered, report.lost), (report.offered, 0));
    assert!(report.reconnects >= 15, "{}", report.reconnects);
    let lives = door.lives();
    assert_eq!(ends_within(&lives), [], "the server has heard of some");
    let addresses: HashSet<_> = lives.iter().map(|life| life.from.ip()).collect();
    // At first all come from one; each that leaves leaves more than twice.
    assert!(addresses.len() >= 3, "{addresses:?}");
}

#[test]
fn dozing_connections_get_everything_when_they_read_again() {
    let mut scenario = scenario(Kind::SlowReader);
    scenario.recipients = Recipients::Random;
    scenario.disturb.share = 0.5;
    scenario.disturb.at = ms(200);
    scenario.disturb.lasts = ms(500);
    let report = run_at(&scenario, mock::start(Fault::None));
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.reasons);
    assert_eq!((report.delivered, report.reconnects), (report.offered, 0));
    // What is for those who sleep stands apart from what the others got.
    let held = report.latency(Stage::Held).unwrap().unwrap();
    let (apart, others) = (count(&report, Stage::Held), count(&report, Stage::Deliver));
    assert_eq!(apart + others, report.delivered);
    assert_eq!(others, count(&report, Stage::DeliverSent));
    let slow = apart - held.histogram().count_between(0, 100_000);
    // Half of the users sleep through half of the run, four tenths of which count as slow.
    assert!((15..=60).contains(&slow), "{slow} of {apart} were slow");
}

#[test]
fn silent_connections_are_noted_when_the_server_shuts_them_out() {
    let mut scenario = scenario(Kind::HalfOpen);
    scenario.duration = ms(3500);
    scenario.disturb.share = 0.5;
    scenario.disturb.at = ms(1200);
    let door = door(Some(ms(1700)));
    let report = run_at(&scenario, door.address);
    assert_eq!(count(&report, Stage::Detect), 4, "{:?}", report.errors);
    let detect = report.quantiles(Stage::Detect);
    // The last beat was at most a heartbeat, 1 s, before it fell silent.
    assert!(detect.max >= 690_000, "{detect:?}");
    assert_eq!(report.reconnects, 4);
    let lives = door.lives();
    let ends = lives.iter().filter_map(|life| life.ended);
    let shut_out = ends.filter(|(end, _)| *end == End::Silent).count();
    assert_eq!(shut_out, 4, "those who speak are left alone");
}

#[test]
fn those_who_return_get_what_they_missed_and_it_is_timed() {
    let mut scenario = scenario(Kind::Offline);
    scenario.recipients = Recipients::Random;
    scenario.disturb.share = 0.5;
    scenario.disturb.at = ms(800);
    let door = door(None);
    let report = run_at(&scenario, door.address);
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.reasons);
    assert_eq!((report.delivered, report.reconnects), (report.offered, 4));
    assert_eq!((count(&report, Stage::Sync), count(&report, Stage::Reconnect)), (4, 4));
    assert!(report.quantiles(Stage::Sync).max >= report.quantiles(Stage::Reconnect).max);
    let held = report.latency(Stage::Held).unwrap().unwrap();
    assert_eq!(count(&report, Stage::Held) + count(&report, Stage::Deliver), report.delivered);
    let slow = count(&report, Stage::Held) - held.histogram().count_between(0, 100_000);
    assert!(slow >= 30, "half of the users were away, {slow} deliveries were late");
}

#[test]
fn storm_brings_everybody_up_at_once_and_again() {
    let mut scenario = scenario(Kind::Storm);
    scenario.users = 100;
    scenario.connect.rate = 100_000.0;
    scenario.disturb.share = 1.0;
    scenario.disturb.at = ms(300);
    scenario.disturb.lasts = ms(50);
    let report = run_at(&scenario, mock::start(Fault::None));
    assert_eq!(count(&report, Stage::Connect), 100);
    assert_eq!((count(&report, Stage::Reconnect), report.reconnects), (100, 100));
    assert_eq!(report.connections_held, 100);
}

#[test]
fn replies_follow_each_other_as_often_as_told() {
    let mut scenario = scenario(Kind::Replies);
    scenario.replies.hops = 3;
    scenario.replies.think = ms(10);
    scenario.duration = ms(1500);
    let segment = |lasts, rate| Segment { lasts, from: rate, to: rate };
    scenario.load.curve = Curve::Segments(vec![segment(ms(1000), 100.0), segment(ms(500), 0.0)]);
    let report = run_at(&scenario, mock::start(Fault::None));
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.reasons);
    assert_eq!((report.offered, report.delivered), (400, 400));
}

#[test]
fn stall_is_in_the_latency_of_the_replies_behind_it() {
    let mut scenario = scenario(Kind::Replies);
    scenario.replies.hops = 3;
    scenario.replies.think = ms(5);
    scenario.load.curve = Curve::Constant(100.0);
    scenario.duration = ms(2000);
    let stall = Some(Stall { at: ms(500), lasts: ms(600) });
    let server = mock::start_with(Settings { stall, ..Settings::default() });
    let report = run_at(&scenario, server.address);
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.reasons);
    let latencies = report.latency(Stage::Deliver).unwrap().unwrap();
    let slow = latencies.count() - latencies.histogram().count_between(0, 200_000);
    // About 40 first messages were intended more than 200 ms before the end of the stall. Counted
    // from when its question really came, no reply would be slow.
    assert!((100..=200).contains(&slow), "{slow} of {}", latencies.count());
}

#[test]
fn place_that_is_taken_is_counted_and_moved_on_from() {
    let target = mock::start(Fault::None);
    let run = u64::from(target.port());
    let sources = Sources::new(target.ip(), &Given::default(), 8, run).unwrap();
    let taken: Vec<_> =
        [0, 5].map(|at| TcpListener::bind(sources.of(at, 0)).unwrap()).into_iter().collect();
    let report = run_at(&scenario(Kind::Hold), target);
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.reasons);
    assert_eq!((report.address_conflicts, report.connections_min), (2, 8));
    assert!(report.errors.values().all(|count| *count == 0), "{:?}", report.errors);
    drop(taken);
}

#[test]
fn addresses_named_for_the_run_are_used() {
    let door = door(None);
    let mut options = Options::to(door.address);
    options.source = "127.9.0.0/29".parse().unwrap();
    options.schedule_lag_max = Duration::from_secs(5);
    let report =
        run::run(&leaving(Kind::Resume), &options, "test", 1, Urings, &mut Silent).unwrap();
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.reasons);
    let given = |life: &Life| life.from.ip().to_string().starts_with("127.9.0.");
    assert!(door.lives().iter().all(given), "{:?}", door.lives());
}
