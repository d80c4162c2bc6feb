//! `check` and `plan`, for people.

use hawser_tune::{
    check::{Finding, Verdict},
    load::Load,
    plan::{self, Plan, Unit},
    system::Machine,
};
use std::fmt::Write as _;

/// Findings by urgency.
pub fn check(load: &Load, machine: &Machine, findings: &[Finding], all: bool) -> String {
    let mut text = format!(
        "{} connections on Linux {}, {} processor(s), {}{}\n",
        load.connections,
        machine.kernel,
        machine.cores,
        machine.memory.as_ref().map_or("memory unknown".to_owned(), |bytes| plan::size(*bytes)),
        if machine.memory_limited { " (limit of the control group)" } else { "" },
    );
    for (verdict, title) in [
        (Verdict::Limit, "LIMIT: the load does not fit"),
        (Verdict::Risk, "RISK: hurts under the load"),
        (Verdict::Advice, "ADVICE: measure it"),
        (Verdict::Unseen, "NOT SEEN"),
        (Verdict::Ok, "OK"),
    ] {
        let group: Vec<&Finding> =
            findings.iter().filter(|finding| finding.verdict == verdict).collect();
        if group.is_empty() {
            continue;
        }
        if verdict == Verdict::Ok && !all {
            let _ =
                writeln!(text, "\n{} more are as they should be (--all shows them)", group.len());
            continue;
        }
        let _ = writeln!(text, "\n{title}");
        for finding in group {
            let _ = writeln!(text, "  {}", finding.id);
            for (label, value) in [
                ("is", &finding.current),
                ("needed", &finding.needed),
                ("set by", &finding.source),
                ("evidence", &finding.evidence),
                ("why", &finding.explanation),
            ] {
                if !value.is_empty() {
                    let _ = writeln!(text, "    {label:<9} {value}");
                }
            }
        }
    }
    text
}

/// Figures with their derivation.
pub fn plan(load: &Load, plan: &Plan) -> String {
    let mut text = format!("{} connections\n\n", load.connections);
    for figure in &plan.figures {
        let values: Vec<String> = figure
            .value
            .iter()
            .map(|value| match figure.unit {
                Unit::Bytes if figure.value.len() == 1 => plan::size(*value),
                Unit::Bytes | Unit::Pages | Unit::Count => value.to_string(),
            })
            .collect();
        let unit = if figure.unit == Unit::Pages { " pages" } else { "" };
        let _ = writeln!(text, "{:<50} {}{unit}", figure.id, values.join(" "));
        let _ = writeln!(text, "    = {}", figure.derivation);
    }
    text
}
