//! A WebSocket peer's stream and head. The promise is in `checks.rs`, which the property tests run
//! too.
#![no_main]

#[path = "../../tests/websocket/checks.rs"]
#[allow(dead_code)] // the target runs one of the checks
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::peer(bytes));
