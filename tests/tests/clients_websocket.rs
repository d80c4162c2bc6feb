//! Direct chat over WebSockets with clients that other people wrote: npm's, PyPI's, a browser's.

use hawser_tests::{clients, process::Setup};

#[test]
fn the_client_of_npm_chats_compressed_and_in_fragments_and_is_told_why_it_is_refused() {
    let gateway = Setup::new().start();
    let mut command = clients::node("websocket_npm.mjs");
    command.arg(format!("ws://{}/ws", gateway.websocket()));
    clients::run(command).well();
}

#[test]
fn the_client_of_pypi_chats_compressed_and_in_fragments_and_is_told_why_it_is_refused() {
    let gateway = Setup::new().start();
    let mut command = clients::python("websocket_pypi.py");
    command.arg(format!("ws://{}/ws", gateway.websocket()));
    clients::run(command).well();
}
