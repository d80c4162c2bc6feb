//! A listener as the worker sees it: address, what is spoken there, and what stands before it.
//!
//! Layers of one connection, from the wire up: `proxy` (a PROXY header), `tls`, then what `kind`
//! says. Every worker has a list of the same kinds in the same order, so that an index means the
//! same on all of them: it goes along when a connection is passed on.
//!
//! What it is not: the file's `[[listener]]` (that is [`crate::config`], which makes these).

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// What is spoken on a listener, below it TLS and PROXY where asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Hawser's own protocol.
    Native,
    /// WebSocket and HTTP: `/ws`, `/mqtt`, `/poll`, `/events`, `/healthz`.
    WebSocket,
    /// MQTT 3.1.1 and 5.
    Mqtt,
    /// All of these, told apart by their first bytes; TLS, too, where it is configured.
    Any,
}

impl Kind {
    /// All of them, in the order in which they are named to people.
    pub const ALL: [Self; 4] = [Self::Native, Self::WebSocket, Self::Mqtt, Self::Any];

    /// As in the configuration and in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::WebSocket => "websocket",
            Self::Mqtt => "mqtt",
            Self::Any => "any",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An address to accept on, and what is spoken there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Where.
    pub address: SocketAddr,
    /// What.
    pub kind: Kind,
    /// TLS stands below. With [`Kind::Any`]: may stand below, the first byte says.
    pub tls: bool,
    /// Every connection begins with a PROXY header, and is taken only from [`Network`]s that may
    /// send one.
    pub proxy: bool,
}

impl ListenerSettings {
    /// Hawser's own protocol and nothing before it.
    #[must_use]
    pub const fn native(address: SocketAddr) -> Self {
        Self { address, kind: Kind::Native, tls: false, proxy: false }
    }
}

/// A block of addresses, as in RFC 4632: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

impl Network {
    /// Is the address one of the block's? An IPv4 address mapped into IPv6 counts as what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u32::from(own) ^ u32::from(other)) & mask_v4(self.prefix_bits) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (u128::from(own) ^ u128::from(other)) & mask_v6(self.prefix_bits) == 0
            }
            _ => false,
        }
    }
}

const fn mask_v4(prefix_bits: u8) -> u32 {
    match prefix_bits {
        0 => 0,
        bits => u32::MAX << (32 - bits as u32),
    }
}

const fn mask_v6(prefix_bits: u8) -> u128 {
    match prefix_bits {
        0 => 0,
        bits => u128::MAX << (128 - bits as u32),
    }
}

/// Not a block of addresses; its text says what one looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotANetwork {
    /// No address, or no length of a prefix.
    Form,
    /// The prefix is longer than an address of the family.
    PrefixTooLong,
    /// Bits below the prefix are set: the block is not what was meant, or the length is.
    BitsBelowPrefix,
}

impl fmt::Display for NotANetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "ADDRESS or ADDRESS/BITS, as in 10.0.0.0/8 or 2001:db8::/32",
            Self::PrefixTooLong => "up to 32 bits of an IPv4 address, up to 128 of an IPv6 one",
            Self::BitsBelowPrefix => "an address whose bits below the prefix are 0",
        })
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork::Form)?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            None => bits_max,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().map_err(|_| NotANetwork::Form)?
            }
            Some(_) => return Err(NotANetwork::Form),
        };
        if prefix_bits > bits_max {
            return Err(NotANetwork::PrefixTooLong);
        }
        let below = match address {
            IpAddr::V4(address) => u128::from(u32::from(address) & !mask_v4(prefix_bits)),
            IpAddr::V6(address) => u128::from(address) & !mask_v6(prefix_bits),
        };
        if below != 0 {
            return Err(NotANetwork::BitsBelowPrefix);
        }
        // What is compared is canonical, so a mapped block would contain nothing: say what it is.
        if let IpAddr::V6(v6) = address
            && let Some(v4) = v6.to_ipv4_mapped()
            && prefix_bits >= 96
        {
            return Ok(Self { address: v4.into(), prefix_bits: prefix_bits - 96 });
        }
        Ok(Self { address, prefix_bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        let network: Network = network.parse().unwrap();
        network.contains(address.parse().unwrap())
    }

    #[test]
    fn a_block_contains_its_addresses_and_no_others() {
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("127.0.0.1", "127.0.0.1"));
        assert!(!contains("127.0.0.1", "127.0.0.2"));
        assert!(contains("0.0.0.0/0", "203.0.113.9"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("2001:db8::/33", "2001:db8:7fff::1"));
        assert!(!contains("2001:db8::/33", "2001:db8:8000::1"));
        assert!(contains("::/0", "2001:db8::1"));
        assert!(!contains("::/0", "10.0.0.1"));
    }

    #[test]
    fn an_address_mapped_into_ipv6_is_the_ipv4_one() {
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
    }

    #[test]
    fn what_is_no_block_is_refused_with_what_one_looks_like() {
        for (text, fault) in [
            ("", NotANetwork::Form),
            ("localhost", NotANetwork::Form),
            ("10.0.0.0/", NotANetwork::Form),
            ("10.0.0.0/+8", NotANetwork::Form),
            ("10.0.0/8", NotANetwork::Form),
            ("10.0.0.0/300", NotANetwork::Form),
            ("10.0.0.0/33", NotANetwork::PrefixTooLong),
            ("::/129", NotANetwork::PrefixTooLong),
            ("10.0.0.1/8", NotANetwork::BitsBelowPrefix),
            ("2001:db8::1/32", NotANetwork::BitsBelowPrefix),
        ] {
            assert_eq!(text.parse::<Network>(), Err(fault), "{text}");
            assert!(!fault.to_string().is_empty());
        }
        assert_eq!("10.0.0.0/8".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
    }
}
