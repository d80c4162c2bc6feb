//! What workers ask of topics, and what they hear.

use super::clients::content;
use super::{Client, Heard, Told, WORKERS, World};
use hawser_codec::link;

/// A publish by its differences from the ordinary one: quality 1, packet id 1.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: u8,
    pub request: u16,
    pub retain: bool,
    pub expiry_s: u32,
}

impl<'a> Message<'a> {
    pub fn new(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
        Message { topic, payload, qos: 1, request: 1, retain: false, expiry_s: 0 }
    }
}

impl World {
    /// A worker wants a filter, or no longer, at every host.
    pub fn route(&mut self, worker: u16, filter: &str, add: bool, request: u32) {
        let filter = filter.as_bytes();
        let mut batch = Vec::new();
        link::Route { add, request, realm: 0, filter }.put(&mut batch);
        for host in &mut self.hosts {
            host.on_uplink(self.now, worker, &batch).unwrap();
        }
    }

    pub fn publish(&mut self, client: &Client, message: Message<'_>) {
        let topic_key = self.keys.topic(0, message.topic.as_bytes());
        let content = content(message.payload);
        let publish = link::Publish {
            connection: client.connection,
            user: client.user,
            device: client.device,
            topic_key,
            realm: 0,
            request: message.request,
            qos: message.qos,
            retain: message.retain,
            expiry_s: message.expiry_s,
            topic: message.topic.as_bytes(),
            content: &content,
        };
        self.uplink(&topic_key, client.worker, |batch| publish.put(batch));
    }

    /// `topic` empty: the worker does not know it.
    pub fn release(&mut self, client: &Client, topic: &str, request: u16) {
        let Client { connection, user, device, .. } = *client;
        let topic_key = match topic {
            "" => [0; 16],
            topic => self.keys.topic(0, topic.as_bytes()),
        };
        let release = link::Release { connection, user, device, topic_key, request };
        if topic.is_empty() {
            let mut batch = Vec::new();
            release.put(&mut batch);
            for host in &mut self.hosts {
                host.on_uplink(self.now, client.worker, &batch).unwrap();
            }
        } else {
            self.uplink(&topic_key, client.worker, |batch| release.put(batch));
        }
    }

    /// Asks every host for retained messages.
    pub fn ask_retained(&mut self, client: &Client, request: u32, filter: &str) {
        let (connection, filter) = (client.connection, filter.as_bytes());
        let mut batch = Vec::new();
        link::Retained { connection, request, realm: 0, filter }.put(&mut batch);
        for host in &mut self.hosts {
            host.on_uplink(self.now, client.worker, &batch).unwrap();
        }
    }

    /// Retained messages of a filter, in order of their topics.
    pub fn retained(&mut self, client: &Client, filter: &str) -> Vec<(String, Vec<u8>)> {
        self.ask_retained(client, 9, filter);
        self.settle();
        let heard = self.hear(client);
        let ends = heard.iter().filter(|heard| matches!(heard, Heard::RetainedEnd { .. })).count();
        assert_eq!(ends, self.hosts.len(), "every host says that it is done");
        let told = heard.into_iter().filter_map(|heard| match heard {
            Heard::Topic(told) => {
                assert!(told.retain && told.request == 9 && told.share.is_empty());
                Some((told.topic, told.payload))
            }
            _ => None,
        });
        let mut told: Vec<_> = told.collect();
        told.sort();
        told
    }

    /// Messages that workers heard for all who match, with the worker.
    pub fn told(&mut self) -> Vec<(u16, Told)> {
        let is_topic =
            |(_, heard): &(u16, Heard)| matches!(heard, Heard::Topic(Told { connection: 0, .. }));
        let (told, rest) = std::mem::take(&mut self.heard).into_iter().partition(is_topic);
        self.heard = rest;
        let told: Vec<(u16, Heard)> = told;
        told.into_iter()
            .filter_map(|(worker, heard)| match heard {
                Heard::Topic(told) => Some((worker, told)),
                _ => None,
            })
            .collect()
    }

    /// Codes of the answers to publishes of a client.
    pub fn published(&mut self, client: &Client) -> Vec<(u16, u16)> {
        let heard = self.hear(client);
        heard
            .into_iter()
            .filter_map(|heard| match heard {
                Heard::Published { request, code, .. } => Some((request, code)),
                _ => None,
            })
            .collect()
    }

    /// Workers there are.
    pub fn workers(&self) -> std::ops::Range<u16> {
        0..WORKERS
    }
}
