//! Golden bytes of the records: a change of any is a change of what stands on disks.

#![allow(clippy::unwrap_used)] // a test may stop where it stands

use hawser_router::record::{
    Block, Cursor, Device, Entry, Framed, HEADER_BYTES, Index, Item, Message, Site, User, Window,
    describe,
};
use proptest::prelude::*;

fn message() -> Message<'static> {
    Message {
        conversation: [1; 16],
        sender: [2; 16],
        device: [3; 16],
        peer: [4; 16],
        incarnation: 5,
        client_seq: 6,
        uuid: [7; 16],
        sequence: 8,
        time_ms: 9,
        content: 10,
        receipts: 11,
        sender_name: b"ann",
        device_name: b"phone",
        peer_name: b"bob",
        body: b"hello",
    }
}

fn entry() -> Entry<'static> {
    Entry {
        user: [1; 16],
        number: 2,
        source: 3,
        streamed: 4,
        device: [5; 16],
        conversation: [6; 16],
        sequence: 7,
        incarnation: 8,
        client_seq: 9,
        uuid: [10; 16],
        time_ms: 11,
        content: 12,
        receipts: 13,
        own: 1,
        held: 2,
        reference: 14,
        reference_bytes: 15,
        peer_name: b"bob",
        sender_name: b"ann",
        device_name: b"phone",
        body: b"",
    }
}

#[test]
fn a_cursor_record_is_these_bytes() {
    let mut bytes = Vec::new();
    let length =
        Cursor { user: [0xaa; 16], device: [0xbb; 16], cursor: 0x0102 }.put(7, 0x0304, &mut bytes);
    let mut wanted = vec![41, 0, 0, 0, 3, 7, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 1];
    wanted.extend([0xaa; 16]);
    wanted.extend([0xbb; 16]);
    wanted.extend([2, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes, wanted);
    assert_eq!(length, wanted.len());
}

#[test]
fn every_record_keeps_its_bytes_and_comes_back() {
    let user = User { user: [1; 16], check: 2, realm: 3, epoch: 4, name: b"ann" };
    let device = Device { user: [1; 16], device: [2; 16], cursor: 3, name: b"phone" };
    // A copy of 3 bytes, and the place of another entry.
    let entries = [&[3, 0, 1, 2, 3][..], &[0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 44, 1]].concat();
    let items = [Item::Copy(&[1, 2, 3]), Item::Reference { location: 0x0102, bytes: 300 }];
    let block = Block { user: [1; 16], number: 2, entries: &entries };
    let sites: Vec<u8> = (0..132 * 12).map(|at| at as u8).collect();
    let index = Index { user: [1; 16], level: 1, number: 2, sites: &sites };
    let window = Window {
        conversation: [1; 16],
        device: [2; 16],
        incarnation: 3,
        highest: 4,
        used_ms: 5,
        previous: 6,
        previous_bytes: 7,
        answers: &[8; 48],
    };
    let mut all = Vec::new();
    let lengths = [
        user.put(1, 1, &mut all),
        device.put(1, 2, &mut all),
        message().put(1, 3, &mut all),
        entry().put(1, 4, &mut all),
        window.put(1, 6, &mut all),
        block.put(1, 7, &mut all),
        index.put(1, 8, &mut all),
    ];
    let mut at = 0;
    let mut sums = Vec::new();
    for length in &lengths {
        sums.push(crc32c::crc32c(&all[at..at + length]));
        at += length;
    }
    assert_eq!(lengths, LENGTHS);
    assert_eq!(sums, SUMS, "records on disk changed: {sums:#x?}");

    let payload = |skip: usize| {
        let at: usize = lengths[..skip].iter().sum();
        Framed::take(&all[at..]).unwrap().0.payload
    };
    assert_eq!(User::take(payload(0)), Ok(user));
    assert_eq!(Device::take(payload(1)), Ok(device));
    assert_eq!(Message::take(payload(2)), Ok(message()));
    assert_eq!(Entry::take(payload(3)), Ok(entry()));
    assert_eq!(Window::take(payload(4)), Ok(window));
    assert_eq!(Block::take(payload(5)), Ok(block));
    assert_eq!(block.items().collect::<Vec<_>>(), items);
    assert_eq!(Index::take(payload(6)), Ok(index));
    assert_eq!((index.first(), index.sites().len()), (252, 132));
    let first = Site { location: 0x0706_0504_0302_0100, bytes: 0x0b0a_0908 };
    assert_eq!(index.sites().next(), Some(first));
}

const LENGTHS: [usize; 7] = [56, 66, 163, 173, 137, 62, 1630];
const SUMS: [u32; 7] =
    [0xea5c_5252, 0x33fe_297e, 0x4351_f627, 0xd24c_2247, 0x280c_5c09, 0xc12e_1006, 0xd1d0_9da1];

#[test]
fn a_later_field_at_the_end_is_passed_over_and_a_later_version_refused() {
    let mut bytes = Vec::new();
    message().put(1, 1, &mut bytes);
    bytes.extend_from_slice(b"a field of tomorrow");
    assert_eq!(Message::take(&bytes[HEADER_BYTES..]), Ok(message()));
    bytes[HEADER_BYTES] = 2;
    assert!(Message::take(&bytes[HEADER_BYTES..]).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(kind in 0u8..12, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut payload = vec![1];
        payload.extend_from_slice(&bytes);
        let _ = describe(kind, &payload);
        let _ = describe(kind, &bytes);
        let _ = Framed::take(&bytes);
    }

    #[test]
    fn a_message_cut_short_anywhere_is_refused(cut in 0usize..158) {
        let mut bytes = Vec::new();
        message().put(1, 1, &mut bytes);
        let payload = &bytes[HEADER_BYTES..];
        prop_assume!(cut < payload.len());
        prop_assert!(Message::take(&payload[..cut]).is_err());
    }
}
