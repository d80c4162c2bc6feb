//! Changing the machine so that it can be changed back: a shell over a root directory.
//!
//! ```text
//!   lock ─▶ journal "prepared" with every old value, on disk ─▶ dead-man timer ─▶ changes
//!        ─▶ journal "applied" ─▶ (confirm) journal "confirmed"
//! ```
//!
//! Whatever moment the process is killed at, the journal names every value that may have been
//! changed, so [`Journal::roll_back`] restores all of it. One set of changes is open at a time: a
//! second apply is refused until the first is confirmed or rolled back.

use crate::apply::{Change, Lasting};
use crate::system::{Root, sysctl_path};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Where a set of changes stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Old values are on disk; some changes may have been made.
    Prepared,
    /// All are made; the timer takes them back unless they are confirmed.
    Applied,
    /// They stay.
    Confirmed,
}

/// A file before it was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Before {
    path: String,
    /// `None`: it was not there.
    text: Option<String>,
    /// What was written.
    written: String,
}

/// What stands on disk.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Record {
    version: u32,
    /// Tells one set of changes from the next, for the timer.
    number: u64,
    state: State,
    changes: Vec<Change>,
    files: Vec<Before>,
}

/// Version of what is written.
const VERSION: u32 = 1;

/// Why nothing, or not everything, was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Another process is at it.
    Busy,
    /// A set of changes is open.
    Open(State),
    /// There is nothing to confirm or to take back.
    Nothing,
    /// A file or setting could not be read or written.
    Failed(String),
    /// Somebody else has changed these since; they were left as they are.
    Foreign(Vec<String>),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy => f.write_str("another hawser-tune is changing this machine"),
            Self::Open(state) => {
                let state = match state {
                    State::Prepared => "was interrupted",
                    State::Applied => "is not confirmed",
                    State::Confirmed => "is in force",
                };
                write!(f, "an earlier apply {state}: `hawser-tune rollback` takes it back first")
            }
            Self::Nothing => f.write_str("nothing has been applied"),
            Self::Failed(text) => f.write_str(text),
            Self::Foreign(ids) => write!(
                f,
                "left as they are, because somebody else has changed them since: {}; --force \
                 restores them all the same",
                ids.join(", ")
            ),
        }
    }
}

/// The journal of one machine, held under its lock.
#[derive(Debug)]
pub struct Journal {
    root: Root,
    directory: PathBuf,
    /// Released when it is dropped, also by the kernel.
    _lock: File,
}

impl Journal {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`Trouble::Busy`], or the directory cannot be made.
    pub fn open(root: &Root, directory: &Path) -> Result<Self, Trouble> {
        fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
        let path = directory.join("lock");
        let lock = File::create(&path).map_err(|error| failed(&path, &error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| Trouble::Busy)?;
        Ok(Self { root: root.clone(), directory: directory.to_owned(), _lock: lock })
    }

    fn path(&self) -> PathBuf {
        self.directory.join("journal.json")
    }

    fn read(&self) -> Result<Option<Record>, Trouble> {
        let text = match fs::read_to_string(self.path()) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&self.path(), &error)),
        };
        let record: Record = serde_json::from_str(&text)
            .map_err(|error| Trouble::Failed(format!("{}: {error}", self.path().display())))?;
        if record.version > VERSION {
            return Err(Trouble::Failed(format!(
                "{}: version {} is newer than this program's {VERSION}",
                self.path().display(),
                record.version
            )));
        }
        Ok(Some(record))
    }

    /// Written beside and renamed, so that a reader sees the old one or the new one.
    fn write(&self, record: &Record) -> Result<(), Trouble> {
        let text = serde_json::to_string_pretty(record).expect("it is plain data");
        write_whole(&self.path(), &text)
    }

    /// Old values of everything, on disk before anything is changed; gives the number of this set.
    ///
    /// # Errors
    /// [`Trouble::Open`] while another set is open.
    pub fn prepare(&self, changes: &[Change], files: &[Lasting]) -> Result<u64, Trouble> {
        let earlier = self.read()?;
        if let Some(record) = &earlier {
            return Err(Trouble::Open(record.state));
        }
        let mut before = Vec::new();
        for file in files {
            let path = self.root.path(file.path);
            let text = match fs::read_to_string(&path) {
                Ok(text) => Some(text),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(failed(&path, &error)),
            };
            let (path, written) = (file.path.to_owned(), file.text.clone());
            before.push(Before { path, text, written });
        }
        let number = self.last_number() + 1;
        write_whole(&self.directory.join("number"), &number.to_string())?;
        let record = Record {
            version: VERSION,
            number,
            state: State::Prepared,
            changes: changes.to_vec(),
            files: before,
        };
        self.write(&record)?;
        Ok(number)
    }

    fn last_number(&self) -> u64 {
        let text = fs::read_to_string(self.directory.join("number")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Makes the changes that were prepared.
    ///
    /// # Errors
    /// The first that fails is named; what was done before it is taken back.
    pub fn make(&self) -> Result<(), Trouble> {
        let mut record = self.read()?.ok_or(Trouble::Nothing)?;
        let done =
            record.changes.iter().try_for_each(|change| self.set(&change.id, &change.to)).and_then(
                |()| {
                    record.files.iter().try_for_each(|file| {
                        write_whole(&self.root.path(&file.path), &file.written)
                    })
                },
            );
        if let Err(trouble) = done {
            self.roll_back(true)?;
            return Err(trouble);
        }
        record.state = State::Applied;
        self.write(&record)
    }

    /// They stay.
    ///
    /// # Errors
    /// [`Trouble::Nothing`].
    pub fn confirm(&self) -> Result<(), Trouble> {
        let mut record = self.read()?.ok_or(Trouble::Nothing)?;
        if record.state == State::Prepared {
            return Err(Trouble::Open(State::Prepared));
        }
        record.state = State::Confirmed;
        self.write(&record)
    }

    /// Whether the set of this number still waits to be confirmed.
    #[must_use]
    pub fn is_unconfirmed(&self, number: u64) -> bool {
        let record = self.read().ok().flatten();
        record.is_some_and(|record| record.number == number && record.state != State::Confirmed)
    }

    /// Restores every old value and file.
    ///
    /// # Errors
    /// [`Trouble::Foreign`] names what somebody else has changed since: it is left, unless `force`.
    pub fn roll_back(&self, force: bool) -> Result<(), Trouble> {
        let record = self.read()?.ok_or(Trouble::Nothing)?;
        let mut foreign = Vec::new();
        for change in record.changes.iter().rev() {
            let now = self.root.text(&sysctl_path(&change.id)).unwrap_or_default();
            let (now, from, to) = (spaced(&now), spaced(&change.from), spaced(&change.to));
            if now == from {
                continue;
            }
            if now != to && !force {
                foreign.push(change.id.clone());
                continue;
            }
            self.set(&change.id, &change.from)?;
        }
        for file in &record.files {
            let path = self.root.path(&file.path);
            let now = fs::read_to_string(&path).ok();
            if now == file.text {
                continue;
            }
            if now.as_ref() != Some(&file.written) && now.is_some() && !force {
                foreign.push(format!("/{}", file.path));
                continue;
            }
            match &file.text {
                Some(text) => write_whole(&path, text)?,
                None => fs::remove_file(&path).map_err(|error| failed(&path, &error))?,
            }
        }
        fs::remove_file(self.path()).map_err(|error| failed(&self.path(), &error))?;
        if foreign.is_empty() { Ok(()) } else { Err(Trouble::Foreign(foreign)) }
    }

    fn set(&self, id: &str, value: &str) -> Result<(), Trouble> {
        let path = self.root.path(&sysctl_path(id));
        // Opened without creating: a setting that is not there must not become a file.
        let mut file = fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&path)
            .map_err(|error| failed(&path, &error))?;
        file.write_all(value.as_bytes()).map_err(|error| failed(&path, &error))
    }
}

fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn failed(path: &Path, error: &io::Error) -> Trouble {
    Trouble::Failed(format!("{}: {error}", path.display()))
}

/// On disk as a whole or not at all.
fn write_whole(path: &Path, text: &str) -> Result<(), Trouble> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let beside = path.with_extension("hawser-new");
    let write = || {
        fs::create_dir_all(parent)?;
        let mut file = File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(parent)?.sync_all()
    };
    write().map_err(|error| failed(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Made(tempfile::TempDir);

    impl Made {
        fn new() -> Self {
            let made = Self(tempfile::tempdir().unwrap());
            made.put("net.core.somaxconn", "128");
            made.put("net.ipv4.tcp_mem", "1\t2\t3");
            made
        }

        fn put(&self, id: &str, value: &str) {
            let path = self.0.path().join(sysctl_path(id));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
        }

        fn get(&self, id: &str) -> String {
            Root::new(self.0.path()).text(&sysctl_path(id)).unwrap()
        }

        fn journal(&self) -> Result<Journal, Trouble> {
            Journal::open(&Root::new(self.0.path()), &self.0.path().join("state"))
        }
    }

    fn changes() -> Vec<Change> {
        [("net.core.somaxconn", "128", "5000"), ("net.ipv4.tcp_mem", "1 2 3", "4 5 6")]
            .map(|(id, from, to)| Change { id: id.into(), from: from.into(), to: to.into() })
            .to_vec()
    }

    fn files() -> Vec<Lasting> {
        vec![Lasting { path: "etc/sysctl.d/90-hawser.conf", text: "new\n".into() }]
    }

    #[test]
    fn what_was_applied_is_taken_back_to_the_letter() {
        let made = Made::new();
        let journal = made.journal().unwrap();
        journal.prepare(&changes(), &files()).unwrap();
        journal.make().unwrap();
        assert_eq!(made.get("net.core.somaxconn"), "5000");
        let file = made.0.path().join("etc/sysctl.d/90-hawser.conf");
        assert_eq!(fs::read_to_string(&file).unwrap(), "new\n");
        journal.roll_back(false).unwrap();
        assert_eq!(made.get("net.core.somaxconn"), "128");
        assert_eq!(made.get("net.ipv4.tcp_mem"), "1 2 3");
        assert!(!file.exists());
        assert_eq!(journal.roll_back(false), Err(Trouble::Nothing));
    }

    #[test]
    fn an_apply_that_was_killed_between_two_changes_is_taken_back() {
        let made = Made::new();
        let journal = made.journal().unwrap();
        journal.prepare(&changes(), &files()).unwrap();
        // The first change was made, then the process was killed.
        made.put("net.core.somaxconn", "5000");
        drop(journal);
        let journal = made.journal().unwrap();
        let again = journal.prepare(&changes(), &files());
        assert_eq!(again, Err(Trouble::Open(State::Prepared)));
        journal.roll_back(false).unwrap();
        assert_eq!(
            (made.get("net.core.somaxconn"), made.get("net.ipv4.tcp_mem")),
            ("128".into(), "1\t2\t3".into())
        );
    }

    #[test]
    fn two_at_once_are_refused_and_the_first_goes_on() {
        let made = Made::new();
        let journal = made.journal().unwrap();
        assert_eq!(made.journal().map(|_| ()), Err(Trouble::Busy));
        journal.prepare(&changes(), &[]).unwrap();
        journal.make().unwrap();
        drop(journal);
        let second = made.journal().unwrap();
        assert_eq!(second.prepare(&changes(), &[]), Err(Trouble::Open(State::Applied)));
    }

    #[test]
    fn a_value_somebody_else_has_set_since_is_left_and_named() {
        let made = Made::new();
        let journal = made.journal().unwrap();
        journal.prepare(&changes(), &[]).unwrap();
        journal.make().unwrap();
        made.put("net.core.somaxconn", "7777");
        let foreign = Trouble::Foreign(vec!["net.core.somaxconn".into()]);
        assert_eq!(journal.roll_back(false), Err(foreign));
        assert_eq!(
            (made.get("net.core.somaxconn"), made.get("net.ipv4.tcp_mem")),
            ("7777".into(), "1 2 3".into())
        );
    }

    #[test]
    fn a_change_that_fails_takes_back_those_before_it() {
        let made = Made::new();
        let journal = made.journal().unwrap();
        let mut changes = changes();
        changes.push(Change { id: "net.not.there".into(), from: String::new(), to: "1".into() });
        journal.prepare(&changes, &[]).unwrap();
        let Err(Trouble::Failed(text)) = journal.make() else { panic!("it must fail") };
        assert!(text.contains("net/not/there"), "{text}");
        assert_eq!(made.get("net.core.somaxconn"), "128");
        assert!(!made.0.path().join(sysctl_path("net.not.there")).exists());
    }

    #[test]
    fn a_timer_of_an_earlier_set_does_not_take_back_a_later_one() {
        let made = Made::new();
        let journal = made.journal().unwrap();
        let first = journal.prepare(&changes(), &[]).unwrap();
        journal.make().unwrap();
        assert!(journal.is_unconfirmed(first));
        journal.confirm().unwrap();
        assert!(!journal.is_unconfirmed(first));
        journal.roll_back(false).unwrap();
        let second = journal.prepare(&changes(), &[]).unwrap();
        assert!(!journal.is_unconfirmed(first) && journal.is_unconfirmed(second));
    }
}
