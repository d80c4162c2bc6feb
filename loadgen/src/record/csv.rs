//! The series as CSV (RFC 4180): a line for each row, for spreadsheets and plotting programs.

use std::fmt::Write;

use crate::report::Row;

/// Names of the columns, in their order; units are in the names.
pub const COLUMNS: [&str; 18] = [
    "t_s",
    "seconds",
    "phase",
    "offered",
    "achieved",
    "acknowledged",
    "delivered",
    "online",
    "reconnects",
    "errors",
    "waiting",
    "p50_us",
    "p99_us",
    "p999_us",
    "lag_p99_us",
    "server_cpu_cores",
    "server_memory_bytes",
    "generator_cpu_cores",
];

/// The file's text. What was not measured is empty.
pub fn text(series: &[Row]) -> String {
    let mut text = COLUMNS.join(",") + "\n";
    for row in series {
        let phase = serde_json::to_value(row.phase).expect("a phase is a word");
        write!(text, "{},{},{},", row.t_s, row.seconds, phase.as_str().unwrap_or_default())
            .expect("writing to a string cannot fail");
        let counts = [
            row.offered,
            row.achieved,
            row.acknowledged,
            row.delivered,
            row.online,
            row.reconnects,
            row.errors,
            row.waiting,
        ];
        let latencies = [row.p50_us, row.p99_us, row.p999_us, row.lag_p99_us];
        let counts = counts.map(|count| count.to_string());
        let latencies = latencies.map(|us| us.map_or_else(String::new, |us| us.to_string()));
        text += &counts.join(",");
        text += ",";
        text += &latencies.join(",");
        let cpu = row.server_cpu.map_or_else(String::new, |cpu| format!("{cpu:.3}"));
        let memory = row.server_memory_bytes.map_or_else(String::new, |bytes| bytes.to_string());
        writeln!(text, ",{cpu},{memory},{:.3}", row.generator_cpu)
            .expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Phase, tests::clean};

    #[test]
    fn every_line_has_every_column() {
        let mut series = clean().series;
        series.push(Row {
            phase: Phase::WarmUp,
            server_cpu: Some(0.5),
            server_memory_bytes: Some(4096),
            p50_us: None,
            ..series[0].clone()
        });
        let text = text(&series);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.len() == COLUMNS.len()), "{text}");
        let cell = |line: usize, name: &str| {
            lines[line][COLUMNS.iter().position(|column| *column == name).unwrap()]
        };
        assert_eq!((cell(1, "phase"), cell(2, "phase")), ("measure", "warm_up"));
        assert_eq!((cell(1, "p50_us"), cell(2, "p50_us")), ("250", ""));
        assert_eq!((cell(1, "server_cpu_cores"), cell(2, "server_cpu_cores")), ("", "0.500"));
        assert_eq!(cell(1, "generator_cpu_cores"), "0.250");
    }
}
