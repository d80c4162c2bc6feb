//! MQTT 3.1.1 and 5.0: packets in, link frames out, and back.
//!
//! Pure, as [`crate::session`] is: bytes, link frames and time come in; packets for clients and
//! link frames for the shard hosts go out.
//!
//! ```text
//! CONNECT ─▶ Attach ─▶ home            Topic ─▶ tree of this worker's filters ─▶ PUBLISH to each
//! PUBLISH ─▶ Publish ─▶ topic's shard  QueueEntry ─▶ PUBLISH (kept sessions, QoS 1 and 2)
//! SUBSCRIBE ─▶ Route to every host, and Subscribe to the home of a kept session
//! ```
//!
//! Who publishes hears nothing before the host has said that it is durable. Sessions that are kept
//! get QoS 1 and 2 out of their queue at home, and what is in flight can be sent again after any
//! crash; for the others the worker keeps a window and a bounded queue for as long as they are
//! connected.
//!
//! Invariant: a client that is idle and has subscribed to nothing stands in none of the tables
//! here; what was agreed with it is in its [`Connection`] (see `terms`). Invariant: each table has
//! a bound in [`crate::limits`].

mod alias;
mod aside;
mod connect;
mod deliver;
mod inbox;
mod outgoing;
mod publish;
mod question;
mod say;
mod settings;
mod share;
mod spread;
mod subscribe;
mod terms;
mod topics;
mod window;

pub use settings::MqttSettings;
pub use terms::silence_ticks;

use crate::{
    access::Who,
    connection::{Connection, State},
    limits,
    names::Names,
    session::{Ending, Farewell, Outlet, SessionSettings, Stop, Taken},
    slab::{Handle, Slab},
    uplinks::Uplinks,
};
use aside::Asides;
use hashbrown::HashMap;
use hawser_codec::{
    code,
    link::{self, Downlink, Key},
    mqtt::{Kind, Malformed, Packet, PacketLimits, Qos, Role, Step, Version, encode, reason, step},
};
use hawser_router::topic::{FilterTree, TreeLimits};
use say::ending;
use std::sync::Arc;
use subscribe::Subscriptions;
use terms::Terms;

/// Session logic of one worker's MQTT clients.
pub struct MqttSessions {
    settings: Arc<SessionSettings>,
    names: Names,
    subscriptions: Subscriptions,
    asides: Asides,
    questions: question::Questions,
    topics: topics::TopicKeys,
    copies: spread::Copies,
    draws: Draws,
    /// CONNACKs to be, by slot, of clients whose home has not answered.
    greetings: HashMap<u32, connect::Greeting>,
    /// Content of the publish being passed on.
    content: Vec<u8>,
}

/// Numbers nobody can guess, from a secret.
struct Draws {
    secret: u64,
    drawn: u64,
}

impl Draws {
    fn next(&mut self) -> [u8; 16] {
        self.drawn += 1;
        let mut hash = blake3::Hasher::new();
        hash.update(&self.secret.to_le_bytes()).update(&self.drawn.to_le_bytes());
        *hash.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
    }
}

impl MqttSessions {
    /// Session logic with these settings. `secret` is random and drawn by the caller; identifiers
    /// that clients are given come from it.
    #[must_use]
    pub fn new(settings: Arc<SessionSettings>, secret: u64) -> Self {
        let limits = TreeLimits {
            subscriptions: limits::MQTT_SUBSCRIPTIONS_PER_WORKER,
            bytes: limits::MQTT_TREE_BYTES_PER_WORKER,
        };
        Self {
            settings,
            names: Names::default(),
            subscriptions: Subscriptions::new(FilterTree::new(limits, secret)),
            asides: Asides::default(),
            questions: question::Questions::default(),
            topics: topics::TopicKeys::default(),
            copies: spread::Copies::default(),
            draws: Draws { secret, drawn: 0 },
            greetings: HashMap::new(),
            content: Vec::new(),
        }
    }

    /// New settings, for what comes from now on.
    pub fn take_over(&mut self, settings: Arc<SessionSettings>) {
        self.settings = settings;
    }

    /// Takes whole packets off `bytes`, until no whole one is left, `budget` bytes are used, or an
    /// answer has to come first. What remains the caller keeps.
    ///
    /// # Errors
    /// The farewell to say before closing.
    pub fn on_bytes(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        bytes: &[u8],
        budget: usize,
        outlet: &mut Outlet<'_>,
    ) -> Result<Taken, Farewell> {
        let mut done = 0;
        loop {
            if matches!(connection.state, State::Leaving | State::Closing) {
                return Ok(Taken { bytes: bytes.len(), stop: Stop::NeedMore });
            }
            if done < bytes.len() {
                if connection.state == State::LoggingIn {
                    return Ok(Taken { bytes: done, stop: Stop::Answer });
                }
                if outlet.waiting(connection) > outlet.marks.read {
                    return Ok(Taken { bytes: done, stop: Stop::Pressure });
                }
                if done >= budget {
                    return Ok(Taken { bytes: done, stop: Stop::Budget });
                }
            }
            let terms = Terms::of(connection);
            let (version, packet_bytes_max) = match &terms {
                Some(terms) => (terms.version, self.settings.mqtt.packet_bytes_max),
                None => (Version::V5, limits::MQTT_CONNECT_BYTES_MAX),
            };
            let limits = PacketLimits { receiver: Role::Server, packet_bytes_max };
            match step(&limits, version, &bytes[done..]) {
                Ok(Step::Packet { packet, consumed }) => {
                    let heard = match (&terms, &packet) {
                        (Some(terms), packet) => {
                            self.on_packet(connection, handle, terms, packet, outlet)?
                        }
                        (None, Packet::Connect(connect)) => {
                            self.on_connect(connection, handle, connect, outlet)?;
                            Heard::Taken
                        }
                        (None, _) => {
                            let text = "the first packet is not CONNECT";
                            return Err(ending(reason::PROTOCOL_ERROR, text));
                        }
                    };
                    if heard == Heard::Later {
                        return Ok(Taken { bytes: done, stop: Stop::Answer });
                    }
                    done += consumed;
                }
                Ok(Step::NeedMore { .. }) => {
                    return Ok(Taken { bytes: done, stop: Stop::NeedMore });
                }
                Err(malformed) => {
                    if terms.is_none() {
                        self.refuse_first(connection, handle, &bytes[done..], &malformed, outlet);
                    }
                    return Err(malformed.into());
                }
            }
        }
    }

    fn on_packet(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        packet: &Packet<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Heard, Farewell> {
        match packet {
            Packet::Publish(publish) => {
                return self.on_publish(connection, handle, terms, publish, outlet);
            }
            Packet::Puback(answer) => self.on_puback(connection, handle, answer, outlet),
            Packet::Pubrec(answer) => self.on_pubrec(connection, handle, answer, outlet),
            Packet::Pubcomp(answer) => self.on_pubcomp(connection, handle, answer, outlet),
            Packet::Pubrel(answer) => self.on_pubrel(connection, handle, answer, outlet),
            Packet::Subscribe(subscribe) => {
                return self.on_subscribe(connection, handle, terms, subscribe, outlet);
            }
            Packet::Unsubscribe(unsubscribe) => {
                return self.on_unsubscribe(connection, handle, terms, unsubscribe, outlet);
            }
            Packet::Pingreq => {
                outlet.say(connection, handle, |queue| {
                    queue.extend_from_slice(&[(Kind::Pingresp as u8) << 4, 0]);
                });
            }
            Packet::Disconnect(disconnect) => return self.on_disconnect(connection, disconnect),
            Packet::Connect(_) => {
                return Err(ending(reason::PROTOCOL_ERROR, "a second CONNECT"));
            }
            Packet::Auth(_) => {
                let text = "no authentication method was agreed";
                return Err(ending(reason::PROTOCOL_ERROR, text));
            }
            // The codec refuses what servers send.
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {}
        }
        Ok(Heard::Taken)
    }

    /// A link frame for one connection.
    ///
    /// # Errors
    /// The farewell to say before closing.
    pub fn on_downlink(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        downlink: &Downlink<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Farewell> {
        if matches!(connection.state, State::Leaving | State::Closing) {
            return Ok(());
        }
        let Some(terms) = Terms::of(connection) else { return Ok(()) };
        match downlink {
            Downlink::Attached(attached) => {
                return self.on_attached(connection, handle, &terms, attached, outlet);
            }
            Downlink::Restored(restored) => self.on_restored(connection, handle, restored, outlet),
            Downlink::Marked(marked) => self.on_marked(connection, handle, marked.number, outlet),
            Downlink::Published(published) => {
                return self.on_published(connection, handle, &terms, published, outlet);
            }
            Downlink::Released(released) => {
                self.on_released(connection, handle, released, outlet);
            }
            Downlink::Subscribed(answer) => {
                let found = question::Part::Subscribed { existed: answer.existed };
                self.on_part(connection, answer.request, answer.code, found, outlet);
            }
            Downlink::Unsubscribed(answer) => {
                let found = question::Part::Subscribed { existed: answer.existed };
                self.on_part(connection, answer.request, 0, found, outlet);
            }
            Downlink::Topic(topic) => self.on_retained(connection, handle, &terms, topic, outlet),
            Downlink::RetainedEnd(end) => self.on_retained_end(end.request),
            Downlink::QueueEntry(entry) => {
                self.on_queue_entry(connection, handle, &terms, entry, outlet);
            }
            Downlink::Kick(kick) => return Err(Farewell::of(kick.code)),
            Downlink::LoggedIn(logged_in) => {
                self.on_logged_in(connection, handle, logged_in, outlet);
            }
            Downlink::LoginRefused(_) => self.on_inbox_refused(connection, handle),
            Downlink::Deliver(deliver) => {
                self.on_deliver(connection, handle, &terms, deliver, outlet);
            }
            Downlink::Head(head) => self.on_head(connection, handle, head.head, outlet),
            Downlink::PageEnd(end) => self.on_page_end(connection, handle, end, outlet),
            Downlink::Accepted(accepted) => {
                let code = 0;
                return self.on_sent(connection, handle, &terms, accepted.client_seq, code, outlet);
            }
            Downlink::Refused(refused) => {
                let (seq, code) = (refused.client_seq, refused.code);
                return self.on_sent(connection, handle, &terms, seq, code, outlet);
            }
            Downlink::PageStart(_)
            | Downlink::PeerReceipt(_)
            | Downlink::Routed(_)
            | Downlink::Announce(_) => {}
        }
        Ok(())
    }

    /// The connection of a client ends: its home is told, and nothing of it is left in the tables.
    pub fn logout(&mut self, connection: &mut Connection, handle: Handle, uplinks: &mut Uplinks) {
        let Some(terms) = Terms::of(connection) else { return };
        link::Detach {
            connection: handle.to_u64(),
            user: connection.user,
            device: connection.device,
            expiry_s: terms.expiry_s,
            will: !terms.no_will,
        }
        .put(uplinks.to(&connection.user));
        if let Some(aside) = self.asides.remove(handle.slot)
            && aside.inbox.is_some()
        {
            link::Logout {
                connection: handle.to_u64(),
                user: connection.user,
                device: connection.device,
            }
            .put(uplinks.to(&connection.user));
        }
        self.subscriptions.forget(connection.realm, handle.slot, uplinks);
        self.questions.forget(handle);
        self.greetings.remove(&handle.slot);
    }

    /// The connection is gone: nothing of it stays here.
    pub fn forget(&mut self, connection: &mut Connection) {
        self.names.forget(&mut connection.names);
    }

    /// Clients with something under way, for which more is kept than what was agreed.
    #[must_use]
    pub fn asides(&self) -> usize {
        self.asides.count()
    }

    fn user_name<'a>(&'a self, connection: &Connection) -> &'a str {
        std::str::from_utf8(self.names.user(connection)).unwrap_or_default()
    }

    fn client_id<'a>(&'a self, connection: &Connection) -> &'a str {
        std::str::from_utf8(self.names.device(connection)).unwrap_or_default()
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// It is done with.
    Taken,
    /// It is to be given again when an answer has come.
    Later,
}

impl From<Malformed> for Farewell {
    fn from(malformed: Malformed) -> Self {
        ending(malformed.reason(), malformed.to_string())
    }
}
