//! One client at a time through days of its life: pushes, beats, moves, and a path that forgets a
//! connection which is quiet for too long.
//!
//! A dead path is noticed by the next beat that is not answered; what was pushed meanwhile waits
//! until the client is back. Losses of single packets are TCP's affair and stand aside.

use super::{
    network::{Class, Network, Radio},
    schedule::{Kind, Schedule},
};

/// A beat that is not answered for so long has failed, seconds.
pub const BEAT_WAIT_S: f64 = 8.0;
/// From noticing to being back, seconds.
pub const RECONNECT_S: f64 = 2.0;
/// Packets of a beat at the server: beat, answer, acknowledgement.
const PACKETS_PER_BEAT: f64 = 3.0;
/// Packets of a reconnect at the server: handshake, login, resume, their acknowledgements.
const PACKETS_PER_RECONNECT: f64 = 12.0;
const DAY_S: f64 = 86_400.0;
/// The fleet knows a path's time-out within a quarter.
const FLEET_SKEW: f64 = 0.25;

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Clients.
    pub clients: u32,
    /// Days of each.
    pub days: f64,
    /// Same seed, same result.
    pub seed: u64,
}

/// What a schedule costs and how well it serves, means over clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Outcome {
    /// Time during which a push would not have arrived, seconds a day.
    pub missed_s_per_day: f64,
    /// From a path's death until the client has noticed, seconds.
    pub detection_s: f64,
    /// Connections that the path cut, a day.
    pub cuts_per_day: f64,
    /// Packets per second at the server for a million clients.
    pub packets_per_second: f64,
    /// Energy of beats and reconnects, joules a day.
    pub joules_per_day: f64,
    /// Mean time between beats, seconds.
    pub interval_s: f64,
}

/// Random numbers of one client (splitmix64).
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Time to the next event of a Poisson process, seconds.
    fn wait_s(&mut self, per_hour: f64) -> f64 {
        if per_hour <= 0.0 { f64::INFINITY } else { -(1.0 - self.unit()).ln() * 3600.0 / per_hour }
    }

    fn pick<'a, T>(&mut self, items: &'a [T], share: impl Fn(&T) -> f64) -> &'a T {
        let mut left = self.unit() * items.iter().map(&share).sum::<f64>();
        for item in items {
            left -= share(item);
            if left < 0.0 {
                return item;
            }
        }
        items.last().expect("there is at least one")
    }
}

/// A path that forgets a connection which was quiet for too long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Path {
    /// Silence after which it does, seconds.
    pub cut_s: f64,
    /// Last packet either way, seconds.
    pub spoken_s: f64,
}

impl Path {
    /// When it forgets the connection if nothing is said any more, seconds.
    #[must_use]
    pub fn forgets_at_s(&self) -> f64 {
        self.spoken_s + self.cut_s
    }
}

/// Runs all clients of a class under a schedule.
#[must_use]
pub fn simulate(class: &Class, kind: Kind, settings: Settings) -> Outcome {
    let mut sum = Sums::default();
    for client in 0..settings.clients {
        let seed = settings.seed ^ (u64::from(client) << 20) ^ 0x6861_7773_6572;
        Client::new(class, kind, Random(seed), settings.days * DAY_S).live(&mut sum);
    }
    let days = f64::from(settings.clients) * settings.days;
    Outcome {
        missed_s_per_day: sum.missed_s / days,
        detection_s: if sum.deaths == 0.0 { 0.0 } else { sum.detection_s / sum.deaths },
        cuts_per_day: sum.cuts / days,
        packets_per_second: sum.packets / (days * DAY_S) * 1e6,
        joules_per_day: sum.joules / days,
        interval_s: if sum.beats == 0.0 { f64::INFINITY } else { days * DAY_S / sum.beats },
    }
}

#[derive(Default)]
struct Sums {
    missed_s: f64,
    detection_s: f64,
    deaths: f64,
    cuts: f64,
    packets: f64,
    joules: f64,
    beats: f64,
}

struct Client<'a> {
    class: &'a Class,
    kind: Kind,
    random: Random,
    end_s: f64,
    network: &'a Network,
    path: Path,
    schedule: Schedule,
    /// The radio sleeps from then on.
    awake_until_s: f64,
    /// The path is dead since then.
    dead_since_s: Option<f64>,
}

impl<'a> Client<'a> {
    fn new(class: &'a Class, kind: Kind, mut random: Random, end_s: f64) -> Self {
        let (network, cut_s, schedule) = arrive(class, kind, &mut random);
        Self {
            class,
            kind,
            random,
            end_s,
            network,
            path: Path { cut_s, spoken_s: 0.0 },
            schedule,
            awake_until_s: 0.0,
            dead_since_s: None,
        }
    }

    fn live(mut self, sum: &mut Sums) {
        let mut push_s = self.random.wait_s(self.class.pushes_per_hour);
        let mut move_s = self.random.wait_s(self.network.moves_per_hour);
        loop {
            let beat_s = self.path.spoken_s + self.schedule.next_s();
            let now_s = push_s.min(move_s).min(beat_s);
            if now_s >= self.end_s {
                return;
            }
            self.look_at_path(now_s, sum);
            if now_s == push_s {
                push_s = now_s + self.random.wait_s(self.class.pushes_per_hour);
                if self.dead_since_s.is_none() {
                    // It would have come without any schedule: its energy is not the schedule's, but
                    // the radio is awake behind it.
                    self.speak(now_s, None);
                }
            } else if now_s == move_s {
                self.leave(now_s, sum);
                move_s = now_s + self.random.wait_s(self.network.moves_per_hour);
            } else {
                self.beat(now_s, sum);
            }
        }
    }

    /// Silence may have outlasted what the path remembers.
    fn look_at_path(&mut self, now_s: f64, sum: &mut Sums) {
        let cut_at_s = self.path.forgets_at_s();
        if self.dead_since_s.is_none() && now_s >= cut_at_s {
            self.dead_since_s = Some(cut_at_s);
            sum.cuts += 1.0;
        }
    }

    fn beat(&mut self, now_s: f64, sum: &mut Sums) {
        let silence_s = now_s - self.path.spoken_s;
        sum.beats += 1.0;
        sum.packets += PACKETS_PER_BEAT;
        self.speak(now_s, Some(sum));
        match self.dead_since_s {
            None => self.schedule.on_success(silence_s, now_s),
            Some(_) => {
                self.schedule.on_failure(silence_s, now_s);
                self.come_back(now_s + BEAT_WAIT_S, sum);
            }
        }
    }

    /// To another network: the client itself knows that its connection is gone.
    fn leave(&mut self, now_s: f64, sum: &mut Sums) {
        self.schedule.on_disconnect();
        let (network, cut_s, schedule) = arrive(self.class, self.kind, &mut self.random);
        (self.network, self.path.cut_s, self.schedule) = (network, cut_s, schedule);
        self.come_back(now_s, sum);
    }

    fn come_back(&mut self, noticed_s: f64, sum: &mut Sums) {
        if let Some(since_s) = self.dead_since_s.take() {
            sum.deaths += 1.0;
            sum.detection_s += noticed_s - since_s;
            sum.missed_s += noticed_s + RECONNECT_S - since_s;
        }
        sum.packets += PACKETS_PER_RECONNECT;
        self.speak(noticed_s + RECONNECT_S, Some(sum));
    }

    /// A packet: the radio is awake for its tail behind it.
    fn speak(&mut self, now_s: f64, cause: Option<&mut Sums>) {
        let Radio { promotion_j, tail_s, tail_w } = self.network.radio;
        let until_s = now_s + tail_s;
        if let Some(sum) = cause {
            let asleep = now_s > self.awake_until_s;
            let longer_s = if asleep { tail_s } else { until_s - self.awake_until_s };
            sum.joules += longer_s * tail_w + if asleep { promotion_j } else { 0.0 };
        }
        self.path.spoken_s = now_s;
        self.awake_until_s = until_s;
    }
}

fn arrive<'a>(class: &'a Class, kind: Kind, random: &mut Random) -> (&'a Network, f64, Schedule) {
    let (network, _) = random.pick(class.networks, |(_, share)| *share);
    let cut_s = random.pick(network.time_outs, |time_out| time_out.share).seconds;
    let skew = 1.0 + FLEET_SKEW * (2.0 * random.unit() - 1.0);
    (network, cut_s, Schedule::new(kind, cut_s, skew))
}

/// Peak of reconnects in any second when `clients` come back within `spread_s`, each at a random
/// moment of it.
#[must_use]
pub fn storm_peak_per_s(clients: u64, spread_s: f64, seed: u64) -> u64 {
    let buckets = (spread_s.ceil() as usize).max(1);
    let mut counts = vec![0_u64; buckets];
    let mut random = Random(seed);
    // A sample of a million, scaled: the peak of Poisson counts of that size is within a percent.
    let sample = clients.min(1_000_000);
    for _ in 0..sample {
        let at = (random.unit() * spread_s) as usize;
        counts[at.min(buckets - 1)] += 1;
    }
    let peak = counts.into_iter().max().unwrap_or(0);
    (peak as f64 * clients as f64 / sample.max(1) as f64).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::network::{CLASSES, LTE_2012, TimeOut};

    const SETTINGS: Settings = Settings { clients: 20, days: 2.0, seed: 7 };

    /// A path that cuts after 300 s, nobody moves, nothing is pushed.
    const STILL: Network = Network {
        name: "still",
        time_outs: &[TimeOut { seconds: 300.0, share: 1.0 }],
        moves_per_hour: 0.0,
        radio: LTE_2012,
        source: "made up for the tests",
    };
    const QUIET: Class = Class { name: "quiet", networks: &[(STILL, 1.0)], pushes_per_hour: 0.0 };

    #[test]
    fn a_beat_below_the_time_out_never_loses_the_path_and_costs_what_the_formula_says() {
        let outcome = simulate(&QUIET, Kind::Fixed(270.0), SETTINGS);
        assert_eq!((outcome.cuts_per_day, outcome.missed_s_per_day), (0.0, 0.0));
        let beats = 86_400.0 / 270.0;
        let joules = beats * (LTE_2012.promotion_j + LTE_2012.tail_s * LTE_2012.tail_w);
        assert!((outcome.joules_per_day / joules - 1.0).abs() < 0.01, "{outcome:?}");
        let packets = 1e6 * 3.0 / 270.0;
        assert!((outcome.packets_per_second / packets - 1.0).abs() < 0.01, "{outcome:?}");
    }

    #[test]
    fn a_beat_above_it_is_cut_each_time_and_noticed_when_the_beat_fails() {
        let outcome = simulate(&QUIET, Kind::Fixed(400.0), SETTINGS);
        // Dead from 300 s on, found out at 400 s and eight more.
        assert!((outcome.detection_s - 108.0).abs() < 0.01, "{outcome:?}");
        let cycle_s = 400.0 + BEAT_WAIT_S + RECONNECT_S;
        let cuts = 86_400.0 / cycle_s;
        assert!((outcome.cuts_per_day / cuts - 1.0).abs() < 0.01, "{outcome:?}");
        assert!((outcome.missed_s_per_day / (cuts * 110.0) - 1.0).abs() < 0.01, "{outcome:?}");
    }

    #[test]
    fn the_adaptive_schedules_find_an_interval_below_the_time_out() {
        for kind in [Kind::Mars, Kind::Bisection, Kind::Fleet] {
            let outcome = simulate(&QUIET, kind, Settings { days: 14.0, ..SETTINGS });
            assert!((200.0..300.0).contains(&outcome.interval_s), "{kind:?}: {outcome:?}");
            // Searching on the live connection overshoots a dozen times in two weeks.
            assert!(outcome.missed_s_per_day < 240.0, "{kind:?}: {outcome:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_days() {
        for class in &CLASSES {
            let one = simulate(class, Kind::Mars, SETTINGS);
            assert_eq!(one, simulate(class, Kind::Mars, SETTINGS));
            assert_ne!(one, simulate(class, Kind::Mars, Settings { seed: 8, ..SETTINGS }));
        }
    }

    #[test]
    fn a_storm_that_is_spread_has_a_peak_little_above_its_mean() {
        let peak = storm_peak_per_s(1_000_000, 50.0, 1);
        assert!((20_000..21_000).contains(&peak), "{peak}");
        assert_eq!(storm_peak_per_s(1_000, 1.0, 1), 1_000);
    }
}
