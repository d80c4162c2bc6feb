//! What a check would call a limit or a risk, in one line each: for the log of a server that starts.

use crate::check::{Verdict, check};
use crate::load::Load;
use crate::plan::{self, Ground};
use crate::system::{Machine, Root, Sources};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Risk {
    /// What it is about, as `check` names it.
    pub id: String,
    /// The load does not fit; else it hurts under load.
    pub is_limit: bool,
    /// For people, without a line's end.
    pub text: String,
}

/// Looks at the machine below `root`, whose pages have so many bytes. Reads some fifty small files;
/// nothing that cannot be read is an error.
#[must_use]
pub fn risks(root: &Root, page: u64, load: &Load) -> Vec<Risk> {
    let machine = Machine::read(root, page);
    let Ok(ground) = Ground::of(&machine, None, None) else {
        return Vec::new();
    };
    let mut risks = Vec::new();
    let plan = plan::plan(load, &ground).unwrap_or_else(|impossible| {
        let text =
            format!("memory may not suffice for {} connections: {impossible}", load.connections);
        risks.push(Risk { id: "memory".to_owned(), is_limit: true, text });
        plan::figures(load, &ground)
    });
    for finding in check(root, &machine, &Sources::read(root), &plan) {
        if !matches!(finding.verdict, Verdict::Limit | Verdict::Risk) {
            continue;
        }
        let text = format!(
            "{} is {}, needed: {} ({})",
            finding.id, finding.current, finding.needed, finding.explanation
        );
        let is_limit = finding.verdict == Verdict::Limit;
        risks.push(Risk { id: finding.id, is_limit, text });
    }
    risks
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn root(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let root = Root::new(directory.path());
        (directory, root)
    }

    const MEMORY: (&str, &str) = ("proc/meminfo", "MemTotal: 24000000 kB\n");
    const TRACKED: (&str, &str) = ("proc/sys/net/netfilter/nf_conntrack_max", "262144\n");

    #[test]
    fn what_does_not_fit_and_what_hurts_is_one_line_each_and_advice_is_none() {
        let (_directory, root) = root(&[
            MEMORY,
            TRACKED,
            ("proc/sys/net/core/somaxconn", "128\n"),
            ("proc/sys/vm/swappiness", "60\n"),
        ]);
        let found = risks(&root, 4096, &Load::of(1_000_000));
        let ids: Vec<_> = found.iter().map(|risk| (risk.id.as_str(), risk.is_limit)).collect();
        let expected = [("net.netfilter.nf_conntrack_max", true), ("net.core.somaxconn", false)];
        assert_eq!(ids, expected, "{found:?}");
        assert!(found[0].text.contains("is 262144, needed: 2000000"), "{}", found[0].text);
        assert!(found.iter().all(|risk| !risk.text.contains('\n')));
        assert_eq!(risks(&root, 4096, &Load::of(1000)).len(), 1, "the queue alone");
    }

    #[test]
    fn memory_that_may_not_suffice_is_said_and_the_rest_as_well() {
        let (_directory, root) = root(&[("proc/meminfo", "MemTotal: 2000000 kB\n"), TRACKED]);
        let found = risks(&root, 4096, &Load::of(1_000_000));
        assert_eq!(found[0].id, "memory");
        assert_eq!(found[1].id, "net.netfilter.nf_conntrack_max");
    }

    #[test]
    fn a_root_that_says_nothing_has_no_lines() {
        let (_directory, root) = root(&[]);
        assert_eq!(risks(&root, 4096, &Load::of(1_000_000)), []);
    }
}
