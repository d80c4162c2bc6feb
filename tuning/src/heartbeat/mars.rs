//! The smart heartbeat of WeChat, as its open client library Mars has it (`mars/stn`, read in
//! September 2025): per network, grow by a minute after five good beats, step back at two failures.
//!
//! The first beat at a new interval is not counted as a success. What stands here is the schedule
//! alone: no file, no clock, no radio.

/// Shortest interval, seconds (`MinHeartInterval`).
pub const MIN_S: u32 = 210;
/// Longest, seconds (`MaxHeartInterval`).
pub const MAX_S: u32 = 600;
/// Growth while it is searching, seconds (`HeartStep`).
pub const STEP_S: u32 = 60;
/// Distance kept from the longest, and added to the step back, seconds (`SuccessStep`).
pub const SUCCESS_STEP_S: u32 = 20;
/// Good beats at an interval before the next is tried (`BaseSuccCount`).
pub const SUCCESSES: u32 = 5;
/// Failures at an interval before it is given up (`MaxHeartFailCount`).
pub const FAILURES: u32 = 2;
/// Good beats on a connection before anything longer than the shortest is used
/// (`NetStableTestCount`).
pub const STABLE_BEATS: u32 = 3;
/// A stable interval is tried beyond after so long, seconds.
pub const PROBE_AGAIN_S: f64 = 7.0 * 86_400.0;
/// The interval it settles at when nothing fails.
pub const CEILING_S: u32 = MAX_S - SUCCESS_STEP_S;

/// State of one network.
#[derive(Clone, Debug, PartialEq)]
pub struct Mars {
    current_s: u32,
    /// Interval of the beat before, as far as it was the same network and connection.
    last_s: u32,
    successes: u32,
    failures: u32,
    is_stable: bool,
    /// Good beats on this connection.
    on_connection: u32,
    /// When the interval was last changed, seconds.
    changed_s: f64,
}

impl Default for Mars {
    fn default() -> Self {
        Self {
            current_s: MIN_S,
            last_s: 0,
            successes: 0,
            failures: 0,
            is_stable: false,
            on_connection: 0,
            changed_s: 0.0,
        }
    }
}

impl Mars {
    /// Seconds until the next beat.
    #[must_use]
    pub fn next_s(&self) -> u32 {
        if self.on_connection < STABLE_BEATS { MIN_S } else { self.current_s }
    }

    /// The interval it has come to.
    #[must_use]
    pub fn current_s(&self) -> u32 {
        self.current_s
    }

    /// It has settled.
    #[must_use]
    pub fn is_stable(&self) -> bool {
        self.is_stable
    }

    /// A beat after `interval_s` was answered at `now_s`.
    pub fn on_success(&mut self, interval_s: u32, now_s: f64) {
        self.on_connection += 1;
        let repeated = self.last_s == interval_s;
        self.last_s = interval_s;
        // The three short ones that show the connection to be sound are no part of the search.
        if self.on_connection <= STABLE_BEATS || interval_s != self.current_s {
            return;
        }
        if !repeated {
            return;
        }
        self.failures = 0;
        self.successes += 1;
        if self.is_stable {
            let rested = now_s - self.changed_s >= PROBE_AGAIN_S;
            if self.current_s < CEILING_S && rested {
                self.current_s = (self.current_s + SUCCESS_STEP_S).min(CEILING_S);
                self.is_stable = false;
                self.successes = 0;
                self.changed_s = now_s;
            }
            return;
        }
        if self.successes < SUCCESSES {
            return;
        }
        self.changed_s = now_s;
        if self.current_s >= CEILING_S {
            self.is_stable = true;
        } else {
            self.current_s = (self.current_s + STEP_S).min(CEILING_S);
            self.successes = 0;
        }
    }

    /// A beat after `interval_s` was not answered; the connection is gone with it.
    pub fn on_failure(&mut self, interval_s: u32, now_s: f64) {
        self.failures += u32::from(interval_s == self.current_s);
        if self.failures >= FAILURES {
            self.failures = 0;
            self.changed_s = now_s;
            if self.is_stable {
                self.current_s = MIN_S;
                self.is_stable = false;
            } else {
                let back = self.current_s.saturating_sub(STEP_S + SUCCESS_STEP_S);
                self.current_s = back.max(MIN_S);
                self.is_stable = true;
            }
        }
        self.on_disconnect();
    }

    /// The connection is gone, a beat was not outstanding.
    pub fn on_disconnect(&mut self) {
        self.successes = 0;
        self.on_connection = 0;
        self.last_s = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beats until it settles, all good: the intervals in order.
    fn undisturbed() -> Vec<u32> {
        let (mut mars, mut now_s, mut beats) = (Mars::default(), 0.0, Vec::new());
        while !mars.is_stable() {
            let interval_s = mars.next_s();
            now_s += f64::from(interval_s);
            beats.push(interval_s);
            mars.on_success(interval_s, now_s);
        }
        beats
    }

    #[test]
    fn five_and_a_half_hours_without_a_break_lead_to_the_longest_interval() {
        let beats = undisturbed();
        let mut expected = vec![210; 3 + 5];
        for interval in [270, 330, 390, 450, 510, 570, 580] {
            // One that is not counted, then five.
            expected.extend([interval; 6]);
        }
        assert_eq!(beats, expected);
        assert_eq!(beats.iter().sum::<u32>(), 20_280);
    }

    #[test]
    fn two_failures_while_searching_step_back_by_eighty_seconds_and_settle() {
        let mut mars = Mars::default();
        let mut now_s = 0.0;
        while mars.current_s() < 450 {
            let interval_s = mars.next_s();
            now_s += f64::from(interval_s);
            mars.on_success(interval_s, now_s);
        }
        mars.on_failure(450, now_s);
        assert_eq!((mars.current_s(), mars.is_stable()), (450, false));
        mars.on_failure(450, now_s);
        assert_eq!((mars.current_s(), mars.is_stable()), (370, true));
        assert_eq!(mars.next_s(), MIN_S, "a new connection is tried with short beats first");
    }

    #[test]
    fn two_failures_at_a_settled_interval_begin_again_at_the_shortest() {
        let mut mars = Mars { current_s: 370, is_stable: true, ..Mars::default() };
        mars.on_failure(370, 0.0);
        mars.on_failure(370, 0.0);
        assert_eq!((mars.current_s(), mars.is_stable()), (MIN_S, false));
    }

    #[test]
    fn a_settled_interval_is_tried_beyond_after_seven_days() {
        let mut mars = Mars {
            current_s: 370,
            is_stable: true,
            on_connection: 9,
            last_s: 370,
            ..Mars::default()
        };
        mars.on_success(370, PROBE_AGAIN_S - 1.0);
        assert_eq!(mars.current_s(), 370);
        mars.on_success(370, PROBE_AGAIN_S);
        assert_eq!((mars.current_s(), mars.is_stable()), (390, false));
    }

    #[test]
    fn a_break_of_the_connection_forgets_the_good_beats() {
        let mut mars = Mars::default();
        for beat in 1..=7 {
            mars.on_success(MIN_S, f64::from(beat * MIN_S));
        }
        mars.on_disconnect();
        for beat in 8..=10 {
            mars.on_success(MIN_S, f64::from(beat * MIN_S));
        }
        for _ in 0..4 {
            mars.on_success(MIN_S, 0.0);
            assert_eq!(mars.current_s(), MIN_S);
        }
        mars.on_success(MIN_S, 0.0);
        assert_eq!(mars.current_s(), 270);
    }
}
