//! `hawser-gateway log …`: looks after a data directory.

use crate::config::Command;
use std::process::ExitCode;

/// Runs the sub-command.
pub fn run(_command: &Command) -> ExitCode {
    ExitCode::from(2)
}
