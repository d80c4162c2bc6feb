//! Publishers and subscribers: pairs with a topic each, or one publisher and many subscribers.

use super::{Dialogue, Ground};
use crate::mqtt::{self, kind};

/// Who publishes what to whom.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Publishers; each has a topic of its own.
    pub publishers: u32,
    /// Subscribers of each topic.
    pub subscribers: u32,
    /// Messages each publisher keeps under way.
    pub in_flight: u32,
    /// Quality of service of publishes and subscriptions, 0 or 1.
    pub quality: u8,
    /// Bytes of a payload, at least 16.
    pub bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Subscribing,
    Ready,
}

#[derive(Clone, Default)]
struct Publisher {
    /// Messages begun.
    begun: u64,
    /// Messages acknowledged (at quality 0: begun).
    acknowledged: u64,
    /// Deliveries, over all subscribers.
    delivered: u64,
}

/// See the module.
pub struct Publish {
    shape: Shape,
    stages: Vec<Stage>,
    publishers: Vec<Publisher>,
    /// Number of the last message each subscriber has seen.
    seen: Vec<u64>,
    payload: Vec<u8>,
    began: bool,
}

impl Publish {
    /// A dialogue of this shape.
    pub fn new(shape: Shape) -> Self {
        let publishers = shape.publishers as usize;
        let subscribers = publishers * shape.subscribers as usize;
        Self {
            shape,
            stages: vec![Stage::Connecting; publishers + subscribers],
            publishers: vec![Publisher::default(); publishers],
            seen: vec![0; subscribers],
            payload: vec![b'x'; shape.bytes.max(16)],
            began: false,
        }
    }

    /// Topic of a publisher, or of the publisher whose subscriber this is.
    fn publisher_of(&self, slot: u32) -> u32 {
        match slot.checked_sub(self.shape.publishers) {
            Some(subscriber) => subscriber / self.shape.subscribers,
            None => slot,
        }
    }

    /// Begins as many messages as the publisher may have under way.
    fn go_on(&mut self, ground: &mut Ground, slot: u32) {
        let quality = self.shape.quality;
        let publisher = &mut self.publishers[slot as usize];
        let whole = publisher.delivered / u64::from(self.shape.subscribers);
        let done = whole.min(publisher.acknowledged);
        while publisher.begun - done < u64::from(self.shape.in_flight) {
            publisher.begun += 1;
            if quality == 0 {
                publisher.acknowledged = publisher.begun;
            }
            self.payload[..8].copy_from_slice(&publisher.begun.to_le_bytes());
            self.payload[8..16].copy_from_slice(&ground.now_us.to_le_bytes());
            let id = (publisher.begun % 65_535 + 1) as u16;
            let topic = topic(slot);
            mqtt::publish(ground.out(slot), topic.as_bytes(), quality, id, &self.payload);
        }
    }

    fn on_publish(
        &mut self,
        ground: &mut Ground,
        slot: u32,
        packet: &mqtt::Packet<'_>,
    ) -> Result<(), String> {
        let publish = mqtt::open(packet).ok_or("a publish that ends early")?;
        let (number, rest) = publish.payload.split_first_chunk().ok_or("a short payload")?;
        let sent_us = rest.first_chunk().ok_or("a short payload")?;
        let (number, sent_us) = (u64::from_le_bytes(*number), u64::from_le_bytes(*sent_us));
        let seen = &mut self.seen[(slot - self.shape.publishers) as usize];
        ground.disordered += u64::from(number != *seen + 1);
        *seen = number;
        ground.deliver(sent_us);
        if publish.id != 0 {
            mqtt::answer(ground.out(slot), kind::PUBACK, publish.id);
        }
        let publisher = self.publisher_of(slot);
        self.publishers[publisher as usize].delivered += 1;
        self.go_on(ground, publisher);
        Ok(())
    }
}

fn topic(publisher: u32) -> String {
    format!("bench/{publisher}/t")
}

impl Dialogue for Publish {
    fn connections(&self) -> u32 {
        self.stages.len() as u32
    }

    fn on_connected(&mut self, ground: &mut Ground, slot: u32) {
        mqtt::connect(ground.out(slot), &format!("bench-{slot}"));
    }

    fn on_bytes(&mut self, ground: &mut Ground, slot: u32, bytes: &[u8]) -> Result<usize, String> {
        let mut used = 0;
        while let Some((packet, consumed)) = mqtt::cut(&bytes[used..]) {
            used += consumed;
            let stage = self.stages[slot as usize];
            match (packet.kind(), stage) {
                (kind::CONNACK, Stage::Connecting) => {
                    if packet.body.get(1) != Some(&0) {
                        return Err(format!("login refused: {:?}", packet.body));
                    }
                    if slot < self.shape.publishers {
                        self.stages[slot as usize] = Stage::Ready;
                        ground.ready += 1;
                    } else {
                        self.stages[slot as usize] = Stage::Subscribing;
                        let topic = topic(self.publisher_of(slot));
                        mqtt::subscribe(ground.out(slot), 1, &topic, self.shape.quality);
                    }
                }
                (kind::SUBACK, Stage::Subscribing) => {
                    if packet.body.get(2) != Some(&self.shape.quality) {
                        return Err(format!("subscription refused: {:?}", packet.body));
                    }
                    self.stages[slot as usize] = Stage::Ready;
                    ground.ready += 1;
                }
                (kind::PUBACK, Stage::Ready) if slot < self.shape.publishers => {
                    self.publishers[slot as usize].acknowledged += 1;
                    self.go_on(ground, slot);
                }
                (kind::PUBLISH, Stage::Ready) if self.began => {
                    self.on_publish(ground, slot, &packet)?;
                }
                (kind, _) => return Err(format!("packet {kind:#x} is not expected")),
            }
        }
        Ok(used)
    }

    fn begin(&mut self, ground: &mut Ground) {
        self.began = true;
        for publisher in 0..self.shape.publishers {
            self.go_on(ground, publisher);
        }
    }
}
