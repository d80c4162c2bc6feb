//! Figures over the time of a run.

use super::{BROAD_PIXELS, Course, actions, ends, shades, thinned, words};
use crate::{
    page::{
        axis::{Axis, Unit},
        curve,
        figure::{Figure, Ink, Line, Marks},
    },
    report::Row,
};

/// Points of a line over time at most; a longer run's rows are gathered.
const POINTS_MAX: usize = 900;

/// Name of the horizontal axis of everything over time.
pub const TIME: &str = "time since the schedule began";

/// How rows are gathered into one point where there are too many.
#[derive(Clone, Copy)]
enum Gather {
    /// Their mean: what adds up.
    Mean,
    /// The worst of them: latencies, faults.
    Worst,
}

/// A value over time for each run.
pub struct OverTime {
    id: &'static str,
    title: &'static str,
    label: &'static str,
    unit: Unit,
    gather: Gather,
    value: fn(&Row) -> Option<f64>,
    caption: &'static str,
}

/// The tail of the headline stage.
pub const P99: OverTime = OverTime {
    id: "p99",
    title: "99th percentile over time",
    label: "latency, p99 of each second (µs, ms, s)",
    unit: Unit::Microseconds,
    gather: Gather::Worst,
    value: |row| row.p99_us.map(|us| us as f64),
    caption: "One point a second, counted at the intended time. Steady lines can be compared; \
              a single spike is a stall, a rising line a queue that grows.",
};

/// Its median.
pub const P50: OverTime = OverTime {
    id: "p50",
    title: "Median over time",
    label: "latency, p50 of each second (µs, ms, s)",
    unit: Unit::Microseconds,
    gather: Gather::Worst,
    value: |row| row.p50_us.map(|us| us as f64),
    caption: "What the usual message waits. A run whose median drifts was not in a steady state, \
              and its percentiles mix different conditions.",
};

/// Connections logged in.
pub const ONLINE: OverTime = OverTime {
    id: "connections",
    title: "Connections",
    label: "connections logged in (count)",
    unit: Unit::Count,
    gather: Gather::Mean,
    value: |row| Some(row.online as f64),
    caption: "Look for steps down: connections that were lost. The slope at the start is the rate \
              at which the server took logins.",
};

/// Connections made again.
pub const RECONNECTS: OverTime = OverTime {
    id: "reconnects",
    title: "Reconnects",
    label: "reconnects per second",
    unit: Unit::Count,
    gather: Gather::Worst,
    value: |row| Some(row.reconnects as f64 / row.seconds),
    caption: "Zero unless the scenario or a fault cuts connections. A tall narrow peak is a storm; \
              a long low one is a server that cannot take them all back at once.",
};

/// Connections lost or refused.
pub const ERRORS: OverTime = OverTime {
    id: "errors",
    title: "Errors",
    label: "errors per second",
    unit: Unit::Count,
    gather: Gather::Worst,
    value: |row| Some(row.errors as f64 / row.seconds),
    caption: "Connections lost, refused or given up. Compare their time with the \
              latency: errors often come first.",
};

/// Messages on their way.
pub const WAITING: OverTime = OverTime {
    id: "waiting",
    title: "Messages waiting for an answer",
    label: "messages waiting (count)",
    unit: Unit::Count,
    gather: Gather::Worst,
    value: |row| Some(row.waiting as f64),
    caption: "Sent or due and not yet done, at the end of each second. A level line is a server \
              that keeps up; a slope upwards is load above its capacity, whatever the latency says.",
};

/// The server's processor time.
pub const CPU: OverTime = OverTime {
    id: "server-cpu",
    title: "Server CPU",
    label: "processors in use (cores)",
    unit: Unit::Cores,
    gather: Gather::Mean,
    value: |row| row.server_cpu,
    caption: "User and system time of the server's process. A line at the number of its threads or \
              of the machine's cores is saturation: latency beyond that point is queueing.",
};

/// The server's own memory.
pub const MEMORY: OverTime = OverTime {
    id: "server-memory",
    title: "Server memory",
    label: "memory (bytes)",
    unit: Unit::Bytes,
    gather: Gather::Worst,
    value: |row| row.server_memory_bytes.map(|bytes| bytes as f64),
    caption: "Anonymous pages resident and swapped; the kernel's socket memory is not in it. It \
              grows while connections come and should be flat after; a slope is a leak or a queue.",
};

/// The generator's lateness.
pub const LAG: OverTime = OverTime {
    id: "lag",
    title: "Generator's own lag",
    label: "lag, p99 of each second (µs, ms, s)",
    unit: Unit::Microseconds,
    gather: Gather::Worst,
    value: |row| row.lag_p99_us.map(|us| us as f64),
    caption: "How late the generator itself took up what was due. It is part of every latency from \
              the intended time; where it comes near the latency, the figures are the generator's.",
};

/// The generator's processor time.
pub const GENERATOR: OverTime = OverTime {
    id: "generator-cpu",
    title: "Generator CPU",
    label: "processors in use (cores)",
    unit: Unit::Cores,
    gather: Gather::Mean,
    value: |row| Some(row.generator_cpu),
    caption: "Processor time of the load generator. Near one core per thread it is the limit \
              itself, and on a shared machine it takes away from the server what it uses.",
};

/// Median, p99 and p99.9 of one run over time.
pub fn quantiles_over_time(course: &Course<'_>) -> Option<Figure> {
    type Quantile = fn(&Row) -> Option<u64>;
    let courses = std::slice::from_ref(course);
    let values: [(&str, Quantile); 3] =
        [("p50", |row| row.p50_us), ("p99", |row| row.p99_us), ("p99.9", |row| row.p999_us)];
    let ends = ends(courses, false);
    let (x, second) = Axis::time(TIME, ends);
    let lines = values.iter().enumerate().map(|(index, (name, value))| {
        let points = points(course.rows(), Gather::Worst, second, |row| {
            value(row).map(|us| us.max(1) as f64)
        });
        Line::new(Ink::Series(index), name, points)
    });
    let lines: Vec<_> = lines.filter(|line| !line.pieces.is_empty()).collect();
    let (low, high) = extent(&lines)?;
    Some(Figure {
        id: "quantiles".to_owned(),
        title: "Latency over time".to_owned(),
        caption: format!(
            "One point a second: {}. Parallel lines are a steady state; a spike in all of them is \
             a stall that everyone felt, one in p99.9 alone touched few.",
            words(course.report.headline)
        ),
        x,
        y: Axis::log("latency (µs, ms, s)", Unit::Microseconds, low, high),
        marks: Marks {
            shades: shades(courses, ends, second),
            verticals: actions(courses, second),
            lines,
            ..Marks::default()
        },
        heats: Vec::new(),
        wide: false,
    })
}

/// One value of every run over time.
pub fn over_time(courses: &[Course<'_>], plan: &OverTime) -> Option<Figure> {
    let latency = plan.unit == Unit::Microseconds;
    let ends = ends(courses, !latency);
    let (x, second) = Axis::time(TIME, ends);
    let shown = courses.iter().filter(|course| course.has_several(plan.value));
    let lines = shown.map(|course| {
        let points = points(course.rows(), plan.gather, second, plan.value);
        let name = if courses.len() == 1 { "" } else { course.label };
        Line::new(course.ink, name, points)
    });
    let lines = thinned(lines.collect());
    let (low, high) = extent(&lines)?;
    let y = if latency {
        Axis::log(plan.label, plan.unit, low, high)
    } else {
        Axis::linear(plan.label, plan.unit, high)
    };
    Some(Figure {
        id: plan.id.to_owned(),
        title: plan.title.to_owned(),
        caption: plan.caption.to_owned(),
        x,
        y,
        marks: Marks {
            shades: shades(courses, ends, second),
            verticals: actions(courses, second),
            lines,
            ..Marks::default()
        },
        heats: Vec::new(),
        wide: false,
    })
}

/// Reconnects and errors of one run on one figure.
pub fn faults(course: &Course<'_>) -> Option<Figure> {
    let course = std::slice::from_ref(course);
    let mut figure = over_time(course, &RECONNECTS)?;
    let errors = over_time(course, &ERRORS)?;
    figure.marks.lines.extend(errors.marks.lines);
    for (index, (line, name)) in
        figure.marks.lines.iter_mut().zip(["reconnects", "errors"]).enumerate()
    {
        line.ink = Ink::Series(index);
        line.name = name.to_owned();
    }
    let (_, high) = extent(&figure.marks.lines)?;
    figure.title = "Reconnects and errors".to_owned();
    figure.y = Axis::linear("events per second", Unit::Count, high);
    figure.caption = "Zero unless the scenario or a fault cuts connections. Errors are refused or \
                      lost connections and failed logins; a tall narrow peak of reconnects is a \
                      storm, a long low one a server that cannot take them all back at once."
        .to_owned();
    Some(figure)
}

/// What was asked for and what was done, every second.
pub fn throughput(courses: &[Course<'_>]) -> Option<Figure> {
    let ends = ends(courses, false);
    let (x, second) = Axis::time(TIME, ends);
    let line = |ink, name: &str, course: &Course<'_>, value: fn(&Row) -> u64| {
        let rows = course.rows().iter().filter(|row| row.t_s >= 0.0);
        let rows: Vec<Row> = rows.cloned().collect();
        let points =
            points(&rows, Gather::Mean, second, |row| Some(value(row) as f64 / row.seconds));
        Line::new(ink, name, points)
    };
    let offered =
        courses.iter().map(|course| line(Ink::Reference, "offered", course, |row| row.offered));
    let mut lines: Vec<_> = offered.collect();
    for course in courses {
        if courses.len() > 1 {
            let name = format!("{}, achieved", course.label);
            lines.push(line(course.ink, &name, course, |row| row.achieved));
        } else {
            let delivered = line(Ink::Series(0), "delivered", course, |row| row.delivered);
            lines.push(delivered.thick(BROAD_PIXELS));
            lines.push(line(Ink::Series(1), "acknowledged", course, |row| row.acknowledged));
        }
    }
    let (_, high) = extent(&lines).filter(|(_, high)| *high > 0.0)?;
    Some(Figure {
        id: "throughput".to_owned(),
        title: "Throughput: offered and achieved".to_owned(),
        caption: "The grey line is what the schedule asked for, whatever the server did. Below it \
                  messages wait; above it the server catches up after a stall."
            .to_owned(),
        x,
        y: Axis::linear("messages per second", Unit::Count, high),
        marks: Marks {
            shades: shades(courses, ends, second),
            verticals: actions(courses, second),
            lines,
            ..Marks::default()
        },
        heats: Vec::new(),
        wide: false,
    })
}

/// A value of every row, gathered where there are too many.
fn points(
    rows: &[Row],
    gather: Gather,
    second: f64,
    value: impl Fn(&Row) -> Option<f64>,
) -> Vec<(f64, Option<f64>)> {
    let merged = rows.len().div_ceil(POINTS_MAX).max(1);
    let chunks = rows.chunks(merged).map(|chunk| {
        let values: Vec<f64> = chunk.iter().filter_map(&value).collect();
        let gathered = match gather {
            _ if values.is_empty() => None,
            Gather::Mean => Some(values.iter().sum::<f64>() / values.len() as f64),
            Gather::Worst => values.into_iter().reduce(f64::max),
        };
        (chunk[0].t_s * second, gathered)
    });
    chunks.collect()
}

/// Lowest and highest value of lines.
pub fn extent(lines: &[Line]) -> Option<(f64, f64)> {
    let values = lines.iter().flat_map(|line| line.points().map(|(_, y)| (y, y)));
    values.fold(None, |extent, value| curve::join(extent, Some(value)))
}
