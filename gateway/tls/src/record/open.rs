//! Opening what comes in.

use aws_lc_rs::aead::{Aad, Nonce};

use super::{IDLE_RECORDS_MAX, REFUSAL_OWED, Record, UPDATE_OWED, old_additional_data};
use crate::{
    alert::{Alert, WARNING},
    cut::{
        ALERT, APPLICATION_DATA, CIPHERTEXT_BYTES_MAX, HANDSHAKE, PLAINTEXT_BYTES_MAX,
        RECORD_HEADER_BYTES,
    },
    keys::{Keys, TAG_BYTES},
};

/// What a record held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// This many bytes of plaintext, appended.
    Data(usize),
    /// Nothing for the application.
    Nothing,
    /// The peer changed its key; [`Record::owes_answer`] says whether it wants ours changed.
    KeyUpdate,
    /// The peer asked for a new handshake on this connection (TLS 1.2) and will be refused.
    Renegotiation,
    /// The peer says nothing more; what follows is to be ignored.
    CloseNotify,
    /// The peer ended the connection with this alert; nothing is answered.
    Fatal(Alert),
}

/// First byte of a ClientHello.
const CLIENT_HELLO: u8 = 1;
/// Head of a KeyUpdate: type 24, length 1 (RFC 8446 section 4.6.3).
pub(super) const KEY_UPDATE_HEAD: [u8; 4] = [24, 0, 0, 1];

impl Record {
    /// Opens one whole record (see [`crate::cut`]) and appends its plaintext to `plain`.
    ///
    /// # Errors
    /// The alert with which the connection has to end ([`Record::alert`] seals it). `plain` is as
    /// it was.
    pub fn open(
        &mut self,
        keys: &mut Keys,
        record: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Opened, Alert> {
        let start = plain.len();
        let opened = if self.suite.is_tls13() {
            self.open_new(keys, record, plain).and_then(|kind| self.take(kind, start, plain))
        } else {
            self.open_old(keys, record, plain).and_then(|kind| self.take_old(kind, start, plain))
        };
        if !matches!(opened, Ok(Opened::Data(_))) {
            plain.truncate(start);
        }
        match opened? {
            Opened::Data(bytes) => {
                self.idle = 0;
                Ok(Opened::Data(bytes))
            }
            opened @ (Opened::CloseNotify | Opened::Fatal(_)) => Ok(opened),
            opened @ (Opened::Nothing | Opened::KeyUpdate | Opened::Renegotiation) => {
                self.idle = self.idle.saturating_add(1);
                if self.idle > IDLE_RECORDS_MAX {
                    Err(Alert::UNEXPECTED_MESSAGE)
                } else {
                    Ok(opened)
                }
            }
        }
    }

    /// Opens a record of TLS 1.3 and takes its padding and its inner type off.
    fn open_new(
        &mut self,
        keys: &mut Keys,
        record: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<u8, Alert> {
        let (header, body) = split(record)?;
        // Everything behind a handshake of TLS 1.3 is protected, alerts and all; a change of cipher
        // spec is tolerated only before the Finished (RFC 8446 section 5).
        if header[0] != APPLICATION_DATA {
            return Err(Alert::UNEXPECTED_MESSAGE);
        }
        let sealed = body.len().checked_sub(TAG_BYTES).ok_or(Alert::BAD_RECORD_MAC)?;
        let entry = keys.of(self.suite, &self.incoming.secret);
        let nonce = Nonce::assume_unique_for_key(entry.nonce(self.incoming.count));
        let start = plain.len();
        plain.resize(start + sealed, 0);
        let (text, tag) = body.split_at(sealed);
        entry
            .key()
            .open_separate_gather(nonce, Aad::from(header), text, tag, &mut plain[start..])
            .map_err(|_| Alert::BAD_RECORD_MAC)?;
        self.incoming.count += 1;
        // Padding counts (RFC 8446 section 5.4).
        if sealed > PLAINTEXT_BYTES_MAX + 1 {
            return Err(Alert::RECORD_OVERFLOW);
        }
        let inner = plain[start..].iter().rposition(|byte| *byte != 0);
        let last = inner.ok_or(Alert::UNEXPECTED_MESSAGE)?;
        let kind = plain[start + last];
        plain.truncate(start + last);
        Ok(kind)
    }

    pub(super) fn open_old(
        &mut self,
        keys: &mut Keys,
        record: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<u8, Alert> {
        let (header, body) = split(record)?;
        let explicit = self.suite.explicit_nonce_bytes();
        let sealed = body.len().checked_sub(explicit + TAG_BYTES).ok_or(Alert::BAD_RECORD_MAC)?;
        let entry = keys.of(self.suite, &self.incoming.secret);
        let nonce = match body.first_chunk().filter(|_| explicit != 0) {
            Some(explicit) => entry.nonce_with(*explicit),
            None => entry.nonce(self.incoming.count),
        };
        let aad = Aad::from(old_additional_data(self.incoming.count, header[0], sealed));
        let start = plain.len();
        plain.resize(start + sealed, 0);
        let (text, tag) = body[explicit..].split_at(sealed);
        entry
            .key()
            .open_separate_gather(
                Nonce::assume_unique_for_key(nonce),
                aad,
                text,
                tag,
                &mut plain[start..],
            )
            .map_err(|_| Alert::BAD_RECORD_MAC)?;
        self.incoming.count += 1;
        if sealed > PLAINTEXT_BYTES_MAX { Err(Alert::RECORD_OVERFLOW) } else { Ok(header[0]) }
    }

    fn take(&mut self, kind: u8, start: usize, plain: &[u8]) -> Result<Opened, Alert> {
        match (kind, &plain[start..]) {
            (APPLICATION_DATA, []) => Ok(Opened::Nothing),
            (APPLICATION_DATA, data) => Ok(Opened::Data(data.len())),
            (ALERT, &[_, 0]) => Ok(Opened::CloseNotify),
            (ALERT, &[_, description]) if Alert(description) == Alert::USER_CANCELED => {
                Ok(Opened::Nothing)
            }
            // Whatever its level says, any other alert is an end (RFC 8446 section 6).
            (ALERT, &[_, description]) => Ok(Opened::Fatal(Alert(description))),
            (HANDSHAKE, &[a, b, c, d, asked @ (0 | 1)]) if [a, b, c, d] == KEY_UPDATE_HEAD => {
                self.incoming.update(self.suite);
                if asked == 1 {
                    self.flags |= UPDATE_OWED;
                }
                Ok(Opened::KeyUpdate)
            }
            // Neither other messages nor parts of one: nobody cuts five bytes in two.
            _ => Err(Alert::UNEXPECTED_MESSAGE),
        }
    }

    fn take_old(&mut self, kind: u8, start: usize, plain: &[u8]) -> Result<Opened, Alert> {
        match (kind, &plain[start..]) {
            (APPLICATION_DATA, []) => Ok(Opened::Nothing),
            (APPLICATION_DATA, data) => Ok(Opened::Data(data.len())),
            (ALERT, &[_, 0]) => Ok(Opened::CloseNotify),
            (ALERT, &[WARNING, _]) => Ok(Opened::Nothing),
            (ALERT, &[_, description]) => Ok(Opened::Fatal(Alert(description))),
            (HANDSHAKE, &[CLIENT_HELLO, ..]) => {
                self.flags |= REFUSAL_OWED;
                Ok(Opened::Renegotiation)
            }
            _ => Err(Alert::UNEXPECTED_MESSAGE),
        }
    }
}

fn split(record: &[u8]) -> Result<([u8; RECORD_HEADER_BYTES], &[u8]), Alert> {
    let (header, body) = record.split_first_chunk().ok_or(Alert::DECODE_ERROR)?;
    if body.len() > CIPHERTEXT_BYTES_MAX {
        Err(Alert::RECORD_OVERFLOW)
    } else {
        Ok((*header, body))
    }
}
