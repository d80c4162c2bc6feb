//! The provided-buffer ring: memory the kernel receives into, and who holds each buffer now.
//!
//! A buffer is either the kernel's (its entry lies between the ring's head and the published
//! tail, or was taken by a receive whose completion is not yet seen) or on loan as a
//! [`Lease`](crate::Lease). [`Loans`] keeps the second set; it is what makes reading a buffer
//! sound and giving it back twice impossible. Returned buffers reach the kernel only at
//! [`Buffers::publish`], once a turn.
#![allow(unsafe_code)] // memory shared with the kernel

use std::{
    io,
    ptr::NonNull,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::types::BufRingEntry;

use crate::Lease;

/// The one buffer group of a ring.
pub(crate) const BUFFER_GROUP: u16 = 0;
/// The ring's address must be aligned to a page; 64 KiB covers every page size Linux has.
const RING_ALIGNMENT: usize = 64 * 1024;

/// Which buffers are on loan.
#[derive(Debug)]
pub(crate) struct Loans {
    bits: Vec<u64>,
    count: u32,
}

impl Loans {
    /// None of `buffers` on loan.
    pub(crate) fn new(buffers: u16) -> Self {
        Self { bits: vec![0; usize::from(buffers).div_ceil(64)], count: 0 }
    }

    /// Buffer goes on loan; `false` if it already was or does not exist.
    pub(crate) fn lend(&mut self, buffer: u16) -> bool {
        if usize::from(buffer) >= self.bits.len() * 64 || self.has(buffer) {
            return false;
        }
        self.bits[usize::from(buffer) / 64] |= 1 << (buffer % 64);
        self.count += 1;
        true
    }

    /// Buffer comes back; `false` if it was not on loan.
    pub(crate) fn take_back(&mut self, buffer: u16) -> bool {
        if !self.has(buffer) {
            return false;
        }
        self.bits[usize::from(buffer) / 64] &= !(1 << (buffer % 64));
        self.count -= 1;
        true
    }

    /// Buffer is on loan.
    pub(crate) fn has(&self, buffer: u16) -> bool {
        self.bits.get(usize::from(buffer) / 64).is_some_and(|word| word >> (buffer % 64) & 1 == 1)
    }

    /// Buffers on loan.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }
}

/// One mapping: the ring's entries, then the buffers.
#[derive(Debug)]
pub(crate) struct Buffers {
    memory: NonNull<u8>,
    mapped_bytes: usize,
    count: u16,
    buffer_bytes: u32,
    /// Tail as the kernel will see it after the next publish; counts modulo 2^16 like the
    /// kernel's.
    tail: u16,
    /// Tail as the kernel sees it.
    published: u16,
    loans: Loans,
}

impl Buffers {
    /// Maps `count` buffers (a power of two) of `buffer_bytes` and fills the ring with them.
    ///
    /// # Errors
    /// As `mmap(2)`.
    pub(crate) fn new(count: u16, buffer_bytes: u32) -> io::Result<Self> {
        assert!(count.is_power_of_two() && count <= 1 << 15, "the kernel's bound on a buffer ring");
        let mapped_bytes = RING_ALIGNMENT
            .max(usize::from(count) * size_of::<BufRingEntry>())
            .checked_add(usize::from(count) * buffer_bytes as usize)
            .expect("2^15 buffers of at most 2^32 bytes");
        // SAFETY: a fresh private mapping; no memory of ours is touched.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).expect("mmap without a hint never maps page 0");
        let loans = Loans::new(count);
        let mut buffers =
            Self { memory, mapped_bytes, count, buffer_bytes, tail: 0, published: 0, loans };
        for buffer in 0..count {
            buffers.put(buffer);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// Address of the ring's entries, for registration.
    pub(crate) fn ring_address(&self) -> u64 {
        self.memory.as_ptr() as u64
    }

    /// Number of buffers.
    pub(crate) const fn count(&self) -> u16 {
        self.count
    }

    /// Bytes of each.
    pub(crate) const fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// Buffers on loan.
    pub(crate) const fn on_loan(&self) -> u32 {
        self.loans.count()
    }

    /// A completion says the kernel filled `length` bytes of `buffer`.
    pub(crate) fn lend(&mut self, buffer: u16, length: u32) -> Lease {
        assert!(self.loans.lend(buffer), "the kernel reports a buffer it has given us already");
        assert!(length <= self.buffer_bytes, "the kernel reports more bytes than fit");
        Lease { buffer: u32::from(buffer), length }
    }

    /// Bytes of a lease.
    pub(crate) fn bytes(&self, lease: &Lease) -> &[u8] {
        assert!(self.loans.has(lease.buffer as u16), "a lease is read after it was given back");
        assert!(lease.length <= self.buffer_bytes, "a lease is longer than its buffer");
        // SAFETY: in the mapping; on loan, so the kernel does not write it until `give_back`,
        // which needs `&mut self`; zeroed by mmap or written by the kernel, so initialised.
        unsafe {
            std::slice::from_raw_parts(
                self.buffer(lease.buffer as u16).as_ptr(),
                lease.length as usize,
            )
        }
    }

    /// Ends a lease. The kernel gets the buffer at the next [`Buffers::publish`].
    pub(crate) fn give_back(&mut self, lease: Lease) {
        let buffer = lease.buffer as u16;
        assert!(self.loans.take_back(buffer), "a lease is given back twice");
        self.put(buffer);
    }

    /// Shows all returned buffers to the kernel.
    pub(crate) fn publish(&mut self) {
        if self.published == self.tail {
            return;
        }
        self.published = self.tail;
        // SAFETY: the ring's tail: inside the mapping, aligned, written only here. The kernel
        // reads it concurrently, hence atomically; Release orders the entries before it.
        unsafe {
            let tail = BufRingEntry::tail(self.memory.as_ptr().cast()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    fn buffer(&self, buffer: u16) -> NonNull<u8> {
        let entries = RING_ALIGNMENT.max(usize::from(self.count) * size_of::<BufRingEntry>());
        let offset = entries + usize::from(buffer) * self.buffer_bytes as usize;
        debug_assert!(offset + self.buffer_bytes as usize <= self.mapped_bytes);
        // SAFETY: buffer < count (checked by `Loans` or the loop in `new`), so inside the mapping.
        unsafe { self.memory.add(offset) }
    }

    /// Writes an entry behind the tail; not yet visible to the kernel.
    fn put(&mut self, buffer: u16) {
        let address = self.buffer(buffer).as_ptr() as u64;
        let index = usize::from(self.tail & (self.count - 1));
        // SAFETY: index < count, inside the mapping and aligned (16-byte entries from a page).
        // There are `count` buffers in all and this one is ours, so the entry at the tail is
        // free: the kernel does not read it before `publish`. The tail field, which overlays
        // entry 0, is not written by the setters below.
        let entry = unsafe { &mut *self.memory.as_ptr().cast::<BufRingEntry>().add(index) };
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, unmapped once; the ring's drop has waited for every receive,
        // or leaked this value.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.mapped_bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_lent_once() {
        let mut loans = Loans::new(128);
        assert!(loans.lend(127));
        assert!(!loans.lend(127));
        assert_eq!(loans.count(), 1);
        assert!(loans.take_back(127));
        assert!(!loans.take_back(127));
        assert_eq!(loans.count(), 0);
    }

    #[test]
    fn a_buffer_that_does_not_exist_is_refused() {
        let mut loans = Loans::new(64);
        assert!(!loans.lend(64));
        assert!(!loans.take_back(u16::MAX));
    }

    #[test]
    fn buffers_do_not_overlap_and_return() {
        let mut buffers = Buffers::new(8, 64).unwrap();
        let leases: Vec<_> = (0..8).map(|buffer| buffers.lend(buffer, 64)).collect();
        let mut starts: Vec<_> =
            leases.iter().map(|lease| buffers.bytes(lease).as_ptr() as usize).collect();
        starts.sort_unstable();
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= 64));
        assert_eq!(buffers.on_loan(), 8);
        for lease in leases {
            buffers.give_back(lease);
        }
        buffers.publish();
        assert_eq!(buffers.on_loan(), 0);
        assert_eq!(buffers.tail, 16);
    }

    #[test]
    fn the_tail_counts_past_its_width() {
        let mut buffers = Buffers::new(2, 16).unwrap();
        for turn in 0..70_000_u32 {
            let lease = buffers.lend((turn % 2) as u16, 1);
            buffers.give_back(lease);
            buffers.publish();
        }
        assert_eq!(buffers.tail, (70_002_u32 % 65_536) as u16);
    }

    #[test]
    #[should_panic(expected = "given back twice")]
    fn giving_back_twice_is_a_fault_of_ours() {
        let mut buffers = Buffers::new(2, 16).unwrap();
        let lease = buffers.lend(1, 1);
        buffers.give_back(lease);
        buffers.give_back(Lease { buffer: 1, length: 1 });
    }
}
