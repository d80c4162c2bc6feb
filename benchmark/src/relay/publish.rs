//! Publish and subscribe as MQTT has it: a table from topic to connections, an exact match, a
//! counter of packet ids, and nothing else. Quality 1 is appended to the log first, if there is one.

use super::{Traffic, Wire};
use crate::mqtt::{self, kind};
use std::collections::HashMap;

/// See the module.
#[derive(Default)]
pub struct Topics {
    table: HashMap<Vec<u8>, Vec<Subscriber>>,
}

struct Subscriber {
    slot: u32,
    quality: u8,
    id: u16,
}

/// A message of quality 1 that waits for the log.
pub struct Message {
    sender: u32,
    id: u16,
    topic: Vec<u8>,
    payload: Vec<u8>,
}

impl Traffic for Topics {
    type Pending = Message;

    fn on_bytes(&mut self, wire: &mut Wire<Message>, slot: u32, bytes: &[u8]) -> usize {
        let mut used = 0;
        while let Some((packet, consumed)) = mqtt::cut(&bytes[used..]) {
            self.on_packet(wire, slot, &packet);
            used += consumed;
        }
        used
    }

    fn on_durable(&mut self, wire: &mut Wire<Message>, message: Message) {
        if let Some(out) = wire.out(message.sender) {
            mqtt::answer(out, kind::PUBACK, message.id);
        }
        self.spread(wire, &message.topic, 1, &message.payload);
        wire.recycle(message.topic);
        wire.recycle(message.payload);
    }

    fn on_closed(&mut self, slot: u32) {
        for subscribers in self.table.values_mut() {
            subscribers.retain(|subscriber| subscriber.slot != slot);
        }
    }
}

impl Topics {
    fn on_packet(&mut self, wire: &mut Wire<Message>, slot: u32, packet: &mqtt::Packet<'_>) {
        match packet.kind() {
            kind::CONNECT => {
                let Some(out) = wire.out(slot) else { return };
                mqtt::answer(out, kind::CONNACK, 0);
            }
            kind::SUBSCRIBE => {
                let length = packet.body.get(2..4).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
                let Some(filter) = packet.body.get(4..4 + usize::from(length)) else { return };
                let quality = packet.body.last().copied().unwrap_or(0);
                let subscribers = self.table.entry(filter.to_vec()).or_default();
                subscribers.push(Subscriber { slot, quality, id: 0 });
                let Some(out) = wire.out(slot) else { return };
                let [high, low] = packet.id().to_be_bytes();
                out.extend_from_slice(&[kind::SUBACK, 3, high, low, quality]);
            }
            kind::PUBLISH => {
                let Some(publish) = mqtt::open(packet) else { return };
                if packet.first & 0x06 == 0 {
                    return self.spread(wire, publish.topic, 0, publish.payload);
                }
                let (topic, payload) = (wire.copy(publish.topic), wire.copy(publish.payload));
                wire.log(packet.body, Message { sender: slot, id: publish.id, topic, payload });
            }
            kind::PINGREQ => {
                let Some(out) = wire.out(slot) else { return };
                out.extend_from_slice(&[kind::PINGRESP, 0]);
            }
            _ => {}
        }
    }

    fn spread(&mut self, wire: &mut Wire<Message>, topic: &[u8], quality: u8, payload: &[u8]) {
        let Some(subscribers) = self.table.get_mut(topic) else { return };
        for subscriber in subscribers {
            let Some(out) = wire.out(subscriber.slot) else { continue };
            let quality = quality.min(subscriber.quality);
            subscriber.id = subscriber.id.checked_add(1).unwrap_or(1);
            mqtt::publish(out, topic, quality, subscriber.id, payload);
        }
    }
}
