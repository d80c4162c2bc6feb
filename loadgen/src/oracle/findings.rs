//! What an oracle found.

/// What the oracle found. In a clean run all are 0 but the first four and those not promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Findings {
    /// Messages sent, repeats not counted.
    pub sent: u64,
    /// Acknowledged.
    pub acknowledged: u64,
    /// Refused for good, with a reason.
    pub refused: u64,
    /// Delivered, once for each who is to see it.
    pub delivered: u64,
    /// Never delivered though acknowledged, or though a later one of the same stream was; counted
    /// for each who was to see it.
    pub lost: u64,
    /// Of the lost ones, those that had been acknowledged.
    pub acknowledged_then_lost: u64,
    /// Delivered more than once.
    pub duplicated: u64,
    /// Delivered after a later one of the same stream.
    pub reordered: u64,
    /// Damaged, or never sent.
    pub corrupted: u64,
    /// Delivered to somebody who was not to see it, in the wrong conversation or topic, or under
    /// the wrong sender.
    pub misdelivered: u64,
    /// Holes in a conversation's sequence as a member saw it.
    pub sequence_gaps: u64,
    /// A conversation's sequence went back or stood still.
    pub sequence_repeats: u64,
    /// Holes in a mailbox's numbers that no page filled.
    pub mailbox_gaps: u64,
    /// Sent, neither acknowledged nor delivered by the end; the sender would go on trying.
    pub unanswered: u64,
    /// Never delivered, by a protocol that does not promise it (QoS 0). No defect.
    #[serde(default)]
    pub missed_unpromised: u64,
    /// Never delivered to a viewer who was away and whose session was not kept. No defect.
    #[serde(default)]
    pub missed_away: u64,
    /// Delivered again after a reconnect, by a protocol that says so (QoS 1). No defect.
    #[serde(default)]
    pub doubled_unpromised: u64,
    /// A bound was reached: a defect could have passed unseen.
    pub overflowed: bool,
}

impl Findings {
    /// Nothing is wrong with any message.
    pub fn is_correct(&self) -> bool {
        let defects = [
            self.lost,
            self.duplicated,
            self.reordered,
            self.corrupted,
            self.misdelivered,
            self.sequence_gaps,
            self.sequence_repeats,
            self.mailbox_gaps,
        ];
        defects.iter().all(|count| *count == 0)
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.acknowledged_then_lost += other.acknowledged_then_lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.misdelivered += other.misdelivered;
        self.sequence_gaps += other.sequence_gaps;
        self.sequence_repeats += other.sequence_repeats;
        self.mailbox_gaps += other.mailbox_gaps;
        self.unanswered += other.unanswered;
        self.missed_unpromised += other.missed_unpromised;
        self.missed_away += other.missed_away;
        self.doubled_unpromised += other.doubled_unpromised;
        self.overflowed |= other.overflowed;
    }
}
