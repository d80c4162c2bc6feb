//! Who is to see a message, and what of that the protocol promises.
//!
//! Computed from the numbers of a run, never stored: a million recipients cost nothing. Not a
//! judge. Invariant: within one stream every viewer has a rank of its own, below
//! [`Audience::ranks`].

use crate::{
    payload::GROUP,
    scenario::{Addressing, Groups, Protocol, Scenario},
};

/// Users, their devices and their groups. Connection `index` is device `index % devices` of user
/// `index / devices`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audience {
    /// Users of the run, at least 1.
    pub users: u32,
    /// Connections of each user, at least 1.
    pub devices: u32,
    /// Who sits in which group; with a count of 0 nobody does.
    pub groups: Groups,
    /// A direct message is also shown on the other devices of its sender.
    pub copies: bool,
}

impl Audience {
    /// Users of one device each, in no groups.
    pub const fn single(users: u32) -> Self {
        Self { users, devices: 1, groups: Groups { count: 0, members: 1 }, copies: false }
    }

    /// Audience of a scenario.
    pub fn of(scenario: &Scenario) -> Self {
        let Scenario { users, devices, mqtt, .. } = *scenario;
        let none = Groups { count: 0, ..scenario.groups };
        // An echo knows no users: each connection hears itself.
        let echo = scenario.protocol == Protocol::Echo;
        let (users, devices) = if echo { (users * devices, 1) } else { (users, devices) };
        let topics = scenario.protocol.is_mqtt() && mqtt.addressing == Addressing::Topic;
        Self {
            users,
            devices,
            groups: if scenario.kind.publishes() { scenario.groups } else { none },
            copies: !topics && devices > 1,
        }
    }

    /// User of a connection.
    pub const fn user(&self, connection: u32) -> u32 {
        connection / self.devices
    }

    /// Connections that see a message to this target, and places for them: ranks run from 0 up
    /// to, not including, this.
    pub fn ranks(&self, target: u32) -> u32 {
        if target & GROUP != 0 {
            let exists = target & !GROUP < self.groups.count;
            if exists { self.groups.size(self.users) * self.devices } else { 0 }
        } else if self.copies {
            2 * self.devices
        } else {
            self.devices
        }
    }

    /// Connections that are to see a message to this target.
    pub fn viewers(&self, target: u32) -> u32 {
        // A sender's own device has a rank among its user's, but does not see what it sent.
        let own = self.copies && target & GROUP == 0;
        self.ranks(target) - u32::from(own)
    }

    /// Rank of a viewer among those who are to see what `sender` sends to this target; `None`: it
    /// is not to see it.
    pub fn rank(&self, sender: u32, target: u32, viewer: u32) -> Option<u32> {
        let (user, device) = (self.user(viewer), viewer % self.devices);
        if user >= self.users {
            return None;
        }
        if target & GROUP != 0 {
            let place = self.place(target & !GROUP, user)?;
            return Some(place * self.devices + device);
        }
        if user == target {
            return Some(device);
        }
        let copy = self.copies && user == self.user(sender) && viewer != sender;
        copy.then_some(self.devices + device)
    }

    /// The viewer of a rank; `None` for the sender's own device.
    pub fn viewer(&self, sender: u32, target: u32, rank: u32) -> Option<u32> {
        let (place, device) = (rank / self.devices, rank % self.devices);
        let user = if target & GROUP != 0 {
            self.groups.member(target & !GROUP, place, self.users)
        } else if place == 0 {
            target
        } else {
            self.user(sender)
        };
        let viewer = user * self.devices + device;
        (place == 0 || target & GROUP != 0 || viewer != sender).then_some(viewer)
    }

    /// Place of a user in a group, from 0.
    fn place(&self, group: u32, user: u32) -> Option<u32> {
        let Self { users, groups, .. } = *self;
        let first = u64::from(groups.member(group, 0, users));
        let place = (u64::from(user) + u64::from(users) - first) % u64::from(users);
        let place = place as u32;
        (group < groups.count && place < groups.size(users)).then_some(place)
    }
}

/// What a protocol, as it is used in a run, promises. What it does not promise is counted, but is
/// no defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// What is accepted arrives. MQTT's QoS 0 does not say so.
    pub arrival: bool,
    /// A message that is repeated after a reconnect is shown once. MQTT's QoS 1 does not say so.
    pub once: bool,
    /// What comes while a viewer is away waits for it. Sessions that are not kept do not say so.
    pub kept: bool,
}

impl Promise {
    /// All of it.
    pub const ALL: Self = Self { arrival: true, once: true, kept: true };

    /// Promise of a scenario.
    pub fn of(scenario: &Scenario) -> Self {
        if !matches!(scenario.protocol, Protocol::Mqtt3 | Protocol::Mqtt5) {
            return Self::ALL;
        }
        let mqtt = &scenario.mqtt;
        let mailbox = mqtt.addressing == Addressing::Mailbox && !scenario.kind.publishes();
        Self {
            // A mailbox keeps its entries whatever they are fetched with, but who publishes with
            // QoS 0 does not hear whether it got there.
            arrival: mqtt.qos > 0,
            // The mailbox takes what is published again for a second message.
            once: mqtt.qos == 0 || mqtt.qos == 2 && !mqtt.clean && !mailbox,
            kept: !mqtt.clean || mailbox,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Kind, MqttSettings};

    const AUDIENCE: Audience = Audience { users: 10, devices: 3, groups: GROUPS, copies: true };
    const GROUPS: Groups = Groups { count: 5, members: 4 };

    #[test]
    fn every_rank_leads_to_its_viewer_and_back() {
        for audience in [AUDIENCE, Audience { copies: false, ..AUDIENCE }, Audience::single(10)] {
            for target in [0, 4, 9, GROUP, GROUP | 2, GROUP | 4] {
                for sender in [0, 7] {
                    if audience.user(sender) == target {
                        continue;
                    }
                    let ranks = 0..audience.ranks(target);
                    let viewers: Vec<u32> =
                        ranks.filter_map(|rank| audience.viewer(sender, target, rank)).collect();
                    assert_eq!(viewers.len(), audience.viewers(target) as usize);
                    let all = 0..audience.users * audience.devices;
                    let ranked =
                        all.filter(|viewer| audience.rank(sender, target, *viewer).is_some());
                    let mut sorted = viewers.clone();
                    sorted.sort_unstable();
                    assert_eq!(ranked.collect::<Vec<_>>(), sorted, "{target:x} from {sender}");
                    for viewer in viewers {
                        let rank = audience.rank(sender, target, viewer).unwrap();
                        assert_eq!(audience.viewer(sender, target, rank), Some(viewer));
                    }
                }
            }
        }
    }

    #[test]
    fn groups_of_a_user_are_those_it_has_a_place_in() {
        for members in [1, 3, 4, 0] {
            let groups = Groups { count: 7, members };
            let audience = Audience { groups, ..AUDIENCE };
            for user in 0..10 {
                let has = |group: &u32| audience.rank(99, GROUP | group, user * 3).is_some();
                let expected: Vec<u32> = (0..7).filter(has).collect();
                let mut found: Vec<u32> = groups.of(user, 10).collect();
                found.sort_unstable();
                assert_eq!(found, expected, "user {user}, groups of {members}");
            }
        }
    }

    #[test]
    fn nobody_beyond_the_run_sees_anything() {
        assert_eq!(Audience::single(2).rank(0, 2, 2), None);
        assert_eq!(AUDIENCE.rank(0, GROUP | 5, 0), None, "there is no such group");
    }

    #[test]
    fn what_is_promised_follows_from_quality_and_session() {
        let mut scenario = Scenario::usual(Kind::Chat);
        assert_eq!(Promise::of(&scenario), Promise::ALL);
        scenario.protocol = Protocol::Mqtt5;
        for (qos, clean, mailbox, arrival, once, kept) in [
            (0, true, false, false, true, false),
            (1, true, false, true, false, false),
            (1, false, false, true, false, true),
            (2, false, false, true, true, true),
            (2, true, false, true, false, false),
            (2, true, true, true, false, true),
        ] {
            let addressing = if mailbox { Addressing::Mailbox } else { Addressing::Topic };
            scenario.mqtt = MqttSettings { qos, clean, addressing };
            let expected = Promise { arrival, once, kept };
            assert_eq!(Promise::of(&scenario), expected, "QoS {qos}, {clean}, {addressing:?}");
        }
    }
}
