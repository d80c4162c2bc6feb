//! What does not fit together in a scenario, and what cannot work with which protocol.
//!
//! The same for files and flags: a complaint names the key, and the file's reader finds its line.

use std::time::Duration;

use super::{Kind, Protocol, Recipients, Scenario, curve::Integral, time};
use crate::{
    arguments::{CONNECTIONS_MAX, RATE_ALLOWED, RATE_MAX},
    schedule::WAVES_MAX,
};

/// Shares of heartbeats are decimal fractions of people: this far off 1 they are still meant so.
const SHARES_OFF: f64 = 1e-6;

/// Why a scenario cannot be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The key that is at fault, as `table.key`.
    pub key: &'static str,
    /// One line with what is allowed.
    pub reason: String,
}

impl Complaint {
    pub(super) fn new(key: &'static str, reason: impl Into<String>) -> Self {
        Self { key, reason: reason.into() }
    }
}

/// Fields of `disturb` that a kind has a use for.
fn disturb_fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Storm => &["share", "at", "every", "for", "spread"],
        Kind::Offline | Kind::HalfOpen => &["share", "at", "spread"],
        Kind::Resume | Kind::NetworkChange => &["share", "at", "for", "spread", "rate"],
        Kind::SlowReader => &["share", "at", "every", "for", "spread"],
        Kind::Hold
        | Kind::Heartbeats
        | Kind::Chat
        | Kind::Replies
        | Kind::Fanout
        | Kind::Broadcast
        | Kind::Devices
        | Kind::Restart => &[],
    }
}

/// Why a kind has no use for a key that was given, as a flag or in a file by the name `shown`; none:
/// it has.
pub fn unused(kind: Kind, key: &str, shown: &str) -> Option<String> {
    let name = kind.name();
    let (table, field) = key.split_once('.').unwrap_or((key, ""));
    match table {
        "load" | "payload_bytes" if !kind.sends() => {
            Some(format!("{shown} is for kinds that send messages, as chat; {name} sends none"))
        }
        "recipients" if !kind.sends() || kind.publishes() => {
            Some(format!("{shown} is for kinds that write to users, as chat; {name} does not"))
        }
        "groups" if kind != Kind::Fanout => {
            Some(format!("{shown} is for the kind fanout, not for {name}"))
        }
        "replies" if kind != Kind::Replies => {
            Some(format!("{shown} is for the kind replies, not for {name}"))
        }
        "disturb" if !disturb_fields(kind).contains(&field) => {
            let used = disturb_fields(kind);
            Some(if used.is_empty() {
                format!(
                    "{name} disturbs nothing; {shown} is for storm, offline, resume, \
                         network-change, slow-reader and half-open"
                )
            } else {
                format!("{name} has no use for {shown}; it takes {}", used.join(", "))
            })
        }
        _ => None,
    }
}

/// What does not fit together.
///
/// # Errors
/// The first complaint.
pub fn check(scenario: &Scenario) -> Result<(), Complaint> {
    protocol(scenario)?;
    path(scenario)?;
    mqtt(scenario)?;
    people(scenario)?;
    load(scenario)?;
    heartbeats(scenario)?;
    disturb(scenario)?;
    actions(scenario)
}

/// What is still missing for a run; a file may leave it to the flags.
///
/// # Errors
/// The first complaint.
pub fn complete(scenario: &Scenario) -> Result<(), Complaint> {
    if scenario.kind == Kind::Restart && scenario.actions.is_empty() {
        let reason = "restart needs a command and its time, as --action '5s systemctl restart \
                      hawser-gateway', or in a copy of the file: see hawser-loadgen scenarios restart";
        return Err(Complaint::new("actions", reason));
    }
    Ok(())
}

/// Connections per second for all of them within a time.
pub(crate) fn connect_rate(scenario: &Scenario, within: Duration) -> Result<f64, Complaint> {
    let rate = f64::from(scenario.connections()) / within.as_secs_f64();
    // Nothing is within no time; the highest rate is all at once.
    let rate = rate.min(RATE_MAX);
    if RATE_ALLOWED.contains(&rate) {
        Ok(rate)
    } else {
        let within = time::text(within);
        Err(Complaint::new("connect.within", format!("within {within} is too long for so few")))
    }
}

fn protocol(scenario: &Scenario) -> Result<(), Complaint> {
    let (kind, spoken) = (scenario.kind, scenario.protocol);
    let complain = |reason: String| Err(Complaint::new("protocol", reason));
    if kind.publishes() && spoken != Protocol::Echo && !spoken.is_mqtt() {
        return complain(format!(
            "{} over {}: this protocol has no groups and rooms yet; publishing to topics works with \
             --protocol mqtt or mqtt3",
            kind.name(),
            spoken.name()
        ));
    }
    if spoken == Protocol::Echo && !matches!(kind, Kind::Hold | Kind::Chat) {
        return complain(format!(
            "{} over websocket-echo: an echo comes back to its sender, so only hold and chat work; \
             a server that routes is spoken to with --protocol {}",
            kind.name(),
            if kind.publishes() {
                "mqtt or mqtt3"
            } else {
                "native, websocket, websocket-json, mqtt or mqtt3"
            }
        ));
    }
    Ok(())
}

fn path(scenario: &Scenario) -> Result<(), Complaint> {
    let path = scenario.path.as_str();
    if path.is_empty() {
        return Ok(());
    }
    if scenario.protocol == Protocol::Native {
        let reason = "native has no path; websocket, websocket-json, websocket-echo, mqtt and \
                      mqtt3 may have one";
        return Err(Complaint::new("path", reason));
    }
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        let reason = format!("{path:?}: must begin with / and hold no blanks, as \"/mqtt\"");
        return Err(Complaint::new("path", reason));
    }
    Ok(())
}

fn mqtt(scenario: &Scenario) -> Result<(), Complaint> {
    if !scenario.protocol.is_mqtt() || scenario.kind != Kind::Offline {
        return Ok(());
    }
    if scenario.mqtt.clean {
        return Err(Complaint::new(
            "mqtt.clean",
            "offline over MQTT: nothing is kept for a clean session; clean = false (--session kept)",
        ));
    }
    if scenario.mqtt.qos == 0 {
        return Err(Complaint::new(
            "mqtt.qos",
            "offline over MQTT: a server may drop what is sent at QoS 0 to one who is away; qos 1 \
             or 2 (--qos 1)",
        ));
    }
    Ok(())
}

fn people(scenario: &Scenario) -> Result<(), Complaint> {
    let (users, devices) = (scenario.users, scenario.devices);
    let connections = u64::from(users) * u64::from(devices);
    if connections > u64::from(CONNECTIONS_MAX) {
        return Err(Complaint::new(
            "users",
            format!(
                "{users} users with {devices} devices are {connections} connections; allowed: up \
                 to {CONNECTIONS_MAX}"
            ),
        ));
    }
    if !scenario.kind.sends() || scenario.protocol == Protocol::Echo {
        return Ok(());
    }
    if users < 2 {
        return Err(Complaint::new(
            "users",
            "1 user: to write to each other at least 2 are needed",
        ));
    }
    if users % 2 == 1 && scenario.recipients == Recipients::Pair && !scenario.kind.publishes() {
        return Err(Complaint::new("users", format!("{users} users: pairs need an even number")));
    }
    Ok(())
}

fn load(scenario: &Scenario) -> Result<(), Complaint> {
    if scenario.warm_up >= scenario.duration {
        let (warm_up, duration) = (time::text(scenario.warm_up), time::text(scenario.duration));
        let reason = format!("warm-up {warm_up} leaves nothing of duration {duration}");
        return Err(Complaint::new("warm_up", reason));
    }
    if !scenario.kind.sends() {
        return Ok(());
    }
    if scenario.load.in_flight.is_some() {
        return in_flight(scenario);
    }
    let messages = Integral::from(&scenario.load.curve).until(scenario.duration.as_secs_f64());
    if messages < 1.0 {
        let duration = time::text(scenario.duration);
        let reason =
            format!("not one message is sent in {duration}: a higher rate or a longer duration");
        return Err(Complaint::new("load.rate", reason));
    }
    if scenario.kind == Kind::Fanout && scenario.groups.size(scenario.users) < 2 {
        let reason =
            "1 member: nobody else hears what it publishes; at least 2, or 0 for all users";
        return Err(Complaint::new("groups.members", reason));
    }
    if scenario.kind == Kind::Replies && scenario.replies.hops == 0 {
        return Err(Complaint::new("replies.hops", "0 hops are a chat; at least 1 (--hops)"));
    }
    Ok(())
}

fn in_flight(scenario: &Scenario) -> Result<(), Complaint> {
    let complain = |reason: &str| Err(Complaint::new("load.in_flight", reason));
    if scenario.kind != Kind::Chat {
        return complain("a closed loop (in-flight) is for the kind chat");
    }
    if scenario.devices > 1 {
        return complain("a closed loop (in-flight) goes with 1 device of each user");
    }
    if scenario.recipients == Recipients::Random && scenario.protocol != Protocol::Echo {
        return complain("in-flight needs pairs: give --pairs, or --recipients pair");
    }
    Ok(())
}

fn heartbeats(scenario: &Scenario) -> Result<(), Complaint> {
    let sum: f64 = scenario.heartbeats.iter().map(|one| one.share).sum();
    if !scenario.heartbeats.is_empty() && (sum - 1.0).abs() > SHARES_OFF {
        let reason = format!("the shares together are {sum}; allowed: together 1");
        return Err(Complaint::new("heartbeats", reason));
    }
    Ok(())
}

fn disturb(scenario: &Scenario) -> Result<(), Complaint> {
    let fields = disturb_fields(scenario.kind);
    let disturb = &scenario.disturb;
    // A storm without a first leave is the connecting alone.
    if fields.is_empty() || scenario.kind == Kind::Storm && disturb.at.is_zero() {
        return Ok(());
    }
    let name = scenario.kind.name();
    let marked = |of: u32| (f64::from(of) * disturb.share + 1e-9).floor();
    let connections = scenario.connections();
    let needs_some = match scenario.kind {
        Kind::Offline => marked(scenario.users),
        _ => marked(connections),
    };
    if needs_some < 1.0 {
        let reason = format!("{name} needs a share of at least one connection (--share)");
        return Err(Complaint::new("disturb.share", reason));
    }
    let all = matches!(scenario.kind, Kind::Offline | Kind::SlowReader) && disturb.share > 0.99;
    if all {
        let reason = format!("{name} needs somebody to write to the others: a share up to 0.99");
        return Err(Complaint::new("disturb.share", reason));
    }
    if disturb.at >= scenario.duration {
        let (at, duration) = (time::text(disturb.at), time::text(scenario.duration));
        let reason = format!("at {at} is not within the duration {duration} (--at)");
        return Err(Complaint::new("disturb.at", reason));
    }
    if fields.contains(&"rate") {
        return trickle(scenario, marked(connections));
    }
    waves(scenario)
}

/// Connections leave one after the other.
fn trickle(scenario: &Scenario, marked: f64) -> Result<(), Complaint> {
    let disturb = &scenario.disturb;
    if disturb.rate == 0.0 {
        let reason = format!(
            "{} needs a rate of connections that leave, per second (--leave-rate)",
            scenario.kind.name()
        );
        return Err(Complaint::new("disturb.rate", reason));
    }
    let away = disturb.rate * (disturb.lasts + disturb.spread).as_secs_f64();
    if away > marked / 2.0 {
        let reason = format!(
            "{} leave a second and are away for {}: that is {away:.0} at once of {marked:.0} that \
             may leave; allowed: up to half of them",
            disturb.rate,
            time::text(disturb.lasts + disturb.spread)
        );
        return Err(Complaint::new("disturb.rate", reason));
    }
    Ok(())
}

fn waves(scenario: &Scenario) -> Result<(), Complaint> {
    let disturb = &scenario.disturb;
    if scenario.kind == Kind::SlowReader && disturb.lasts.is_zero() {
        let reason = "slow-reader needs a time for which nothing is read (--for)";
        return Err(Complaint::new("disturb.for", reason));
    }
    if disturb.every.is_zero() {
        return Ok(());
    }
    let shortest = (disturb.lasts + disturb.spread).max(Duration::from_secs(1));
    let waves = scenario.duration.as_secs() / disturb.every.as_secs().max(1);
    if disturb.every < shortest || waves > WAVES_MAX {
        let reason = format!(
            "every {}: the next must not begin before the last is over, {} later (--every)",
            time::text(disturb.every),
            time::text(shortest)
        );
        return Err(Complaint::new("disturb.every", reason));
    }
    Ok(())
}

fn actions(scenario: &Scenario) -> Result<(), Complaint> {
    for action in &scenario.actions {
        if action.run.first().is_none_or(String::is_empty) {
            let reason = "an action names a program, as { at = \"5s\", run = [\"systemctl\", \
                          \"restart\", \"hawser-gateway\"] }";
            return Err(Complaint::new("actions", reason));
        }
        if action.at >= scenario.duration {
            let (at, duration) = (time::text(action.at), time::text(scenario.duration));
            let reason = format!("the action at {at} is not within the duration {duration}");
            return Err(Complaint::new("actions", reason));
        }
    }
    Ok(())
}
