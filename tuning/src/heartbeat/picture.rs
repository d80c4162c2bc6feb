//! The front as a picture: missed time against packets at the server, one point per schedule.

use super::recommend::Report;
use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 58.0;
const BOTTOM: f64 = 60.0;
/// A schedule that misses nothing stands on the axis of the logarithmic scale.
const MISSED_LEAST_S: f64 = 0.1;

/// An SVG document with a plot per class below one another.
#[must_use]
pub fn svg(reports: &[Report]) -> String {
    let height = HEIGHT * reports.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (at, report) in reports.iter().enumerate() {
        let _ = writeln!(svg, "<g transform=\"translate(0 {})\">", HEIGHT * at as f64);
        plot(&mut svg, report);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

/// Decades from the largest power of ten below the least to the smallest above the most.
fn decades(values: impl Iterator<Item = f64> + Clone) -> (i32, i32) {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.fold(0.0, f64::max);
    let (low, high) = (least.log10().floor() as i32, most.log10().ceil() as i32);
    (low, high.max(low + 1))
}

fn plot(svg: &mut String, report: &Report) {
    let missed = |at: usize| report.tried[at].outcome.missed_s_per_day.max(MISSED_LEAST_S);
    let packets = |at: usize| report.tried[at].outcome.packets_per_second;
    let all = 0..report.tried.len();
    let (x_low, x_high) = decades(all.clone().map(packets));
    let (y_low, y_high) = decades(all.clone().map(missed));
    let x = |value: f64| {
        let share = (value.log10() - f64::from(x_low)) / f64::from(x_high - x_low);
        LEFT + share * (WIDTH - LEFT - RIGHT)
    };
    let y = |value: f64| {
        let share = (value.log10() - f64::from(y_low)) / f64::from(y_high - y_low);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    };
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"24\" font-size=\"16\">Clients of class {}: what a heartbeat costs and \
         what it saves</text>",
        report.class
    );
    for decade in x_low..=x_high {
        let at = x(10_f64.powi(decade));
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            grouped(10_f64.powi(decade))
        );
    }
    for decade in y_low..=y_high {
        let at = y(10_f64.powi(decade));
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            at + 4.0,
            missed_text(10_f64.powi(decade))
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">packets per second at the server, a \
         million clients</text>\n<text transform=\"translate(20 {:.1}) rotate(-90)\" \
         text-anchor=\"middle\">push would not arrive, seconds a day</text>",
        LEFT.midpoint(right),
        bottom + 42.0,
        TOP.midpoint(bottom)
    );
    points(svg, report, x, y);
}

/// Points on the front are filled and named at the right, in the order of their height, so that no
/// two names lie upon each other.
fn points(svg: &mut String, report: &Report, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) {
    let mut named: Vec<(f64, f64, &str, bool)> = Vec::new();
    for tried in &report.tried {
        let at = (
            x(tried.outcome.packets_per_second),
            y(tried.outcome.missed_s_per_day.max(MISSED_LEAST_S)),
        );
        let chosen = tried.fixed_s == Some(report.recommended_s as f64);
        let fill = if tried.on_front { "#1f6fb4" } else { "white" };
        let (radius, stroke) = if chosen { (7.0, "#d1492e") } else { (4.5, "#1f6fb4") };
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\" fill=\"{fill}\" stroke=\"{stroke}\" \
             stroke-width=\"2\"/>",
            at.0, at.1
        );
        named.push((at.0, at.1, &tried.schedule, chosen));
    }
    named.sort_by(|one, other| one.1.total_cmp(&other.1).then(one.0.total_cmp(&other.0)));
    let step = (HEIGHT - TOP - BOTTOM) / named.len() as f64;
    for (at, (px, py, name, chosen)) in named.into_iter().enumerate() {
        let label_y = TOP + step * (at as f64 + 0.6);
        let label_x = WIDTH - RIGHT + 24.0;
        let note = if chosen { " (recommended)" } else { "" };
        let _ = writeln!(
            svg,
            "<line x1=\"{px:.1}\" y1=\"{py:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#bbb\" \
             stroke-width=\"0.7\"/><text x=\"{label_x:.1}\" y=\"{:.1}\">{name}{note}</text>",
            label_x - 4.0,
            label_y,
            label_y + 4.0
        );
    }
}

/// What misses less stands on the lowest line, too.
fn missed_text(value: f64) -> String {
    if value <= MISSED_LEAST_S { format!("≤ {value}") } else { grouped(value) }
}

fn grouped(value: f64) -> String {
    if value < 1.0 {
        return value.to_string();
    }
    let digits = format!("{value:.0}");
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).expect("digits are ASCII"))
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::{
        recommend::{Wishes, report},
        simulate::Settings,
    };

    #[test]
    fn every_schedule_is_a_point_with_a_name_and_both_axes_have_theirs() {
        let reports = report(Settings { clients: 3, days: 1.0, seed: 1 }, Wishes::default());
        let svg = svg(&reports);
        let schedules: usize = reports.iter().map(|report| report.tried.len()).sum();
        assert_eq!(svg.matches("<circle").count(), schedules);
        assert_eq!(svg.matches("(recommended)").count(), reports.len());
        assert_eq!(svg.matches("seconds a day</text>").count(), reports.len());
        assert_eq!(svg.matches("million clients</text>").count(), reports.len());
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(1_000_000.0), "1,000,000");
        assert_eq!(grouped(100.0), "100");
        assert_eq!(grouped(0.1), "0.1");
    }
}
