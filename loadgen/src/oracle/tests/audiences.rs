//! Several viewers of one stream, and what is not promised to them.

use super::*;
use crate::scenario::Groups;

/// Users of two devices: user 0 has connections 0 and 1, and so on. Group 0 has users 0 to 3.
const AUDIENCE: Audience =
    Audience { users: 8, devices: 2, groups: Groups { count: 2, members: 4 }, copies: true };

/// Sends that all were acknowledged, from connection 0 to one target.
struct Room {
    oracle: Oracle,
    target: u32,
}

impl Room {
    fn sent(target: u32, sent: u32, promise: Promise) -> Self {
        let oracle = Oracle::new(RUN, BOUNDS).judging(AUDIENCE, promise);
        let room = Self { oracle, target };
        room.send(sent);
        room
    }

    fn send(&self, count: u32) {
        for _ in 0..count {
            let number = self.oracle.send(0, self.target).unwrap();
            self.oracle.acknowledge(0, self.target, number);
        }
    }

    fn show(&self, viewer: u32, number: u32, repeat: bool, life: u32) {
        let mut body = Vec::new();
        let payload = Payload {
            run: RUN,
            sender: 0,
            recipient: self.target,
            counter: number,
            lag_us: 0,
            intended_us: 0,
            hop: 0,
        };
        payload.write(64, &mut body);
        let shown = Shown::Topic(Some(self.target));
        self.oracle.deliver(&Arrival { viewer, shown, repeat, life, body: &body });
    }

    fn deliver(self, viewers: &[u32], numbers: impl IntoIterator<Item = u32> + Clone) -> Self {
        for viewer in viewers {
            for number in numbers.clone() {
                self.show(*viewer, number, false, 0);
            }
        }
        self
    }

    fn findings(&self) -> Findings {
        self.oracle.findings()
    }
}

const MEMBERS: [u32; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

fn clean_room(messages: u64, viewers: u64) -> Findings {
    Findings { delivered: messages * viewers, ..clean(messages) }
}

#[test]
fn message_that_one_of_two_devices_misses_is_lost_once() {
    // Viewers: both devices of user 1, and the other device of the sender.
    let room = Room::sent(1, 100, Promise::ALL).deliver(&[2, 1], 0..100);
    assert_eq!(room.oracle.awaited(), 100);
    let room = room.deliver(&[3], (0..100).filter(|number| *number != 7));
    let lost = Findings { delivered: 299, lost: 1, acknowledged_then_lost: 1, ..clean(100) };
    assert_eq!(room.findings(), lost);
    let room = room.deliver(&[3], [7]);
    assert_eq!(room.oracle.awaited(), 0);
    assert_eq!(room.findings(), Findings { reordered: 1, ..clean_room(100, 3) });
}

#[test]
fn every_member_is_judged_for_itself() {
    let room = |target| Room::sent(target, 3, Promise::ALL);
    let others = &MEMBERS[1..];
    let whole = room(GROUP).deliver(&MEMBERS, 0..3);
    assert_eq!(whole.findings(), clean_room(3, 8));
    let missed = room(GROUP).deliver(others, 0..3).deliver(&[0], [0, 2]);
    let lost = Findings { delivered: 23, lost: 1, acknowledged_then_lost: 1, ..clean(3) };
    assert_eq!(missed.findings(), lost);
    let twice = room(GROUP).deliver(others, 0..3).deliver(&[0], [0, 1, 1, 2]);
    assert_eq!(twice.findings(), Findings { duplicated: 1, ..clean_room(3, 8) });
    let swapped = room(GROUP).deliver(&MEMBERS[..7], 0..3).deliver(&[7], [1, 0, 2]);
    assert_eq!(swapped.findings(), Findings { reordered: 1, ..clean_room(3, 8) });
    let never = room(GROUP).deliver(others, 0..3);
    let lost = Findings { delivered: 21, lost: 3, acknowledged_then_lost: 3, ..clean(3) };
    assert_eq!(never.findings(), lost);
}

#[test]
fn who_is_not_in_the_audience_and_what_stands_under_a_wrong_topic_is_misdelivered() {
    let of_group = Room::sent(GROUP, 1, Promise::ALL).deliver(&MEMBERS, [0]);
    let room = of_group.deliver(&[8], [0]);
    assert_eq!(room.findings(), Findings { misdelivered: 1, ..clean_room(1, 8) });
    // The sending device of a direct message, a third user, and a connection of no user.
    for stranger in [0, 4, 16] {
        let room = Room::sent(1, 1, Promise::ALL).deliver(&[1, 2, 3, stranger], [0]);
        assert_eq!(room.findings(), Findings { misdelivered: 1, ..clean_room(1, 3) });
    }
    let room = Room::sent(GROUP, 1, Promise::ALL).deliver(&MEMBERS[1..], [0]);
    let mut body = Vec::new();
    let (recipient, counter) = (GROUP, 0);
    Payload { run: RUN, sender: 0, recipient, counter, lag_us: 0, intended_us: 0, hop: 0 }
        .write(64, &mut body);
    for shown in [Shown::Topic(Some(GROUP | 1)), Shown::Topic(None), Shown::Mailbox] {
        let arrival = Arrival { viewer: 0, shown, repeat: false, life: 0, body: &body };
        assert_eq!(room.oracle.deliver(&arrival), None);
    }
    let wrong =
        Findings { delivered: 7, misdelivered: 3, lost: 1, acknowledged_then_lost: 1, ..clean(1) };
    assert_eq!(room.findings(), wrong);
}

#[test]
fn copy_for_the_sender_stands_in_the_conversation_with_the_recipient() {
    let room = Room::sent(3, 1, Promise::ALL);
    let mut body = Vec::new();
    Payload { run: RUN, sender: 0, recipient: 3, counter: 0, lag_us: 0, intended_us: 0, hop: 0 }
        .write(64, &mut body);
    for (viewer, peer) in [(1, 3), (6, 0), (7, 0)] {
        let shown = Shown::Conversation { sender: Some(0), peer: Some(peer), sequence: 1 };
        room.oracle.deliver(&Arrival { viewer, shown, repeat: false, life: 0, body: &body });
    }
    assert_eq!(room.findings(), clean_room(1, 3));
}

#[test]
fn each_device_has_its_own_sequence_of_a_conversation() {
    let oracle = Oracle::new(RUN, BOUNDS).judging(AUDIENCE, Promise::ALL);
    for viewer in [2, 3] {
        for sequence in [1, 2, 3] {
            oracle.sequence(viewer, 0, sequence);
        }
    }
    assert!(oracle.findings().is_correct());
    oracle.sequence(3, 0, 5);
    assert_eq!(oracle.findings(), Findings { sequence_gaps: 1, ..Default::default() });
}

#[test]
fn late_joiner_is_not_blamed_for_what_came_before_it() {
    let promise = Promise { kept: false, ..Promise::ALL };
    let room = Room::sent(GROUP, 50, promise).deliver(&MEMBERS[1..], 0..50);
    room.oracle.rejoin(0, 1);
    let away = Findings { delivered: 350, missed_away: 50, ..clean(50) };
    assert_eq!(room.findings(), away, "it has seen nothing since");
    room.send(50);
    let room = room.deliver(&MEMBERS[1..], 50..100);
    for number in 50..100 {
        room.show(0, number, false, 1);
    }
    assert_eq!(room.findings(), Findings { delivered: 750, missed_away: 50, ..clean(100) });
}

#[test]
fn who_came_again_is_blamed_for_what_it_misses_from_then_on() {
    let promise = Promise { kept: false, ..Promise::ALL };
    let room = Room::sent(1, 200, promise).deliver(&[1, 2], 0..200).deliver(&[3], [0, 1, 3]);
    room.oracle.rejoin(3, 1);
    // 2 and 4 to 99 came while it was away, or were on their way when it went.
    for number in (100..200).filter(|number| *number != 150) {
        room.show(3, number, false, 1);
    }
    let expected = Findings {
        delivered: 502,
        missed_away: 97,
        lost: 1,
        acknowledged_then_lost: 1,
        ..clean(200)
    };
    assert_eq!(room.findings(), expected);
}

#[test]
fn kept_session_excuses_nothing() {
    let room = Room::sent(1, 2, Promise::ALL).deliver(&[1, 2], 0..2);
    room.oracle.rejoin(3, 1);
    room.show(3, 1, false, 1);
    let lost = Findings { delivered: 5, lost: 1, acknowledged_then_lost: 1, ..clean(2) };
    assert_eq!(room.findings(), lost);
}

#[test]
fn loss_that_the_protocol_allows_is_counted_apart() {
    let promise = Promise { arrival: false, ..Promise::ALL };
    let room = Room::sent(1, 200, promise)
        .deliver(&[1, 2], 0..200)
        .deliver(&[3], (0..190).filter(|number| *number != 5));
    let expected = Findings { delivered: 589, missed_unpromised: 11, ..clean(200) };
    assert_eq!(room.findings(), expected);
    assert!(room.findings().is_correct());
}

#[test]
fn lost_ones_beyond_the_bound_are_still_counted_where_loss_is_allowed() {
    let bounds = Bounds { exceptions: 3, ..BOUNDS };
    let promise = Promise { arrival: false, ..Promise::ALL };
    let oracle = Oracle::new(RUN, bounds).judging(AUDIENCE, promise);
    let room = Room { oracle, target: 1 };
    room.send(300);
    let room = room.deliver(&[1, 2], 0..300).deliver(&[3], [299]);
    let expected = Findings { delivered: 601, missed_unpromised: 299, ..clean(300) };
    assert_eq!(room.findings(), expected);
}

#[test]
fn double_is_allowed_only_to_who_was_reconnected_and_for_what_was_sent_again() {
    let promise = Promise { once: false, ..Promise::ALL };
    let room = Room::sent(1, 4, promise).deliver(&[1, 2, 3], 0..4);
    room.show(2, 3, true, 0);
    room.oracle.repeat(0, 1, 2);
    room.show(3, 2, false, 0);
    assert_eq!(room.findings(), Findings { doubled_unpromised: 2, ..clean_room(4, 3) });
    room.show(3, 3, false, 0);
    let wrong = Findings { doubled_unpromised: 2, duplicated: 1, ..clean_room(4, 3) };
    assert_eq!(room.findings(), wrong);
}

#[test]
fn double_is_a_defect_where_once_is_promised() {
    let room = Room::sent(1, 4, Promise::ALL).deliver(&[1, 2, 3], 0..4);
    room.oracle.repeat(0, 1, 2);
    room.show(2, 2, true, 0);
    assert_eq!(room.findings(), Findings { duplicated: 1, ..clean_room(4, 3) });
}

#[test]
fn refused_message_is_awaited_by_nobody() {
    let room = Room::sent(GROUP, 3, Promise::ALL).deliver(&MEMBERS, [0, 1, 2]);
    let number = room.oracle.send(0, GROUP).unwrap();
    assert_eq!(room.oracle.awaited(), 8);
    room.oracle.refuse(0, GROUP, number);
    assert_eq!(room.oracle.awaited(), 0);
    room.send(1);
    let room = room.deliver(&MEMBERS, [4]);
    let expected = Findings { sent: 5, refused: 1, ..clean_room(4, 8) };
    assert_eq!(room.findings(), expected);
}

#[test]
fn unanswered_message_is_missed_by_each_who_has_not_seen_it() {
    let room = Room::sent(1, 0, Promise::ALL);
    room.oracle.send(0, 1);
    let room = room.deliver(&[2], [0]);
    let expected = Findings { sent: 1, delivered: 1, unanswered: 2, ..Default::default() };
    assert_eq!(room.findings(), expected);
}

#[test]
fn views_beyond_the_bound_are_an_overflow() {
    let bounds = Bounds { directions: 4, ..BOUNDS };
    let oracle = Oracle::new(RUN, bounds).judging(AUDIENCE, Promise::ALL);
    let room = Room { oracle, target: GROUP };
    room.send(1);
    let room = room.deliver(&MEMBERS, [0]);
    assert!(room.findings().overflowed);
}
