//! Whether this machine can run a ring, and the one line that says why not.
//!
//! [`judge`] decides from [`Facts`] and is pure; [`probe`] gathers the facts.

use std::fmt;

use crate::abi;

/// Oldest kernel that has everything the ring is built on: multishot receive and deferred task
/// work (6.1), socket options of direct descriptors (6.7), gathering waits (6.12).
pub const KERNEL_MIN: (u32, u32) = (6, 12);
/// From here a multishot receive may be bounded per round.
const KERNEL_RECEIVE_CAP: (u32, u32) = (6, 17);

/// Sizes of one ring, of either backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSettings {
    /// Slots of the descriptor table, at most `RLIMIT_NOFILE`.
    pub descriptors: u32,
    /// Entries of the completion queue, a power of two: at least the operations that may complete
    /// in one turn.
    pub completion_entries: u32,
    /// Entries of the submission queue, a power of two; more only saves submitting early.
    pub submission_entries: u32,
    /// Provided buffers, a power of two up to 2^15.
    pub buffers: u16,
    /// Bytes of each.
    pub buffer_bytes: u32,
}

/// Why a ring cannot be made: one line for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// What the machine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `uname -r`.
    pub release: String,
    /// Errno of a trial `io_uring_setup`.
    pub setup: Result<(), i32>,
    /// `kernel.io_uring_disabled`; `None` if the kernel has no such setting.
    pub disabled: Option<u32>,
    /// `RLIMIT_NOFILE` after raising it as far as allowed.
    pub descriptor_limit: u64,
    /// `RLIMIT_MEMLOCK`, bytes, after raising it as far as allowed.
    pub locked_bytes_limit: u64,
}

/// What the kernel offers beyond the minimum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Major and minor version.
    pub kernel: (u32, u32),
    /// `RLIMIT_NOFILE`: the largest descriptor table.
    pub descriptor_limit: u64,
    /// A multishot receive may be bounded per round (6.17).
    pub receive_cap: bool,
}

/// Decides from the facts whether a ring with a table of `descriptors` can be made.
///
/// # Errors
/// The first thing missing, with its value and what helps.
pub fn judge(facts: &Facts, descriptors: u32) -> Result<Probe, Refusal> {
    let kernel = version(&facts.release).unwrap_or((0, 0));
    match facts.setup {
        Ok(()) => {}
        Err(libc::ENOSYS) => {
            return Err(Refusal(format!(
                "io_uring is missing from this kernel ({}): Linux {}.{} or newer built with \
                 CONFIG_IO_URING is needed",
                facts.release, KERNEL_MIN.0, KERNEL_MIN.1
            )));
        }
        Err(libc::EPERM | libc::EACCES) if facts.disabled.unwrap_or(0) > 0 => {
            return Err(Refusal(format!(
                "io_uring is forbidden: kernel.io_uring_disabled is {}; set it to 0 \
                 (sysctl -w kernel.io_uring_disabled=0)",
                facts.disabled.unwrap_or(0)
            )));
        }
        Err(libc::EPERM | libc::EACCES) => {
            return Err(Refusal(
                "io_uring is forbidden (EPERM, kernel.io_uring_disabled is 0): a seccomp profile \
                 blocks it; allow the system calls io_uring_setup, io_uring_enter and \
                 io_uring_register, as the shipped seccomp profile does"
                    .to_owned(),
            ));
        }
        Err(libc::ENOMEM) => {
            return Err(Refusal(format!(
                "locked memory is too low for an io_uring: RLIMIT_MEMLOCK is {} bytes; raise it \
                 (ulimit -l) or give the process CAP_IPC_LOCK",
                facts.locked_bytes_limit
            )));
        }
        Err(libc::EMFILE | libc::ENFILE) => {
            return Err(Refusal(format!(
                "no descriptor is left for an io_uring: RLIMIT_NOFILE is {}; raise it (ulimit -n)",
                facts.descriptor_limit
            )));
        }
        Err(errno) => {
            return Err(Refusal(format!(
                "io_uring_setup failed: {}",
                std::io::Error::from_raw_os_error(errno)
            )));
        }
    }
    if kernel < KERNEL_MIN {
        return Err(Refusal(format!(
            "the kernel is too old: {} runs, {}.{} or newer is needed",
            facts.release, KERNEL_MIN.0, KERNEL_MIN.1
        )));
    }
    if u64::from(descriptors) > facts.descriptor_limit {
        return Err(Refusal(format!(
            "a table of {descriptors} descriptors does not fit: RLIMIT_NOFILE is {}; raise it \
             (ulimit -n, LimitNOFILE=) or use more rings with smaller tables",
            facts.descriptor_limit
        )));
    }
    Ok(Probe {
        kernel,
        descriptor_limit: facts.descriptor_limit,
        receive_cap: kernel >= KERNEL_RECEIVE_CAP,
    })
}

/// Asks this machine, raising the process's own limits as far as it may.
///
/// # Errors
/// As [`judge`].
pub fn probe(descriptors: u32) -> Result<Probe, Refusal> {
    judge(&gather(), descriptors)
}

/// The facts of this machine.
pub fn gather() -> Facts {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    Facts {
        release: abi::kernel_release(),
        setup: abi::try_setup(),
        disabled,
        descriptor_limit: abi::raised_limit(libc::RLIMIT_NOFILE),
        locked_bytes_limit: abi::raised_limit(libc::RLIMIT_MEMLOCK),
    }
}

/// Major and minor of a kernel release such as `6.18.44-vm`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            release: "6.18.44-vm".to_owned(),
            setup: Ok(()),
            disabled: Some(0),
            descriptor_limit: 20_000,
            locked_bytes_limit: 8 << 20,
        }
    }

    fn refusal(facts: &Facts, descriptors: u32) -> String {
        let Err(Refusal(line)) = judge(facts, descriptors) else { panic!("not refused") };
        assert!(!line.contains('\n'), "one line only: {line}");
        line
    }

    #[test]
    fn a_good_machine_is_accepted() {
        let probe = judge(&good(), 20_000).unwrap();
        assert_eq!(probe.kernel, (6, 18));
        assert!(probe.receive_cap);
    }

    #[test]
    fn an_old_kernel_is_named_with_the_one_needed() {
        let line = refusal(&Facts { release: "5.15.0-91".to_owned(), ..good() }, 100);
        assert!(line.contains("5.15.0-91") && line.contains("6.12"), "{line}");
    }

    #[test]
    fn a_kernel_without_io_uring_is_named() {
        let line = refusal(&Facts { setup: Err(libc::ENOSYS), ..good() }, 100);
        assert!(line.contains("CONFIG_IO_URING"), "{line}");
    }

    #[test]
    fn a_seccomp_filter_is_told_from_the_sysctl() {
        let filter = refusal(&Facts { setup: Err(libc::EPERM), ..good() }, 100);
        for call in ["io_uring_setup", "io_uring_enter", "io_uring_register", "seccomp profile"] {
            assert!(filter.contains(call), "{filter}");
        }
        let facts = Facts { setup: Err(libc::EPERM), disabled: Some(2), ..good() };
        let sysctl = refusal(&facts, 100);
        assert!(sysctl.contains("kernel.io_uring_disabled is 2"), "{sysctl}");
    }

    #[test]
    fn a_low_descriptor_limit_is_named_with_its_value() {
        let line = refusal(&Facts { descriptor_limit: 1024, ..good() }, 20_000);
        assert!(line.contains("RLIMIT_NOFILE is 1024") && line.contains("20000"), "{line}");
    }

    #[test]
    fn little_locked_memory_is_named_with_its_value() {
        let facts = Facts { setup: Err(libc::ENOMEM), locked_bytes_limit: 65_536, ..good() };
        let line = refusal(&facts, 100);
        assert!(line.contains("RLIMIT_MEMLOCK is 65536"), "{line}");
    }

    #[test]
    fn this_machine_is_judged_by_what_it_says() {
        let facts = gather();
        assert!(version(&facts.release).is_some(), "{facts:?}");
        assert!(facts.descriptor_limit > 0);
    }
}
