//! The bare relay of native direct chat.
//!
//! It keeps a table from user to connection and nothing else: no sequence, no mailbox, no dedup,
//! no cursor, no timer. With a log, each body is appended once through the gateway's own
//! [`LaneWriter`] and both answers wait until it is durable.

use hawser_codec::{
    frame::{self, FrameLimits, Step},
    message::{self, Acknowledge, Beat, Encoder, Message, Notify, Page, Welcome},
    time::Now,
};
use hawser_ring::{
    Completion, Event, File, FileMode, Listener, Operation, Ring, Socket, SocketOptions, Token,
    Wait,
    uring::{RingSettings, UringRing},
};
use hawser_router::store::{
    DataHeader, Disk, StdDisk,
    log::{LaneAction, LanePolicy, LaneSettings, LaneWriter, record, segment},
};
use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    path::PathBuf,
};

const SLOTS: u32 = 20_000;
const ACCEPTS: u32 = 16;
/// As the gateway: a turn that brought so many gathers in the next.
const BUSY: usize = 20;

struct Connection {
    socket: Socket,
    name: String,
    opened: bool,
    partial: Vec<u8>,
    out: Vec<u8>,
    sending: bool,
    number: u64,
}

/// A request whose answers wait for the log.
struct Pending {
    run: u64,
    sender: u32,
    channel: u16,
    client_seq: u64,
    recipient: Option<u32>,
    body: Vec<u8>,
}

struct Log {
    writer: LaneWriter,
    disk: StdDisk,
    directory: PathBuf,
    file: Option<(u32, File)>,
    in_flight: bool,
    records: Vec<u8>,
    run: u64,
    position: u64,
}

struct Relay {
    ring: UringRing,
    listener: Listener,
    accepts: u32,
    asked: u32,
    connections: Vec<Option<Connection>>,
    table: HashMap<String, u32>,
    pending: VecDeque<Pending>,
    spare: Vec<Vec<u8>>,
    dirty: Vec<u32>,
    log: Option<Log>,
    encoder: Encoder,
    now: Now,
}

/// Serves until `seconds` have passed.
///
/// # Errors
/// A ring, a port or a directory that cannot be had.
pub fn run(address: SocketAddr, durable: Option<PathBuf>, seconds: u64) -> Result<(), String> {
    let mut ring = UringRing::new(RingSettings {
        descriptors: SLOTS,
        completion_entries: 16_384,
        submission_entries: 1024,
        buffers: 512,
        buffer_bytes: 4096,
    })
    .map_err(|refusal| refusal.to_string())?;
    let options = SocketOptions {
        no_delay: true,
        send_buffer_bytes: None,
        not_sent_low_bytes: None,
        user_timeout_ms: 30_000,
        keepalive_s: 0,
    };
    let listener = ring.listen(address, 4096, options).map_err(|e| format!("{address}: {e}"))?;
    let log = durable.map(Log::open).transpose()?;
    let mut relay = Relay {
        ring,
        listener,
        accepts: 0,
        asked: 0,
        connections: (0..SLOTS).map(|_| None).collect(),
        table: HashMap::new(),
        pending: VecDeque::new(),
        spare: Vec::new(),
        dirty: Vec::new(),
        log,
        encoder: Encoder::new(),
        now: Now::default(),
    };
    relay.serve(seconds).map_err(|error| error.to_string())
}

impl Log {
    fn open(directory: PathBuf) -> Result<Self, String> {
        let disk = StdDisk::open(&directory, true).map_err(|error| error.to_string())?;
        let header = DataHeader::open_or_create(&disk, [7; 32]).map_err(|e| e.to_string())?;
        let settings = LaneSettings::new(LanePolicy::DirectDurable, header.salt());
        let writer = LaneWriter::open(0, None, 1, settings);
        let (file, records) = (None, Vec::new());
        Ok(Self { writer, disk, directory, file, in_flight: false, records, run: 0, position: 0 })
    }

    fn append(&mut self, body: &[u8]) -> u64 {
        self.position += 1;
        record::put(&mut self.records, 1, 0, self.position, |out| out.extend_from_slice(body));
        self.run + 1
    }

    /// Seals the turn's run and starts what the lane asks for.
    fn drive(&mut self, now: Now, ring: &mut UringRing) -> Result<(), String> {
        if !self.records.is_empty() {
            self.run += 1;
            self.writer
                .append(now, 0, self.run, &self.records, false)
                .map_err(|refused| format!("{refused:?}"))?;
            self.records.clear();
        }
        while !self.in_flight
            && let Some(action) = self.writer.poll(now, true)
        {
            match action {
                LaneAction::PrepareSegment { segment } => {
                    let name = segment::name(0, segment);
                    let made = self.disk.create_filled(&name, segment::SEGMENT_BYTES);
                    let made = made.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO));
                    self.writer.on_segment_ready(now, segment, made);
                }
                LaneAction::Write { segment, offset, bytes, range } => {
                    if self.file.is_none_or(|(open, _)| open != segment) {
                        let path = self.directory.join(segment::name(0, segment));
                        let file = ring.open(&path, FileMode::DirectDurable);
                        self.file = Some((segment, file.map_err(|error| error.to_string())?));
                    }
                    let Some((_, file)) = self.file else { continue };
                    self.in_flight = true;
                    ring.write(file, offset, bytes, range, Token::new(Operation::Write, 0, 0));
                }
                LaneAction::Sync { .. } => {}
            }
        }
        Ok(())
    }
}

impl Relay {
    fn serve(&mut self, seconds: u64) -> Result<(), String> {
        let mut completions: Vec<Completion> = Vec::new();
        let mut end_us = None;
        let mut batch = 0;
        loop {
            while self.accepts < ACCEPTS && self.ring.free_slots() > 64 {
                self.asked = self.asked.wrapping_add(1);
                self.ring.accept(self.listener, Token::new(Operation::Accept, 0, self.asked));
                self.accepts += 1;
            }
            let until_us = end_us;
            let wait = if batch >= BUSY {
                Wait { until_us, batch: 128, gather_us: 50 }
            } else {
                Wait { until_us, batch: 1, gather_us: 0 }
            };
            let turn = self.ring.turn(wait, &mut completions).map_err(|e| e.to_string())?;
            self.now = turn.now;
            let end = *end_us.get_or_insert(turn.now.monotonic_us + seconds * 1_000_000);
            if turn.now.monotonic_us >= end {
                return Ok(());
            }
            batch = completions.len();
            for completion in completions.drain(..) {
                self.on_completion(completion);
            }
            if let Some(log) = &mut self.log {
                log.drive(self.now, &mut self.ring)?;
            }
            self.answer_durable();
            self.flush();
        }
    }

    fn on_completion(&mut self, completion: Completion) {
        let slot = completion.token.slot;
        match completion.event {
            Event::Accepted(result) => {
                self.accepts -= 1;
                let Ok((socket, _)) = result else { return };
                self.connections[socket.0 as usize] = Some(Connection {
                    socket,
                    name: String::new(),
                    opened: false,
                    partial: Vec::new(),
                    out: Vec::new(),
                    sending: false,
                    number: 0,
                });
                self.ring.receive(socket, Token::new(Operation::Receive, socket.0, 0));
            }
            Event::Received(Ok(Some(lease))) => {
                let bytes = self.ring.bytes(&lease).to_vec();
                self.ring.give_back(lease);
                self.on_bytes(slot, &bytes);
                if !completion.more {
                    self.rearm(slot);
                }
            }
            Event::Received(Err(hawser_ring::Errno(libc::ENOBUFS))) => self.rearm(slot),
            Event::Received(_) => self.close(slot),
            Event::Sent(_, mut bytes) => {
                bytes.clear();
                self.spare.push(bytes);
                let Some(connection) = &mut self.connections[slot as usize] else { return };
                connection.sending = false;
                if !connection.out.is_empty() {
                    self.dirty.push(slot);
                }
            }
            Event::Written(result, bytes) => {
                let Some(log) = &mut self.log else { return };
                log.in_flight = false;
                log.writer.on_written(self.now, result.map_err(|errno| errno.0), bytes);
            }
            _ => {}
        }
    }

    fn rearm(&mut self, slot: u32) {
        let Some(connection) = &self.connections[slot as usize] else { return };
        self.ring.receive(connection.socket, Token::new(Operation::Receive, slot, 0));
    }

    fn close(&mut self, slot: u32) {
        let Some(connection) = self.connections[slot as usize].take() else { return };
        self.table.remove(&connection.name);
        if !connection.sending {
            let token = Token::new(Operation::Close, slot, 0);
            self.ring.close(connection.socket, true, token);
        }
    }

    fn on_bytes(&mut self, slot: u32, bytes: &[u8]) {
        let Some(connection) = &mut self.connections[slot as usize] else { return };
        let mut held = std::mem::take(&mut connection.partial);
        let whole: &[u8] = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            &held
        };
        let mut at = 0;
        if !connection.opened {
            if whole.len() < frame::PREFACE.len() {
                connection.partial = whole.to_vec();
                return;
            }
            at = frame::PREFACE.len();
            connection.opened = true;
        }
        let limits = FrameLimits { body_bytes_max: 1 << 20 };
        while let Ok(Step::Frame { frame, consumed }) = frame::step(&limits, &whole[at..]) {
            let channel = frame.channel;
            if let Ok(message) = message::decode(frame) {
                self.on_message(slot, channel, message);
            }
            at += consumed;
        }
        if at < whole.len()
            && let Some(connection) = &mut self.connections[slot as usize]
        {
            connection.partial = whole[at..].to_vec();
        }
    }

    fn on_message(&mut self, slot: u32, channel: u16, message: Message<'_>) {
        let Some(connection) = &mut self.connections[slot as usize] else { return };
        match message {
            Message::Hello(hello) => {
                connection.name = hello.user.to_owned();
                self.table.insert(hello.user.to_owned(), slot);
                let welcome = Welcome {
                    version: 1,
                    server_time_ms: self.now.wall_ms,
                    heartbeat_s: 30,
                    resume_token: b"none",
                    head: 0,
                    cursor: 0,
                    floor: 0,
                    frame_bytes_max: 65_536,
                    requests_max: 64,
                    compression: 0,
                };
                self.encoder.welcome(&mut connection.out, 0, 0, &welcome);
                self.dirty.push(slot);
            }
            Message::Request(request) => {
                let recipient = self.table.get(request.to).copied();
                let run = self.log.as_mut().map_or(0, |log| log.append(request.body));
                let mut body = self.spare.pop().unwrap_or_default();
                body.extend_from_slice(request.body);
                let client_seq = request.client_seq;
                self.pending.push_back(Pending {
                    run,
                    sender: slot,
                    channel,
                    client_seq,
                    recipient,
                    body,
                });
            }
            Message::Sync(sync) => {
                let page = Page {
                    request: sync.request,
                    count: 0,
                    head: connection.number,
                    cursor: connection.number,
                    floor: 0,
                    more: false,
                };
                self.encoder.page(&mut connection.out, channel, 0, &page);
                self.dirty.push(slot);
            }
            Message::Ping(_) => {
                self.encoder.pong(&mut connection.out, channel, 0, &Beat { next_ms: 30_000 });
                self.dirty.push(slot);
            }
            _ => {}
        }
    }

    /// Answers what is durable: acknowledge to the sender, notify to the recipient.
    fn answer_durable(&mut self) {
        let mut durable = u64::MAX;
        if let Some(log) = &mut self.log {
            durable = 0;
            while let Some(done) = log.writer.pop_durable() {
                durable = done.run;
            }
        }
        while self.pending.front().is_some_and(|pending| pending.run <= durable) {
            let Some(pending) = self.pending.pop_front() else { return };
            self.answer(pending);
        }
    }

    fn answer(&mut self, pending: Pending) {
        let (client_seq, time_ms) = (pending.client_seq, self.now.wall_ms);
        // One sender per recipient in the yardstick's traffic, so one counter serves as both.
        let mut sequence = 0;
        if let Some(slot) = pending.recipient
            && let Some(recipient) = &mut self.connections[slot as usize]
        {
            recipient.number += 1;
            sequence = recipient.number;
        }
        let mut sender_name = String::new();
        if let Some(sender) = &mut self.connections[pending.sender as usize] {
            sender_name.clone_from(&sender.name);
            let acknowledge = Acknowledge { client_seq, sequence, time_ms };
            self.encoder.acknowledge(&mut sender.out, pending.channel, 0, &acknowledge);
            self.dirty.push(pending.sender);
        }
        if let Some(slot) = pending.recipient
            && let Some(recipient) = &mut self.connections[slot as usize]
        {
            let notify = Notify {
                number: sequence,
                conversation: &sender_name,
                sequence,
                sender: &sender_name,
                device: "bench",
                incarnation: 1,
                client_seq,
                uuid: [0; 16],
                time_ms,
                content: 0,
                receipts: 0,
                own: false,
                body: &pending.body,
            };
            self.encoder.notify(&mut recipient.out, 0, 0, &notify);
            self.dirty.push(slot);
        }
        let mut body = pending.body;
        body.clear();
        self.spare.push(body);
    }

    fn flush(&mut self) {
        for slot in std::mem::take(&mut self.dirty) {
            let Some(connection) = &mut self.connections[slot as usize] else { continue };
            if connection.sending || connection.out.is_empty() {
                continue;
            }
            let bytes =
                std::mem::replace(&mut connection.out, self.spare.pop().unwrap_or_default());
            connection.sending = true;
            self.ring.send(connection.socket, bytes, Token::new(Operation::Send, slot, 0));
        }
    }
}
