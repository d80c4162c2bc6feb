//! A rate curve from CSV: lines of a time and a rate, joined by ramps.
//!
//! A time is in seconds, or a time of day as `HH:MM` or `HH:MM:SS`. A curve of times of day is a
//! circle: it begins and ends at midnight with the rate between its last and its first line. It may
//! be played faster than it is.

use std::time::Duration;

use super::{Curve, Segment, time};
use crate::arguments::RATE_MAX;

/// Lines of a file at most: one a second for a day, and then some.
const LINES_MAX: usize = 100_000;

const DAY_S: f64 = 86_400.0;

/// When, and how many a second.
type Point = (f64, f64);

/// The curve of a file's content; `played_in`: the whole of it takes so long.
///
/// # Errors
/// One line with file, line and what is allowed.
pub fn curve(name: &str, text: &str, played_in: Option<Duration>) -> Result<Curve, String> {
    let mut points: Vec<Point> = Vec::new();
    let mut of_day = None;
    for (number, line) in text.lines().enumerate().take(LINES_MAX) {
        let complain = |reason: &str| format!("{name}, line {}: {line}: {reason}", number + 1);
        let content = line.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        let (when, rate) = content.split_once([',', ';', '\t']).unwrap_or((content, ""));
        let (when, rate) = (when.trim(), rate.trim());
        let Some((at_s, is_clock)) = read_time(when) else {
            // The first line may be a heading.
            if points.is_empty() && of_day.is_none() && when.starts_with(char::is_alphabetic) {
                continue;
            }
            let reason = "allowed: seconds or HH:MM, a comma, messages per second";
            return Err(complain(reason));
        };
        if *of_day.get_or_insert(is_clock) != is_clock {
            return Err(complain("all times in seconds, or all as HH:MM"));
        }
        let rate = rate.parse::<f64>().ok().filter(|rate| (0.0..=RATE_MAX).contains(rate));
        let Some(rate) = rate else {
            return Err(complain("allowed: a rate from 0 to 100000000 after the comma"));
        };
        if points.last().is_some_and(|last| last.0 >= at_s) {
            return Err(complain("each time is later than the one before it"));
        }
        points.push((at_s, rate));
    }
    if of_day == Some(true) {
        close_circle(&mut points);
    }
    let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) else {
        return Err(format!("{name}: no lines; allowed: seconds or HH:MM, a comma, a rate"));
    };
    if last.0 == 0.0 {
        return Err(format!("{name}: one line with time 0 has no length"));
    }
    if first.0 > 0.0 {
        points.insert(0, (0.0, first.1));
    }
    let faster = played_in.map_or(1.0, |time| time.as_secs_f64() / last.0);
    if faster == 0.0 {
        return Err(format!("{name}: nothing is played in no time"));
    }
    // Whole microseconds are what a scenario can be written with, and read again as the same.
    let segment = |pair: &[Point]| Segment {
        lasts: Duration::from_micros(((pair[1].0 - pair[0].0) * faster * 1e6).round() as u64),
        from: pair[0].1,
        to: pair[1].1,
    };
    Ok(Curve::Segments(points.windows(2).map(segment).collect()))
}

/// Seconds, and whether they were a time of day.
fn read_time(text: &str) -> Option<(f64, bool)> {
    if !text.contains(':') {
        let seconds = text.parse::<f64>().ok();
        let allowed = 0.0..=time::LONGEST.as_secs_f64();
        return seconds.filter(|seconds| allowed.contains(seconds)).map(|seconds| (seconds, false));
    }
    let mut seconds = 0.0;
    let mut parts = 0;
    for (part, (unit_s, below)) in text.split(':').zip([(3600.0, 25), (60.0, 60), (1.0, 60)]) {
        let number = part.parse::<u32>().ok().filter(|number| *number < below)?;
        seconds += f64::from(number) * unit_s;
        parts += 1;
    }
    let whole = (2..=3).contains(&parts) && text.split(':').count() == parts;
    (whole && seconds <= DAY_S).then_some((seconds, true))
}

/// From midnight to midnight.
fn close_circle(points: &mut Vec<Point>) {
    let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) else {
        return;
    };
    let gap_s = first.0 + DAY_S - last.0;
    let midnight =
        if gap_s == 0.0 { first.1 } else { last.1 + (first.1 - last.1) * (DAY_S - last.0) / gap_s };
    if first.0 > 0.0 {
        points.insert(0, (0.0, midnight));
    }
    if last.0 < DAY_S {
        points.push((DAY_S, midnight));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(curve: &Curve, at_s: &[u64]) -> Vec<f64> {
        at_s.iter().map(|at| curve.rate_at(Duration::from_secs(*at)).round()).collect()
    }

    #[test]
    fn seconds_are_joined_by_ramps() {
        let text = "seconds,rate\n# night\n0, 10\n10,110 # noon\n\n20,110\n30;0\n";
        let curve = curve("x.csv", text, None).unwrap();
        assert_eq!(rates(&curve, &[0, 5, 15, 25]), [10.0, 60.0, 110.0, 55.0]);
        assert_eq!(curve.length(), Some(Duration::from_secs(30)));
    }

    #[test]
    fn day_is_a_circle_from_midnight_and_can_be_played_in_minutes() {
        let text = "time,rate\n06:00,100\n12:00,700\n18:00,100\n";
        let whole = curve("day.csv", text, None).unwrap();
        assert_eq!(whole.length(), Some(Duration::from_secs(86_400)));
        assert_eq!(rates(&whole, &[0, 9 * 3600, 12 * 3600, 86_399]), [100.0, 400.0, 700.0, 100.0]);
        let short = curve("day.csv", text, Some(Duration::from_secs(600))).unwrap();
        assert_eq!(short.length(), Some(Duration::from_secs(600)));
        assert_eq!(rates(&short, &[300]), [700.0]);
        let night = curve("day.csv", "01:00,0\n23:00,200", None).unwrap();
        assert_eq!(rates(&night, &[0, 3600, 86_399]), [100.0, 0.0, 100.0]);
        let odd = curve("day.csv", text, Some(Duration::from_secs(7))).unwrap();
        let json = serde_json::to_string(&odd).unwrap();
        assert_eq!(serde_json::from_str::<Curve>(&json).unwrap(), odd, "{json}");
        let full = curve("day.csv", "00:00,5\n24:00,9", None).unwrap();
        assert_eq!(rates(&full, &[0, 43_200]), [5.0, 7.0]);
    }

    #[test]
    fn wrong_line_is_named_with_what_is_allowed() {
        for (text, words) in [
            ("0,1\nx,2", "day.csv, line 2: x,2: allowed: seconds or HH:MM"),
            ("0,1\n5", "line 2: 5: allowed: a rate from 0"),
            ("0,-1", "a rate from 0"),
            ("0,1\n10:00,2", "all times in seconds, or all as HH:MM"),
            ("5,1\n5,2", "later than the one before"),
            ("25:00,1", "seconds or HH:MM"),
            ("10:60,1", "seconds or HH:MM"),
            ("1:2:3:4,1", "seconds or HH:MM"),
            ("", "no lines"),
            ("0,5", "no length"),
        ] {
            let message = curve("day.csv", text, None).unwrap_err();
            assert!(message.contains(words), "{text}: {message}");
        }
    }
}
