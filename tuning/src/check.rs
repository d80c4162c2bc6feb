//! What the machine has beside what the plan needs: one finding per setting.

mod beside;

use crate::plan::{Figure, Plan};
use crate::setting::{Rule, SETTINGS, Setting, Urgency};
use crate::system::{Machine, Root, Sources, sysctl_path};

/// What came of looking at one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The load does not fit.
    Limit,
    /// Hurts under the load.
    Risk,
    /// Could be better; measure it.
    Advice,
    /// Could not be seen.
    Unseen,
    /// As it should be.
    Ok,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// Name.
    pub id: String,
    /// Value now; empty if it could not be seen.
    pub current: String,
    /// What is needed, with its derivation.
    pub needed: String,
    /// Who set it.
    pub source: String,
    /// Counters since boot, and what they say.
    pub evidence: String,
    /// What came of it.
    pub verdict: Verdict,
    /// Why it matters.
    pub explanation: String,
}

/// Looks at everything, the urgent first.
#[must_use]
pub fn check(root: &Root, machine: &Machine, sources: &Sources, plan: &Plan) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    findings.extend(beside::findings(root, machine));
    for setting in SETTINGS {
        // Where nothing is tracked its settings do not exist, and none are needed.
        if setting.id.starts_with("net.netfilter.") && !machine.tracks {
            continue;
        }
        findings.push(look(setting, root, machine, sources, plan));
    }
    findings.sort_by_key(|finding| finding.verdict);
    findings
}

fn look(
    setting: &Setting,
    root: &Root,
    machine: &Machine,
    sources: &Sources,
    plan: &Plan,
) -> Finding {
    let figure = plan.figure(setting.id);
    let finding = Finding {
        id: setting.id.to_owned(),
        current: String::new(),
        needed: needed(setting, figure),
        source: String::new(),
        evidence: evidence(setting, machine),
        verdict: Verdict::Unseen,
        explanation: explanation(setting, machine),
    };
    let current = match root.text(&sysctl_path(setting.id)) {
        Ok(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        Err(unseen) => return Finding { source: unseen.text(), ..finding },
    };
    // Negative: the hash of a namespace is its parent's.
    let value = current.trim_start_matches('-');
    let verdict = match holds(setting.rule, value, figure) {
        None => Verdict::Unseen,
        Some(true) => Verdict::Ok,
        Some(false) => match setting.urgency {
            Urgency::Limit => Verdict::Limit,
            Urgency::Load => Verdict::Risk,
            Urgency::Advice => Verdict::Advice,
        },
    };
    let source = match sources.boot("thash_entries") {
        Some(entries) if setting.id == "net.ipv4.tcp_ehash_entries" => {
            format!("kernel command line, thash_entries={entries}")
        }
        _ => sources.text(setting.id, &current),
    };
    Finding { current, source, verdict, ..finding }
}

/// Whether the value is as it should be; `None` if it is not understood.
fn holds(rule: Rule, current: &str, figure: Option<&Figure>) -> Option<bool> {
    let numbers: Option<Vec<u64>> =
        current.split_whitespace().map(|word| word.parse().ok()).collect();
    let number = || numbers.as_ref()?.first().copied();
    let third = || numbers.as_ref()?.get(2).copied();
    Some(match rule {
        Rule::Planned => number()? >= *figure?.value.first()?,
        Rule::AtLeast(least) => number()? >= least,
        Rule::AtMost(most) => number()? <= most,
        Rule::PlannedThird => third()? >= *figure?.value.get(2)?,
        Rule::PlannedThirdAtMost => third()? <= *figure?.value.get(2)?,
        Rule::OneOf(words) => words.contains(&current),
    })
}

fn needed(setting: &Setting, figure: Option<&Figure>) -> String {
    let figure = || {
        figure.map_or_else(String::new, |figure| {
            let values: Vec<String> = figure.value.iter().map(u64::to_string).collect();
            format!("{}: {}", values.join(" "), figure.derivation)
        })
    };
    match setting.rule {
        Rule::Planned | Rule::PlannedThird => figure(),
        Rule::PlannedThirdAtMost => format!("at most {}", figure()),
        Rule::AtLeast(least) => format!("at least {least}"),
        Rule::AtMost(most) => format!("at most {most}"),
        Rule::OneOf(words) => words.join(" or "),
    }
}

fn evidence(setting: &Setting, machine: &Machine) -> String {
    let parts: Vec<String> = setting
        .evidence
        .iter()
        .map(|name| match machine.counters.get(*name) {
            Some(value) => format!("{name} {value}"),
            None => format!("{name} not seen"),
        })
        .collect();
    if parts.is_empty() {
        return "no counter tells".to_owned();
    }
    format!("{} (up {:.0} h)", parts.join(", "), machine.uptime_s / 3600.0)
}

fn explanation(setting: &Setting, machine: &Machine) -> String {
    if machine.in_container && !setting.per_namespace {
        format!("{}; the host's, a container cannot set it", setting.why)
    } else {
        setting.why.to_owned()
    }
}

#[cfg(test)]
mod tests;
