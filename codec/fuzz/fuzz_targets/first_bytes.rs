//! The first bytes of a connection: PROXY headers, and which protocol it is. The promise is in
//! `checks.rs`, which the property tests run too.
#![no_main]

#[path = "../../tests/properties/checks.rs"]
#[allow(dead_code)] // each target runs one of the checks
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::first_bytes(bytes));
