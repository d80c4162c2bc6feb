//! Networks that clients are on: how long they remember a quiet connection, how often a client
//! leaves them, and what a wake of the radio costs.
//!
//! The figures are a prior: each names where it comes from and when; those of one's own fleet are
//! better and replace them.

/// A share of clients behind one kind of time-out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeOut {
    /// Silence after which the path forgets the connection, seconds.
    pub seconds: f64,
    /// Share of the network's paths, of all shares given.
    pub share: f64,
}

/// What radio activity costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Radio {
    /// Energy to leave idle, joules.
    pub promotion_j: f64,
    /// Time it stays awake behind the last packet, seconds.
    pub tail_s: f64,
    /// Power in that time, watts.
    pub tail_w: f64,
}

/// LTE of 2012 (Huang et al., MobiSys 2012): 12.6 J for a packet on its own.
pub const LTE_2012: Radio = Radio { promotion_j: 0.26 * 1.21, tail_s: 11.58, tail_w: 1.06 };
/// Wi-Fi of the same study.
pub const WIFI: Radio = Radio { promotion_j: 0.03, tail_s: 0.24, tail_w: 0.6 };
/// A machine with a plug: nothing counts.
pub const WIRED: Radio = Radio { promotion_j: 0.0, tail_s: 0.0, tail_w: 0.0 };

/// One kind of network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Network {
    /// Name.
    pub name: &'static str,
    /// Time-outs of its paths.
    pub time_outs: &'static [TimeOut],
    /// Times an hour a client leaves it for another or loses it.
    pub moves_per_hour: f64,
    /// Its radio.
    pub radio: Radio,
    /// Where the figures come from.
    pub source: &'static str,
}

/// A class of clients: what they are on, and for which share of their time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Class {
    /// Name of the class in the gateway's configuration.
    pub name: &'static str,
    /// Networks and shares.
    pub networks: &'static [(Network, f64)],
    /// Pushes an hour to one client.
    pub pushes_per_hour: f64,
}

/// Carrier networks.
pub const MOBILE: Network = Network {
    name: "mobile",
    time_outs: &[
        TimeOut { seconds: 240.0, share: 0.10 },
        TimeOut { seconds: 300.0, share: 0.30 },
        TimeOut { seconds: 600.0, share: 0.25 },
        TimeOut { seconds: 1200.0, share: 0.15 },
        TimeOut { seconds: 1800.0, share: 0.20 },
    ],
    moves_per_hour: 0.5,
    radio: LTE_2012,
    source: "carriers' time-outs as practitioners give them, 2013 to 2024: 5 minutes the commonest, \
             one in three ISPs below 10 (NetPiculet, SIGCOMM 2011), 28 minutes and more in others; \
             energy of LTE, MobiSys 2012",
};

/// Home and office routers.
pub const HOME: Network = Network {
    name: "wi-fi",
    time_outs: &[
        TimeOut { seconds: 300.0, share: 0.10 },
        TimeOut { seconds: 900.0, share: 0.20 },
        TimeOut { seconds: 3600.0, share: 0.40 },
        TimeOut { seconds: 7440.0, share: 0.30 },
    ],
    moves_per_hour: 0.2,
    radio: WIFI,
    source: "RFC 5382 asks for 2 h 4 min, many routers are shorter; energy of Wi-Fi, MobiSys 2012",
};

/// Behind a proxy that was left at its defaults.
pub const PROXIED: Network = Network {
    name: "proxied",
    time_outs: &[
        TimeOut { seconds: 30.0, share: 0.1 },
        TimeOut { seconds: 50.0, share: 0.3 },
        TimeOut { seconds: 60.0, share: 0.6 },
    ],
    moves_per_hour: 0.05,
    radio: WIFI,
    source: "defaults as of 2024: nginx proxy_read_timeout and classic ELB 60 s, HAProxy often 50 s, \
             GCP's HTTP load balancer 30 s",
};

/// Behind a cloud's packet load balancer.
pub const BALANCED: Network = Network {
    name: "load balancer",
    time_outs: &[
        TimeOut { seconds: 240.0, share: 0.3 },
        TimeOut { seconds: 350.0, share: 0.5 },
        TimeOut { seconds: 900.0, share: 0.2 },
    ],
    moves_per_hour: 0.02,
    radio: WIRED,
    source: "defaults as of 2024: Azure 4 min, AWS NLB 350 s (fixed for TLS), Alibaba CLB 900 s",
};

/// The classes of the gateway's configuration.
pub const CLASSES: [Class; 4] = [
    Class { name: "mobile", networks: &[(MOBILE, 0.6), (HOME, 0.4)], pushes_per_hour: 6.0 },
    Class { name: "web", networks: &[(PROXIED, 0.5), (HOME, 0.5)], pushes_per_hour: 30.0 },
    Class { name: "desktop", networks: &[(HOME, 0.7), (BALANCED, 0.3)], pushes_per_hour: 20.0 },
    Class { name: "bot", networks: &[(BALANCED, 1.0)], pushes_per_hour: 60.0 },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_and_every_network_names_its_source() {
        for class in CLASSES {
            let whole: f64 = class.networks.iter().map(|(_, share)| share).sum();
            assert!((whole - 1.0).abs() < 1e-9, "{}", class.name);
            for (network, _) in class.networks {
                let whole: f64 = network.time_outs.iter().map(|time_out| time_out.share).sum();
                assert!((whole - 1.0).abs() < 1e-9, "{}", network.name);
                assert!(network.source.len() > 20);
            }
        }
    }

    #[test]
    fn a_lone_packet_over_lte_costs_what_the_study_says() {
        let joules = LTE_2012.promotion_j + LTE_2012.tail_s * LTE_2012.tail_w;
        assert!((12.5..12.7).contains(&joules), "{joules}");
    }
}
