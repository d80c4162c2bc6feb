//! What to change, and the files that make it last. Pure: it says what to write, nothing is written.
//!
//! Invariant: no change makes a value smaller that is larger already, and none touches what was not
//! found too small; whoever set more knew why.

use crate::check::{Finding, Verdict};
use crate::plan::Plan;
use crate::setting::{Rule, SETTINGS};
use std::fmt::Write as _;

/// A kernel setting to be written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Change {
    /// Name as sysctl has it; of a file elsewhere its path below the root, `sys/…` or `proc/irq/…`.
    pub id: String,
    /// Value before, as the kernel says it.
    pub from: String,
    /// Value to be written.
    pub to: String,
}

/// A file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lasting {
    /// Where, below the root.
    pub path: &'static str,
    /// What.
    pub text: String,
}

/// What makes the settings last over a reboot.
pub const SYSCTL_FILE: &str = "etc/sysctl.d/90-hawser.conf";
/// Limits of the service.
pub const UNIT_FILE: &str = "etc/systemd/system/hawser-gateway.service.d/90-hawser-tune.conf";
/// Rules that keep connection tracking off the server's ports.
pub const RULES_FILE: &str = "etc/hawser/notrack.nft";
/// Spreads the work of the network card over the processors.
pub const SPREAD_FILE: &str = "etc/hawser/spread-network.sh";

/// The changes for what was found; `advice` also takes what is a matter of taste.
#[must_use]
pub fn changes(findings: &[Finding], plan: &Plan, advice: bool) -> Vec<Change> {
    let wanted = |finding: &&Finding| match finding.verdict {
        Verdict::Limit | Verdict::Risk => true,
        Verdict::Advice => advice,
        Verdict::Unseen | Verdict::Ok => false,
    };
    findings.iter().filter(wanted).filter_map(|finding| change(finding, plan)).collect()
}

/// Written at boot or with the module only, so that no running kernel takes them.
const FIXED_AT_BOOT: &[&str] = &["net.ipv4.tcp_ehash_entries"];

fn change(finding: &Finding, plan: &Plan) -> Option<Change> {
    let setting = SETTINGS.iter().find(|setting| setting.id == finding.id)?;
    if FIXED_AT_BOOT.contains(&setting.id) {
        return None;
    }
    let figure = || plan.figure(setting.id);
    let numbers: Vec<u64> =
        finding.current.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let to = match setting.rule {
        Rule::Planned => figure()?.value.first()?.to_string(),
        Rule::AtLeast(least) => least.to_string(),
        Rule::AtMost(most) => most.to_string(),
        Rule::OneOf(words) => (*words.first()?).to_owned(),
        // Each of the three at least what it was.
        Rule::PlannedThird => joined(figure()?.value.iter().zip(&numbers).map(|(a, b)| *a.max(b))),
        // The first two stay; lowering a bound is what this one is about, and it is advice.
        Rule::PlannedThirdAtMost => {
            let most = *figure()?.value.get(2)?;
            joined(numbers.iter().map(|number| *number.min(&most)))
        }
    };
    Some(Change { id: finding.id.clone(), from: finding.current.clone(), to })
}

fn joined(numbers: impl Iterator<Item = u64>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
}

/// The files; `ports` are those the gateway listens on, `tracks` tells whether connections are
/// tracked at all.
#[must_use]
pub fn lasting(changes: &[Change], plan: &Plan, ports: &[u16], tracks: bool) -> Vec<Lasting> {
    let mut files = Vec::new();
    let mut text =
        "# Written by hawser-tune; `hawser-tune rollback` takes it away again.\n".to_owned();
    for change in changes {
        if let Some(figure) = plan.figure(&change.id) {
            let _ = writeln!(text, "# {}", figure.derivation);
        }
        let _ = writeln!(text, "{} = {}", change.id, change.to);
    }
    files.push(Lasting { path: SYSCTL_FILE, text });
    let descriptors = plan.figure("fs.nr_open").map_or(1 << 20, |figure| figure.value[0]);
    files.push(Lasting {
        path: UNIT_FILE,
        text: format!(
            "# Written by hawser-tune.\n[Service]\n# The number itself: \"infinity\" would mean \
             fs.nr_open of the day.\nLimitNOFILE={descriptors}\nLimitMEMLOCK=infinity\n\
             OOMScoreAdjust=-900\n"
        ),
    });
    if tracks {
        files.push(Lasting { path: RULES_FILE, text: rules(ports) });
    }
    files.push(Lasting { path: SPREAD_FILE, text: SPREAD.to_owned() });
    files
}

/// Stands in the table of rules, so that one that somebody else has made is known as such.
pub const RULES_MARK: &str = "written by hawser-tune";

/// nftables rules that leave the server's connections untracked, both directions, also those that
/// begin on this machine.
#[must_use]
pub fn rules(ports: &[u16]) -> String {
    let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let chain = |name: &str, hook: &str| {
        format!(
            "    chain {name} {{\n        type filter hook {hook} priority raw; policy accept;\n        \
             tcp dport {{ {ports} }} notrack\n        tcp sport {{ {ports} }} notrack\n    }}\n"
        )
    };
    format!(
        "# Written by hawser-tune: `nft -f` loads it, `nft delete table inet hawser` takes it away.\n\
         # Rules that look at the state of these connections, and NAT on these ports, end with it.\n\
         table inet hawser {{\n    comment \"{RULES_MARK}\"\n{}{}}}\n",
        chain("in", "prerouting"),
        chain("out", "output")
    )
}

const SPREAD: &str = include_str!("spread-network.sh");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{load::Load, memory::KernelCost, plan};

    fn finding(id: &str, current: &str, verdict: Verdict) -> Finding {
        Finding {
            id: id.to_owned(),
            current: current.to_owned(),
            needed: String::new(),
            source: String::new(),
            evidence: String::new(),
            verdict,
            explanation: String::new(),
        }
    }

    fn planned() -> Plan {
        let cost = KernelCost::kept(4096);
        let ground = plan::Ground { memory: 64 << 30, cores: 2, tracks: true, cost };
        let load = Load { fan_out_share: 1.0, slow_share: 0.0, ..Load::of(1_000_000) };
        plan::plan(&load, &ground).unwrap()
    }

    #[test]
    fn what_is_higher_already_stays_also_one_of_three_numbers() {
        let plan = planned();
        let found = [finding("net.ipv4.tcp_mem", "900000 950000 1000000", Verdict::Limit)];
        let changes = changes(&found, &plan, false);
        assert_eq!(changes[0].to, "900000 1125000 1500000");
        assert_eq!(changes[0].from, "900000 950000 1000000");
    }

    #[test]
    fn only_what_was_found_wrong_is_changed_and_matters_of_taste_when_asked() {
        let plan = planned();
        let found = [
            finding("net.core.somaxconn", "128", Verdict::Risk),
            finding("fs.file-max", "9999999999", Verdict::Ok),
            finding("vm.swappiness", "60", Verdict::Advice),
            finding("net.ipv4.tcp_ehash_entries", "1024", Verdict::Risk),
            finding("net.ipv4.tcp_wmem", "4096 16384 16777216", Verdict::Advice),
            finding("net.core.netdev_max_backlog", "", Verdict::Unseen),
        ];
        let ids = |advice| {
            let changes = changes(&found, &plan, advice);
            changes.into_iter().map(|change| (change.id, change.to)).collect::<Vec<_>>()
        };
        let somaxconn = ("net.core.somaxconn".to_owned(), "5000".to_owned());
        assert_eq!(ids(false), std::slice::from_ref(&somaxconn));
        assert_eq!(
            ids(true),
            [
                somaxconn,
                ("vm.swappiness".to_owned(), "10".to_owned()),
                ("net.ipv4.tcp_wmem".to_owned(), "4096 16384 262144".to_owned()),
            ]
        );
    }

    #[test]
    fn files_hold_each_change_with_its_derivation_and_rules_only_where_something_is_tracked() {
        let plan = planned();
        let found = [finding("net.core.somaxconn", "128", Verdict::Risk)];
        let changes = changes(&found, &plan, false);
        let files = lasting(&changes, &plan, &[7900, 1883], true);
        let of = |path: &str| files.iter().find(|file| file.path == path).unwrap().text.clone();
        assert!(of(SYSCTL_FILE).contains("connects/s x 0.5 s"), "{}", of(SYSCTL_FILE));
        assert!(of(SYSCTL_FILE).contains("\nnet.core.somaxconn = 5000\n"));
        assert!(of(RULES_FILE).contains("tcp dport { 7900, 1883 } notrack"));
        assert!(of(UNIT_FILE).contains("LimitNOFILE=1104128"));
        let untracked = lasting(&changes, &plan, &[7900], false);
        assert!(untracked.iter().all(|file| file.path != RULES_FILE));
    }
}
