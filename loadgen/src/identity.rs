//! Who a simulated user is: names, incarnations, message ids and addresses, all computed from the
//! run and the user's index, so that none of them is stored a million times.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Length of every user name, bytes: as long as a UUID in text.
pub const NAME_BYTES: usize = 36;

/// `load-`, the run in hexadecimal, `-`.
const PREFIX_BYTES: usize = 22;

/// First port on a source address; below it servers listen.
const PORT_FIRST: u16 = 20_000;

/// Connections from one source address, and so per ring: a ring's table has as many slots as the
/// usual limit of open files, 20,000, less some for the process itself.
pub const CONNECTIONS_PER_ADDRESS: u32 = 19_900;

/// A new run's users must find empty mailboxes, so its number is part of every name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    run: u64,
    prefix: [u8; PREFIX_BYTES],
}

/// One name, without allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name([u8; NAME_BYTES]);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made of ASCII digits and letters")
    }
}

impl Names {
    /// Names of run `run`.
    pub fn new(run: u64) -> Self {
        let text = format!("load-{run:016x}-");
        let mut prefix = [0; PREFIX_BYTES];
        prefix.copy_from_slice(text.as_bytes());
        Self { run, prefix }
    }

    /// The run's number.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Name of the user with this index.
    pub fn name(&self, index: u32) -> Name {
        let mut name = [b'0'; NAME_BYTES];
        name[..PREFIX_BYTES].copy_from_slice(&self.prefix);
        let mut rest = index;
        for digit in name[PREFIX_BYTES..].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Name(name)
    }

    /// Index of the user with this name; `None` if no user of this run has it.
    pub fn index(&self, name: &str) -> Option<u32> {
        let digits = name.as_bytes().strip_prefix(&self.prefix)?;
        if digits.len() != NAME_BYTES - PREFIX_BYTES {
            return None;
        }
        let mut index = 0u64;
        for digit in digits {
            if !digit.is_ascii_digit() {
                return None;
            }
            index = index * 10 + u64::from(digit - b'0');
        }
        u32::try_from(index).ok()
    }

    /// Incarnation of a user's outbox: the same for the whole run, never 0.
    pub fn incarnation(&self, index: u32) -> u64 {
        mix(self.run ^ mix(u64::from(index))) | 1
    }

    /// Message id of a user's request.
    pub fn uuid(&self, index: u32, client_seq: u64) -> [u8; 16] {
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&mix(self.incarnation(index) ^ client_seq).to_le_bytes());
        uuid[8..].copy_from_slice(&mix(client_seq ^ u64::from(index) << 32).to_le_bytes());
        uuid
    }

    /// Source address, by its number in the run, and port, by its number there. Lives alternate between two halves of
    /// the ports: the last life's port may not be free yet. A target beyond loopback gets a source
    /// chosen by the kernel.
    pub fn source(&self, target: IpAddr, address: u32, port: u32, life: u32) -> SocketAddr {
        let half = (life % 2) * (CONNECTIONS_PER_ADDRESS + 100);
        let port = PORT_FIRST + (half + port) as u16;
        match target {
            IpAddr::V4(ip) if ip.is_loopback() => {
                // 127.16.0.0 and above, a different place for each run, so that two runs at a time
                // do not meet; further lives move on, should they meet nevertheless.
                let place = (mix(self.run) % 51_200) as u32 + (life / 2) % 4096;
                let number = 0x7f10_0000 + (place << 8) + address + 1;
                SocketAddr::new(IpAddr::V4(Ipv4Addr::from(number)), port)
            }
            IpAddr::V6(ip) if ip.is_loopback() => SocketAddr::new(target, port),
            IpAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
            IpAddr::V6(_) => SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), 0),
        }
    }
}

/// SplitMix64's finaliser: spreads every bit of the input over the output.
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_index_and_no_other_name_does() {
        let names = Names::new(0xabcd);
        for index in [0, 7, 1_999_999, u32::MAX] {
            let name = names.name(index);
            assert_eq!(name.as_str().len(), NAME_BYTES);
            assert_eq!(names.index(name.as_str()), Some(index));
            assert_eq!(Names::new(1).index(name.as_str()), None);
        }
        assert_eq!(names.index("load-000000000000abcd-0000000000000x"), None);
        assert_eq!(names.index("load-000000000000abcd-"), None);
    }

    #[test]
    fn sources_are_loopback_and_differ_between_addresses_ports_and_lives() {
        let names = Names::new(9);
        let target = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut seen = std::collections::HashSet::new();
        for address in [0, 1, 101] {
            for port in [0, CONNECTIONS_PER_ADDRESS - 1] {
                for life in 0..4 {
                    let source = names.source(target, address, port, life);
                    assert!(source.ip().is_loopback() && source.port() >= PORT_FIRST);
                    assert!(seen.insert(source), "{source} twice");
                }
            }
        }
    }
}
