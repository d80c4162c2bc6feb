//! Source addresses that the user names: single ones and whole networks.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Bits of a network's addresses that are used at most: 16 million are more than any run needs.
const HOST_BITS_MAX: u32 = 24;

/// Single addresses and networks taken at most from one argument.
const BLOCKS_MAX: usize = 4096;

/// Consecutive addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    first: IpAddr,
    count: u64,
}

impl Block {
    fn get(self, number: u64) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from(u32::from(first) + number as u32)),
            IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from(u128::from(first) + u128::from(number))),
        }
    }
}

/// Source addresses as given: `10.0.0.5,10.1.0.0/24`. A network stands for its hosts: neither its
/// own address nor, with IPv4, that of its broadcast is among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    blocks: Vec<Block>,
    text: String,
}

impl Given {
    /// None was given.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.blocks.iter().map(|block| block.count).sum()
    }

    /// The address with this number, from 0.
    pub fn get(&self, mut number: u64) -> Option<IpAddr> {
        for block in &self.blocks {
            if number < block.count {
                return Some(block.get(number));
            }
            number -= block.count;
        }
        None
    }

    /// An address of another family than the target's.
    pub fn other_family(&self, target: IpAddr) -> Option<IpAddr> {
        let mut firsts = self.blocks.iter().map(|block| block.first);
        firsts.find(|first| first.is_ipv4() != target.is_ipv4())
    }
}

impl fmt::Display for Given {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let blocks = text.split(',').map(|part| block(part.trim()));
        let blocks: Vec<Block> = blocks.collect::<Result<_, _>>()?;
        if blocks.len() > BLOCKS_MAX {
            return Err(format!("{} parts; at most {BLOCKS_MAX}", blocks.len()));
        }
        Ok(Self { blocks, text: text.to_owned() })
    }
}

fn block(text: &str) -> Result<Block, String> {
    let allowed = || format!("`{text}`: allowed: an address, or a network as in 10.1.0.0/24");
    let Some((address, prefix)) = text.split_once('/') else {
        return Ok(Block { first: text.parse().map_err(|_| allowed())?, count: 1 });
    };
    let address: IpAddr = address.parse().map_err(|_| allowed())?;
    let prefix: u32 = prefix.parse().map_err(|_| allowed())?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let host_bits = bits - Some(prefix).filter(|prefix| *prefix <= bits).ok_or_else(allowed)?;
    if host_bits == 0 {
        return Ok(Block { first: address, count: 1 });
    }
    let used_bits = host_bits.min(HOST_BITS_MAX);
    let (first, whole) = match address {
        IpAddr::V4(address) => {
            let network = u64::from(u32::from(address)) >> host_bits << host_bits;
            (IpAddr::V4(Ipv4Addr::from(network as u32)), 1u64 << used_bits)
        }
        IpAddr::V6(address) => {
            let network =
                u128::from(address).checked_shr(host_bits).unwrap_or(0).checked_shl(host_bits);
            (IpAddr::V6(Ipv6Addr::from(network.unwrap_or(0))), 1u64 << used_bits)
        }
    };
    let block = Block { first, count: whole };
    // Two hosts alone are both hosts (RFC 3021, RFC 6164).
    if host_bits == 1 {
        return Ok(block);
    }
    let left_out = if first.is_ipv4() { 2 } else { 1 };
    Ok(Block { first: block.get(1), count: whole - left_out })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        let given: Given = text.parse().unwrap();
        (0..given.count()).map(|number| given.get(number).unwrap().to_string()).collect()
    }

    #[test]
    fn networks_stand_for_their_hosts() {
        assert_eq!(all("10.0.0.6/30, 10.9.9.9"), ["10.0.0.5", "10.0.0.6", "10.9.9.9"]);
        assert_eq!(all("10.0.0.7/31"), ["10.0.0.6", "10.0.0.7"]);
        assert_eq!(all("fd00::5/126"), ["fd00::5", "fd00::6", "fd00::7"]);
        assert_eq!(all("fd00::5/128"), ["fd00::5"]);
        let wide: Given = "fd00::/0".parse().unwrap();
        assert_eq!(wide.count(), (1 << 24) - 1);
        let whole: Given = "0.0.0.0/0".parse().unwrap();
        assert_eq!(whole.get(0).unwrap().to_string(), "0.0.0.1");
        assert_eq!(wide.get(wide.count()), None);
    }

    #[test]
    fn what_is_no_address_is_told_with_what_is_allowed() {
        for text in ["", "ten", "10.0.0.0/33", "fd00::/129", "10.0.0.0/x", "10.0.0.1,,10.0.0.2"] {
            let message = text.parse::<Given>().unwrap_err();
            assert!(message.contains("allowed: an address"), "{text}: {message}");
        }
    }
}
