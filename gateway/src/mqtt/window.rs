//! What one client has been sent and has not answered, and what waits for its answers.
//!
//! Packet identifiers say where a message came from, so that three sources never need each other:
//! odd ones belong to the session's queue at home and follow from the entry's number; even ones to
//! the mailbox, from its number, and, counted down from the highest, to what is only live.

use crate::limits;
use std::collections::VecDeque;

/// Where a message in flight came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// From nowhere that could give it again.
    Live,
    /// Entry of the session's queue.
    Queue(u64),
    /// Entry of the mailbox.
    Inbox(u64),
}

impl Source {
    /// Its packet identifier, where it follows from the source.
    pub fn packet_id(self) -> Option<u16> {
        let of = |number: u64| (number.saturating_sub(1) % 32_767) as u16 * 2;
        match self {
            Self::Live => None,
            Self::Queue(number) => Some(of(number) + 1),
            Self::Inbox(number) => Some(of(number) + 2),
        }
    }
}

/// What is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// PUBACK (QoS 1).
    Puback,
    /// PUBREC (QoS 2).
    Pubrec,
    /// That the home has noted the PUBREC; only then may the client forget the message.
    Mark,
    /// PUBCOMP.
    Pubcomp,
}

/// A message in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    pub packet_id: u16,
    pub stage: Stage,
    pub source: Source,
}

/// A message that waits until one in flight is answered: the packet, but for its identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub packet: Box<[u8]>,
    /// Where the identifier stands in it.
    pub packet_id_at: u32,
    /// Where seconds until it expires stand in it; 0: it does not say.
    pub expiry_at: u32,
    /// When it expires, microseconds of the monotonic clock; `u64::MAX`: never.
    pub expires_us: u64,
    pub stage: Stage,
    pub source: Source,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Window {
    flights: Vec<Flight>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Live identifiers are taken from here downwards.
    live: u16,
}

impl Window {
    /// A window that uses `flights`, which is empty.
    pub fn with(flights: Vec<Flight>) -> Self {
        Self { flights, ..Self::default() }
    }

    /// Gives its vector back.
    pub fn into_flights(mut self) -> Vec<Flight> {
        self.flights.clear();
        self.flights
    }

    pub fn is_empty(&self) -> bool {
        self.flights.is_empty() && self.waiting.is_empty()
    }

    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// May one more be sent to a client that takes `receive_max`? Those that wait go first.
    pub fn has_room(&self, receive_max: u16) -> bool {
        self.waiting.is_empty() && self.flights.len() < usize::from(receive_max)
    }

    fn is_used(&self, packet_id: u16) -> bool {
        self.flights.iter().any(|flight| flight.packet_id == packet_id)
    }

    /// Puts a message in flight and gives its identifier; `None` if the one that follows from its
    /// source is in use by another.
    pub fn begin(&mut self, source: Source, stage: Stage) -> Option<u16> {
        let packet_id = match source.packet_id() {
            Some(packet_id) if self.is_used(packet_id) => return None,
            Some(packet_id) => packet_id,
            None => self.next_live()?,
        };
        self.flights.push(Flight { packet_id, stage, source });
        Some(packet_id)
    }

    fn next_live(&mut self) -> Option<u16> {
        // One more look than there can be identifiers in use.
        for _ in 0..=self.flights.len() {
            self.live = if self.live <= 2 { u16::MAX - 1 } else { self.live - 2 };
            if !self.is_used(self.live) {
                return Some(self.live);
            }
        }
        None
    }

    /// Is this message in flight, or waiting?
    pub fn has(&self, source: Source) -> bool {
        self.flights.iter().any(|flight| flight.source == source)
            || self.waiting.iter().any(|waiting| waiting.source == source)
    }

    /// Puts a message in flight that the client has received before this connection.
    pub fn resume(&mut self, packet_id: u16, source: Source) {
        if !self.is_used(packet_id) {
            self.flights.push(Flight { packet_id, stage: Stage::Pubcomp, source });
        }
    }

    /// Identifiers of messages that the client has received and not finished.
    pub fn received(&self) -> impl Iterator<Item = u16> {
        let received = |flight: &&Flight| flight.stage == Stage::Pubcomp;
        self.flights.iter().filter(received).map(|flight| flight.packet_id)
    }

    /// The message in flight under `packet_id`.
    pub fn find(&mut self, packet_id: u16) -> Option<&mut Flight> {
        self.flights.iter_mut().find(|flight| flight.packet_id == packet_id)
    }

    /// Ends the flight under `packet_id` if it is in one of `stages`.
    pub fn end(&mut self, packet_id: u16, stages: &[Stage]) -> Option<Flight> {
        let at = self
            .flights
            .iter()
            .position(|flight| flight.packet_id == packet_id && stages.contains(&flight.stage))?;
        Some(self.flights.swap_remove(at))
    }

    /// Lets a message wait, if there is room. Entries of the queue at home and of the mailbox always
    /// wait: they are asked for by number, and a hole would never be filled.
    pub fn wait(&mut self, waiting: Waiting) -> bool {
        let bytes = waiting.packet.len();
        let full = self.waiting.len() >= limits::MQTT_WAITING_MAX
            || self.waiting_bytes + bytes > limits::MQTT_WAITING_BYTES_MAX;
        if full && waiting.source == Source::Live {
            return false;
        }
        self.waiting_bytes += bytes;
        self.waiting.push_back(waiting);
        true
    }

    /// The message that has waited longest, if a client that takes `receive_max` may be sent it.
    pub fn next_waiting(&mut self, receive_max: u16) -> Option<(u16, Waiting)> {
        if self.flights.len() >= usize::from(receive_max) {
            return None;
        }
        let first = self.waiting.front()?;
        let packet_id = self.begin(first.source, first.stage)?;
        let waiting = self.waiting.pop_front()?;
        self.waiting_bytes -= waiting.packet.len();
        Some((packet_id, waiting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(source: Source, bytes: usize) -> Waiting {
        Waiting {
            packet: vec![0; bytes].into_boxed_slice(),
            packet_id_at: 0,
            expiry_at: 0,
            expires_us: u64::MAX,
            stage: Stage::Puback,
            source,
        }
    }

    // norm: MQTT3-2.3.1-3
    // norm: MQTT3-2.3.1-4
    // norm: MQTT5-2.2.1-4
    #[test]
    fn identifiers_are_never_zero_never_in_use_and_apart_by_source() {
        let mut window = Window::default();
        let mut seen = std::collections::HashSet::new();
        for number in 1..=200 {
            for source in [Source::Live, Source::Queue(number), Source::Inbox(number)] {
                let packet_id = window.begin(source, Stage::Puback).unwrap();
                assert!(packet_id != 0 && seen.insert(packet_id));
                assert_eq!(packet_id % 2 == 1, matches!(source, Source::Queue(_)));
            }
        }
        assert_eq!(Source::Queue(1).packet_id(), Some(1));
        assert_eq!(Source::Queue(32_767).packet_id(), Some(65_533));
        assert_eq!(Source::Queue(32_768).packet_id(), Some(1));
        assert_eq!(Source::Inbox(32_767).packet_id(), Some(65_534));
        assert_eq!(window.begin(Source::Inbox(32_767), Stage::Puback), None);
    }

    // norm: MQTT5-3.3.4-9
    // norm: MQTT5-4.9.0-2
    #[test]
    fn no_more_are_in_flight_than_the_client_takes_and_waiting_ones_keep_their_order() {
        let mut window = Window::default();
        assert!(window.has_room(1));
        let first = window.begin(Source::Live, Stage::Puback).unwrap();
        assert!(!window.has_room(1));
        assert!(window.wait(waiting(Source::Queue(1), 10)));
        assert!(window.wait(waiting(Source::Queue(2), 20)));
        assert_eq!(window.next_waiting(1), None);
        assert_eq!(window.end(first, &[Stage::Pubcomp]), None);
        assert!(window.end(first, &[Stage::Puback]).is_some());
        assert!(!window.has_room(1), "those that wait go first");
        let (packet_id, sent) = window.next_waiting(1).unwrap();
        assert_eq!((packet_id, sent.packet.len(), window.waiting_bytes()), (1, 10, 20));
    }

    #[test]
    fn what_waits_is_bounded_but_for_what_is_asked_for_by_number() {
        let mut window = Window::default();
        window.begin(Source::Live, Stage::Puback);
        let many = limits::MQTT_WAITING_BYTES_MAX / 1024;
        assert!((0..many).all(|_| window.wait(waiting(Source::Live, 1024))));
        assert!(!window.wait(waiting(Source::Live, 1)));
        assert!(window.wait(waiting(Source::Queue(9), 1)));
        assert!(window.wait(waiting(Source::Inbox(9), 1)));
    }
}
