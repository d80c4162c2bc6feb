//! The evidence of a run as a block of the page.

use std::fmt::Write;

use super::number::{self, escape};
use crate::report::Report;

/// Writes the block: what another person needs to know, and to repeat, to believe the run.
pub fn evidence(html: &mut String, report: &Report) {
    let evidence = &report.evidence;
    let mut rows: Vec<(&str, String)> = vec![
        ("started", evidence.started_at.clone()),
        ("run", evidence.run.clone()),
        ("seed", evidence.seed.to_string()),
        ("scenario", format!("{} ({})", report.name, report.kind)),
        ("protocol", report.protocol.clone()),
        ("target", evidence.target.clone()),
        ("measured window", number::span(report.measured_s)),
        ("left out before it", number::span(report.measured_from_s)),
        ("generator", version(report)),
        ("kernel", evidence.kernel.clone()),
        ("processor", format!("{}, {} cores usable", evidence.cpu_model, evidence.cores)),
        ("governor", evidence.governor.clone().unwrap_or_else(|| "unknown".to_owned())),
        ("memory", number::bytes(evidence.memory_bytes as f64)),
    ];
    rows.extend(generator(report));
    if let Some(server) = &evidence.server {
        rows.push(("server process", server.pid.to_string()));
        rows.push(("server command", server.command.clone()));
        if let Some(gone_s) = server.gone_at_s {
            rows.push(("server process gone at", format!("{gone_s:.1}\u{a0}s")));
        }
    }
    if report.address_conflicts > 0 {
        rows.push(("source addresses taken", number::exact(report.address_conflicts)));
    }
    html.push_str("<dl class=\"evidence small\">\n");
    for (name, value) in rows {
        row(html, name, &value);
    }
    html.push_str("</dl>\n");
    settings(html, report);
}

fn version(report: &Report) -> String {
    let git = report.evidence.git.as_deref().map_or_else(String::new, |git| format!(", {git}"));
    format!("hawser-loadgen {}{git}", report.evidence.version)
}

fn generator(report: &Report) -> Vec<(&'static str, String)> {
    let generator = &report.evidence.generator;
    let highest = |value: fn(&crate::report::ThreadShare) -> f64| {
        number::percent(generator.threads.iter().map(value).fold(0.0, f64::max))
    };
    vec![
        ("generator threads", generator.threads.len().to_string()),
        ("generator CPU", format!("{} cores", number::cores(generator.cpu))),
        ("busiest thread", highest(|thread| thread.cpu)),
        ("longest wait for a processor", highest(|thread| thread.wait.unwrap_or(0.0))),
        ("generator memory", number::bytes(generator.memory_bytes as f64)),
    ]
}

fn settings(html: &mut String, report: &Report) {
    let evidence = &report.evidence;
    if !evidence.settings.is_empty() {
        html.push_str("<details><summary>Kernel settings</summary><dl class=\"evidence small\">\n");
        for (name, value) in &evidence.settings {
            row(html, name, value);
        }
        html.push_str("</dl></details>\n");
    }
    let scenario = serde_json::to_string_pretty(&evidence.scenario);
    let scenario = scenario.expect("a JSON value can be written as JSON");
    writeln!(
        html,
        "<details><summary>Scenario in full</summary><pre>{}</pre></details>",
        escape(&scenario)
    )
    .expect("writing to a string cannot fail");
}

fn row(html: &mut String, name: &str, value: &str) {
    writeln!(html, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value))
        .expect("writing to a string cannot fail");
}
