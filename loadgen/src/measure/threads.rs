//! How long a thread of this process ran, and how long it waited for a processor.

use std::fs;

/// Times of a thread so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadTime {
    /// On a processor, nanoseconds.
    pub cpu_ns: u64,
    /// Ready to run and waiting for a processor, nanoseconds.
    pub wait_ns: u64,
}

/// Number of the calling thread, as in `/proc/self/task`.
pub fn own_thread() -> Option<u32> {
    let link = fs::read_link("/proc/thread-self").ok()?;
    link.file_name()?.to_str()?.parse().ok()
}

/// Times of a thread of this process; `None` if it is gone, or if the kernel keeps no such
/// account (it does with `CONFIG_SCHED_INFO`, as all distributions' kernels).
pub fn thread_time(thread: u32) -> Option<ThreadTime> {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    let mut fields = text.split_whitespace().map(str::parse::<u64>);
    Some(ThreadTime { cpu_ns: fields.next()?.ok()?, wait_ns: fields.next()?.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_that_works_is_seen_to_have_run() {
        let thread = own_thread().unwrap();
        let before = thread_time(thread).unwrap();
        let mut sum = 0u64;
        for number in 0..20_000_000u64 {
            sum = std::hint::black_box(sum ^ number);
        }
        // A yield makes the kernel bring the account up to date.
        std::thread::yield_now();
        let after = thread_time(thread).unwrap();
        assert!(after.cpu_ns > before.cpu_ns, "{before:?} {after:?} {sum}");
    }
}
