//! The ways between machines: slow ones, and ones on which nothing gets through for a while.
//!
//! A way goes in one direction. What was sent on one that loses everything stays on the wire, as
//! segments that are sent again do, and arrives in its order once the way is free.

use super::{
    World,
    network::End,
    world::{Happening, State},
};
use std::net::IpAddr;

/// How the way from one machine to another is, where it is not like all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// It takes between both of these longer than others, microseconds.
    Slow(u64, u64),
    /// Nothing gets through.
    Lost,
}

impl State {
    /// The way from `end` to the other one.
    pub(super) fn road(&self, end: End) -> Option<Road> {
        if self.roads.is_empty() {
            return None;
        }
        let from = self.network.half(end)?.address.ip();
        let to = self.network.half(end.other())?.address.ip();
        self.roads.get(&(from, to)).copied()
    }

    /// Nothing that `end` sends gets through.
    pub(super) fn is_lost(&self, end: End) -> bool {
        self.road(end) == Some(Road::Lost)
    }

    /// Time on the way from `end`.
    pub(super) fn travel(&mut self, end: End) -> u64 {
        let extra = match self.road(end) {
            Some(Road::Slow(low, high)) => self.random.between(low, high),
            Some(Road::Lost) | None => 0,
        };
        self.latency() + extra
    }

    /// Both directions of all connections between two machines, the one that dialled first.
    fn ends_between(&self, one: IpAddr, other: IpAddr) -> Vec<End> {
        let all = self.network.ends();
        all.filter(|end| {
            let ip = |end| self.network.half(end).map(|half| half.address.ip());
            let (from, to) = (ip(*end), ip(end.other()));
            (from, to) == (Some(one), Some(other)) || (from, to) == (Some(other), Some(one))
        })
        .collect()
    }
}

impl World {
    /// Makes the way between two machines another one, or (`None`) like all others again. A machine
    /// is the address of its listeners, and of [`super::SimRing::on_machine`].
    pub fn set_road(&self, from: IpAddr, to: IpAddr, road: Option<Road>) {
        let mut state = self.state();
        match road {
            Some(road) => state.roads.insert((from, to), road),
            None => state.roads.remove(&(from, to)),
        };
        for end in state.ends_between(from, to) {
            let now_us = state.now_us;
            state.schedule(now_us, Happening::Deliver { end });
        }
    }

    /// Resets all connections between two machines, as a device on the way does. Number of them.
    pub fn reset_between(&self, one: IpAddr, other: IpAddr) -> usize {
        let mut state = self.state();
        let ends = state.ends_between(one, other);
        let dialled: Vec<End> = ends.into_iter().filter(|end| end.side == 0).collect();
        for end in &dialled {
            state.reset_both(*end);
        }
        dialled.len()
    }
}
