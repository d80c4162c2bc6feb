//! Message to frame, appended to the caller's buffer.

use std::fmt;

use flatbuffers::{FlatBufferBuilder, Vector, WIPOffset};

use super::{
    Acknowledge, Beat, Error, GoAway, Head, Hello, Message, Notify, NotifyAcknowledge, Page,
    Receipt, Request, Sync, Welcome,
};
use crate::frame::{self, kind};
use crate::generated as table;

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
        let arguments = table::HelloArgs {
            version_min: hello.version_min,
            version_max: hello.version_max,
            realm: hello.realm,
            user: self.text(hello.user),
            device: self.text(hello.device),
            token: self.text(hello.token),
            resume_token: self.bytes(hello.resume_token),
            incarnation: hello.incarnation,
            class: table::Class(hello.class as u8),
            heartbeat_s: hello.heartbeat_s,
            cursor: hello.cursor,
            rewind: hello.rewind,
            compression: hello.compression,
            agent: self.text(hello.agent),
        };
        let root = table::Hello::create(&mut self.scratch, &arguments);
        self.finish(out, kind::HELLO, flags, channel, root);
    }

    /// Appends a welcome.
    pub fn welcome(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, welcome: &Welcome<'_>) {
        let arguments = table::WelcomeArgs {
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
        let root = table::Welcome::create(&mut self.scratch, &arguments);
        self.finish(out, kind::WELCOME, flags, channel, root);
    }

    /// Appends a request.
    pub fn request(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, request: &Request<'_>) {
        let arguments = table::RequestArgs {
            client_seq: request.client_seq,
            after: request.after,
            uuid: Some(&table::Uuid(request.uuid)),
            to: self.text(request.to),
            level: table::Level(request.level as u8),
            content: request.content,
            receipts: request.receipts,
            first_attempt_ms: request.first_attempt_ms,
            body: self.bytes(request.body),
        };
        let root = table::Request::create(&mut self.scratch, &arguments);
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
        let Acknowledge { client_seq, sequence, time_ms } = *acknowledge;
        let arguments = table::AcknowledgeArgs { client_seq, sequence, time_ms };
        let root = table::Acknowledge::create(&mut self.scratch, &arguments);
        self.finish(out, kind::ACKNOWLEDGE, flags, channel, root);
    }

    /// Appends a notify.
    pub fn notify(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, notify: &Notify<'_>) {
        let arguments = table::NotifyArgs {
            number: notify.number,
            conversation: self.text(notify.conversation),
            sequence: notify.sequence,
            sender: self.text(notify.sender),
            device: self.text(notify.device),
            incarnation: notify.incarnation,
            client_seq: notify.client_seq,
            uuid: Some(&table::Uuid(notify.uuid)),
            time_ms: notify.time_ms,
            content: notify.content,
            receipts: notify.receipts,
            own: notify.own,
            body: self.bytes(notify.body),
        };
        let root = table::Notify::create(&mut self.scratch, &arguments);
        self.finish(out, kind::NOTIFY, flags, channel, root);
    }

    /// Appends a notify-acknowledge.
    pub fn notify_acknowledge(
        &mut self,
        out: &mut Vec<u8>,
        channel: u16,
        flags: u8,
        acknowledge: &NotifyAcknowledge,
    ) {
        let arguments = table::NotifyAcknowledgeArgs { number: acknowledge.number };
        let root = table::NotifyAcknowledge::create(&mut self.scratch, &arguments);
        self.finish(out, kind::NOTIFY_ACKNOWLEDGE, flags, channel, root);
    }

    /// Appends a head.
    pub fn head(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, head: &Head) {
        let arguments = table::HeadArgs { head: head.head };
        let root = table::Head::create(&mut self.scratch, &arguments);
        self.finish(out, kind::HEAD, flags, channel, root);
    }

    /// Appends a sync.
    pub fn sync(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, sync: &Sync) {
        let Sync { request, after, limit, backward, since_ms } = *sync;
        let arguments = table::SyncArgs { request, after, limit, backward, since_ms };
        let root = table::Sync::create(&mut self.scratch, &arguments);
        self.finish(out, kind::SYNC, flags, channel, root);
    }

    /// Appends the end of a page.
    pub fn page(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, page: &Page) {
        let Page { request, count, head, cursor, floor, more } = *page;
        let arguments = table::PageArgs { request, count, head, cursor, floor, more };
        let root = table::Page::create(&mut self.scratch, &arguments);
        self.finish(out, kind::PAGE, flags, channel, root);
    }

    /// Appends a receipt.
    pub fn receipt(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, receipt: &Receipt<'_>) {
        let arguments = table::ReceiptArgs {
            conversation: self.text(receipt.conversation),
            what: receipt.what,
            sequence: receipt.sequence,
        };
        let root = table::Receipt::create(&mut self.scratch, &arguments);
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
        let arguments = table::GoAwayArgs {
            code: go_away.code,
            retry_after_ms: go_away.retry_after_ms,
            endpoint: self.text(go_away.endpoint),
        };
        let root = table::GoAway::create(&mut self.scratch, &arguments);
        self.finish(out, kind::GO_AWAY, flags, channel, root);
    }

    /// Appends an error.
    pub fn error(&mut self, out: &mut Vec<u8>, channel: u16, flags: u8, error: &Error<'_>) {
        let arguments = table::ErrorArgs {
            code: error.code,
            text: self.text(error.text),
            retry_after_ms: error.retry_after_ms,
            client_seq: error.client_seq,
            fatal: error.fatal,
        };
        let root = table::Error::create(&mut self.scratch, &arguments);
        self.finish(out, kind::ERROR, flags, channel, root);
    }

    fn beat(&mut self, beat: &Beat) -> WIPOffset<table::Beat<'static>> {
        table::Beat::create(&mut self.scratch, &table::BeatArgs { next_ms: beat.next_ms })
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
