//! Who set a kernel setting: the file and line of `sysctl.d`, the kernel's command line, or nobody
//! that can be seen.
//!
//! Files are taken in the order of `systemd-sysctl` and `sysctl --system` (sysctl.d(5)): of files of
//! the same name the one in the first directory counts, all are applied in the order of their names,
//! `/etc/sysctl.conf` last; the last line for a key wins.

use super::Root;
use std::collections::BTreeMap;

const DIRECTORIES: [&str; 5] =
    ["etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d"];

/// A line that sets a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setter {
    /// File, as on the machine.
    pub file: String,
    /// Line in it, from 1.
    pub line: usize,
    /// Value there.
    pub value: String,
}

/// All lines that count.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    by_key: BTreeMap<String, Setter>,
    tuned: Option<String>,
    command_line: String,
}

impl Sources {
    /// Reads them.
    #[must_use]
    pub fn read(root: &Root) -> Self {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for directory in DIRECTORIES {
            for name in root.names(directory).into_iter().filter(|name| name.ends_with(".conf")) {
                let path = format!("{directory}/{name}");
                files.entry(name).or_insert(path);
            }
        }
        let mut sources = Self {
            by_key: BTreeMap::new(),
            tuned: root.text("etc/tuned/active_profile").ok().filter(|text| !text.is_empty()),
            command_line: root.text("proc/cmdline").unwrap_or_default(),
        };
        for path in files.values().map(String::as_str).chain(["etc/sysctl.conf"]) {
            sources.take(path, &root.text(path).unwrap_or_default());
        }
        sources
    }

    fn take(&mut self, file: &str, text: &str) {
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            // A leading minus says that a failure does not matter; slashes may stand for dots.
            let key = key.trim().trim_start_matches('-').replace('/', ".");
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            let setter = Setter { file: format!("/{file}"), line: at + 1, value };
            self.by_key.insert(key, setter);
        }
    }

    /// The line that sets `name`, if there is one.
    #[must_use]
    pub fn setter(&self, name: &str) -> Option<&Setter> {
        self.by_key.get(name)
    }

    /// Who set `name` to `current`, for people.
    #[must_use]
    pub fn text(&self, name: &str, current: &str) -> String {
        let current = current.split_whitespace().collect::<Vec<_>>().join(" ");
        match self.setter(name) {
            Some(setter) if setter.value == current => format!("{}:{}", setter.file, setter.line),
            Some(Setter { file, line, value }) => {
                format!("{file}:{line} says {value}; changed since, or never applied")
            }
            None => match &self.tuned {
                Some(profile) => {
                    format!("kernel default, set by hand, or by tuned ({profile})")
                }
                None => "kernel default, or set by hand".to_owned(),
            },
        }
    }

    /// Value of a word of the kernel's command line.
    #[must_use]
    pub fn boot(&self, word: &str) -> Option<&str> {
        let mut words = self.command_line.split_whitespace();
        words.find_map(|found| found.strip_prefix(word)?.strip_prefix('='))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_counts_is_named_and_a_value_changed_since_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("etc/sysctl.d/50-b.conf", "# a comment\nnet.core.somaxconn = 4096\n");
        put("usr/lib/sysctl.d/50-b.conf", "net.core.somaxconn = 1\n");
        put("usr/lib/sysctl.d/10-a.conf", "-net/core/somaxconn = 2\nvm.swappiness=60\n");
        put("proc/cmdline", "quiet thash_entries=1048576\n");
        let root = Root::new(directory.path());
        let sources = Sources::read(&root);
        let setter = sources.setter("net.core.somaxconn").unwrap();
        assert_eq!((setter.file.as_str(), setter.line), ("/etc/sysctl.d/50-b.conf", 2));
        assert_eq!(sources.text("net.core.somaxconn", "4096"), "/etc/sysctl.d/50-b.conf:2");
        let changed = sources.text("vm.swappiness", "10");
        assert!(changed.starts_with("/usr/lib/sysctl.d/10-a.conf:2 says 60;"), "{changed}");
        assert_eq!(sources.text("kernel.pid_max", "1"), "kernel default, or set by hand");
        assert_eq!(sources.boot("thash_entries"), Some("1048576"));
        put("etc/sysctl.conf", "net.core.somaxconn = 8\n");
        let last = Sources::read(&root).setter("net.core.somaxconn").unwrap().clone();
        assert_eq!((last.file.as_str(), last.value.as_str()), ("/etc/sysctl.conf", "8"));
    }
}
