//! What the live view shows: pure drawing of a snapshot into a frame of any size. What does not
//! fit is left out from the bottom; nothing is assumed of the terminal but its size.

use std::collections::VecDeque;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Paragraph, Sparkline},
};

use crate::{
    page::{figures::words, number},
    report::{Phase, Quantiles},
    run::{Snapshot, StageView},
    tally::Stage,
};

/// Seconds that the small curves remember: the widest terminal shows no more.
const HISTORY_SECONDS: usize = 400;

/// Width from which on the whole run stands beside the last second.
const WIDE_COLUMNS: u16 = 116;

/// Width below which names are short and counters take a line more.
const NARROW_COLUMNS: u16 = 80;

/// Rows of one small curve.
const CURVE_ROWS: u16 = 3;

/// Height from which on there are curves.
const CURVES_FROM_ROWS: u16 = 20;

/// Columns of a stage's name, of its short name, and of one quantile.
const NAME_COLUMNS: usize = 32;
const SHORT_NAME_COLUMNS: usize = 17;
const QUANTILE_COLUMNS: usize = 10;

/// What the small curves show, second by second.
#[derive(Debug, Default)]
pub struct History {
    rows: usize,
    p99_us: VecDeque<Option<u64>>,
    achieved: VecDeque<Option<u64>>,
}

impl History {
    /// Notes a snapshot; a row of the series that was seen already changes nothing.
    pub fn note(&mut self, snapshot: &Snapshot) {
        let Some(row) = snapshot.row.as_ref().filter(|_| snapshot.rows > self.rows) else { return };
        self.rows = snapshot.rows;
        if self.p99_us.len() == HISTORY_SECONDS {
            self.p99_us.pop_front();
            self.achieved.pop_front();
        }
        self.p99_us.push_back(row.p99_us);
        let per_second = row.achieved as f64 / row.seconds.max(1e-3);
        self.achieved.push_back(Some(per_second as u64));
    }
}

const QUIET: Style = Style::new().fg(Color::DarkGray);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, snapshot: &Snapshot, history: &History, stopping: bool) {
    let area = frame.area();
    let stages = 2 + snapshot.stages.len() as u16;
    let curves = if area.height >= CURVES_FROM_ROWS { 1 + CURVE_ROWS } else { 0 };
    let [head, progress, counts, table, p99, rate, processes, errors, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(3),
        Constraint::Length(stages),
        Constraint::Length(curves),
        Constraint::Length(curves),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
    ])
    .areas(area);
    frame.render_widget(title(snapshot, area.width), head);
    frame.render_widget(Line::from(bar(snapshot, area.width)), progress);
    frame.render_widget(Paragraph::new(counters(snapshot, area.width)), counts);
    frame.render_widget(Paragraph::new(latencies(snapshot, area.width)), table);
    let worst = history.p99_us.iter().flatten().max().copied();
    let worst = worst.map_or_else(|| number::NONE.to_owned(), |us| plain(&number::time(us as f64)));
    let name = format!("p99 of each second, highest {worst}");
    curve(frame, p99, &name, &history.p99_us, Color::Yellow);
    let most = history.achieved.iter().flatten().max().copied().unwrap_or(0);
    let name = format!("achieved, highest {}/s", plain(&number::short(most as f64)));
    curve(frame, rate, &name, &history.achieved, Color::Green);
    frame.render_widget(used(snapshot), processes);
    frame.render_widget(faults(snapshot), errors);
    let text = if stopping { "ending in order ..." } else { "q: end the run in order" };
    frame.render_widget(Line::styled(text, QUIET), keys);
}

/// Terminals have no use for the spaces that keep a number and its unit on one line.
fn plain(text: &str) -> String {
    text.replace(['\u{a0}', '\u{202f}'], " ")
}

fn title(snapshot: &Snapshot, width: u16) -> Line<'static> {
    let left = format!("{} over {}  {}", snapshot.name, snapshot.protocol, snapshot.target);
    let phase = snapshot.phase.text();
    let gap = usize::from(width).saturating_sub(left.chars().count() + phase.chars().count());
    Line::from(vec![
        Span::styled(left, STRONG),
        Span::raw(" ".repeat(gap.max(1))),
        Span::styled(phase, STRONG.fg(phase_colour(snapshot.phase))),
    ])
}

const fn phase_colour(phase: Phase) -> Color {
    match phase {
        Phase::Connect | Phase::WarmUp => Color::Yellow,
        Phase::Measure => Color::Green,
        Phase::Drain => Color::Cyan,
    }
}

/// How far the run is, and how long it still takes.
fn bar(snapshot: &Snapshot, width: u16) -> Vec<Span<'static>> {
    let (share, text) = match snapshot.phase {
        Phase::Connect => {
            let share =
                snapshot.counters.logged_in as f64 / snapshot.connections_asked.max(1) as f64;
            (share, format!(" {}", plain(&number::percent(share.min(1.0)))))
        }
        Phase::WarmUp | Phase::Measure => {
            let left = snapshot.duration_s - snapshot.t_s;
            let share = snapshot.t_s / snapshot.duration_s.max(1e-9);
            (share, format!(" {} left", plain(&number::span(left))))
        }
        Phase::Drain => (1.0, " waiting for the last".to_owned()),
    };
    let columns = usize::from(width).saturating_sub(text.chars().count());
    let filled = (share.clamp(0.0, 1.0) * columns as f64) as usize;
    vec![
        Span::styled("━".repeat(filled), Style::new().fg(phase_colour(snapshot.phase))),
        Span::styled("─".repeat(columns - filled), QUIET),
        Span::raw(text),
    ]
}

fn counters(snapshot: &Snapshot, width: u16) -> Vec<Line<'static>> {
    let counters = &snapshot.counters;
    let rates = &snapshot.rates;
    let rate = |rate: f64| format!("{}/s", plain(&number::short(rate)));
    let share = if rates.offered > 0.0 {
        format!(" ({})", plain(&number::percent((rates.achieved / rates.offered).min(1.0))))
    } else {
        String::new()
    };
    let count = |count: u64| plain(&number::exact(count));
    let connections =
        format!("{} of {}", count(counters.online), count(snapshot.connections_asked));
    let mut holding = pair("connections", connections, Style::new());
    let logins = pair("logins", rate(rates.logins), Style::new());
    let reconnects = pair("reconnects", count(counters.reconnects), fault(counters.reconnects));
    let mut offered = pair("offered", rate(rates.offered), STRONG);
    offered.extend(pair("achieved", rate(rates.achieved) + &share, STRONG));
    let mut done = pair("delivered", rate(rates.delivered), Style::new());
    done.extend(pair("waiting", count(counters.unanswered), Style::new()));
    if width < NARROW_COLUMNS {
        holding.extend(reconnects);
        return [holding, offered, done].into_iter().map(Line::from).collect();
    }
    holding.extend(logins);
    holding.extend(reconnects);
    offered.extend(done);
    [holding, offered].into_iter().map(Line::from).collect()
}

fn pair(name: &str, value: String, style: Style) -> Vec<Span<'static>> {
    vec![Span::styled(format!("{name} "), QUIET), Span::styled(value, style), Span::raw("   ")]
}

/// What should be 0.
const fn fault(count: u64) -> Style {
    if count > 0 { BAD } else { Style::new() }
}

fn latencies(snapshot: &Snapshot, width: u16) -> Vec<Line<'static>> {
    let wide = width >= WIDE_COLUMNS;
    let narrow = width < NARROW_COLUMNS;
    let mut lines = vec![heading(wide, narrow)];
    // What counts most stands first, the generator's own lag last.
    let place = |stage: Stage| match stage {
        stage if stage == snapshot.headline => 0,
        Stage::Lag => 2,
        _ => 1,
    };
    let mut views: Vec<&StageView> = snapshot.stages.iter().collect();
    views.sort_by_key(|view| (place(view.stage), view.stage));
    for view in views {
        let style = if view.stage == snapshot.headline { STRONG } else { Style::new() };
        let mut text = if narrow {
            format!("{:<SHORT_NAME_COLUMNS$}", view.stage.name().replace('_', " "))
        } else {
            format!("{:<NAME_COLUMNS$}", words(view.stage))
        };
        text += &quantiles(&view.last_second);
        if wide {
            text += "  │";
            text += &quantiles(&view.run);
        }
        lines.push(Line::styled(text, style));
    }
    lines
}

fn heading(wide: bool, narrow: bool) -> Line<'static> {
    let names = |first: &str| {
        let others = ["p99", "p99.9", "max"].map(|name| format!("{name:>QUANTILE_COLUMNS$}"));
        format!("{first:>QUANTILE_COLUMNS$}") + &others.concat()
    };
    let mut text = if narrow {
        format!("{:<SHORT_NAME_COLUMNS$}", "last second")
    } else {
        format!("{:<NAME_COLUMNS$}", "latency of the last second")
    };
    text += &names("p50");
    if wide {
        text += "  │";
        text += &names("run: p50");
    }
    Line::styled(text, QUIET)
}

fn quantiles(quantiles: &Quantiles) -> String {
    let Quantiles { count, p50, p99, p999, max, .. } = *quantiles;
    let text = |us: u64| {
        let text = if count > 0 { number::time(us as f64) } else { number::NONE.to_owned() };
        format!("{:>QUANTILE_COLUMNS$}", plain(&text))
    };
    [p50, p99, p999, max].map(text).concat()
}

fn curve(
    frame: &mut Frame<'_>,
    area: Rect,
    name: &str,
    values: &VecDeque<Option<u64>>,
    colour: Color,
) {
    if area.height == 0 {
        return;
    }
    let [label, bars] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    frame.render_widget(Line::styled(name.to_owned(), QUIET), label);
    let newest = values.len().saturating_sub(usize::from(bars.width));
    let shown: Vec<Option<u64>> = values.iter().skip(newest).copied().collect();
    frame.render_widget(Sparkline::default().data(shown).style(Style::new().fg(colour)), bars);
}

fn used(snapshot: &Snapshot) -> Line<'static> {
    let text = |cpu: f64, memory: u64| {
        format!("{} cores {}", number::cores(cpu), plain(&number::bytes(memory as f64)))
    };
    let mut spans = match &snapshot.server {
        Some(server) if server.alive => {
            pair("server", text(server.cpu, server.memory_bytes), Style::new())
        }
        Some(_) => pair("server", "gone".to_owned(), BAD),
        None => pair("server", "not watched (--server-pid)".to_owned(), QUIET),
    };
    let generator = &snapshot.generator;
    spans.extend(pair("generator", text(generator.cpu, generator.memory_bytes), Style::new()));
    Line::from(spans)
}

fn faults(snapshot: &Snapshot) -> Line<'static> {
    let mut named: Vec<String> = snapshot
        .errors
        .iter()
        .map(|(kind, count)| {
            format!("{} {}", kind.name().replace('_', " "), plain(&number::exact(*count)))
        })
        .collect();
    for (count, name) in
        [(snapshot.counters.refused, "messages refused"), (snapshot.counters.shed, "messages shed")]
    {
        if count > 0 {
            named.push(format!("{name} {}", plain(&number::exact(count))));
        }
    }
    if named.is_empty() {
        return Line::from(pair("errors", "none".to_owned(), Style::new()));
    }
    Line::from(pair("errors", named.join("  "), BAD))
}

#[cfg(test)]
mod tests;
