//! `log …` of the gateway and of the separate router: looks after a data directory from the command
//! line.

use crate::{
    Location,
    record::describe,
    store::log::{
        RecordView,
        command::{self, LogOutcome},
        tool::DumpFilter,
    },
};
use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The log is damaged: acknowledged records are missing.
const DAMAGED: u8 = 4;
/// The directory cannot be used.
const ENVIRONMENT: u8 = 2;

/// What to do with a data directory.
#[derive(Clone, Debug, PartialEq, Eq, clap::Subcommand)]
pub enum LogCommand {
    /// Read every segment and say whether it is whole.
    Verify {
        /// Data directory.
        dir: PathBuf,
    },
    /// Print the records.
    Dump {
        /// Data directory.
        dir: PathBuf,
        /// Only this lane.
        #[arg(long, value_name = "N")]
        lane: Option<u8>,
        /// Only the segments of this number.
        #[arg(long, value_name = "N")]
        segment: Option<u32>,
        /// Only the records of this shard.
        #[arg(long, value_name = "N")]
        shard: Option<u8>,
    },
    /// Cut what is damaged; says what is lost.
    Repair {
        /// Data directory.
        dir: PathBuf,
        /// Only say what would be lost.
        #[arg(long)]
        dry_run: bool,
    },
    /// Copy to a directory that does not exist yet, also while a process is using it.
    Backup {
        /// Data directory.
        dir: PathBuf,
        /// Where the copy goes.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
}

/// Runs the sub-command of `program` at wall time `wall_ms` (milliseconds); prints to standard
/// output.
pub fn run(program: &str, command: &LogCommand, wall_ms: u64) -> ExitCode {
    let (directory, wanted) = translate(command);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut print = |record: &RecordView<'_>, location: Location, out: &mut dyn Write| {
        let text = describe(record.kind, record.payload);
        writeln!(
            out,
            "lane {} segment {} offset {} shard {} position {} {text}",
            location.lane(),
            location.segment(),
            location.offset(),
            record.shard,
            record.position,
        )
    };
    let outcome = command::run(&wanted, directory, wall_ms, &mut out, &mut print);
    let flushed = out.flush();
    match outcome {
        Ok(LogOutcome::Good) if flushed.is_ok() => ExitCode::SUCCESS,
        Ok(LogOutcome::Good) => ExitCode::from(ENVIRONMENT),
        Ok(LogOutcome::Damaged) => ExitCode::from(DAMAGED),
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::from(ENVIRONMENT)
        }
    }
}

fn translate(command: &LogCommand) -> (&Path, command::LogCommand) {
    match command {
        LogCommand::Verify { dir } => (dir, command::LogCommand::Verify),
        LogCommand::Dump { dir, lane, segment, shard } => {
            let (lane, segment, shard) = (*lane, *segment, *shard);
            (
                dir,
                command::LogCommand::Dump(DumpFilter {
                    lane,
                    segment,
                    shard,
                    ..DumpFilter::default()
                }),
            )
        }
        LogCommand::Repair { dir, dry_run } => {
            (dir, command::LogCommand::Repair { dry_run: *dry_run })
        }
        LogCommand::Backup { dir, to } => (dir, command::LogCommand::Backup { target: to.clone() }),
    }
}
