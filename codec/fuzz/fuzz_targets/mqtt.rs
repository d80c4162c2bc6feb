//! A stream of either side in either version. The promise is in `checks.rs`, which the property
//! tests run too.
#![no_main]

use hawser_codec::mqtt::{Role, Version};

#[path = "../../tests/mqtt/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&which, stream)) = bytes.split_first() else { return };
    let receiver = if which & 1 == 0 { Role::Server } else { Role::Client };
    let version = if which & 2 == 0 { Version::V5 } else { Version::V311 };
    checks::packet_stream(receiver, version, stream);
});
