//! Time of the process, and a timer that is as fine as a lane's pace: the runtime's own counts in
//! milliseconds.

use hawser_codec::time::Now;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use std::{io, os::fd::OwnedFd};
use tokio::io::unix::AsyncFd;

/// Both clocks, now.
pub fn now() -> Now {
    Now {
        monotonic_us: microseconds(clock_gettime(ClockId::Monotonic)),
        wall_ms: microseconds(clock_gettime(ClockId::Realtime)) / 1000,
    }
}

fn microseconds(time: Timespec) -> u64 {
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1000
}

/// A timer descriptor, armed for one instant at a time.
pub struct Timer {
    fd: AsyncFd<OwnedFd>,
    armed_us: Option<u64>,
}

impl Timer {
    /// A timer of the runtime this is called in.
    ///
    /// # Errors
    /// As `timerfd_create(2)`.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { fd: AsyncFd::new(fd)?, armed_us: None })
    }

    /// Returns at monotonic time `at_us` (microseconds) or soon after; never, when there is none.
    /// May be dropped before.
    pub async fn wait(&mut self, at_us: Option<u64>) {
        let Some(at_us) = at_us else { return std::future::pending().await };
        if self.armed_us != Some(at_us) {
            // Zero would disarm.
            let at = at_us.max(1);
            let it_value = Timespec {
                tv_sec: (at / 1_000_000).cast_signed(),
                tv_nsec: (at % 1_000_000 * 1000).cast_signed(),
            };
            let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            let value = Itimerspec { it_interval, it_value };
            if timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &value).is_err() {
                return;
            }
            self.armed_us = Some(at_us);
        }
        if let Ok(mut ready) = self.fd.readable().await {
            // Setting it again clears what it holds, so there is nothing to read.
            ready.clear_ready();
        }
        self.armed_us = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_fires_not_before_its_time_and_can_be_set_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be made").block_on(async {
            let mut timer = Timer::new().expect("a timer can be made");
            for wait_us in [300, 0, 2_000] {
                let at_us = now().monotonic_us + wait_us;
                timer.wait(Some(at_us)).await;
                assert!(now().monotonic_us >= at_us);
            }
        });
    }
}
