//! What a device must keep: its unanswered requests, its counter and its mailbox cursor.
//!
//! Not a queue of bytes: a request is encoded again for every attempt, because `after` changes.
//! Invariant: requests stand in the order of their `client_seq`, and no `client_seq` is given
//! twice within an incarnation, as long as the bytes of [`Outbox::to_bytes`] are stored before a
//! request leaves the device.

use std::collections::VecDeque;

use hawser_codec::message::{Level, NAME_BYTES_MAX};

/// Requests an outbox holds unanswered: a device that is offline for long must stop its
/// application somewhere, and the whole is scanned when a connection comes back.
pub const OUTBOX_REQUESTS_MAX: usize = 1024;

/// Version of the stored form.
const STORED_VERSION: u8 = 1;

/// A request of the application that has no answer yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRequest {
    /// Its number within the incarnation.
    pub client_seq: u64,
    /// Client message id.
    pub uuid: [u8; 16],
    /// Receiving user.
    pub to: String,
    /// Level.
    pub level: Level,
    /// Content kind.
    pub content: u8,
    /// Receipts asked for.
    pub receipts: u8,
    /// Wall time of the application's call by this device's clock, milliseconds.
    pub made_ms: u64,
    /// An attempt has been made, or may have been (a stored request never knows better).
    pub attempted: bool,
    /// The message.
    pub body: Vec<u8>,
    pub(crate) standing: Standing,
}

/// Where a request stands on the present connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not sent on this connection.
    #[default]
    Unsent,
    /// Sent and unanswered.
    Sent { at_us: u64, repeated: bool },
    /// Refused for now; due again at this time.
    Later { at_us: u64 },
}

/// Stored bytes that are no outbox: damaged, or written by a newer version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadOutbox;

impl std::fmt::Display for BadOutbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("stored outbox is damaged or of an unknown version")
    }
}

impl std::error::Error for BadOutbox {}

/// The part of a client that outlives connections and, if stored, the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbox {
    incarnation: u64,
    last_seq: u64,
    pub(crate) cursor: Option<u64>,
    pub(crate) requests: VecDeque<PendingRequest>,
}

impl Outbox {
    /// An empty outbox. `incarnation` is a fresh random number other than 0: it tells this outbox
    /// from every other one of the same device.
    ///
    /// # Panics
    /// If `incarnation` is 0.
    pub fn new(incarnation: u64) -> Self {
        assert!(incarnation != 0, "an incarnation of 0 means none");
        Self { incarnation, last_seq: 0, cursor: None, requests: VecDeque::new() }
    }

    /// Number that tells this outbox from others of the same device.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Highest mailbox number the application has acknowledged; `None` until the server said.
    pub fn cursor(&self) -> Option<u64> {
        self.cursor
    }

    /// Unanswered requests, oldest first.
    pub fn requests(&self) -> impl ExactSizeIterator<Item = &PendingRequest> {
        self.requests.iter()
    }

    pub(crate) fn push(&mut self, mut request: PendingRequest) -> u64 {
        self.last_seq += 1;
        request.client_seq = self.last_seq;
        self.requests.push_back(request);
        self.last_seq
    }

    pub(crate) fn position(&self, client_seq: u64) -> Option<usize> {
        self.requests.binary_search_by_key(&client_seq, |request| request.client_seq).ok()
    }

    /// The stored form, to be written before what it holds is sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![STORED_VERSION];
        bytes.extend_from_slice(&self.incarnation.to_le_bytes());
        bytes.extend_from_slice(&self.last_seq.to_le_bytes());
        bytes.push(u8::from(self.cursor.is_some()));
        bytes.extend_from_slice(&self.cursor.unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&(self.requests.len() as u32).to_le_bytes());
        for request in &self.requests {
            bytes.extend_from_slice(&request.client_seq.to_le_bytes());
            bytes.extend_from_slice(&request.uuid);
            bytes.extend_from_slice(&[request.level as u8, request.content, request.receipts]);
            bytes.extend_from_slice(&request.made_ms.to_le_bytes());
            bytes.push(request.to.len() as u8);
            bytes.extend_from_slice(request.to.as_bytes());
            bytes.extend_from_slice(&(request.body.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&request.body);
        }
        bytes
    }

    /// Reads the stored form back.
    ///
    /// # Errors
    /// [`BadOutbox`] if the bytes are cut, inconsistent or of an unknown version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadOutbox> {
        let mut rest = Rest(bytes);
        if rest.byte()? != STORED_VERSION {
            return Err(BadOutbox);
        }
        let incarnation = rest.number()?;
        let last_seq = rest.number()?;
        let has_cursor = rest.byte()? != 0;
        let cursor = rest.number()?;
        let count = rest.length()?;
        if incarnation == 0 || count > OUTBOX_REQUESTS_MAX {
            return Err(BadOutbox);
        }
        let mut requests = VecDeque::with_capacity(count);
        let mut previous = 0;
        for _ in 0..count {
            let request = rest.request()?;
            if request.client_seq <= previous || request.client_seq > last_seq {
                return Err(BadOutbox);
            }
            previous = request.client_seq;
            requests.push_back(request);
        }
        if !rest.0.is_empty() {
            return Err(BadOutbox);
        }
        Ok(Self { incarnation, last_seq, cursor: has_cursor.then_some(cursor), requests })
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], BadOutbox> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(BadOutbox)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadOutbox> {
        let (head, tail) = self.0.split_first_chunk().ok_or(BadOutbox)?;
        self.0 = tail;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, BadOutbox> {
        Ok(self.array::<1>()?[0])
    }

    fn number(&mut self) -> Result<u64, BadOutbox> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn length(&mut self) -> Result<usize, BadOutbox> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn request(&mut self) -> Result<PendingRequest, BadOutbox> {
        let client_seq = self.number()?;
        let uuid = self.array()?;
        let level = match self.byte()? {
            0 => Level::Ephemeral,
            1 => Level::Normal,
            2 => Level::Important,
            _ => return Err(BadOutbox),
        };
        let content = self.byte()?;
        let receipts = self.byte()?;
        let made_ms = self.number()?;
        let to_bytes = usize::from(self.byte()?);
        let to = std::str::from_utf8(self.take(to_bytes)?).map_err(|_| BadOutbox)?;
        if to.is_empty() || to.len() > NAME_BYTES_MAX {
            return Err(BadOutbox);
        }
        let body_bytes = self.length()?;
        Ok(PendingRequest {
            client_seq,
            uuid,
            to: to.to_owned(),
            level,
            content,
            receipts,
            made_ms,
            attempted: true,
            body: self.take(body_bytes)?.to_vec(),
            standing: Standing::Unsent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Outbox {
        let mut outbox = Outbox::new(77);
        outbox.cursor = Some(9);
        for text in ["one", "two"] {
            outbox.push(PendingRequest {
                client_seq: 0,
                uuid: [3; 16],
                to: "bob".to_owned(),
                level: Level::Important,
                content: 1,
                receipts: 2,
                made_ms: 1234,
                attempted: true,
                body: text.as_bytes().to_vec(),
                standing: Standing::Unsent,
            });
        }
        outbox
    }

    #[test]
    fn stored_outbox_reads_back_equal() {
        let outbox = sample();
        assert_eq!(Outbox::from_bytes(&outbox.to_bytes()), Ok(outbox));
    }

    #[test]
    fn cut_or_changed_bytes_never_panic_and_a_cut_is_refused() {
        let bytes = sample().to_bytes();
        for end in 0..bytes.len() {
            assert_eq!(Outbox::from_bytes(&bytes[..end]), Err(BadOutbox), "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0xff;
            let _ = Outbox::from_bytes(&changed);
        }
    }

    #[test]
    fn numbers_go_on_after_a_restart() {
        let mut outbox = Outbox::from_bytes(&sample().to_bytes()).unwrap();
        let request = outbox.requests[0].clone();
        assert_eq!(outbox.push(request), 3);
    }
}
