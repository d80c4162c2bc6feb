//! Socket addresses in the kernel's layout, without `unsafe`: bytes in, bytes out.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes of the larger address, `sockaddr_in6`.
const ADDRESS_BYTES: usize = 28;
/// Bytes of `sockaddr_in`.
pub(crate) const ADDRESS_V4_BYTES: u32 = 16;
/// Bytes of `sockaddr_in6`.
pub(crate) const ADDRESS_V6_BYTES: u32 = 28;

/// A `sockaddr` and its length, laid out for the kernel to read or write.
#[repr(C, align(8))]
#[derive(Clone, Debug)]
pub(crate) struct RawAddress {
    /// `sockaddr_in` or `sockaddr_in6`.
    pub bytes: [u8; ADDRESS_BYTES],
    /// Bytes valid; before an accept: bytes offered.
    pub length: u32,
}

impl RawAddress {
    /// Room for the kernel to write an address to.
    pub(crate) const fn empty() -> Self {
        Self { bytes: [0; ADDRESS_BYTES], length: ADDRESS_BYTES as u32 }
    }

    /// An address for the kernel to read.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let mut raw = Self::empty();
        raw.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(address) => {
                raw.bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                raw.bytes[4..8].copy_from_slice(&address.ip().octets());
                raw.length = ADDRESS_V4_BYTES;
            }
            SocketAddr::V6(address) => {
                raw.bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                raw.bytes[4..8].copy_from_slice(&address.flowinfo().to_be_bytes());
                raw.bytes[8..24].copy_from_slice(&address.ip().octets());
                raw.bytes[24..28].copy_from_slice(&address.scope_id().to_ne_bytes());
                raw.length = ADDRESS_V6_BYTES;
            }
        }
        raw
    }

    /// The family is IPv6.
    pub(crate) fn is_v6(&self) -> bool {
        self.word(0) == libc::AF_INET6 as u16
    }

    /// What the kernel wrote; `None` if it is no internet address.
    pub(crate) fn decode(&self) -> Option<SocketAddr> {
        let port = self.word(2).to_be();
        if self.is_v6() {
            let octets: [u8; 16] = self.bytes[8..24].try_into().ok()?;
            let flow = u32::from_be_bytes(self.bytes[4..8].try_into().ok()?);
            let scope = u32::from_ne_bytes(self.bytes[24..28].try_into().ok()?);
            return Some(SocketAddrV6::new(Ipv6Addr::from(octets), port, flow, scope).into());
        }
        if self.word(0) == libc::AF_INET as u16 {
            let octets: [u8; 4] = self.bytes[4..8].try_into().ok()?;
            return Some(SocketAddrV4::new(Ipv4Addr::from(octets), port).into());
        }
        None
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernel_layout() {
        for text in ["127.3.2.1:7900", "[::1]:65535", "[fe80::1%3]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(RawAddress::new(address).decode(), Some(address));
        }
    }

    #[test]
    fn an_address_of_another_family_is_none() {
        assert_eq!(RawAddress::empty().decode(), None);
    }
}
