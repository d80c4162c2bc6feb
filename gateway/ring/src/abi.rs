//! System calls and kernel numbers that neither `libc` nor `io-uring` offers in safe form.
//!
//! Thin: no policy here, each function is one call. Numbers are from `linux/io_uring.h`; a test
//! compares them with the installed header.
#![allow(unsafe_code)] // system calls without a safe wrapper live here

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use hawser_codec::time::Now;
use io_uring::{opcode, squeue, types};

/// `sqe->ioprio` of a receive: wait for readiness before the first attempt, so that arming takes
/// no buffer (kernel 5.19).
pub(crate) const RECVSEND_POLL_FIRST: u16 = 1;
/// `sqe->ioprio` of a receive: stay armed (kernel 6.0).
pub(crate) const RECV_MULTISHOT: u16 = 2;

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
/// Kernel 6.15: a thread waiting here does not count as waiting for a disk.
const ENTER_NO_IOWAIT: u32 = 1 << 7;
const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;
const SOCKET_URING_OP_GETSOCKOPT: u32 = 2;
/// Place of `cmd_op` in a submission entry.
const SQE_CMD_OP: usize = 8;

/// How long one `io_uring_enter` may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EnterWait {
    /// Completions wanted; 0 does not wait.
    pub completions: u32,
    /// Bound on the wait for all of them, microseconds, after which one is enough (6.12); 0 none.
    pub gather_us: u32,
    /// Bound on the whole wait, microseconds.
    pub timeout_us: Option<u64>,
    /// The kernel knows `ENTER_NO_IOWAIT`.
    pub no_iowait: bool,
}

/// `struct io_uring_getevents_arg`, with the pad that became `min_wait_usec` in 6.12.
#[repr(C)]
struct GeteventsArgument {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_us: u32,
    timespec: u64,
}

/// How an enter names its ring.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RingName {
    /// Index of a ring fd registered with the calling thread.
    Registered(u32),
    /// Ordinary descriptor.
    Descriptor(RawFd),
}

/// Submits `submit` entries and takes completions in.
///
/// Always with `GETEVENTS`: a ring with deferred task work completes nothing otherwise.
pub(crate) fn enter(ring: RingName, submit: u32, wait: EnterWait) -> Result<u32, i32> {
    let timespec = wait.timeout_us.map(|us| libc::timespec {
        tv_sec: (us / 1_000_000) as i64,
        tv_nsec: (us % 1_000_000 * 1000) as i64,
    });
    let argument = GeteventsArgument {
        sigmask: 0,
        sigmask_bytes: 8,
        min_wait_us: wait.gather_us,
        timespec: timespec.as_ref().map_or(0, |timespec| std::ptr::from_ref(timespec) as u64),
    };
    let mut flags = ENTER_GETEVENTS | ENTER_EXT_ARG;
    let ring = match ring {
        RingName::Registered(index) => {
            flags |= ENTER_REGISTERED_RING;
            index
        }
        RingName::Descriptor(fd) => fd as u32,
    };
    if wait.no_iowait {
        flags |= ENTER_NO_IOWAIT;
    }
    // SAFETY: argument and timespec outlive the call, which reads them only while it runs. What
    // submitted entries point to is vouched for where they are pushed (`UringRing::push`).
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_enter,
            ring,
            submit,
            wait.completions,
            flags,
            std::ptr::from_ref(&argument),
            size_of::<GeteventsArgument>(),
        )
    };
    u32::try_from(result).map_err(|_| last_errno())
}

/// Registers a ring's descriptor with the calling thread; enters by index save the reference count
/// of the descriptor table (kernel 5.18). A thread has room for 16 rings; beyond that, and on any
/// other failure, the descriptor itself names the ring.
pub(crate) fn register_ring_fd(ring: RawFd) -> RingName {
    match register_one_ring(ring, REGISTER_RING_FDS, u32::MAX, ring as u64) {
        Some(index) => RingName::Registered(index),
        None => RingName::Descriptor(ring),
    }
}

/// Undoes [`register_ring_fd`]; until then the thread keeps the ring alive even when it is closed.
pub(crate) fn unregister_ring_fd(ring: RawFd, name: RingName) {
    if let RingName::Registered(index) = name {
        register_one_ring(ring, UNREGISTER_RING_FDS, index, 0);
    }
}

fn register_one_ring(ring: RawFd, operation: u32, offset: u32, data: u64) -> Option<u32> {
    // `struct io_uring_rsrc_update`: offset and a reserved word, data.
    let mut update = [u64::from(offset), data];
    // SAFETY: one element of 16 bytes, which the kernel reads and writes during the call.
    let result = unsafe {
        libc::syscall(libc::SYS_io_uring_register, ring, operation, update.as_mut_ptr(), 1_u32)
    };
    (result == 1).then_some(update[0] as u32)
}

/// Entry that asks for a direct descriptor's peer address: `SO_PEERNAME` as a socket command
/// (kernel 6.7). `bytes` is exactly what the kernel copies; more than the address has is refused.
pub(crate) fn peer_name(slot: u32, address: *mut u8, bytes: u32) -> squeue::Entry {
    let entry = opcode::SetSockOpt::new(
        types::Fixed(slot),
        libc::SOL_SOCKET as u32,
        libc::SO_PEERNAME as u32,
        address.cast_const().cast(),
        bytes,
    )
    .build();
    // SAFETY: an entry is 64 plain bytes (`repr(C)` around `io_uring_sqe`, which has no invalid
    // bit pattern); `transmute` checks the size.
    let mut raw: [u8; 64] = unsafe { std::mem::transmute(entry) };
    raw[SQE_CMD_OP..SQE_CMD_OP + 4].copy_from_slice(&SOCKET_URING_OP_GETSOCKOPT.to_ne_bytes());
    // SAFETY: as above; only the command number changed.
    unsafe { std::mem::transmute(raw) }
}

/// `IP_BIND_ADDRESS_NO_PORT` (kernel 4.2), which works for IPv6 sockets too.
pub(crate) fn bind_address_no_port(socket: &impl AsRawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: reads one number during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            std::ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// An event counter for wakes; `flags` beside `EFD_CLOEXEC`.
pub(crate) fn event_fd(flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes two numbers, returns a descriptor or an error.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds one to an event counter.
pub(crate) fn ring_event(counter: &OwnedFd) -> io::Result<()> {
    let one = 1_u64;
    // SAFETY: reads 8 bytes during the call.
    let written = unsafe {
        libc::write(counter.as_raw_fd(), std::ptr::from_ref(&one).cast(), size_of::<u64>())
    };
    if written < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Tries `io_uring_setup` with the smallest ring and closes it again.
pub(crate) fn try_setup() -> Result<(), i32> {
    let ring = io_uring::IoUring::new(2).map_err(|error| error.raw_os_error().unwrap_or(0))?;
    debug_assert!(ring.as_raw_fd() >= 0);
    Ok(())
}

/// Release of the running kernel, as `uname -r`.
pub(crate) fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|release| release.trim().to_owned())
        .unwrap_or_default()
}

/// Soft limit of `resource` after raising it to the hard one; `u64::MAX` unlimited.
pub(crate) fn raised_limit(resource: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes one struct during the call.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return 0;
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: reads one struct during the call.
    if unsafe { libc::setrlimit(resource, &raw const raised) } == 0 {
        return raised.rlim_cur;
    }
    limit.rlim_cur
}

/// Both clocks. The monotonic one is the kernel's, so all threads and processes agree on it.
pub(crate) fn now() -> Now {
    let monotonic = clock(libc::CLOCK_MONOTONIC);
    let wall = clock(libc::CLOCK_REALTIME);
    Now {
        monotonic_us: monotonic.tv_sec as u64 * 1_000_000 + monotonic.tv_nsec as u64 / 1000,
        wall_ms: wall.tv_sec as u64 * 1000 + wall.tv_nsec as u64 / 1_000_000,
    }
}

fn clock(which: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one struct during the call; both clocks exist on every Linux.
    unsafe { libc::clock_gettime(which, &raw mut time) };
    time
}

fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers copied by hand must be the header's.
    #[test]
    fn numbers_are_those_of_the_kernel_header() {
        let Ok(header) = std::fs::read_to_string("/usr/include/linux/io_uring.h") else {
            return;
        };
        for (name, value) in [
            ("IORING_RECVSEND_POLL_FIRST", u32::from(RECVSEND_POLL_FIRST)),
            ("IORING_RECV_MULTISHOT", u32::from(RECV_MULTISHOT)),
            ("IORING_ENTER_GETEVENTS", ENTER_GETEVENTS),
            ("IORING_ENTER_EXT_ARG", ENTER_EXT_ARG),
            ("IORING_ENTER_REGISTERED_RING", ENTER_REGISTERED_RING),
        ] {
            let shift = value.trailing_zeros();
            let defined = header.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some("#define")
                    && words.next() == Some(name)
                    && words.collect::<Vec<_>>().join(" ") == format!("(1U << {shift})")
            });
            assert!(defined, "{name} is not 1 << {shift}");
        }
    }

    #[test]
    fn peer_name_differs_from_set_option_by_the_command_only() {
        let entry = peer_name(7, std::ptr::null_mut(), 16);
        assert_eq!(entry.get_opcode(), u32::from(opcode::SetSockOpt::CODE));
    }

    #[test]
    fn monotonic_time_never_goes_back() {
        let before = now();
        let after = now();
        assert!(after.monotonic_us >= before.monotonic_us);
        assert!(after.wall_ms > 1_600_000_000_000);
    }
}
