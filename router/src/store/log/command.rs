//! `log verify|dump|repair|backup DIR`, for the binaries: opens the directory, runs the tool, and
//! writes what an operator reads.
//!
//! Parsing of arguments, the clock and the meaning of payloads are the binary's.

use std::{
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{
    checkpoint::Checkpoints,
    tool::{self, DumpFilter, RecordPrinter},
};
use crate::store::{DataHeader, HeaderError, OpenError, StdDisk};

/// What to do with a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogCommand {
    /// Check every batch and checkpoint; may run beside the gateway.
    Verify,
    /// Print records; may run beside the gateway.
    Dump(DumpFilter),
    /// Cut damaged lanes; the directory must not be in use.
    Repair {
        /// Only say what would be lost.
        dry_run: bool,
    },
    /// Copy to another, empty directory; may run beside the gateway.
    Backup {
        /// Where to; made if missing.
        target: PathBuf,
    },
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogOutcome {
    /// Nothing is wrong, or it was put right.
    Good,
    /// Acknowledged records are missing; nothing was changed.
    Damaged,
}

/// Why a command could not run.
#[derive(Debug)]
pub enum LogCommandError {
    /// The directory cannot be used.
    Open(OpenError),
    /// Its header cannot.
    Header(HeaderError),
    /// Reading, writing or printing failed.
    Io(io::Error),
}

impl fmt::Display for LogCommandError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(out),
            Self::Header(error) => error.fmt(out),
            Self::Io(error) => error.fmt(out),
        }
    }
}

impl std::error::Error for LogCommandError {}

impl From<OpenError> for LogCommandError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl From<HeaderError> for LogCommandError {
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}

impl From<io::Error> for LogCommandError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Runs a command on the directory. `wall_ms` is the present time, `print` shows one record.
///
/// # Errors
/// [`LogCommandError`], whose text names the path.
pub fn run(
    command: &LogCommand,
    directory: &Path,
    wall_ms: u64,
    out: &mut dyn Write,
    print: &mut RecordPrinter<'_>,
) -> Result<LogOutcome, LogCommandError> {
    let disk = match command {
        LogCommand::Repair { dry_run: false } => StdDisk::open(directory, false)?,
        LogCommand::Repair { dry_run: true }
        | LogCommand::Verify
        | LogCommand::Dump(_)
        | LogCommand::Backup { .. } => StdDisk::attach(directory)?,
    };
    let header = DataHeader::open(&disk)?;
    match command {
        LogCommand::Verify => verify(&disk, header.salt(), out),
        LogCommand::Dump(filter) => {
            let count = tool::dump(&disk, header.salt(), filter, out, print)?;
            writeln!(out, "{count} records")?;
            Ok(LogOutcome::Good)
        }
        LogCommand::Repair { dry_run } => repair(&disk, header.salt(), *dry_run, out),
        LogCommand::Backup { target } => {
            let copy = StdDisk::open(target, true)?;
            let report = tool::backup(&disk, &header, &copy, wall_ms)?;
            writeln!(
                out,
                "{} segments with {} batches and {} checkpoints copied to {}",
                report.segments,
                report.batches,
                report.checkpoints,
                target.display()
            )?;
            Ok(LogOutcome::Good)
        }
    }
}

fn verify(disk: &StdDisk, salt: u64, out: &mut dyn Write) -> Result<LogOutcome, LogCommandError> {
    let mut outcome = LogOutcome::Good;
    for report in tool::verify(disk, salt)? {
        writeln!(out, "{report}")?;
        if report.is_damaged() {
            outcome = LogOutcome::Damaged;
        }
    }
    let checkpoints = Checkpoints::load(disk)?;
    for ignored in &checkpoints.ignored {
        // No loss: an older checkpoint or the log itself takes its place.
        writeln!(out, "{}: not used, {}", ignored.file, ignored.why)?;
    }
    writeln!(out, "{} shards have a checkpoint", checkpoints.sections.len())?;
    Ok(outcome)
}

fn repair(
    disk: &StdDisk,
    salt: u64,
    dry_run: bool,
    out: &mut dyn Write,
) -> Result<LogOutcome, LogCommandError> {
    let cuts = tool::repair(disk, salt, dry_run)?;
    for cut in &cuts {
        writeln!(out, "{cut}")?;
    }
    if cuts.is_empty() {
        writeln!(out, "no damage, nothing to repair")?;
        return Ok(LogOutcome::Good);
    }
    if dry_run {
        writeln!(out, "nothing was changed")?;
        return Ok(LogOutcome::Damaged);
    }
    Ok(LogOutcome::Good)
}
