//! The sending half: window, order, repeats.
//!
//! A request leaves only after every earlier one of its conversation has left on this connection,
//! and names the latest of them still unanswered in `after`; so the server never has to queue one
//! for its predecessor, and refuses at most what stands behind another refusal.

use std::collections::HashMap;

use hawser_codec::{
    code,
    message::{Acknowledge, Error, Message as Wire, NAME_BYTES_MAX, Request},
    time::Now,
};

use super::{
    ClientSession, Link, US_PER_MS,
    types::{Event, Outgoing, SendError},
};
use crate::outbox::{OUTBOX_REQUESTS_MAX, PendingRequest, Standing};

/// Shortest wait before a request that was refused for now is sent again, milliseconds.
const RETRY_MIN_MS: u32 = 10;

impl ClientSession {
    /// Takes a message into the outbox and sends it as soon as may be. Gives its `client_seq`,
    /// which comes back in [`Event::Acknowledged`] or [`Event::Refused`].
    ///
    /// # Errors
    /// [`SendError`]; nothing was taken then.
    pub fn send(&mut self, now: Now, message: Outgoing) -> Result<u64, SendError> {
        if matches!(self.link, Link::Ended) {
            return Err(SendError::Ended);
        }
        if message.to.is_empty() || message.to.len() > NAME_BYTES_MAX {
            return Err(SendError::BadName);
        }
        if message.body.len() > self.body_bytes_max {
            return Err(SendError::BodyTooLong);
        }
        if self.outbox.requests.len() >= OUTBOX_REQUESTS_MAX {
            return Err(SendError::OutboxFull);
        }
        let client_seq = self.outbox.push(PendingRequest {
            client_seq: 0,
            uuid: message.uuid,
            to: message.to,
            level: message.level,
            content: message.content,
            receipts: message.receipts,
            made_ms: now.wall_ms,
            attempted: false,
            body: message.body,
            standing: Standing::Unsent,
        });
        self.pump_requests(now);
        Ok(client_seq)
    }

    /// A new connection knows of no attempt.
    pub(super) fn forget_attempts(&mut self) {
        for request in &mut self.outbox.requests {
            request.standing = Standing::Unsent;
        }
    }

    pub(super) fn requests_deadline(&self) -> Option<u64> {
        let timeout_us = self.timeout_us();
        let due = |request: &PendingRequest| match request.standing {
            Standing::Unsent => None,
            Standing::Sent { at_us, .. } => Some(at_us + timeout_us),
            Standing::Later { at_us } => Some(at_us),
        };
        self.outbox.requests.iter().filter_map(due).min()
    }

    pub(super) fn time_requests(&mut self, now: Now) {
        let timeout_us = self.timeout_us();
        for index in 0..self.outbox.requests.len() {
            let request = &mut self.outbox.requests[index];
            match request.standing {
                Standing::Later { at_us } if now.monotonic_us >= at_us => {
                    request.standing = Standing::Unsent;
                }
                Standing::Sent { at_us, repeated } if now.monotonic_us >= at_us + timeout_us => {
                    if repeated {
                        self.reconnect(0);
                        return;
                    }
                    let after = self.unanswered_before(index);
                    self.put_request(now, index, after, true);
                }
                Standing::Unsent | Standing::Later { .. } | Standing::Sent { .. } => {}
            }
        }
        self.pump_requests(now);
    }

    fn unanswered_before(&self, index: usize) -> u64 {
        let to = &self.outbox.requests[index].to;
        let earlier = self.outbox.requests.iter().take(index).rev();
        earlier
            .filter(|request| request.to == *to)
            .map(|request| request.client_seq)
            .next()
            .unwrap_or(0)
    }

    /// Sends what the window and the order allow.
    pub(super) fn pump_requests(&mut self, now: Now) {
        let Link::Online(online) = &self.link else { return };
        let requests = &self.outbox.requests;
        let is_sent = |request: &&PendingRequest| matches!(request.standing, Standing::Sent { .. });
        let mut room = online.requests_max.saturating_sub(requests.iter().filter(is_sent).count());
        // Of each conversation on the way: its latest request, and whether it has left.
        let mut latest: HashMap<&str, (u64, bool)> = HashMap::new();
        let mut leaving = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            if room == 0 {
                break;
            }
            let (after, open) = latest.get(request.to.as_str()).copied().unwrap_or((0, true));
            let left = match request.standing {
                Standing::Sent { .. } => true,
                Standing::Unsent if open => {
                    leaving.push((index, after));
                    room -= 1;
                    true
                }
                Standing::Unsent | Standing::Later { .. } => false,
            };
            latest.insert(&request.to, (request.client_seq, left && open));
        }
        for (index, after) in leaving {
            self.put_request(now, index, after, false);
        }
    }

    fn put_request(&mut self, now: Now, index: usize, after: u64, repeated: bool) {
        let Link::Online(online) = &mut self.link else { return };
        let entry = &mut self.outbox.requests[index];
        let first_attempt_ms = if entry.attempted {
            entry.made_ms.saturating_add_signed(online.clock_offset_ms).max(1)
        } else {
            0
        };
        entry.attempted = true;
        entry.standing = Standing::Sent { at_us: now.monotonic_us, repeated };
        let request = Request {
            client_seq: entry.client_seq,
            after,
            uuid: entry.uuid,
            to: &entry.to,
            level: entry.level,
            content: entry.content,
            receipts: entry.receipts,
            first_attempt_ms,
            body: &entry.body,
        };
        self.encoder.message(&mut self.outbound, 0, 0, &Wire::Request(request));
        online.sent_us = now.monotonic_us;
    }

    pub(super) fn on_acknowledge(&mut self, answer: &Acknowledge) {
        // Unknown: the second answer to a request that was repeated.
        let Some(index) = self.outbox.position(answer.client_seq) else { return };
        self.outbox.requests.remove(index);
        self.events.push_back(Event::Acknowledged {
            client_seq: answer.client_seq,
            sequence: answer.sequence,
            time_ms: answer.time_ms,
        });
    }

    pub(super) fn on_request_refused(&mut self, now: Now, error: &Error<'_>) {
        let Some(index) = self.outbox.position(error.client_seq) else { return };
        if is_temporary(error.code) {
            let wait_ms = error.retry_after_ms.max(RETRY_MIN_MS);
            let at_us = now.monotonic_us + u64::from(wait_ms) * US_PER_MS;
            self.outbox.requests[index].standing = Standing::Later { at_us };
        } else {
            self.outbox.requests.remove(index);
            self.events.push_back(Event::Refused {
                client_seq: error.client_seq,
                code: error.code,
                text: error.text.to_owned(),
            });
        }
    }
}

/// The same request may succeed later.
fn is_temporary(refusal: u16) -> bool {
    refusal == code::OUT_OF_ORDER || (400..600).contains(&refusal)
}
