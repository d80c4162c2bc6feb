//! Gateways and routers as nodes of a plan: where they are, and what may happen to them.

use super::{plan::Moment, process, router::ROUTER_PORT};
use hawser_ring::sim::{Random, Road};
use std::net::{IpAddr, SocketAddr};

/// Gateways of the separate form.
pub const GATEWAYS: usize = 2;

/// One process on its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// By number.
    Gateway(u16),
    /// By place in the list.
    Router(u16),
}

impl Node {
    /// Its machine.
    pub fn machine(self) -> IpAddr {
        match self {
            Self::Gateway(gateway) => [10, 0, 0, 1 + gateway as u8].into(),
            Self::Router(router) => [10, 0, 1, 1 + router as u8].into(),
        }
    }

    /// Where it listens.
    pub fn address(self) -> SocketAddr {
        let port = match self {
            Self::Gateway(_) => process::PORT,
            Self::Router(_) => ROUTER_PORT,
        };
        SocketAddr::new(self.machine(), port)
    }
}

/// What may happen. Times are microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeTrouble {
    /// `kill -9`, and away for so long.
    Kill(Node, Moment, u64),
    /// The power of its machine fails: what it sent last is gone, and nobody is told.
    PowerCut(Node, Moment, u64),
    /// `SIGTERM`: it leaves in an orderly way, and is started again after so long.
    Leave(Node, u64),
    /// `SIGSTOP` for so long.
    Pause(Node, u64),
    /// Its disk is full for so long.
    DiskFull(Node, u64),
    /// The gateway is started with another secret, and put right after so long.
    WrongSecret(Node, u64),
    /// All connections between two nodes are reset.
    Reset(Node, Node),
    /// The way from one to the other is another for so long; the way back stays.
    Road(Node, Node, Road, u64),
    /// Nothing gets through between them for so long.
    Apart(Node, Node, u64),
}

fn router(random: &mut Random, routers: u16) -> Node {
    Node::Router(random.below(u64::from(routers)) as u16)
}

fn gateway(random: &mut Random) -> Node {
    Node::Gateway(random.below(GATEWAYS as u64) as u16)
}

/// Two ends of a link.
fn link(random: &mut Random, routers: u16) -> (Node, Node) {
    let one = router(random, routers);
    let other = match (random.below(2), one) {
        (0, Node::Router(index)) => Node::Router((index + 1) % routers),
        _ => gateway(random),
    };
    if random.below(2) == 0 { (one, other) } else { (other, one) }
}

fn moment(random: &mut Random) -> Moment {
    if random.below(2) == 0 { Moment::Any } else { Moment::Writing }
}

/// Shorter and longer than gateways have patience with a router (two seconds), and than a link is
/// silent before it is ended (five).
fn absence_us(random: &mut Random) -> u64 {
    let longest = [200_000, 1_000_000, 4_000_000, 9_000_000][random.below(4) as usize];
    random.between(50_000, longest)
}

/// Troubles of a run in which only routers go away, and come back.
pub fn draw_absences(
    random: &mut Random,
    trouble_us: u64,
    routers: u16,
) -> Vec<(u64, super::plan::Trouble)> {
    let mut troubles: Vec<_> = (0..random.between(2, 6))
        .map(|_| {
            let for_us = absence_us(random);
            let node = router(random, routers);
            let trouble = match random.below(4) {
                0 => NodeTrouble::Kill(node, moment(random), for_us),
                1 => NodeTrouble::PowerCut(node, moment(random), for_us),
                2 => NodeTrouble::Leave(node, for_us),
                _ => NodeTrouble::Pause(node, for_us),
            };
            (random.below(trouble_us), super::plan::Trouble::Node(trouble))
        })
        .collect();
    troubles.sort_by_key(|(at, _)| *at);
    troubles
}

/// Troubles of a run, by time.
pub fn draw_troubles(
    random: &mut Random,
    trouble_us: u64,
    routers: u16,
) -> Vec<(u64, super::plan::Trouble)> {
    let count = random.between(2, 9);
    let mut troubles: Vec<_> = (0..count)
        .map(|_| {
            let for_us = absence_us(random);
            let trouble = match random.below(18) {
                0..3 => NodeTrouble::Kill(router(random, routers), moment(random), for_us),
                3..6 => NodeTrouble::PowerCut(router(random, routers), moment(random), for_us),
                6 => NodeTrouble::Kill(gateway(random), Moment::Any, for_us),
                7 => NodeTrouble::PowerCut(gateway(random), Moment::Any, for_us),
                8 => NodeTrouble::Pause(router(random, routers), for_us),
                9 => match random.below(2) {
                    0 => NodeTrouble::Pause(gateway(random), for_us),
                    _ => NodeTrouble::DiskFull(router(random, routers), for_us),
                },
                10 => NodeTrouble::WrongSecret(gateway(random), for_us),
                16 => NodeTrouble::Leave(router(random, routers), for_us),
                17 => NodeTrouble::Leave(gateway(random), for_us),
                11 => {
                    let (one, other) = link(random, routers);
                    NodeTrouble::Reset(one, other)
                }
                12 => {
                    let (one, other) = link(random, routers);
                    NodeTrouble::Apart(one, other, for_us)
                }
                13 => {
                    let (one, other) = link(random, routers);
                    let slow = random.between(1_000, 400_000);
                    NodeTrouble::Road(one, other, Road::Slow(0, slow), for_us)
                }
                _ => {
                    let (one, other) = link(random, routers);
                    NodeTrouble::Road(one, other, Road::Lost, for_us)
                }
            };
            (random.below(trouble_us), super::plan::Trouble::Node(trouble))
        })
        .collect();
    troubles.sort_by_key(|(at, _)| *at);
    troubles
}
