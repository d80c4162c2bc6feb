//! Direct chats through the real gateway: order, devices, mailboxes, pages.

use std::collections::HashMap;

use hawser_codec::message::{Level, Message, Receipt, Sync};
use hawser_tests::{
    company::random_name,
    process::Setup,
    raw::{Entry, RawClient, request},
};

/// Nobody here is slow: however long the machine takes, entries are pushed.
fn patient() -> Setup {
    Setup::new().setting("router.notify_timeout_ms", 600_000)
}

#[test]
fn many_users_chat_and_everybody_sees_every_message_once_and_in_order() {
    const USERS: usize = 12;
    const EACH: u64 = 15;
    const PEERS: usize = 4;
    let gateway = patient().start();
    let names: Vec<String> = (0..USERS).map(|_| random_name()).collect();
    let mut clients: Vec<RawClient> =
        names.iter().map(|name| RawClient::login(gateway.native(), name, "phone").0).collect();
    // All is sent before anything is read: acknowledges and entries cross each other.
    let mut sent: HashMap<(usize, usize), u64> = HashMap::new();
    for (user, client) in clients.iter_mut().enumerate() {
        let mut client_seq = 0;
        for round in 0..EACH {
            for step in 1..=PEERS {
                let peer = (user + step) % USERS;
                let after = sent.get(&(user, peer)).copied().unwrap_or(0);
                client_seq += 1;
                let body = [(user as u64).to_le_bytes(), round.to_le_bytes()].concat();
                let mut message = request(client_seq, &names[peer], &body);
                message.after = after;
                client.request(&message);
                sent.insert((user, peer), client_seq);
            }
        }
    }
    let total = EACH * PEERS as u64;
    // What each pair's two mailboxes say of the same sequence.
    let mut timelines: HashMap<(String, String, u64), u64> = HashMap::new();
    for (user, client) in clients.iter_mut().enumerate() {
        for client_seq in 1..=total {
            client.answer(client_seq).expect("nothing is refused");
        }
        let mut sequences: HashMap<String, u64> = HashMap::new();
        let mut rounds: HashMap<String, u64> = HashMap::new();
        for number in 1..=2 * total {
            let entry = client.pushed();
            assert_eq!(entry.number, number, "numbers have no gap");
            let sequence = sequences.entry(entry.conversation.clone()).or_default();
            *sequence += 1;
            assert_eq!(entry.sequence, *sequence, "sequences have no gap: {entry:?}");
            if !entry.own {
                let round = u64::from_le_bytes(*entry.body.last_chunk().expect("16 bytes"));
                let expected = rounds.entry(entry.sender.clone()).or_default();
                assert_eq!(round, *expected, "the sender's own order");
                *expected += 1;
            }
            let mut pair = [names[user].clone(), entry.conversation.clone()];
            pair.sort();
            let [one, other] = pair;
            let known = timelines.entry((one, other, entry.sequence));
            assert_eq!(*known.or_insert(entry.client_seq), entry.client_seq, "one order for both");
        }
    }
    assert_eq!(timelines.len() as u64, total * USERS as u64);
}

#[test]
fn every_device_of_a_user_sees_what_any_of_them_sends_and_receives() {
    let gateway = patient().start();
    let (alice, bob) = (random_name(), random_name());
    let mut devices = ["phone", "desk", "tablet"]
        .map(|device| RawClient::login(gateway.native(), &alice, device).0);
    let (mut peer, _) = RawClient::login(gateway.native(), &bob, "phone");
    devices[0].deliver(&request(1, &bob, b"from the phone"));
    peer.deliver(&request(1, &alice, b"answer"));
    devices[1].deliver(&request(1, &bob, b"from the desk"));
    for (index, device) in devices.iter_mut().enumerate() {
        let entries: [Entry; 3] = std::array::from_fn(|_| device.pushed());
        let senders = [(&alice, "phone"), (&bob, "phone"), (&alice, "desk")];
        let bodies: [&[u8]; 3] = [b"from the phone", b"answer", b"from the desk"];
        for (place, entry) in entries.iter().enumerate() {
            assert_eq!((entry.number, entry.sequence), (place as u64 + 1, place as u64 + 1));
            assert_eq!((&entry.sender, entry.device.as_str()), senders[place]);
            assert_eq!(entry.conversation, bob);
            // The device that sent it knows the body.
            let own = (index, place) == (0, 0) || (index, place) == (1, 2);
            assert_eq!(entry.own, own, "device {index}, entry {place}");
            assert_eq!(entry.body, if own { b"" } else { bodies[place] });
        }
    }
}

#[test]
fn user_who_was_away_gets_a_count_then_pages_that_acknowledge_each_other_then_pushes() {
    let gateway = patient().start();
    let (alice, bob) = (random_name(), random_name());
    let (mut sender, _) = RawClient::login(gateway.native(), &alice, "phone");
    for number in 1..=25 {
        sender.deliver(&request(number, &bob, &number.to_le_bytes()));
    }
    let (mut reader, welcome) = RawClient::login_at(gateway.native(), &bob, "phone", 25);
    assert_eq!((welcome.head, welcome.cursor), (25, 0));

    let preview = Sync { request: 9, after: u64::MAX, limit: 3, backward: true, since_ms: 0 };
    let (newest, page) = reader.ask_page(&preview);
    let numbers = |entries: &[Entry]| entries.iter().map(|entry| entry.number).collect::<Vec<_>>();
    assert_eq!(numbers(&newest), [25, 24, 23]);
    assert_eq!((page.cursor, page.more), (0, true), "a preview moves no cursor");

    let (first, page) = reader.page(0, 10);
    assert_eq!(numbers(&first), (1..=10).collect::<Vec<_>>());
    assert_eq!((page.head, page.more), (25, true));
    let (second, page) = reader.page(10, 10);
    assert_eq!(numbers(&second), (11..=20).collect::<Vec<_>>());
    assert_eq!(page.cursor, 10, "the question acknowledged the page before it");
    let (third, page) = reader.page(20, 10);
    assert_eq!(numbers(&third), (21..=25).collect::<Vec<_>>());
    assert!(!page.more);
    for entry in [first, second, third].concat() {
        assert_eq!(entry.body, entry.number.to_le_bytes());
    }
    assert_eq!(reader.waiting().count(), 0, "nothing was pushed meanwhile");

    sender.deliver(&request(26, &bob, b"live"));
    assert_eq!(reader.pushed().number, 26);
    reader.confirm(26);
    reader.settle();
    drop(reader);
    let (_, welcome) = RawClient::login(gateway.native(), &bob, "phone");
    assert_eq!((welcome.head, welcome.cursor), (26, 26));
    let (_, welcome) = RawClient::login(gateway.native(), &bob, "another device");
    assert_eq!((welcome.head, welcome.cursor), (26, 0), "a cursor is a device's own");
}

#[test]
fn long_bodies_and_many_of_them_are_read_back_as_they_were_sent() {
    let gateway = patient().start();
    let (alice, bob) = (random_name(), random_name());
    let (mut sender, _) = RawClient::login(gateway.native(), &alice, "phone");
    let lengths = [0, 1, 511, 512, 513, 4096, 10_000, 60_000];
    for (index, length) in lengths.iter().enumerate() {
        sender.deliver(&request(index as u64 + 1, &bob, &vec![index as u8; *length]));
    }
    let head = lengths.len() as u64;
    let (mut reader, _) = RawClient::login_at(gateway.native(), &bob, "phone", head);
    let mut read = Vec::new();
    while read.len() < lengths.len() {
        read.extend(reader.page(read.len() as u64, 100).0);
    }
    for (index, entry) in read.iter().enumerate() {
        assert!(entry.body.iter().all(|byte| usize::from(*byte) == index));
        assert_eq!(entry.body.len(), lengths[index]);
    }
}

#[test]
fn ephemeral_message_reaches_who_is_online_and_leaves_no_trace() {
    let gateway = patient().start();
    let (alice, bob) = (random_name(), random_name());
    let (mut sender, _) = RawClient::login(gateway.native(), &alice, "phone");
    let (mut reader, _) = RawClient::login(gateway.native(), &bob, "phone");
    let mut typing = request(1, &bob, b"typing");
    typing.level = Level::Ephemeral;
    assert_eq!(sender.deliver(&typing).sequence, 0);
    let entry = reader.pushed();
    assert_eq!((entry.number, entry.sequence, entry.body), (0, 0, b"typing".to_vec()));
    let acknowledge = sender.deliver(&request(2, &bob, b"durable"));
    assert_eq!(acknowledge.sequence, 1, "it took no place in the conversation");
    assert_eq!(reader.pushed().number, 1);
}

#[test]
fn receipts_reach_the_other_user_and_nobody_else() {
    let gateway = patient().start();
    let (alice, bob, carol) = (random_name(), random_name(), random_name());
    let (mut sender, _) = RawClient::login(gateway.native(), &alice, "phone");
    let (mut reader, _) = RawClient::login(gateway.native(), &bob, "phone");
    let (mut other, _) = RawClient::login(gateway.native(), &carol, "phone");
    let mut message = request(1, &bob, b"please confirm");
    message.receipts = 3;
    sender.deliver(&message);
    reader.pushed();
    for what in [1, 2] {
        reader.tell(&Message::Receipt(Receipt { conversation: &alice, what, sequence: 1 }));
        let heard = sender.take("receipt", |_, message| match message {
            Message::Receipt(receipt) => {
                Some((receipt.conversation.to_owned(), receipt.what, receipt.sequence))
            }
            _ => None,
        });
        assert_eq!(heard, (bob.clone(), what, 1));
    }
    other.settle();
    assert_eq!(other.waiting().count(), 0);
}

#[test]
fn chat_with_oneself_is_one_entry_for_each_message() {
    let gateway = patient().start();
    let alice = random_name();
    let (mut phone, _) = RawClient::login(gateway.native(), &alice, "phone");
    let (mut desk, _) = RawClient::login(gateway.native(), &alice, "desk");
    for number in 1..=3 {
        phone.deliver(&request(number, &alice, b"note"));
        assert_eq!(phone.pushed().number, number);
        assert_eq!(desk.pushed().number, number);
    }
}
