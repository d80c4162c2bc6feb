//! From outcomes to an interval: the front of what cannot be bettered in both cost and service, and
//! the choice on it.

use super::{
    network::{CLASSES, Class},
    schedule::Kind,
    simulate::{Outcome, Settings, simulate},
};
use std::fmt::Write as _;

/// Fixed intervals that are tried, seconds.
pub const FIXED_S: [f64; 12] =
    [15.0, 25.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 240.0, 300.0, 480.0, 600.0];

/// A schedule and what came of it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Tried {
    /// The schedule.
    pub schedule: String,
    /// Its interval, if it is a fixed one, seconds.
    pub fixed_s: Option<f64>,
    /// What came of it.
    pub outcome: Outcome,
    /// No other one is better in one of missed time, packets and energy without being worse in
    /// another.
    pub on_front: bool,
}

/// One class with all schedules tried on it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Report {
    /// The class.
    pub class: &'static str,
    /// All schedules.
    pub tried: Vec<Tried>,
    /// Interval for the gateway's configuration, seconds.
    pub recommended_s: u64,
    /// Why this one.
    pub reason: String,
}

/// What is asked of an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wishes {
    /// Share of the day in which a push may not arrive.
    pub missed_share_max: f64,
    /// Energy a day, joules.
    pub joules_max: f64,
}

impl Default for Wishes {
    /// A minute and a half a day, and a tenth of a 55 kJ battery.
    fn default() -> Self {
        Self { missed_share_max: 0.001, joules_max: 5_500.0 }
    }
}

/// Tries every schedule on every class.
#[must_use]
pub fn report(settings: Settings, wishes: Wishes) -> Vec<Report> {
    CLASSES.iter().map(|class| of_class(class, settings, wishes)).collect()
}

fn of_class(class: &Class, settings: Settings, wishes: Wishes) -> Report {
    let fixed = FIXED_S.map(Kind::Fixed);
    let kinds = fixed.into_iter().chain([Kind::Mars, Kind::Bisection, Kind::Fleet]);
    let mut tried: Vec<Tried> = kinds
        .map(|kind| Tried {
            schedule: kind.name(),
            fixed_s: if let Kind::Fixed(seconds) = kind { Some(seconds) } else { None },
            outcome: simulate(class, kind, settings),
            on_front: false,
        })
        .collect();
    for at in 0..tried.len() {
        let own = tried[at].outcome;
        tried[at].on_front = !tried.iter().any(|other| beats(&other.outcome, &own));
    }
    let (recommended_s, reason) = choose(&tried, wishes);
    Report { class: class.name, tried, recommended_s, reason }
}

/// At least as good in everything, better in something.
fn beats(one: &Outcome, other: &Outcome) -> bool {
    let of = |outcome: &Outcome| {
        [outcome.missed_s_per_day, outcome.packets_per_second, outcome.joules_per_day]
    };
    let (one, other) = (of(one), of(other));
    let pairs = || one.iter().zip(&other);
    pairs().all(|(one, other)| one <= other) && pairs().any(|(one, other)| one < other)
}

/// The longest fixed interval that serves as asked; if none does, the one that misses least within
/// the energy, and the reason says so.
fn choose(tried: &[Tried], wishes: Wishes) -> (u64, String) {
    let fixed = || tried.iter().filter_map(|tried| Some((tried.fixed_s?, tried.outcome)));
    let missed_max_s = wishes.missed_share_max * 86_400.0;
    let serves = |outcome: &Outcome| outcome.missed_s_per_day <= missed_max_s;
    let affordable = |outcome: &Outcome| outcome.joules_per_day <= wishes.joules_max;
    let longest = |both: bool| {
        fixed()
            .filter(|(_, outcome)| serves(outcome) && (!both || affordable(outcome)))
            .max_by(|one, other| one.0.total_cmp(&other.0))
    };
    if let Some((seconds, outcome)) = longest(true) {
        let reason = format!(
            "longest of the fixed ones that miss at most {missed_max_s:.0} s a day: {:.0} s missed, \
             {:.0} J a day, {:.0} packets/s for a million",
            outcome.missed_s_per_day, outcome.joules_per_day, outcome.packets_per_second
        );
        return (seconds as u64, reason);
    }
    if let Some((seconds, outcome)) = longest(false) {
        let reason = format!(
            "serves ({:.0} s missed a day), but takes {:.0} J a day of the {:.0} asked for: an \
             adaptive schedule in the client is cheaper",
            outcome.missed_s_per_day, outcome.joules_per_day, wishes.joules_max
        );
        return (seconds as u64, reason);
    }
    let (seconds, outcome) = fixed()
        .min_by(|one, other| one.1.missed_s_per_day.total_cmp(&other.1.missed_s_per_day))
        .expect("fixed ones were tried");
    let reason = format!(
        "none misses at most {missed_max_s:.0} s a day; this one least: {:.0} s",
        outcome.missed_s_per_day
    );
    (seconds as u64, reason)
}

/// The choice as the gateway's configuration has it.
#[must_use]
pub fn configuration(reports: &[Report]) -> String {
    let mut text = "[heartbeat]\n".to_owned();
    for report in reports {
        let _ = writeln!(text, "{}_s = {} # {}", report.class, report.recommended_s, report.reason);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { clients: 40, days: 2.0, seed: 1 };

    #[test]
    fn nothing_on_the_front_is_beaten_and_all_else_is() {
        for report in report(SETTINGS, Wishes::default()) {
            assert!(report.tried.iter().any(|tried| tried.on_front), "{}", report.class);
            for tried in &report.tried {
                let beaten = report.tried.iter().any(|o| beats(&o.outcome, &tried.outcome));
                assert_eq!(tried.on_front, !beaten, "{}: {}", report.class, tried.schedule);
            }
        }
    }

    #[test]
    fn an_interval_is_chosen_that_serves_as_asked_and_fits_the_configuration() {
        let reports = report(SETTINGS, Wishes::default());
        for report in &reports {
            let tried = report
                .tried
                .iter()
                .find(|tried| tried.fixed_s == Some(report.recommended_s as f64))
                .unwrap();
            assert!(tried.outcome.missed_s_per_day <= 86.4, "{report:?}");
            // The range of the gateway's setting.
            assert!((5..=3600).contains(&report.recommended_s));
        }
        let text = configuration(&reports);
        for line in ["[heartbeat]", "mobile_s = ", "web_s = ", "desktop_s = ", "bot_s = "] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn wishes_that_none_can_meet_are_said() {
        let wishes = Wishes { missed_share_max: -1.0, joules_max: 0.0 };
        for report in report(Settings { clients: 2, days: 1.0, seed: 3 }, wishes) {
            assert!(report.reason.starts_with("none misses at most"), "{}", report.reason);
        }
    }
}
