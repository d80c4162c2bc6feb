//! Forbids io_uring to a child as a container's seccomp profile does.
//!
//! The one file of this crate with unsafe code: only `prctl` between fork and exec can install a
//! filter that the child cannot escape and the test does not share.
#![allow(unsafe_code)]

use std::{io, os::unix::process::CommandExt, process::Command};

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter, sock_fprog};

/// Offset of the system call's number in `struct seccomp_data`.
const NUMBER_AT: u32 = 0;

/// Lets the child of `command` meet `EPERM` where it asks for a ring.
pub fn forbid_io_uring(command: &mut Command) {
    // SAFETY: `install` makes two system calls and touches only its own stack, so it may run
    // between fork and exec, where no lock or allocator may be relied upon.
    unsafe { command.pre_exec(install) };
}

const fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

const fn skip_unless(number: libc::c_long, skip: u8) -> sock_filter {
    let code = (BPF_JMP | BPF_JEQ | BPF_K) as u16;
    sock_filter { code, jt: 0, jf: skip, k: number as u32 }
}

fn install() -> io::Result<()> {
    let mut program = [
        statement(BPF_LD | BPF_W | BPF_ABS, NUMBER_AT),
        skip_unless(libc::SYS_io_uring_setup, 1),
        statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: no pointer is passed; the option only takes rights from this process.
    let quiet = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: `program` and the array it points to live until the call returns; the kernel copies.
    let filtered = unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0)
    };
    if quiet == 0 && filtered == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
