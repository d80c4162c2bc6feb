//! Keeps the process off transparent huge pages.
//!
//! The allocator asks for them, and each thread's first small allocation then takes 2 MiB: 180 MB
//! for a process of 51 workers that holds nobody yet. With ordinary pages the same process takes
//! 6 MB, and memory follows what is held.
#![allow(unsafe_code)] // prctl has no safe binding for this option

/// Turns transparent huge pages off for this process (`PR_SET_THP_DISABLE`, Linux 3.15). A kernel
/// that refuses leaves things as they were.
pub fn disable() {
    let (on, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: this option takes four integers, touches no memory of ours and changes only how later
    // page faults are served.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, on, unused, unused, unused) };
}
