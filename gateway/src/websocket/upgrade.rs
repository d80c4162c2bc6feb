//! The upgrade: whose page, which sub-protocol, which compression; then the connection speaks
//! WebSocket for the rest of its life.

use super::{Compression, DeflateSettings, Unfinished, WebSockets};
use crate::{
    connection::{Connection, Flag, Protocol, State},
    cores::Cores,
    limits,
    session::Outlet,
    slab::Handle,
};
use hawser_codec::{
    http::{Answer, Head, Refused, Verdict, Version, answer::Asked},
    message::Class,
    websocket::{
        deflate::{Agreement, KEPT_BYTES_MAX, Settings},
        handshake::{PROTOCOL_JSON, PROTOCOL_MQTT, PROTOCOL_NATIVE, Upgrade},
    },
};

/// Paths on which a connection is upgraded.
pub const PATHS: [&str; 3] = ["/ws", "/mqtt", "/echo"];

/// What is spoken on a path.
fn known_on(path: &str) -> &'static [&'static str] {
    match path {
        "/ws" => &[PROTOCOL_NATIVE, PROTOCOL_JSON],
        "/mqtt" => &[PROTOCOL_MQTT, "mqttv3.1"],
        _ => &[],
    }
}

impl Cores {
    /// Answers a request for one of [`PATHS`]. True if the connection is upgraded; otherwise the
    /// answer says why not, and the connection is to be closed behind it.
    pub(crate) fn upgrade(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        head: &Head<'_>,
        outlet: &mut Outlet<'_>,
    ) -> bool {
        let settings = self.websocket();
        let (deflate, echo) = (settings.deflate, settings.echo);
        let is_foreign =
            settings.origins.judge(head, connection.flags.has(Flag::Tls)) == Verdict::Foreign;
        let out = outlet.pool.open(&mut connection.queued);
        let mut refuse = |status, text| {
            let body = format!("{{\"error\":\"{text}\"}}\n");
            Answer::begin(out, Asked::of(head).closing(), status, outlet.now.wall_ms)
                .body("application/json", body.as_bytes());
            false
        };
        if head.path == "/echo" && !echo {
            return refuse(404, "nothing is here");
        }
        if is_foreign {
            return refuse(403, "pages of this origin may not connect");
        }
        let minor = u8::from(head.version == Version::Http11);
        let upgrade = match Upgrade::read(head.method, minor, head.fields()) {
            Ok(upgrade) if head.body_bytes == 0 => upgrade,
            Ok(_) => return refuse(400, "an upgrade has no body"),
            Err(refusal) => {
                refusal.put_answer(out);
                return false;
            }
        };
        let protocol = upgrade.choose(known_on(head.path));
        if head.path != "/echo" && protocol.is_none() {
            return refuse(400, "no sub-protocol offered is spoken on this path");
        }
        let token = match (upgrade.token(), head.parameter("token")) {
            (Ok(Some(token)), _) => Some(token),
            (Ok(None), Ok(token)) => token.map(std::borrow::Cow::into_owned),
            (Err(refusal), _) => {
                refusal.put_answer(out);
                return false;
            }
            (_, Err(Refused { status, text })) => return refuse(status, text),
        };
        if token.as_ref().is_some_and(|token| token.len() > limits::TOKEN_BYTES_MAX) {
            return refuse(400, "the token is too long");
        }
        let agreement = deflate.and_then(|deflate| {
            let take_over = outlet.faces.websockets.has_room(deflate);
            Agreement::accept(&upgrade.extensions, &Settings { take_over })
        });
        upgrade.put_answer(out, protocol, agreement);
        self.begin_websocket(connection, handle, protocol, agreement, outlet);
        if let Some(token) = token.filter(|token| !token.is_empty()) {
            let unfinished = Unfinished { token: Some(token.into()), ..Unfinished::default() };
            super::incoming::put_aside(connection, handle, unfinished, outlet);
        }
        true
    }

    fn begin_websocket(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        protocol: Option<&str>,
        agreement: Option<Agreement>,
        outlet: &mut Outlet<'_>,
    ) {
        connection.since = outlet.tick;
        connection.state = State::Greeting;
        connection.protocol = match protocol {
            Some(PROTOCOL_NATIVE) => Protocol::WebSocketNative,
            Some(PROTOCOL_JSON) => Protocol::WebSocketJson,
            Some(_) => Protocol::WebSocketMqtt,
            None => {
                connection.state = State::Open;
                Protocol::WebSocketEcho
            }
        };
        // What MQTT has agreed on stands there.
        if !connection.protocol.is_mqtt() {
            connection.class = Class::Web as u8;
        }
        if connection.state == State::Open {
            self.sessions().expect_within(connection, 0);
        }
        if let Some(agreement) = agreement {
            let is_kept = agreement.server().take_over || agreement.client().take_over;
            connection.compression = Compression::of(agreement, is_kept).0;
            if is_kept {
                outlet.faces.websockets.keep(handle, agreement);
            }
        }
    }
}

impl WebSockets {
    /// One more connection may keep its contexts.
    fn has_room(&self, deflate: DeflateSettings) -> bool {
        self.contexts_bytes + KEPT_BYTES_MAX as u64 <= deflate.take_over_bytes_max
    }
}
