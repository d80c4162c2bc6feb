//! Kept sessions in a checkpoint section.

use super::kept::Waiting;
use super::{Attached, Presence, Session, Will};
use crate::recent::Spot;
use hawser_codec::field::{Cut, Field, Key};

/// Appends all that is kept of a shard's sessions.
pub(crate) fn encode(attached: &Attached, out: &mut Vec<u8>) {
    let count = attached.kept().count() as u32;
    count.put(out);
    for (_, session, kept) in attached.kept() {
        session.user.put(out);
        session.device.put(out);
        kept.name.put(out);
        kept.check.put(out);
        encode_extra(session, out);
        (kept.filters.len() as u32).put(out);
        for filter in &kept.filters {
            filter.identifier.put(out);
            filter.options.put(out);
            (&*filter.text).put(out);
        }
        let queue = &kept.queue;
        queue.first.put(out);
        queue.sent.put(out);
        (queue.len() as u32).put(out);
        for entry in queue.iter() {
            entry.location.put(out);
            entry.bytes.put(out);
            entry.weight.put(out);
            entry.expires_s.put(out);
            entry.marks().put(out);
        }
    }
}

fn encode_extra(session: &Session, out: &mut Vec<u8>) {
    let extra = session.extra.as_ref().expect("a kept session has more than its slot");
    extra.realm.put(out);
    extra.expiry_s.put(out);
    extra.away_since_ms.put(out);
    let Some(will) = &extra.will else {
        return 0u8.put(out);
    };
    (will.qos + 1).put(out);
    will.retain.put(out);
    will.delay_s.put(out);
    will.expiry_s.put(out);
    will.key.put(out);
    (&*will.topic).put(out);
    (&*will.content).put(out);
}

/// The sessions of a section.
pub(crate) fn restore(rest: &mut &[u8]) -> Result<Attached, Cut> {
    let mut attached = Attached::new();
    for _ in 0..u32::take(rest)? {
        let (user, device) = (Key::take(rest)?, Key::take(rest)?);
        let (name, check) = (u64::take(rest)?, u64::take(rest)?);
        let index = attached.insert(&user, &device);
        attached.keep(index, name, check);
        restore_extra(&mut attached.all[index], rest)?;
        let kept = attached.all[index].kept_mut().expect("kept a moment ago");
        for _ in 0..u32::take(rest)? {
            let (identifier, options) = (u32::take(rest)?, u8::take(rest)?);
            kept.put_filter(<&[u8]>::take(rest)?, identifier, options);
        }
        let queue = &mut kept.queue;
        queue.begin_at(u64::take(rest)?.max(1));
        queue.sent = u64::take(rest)?;
        for _ in 0..u32::take(rest)? {
            let location = u64::take(rest)?;
            let (bytes, weight) = (u32::take(rest)?, u32::take(rest)?);
            let mut entry = Waiting::new(bytes, weight, u32::take(rest)?, 0);
            (entry.location, entry.recent) = (location, Spot::NONE);
            entry.set_marks(u8::take(rest)?);
            queue.push_restored(entry);
        }
    }
    Ok(attached)
}

fn restore_extra(session: &mut Session, rest: &mut &[u8]) -> Result<(), Cut> {
    let extra = session.extra_mut();
    extra.realm = u32::take(rest)?;
    extra.expiry_s = u32::take(rest)?;
    extra.away_since_ms = u64::take(rest)?;
    let presence = if extra.away_since_ms == 0 { Presence::Lost } else { Presence::Away };
    if let Some(qos) = u8::take(rest)?.checked_sub(1) {
        extra.will = Some(Box::new(Will {
            qos,
            retain: bool::take(rest)?,
            delay_s: u32::take(rest)?,
            expiry_s: u32::take(rest)?,
            key: Key::take(rest)?,
            topic: <&[u8]>::take(rest)?.into(),
            content: <&[u8]>::take(rest)?.into(),
        }));
    }
    session.presence = presence;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_nothing_else_does() {
        let mut attached = Attached::new();
        attached.insert(&[1; 16], &[9; 16]);
        let index = attached.insert(&[2; 16], &[9; 16]);
        let kept = attached.keep(index, 5, 6);
        kept.put_filter(b"a/+", 3, 2);
        for weight in 1..=3 {
            kept.queue.push(Waiting::new(40, weight, 7, Waiting::TWICE));
        }
        kept.queue.finish(1);
        kept.queue.finish(3);
        kept.queue.receive(2);
        kept.queue.get_mut(2).unwrap().location = 77;
        let extra = attached.all[index].extra_mut();
        (extra.realm, extra.expiry_s, extra.away_since_ms) = (1, 60, 1000);
        extra.will = Some(Box::new(Will {
            qos: 1,
            retain: true,
            delay_s: 5,
            expiry_s: 0,
            key: [4; 16],
            topic: b"t"[..].into(),
            content: b"c"[..].into(),
        }));
        let mut bytes = Vec::new();
        encode(&attached, &mut bytes);
        let back = restore(&mut &bytes[..]).unwrap();
        assert_eq!(back.count(), 1);
        let session = &back.all[back.named(5).unwrap()];
        assert_eq!((session.user, session.presence), ([2; 16], Presence::Away));
        let extra = session.extra.as_ref().unwrap();
        assert_eq!(extra.will, attached.all[index].extra.as_ref().unwrap().will);
        let (kept, was) = (session.kept().unwrap(), attached.all[index].kept().unwrap());
        assert_eq!((&kept.filters, kept.filter_bytes), (&was.filters, was.filter_bytes));
        assert_eq!((kept.queue.first, kept.queue.head(), kept.queue.bytes), (2, 3, 2));
        assert!(kept.queue.iter().eq(was.queue.iter()));
        let mut again = Vec::new();
        encode(&back, &mut again);
        assert_eq!(again, bytes);
        for length in 0..bytes.len() {
            assert!(restore(&mut &bytes[..length]).is_err() || length < 4);
        }
    }
}
