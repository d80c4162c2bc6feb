//! The protocol cores of one worker: which of them takes a connection's bytes, hears what the hosts
//! say to it, and ends it.
//!
//! ```text
//!  bytes ─▶ [PROXY header] ─▶ [TLS] ─▶ protocol ─▶ native session core ─▶ link frames
//!                                         └──────▶ MQTT core ───────────▶ link frames
//! ```
//!
//! A dispatch and nothing else; what a protocol means stands in its own module.

use crate::{
    connection::{Connection, Flag, Protocol, State},
    face::Faces,
    http,
    mqtt::{MqttSessions, silence_ticks},
    session::{Ending, Farewell, Outlet, SessionSettings, Sessions, Stop, Taken},
    slab::Handle,
    timers::Tick,
    tls::{Layer, Opened},
    uplinks::Uplinks,
    websocket::{WebSocketSettings, put_close},
};
use hawser_codec::{
    code,
    link::{Downlink, Logout},
    opening::{self, Opening},
    proxy,
    websocket::write,
};
use std::{collections::HashMap, net::SocketAddr, sync::Arc};

/// See the module.
pub struct Cores {
    sessions: Sessions,
    mqtt: MqttSessions,
    tls: Layer,
    /// By slot, whom the PROXY headers of connections named that are not logged in yet.
    clients: HashMap<u32, SocketAddr>,
}

impl Cores {
    /// Cores with these settings, over TLS; keys of peers take `peer_keys_bytes` at most. What
    /// nobody may guess is drawn from `secret`.
    pub fn new(
        settings: Arc<SessionSettings>,
        peer_keys_bytes: u64,
        secret: u64,
        tls: Layer,
    ) -> Self {
        let mqtt = MqttSessions::new(Arc::clone(&settings), secret);
        Self {
            sessions: Sessions::new(settings, peer_keys_bytes),
            mqtt,
            tls,
            clients: HashMap::new(),
        }
    }

    /// The MQTT core.
    pub fn mqtt(&mut self) -> &mut MqttSessions {
        &mut self.mqtt
    }

    /// TLS below the protocols.
    pub fn tls(&mut self) -> &mut Layer {
        &mut self.tls
    }

    /// Whom the PROXY header named, until the client is logged in.
    pub fn client(&self, handle: Handle) -> Option<SocketAddr> {
        self.clients.get(&handle.slot).copied()
    }

    /// It is logged in, or gone.
    pub fn forget_client(&mut self, handle: Handle) {
        if !self.clients.is_empty() {
            self.clients.remove(&handle.slot);
        }
    }

    /// New settings, for logins from now on.
    pub fn take_over(&mut self, settings: Arc<SessionSettings>) {
        self.mqtt.take_over(Arc::clone(&settings));
        self.sessions.take_over(settings);
    }

    /// Takes what is whole off `bytes`, until nothing whole is left, `budget` bytes are used or too
    /// much waits for the client. What remains the caller keeps and gives again with what follows.
    ///
    /// # Errors
    /// The farewell to say before closing.
    #[inline]
    pub fn on_bytes(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        bytes: &[u8],
        budget: usize,
        outlet: &mut Outlet<'_>,
    ) -> Result<Taken, Farewell> {
        if connection.flags.is_layered() {
            return self.on_layered(connection, handle, bytes, budget, outlet);
        }
        self.on_spoken(connection, handle, bytes, budget, outlet)
    }

    /// Bytes of the protocol itself.
    #[inline]
    fn on_spoken(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        bytes: &[u8],
        budget: usize,
        outlet: &mut Outlet<'_>,
    ) -> Result<Taken, Farewell> {
        match connection.protocol {
            Protocol::Native => self.sessions.on_bytes(connection, handle, bytes, budget, outlet),
            Protocol::Undetermined => self.on_opening(connection, handle, bytes, budget, outlet),
            Protocol::WebSocketNative
            | Protocol::WebSocketJson
            | Protocol::WebSocketEcho
            | Protocol::WebSocketMqtt => {
                self.on_websocket(connection, handle, bytes, budget, outlet)
            }
            Protocol::Http | Protocol::Poll | Protocol::Events => {
                self.on_http(connection, handle, bytes, budget, outlet)
            }
            Protocol::Mqtt => self.on_inner(connection, handle, bytes, budget, outlet),
        }
    }

    /// Bytes that came in WebSocket messages, or MQTT.
    pub(crate) fn on_inner(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        bytes: &[u8],
        budget: usize,
        outlet: &mut Outlet<'_>,
    ) -> Result<Taken, Farewell> {
        if connection.protocol.is_mqtt() {
            return self.mqtt.on_bytes(connection, handle, bytes, budget, outlet);
        }
        self.sessions.on_bytes(connection, handle, bytes, budget, outlet)
    }

    /// The native session core.
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The native session core.
    pub(crate) fn sessions_mut(&mut self) -> &mut Sessions {
        &mut self.sessions
    }

    /// Settings of WebSocket connections.
    pub(crate) fn websocket(&self) -> &WebSocketSettings {
        &self.sessions.settings().websocket
    }

    /// What stands below the protocol, from the wire up. Each layer has the shape of a core: it
    /// takes bytes, gives what they hold to what stands above it, and says how many it took.
    fn on_layered(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        bytes: &[u8],
        budget: usize,
        outlet: &mut Outlet<'_>,
    ) -> Result<Taken, Farewell> {
        if connection.flags.has(Flag::Proxy) {
            let step = proxy::step(bytes)
                .map_err(|error| Farewell::saying(code::MALFORMED, error.to_string()))?;
            let proxy::Step::Header { header, consumed } = step else {
                return Ok(Taken { bytes: 0, stop: Stop::NeedMore });
            };
            connection.flags.set(Flag::Proxy, false);
            if let Some(client) = header.source() {
                self.clients.insert(handle.slot, client);
            }
            let (rest, budget) = (&bytes[consumed..], budget.saturating_sub(consumed));
            let taken = self.on_bytes(connection, handle, rest, budget, outlet)?;
            return Ok(Taken { bytes: consumed + taken.bytes, stop: taken.stop });
        }
        match self.tls.open(connection, handle, bytes, budget, outlet)? {
            Opened::Plain => {
                connection.flags.set(Flag::Tls, false);
                self.on_spoken(connection, handle, bytes, budget, outlet)
            }
            Opened::Nothing(taken) => Ok(taken),
            Opened::Text(text) => {
                let mut inner = Taken { bytes: 0, stop: Stop::NeedMore };
                if !text.bytes.is_empty() || connection.flags.has(Flag::Waiting) {
                    let budget = budget.max(text.opened);
                    inner = self.on_spoken(connection, handle, &text.bytes, budget, outlet)?;
                }
                self.tls.settle(connection, handle, text, inner, outlet)
            }
        }
    }

    /// The first bytes tell the protocol, which gets all of them.
    #[cold]
    fn on_opening(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        bytes: &[u8],
        budget: usize,
        outlet: &mut Outlet<'_>,
    ) -> Result<Taken, Farewell> {
        connection.protocol = match opening::detect(bytes) {
            Opening::Undecided { .. } => {
                return Ok(Taken { bytes: 0, stop: Stop::NeedMore });
            }
            Opening::Native => Protocol::Native,
            Opening::Http => Protocol::Http,
            Opening::Mqtt => Protocol::Mqtt,
            Opening::Tls | Opening::ProxyV1 | Opening::ProxyV2 | Opening::Unknown => {
                return Err(Farewell::saying(code::MALFORMED, "no protocol begins like this"));
            }
        };
        self.on_spoken(connection, handle, bytes, budget, outlet)
    }

    /// When a connection is to be looked at although nothing came of it, if ever.
    pub fn due(&self, connection: &Connection, handle: Handle, faces: &Faces) -> Option<Tick> {
        match connection.protocol {
            Protocol::WebSocketNative | Protocol::WebSocketJson | Protocol::WebSocketEcho
                if connection.state == State::Open && !connection.flags.has(Flag::Asked) =>
            {
                let grace = self.sessions.grace_ticks();
                Some(connection.heard + Tick::from(connection.silence).saturating_sub(grace).max(1))
            }
            Protocol::Http | Protocol::Poll | Protocol::Events => faces.due(handle),
            _ => None,
        }
    }

    /// It is that time.
    ///
    /// # Errors
    /// The farewell to say before closing.
    pub fn on_due(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Farewell> {
        // A script in a browser cannot ping, and answers pings without knowing of them: whoever
        // is silent is asked, and has as long as any other client is late to answer.
        if connection.protocol.is_websocket() {
            connection.flags.set(Flag::Asked, true);
            write::ping(outlet.pool.open(&mut connection.queued), &[], None);
            return Ok(());
        }
        http::on_due(&mut self.sessions, connection, handle, outlet)
    }

    /// A link frame for one connection.
    ///
    /// # Errors
    /// The farewell to say before closing.
    #[inline]
    pub fn on_downlink(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        downlink: &Downlink<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Farewell> {
        match connection.protocol {
            Protocol::Http | Protocol::Poll | Protocol::Events => {
                http::on_downlink(&mut self.sessions, connection, handle, downlink, outlet)
            }
            Protocol::Mqtt | Protocol::WebSocketMqtt => {
                self.mqtt.on_downlink(connection, handle, downlink, outlet)
            }
            _ => self.sessions.on_downlink(connection, handle, downlink, outlet),
        }
    }

    /// Silence that a connection is allowed, ticks; `Tick::MAX`: any.
    #[inline]
    pub fn silence(connection: &Connection) -> Tick {
        match connection.protocol {
            Protocol::Mqtt | Protocol::WebSocketMqtt => silence_ticks(connection.silence),
            _ => Tick::from(connection.silence),
        }
    }

    /// Says why the connection ends, in the words of its protocol.
    pub fn say_farewell(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        farewell: &Farewell,
        outlet: &mut Outlet<'_>,
    ) {
        // Below the protocol nobody knows which one the other side would understand.
        if farewell.ending == Ending::Silent || !self.can_speak(connection, handle) {
            return;
        }
        match connection.protocol {
            Protocol::Native => self.sessions.say_farewell(connection, handle, farewell, outlet),
            Protocol::WebSocketNative
            | Protocol::WebSocketJson
            | Protocol::WebSocketEcho
            | Protocol::WebSocketMqtt => {
                let has_frames = matches!(
                    connection.protocol,
                    Protocol::WebSocketNative | Protocol::WebSocketJson
                );
                // What is wrong with WebSocket itself the close frame says.
                if has_frames && farewell.ending == Ending::ByCode {
                    self.sessions.say_farewell(connection, handle, farewell, outlet);
                }
                if connection.protocol.is_mqtt() && !matches!(farewell.ending, Ending::WebSocket(_))
                {
                    self.mqtt.say_farewell(connection, handle, farewell, outlet);
                }
                put_close(outlet.pool.open(&mut connection.queued), farewell);
            }
            Protocol::Http | Protocol::Poll | Protocol::Events => {
                http::say_farewell(connection, handle, farewell, outlet);
            }
            Protocol::Mqtt => self.mqtt.say_farewell(connection, handle, farewell, outlet),
            Protocol::Undetermined => {}
        }
    }

    /// Words of a protocol reach the client.
    fn can_speak(&mut self, connection: &Connection, handle: Handle) -> bool {
        !connection.flags.has(Flag::Proxy)
            && (!connection.flags.has(Flag::Tls) || self.tls.can_speak(handle))
    }

    /// Asks the client to leave.
    pub fn say_go_away(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        retry_after_ms: u32,
        outlet: &mut Outlet<'_>,
    ) {
        if !self.can_speak(connection, handle) {
            return;
        }
        let protocol = connection.protocol;
        if matches!(
            protocol,
            Protocol::Native | Protocol::WebSocketNative | Protocol::WebSocketJson
        ) {
            self.sessions.say_go_away(connection, handle, retry_after_ms, outlet);
        }
        if protocol.is_mqtt() {
            self.mqtt.say_go_away(connection, handle, retry_after_ms, outlet);
        }
        if matches!(protocol, Protocol::Http | Protocol::Poll | Protocol::Events) {
            let farewell = Farewell::of(code::SHUTTING_DOWN).retry_after(retry_after_ms);
            http::say_farewell(connection, handle, &farewell, outlet);
        }
        if protocol.is_websocket() {
            let farewell = Farewell::of(code::SHUTTING_DOWN);
            put_close(outlet.pool.open(&mut connection.queued), &farewell);
        }
    }

    /// The connection of a client that was logged in, or about to be, ends.
    pub fn logout(&mut self, connection: &mut Connection, handle: Handle, uplinks: &mut Uplinks) {
        if connection.protocol.is_mqtt() {
            self.mqtt.logout(connection, handle, uplinks);
        } else if connection.protocol.has_session() {
            let logout = Logout {
                connection: handle.to_u64(),
                user: connection.user,
                device: connection.device,
            };
            logout.put(uplinks.to(&connection.user));
        }
    }

    /// A shard host has lost its directory and what it was asked. Announces a session again if that
    /// host is its home.
    ///
    /// # Errors
    /// The farewell to a client that waits for answers which will not come.
    pub fn announce(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        is_home: bool,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Farewell> {
        if connection.protocol.is_mqtt() {
            let unanswered = self.mqtt.has_unanswered(connection, handle);
            return match is_home || unanswered {
                true => self.mqtt.announce(connection, handle, unanswered, outlet),
                false => Ok(()),
            };
        }
        // What was unanswered when the host lost its state never will be: counted on, it would shut
        // the client out for good. Conversations of anybody may live there, and which questions
        // went to it nobody remembers.
        connection.requests = 0;
        if is_home && connection.state == State::Open && connection.protocol.has_session() {
            self.sessions.announce(connection, handle, outlet.uplinks);
        }
        Ok(())
    }

    /// The connection is gone: nothing of it stays here.
    pub fn forget(&mut self, connection: &mut Connection) {
        match connection.protocol.is_mqtt() {
            true => self.mqtt.forget(connection),
            false => self.sessions.forget(connection),
        }
    }
}
