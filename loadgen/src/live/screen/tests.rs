use ratatui::{Terminal, backend::TestBackend};

use super::*;
use crate::{
    report::Row,
    run::{ProcessView, Rates},
    tally::{Counters, ErrorKind},
};

/// A second in the middle of a run that lost some connections.
fn snapshot() -> Snapshot {
    let of = |factor: u64, count: u64| Quantiles {
        count,
        p50: 12 * factor,
        p90: 20 * factor,
        p99: 43 * factor,
        p999: 180 * factor,
        p9999: 400 * factor,
        max: 1000 * factor,
        mean: 14.0,
    };
    let stage = |stage, factor| StageView {
        stage,
        last_second: of(factor, 2000),
        run: of(factor + 1, 40_000),
    };
    Snapshot {
        name: "chat".to_owned(),
        protocol: "native".to_owned(),
        target: "127.0.0.1:7900".to_owned(),
        phase: Phase::Measure,
        elapsed_s: 25.0,
        t_s: 21.0,
        duration_s: 90.0,
        connections_asked: 5000,
        counters: Counters {
            online: 4992,
            logged_in: 5000,
            unanswered: 3,
            reconnects: 12,
            ..Counters::default()
        },
        rates: Rates {
            logins: 0.0,
            offered: 2000.0,
            achieved: 1998.0,
            acknowledged: 1998.0,
            delivered: 1997.0,
            reconnects: 1.0,
            errors: 1.0,
        },
        headline: Stage::Deliver,
        stages: vec![
            stage(Stage::Acknowledge, 16),
            stage(Stage::Deliver, 20),
            stage(Stage::Lag, 1),
        ],
        errors: vec![(ErrorKind::ConnectRefused, 4), (ErrorKind::Reset, 16)],
        server: Some(ProcessView { pid: 7, alive: true, cpu: 0.31, memory_bytes: 64 << 20 }),
        generator: ProcessView { pid: 8, alive: true, cpu: 0.22, memory_bytes: 14 << 20 },
        row: None,
        rows: 0,
    }
}

fn row(p99_us: Option<u64>, achieved: u64) -> Row {
    Row {
        t_s: 0.0,
        seconds: 1.0,
        phase: Phase::Measure,
        offered: 2000,
        achieved,
        acknowledged: achieved,
        delivered: achieved,
        online: 5000,
        reconnects: 0,
        errors: 0,
        waiting: 0,
        p50_us: p99_us,
        p99_us,
        p999_us: p99_us,
        lag_p99_us: None,
        server_cpu: None,
        server_memory_bytes: None,
        generator_cpu: 0.0,
        histogram: None,
    }
}

fn history(seconds: usize) -> History {
    let mut history = History::default();
    let mut snapshot = snapshot();
    for second in 0..seconds {
        let p99_us = (second != 5).then_some(800 + 200 * (second as u64 % 7));
        snapshot.row = Some(row(p99_us, 1500 + 100 * (second as u64 % 5)));
        snapshot.rows = second + 1;
        history.note(&snapshot);
        // The coordinator shows a row several times before the next one comes.
        history.note(&snapshot);
    }
    history
}

fn drawn(width: u16, height: u16, snapshot: &Snapshot, history: &History) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, snapshot, history, false)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = (0..height).map(|y| {
        let row: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        row.trim_end().to_owned() + "\n"
    });
    rows.collect()
}

#[test]
fn a_frame_shows_everything_in_its_place() {
    let frame = drawn(120, 26, &snapshot(), &history(30));
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/src/live/screen/frame.txt");
    let kept = std::fs::read_to_string(kept).unwrap();
    assert!(frame == kept, "{frame}");
}

#[test]
fn what_matters_stays_on_a_small_terminal() {
    let frame = drawn(80, 14, &snapshot(), &history(30));
    for text in
        ["measuring", "4 992 of 5 000", "1998/s (99.9 %)", "intended to delivered", "860 µs"]
    {
        assert!(frame.contains(text), "{text}\n{frame}");
    }
}

#[test]
fn a_narrow_terminal_has_short_names_and_nothing_is_cut() {
    let frame = drawn(60, 20, &snapshot(), &history(30));
    for text in ["waiting 3", "acknowledge", "20 ms", "generator 0.22 cores 14 MiB"] {
        assert!(frame.contains(text), "{text}\n{frame}");
    }
}

#[test]
fn no_size_of_terminal_panics() {
    let history = history(500);
    let mut snapshot = snapshot();
    for phase in [Phase::Connect, Phase::WarmUp, Phase::Measure, Phase::Drain] {
        snapshot.phase = phase;
        for (width, height) in
            [(0, 0), (1, 1), (2, 40), (40, 10), (10, 3), (79, 24), (250, 70), (500, 2)]
        {
            let frame = drawn(width, height, &snapshot, &history);
            assert_eq!(frame.lines().count(), usize::from(height));
        }
    }
}

#[test]
fn a_run_that_has_measured_nothing_is_drawn() {
    let mut empty = snapshot();
    empty.phase = Phase::Connect;
    empty.t_s = -1.0;
    empty.connections_asked = 0;
    empty.duration_s = 0.0;
    empty.stages.clear();
    empty.errors.clear();
    empty.server = None;
    let frame = drawn(80, 24, &empty, &History::default());
    assert!(frame.contains("connecting") && frame.contains("errors none"), "{frame}");
    assert!(frame.contains("not watched"), "{frame}");
}

#[test]
fn the_history_keeps_each_second_once_and_is_bounded() {
    assert_eq!(history(7).p99_us.len(), 7);
    assert_eq!(history(2 * HISTORY_SECONDS).p99_us.len(), HISTORY_SECONDS);
}
