//! TLS of the gateway: handshakes by rustls, then a compact record state per connection.
//!
//! ```text
//!  bytes ──▶ Handshake (rustls, boxed, one whole record at a time) ──▶ Finished
//!                                                                        │ Record (120 B), rest
//!  bytes ──▶ cut ──▶ Record::open ──▶ plaintext     plaintext ──▶ Record::seal ──▶ bytes
//! ```
//!
//! What it is not: a socket, a file reader or a clock. Bytes and the wall time come in as arguments;
//! certificates and ticket keys come in as bytes, with the name of their file for errors. Nonces of
//! handshakes and tickets are drawn by aws-lc inside.
//!
//! Invariant: rustls never holds bytes of an unfinished record. It would drop them without a word
//! when the secrets are taken out; so records are cut here and each is given to it whole.

mod agreed;
mod alert;
mod certificates;
mod cut;
mod desk;
mod handshake;
mod keys;
mod listening;
mod record;
mod tickets;

pub use agreed::{Agreed, Alpn, Kind, Subject, Version};
pub use alert::Alert;
pub use certificates::{CertificatePem, Pem, Problem, Refused};
pub use cut::{
    CIPHERTEXT_BYTES_MAX, Cut, PLAINTEXT_BYTES_MAX, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, cut,
};
pub use handshake::{Failure, Finished, HANDSHAKE_BYTES_MAX, Handshake, Progress, Reason};
pub use keys::{CACHED_KEY_BYTES, Keys};
pub use listening::{ClientCertificates, Listening, Material, Versions};
pub use record::{Exhausted, Opened, RECORD_STATE_BYTES_MAX, Record, sealed_bytes_max};
pub use tickets::{TICKET_KEYS_MAX, TicketKeys};
