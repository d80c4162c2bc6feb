//! Who is to see a message, and what of that the protocol promises.
//!
//! Computed from the numbers of a run, never stored: a million recipients cost nothing. Not a
//! judge. Invariant: within one stream every viewer has a rank of its own, below
//! [`Audience::ranks`].

/// Set in a target: it is a group. Otherwise it is a user's index.
pub const GROUP: u32 = 1 << 31;

/// Users, their devices and their groups.
///
/// Connection `index` is device `index % devices` of user `index / devices`. Members of group `g`
/// are `members` users in a row from user `g * members` on, around the end of the users if need
/// be: as many groups as fit are disjoint, and more of them spread over the users evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audience {
    /// Users of the run, at least 1.
    pub users: u32,
    /// Connections of each user, at least 1.
    pub devices: u32,
    /// Groups.
    pub groups: u32,
    /// Users in each group, at most all.
    pub members: u32,
    /// A direct message is also shown on the other devices of its sender.
    pub copies: bool,
}

impl Audience {
    /// Users of one device each, in no groups.
    pub const fn single(users: u32) -> Self {
        Self { users, devices: 1, groups: 0, members: 0, copies: false }
    }

    /// User of a connection.
    pub const fn user(&self, connection: u32) -> u32 {
        connection / self.devices
    }

    /// Groups of a user.
    pub fn groups_of(&self, user: u32) -> impl Iterator<Item = u32> + use<> {
        let Self { users, groups, members, .. } = *self;
        // Members are counted through all groups; a user is met once in each round of the users.
        let met = (0..).map(move |round: u64| u64::from(user) + round * u64::from(users));
        let group = move |at: u64| at.checked_div(u64::from(members)).unwrap_or(u64::MAX);
        met.map(group).take_while(move |group| *group < u64::from(groups)).map(|group| group as u32)
    }

    /// Connections that see a message to this target, and places for them: ranks run from 0 up
    /// to, not including, this.
    pub fn ranks(&self, target: u32) -> u32 {
        if target & GROUP != 0 {
            self.members * self.devices
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
            let first = u64::from(target & !GROUP) * u64::from(self.members);
            ((first + u64::from(place)) % u64::from(self.users)) as u32
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
        let users = u64::from(self.users);
        let first = u64::from(group) * u64::from(self.members) % users;
        let place = (u64::from(user) + users - first) % users;
        (group < self.groups && place < u64::from(self.members)).then_some(place as u32)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUDIENCE: Audience =
        Audience { users: 10, devices: 3, groups: 5, members: 4, copies: true };

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
        for members in [1, 3, 4, 10] {
            let audience = Audience { members, groups: 7, ..AUDIENCE };
            for user in 0..10 {
                let has = |group: &u32| audience.rank(99, GROUP | group, user * 3).is_some();
                let expected: Vec<u32> = (0..7).filter(has).collect();
                let mut found: Vec<u32> = audience.groups_of(user).collect();
                found.sort_unstable();
                assert_eq!(found, expected, "user {user}, groups of {members}");
            }
        }
        assert_eq!(Audience::single(10).groups_of(3).count(), 0);
    }

    #[test]
    fn nobody_beyond_the_run_sees_anything() {
        assert_eq!(Audience::single(2).rank(0, 2, 2), None);
        assert_eq!(AUDIENCE.rank(0, GROUP | 5, 0), None, "there is no such group");
    }
}
