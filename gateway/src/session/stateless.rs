//! Requests of somebody who shows a resume token with each of them: no login stands behind the
//! connection that they come on.

use super::*;
use crate::uplinks::Refusal;

impl Sessions {
    /// Who sealed this resume token's session, and its epoch.
    ///
    /// # Errors
    /// It is forged, damaged or expired.
    pub fn open_token(&self, token: &[u8], now: Now) -> Result<(Identity, u32), Farewell> {
        self.identify(&Hello { resume_token: token, ..NOBODY }, now)
    }

    /// Whether the login of this connection is that of `identity`.
    pub fn is_login_of(&self, connection: &Connection, identity: &Identity) -> bool {
        connection.realm == identity.realm
            && self.names.user(connection) == identity.user.as_bytes()
            && self.names.device(connection) == identity.device.as_bytes()
    }

    /// Passes on a request without a number, whose message id alone tells a repeat. The answer
    /// comes to the connection as to one that is logged in.
    ///
    /// # Errors
    /// Code and time of a refusal.
    pub fn send_as(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        identity: &Identity,
        request: &Request<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Refusal> {
        if request.to.is_empty() {
            return Err((code::BAD_NAME, 0));
        }
        if outlet.marks.crowded || !outlet.uplinks.has_room() {
            return Err((code::OVERLOADED, limits::OVERLOADED_RETRY_MS));
        }
        let Some(keys) = self.settings.keys.space() else {
            return Err((code::RECOVERING, limits::ROUTER_RETRY_MS));
        };
        let (user, _) = keys.user(identity.realm, identity.user.as_bytes());
        let device = keys.device(&user, identity.device.as_bytes());
        let peer = self.peers.find(keys, identity.realm, &user, request.to.as_bytes());
        outlet.metrics.peer_keys_kept.add(peer.was_kept.into());
        if let Some(refusal) = outlet.uplinks.refuse_request(&peer.conversation) {
            return Err(refusal);
        }
        connection.requests += 1;
        link::Send {
            connection: handle.to_u64(),
            user,
            device,
            peer: peer.key,
            conversation: peer.conversation,
            channel: 0,
            // Hosts refuse 0 in it; what counts is the message id.
            incarnation: 1,
            client_seq: 0,
            after: 0,
            uuid: request.uuid,
            first_attempt_ms: 0,
            level: request.level as u8,
            content: request.content,
            receipts: request.receipts,
            sender_name: identity.user.as_bytes(),
            device_name: identity.device.as_bytes(),
            peer_name: request.to.as_bytes(),
            body: request.body,
        }
        .put(outlet.uplinks.to(&peer.conversation));
        Ok(())
    }

    /// Logs this connection in, perhaps anew as the same device. Refused, it is as before.
    ///
    /// # Errors
    /// The farewell to say before closing.
    pub fn log_in(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        hello: &Hello<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Farewell> {
        let (state, mut names) = (connection.state, connection.names);
        connection.state = State::Greeting;
        let hello = Message::Hello(*hello);
        let outcome = self.on_message(connection, handle, 0, &hello, outlet);
        match outcome {
            Ok(()) => self.names.forget(&mut names),
            Err(_) => connection.state = state,
        }
        outcome
    }
}

/// A hello that says nothing.
pub const NOBODY: Hello<'static> = Hello {
    version_min: limits::PROTOCOL_VERSION,
    version_max: limits::PROTOCOL_VERSION,
    realm: 0,
    user: "",
    device: "",
    token: "",
    resume_token: &[],
    incarnation: 1,
    class: Class::Web,
    heartbeat_s: 0,
    cursor: None,
    rewind: false,
    compression: 0,
    agent: "",
};
