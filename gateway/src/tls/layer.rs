//! The layer of one worker: handshakes under way and waiting, record states, bytes both ways.
//!
//! ```text
//!           first record           a run, in its turn           close, alert
//!  (none) ──────────────▶ Waiting ────────────────▶ Shaking ──▶ Open ──▶ Over
//! ```
//!
//! Invariant: what stands in a connection's queue is plaintext but for the first `ready` bytes of
//! it, which are sealed already. Nothing else than these ever reaches the wire of a connection
//! that is not `Open`: what is said to it then is dropped.

use std::{collections::VecDeque, sync::Arc};

use hawser_codec::{
    code,
    opening::{self, Opening},
};
use hawser_tls::{
    Alert, Cut, Failure, Finished, HANDSHAKE_BYTES_MAX, Handshake, Keys, Kind as How,
    Opened as Held, Progress, Reason, Record, cut,
};

use super::{Offers, pages::Pages};
use crate::{
    connection::{Connection, Flag, Protocol},
    limits::{
        HANDSHAKE_UNITS_LIGHT, HANDSHAKE_UNITS_PER_TURN, HANDSHAKE_UNITS_WHOLE,
        OVERLOADED_RETRY_MS, RECEIVE_BUFFER_BYTES,
    },
    listener::{Kind, ListenerSettings},
    metrics::WorkerMetrics,
    outbound::{Pool, Queue},
    session::{Ending, Farewell, Outlet, Stop, Taken},
    slab::Handle,
};

enum Stage {
    /// A record has come; its bytes lie with the worker.
    Waiting,
    /// rustls has it.
    Shaking(Box<Handshake>),
    /// Records are opened and sealed.
    Open {
        record: Record,
        /// Plaintext that its protocol has not taken yet.
        plain: Queue,
        /// It was not taken for want of budget or room, not because it is an unfinished frame.
        is_held: bool,
        /// The protocol has more of its own that waits, too.
        inner_waits: bool,
        /// The peer says nothing more.
        has_ended: bool,
    },
    /// The last record is sealed.
    Over,
}

struct Entry {
    stage: Stage,
    /// Bytes at the front of the queue that go out as they are.
    ready: u32,
    /// In the list of those that wait for their turn.
    is_listed: bool,
}

/// What records of a connection held.
pub enum Opened {
    /// There is no TLS on it after all: the bytes are the protocol's.
    Plain,
    /// So many bytes were taken, and nothing is to be done with them.
    Nothing(Taken),
    /// Plaintext, to be given to the protocol and then to [`Layer::settle`].
    Text(Text),
}

/// Plaintext on its way to the protocol.
pub struct Text {
    /// The plaintext: what was left over, and what was opened.
    pub bytes: Vec<u8>,
    /// Bytes of it that were opened now, within the budget but for the last record.
    pub opened: usize,
    /// It lay in the pool.
    is_pooled: bool,
    /// Bytes of records taken off the wire.
    taken: usize,
    /// Whole records are left.
    has_more: bool,
    /// The connection ends with this alert once the plaintext before it was taken.
    failed: Option<Alert>,
}

/// See the module.
pub struct Layer {
    /// What is spoken, by listener.
    kinds: Box<[Kind]>,
    offers: Option<Arc<Offers>>,
    entries: Pages<Entry>,
    keys: Keys,
    scratch: Vec<u8>,
    /// Those whose handshake waits for its turn, oldest first.
    waiting: VecDeque<Handle>,
    /// Handshakes that rustls has.
    shaking: u32,
    /// Work on handshakes left in this turn.
    units: u32,
    /// The one whose turn it is.
    called: Option<Handle>,
}

impl Layer {
    /// A layer below these listeners' connections that keeps so many expanded keys.
    pub fn new(listeners: &[ListenerSettings], keys: usize) -> Self {
        Self {
            kinds: listeners.iter().map(|listener| listener.kind).collect(),
            offers: None,
            entries: Pages::default(),
            keys: Keys::new(keys),
            scratch: Vec::new(),
            waiting: VecDeque::new(),
            shaking: 0,
            units: 0,
            called: None,
        }
    }

    /// What handshakes that begin from now on are offered.
    pub fn take_over(&mut self, offers: Arc<Offers>) {
        self.offers = Some(offers);
    }

    /// A new turn, with its share of time for handshakes.
    pub fn begin_turn(&mut self) {
        self.units = HANDSHAKE_UNITS_PER_TURN;
        self.called = None;
    }

    /// The oldest that waits for its handshake to go on, as long as this turn has time for it: give
    /// it its bytes again.
    pub fn next_waiting(&mut self) -> Option<Handle> {
        if self.units == 0 {
            return None;
        }
        self.called = self.waiting.pop_front();
        if let Some(entry) = self.called.and_then(|handle| self.entries.get_mut(handle.slot)) {
            entry.is_listed = false;
        }
        self.called
    }

    /// Somebody waits.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sets the levels.
    pub fn export(&self, metrics: &WorkerMetrics) {
        metrics.tls_waiting.set(self.waiting.len() as u64);
        metrics.tls_handshakes.set(u64::from(self.shaking));
        metrics.tls_keys_expanded.set(self.keys.expanded());
    }

    /// Words of the protocol reach this client.
    pub fn can_speak(&mut self, handle: Handle) -> bool {
        let entry = self.entries.get_mut(handle.slot);
        entry.is_some_and(|entry| matches!(entry.stage, Stage::Open { .. }))
    }

    /// Takes whole records off `bytes`: goes on with the handshake, or opens them.
    ///
    /// # Errors
    /// The farewell to say before closing; an alert is queued.
    pub fn open(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        bytes: &[u8],
        budget: usize,
        outlet: &mut Outlet<'_>,
    ) -> Result<Opened, Farewell> {
        if self.entries.get_mut(handle.slot).is_none() {
            if connection.protocol == Protocol::Undetermined {
                match opening::detect(bytes) {
                    Opening::Tls => {}
                    Opening::Undecided { .. } => return Ok(need_more(0)),
                    _ => return Ok(Opened::Plain),
                }
            }
            if matches!(cut(bytes), Ok(Cut::Needs(_))) {
                return Ok(need_more(0));
            }
            connection.flags.set(Flag::Unfinished, true);
            self.entries
                .insert(handle.slot, Entry { stage: Stage::Waiting, ready: 0, is_listed: false });
        }
        let Some(entry) = self.entries.get_mut(handle.slot) else { return Ok(need_more(0)) };
        match &entry.stage {
            Stage::Waiting => {
                if !self.may_run(handle, HANDSHAKE_UNITS_WHOLE) {
                    return wait_with(bytes);
                }
                self.begin(connection, handle, outlet)?;
                self.shake(connection, handle, bytes, budget, outlet)
            }
            Stage::Shaking(handshake) => {
                if matches!(cut(bytes), Ok(Cut::Needs(_))) {
                    return wait_with(bytes);
                }
                let units = match handshake.is_costly() {
                    true => HANDSHAKE_UNITS_WHOLE,
                    false => HANDSHAKE_UNITS_LIGHT,
                };
                if !self.may_run(handle, units) {
                    return wait_with(bytes);
                }
                self.shake(connection, handle, bytes, budget, outlet)
            }
            Stage::Open { .. } => self.open_records(connection, handle, bytes, 0, budget, outlet),
            Stage::Over => Ok(need_more(bytes.len())),
        }
    }

    /// Takes `units` of this turn's work, or puts the connection on the list behind those who came
    /// before.
    fn may_run(&mut self, handle: Handle, units: u32) -> bool {
        let is_its_turn = self.waiting.is_empty() || self.called == Some(handle);
        if is_its_turn && self.units > 0 {
            self.units = self.units.saturating_sub(units);
            return true;
        }
        if let Some(entry) = self.entries.get_mut(handle.slot)
            && !entry.is_listed
        {
            entry.is_listed = true;
            self.waiting.push_back(handle);
        }
        false
    }

    fn begin(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Farewell> {
        let kind = self.kinds.get(usize::from(connection.door)).copied().unwrap_or(Kind::Any);
        let begun = match &self.offers {
            Some(offers) => Handshake::start(offers.of(kind)),
            None => Err(Failure {
                reason: Reason::Internal,
                detail: "no certificate is configured".to_owned(),
            }),
        };
        let handshake = match begun {
            Ok(handshake) => handshake,
            Err(failure) => return Err(self.fail(handle, &failure, outlet)),
        };
        if let Some(entry) = self.entries.get_mut(handle.slot) {
            entry.stage = Stage::Shaking(handshake);
            self.shaking += 1;
        }
        Ok(())
    }

    /// Gives all whole records to the handshake, and what is left of them when it is done to the
    /// record state.
    fn shake(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        bytes: &[u8],
        budget: usize,
        outlet: &mut Outlet<'_>,
    ) -> Result<Opened, Farewell> {
        let Some(entry) = self.entries.get_mut(handle.slot) else { return Ok(need_more(0)) };
        let Stage::Shaking(handshake) = &mut entry.stage else { return Ok(need_more(0)) };
        let whole = whole_records(bytes);
        let queue = outlet.pool.open(&mut connection.queued);
        queue.truncate(entry.ready as usize);
        let now_s = outlet.now.wall_ms / 1000;
        let progress = handshake.hold(&bytes[..whole]).and_then(|()| handshake.run(now_s, queue));
        entry.ready = queue.len() as u32;
        outlet.pool.release_if_empty(&mut connection.queued);
        match progress {
            Ok(Progress::Waiting) => return Ok(need_more(whole)),
            Err(failure) => return Err(self.fail(handle, &failure, outlet)),
            Ok(Progress::Done) => {}
        }
        let Stage::Shaking(handshake) = std::mem::replace(&mut entry.stage, Stage::Over) else {
            return Ok(need_more(whole));
        };
        self.shaking -= 1;
        let Finished { record, rest, agreed } = match handshake.finish() {
            Ok(finished) => finished,
            Err(failure) => return Err(self.fail(handle, &failure, outlet)),
        };
        entry.stage = Stage::Open {
            record,
            plain: Queue::NONE,
            is_held: false,
            inner_waits: false,
            has_ended: false,
        };
        connection.flags.set(Flag::Unfinished, false);
        match agreed.kind {
            How::Full => outlet.metrics.tls_full.add(1),
            How::Resumed => outlet.metrics.tls_resumed.add(1),
        }
        // The handshake was given whole records only, so what it gives back are the last of them.
        let done = whole - rest.len();
        self.open_records(connection, handle, bytes, done, budget, outlet)
    }

    /// A handshake ends without success; its alert is queued.
    fn fail(&mut self, handle: Handle, failure: &Failure, outlet: &Outlet<'_>) -> Farewell {
        outlet.metrics.tls_failed.cell(failure.reason as usize).add(1);
        if let Some(entry) = self.entries.get_mut(handle.slot) {
            let stage = std::mem::replace(&mut entry.stage, Stage::Over);
            self.shaking -= u32::from(matches!(stage, Stage::Shaking(_)));
        }
        Farewell::saying(code::MALFORMED, failure.detail.as_str()).ending(Ending::Silent)
    }

    /// Opens records from `done` on, up to the budget.
    fn open_records(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        bytes: &[u8],
        done: usize,
        budget: usize,
        outlet: &mut Outlet<'_>,
    ) -> Result<Opened, Farewell> {
        let Some(entry) = self.entries.get_mut(handle.slot) else { return Ok(need_more(0)) };
        let Stage::Open { record, plain, is_held, inner_waits, has_ended } = &mut entry.stage
        else {
            return Ok(need_more(bytes.len()));
        };
        // What was held back comes first and alone; its share of the turn is used up with it.
        let was_held = std::mem::take(is_held);
        if was_held {
            connection.flags.set(Flag::Waiting, *inner_waits);
        }
        let budget = if was_held { 0 } else { budget };
        let is_pooled = *plain != Queue::NONE;
        let mut text = match is_pooled {
            true => outlet.pool.take(plain),
            false => std::mem::take(&mut self.scratch),
        };
        let start = text.len();
        let (mut taken, mut failed, mut has_more) = (done, None, false);
        while !*has_ended {
            let whole = match cut(&bytes[taken..]) {
                Ok(Cut::Whole(whole)) => whole,
                Ok(Cut::Needs(_)) => break,
                Err(alert) => {
                    failed = Some(alert);
                    break;
                }
            };
            if text.len() - start >= budget {
                has_more = true;
                break;
            }
            match record.open(&mut self.keys, &bytes[taken..taken + whole], &mut text) {
                Ok(Held::Data(_) | Held::Nothing) => {}
                Ok(Held::KeyUpdate) => outlet.metrics.tls_key_updates.add(1),
                Ok(Held::Renegotiation) => outlet.metrics.tls_renegotiations.add(1),
                Ok(Held::CloseNotify | Held::Fatal(_)) => *has_ended = true,
                Err(alert) => failed = Some(alert),
            }
            taken += whole;
            if failed.is_some() {
                break;
            }
        }
        if *has_ended {
            taken = bytes.len();
        }
        if record.owes_answer() {
            // Behind what was said before.
            self.append(connection, handle, outlet.pool, |record, keys, queue| {
                record.answer(keys, queue);
            });
        }
        let opened = text.len() - start;
        Ok(Opened::Text(Text { bytes: text, opened, is_pooled, taken, has_more, failed }))
    }

    /// The protocol has done with plaintext what `inner` says, which is what the whole call comes to.
    ///
    /// # Errors
    /// The connection ends.
    pub fn settle(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        text: Text,
        inner: Taken,
        outlet: &mut Outlet<'_>,
    ) -> Result<Taken, Farewell> {
        let Text { mut bytes, is_pooled, taken, has_more, failed, .. } = text;
        let left = bytes.len().saturating_sub(inner.bytes);
        if let Some(alert) = failed {
            outlet.metrics.tls_broken.add(1);
            self.end(connection, handle, alert, outlet.pool);
            outlet.pool.recycle(bytes);
            let farewell = Farewell::saying(code::MALFORMED, "a record that cannot be opened");
            return Err(farewell.ending(Ending::Silent));
        }
        let Some(Entry {
            stage: Stage::Open { plain, is_held, inner_waits, has_ended, .. }, ..
        }) = self.entries.get_mut(handle.slot)
        else {
            return Ok(Taken { bytes: taken, stop: Stop::NeedMore });
        };
        // What begins now is due from now on; what went on since then is still the same frame.
        if left > 0 && (!is_pooled || inner.bytes > 0) {
            connection.since = outlet.tick;
        }
        if left > 0 && !is_pooled {
            outlet.pool.open(plain).extend_from_slice(&bytes[inner.bytes..]);
        }
        match is_pooled {
            true if left > 0 => {
                bytes.drain(..inner.bytes);
                outlet.pool.put(plain, bytes);
            }
            true => outlet.pool.recycle(bytes),
            false => {
                bytes.clear();
                self.scratch = bytes;
            }
        }
        outlet.pool.count(*plain);
        let is_stopped = inner.stop != Stop::NeedMore;
        if outlet.marks.full && !is_stopped && left > RECEIVE_BUFFER_BYTES as usize {
            return Err(Farewell::saying(code::OVERLOADED, "no room for an unfinished frame")
                .retry_after(OVERLOADED_RETRY_MS));
        }
        connection.flags.set(Flag::Unfinished, left > 0 && !is_stopped);
        if is_stopped && left > 0 {
            *is_held = true;
            *inner_waits = connection.flags.has(Flag::Waiting);
            connection.flags.set(Flag::Waiting, true);
        } else if *has_ended && !is_stopped && !connection.flags.has(Flag::Waiting) {
            return Err(Farewell::silent());
        }
        let stop = if has_more && !is_stopped { Stop::Budget } else { inner.stop };
        Ok(Taken { bytes: taken, stop })
    }

    /// Queues an alert behind what was said before, and ends our direction. The one of an end in
    /// order is [`Alert::CLOSE_NOTIFY`]. Nothing happens to a connection without a record state.
    pub fn end(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        alert: Alert,
        pool: &mut Pool,
    ) {
        self.append(connection, handle, pool, |record, keys, queue| match alert {
            Alert::CLOSE_NOTIFY => record.close_notify(keys, queue),
            alert => record.alert(keys, alert, queue),
        });
        let Some(entry) = self.entries.get_mut(handle.slot) else { return };
        if let Stage::Open { plain, .. } = &mut entry.stage {
            let bytes = pool.take(plain);
            pool.recycle(bytes);
            entry.stage = Stage::Over;
        }
    }

    /// Seals what waits in the queue, and appends what `write` seals.
    fn append(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        pool: &mut Pool,
        write: impl FnOnce(&mut Record, &mut Keys, &mut Vec<u8>),
    ) {
        let Some(entry) = self.entries.get_mut(handle.slot) else { return };
        let Stage::Open { record, .. } = &mut entry.stage else { return };
        let queue = pool.open(&mut connection.queued);
        let plain = queue.split_off(entry.ready as usize);
        // A key that is used up seals no more data, but an alert.
        let _ = record.seal(&mut self.keys, &plain, queue);
        write(record, &mut self.keys, queue);
        entry.ready = queue.len() as u32;
    }

    /// Seals what was taken to be sent. False: the key is used up; no more can be said, and the
    /// connection has to end.
    pub fn seal(&mut self, handle: Handle, plain: Vec<u8>, pool: &mut Pool) -> (Vec<u8>, bool) {
        let Some(entry) = self.entries.get_mut(handle.slot) else { return (Vec::new(), true) };
        let ready = std::mem::take(&mut entry.ready) as usize;
        let Stage::Open { record, .. } = &mut entry.stage else {
            let mut plain = plain;
            plain.truncate(ready);
            return (plain, true);
        };
        if plain.len() == ready {
            return (plain, true);
        }
        let mut sealed = pool.spare();
        sealed.extend_from_slice(&plain[..ready]);
        let is_good = record.seal(&mut self.keys, &plain[ready..], &mut sealed).is_ok();
        pool.recycle(plain);
        (sealed, is_good)
    }

    /// The connection is gone: nothing of it stays here.
    pub fn forget(&mut self, handle: Handle, pool: &mut Pool) {
        match self.entries.remove(handle.slot) {
            Some(Entry { stage: Stage::Shaking(_), .. }) => self.shaking -= 1,
            Some(Entry { stage: Stage::Open { mut plain, .. }, .. }) => {
                let bytes = pool.take(&mut plain);
                pool.recycle(bytes);
            }
            _ => {}
        }
    }
}

const fn need_more(bytes: usize) -> Opened {
    Opened::Nothing(Taken { bytes, stop: Stop::NeedMore })
}

/// Bytes of a handshake that is not at its turn stay with the worker, within the bound.
fn wait_with(bytes: &[u8]) -> Result<Opened, Farewell> {
    if bytes.len() > HANDSHAKE_BYTES_MAX {
        let farewell = Farewell::saying(code::MALFORMED, "too much before the handshake is done");
        return Err(farewell.ending(Ending::Silent));
    }
    Ok(need_more(0))
}

/// Bytes of all whole records; all bytes if what follows is none.
fn whole_records(bytes: &[u8]) -> usize {
    let mut whole = 0;
    loop {
        match cut(&bytes[whole..]) {
            Ok(Cut::Whole(record)) => whole += record,
            Ok(Cut::Needs(_)) => return whole,
            Err(_) => return bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_fits_its_budget() {
        assert!(size_of::<Option<Entry>>() <= 136, "{}", size_of::<Option<Entry>>());
    }
}
