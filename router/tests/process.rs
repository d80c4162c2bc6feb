//! The separate router over real sockets and files: what gateways see of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod process_stage;

use hawser_router::link::{LinkEnd, refusal_code};
use process_stage::{
    Gateway, Heard, Link, PATIENCE, Who, drain, ports, router, router_that_writes,
};
use std::{fs::Permissions, os::unix::fs::PermissionsExt, time::Instant};

#[test]
fn two_gateways_share_one_router() {
    let directory = tempfile::tempdir().unwrap();
    let list = ports(1);
    let running = router(directory.path(), &list, 0, &[]);
    let mut one = Gateway::new(&list, b"", 1);
    let mut other = Gateway::new(&list, b"", 2);
    let ann = one.login("ann");
    let bob = other.login("bob");
    for seq in 1..=20 {
        one.send(&ann, "bob", seq, format!("message {seq}").as_bytes());
    }
    one.wait_accepted(&ann, 20);
    let bodies = other.wait_bodies(&bob, 20);
    let expected: Vec<_> = (1..=20).map(|n| (n, format!("message {n}").into_bytes())).collect();
    assert_eq!(bodies, expected);
    drain(running);
    one.wait("farewell", |gateway| gateway.links[0].went_away && gateway.links[0].closed);
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart_and_sessions_are_asked_for() {
    for policy in ["direct", "sync"] {
        let directory = tempfile::tempdir().unwrap();
        let list = ports(1);
        let running = router_that_writes(policy, directory.path(), &list, 0, &[]);
        let mut gateway = Gateway::new(&list, b"", 1);
        let ann = gateway.login("ann");
        gateway.send(&ann, "bob", 1, b"before");
        gateway.wait_accepted(&ann, 1);
        drain(running);
        let running = router_that_writes(policy, directory.path(), &list, 0, &[]);
        gateway.redial(0);
        gateway.wait("the question who is there", |gateway| gateway.announced_by(0) == 2);
        gateway.say_login(&ann, true);
        let bob = gateway.login("bob");
        gateway.send(&ann, "bob", 2, b"after");
        gateway.wait_accepted(&ann, 2);
        let head = gateway.heard.iter().rev().find_map(|heard| match heard {
            Heard::LoggedIn { connection, head } if *connection == bob.connection => Some(*head),
            _ => None,
        });
        assert_eq!(head, Some(1), "{policy}: the message from before the restart");
        drain(running);
    }
}

#[test]
fn messages_cross_between_routers_whichever_of_them_is_restarted() {
    let directory = tempfile::tempdir().unwrap();
    let list = ports(2);
    let mut routers: Vec<_> =
        (0..2).map(|index| Some(router(directory.path(), &list, index, &[]))).collect();
    let mut gateway = Gateway::new(&list, b"", 1);
    let names: Vec<String> = (0..8).map(|number| format!("user{number}")).collect();
    let clients: Vec<_> = names.iter().map(|name| gateway.login(name)).collect();
    let mut sent = 0;
    for round in 0..4_u64 {
        for (from, client) in clients.iter().enumerate() {
            for (to, name) in names.iter().enumerate().filter(|(to, _)| *to != from) {
                let seq = round * 100 + to as u64 + 1;
                gateway.send(client, name, seq, format!("{from} {to} {round}").as_bytes());
                gateway.wait_accepted(client, seq);
            }
        }
        sent += 7;
        for client in &clients {
            let bodies = gateway.wait_bodies(client, sent);
            assert_eq!(bodies.len(), sent, "none twice");
            gateway.confirm(client);
        }
        let index = (round % 2) as usize;
        drain(routers[index].take().unwrap());
        routers[index] = Some(router(directory.path(), &list, index, &[]));
        let before = gateway.announced_by(index);
        gateway.redial(index);
        gateway.wait("the question who is there", |gateway| gateway.announced_by(index) > before);
        clients.iter().for_each(|client| gateway.say_login_if_there(client, index));
    }
    routers.into_iter().flatten().for_each(drain);
}

#[test]
fn a_link_that_is_refused_hears_why() {
    let directory = tempfile::tempdir().unwrap();
    let list = ports(1);
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "a secret of thirty-two characters\n").unwrap();
    std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let more = ["--secret-file", secret.to_str().unwrap()];
    let running = router(directory.path(), &list, 0, &more);
    let good = Who {
        secret: b"a secret of thirty-two characters".to_vec(),
        routers: 1,
        epoch: 5,
        hash_key: None,
    };
    for (code, who) in [
        (None, good.clone()),
        (Some(refusal_code::SECRET), Who { secret: b"another".to_vec(), ..good.clone() }),
        (Some(refusal_code::LIST), Who { routers: 2, ..good.clone() }),
        (Some(refusal_code::HASH_KEY), Who { hash_key: Some([3; 32]), ..good.clone() }),
    ] {
        let mut link = Link::dial(list[0], 0, &who);
        let begun = Instant::now();
        while link.peer.is_none() && link.end.is_none() {
            assert!(begun.elapsed() < PATIENCE);
            link.pump(|_| {});
        }
        let refused = match &link.end {
            Some(LinkEnd::RefusedByPeer(refusal) | LinkEnd::RefusedPeer(refusal)) => {
                Some(refusal.code)
            }
            None => None,
            Some(other) => panic!("{other}"),
        };
        assert_eq!(refused, code);
    }
    drain(running);
}

#[test]
fn a_log_that_cannot_be_written_is_read_back_and_served_again() {
    let directory = tempfile::tempdir().unwrap();
    let list = ports(1);
    let running = router(directory.path(), &list, 0, &[]);
    let mut gateway = Gateway::new(&list, b"", 1);
    let ann = gateway.login("ann");
    gateway.send(&ann, "bob", 1, b"before");
    gateway.wait_accepted(&ann, 1);
    drain(running);

    let running = router(directory.path(), &list, 0, &[]);
    gateway.redial(0);
    gateway.wait("the question who is there", |gateway| gateway.announced_by(0) == 2);
    // The segment that is gone on with is opened at the first write.
    let (here, away) = (directory.path().join("0"), directory.path().join("away"));
    std::fs::rename(&here, &away).unwrap();
    gateway.say_login(&ann, true);
    gateway.send(&ann, "bob", 2, b"not taken");
    let failures = || running.metrics().host.lane_failures.get();
    gateway.wait("the failure", |_| failures() == 1);
    gateway.send(&ann, "bob", 3, b"not taken either");
    gateway.wait("a refusal", |gateway| {
        gateway.heard.iter().any(|heard| matches!(heard, Heard::Refused { client_seq: 3, .. }))
    });
    assert!(!gateway.links[0].closed, "links stay");
    std::fs::rename(&away, &here).unwrap();

    gateway.wait("the question who is there", |gateway| gateway.announced_by(0) == 3);
    gateway.say_login(&ann, true);
    gateway.send(&ann, "bob", 2, b"after");
    gateway.wait_accepted(&ann, 2);
    let accepted = Heard::Accepted { connection: ann.connection, client_seq: 2, sequence: 2 };
    assert!(gateway.heard.contains(&accepted), "nothing of the failed write counts");
    drain(running);
}

#[test]
fn a_gateway_that_stands_still_holds_up_nobody_and_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let list = ports(1);
    let running = router(directory.path(), &list, 0, &[]);
    let mut still = Gateway::new(&list, b"", 1);
    let mut other = Gateway::new(&list, b"", 2);
    let bob = still.login("bob");
    let ann = other.login("ann");
    let cid = other.login("cid");
    for seq in 1..=200 {
        other.send(&ann, "bob", 2 * seq - 1, &[1; 2000]);
        other.send(&ann, "cid", 2 * seq, &[2; 2000]);
        other.confirm(&ann);
        other.confirm(&cid);
        other.wait_accepted(&ann, 2 * seq);
    }
    other.wait_bodies(&cid, 200);
    let links = &running.metrics().links;
    other.wait("silence to be noticed", |_| links.silent.get() == 1 && links.gateways.get() == 1);
    still.redial(0);
    let bob_again = still.login("bob");
    assert!(still.heard.iter().any(|heard| {
        matches!(heard, Heard::LoggedIn { connection, head: 200 } if *connection == bob_again.connection)
    }));
    drop(bob);
    drain(running);
}
