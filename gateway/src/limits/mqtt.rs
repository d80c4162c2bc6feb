//! Bounds of the MQTT core: what a client may ask for, and what a worker keeps while something is
//! under way. A client that is idle and has subscribed to nothing keeps none of it.

/// Default longest packet taken, bytes: a topic, properties and a payload of [`super::FRAME_BODY_BYTES`].
pub const MQTT_PACKET_BYTES: u32 = 80 * 1024;
/// Longest packet before a client is known: names, a token, a will of 4 KiB.
pub const MQTT_CONNECT_BYTES_MAX: u32 = 16 * 1024;
/// Default publishes of QoS 1 and 2 a client may have unanswered.
pub const MQTT_RECEIVE_MAX: u16 = 64;
/// Default topic aliases a client may set.
pub const MQTT_ALIASES: u16 = 16;
/// Bytes of the topics behind one client's aliases, at most.
pub const MQTT_ALIAS_BYTES_MAX: usize = 8 * 1024;
/// Aliases set towards one client, at most, whatever it takes: its busiest topics are few.
pub const MQTT_ALIASES_OUT_MAX: u16 = 16;
/// Bytes of topics behind all aliases of one worker, both ways, at most; none are set beyond.
pub const MQTT_ALIAS_BYTES_PER_WORKER: usize = 16 << 20;
/// Publishes of QoS 1 and 2 to one client that it has not answered, at most, whatever it takes.
pub const MQTT_IN_FLIGHT_MAX: u16 = 128;
/// Messages that wait for one client to answer earlier ones; the next one is dropped. Only for
/// sessions that are not kept: others have their queue at home.
pub const MQTT_WAITING_MAX: usize = 1000;
/// Their bytes.
pub const MQTT_WAITING_BYTES_MAX: usize = 256 * 1024;
/// Bytes of such messages of one worker, at most.
pub const MQTT_WAITING_BYTES_PER_WORKER: usize = 64 << 20;
/// Default subscriptions of one client.
pub const MQTT_SUBSCRIPTIONS: u32 = 1000;
/// Subscriptions of one worker's clients.
pub const MQTT_SUBSCRIPTIONS_PER_WORKER: usize = 4 << 20;
/// Memory of the tree that finds them, bytes: some 100 for each.
pub const MQTT_TREE_BYTES_PER_WORKER: usize = 512 << 20;
/// Filters of one SUBSCRIBE or UNSUBSCRIBE.
pub const MQTT_FILTERS_PER_PACKET_MAX: usize = 1024;
/// Questions to the hosts (subscribe, unsubscribe, retained) that one worker has unanswered; more
/// are refused for quota. Each is some 100 B.
pub const MQTT_QUESTIONS_MAX: usize = 64 * 1024;
/// SUBSCRIBE and UNSUBSCRIBE packets of one client not yet answered; nothing more is read beyond.
pub const MQTT_QUESTIONS_PER_CLIENT_MAX: u16 = 16;
/// Default highest keep-alive told to clients of version 5, seconds; 0: theirs.
pub const MQTT_KEEP_ALIVE_S: u16 = 0;
/// Default longest life of a session without a connection, seconds: a week.
pub const MQTT_SESSION_EXPIRY_S: u32 = 7 * 24 * 3600;
/// Filters told to a host again in one turn, after it lost its state.
pub const MQTT_ROUTES_PER_TURN: usize = 512;
/// Entries of the mailbox asked for at one time by a client that reads it through its topic.
pub const MQTT_INBOX_PAGE: u16 = 50;
/// Empty vectors kept for the next window.
pub const MQTT_SPARE_WINDOWS: usize = 4096;
/// Keys of topics one worker keeps from earlier publishes: 64 B and the topic each.
pub const MQTT_TOPIC_KEYS: usize = 4096;
/// A topic longer than this has its key made anew each time.
pub const MQTT_TOPIC_KEY_BYTES_MAX: usize = 128;

/// Messages of topics that a worker has heard and not yet given to all their connections, bytes:
/// 30,000 of 1 KiB, which is seconds of work. Beyond it messages of QoS 0 are dropped, at twice as
/// much all.
pub const MQTT_PENDING_BYTES: usize = 32 << 20;
