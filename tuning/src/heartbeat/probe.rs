//! Finds the longest silence a path bears, by halving: an interval that was borne raises the lower
//! end, one that was not lowers the upper.
//!
//! Meant for a connection of its own, so that a probe which overshoots loses nobody's messages. A
//! cut that came from elsewhere (a lost network) would lower the upper end for good, so an interval
//! counts as not borne only when it failed twice.

/// Ends when the two ends are this close: below it the answer no longer changes what to choose.
const CLOSE: f64 = 1.05;
/// Failures that make an interval "not borne".
const FAILURES: u32 = 2;

/// Tries of one search at most: over three orders of magnitude 16 suffice, and one that overruns its
/// time teaches nothing.
const TRIES_MAX: u32 = 64;

/// One silence that was tried.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Tried {
    /// How long it really was, seconds.
    pub silence_s: f64,
    /// The connection lived on.
    pub borne: bool,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// Longest silence that was borne, seconds.
    borne_s: f64,
    /// Shortest that was not, seconds.
    cut_s: f64,
    failures: u32,
}

impl Probe {
    /// The answer lies between these.
    ///
    /// # Panics
    /// If they are not in order.
    #[must_use]
    pub fn between(borne_s: f64, cut_s: f64) -> Self {
        assert!(0.0 < borne_s && borne_s < cut_s, "{borne_s} must be above 0 and below {cut_s}");
        Self { borne_s, cut_s, failures: 0 }
    }

    /// Silence to try next, seconds; `None` when the answer is known.
    #[must_use]
    pub fn next_s(&self) -> Option<f64> {
        // Halved by ratio: time-outs range over three orders of magnitude.
        (self.cut_s / self.borne_s > CLOSE).then(|| (self.borne_s * self.cut_s).sqrt())
    }

    /// The silence tried was borne.
    pub fn on_borne(&mut self, silence_s: f64) {
        self.borne_s = self.borne_s.max(silence_s);
        self.failures = 0;
    }

    /// The connection was cut in it.
    pub fn on_cut(&mut self, silence_s: f64) {
        self.failures += 1;
        if self.failures >= FAILURES {
            self.cut_s = self.cut_s.min(silence_s);
            self.failures = 0;
        }
    }

    /// Searches to the end: `bears` keeps a connection silent for so many seconds and gives the silence
    /// it really kept, and whether the path bore it.
    ///
    /// # Errors
    /// The first of `bears`.
    pub fn search<E>(&mut self, mut bears: impl FnMut(f64) -> Result<Tried, E>) -> Result<(), E> {
        for _ in 0..TRIES_MAX {
            let Some(silence_s) = self.next_s() else { break };
            let tried = bears(silence_s)?;
            if tried.borne {
                self.on_borne(tried.silence_s);
            } else {
                self.on_cut(tried.silence_s);
            }
        }
        Ok(())
    }

    /// Longest silence known to be borne, seconds.
    #[must_use]
    pub fn borne_s(&self) -> f64 {
        self.borne_s
    }

    /// Shortest silence known to be cut, seconds; the upper end of the search if none was.
    #[must_use]
    pub fn cut_s(&self) -> f64 {
        self.cut_s
    }

    /// Best guess of where the path cuts, seconds.
    #[must_use]
    pub fn answer_s(&self) -> f64 {
        (self.borne_s * self.cut_s).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_out_is_found_within_five_percent_and_in_few_probes() {
        for cut_s in [31.0, 60.0, 120.0, 240.0, 350.0, 599.0, 1200.0, 3000.0] {
            let mut probe = Probe::between(15.0, 3600.0);
            let mut probes = 0;
            while let Some(silence_s) = probe.next_s() {
                probes += 1;
                if silence_s < cut_s { probe.on_borne(silence_s) } else { probe.on_cut(silence_s) }
            }
            let wrong = probe.answer_s() / cut_s;
            assert!((0.95..=1.05).contains(&wrong), "{cut_s}: {}", probe.answer_s());
            assert!(probe.borne_s() <= cut_s && probes <= 16, "{probes} probes");
        }
    }

    #[test]
    fn a_search_ends_also_where_nothing_can_be_learnt() {
        let mut probe = Probe::between(10.0, 1000.0);
        let mut tries = 0;
        let overrun = |_: f64| -> Result<Tried, ()> {
            tries += 1;
            Ok(Tried { silence_s: 2000.0, borne: false })
        };
        assert_eq!(probe.search(overrun), Ok(()));
        assert_eq!((tries, probe.borne_s(), probe.cut_s()), (TRIES_MAX, 10.0, 1000.0));
        assert_eq!(probe.search(|_| Err("gone")), Err("gone"));
    }

    #[test]
    fn one_cut_that_came_from_elsewhere_changes_nothing() {
        let mut probe = Probe::between(10.0, 1000.0);
        let silence_s = probe.next_s().unwrap();
        probe.on_cut(silence_s);
        assert_eq!(probe.next_s(), Some(silence_s), "it is tried again");
        probe.on_borne(silence_s);
        assert_eq!(probe.borne_s(), silence_s);
    }
}
