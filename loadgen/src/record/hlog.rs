//! The whole run as an HdrHistogram interval log, format 1.3: for each row and stage one line
//! with all its latencies, which other tools merge, plot and take apart.
//!
//! Values are microseconds, the column `Interval_Max` is in milliseconds, tags are the names of
//! the stages, times count from the first row (`BaseTime`).

use std::{
    fmt::Write,
    time::{Duration, SystemTime},
};

use super::Closed;
use crate::tally::Latency;

/// Microseconds of a unit of `Interval_Max`.
const MAX_DIVISOR: f64 = 1000.0;

/// The log's text; `began` is the wall time of the first row.
///
/// # Errors
/// A row's text is no histogram.
pub fn text(rows: &[Closed], began: SystemTime) -> Result<String, String> {
    let seconds = began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = seconds.as_secs_f64();
    let mut text = String::from("#[Histogram log format version 1.3]\n");
    let mut head = || -> std::fmt::Result {
        writeln!(text, "#[StartTime: {seconds:.3} (seconds since epoch)]")?;
        writeln!(text, "#[BaseTime: {seconds:.3} (seconds since epoch)]")?;
        writeln!(text, "#[MaxValueDivisor: {MAX_DIVISOR:.3}]")?;
        writeln!(text, "#Values are microseconds; Interval_Max is in milliseconds.")?;
        let columns = "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
                       \"Interval_Compressed_Histogram\"";
        writeln!(text, "{columns}")
    };
    head().expect("writing to a string cannot fail");
    let first = rows.first().map_or(0.0, |closed| closed.row.t_s);
    for Closed { row, stages } in rows {
        for (stage, histogram) in stages {
            let max_ms = Latency::from_text(histogram)?.max() as f64 / MAX_DIVISOR;
            writeln!(
                text,
                "Tag={},{:.3},{:.3},{max_ms:.3},{histogram}",
                stage.name(),
                row.t_s - first,
                row.seconds
            )
            .expect("writing to a string cannot fail");
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::{
        report::{Row, tests::clean},
        tally::Stage,
    };

    fn closed(t_s: f64, latencies: &[(Stage, u64)]) -> Closed {
        let row = Row { t_s, ..clean().series[0].clone() };
        let stages = latencies.iter().map(|(stage, us)| {
            let mut latency = Latency::default();
            latency.record(*us);
            (*stage, latency.to_text())
        });
        Closed { row, stages: stages.collect() }
    }

    #[test]
    fn log_opens_with_the_librarys_own_reader_and_gives_every_value_back() {
        let rows = [
            closed(-2.0, &[(Stage::Connect, 7)]),
            closed(-1.0, &[]),
            closed(0.0, &[(Stage::Deliver, 1_500), (Stage::Lag, 3)]),
        ];
        let began = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        let text = text(&rows, began).unwrap();
        let entries = IntervalLogIterator::new(text.as_bytes()).collect::<Result<Vec<_>, _>>();
        let mut seen = Vec::new();
        for entry in entries.unwrap() {
            match entry {
                LogEntry::StartTime(time) | LogEntry::BaseTime(time) => {
                    assert_eq!(time.as_millis(), 1_700_000_000_250);
                }
                LogEntry::Interval(interval) => {
                    let latency = Latency::from_text(interval.encoded_histogram()).unwrap();
                    let tag = interval.tag().unwrap().as_str().to_owned();
                    assert_eq!(interval.duration(), Duration::from_secs(1));
                    assert!((interval.max() * 1000.0 - latency.max() as f64).abs() < 0.5);
                    seen.push((tag, interval.start_timestamp().as_secs(), latency.max()));
                }
            }
        }
        let expected = [("connect", 0, 7), ("deliver", 2, 1_500), ("lag", 2, 3)];
        let expected = expected.map(|(tag, at, max)| (tag.to_owned(), at, max));
        assert_eq!(seen, expected);
    }
}
