//! Faults planted for tests: what the simulation must find, were it in the product.
//!
//! Each sits at a seam around the product's code, so that none of it has to carry a fault.

use super::disk::Spoil;
use hawser_codec::{
    frame::{self, FrameLimits, Step},
    link::{Downlink, Peer},
    message::{self, Encoder, Message, Notify},
};
use hawser_gateway::storage::Job;
use hawser_ring::sim::World;
use hawser_router::link::wire;

/// What is planted. By default nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plants {
    /// Done to the entries on their way to the devices.
    pub entries: Option<EntryPlant>,
    /// Done by the ring's side of a worker.
    pub ring: Option<RingPlant>,
    /// Done to jobs on their way to the disk's queue.
    pub job: Option<Spoil>,
    /// Done to what routers say on links.
    pub link: Option<LinkPlant>,
    /// Hosts that write two lanes believe that it is one, and let entries out of their shard
    /// before the message they belong to is durable.
    pub same_lane: bool,
}

/// What happens to some entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryPlant {
    /// A message never gets through.
    Dropped,
    /// A message comes again under the next number.
    Doubled,
    /// Two messages change places.
    Swapped,
}

/// What a router does wrong on its links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPlant {
    /// It does not ask gateways for their sessions when a link comes up.
    NothingAnnounced,
    /// It does not notice that a link has ended.
    EndUnnoticed,
    /// Entries for other routers are lost although the link lives. The product heals that; what is
    /// planted is what no TCP does.
    EntriesLost,
}

/// Takes out of `bytes`, whole frames of a link, what the plant wants lost.
pub fn lose_frames(plant: LinkPlant, world: &World, bytes: Vec<u8>) -> Vec<u8> {
    let preface = if bytes.starts_with(&wire::PREFACE) { wire::PREFACE.len() } else { 0 };
    let (mut out, mut rest) = (bytes[..preface].to_vec(), &bytes[preface..]);
    while let wire::Step::Frame(frame, length) = wire::step(rest, usize::MAX) {
        let body = match (plant, wire::Family::of(frame.kind)) {
            (LinkPlant::NothingAnnounced, Some(wire::Family::Downlink)) => {
                keep(frame.body, |left| match Downlink::take(left) {
                    Ok(Some(Downlink::Announce(_))) => Some(false),
                    Ok(Some(_)) => Some(true),
                    Ok(None) | Err(_) => None,
                })
            }
            (LinkPlant::EntriesLost, Some(wire::Family::Peer)) => {
                keep(frame.body, |left| match Peer::take(left) {
                    Ok(Some(Peer::Stream(_))) => Some(world.draw(CHOSEN) != 0),
                    Ok(Some(_)) => Some(true),
                    Ok(None) | Err(_) => None,
                })
            }
            _ => frame.body.to_vec(),
        };
        wire::put(&mut out, frame.kind, frame.flags, frame.worker, &body);
        rest = &rest[length..];
    }
    out.extend_from_slice(rest);
    out
}

/// The frames of a batch that `next` wants kept.
fn keep(batch: &[u8], mut next: impl FnMut(&mut &[u8]) -> Option<bool>) -> Vec<u8> {
    let (mut kept, mut left) = (Vec::new(), batch);
    loop {
        let before = left;
        match next(&mut left) {
            Some(true) => kept.extend_from_slice(&before[..before.len() - left.len()]),
            Some(false) => {}
            None => return kept,
        }
    }
}

/// What the ring reports wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingPlant {
    /// A write or sync as done when it was asked for.
    DurableAtSubmission,
    /// Files are opened so that a completed write is durable only after a sync nobody asks for.
    NotDurable,
    /// A cancelled operation as ended although it goes on: its slot is used again meanwhile.
    SlotReused,
    /// The end of a cancel as the end of what it was to cancel.
    CancelIsCompletion,
}

/// One entry in so many is chosen for a plant.
const CHOSEN: u64 = 13;

/// Stands between a connection and its session, and does what is planted.
#[derive(Debug, Default)]
pub struct Tampering {
    plant: Option<EntryPlant>,
    rest: Vec<u8>,
    held: Option<(u8, u16, Vec<u8>)>,
    last: Option<Vec<u8>>,
}

impl Tampering {
    /// Does `plant`.
    pub fn new(plant: Option<EntryPlant>) -> Self {
        Self { plant, ..Self::default() }
    }

    /// A new connection.
    pub fn reset(&mut self) {
        *self = Self::new(self.plant);
    }

    /// What becomes of bytes from the server.
    pub fn pass(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let Some(plant) = self.plant else { return bytes };
        self.rest.extend(bytes);
        let (limits, mut out, mut at) = (FrameLimits { body_bytes_max: u32::MAX }, Vec::new(), 0);
        let rest = std::mem::take(&mut self.rest);
        while let Ok(Step::Frame { frame, consumed }) = frame::step(&limits, &rest[at..]) {
            let whole = &rest[at..at + consumed];
            at += consumed;
            match message::decode(frame) {
                Ok(Message::Notify(notify)) => {
                    self.on_notify(plant, frame.flags, frame.channel, &notify, whole, &mut out);
                }
                _ => {
                    self.release(&mut out);
                    out.extend_from_slice(whole);
                }
            }
        }
        self.rest = rest[at..].to_vec();
        out
    }

    fn release(&mut self, out: &mut Vec<u8>) {
        if let Some((_, _, whole)) = self.held.take() {
            out.extend(whole);
        }
    }

    fn on_notify(
        &mut self,
        plant: EntryPlant,
        flags: u8,
        channel: u16,
        notify: &Notify<'_>,
        whole: &[u8],
        out: &mut Vec<u8>,
    ) {
        let chosen = (notify.sequence + u64::from(notify.uuid[0])).is_multiple_of(CHOSEN);
        let mut put = |notify: Notify<'_>| {
            Encoder::new().message(out, channel, flags, &Message::Notify(notify));
        };
        match plant {
            EntryPlant::Dropped if chosen => {}
            EntryPlant::Doubled if chosen && self.last.is_some() => {
                let last = self.last.clone().unwrap_or_default();
                put(Notify { number: notify.number, ..read(&last) });
            }
            EntryPlant::Swapped if self.held.is_some() => {
                let (_, _, held) = self.held.take().unwrap_or_default();
                let first = read(&held);
                put(Notify { number: first.number, ..*notify });
                put(Notify { number: notify.number, ..first });
            }
            EntryPlant::Swapped if chosen => self.held = Some((flags, channel, whole.to_vec())),
            EntryPlant::Dropped | EntryPlant::Doubled | EntryPlant::Swapped => {
                out.extend_from_slice(whole);
            }
        }
        self.last = Some(whole.to_vec());
    }
}

fn read(whole: &[u8]) -> Notify<'_> {
    let limits = FrameLimits { body_bytes_max: u32::MAX };
    if let Ok(Step::Frame { frame, .. }) = frame::step(&limits, whole)
        && let Ok(Message::Notify(notify)) = message::decode(frame)
    {
        return notify;
    }
    unreachable!("only whole notify frames are kept")
}

/// Takes all dedup windows out of a checkpoint's section.
pub fn lose_windows(job: &mut Job) {
    if let Job::CheckpointSection { bytes, .. } = job {
        let section = std::mem::take(bytes);
        *bytes = without_windows(&section).unwrap_or(section);
    }
}

/// Follows the layout of a section of version 1 up to the windows.
fn without_windows(section: &[u8]) -> Option<Vec<u8>> {
    let mut at = 1 + 8;
    let number = |at: &mut usize, bytes: usize| -> Option<u64> {
        let mut value = [0; 8];
        value[..bytes].copy_from_slice(section.get(*at..*at + bytes)?);
        *at += bytes;
        Some(u64::from_le_bytes(value))
    };
    for _ in 0..number(&mut at, 4)? {
        at += 16 + 8 + 4 + 8;
        at += number(&mut at, 2)? as usize * (16 + 8);
        if number(&mut at, 1)? == 1 {
            at += 8 + 8;
            at += number(&mut at, 1)? as usize * 8;
            at += number(&mut at, 4)? as usize * (8 + 2);
        }
    }
    at += number(&mut at, 4)? as usize * (16 + 8);
    let windows_at = at;
    for _ in 0..number(&mut at, 4)? {
        at += 16 + 16 + 8 + 8 + 8 + 1;
        at += number(&mut at, 4)? as usize;
    }
    let mut without = section[..windows_at].to_vec();
    without.extend_from_slice(&[0; 4]);
    without.extend_from_slice(section.get(at..)?);
    Some(without)
}
