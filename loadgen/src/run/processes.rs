//! A process that is watched second by second: the server's, or this one.

use std::{io, time::Instant};

use super::ProcessView;
use crate::measure::{self, Sample};

/// See the module. When the process is gone, the last figures stay.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pid: u32,
    command: String,
    last: Sample,
    /// The sample the next rate counts from.
    base: (Instant, Sample),
    cpu: f64,
    gone: bool,
}

impl Watched {
    /// Begins with a look.
    pub(super) fn new(pid: u32) -> io::Result<Self> {
        let last = measure::sample(pid)?;
        let base = (Instant::now(), last);
        let command = measure::command_line(pid);
        Ok(Self { pid, command, last, base, cpu: 0.0, gone: false })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn command(&self) -> &str {
        &self.command
    }

    /// The last that was seen of it.
    pub(super) fn last(&self) -> Sample {
        self.last
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Looks again; `None` if it is gone. Another process of the same number is not it.
    pub(super) fn look(&mut self) -> Option<Sample> {
        if self.gone {
            return None;
        }
        let seen = measure::sample(self.pid).ok();
        let seen = seen.filter(|sample| sample.started == self.last.started);
        match seen {
            Some(sample) => self.last = sample,
            None => {
                self.gone = true;
                self.cpu = 0.0;
            }
        }
        seen
    }

    /// CPU in cores since this was last asked, and memory in bytes; `None` if it is gone.
    pub(super) fn take_rate(&mut self) -> Option<(f64, u64)> {
        if self.gone {
            return None;
        }
        let now = Instant::now();
        let (then, sample) = std::mem::replace(&mut self.base, (now, self.last));
        let elapsed_us = (now - then).as_micros().max(1) as f64;
        self.cpu = self.last.cpu_us.saturating_sub(sample.cpu_us) as f64 / elapsed_us;
        Some((self.cpu, self.last.memory_bytes))
    }

    pub(super) fn view(&self) -> ProcessView {
        ProcessView {
            pid: self.pid,
            alive: !self.gone,
            cpu: self.cpu,
            memory_bytes: self.last.memory_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn process_that_ends_is_gone_and_its_last_figures_stay() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        // The kernel lets us go on a little before the new program's arguments can be read.
        let named = (0..1_000_000).any(|_| !measure::command_line(child.id()).is_empty());
        assert!(named, "no arguments to be seen");
        let mut watched = Watched::new(child.id()).unwrap();
        assert!(watched.look().is_some() && watched.take_rate().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(watched.look().is_none() && watched.take_rate().is_none());
        let view = watched.view();
        assert_eq!((view.alive, view.memory_bytes), (false, watched.last().memory_bytes));
        assert!(watched.command().contains("sleep 600"), "{}", watched.command());
    }
}
