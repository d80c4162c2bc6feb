//! What a gateway says and does when something is wrong with its routers, and what two gateways of
//! one system owe a client.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::PathBuf};

use hawser_codec::code;
use hawser_tests::{
    company::{random_name, until},
    process::{Gateway, Home, Setup},
    raw::{RawClient, hello, request},
    router::Router,
};
use rustix::process::Signal;

fn with_routers(list: &[SocketAddr]) -> Setup {
    let list: Vec<String> = list.iter().map(SocketAddr::to_string).collect();
    Setup::new().argument("--router").argument(list.join(","))
}

/// A file of this mode.
fn file(home: &Home, name: &str, content: &str, mode: u32) -> PathBuf {
    let path = home.write(name, content);
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the file is ours");
    path
}

/// Waits until `/readyz` shows `text`; the gateway is not ready then.
#[track_caller]
fn shows(gateway: &Gateway, text: &str) {
    until(text, || {
        let (status, body) = gateway.ask("/readyz");
        (status == 503 && body.contains(text)).then_some(())
    });
    until("log line", || gateway.said().contains(text).then_some(()));
    // Once in the log, however often it was tried.
    assert_eq!(gateway.said().matches(text).count(), 1, "{}", gateway.said());
}

#[test]
fn a_dead_address_is_named_and_tried_again() {
    let (place, home) = (Home::new(), Home::new());
    let list = [place.native()];
    let gateway = with_routers(&list).start_unready_in(home);
    shows(&gateway, "cannot connect: Connection refused");
    let mut client = RawClient::greet(gateway.native(), &hello(&random_name(), "phone"));
    let farewell = client.farewell();
    assert_eq!(farewell.code, code::RECOVERING);
    assert!(farewell.retry_after_ms > 0);
    let _router = Router::start(&list, 0, &place.data_dir());
    until("ready", || (gateway.ask("/readyz").0 == 200).then_some(()));
    RawClient::login(gateway.native(), &random_name(), "phone");
}

#[test]
fn a_wrong_secret_is_named_and_one_that_others_can_read_is_not_taken() {
    let (place, home) = (Home::new(), Home::new());
    let list = [place.native()];
    let good = file(&place, "secret", "the secret of this system\n", 0o600);
    let arguments = ["--secret-file".to_owned(), good.display().to_string()];
    let _router = Router::start_with(&list, 0, &place.data_dir(), &arguments);

    let open = file(&home, "open", "the secret of this system\n", 0o644);
    let setup = with_routers(&list).setting("router.secret_file", open.display());
    setup.refused_in(&home).assert(1, &["router.secret_file", "0644", "0600"]);

    let wrong = file(&home, "wrong", "the secret of another one\n", 0o600);
    let setup = with_routers(&list).setting("router.secret_file", wrong.display());
    shows(&setup.start_unready_in(home), "the secrets differ");

    let setup = with_routers(&list).setting("router.secret_file", good.display());
    let gateway = setup.start();
    RawClient::login(gateway.native(), &random_name(), "phone");
}

#[test]
fn a_router_with_another_list_is_named() {
    let places = [Home::new(), Home::new()];
    let list = [places[0].native(), places[1].native()];
    let _router = Router::start(&list, 1, &places[1].data_dir());
    let gateway = with_routers(&list[1..]).start_unready_in(Home::new());
    shows(&gateway, "the lists of routers differ");
    // The same routers in another order.
    let gateway = with_routers(&[list[1], list[0]]).start_unready_in(Home::new());
    until("order", || {
        gateway
            .ask("/readyz")
            .1
            .contains("expects router 0 of 2 here, this is router 1")
            .then_some(())
    });
}

#[test]
fn an_address_of_a_gateway_is_no_router() {
    let other = Setup::new().start();
    let gateway = with_routers(&[other.native()]).start_unready_in(Home::new());
    shows(&gateway, "is it a router's link address?");

    let home = Home::new();
    let refused = with_routers(&[home.native()]).refused_in(&home);
    refused.assert(1, &["router.endpoints", "this gateway itself"]);
}

#[test]
fn while_a_router_is_away_clients_stay_and_are_told_when_to_come_back() {
    let place = Home::new();
    let list = [place.native()];
    let mut router = Router::start(&list, 0, &place.data_dir());
    let gateway = with_routers(&list).start();
    let (alice, bob) = (random_name(), random_name());
    let (mut client, _) = RawClient::login(gateway.native(), &alice, "phone");
    client.deliver(&request(1, &bob, b"before"));

    router.kill();
    let message = request(2, &bob, b"meanwhile");
    client.request(&message);
    let refusal =
        client.answer(2).expect_err("the router is away for longer than it is waited for");
    assert_eq!((refusal.code, refusal.fatal), (code::STORAGE_UNAVAILABLE, false));
    assert!(refusal.retry_after_ms > 0);
    let mut late = RawClient::greet(gateway.native(), &hello(&bob, "phone"));
    assert_eq!(late.farewell().code, code::RECOVERING);
    assert_eq!(gateway.metric("hawser_gateway_router_refusing"), 1.0);

    router.restart();
    until("ready", || (gateway.ask("/readyz").0 == 200).then_some(()));
    client.deliver(&message);
    // A pause is like an end: connections stay through it as well.
    router.signal(Signal::STOP);
    until("silence", || (gateway.ask("/readyz").0 == 503).then_some(()));
    router.signal(Signal::CONT);
    until("ready", || (gateway.ask("/readyz").0 == 200).then_some(()));
    client.deliver(&request(3, &bob, b"after"));
    let (mut reader, _) = RawClient::login(gateway.native(), &bob, "phone");
    let bodies: Vec<_> = reader.page(0, 100).0.into_iter().map(|entry| entry.body).collect();
    assert_eq!(bodies, [&b"before"[..], b"meanwhile", b"after"]);
    client.settle();
}

#[test]
fn a_device_resumes_at_another_gateway_and_its_first_connection_ends() {
    let (place, shared) = (Home::new(), Home::new());
    let list = [place.native()];
    let _router = Router::start(&list, 0, &place.data_dir());
    let keys = shared.data_dir().join("resume.keys");
    let setup = || with_routers(&list).setting("auth.resume_key_file", keys.display());
    let (mut one, two) = (setup().start(), setup().start());
    let (alice, bob) = (random_name(), random_name());
    let (mut client, welcome) = RawClient::login(one.native(), &alice, "phone");
    client.deliver(&request(1, &bob, b"here"));

    // While the first connection lives it is thrown out, over two gateways, by another program.
    let mut resume = hello("", "");
    resume.incarnation = 2;
    resume.resume_token = &welcome.resume_token;
    let mut elsewhere = RawClient::greet(two.native(), &resume);
    let again = elsewhere.welcome();
    assert_eq!(client.farewell().code, code::REPLACED);
    elsewhere.deliver(&request(2, &bob, b"there"));

    // And when its gateway is gone for good.
    let mut resume = hello("", "");
    resume.resume_token = &again.resume_token;
    let mut back = RawClient::greet(one.native(), &resume);
    let welcome = back.welcome();
    one.kill();
    resume.resume_token = &welcome.resume_token;
    let mut last = RawClient::greet(two.native(), &resume);
    last.welcome();
    last.deliver(&request(3, &bob, b"again"));
    let (mut reader, _) = RawClient::login(two.native(), &bob, "phone");
    assert_eq!(reader.page(0, 100).0.len(), 3);
}
