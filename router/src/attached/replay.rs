//! What a record of the log means for the sessions of its shard.

use super::kept::{Done, Waiting};
use super::targets;
use super::{Attached, Presence, Will};
use crate::record::{
    Filter, FilterGone, Framed, Marks, Queued, Received, Session, SessionEnded, SessionLeft,
    Unreadable,
};
use crate::store::log::Location;

/// Applies the shard's next record; of another kind it means nothing here.
pub(crate) fn replay(
    attached: &mut Attached,
    framed: &Framed,
    location: Location,
) -> Result<(), Unreadable> {
    match framed.kind {
        Session::KIND => attach(attached, &Session::take(framed.payload)?),
        SessionLeft::KIND => {
            let left = SessionLeft::take(framed.payload)?;
            let Some(index) = attached.named(left.session) else { return Ok(()) };
            let session = &mut attached.all[index];
            session.presence = Presence::Away;
            let extra = session.extra_mut();
            (extra.away_since_ms, extra.expiry_s) = (left.at_ms, left.expiry_s);
            extra.will = extra.will.take().filter(|_| left.will != 0);
        }
        SessionEnded::KIND => {
            let ended = SessionEnded::take(framed.payload)?;
            end(attached, ended.session);
        }
        Filter::KIND => {
            let filter = Filter::take(framed.payload)?;
            if let Some(kept) = find(attached, filter.session) {
                kept.put_filter(filter.filter, filter.identifier, filter.options);
            }
        }
        FilterGone::KIND => {
            let gone = FilterGone::take(framed.payload)?;
            if let Some(kept) = find(attached, gone.session) {
                kept.remove_filter(gone.filter);
            }
        }
        Queued::KIND => enqueue(attached, &Queued::take(framed.payload)?, location),
        Received::KIND => {
            let received = Received::take(framed.payload)?;
            if let Some(kept) = find(attached, received.session) {
                kept.queue.receive(received.number);
            }
        }
        Marks::KIND => {
            let marks = Marks::take(framed.payload)?;
            if let Some(kept) = find(attached, marks.session) {
                kept.queue.set_done(marks.first, marks.done);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Takes from a record that a section knows already where its entry stands.
pub(crate) fn find_again(
    attached: &mut Attached,
    framed: &Framed,
    location: Location,
) -> Result<(), Unreadable> {
    if framed.kind == Queued::KIND {
        let queued = Queued::take(framed.payload)?;
        for target in targets::all(queued.targets) {
            if let Some(kept) = find(attached, target.name)
                && let Some(waiting) = kept.queue.get_mut(target.number)
                && waiting.location == 0
            {
                waiting.location = location.0;
            }
        }
    }
    Ok(())
}

fn find(attached: &mut Attached, name: u64) -> Option<&mut super::kept::Kept> {
    let index = attached.named(name)?;
    attached.all[index].kept_mut()
}

fn end(attached: &mut Attached, name: u64) {
    if let Some(index) = attached.named(name) {
        attached.forget(index);
        attached.remove(index);
    }
}

fn attach(attached: &mut Attached, record: &Session) {
    let index = attached.find(&record.user, &record.device);
    let named = attached.named(record.session);
    if let Some(index) = index.filter(|index| Some(*index) != named) {
        attached.forget(index);
    }
    let index = index.unwrap_or_else(|| attached.insert(&record.user, &record.device));
    if named != Some(index) {
        attached.keep(index, record.session, record.check);
    }
    let session = &mut attached.all[index];
    session.presence = Presence::Lost;
    let extra = session.extra_mut();
    (extra.realm, extra.expiry_s, extra.away_since_ms) = (record.realm, record.expiry_s, 0);
    extra.will = record.will.checked_sub(1).map(|qos| {
        Box::new(Will {
            qos,
            retain: record.will_retain != 0,
            delay_s: record.will_delay_s,
            expiry_s: record.will_expiry_s,
            key: record.will_key,
            topic: record.will_topic.into(),
            content: record.will_content.into(),
        })
    });
    if let Some(kept) = session.kept_mut() {
        kept.queue.sent = kept.queue.head();
    }
}

fn enqueue(attached: &mut Attached, queued: &Queued, location: Location) {
    let bytes = Queued::content_end(queued.topic, queued.content) as u32;
    let weight = (queued.topic.len() + queued.content.len()) as u32;
    for target in targets::all(queued.targets) {
        let Some(index) = attached.named(target.name) else { continue };
        let session = &mut attached.all[index];
        let away = session.presence == Presence::Away;
        let Some(kept) = session.kept_mut() else { continue };
        let queue = &mut kept.queue;
        if target.number != queue.head() + 1 {
            // Entries before it were dropped, with the segments that had their records.
            if target.number <= queue.head() {
                continue;
            }
            queue.begin_at(target.number);
        }
        let mut waiting = Waiting::new(bytes, weight, queued.expires_s, target.flags);
        waiting.location = location.0;
        queue.push(waiting);
        if !away {
            // It may have been pushed: nobody wrote down whether.
            queue.sent = target.number;
        }
    }
}

impl super::kept::Queue {
    /// Entries below `first` are done, and those above whose bit is set.
    fn set_done(&mut self, first: u64, done: &[u8]) {
        while self.first < first && self.len() > 0 {
            self.drop_first();
        }
        if self.first < first {
            self.begin_at(first);
        }
        for (at, number) in (first..=self.head()).enumerate() {
            if done.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1) {
                self.finish(number);
            }
        }
    }

    /// Bits of entries that are done, from the first on, as far as there are any.
    pub fn encode_done(&self, out: &mut Vec<u8>) {
        out.clear();
        // `first` is not done itself: usually there is nothing to say.
        let end = self.first.max(self.next);
        let above = self.iter().take((end - self.first) as usize).enumerate();
        for (at, _) in above.filter(|(_, entry)| entry.is(Done::Done)) {
            out.resize(at / 8 + 1, 0);
            out[at / 8] |= 1 << (at % 8);
        }
    }
}
