//! The words and tables of the page: verdict, what came of it, what it takes to believe it.

use std::fmt::{self, Write};

use super::{
    figures::{Course, from_sent, words},
    number::{self, NONE, escape},
};
use crate::{
    report::{Quantiles, Report, ThresholdResult, Verdict},
    tally::Stage,
};

/// How latency is counted, in one sentence.
pub const COUNTED: &str = "Latency counts from the moment at which the schedule, fixed before the \
     run, intended a message to be sent, so that the time a message had to wait because the server \
     or the connection was busy is part of it (no coordinated omission); the warm-up is left out.";

/// Tiles that fit side by side.
const TILES_IN_ROW: usize = 8;

/// Tone and symbol of a verdict: told apart by colour and by form.
const fn tone(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Clean => ("good", "✔"),
        Verdict::ThresholdFailed | Verdict::CorrectnessFailed => ("bad", "✖"),
        Verdict::Invalid => ("doubt", "⚠"),
    }
}

const fn title(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Clean => "Clean",
        Verdict::ThresholdFailed => "Threshold failed",
        Verdict::CorrectnessFailed => "Correctness failed",
        Verdict::Invalid => "Invalid: the run proves nothing about the server",
    }
}

/// What a verdict block says beside its title.
fn meaning(report: &Report) -> String {
    let thresholds = report.thresholds.len();
    let text = match report.verdict {
        Verdict::Clean => {
            let mut text = "No defect was found".to_owned();
            match thresholds {
                0 => {}
                1 => text += ", the threshold held",
                _ => text += &format!(", all {thresholds} thresholds held"),
            }
            return text + ", and the generator was not the limit.";
        }
        Verdict::ThresholdFailed => "No message was harmed, but what was asked for was not held.",
        Verdict::CorrectnessFailed => {
            "Messages were lost, doubled, reordered, damaged or given to a wrong user."
        }
        Verdict::Invalid => {
            "The figures below say more about this machine or the generator than about the server."
        }
    };
    text.to_owned()
}

fn put(html: &mut String, arguments: fmt::Arguments<'_>) {
    html.write_fmt(arguments).expect("writing to a string cannot fail");
}

/// The verdicts of all runs; those that are clean are said in one block.
pub fn verdicts(html: &mut String, courses: &[Course<'_>]) {
    html.push_str("<div class=\"verdicts\">\n");
    let clean = courses.iter().filter(|course| course.report.verdict == Verdict::Clean).count();
    if courses.len() > 1 && clean > 0 {
        let title = if clean == courses.len() {
            format!("All {clean} runs are clean")
        } else {
            format!("{clean} of {} runs are clean", courses.len())
        };
        block(html, ("good", "✔"), &title, "", &[]);
    }
    for (index, course) in courses.iter().enumerate() {
        let report = course.report;
        if courses.len() == 1 {
            let mut meaning = meaning(report);
            if report.interrupted {
                meaning += " The run was ended early.";
            }
            block(html, tone(report.verdict), title(report.verdict), &meaning, &report.reasons);
        } else if report.verdict != Verdict::Clean {
            let title = format!("Run {} ({}): {}", index + 1, course.label, title(report.verdict));
            block(html, tone(report.verdict), &title, "", &report.reasons);
        }
    }
    html.push_str("</div>\n");
}

fn block(
    html: &mut String,
    (tone, symbol): (&str, &str),
    title: &str,
    meaning: &str,
    reasons: &[String],
) {
    put(
        html,
        format_args!(
            "<div class=\"verdict {tone}\" role=\"status\"><span class=\"symbol\" \
             aria-hidden=\"true\">{symbol}</span><div><b>{}</b>",
            escape(title)
        ),
    );
    if !meaning.is_empty() {
        put(html, format_args!("<div>{}</div>", escape(meaning)));
    }
    if !reasons.is_empty() {
        html.push_str("<ul>");
        for reason in reasons {
            put(html, format_args!("<li>{}</li>", escape(reason)));
        }
        html.push_str("</ul>");
    }
    html.push_str("</div></div>\n");
}

/// The figures of one run that are looked at first.
pub fn tiles(html: &mut String, report: &Report) {
    let mut tiles = String::new();
    let mut count = 0usize;
    let mut tile = |name: &str, value: String, below: String| {
        count += 1;
        put(
            &mut tiles,
            format_args!(
                "<div class=\"tile\"><dt>{}</dt><dd>{value}</dd><dd>{}</dd></div>\n",
                escape(name),
                escape(&below)
            ),
        );
    };
    if report.offered > 0 {
        let per_second = |rate: f64| format!("{}/s in the measured window", number::short(rate));
        tile("offered", number::exact(report.offered), per_second(report.offered_rate));
        tile(
            "achieved",
            number::percent(report.achieved as f64 / report.offered as f64),
            format!(
                "{}; {}/s",
                number::exact(report.achieved),
                number::short(report.achieved_rate)
            ),
        );
        tile("acknowledged", number::exact(report.acknowledged), "when durable".to_owned());
        let expected = format!("of {} expected", number::exact(report.expected));
        tile("delivered", number::exact(report.delivered), expected);
        tile("defects", defects(report), "lost, doubled, reordered, damaged".to_owned());
    }
    let held = format!(
        "of {} asked for; fewest {}",
        number::exact(report.connections_asked),
        number::exact(report.connections_min)
    );
    tile("connections held", number::exact(report.connections_held), held);
    if report.heartbeats_expected > 0 {
        let expected = format!("of {} due", number::exact(report.heartbeats_expected));
        tile("heartbeats answered", number::exact(report.heartbeats_answered), expected);
    }
    if report.reconnects > 0 {
        let repeats = format!("{} requests sent again", number::exact(report.repeats));
        tile("reconnects", number::exact(report.reconnects), repeats);
    }
    if let Some(us) = report.server.cpu_us_per_message {
        tile("server CPU per message", number::time(us), cores(report));
    } else if let Some(us) = report.server.cpu_us_per_connect {
        tile("server CPU per login", number::time(us), cores(report));
    }
    if let Some(bytes) = report.server.bytes_per_connection {
        tile("server memory", format!("{} B", number::short(bytes)), "per connection".to_owned());
    }
    // Rows of the same length, or one less in the last.
    let columns = count.div_ceil(count.div_ceil(TILES_IN_ROW).max(1));
    put(html, format_args!("<dl class=\"tiles\" style=\"--columns:{columns}\">\n{tiles}</dl>\n"));
}

fn cores(report: &Report) -> String {
    let cpu = report.server.cpu;
    cpu.map_or_else(String::new, |cpu| format!("{} cores in use", number::cores(cpu)))
}

/// All defects of messages, coloured.
fn defects(report: &Report) -> String {
    let sum =
        report.lost + report.duplicated + report.reordered + report.corrupted + report.misdelivered;
    let tone = if sum == 0 { "good" } else { "bad" };
    format!("<span class=\"{tone}\">{}</span>", number::exact(sum))
}

/// The three latencies of one run side by side.
pub fn latencies(html: &mut String, report: &Report) {
    html.push_str(
        "<div class=\"scroll\"><table><thead><tr><th>latency</th><th>p50</th><th>p90</th>\
         <th>p99</th><th>p99.9</th><th>p99.99</th><th>max</th><th>mean</th><th>measured</th></tr>\
         </thead><tbody>\n",
    );
    let headline = report.headline;
    let first = [Some(headline), from_sent(headline), Some(Stage::Lag)];
    let first: Vec<Stage> = first.into_iter().flatten().collect();
    let others = Stage::ALL.iter().filter(|stage| !first.contains(stage));
    for stage in first.iter().chain(others) {
        let quantiles = report.quantiles(*stage);
        if quantiles.count > 0 {
            let class = if *stage == headline { " class=\"head\"" } else { "" };
            put(html, format_args!("<tr{class}><th scope=\"row\">{}</th>", words(*stage)));
            quantile_cells(html, &quantiles);
        }
    }
    html.push_str("</tbody></table></div>\n");
}

fn quantile_cells(html: &mut String, quantiles: &Quantiles) {
    let Quantiles { count, p50, p90, p99, p999, p9999, max, mean } = *quantiles;
    // A percentile that less than one value stands for would only repeat the highest.
    for (us, needed) in [(p50, 1), (p90, 10), (p99, 100), (p999, 1000), (p9999, 10_000), (max, 1)] {
        let text = if count >= needed { number::time(us as f64) } else { NONE.to_owned() };
        put(html, format_args!("<td>{text}</td>"));
    }
    put(
        html,
        format_args!("<td>{}</td><td>{}</td></tr>\n", number::time(mean), number::exact(count)),
    );
}

/// How the thresholds of one run came out.
pub fn thresholds(html: &mut String, results: &[ThresholdResult]) {
    if results.is_empty() {
        return;
    }
    html.push_str(
        "<div class=\"scroll\"><table class=\"tones\"><thead><tr><th>threshold</th>\
         <th class=\"text\">came out</th><th>worst</th><th>at</th></tr></thead><tbody>\n",
    );
    for result in results {
        let (tone, text) = if result.held { ("good", "✔ held") } else { ("bad", "✖ failed") };
        let at = result.at_s.map_or_else(|| NONE.to_owned(), number::span);
        put(
            html,
            format_args!(
                "<tr><th scope=\"row\"><code>{}</code></th><td class=\"text {tone}\">{text}</td>\
                 <td>{}</td><td>{at}</td></tr>\n",
                escape(&result.text),
                worst(result)
            ),
        );
    }
    html.push_str("</tbody></table></div>\n");
}

/// The worst value of a threshold in the unit of its metric.
fn worst(result: &ThresholdResult) -> String {
    let Some(value) = result.worst else { return "not measured".to_owned() };
    let metric = result.text.split_whitespace().next().unwrap_or_default();
    let last = metric.rsplit('.').next().unwrap_or_default();
    let is_latency = last == "max"
        || metric
            .split('.')
            .any(|part| part.strip_prefix('p').is_some_and(|rest| rest.parse::<u32>().is_ok()));
    if is_latency {
        number::time(value)
    } else if metric.contains('/') {
        number::percent(value)
    } else {
        number::short(value)
    }
}

/// Several runs, one row each.
pub fn table(html: &mut String, courses: &[Course<'_>]) {
    html.push_str(
        "<div class=\"scroll\"><table class=\"tones runs\"><thead><tr><th>run</th>\
         <th class=\"text\">verdict</th><th>offered</th><th>achieved</th><th>delivered</th>\
         <th>defects</th><th>p50</th><th>p99</th><th>p99.9</th><th>max</th>\
         <th>from sent<br>p99</th><th>schedule lag<br>p99</th><th>server CPU<br>per message</th>\
         <th>server memory<br>per connection</th></tr></thead><tbody>\n",
    );
    for (index, course) in courses.iter().enumerate() {
        row(html, index, course);
    }
    html.push_str("</tbody></table></div>\n");
    let headlines: Vec<_> = courses.iter().map(|course| course.report.headline).collect();
    let words = headlines.first().map_or("", |stage| words(*stage));
    let text = if headlines.windows(2).all(|pair| pair[0] == pair[1]) {
        format!("p50 to max: {words}. Achieved: done by the end of the schedule, of offered.")
    } else {
        "p50 to max: the headline stage of each run, which is not the same in all of them.".into()
    };
    put(html, format_args!("<p class=\"quiet small\">{}</p>\n", escape(&text)));
}

fn row(html: &mut String, index: usize, course: &Course<'_>) {
    let report = course.report;
    let (class, symbol) = tone(report.verdict);
    put(
        html,
        format_args!(
            "<tr><th scope=\"row\"><span class=\"swatch\" style=\"background:var(--{})\"></span>\
             {} {}</th><td class=\"text {class}\">{symbol} {}</td>",
            course.ink.name(),
            index + 1,
            escape(course.label),
            report.verdict.text().split(':').next().unwrap_or_default()
        ),
    );
    let headline = report.quantiles(report.headline);
    let sent = from_sent(report.headline).map(|stage| report.quantiles(stage));
    let latency = |quantiles: Option<Quantiles>, value: fn(&Quantiles) -> u64| {
        let measured = quantiles.filter(|quantiles| quantiles.count > 0);
        measured.map_or_else(|| NONE.to_owned(), |one| number::time(value(&one) as f64))
    };
    let optional =
        |value: Option<f64>, text: fn(f64) -> String| value.map_or_else(|| NONE.to_owned(), text);
    let achieved = (report.offered > 0).then(|| report.achieved as f64 / report.offered as f64);
    let cells = [
        format!("{}/s", number::short(report.offered_rate)),
        optional(achieved, number::percent),
        number::exact(report.delivered),
        defects(report),
        latency(Some(headline), |quantiles| quantiles.p50),
        latency(Some(headline), |quantiles| quantiles.p99),
        latency(Some(headline), |quantiles| quantiles.p999),
        latency(Some(headline), |quantiles| quantiles.max),
        latency(sent, |quantiles| quantiles.p99),
        latency(Some(report.quantiles(Stage::Lag)), |quantiles| quantiles.p99),
        optional(report.server.cpu_us_per_message, number::time),
        optional(report.server.bytes_per_connection, number::bytes),
    ];
    for cell in cells {
        put(html, format_args!("<td>{cell}</td>"));
    }
    html.push_str("</tr>\n");
}
