//! The sending half: messages in order, those without an answer within the server's window.

use std::collections::VecDeque;

use hawser_codec::{
    mqtt::{
        Kind, Qos, Version,
        encode::{self, Form},
        packet::Answer,
        reason,
    },
    time::Now,
};

use super::{
    super::{Fault, Offer, World},
    SUBSCRIBE_ID, address, fault, qos, version,
};
use crate::{payload::Payload, tally::Stage};

/// Messages of one user that wait to be sent or answered; at the usual rates that is many minutes
/// of a server that does not answer.
const PENDING_MAX: usize = 4096;

/// Messages on their way at a time, if the server takes as many: a gateway's usual limit.
const IN_FLIGHT_MAX: usize = 128;

/// The same in 3.1.1, where a server cannot say what it takes: what clients usually keep to.
/// mosquitto 2.0.11 breaks off with more, and loses messages of QoS 2.
const IN_FLIGHT_OLDER_MAX: usize = 20;

/// What the server takes on this connection.
pub(super) struct Flow {
    /// Publishes of QoS 1 and 2 unanswered.
    pub(super) receive_max: u16,
    /// Longest packet, bytes.
    pub(super) packet_bytes_max: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Never sent, or to a session that is gone.
    Unsent,
    /// Its PUBACK or PUBREC is awaited.
    Published,
    /// Its PUBCOMP is awaited.
    Released,
}

#[derive(Debug)]
struct Pending {
    intended_us: u64,
    target: u32,
    counter: u32,
    lag_us: u32,
    packet_id: u16,
    hop: u8,
    /// Its lag is that of the first attempt.
    was_sent: bool,
    standing: Standing,
}

/// Invariant: of `pending`, the first `in_flight` and no others are not [`Standing::Unsent`].
#[derive(Debug, Default)]
pub(super) struct Sending {
    pending: VecDeque<Pending>,
    in_flight: usize,
    last_id: u16,
}

impl Sending {
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn offer(&mut self, world: &mut World, index: u32, offer: &Offer, now: Now) {
        let target = offer.to.target();
        let room = self.pending.len() < PENDING_MAX;
        let counter = room.then(|| world.ground.oracle.send(index, target)).flatten();
        let Some(counter) = counter else {
            world.shed();
            return;
        };
        self.pending.push_back(Pending {
            intended_us: offer.intended_us,
            target,
            counter,
            lag_us: lag_us(offer.intended_us, now),
            packet_id: 0,
            hop: offer.hop,
            was_sent: false,
            standing: Standing::Unsent,
        });
    }

    /// A connection is there: what has no answer goes again, if the server has `kept` the session
    /// as it was, else as something new.
    pub(super) fn on_connected(
        &mut self,
        world: &mut World,
        index: u32,
        kept: bool,
        outbound: &mut Vec<u8>,
    ) {
        let version = version(&world.ground.scenario);
        for at in 0..self.in_flight {
            let pending = &mut self.pending[at];
            match pending.standing {
                Standing::Published => {
                    let Pending { target, counter, .. } = *pending;
                    world.ground.oracle.repeat(index, target, counter);
                    world.tally.counters.repeats += 1;
                    if kept {
                        self.write(world, index, at, true, u32::MAX, outbound);
                    } else {
                        pending.standing = Standing::Unsent;
                    }
                }
                Standing::Released if kept => {
                    let id = pending.packet_id;
                    encode::answer(outbound, version, Kind::Pubrel, id, reason::SUCCESS);
                }
                Standing::Released | Standing::Unsent => {}
            }
        }
        if !kept {
            // The server had taken these; with the session the rest of the exchange is gone.
            self.pending.retain(|pending| pending.standing != Standing::Released);
            self.in_flight = 0;
        }
    }

    /// Sends what the window allows.
    pub(super) fn pump(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        flow: &Flow,
        outbound: &mut Vec<u8>,
    ) {
        let most = match version(&world.ground.scenario) {
            Version::V5 => IN_FLIGHT_MAX,
            Version::V311 => IN_FLIGHT_OLDER_MAX,
        };
        let window = usize::from(flow.receive_max).min(most);
        let qos = qos(&world.ground.scenario);
        while self.in_flight < window && self.in_flight < self.pending.len() {
            let at = self.in_flight;
            let packet_id = if qos == Qos::AtMostOnce { 0 } else { self.free_id() };
            let pending = &mut self.pending[at];
            pending.packet_id = packet_id;
            if !pending.was_sent {
                pending.was_sent = true;
                pending.lag_us = lag_us(pending.intended_us, now);
            }
            let fits = self.write(world, index, at, false, flow.packet_bytes_max, outbound);
            if fits && qos != Qos::AtMostOnce {
                self.pending[at].standing = Standing::Published;
                self.in_flight += 1;
                continue;
            }
            let Some(pending) = self.pending.remove(at) else { return };
            if fits {
                world.tally.counters.forgotten += 1;
            } else {
                refuse(world, index, &pending, reason::PACKET_TOO_LARGE);
            }
        }
    }

    /// An identifier that no message on its way has; there are many more than those.
    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id % (SUBSCRIBE_ID - 1) + 1;
            let taken = |pending: &Pending| pending.packet_id == self.last_id;
            if !self.pending.iter().take(self.in_flight).any(taken) {
                return self.last_id;
            }
        }
    }

    /// Appends a PUBLISH; false, and nothing, if it would be longer than the server takes.
    fn write(
        &self,
        world: &mut World,
        index: u32,
        at: usize,
        dup: bool,
        packet_bytes_max: u32,
        outbound: &mut Vec<u8>,
    ) -> bool {
        let pending = &self.pending[at];
        let World { ground, body, .. } = world;
        let payload = Payload {
            run: ground.names.run(),
            sender: index,
            recipient: pending.target,
            counter: pending.counter,
            lag_us: pending.lag_us,
            intended_us: pending.intended_us,
            hop: pending.hop,
        };
        payload.write(ground.payload_bytes, body);
        let payload_bytes = body.len();
        address::write(ground, pending.target, body);
        let (payload, topic) = body.split_at(payload_bytes);
        let form = Form {
            version: version(&ground.scenario),
            dup,
            qos: qos(&ground.scenario),
            retain: false,
            topic,
            packet_id: pending.packet_id,
            own: &[],
            passed: &[],
            payload,
        };
        let fits = form.packet_bytes() <= packet_bytes_max as usize;
        if fits {
            form.put(outbound);
        }
        fits
    }

    fn find(&self, packet_id: u16) -> Option<usize> {
        let mut on_their_way = self.pending.iter().take(self.in_flight);
        on_their_way.position(|pending| pending.packet_id == packet_id)
    }

    fn take(&mut self, at: usize) -> Option<Pending> {
        self.in_flight -= 1;
        self.pending.remove(at)
    }

    pub(super) fn on_puback(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        answer: &Answer<'_>,
    ) -> Result<(), Fault> {
        let is_asked = qos(&world.ground.scenario) == Qos::AtLeastOnce;
        let found = self.find(answer.packet_id).filter(|_| is_asked);
        let at = found.ok_or(fault::unexpected())?;
        let Some(pending) = self.take(at) else { return Ok(()) };
        if answer.reason >= reason::ERROR {
            refuse(world, index, &pending, answer.reason);
        } else {
            acknowledge(world, index, now, &pending);
        }
        Ok(())
    }

    /// The server has the message: it counts as acknowledged. What follows only ends the exchange.
    pub(super) fn on_pubrec(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        answer: &Answer<'_>,
        outbound: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let version = version(&world.ground.scenario);
        let is_asked = qos(&world.ground.scenario) == Qos::ExactlyOnce;
        let found = self.find(answer.packet_id).filter(|_| is_asked);
        let at = found.ok_or(fault::unexpected())?;
        if answer.reason >= reason::ERROR {
            if let Some(pending) = self.take(at) {
                refuse(world, index, &pending, answer.reason);
            }
            return Ok(());
        }
        let pending = &mut self.pending[at];
        if pending.standing == Standing::Published {
            pending.standing = Standing::Released;
            acknowledge(world, index, now, pending);
        }
        let id = answer.packet_id;
        encode::answer(outbound, version, Kind::Pubrel, id, reason::SUCCESS);
        Ok(())
    }

    pub(super) fn on_pubcomp(&mut self, packet_id: u16) -> Result<(), Fault> {
        let found = self.find(packet_id);
        let found = found.filter(|at| self.pending[*at].standing == Standing::Released);
        let at = found.ok_or(fault::unexpected())?;
        self.take(at);
        Ok(())
    }
}

fn lag_us(intended_us: u64, now: Now) -> u32 {
    now.monotonic_us.saturating_sub(intended_us).min(u64::from(u32::MAX)) as u32
}

fn acknowledge(world: &mut World, index: u32, now: Now, pending: &Pending) {
    if world.ground.oracle.acknowledge(index, pending.target, pending.counter) {
        world.tally.counters.acknowledged += 1;
    }
    let us = now.monotonic_us.saturating_sub(pending.intended_us);
    if world.record(pending.intended_us, us, Stage::Acknowledge) {
        let from_sent_us = us.saturating_sub(u64::from(pending.lag_us));
        world.tally.record(Stage::AcknowledgeSent, from_sent_us);
    }
}

fn refuse(world: &mut World, index: u32, pending: &Pending, reason: u8) {
    world.refuse(index, pending.target, pending.counter, fault::named(reason).code);
}
