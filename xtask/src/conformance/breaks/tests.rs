//! Running the tests that carry a statement's annotation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::super::annotations::Annotation;
use super::copy::Copy;
use crate::process::{cargo, root};

/// Longest run of one suite, its build excluded.
const RUN_SECONDS_MAX: u64 = 300;
/// Longest build: the whole system from nothing on a slow machine.
const BUILD_SECONDS_MAX: u64 = 3600;

/// Some tests of one test program. The order is that in which suites are run: those of the broken
/// package first, which need the least to be built.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suite {
    is_elsewhere: bool,
    package: String,
    /// Name of the integration test; `None`: the library's own tests.
    program: Option<String>,
    tests: Vec<String>,
}

/// How a suite ended.
pub enum Outcome {
    /// All its tests passed.
    Passed,
    /// These did not.
    Failed(Vec<String>),
    /// It took longer than [`RUN_SECONDS_MAX`].
    TimedOut,
    /// It does not compile.
    NotBuilt,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "passes",
            Self::Failed(_) => "fails",
            Self::TimedOut => "does not come to an end",
            Self::NotBuilt => "does not compile",
        })
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.package, self.program.as_deref().unwrap_or("(library)"))
    }
}

/// The Rust tests that cover one of `ids`, by program; `broken` is the file to be broken.
///
/// # Errors
/// A test whose package cannot be told.
pub fn suites(
    broken: &str,
    ids: &[String],
    annotations: &[Annotation],
) -> Result<Vec<Suite>, String> {
    let home = package(broken)?;
    let mut programs: BTreeMap<(String, Option<String>), BTreeSet<String>> = BTreeMap::new();
    for annotation in annotations.iter().filter(|annotation| ids.contains(&annotation.id)) {
        if annotation.file.ends_with(".rs") {
            let key = (package(&annotation.file)?, program(&annotation.file));
            programs.entry(key).or_default().insert(annotation.test.clone());
        }
    }
    let mut suites: Vec<Suite> = programs
        .into_iter()
        .map(|((package, program), tests)| {
            let is_elsewhere = package != home;
            Suite { is_elsewhere, package, program, tests: tests.into_iter().collect() }
        })
        .collect();
    suites.sort();
    Ok(suites)
}

/// Name of the package that a file belongs to.
fn package(file: &str) -> Result<String, String> {
    for directory in Path::new(file).ancestors().skip(1) {
        let Ok(text) = fs::read_to_string(root().join(directory).join("Cargo.toml")) else {
            continue;
        };
        let table: toml::Table = text.parse().map_err(|error| format!("{file}: {error}"))?;
        let name = table.get("package").and_then(|package| package.get("name"));
        if let Some(name) = name.and_then(toml::Value::as_str) {
            return Ok(name.to_owned());
        }
    }
    Err(format!("{file}: belongs to no package"))
}

/// Name of the integration test that a file belongs to: `…/tests/NAME.rs` or `…/tests/NAME/…`, the
/// last directory of that name; `None` for a file of the library.
fn program(file: &str) -> Option<String> {
    if file.contains("/src/") {
        return None;
    }
    let (_, rest) = file.rsplit_once("tests/")?;
    let name = rest.split('/').next()?;
    Some(name.trim_end_matches(".rs").to_owned())
}

impl Suite {
    /// It belongs to another package than the broken file.
    pub fn is_elsewhere(&self) -> bool {
        self.is_elsewhere
    }

    /// Names of its tests.
    pub fn tests(&self) -> &[String] {
        &self.tests
    }

    /// Builds it in the copy and runs it.
    ///
    /// # Errors
    /// cargo cannot be started.
    pub fn run(&self, copy: &Copy) -> Result<Outcome, String> {
        let mut build = self.command(copy);
        build.arg("--no-run");
        match bounded(build, BUILD_SECONDS_MAX)? {
            Some((true, _)) => {}
            _ => return Ok(Outcome::NotBuilt),
        }
        let mut run = self.command(copy);
        run.arg("--no-fail-fast").arg("--").arg("--test-threads=1").args(&self.tests);
        let Some((succeeded, said)) = bounded(run, RUN_SECONDS_MAX)? else {
            return Ok(Outcome::TimedOut);
        };
        let failed: Vec<String> =
            self.tests.iter().filter(|test| has_failed(&said, test)).cloned().collect();
        let ran = self.tests.iter().filter(|test| results(&said).any(|(name, _)| name == **test));
        let ran = ran.count();
        match (succeeded, failed.is_empty()) {
            (true, true) if ran == self.tests.len() => Ok(Outcome::Passed),
            (true, _) => Err(format!("{self}: {ran} of {} tests found", self.tests.len())),
            (false, false) => Ok(Outcome::Failed(failed)),
            // It was ended in the middle: an abort is a failure of whatever ran.
            (false, true) => Ok(Outcome::Failed(self.tests.clone())),
        }
    }

    fn command(&self, copy: &Copy) -> Command {
        let mut command = cargo();
        command.current_dir(copy.path()).env("CARGO_TARGET_DIR", copy.build_directory());
        // One file changes from build to build, and nobody looks at it in a debugger.
        command.env("CARGO_INCREMENTAL", "1").env("CARGO_PROFILE_DEV_DEBUG", "false");
        command.env("CARGO_PROFILE_TEST_DEBUG", "false");
        command.args(["test", "--locked", "--package", &self.package]);
        match &self.program {
            Some(program) => command.args(["--test", program]),
            None => command.arg("--lib"),
        };
        command
    }
}

/// What the runner says of each test: its name without modules, and how it ended.
fn results(said: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = said.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
    lines.map(|(path, result)| {
        let path = path.split(' ').next().unwrap_or(path);
        (path.rsplit("::").next().unwrap_or(path), result)
    })
}

fn has_failed(said: &str, test: &str) -> bool {
    results(said).any(|(name, result)| name == test && result == "FAILED")
}

/// Runs a command for so many seconds at most; whether it succeeded, and what it said. `None`: it
/// took longer and was ended, with all that it had started.
fn bounded(mut command: Command, seconds: u64) -> Result<Option<(bool, String)>, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child =
        command.process_group(0).spawn().map_err(|error| format!("cargo test: {error}"))?;
    let mut output = child.stdout.take().expect("it was asked for");
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        let _ = output.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    let end = Instant::now() + Duration::from_secs(seconds);
    let status = loop {
        match child.try_wait().map_err(|error| format!("cargo test: {error}"))? {
            Some(status) => break Some(status),
            None if Instant::now() > end => break None,
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    if status.is_none() {
        let group = format!("-{}", child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = child.wait();
    }
    let said = reader.join().unwrap_or_default();
    Ok(status.map(|status| (status.success(), said)))
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_file_belongs_to_the_library_or_to_one_test_program() {
        assert_eq!(program("codec/src/websocket/tests.rs"), None);
        assert_eq!(program("codec/tests/websocket/main.rs").as_deref(), Some("websocket"));
        assert_eq!(program("tests/tests/behaviour_chat.rs").as_deref(), Some("behaviour_chat"));
        assert_eq!(package("codec/tests/websocket/main.rs").as_deref(), Ok("hawser-codec"));
    }

    #[test]
    fn failures_are_read_from_what_the_runner_says() {
        let said = "running 2 tests\ntest a::b::one ... FAILED\ntest two - should panic ... ok\n";
        assert!(has_failed(said, "one"));
        assert!(!has_failed(said, "two"));
        assert_eq!(results(said).count(), 2);
    }
}
