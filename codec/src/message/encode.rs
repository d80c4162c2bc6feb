//! Message to frame, appended to the caller's buffer.

mod table;

use std::fmt;

use flatbuffers::{FlatBufferBuilder, Vector, WIPOffset};

use super::{
    Acknowledge, Beat, Error, GoAway, Head, Hello, Message, Notify, NotifyAcknowledge, Page,
    Receipt, Request, Sync, Welcome,
};
use crate::frame::{self, kind};
use crate::generated;
use crate::link::Deliver;
use table::{Places, Table};

/// First size of the scratch: a body of chat text and its names fit; it grows to the longest
/// message ever encoded and stays there.
const SCRATCH_BYTES: usize = 1024;

/// Makes frames. Keeps scratch memory between them, so that a worker's one encoder does not
/// allocate once it has seen its longest message.
///
/// Every method appends one whole frame to `out`. `flags` are those of [`crate::frame`]: 0, but
/// [`frame::FLAG_PAGE`] for a notify of a page. Values are written as they are: what the receiver
/// would refuse (see [`super::decode`]) is the caller's fault.
pub struct Encoder {
    scratch: FlatBufferBuilder<'static>,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder with a little scratch memory.
    pub fn new() -> Self {
        Self { scratch: FlatBufferBuilder::with_capacity(SCRATCH_BYTES) }
    }

    /// Appends any message.
    pub fn message(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, message: &Message<'_>) {
        match message {
            Message::Hello(hello) => self.hello(out, channel, flags, hello),
            Message::Welcome(welcome) => self.welcome(out, channel, flags, welcome),
            Message::Request(request) => self.request(out, channel, flags, request),
            Message::Acknowledge(message) => self.acknowledge(out, channel, flags, message),
            Message::Notify(notify) => self.notify(out, channel, flags, notify),
            Message::NotifyAcknowledge(message) => {
                self.notify_acknowledge(out, channel, flags, message);
            }
            Message::Head(head) => self.head(out, channel, flags, head),
            Message::Sync(sync) => self.sync(out, channel, flags, sync),
            Message::Page(page) => self.page(out, channel, flags, page),
            Message::Receipt(receipt) => self.receipt(out, channel, flags, receipt),
            Message::Ping(beat) => self.ping(out, channel, flags, beat),
            Message::Pong(beat) => self.pong(out, channel, flags, beat),
            Message::GoAway(go_away) => self.go_away(out, channel, flags, go_away),
            Message::Error(error) => self.error(out, channel, flags, error),
        }
    }

    /// Appends a hello.
    pub fn hello(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, hello: &Hello<'_>) {
        let arguments = generated::HelloArgs {
            version_min: hello.version_min,
            version_max: hello.version_max,
            realm: hello.realm,
            user: self.text(hello.user),
            device: self.text(hello.device),
            token: self.text(hello.token),
            resume_token: self.bytes(hello.resume_token),
            incarnation: hello.incarnation,
            class: generated::Class(hello.class as u8),
            heartbeat_s: hello.heartbeat_s,
            cursor: hello.cursor,
            rewind: hello.rewind,
            compression: hello.compression,
            agent: self.text(hello.agent),
        };
        let root = generated::Hello::create(&mut self.scratch, &arguments);
        self.finish(out, kind::HELLO, flags, channel, root);
    }

    /// Appends a welcome.
    pub fn welcome(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, welcome: &Welcome<'_>) {
        let arguments = generated::WelcomeArgs {
            version: welcome.version,
            server_time_ms: welcome.server_time_ms,
            heartbeat_s: welcome.heartbeat_s,
            resume_token: self.bytes(welcome.resume_token),
            head: welcome.head,
            cursor: welcome.cursor,
            floor: welcome.floor,
            frame_bytes_max: welcome.frame_bytes_max,
            requests_max: welcome.requests_max,
            compression: welcome.compression,
        };
        let root = generated::Welcome::create(&mut self.scratch, &arguments);
        self.finish(out, kind::WELCOME, flags, channel, root);
    }

    /// Appends a request.
    pub fn request(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, request: &Request<'_>) {
        let arguments = generated::RequestArgs {
            client_seq: request.client_seq,
            after: request.after,
            uuid: Some(&generated::Uuid(request.uuid)),
            to: self.text(request.to),
            level: generated::Level(request.level as u8),
            content: request.content,
            receipts: request.receipts,
            first_attempt_ms: request.first_attempt_ms,
            body: self.bytes(request.body),
        };
        let root = generated::Request::create(&mut self.scratch, &arguments);
        self.finish(out, kind::REQUEST, flags, channel, root);
    }

    /// Appends an acknowledge.
    pub fn acknowledge(
        &mut self,
        out: &mut Vec<u8>,
        channel: u16,
        flags: u8,
        acknowledge: &Acknowledge,
    ) {
        let mut table = Table::before(Places::default());
        table.number(generated::Acknowledge::VT_TIME_MS, acknowledge.time_ms);
        table.number(generated::Acknowledge::VT_SEQUENCE, acknowledge.sequence);
        table.number(generated::Acknowledge::VT_CLIENT_SEQ, acknowledge.client_seq);
        table.finish(out, (kind::ACKNOWLEDGE, flags, channel), []);
    }

    /// Appends a notify.
    pub fn notify(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, notify: &Notify<'_>) {
        let deliver = Deliver {
            connection: 0,
            page: false,
            number: notify.number,
            sequence: notify.sequence,
            incarnation: notify.incarnation,
            client_seq: notify.client_seq,
            uuid: notify.uuid,
            time_ms: notify.time_ms,
            content: notify.content,
            receipts: notify.receipts,
            own: notify.own,
            peer_name: notify.conversation.as_bytes(),
            sender_name: notify.sender.as_bytes(),
            device_name: notify.device.as_bytes(),
            body: notify.body,
        };
        self.deliver(out, channel, flags, &deliver);
    }

    /// Appends a notify made of a link frame. Its names are not looked at again: they were texts
    /// when they entered.
    pub fn deliver(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, deliver: &Deliver<'_>) {
        let mut places = Places::default();
        let conversation = places.text(deliver.peer_name);
        let sender = places.text(deliver.sender_name);
        let device = places.text(deliver.device_name);
        let body = places.bytes(deliver.body);
        let mut table = Table::before(places);
        table.number(generated::Notify::VT_TIME_MS, deliver.time_ms);
        table.number(generated::Notify::VT_CLIENT_SEQ, deliver.client_seq);
        table.number(generated::Notify::VT_INCARNATION, deliver.incarnation);
        table.number(generated::Notify::VT_SEQUENCE, deliver.sequence);
        table.number(generated::Notify::VT_NUMBER, deliver.number);
        table.offset(generated::Notify::VT_BODY, &body);
        table.structure(generated::Notify::VT_UUID, deliver.uuid);
        table.offset(generated::Notify::VT_DEVICE, &device);
        table.offset(generated::Notify::VT_SENDER, &sender);
        table.offset(generated::Notify::VT_CONVERSATION, &conversation);
        table.byte(generated::Notify::VT_OWN, deliver.own.into());
        table.byte(generated::Notify::VT_RECEIPTS, deliver.receipts);
        table.byte(generated::Notify::VT_CONTENT, deliver.content);
        table.finish(out, (kind::NOTIFY, flags, channel), [conversation, sender, device, body]);
    }

    /// Appends a notify-acknowledge.
    pub fn notify_acknowledge(
        &mut self,
        out: &mut Vec<u8>,
        channel: u16,
        flags: u8,
        acknowledge: &NotifyAcknowledge,
    ) {
        let arguments = generated::NotifyAcknowledgeArgs { number: acknowledge.number };
        let root = generated::NotifyAcknowledge::create(&mut self.scratch, &arguments);
        self.finish(out, kind::NOTIFY_ACKNOWLEDGE, flags, channel, root);
    }

    /// Appends a head.
    pub fn head(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, head: &Head) {
        let arguments = generated::HeadArgs { head: head.head };
        let root = generated::Head::create(&mut self.scratch, &arguments);
        self.finish(out, kind::HEAD, flags, channel, root);
    }

    /// Appends a sync.
    pub fn sync(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, sync: &Sync) {
        let Sync { request, after, limit, backward, since_ms } = *sync;
        let arguments = generated::SyncArgs { request, after, limit, backward, since_ms };
        let root = generated::Sync::create(&mut self.scratch, &arguments);
        self.finish(out, kind::SYNC, flags, channel, root);
    }

    /// Appends the end of a page.
    pub fn page(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, page: &Page) {
        let Page { request, count, head, cursor, floor, more } = *page;
        let arguments = generated::PageArgs { request, count, head, cursor, floor, more };
        let root = generated::Page::create(&mut self.scratch, &arguments);
        self.finish(out, kind::PAGE, flags, channel, root);
    }

    /// Appends a receipt.
    pub fn receipt(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, receipt: &Receipt<'_>) {
        let arguments = generated::ReceiptArgs {
            conversation: self.text(receipt.conversation),
            what: receipt.what,
            sequence: receipt.sequence,
        };
        let root = generated::Receipt::create(&mut self.scratch, &arguments);
        self.finish(out, kind::RECEIPT, flags, channel, root);
    }

    /// Appends a ping.
    pub fn ping(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, beat: &Beat) {
        let root = self.beat(beat);
        self.finish(out, kind::PING, flags, channel, root);
    }

    /// Appends a pong.
    pub fn pong(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, beat: &Beat) {
        let root = self.beat(beat);
        self.finish(out, kind::PONG, flags, channel, root);
    }

    /// Appends a go-away.
    pub fn go_away(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, go_away: &GoAway<'_>) {
        let arguments = generated::GoAwayArgs {
            code: go_away.code,
            retry_after_ms: go_away.retry_after_ms,
            endpoint: self.text(go_away.endpoint),
        };
        let root = generated::GoAway::create(&mut self.scratch, &arguments);
        self.finish(out, kind::GO_AWAY, flags, channel, root);
    }

    /// Appends an error.
    pub fn error(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, error: &Error<'_>) {
        let arguments = generated::ErrorArgs {
            code: error.code,
            text: self.text(error.text),
            retry_after_ms: error.retry_after_ms,
            client_seq: error.client_seq,
            fatal: error.fatal,
        };
        let root = generated::Error::create(&mut self.scratch, &arguments);
        self.finish(out, kind::ERROR, flags, channel, root);
    }

    fn beat(&mut self, beat: &Beat) -> WIPOffset<generated::Beat<'static>> {
        generated::Beat::create(&mut self.scratch, &generated::BeatArgs { next_ms: beat.next_ms })
    }

    /// An empty text is not written: absent means the same.
    fn text(&mut self, text: &str) -> Option<WIPOffset<&'static str>> {
        (!text.is_empty()).then(|| self.scratch.create_string(text))
    }

    fn bytes(&mut self, bytes: &[u8]) -> Option<WIPOffset<Vector<'static, u8>>> {
        (!bytes.is_empty()).then(|| self.scratch.create_vector(bytes))
    }

    fn finish<T>(
        &mut self,
        out: &mut Vec<u8>,
        kind: u8,
        flags: u8,
        channel: u16,
        root: WIPOffset<T>,
    ) {
        self.scratch.finish_minimal(root);
        frame::put(out, kind, flags, channel, self.scratch.finished_data());
        self.scratch.reset();
    }
}
