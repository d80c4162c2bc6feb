//! `heartbeat`, for people.

use hawser_tune::heartbeat::{
    network::CLASSES,
    recommend::{Report, Tried, configuration},
    simulate::storm_peak_per_s,
};
use std::fmt::Write as _;

/// Schedules of each class, what is assumed, and the recommendation.
pub fn text(reports: &[Report]) -> String {
    let mut text = String::new();
    for report in reports {
        let _ = writeln!(
            text,
            "{}\n  {:<14}{:>12}{:>12}{:>9}{:>12}{:>12}{:>12}",
            report.class,
            "schedule",
            "missed s/d",
            "noticed s",
            "cuts/d",
            "packets/s",
            "J/d",
            "interval s"
        );
        for Tried { schedule, outcome, on_front, .. } in &report.tried {
            let _ = writeln!(
                text,
                "{} {schedule:<14}{:>12.1}{:>12.1}{:>9.2}{:>12.0}{:>12.0}{:>12.0}",
                if *on_front { '*' } else { ' ' },
                outcome.missed_s_per_day,
                outcome.detection_s,
                outcome.cuts_per_day,
                outcome.packets_per_second,
                outcome.joules_per_day,
                outcome.interval_s
            );
        }
        text.push('\n');
    }
    text.push_str(
        "* nothing else is better in missed time, packets (for a million clients) or energy\n",
    );
    text.push_str("  without being worse in another. Time-outs assumed:\n");
    let mut shown = Vec::new();
    for (network, _) in CLASSES.iter().flat_map(|class| class.networks) {
        if !shown.contains(&network.name) {
            shown.push(network.name);
            let _ = writeln!(text, "  {}: {}", network.name, network.source);
        }
    }
    for spread_s in [10.0, 50.0, 100.0] {
        let peak = storm_peak_per_s(1_000_000, spread_s, 1);
        let _ = writeln!(text, "a million that return within {spread_s} s: {peak}/s at the peak");
    }
    let _ = write!(text, "\nFor hawser-gateway's configuration:\n\n{}", configuration(reports));
    text
}
