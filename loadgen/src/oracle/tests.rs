//! Each defect is named, and nothing else is.

use super::*;

const RUN: u64 = 99;
const BOUNDS: Bounds = Bounds { directions: 64 * PARTS, exceptions: 64 * PARTS };

mod audiences;

/// A conversation of users 1 and 2 in which 1 sends `sent` messages, all acknowledged.
struct Chat {
    oracle: Oracle,
    sequence: u64,
}

impl Chat {
    fn sent(sent: u32) -> Self {
        let oracle = Oracle::new(RUN, BOUNDS);
        for counter in 0..sent {
            assert_eq!(oracle.send(1, 2), Some(counter));
            assert!(oracle.acknowledge(1, 2, counter));
        }
        Self { oracle, sequence: 0 }
    }

    fn payload(counter: u32) -> Payload {
        Payload { run: RUN, sender: 1, recipient: 2, counter, lag_us: 0, intended_us: 0, hop: 0 }
    }

    fn deliver_to(&mut self, viewer: u32, counter: u32, damage: u8) {
        let mut body = Vec::new();
        Self::payload(counter).write(64, &mut body);
        body[50] ^= damage;
        self.sequence += 1;
        let sequence = self.sequence;
        let shown = Shown::Conversation { sender: Some(1), peer: Some(1), sequence };
        let arrival = Arrival { viewer, shown, repeat: false, life: 0, body: &body };
        self.oracle.deliver(&arrival);
    }

    fn deliver(mut self, counters: impl IntoIterator<Item = u32>) -> Self {
        for counter in counters {
            self.deliver_to(2, counter, 0);
        }
        self
    }

    fn findings(&self) -> Findings {
        self.oracle.findings()
    }
}

fn clean(messages: u64) -> Findings {
    Findings { sent: messages, acknowledged: messages, delivered: messages, ..Default::default() }
}

#[test]
fn all_in_order_is_clean() {
    let findings = Chat::sent(1000).deliver(0..1000).findings();
    assert_eq!(findings, clean(1000));
    assert!(findings.is_correct());
}

#[test]
fn dropped_message_is_lost_after_its_acknowledgement() {
    for dropped in [0, 5, 199] {
        let findings = Chat::sent(200).deliver((0..200).filter(|c| *c != dropped)).findings();
        let expected =
            Findings { delivered: 199, lost: 1, acknowledged_then_lost: 1, ..clean(200) };
        assert_eq!(findings, expected, "message {dropped}");
        assert!(!findings.is_correct());
    }
}

#[test]
fn doubled_message_is_duplicated_however_late() {
    for (at, again) in [(0, 1), (0, 199), (100, 101)] {
        let order = (0..=again).chain([at]).chain(again + 1..200);
        let findings = Chat::sent(200).deliver(order).findings();
        assert_eq!(findings, Findings { duplicated: 1, ..clean(200) });
    }
}

#[test]
fn swapped_messages_are_reordered_near_and_far() {
    let near = Chat::sent(4).deliver([0, 2, 1, 3]).findings();
    assert_eq!(near, Findings { reordered: 1, ..clean(4) });
    let far = Chat::sent(200).deliver((1..200).chain([0])).findings();
    assert_eq!(far, Findings { reordered: 1, ..clean(200) });
}

#[test]
fn changed_byte_is_corrupted_and_the_message_lost() {
    let mut chat = Chat::sent(2);
    chat.deliver_to(2, 0, 1);
    chat.deliver_to(2, 1, 0);
    let expected =
        Findings { delivered: 1, corrupted: 1, lost: 1, acknowledged_then_lost: 1, ..clean(2) };
    assert_eq!(chat.findings(), expected);
}

#[test]
fn message_that_was_never_sent_is_corrupted() {
    assert_eq!(Chat::sent(1).deliver([0, 7]).findings(), Findings { corrupted: 1, ..clean(1) });
}

#[test]
fn wrong_recipient_is_misdelivered() {
    let mut chat = Chat::sent(1).deliver([0]);
    chat.deliver_to(3, 0, 0);
    assert_eq!(chat.findings(), Findings { misdelivered: 1, ..clean(1) });
}

#[test]
fn unacknowledged_message_is_unanswered_at_the_end_and_lost_before_a_delivered_one() {
    let oracle = Oracle::new(RUN, BOUNDS);
    for _ in 0..2 {
        oracle.send(1, 2);
    }
    assert_eq!(oracle.findings(), Findings { sent: 2, unanswered: 2, ..Default::default() });
    let chat = Chat { oracle, sequence: 0 }.deliver([1]);
    let expected = Findings { sent: 2, delivered: 1, lost: 1, ..Default::default() };
    assert_eq!(chat.findings(), expected);
}

#[test]
fn refused_message_is_not_waited_for() {
    let chat = Chat::sent(0);
    chat.oracle.send(1, 2);
    chat.oracle.refuse(1, 2, 0);
    let findings = chat.findings();
    assert_eq!(findings, Findings { sent: 1, refused: 1, ..Default::default() });
}

#[test]
fn holes_and_steps_back_of_the_sequence_are_named() {
    let oracle = Oracle::new(RUN, BOUNDS);
    for sequence in [1, 2, 5, 4] {
        oracle.sequence(2, 1, sequence);
    }
    let expected = Findings { sequence_gaps: 2, sequence_repeats: 1, ..Default::default() };
    assert_eq!(oracle.findings(), expected);
}

#[test]
fn reached_bound_is_an_overflow_and_not_a_clean_run() {
    let oracle = Oracle::new(RUN, Bounds { directions: PARTS, exceptions: PARTS });
    let refused = (0..1000).filter(|user| oracle.send(*user, 1).is_none()).count();
    assert!(refused > 0 && oracle.findings().overflowed);

    let oracle = Oracle::new(RUN, Bounds { directions: PARTS, exceptions: 0 });
    for _ in 0..=seen::WINDOW {
        oracle.send(1, 2);
    }
    let chat = Chat { oracle, sequence: 0 }.deliver([seen::WINDOW]);
    assert!(chat.findings().overflowed);
}
