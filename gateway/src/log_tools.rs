//! `hawser-gateway log …`: looks after a data directory from the command line.

use crate::{
    config::{Command, LogCommand},
    start::wall_ms,
};
use hawser_router::{
    record::describe,
    store::log::{
        command::{self, LogOutcome},
        tool::DumpFilter,
    },
};
use std::{
    io::{self, BufWriter, Write},
    path::Path,
    process::ExitCode,
};

/// The log is damaged: acknowledged records are missing.
const DAMAGED: u8 = 4;
/// The directory cannot be used.
const ENVIRONMENT: u8 = 2;

/// Runs the sub-command; prints to standard output.
pub fn run(command: &Command) -> ExitCode {
    let Command::Log(wanted) = command;
    let (directory, wanted) = translate(wanted);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut print = |record: &hawser_router::store::log::RecordView<'_>,
                     location: hawser_router::store::log::Location,
                     out: &mut dyn Write| {
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
    let outcome = command::run(&wanted, directory, wall_ms(), &mut out, &mut print);
    let flushed = out.flush();
    match outcome {
        Ok(LogOutcome::Good) if flushed.is_ok() => ExitCode::SUCCESS,
        Ok(LogOutcome::Good) => ExitCode::from(ENVIRONMENT),
        Ok(LogOutcome::Damaged) => ExitCode::from(DAMAGED),
        Err(error) => {
            eprintln!("hawser-gateway: {error}");
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
