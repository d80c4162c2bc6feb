//! Instant messages through topics: the user's mailbox as `$hawser/inbox`, direct chats as
//! `$hawser/u/<user>`.
//!
//! A client that subscribes to its mailbox is logged in as a device of its user, with the same
//! cursor as through any other door. Entries come in order: those pushed are taken only if they
//! follow on what was given; otherwise, and at the beginning, pages are read. What the client has
//! answered moves the cursor as far as it is without a hole.

use super::{
    deliver::{How, Message},
    subscribe::INBOX,
    window::Source,
    *,
};
use hawser_codec::mqtt::{
    packet::{Options, Publish},
    property::{self, Value},
};
use std::collections::VecDeque;

/// Stands for a topic's key where a chat is meant, which has none. No hash is all ones.
pub(super) const CHAT_KEY: Key = [0xFF; 16];

/// Chats of one client not yet accepted.
const CHATS_MAX: usize = 64;

/// Reading of one mailbox.
#[derive(Debug)]
pub(super) struct Inbox {
    options: Options,
    /// The home has agreed.
    is_open: bool,
    /// A page is under way.
    is_reading: bool,
    /// Highest number given to the client.
    given: u64,
    /// Highest number heard of.
    head: u64,
    /// Given and not confirmed, in order, and whether the client has answered.
    unconfirmed: VecDeque<(u64, bool)>,
}

/// Sending of direct chats.
#[derive(Debug)]
pub(super) struct Sender {
    incarnation: u64,
    last: u64,
    /// Not yet accepted.
    waiting: Vec<Chat>,
}

#[derive(Clone, Copy, Debug)]
struct Chat {
    client_seq: u64,
    conversation: Key,
    packet_id: u16,
    qos: Qos,
}

impl MqttSessions {
    /// A direct chat message. Gives the reason if it is refused.
    pub(super) fn chat(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        publish: &Publish<'_>,
        peer: &str,
        outlet: &mut Outlet<'_>,
    ) -> Option<u8> {
        let settings = Arc::clone(&self.settings);
        let keys = settings.keys.space()?;
        let body_max = settings.frames.body_bytes_max as usize;
        if peer.len() > limits::NAME_BYTES_MAX || peer.contains('/') {
            return Some(reason::TOPIC_NAME_INVALID);
        }
        if publish.payload.len() > body_max || publish.retain {
            return Some(reason::IMPLEMENTATION_SPECIFIC);
        }
        let (peer_key, _) = keys.user(connection.realm, peer.as_bytes());
        let conversation = keys.direct(&connection.user, &peer_key);
        if outlet.marks.crowded
            || !outlet.uplinks.has_room()
            || outlet.uplinks.refuse_request(&conversation).is_some()
        {
            return Some(reason::QUOTA_EXCEEDED);
        }
        let (drawn, uuid) = (self.draws.next(), self.draws.next());
        let aside = self.asides.open(connection, handle);
        let sender = aside.sender.get_or_insert_with(|| {
            let [a, b, c, d, e, f, g, h, ..] = drawn;
            let incarnation = u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(1);
            Box::new(Sender { incarnation, last: 0, waiting: Vec::new() })
        });
        if sender.waiting.len() >= CHATS_MAX {
            return Some(reason::QUOTA_EXCEEDED);
        }
        sender.last += 1;
        let before = sender.waiting.iter().rev().find(|chat| chat.conversation == conversation);
        let after = before.map_or(0, |chat| chat.client_seq);
        let (client_seq, incarnation) = (sender.last, sender.incarnation);
        let (packet_id, qos) = (publish.packet_id, publish.qos);
        sender.waiting.push(Chat { client_seq, conversation, packet_id, qos });
        if qos == Qos::ExactlyOnce {
            let stage = aside::IncomingStage::Publishing;
            aside.incoming.retain(|one| one.packet_id != packet_id);
            aside.incoming.push(aside::Incoming { packet_id, topic_key: CHAT_KEY, stage });
        }
        if qos != Qos::AtMostOnce {
            connection.requests += 1;
        }
        link::Send {
            connection: handle.to_u64(),
            user: connection.user,
            device: connection.device,
            peer: peer_key,
            conversation,
            channel: 0,
            incarnation,
            client_seq,
            after,
            uuid,
            first_attempt_ms: 0,
            level: 1,
            content: 0,
            receipts: 0,
            sender_name: self.names.user(connection),
            device_name: self.names.device(connection),
            peer_name: peer.as_bytes(),
            body: publish.payload,
        }
        .put(outlet.uplinks.to(&conversation));
        None
    }

    /// The conversation's shard has answered a chat: it is durable, or refused.
    pub(super) fn on_sent(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        client_seq: u64,
        code: u16,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Farewell> {
        let Some(aside) = self.asides.get(connection, handle) else { return Ok(()) };
        let Some(sender) = &mut aside.sender else { return Ok(()) };
        let Some(at) = sender.waiting.iter().position(|chat| chat.client_seq == client_seq) else {
            return Ok(());
        };
        let chat = sender.waiting.remove(at);
        if chat.qos == Qos::AtMostOnce {
            return Ok(());
        }
        connection.requests = connection.requests.saturating_sub(1);
        let found = if code == 0 { reason::SUCCESS } else { publish::refusal_of(code) };
        let kind = self.settle(connection, handle, chat.packet_id, found);
        if code == 0 {
            self.answer(connection, handle, kind, chat.packet_id, found, outlet);
            return Ok(());
        }
        self.refuse(connection, handle, terms, kind, chat.packet_id, found, outlet)
    }

    /// The client wants its mailbox.
    pub(super) fn open_inbox(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        options: Options,
        outlet: &mut Outlet<'_>,
    ) {
        let aside = self.asides.open(connection, handle);
        if let Some(inbox) = &mut aside.inbox {
            inbox.options = options;
            return;
        }
        aside.inbox = Some(Box::new(Inbox {
            options,
            is_open: false,
            is_reading: false,
            given: 0,
            head: 0,
            unconfirmed: VecDeque::new(),
        }));
        self.log_in(connection, handle, false, outlet);
    }

    fn log_in(
        &mut self,
        connection: &Connection,
        handle: Handle,
        announce: bool,
        outlet: &mut Outlet<'_>,
    ) {
        let settings = Arc::clone(&self.settings);
        let Some(keys) = settings.keys.space() else { return };
        let user_name = self.names.user(connection);
        let (_, check) = keys.user(connection.realm, user_name);
        link::Login {
            connection: handle.to_u64(),
            user: connection.user,
            device: connection.device,
            check,
            realm: connection.realm,
            epoch: 0,
            // Another connection of this client ends by its attach, not by this.
            incarnation: handle.to_u64() | 1 << 63,
            cursor_plus_one: 0,
            rewind: false,
            announce,
            user_name,
            device_name: self.names.device(connection),
        }
        .put(outlet.uplinks.to(&connection.user));
    }

    /// The home has lost its directory.
    pub(super) fn log_in_again(
        &mut self,
        connection: &Connection,
        handle: Handle,
        outlet: &mut Outlet<'_>,
    ) {
        let Some(aside) = self.asides.get(connection, handle) else { return };
        let Some(inbox) = &mut aside.inbox else { return };
        inbox.is_reading = false;
        self.log_in(connection, handle, true, outlet);
    }

    /// The client does not want its mailbox any more.
    pub(super) fn close_inbox(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        outlet: &mut Outlet<'_>,
    ) {
        let Some(aside) = self.asides.get(connection, handle) else { return };
        if aside.inbox.take().is_some() {
            link::Logout {
                connection: handle.to_u64(),
                user: connection.user,
                device: connection.device,
            }
            .put(outlet.uplinks.to(&connection.user));
        }
        self.asides.tidy(connection, handle);
    }

    fn inbox(&mut self, connection: &Connection, handle: Handle) -> Option<&mut Inbox> {
        self.asides.get(connection, handle)?.inbox.as_deref_mut()
    }

    pub(super) fn on_logged_in(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        logged_in: &link::LoggedIn,
        outlet: &mut Outlet<'_>,
    ) {
        let Some(inbox) = self.inbox(connection, handle) else { return };
        inbox.head = inbox.head.max(logged_in.head);
        if !inbox.is_open {
            inbox.is_open = true;
            inbox.given = logged_in.cursor.max(logged_in.floor);
        }
        self.read_on(connection, handle, outlet);
    }

    /// Asks for the next page if there is more and the client takes it.
    fn read_on(&mut self, connection: &Connection, handle: Handle, outlet: &mut Outlet<'_>) {
        let Some(terms) = Terms::of(connection) else { return };
        let Some(aside) = self.asides.get(connection, handle) else { return };
        let room = usize::from(terms.receive_max).saturating_sub(aside.window.in_flight());
        let room = if aside.window.has_waiting() { 0 } else { room };
        let Some(inbox) = aside.inbox.as_deref_mut() else { return };
        let slow = outlet.waiting(connection) > outlet.marks.push;
        let behind = inbox.is_open && !inbox.is_reading && inbox.given < inbox.head;
        if !behind || room == 0 || slow && !inbox.unconfirmed.is_empty() {
            return;
        }
        if outlet.uplinks.refuse_page(&connection.user).is_some() {
            return;
        }
        inbox.is_reading = true;
        link::Read {
            connection: handle.to_u64(),
            user: connection.user,
            device: connection.device,
            channel: 0,
            request: 0,
            after: inbox.given,
            limit: limits::MQTT_INBOX_PAGE.min(room as u16).max(1),
            backward: false,
            since_ms: 0,
            preview: true,
        }
        .put(outlet.uplinks.to(&connection.user));
    }

    pub(super) fn on_head(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        head: u64,
        outlet: &mut Outlet<'_>,
    ) {
        if let Some(inbox) = self.inbox(connection, handle) {
            inbox.head = inbox.head.max(head);
        }
        self.read_on(connection, handle, outlet);
    }

    pub(super) fn on_page_end(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        end: &link::PageEnd,
        outlet: &mut Outlet<'_>,
    ) {
        let Some(inbox) = self.inbox(connection, handle) else { return };
        inbox.is_reading = false;
        if end.code != 0 {
            // Asked for again with the next entry, or the next answer of the client.
            return;
        }
        inbox.head = inbox.head.max(end.head);
        if !end.more {
            // What the page did not have is not there any more.
            inbox.given = inbox.given.max(end.head);
        }
        self.read_on(connection, handle, outlet);
    }

    pub(super) fn on_deliver(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        deliver: &link::Deliver<'_>,
        outlet: &mut Outlet<'_>,
    ) {
        let number = deliver.number;
        let Some(aside) = self.asides.get(connection, handle) else { return };
        let room = aside.window.has_room(terms.receive_max);
        let Some(inbox) = aside.inbox.as_deref_mut() else { return };
        inbox.head = inbox.head.max(number);
        let follows = match deliver.page {
            true => number > inbox.given,
            false => number == inbox.given + 1 && !inbox.is_reading,
        };
        let slow = outlet.waiting(connection) > outlet.marks.push;
        if !follows || !deliver.page && (!room || slow) {
            // It stays in the mailbox and is read from there.
            self.read_on(connection, handle, outlet);
            return;
        }
        inbox.given = number;
        let qos = inbox.options.qos();
        inbox.unconfirmed.push_back((number, deliver.own || qos == Qos::AtMostOnce));
        if deliver.own {
            self.confirm_inbox(connection, handle, number, outlet);
            return;
        }
        let mut passed = Vec::new();
        if terms.version == Version::V5 {
            put_properties(&mut passed, deliver);
        }
        let message = Message {
            topic: INBOX.as_bytes(),
            qos,
            expiry_s: 0,
            passed: &passed,
            payload: deliver.body,
        };
        let source = Source::Inbox(number);
        let how = How { qos, retain: false, dup: false, source, identifiers: &[] };
        self.give(connection, handle, terms, &message, &how, false, outlet);
        if qos == Qos::AtMostOnce {
            self.confirm_inbox(connection, handle, number, outlet);
        }
    }

    /// The client has this entry: the cursor moves as far as there is no hole.
    pub(super) fn confirm_inbox(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        number: u64,
        outlet: &mut Outlet<'_>,
    ) {
        let Some(inbox) = self.inbox(connection, handle) else { return };
        if let Some(entry) = inbox.unconfirmed.iter_mut().find(|entry| entry.0 == number) {
            entry.1 = true;
        }
        let mut low = None;
        while let Some((first, true)) = inbox.unconfirmed.front() {
            low = Some(*first);
            inbox.unconfirmed.pop_front();
        }
        if let Some(number) = low {
            link::Confirm {
                connection: handle.to_u64(),
                user: connection.user,
                device: connection.device,
                number,
            }
            .put(outlet.uplinks.to(&connection.user));
        }
        self.read_on(connection, handle, outlet);
    }

    /// The mailbox cannot be opened: the subscription stays, and says nothing.
    pub(super) fn on_inbox_refused(&mut self, connection: &mut Connection, handle: Handle) {
        if let Some(aside) = self.asides.get(connection, handle) {
            aside.inbox = None;
            self.asides.tidy(connection, handle);
        }
    }
}

/// What a client of version 5 is told of an entry.
fn put_properties(out: &mut Vec<u8>, deliver: &link::Deliver<'_>) {
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
    let mut user = |name: &str, value: &str| {
        property::put(out, property::USER_PROPERTY, Value::Pair(name, value));
    };
    user("conversation", text(deliver.peer_name));
    user("sender", text(deliver.sender_name));
    user("device", text(deliver.device_name));
    user("sequence", &deliver.sequence.to_string());
    user("number", &deliver.number.to_string());
    user("time_ms", &deliver.time_ms.to_string());
    user("content", &deliver.content.to_string());
}
