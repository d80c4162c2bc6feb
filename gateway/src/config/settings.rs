//! The table of settings: one line each with its range and default. Everything else about
//! configuration (unknown keys, ranges, the names of environment variables, the example file's
//! test) is derived from it.

use crate::limits;

/// What values a setting takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A whole number with its unit, inclusive range.
    Integer { min: u64, max: u64, unit: &'static str },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any text, maybe empty.
    Text,
    /// IP address and port, or `off`.
    Address,
    /// Texts; between commas outside the file.
    List,
    /// `embedded`, or addresses as a list.
    Endpoints,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// `section.name`, as in the file.
    pub key: &'static str,
    pub kind: Kind,
    /// Shipped value; `None`: decided by other settings or the machine.
    pub default: Option<&'static str>,
    /// Flag with the same meaning; its name is a second name of the environment variable, too.
    pub flag: Option<&'static str>,
}

const fn integer(
    key: &'static str,
    min: u64,
    max: u64,
    unit: &'static str,
    default: &'static str,
) -> Setting {
    Setting { key, kind: Kind::Integer { min, max, unit }, default: Some(default), flag: None }
}

const fn setting(key: &'static str, kind: Kind, default: Option<&'static str>) -> Setting {
    Setting { key, kind, default, flag: None }
}

impl Setting {
    const fn flag(mut self, name: &'static str) -> Self {
        self.flag = Some(name);
        self
    }

    const fn decided_later(mut self) -> Self {
        self.default = None;
        self
    }

    /// `HAWSER_LIMITS_WORKERS` for `limits.workers`.
    pub fn variable(&self) -> String {
        format!("HAWSER_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// `HAWSER_WORKERS` for the flag `--workers`.
    pub fn short_variable(&self) -> Option<String> {
        self.flag.map(|flag| format!("HAWSER_{}", flag.replace('-', "_").to_uppercase()))
    }

    /// The permitted values, for people.
    pub fn allowed(&self) -> String {
        match self.kind {
            Kind::Integer { min, max, unit: "" } => format!("{min} to {max}"),
            Kind::Integer { min, max, unit } => format!("{min} to {max} {unit}"),
            Kind::Choice(words) => words.join(", "),
            Kind::Text => "a text".to_owned(),
            Kind::Address => "IP:PORT, [IPv6]:PORT or off".to_owned(),
            Kind::List => "a list of texts".to_owned(),
            Kind::Endpoints => ENDPOINTS_ALLOWED.to_owned(),
        }
    }
}

const MIB: u64 = limits::MIB;

/// What `router.endpoints` may be.
pub(super) const ENDPOINTS_ALLOWED: &str = "embedded, or the routers' link addresses as IP:PORT or [IPv6]:PORT, all of them, in the order \
     in which every router has them";

/// Address of the native listener when neither file nor flag names one.
pub(super) const NATIVE_ADDRESS: &str = "127.0.0.1:7900";

/// Every setting outside `[[listener]]` and `[auth.tokens]`.
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
    setting("router.endpoints", Kind::Endpoints, Some("embedded")).flag("router"),
    setting("router.secret_file", Kind::Text, Some("")),
    setting("router.name", Kind::Text, Some("")),
    integer("router.hosts", 1, limits::HOSTS_MAX as u64, "", "").decided_later(),
    integer("router.notify_timeout_ms", 100, 600_000, "ms", "5000"),
    integer("router.dedup_bytes_per_shard", 64 * 1024, 4096 * MIB, "bytes", "67108864"),
    setting("admin.address", Kind::Address, Some("127.0.0.1:7980")).flag("admin"),
    setting("admin.key_file", Kind::Text, Some("")),
    setting("log.format", Kind::Choice(&["text", "json"]), Some("text")),
    setting("log.level", Kind::Choice(&["error", "warn", "info", "debug", "trace"]), Some("info")),
];

/// Keys of one `[[listener]]`.
pub(super) const LISTENER_KEYS: &[&str] = &["kind", "address"];

/// Keys of `[[listener]]` that are fixed by the format but not served by this version.
pub(super) const LISTENER_KEYS_LATER: &[&str] = &["tls", "proxy", "class"];

/// The known name nearest to what was written, when near enough to be meant.
pub(super) fn nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let (distance, name) =
        known.into_iter().map(|name| (distance(written, name), name)).min_by_key(|pair| pair.0)?;
    (distance <= 2.max(written.chars().count() / 3)).then_some(name)
}

/// Levenshtein distance in characters. Quadratic: keys are short, and long ones are cut.
fn distance(a: &str, b: &str) -> usize {
    const CHARACTERS_MAX: usize = 64;
    let b: Vec<char> = b.chars().take(CHARACTERS_MAX).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(CHARACTERS_MAX).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_matched_and_a_foreign_one_is_not() {
        let known = || SETTINGS.iter().map(|setting| setting.key);
        assert_eq!(nearest("limits.max_conections", known()), Some("limits.max_connections"));
        assert_eq!(nearest("zzzzzzzz", known()), None);
        assert_eq!(distance("kitten", "sitting"), 3);
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
