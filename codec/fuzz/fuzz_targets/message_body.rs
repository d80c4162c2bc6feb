//! One body; the first two bytes choose kind and flags. The promise is in `checks.rs`, which the
//! property tests run too.
#![no_main]

use hawser_codec::frame::Frame;

#[path = "../../tests/properties/checks.rs"]
#[allow(dead_code)] // each target runs one of the checks
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let [kind, flags, body @ ..] = bytes {
        checks::message_body(Frame { kind: *kind, flags: *flags, channel: 0, body });
    }
});
