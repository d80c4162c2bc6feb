//! A text of the JSON sub-protocol. The promise is in `checks.rs`, which the property tests run too.
#![no_main]

#[path = "../../tests/properties/checks.rs"]
#[allow(dead_code)] // each target runs one of the checks
mod checks;

libfuzzer_sys::fuzz_target!(|text: &str| checks::json_text(text));
