//! What flatc makes of `schema/native.fbs`; nothing here is written by hand.
// The one place of this crate with unsafe code: flatc's accessors read without bounds checks what
// the verifier has checked, and only `crate::message` calls them, after it.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks)]
// Made for every schema alike, not for our lints.
#![allow(dead_code, missing_docs, unused_imports, unused_qualifications, unreachable_pub)]
#![allow(clippy::all, clippy::unwrap_used)]

mod native;

pub use native::native::*;

#[cfg(test)]
mod tests {
    #[test]
    fn code_was_made_from_the_schema_on_disk() {
        let schema = include_bytes!("../schema/native.fbs");
        assert_eq!(
            blake3::hash(schema).to_hex().as_str(),
            super::native::SCHEMA_HASH,
            "stale: run `cargo xtask codegen` and commit the result"
        );
    }
}
