//! Interleaved runs against several servers, ready to be compared.

use std::net::SocketAddr;

use hawser_loadgen::{
    compare::{
        Comparison, Settings, compare,
        sides::{Leave, Named, Refusal, join},
    },
    report::Verdict,
};

use super::run_line;

/// An invalid run is made again so many times: others may keep the machine busy for minutes.
const ATTEMPTS: u32 = 100;

/// One side: its name and its server.
pub struct Opponent {
    pub name: &'static str,
    pub server: SocketAddr,
}

/// The runs of a side, with its name.
pub type Runs = (String, Vec<Named>);

/// Makes `count` runs of the line against each server in turn. Who begins changes from round to
/// round: the first run after a pause may be a little different.
pub fn interleaved(
    opponents: &[Opponent],
    line: &str,
    count: usize,
    number: &mut u64,
) -> Result<Vec<Runs>, String> {
    let mut sides: Vec<Runs> =
        opponents.iter().map(|side| (side.name.to_owned(), Vec::new())).collect();
    for round in 0..count {
        for place in 0..opponents.len() {
            let at = (round + place) % opponents.len();
            sides[at].1.push(valid(&opponents[at], line, number)?);
        }
    }
    Ok(sides)
}

fn valid(opponent: &Opponent, line: &str, number: &mut u64) -> Result<Named, String> {
    let mut reason = String::new();
    for _ in 0..ATTEMPTS {
        *number += 1;
        let report = run_line(opponent.server, line, *number).map_err(|e| format!("{e:?}"))?;
        if report.verdict != Verdict::Invalid {
            return Ok(Named { name: format!("run {number}"), report });
        }
        reason = report.reasons.join("; ");
        eprintln!("run {number} is invalid and made again: {reason}");
    }
    Err(format!("{ATTEMPTS} runs in a row were invalid: {reason}"))
}

/// Compares two of the sides.
pub fn compared(first: &Runs, other: &Runs, seed: u64) -> Result<Comparison, String> {
    let take = |(name, runs): &Runs| {
        let runs = runs.iter().map(|run| {
            let (name, report) = (run.name.clone(), run.report.clone());
            Named { name, report }
        });
        (name.clone(), runs.collect())
    };
    let read = join(vec![take(first), take(other)], &Leave::default());
    let read = read.map_err(|refusal| match refusal {
        Refusal::Input(reason) | Refusal::File(reason) => reason,
    })?;
    let settings = Settings { seed, ..Settings::default() };
    Ok(compare(&read.subject, &read.sides, &settings))
}
