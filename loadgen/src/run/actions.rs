//! Commands of the scenario that run beside the load, as to restart a gateway.
//!
//! Only what was started here is ever ended, and only if it does not end by itself within a bound.
//! What a command leaves running in the background is its own affair.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{report::ActionResult, scenario::Action};

/// A command that takes longer is ended: a restart drains for half a minute.
const ACTION_TIME_MAX: Duration = Duration::from_secs(120);

#[derive(Debug)]
struct Running {
    child: Child,
    began: Instant,
    /// Place of its result.
    at: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Actions {
    /// Those still to come, the next one last.
    waiting: Vec<Action>,
    running: Vec<Running>,
    results: Vec<ActionResult>,
}

impl Actions {
    pub(super) fn new(actions: &[Action]) -> Self {
        let mut waiting = actions.to_vec();
        waiting.sort_by_key(|action| std::cmp::Reverse(action.at));
        Self { waiting, running: Vec::new(), results: Vec::new() }
    }

    /// Starts what is due at this time after the start of the schedule, and looks after the rest.
    pub(super) fn go(&mut self, since_start: Duration) {
        while let Some(action) = self.waiting.pop_if(|action| action.at <= since_start) {
            self.start(&action, since_start);
        }
        let results = &mut self.results;
        self.running.retain_mut(|running| {
            let result = &mut results[running.at];
            match running.child.try_wait() {
                Ok(None) if running.began.elapsed() < ACTION_TIME_MAX => return true,
                Ok(None) => result.ended = end(&mut running.child),
                Ok(Some(status)) => {
                    result.ended = status.to_string();
                    result.succeeded = status.success();
                }
                Err(error) => result.ended = error.to_string(),
            }
            false
        });
    }

    fn start(&mut self, action: &Action, since_start: Duration) {
        let mut words = action.run.iter();
        let mut command = Command::new(words.next().map_or("", |program| program.as_str()));
        // The terminal belongs to the live view.
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut result = ActionResult {
            at_s: since_start.as_secs_f64(),
            command: action.run.join(" "),
            ended: String::new(),
            succeeded: false,
        };
        match command.spawn() {
            Ok(child) => {
                let at = self.results.len();
                self.running.push(Running { child, began: Instant::now(), at });
            }
            Err(error) => result.ended = format!("not started: {error}"),
        }
        self.results.push(result);
    }

    /// All that were begun have ended.
    pub(super) fn are_over(&self) -> bool {
        self.running.is_empty()
    }

    /// Ends what still runs; gives how each command ended, and names those never begun.
    pub(super) fn end(mut self) -> Vec<ActionResult> {
        for running in &mut self.running {
            self.results[running.at].ended = end(&mut running.child);
        }
        self.running.clear();
        let late = self.waiting.iter().rev().map(|action| ActionResult {
            at_s: action.at.as_secs_f64(),
            command: action.run.join(" "),
            ended: "not begun: the run was over".to_owned(),
            succeeded: false,
        });
        self.results.extend(late);
        std::mem::take(&mut self.results)
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        for running in &mut self.running {
            end(&mut running.child);
        }
    }
}

fn end(child: &mut Child) -> String {
    // It may have ended just now; then there is nothing left to end.
    let _ = child.kill();
    let _ = child.wait();
    "ended by the generator: it took too long".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(at_ms: u64, words: &[&str]) -> Action {
        let run = words.iter().map(|word| (*word).to_owned()).collect();
        Action { at: Duration::from_millis(at_ms), run }
    }

    #[test]
    fn commands_run_in_order_of_time_and_their_ends_are_told() {
        let mut actions = Actions::new(&[
            action(500, &["false"]),
            action(100, &["true"]),
            action(200, &["/no/such/program", "x"]),
            action(900, &["true"]),
        ]);
        actions.go(Duration::from_millis(50));
        assert!(actions.results.is_empty());
        actions.go(Duration::from_millis(600));
        while !actions.are_over() {
            actions.go(Duration::from_millis(600));
        }
        let results = actions.end();
        let told: Vec<(&str, bool)> =
            results.iter().map(|one| (one.ended.as_str(), one.succeeded)).collect();
        assert_eq!(told[0], ("exit status: 0", true));
        assert!(told[1].0.starts_with("not started: "), "{told:?}");
        assert_eq!(told[2], ("exit status: 1", false));
        assert!(told[3].0.starts_with("not begun"), "{told:?}");
        assert_eq!(results[1].command, "/no/such/program x");
    }

    #[test]
    fn command_that_still_runs_at_the_end_is_ended() {
        let mut actions = Actions::new(&[action(0, &["sleep", "600"])]);
        actions.go(Duration::ZERO);
        let child = actions.running[0].child.id();
        let results = actions.end();
        assert!(results[0].ended.contains("took too long"), "{results:?}");
        assert!(crate::measure::sample(child).is_err());
    }
}
