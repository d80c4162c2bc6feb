//! Settings of the MQTT core, the same for all workers.

use crate::{access::Rules, config::MqttConfig, limits};

/// What clients may ask for, and what they are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttSettings {
    /// Longest packet taken, bytes.
    pub packet_bytes_max: u32,
    /// Publishes of QoS 1 and 2 a client may have unanswered.
    pub receive_max: u16,
    /// Topic aliases a client may set; 0: none.
    pub aliases_max: u16,
    /// Longest keep-alive, seconds; clients of version 5 that ask for more, or none, are told to
    /// use this one. 0: theirs.
    pub keep_alive_max_s: u16,
    /// A session is kept without a connection for so long, seconds, at most.
    pub session_expiry_max_s: u32,
    /// Subscriptions of one client.
    pub subscriptions_max: u32,
    /// Where clients of version 5 are sent when this server drains; empty: nowhere in particular.
    pub server_reference: String,
    /// Who may publish and subscribe to what.
    pub rules: Rules,
}

impl MqttSettings {
    /// The shipped ones.
    #[must_use]
    pub const fn shipped() -> Self {
        Self {
            packet_bytes_max: limits::MQTT_PACKET_BYTES,
            receive_max: limits::MQTT_RECEIVE_MAX,
            aliases_max: limits::MQTT_ALIASES,
            keep_alive_max_s: limits::MQTT_KEEP_ALIVE_S,
            session_expiry_max_s: limits::MQTT_SESSION_EXPIRY_S,
            subscriptions_max: limits::MQTT_SUBSCRIPTIONS,
            server_reference: String::new(),
            rules: Rules::NONE,
        }
    }

    /// As configured.
    #[must_use]
    pub fn of(config: &MqttConfig) -> Self {
        Self {
            packet_bytes_max: config.packet_bytes_max,
            receive_max: config.receive_max,
            aliases_max: config.topic_alias_max,
            keep_alive_max_s: config.keep_alive_max_s,
            session_expiry_max_s: config.session_expiry_max_s,
            subscriptions_max: config.subscriptions_max,
            server_reference: config.server_reference.clone(),
            rules: config.rules.clone(),
        }
    }
}
