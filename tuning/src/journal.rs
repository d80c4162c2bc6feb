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
use crate::nft;
use crate::spread;
use crate::system::{Root, setting_path};
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

/// The table of nftables rules, before and since.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Rules {
    /// As it was listed; `None`: there was none.
    before: Option<String>,
    /// What was loaded.
    written: String,
    /// As it was listed then; `None`: it was not seen, because the process was killed.
    listed: Option<String>,
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
    /// From version 2 on.
    #[serde(default)]
    rules: Option<Rules>,
}

/// Version of what is written.
const VERSION: u32 = 2;

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
    /// Released when it is dropped, also by the kernel; held on by an `nft` that is still at it.
    lock: File,
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
        Ok(Self { root: root.clone(), directory: directory.to_owned(), lock })
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
    /// `rules`: a table of nftables rules to be loaded, too.
    ///
    /// # Errors
    /// [`Trouble::Open`] while another set is open, or the old values cannot be had.
    pub fn prepare(
        &self,
        changes: &[Change],
        files: &[Lasting],
        rules: Option<&str>,
    ) -> Result<u64, Trouble> {
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
        let rules = rules.map(rules_before).transpose()?;
        let number = self.last_number() + 1;
        write_whole(&self.directory.join("number"), &number.to_string())?;
        let record = Record {
            version: VERSION,
            number,
            state: State::Prepared,
            changes: changes.to_vec(),
            files: before,
            rules,
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
        let done = self.make_each(&mut record);
        if let Err(trouble) = done {
            self.roll_back(true)?;
            return Err(trouble);
        }
        record.state = State::Applied;
        self.write(&record)
    }

    fn make_each(&self, record: &mut Record) -> Result<(), Trouble> {
        for change in &record.changes {
            self.set(&change.id, &change.to)?;
        }
        for file in &record.files {
            write_whole(&self.root.path(&file.path), &file.written)?;
        }
        if let Some(rules) = &mut record.rules {
            self.load_rules(Some(&rules.written))?;
            rules.listed = nft::listed().map_err(Trouble::Failed)?;
        }
        Ok(())
    }

    /// In the place of what is there, as one transaction.
    fn load_rules(&self, table: Option<&str>) -> Result<(), Trouble> {
        let path = self.directory.join("rules.nft");
        write_whole(&path, &nft::replacing(table))?;
        nft::load(&path, &self.lock).map_err(Trouble::Failed)
    }

    /// True: somebody else has changed them, and they were left.
    fn roll_back_rules(&self, rules: &Rules, force: bool) -> Result<bool, Trouble> {
        let now = nft::listed().map_err(Trouble::Failed)?;
        if now == rules.before {
            return Ok(false);
        }
        let ours = match (&rules.listed, &now) {
            (Some(_), now) => *now == rules.listed,
            // Killed between loading and looking.
            (None, Some(now)) => !nft::is_foreign(now),
            (None, None) => false,
        };
        if !ours && !force {
            return Ok(true);
        }
        self.load_rules(rules.before.as_deref())?;
        Ok(false)
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
        if let Some(rules) = &record.rules
            && self.roll_back_rules(rules, force)?
        {
            foreign.push(format!("nftables table {}", nft::TABLE.join(" ")));
        }
        for change in record.changes.iter().rev() {
            let now = self.root.text(&setting_path(&change.id)).unwrap_or_default();
            if same(&change.id, &now, &change.from) {
                continue;
            }
            if !same(&change.id, &now, &change.to) && !force {
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
        let path = self.root.path(&setting_path(id));
        // Opened without creating: a setting that is not there must not become a file.
        let mut file = fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&path)
            .map_err(|error| failed(&path, &error))?;
        file.write_all(value.as_bytes()).map_err(|error| failed(&path, &error))
    }
}

fn rules_before(written: &str) -> Result<Rules, Trouble> {
    let before = nft::listed().map_err(Trouble::Failed)?;
    if before.as_deref().is_some_and(nft::is_foreign) {
        let table = nft::TABLE.join(" ");
        return Err(Trouble::Failed(format!(
            "an nftables table {table} is there already, which hawser-tune has not made"
        )));
    }
    Ok(Rules { before, written: written.to_owned(), listed: None })
}

/// Of a file of `/sys` or an interrupt, which hold masks, or of a setting.
fn same(id: &str, one: &str, other: &str) -> bool {
    if id.starts_with("sys/") || id.starts_with("proc/") {
        spread::same(one, other)
    } else {
        spaced(one) == spaced(other)
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
mod tests;
