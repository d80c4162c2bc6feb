//! Time of the process, and a timer that is as fine as a lane's pace: the runtime's own counts in
//! milliseconds.

use hawser_codec::time::Now;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use std::{cell::Cell, fs, io, os::fd::OwnedFd, rc::Rc, sync::Arc};
use tokio::sync::Notify;
use tokio_uring::fs::File;

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

/// A timer descriptor whose expirations are read through the ring and passed on as a notification.
pub struct Timer {
    fd: OwnedFd,
    armed_us: Rc<Cell<Option<u64>>>,
}

impl Timer {
    /// A timer of the runtime this is called in; `fires` hears of every time it was armed for.
    ///
    /// # Errors
    /// As `timerfd_create(2)`.
    pub fn start(fires: Arc<Notify>) -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        let expirations = File::from_std(fs::File::from(fd.try_clone()?));
        let armed_us = Rc::new(Cell::new(None));
        let armed = armed_us.clone();
        tokio_uring::spawn(async move {
            let mut count = Vec::with_capacity(size_of::<u64>());
            loop {
                let (result, buffer) = expirations.read_at(count, 0).await;
                count = buffer;
                count.clear();
                armed.set(None);
                fires.notify_one();
                if let Err(error) = result {
                    // Without a timer a lane would wait for company that never comes.
                    tracing::error!(%error, "the timer cannot be read");
                    return;
                }
            }
        });
        Ok(Self { fd, armed_us })
    }

    /// Fires at monotonic time `at_us` (microseconds), or a little later, unless it is armed for an
    /// earlier time.
    pub fn arm(&self, at_us: u64) {
        if self.armed_us.get().is_some_and(|armed| armed <= at_us) {
            return;
        }
        // Zero would disarm.
        let at = at_us.max(1);
        let it_value = Timespec {
            tv_sec: (at / 1_000_000).cast_signed(),
            tv_nsec: (at % 1_000_000 * 1000).cast_signed(),
        };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Itimerspec { it_interval, it_value };
        timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &value)
            .expect("the descriptor is a timer's and the time within its range");
        self.armed_us.set(Some(at_us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_fires_not_before_its_time_and_can_be_set_again() {
        tokio_uring::start(async {
            let fires = Arc::new(Notify::new());
            let timer = Timer::start(fires.clone()).expect("a timer can be made");
            for wait_us in [300, 0, 2_000] {
                let at_us = now().monotonic_us + wait_us;
                timer.arm(at_us);
                timer.arm(at_us + 1_000_000);
                fires.notified().await;
                assert!(now().monotonic_us >= at_us);
            }
        });
    }
}
