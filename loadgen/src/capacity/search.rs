//! The search for the highest rate a server holds, as a pure core: results go in, the next step
//! comes out.
//!
//! ```text
//!  climb by doubling --broke--> recover --held--> bisect --narrow--> repeat both ends --> found
//!        ^   |                  |  ^                |                  |
//!        +held                  +broke (3: end)     +broke: recover    +outvoted: climb or bisect
//! ```
//!
//! Everything is decided from the list of trials alone. A rate counts as good or bad by the
//! majority of its trials; the two rates of the answer have at least two each, so that one lucky or
//! unlucky run does not decide. A run whose generator was the limit says nothing about the server: it
//! is made again, and the search ends when it is the limit time and again.

use serde::{Deserialize, Serialize};

/// Recovery checks in a row that may fail before the server is given up.
pub const RECOVERIES_MAX: usize = 3;

/// Trials of a rate that the answer rests on.
const TRIALS_MIN: usize = 2;

/// Runs in a row in which the generator may be the limit: once may be somebody else's load.
pub const INVALID_MAX: usize = 3;

/// The search goes down from a first rate that breaks to this share of it.
const DESCENT: f64 = 1.0 / 64.0;

/// Trials of one search at most: doubling and halving from end to end take less than half of it.
pub const STEPS_MAX: usize = 80;

/// A recovery check asks this share of the highest good rate.
const RECOVERY_SHARE: f64 = 0.25;

/// Where to search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// First rate tried.
    pub from: f64,
    /// Highest rate tried.
    pub to: f64,
    /// The search ends when first bad and last good are no further apart than this share.
    pub precision: f64,
}

/// What a step is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Find a rate that breaks.
    Climb,
    /// Find a rate that holds, below a first one that broke.
    Descend,
    /// Halve the distance.
    Bisect,
    /// Make sure of an end.
    Repeat,
    /// See that the server is well again after a rate that broke.
    Recover,
}

/// A run to be made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Messages per second.
    pub rate: f64,
    /// What for.
    pub purpose: Purpose,
}

/// What a run said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every threshold held.
    Held,
    /// What broke first.
    Broke(String),
    /// The generator was the limit, and why.
    Invalid(String),
}

/// A run that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// What was asked.
    pub step: Step,
    /// What came of it.
    pub outcome: Outcome,
}

/// How the search ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Last good and first bad are close together.
    Found,
    /// The highest rate allowed held too.
    HeldThroughout,
    /// Not even a small share of the first rate held.
    BrokeThroughout,
    /// The generator was the limit, and why.
    GeneratorLimit(String),
    /// The server did not come back to a low rate, and what was still broken.
    NoRecovery(String),
    /// Trials contradicted each other to the end of their number.
    Undecided,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Highest rate that held.
    pub last_good: Option<f64>,
    /// Lowest rate above it that broke.
    pub first_bad: Option<f64>,
    /// What broke first there.
    pub broke_first: Option<String>,
    /// Why the search is over.
    pub end: End,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Make a run.
    Run(Step),
    /// The search is over.
    Done(Answer),
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Search {
    bounds: Bounds,
    trials: Vec<Trial>,
}

/// A rate with its votes.
#[derive(Clone, Copy, Debug)]
struct Rate {
    rate: f64,
    held: usize,
    broke: usize,
}

impl Search {
    /// A search that has not begun.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, trials: Vec::new() }
    }

    /// Everything tried so far, in order.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// A step that [`Search::next`] asked for was made.
    pub fn take(&mut self, step: Step, outcome: Outcome) {
        self.trials.push(Trial { step, outcome });
    }

    /// What to do now; the same until something is taken.
    pub fn next(&self) -> Next {
        let run = |rate, purpose| Next::Run(Step { rate, purpose });
        if let Some(end) = self.ended_early() {
            return self.done(end);
        }
        if let Some(Trial { step, outcome: Outcome::Invalid(_) }) = self.trials.last() {
            return Next::Run(*step);
        }
        if self.needs_recovery() {
            return run(self.recovery_rate(), Purpose::Recover);
        }
        if let Some(tied) = self.rates().into_iter().find(|rate| rate.held == rate.broke) {
            return run(tied.rate, Purpose::Repeat);
        }
        let Bounds { from, to, precision } = self.bounds;
        match (self.last_good(), self.first_bad()) {
            (None, None) => run(from, Purpose::Climb),
            (Some(good), None) if good.rate >= to => self.done(End::HeldThroughout),
            (Some(good), None) => run(round(good.rate * 2.0).min(to), Purpose::Climb),
            (None, Some(bad)) if bad.rate / 2.0 < from * DESCENT => self.done(End::BrokeThroughout),
            (None, Some(bad)) => run(round(bad.rate / 2.0), Purpose::Descend),
            (Some(good), Some(bad)) if bad.rate > good.rate * (1.0 + precision) => {
                run(between(good.rate, bad.rate), Purpose::Bisect)
            }
            (Some(good), Some(bad)) => {
                let ends = [bad, good].into_iter();
                let unsure = ends.into_iter().find(|end| end.held + end.broke < TRIALS_MIN);
                unsure.map_or_else(|| self.done(End::Found), |end| run(end.rate, Purpose::Repeat))
            }
        }
    }

    fn ended_early(&self) -> Option<End> {
        let last = self.trials.last()?;
        let is_invalid = |trial: &&Trial| matches!(trial.outcome, Outcome::Invalid(_));
        if let Outcome::Invalid(reason) = &last.outcome
            && self.trials.iter().rev().take_while(is_invalid).count() >= INVALID_MAX
        {
            return Some(End::GeneratorLimit(reason.clone()));
        }
        let recoveries = self.trials.iter().rev();
        let mut recoveries = recoveries.take_while(|trial| trial.step.purpose == Purpose::Recover);
        if let Some(Trial { outcome: Outcome::Broke(what), .. }) = recoveries.next()
            && recoveries.count() + 1 >= RECOVERIES_MAX
        {
            return Some(End::NoRecovery(what.clone()));
        }
        (self.trials.len() >= STEPS_MAX).then_some(End::Undecided)
    }

    fn needs_recovery(&self) -> bool {
        // Before any rate held, nothing tells a server that is ill from one that is slow.
        self.last_good().is_some()
            && self.trials.last().is_some_and(|trial| matches!(trial.outcome, Outcome::Broke(_)))
    }

    fn recovery_rate(&self) -> f64 {
        let good = self.last_good().map_or(self.bounds.from, |good| good.rate);
        round(good * RECOVERY_SHARE)
    }

    /// Every rate tried, ascending, with its votes; recovery checks have no vote, for they are
    /// made while the server may still be ill.
    fn rates(&self) -> Vec<Rate> {
        let mut rates: Vec<Rate> = Vec::new();
        let votes = self.trials.iter().filter(|trial| trial.step.purpose != Purpose::Recover);
        for trial in votes {
            let rate = trial.step.rate;
            let (held, broke) = match trial.outcome {
                Outcome::Held => (1, 0),
                Outcome::Broke(_) => (0, 1),
                Outcome::Invalid(_) => continue,
            };
            match rates.iter_mut().find(|known| known.rate.total_cmp(&rate).is_eq()) {
                Some(known) => {
                    known.held += held;
                    known.broke += broke;
                }
                None => rates.push(Rate { rate, held, broke }),
            }
        }
        rates.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        rates
    }

    fn first_bad(&self) -> Option<Rate> {
        self.rates().into_iter().find(|rate| rate.broke > rate.held)
    }

    fn last_good(&self) -> Option<Rate> {
        let bad = self.first_bad().map_or(f64::INFINITY, |bad| bad.rate);
        let good = |rate: &Rate| rate.rate < bad && rate.held > rate.broke;
        self.rates().into_iter().rev().find(good)
    }

    fn done(&self, end: End) -> Next {
        let first_bad = self.first_bad().map(|bad| bad.rate);
        let broke = self.trials.iter().find_map(|trial| match &trial.outcome {
            Outcome::Broke(what)
                if Some(trial.step.rate) == first_bad && trial.step.purpose != Purpose::Recover =>
            {
                Some(what.clone())
            }
            _ => None,
        });
        let last_good = self.last_good().map(|good| good.rate);
        Next::Done(Answer { last_good, first_bad, broke_first: broke, end })
    }
}

/// Three digits are enough for a rate, and can be typed.
fn round(rate: f64) -> f64 {
    let scale = 10f64.powf(rate.log10().floor() - 2.0);
    let rounded = (rate / scale).round() * scale;
    // Scales below one are not exact; a text has no such tail.
    format!("{rounded:.6}").parse().unwrap_or(rounded)
}

/// The geometric middle, rounded if that leaves it between.
fn between(good: f64, bad: f64) -> f64 {
    let middle = (good * bad).sqrt();
    let rounded = round(middle);
    if good < rounded && rounded < bad { rounded } else { middle }
}

#[cfg(test)]
mod tests;
