//! A process that holds as many as it was told to: newcomers are told, those held notice nothing.

use hawser_codec::code;
use hawser_tests::{
    company::{random_name, until},
    process::Setup,
    raw::RawClient,
};

#[test]
fn beyond_the_limit_a_newcomer_is_told_and_finds_room_once_somebody_leaves() {
    let gateway = Setup::new().setting("limits.max_connections", 4).workers(2).start();
    let mut held: Vec<RawClient> =
        (0..4).map(|_| RawClient::login(gateway.native(), &random_name(), "phone").0).collect();

    let mut newcomer = RawClient::connect(gateway.native());
    let farewell = newcomer.farewell();
    assert_eq!(farewell.code, code::CONNECTIONS_FULL);
    assert!(farewell.retry_after_ms > 0, "{farewell:?}");

    // Whoever is held is on one of two workers, two each: newcomers were passed on.
    held.iter_mut().for_each(RawClient::settle);
    drop(held.pop());
    until("room for one more", || {
        (gateway.metric("hawser_gateway_connections{") == 3.0).then_some(())
    });
    RawClient::login(gateway.native(), &random_name(), "phone");
}
