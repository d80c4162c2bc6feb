//! What a run does: everything that another machine needs to do the same.
//!
//! A scenario is pure data. It is read from a TOML file ([`mod@file`]), changed by flags
//! (`arguments`), stands whole in the report as evidence, and [`crate::schedule`] makes the
//! intents of a run from it and a seed. Where the server is and where results go is no part of
//! it: that is [`crate::arguments::Options`].
//!
//! Words: a *user* is a simulated person with a number of *devices*; a *connection* is one device,
//! its index is `user * devices + device`. A *marked* connection or user is one of the share that
//! a disturbance is about; who is marked follows from the index alone ([`is_marked`]).

pub mod builtin;
pub mod check;
pub mod curve;
pub mod day;
pub mod file;
pub mod threshold;
pub mod time;
mod value;

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use check::Complaint;
pub use curve::{Curve, Segment};
pub use threshold::{Metric, Operator, Quantile, Threshold};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Of the file or the built-in scenario.
    pub name: String,
    /// What the users do.
    pub kind: Kind,
    /// What they speak.
    pub protocol: Protocol,
    /// Over TLS.
    pub tls: bool,
    /// Path of the WebSocket; empty: the protocol's usual one, and for mqtt and mqtt3 none: a
    /// path puts them in a WebSocket.
    #[serde(default)]
    pub path: String,
    /// People.
    pub users: u32,
    /// Connections of each.
    pub devices: u32,
    /// Messages are sent, or connections held, for so long; warm-up included.
    #[serde(with = "time")]
    pub duration: Duration,
    /// Left out of the latencies at the start of the duration.
    #[serde(with = "time")]
    pub warm_up: Duration,
    /// Longest wait for outstanding messages at the end.
    #[serde(with = "time")]
    pub drain: Duration,
    /// Bytes of a message's body.
    pub payload_bytes: u32,
    /// To whom users write.
    pub recipients: Recipients,
    /// What the run fails by, exit code 3.
    pub thresholds: Vec<Threshold>,
    /// How connections come up.
    pub connect: Connect,
    /// How many messages, when.
    pub load: Load,
    /// Who sits in which group.
    pub groups: Groups,
    /// Conversations that go back and forth.
    pub replies: Replies,
    /// What is done to a share of the connections.
    pub disturb: Disturb,
    /// Of the protocols mqtt3 and mqtt.
    pub mqtt: MqttSettings,
    /// Which heartbeat which share of the connections asks for; empty: the server's.
    pub heartbeats: Vec<HeartbeatShare>,
    /// Commands run at times, as to restart a gateway.
    pub actions: Vec<Action>,
}

/// What the users of a run do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Log in and answer heartbeats.
    Hold,
    /// Connect all at once, or within a spread; then leave all at once and come back.
    Storm,
    /// Hold with a mix of heartbeats.
    Heartbeats,
    /// Send direct messages.
    Chat,
    /// Send direct messages that are answered, several times.
    Replies,
    /// Publish to groups.
    Fanout,
    /// Publish to one room in which everybody is.
    Broadcast,
    /// A share is away, is written to, and comes back.
    Offline,
    /// Several devices of each user.
    Devices,
    /// Connections break and come back, at a rate, while messages go on.
    Resume,
    /// Connections come back from elsewhere while the server still holds the old ones.
    NetworkChange,
    /// A share stops reading for a time.
    SlowReader,
    /// A share falls silent without closing.
    HalfOpen,
    /// Commands restart servers while messages go on.
    Restart,
}

impl Kind {
    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Storm => "storm",
            Self::Heartbeats => "heartbeats",
            Self::Chat => "chat",
            Self::Replies => "replies",
            Self::Fanout => "fanout",
            Self::Broadcast => "broadcast",
            Self::Offline => "offline",
            Self::Devices => "devices",
            Self::Resume => "resume",
            Self::NetworkChange => "network-change",
            Self::SlowReader => "slow-reader",
            Self::HalfOpen => "half-open",
            Self::Restart => "restart",
        }
    }

    /// Its users send messages; the others only hold connections.
    pub fn sends(self) -> bool {
        !matches!(self, Self::Hold | Self::Storm | Self::Heartbeats | Self::HalfOpen)
    }

    /// Its messages go to groups, not to users.
    pub fn publishes(self) -> bool {
        matches!(self, Self::Fanout | Self::Broadcast)
    }
}

/// Protocols a run can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
pub enum Protocol {
    /// Hawser's own over TCP.
    #[value(name = "native")]
    #[serde(rename = "native")]
    Native,
    /// Hawser's own in binary WebSocket messages.
    #[value(name = "websocket")]
    #[serde(rename = "websocket")]
    WebsocketNative,
    /// Hawser's JSON in WebSocket messages.
    #[value(name = "websocket-json")]
    #[serde(rename = "websocket-json")]
    WebsocketJson,
    /// Any WebSocket server that sends each message back to its sender.
    #[value(name = "websocket-echo")]
    #[serde(rename = "websocket-echo")]
    Echo,
    /// MQTT 3.1.1.
    #[value(name = "mqtt3")]
    #[serde(rename = "mqtt3")]
    Mqtt3,
    /// MQTT 5.
    #[value(name = "mqtt", alias = "mqtt5")]
    #[serde(rename = "mqtt", alias = "mqtt5")]
    Mqtt5,
}

impl Protocol {
    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::WebsocketNative => "websocket",
            Self::WebsocketJson => "websocket-json",
            Self::Echo => "websocket-echo",
            Self::Mqtt3 => "mqtt3",
            Self::Mqtt5 => "mqtt",
        }
    }

    /// Port of Hawser's listener, and the usual one of MQTT.
    pub fn port(self, tls: bool) -> u16 {
        match (self, tls) {
            (Self::Native, false) => 7900,
            (Self::Native, true) => 7943,
            (Self::WebsocketNative | Self::WebsocketJson | Self::Echo, false) => 7901,
            (Self::WebsocketNative | Self::WebsocketJson | Self::Echo, true) => 7944,
            (Self::Mqtt3 | Self::Mqtt5, false) => 1883,
            (Self::Mqtt3 | Self::Mqtt5, true) => 8883,
        }
    }

    /// Either version of MQTT.
    pub fn is_mqtt(self) -> bool {
        matches!(self, Self::Mqtt3 | Self::Mqtt5)
    }

    /// Carried in WebSocket messages.
    pub fn is_websocket(self) -> bool {
        matches!(self, Self::WebsocketNative | Self::WebsocketJson | Self::Echo)
    }
}

/// How intended times are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// At equal distances.
    Constant,
    /// As independent events: exponential distances.
    Poisson,
}

/// To whom a user writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recipients {
    /// Users 0 and 1, 2 and 3, and so on write to each other.
    Pair,
    /// Each message goes to a random one of the sender's eight contacts, who are random users.
    Random,
}

/// How a connection is closed by its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Close {
    /// TCP reset: nothing stays behind on this side, the server sees an error.
    Rst,
    /// Orderly, with a FIN; leaves this side's port in TIME_WAIT for a minute.
    Fin,
}

/// How connections come up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connect {
    /// New connections per second in all.
    pub rate: f64,
    /// How they are spread.
    pub arrivals: Arrivals,
    /// A storm: connects go out at the rate whether the server keeps up or not. Otherwise the
    /// ramp waits for the server, so that it does not fill its backlog in vain.
    pub unbounded: bool,
    /// How connections are closed by this side.
    pub close: Close,
}

/// How many messages, when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Messages per second over time, all users together. Of replies: first messages.
    pub curve: Curve,
    /// How the intended times are spread.
    pub arrivals: Arrivals,
    /// Closed loop instead: messages each pair keeps on their way. For comparing costs, not for
    /// latencies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
}

/// Connections that ask for one heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatShare {
    /// Of all connections; all shares together are 1.
    pub share: f64,
    /// Heartbeat asked for; 0: the server's.
    pub seconds: u16,
}

/// Who sits in which group: each group has as many users, the groups begin at equal distances on
/// the ring of users, so that each user sits in about `count * members / users` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Groups {
    /// Groups in all.
    pub count: u32,
    /// Users of each; 0 or more than there are: everybody.
    pub members: u32,
}

impl Groups {
    /// Members of each group, of so many users in all.
    pub fn size(&self, users: u32) -> u32 {
        if self.members == 0 { users } else { self.members.min(users) }
    }

    /// Member `place` of `group`; `place` is below [`Groups::size`].
    pub fn member(&self, group: u32, place: u32, users: u32) -> u32 {
        ((u64::from(self.first(group, users)) + u64::from(place)) % u64::from(users)) as u32
    }

    /// The user sits in the group.
    pub fn contains(&self, group: u32, user: u32, users: u32) -> bool {
        let distance = u64::from(user) + u64::from(users) - u64::from(self.first(group, users));
        group < self.count && distance % u64::from(users) < u64::from(self.size(users))
    }

    /// The groups of this user.
    pub fn of(&self, user: u32, users: u32) -> impl Iterator<Item = u32> {
        let groups = *self;
        // The groups that begin within the last `size` users on the ring, of which the first is
        // at most one group further back than the proportion says.
        let back = u64::from(user) + 1 + u64::from(users) - u64::from(groups.size(users));
        let first = back * u64::from(groups.count) / u64::from(users);
        let near = u64::from(groups.size(users)) * u64::from(groups.count) / u64::from(users) + 2;
        let count = u64::from(groups.count);
        (first..first + near.min(count))
            .map(move |group| (group % count.max(1)) as u32)
            .filter(move |group| groups.contains(*group, user, users))
    }

    fn first(&self, group: u32, users: u32) -> u32 {
        (u64::from(group) * u64::from(users) / u64::from(self.count.max(1))) as u32
    }
}

/// Conversations that go back and forth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replies {
    /// Replies that follow a first message, one upon the other.
    pub hops: u8,
    /// From a message's expected arrival to the reply.
    #[serde(with = "time")]
    pub think: Duration,
}

/// What is done to a share of the connections. What a field means follows from the kind:
///
/// | kind | share | at | every | for | spread | rate |
/// |---|---|---|---|---|---|---|
/// | storm | that leave | first leave; 0: none | next leaves; 0: once | away | coming back within | - |
/// | offline | users away | return | - | - | returning within | - |
/// | resume, network-change | that may leave | first leave | - | away | away so much longer at most | leaves a second |
/// | slow-reader | that doze | first doze | next dozes; 0: once | without reading | beginning within | - |
/// | half-open | that hush | hush | - | - | hushing within | - |
///
/// The other kinds leave it alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disturb {
    /// Marked ones, of all; 0 to 1.
    pub share: f64,
    /// First time, after the start of the load.
    #[serde(with = "time")]
    pub at: Duration,
    /// Again after each such time; 0: once.
    #[serde(with = "time")]
    pub every: Duration,
    /// How long it lasts.
    #[serde(rename = "for", with = "time")]
    pub lasts: Duration,
    /// Not all at one instant, but within this time.
    #[serde(with = "time")]
    pub spread: Duration,
    /// Connections per second in all.
    pub rate: f64,
}

/// How a user is addressed over MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addressing {
    /// A topic of each user: any broker.
    Topic,
    /// Hawser's mailbox: `$hawser/u/<user>` and `$hawser/inbox`.
    Mailbox,
}

/// Of the protocols mqtt3 and mqtt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttSettings {
    /// Quality of service of messages and subscriptions, 0 to 2.
    pub qos: u8,
    /// Each connection begins anew; otherwise the session, with what waits for it, survives.
    pub clean: bool,
    /// How a user is addressed.
    pub addressing: Addressing,
}

/// A command that is run at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// After the start of the load.
    #[serde(with = "time")]
    pub at: Duration,
    /// Program and its arguments; no shell.
    pub run: Vec<String>,
}

impl Scenario {
    /// Port of Hawser's listener for it, and the usual one of MQTT.
    pub fn port(&self) -> u16 {
        if self.path.is_empty() {
            self.protocol.port(self.tls)
        } else {
            Protocol::WebsocketNative.port(self.tls)
        }
    }

    /// Connections in all.
    pub fn connections(&self) -> u32 {
        self.users * self.devices
    }

    /// Heartbeat the connection asks for, seconds; 0: the server's.
    pub fn heartbeat_s(&self, connection: u32) -> u16 {
        // Neighbours differ, and any long run of connections has about the shares of all.
        let place = f64::from(connection.wrapping_mul(0x9e37_79b9)) / (f64::from(u32::MAX) + 1.0);
        let mut below = 0.0;
        for one in &self.heartbeats {
            below += one.share;
            if place < below {
                return one.seconds;
            }
        }
        self.heartbeats.last().map_or(0, |last| last.seconds)
    }

    /// The disturbance is about this user's (offline) or connection's share.
    pub fn is_disturbed(&self, connection: u32) -> bool {
        let index = if self.kind == Kind::Offline { connection / self.devices } else { connection };
        is_marked(index, self.disturb.share)
    }

    /// What is for this connection waits, because it is away or does not read on purpose.
    pub fn holds_up(&self, connection: u32) -> bool {
        matches!(self.kind, Kind::Offline | Kind::SlowReader) && self.is_disturbed(connection)
    }
}

/// One of the share: evenly spread over the indices, and of the first `n` never more than one off
/// `n * share`.
pub fn is_marked(index: u32, share: f64) -> bool {
    let below = |count: f64| (count * share + 1e-9).floor();
    below(f64::from(index) + 1.0) > below(f64::from(index))
}

impl Scenario {
    /// What a kind does if nobody says otherwise.
    pub fn usual(kind: Kind) -> Self {
        let seconds = Duration::from_secs;
        Self {
            name: kind.name().to_owned(),
            kind,
            protocol: if kind.publishes() { Protocol::Mqtt5 } else { Protocol::Native },
            tls: false,
            path: String::new(),
            users: 1000,
            devices: if kind == Kind::Devices { 3 } else { 1 },
            duration: if kind.sends() { seconds(10) } else { seconds(180) },
            warm_up: if kind.sends() { seconds(1) } else { Duration::ZERO },
            drain: seconds(10),
            payload_bytes: 64,
            recipients: Recipients::Random,
            thresholds: Vec::new(),
            connect: Connect {
                rate: 20_000.0,
                arrivals: Arrivals::Constant,
                unbounded: kind == Kind::Storm,
                close: Close::Rst,
            },
            load: Load {
                curve: Curve::Constant(if kind.sends() { 1000.0 } else { 0.0 }),
                arrivals: Arrivals::Constant,
                in_flight: None,
            },
            groups: Groups { count: 1, members: 0 },
            replies: Replies { hops: if kind == Kind::Replies { 3 } else { 0 }, think: seconds(1) },
            disturb: Disturb {
                share: 0.0,
                at: Duration::ZERO,
                every: Duration::ZERO,
                lasts: Duration::ZERO,
                spread: Duration::ZERO,
                rate: 0.0,
            },
            mqtt: MqttSettings {
                qos: 1,
                clean: !matches!(
                    kind,
                    Kind::Offline | Kind::Resume | Kind::NetworkChange | Kind::Restart
                ),
                addressing: Addressing::Topic,
            },
            heartbeats: Vec::new(),
            actions: Vec::new(),
        }
    }
}
