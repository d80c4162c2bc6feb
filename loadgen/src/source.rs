//! From which address and port each connection comes.
//!
//! A TCP connection is known by four numbers, and two of them are the server's: from one address
//! there are at most 65,535 connections to it, and by far fewer if the kernel picks the ports. So
//! addresses and ports are computed, from the number of the connection and of its life, and
//! nothing is stored. A place that is taken is a *conflict*: it is counted, and the next life has
//! another place.
//!
//! ```text
//!  connection / 19,900 --> address within its bank        life / 2 --> bank
//!  connection % 19,900 --> port within its half           life % 2 --> half: 20000.. or 40000..
//! ```
//!
//! Not here: sockets. Invariant: two connections never have one place in lives of the same number.

mod given;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use given::Given;

use crate::identity::mix;

/// First port on a source address; below it servers listen.
pub const PORT_FIRST: u16 = 20_000;

/// Ports from one half to the next: the last life's port may not be free yet when the next begins.
pub const PORTS_OF_HALF: u16 = 20_000;

/// Connections from one source address. Two halves of so many ports fit above [`PORT_FIRST`]; and a
/// ring's table has as many slots as the usual limit of open files, 20,000, less some for the
/// process itself.
pub const CONNECTIONS_PER_ADDRESS: u32 = 19_900;

/// First address on loopback, 127.16.0.0: people use the lower ones.
const LOOPBACK_FIRST: u32 = 0x7f10_0000;

/// Banks of 256 addresses on loopback that a run may begin at; with [`LOOPBACK_BANKS`] more they end
/// below 127.232.0.0.
const LOOPBACK_PLACES: u64 = 51_200;

/// Banks a run on loopback moves through from its first one on.
const LOOPBACK_BANKS: u32 = 4096;

/// Addresses of a bank on loopback.
const LOOPBACK_BANK_BITS: u32 = 8;

/// A run has no more connections than fit into a bank.
const _: () = assert!(
    crate::arguments::CONNECTIONS_MAX.div_ceil(CONNECTIONS_PER_ADDRESS) < 1 << LOOPBACK_BANK_BITS
);

/// Both halves fit.
const _: () = assert!(
    PORT_FIRST as u32 + PORTS_OF_HALF as u32 + CONNECTIONS_PER_ADDRESS <= u16::MAX as u32
        && CONNECTIONS_PER_ADDRESS <= PORTS_OF_HALF as u32
);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// 127.0.0.0/8 needs no set-up. Each run begins elsewhere, so that two at a time do not meet.
    Loopback { first_bank: u32 },
    /// `::1` is the only one.
    Single(IpAddr),
    /// Named by the user: banks of `bank` addresses, so many of them.
    Given { given: Given, bank: u32, banks: u32, first_bank: u32 },
    /// The route's address, and a port of the kernel's choice at connect (`IP_BIND_ADDRESS_NO_PORT`).
    Kernel(IpAddr),
}

/// The places of a run's connections. See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    place: Place,
}

/// Addresses needed for so many connections.
pub fn addresses(connections: u32) -> u32 {
    connections.div_ceil(CONNECTIONS_PER_ADDRESS)
}

impl Sources {
    /// Places for `connections` to `target`, from the addresses `given`, or if there are none, from
    /// loopback's for a target there, and from the kernel's choice for any other.
    ///
    /// # Errors
    /// One line that says how many addresses there are and how many are needed.
    pub fn new(target: IpAddr, given: &Given, connections: u32, run: u64) -> Result<Self, String> {
        let needed = addresses(connections).max(1);
        if !given.is_empty() {
            if let Some(other) = given.other_family(target) {
                return Err(format!(
                    "--source {other}: not of the address family of the target {target}"
                ));
            }
            if given.count() < u64::from(needed) {
                return Err(format!(
                    "--source names {} addresses; {connections} connections need {needed}, \
                     {CONNECTIONS_PER_ADDRESS} each",
                    given.count()
                ));
            }
            let banks = (given.count() / u64::from(needed)).min(u64::from(u32::MAX)) as u32;
            let first_bank = (mix(run) % u64::from(banks)) as u32;
            let given = given.clone();
            return Ok(Self { place: Place::Given { given, bank: needed, banks, first_bank } });
        }
        let place = match target {
            IpAddr::V4(ip) if ip.is_loopback() => {
                Place::Loopback { first_bank: (mix(run) % LOOPBACK_PLACES) as u32 }
            }
            IpAddr::V6(ip) if ip.is_loopback() => {
                if needed > 1 {
                    return Err(format!(
                        "--target {target}: IPv6 loopback has one source address, enough for \
                         {CONNECTIONS_PER_ADDRESS} connections; 127.0.0.0/8 has no such limit"
                    ));
                }
                Place::Single(target)
            }
            IpAddr::V4(_) => Place::Kernel(Ipv4Addr::UNSPECIFIED.into()),
            IpAddr::V6(_) => Place::Kernel(Ipv6Addr::UNSPECIFIED.into()),
        };
        Ok(Self { place })
    }

    /// Where the connection with this index binds in this life.
    pub fn of(&self, connection: u32, life: u32) -> SocketAddr {
        let number = connection / CONNECTIONS_PER_ADDRESS;
        let half = (life % 2) as u16 * PORTS_OF_HALF;
        let port = PORT_FIRST + half + (connection % CONNECTIONS_PER_ADDRESS) as u16;
        match &self.place {
            Place::Loopback { first_bank } => {
                let bank = first_bank + self.bank(life);
                let address = LOOPBACK_FIRST + (bank << LOOPBACK_BANK_BITS) + number + 1;
                SocketAddr::new(IpAddr::V4(Ipv4Addr::from(address)), port)
            }
            Place::Single(address) => SocketAddr::new(*address, port),
            Place::Given { given, bank, banks, first_bank } => {
                let at = (first_bank + self.bank(life)) % banks;
                let number = u64::from(at) * u64::from(*bank) + u64::from(number);
                let address = given.get(number).expect("checked when made: the banks are within");
                SocketAddr::new(address, port)
            }
            Place::Kernel(address) => SocketAddr::new(*address, 0),
        }
    }

    fn banks(&self) -> u32 {
        match self.place {
            Place::Loopback { .. } => LOOPBACK_BANKS,
            Place::Given { banks, .. } => banks,
            Place::Single(_) | Place::Kernel(_) => 1,
        }
    }

    fn bank(&self, life: u32) -> u32 {
        (life / 2) % self.banks()
    }

    /// Ports, and the address, are chosen by the kernel.
    pub fn is_kernels_choice(&self) -> bool {
        matches!(self.place, Place::Kernel(_))
    }

    /// A connection can come back from another address than before.
    pub fn can_move(&self) -> bool {
        self.banks() > 1
    }

    /// The life after this one that has another address, if [`Sources::can_move`].
    pub fn life_elsewhere(life: u32) -> u32 {
        (life / 2 + 1) * 2
    }

    /// For people: which addresses these are.
    pub fn text(&self, connections: u32) -> String {
        let needed = addresses(connections);
        match &self.place {
            Place::Loopback { .. } => {
                format!("{needed} in 127.16.0.0/12 and above, nothing to configure")
            }
            Place::Single(address) => format!("{address}"),
            Place::Given { given, banks, .. } => {
                format!("{needed} of the {} given, {banks} times", given.count())
            }
            Place::Kernel(_) => "1, the one of the route to the target".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn sources(target: &str, given: &str, connections: u32) -> Result<Sources, String> {
        let given = if given.is_empty() { Given::default() } else { given.parse().unwrap() };
        Sources::new(target.parse().unwrap(), &given, connections, 9)
    }

    #[test]
    fn loopback_places_differ_between_connections_and_lives_and_stay_on_loopback() {
        let sources = sources("127.0.0.1", "", 4_000_000).unwrap();
        let mut seen = HashSet::new();
        for connection in [0, 1, 19_899, 19_900, 3_999_999] {
            for life in 0..4 {
                let place = sources.of(connection, life);
                assert!(place.ip().is_loopback() && place.port() >= PORT_FIRST);
                assert!(seen.insert(place), "{place} twice");
            }
        }
        assert!(sources.of(3_999_999, (1 << 24) - 1).ip().is_loopback());
    }

    #[test]
    fn given_addresses_are_used_in_banks_and_no_two_connections_share_a_place() {
        let sources = sources("10.1.0.1", "10.0.0.0/29", 39_800).unwrap();
        for life in 0..8 {
            let mut seen = HashSet::new();
            for connection in (0..39_800).step_by(199) {
                let place = sources.of(connection, life);
                assert!(place.to_string().starts_with("10.0.0."), "{place}");
                assert!(seen.insert(place), "{place} twice in life {life}");
            }
        }
        // Six addresses, two at a time: after three banks the first one comes again.
        assert_eq!(sources.of(0, 0), sources.of(0, 6));
        assert!(sources.can_move());
    }

    #[test]
    fn life_elsewhere_has_another_address() {
        for (target, given) in [("127.0.0.1", ""), ("10.1.0.1", "10.0.0.1,10.0.0.2")] {
            let sources = sources(target, given, 100).unwrap();
            for life in 0..5 {
                let next = Sources::life_elsewhere(life);
                assert!(next > life);
                assert_ne!(sources.of(7, next).ip(), sources.of(7, life).ip(), "life {life}");
            }
        }
        assert!(!sources("10.1.0.1", "10.0.0.1", 100).unwrap().can_move());
    }

    #[test]
    fn remote_target_without_addresses_leaves_the_port_to_the_kernel() {
        for target in ["10.1.0.1", "fd00::1"] {
            let place = sources(target, "", 1000).unwrap().of(5, 3);
            assert!(place.ip().is_unspecified() && place.port() == 0, "{place}");
        }
    }

    #[test]
    fn too_few_addresses_are_told_with_both_counts() {
        for (target, given, words) in [
            ("10.1.0.1", "10.0.0.1", "names 1 addresses; 40000 connections need 3"),
            ("10.1.0.1", "fd00::1", "--source fd00::1: not of the address family"),
            ("::1", "", "IPv6 loopback has one"),
        ] {
            let message = sources(target, given, 40_000).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
        assert!(sources("::1", "", 19_900).is_ok());
    }
}
