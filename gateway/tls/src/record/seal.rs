//! Sealing what goes out.

use aws_lc_rs::aead::{Aad, Nonce};

use super::{
    KEY_UPDATE_AT, OLD_RECORDS_MAX, REFUSAL_OWED, Record, UPDATE_OWED, old_additional_data,
    open::KEY_UPDATE_HEAD,
};
use crate::{
    alert::{Alert, FATAL, WARNING},
    cut::{ALERT, APPLICATION_DATA, HANDSHAKE, PLAINTEXT_BYTES_MAX, RECORD_HEADER_BYTES},
    keys::{Keys, Suite, TAG_BYTES},
};

/// Most that a record adds to its plaintext: header, explicit nonce or inner type, tag.
const OVERHEAD_BYTES_MAX: usize = RECORD_HEADER_BYTES + 8 + TAG_BYTES;
/// A key update, or a refusal, that goes before.
const ANSWER_BYTES_MAX: usize = 2 * (OVERHEAD_BYTES_MAX + KEY_UPDATE_HEAD.len() + 1);

/// The key of a connection of TLS 1.2 has sealed as much as it may, and that version cannot change
/// it. Only a last alert is sealed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// Most bytes that sealing `plain_bytes` appends.
#[must_use]
pub const fn sealed_bytes_max(plain_bytes: usize) -> usize {
    plain_bytes + plain_bytes.div_ceil(PLAINTEXT_BYTES_MAX) * OVERHEAD_BYTES_MAX + ANSWER_BYTES_MAX
}

impl Record {
    /// Seals `plain` in records of at most 2^14 bytes and appends them to `out`, behind what is
    /// owed to the peer.
    ///
    /// # Errors
    /// [`Exhausted`]: `out` is as it was; close the connection.
    pub fn seal(
        &mut self,
        keys: &mut Keys,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Exhausted> {
        let records = plain.len().div_ceil(PLAINTEXT_BYTES_MAX) as u64;
        let is_bounded = matches!(self.suite, Suite::OldAes128 | Suite::OldAes256);
        if is_bounded && self.outgoing.count + records > OLD_RECORDS_MAX {
            return Err(Exhausted);
        }
        out.reserve(sealed_bytes_max(plain.len()));
        self.answer(keys, out);
        for part in plain.chunks(PLAINTEXT_BYTES_MAX) {
            if self.suite.is_tls13() && self.outgoing.count >= KEY_UPDATE_AT {
                self.update_key(keys, out);
            }
            self.seal_one(keys, APPLICATION_DATA, part, out);
        }
        Ok(())
    }

    /// Appends what is owed to the peer: one key update for any number asked for, one refusal to
    /// negotiate again. Appends nothing if nothing is owed.
    pub fn answer(&mut self, keys: &mut Keys, out: &mut Vec<u8>) {
        let owed = std::mem::take(&mut self.flags);
        if owed & UPDATE_OWED != 0 {
            self.update_key(keys, out);
        }
        if owed & REFUSAL_OWED != 0 {
            self.seal_one(keys, ALERT, &[WARNING, Alert::NO_RENEGOTIATION.0], out);
        }
    }

    /// Appends the closure of our direction. Nothing may be sealed behind it.
    pub fn close_notify(&mut self, keys: &mut Keys, out: &mut Vec<u8>) {
        self.seal_one(keys, ALERT, &[WARNING, Alert::CLOSE_NOTIFY.0], out);
    }

    /// Appends a fatal alert. Nothing may be sealed behind it.
    pub fn alert(&mut self, keys: &mut Keys, alert: Alert, out: &mut Vec<u8>) {
        self.seal_one(keys, ALERT, &[FATAL, alert.0], out);
    }

    /// Announces the next key, which seals what follows. The peer is not asked to change its own:
    /// how much it sealed is its own count.
    fn update_key(&mut self, keys: &mut Keys, out: &mut Vec<u8>) {
        let [a, b, c, d] = KEY_UPDATE_HEAD;
        self.seal_one(keys, HANDSHAKE, &[a, b, c, d, 0], out);
        self.outgoing.update(self.suite);
    }

    pub(super) fn seal_one(&mut self, keys: &mut Keys, kind: u8, plain: &[u8], out: &mut Vec<u8>) {
        let entry = keys.of(self.suite, &self.outgoing.secret);
        let nonce = entry.nonce(self.outgoing.count);
        let explicit = &nonce[nonce.len() - self.suite.explicit_nonce_bytes()..];
        let is_new = self.suite.is_tls13();
        let outer = if is_new { APPLICATION_DATA } else { kind };
        let body = explicit.len() + plain.len() + usize::from(is_new) + TAG_BYTES;
        let [high, low] = (body as u16).to_be_bytes();
        let header = [outer, 3, 3, high, low];
        out.extend_from_slice(&header);
        out.extend_from_slice(explicit);
        let start = out.len();
        out.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = if is_new {
            out.push(kind);
            entry.key().seal_in_place_separate_tag(nonce, Aad::from(header), &mut out[start..])
        } else {
            let aad = Aad::from(old_additional_data(self.outgoing.count, kind, plain.len()));
            entry.key().seal_in_place_separate_tag(nonce, aad, &mut out[start..])
        };
        let tag = tag.expect("a record is shorter than any AEAD's limit");
        out.extend_from_slice(tag.as_ref());
        self.outgoing.count += 1;
    }
}
