//! How a client comes and goes: CONNECT to Attach, Attached to CONNACK, DISCONNECT, and what is
//! told to a home that has lost its state.

use super::{terms::silence_of, *};
use crate::auth::Denied;
use hawser_codec::{
    message::NAME_BYTES_MAX,
    mqtt::{
        Properties,
        packet::{self, Connect, Disconnect, Will},
        property::{self, Value},
    },
};

/// What is used as user of a client that gives none, where nobody is asked who he is.
const NAMELESS: &str = "mqtt:";
/// How client identifiers begin that the server makes.
const ASSIGNED: &str = "auto-";
/// Base of response topics, for clients that ask for one.
const RESPONSES: &str = "response/";

impl MqttSessions {
    pub(super) fn on_connect(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        connect: &Connect<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Farewell> {
        let settings = Arc::clone(&self.settings);
        let mqtt = &settings.mqtt;
        let terms = self.agree(connect);
        // From here on a refusal is said in the client's version.
        terms.keep(connection);
        if connect.properties.has(property::AUTHENTICATION_METHOD) {
            let text = "no authentication method but user name and password is known";
            return Err(ending(reason::BAD_AUTHENTICATION_METHOD, text));
        }
        let assigned = self.assigned(connect)?;
        let client_id = assigned.as_deref().unwrap_or(connect.client_id);
        let nameless;
        let user = match connect.user {
            Some(user) => user,
            None => {
                nameless = format!("{NAMELESS}{client_id}");
                &nameless
            }
        };
        let token = std::str::from_utf8(connect.password.unwrap_or_default())
            .map_err(|_| ending(reason::BAD_USER_NAME_OR_PASSWORD, "the password is not UTF-8"))?;
        let realm = connection.realm;
        let identity = settings
            .authenticator
            .authenticate(outlet.now.wall_ms, realm, user, client_id, token)
            .map_err(denied)?;
        let asker = Who { user, device: client_id };
        if let Some(will) = &connect.will
            && (will.topic.starts_with('$') || !mqtt.rules.may_publish(asker, will.topic))
        {
            return Err(ending(reason::NOT_AUTHORIZED, "the topic of the will is not allowed"));
        }
        if outlet.marks.crowded || !outlet.uplinks.has_room() {
            return Err(ending(reason::SERVER_BUSY, "too many logins at once"));
        }
        let Some(keys) = settings.keys.space() else {
            return Err(ending(reason::SERVER_UNAVAILABLE, "no shard host has answered yet"));
        };
        let (user_key, check) = keys.user(realm, identity.user.as_bytes());
        if let Some((code, _)) = outlet.uplinks.refuse_login(&user_key) {
            return Err(Farewell::of(code));
        }
        connection.user = user_key;
        connection.device = keys.device(&user_key, identity.device.as_bytes());
        connection.expires_s = u32::try_from(identity.expires_ms / 1000).unwrap_or(u32::MAX);
        connection.names = self.names.keep(identity.user.as_bytes(), identity.device.as_bytes());
        connection.user_bytes = identity.user.len() as u8;
        connection.device_bytes = identity.device.len() as u8;
        connection.silence = silence_of(match mqtt.keep_alive_max_s {
            0 => connect.keep_alive_s,
            _ if terms.version == Version::V311 => connect.keep_alive_s,
            max if connect.keep_alive_s == 0 => max,
            max => connect.keep_alive_s.min(max),
        });
        connection.state = State::LoggingIn;
        self.greet(handle, connect, assigned);
        let mut content = Vec::new();
        let will = connect.will.as_ref().inspect(|will| put_content(&mut content, will));
        let will_number = |id: u8| will.and_then(|will| will.properties.number(id)).unwrap_or(0);
        link::Attach {
            connection: handle.to_u64(),
            user: user_key,
            device: connection.device,
            check,
            realm,
            clean: connect.clean,
            expiry_s: terms.expiry_s,
            receive_max: terms.receive_max,
            announce: false,
            will: will.map_or(0, |will| 1 + will.qos as u8),
            will_retain: will.is_some_and(|will| will.retain),
            will_delay_s: will_number(property::WILL_DELAY),
            will_expiry_s: will_number(property::MESSAGE_EXPIRY),
            will_key: will.map_or([0; 16], |will| keys.topic(realm, will.topic.as_bytes())),
            user_name: identity.user.as_bytes(),
            device_name: identity.device.as_bytes(),
            will_topic: will.map_or(&[], |will| will.topic.as_bytes()),
            will_content: &content,
        }
        .put(outlet.uplinks.to(&user_key));
        Ok(())
    }

    /// What follows from a CONNECT and the settings.
    fn agree(&self, connect: &Connect<'_>) -> Terms {
        let number = |id: u8| connect.properties.number(id);
        let max = self.settings.mqtt.session_expiry_max_s;
        let expiry_s = match connect.version {
            // Such a session has no end of its own; the setting gives it one.
            Version::V311 if connect.clean => 0,
            Version::V311 => max,
            Version::V5 => number(property::SESSION_EXPIRY).unwrap_or(0).min(max),
        };
        let receive_max = number(property::RECEIVE_MAXIMUM).map_or(u16::MAX, |max| max as u16);
        let aliases_max = number(property::TOPIC_ALIAS_MAXIMUM).map_or(0, |max| max as u16);
        Terms {
            version: connect.version,
            problem_information: number(property::REQUEST_PROBLEM_INFORMATION) != Some(0),
            kept: expiry_s > 0,
            no_will: false,
            aside: false,
            queued: false,
            fresh: false,
            expiry_s,
            packet_bytes_max: number(property::MAXIMUM_PACKET_SIZE).unwrap_or(u32::MAX),
            receive_max: receive_max.min(limits::MQTT_IN_FLIGHT_MAX),
            aliases_max: aliases_max.min(limits::MQTT_ALIASES_OUT_MAX),
        }
    }

    /// A client identifier for a client that brings none.
    fn assigned(&mut self, connect: &Connect<'_>) -> Result<Option<String>, Farewell> {
        if !connect.client_id.is_empty() {
            let room = NAME_BYTES_MAX - if connect.user.is_none() { NAMELESS.len() } else { 0 };
            if connect.client_id.len() > room {
                let text = format!("a client identifier has at most {room} bytes");
                return Err(ending(reason::CLIENT_IDENTIFIER_NOT_VALID, text));
            }
            return Ok(None);
        }
        if connect.version == Version::V311 && !connect.clean {
            let text = "a session that is kept needs a client identifier";
            return Err(ending(reason::CLIENT_IDENTIFIER_NOT_VALID, text));
        }
        let drawn = u128::from_le_bytes(self.draws.next());
        Ok(Some(format!("{ASSIGNED}{drawn:032x}")))
    }

    /// Keeps what the CONNACK will need, if that is anything.
    fn greet(&mut self, handle: Handle, connect: &Connect<'_>, assigned: Option<String>) {
        if connect.version == Version::V311 {
            return;
        }
        let number = |id: u8| connect.properties.number(id);
        let asked_expiry_s = number(property::SESSION_EXPIRY).unwrap_or(0);
        let greeting = Greeting {
            assigned,
            expiry_capped: asked_expiry_s > self.settings.mqtt.session_expiry_max_s,
            keep_alive_s: connect.keep_alive_s,
            responses: number(property::REQUEST_RESPONSE_INFORMATION) == Some(1),
        };
        self.greetings.insert(handle.slot, greeting);
    }

    pub(super) fn on_attached(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        attached: &link::Attached,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Farewell> {
        if attached.code != 0 {
            return Err(Farewell::of(attached.code).retry_after(attached.retry_after_ms));
        }
        if connection.state != State::LoggingIn {
            // Answer to a re-announcement: the client has its CONNACK already.
            return Ok(());
        }
        let greeting = self.greetings.remove(&handle.slot);
        connection.state = State::Open;
        outlet.metrics.logins.add(1);
        let mut properties = Vec::new();
        if let Some(greeting) = greeting {
            self.put_greeting(&mut properties, connection, terms, &greeting);
        }
        if !attached.present {
            terms::set_fresh(connection);
        }
        let connack = packet::Connack {
            session_present: attached.present,
            reason: reason::SUCCESS,
            properties: Properties::of(&properties),
        };
        outlet.say(connection, handle, |queue| {
            say::put(queue, terms.version, &Packet::Connack(connack));
        });
        self.after_greeting(connection, handle, outlet);
        Ok(())
    }

    /// Properties of a CONNACK.
    fn put_greeting(
        &self,
        out: &mut Vec<u8>,
        connection: &Connection,
        terms: &Terms,
        greeting: &Greeting,
    ) {
        let mqtt = &self.settings.mqtt;
        let mut put = |id: u8, value: Value<'_>| property::put(out, id, value);
        if greeting.expiry_capped {
            put(property::SESSION_EXPIRY, Value::Long(terms.expiry_s));
        }
        put(property::RECEIVE_MAXIMUM, Value::Short(mqtt.receive_max));
        put(property::MAXIMUM_PACKET_SIZE, Value::Long(mqtt.packet_bytes_max));
        if let Some(assigned) = &greeting.assigned {
            put(property::ASSIGNED_CLIENT_IDENTIFIER, Value::Text(assigned));
        }
        if mqtt.aliases_max > 0 {
            put(property::TOPIC_ALIAS_MAXIMUM, Value::Short(mqtt.aliases_max));
        }
        let max = mqtt.keep_alive_max_s;
        if max > 0 && (greeting.keep_alive_s == 0 || greeting.keep_alive_s > max) {
            put(property::SERVER_KEEP_ALIVE, Value::Short(max));
        }
        if greeting.responses {
            let asker =
                Who { user: self.user_name(connection), device: self.client_id(connection) };
            let base = format!("{RESPONSES}{}", asker.device);
            if !asker.device.contains(['+', '#', '/'])
                && mqtt.rules.may_subscribe(asker, &format!("{base}/#"))
            {
                put(property::RESPONSE_INFORMATION, Value::Text(&base));
            }
        }
    }

    pub(super) fn on_disconnect(
        &mut self,
        connection: &mut Connection,
        disconnect: &Disconnect<'_>,
    ) -> Result<Heard, Farewell> {
        let Some(mut terms) = Terms::of(connection) else { return Ok(Heard::Taken) };
        if let Some(expiry_s) = disconnect.properties.number(property::SESSION_EXPIRY) {
            if terms.expiry_s == 0 && expiry_s > 0 {
                let text = "a session that was not to be kept cannot be kept at its end";
                return Err(ending(reason::PROTOCOL_ERROR, text));
            }
            terms.expiry_s = expiry_s.min(self.settings.mqtt.session_expiry_max_s);
        }
        terms.no_will = disconnect.reason == reason::SUCCESS;
        terms.keep(connection);
        Err(Farewell::silent())
    }

    /// Announces a session again to its home, which lost its directory.
    ///
    /// # Errors
    /// The farewell to a client that waits for answers which will not come.
    pub fn announce(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        unanswered: bool,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Farewell> {
        let Some(terms) = Terms::of(connection) else { return Ok(()) };
        if unanswered || connection.state != State::Open {
            // It publishes again what was not acknowledged when it has connected again; on a live
            // connection it may not.
            return Err(ending(reason::SERVER_BUSY, "answers were lost with a shard host"));
        }
        let settings = Arc::clone(&self.settings);
        let Some(keys) = settings.keys.space() else { return Ok(()) };
        let user_name = self.names.user(connection);
        let (_, check) = keys.user(connection.realm, user_name);
        link::Attach {
            connection: handle.to_u64(),
            user: connection.user,
            device: connection.device,
            check,
            realm: connection.realm,
            clean: false,
            expiry_s: terms.expiry_s,
            receive_max: terms.receive_max,
            announce: true,
            will: 0,
            will_retain: false,
            will_delay_s: 0,
            will_expiry_s: 0,
            will_key: [0; 16],
            user_name,
            device_name: self.names.device(connection),
            will_topic: &[],
            will_content: &[],
        }
        .put(outlet.uplinks.to(&connection.user));
        self.log_in_again(connection, handle, outlet);
        Ok(())
    }
}

/// What a CONNACK says beside what is in the terms.
pub(super) struct Greeting {
    assigned: Option<String>,
    expiry_capped: bool,
    keep_alive_s: u16,
    responses: bool,
}

fn denied(denied: Denied) -> Farewell {
    let reason = match denied.code {
        code::BAD_NAME => reason::BAD_USER_NAME_OR_PASSWORD,
        code::TOKEN_EXPIRED => reason::NOT_AUTHORIZED,
        _ => reason::BAD_USER_NAME_OR_PASSWORD,
    };
    ending(reason, denied.text)
}

/// Content of a will, as links and logs carry it.
fn put_content(out: &mut Vec<u8>, will: &Will<'_>) {
    let mut scratch = Vec::new();
    let passed = will.properties.passed_on(&mut scratch);
    out.extend_from_slice(&(passed.len() as u32).to_le_bytes());
    out.extend_from_slice(passed);
    out.extend_from_slice(will.payload);
}
