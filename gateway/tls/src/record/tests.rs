use super::*;
use crate::{
    Alert, Keys,
    alert::{FATAL, WARNING},
    cut::{ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, CIPHERTEXT_BYTES_MAX, HANDSHAKE},
    keys::SECRET_BYTES_MAX,
};

const NEW: [Suite; 3] = [Suite::Aes128, Suite::Aes256, Suite::ChaCha];
const OLD: [Suite; 3] = [Suite::OldAes128, Suite::OldAes256, Suite::OldChaCha];

/// Two ends of a connection; either can seal records that nobody honest would.
struct Pair {
    ours: Record,
    theirs: Record,
    keys: Keys,
}

impl Pair {
    fn new(suite: Suite) -> Self {
        let half = |byte| Half { secret: [byte; SECRET_BYTES_MAX], count: 0 };
        Self {
            ours: Record::new(suite, half(1), half(2)),
            theirs: Record::new(suite, half(2), half(1)),
            keys: Keys::new(16),
        }
    }

    fn they_seal(&mut self, kind: u8, plain: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        self.theirs.seal_one(&mut self.keys, kind, plain, &mut record);
        record
    }

    fn we_open(&mut self, record: &[u8]) -> Result<Opened, Alert> {
        let mut plain = b"before".to_vec();
        let opened = self.ours.open(&mut self.keys, record, &mut plain);
        let bytes = if let Ok(Opened::Data(bytes)) = opened { bytes } else { 0 };
        assert_eq!(plain.len(), 6 + bytes, "only data is appended");
        opened
    }

    fn hear(&mut self, kind: u8, plain: &[u8]) -> Result<Opened, Alert> {
        let record = self.they_seal(kind, plain);
        self.we_open(&record)
    }

    fn they_hear(&mut self, sealed: &[u8]) -> (Opened, Vec<u8>) {
        let mut plain = Vec::new();
        let opened = self.theirs.open(&mut self.keys, sealed, &mut plain).unwrap();
        (opened, plain)
    }
}

#[test]
fn a_record_state_is_small() {
    assert!(size_of::<Record>() <= 120, "{}", size_of::<Record>());
}

#[test]
fn a_record_that_was_touched_does_not_open() {
    for suite in NEW.into_iter().chain(OLD) {
        let record = Pair::new(suite).they_seal(APPLICATION_DATA, b"text");
        for at in 5..record.len() {
            let mut touched = record.clone();
            touched[at] ^= 1;
            assert_eq!(Pair::new(suite).we_open(&touched), Err(Alert::BAD_RECORD_MAC), "{at}");
        }
        for bytes in 5..record.len() {
            assert!(Pair::new(suite).we_open(&record[..bytes]).is_err());
        }
        assert_eq!(Pair::new(suite).we_open(&record), Ok(Opened::Data(4)));
    }
}

#[test]
fn a_record_opens_once_and_in_its_place() {
    for suite in NEW.into_iter().chain(OLD) {
        let mut pair = Pair::new(suite);
        let first = pair.they_seal(APPLICATION_DATA, b"first");
        let second = pair.they_seal(APPLICATION_DATA, b"second");
        assert_eq!(pair.we_open(&first), Ok(Opened::Data(5)));
        assert_eq!(pair.we_open(&first), Err(Alert::BAD_RECORD_MAC));
        assert_eq!(pair.we_open(&second), Ok(Opened::Data(6)));
    }
}

#[test]
fn padding_is_taken_off_and_a_record_of_nothing_else_is_refused() {
    for suite in NEW {
        let mut pair = Pair::new(suite);
        let padded = |text: &[u8], zeros| [text, &[APPLICATION_DATA], &vec![0; zeros]].concat();
        // With type 0 the inner type is one more zero of padding.
        assert_eq!(pair.hear(0, &padded(b"text", 300)), Ok(Opened::Data(4)));
        assert_eq!(pair.hear(0, &padded(b"", 3)), Ok(Opened::Nothing));
        assert_eq!(pair.hear(0, &[0; 10]), Err(Alert::UNEXPECTED_MESSAGE));
        assert_eq!(pair.hear(0, b""), Err(Alert::UNEXPECTED_MESSAGE));
    }
}

#[test]
fn a_record_that_is_too_long_is_told_so() {
    for suite in NEW.into_iter().chain(OLD) {
        let mut pair = Pair::new(suite);
        let full = vec![1; 1 << 14];
        assert_eq!(pair.hear(APPLICATION_DATA, &full), Ok(Opened::Data(1 << 14)));
        let long = vec![1; (1 << 14) + 1];
        assert_eq!(pair.hear(APPLICATION_DATA, &long), Err(Alert::RECORD_OVERFLOW));
        let longer = vec![1; CIPHERTEXT_BYTES_MAX];
        assert_eq!(pair.hear(APPLICATION_DATA, &longer), Err(Alert::RECORD_OVERFLOW));
    }
    let mut padded = vec![0; 1 << 14];
    padded[0] = APPLICATION_DATA;
    let mut pair = Pair::new(Suite::Aes128);
    assert_eq!(pair.hear(0, &padded), Ok(Opened::Nothing), "2^14 + 1 with the type");
    padded.push(0);
    assert_eq!(pair.hear(0, &padded), Err(Alert::RECORD_OVERFLOW), "padding counts");
}

#[test]
fn nothing_unprotected_follows_a_handshake() {
    for suite in NEW {
        for kind in [CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE] {
            let record = [kind, 3, 3, 0, 1, 1];
            assert_eq!(Pair::new(suite).we_open(&record), Err(Alert::UNEXPECTED_MESSAGE));
        }
    }
    for suite in OLD {
        for kind in [CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE] {
            let record = [kind, 3, 3, 0, 1, 1];
            assert_eq!(Pair::new(suite).we_open(&record), Err(Alert::BAD_RECORD_MAC));
        }
        assert_eq!(Pair::new(suite).hear(CHANGE_CIPHER_SPEC, &[1]), Err(Alert::UNEXPECTED_MESSAGE));
    }
}

#[test]
fn other_messages_behind_the_handshake_are_refused() {
    let update = [24, 0, 0, 1, 0];
    let cases: [&[u8]; 8] = [
        b"",
        &[1, 0, 0, 0],
        &[4, 0, 0, 0],
        &[13, 0, 0, 0],
        &[24, 0, 0, 1],
        &[24, 0, 0, 1, 2],
        &[24, 0, 0, 2, 0, 0],
        &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0],
    ];
    for message in cases {
        assert_eq!(
            Pair::new(Suite::Aes128).hear(HANDSHAKE, message),
            Err(Alert::UNEXPECTED_MESSAGE)
        );
    }
    assert_eq!(Pair::new(Suite::Aes128).hear(HANDSHAKE, &update), Ok(Opened::KeyUpdate));
    for suite in OLD {
        assert_eq!(Pair::new(suite).hear(HANDSHAKE, &update), Err(Alert::UNEXPECTED_MESSAGE));
    }
    assert_eq!(Pair::new(Suite::Aes128).hear(24, b"heartbeat"), Err(Alert::UNEXPECTED_MESSAGE));
}

#[test]
fn key_updates_go_both_ways_and_many_wishes_are_one_answer() {
    for suite in NEW {
        let mut pair = Pair::new(suite);
        for _ in 0..3 {
            assert_eq!(pair.hear(HANDSHAKE, &[24, 0, 0, 1, 1]), Ok(Opened::KeyUpdate));
            pair.theirs.outgoing.update(suite);
        }
        assert_eq!(pair.hear(APPLICATION_DATA, b"new key"), Ok(Opened::Data(7)));
        let mut out = Vec::new();
        pair.ours.seal(&mut pair.keys, b"answer", &mut out).unwrap();
        let update = 5 + 5 + 1 + 16;
        assert_eq!(pair.they_hear(&out[..update]).0, Opened::KeyUpdate);
        assert!(!pair.theirs.owes_answer(), "an answer asks for nothing");
        assert_eq!(pair.they_hear(&out[update..]), (Opened::Data(6), b"answer".to_vec()));
        assert!(!pair.ours.owes_answer());
    }
}

#[test]
fn the_key_changes_by_itself_at_its_limit() {
    for suite in NEW {
        let mut pair = Pair::new(suite);
        pair.ours.outgoing.count = KEY_UPDATE_AT - 1;
        pair.theirs.incoming.count = KEY_UPDATE_AT - 1;
        let mut out = Vec::new();
        pair.ours.seal(&mut pair.keys, b"last", &mut out).unwrap();
        assert_eq!(pair.they_hear(&out), (Opened::Data(4), b"last".to_vec()));
        out.clear();
        pair.ours.seal(&mut pair.keys, b"first", &mut out).unwrap();
        let update = 5 + 5 + 1 + 16;
        assert_eq!(pair.they_hear(&out[..update]).0, Opened::KeyUpdate);
        assert_eq!(pair.they_hear(&out[update..]), (Opened::Data(5), b"first".to_vec()));
    }
}

#[test]
fn a_flood_of_records_that_carry_nothing_ends_the_connection() {
    let mut pair = Pair::new(Suite::Aes128);
    for _ in 0..IDLE_RECORDS_MAX {
        assert_eq!(pair.hear(HANDSHAKE, &[24, 0, 0, 1, 1]), Ok(Opened::KeyUpdate));
        pair.theirs.outgoing.update(Suite::Aes128);
    }
    assert_eq!(pair.hear(HANDSHAKE, &[24, 0, 0, 1, 1]), Err(Alert::UNEXPECTED_MESSAGE));

    for suite in NEW.into_iter().chain(OLD) {
        let mut pair = Pair::new(suite);
        for _ in 0..IDLE_RECORDS_MAX {
            assert_eq!(pair.hear(APPLICATION_DATA, b""), Ok(Opened::Nothing));
        }
        assert_eq!(pair.hear(APPLICATION_DATA, b"x"), Ok(Opened::Data(1)), "it starts anew");
        for _ in 0..IDLE_RECORDS_MAX {
            assert_eq!(pair.hear(APPLICATION_DATA, b""), Ok(Opened::Nothing));
        }
        assert_eq!(pair.hear(APPLICATION_DATA, b""), Err(Alert::UNEXPECTED_MESSAGE));
    }
}

#[test]
fn renegotiation_is_refused_with_a_warning() {
    for suite in OLD {
        let mut pair = Pair::new(suite);
        assert_eq!(pair.hear(HANDSHAKE, &[1, 0, 0, 2, 3, 3]), Ok(Opened::Renegotiation));
        assert!(pair.ours.owes_answer());
        let mut out = Vec::new();
        pair.ours.answer(&mut pair.keys, &mut out);
        assert_eq!(out[0], ALERT);
        let mut plain = Vec::new();
        let kind = pair.theirs.open_old(&mut pair.keys, &out, &mut plain);
        assert_eq!((kind, plain), (Ok(ALERT), vec![WARNING, Alert::NO_RENEGOTIATION.0]));
        assert_eq!(pair.hear(APPLICATION_DATA, b"and on"), Ok(Opened::Data(6)));
    }
}

#[test]
fn alerts_are_told_apart() {
    for suite in NEW.into_iter().chain(OLD) {
        let hear = |plain: &[u8]| Pair::new(suite).hear(ALERT, plain);
        assert_eq!(hear(&[WARNING, 0]), Ok(Opened::CloseNotify));
        assert_eq!(hear(&[WARNING, 90]), Ok(Opened::Nothing));
        assert_eq!(hear(&[FATAL, 40]), Ok(Opened::Fatal(Alert(40))));
        for wrong in [&[][..], &[FATAL], &[FATAL, 40, 0]] {
            assert_eq!(hear(wrong), Err(Alert::UNEXPECTED_MESSAGE));
        }
        let mut pair = Pair::new(suite);
        let mut out = Vec::new();
        pair.ours.alert(&mut pair.keys, Alert::DECODE_ERROR, &mut out);
        assert_eq!(pair.they_hear(&out).0, Opened::Fatal(Alert::DECODE_ERROR));
        out.clear();
        pair.ours.close_notify(&mut pair.keys, &mut out);
        assert_eq!(pair.they_hear(&out).0, Opened::CloseNotify);
    }
}

#[test]
fn a_key_that_cannot_change_is_used_up_at_last() {
    let mut pair = Pair::new(Suite::OldAes128);
    pair.ours.outgoing.count = OLD_RECORDS_MAX - 1;
    pair.theirs.incoming.count = OLD_RECORDS_MAX - 1;
    let mut out = Vec::new();
    assert_eq!(pair.ours.seal(&mut pair.keys, &vec![0; 20_000], &mut out), Err(Exhausted));
    assert_eq!(pair.ours.seal(&mut pair.keys, b"last", &mut out), Ok(()));
    assert_eq!(pair.ours.seal(&mut pair.keys, b"more", &mut out), Err(Exhausted));
    assert_eq!(pair.they_hear(&out).1, b"last");
    out.clear();
    pair.ours.close_notify(&mut pair.keys, &mut out);
    assert_eq!(pair.they_hear(&out).0, Opened::CloseNotify);
    let mut pair = Pair::new(Suite::OldChaCha);
    pair.ours.outgoing.count = OLD_RECORDS_MAX;
    assert_eq!(pair.ours.seal(&mut pair.keys, b"on", &mut out), Ok(()));
}

#[test]
fn a_written_state_is_read_as_it_was_and_nothing_else_is_read() {
    let mut pair = Pair::new(Suite::Aes256);
    pair.ours.outgoing.count = 77;
    pair.ours.flags = UPDATE_OWED;
    let mut bytes = Vec::new();
    pair.ours.write(&mut bytes);
    assert_eq!(bytes.len(), Record::WIRE_BYTES);
    let mut again = Vec::new();
    Record::read(&bytes).unwrap().write(&mut again);
    assert_eq!(bytes, again);
    assert!(Record::read(&bytes[1..]).is_none());
    for (at, wrong) in [(0, 2), (1, 0), (1, 7), (3, 4)] {
        let mut damaged = bytes.clone();
        damaged[at] = wrong;
        assert!(Record::read(&damaged).is_none(), "byte {at}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_opened_or_refused(record: Vec<u8>) {
        for suite in NEW.into_iter().chain(OLD) {
            let mut pair = Pair::new(suite);
            let mut plain = Vec::new();
            proptest::prop_assert!(pair.ours.open(&mut pair.keys, &record, &mut plain).is_err());
            proptest::prop_assert!(plain.is_empty());
        }
    }
}
