//! A message to one client: sent, left to wait for earlier answers, or dropped; and where those come
//! from that are for one client alone: its session's queue, retained messages.

use super::{
    window::{Source, Stage, Waiting},
    *,
};
use hawser_codec::mqtt::{
    encode::Form,
    property::{self, Value},
};

/// A message on its way to clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub topic: &'a [u8],
    pub qos: Qos,
    /// Seconds until it expires; 0: never.
    pub expiry_s: u32,
    /// Properties that go with it.
    pub passed: &'a [u8],
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// From what links carry; `None` if it is cut, which would be our own fault.
    pub fn of(topic: &'a [u8], qos: u8, expiry_s: u32, content: &'a [u8]) -> Option<Self> {
        let (length, rest) = content.split_first_chunk()?;
        let (passed, payload) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        Some(Self { topic, qos: Qos::from_bits(qos)?, expiry_s, passed, payload })
    }
}

/// How one client gets it.
#[derive(Clone, Copy, Debug)]
pub(super) struct How<'a> {
    pub qos: Qos,
    pub retain: bool,
    pub dup: bool,
    pub source: Source,
    /// Subscription identifiers.
    pub identifiers: &'a [u32],
}

impl MqttSessions {
    /// Sends a message to one client, lets it wait, or drops it. `shared` says that the same
    /// message goes to others, so that its written form is worth keeping.
    #[allow(clippy::too_many_arguments)] // one delivery
    pub(super) fn give(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        message: &Message<'_>,
        how: &How<'_>,
        shared: bool,
        outlet: &mut Outlet<'_>,
    ) {
        let slow = outlet.waiting(connection) > outlet.marks.push;
        if how.qos == Qos::AtMostOnce {
            if slow {
                outlet.metrics.mqtt_dropped.add(1);
                return;
            }
            self.write(connection, handle, terms, message, how, shared, 0, outlet);
            return;
        }
        let stage = match how.qos {
            Qos::ExactlyOnce => Stage::Pubrec,
            _ => Stage::Puback,
        };
        let live = how.source == Source::Live;
        let window = &mut self.asides.open(connection, handle).window;
        // One always goes: its answer is what brings on those that wait.
        let may_go =
            window.has_room(terms.receive_max) && (!slow || !live || window.in_flight() == 0);
        if may_go && let Some(packet_id) = window.begin(how.source, stage) {
            let gone =
                self.write(connection, handle, terms, message, how, shared, packet_id, outlet);
            if !gone {
                self.pass_over(connection, handle, packet_id, outlet);
            }
            return;
        }
        self.let_wait(connection, handle, terms, message, how, stage, outlet);
    }

    /// Appends the packet; false if it is longer than the client takes.
    #[allow(clippy::too_many_arguments)] // one delivery
    fn write(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        message: &Message<'_>,
        how: &How<'_>,
        shared: bool,
        packet_id: u16,
        outlet: &mut Outlet<'_>,
    ) -> bool {
        outlet.metrics.mqtt_delivered.add(1);
        let plain = how.identifiers.is_empty() && terms.aliases_max == 0 && !how.dup;
        if shared && plain {
            let written = self.copies.form(terms.version, message, how.qos, how.retain);
            if written.packet.len() > terms.packet_bytes_max as usize {
                return false;
            }
            outlet.say(connection, handle, |queue| {
                let at = queue.len();
                queue.extend_from_slice(&written.packet);
                encode::patch(&mut queue[at..], written.packet_id_at, packet_id);
            });
            return true;
        }
        let mut own = Vec::with_capacity(16);
        let mut topic = message.topic;
        if terms.version == Version::V5 {
            put_own(&mut own, message.expiry_s, how.identifiers);
            if let Some((alias, known)) = self.alias_of(connection, handle, terms, topic) {
                property::put(&mut own, property::TOPIC_ALIAS, Value::Short(alias));
                topic = if known { &[] } else { topic };
            }
        }
        let form = Form {
            version: terms.version,
            dup: how.dup,
            qos: how.qos,
            retain: how.retain,
            topic,
            packet_id,
            own: &own,
            passed: message.passed,
            payload: message.payload,
        };
        if form.packet_bytes() > terms.packet_bytes_max as usize {
            return false;
        }
        outlet.say(connection, handle, |queue| {
            form.put(queue);
        });
        true
    }

    fn alias_of(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        topic: &[u8],
    ) -> Option<(u16, bool)> {
        if terms.aliases_max == 0 {
            return None;
        }
        let room = self.asides.alias_bytes < limits::MQTT_ALIAS_BYTES_PER_WORKER;
        let aliases = &mut self.asides.open(connection, handle).aliases_out;
        if aliases.is_none() && !room {
            return None;
        }
        let aliases = aliases.get_or_insert_default();
        let before = aliases.bytes();
        let found = aliases.find(topic, if room { terms.aliases_max } else { 0 });
        let more = aliases.bytes() - before;
        self.asides.alias_bytes += more;
        found
    }

    /// A message that is too long for its client counts as given.
    fn pass_over(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        packet_id: u16,
        outlet: &mut Outlet<'_>,
    ) {
        outlet.metrics.mqtt_dropped.add(1);
        let stages = [Stage::Puback, Stage::Pubrec];
        let aside = self.asides.open(connection, handle);
        if let Some(flight) = aside.window.end(packet_id, &stages) {
            self.confirm(connection, handle, flight.source, outlet);
        }
        self.asides.tidy(connection, handle);
    }

    #[allow(clippy::too_many_arguments)] // one delivery
    fn let_wait(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        message: &Message<'_>,
        how: &How<'_>,
        stage: Stage,
        outlet: &mut Outlet<'_>,
    ) {
        let mut own = Vec::with_capacity(16);
        if terms.version == Version::V5 {
            put_own(&mut own, message.expiry_s, how.identifiers);
        }
        let mut packet = Vec::new();
        let form = Form {
            version: terms.version,
            dup: how.dup,
            qos: how.qos,
            retain: how.retain,
            topic: message.topic,
            packet_id: 0,
            own: &own,
            passed: message.passed,
            payload: message.payload,
        };
        let packet_id_at = form.put(&mut packet);
        let expires = message.expiry_s > 0;
        // The expiry stands first among the properties, behind their length and its own number.
        let properties = variable_bytes(own.len() + message.passed.len());
        let expiry_at = match expires && terms.version == Version::V5 {
            true => packet_id_at + 2 + properties + 1,
            false => 0,
        };
        let expiry_us = u64::from(message.expiry_s) * 1_000_000;
        let waiting = Waiting {
            packet_id_at: packet_id_at as u32,
            expiry_at: expiry_at as u32,
            expires_us: if expires { outlet.now.monotonic_us + expiry_us } else { u64::MAX },
            stage,
            source: how.source,
            packet: packet.into_boxed_slice(),
        };
        let bytes = waiting.packet.len();
        let full = self.asides.waiting_bytes + bytes > limits::MQTT_WAITING_BYTES_PER_WORKER
            && how.source == Source::Live;
        if !full && self.asides.open(connection, handle).window.wait(waiting) {
            self.asides.waiting_bytes += bytes;
        } else {
            outlet.metrics.mqtt_dropped.add(1);
        }
        self.asides.tidy(connection, handle);
    }

    /// Sends what waited, as far as the client takes it now.
    pub(super) fn send_waiting(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        outlet: &mut Outlet<'_>,
    ) {
        loop {
            let slow = outlet.waiting(connection) > outlet.marks.read;
            let Some(aside) = self.asides.get(connection, handle) else { return };
            if slow && aside.window.in_flight() > 0 {
                return;
            }
            let Some((packet_id, mut waiting)) = aside.window.next_waiting(terms.receive_max)
            else {
                return;
            };
            self.asides.waiting_bytes -= waiting.packet.len();
            let now_us = outlet.now.monotonic_us;
            let expired = waiting.expires_us <= now_us;
            if expired || waiting.packet.len() > terms.packet_bytes_max as usize {
                self.pass_over(connection, handle, packet_id, outlet);
                continue;
            }
            let at = waiting.packet_id_at as usize;
            encode::patch(&mut waiting.packet, at, packet_id);
            if waiting.expiry_at > 0 {
                let left_s = (waiting.expires_us - now_us).div_ceil(1_000_000) as u32;
                let at = waiting.expiry_at as usize;
                waiting.packet[at..at + 4].copy_from_slice(&left_s.to_be_bytes());
            }
            outlet.metrics.mqtt_delivered.add(1);
            outlet.say(connection, handle, |queue| queue.extend_from_slice(&waiting.packet));
        }
    }

    /// A retained message, asked for at a subscription.
    pub(super) fn on_retained(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        topic: &link::Topic<'_>,
        outlet: &mut Outlet<'_>,
    ) {
        let Some((options, identifier)) = self.questions.find_retained(topic.request, handle)
        else {
            return;
        };
        let Some(message) = Message::of(topic.topic, topic.qos, topic.expiry_s, topic.content)
        else {
            return;
        };
        let own = options.no_local()
            && connection.user == topic.user
            && connection.device == topic.device;
        if own {
            return;
        }
        let qos = message.qos.min(options.qos());
        let identifiers = [identifier];
        let identifiers =
            if identifier == 0 || terms.version == Version::V311 { &[][..] } else { &identifiers };
        let how = How { qos, retain: true, dup: false, source: Source::Live, identifiers };
        self.give(connection, handle, terms, &message, &how, false, outlet);
    }

    /// An entry of the session's queue.
    pub(super) fn on_queue_entry(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        entry: &link::QueueEntry<'_>,
        outlet: &mut Outlet<'_>,
    ) {
        let source = Source::Queue(entry.number);
        if was_given(connection, entry.number) {
            // Pushed again by a home that has lost its state: what is in flight still is, and of
            // what is done it shall hear once more.
            let aside = self.asides.get(connection, handle);
            if aside.is_none_or(|aside| !aside.window.has(source)) {
                self.confirm(connection, handle, source, outlet);
            }
            return;
        }
        terms::note_queued(connection, entry.number);
        let Some(message) = Message::of(entry.topic, entry.qos, entry.expiry_s, entry.content)
        else {
            return;
        };
        let mut identifiers = Vec::new();
        if terms.version == Version::V5 {
            identifiers.extend(
                entry.identifiers.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)),
            );
        }
        let how = How {
            qos: message.qos,
            retain: entry.retain,
            dup: entry.repeated,
            source,
            identifiers: &identifiers,
        };
        self.give(connection, handle, terms, &message, &how, false, outlet);
    }
}

/// Was this entry pushed on this connection before? As many as a client may have unanswered are far
/// fewer than half of 16 bits can tell apart.
fn was_given(connection: &Connection, number: u64) -> bool {
    terms::last_queued(connection)
        .is_some_and(|last| (last.wrapping_sub(number as u16) as i16) >= 0)
}

fn put_own(own: &mut Vec<u8>, expiry_s: u32, identifiers: &[u32]) {
    if expiry_s > 0 {
        property::put(own, property::MESSAGE_EXPIRY, Value::Long(expiry_s));
    }
    for identifier in identifiers {
        property::put(own, property::SUBSCRIPTION_IDENTIFIER, Value::Variable(*identifier));
    }
}

/// Bytes that a length takes on the wire.
const fn variable_bytes(length: usize) -> usize {
    match length {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}
