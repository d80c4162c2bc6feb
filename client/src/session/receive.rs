//! Bytes from the server, frame by frame.

use hawser_codec::{
    code,
    frame::{self, FrameLimits, Step},
    message::{self, Beat, Error, Message as Wire, Welcome},
    time::Now,
};

use super::{
    ClientSession, FRAME_BYTES_MAX, HEARTBEAT_DEFAULT_S, Link, Online, US_PER_MS,
    types::{ConnectionState, Event},
};

const LIMITS: FrameLimits = FrameLimits { body_bytes_max: FRAME_BYTES_MAX };

/// Room a request's frame needs beside its body, bytes: header, table, names.
const REQUEST_OVERHEAD_BYTES: usize = 256;

impl ClientSession {
    /// Bytes came from the server, cut anywhere.
    pub fn on_bytes(&mut self, now: Now, bytes: &[u8]) {
        match &mut self.link {
            Link::Online(online) => online.received_us = now.monotonic_us,
            Link::Greeting { .. } => {}
            Link::Waiting { .. } | Link::Connecting | Link::Closing { .. } | Link::Ended => return,
        }
        let mut inbound = std::mem::take(&mut self.inbound);
        inbound.extend_from_slice(bytes);
        let used = self.take_frames(now, &inbound);
        inbound.drain(..used);
        self.inbound = inbound;
        self.pump_requests(now);
        self.settle_mailbox(now);
    }

    /// Gives the bytes used up.
    fn take_frames(&mut self, now: Now, inbound: &[u8]) -> usize {
        let mut used = 0;
        while matches!(self.link, Link::Greeting { .. } | Link::Online(_)) {
            match frame::step(&LIMITS, &inbound[used..]) {
                Ok(Step::NeedMore { .. }) => break,
                Ok(Step::Frame { frame, consumed }) => {
                    used += consumed;
                    match message::decode(frame) {
                        Ok(message) => self.on_message(now, &message),
                        Err(malformed) if !malformed.is_fatal() => {}
                        Err(_) => self.reconnect(0),
                    }
                }
                Err(_) => self.reconnect(0),
            }
        }
        used
    }

    fn on_message(&mut self, now: Now, message: &Wire<'_>) {
        match (&self.link, message) {
            (_, Wire::Error(error)) => self.on_error(now, error),
            (_, Wire::GoAway(leave)) => {
                self.endpoint = Some(leave.endpoint.to_owned()).filter(|name| !name.is_empty());
                self.events.push_back(Event::GoingAway { code: leave.code });
                self.reconnect(leave.retry_after_ms);
            }
            (Link::Greeting { .. }, Wire::Welcome(welcome)) => self.on_welcome(now, welcome),
            (Link::Online(online), Wire::Ping(_)) => {
                let next_ms = (online.heartbeat_us / US_PER_MS) as u32;
                self.put(now, &Wire::Pong(Beat { next_ms }));
            }
            (Link::Online(_), Wire::Pong(_)) => {}
            (Link::Online(_), Wire::Acknowledge(answer)) => self.on_acknowledge(answer),
            (Link::Online(_), Wire::Notify(notify)) => self.on_notify(now, notify),
            (Link::Online(_), Wire::Head(head)) => self.on_head(now, head.head),
            (Link::Online(_), Wire::Page(page)) => self.on_page(now, page),
            (Link::Online(_), Wire::Receipt(receipt)) => {
                self.events.push_back(Event::Receipt {
                    conversation: receipt.conversation.to_owned(),
                    what: receipt.what,
                    sequence: receipt.sequence,
                });
            }
            // Anything else is not for a client, or not before the welcome.
            _ => self.reconnect(0),
        }
    }

    fn on_welcome(&mut self, now: Now, welcome: &Welcome<'_>) {
        let heartbeat_s =
            if welcome.heartbeat_s == 0 { HEARTBEAT_DEFAULT_S } else { welcome.heartbeat_s };
        self.resume_token.clear();
        self.resume_token.extend_from_slice(welcome.resume_token);
        self.body_bytes_max =
            (welcome.frame_bytes_max as usize).saturating_sub(REQUEST_OVERHEAD_BYTES);
        self.failures = 0;
        self.link = Link::Online(Online {
            requests_max: usize::from(welcome.requests_max.max(1)),
            clock_offset_ms: welcome.server_time_ms as i64 - now.wall_ms as i64,
            heartbeat_us: u64::from(heartbeat_s) * 1000 * US_PER_MS,
            sent_us: now.monotonic_us,
            received_us: now.monotonic_us,
            pinged_us: 0,
        });
        self.events.push_back(Event::State(ConnectionState::Online));
        self.forget_attempts();
        self.welcome_mailbox(now, welcome.head, welcome.cursor, welcome.floor);
    }

    fn on_error(&mut self, now: Now, error: &Error<'_>) {
        if error.fatal {
            self.on_fatal(error);
        } else if error.client_seq != 0 {
            self.on_request_refused(now, error);
        } else if !self.on_page_refused(now, error.retry_after_ms)
            && matches!(self.link, Link::Greeting { .. })
        {
            self.on_fatal(error);
        }
    }

    fn on_fatal(&mut self, error: &Error<'_>) {
        let resumed = matches!(self.link, Link::Greeting { resumed: true, .. });
        match error.code {
            // A resume token may be too old where the login's own token is not.
            code::UNAUTHENTICATED | code::TOKEN_EXPIRED if resumed => {
                self.resume_token.clear();
                self.reconnect(error.retry_after_ms);
            }
            code::TIMEOUT => self.reconnect(error.retry_after_ms),
            100..400 => self.end_with(error.code, error.text),
            _ => self.reconnect(error.retry_after_ms),
        }
    }
}
