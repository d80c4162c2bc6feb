//! Gateways with the router tier in processes of its own.

use hawser_tests::{
    company::random_name,
    process::{Home, Setup},
    raw::{RawClient, request},
    router::Router,
};
use std::net::SocketAddr;

fn patient() -> Setup {
    Setup::new().setting("router.notify_timeout_ms", 600_000)
}

/// Addresses for so many routers, of homes whose own are not used.
fn addresses(homes: &[Home]) -> Vec<SocketAddr> {
    homes.iter().map(Home::native).collect()
}

fn with_routers(list: &[SocketAddr]) -> Setup {
    let list: Vec<String> = list.iter().map(SocketAddr::to_string).collect();
    Setup::new().argument("--router").argument(list.join(","))
}

fn bodies(client: &mut RawClient) -> Vec<Vec<u8>> {
    let (entries, page) = client.page(0, 100);
    assert!(!page.more);
    entries.into_iter().map(|entry| entry.body).collect()
}

#[test]
fn a_directory_written_by_an_embedded_tier_opens_under_a_router_and_back() {
    let (alice, bob) = (random_name(), random_name());
    let embedded = patient().setting("store.lanes", 2).start();
    let (mut client, _) = RawClient::login(embedded.native(), &alice, "phone");
    for seq in 1..=3 {
        client.deliver(&request(seq, &bob, format!("embedded {seq}").as_bytes()));
    }
    let home = embedded.into_home();

    let place = [Home::new()];
    let list = addresses(&place);
    let mut router = Router::start(&list, 0, &home.data_dir());
    let gateway = with_routers(&list).start();
    let (mut client, _) = RawClient::login(gateway.native(), &alice, "phone");
    for seq in 4..=6 {
        client.deliver(&request(seq, &bob, format!("separate {seq}").as_bytes()));
    }
    let (mut reader, welcome) = RawClient::login(gateway.native(), &bob, "phone");
    assert_eq!(welcome.head, 6);
    let expected: Vec<Vec<u8>> = (1..=6)
        .map(|seq| format!("{} {seq}", if seq <= 3 { "embedded" } else { "separate" }).into_bytes())
        .collect();
    assert_eq!(bodies(&mut reader), expected);
    router.kill();
    drop(gateway);

    let embedded = patient().start_in(home);
    let (mut reader, welcome) = RawClient::login(embedded.native(), &bob, "desk");
    assert_eq!(welcome.head, 6);
    assert_eq!(bodies(&mut reader), expected);
}

#[test]
fn users_of_two_gateways_chat_over_two_routers_and_connections_outlive_a_killed_one() {
    let places = [Home::new(), Home::new()];
    let list = addresses(&places);
    let mut routers: Vec<Router> =
        (0..2).map(|index| Router::start(&list, index, &places[index].data_dir())).collect();
    let gateways = [with_routers(&list).start(), with_routers(&list).start()];
    let names: Vec<String> = (0..8).map(|_| random_name()).collect();
    let mut clients: Vec<RawClient> = names
        .iter()
        .enumerate()
        .map(|(at, name)| RawClient::login(gateways[at % 2].native(), name, "phone").0)
        .collect();
    for round in 0..3_u64 {
        for (from, client) in clients.iter_mut().enumerate() {
            for step in 1..names.len() {
                let to = (from + step) % names.len();
                let seq = round * 100 + step as u64;
                let body = [from as u8, round as u8];
                client
                    .insist(&request(seq, &names[to], &body))
                    .expect("a router that is away is waited for");
            }
        }
        if round < 2 {
            let index = round as usize;
            routers[index].kill();
            routers[index].restart();
        }
    }
    for (at, name) in names.iter().enumerate() {
        let (mut reader, _) = RawClient::login(gateways[(at + 1) % 2].native(), name, "desk");
        let (entries, page) = reader.page(0, 100);
        assert!(!page.more);
        let mut heard: Vec<(u8, u8)> = entries
            .iter()
            .map(|entry| (entry.body[0], entry.body[1]))
            .filter(|(from, _)| usize::from(*from) != at)
            .collect();
        heard.sort_unstable();
        let others = (0..names.len() as u8).filter(|from| usize::from(*from) != at);
        let expected: Vec<(u8, u8)> =
            others.flat_map(|from| (0..3).map(move |round| (from, round))).collect();
        assert_eq!(heard, expected, "what {name} has");
    }
    // Nobody was disconnected meanwhile.
    clients.iter_mut().for_each(RawClient::settle);
}
