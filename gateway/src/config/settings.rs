//! The table of settings: one line each with its range and default. Everything else about
//! configuration (unknown keys, ranges, the names of environment variables, the example file's
//! test) is derived from it.

use crate::limits;
pub(super) use hawser_router::settings::{Kind, Setting, integer, nearest, setting};

const MIB: u64 = limits::MIB;

/// What `router.endpoints` may be.
pub(super) const ENDPOINTS_ALLOWED: &str = "embedded, or the routers' link addresses as IP:PORT or [IPv6]:PORT, all of them, in the order \
     in which every router has them";

/// Listeners when neither file nor flag names one: kind, which is also the flag, and address.
pub(super) const LISTENERS: &[(&str, &str)] =
    &[("native", "127.0.0.1:7900"), ("websocket", "127.0.0.1:7901"), ("mqtt", "127.0.0.1:1883")];

/// Every setting outside `[[listener]]`, `[auth.tokens]` and `[[mqtt.rule]]`.
pub(super) const SETTINGS: &[Setting] = &[
    integer("limits.max_connections", 1, limits::CONNECTIONS_MAX as u64, "", "")
        .flag("max-connections")
        .decided_later(),
    integer("limits.workers", 1, limits::WORKERS_MAX as u64, "", "")
        .flag("workers")
        .decided_later(),
    integer("limits.tables", 1, limits::TABLES_MAX as u64, "", "").decided_later(),
    integer(
        "limits.frame_body_bytes_max",
        1024,
        limits::FRAME_BODY_BYTES_MAX as u64,
        "bytes",
        "65536",
    ),
    integer("limits.requests_max", 1, limits::REQUESTS_IN_FLIGHT_MAX as u64, "", "64"),
    integer("limits.outbound_bytes_high", 32 * 1024, 4 * MIB, "bytes", "65536"),
    integer("limits.handshake_timeout_ms", 100, 120_000, "ms", "10000"),
    integer("limits.send_stall_timeout_ms", 1_000, 600_000, "ms", "30000"),
    integer("limits.close_timeout_ms", 10, 60_000, "ms", "2000"),
    integer("limits.drain_timeout_s", 0, 3_600, "s", "25"),
    setting("limits.core_dumps", Kind::Boolean, Some("false")),
    setting("auth.kind", Kind::Choice(&["none", "token", "jwt"]), Some("none")).flag("auth"),
    setting("auth.token_file", Kind::Text, Some("")),
    setting("auth.jwt_key_file", Kind::Text, Some("")),
    setting(
        "auth.jwt_algorithm",
        Kind::Choice(&[
            "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "EdDSA",
        ]),
        Some("HS256"),
    ),
    setting("auth.jwt_audience", Kind::List, Some("")),
    setting("auth.jwt_issuer", Kind::List, Some("")),
    setting("auth.jwt_user_claim", Kind::Text, Some("sub")),
    setting("auth.jwt_realm_claim", Kind::Text, Some("")),
    integer("auth.jwt_leeway_s", 0, 300, "s", "0"),
    integer("auth.resume_lifetime_s", 10, 31 * 86_400, "s", "86400"),
    setting("auth.resume_key_file", Kind::Text, Some("")),
    integer("heartbeat.mobile_s", 5, 3_600, "s", "30"),
    integer("heartbeat.web_s", 5, 3_600, "s", "15"),
    integer("heartbeat.desktop_s", 5, 3_600, "s", "30"),
    integer("heartbeat.bot_s", 5, 3_600, "s", "30"),
    integer("heartbeat.client_min_s", 5, 3_600, "s", "5"),
    integer("heartbeat.client_max_s", 5, 3_600, "s", "600"),
    integer("heartbeat.grace_s", 1, 600, "s", "10"),
    setting("store.data_dir", Kind::Text, Some("./hawser-data")).flag("data-dir"),
    integer("store.segment_bytes", 4 * MIB, 4096 * MIB, "bytes", "268435456"),
    setting("store.write", Kind::Choice(&["auto", "direct", "sync"]), Some("auto")),
    integer("store.commit_bytes", 4096, 4 * MIB, "bytes", "65536"),
    integer("store.commit_wait_us", 0, 100_000, "us", "500"),
    integer("store.retention_hours", 2, 10 * 365 * 24, "h", "72"),
    integer("store.lanes", 1, limits::LANES_MAX as u64, "", "1"),
    setting("router.endpoints", Kind::WordOrList(ENDPOINTS_ALLOWED), Some("embedded"))
        .flag("router"),
    setting("router.secret_file", Kind::Text, Some("")),
    setting("router.name", Kind::Text, Some("")),
    integer("router.hosts", 1, limits::HOSTS_MAX as u64, "", "").decided_later(),
    integer("router.notify_timeout_ms", 100, 600_000, "ms", "5000"),
    integer("router.dedup_bytes_per_shard", 64 * 1024, 4096 * MIB, "bytes", "67108864"),
    integer("router.kept_sessions_max", 1, 64 * limits::MIB, "", "1000000"),
    integer("router.queue_entries_max", 1, limits::MIB, "", "1024"),
    integer("router.queue_bytes_max", 64 * 1024, 4096 * MIB, "bytes", "16777216"),
    integer("router.retained_max", 0, 64 * limits::MIB, "", "1000000"),
    integer("router.retained_bytes_max", 64 * 1024, 65_536 * MIB, "bytes", "268435456"),
    setting("tls.certificates", Kind::Text, Some("")),
    setting("tls.ticket_key_file", Kind::Text, Some("")),
    integer("tls.ticket_lifetime_s", 60, 7 * 86_400, "s", "86400"),
    setting("tls.min_version", Kind::Choice(&["1.2", "1.3"]), Some("1.2")),
    setting("tls.key_exchange", Kind::Choice(&["hybrid", "classical"]), Some("hybrid")),
    setting("tls.client_auth", Kind::Choice(&["none", "optional", "required"]), Some("none")),
    setting("tls.client_ca", Kind::Text, Some("")),
    setting("proxy.from", Kind::List, Some("")),
    integer(
        "websocket.frame_bytes_max",
        limits::WEBSOCKET_BYTES_MIN,
        limits::WEBSOCKET_BYTES_MAX,
        "bytes",
        "1048576",
    ),
    integer(
        "websocket.message_bytes_max",
        limits::WEBSOCKET_BYTES_MIN,
        limits::WEBSOCKET_BYTES_MAX,
        "bytes",
        "1048576",
    ),
    setting("websocket.deflate", Kind::Boolean, Some("true")),
    setting("websocket.deflate_takeover", Kind::Boolean, Some("false")),
    integer("websocket.deflate_bytes_max", MIB, 65_536 * MIB, "bytes", "67108864"),
    setting("websocket.origins", Kind::List, Some("")),
    setting("websocket.echo", Kind::Boolean, Some("false")),
    integer("mqtt.receive_max", 1, limits::REQUESTS_IN_FLIGHT_MAX as u64, "", "64"),
    integer("mqtt.packet_bytes_max", 1024, limits::MQTT_PACKET_BYTES_MAX, "bytes", "81920"),
    integer("mqtt.topic_alias_max", 0, limits::MQTT_ALIASES_MAX as u64, "", "16"),
    integer("mqtt.keep_alive_max_s", 0, 65_535, "s", "0"),
    integer("mqtt.session_expiry_max_s", 0, u32::MAX as u64, "s", "604800"),
    integer("mqtt.subscriptions_max", 1, limits::MQTT_SUBSCRIPTIONS_MAX as u64, "", "1000"),
    setting("mqtt.server_reference", Kind::Text, Some("")),
    setting("admin.address", Kind::Address, Some("127.0.0.1:7980")).flag("admin"),
    setting("admin.key_file", Kind::Text, Some("")),
    setting("admin.hosts", Kind::List, Some("")),
    setting("log.format", Kind::Choice(&["text", "json"]), Some("text")),
    setting("log.level", Kind::Choice(&["error", "warn", "info", "debug", "trace"]), Some("info")),
];

/// Keys of one `[[listener]]`.
pub(super) const LISTENER_KEYS: &[&str] = &["kind", "address", "tls", "proxy"];

/// Keys of `[[listener]]` that are fixed by the format but not served by this version.
pub(super) const LISTENER_KEYS_LATER: &[&str] = &["class"];

/// Keys of one entry of `tls.certificates`.
pub(super) const CERTIFICATE_KEYS: &[&str] = &["chain", "key"];

/// Keys of one `[[mqtt.rule]]`.
pub(super) const RULE_KEYS: &[&str] = &["effect", "action", "user", "filter"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_matched_and_a_foreign_one_is_not() {
        let known = || SETTINGS.iter().map(|setting| setting.key);
        assert_eq!(nearest("limits.max_conections", known()), Some("limits.max_connections"));
        assert_eq!(nearest("zzzzzzzz", known()), None);
    }

    #[test]
    fn defaults_are_inside_their_ranges_and_equal_the_named_limits() {
        for setting in SETTINGS {
            let (Kind::Integer { min, max, .. }, Some(default)) = (setting.kind, setting.default)
            else {
                continue;
            };
            let value: u64 = default.parse().unwrap();
            assert!((min..=max).contains(&value), "{}", setting.key);
        }
        let default = |key| {
            let setting = SETTINGS.iter().find(|setting| setting.key == key).unwrap();
            setting.default.unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(default("limits.frame_body_bytes_max"), u64::from(limits::FRAME_BODY_BYTES));
        assert_eq!(default("limits.requests_max"), u64::from(limits::REQUESTS_IN_FLIGHT));
        assert_eq!(default("limits.outbound_bytes_high"), u64::from(limits::OUTBOUND_BYTES_HIGH));
        assert_eq!(default("limits.handshake_timeout_ms"), u64::from(limits::HANDSHAKE_TIMEOUT_MS));
        assert_eq!(
            default("limits.send_stall_timeout_ms"),
            u64::from(limits::SEND_STALL_TIMEOUT_MS)
        );
        assert_eq!(default("limits.close_timeout_ms"), u64::from(limits::CLOSE_TIMEOUT_MS));
        assert_eq!(default("limits.drain_timeout_s"), u64::from(limits::DRAIN_TIMEOUT_S));
    }
}
