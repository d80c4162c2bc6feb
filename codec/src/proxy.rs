//! The PROXY protocol, versions 1 and 2: what a load balancer puts before a connection to say whose
//! it is (haproxy.org, proxy-protocol.txt, revision 2020/03/05).
//!
//! ```text
//! v1  PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n                    one line, up to 107 bytes
//! v2  | 12 bytes signature | version, command | family, transport | length u16 | addresses | TLVs |
//! ```
//!
//! Keeps no bytes of its own: the caller does, gives all of them again, and is told how many are
//! needed. Invariants: a header is given only whole, within its version's limit and checked to its
//! last byte; what is behind it belongs to the protocol above and is not looked at.
//!
//! What it is not: a judge of who may send one. That is the listener's, by the peer's address.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// What version 2 begins with; no other protocol does.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Longest line of version 1, its end included: the longest two IPv6 addresses (section 2.1).
pub const V1_BYTES_MAX: usize = 107;
/// Longest header of version 2 taken. The length field allows 64 KiB; addresses take 216 at most,
/// and what balancers add (authority, unique id, a client certificate) fits 4 KiB, which is what
/// other receivers take, too.
pub const V2_BYTES_MAX: usize = 4096;

/// What version 1 begins with.
const V1_PREFIX: &[u8] = b"PROXY ";
/// Bytes of version 2 before the addresses.
const V2_FIXED_BYTES: usize = 16;
/// Path of a Unix socket, as in `sockaddr_un`.
const UNIX_PATH_BYTES: usize = 108;
/// Bytes of a TLV before its value.
const TLV_HEAD_BYTES: usize = 3;
/// `PP2_TYPE_CRC32C`.
const TLV_CRC32C: u8 = 3;

/// How the client reached the balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP, or a stream of Unix.
    Stream,
    /// UDP, or datagrams of Unix.
    Datagram,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header<'a> {
    /// The balancer's own, a health check mostly: the socket's addresses are the true ones.
    Local,
    /// The balancer does not know, or does not say: the socket's addresses are all there is.
    Unknown,
    /// Of a client of the internet.
    Internet {
        /// How it came.
        transport: Transport,
        /// The client.
        source: SocketAddr,
        /// Whom it called.
        destination: SocketAddr,
    },
    /// Of a client on the balancer's own machine.
    Unix {
        /// How it came.
        transport: Transport,
        /// Path of the client's socket, without the zeros that fill it up; mostly empty.
        source: &'a [u8],
        /// Path of the balancer's.
        destination: &'a [u8],
    },
}

impl Header<'_> {
    /// Address of the client, where the header names one.
    #[must_use]
    pub const fn source(&self) -> Option<SocketAddr> {
        match self {
            Self::Internet { source, .. } => Some(*source),
            Self::Local | Self::Unknown | Self::Unix { .. } => None,
        }
    }
}

/// What is at the start of the bytes given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole header.
    Header {
        /// The header.
        header: Header<'a>,
        /// Bytes it took: the protocol above begins there.
        consumed: usize,
    },
    /// An unfinished header.
    NeedMore {
        /// Bytes needed in all, counted from the start of those given; more than were given, and
        /// at most [`V2_BYTES_MAX`].
        at_least: usize,
    },
}

/// Why it is no header: the connection is to be closed, without a word, since nobody knows which
/// protocol the other side would understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// Neither version begins like this.
    NoHeader {
        /// Offset of the first wrong byte.
        at: usize,
    },
    /// Version 1: no end of line within [`V1_BYTES_MAX`].
    LineTooLong,
    /// Version 1: a line that says something else.
    Line(LineFault),
    /// Version 2: a version that is not 2.
    Version {
        /// The one named.
        version: u8,
    },
    /// Version 2: neither LOCAL nor PROXY.
    Command {
        /// The one named.
        command: u8,
    },
    /// Version 2: a family and transport that are not assigned.
    Family {
        /// The byte.
        family: u8,
    },
    /// Version 2: longer than [`V2_BYTES_MAX`].
    TooLong {
        /// Named, the fixed part included.
        bytes: usize,
    },
    /// Version 2: shorter than the addresses of its family.
    TooShort {
        /// Named, the fixed part included.
        bytes: usize,
        /// Needed.
        bytes_min: usize,
    },
    /// Version 2: a TLV that does not end where the header does.
    Tlv {
        /// Its offset.
        at: usize,
    },
    /// Version 2: the checksum is of other bytes.
    Checksum {
        /// In the header.
        found: u32,
        /// Of the header.
        computed: u32,
    },
}

/// What is wrong with a line of version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFault {
    /// Neither TCP4, TCP6 nor UNKNOWN.
    Protocol,
    /// Not exactly two addresses and two ports with one space between.
    Fields,
    /// An address that is not one of the family, or not in its usual form.
    Address,
    /// A port above 65535, or one with a leading zero.
    Port,
    /// A line feed without a carriage return, or the other way round.
    End,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoHeader { at } => write!(f, "byte {at} is not of a PROXY header"),
            Self::LineTooLong => write!(f, "no end of line within {V1_BYTES_MAX} bytes"),
            Self::Line(fault) => f.write_str(match fault {
                LineFault::Protocol => "the protocol is neither TCP4, TCP6 nor UNKNOWN",
                LineFault::Fields => "not two addresses and two ports with one space between",
                LineFault::Address => "an address is not one of the protocol named",
                LineFault::Port => "a port is not a number of 0 to 65535",
                LineFault::End => "the line does not end with CR LF",
            }),
            Self::Version { version } => write!(f, "version {version}, known are 1 and 2"),
            Self::Command { command } => write!(f, "command {command}, known are 0 and 1"),
            Self::Family { family } => write!(f, "family and transport {family:#04x} are unknown"),
            Self::TooLong { bytes } => {
                write!(f, "a header of {bytes} bytes, allowed are {V2_BYTES_MAX}")
            }
            Self::TooShort { bytes, bytes_min } => {
                write!(f, "a header of {bytes} bytes, its addresses end at {bytes_min}")
            }
            Self::Tlv { at } => write!(f, "byte {at}: a TLV that ends behind the header"),
            Self::Checksum { found, computed } => {
                write!(f, "checksum {found:#010x}, that of the header is {computed:#010x}")
            }
        }
    }
}

impl std::error::Error for ProxyError {}

/// Takes the header at the start of `bytes`.
///
/// # Errors
/// See [`ProxyError`]; as early as the bytes show it.
pub fn step(bytes: &[u8]) -> Result<Step<'_>, ProxyError> {
    match bytes.first() {
        None => Ok(Step::NeedMore { at_least: 1 }),
        Some(b'P') => line(bytes),
        Some(_) => binary(bytes),
    }
}

/// True once `prefix` is whole, false as long as `bytes` is its beginning.
fn begins(bytes: &[u8], prefix: &[u8]) -> Result<bool, ProxyError> {
    match bytes.iter().zip(prefix).position(|(found, expected)| found != expected) {
        Some(at) => Err(ProxyError::NoHeader { at }),
        None => Ok(bytes.len() >= prefix.len()),
    }
}

/// Version 1.
fn line(bytes: &[u8]) -> Result<Step<'_>, ProxyError> {
    /// `PROXY UNKNOWN` and the end of the line.
    const SHORTEST: usize = 15;
    if !begins(bytes, V1_PREFIX)? {
        return Ok(Step::NeedMore { at_least: SHORTEST });
    }
    let within = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = within.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        if within.len() == V1_BYTES_MAX {
            return Err(ProxyError::LineTooLong);
        }
        return Ok(Step::NeedMore { at_least: SHORTEST.max(within.len() + 1) });
    };
    match within[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if within.len() == V1_BYTES_MAX => return Err(ProxyError::LineTooLong),
        [b'\r'] => return Ok(Step::NeedMore { at_least: within.len() + 1 }),
        _ => return Err(ProxyError::Line(LineFault::End)),
    }
    let header = said(&within[V1_PREFIX.len()..end]).map_err(ProxyError::Line)?;
    Ok(Step::Header { header, consumed: end + 2 })
}

/// What a line of version 1 says behind `PROXY `.
fn said(line: &[u8]) -> Result<Header<'static>, LineFault> {
    let mut fields = line.split(|byte| *byte == b' ');
    let protocol = fields.next().unwrap_or_default();
    // What stands behind UNKNOWN is to be ignored (section 2.1).
    if protocol == b"UNKNOWN" {
        return Ok(Header::Unknown);
    }
    if !matches!(protocol, b"TCP4" | b"TCP6") {
        return Err(LineFault::Protocol);
    }
    let mut four = [&b""[..]; 4];
    for field in &mut four {
        *field = fields.next().ok_or(LineFault::Fields)?;
    }
    if fields.next().is_some() {
        return Err(LineFault::Fields);
    }
    let [source, destination, source_port, destination_port] = four;
    let address = |text| match protocol {
        b"TCP4" => parsed::<Ipv4Addr>(text).map(IpAddr::V4),
        _ => parsed::<Ipv6Addr>(text).map(IpAddr::V6),
    };
    let address = |text| address(text).ok_or(LineFault::Address);
    Ok(Header::Internet {
        transport: Transport::Stream,
        source: SocketAddr::new(address(source)?, port(source_port)?),
        destination: SocketAddr::new(address(destination)?, port(destination_port)?),
    })
}

fn parsed<T: FromStr>(text: &[u8]) -> Option<T> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// Digits only, without leading zeros: `parse` alone would take `+80`, too.
fn port(text: &[u8]) -> Result<u16, LineFault> {
    let plain = text.iter().all(u8::is_ascii_digit) && (text.len() == 1 || !text.starts_with(b"0"));
    parsed(text).filter(|_| plain).ok_or(LineFault::Port)
}

/// Version 2.
fn binary(bytes: &[u8]) -> Result<Step<'_>, ProxyError> {
    begins(bytes, &SIGNATURE)?;
    // What makes the rest wrong is said before the rest has come.
    if let Some(&byte) = bytes.get(12) {
        let (version, command) = (byte >> 4, byte & 15);
        if version != 2 {
            return Err(ProxyError::Version { version });
        }
        if command > 1 {
            return Err(ProxyError::Command { command });
        }
    }
    let Some(fixed) = bytes.first_chunk::<V2_FIXED_BYTES>() else {
        return Ok(Step::NeedMore { at_least: V2_FIXED_BYTES });
    };
    let consumed = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if consumed > V2_BYTES_MAX {
        return Err(ProxyError::TooLong { bytes: consumed });
    }
    // LOCAL: family and block are to be ignored, whatever they are (section 2.2).
    let is_local = fixed[12] & 15 == 0;
    let family = if is_local { 0 } else { fixed[13] };
    let tlvs_at = V2_FIXED_BYTES
        + match family {
            0x00 => 0,
            0x11 | 0x12 => 12,
            0x21 | 0x22 => 36,
            0x31 | 0x32 => 2 * UNIX_PATH_BYTES,
            _ => return Err(ProxyError::Family { family }),
        };
    if consumed < tlvs_at {
        return Err(ProxyError::TooShort { bytes: consumed, bytes_min: tlvs_at });
    }
    let Some(whole) = bytes.get(..consumed) else {
        return Ok(Step::NeedMore { at_least: consumed });
    };
    let header = match family {
        0 if is_local => Header::Local,
        0 => Header::Unknown,
        _ => {
            check_tlvs(whole, tlvs_at)?;
            addresses(&whole[V2_FIXED_BYTES..tlvs_at], family)
        }
    };
    Ok(Step::Header { header, consumed })
}

/// The block has the length of its family, whose high half is 1, 2 or 3.
fn addresses(block: &[u8], family: u8) -> Header<'_> {
    let transport = match family & 15 {
        1 => Transport::Stream,
        _ => Transport::Datagram,
    };
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let internet = |source, destination| Header::Internet { transport, source, destination };
    match family >> 4 {
        1 => {
            let address = |at| IpAddr::from(part::<4>(block, at));
            internet(SocketAddr::new(address(0), port(8)), SocketAddr::new(address(4), port(10)))
        }
        2 => {
            let address = |at| IpAddr::from(part::<16>(block, at));
            internet(SocketAddr::new(address(0), port(32)), SocketAddr::new(address(16), port(34)))
        }
        _ => {
            let (source, destination) = block.split_at(UNIX_PATH_BYTES);
            Header::Unix { transport, source: path(source), destination: path(destination) }
        }
    }
}

fn part<const BYTES: usize>(block: &[u8], at: usize) -> [u8; BYTES] {
    *block[at..].first_chunk().expect("the block has the length of its family")
}

/// A path ends at its first zero; one of the abstract name space begins with it.
fn path(field: &[u8]) -> &[u8] {
    let begins_at = usize::from(field.starts_with(&[0]));
    let end = field[begins_at..].iter().position(|byte| *byte == 0);
    match end {
        Some(0) => &[],
        Some(end) => &field[..begins_at + end],
        None => field,
    }
}

/// Walks the TLVs, which nobody here needs, to see that they end with the header, and compares the
/// checksum if there is one (section 2.2.3).
fn check_tlvs(whole: &[u8], mut at: usize) -> Result<(), ProxyError> {
    while at < whole.len() {
        let Some(&[kind, high, low]) = whole[at..].first_chunk::<TLV_HEAD_BYTES>() else {
            return Err(ProxyError::Tlv { at });
        };
        let value_at = at + TLV_HEAD_BYTES;
        let end = value_at + usize::from(u16::from_be_bytes([high, low]));
        let Some(value) = whole.get(value_at..end) else {
            return Err(ProxyError::Tlv { at });
        };
        if kind == TLV_CRC32C {
            let Ok(found) = <[u8; 4]>::try_from(value) else {
                return Err(ProxyError::Tlv { at });
            };
            let found = u32::from_be_bytes(found);
            let before = crc32c::crc32c(&whole[..value_at]);
            let zeroed = crc32c::crc32c_append(before, &[0; 4]);
            let computed = crc32c::crc32c_append(zeroed, &whole[end..]);
            if found != computed {
                return Err(ProxyError::Checksum { found, computed });
            }
        }
        at = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
