//! Topics: where a user or a group is written to, and who that is.
//!
//! | addressing | user | group |
//! |---|---|---|
//! | topic | `load/<run>/u/<name>`, subscribed by the user's connections | `load/<run>/g/<number>`, by its members' |
//! | mailbox | published to `$hawser/u/<name>`, read from `$hawser/inbox` | as above |
//!
//! The run is part of every topic, so that runs do not hear each other.

use std::{fmt::Write, str};

use super::super::Ground;
use crate::{
    identity::Names,
    payload::GROUP,
    scenario::{Addressing, Scenario},
};

/// A user's own mailbox.
pub(super) const INBOX: &str = "$hawser/inbox";

/// Messages to users go through mailboxes.
pub(super) fn is_mailbox(scenario: &Scenario) -> bool {
    scenario.mqtt.addressing == Addressing::Mailbox
}

/// Client identifier of a connection. Brokers want it to be the only one, also among other users'.
pub(super) fn client_id(ground: &Ground, index: u32) -> String {
    let audience = ground.oracle.audience();
    let name = ground.names.name(audience.user(index));
    format!("{}-{}", name.as_str(), index % audience.devices)
}

/// Appends the topic to which a message to this target is published.
pub(super) fn write(ground: &Ground, target: u32, out: &mut Vec<u8>) {
    if target & GROUP != 0 {
        put_base(&ground.names, 'g', out);
        push_number(target & !GROUP, out);
        return;
    }
    if is_mailbox(&ground.scenario) {
        out.extend_from_slice(b"$hawser/u/");
    } else {
        put_base(&ground.names, 'u', out);
    }
    out.extend_from_slice(ground.names.name(target).as_str().as_bytes());
}

/// The target whose topic this is; `None`: of none of this run.
pub(super) fn read(names: &Names, topic: &str) -> Option<u32> {
    let base = base(names);
    let rest = topic.strip_prefix(base.as_str())?;
    if let Some(name) = rest.strip_prefix("u/") {
        return names.index(name);
    }
    let number = rest.strip_prefix("g/")?;
    let group: u32 = number.parse().ok()?;
    // One number has one name: not `+1`, not `01`.
    (group < GROUP && group.to_string() == number).then_some(group | GROUP)
}

/// Filters a connection subscribes to, in order. Where messages go to groups alone, its own
/// address is not among them.
pub(super) fn filters(ground: &Ground, index: u32) -> impl Iterator<Item = String> {
    let audience = ground.oracle.audience();
    let user = audience.user(index);
    let groups = audience.groups.of(user, audience.users);
    let own = (!ground.scenario.kind.publishes())
        .then(|| if is_mailbox(&ground.scenario) { INBOX.to_owned() } else { topic(ground, user) });
    own.into_iter().chain(groups.map(move |group| topic(ground, group | GROUP)))
}

fn topic(ground: &Ground, target: u32) -> String {
    let mut out = Vec::new();
    write(ground, target, &mut out);
    str::from_utf8(&out).expect("made of ASCII").to_owned()
}

fn base(names: &Names) -> String {
    let mut text = String::with_capacity(32);
    write!(text, "load/{:016x}/", names.run()).expect("writing to a string cannot fail");
    text
}

fn put_base(names: &Names, of: char, out: &mut Vec<u8>) {
    out.extend_from_slice(base(names).as_bytes());
    out.extend_from_slice(&[of as u8, b'/']);
}

fn push_number(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(number.to_string().as_bytes());
}
